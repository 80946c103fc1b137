//! What callers put in and get out. No behaviour.

use crate::faults::{Disk, RealDisk};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Something the journal may keep.
///
/// To implement it is to promise that the bytes hold no secret: they reach the disk as they are.
pub trait Storable {
    /// Names the record, here and in the table of open calls. Never nil.
    fn id(&self) -> Uuid;
    fn bytes(&self) -> &[u8];
}

/// Where the journal lives and how much it may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// Made if it does not exist. Nobody else may write in it.
    pub dir: PathBuf,
    /// Bound of everything in `dir`.
    pub max_bytes: u64,
    /// Size of one segment file; smaller when `max_bytes` leaves no room for eight of them.
    pub segment_bytes: u64,
    /// Records reach the disk at most this much later (and the disk's own time), sooner if somebody
    /// waits for them. Between 1 ms and 10 s.
    pub sync_interval: Duration,
    /// Slots of the table of open calls.
    pub max_open_calls: u32,
    /// Size of one slot, of which 32 bytes are the table's own.
    pub slot_bytes: u32,
    /// The disk; tests put a failing one here.
    pub disk: Arc<dyn Disk>,
}

impl Options {
    /// 256 MiB in 16 MiB segments, synced every 100 ms; 4096 open calls of 1 KiB.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            max_bytes: 256 << 20,
            segment_bytes: 16 << 20,
            sync_interval: Duration::from_millis(100),
            max_open_calls: 4096,
            slot_bytes: 1024,
            disk: Arc::new(RealDisk),
        }
    }
}

/// An open journal and what was found in its directory.
pub struct Opened {
    pub journal: Arc<crate::Journal>,
    /// Calls that were open when the last life ended. They are reported again by every later open
    /// until [`crate::Journal::recovered`] is called, or a record of that id is in the log.
    pub orphans: Vec<Orphan>,
    pub recovery: Recovery,
}

/// A call that was open when the last life ended and has no record in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    pub id: Uuid,
    /// As they were given to [`crate::Journal::claim`].
    pub bytes: Vec<u8>,
}

/// What [`crate::Journal::open`] found. All zeros and false: a clean shutdown, or a new directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments with records in them, from earlier boots.
    pub segments: u64,
    pub records: u64,
    /// Of `records`: not yet delivered.
    pub pending: u64,
    /// Damaged stretches that were passed over.
    pub corrupt_regions: u64,
    pub corrupt_bytes: u64,
    /// Bytes after a segment's last valid record that were not zero: an append that was cut short
    /// (nobody was told it succeeded), or damage.
    pub torn_bytes: u64,
    /// Of the two above: kept in `quarantine/`.
    pub quarantined_bytes: u64,
    /// Segment files that cannot be read, or that neither their headers nor their names explain. They
    /// are left alone, and count towards the bound.
    pub foreign_files: u64,
    /// The read cursor was unreadable: records may be delivered a second time.
    pub cursor_damaged: bool,
    /// The producer file was unreadable: there is a new producer id.
    pub producer_damaged: bool,
    /// The directory is a copy of another: there is a new producer id. Older records keep theirs;
    /// orphans may be calls the original still serves.
    pub cloned: bool,
    /// Slots of the table of open calls that were unreadable.
    pub damaged_slots: u64,
    /// Sequence numbers of earlier boots that were given out and are not in the log, as far as they
    /// can be told, at most [`Recovery::MAX_MISSING`]. No record names them yet.
    pub missing: Vec<Missing>,
    /// There were more.
    pub missing_cut: bool,
}

impl Recovery {
    pub const MAX_MISSING: usize = 1024;
}

/// A range of sequence numbers without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub producer: Uuid,
    pub boot: u64,
    pub first: u64,
    pub last: u64,
    pub reason: Reason,
}

/// Why a record is not in the log. A bounded set, fit for a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The journal has reached `max_bytes`.
    Full,
    /// The record does not fit into a segment.
    TooLarge,
    /// No segment was ready: the disk is full, failing or too slow; or the journal is closed.
    Io,
    /// It was written and could not be read again.
    Corrupt,
}

impl Reason {
    pub const ALL: [Reason; 4] = [Reason::Full, Reason::TooLarge, Reason::Io, Reason::Corrupt];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Full => "journal_full",
            Reason::TooLarge => "record_too_large",
            Reason::Io => "io_error",
            Reason::Corrupt => "corrupt",
        }
    }

    pub(crate) fn code(self) -> u64 {
        match self {
            Reason::Full => 1,
            Reason::TooLarge => 2,
            Reason::Io => 3,
            Reason::Corrupt => 4,
        }
    }

    pub(crate) fn from_code(code: u64) -> Reason {
        match code {
            1 => Reason::Full,
            2 => Reason::TooLarge,
            3 => Reason::Io,
            _ => Reason::Corrupt,
        }
    }
}

