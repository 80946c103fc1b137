//! The journal as callers see it, and how it opens and closes.

use crate::core::{Core, Counts, Head, lock};
use crate::cursor::{self, Cursor, Delivered};
use crate::disk;
use crate::frame::{self, FrameKind};
use crate::keeper::{Keeper, LOCK};
use crate::open_calls::{self, Geometry, Life, OpenCalls, Slot};
use crate::plan::Plan;
use crate::producer::{self, Producer};
use crate::reader::Reader;
use crate::recover::{self, Known, Scanned};
use crate::segment::{Room, Segment};
use crate::sync;
use crate::types::{
    ClaimError, Lost, Mark, Missing, OpenError, Opened, Options, Orphan, Recovery, Refused, Stats, Storable,
    SyncFailed,
};
use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A durable, bounded queue in a directory. See the crate's documentation.
pub struct Journal {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the directory, whatever state it is in, and starts a new boot.
    pub fn open(options: Options) -> Result<Opened, OpenError> {
        let (dir, interval) = (options.dir.clone(), options.sync_interval);
        let (opened, keeper) = Journal::prepare(options)?;
        let failed = |source| OpenError::Io { doing: "start a thread", dir, source };
        let threads = start(&opened.journal.core, keeper, interval).map_err(failed)?;
        *lock(&opened.journal.threads) = threads;
        Ok(opened)
    }

    /// The same without threads: for simulations, which do the threads' work step by step.
    pub fn open_stepwise(options: Options) -> Result<(Opened, Steps), OpenError> {
        let (opened, keeper) = Journal::prepare(options)?;
        let core = Arc::clone(&opened.journal.core);
        Ok((opened, Steps { core, keeper }))
    }

