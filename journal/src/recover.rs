//! Reads what earlier lives left: segments, the place of the cursor, what is missing, what is damaged.
//!
//! Promises that every valid frame of every readable segment is found, whatever is damaged around
//! it, that nothing after the last valid frame of a file is cut off before it is in quarantine or
//! counted, and that damage never keeps the journal from opening.

use crate::cursor::Delivered;
use crate::disk;
use crate::frame::{self, FrameKind, Item, Scan};
use crate::losses::Loss;
use crate::open_calls::Life;
use crate::producer::Producer;
use crate::segment::{self, Header};
use crate::types::{Mark, Missing, Orphan, Reason, Recovery};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Damaged stretches are copied here.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What is known before the log is read.
pub(crate) struct Known<'a> {
    /// Used for files whose headers are lost.
    pub producer: Producer,
    pub delivered: Option<Delivered>,
    pub life: Life,
    /// Ids to look for.
    pub ids: &'a HashSet<Uuid>,
    pub max_quarantine: u64,
    /// Mend what is found: quarantine, cut, remove, name. Otherwise nothing is written.
    pub mend: bool,
}

/// A segment with records in it.
pub(crate) struct FoundSegment {
    pub header: Header,
    pub path: PathBuf,
    /// Frames end here; the file was cut to this, if the disk could read all of it.
    pub end: u64,
    /// What the file occupies.
    pub bytes: u64,
    /// Numbers of its first and last record, and how many there are.
    pub first: u64,
    pub last: u64,
    pub records: u64,
    /// Bytes of it were damaged.
    pub damaged: bool,
    /// All that was damaged is in quarantine, and the disk could read the rest.
    pub mendable: bool,
}

/// A frame's place: its segment, and the bytes after the segment's start.
pub(crate) struct Place {
    ordinal: u64,
    at: u64,
    len: usize,
    salt: u64,
}

#[derive(Default)]
pub(crate) struct Scanned {
    /// In the order of the log; ordinals are 1, 2, 3, …
    pub segments: Vec<FoundSegment>,
    /// The place after the last delivered record.
    pub delivered: Mark,
    pub records: u64,
    /// Of the records not yet delivered.
    pub pending_bytes: u64,
    pub ids_found: HashSet<Uuid>,
    /// Intents without a record of their end, by id: where they stand.
    pub open: HashMap<Uuid, Place>,
    /// What the log says is lost.
    pub losses: Vec<(Uuid, Loss)>,
    /// The highest boot any file speaks of.
    pub last_boot: u64,
    /// Of files left alone.
    pub foreign_bytes: u64,
    pub recovery: Recovery,
    /// A file was gone when it was to be read: somebody else works here.
    pub vanished: bool,
}

impl Scanned {
    /// Reads the intents without an end.
    pub(crate) fn intents(&self) -> Vec<Orphan> {
        let mut places: Vec<(&Uuid, &Place)> = self.open.iter().collect();
        places.sort_unstable_by_key(|(_, p)| (p.ordinal, p.at));
        places.into_iter().filter_map(|(id, place)| self.intent(*id, place)).collect()
    }

    fn intent(&self, id: Uuid, place: &Place) -> Option<Orphan> {
        let segment = self.segments.get(usize::try_from(place.ordinal).ok()?.checked_sub(1)?)?;
        let mut bytes = Vec::new();
        disk::read_tolerant(
            &File::open(&segment.path).ok()?,
            segment::START as u64 + place.at,
            place.len,
            &mut bytes,
        );
        let frame = frame::decode(&bytes, place.salt)?;
        Some(Orphan { id, bytes: frame.payload.to_vec() })
    }

    /// What of a range no loss record in the log names.
    pub(crate) fn untold(&self, range: &Missing) -> Vec<Missing> {
        let mut parts = vec![*range];
        let about = |(producer, loss): &&(Uuid, Loss)| *producer == range.producer && loss.boot == range.boot;
        for (_, loss) in self.losses.iter().filter(about) {
            parts = parts.iter().flat_map(|part| without(part, loss.first, loss.last)).collect();
        }
        parts
    }
}

