//! The state all parts share, and the append.
//!
//! Three locks. `head`: who may append; held for a memcpy. `log`: the list of segments; held for a
//! look-up; may be taken while `head` is held, never the other way round. `committed`: alone.
//! None is ever held during a system call that touches the disk.

use crate::bell::Bell;
use crate::disk;
use crate::faults::Disk;
use crate::frame::{self, FrameKind, Meta};
use crate::losses::{self, Loss, Waiting};
use crate::map::Mapped;
use crate::open_calls::{self, Life, OpenCalls};
use crate::plan::{Plan, RESERVE};
use crate::producer::Producer;
use crate::segment::{Active, Header, Segment, Spare};
use crate::sync::Syncing;
use crate::types::{Lost, Mark, Missing, Reason, Refused};
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Pages are made ready this far ahead of the writer.
pub(crate) const AHEAD: usize = 1 << 20;

pub(crate) struct Core {
    pub dir: PathBuf,
    pub plan: Plan,
    /// With this life's boot.
    pub producer: Producer,
    pub head: Mutex<Head>,
    pub log: Mutex<VecDeque<Arc<Segment>>>,
    pub committed: Mutex<Mark>,
    pub calls: Arc<OpenCalls>,
    /// Bytes of all segments, spare and removed ones that are still held included.
    pub footprint: Arc<AtomicU64>,
    pub bell: Bell,
    pub syncing: Syncing,
    pub keeper: OnceLock<Thread>,
    /// The keeper was asked and has not satisfied the wish yet.
    pub keeper_asked: AtomicBool,
    pub stop: AtomicBool,
    /// The files were removed and are not made again yet.
    pub detached: AtomicBool,
    pub lock: Mutex<Option<File>>,
    /// The last loss a reader found, so that a rewind does not count it twice.
    pub corrupt_seen: Mutex<(u64, u64)>,
    pub counts: Counts,
    pub disk: Arc<dyn Disk>,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub syncs: AtomicU64,
    pub sync_failures: AtomicU64,
    pub io_errors: AtomicU64,
    pub reopened: AtomicU64,
    pub files_lost: AtomicU64,
    pub corrupt_regions: AtomicU64,
    pub corrupt_bytes: AtomicU64,
}

