//! Files removed or cut while the journal runs.

use crate::support::*;
use sidelog_journal::{Journal, SyncFailed};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn a_removed_directory_is_noticed_within_a_second_and_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    let journal = open(&dir).journal;
    let producer = journal.producer();
    let mut reader = journal.reader();
    let call = journal.claim(&rec(50, 16)).unwrap();
    append(&journal, 0, 100).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let removed = Instant::now();
    append(&journal, 1, 100).unwrap();
    eventually("noticed", || journal.stats().reopened == 1);
    assert!(removed.elapsed() < Duration::from_secs(1), "{:?}", removed.elapsed());
    let seq = append(&journal, 2, 100).unwrap();
    assert_eq!(seq, 3);
    assert_eq!(journal.wait_durable(seq, Duration::from_secs(10)), Ok(()));
    // What was appended to the removed files can still be delivered.
    assert_eq!(data(&drain(&mut reader)), [0, 1, 2]);
    assert!(Journal::open(small(&dir)).is_err(), "the new directory is locked too");
    drop(journal);
    drop(call);
    let opened = open(&dir);
    assert_eq!((opened.journal.producer(), opened.journal.boot()), (producer, 2));
    assert_eq!(opened.orphans.len(), 1, "the open call is in the new table");
    assert_eq!(data(&drain(&mut opened.journal.reader())), [2]);
    assert_eq!(opened.recovery.missing, []);
}

#[test]
fn a_write_into_a_removed_file_is_not_called_durable() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("journal");
    let journal = open(&dir).journal;
    append(&journal, 0, 100).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    // Its place is taken by a file: the directory cannot be made again.
    fs::write(&dir, "in the way").unwrap();
    let seq = append(&journal, 1, 100).unwrap();
    assert_eq!(journal.wait_durable(seq, Duration::from_secs(10)), Err(SyncFailed::Detached));
    eventually("tried", || journal.stats().io_errors > 0);
    fs::remove_file(&dir).unwrap();
    eventually("made again", || journal.stats().reopened == 1);
    let seq = append(&journal, 2, 100).unwrap();
    assert_eq!(journal.wait_durable(seq, Duration::from_secs(10)), Ok(()));
}

#[test]
fn a_cut_active_segment_is_left_for_a_new_one_and_the_loss_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    for n in 0..5 {
        append(&journal, n, 40).unwrap();
    }
    eventually("the segment has its name", || !segments(dir.path()).is_empty());
    let file = fs::OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
    // No append in between: a store behind the end of a cut file is a SIGBUS nobody can prevent.
    file.set_len(1024 + 88 * 2).unwrap();
    eventually("noticed", || journal.stats().reopened == 1);
    append(&journal, 5, 40).unwrap();
    let mut records = Vec::new();
    eventually("the loss is recorded", || {
        reader.next(Duration::from_millis(10), 100, usize::MAX, &mut records);
        records.iter().any(|r| r.kind != sidelog_journal::Kind::Data)
    });
    assert_eq!(data(&records), [0, 1, 5]);
    assert_eq!(journal.stats().lost.corrupt, 3);
}

#[test]
fn a_removed_sealed_segment_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..40 {
        append_calmly(&journal, n, 200);
    }
    eventually("named", || segments(dir.path()).len() >= 3);
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    eventually("noticed", || journal.stats().files_lost == 1);
    // Written by this life, so it is still held open.
    assert_eq!(data(&drain(&mut journal.reader())), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_removed_segment_of_an_earlier_life_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..40 {
        append_calmly(&journal, n, 200);
    }
    drop(journal);
    let journal = open(dir.path()).journal;
    fs::remove_file(&segments(dir.path())[0]).unwrap();
    let found = data(&drain(&mut journal.reader()));
    assert!(found.len() >= 25 && found.last() == Some(&39), "{found:?}");
    assert_eq!(journal.stats().corrupt_regions, 1);
}