pub(crate) fn scan(dir: &Path, known: &Known<'_>) -> io::Result<Scanned> {
    let mut run = Run {
        dir,
        known,
        out: Scanned::default(),
        quarantine: Quarantine::open(dir, if known.mend { known.max_quarantine } else { 0 }),
        previous: None,
        gaps: Vec::new(),
    };
    let mut files = run.list()?;
    files.sort_by_key(|f| (f.header.boot, f.header.base));
    let mut buf = Vec::new();
    for file in files {
        run.segment(file, &mut buf);
    }
    run.missing();
    let mut out = run.out;
    out.recovery.quarantined_bytes = run.quarantine.kept;
    out.recovery.segments = out.segments.len() as u64;
    out.recovery.records = out.records;
    out.recovery.pending = out.records - out.delivered.index;
    Ok(out)
}

/// A file that is a segment by its header or its name.
struct Candidate {
    header: Header,
    path: PathBuf,
    damaged: bool,
    mendable: bool,
}

struct Run<'a> {
    dir: &'a Path,
    known: &'a Known<'a>,
    out: Scanned,
    quarantine: Quarantine,
    /// The last number seen or skipped over, of which producer and boot.
    previous: Option<(Uuid, u64, u64)>,
    gaps: Vec<Missing>,
}

impl Run<'_> {
    /// Files that are segments by header or name. Prepared files without a header are removed.
    fn list(&mut self) -> io::Result<Vec<Candidate>> {
        let mut files = Vec::new();
        let mut start = Vec::new();
        for entry in fs::read_dir(self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            let prepared = extension == segment::NEW;
            if !prepared && extension != "seg" {
                continue;
            }
            start.clear();
            match File::open(&path) {
                Ok(file) => {
                    disk::read_tolerant(&file, 0, segment::START, &mut start);
                }
                // Renamed or deleted since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.out.vanished = true;
                    continue;
                }
                Err(_) => {}
            }
            let (header, sound) = Header::read(&start);
            let named = segment::parse_name(name).map(|(boot, base)| Header {
                producer: self.known.producer.id,
                boot,
                base,
                salt: self.known.producer.salt,
            });
            let untouched = start.iter().all(|b| *b == 0);
            if prepared && header.is_none() && untouched {
                if self.known.mend {
                    let _ = fs::remove_file(&path);
                }
                continue;
            }
            let mut mendable = true;
            if !sound {
                self.out.recovery.corrupt_regions += 1;
                self.out.recovery.corrupt_bytes += start.len() as u64;
                mendable = self.quarantine.keep(name, 0, &start);
            }
            match header.or(named) {
                Some(header) => files.push(Candidate { header, path, damaged: !sound, mendable }),
                None => self.leave_alone(&path),
            }
        }
        Ok(files)
    }

    fn segment(&mut self, file: Candidate, buf: &mut Vec<u8>) {
        let Candidate { header, mut path, mut damaged, mut mendable } = file;
        self.out.last_boot = self.out.last_boot.max(header.boot);
        let name = header.file_name();
        let Some(whole) = read_frames(&path, buf) else {
            if path.exists() {
                self.leave_alone(&path);
            }
            self.out.vanished = true;
            return;
        };
        self.follow(&header, header.base);
        let ordinal = self.out.segments.len() as u64 + 1;
        let records = self.out.records;
        let (mut first, mut last) = (0, 0);
        let mut end = 0;
        for item in Scan::new(buf, header.salt, header.base.saturating_sub(1)) {
            match item {
                Item::Frame { at, frame } => {
                    end = at + frame.size();
                    (first, last) = (if first == 0 { frame.meta.seq } else { first }, frame.meta.seq);
                    self.follow(&header, frame.meta.seq);
                    self.previous = Some((header.producer, header.boot, frame.meta.seq));
                    self.record(&header, ordinal, end, &frame);
                }
                Item::Bad { from, to } => {
                    let recovery = &mut self.out.recovery;
                    recovery.corrupt_regions += 1;
                    recovery.corrupt_bytes += (to - from) as u64;
                    damaged = true;
                    mendable &= self.quarantine.keep(&name, from, buf.get(from..to).unwrap_or_default());
                }
                Item::Torn { from, to } => {
                    self.out.recovery.torn_bytes += (to - from) as u64;
                    damaged = true;
                    mendable &= self.quarantine.keep(&name, from, buf.get(from..to).unwrap_or_default());
                }
            }
        }
        // What the disk could not read today it may read tomorrow: such a file is not touched.
        if self.out.records == records {
            if whole && self.known.mend {
                let _ = fs::remove_file(&path);
            } else if !whole {
                self.leave_alone(&path);
            }
            return;
        }
        let end = (segment::START + end) as u64;
        if whole
            && self.known.mend
            && let Ok(file) = OpenOptions::new().write(true).open(&path)
            && file.metadata().is_ok_and(|m| m.len() > end)
        {
            let _ = file.set_len(end);
        }
        let final_path = self.dir.join(&name);
        if self.known.mend
            && path != final_path
            && !final_path.exists()
            && fs::rename(&path, &final_path).is_ok()
        {
            path = final_path;
        }
        let bytes = fs::metadata(&path).map_or(end, |m| m.len());
        let records = self.out.records - records;
        mendable &= whole;
        let found = FoundSegment { header, path, end, bytes, first, last, records, damaged, mendable };
        self.out.segments.push(found);
    }

    /// A file that cannot be read or explained.
    fn leave_alone(&mut self, path: &Path) {
        self.out.recovery.foreign_files += 1;
        self.out.foreign_bytes += fs::metadata(path).map_or(0, |m| m.len());
    }

    fn record(&mut self, header: &Header, ordinal: u64, end: usize, frame: &frame::Frame<'_>) {
        self.out.records += 1;
        let place = Delivered { boot: header.boot, seq: frame.meta.seq };
        if self.known.delivered.is_some_and(|d| place <= d) {
            self.out.delivered = Mark {
                ordinal,
                at: (segment::START + end) as u64,
                index: self.out.records,
                boot: place.boot,
                seq: place.seq,
            };
        } else {
            self.out.pending_bytes += frame.size() as u64;
        }
        match frame.meta.kind {
            FrameKind::Open => {}
            FrameKind::Intent => {
                let at = (end - frame.size()) as u64;
                let place = Place { ordinal, at, len: frame.len, salt: header.salt };
                self.out.open.insert(frame.meta.id, place);
            }
            FrameKind::Data => {
                self.out.open.remove(&frame.meta.id);
                if self.known.ids.contains(&frame.meta.id) {
                    self.out.ids_found.insert(frame.meta.id);
                }
            }
            FrameKind::Loss => {
                if let Some(loss) = Loss::decode(frame.payload) {
                    self.out.losses.push((header.producer, loss));
                }
            }
        }
    }

    /// Notes what lies between the last number and `seq` of the same boot.
    fn follow(&mut self, header: &Header, seq: u64) {
        // A segment without readable frames still says what came before it.
        let seen = seq.saturating_sub(1);
        let of_this = |p: &(Uuid, u64, u64)| (p.0, p.1) == (header.producer, header.boot);
        let last = match self.previous.filter(of_this) {
            Some((_, _, last)) => last,
            None => self.before(header).map_or(seen, |before| before.min(seen)),
        };
        self.gap(header.producer, header.boot, last + 1, seen);
        self.previous = Some((header.producer, header.boot, last.max(seen)));
    }

    /// The number after which the log of a boot must go on, if it is known. What was delivered is
    /// deleted, so that a log may begin anywhere; but what the last life lost and did not come to
    /// record was never in it, and may stand right before the segment that is the first one left.
    fn before(&self, header: &Header) -> Option<u64> {
        let Life { boot, lost_from, .. } = self.known.life;
        let of_life = (header.producer, header.boot) == (self.known.producer.id, boot);
        lost_from.checked_sub(1).filter(|_| of_life)
    }

    /// Notes that numbers are not in the log. Those the last life lost and did not come to record
    /// have its reason.
    fn gap(&mut self, producer: Uuid, boot: u64, first: u64, last: u64) {
        if first > last {
            return;
        }
        let life = self.known.life;
        let of_life = (producer, boot) == (self.known.producer.id, life.boot) && life.lost_from > 0;
        let lost_from = if of_life { life.lost_from.clamp(first, last + 1) } else { last + 1 };
        let lost = Reason::from_code(life.lost_reason);
        for (first, last, reason) in [(first, lost_from - 1, Reason::Corrupt), (lost_from, last, lost)] {
            if first <= last {
                self.gaps.push(Missing { producer, boot, first, last, reason });
            }
        }
    }

    /// What was given out and is neither in the log, nor named by a loss in it, nor delivered.
    fn missing(&mut self) {
        self.tail();
        for gap in std::mem::take(&mut self.gaps) {
            let mut parts = self.out.untold(&gap);
            if let Some(d) = self.known.delivered {
                match gap.boot.cmp(&d.boot) {
                    std::cmp::Ordering::Less => continue,
                    std::cmp::Ordering::Equal => {
                        parts = parts.iter().flat_map(|part| without(part, 0, d.seq)).collect();
                    }
                    std::cmp::Ordering::Greater => {}
                }
            }
            for part in parts {
                if self.out.recovery.missing.len() < Recovery::MAX_MISSING {
                    self.out.recovery.missing.push(part);
                } else {
                    self.out.recovery.missing_cut = true;
                }
            }
        }
    }

    /// What the last life gave out beyond its last record.
    fn tail(&mut self) {
        let life = self.known.life;
        let producer = self.known.producer.id;
        let in_log = match self.previous {
            Some((_, boot, seq)) if boot == life.boot => seq,
            _ => 0,
        };
        let delivered = self.known.delivered.filter(|d| d.boot == life.boot).map_or(0, |d| d.seq);
        if life.boot > 0 {
            self.gap(producer, life.boot, in_log.max(delivered) + 1, life.issued);
        }
    }
}

