//! Looking at a directory, and mending it.

use crate::support::*;
use sidelog_journal::{CursorRepair, Journal, Kind, OpenError, Reason, Record, inspect, repair, visit};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

fn all(dir: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    visit(dir, |record| {
        records.push(record);
        ControlFlow::Continue(())
    })
    .unwrap();
    records
}

/// Every file's name, length and contents.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.clone(), fs::read(&p).unwrap_or_default()))
        .collect();
    files.sort_unstable();
    files
}

#[test]
fn a_journal_in_use_is_looked_at_without_disturbing_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..30 {
        append_calmly(&journal, n, 200);
    }
    let read = drain(&mut journal.reader());
    journal.commit(&read[4].mark);
    let slot = journal.claim(&rec(50, 20)).unwrap();
    eventually("the cursor is written", || inspect(dir.path()).unwrap().delivered == Some((1, 5)));
    let seen = inspect(dir.path()).unwrap();
    assert!(seen.in_use && seen.recovery.missing.is_empty() && seen.recovery.corrupt_regions == 0);
    assert_eq!((seen.producer, seen.boot), (journal.producer(), 1));
    assert_eq!((seen.recovery.records, seen.recovery.pending), (30, 25));
    assert_eq!(seen.segments.iter().map(|s| s.records).sum::<u64>(), 30);
    assert_eq!((seen.segments[0].first, seen.segments.last().unwrap().last), (1, 30));
    assert_eq!(seen.open_calls.len(), 1);
    assert_eq!(all(dir.path()), read, "the same as a reader sees, marks and all");
    append_calmly(&journal, 30, 200);
    slot.clear();
    assert!(matches!(repair(dir.path(), false), Err(OpenError::Locked { .. })));
    assert!(matches!(repair(dir.path(), true), Err(OpenError::Locked { .. })));
    drop(journal);
    let before = contents(dir.path());
    let seen = inspect(dir.path()).unwrap();
    assert!(!seen.in_use && seen.recovery.records == 31);
    assert_eq!(contents(dir.path()), before, "looking writes nothing");
}

/// Readers that come and go, and a looker, while segments are made and deleted.
#[test]
fn looking_while_segments_come_and_go_shows_no_damage_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..1500 {
                append_calmly(&journal, n, 200);
                if n % 10 == 0 {
                    let records = drain(&mut reader);
                    if let Some(last) = records.last() {
                        journal.commit(&last.mark);
                    }
                }
            }
        });
        while !writer.is_finished() {
            let seen = inspect(dir.path()).unwrap();
            let r = &seen.recovery;
            assert_eq!((r.missing.len(), r.corrupt_regions, r.torn_bytes), (0, 0, 0), "{seen:?}");
            let seqs = seqs(&all(dir.path()));
            assert!(seqs.is_sorted());
        }
    });
}

#[test]
fn a_repair_keeps_what_is_sound_and_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..25 {
        append_calmly(&journal, n, 200);
    }
    drop(journal);
    let files = segments(dir.path());
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[20] ^= 1;
    bytes[1024 + 256 + 100] ^= 1;
    fs::write(&files[0], &bytes).unwrap();
    fs::write(dir.path().join("cursor"), [0x55; 1024]).unwrap();
    let before = contents(dir.path());

    let would = repair(dir.path(), true).unwrap();
    assert_eq!(contents(dir.path()), before, "a dry run writes nothing");
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(
        (&would.rewritten[..], would.cursor),
        (&[name.to_string()][..], Some(CursorRepair::FromOldest))
    );

    let done = repair(dir.path(), false).unwrap();
    assert_eq!((done.rewritten, done.left.len()), (would.rewritten, 0));
    assert!(done.recovery.quarantined_bytes > 0);
    let missing: Vec<_> = done.recovery.missing.iter().map(|m| (m.first, m.last, m.reason)).collect();
    assert_eq!(missing, [(2, 2, Reason::Corrupt)]);
    let kept: Vec<_> = fs::read_dir(dir.path().join("quarantine")).unwrap().collect();
    assert_eq!(kept.len(), 2, "the header and the record");

    let again = repair(dir.path(), false).unwrap();
    assert_eq!((again.recovery.corrupt_regions, again.rewritten.len(), again.cursor), (0, 0, None));
    assert_eq!(again.recovery.missing, done.recovery.missing, "what is lost stays lost");
    let opened = open(dir.path());
    assert_eq!(opened.recovery.missing, done.recovery.missing);
    let found = data(&drain(&mut opened.journal.reader()));
    assert_eq!(found, (0..25).filter(|n| *n != 1).collect::<Vec<_>>());
}

#[test]
fn there_is_nothing_to_see_in_a_directory_without_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let seen = inspect(dir.path()).unwrap();
    assert!(seen.producer.is_nil() && seen.segments.is_empty() && !seen.in_use);
    assert!(inspect(&dir.path().join("none")).is_err());
    assert!(repair(&dir.path().join("none"), false).is_err());
    assert!(!dir.path().join("lock").exists());
    drop(Journal::open(small(dir.path())).unwrap());
    assert!(all(dir.path()).iter().all(|r| r.kind == Kind::Data));
}
