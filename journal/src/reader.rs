//! Takes records out of the log, in order.
//!
//! Reads with `pread`, never through a mapping, so a bad sector or a file cut short is an answer and
//! not a signal. Passes over damage; numbers of this boot that are missed that way become a loss
//! record. Never blocks a writer. Several readers may be open; each has its own place.

use crate::core::{Core, lock, time_at};
use crate::disk;
use crate::frame::{self, Frame, FrameKind, Item, Scan};
use crate::losses::Loss;
use crate::segment::{Header, START, Segment};
use crate::types::{Kind, Mark, Record};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Read at a time, unless a record is longer.
const CHUNK: usize = 128 << 10;
/// A reader that just had something sleeps this long before it asks to be woken: under load no
/// append has to wake anybody.
const NAP: Duration = Duration::from_millis(20);

pub struct Reader {
    core: Arc<Core>,
    segment: Option<(Arc<Segment>, Option<Arc<File>>)>,
    place: Mark,
    /// Bytes from `buf_at` of the segment.
    buf: Vec<u8>,
    buf_at: u64,
    /// The first number that damage may have swallowed, and its boot.
    suspect: Option<(u64, u64)>,
    napped: bool,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>) -> Reader {
        let place = *lock(&core.committed);
        Reader { core, segment: None, place, buf: Vec::new(), buf_at: 0, suspect: None, napped: false }
    }

    /// Goes back to what was committed last: everything after it comes again.
    pub fn rewind(&mut self) {
        self.place = *lock(&self.core.committed);
        self.segment = None;
        self.buf.clear();
        self.suspect = None;
    }

    /// Adds records to `out`: at most `max_records`, and no more once their payloads reach
    /// `max_bytes`. Waits for the first one for `wait`; after a close it does not wait.
    pub fn next(&mut self, wait: Duration, max_records: usize, max_bytes: usize, out: &mut Vec<Record>) {
        let until = Instant::now() + wait;
        let before = out.len();
        loop {
            self.drain(max_records, max_bytes, out);
            let left = until.saturating_duration_since(Instant::now());
            if out.len() > before || max_records == 0 {
                self.napped = false;
                return;
            }
            if left.is_zero() || self.core.stop.load(Ordering::Acquire) {
                return;
            }
            if self.napped {
                let core = Arc::clone(&self.core);
                core.bell.wait(left, || core.stop.load(Ordering::Acquire) || self.more());
            } else {
                self.napped = true;
                std::thread::sleep(left.min(NAP));
            }
        }
    }

    /// Whether [`Reader::next`] would find something to look at.
    fn more(&self) -> bool {
        match &self.segment {
            Some((segment, _)) => {
                let sealed = segment.sealed();
                self.place.at < segment.end()
                    || (sealed && self.core.segment_from(segment.ordinal + 1).is_some())
            }
            None => self.core.segment_from(self.place.ordinal).is_some(),
        }
    }

    fn drain(&mut self, max_records: usize, max_bytes: usize, out: &mut Vec<Record>) {
        let (mut records, mut bytes) = (0, 0);
        while records < max_records && bytes < max_bytes.max(1) {
            let Some((segment, file)) = self.current() else { return };
            let sealed = segment.sealed();
            let end = segment.end();
            if self.place.at >= end {
                if !sealed || !self.advance(&segment) {
                    return;
                }
                continue;
            }
            if let Some(record) = self.read(&segment, file.as_deref(), end) {
                records += 1;
                bytes += record.payload.len();
                out.push(record);
            }
        }
    }

    fn current(&mut self) -> Option<(Arc<Segment>, Option<Arc<File>>)> {
        if self.segment.is_none() {
            let segment = self.core.segment_from(self.place.ordinal)?;
            if segment.ordinal != self.place.ordinal {
                self.place.ordinal = segment.ordinal;
                self.place.at = START as u64;
            }
            self.enter(segment);
        }
        self.segment.as_ref().map(|(segment, file)| (Arc::clone(segment), file.as_ref().map(Arc::clone)))
    }

    fn enter(&mut self, segment: Arc<Segment>) {
        let file = segment.file();
        if let Err(error) = &file {
            tracing::error!(path = %segment.path().display(), %error, "journal: cannot open a segment");
        }
        self.buf.clear();
        self.buf.shrink_to(4 * CHUNK);
        self.segment = Some((segment, file.ok()));
    }

    /// Moves to the segment after `done`, if there is one.
    fn advance(&mut self, done: &Segment) -> bool {
        let Some(next) = self.core.segment_from(done.ordinal + 1) else { return false };
        self.place.ordinal = next.ordinal;
        self.place.at = START as u64;
        self.enter(next);
        true
    }

    /// The record at the place, or a step over what is damaged there.
    fn read(&mut self, segment: &Segment, file: Option<&File>, end: u64) -> Option<Record> {
        let Some(file) = file else {
            self.skip(segment, end, end);
            return None;
        };
        self.fill(file, frame::HEADER, end);
        let wanted = frame::length(self.rest()).map_or(frame::HEADER, |len| len.next_multiple_of(8));
        if wanted as u64 <= end - self.place.at {
            self.fill(file, wanted, end);
        }
        let record = frame::decode(self.rest(), segment.header.salt)
            .map(|f| record(&segment.header, segment.ordinal, &f, self.place.index + 1, self.place.at));
        match record {
            Some(record) => {
                self.settle_suspect(&record);
                self.place = record.mark;
                Some(record)
            }
            None => {
                self.resync(segment, file, end);
                None
            }
        }
    }

    fn rest(&self) -> &[u8] {
        let at = usize::try_from(self.place.at - self.buf_at).unwrap_or(usize::MAX);
        self.buf.get(at..).unwrap_or_default()
    }

    /// Has at least `wanted` bytes from the place on in the buffer, if the file has them.
    fn fill(&mut self, file: &File, wanted: usize, end: u64) {
        let held = self.place.at >= self.buf_at && self.rest().len() >= wanted;
        if self.buf.is_empty() || !held {
            let len = usize::try_from(end - self.place.at).unwrap_or(usize::MAX).min(wanted.max(CHUNK));
            disk::read_tolerant(file, self.place.at, len, &mut self.buf);
            self.buf_at = self.place.at;
        }
    }

    /// Finds the next valid frame after damage.
    fn resync(&mut self, segment: &Segment, file: &File, end: u64) {
        let len = usize::try_from(end - self.place.at).unwrap_or(0);
        disk::read_tolerant(file, self.place.at, len, &mut self.buf);
        self.buf_at = self.place.at;
        let floor = if self.place.boot == segment.header.boot { self.place.seq } else { 0 };
        let next = Scan::new(&self.buf, segment.header.salt, floor).find_map(|item| match item {
            Item::Frame { at, .. } => Some(self.place.at + at as u64),
            _ => None,
        });
        self.skip(segment, next.unwrap_or(end), end);
    }

    fn skip(&mut self, segment: &Segment, to: u64, end: u64) {
        let counts = &self.core.counts;
        counts.corrupt_regions.fetch_add(1, Ordering::Relaxed);
        counts.corrupt_bytes.fetch_add(to.min(end) - self.place.at, Ordering::Relaxed);
        let boot = segment.header.boot;
        let first = if self.place.boot == boot { self.place.seq + 1 } else { segment.header.base };
        if self.suspect.is_none_or(|s| s.0 != boot) {
            self.suspect = Some((boot, first));
        }
        self.place.at = to;
    }

    /// The first record after damage says which numbers it swallowed.
    fn settle_suspect(&mut self, record: &Record) {
        if let Some((boot, first)) = self.suspect.take()
            && boot == record.boot
            && first < record.seq
        {
            self.core.lose_corrupt(boot, first, record.seq - 1);
        }
    }
}

/// The frame at `at` of a segment, `index` records after the log's first.
pub(crate) fn record(header: &Header, ordinal: u64, frame: &Frame<'_>, index: u64, at: u64) -> Record {
    let loss = match frame.meta.kind {
        FrameKind::Loss => Loss::decode(frame.payload),
        FrameKind::Data | FrameKind::Open | FrameKind::Intent => None,
    };
    let kind = match loss {
        Some(Loss { boot, first, last, reason, time }) => {
            Kind::Loss { boot, first, last, reason, time: time_at(time) }
        }
        None if frame.meta.kind == FrameKind::Data => Kind::Data,
        None => Kind::Open,
    };
    Record {
        producer: header.producer,
        boot: header.boot,
        seq: frame.meta.seq,
        id: frame.meta.id,
        time: time_at(frame.meta.time),
        kind,
        payload: if loss.is_some() { Vec::new() } else { frame.payload.to_vec() },
        mark: Mark { ordinal, at: at + frame.size() as u64, index, boot: header.boot, seq: frame.meta.seq },
    }
}