    fn prepare(options: Options) -> Result<(Opened, Keeper), OpenError> {
        let dir = options.dir.clone();
        let failed = |doing| {
            let dir = dir.clone();
            move |source| OpenError::Io { doing, dir, source }
        };
        let wanted = Geometry::new(options.max_open_calls, options.slot_bytes);
        let plan = Plan::new(&options, wanted)?;
        disk::create_dir(&dir).map_err(failed("make the directory"))?;
        let lock_file = disk::lock_patiently(&dir.join(LOCK)).map_err(failed("take the lock"))?;
        let Some(lock_file) = lock_file else { return Err(OpenError::Locked { dir }) };
        remove_leftovers(&dir);

        let mut life = Former::load(&dir, wanted);
        let scanned = life.scan(&dir, plan.quarantine, true).map_err(failed("list the segments"))?;
        let producer = life.next_producer(&scanned);
        producer::store(&dir, &producer).map_err(failed("store the producer id"))?;
        let cursor = Cursor::open(&dir, life.cursor.generation).map_err(failed("open the cursor"))?;

        let recovery = life.report(&scanned);
        let (orphans, intents) = life.orphans(&scanned);
        let (geometry, plan) = roomy_enough(&options, wanted, plan, &orphans);
        let new_life = Life { boot: producer.boot, ..Life::default() };
        let calls = OpenCalls::create(&dir, geometry, new_life, &orphans, &recovery.missing)
            .map_err(failed("make the table of open calls"))?;

        let delivered = life.cursor.delivered.unwrap_or_default();
        let core = Arc::new(assemble(&options, plan, producer, calls, scanned, delivered));
        *lock(&core.lock) = Some(lock_file);
        let mut keeper = Keeper::new(Arc::clone(&core), cursor, delivered);
        first_segment(&core, &mut keeper);
        let journal = Arc::new(Journal { core, threads: Mutex::new(Vec::new()) });
        let orphans = orphans.into_iter().chain(intents).collect();
        Ok((Opened { journal, orphans, recovery }, keeper))
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub fn producer(&self) -> Uuid {
        self.core.producer.id
    }

    pub fn boot(&self) -> u64 {
        self.core.producer.boot
    }

    /// Keeps a record and says its number. It survives the process from here on; the machine, after
    /// the next sync. No system call but, every half mebibyte, a wake-up that does not wait.
    pub fn append<S: Storable + ?Sized>(&self, record: &S) -> Result<u64, Refused> {
        self.core.append(FrameKind::Data, record.id(), record.bytes())
    }

    /// Keeps the intent of a call that is about to be made, to be waited for with
    /// [`Journal::when_durable`]. Should the log then hold no record of the call's end (a record with the
    /// same id), the next open reports it as an [`Orphan`], also after a power cut.
    pub fn append_intent<S: Storable + ?Sized>(&self, intent: &S) -> Result<u64, Refused> {
        self.core.append(FrameKind::Intent, intent.id(), intent.bytes())
    }

    /// Keeps the intent of a call that will last. Unlike [`Journal::append_intent`], it is no reason for
    /// the next open to report the call: the table of open calls is.
    pub fn append_open<S: Storable + ?Sized>(&self, intent: &S) -> Result<u64, Refused> {
        self.core.append(FrameKind::Open, intent.id(), intent.bytes())
    }

    /// Keeps a record that says that the numbers are missing: for [`Recovery::missing`]. A record speaks
    /// for its own producer, so a range of another one must not be given.
    pub fn append_loss(&self, missing: &Missing) -> Result<u64, Refused> {
        self.core.append_loss(missing)
    }

    /// Appends the intents of the open calls that are `due`, each once in its life, as they stand in the
    /// table. A call may end at the same moment: then its intent comes after its end. Returns how many
    /// there were. It reads files: not for the threads that serve calls.
    pub fn append_open_calls(&self, due: impl Fn(Uuid) -> bool) -> usize {
        let mut appended = 0;
        self.core.calls.open(due, |id, bytes| {
            let kept = self.core.append(FrameKind::Open, id, bytes).is_ok();
            appended += usize::from(kept);
            kept
        });
        appended
    }

    /// Waits until the record is on the disk. Blocks: not for async tasks.
    pub fn wait_durable(&self, seq: u64, timeout: Duration) -> Result<(), SyncFailed> {
        self.core.syncing.wait(self.given_out(seq), timeout)
    }

    /// Calls back when the record is on the disk, or is known not to get there: from the sync thread,
    /// or at once. The callback must be quick; it is the place to complete a future.
    pub fn when_durable(&self, seq: u64, callback: impl FnOnce(Result<(), SyncFailed>) + Send + 'static) {
        self.core.syncing.call_back(self.given_out(seq), Box::new(callback));
    }

    /// Nothing waits for a number that does not exist yet.
    fn given_out(&self, seq: u64) -> u64 {
        seq.min(lock(&self.core.head).next_seq - 1)
    }

    /// Bytes of the largest record there is room for in a segment.
    pub fn max_record(&self) -> usize {
        self.core.plan.max_frame() - frame::HEADER - 8
    }

    /// Whether as much as half a segment can still be appended: to be asked before a call is
    /// accepted, where calls are refused rather than lost.
    pub fn has_room(&self) -> bool {
        self.core.has_room()
    }

    /// Enters a call into the table of open calls. Survives the process from here on.
    pub fn claim<S: Storable + ?Sized>(&self, intent: &S) -> Result<Slot, ClaimError> {
        self.core.calls.claim(intent.id(), intent.bytes())
    }

    /// To be called once the orphans and the missing ranges of [`Opened`] are in the log: they are not
    /// reported again. If the process ends before, the next open reports them once more, except
    /// orphans of whose id there is a record by then.
    pub fn recovered(&self) {
        self.core.calls.recovered();
    }

    /// A reader that starts after the last committed record.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader::new(Arc::clone(&self.core))
    }

    /// Everything before the mark was delivered. Cheap: the cursor is written by the next round of
    /// the keeper, and what was committed in between is delivered again after a crash.
    pub fn commit(&self, mark: &Mark) {
        self.core.commit(mark);
    }

    pub fn stats(&self) -> Stats {
        let core = &self.core;
        let committed = *lock(&core.committed);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (open_calls, abandoned_calls, claims_refused) = core.calls.counts();
        let segments = lock(&core.log).len() as u64;
        let synced_seq = core.syncing.settled();
        let head = lock(&core.head);
        let at_end = head
            .active
            .as_ref()
            .is_some_and(|a| a.segment.ordinal == committed.ordinal && a.at as u64 == committed.at);
        let pending = if at_end { 0 } else { head.records.saturating_sub(committed.index) };
        let (lost, last_seq): (Lost, u64) = (head.lost, head.next_seq - 1);
        let (appended, appended_bytes) = (head.appended, head.appended_bytes);
        let lost_unrecorded = head.waiting.total();
        drop(head);
        let oldest = if pending == 0 { None } else { core.oldest_pending() };
        Stats {
            disk_bytes: load(&core.footprint) + core.plan.fixed,
            max_bytes: core.plan.max_bytes,
            segments,
            pending,
            oldest_pending: oldest.map(|t| SystemTime::now().duration_since(t).unwrap_or_default()),
            appended,
            appended_bytes,
            last_seq,
            synced_seq,
            lost,
            lost_unrecorded,
            open_calls,
            abandoned_calls,
            claims_refused,
            syncs: load(&core.counts.syncs),
            sync_failures: load(&core.counts.sync_failures),
            io_errors: load(&core.counts.io_errors),
            reopened: load(&core.counts.reopened),
            files_lost: load(&core.counts.files_lost),
            corrupt_regions: load(&core.counts.corrupt_regions),
            corrupt_bytes: load(&core.counts.corrupt_bytes),
        }
    }

