//! The directory as operators see it: looked at without the lock, also while a process has it open, and
//! mended with the lock.
//!
//! Promises: [`inspect`] and [`visit`] write nothing and take no lock; [`repair`] removes no sound record
//! and nothing that is not in quarantine, and makes nothing look whole that is not: the numbers of lost
//! records stay missing, and the next open reports them.
//! Refuses: to repair a directory somebody has open.

use crate::cursor::{Cursor, Delivered};
use crate::disk;
use crate::frame::{Item, Scan};
use crate::journal::Former;
use crate::keeper::LOCK;
use crate::open_calls::Geometry;
use crate::producer;
use crate::reader;
use crate::recover::{self, FoundSegment, Scanned};
use crate::segment::{HEADER, Header, SECOND, START};
use crate::types::{OpenError, Orphan, Record, Recovery};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use uuid::Uuid;

/// Bound of what a repair copies to quarantine; what does not fit is left where it is.
const MAX_QUARANTINE: u64 = 4 << 20;
/// A log that changes while it is looked at is looked at again, so often.
const ATTEMPTS: usize = 8;

/// What a journal directory holds.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Nil: no producer file, or an unreadable one.
    pub producer: Uuid,
    /// The last boot that any file speaks of.
    pub boot: u64,
    /// A process has it open. Then open calls are just that, and what it has not written down yet (losses
    /// it will record) shows as missing.
    pub in_use: bool,
    pub segments: Vec<SegmentInfo>,
    /// Boot and number up to which everything was delivered; `None`: nothing, or the cursor is lost.
    pub delivered: Option<(u64, u64)>,
    /// Bytes of the records not yet delivered.
    pub pending_bytes: u64,
    /// Calls without an end, by their intents.
    pub open_calls: Vec<Orphan>,
    /// What an open would report.
    pub recovery: Recovery,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub file: String,
    pub producer: Uuid,
    pub boot: u64,
    /// Numbers of the first and last record in it.
    pub first: u64,
    pub last: u64,
    pub records: u64,
    /// On the disk.
    pub bytes: u64,
    pub damaged: bool,
}

/// Looks at a journal without changing anything.
pub fn inspect(dir: &Path) -> io::Result<Inspection> {
    let (mut former, scanned, in_use) = look(dir)?;
    let mut recovery = former.report(&scanned);
    if in_use {
        // The append under way.
        recovery.torn_bytes = 0;
    }
    let (table, intents) = former.orphans(&scanned);
    let known = match former.found {
        producer::Found::Ours(p) | producer::Found::Copied(p) => Some(p),
        producer::Found::None | producer::Found::Damaged => None,
    };
    Ok(Inspection {
        producer: known.map_or(Uuid::nil(), |p| p.id),
        boot: known.map_or(0, |p| p.boot).max(scanned.last_boot),
        in_use,
        segments: scanned.segments.iter().map(info).collect(),
        delivered: former.cursor.delivered.map(|d| (d.boot, d.seq)),
        pending_bytes: scanned.pending_bytes,
        open_calls: table.into_iter().chain(intents).collect(),
        recovery,
    })
}

