//! Takes the log to the disk: every interval, and at once when somebody waits (all who wait share
//! one write).
//!
//! Promises that a success means the record is on the disk as far as the kernel knows, and that
//! after a failed write nothing is ever tried again through the same file: the kernel has dropped
//! the error and possibly the data, so the segment is ended, its waiters fail, and appends go on in
//! another file. Runs on a thread of its own, so that a slow disk delays only those who wait for it.

use crate::core::{AHEAD, Core, delivered, lock};
use crate::disk::{self, PAGE};
use crate::map::Mapped;
use crate::segment::Segment;
use crate::types::SyncFailed;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls that wait by callback at most.
const MAX_WAITING: usize = 1 << 16;
/// Pages kept resident behind what is on the disk.
const BEHIND: usize = 64 << 10;

type Callback = Box<dyn FnOnce(Result<(), SyncFailed>) + Send>;

#[derive(Default)]
pub(crate) struct Syncing {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Up to here: on the disk, or in `failed`.
    settled: u64,
    wanted: u64,
    /// From the first to the last number whose write failed, so some between them may be safe: they
    /// are called failed too.
    failed: Option<(u64, u64, SyncFailed)>,
    callbacks: Vec<(u64, Callback)>,
    stop: bool,
    stopped: bool,
}

impl State {
    fn verdict(&self, seq: u64) -> Option<Result<(), SyncFailed>> {
        match self.failed {
            Some((first, last, error)) if first <= seq && seq <= last => Some(Err(error)),
            _ if seq <= self.settled => Some(Ok(())),
            _ if self.stopped => Some(Err(SyncFailed::Closed)),
            _ => None,
        }
    }
}

impl Syncing {
    pub(crate) fn wait(&self, seq: u64, timeout: Duration) -> Result<(), SyncFailed> {
        let until = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if let Some(verdict) = state.verdict(seq) {
                return verdict;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SyncFailed::Timeout);
            }
            state.wanted = state.wanted.max(seq);
            self.work.notify_one();
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn call_back(&self, seq: u64, callback: Callback) {
        let mut state = lock(&self.state);
        let verdict = match state.verdict(seq) {
            None if state.callbacks.len() >= MAX_WAITING => Err(SyncFailed::Busy(MAX_WAITING)),
            None => {
                state.wanted = state.wanted.max(seq);
                state.callbacks.push((seq, callback));
                self.work.notify_one();
                return;
            }
            Some(verdict) => verdict,
        };
        drop(state);
        callback(verdict);
    }

    pub(crate) fn settled(&self) -> u64 {
        lock(&self.state).settled
    }

    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_all();
    }

    /// Waits for work or the next interval; true: the last round.
    fn next_round(&self, interval: Duration) -> bool {
        let until = Instant::now() + interval;
        let mut state = lock(&self.state);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.stop || state.wanted > state.settled || left.is_zero() {
                return state.stop;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn settle(&self, target: u64, result: Result<(), SyncFailed>, stopped: bool) {
        let mut state = lock(&self.state);
        if let Err(error) = result
            && target > state.settled
        {
            let first = state.failed.map_or(state.settled + 1, |f| f.0);
            state.failed = Some((first, target, error));
        }
        state.settled = state.settled.max(target);
        state.stopped |= stopped;
        let mut told = Vec::new();
        let mut i = 0;
        while i < state.callbacks.len() {
            match state.callbacks.get(i).and_then(|(seq, _)| state.verdict(*seq)) {
                Some(verdict) => told.push((state.callbacks.swap_remove(i).1, verdict)),
                None => i += 1,
            }
        }
        drop(state);
        self.done.notify_all();
        for (callback, verdict) in told {
            // A caller's panic must not end the thread everybody waits for.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(verdict)));
        }
    }
}

/// The thread.
pub(crate) fn run(core: &Core, interval: Duration) {
    loop {
        let last = core.syncing.next_round(interval);
        round(core, last);
        if last {
            return;
        }
    }
}

/// One round, for [`crate::Steps`].
pub(crate) fn step(core: &Core) {
    round(core, false);
}

struct Dirty {
    segment: Arc<Segment>,
    map: Arc<Mapped>,
    to: usize,
    active: bool,
}

/// Writes everything appended so far, and settles it.
fn round(core: &Core, last: bool) {
    let (dirty, mut target) = collect(core);
    let mut result = Ok(());
    for d in &dirty {
        let from = usize::try_from(d.segment.synced.load(Ordering::Relaxed)).unwrap_or(0);
        if from >= d.to {
            continue;
        }
        core.counts.syncs.fetch_add(1, Ordering::Relaxed);
        match flush(core, d, from) {
            Ok(()) => {
                d.segment.synced.store(d.to as u64, Ordering::Relaxed);
                ready_again(d, from);
            }
            Err(e) => {
                core.counts.sync_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %e, "journal: writing to the disk failed; going on in another file");
                if d.active {
                    target = abandon(core, d);
                }
                result = Err(SyncFailed::Io);
            }
        }
    }
    if result.is_ok()
        && let Some(to) = gone(core, &dirty, target)
    {
        core.syncing.settle(to, Err(SyncFailed::Detached), false);
    }
    core.syncing.settle(target, result, last);
}