/// What the append lock guards.
pub(crate) struct Head {
    pub active: Option<Active>,
    /// Segments made ready, the next one first.
    pub spares: VecDeque<Spare>,
    pub next_seq: u64,
    pub next_ordinal: u64,
    /// Records in the log, the recovered ones included.
    pub records: u64,
    pub waiting: Waiting,
    /// Rolled, not synced yet.
    pub retired: Vec<(Arc<Segment>, Arc<Mapped>)>,
    /// The mapped words that survive a kill, and how often they were written.
    pub life: Option<Arc<Mapped>>,
    pub notes: u64,
    pub closed: bool,
    pub lost: Lost,
    pub appended: u64,
    pub appended_bytes: u64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn time_at(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Core {
    pub(crate) fn append(&self, kind: FrameKind, id: Uuid, payload: &[u8]) -> Result<u64, Refused> {
        let crc = frame::payload_crc(payload);
        let time = now_micros();
        let mut head = lock(&self.head);
        let result = match self.make_room(&mut head, frame::size(payload.len())) {
            Ok(()) => {
                self.write_losses(&mut head, time);
                Ok(self.write(&mut head, kind, id, time, payload, crc))
            }
            Err(reason) => Err(self.refuse(&mut head, reason, time)),
        };
        self.note(&mut head);
        let wish = head.wants_keeper(self.plan.spares());
        drop(head);
        if wish && !self.keeper_asked.swap(true, Ordering::Relaxed) {
            self.wake_keeper();
        }
        self.bell.ring();
        result
    }

    /// Records that numbers of an earlier boot are missing.
    pub(crate) fn append_loss(&self, missing: &Missing) -> Result<u64, Refused> {
        let &Missing { boot, first, last, reason, .. } = missing;
        let loss = Loss { boot, first, last, reason, time: now_micros() };
        self.append(FrameKind::Loss, Uuid::nil(), &loss.encode())
    }

    pub(crate) fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    /// Makes sure the active segment holds `size` bytes, the losses waiting, and the reserve.
    fn make_room(&self, head: &mut Head, size: usize) -> Result<(), Reason> {
        if head.closed {
            return Err(Reason::Io);
        }
        if size > self.plan.max_frame() {
            return Err(Reason::TooLarge);
        }
        let need = size + head.waiting.ranges().len() * losses::FRAME + RESERVE;
        if head.active.as_ref().is_some_and(|a| a.room() >= need) {
            return Ok(());
        }
        if self.roll(head) {
            return Ok(());
        }
        let full = !self.plan.may_grow(self.footprint.load(Ordering::Relaxed));
        Err(if full { Reason::Full } else { Reason::Io })
    }

    /// Goes on in the segment that was made ready. No system call.
    pub(crate) fn roll(&self, head: &mut Head) -> bool {
        let Some(spare) = head.spares.pop_front() else { return false };
        self.seal(head, true);
        let header = Header {
            producer: self.producer.id,
            boot: self.producer.boot,
            base: head.next_seq,
            salt: self.producer.salt,
        };
        let active = spare.activate(head.next_ordinal, header);
        head.next_ordinal += 1;
        lock(&self.log).push_back(Arc::clone(&active.segment));
        head.active = Some(active);
        true
    }

    /// Ends the active segment. `sync`: what is left of it goes to the sync thread.
    pub(crate) fn seal(&self, head: &mut Head, sync: bool) {
        if let Some(active) = head.active.take() {
            active.segment.seal();
            if sync {
                head.retired.push((active.segment, active.map));
            }
        }
    }

    fn write(&self, head: &mut Head, kind: FrameKind, id: Uuid, time: u64, payload: &[u8], crc: u32) -> u64 {
        let seq = head.next_seq;
        let header = frame::header(&Meta { kind, seq, id, time }, payload.len(), crc, self.producer.salt);
        if let Some(active) = &mut head.active {
            active.write(&header, payload);
        }
        head.next_seq += 1;
        head.records += 1;
        head.appended += 1;
        head.appended_bytes += frame::size(payload.len()) as u64;
        seq
    }

    fn write_losses(&self, head: &mut Head, time: u64) {
        if head.waiting.is_empty() {
            return;
        }
        for loss in std::mem::take(&mut head.waiting).ranges() {
            let payload = loss.encode();
            self.write(head, FrameKind::Loss, Uuid::nil(), time, &payload, frame::payload_crc(&payload));
        }
    }

    /// Writes the losses that wait, if there is room. `last`: into the reserve, and no more after.
    pub(crate) fn record_losses(&self, last: bool) {
        let mut head = lock(&self.head);
        let need = head.waiting.ranges().len() * losses::FRAME;
        let room = head.active.as_ref().map_or(0, Active::room);
        let fits = if last { room >= need } else { self.make_room(&mut head, 0).is_ok() };
        if fits {
            self.write_losses(&mut head, now_micros());
            self.note(&mut head);
        }
        head.closed |= last;
        drop(head);
        self.bell.ring();
    }

    fn refuse(&self, head: &mut Head, reason: Reason, time: u64) -> Refused {
        let seq = head.next_seq;
        head.next_seq += 1;
        head.lost.add(reason, 1);
        head.waiting.add(Loss { boot: self.producer.boot, first: seq, last: seq, reason, time });
        Refused { seq, reason }
    }

    /// A reader found records of this boot unreadable: a later record will say so.
    pub(crate) fn lose_corrupt(&self, boot: u64, first: u64, last: u64) {
        {
            let mut seen = lock(&self.corrupt_seen);
            if (boot, last) <= *seen || first > last {
                return;
            }
            *seen = (boot, last);
        }
        tracing::error!(boot, first, last, "journal: records could not be read again");
        if boot != self.producer.boot {
            return;
        }
        let mut head = lock(&self.head);
        head.lost.add(Reason::Corrupt, last - first + 1);
        head.waiting.add(Loss { boot, first, last, reason: Reason::Corrupt, time: now_micros() });
    }

    /// Leaves for the next life what a kill would take: the last number, and what no record names.
    pub(crate) fn note(&self, head: &mut Head) {
        head.notes += 1;
        let Some(map) = &head.life else { return };
        let lost = head.waiting.ranges().first();
        let life = Life {
            boot: self.producer.boot,
            issued: head.next_seq - 1,
            lost_from: lost.map_or(0, |l| l.first),
            lost_reason: lost.map_or(0, |l| l.reason.code()),
        };
        open_calls::note(map, head.notes, &life);
    }

    /// Whether as much as half a segment can be appended.
    pub(crate) fn has_room(&self) -> bool {
        let head = lock(&self.head);
        let half = usize::try_from(self.plan.segment / 2).unwrap_or(usize::MAX);
        !head.closed
            && (!head.spares.is_empty() || head.active.as_ref().is_some_and(|a| a.room() >= half + RESERVE))
    }

    /// The first segment from `ordinal` on.
    pub(crate) fn segment_from(&self, ordinal: u64) -> Option<Arc<Segment>> {
        let log = lock(&self.log);
        let at = log.partition_point(|s| s.ordinal < ordinal);
        log.get(at).map(Arc::clone)
    }

    /// Moves the place up to which everything was delivered.
    pub(crate) fn commit(&self, mark: &Mark) {
        {
            let mut committed = lock(&self.committed);
            if (mark.ordinal, mark.at) <= (committed.ordinal, committed.at) {
                return;
            }
            *committed = *mark;
        }
        let done = lock(&self.log).front().is_some_and(|s| delivered(s, mark));
        if done {
            self.wake_keeper();
        }
    }

    /// When the oldest record that was not delivered was appended.
    pub(crate) fn oldest_pending(&self) -> Option<SystemTime> {
        let mark = *lock(&self.committed);
        let mut segment = self.segment_from(mark.ordinal)?;
        let mut at = if segment.ordinal == mark.ordinal { mark.at } else { 0 };
        if at >= segment.end() {
            segment = self.segment_from(segment.ordinal + 1)?;
            at = 0;
        }
        let at = at.max(crate::segment::START as u64);
        let mut header = Vec::new();
        if at >= segment.end() {
            return None;
        }
        disk::read_tolerant(&*segment.file().ok()?, at, frame::HEADER, &mut header);
        frame::length(&header)?;
        Some(time_at(frame::u64_at(&header, 40)?))
    }
}

/// Whether all of a segment lies before `mark`.
pub(crate) fn delivered(segment: &Segment, mark: &Mark) -> bool {
    segment.sealed()
        && (segment.ordinal < mark.ordinal || (segment.ordinal == mark.ordinal && mark.at >= segment.end()))
}

impl Head {
    /// Something is to be made ready before the writer arrives there.
    fn wants_keeper(&self, spares: usize) -> bool {
        self.spares.len() < spares
            || self.active.as_ref().is_some_and(|a| {
                let ready = a.populated.saturating_sub(a.at);
                ready < AHEAD / 2 && a.populated < a.map.len()
            })
    }
}
