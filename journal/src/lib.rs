//! A durable, bounded queue on disk, and a table of open calls beside it.
//!
//! # Constraints
//!
//! - An append is a copy into memory under a short lock. It makes no system call that could wait for
//!   a disk, a reader or anything else, and what it acknowledged survives `kill -9`.
//! - Everything in the directory together stays within [`Options::max_bytes`]. What does not fit is
//!   refused, and the refusal is itself recorded: every number given out is in the log, or named by a
//!   loss record, or reported as missing by the next open.
//! - Damage costs what is damaged and nothing else. It never keeps the journal from opening.
//! - Records reach the disk every [`Options::sync_interval`], and at once for whoever waits.
//! - Delivery is at least once, in order. A record that comes twice has the same producer, boot and
//!   number.
//! - Memory does not grow with the backlog.
//!
//! What it does not promise: that an append survives a power cut before it was synced; to see that
//! the whole block device was cloned; to survive the signal that a store into a file raises while
//! somebody else cuts that file short (looked for four times a second).
//!
//! # The directory
//!
//! | file | what |
//! |---|---|
//! | `lock` | held with `flock` by the one process that has the journal open |
//! | `producer` | text: producer id, boot number, salt, and the file's own inode and time of birth, by which a copy is known |
//! | `BOOT-BASE.seg` | a segment: records from number BASE of that boot on |
//! | `BOOT-NUMBER.new` | a segment made ready, or in use for less than an interval |
//! | `cursor` | how far the log was delivered: two slots written in turn |
//! | `calls` | the table of open calls, and what must survive a kill beside the log |
//! | `quarantine/` | copies of damaged stretches, within a bound |
//! | `*.tmp` | the successor of a file, until it has its name |
//!
//! Segments, frames, cursor and table are described at the head of `segment.rs`, `frame.rs`,
//! `cursor.rs` and `open_calls.rs`; all numbers in them are little-endian. There is no ledger: what
//! the log holds, the log says.
//!
//! # Numbers
//!
//! A *producer* is a directory, a *boot* one opening of it, and a *seq* counts 1, 2, 3, … within the
//! boot, without holes. A refused append uses up its number. A loss record has a number of its own
//! and stands before the first record that fits again.
//!
//! # How a record is written
//!
//! The checksum of the payload is computed; the lock is taken; the frame is copied behind the last
//! one into the mapped segment, its first word last; the end is published; the lock is let go. Should
//! the segment be full, the next one was made ready long ago: its blocks reserved (no store can fail
//! for want of space), its first pages faulted in. If it was not, because the bound is reached or the
//! disk is slow, full or failing, the append is refused rather than made to wait. Two threads do what
//! takes time: the *keeper* makes pages and segments ready, writes the cursor, deletes what was
//! delivered and looks after the files; the *sync* thread takes pages to the disk.
//!
//! Room for the frames of eight losses is kept free at the end of each segment, so that a close can
//! always record what was lost; and one segment's worth of the bound is kept for the next start.
//!
//! # How a record is read
//!
//! A [`Reader`] starts after the last committed record and reads the files with `pread`. It checks
//! every frame; at a damaged one it looks for the next valid frame, and once it has found it, the
//! numbers in between become a loss record (damage in earlier boots was reported by the open).
//!
//! # How a record is deleted
//!
//! [`Journal::commit`] moves the cursor in memory. The keeper writes it down and deletes segments that
//! lie wholly before it. A crash in between, or a cursor that cannot be read, repeats deliveries.
//!
//! # How an open call is kept
//!
//! [`Journal::claim`] copies an intent into a slot of the mapped table, [`Slot::clear`] frees it after
//! the call's record was appended. After a crash, [`Journal::open`] returns each occupied slot of
//! whose id the log has no record as an [`Orphan`]. The caller appends a record *with that id* for each
//! and for each [`Missing`] range what it sees fit, then calls [`Journal::recovered`]. Dying in between
//! repeats only the orphans not yet recorded: those recorded are in the log by their id.
//!
//! # How it opens
//!
//! Lock; producer, cursor and table are read; every segment is read from end to end, damaged stretches
//! are copied to quarantine, what follows the last valid frame is cut off, segments without records
//! are removed; the new boot number is made durable; the table is written anew with the orphans in it;
//! a new segment is begun. A segment is never written to again by a later boot.

mod bell;
mod core;
mod cursor;
mod disk;
mod faults;
mod frame;
mod inspect;
mod journal;
mod keeper;
mod losses;
mod map;
mod open_calls;
mod plan;
mod producer;
mod reader;
mod recover;
mod segment;
mod sync;
mod types;

pub use faults::{Disk, RealDisk};
pub use inspect::{CursorRepair, Inspection, Repair, SegmentInfo, inspect, repair, visit};
pub use journal::{Journal, Steps};
pub use open_calls::Slot;
pub use reader::Reader;
pub use types::{
    ClaimError, Kind, Lost, Mark, Missing, OpenError, Opened, Options, Orphan, Reason, Record, Recovery,
    Refused, Stats, Storable, SyncFailed,
};
