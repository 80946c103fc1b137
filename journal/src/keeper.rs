//! Everything the writer must not wait for: pages and segments made ready ahead, files given their
//! names, the cursor written, delivered segments deleted, losses recorded, and a look at whether the
//! files are still there.
//!
//! One thread. It wakes every interval, when the writer nears the end of what is ready, and when a
//! segment can go.

use crate::core::{AHEAD, Core, delivered, lock, now_micros};
use crate::cursor::{self, Cursor, Delivered};
use crate::disk;
use crate::producer;
use crate::segment::{NEW, Segment, Spare};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub(crate) const LOCK: &str = "lock";
/// Files are looked at this often.
const LOOK: Duration = Duration::from_millis(250);
/// After a failed attempt to make a file, none is made for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// The cursor reaches the disk this often; losing it costs duplicates only.
const CURSOR_SYNC: Duration = Duration::from_secs(1);
/// While nothing fits, losses are recorded in what room is left this often.
const LOSSES: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    core: Arc<Core>,
    cursor: Cursor,
    written: Delivered,
    unsynced: bool,
    cursor_due: Instant,
    look_due: Instant,
    losses_due: Instant,
    paused_until: Option<Instant>,
    next_file: u64,
}

impl Keeper {
    pub(crate) fn new(core: Arc<Core>, cursor: Cursor, written: Delivered) -> Keeper {
        let now = core.disk.now();
        Keeper {
            core,
            cursor,
            written,
            unsynced: false,
            cursor_due: now,
            look_due: now + LOOK,
            losses_due: now,
            paused_until: None,
            next_file: 1,
        }
    }

