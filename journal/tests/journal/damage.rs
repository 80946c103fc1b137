//! Damaged files: everything that is not damaged is read, what is missing is named, and the journal
//! opens.

use crate::support::*;
use sidelog_journal::{Journal, Kind, Reason, Recovery};
use std::fs;
use std::path::{Path, PathBuf};

/// One life with `n` records of `len` bytes, closed; the directory and its one sealed segment.
fn one_segment(n: u64, len: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = memory_dir();
    let journal = open(dir.path()).journal;
    for i in 0..n {
        append(&journal, i, len).unwrap();
    }
    drop(journal);
    // A second life cuts the file to its contents, and leaves none of its own behind.
    drop(open(dir.path()));
    let files = segments(dir.path());
    fs::remove_file(&files[1]).unwrap();
    (dir, files[0].clone())
}

/// Puts `bytes` in place of the segment and opens: what is found, what is read of boot 1.
fn reopen(dir: &Path, file: &Path, bytes: &[u8]) -> (Recovery, Vec<u64>) {
    for old in segments(dir) {
        fs::remove_file(old).unwrap();
    }
    let _ = fs::remove_dir_all(dir.join("quarantine"));
    fs::write(file, bytes).unwrap();
    let opened = open(dir);
    let records = drain(&mut opened.journal.reader());
    opened.journal.recovered();
    (opened.recovery, data(&records))
}

fn detected(r: &Recovery) -> bool {
    r.corrupt_regions > 0 || r.torn_bytes > 0
}

#[test]
fn any_flipped_byte_costs_at_most_one_record_and_is_noticed() {
    let (dir, file) = one_segment(5, 40);
    let good = fs::read(&file).unwrap();
    let (recovery, found) = reopen(dir.path(), &file, &good);
    assert!(!detected(&recovery) && found == [0, 1, 2, 3, 4], "{recovery:?}");
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 0xff;
        let (recovery, found) = reopen(dir.path(), &file, &bad);
        assert!(detected(&recovery), "byte {byte}: {recovery:?}");
        let lost: Vec<u64> = (0..5).filter(|n| !found.contains(n)).collect();
        assert!(lost.len() <= 1, "byte {byte}: lost {lost:?}");
        assert!(byte >= 1024 || lost.is_empty(), "byte {byte} of the header cost {lost:?}");
        assert!(recovery.quarantined_bytes > 0, "byte {byte}");
        // A record with others behind it is missed by its number.
        if let [n @ 0..=3] = lost[..] {
            let named: Vec<_> = recovery.missing.iter().map(|m| (m.boot, m.first, m.last)).collect();
            assert_eq!(named, [(1, n + 1, n + 1)], "byte {byte}");
        }
    }
}

/// The bytes of every file of a directory, to be put back after each experiment.
struct Saved(Vec<(PathBuf, Vec<u8>)>);

impl Saved {
    fn of(dir: &Path) -> Saved {
        let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file());
        Saved(files.map(|p| (p.clone(), fs::read(p).unwrap())).collect())
    }

    fn restore(&self, dir: &Path) {
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir(dir).unwrap();
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).unwrap();
        }
    }

    fn segments(&self) -> Vec<(&Path, &[u8])> {
        let mut files: Vec<(&Path, &[u8])> = self
            .0
            .iter()
            .filter(|(p, _)| p.extension().is_some_and(|e| e == "seg"))
            .map(|(p, bytes)| (p.as_path(), bytes.as_slice()))
            .collect();
        files.sort_unstable();
        files
    }
}

/// A life of several segments, killed before it could close: sealed segments and a last one with
/// reserved zeros at its end.
fn killed_life(dir: &Path, n: u64, len: usize) -> Saved {
    let journal = open(dir).journal;
    for i in 0..n {
        append_calmly(&journal, i, len);
    }
    eventually("named", || fs::read_dir(dir).unwrap().count() > 6 && new_files_are_spares(dir));
    Saved::of(dir)
}