/// The first time, the file's name has to reach the disk too.
fn flush(core: &Core, d: &Dirty, from: usize) -> io::Result<()> {
    if from == 0 {
        core.disk.sync_names(&core.dir)?;
        disk::sync_dir(&core.dir)?;
    }
    core.disk.sync(&d.segment.path(), from as u64, d.to as u64)?;
    d.map.flush(from, d.to)
}

fn collect(core: &Core) -> (Vec<Dirty>, u64) {
    let mut head = lock(&core.head);
    let mut dirty = Vec::new();
    for (segment, map) in head.retired.drain(..) {
        let to = usize::try_from(segment.end()).unwrap_or(0);
        dirty.push(Dirty { segment, map, to, active: false });
    }
    if let Some(a) = &head.active {
        let (segment, map) = (Arc::clone(&a.segment), Arc::clone(&a.map));
        dirty.push(Dirty { segment, map, to: a.at, active: true });
    }
    (dirty, head.next_seq - 1)
}

/// A write to a file without a name succeeds and keeps nothing: the last number that is in one. One that
/// went because all of it was delivered is not missed.
fn gone(core: &Core, dirty: &[Dirty], target: u64) -> Option<u64> {
    let linked = |s: &Segment| s.file().is_ok_and(|file| disk::linked(&file, s.bytes()));
    let removed =
        dirty.iter().rposition(|d| !linked(&d.segment) && !delivered(&d.segment, &lock(&core.committed)));
    if core.detached.load(Ordering::Relaxed) {
        return Some(target);
    }
    let removed = removed?;
    core.wake_keeper();
    Some(dirty.get(removed + 1).map_or(target, |next| next.segment.header.base - 1))
}

/// Pages just written are read-only until somebody faults on them: take the faults here. Pages far
/// behind are given back.
fn ready_again(d: &Dirty, from: usize) {
    let page = d.to & !(PAGE - 1);
    let behind = page.saturating_sub(BEHIND);
    let start = from.saturating_sub(BEHIND) & !(PAGE - 1);
    d.map.release(start, behind);
    if d.active {
        d.map.populate(page, page + AHEAD / 4);
    }
}