    /// Records the losses that wait, writes everything to the disk, ends the threads and lets go of
    /// the directory. Appends are refused from here on; what is open in the table stays for the next
    /// open to report. Dropping the journal does the same.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return;
        }
        self.core.record_losses(true);
        self.core.stop.store(true, Ordering::Release);
        self.core.syncing.stop();
        self.core.wake_keeper();
        for thread in threads {
            // A durability callback may be the last to hold the journal: it cannot wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
        {
            let mut head = lock(&self.core.head);
            self.core.note(&mut head);
            self.core.seal(&mut head, false);
            head.life = None;
        }
        self.core.calls.close();
        if let Some(file) = lock(&self.core.lock).take() {
            // Closing it would not do while a child of this process is between fork and exec.
            let _ = file.unlock();
        }
        self.core.bell.ring();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// The work of a journal's threads, to be done by hand.
pub struct Steps {
    core: Arc<Core>,
    keeper: Keeper,
}

impl Steps {
    /// One round of the keeper: pages, names, cursor, segments, losses, a look at the files.
    pub fn keep(&mut self) {
        self.keeper.round();
    }

    /// One round of the sync thread.
    pub fn sync(&self) {
        sync::step(&self.core);
    }
}

/// What earlier lives left beside the log.
pub(crate) struct Former {
    pub found: producer::Found,
    /// To explain files whose headers are lost.
    pub known: Producer,
    pub cursor: cursor::Found,
    pub table: open_calls::Found,
    ids: HashSet<Uuid>,
}

impl Former {
    pub(crate) fn load(dir: &Path, wanted: Geometry) -> Former {
        let found = producer::load(dir);
        let known = match &found {
            producer::Found::Ours(p) | producer::Found::Copied(p) => *p,
            producer::Found::None | producer::Found::Damaged => Producer::fresh(),
        };
        let table = open_calls::load(dir, wanted);
        let ids = open_calls::ids(&table.occupied);
        Former { found, known, cursor: cursor::load(dir), table, ids }
    }

    pub(crate) fn scan(&self, dir: &Path, max_quarantine: u64, mend: bool) -> io::Result<Scanned> {
        let known = Known {
            producer: self.known,
            delivered: self.cursor.delivered,
            life: self.table.life,
            ids: &self.ids,
            max_quarantine,
            mend,
        };
        recover::scan(dir, &known)
    }

    /// The producer of this life: the same id if the directory is the same, and a boot above all
    /// that any file speaks of.
    fn next_producer(&self, scanned: &Scanned) -> Producer {
        let producer = match self.found {
            producer::Found::Ours(p) => p,
            _ => Producer::fresh(),
        };
        let cursor = self.cursor.delivered.unwrap_or_default().boot;
        let last = [self.known.boot, scanned.last_boot, self.table.life.boot, cursor].into_iter().max();
        Producer { boot: last.unwrap_or(0).saturating_add(1), ..producer }
    }

    /// Calls without an end: those to be kept in the table, and those whose intent is in the log (it
    /// may say more, and the log keeps it).
    pub(crate) fn orphans(&mut self, scanned: &Scanned) -> (Vec<Orphan>, Vec<Orphan>) {
        let intents = scanned.intents();
        let mut orphans = std::mem::take(&mut self.table.occupied);
        orphans.retain(|o| !scanned.ids_found.contains(&o.id) && !intents.iter().any(|i| i.id == o.id));
        (orphans, intents)
    }

    pub(crate) fn report(&self, scanned: &Scanned) -> Recovery {
        // What a life before found missing, unless it came to record it before it ended.
        let told = |m: &Missing| scanned.untold(m);
        let mut missing: Vec<Missing> = self.table.unreported.iter().flat_map(told).collect();
        for m in &scanned.recovery.missing {
            if !missing.contains(m) {
                missing.push(*m);
            }
        }
        let missing_cut = scanned.recovery.missing_cut || missing.len() > Recovery::MAX_MISSING;
        missing.truncate(Recovery::MAX_MISSING);
        Recovery {
            cursor_damaged: self.cursor.damaged,
            producer_damaged: self.found == producer::Found::Damaged,
            cloned: matches!(self.found, producer::Found::Copied(_)),
            damaged_slots: self.table.damaged_slots,
            missing,
            missing_cut,
            ..scanned.recovery.clone()
        }
    }
}

/// Files that a crash left half-made.
fn remove_leftovers(dir: &Path) {
    for name in [producer::NAME, open_calls::NAME] {
        let _ = fs::remove_file(dir.join(format!("{name}.tmp")));
    }
}

/// Larger slots if orphans need them and the bound allows it; else the longest are reported once.
fn roomy_enough(options: &Options, wanted: Geometry, plan: Plan, orphans: &[Orphan]) -> (Geometry, Plan) {
    let least = open_calls::least_slot(orphans);
    if least > wanted.slot_bytes {
        let geometry = Geometry::new(wanted.slots, least);
        if let Ok(plan) = Plan::new(options, geometry) {
            return (geometry, plan);
        }
    }
    (wanted, plan)
}

fn assemble(
    options: &Options,
    mut plan: Plan,
    producer: Producer,
    calls: OpenCalls,
    scanned: Scanned,
    delivered: Delivered,
) -> Core {
    plan.fixed += scanned.foreign_bytes;
    plan.segments = plan.segments.saturating_sub(scanned.foreign_bytes);
    let footprint = Arc::new(AtomicU64::new(0));
    let mut log = VecDeque::new();
    for (ordinal, found) in (1u64..).zip(scanned.segments) {
        let room = Room::take(found.bytes.next_multiple_of(disk::PAGE as u64), &footprint);
        log.push_back(Arc::new(Segment::old(ordinal, found.header, found.path, found.end, room)));
    }
    let next_ordinal = log.len() as u64 + 1;
    let mut committed = scanned.delivered;
    (committed.boot, committed.seq) = (delivered.boot, delivered.seq);
    let calls = Arc::new(calls);
    let head = Head {
        active: None,
        spares: VecDeque::new(),
        next_seq: 1,
        next_ordinal,
        records: scanned.records,
        waiting: Default::default(),
        retired: Vec::new(),
        life: calls.life(),
        notes: 0,
        closed: false,
        lost: Lost::default(),
        appended: 0,
        appended_bytes: 0,
    };
    Core {
        dir: options.dir.clone(),
        plan,
        producer,
        head: Mutex::new(head),
        log: Mutex::new(log),
        committed: Mutex::new(committed),
        calls,
        footprint,
        bell: Default::default(),
        syncing: Default::default(),
        keeper: OnceLock::new(),
        keeper_asked: AtomicBool::new(false),
        stop: AtomicBool::new(false),
        detached: AtomicBool::new(false),
        lock: Mutex::new(None),
        corrupt_seen: Mutex::new((0, 0)),
        counts: Counts::default(),
        disk: Arc::clone(&options.disk),
    }
}

/// The first segment of this boot; in what is kept free for the start, if the journal is full. If it
/// cannot be made, the journal opens all the same and the keeper goes on trying.
fn first_segment(core: &Core, keeper: &mut Keeper) {
    keeper.deliver();
    if !core.plan.may_start(core.footprint.load(Ordering::Relaxed)) {
        return;
    }
    match keeper.prepare() {
        Ok(spare) => {
            let mut head = lock(&core.head);
            head.spares.push_back(spare);
            core.roll(&mut head);
        }
        Err(error) => {
            core.counts.io_errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "journal: cannot make a segment; records are lost until it can");
        }
    }
    keeper.round();
}

fn start(core: &Arc<Core>, keeper: Keeper, interval: Duration) -> io::Result<Vec<JoinHandle<()>>> {
    let interval = interval.clamp(Duration::from_millis(1), Duration::from_secs(10));
    let keeper = thread::Builder::new().name("journal-keep".into()).spawn(move || keeper.run(interval))?;
    let _ = core.keeper.set(keeper.thread().clone());
    let syncing = Arc::clone(core);
    let syncer =
        thread::Builder::new().name("journal-sync".into()).spawn(move || sync::run(&syncing, interval));
    match syncer {
        Ok(syncer) => Ok(vec![keeper, syncer]),
        Err(e) => {
            core.stop.store(true, Ordering::Release);
            core.wake_keeper();
            let _ = keeper.join();
            Err(e)
        }
    }
}