/// No segment in use is without its final name.
fn new_files_are_spares(dir: &Path) -> bool {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut new = files.filter(|p| p.extension().is_some_and(|e| e == "new"));
    new.all(|p| fs::read(p).is_ok_and(|bytes| bytes.iter().all(|b| *b == 0)))
}

/// The numbers of 0..n that are not among `found`, and what the recovery names, as indexes.
fn lost_and_named(n: u64, found: &[u64], recovery: &Recovery) -> (Vec<u64>, Vec<u64>) {
    let lost = (0..n).filter(|i| !found.contains(i)).collect();
    let named = recovery.missing.iter().flat_map(|m| m.first..=m.last).map(|seq| seq - 1).collect();
    (lost, named)
}

/// Each byte of a sealed segment in the middle of the log, one at a time.
#[test]
fn any_flipped_byte_of_a_sealed_segment_is_noticed_and_costs_its_own_record() {
    let dir = memory_dir();
    let (n, len) = (24, 250);
    let saved = killed_life(dir.path(), n, len);
    let segments = saved.segments();
    assert!(segments.len() >= 3, "{}", segments.len());
    let (path, good) = segments[1];
    let used = good.iter().rposition(|b| *b != 0).unwrap() + 1;
    for byte in 0..used {
        let mut bad = good.to_vec();
        bad[byte] ^= [0xff, 0x01, 0x80][byte % 3];
        saved.restore(dir.path());
        fs::write(path, &bad).unwrap();
        let opened = open(dir.path());
        let found = data(&drain(&mut opened.journal.reader()));
        let (lost, named) = lost_and_named(n, &found, &opened.recovery);
        assert!(detected(&opened.recovery), "byte {byte}: {:?}", opened.recovery);
        assert!(lost.len() <= 1 && lost == named, "byte {byte}: lost {lost:?}, named {named:?}");
        assert!(opened.recovery.quarantined_bytes > 0, "byte {byte}");
    }
}

#[test]
fn the_last_segment_of_a_killed_life_cut_anywhere_says_what_it_lost() {
    let dir = memory_dir();
    let (n, len) = (14, 200);
    let saved = killed_life(dir.path(), n, len);
    let segments = saved.segments();
    let (path, good) = *segments.last().unwrap();
    let used = good.iter().rposition(|b| *b != 0).unwrap() + 1;
    for cut in 0..used {
        saved.restore(dir.path());
        fs::write(path, &good[..cut]).unwrap();
        let opened = open(dir.path());
        let found = data(&drain(&mut opened.journal.reader()));
        let (lost, named) = lost_and_named(n, &found, &opened.recovery);
        assert_eq!(lost, named, "cut at {cut}: {:?}", opened.recovery);
        assert!(!lost.is_empty() || used - cut < 8, "cut at {cut} went unnoticed");
    }
}

/// The small files beside the log: whatever becomes of them, the journal opens, no record is lost, and
/// none is reported lost that is not.
#[test]
fn any_flipped_byte_beside_the_log_costs_no_record() {
    let dir = memory_dir();
    let saved = killed_life(dir.path(), 6, 60);
    for name in ["producer", "cursor", "calls"] {
        let path = dir.path().join(name);
        let good = saved.0.iter().find(|(p, _)| *p == path).unwrap().1.clone();
        for byte in 0..good.len().min(768) {
            let mut bad = good.clone();
            bad[byte] ^= [0xff, 0x01, 0x80][byte % 3];
            saved.restore(dir.path());
            fs::write(&path, &bad).unwrap();
            let opened = open(dir.path());
            let found = data(&drain(&mut opened.journal.reader()));
            assert_eq!(found, [0, 1, 2, 3, 4, 5], "{name}, byte {byte}");
            assert_eq!(opened.recovery.missing, [], "{name}, byte {byte}");
            assert!(opened.journal.boot() < 10, "{name}, byte {byte}: boot {}", opened.journal.boot());
        }
    }
}