    pub(crate) fn run(mut self, interval: Duration) {
        let tick = interval.min(LOOK);
        while !self.core.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(tick);
            self.round();
        }
        self.finish();
    }

    pub(crate) fn round(&mut self) {
        self.core.keeper_asked.store(false, Ordering::Relaxed);
        self.pages();
        self.names();
        self.deliver();
        self.spares();
        let now = self.core.disk.now();
        if now >= self.losses_due && !lock(&self.core.head).waiting.is_empty() {
            self.core.record_losses(false);
            self.losses_due = now + LOSSES;
        }
        if now >= self.look_due {
            self.look();
            self.look_due = self.core.disk.now() + LOOK;
        }
    }

    /// Makes pages ready ahead of the writer.
    fn pages(&self) {
        loop {
            let (segment, map, from, to) = {
                let head = lock(&self.core.head);
                let Some(a) = &head.active else { return };
                let from = a.populated.max(a.at);
                (a.segment.ordinal, Arc::clone(&a.map), from, (a.at + AHEAD).min(a.map.len()))
            };
            if from >= to {
                return;
            }
            map.populate(from & !(disk::PAGE - 1), to);
            let mut head = lock(&self.core.head);
            if let Some(a) = &mut head.active
                && a.segment.ordinal == segment
            {
                a.populated = to;
            }
        }
    }

    /// Gives segments in use their final names.
    fn names(&mut self) {
        let unnamed: Vec<Arc<Segment>> = lock(&self.core.log)
            .iter()
            .rev()
            .take_while(|s| s.path().extension().is_some_and(|e| e == NEW))
            .map(Arc::clone)
            .collect();
        for segment in unnamed {
            let path = self.core.dir.join(segment.header.file_name());
            match fs::rename(segment.path(), &path) {
                Ok(()) => segment.set_path(path),
                // Removed by others; the next look will tell.
                Err(e) if e.kind() == io::ErrorKind::NotFound => segment.set_path(path),
                Err(e) => self.failed("name a segment", &e),
            }
        }
    }

    /// Writes down how far delivery came, then deletes what lies behind it.
    pub(crate) fn deliver(&mut self) {
        let mark = *lock(&self.core.committed);
        let at = Delivered { boot: mark.boot, seq: mark.seq };
        if at > self.written {
            match self.cursor.write(at) {
                Ok(()) => {
                    self.written = at;
                    self.unsynced = true;
                }
                Err(e) => self.failed("write the cursor", &e),
            }
        }
        if self.unsynced && self.core.disk.now() >= self.cursor_due {
            let asked = self.core.disk.sync(&self.core.dir.join(cursor::NAME), 0, u64::MAX);
            if let Err(e) = asked.and_then(|()| self.cursor.sync()) {
                self.failed("sync the cursor", &e);
            }
            self.unsynced = false;
            self.cursor_due = self.core.disk.now() + CURSOR_SYNC;
        }
        loop {
            let Some(segment) = lock(&self.core.log).pop_front_if(|s| delivered(s, &mark)) else { return };
            match fs::remove_file(segment.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => self.failed("delete a segment", &e),
                _ => {}
            }
        }
    }

    /// Prepares the next segments, as far as the bound allows.
    fn spares(&mut self) {
        while lock(&self.core.head).spares.len() < self.core.plan.spares() {
            let paused = self.paused_until.is_some_and(|until| self.core.disk.now() < until);
            let grows = self.core.plan.may_grow(self.core.footprint.load(Ordering::Relaxed));
            if paused || !grows || self.core.detached.load(Ordering::Relaxed) {
                // Ask no more until the next interval.
                self.core.keeper_asked.store(true, Ordering::Relaxed);
                return;
            }
            match self.prepare() {
                Ok(spare) => self.offer(spare),
                Err(e) => {
                    self.failed("make a segment", &e);
                    self.paused_until = Some(self.core.disk.now() + PAUSE);
                }
            }
        }
    }

    fn offer(&mut self, spare: Spare) {
        let mut head = lock(&self.core.head);
        head.spares.push_back(spare);
        if head.active.is_none() && !head.closed {
            self.core.roll(&mut head);
        }
        self.paused_until = None;
    }

    pub(crate) fn prepare(&mut self) -> io::Result<Spare> {
        let core = &self.core;
        core.disk.reserve(&core.dir, core.plan.segment)?;
        let number = self.next_file;
        self.next_file += 1;
        Spare::prepare(&core.dir, core.producer.boot, number, core.plan.segment, &core.footprint)
    }

    /// Whether the files are still where they were; if not, makes new ones.
    fn look(&mut self) {
        self.look_at_sealed();
        if self.in_place() {
            return;
        }
        self.core.detached.store(true, Ordering::Relaxed);
        match self.reopen() {
            Ok(()) => {
                self.core.detached.store(false, Ordering::Relaxed);
                self.core.counts.reopened.fetch_add(1, Ordering::Relaxed);
                tracing::error!(dir = %self.core.dir.display(), "journal: files were removed; made again");
            }
            Err(e) => self.failed("make the removed files again", &e),
        }
    }

    fn look_at_sealed(&self) {
        let sealed: Vec<Arc<Segment>> =
            lock(&self.core.log).iter().filter(|s| s.sealed()).map(Arc::clone).collect();
        for segment in sealed {
            let whole = fs::metadata(segment.path()).is_ok_and(|m| m.len() >= segment.end());
            if !whole && !segment.lost.swap(true, Ordering::Relaxed) {
                self.core.counts.files_lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(path = %segment.path().display(), "journal: a segment was removed or cut");
            }
        }
    }

    fn in_place(&self) -> bool {
        let core = &self.core;
        let lock_ok =
            lock(&core.lock).as_ref().is_none_or(|file| disk::in_place(file, &core.dir.join(LOCK), 0));
        let spare_ok = lock(&core.head).spares.iter().all(Spare::in_place);
        let active = lock(&core.head).active.as_ref().map(|a| Arc::clone(&a.segment));
        let active_ok =
            active.is_none_or(|s| s.file().is_ok_and(|file| disk::in_place(&file, &s.path(), s.bytes())));
        lock_ok
            && spare_ok
            && active_ok
            && core.calls.in_place()
            && self.cursor.in_place(&core.dir)
            && core.dir.join(producer::NAME).exists()
    }

    /// Makes the directory and all files again. The sequence goes on; what was in the removed files
    /// can be read as long as this process holds them open.
    fn reopen(&mut self) -> io::Result<()> {
        let core = Arc::clone(&self.core);
        disk::create_dir(&core.dir)?;
        self.relock()?;
        producer::store(&core.dir, &core.producer)?;
        self.cursor = Cursor::open(&core.dir, self.cursor.generation())?;
        self.cursor.write(self.written)?;
        core.calls.rebuild()?;
        let old = {
            let mut head = lock(&core.head);
            head.life = core.calls.life();
            core.note(&mut head);
            std::mem::take(&mut head.spares)
        };
        for spare in old {
            let _ = fs::remove_file(spare.path());
        }
        let spare = self.prepare()?;
        let mut head = lock(&core.head);
        head.spares.push_back(spare);
        if !head.closed {
            core.roll(&mut head);
        }
        drop(head);
        self.names();
        disk::sync_dir(&core.dir)
    }

    fn relock(&self) -> io::Result<()> {
        let path: PathBuf = self.core.dir.join(LOCK);
        let mut held = lock(&self.core.lock);
        if held.as_ref().is_some_and(|file: &File| disk::in_place(file, &path, 0)) {
            return Ok(());
        }
        match disk::lock(&path)? {
            Some(file) => *held = Some(file),
            None => return Err(io::Error::other("another process has taken the directory")),
        }
        Ok(())
    }

    /// The last round of a close.
    fn finish(&mut self) {
        self.names();
        self.deliver();
        let _ = self.cursor.sync();
        let spares = std::mem::take(&mut lock(&self.core.head).spares);
        for spare in spares {
            let _ = fs::remove_file(spare.path());
        }
    }

    fn failed(&self, doing: &'static str, error: &io::Error) {
        let before = self.core.counts.io_errors.fetch_add(1, Ordering::Relaxed);
        // The counter goes on; the log would drown in a full disk.
        if before.is_power_of_two() || before == 0 {
            tracing::error!(%error, doing, failures = before + 1, at = now_micros(), "journal: input/output error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Core;
    use crate::faults::tests::Sick;
    use crate::frame::FrameKind;
    use crate::losses;
    use crate::plan::RESERVE;
    use crate::types::{Kind, Options, Reason, Record};
    use crate::{Journal, Opened};
    use uuid::Uuid;

    fn open(dir: &std::path::Path) -> (Arc<Journal>, Arc<Core>, Arc<Sick>) {
        let disk = Arc::new(Sick::default());
        let options = Options {
            max_bytes: 1 << 20,
            segment_bytes: 4096,
            max_open_calls: 4,
            sync_interval: Duration::from_millis(5),
            disk: disk.clone(),
            ..Options::new(dir)
        };
        let Opened { journal, .. } = Journal::open(options).unwrap();
        let core = Arc::clone(journal.core());
        (journal, core, disk)
    }

    fn wait(what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < until, "never: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn named(records: &[Record]) -> Vec<u64> {
        records
            .iter()
            .filter_map(|r| match r.kind {
                Kind::Loss { first, last, .. } => Some(first..=last),
                Kind::Data | Kind::Open => None,
            })
            .flatten()
            .collect()
    }

    #[test]
    fn a_full_disk_refuses_what_does_not_fit_and_goes_on_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, core, disk) = open(dir.path());
        wait("spares", || lock(&core.head).spares.len() == 2);
        disk.no_space.store(true, Ordering::Relaxed);
        let mut kept = 0;
        let refused = loop {
            match core.append(FrameKind::Data, Uuid::from_u128(1), &[7; 500]) {
                Ok(_) => kept += 1,
                Err(refused) => break refused,
            }
        };
        // What was made ready is used to the end; nothing is written to blocks that are not there.
        assert_eq!((kept >= 12, refused.reason), (true, Reason::Io));
        assert!(!journal.has_room());
        wait("tried", || journal.stats().io_errors > 0);
        let again = core.append(FrameKind::Data, Uuid::from_u128(1), &[7; 500]).unwrap_err();
        disk.no_space.store(false, Ordering::Relaxed);
        wait("room", || journal.has_room());
        core.append(FrameKind::Data, Uuid::from_u128(1), &[7; 500]).unwrap();
        let mut records = Vec::new();
        journal.reader().next(Duration::ZERO, 1000, usize::MAX, &mut records);
        assert_eq!(named(&records), [refused.seq, again.seq]);
        assert_eq!(records.iter().filter(|r| r.kind == Kind::Data).count(), kept + 1);
    }

    #[test]
    fn a_close_records_all_losses_in_the_room_kept_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, core, disk) = open(dir.path());
        wait("spares", || lock(&core.head).spares.len() == 2);
        disk.no_space.store(true, Ordering::Relaxed);
        let room = || lock(&core.head).active.as_ref().unwrap().room();
        let mut lost = Vec::new();
        // Until no loss can be recorded but by the close.
        while !lock(&core.head).spares.is_empty() || room() >= RESERVE + losses::FRAME {
            lost.extend(core.append(FrameKind::Data, Uuid::from_u128(1), b"small").err());
        }
        assert!(room() >= RESERVE, "the room is not kept: {}", room());
        for n in 0..losses::MAX {
            let len = if n % 2 == 0 { 100_000 } else { 500 };
            lost.extend(core.append(FrameKind::Data, Uuid::from_u128(1), &vec![7; len]).err());
        }
        assert_eq!(lock(&core.head).waiting.ranges().len(), losses::MAX);
        journal.close();
        let mut records = Vec::new();
        journal.reader().next(Duration::ZERO, 1000, usize::MAX, &mut records);
        assert_eq!(named(&records), lost.iter().map(|l| l.seq).collect::<Vec<_>>());
    }

    #[test]
    fn failed_attempts_are_not_repeated_in_a_hurry() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, core, disk) = open(dir.path());
        disk.no_space.store(true, Ordering::Relaxed);
        for _ in 0..5000 {
            let _ = core.append(FrameKind::Data, Uuid::from_u128(1), &[7; 500]);
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(journal.stats().io_errors <= 2, "{:?}", journal.stats());
    }
}