/// All bytes of a file that may hold frames, and whether the disk could read each of them.
pub(crate) fn read_frames(path: &Path, buf: &mut Vec<u8>) -> Option<bool> {
    let file = File::open(path).ok()?;
    let len = file.metadata().ok()?.len().min(segment::MAX_BYTES).saturating_sub(segment::START as u64);
    Some(disk::read_tolerant(&file, segment::START as u64, usize::try_from(len).ok()?, buf))
}

/// `range` without `first..=last`.
fn without(range: &Missing, first: u64, last: u64) -> Vec<Missing> {
    if last < range.first || range.last < first {
        return vec![*range];
    }
    let mut parts = Vec::new();
    if range.first < first {
        parts.push(Missing { last: first - 1, ..*range });
    }
    if last < range.last {
        parts.push(Missing { first: last + 1, ..*range });
    }
    parts
}

/// Keeps damaged bytes for whoever wants to look, up to a bound.
struct Quarantine {
    dir: PathBuf,
    left: u64,
    kept: u64,
}

impl Quarantine {
    fn open(dir: &Path, max: u64) -> Quarantine {
        let dir = dir.join(QUARANTINE);
        let block = disk::PAGE as u64;
        let used: u64 = fs::read_dir(&dir)
            .map(|entries| {
                entries
                    .flatten()
                    .filter_map(|e| e.metadata().ok())
                    .map(|m| m.len().next_multiple_of(block))
                    .sum()
            })
            .unwrap_or(0);
        Quarantine { dir, left: max.saturating_sub(used), kept: 0 }
    }