#[test]
fn the_last_segment_cut_anywhere_keeps_every_whole_record() {
    let (dir, file) = one_segment(5, 40);
    let good = fs::read(&file).unwrap();
    let frame = (good.len() - 1024) / 5;
    for len in 0..good.len() {
        let (recovery, found) = reopen(dir.path(), &file, &good[..len]);
        let mut whole = (len.saturating_sub(1024) / frame) as u64;
        // Of the last record's padding nothing is needed.
        if len >= 1024 + (whole as usize) * frame + 48 + 40 {
            whole += 1;
        }
        assert_eq!(found, (0..whole).collect::<Vec<_>>(), "cut at {len}: {recovery:?}");
    }
}

#[test]
fn a_cut_log_says_which_numbers_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..5 {
        append(&journal, n, 40).unwrap();
    }
    drop(journal);
    let file = &segments(dir.path())[0];
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..1024 + 88 * 2 + 50]).unwrap();
    for _ in 0..2 {
        let opened = open(dir.path());
        let missing: Vec<_> =
            opened.recovery.missing.iter().map(|m| (m.boot, m.first, m.last, m.reason)).collect();
        assert_eq!(missing, [(1, 3, 5, Reason::Corrupt)], "reported until it is recorded");
        assert_eq!(opened.recovery.missing[0].producer, opened.journal.producer());
    }
    let opened = open(dir.path());
    let [missing] = opened.recovery.missing[..] else { panic!() };
    let told = opened.journal.append_loss(&missing).unwrap();
    assert_eq!(told, 1);
    // Killed before it could say that it had recovered: what is in the log is not reported again.
    drop(opened);
    let opened = open(dir.path());
    assert_eq!(opened.recovery.missing, []);
    opened.journal.recovered();
    let records = drain(&mut opened.journal.reader());
    let Kind::Loss { boot, first, last, reason, .. } = records.last().unwrap().kind else { panic!() };
    assert_eq!((boot, first, last, reason), (1, 3, 5, Reason::Corrupt));
    assert!(records.last().unwrap().boot > 1);
    drop(opened);
    assert_eq!(open(dir.path()).recovery.missing, []);
}

#[test]
fn a_wiped_page_in_the_middle_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        sidelog_journal::Options { segment_bytes: 64 << 10, max_bytes: 1 << 20, ..small(dir.path()) };
    let journal = Journal::open(options.clone()).unwrap().journal;
    for n in 0..50 {
        append(&journal, n, 500).unwrap();
    }
    drop(journal);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[8192..12288].fill(0);
    fs::write(file, &bytes).unwrap();
    let opened = Journal::open(options).unwrap();
    let found = data(&drain(&mut opened.journal.reader()));
    assert!(found.len() >= 40 && found.contains(&0) && found.contains(&49), "{found:?}");
    assert_eq!(opened.recovery.corrupt_regions, 1);
    let missing: Vec<u64> = opened.recovery.missing.iter().flat_map(|m| m.first..=m.last).collect();
    let gone: Vec<u64> = (0..50).filter(|n| !found.contains(n)).map(|n| n + 1).collect();
    assert_eq!(missing, gone);
}

#[test]
fn a_segment_that_lost_both_headers_is_known_by_its_name() {
    let (dir, file) = one_segment(5, 40);
    let mut bytes = fs::read(&file).unwrap();
    bytes[..1024].fill(0xee);
    let (recovery, found) = reopen(dir.path(), &file, &bytes);
    assert_eq!(found, [0, 1, 2, 3, 4]);
    assert_eq!(recovery.corrupt_regions, 1);
}

#[test]
fn a_file_nobody_can_explain_is_counted_and_left_alone() {
    let (dir, _) = one_segment(2, 40);
    let odd = dir.path().join("odd.seg");
    fs::write(&odd, b"what is this").unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.recovery.foreign_files, 1);
    assert_eq!(data(&drain(&mut opened.journal.reader())), [0, 1]);
    assert!(odd.exists());
}