/// Shows every sound record in the log to `see`, in order, until that breaks off. Damage is passed over.
pub fn visit(dir: &Path, mut see: impl FnMut(Record) -> ControlFlow<()>) -> io::Result<()> {
    let (_, scanned, _) = look(dir)?;
    let mut buf = Vec::new();
    let mut index = 0;
    for (ordinal, segment) in (1..).zip(&scanned.segments) {
        let header = &segment.header;
        // One that got its name since it was found is there by that; one that was delivered and deleted
        // has nothing to show.
        let named = dir.join(header.file_name());
        if [&segment.path, &named].iter().all(|path| recover::read_frames(path, &mut buf).is_none()) {
            continue;
        }
        for item in Scan::new(&buf, header.salt, header.base.saturating_sub(1)) {
            let Item::Frame { at, frame } = item else { continue };
            index += 1;
            if see(reader::record(header, ordinal, &frame, index, (START + at) as u64)).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What was done, or, in a dry run, what would be.
#[derive(Debug, Clone)]
pub struct Repair {
    /// What was found.
    pub recovery: Recovery,
    /// Segments written anew with their sound records only.
    pub rewritten: Vec<String>,
    /// Damaged segments left as they are: the disk cannot read all of them, or quarantine is full.
    pub left: Vec<String>,
    /// A slot of the cursor was unreadable; both were: delivery begins again at the oldest record.
    pub cursor: Option<CursorRepair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorRepair {
    /// The other one is sound.
    OneSlot,
    /// Records will be delivered a second time.
    FromOldest,
}

/// Copies damaged stretches to quarantine and writes damaged segments and an unreadable cursor anew.
pub fn repair(dir: &Path, dry_run: bool) -> Result<Repair, OpenError> {
    let failed = |doing| move |source| OpenError::Io { doing, dir: dir.to_path_buf(), source };
    std::fs::metadata(dir).map_err(failed("look"))?;
    let lock = if dry_run { None } else { disk::lock(&dir.join(LOCK)).map_err(failed("take the lock"))? };
    if lock.is_none() && (!dry_run || in_use(dir)) {
        return Err(OpenError::Locked { dir: dir.to_path_buf() });
    }
    let former = Former::load(dir, fallback());
    let scanned = former.scan(dir, MAX_QUARANTINE, !dry_run).map_err(failed("list the segments"))?;
    let mut done = Repair {
        recovery: former.report(&scanned),
        rewritten: Vec::new(),
        left: Vec::new(),
        cursor: former.cursor.damaged.then_some(match former.cursor.delivered {
            Some(_) => CursorRepair::OneSlot,
            None => CursorRepair::FromOldest,
        }),
    };
    for segment in scanned.segments.iter().filter(|s| s.damaged) {
        let name = segment.header.file_name();
        if !segment.mendable && !dry_run {
            done.left.push(name);
            continue;
        }
        if !dry_run {
            rewrite(dir, &name, segment).map_err(failed("write a segment anew"))?;
        }
        done.rewritten.push(name);
    }
    if done.cursor.is_some() && !dry_run {
        let at = former.cursor.delivered.unwrap_or_default();
        rewrite_cursor(dir, former.cursor.generation, at).map_err(failed("write the cursor anew"))?;
    }
    Ok(done)
}

/// Only used where the table of open calls does not say its own.
fn fallback() -> Geometry {
    Geometry::new(4096, 1024)
}

/// The state of the directory at one moment, or the best guess at one.
fn look(dir: &Path) -> io::Result<(Former, Scanned, bool)> {
    let mut attempt = 1;
    loop {
        // The cursor before the segments: what is delivered meanwhile does not look lost.
        let former = Former::load(dir, fallback());
        let scanned = former.scan(dir, 0, false)?;
        let in_use = in_use(dir);
        // A listing can pass over a file that is renamed meanwhile, and a header be half written.
        let odd = !scanned.recovery.missing.is_empty() || scanned.recovery.corrupt_regions > 0;
        if !(scanned.vanished || in_use && odd) || attempt == ATTEMPTS {
            return Ok((former, scanned, in_use));
        }
        attempt += 1;
    }
}

/// Whether a process holds the lock. Takes a shared lock for a moment, which an open waits for.
fn in_use(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK)) else { return false };
    let taken = file.try_lock_shared().is_err();
    if !taken {
        let _ = file.unlock();
    }
    taken
}

fn info(segment: &FoundSegment) -> SegmentInfo {
    let Header { producer, boot, .. } = segment.header;
    let FoundSegment { first, last, records, bytes, damaged, .. } = *segment;
    let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    SegmentInfo { file, producer, boot, first, last, records, bytes, damaged }
}

/// The same segment with its sound frames only, put in place of the damaged one.
fn rewrite(dir: &Path, name: &str, segment: &FoundSegment) -> io::Result<()> {
    let mut buf = Vec::new();
    if recover::read_frames(&segment.path, &mut buf) != Some(true) {
        return Err(io::Error::other("the disk cannot read it any more"));
    }
    let header = &segment.header;
    let mut out = vec![0; START];
    for at in [0, SECOND] {
        crate::frame::put(&mut out, at, header.encode().get(..HEADER).unwrap_or_default());
    }
    for item in Scan::new(&buf, header.salt, header.base.saturating_sub(1)) {
        if let Item::Frame { at, frame } = item {
            out.extend_from_slice(buf.get(at..at + frame.len).unwrap_or_default());
            out.resize(out.len() + frame.size() - frame.len, 0);
        }
    }
    disk::replace(dir, name, |_| Ok(out))
}

fn rewrite_cursor(dir: &Path, generation: u64, at: Delivered) -> io::Result<()> {
    let mut cursor = Cursor::open(dir, generation)?;
    cursor.write(at)?;
    cursor.write(at)?;
    cursor.sync()
}