/// Ends the active segment, whose file failed, and returns the last number that may be in it: calls append
/// while the disk is at work, and no later round looks at this file, so they fail with the rest.
fn abandon(core: &Core, d: &Dirty) -> u64 {
    let mut head = lock(&core.head);
    if head.active.as_ref().is_some_and(|a| a.segment.ordinal == d.segment.ordinal) {
        core.seal(&mut head, false);
        core.roll(&mut head);
    }
    head.retired.retain(|(segment, _)| segment.ordinal != d.segment.ordinal);
    let last = head.next_seq - 1;
    drop(head);
    core.wake_keeper();
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Disk;
    use crate::faults::tests::Sick;
    use crate::frame::FrameKind;
    use crate::types::{Kind, Options};
    use crate::{Journal, Steps};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    use std::sync::{OnceLock, Weak};
    use uuid::Uuid;

    const LONG: Duration = Duration::from_secs(10);

    fn open(dir: &std::path::Path) -> (Arc<Journal>, Arc<Sick>) {
        let (sync_interval, disk) = (Duration::from_secs(5), Arc::new(Sick::default()));
        let options = Options { max_open_calls: 4, sync_interval, disk: disk.clone(), ..Options::new(dir) };
        (Journal::open(options).unwrap().journal, disk)
    }

    fn append(journal: &Journal) -> u64 {
        journal.core().append(FrameKind::Data, Uuid::from_u128(1), b"x").unwrap()
    }

    fn active_file(journal: &Journal) -> std::path::PathBuf {
        lock(&journal.core().head).active.as_ref().unwrap().segment.path()
    }

    #[test]
    fn after_a_failed_write_its_waiters_fail_and_the_next_goes_through_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, disk) = open(dir.path());
        let before = append(&journal);
        assert_eq!(journal.wait_durable(before, LONG), Ok(()));
        let broken = active_file(&journal);
        disk.fail_sync.store(true, Ordering::Relaxed);
        let lost = append(&journal);
        assert_eq!(journal.wait_durable(lost, LONG), Err(SyncFailed::Io));
        disk.fail_sync.store(false, Ordering::Relaxed);
        let after = append(&journal);
        assert_eq!(journal.wait_durable(after, LONG), Ok(()));
        // The verdicts stay.
        assert_eq!(journal.wait_durable(lost, LONG), Err(SyncFailed::Io));
        assert_eq!(journal.wait_durable(before, LONG), Ok(()));
        let stats = journal.stats();
        assert_eq!(stats.sync_failures, 1, "the broken file was tried again");
        assert_ne!(active_file(&journal), broken);
        let mut records = Vec::new();
        journal.reader().next(Duration::ZERO, 10, usize::MAX, &mut records);
        assert_eq!(records.len(), 3, "the failed one is still delivered");
        assert!(records.iter().all(|r| r.kind == Kind::Data));
    }

    /// A disk that takes its time: meanwhile calls append. Then it fails.
    #[derive(Debug, Default)]
    struct Slow {
        core: OnceLock<Weak<Core>>,
        meanwhile: AtomicUsize,
        last: AtomicU64,
    }

    impl Disk for Slow {
        fn sync(&self, _: &Path, _: u64, _: u64) -> io::Result<()> {
            let meanwhile = self.meanwhile.swap(0, Ordering::Relaxed);
            let Some(core) = self.core.get().and_then(Weak::upgrade).filter(|_| meanwhile > 0) else {
                return Ok(());
            };
            for _ in 0..meanwhile {
                let seq = core.append(FrameKind::Data, Uuid::from_u128(1), &[0; 12_000]).unwrap();
                self.last.store(seq, Ordering::Relaxed);
            }
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }

    fn open_slow(dir: &Path) -> (Arc<Journal>, Steps, Arc<Slow>) {
        let disk = Arc::new(Slow::default());
        let options = Options { max_open_calls: 4, max_bytes: 1 << 20, ..Options::new(dir) };
        let options = Options { segment_bytes: 64 << 10, disk: disk.clone(), ..options };
        let (opened, mut steps) = Journal::open_stepwise(options).unwrap();
        disk.core.set(Arc::downgrade(opened.journal.core())).unwrap();
        steps.keep();
        (opened.journal, steps, disk)
    }

    /// As many as fit beside the first, and as many as make the log go on in the next segment.
    #[test]
    fn what_came_while_the_disk_was_failing_is_not_called_durable() {
        for meanwhile in [1, 6] {
            let dir = tempfile::tempdir().unwrap();
            let (journal, mut steps, disk) = open_slow(dir.path());
            let first = append(&journal);
            let broken = active_file(&journal);
            disk.meanwhile.store(meanwhile, Ordering::Relaxed);
            steps.sync();
            steps.keep();
            steps.sync();
            assert_ne!(active_file(&journal), broken);
            let last = disk.last.load(Ordering::Relaxed);
            assert_eq!(last, first + meanwhile as u64);
            for seq in first..=last {
                assert_eq!(journal.wait_durable(seq, Duration::ZERO), Err(SyncFailed::Io), "{seq} of {last}");
            }
            let after = append(&journal);
            steps.sync();
            assert_eq!(journal.wait_durable(after, Duration::ZERO), Ok(()));
        }
    }

    /// Removed, and left by the log for the next segment, before its last records were on the disk.
    #[test]
    fn what_is_in_a_removed_file_is_not_called_durable_after_the_log_went_on() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, steps, _) = open_slow(dir.path());
        let gone = append(&journal);
        std::fs::remove_file(active_file(&journal)).unwrap();
        assert!(journal.core().roll(&mut lock(&journal.core().head)));
        let sound = append(&journal);
        steps.sync();
        assert_eq!(journal.wait_durable(gone, Duration::ZERO), Err(SyncFailed::Detached));
        assert_eq!(
            journal.wait_durable(sound, Duration::ZERO),
            Ok(()),
            "in the next file, in the same round"
        );
    }

    #[test]
    fn what_was_delivered_and_deleted_before_its_write_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, mut steps, _) = open_slow(dir.path());
        let seq = append(&journal);
        let file = active_file(&journal);
        assert!(journal.core().roll(&mut lock(&journal.core().head)));
        let mut records = Vec::new();
        journal.reader().next(Duration::ZERO, 1, usize::MAX, &mut records);
        journal.commit(&records[0].mark);
        steps.keep();
        assert!(!file.exists());
        steps.sync();
        assert_eq!(journal.wait_durable(seq, Duration::ZERO), Ok(()));
    }

    #[test]
    fn callbacks_learn_of_the_failure_and_a_panic_in_one_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, disk) = open(dir.path());
        disk.fail_sync.store(true, Ordering::Relaxed);
        let seq = append(&journal);
        let failed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&failed);
        // Hold the sync thread at its first step until both are registered.
        let head = lock(&journal.core().head);
        journal.core().syncing.call_back(seq, Box::new(|_| panic!("a caller's mistake")));
        journal
            .core()
            .syncing
            .call_back(seq, Box::new(move |r| seen.store(r == Err(SyncFailed::Io), Ordering::SeqCst)));
        drop(head);
        assert_eq!(journal.wait_durable(seq, LONG), Err(SyncFailed::Io));
        disk.fail_sync.store(false, Ordering::Relaxed);
        let after = append(&journal);
        assert_eq!(journal.wait_durable(after, LONG), Ok(()));
        assert!(failed.load(Ordering::SeqCst));
    }

    #[test]
    fn a_wait_ends_with_its_time_and_the_number_of_waiters_is_bounded() {
        let syncing = Syncing::default();
        assert_eq!(syncing.wait(1, Duration::from_millis(5)), Err(SyncFailed::Timeout));
        for _ in 0..MAX_WAITING {
            syncing.call_back(1, Box::new(|r| assert_eq!(r, Ok(()))));
        }
        let refused = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&refused);
        syncing.call_back(
            1,
            Box::new(move |r| seen.store(r == Err(SyncFailed::Busy(MAX_WAITING)), Ordering::SeqCst)),
        );
        assert!(refused.load(Ordering::SeqCst));
        syncing.settle(1, Ok(()), true);
        assert_eq!(syncing.wait(1, LONG), Ok(()));
        assert_eq!(syncing.wait(2, LONG), Err(SyncFailed::Closed));
    }
}