#[test]
fn a_missing_segment_in_the_middle_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..60 {
        append_calmly(&journal, n, 200);
    }
    drop(journal);
    let files = segments(dir.path());
    fs::remove_file(&files[1]).unwrap();
    let opened = open(dir.path());
    let found = data(&drain(&mut opened.journal.reader()));
    let [m] = opened.recovery.missing[..] else { panic!("{:?}", opened.recovery.missing) };
    assert_eq!(m.reason, Reason::Corrupt);
    let gone: Vec<u64> = (0..60).filter(|n| !found.contains(n)).map(|n| n + 1).collect();
    assert_eq!((m.first..=m.last).collect::<Vec<_>>(), gone);
}

#[test]
fn a_damaged_cursor_costs_duplicates_and_never_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    for n in 0..5 {
        append(&journal, n, 40).unwrap();
    }
    let records = drain(&mut reader);
    // Two different commits, so that both slots are written.
    for at in [1, 2] {
        journal.commit(&records[at].mark);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(journal);
    let path = dir.path().join("cursor");
    let good = fs::read(&path).unwrap();
    assert!(good[0] != 0 && good[512] != 0, "both slots were written");
    for byte in (0..36).chain(512..548) {
        let mut bad = good.clone();
        bad[byte] ^= 0x20;
        fs::write(&path, &bad).unwrap();
        let opened = open(dir.path());
        let found = data(&drain(&mut opened.journal.reader()));
        assert!(found == [3, 4] || found == [2, 3, 4], "byte {byte}: {found:?}");
        assert!(opened.recovery.cursor_damaged, "byte {byte}");
    }
    for bad in [vec![0x77; 1024], vec![]] {
        fs::write(&path, &bad).unwrap();
        assert_eq!(data(&drain(&mut open(dir.path()).journal.reader())), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn a_damaged_producer_file_makes_a_new_producer_and_loses_nothing() {
    let (dir, _) = one_segment(5, 40);
    fs::write(dir.path().join("producer"), "nonsense").unwrap();
    let opened = open(dir.path());
    assert!(opened.recovery.producer_damaged);
    assert!(opened.journal.boot() > 1);
    assert_eq!(append(&opened.journal, 5, 40), Ok(1));
    let records = drain(&mut opened.journal.reader());
    assert_eq!(data(&records), [0, 1, 2, 3, 4, 5]);
    assert_ne!(records[0].producer, records[5].producer);
}

#[test]
fn damage_behind_the_cursor_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..5 {
        append(&journal, n, 40).unwrap();
    }
    let records = drain(&mut journal.reader());
    journal.commit(&records[3].mark);
    drop(journal);
    let file = &segments(dir.path())[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[1024 + 88 + 60] ^= 1;
    fs::write(file, &bytes).unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.recovery.corrupt_regions, 1);
    assert_eq!(opened.recovery.missing, []);
    assert_eq!(data(&drain(&mut opened.journal.reader())), [4]);
}

#[test]
fn damage_met_by_a_reader_becomes_a_loss_record() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..5 {
        append(&journal, n, 40).unwrap();
    }
    eventually("the segment has its name", || !segments(dir.path()).is_empty());
    let file = fs::OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    file.write_all_at(b"????????", 1024 + 88 * 2 + 60).unwrap();
    let mut reader = journal.reader();
    assert_eq!(data(&drain(&mut reader)), [0, 1, 3, 4]);
    reader.rewind();
    assert_eq!(data(&drain(&mut reader))[..4], [0, 1, 3, 4]);
    let stats = journal.stats();
    assert_eq!(stats.lost.corrupt, 1, "counted once: {stats:?}");
    append(&journal, 9, 40).unwrap();
    let all = {
        reader.rewind();
        drain(&mut reader)
    };
    assert_eq!(named(&all), [3]);
}
