//! What all tests share.

use sidelog_journal::{Journal, Kind, Opened, Options, Reader, Record, Refused, Storable};
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

pub struct Rec(pub Uuid, pub Vec<u8>);

impl Storable for Rec {
    fn id(&self) -> Uuid {
        self.0
    }

    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

/// The payload says its number and fills the rest with it.
pub fn rec(n: u64, len: usize) -> Rec {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(len.max(8), n as u8);
    Rec(Uuid::from_u128(u128::from(n) + 1), bytes)
}

pub fn number(record: &Record) -> u64 {
    let n = u64::from_le_bytes(*record.payload.first_chunk().unwrap());
    assert_eq!(record.payload, rec(n, record.payload.len()).1, "the payload is not what was appended");
    assert_eq!(record.id, Uuid::from_u128(u128::from(n) + 1));
    n
}

/// For tests that open a journal a thousand times: in memory where the system has such a place, since
/// what they test is not the disk.
pub fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// 4 KiB segments in 256 KiB.
pub fn small(dir: &Path) -> Options {
    Options {
        max_bytes: 256 << 10,
        segment_bytes: 4096,
        max_open_calls: 4,
        slot_bytes: 128,
        sync_interval: Duration::from_millis(10),
        ..Options::new(dir)
    }
}

pub fn open(dir: &Path) -> Opened {
    Journal::open(small(dir)).unwrap_or_else(|e| panic!("{e}"))
}

pub fn append(journal: &Journal, n: u64, len: usize) -> Result<u64, Refused> {
    journal.append(&rec(n, len))
}

/// Appends, waiting for a segment to be made ready where the test outruns the keeper.
pub fn append_calmly(journal: &Journal, n: u64, len: usize) -> u64 {
    calm(journal);
    append(journal, n, len).unwrap()
}

pub fn calm(journal: &Journal) {
    eventually("room", || journal.has_room());
}

pub fn drain(reader: &mut Reader) -> Vec<Record> {
    let mut out = Vec::new();
    loop {
        let before = out.len();
        reader.next(Duration::ZERO, 1000, usize::MAX, &mut out);
        if out.len() == before {
            return out;
        }
    }
}

pub fn data(records: &[Record]) -> Vec<u64> {
    records.iter().filter(|r| r.kind == Kind::Data).map(number).collect()
}

pub fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|r| r.seq).collect()
}

/// Every number a loss record names.
pub fn named(records: &[Record]) -> Vec<u64> {
    records
        .iter()
        .filter_map(|r| match r.kind {
            Kind::Loss { first, last, .. } => Some(first..=last),
            Kind::Data | Kind::Open => None,
        })
        .flatten()
        .collect()
}

#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Segment files, in order.
pub fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    files.sort();
    files
}

/// Blocks on the disk of everything below.
pub fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = std::fs::metadata(dir).map_or(0, |m| m.blocks() * 512);
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { disk_usage(&entry.path()) } else { meta.blocks() * 512 };
    }
    sum
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