/// One thing from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub producer: Uuid,
    pub boot: u64,
    pub seq: u64,
    /// Nil for a loss.
    pub id: Uuid,
    /// When it was appended.
    pub time: SystemTime,
    pub kind: Kind,
    /// Empty for a loss.
    pub payload: Vec<u8>,
    /// The place just after it, for [`crate::Journal::commit`].
    pub mark: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Data,
    /// The intent of a call whose end was not known yet; its end has a record of the same id.
    Open,
    /// `first..=last` of that boot of the same producer are not in the log. `boot` is the record's own
    /// but for what an open found missing; `time` is the last of them, or when they were missed.
    Loss {
        boot: u64,
        first: u64,
        last: u64,
        reason: Reason,
        time: SystemTime,
    },
}

/// A place in the log of one open journal: everything before it, or everything after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    pub(crate) ordinal: u64,
    pub(crate) at: u64,
    /// Records before it.
    pub(crate) index: u64,
    pub(crate) boot: u64,
    pub(crate) seq: u64,
}

/// The record was not kept. Its number is used up and a later record will name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} was not kept: {}", reason.as_str())]
pub struct Refused {
    pub seq: u64,
    pub reason: Reason,
}

/// The intent was not kept: nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("all {max} slots of open calls are taken: raise journal.max_open_calls")]
    TableFull { max: u32 },
    #[error("the intent has {len} bytes and a slot holds {max}: shorten it")]
    TooLong { len: usize, max: usize },
    #[error("the journal is closed")]
    Closed,
}

/// A record is not known to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncFailed {
    #[error("the disk did not answer in time")]
    Timeout,
    #[error("the disk reported an error while writing the journal")]
    Io,
    #[error("the journal's files were removed")]
    Detached,
    #[error("{0} calls wait for the disk already")]
    Busy(usize),
    #[error("the journal is closed")]
    Closed,
}

/// The journal cannot be used. Damage is never a reason: see [`Recovery`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("journal directory {dir} is in use by another process: give each its own directory")]
    Locked { dir: PathBuf },
    #[error("journal.max_bytes is {given}, and the least that works here is {least}")]
    TooSmall { given: u64, least: u64 },
    #[error("journal.max_open_calls and its slot size must be above zero")]
    NoSlots,
    #[error("cannot {doing} in journal directory {dir}: {source}")]
    Io { doing: &'static str, dir: PathBuf, source: std::io::Error },
}

/// Counts and sizes now. Counters start at zero with each open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// What the directory may hold at most right now: every file, with its reserved room.
    pub disk_bytes: u64,
    pub max_bytes: u64,
    pub segments: u64,
    /// Records in the log that are not committed.
    pub pending: u64,
    /// Age of the oldest of them.
    pub oldest_pending: Option<Duration>,
    /// Records kept since the open, losses included.
    pub appended: u64,
    pub appended_bytes: u64,
    /// The last number given out.
    pub last_seq: u64,
    /// Everything up to here is on the disk or was reported as failed.
    pub synced_seq: u64,
    pub lost: Lost,
    /// Losses that no record names yet.
    pub lost_unrecorded: u64,
    pub open_calls: u64,
    /// Slots dropped without [`crate::Slot::clear`]: kept for the next open to report.
    pub abandoned_calls: u64,
    pub claims_refused: u64,
    pub syncs: u64,
    pub sync_failures: u64,
    /// Failed attempts to make, name or remove a file.
    pub io_errors: u64,
    /// Times the files were found removed, replaced or cut short, and made again.
    pub reopened: u64,
    /// Segments that were waiting to be delivered when they were found removed or cut short.
    pub files_lost: u64,
    /// Damaged stretches met by readers.
    pub corrupt_regions: u64,
    pub corrupt_bytes: u64,
}

/// Records lost since the open, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    pub full: u64,
    pub too_large: u64,
    pub io: u64,
    pub corrupt: u64,
}

impl Lost {
    pub fn total(&self) -> u64 {
        self.full + self.too_large + self.io + self.corrupt
    }

    pub(crate) fn add(&mut self, reason: Reason, n: u64) {
        match reason {
            Reason::Full => self.full += n,
            Reason::TooLarge => self.too_large += n,
            Reason::Io => self.io += n,
            Reason::Corrupt => self.corrupt += n,
        }
    }
}