    /// Whether they are kept, now or since an earlier time.
    fn keep(&mut self, name: &str, at: usize, bytes: &[u8]) -> bool {
        let cost = (bytes.len() as u64).next_multiple_of(disk::PAGE as u64);
        let path = self.dir.join(format!("{name}.{at:08x}"));
        if path.exists() {
            return fs::read(&path).is_ok_and(|kept| kept == bytes);
        }
        if cost > self.left {
            return bytes.is_empty();
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let written = builder.create(&self.dir).and_then(|()| {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(bytes)
        });
        if written.is_ok() {
            self.left -= cost;
            self.kept += bytes.len() as u64;
        }
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_out_of_ranges() {
        let range = Missing { producer: Uuid::nil(), boot: 1, first: 10, last: 20, reason: Reason::Corrupt };
        let cut = |first, last| -> Vec<(u64, u64)> {
            without(&range, first, last).iter().map(|m| (m.first, m.last)).collect()
        };
        assert_eq!(cut(1, 9), [(10, 20)]);
        assert_eq!(cut(21, 30), [(10, 20)]);
        assert_eq!(cut(12, 14), [(10, 11), (15, 20)]);
        assert_eq!(cut(10, 14), [(15, 20)]);
        assert_eq!(cut(15, 25), [(10, 14)]);
        assert_eq!(cut(1, 30), []);
    }

    #[test]
    fn quarantine_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut q = Quarantine::open(dir.path(), 8192);
        assert!(q.keep("a", 0, &[1; 100]));
        assert!(q.keep("a", 0, &[1; 100]));
        assert!(!q.keep("a", 0, &[2; 100]), "other bytes of the same place");
        assert!(!q.keep("b", 0, &[1; 5000]));
        assert!(q.keep("c", 0, &[1; 100]));
        assert!(!q.keep("d", 0, &[1; 100]));
        assert_eq!((q.kept, q.left), (200, 0));
        assert_eq!(Quarantine::open(dir.path(), 8192).left, 0);
    }
}
