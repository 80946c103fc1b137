//! The ordinary life of a journal, and its bounds.

use crate::support::*;
use sidelog_journal::{ClaimError, Journal, Kind, OpenError, Options, Reason, Record, SyncFailed};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[test]
fn what_is_appended_is_read_in_order_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    for n in 0..50 {
        assert_eq!(append_calmly(&journal, n, 200), n + 1);
    }
    let records = drain(&mut reader);
    assert_eq!(data(&records), (0..50).collect::<Vec<_>>());
    assert_eq!(seqs(&records), (1..=50).collect::<Vec<_>>());
    assert!(records.iter().all(|r| r.producer == journal.producer() && r.boot == 1));
    assert!(segments(dir.path()).len() > 2);
    assert_eq!(journal.stats().pending, 50);
    reader.rewind();
    assert_eq!(data(&drain(&mut reader)), (0..50).collect::<Vec<_>>());
}

#[test]
fn committed_records_do_not_come_back_and_free_their_segments() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    for n in 0..60 {
        append_calmly(&journal, n, 200);
    }
    let records = drain(&mut reader);
    journal.commit(&records[39].mark);
    // An older mark moves nothing.
    journal.commit(&records[3].mark);
    assert_eq!(journal.stats().pending, 20);
    reader.rewind();
    assert_eq!(data(&drain(&mut reader)), (40..60).collect::<Vec<_>>());
    eventually("delivered segments are gone", || segments(dir.path()).len() <= 3);
    drop((reader, journal));

    let opened = open(dir.path());
    assert_eq!(opened.recovery.pending, 20);
    assert_eq!(opened.journal.stats().pending, 20);
    let mut reader = opened.journal.reader();
    let records = drain(&mut reader);
    assert_eq!(data(&records), (40..60).collect::<Vec<_>>());
    opened.journal.commit(&records.last().unwrap().mark);
    assert_eq!(opened.journal.stats().pending, 0);
    assert_eq!(opened.journal.stats().oldest_pending, None);
    eventually("all is gone but the active segment", || segments(dir.path()).len() == 1);
}

#[test]
fn a_clean_restart_keeps_the_producer_counts_the_boot_and_finds_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let mut producer = None;
    for boot in 1..=4 {
        let opened = open(dir.path());
        assert_eq!(opened.journal.boot(), boot);
        assert_eq!(*producer.get_or_insert(opened.journal.producer()), opened.journal.producer());
        let r = &opened.recovery;
        assert_eq!((r.corrupt_regions, r.torn_bytes, r.damaged_slots, r.foreign_files), (0, 0, 0, 0));
        assert!(r.missing.is_empty() && !r.cloned && !r.cursor_damaged && !r.producer_damaged);
        assert_eq!(r.records, boot - 1);
        assert_eq!(append(&opened.journal, boot, 100), Ok(1));
        opened.journal.close();
    }
}

#[test]
fn a_reader_is_woken_by_an_append_and_by_the_close() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let mut reader = journal.reader();
    let (tell, told) = sync_channel(8);
    let thread = std::thread::spawn(move || {
        loop {
            let mut out: Vec<Record> = Vec::new();
            reader.next(Duration::from_secs(60), 10, usize::MAX, &mut out);
            let done = out.is_empty();
            tell.send(out.len()).unwrap();
            if done {
                return;
            }
        }
    });
    for n in 0..3 {
        std::thread::sleep(Duration::from_millis(20));
        append(&journal, n, 10).unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    journal.close();
    assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(0));
    thread.join().unwrap();
}

#[test]
fn a_reader_gives_no_more_than_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..10 {
        append_calmly(&journal, n, 100);
    }
    let mut reader = journal.reader();
    let mut out = Vec::new();
    reader.next(Duration::ZERO, 3, usize::MAX, &mut out);
    assert_eq!(data(&out), [0, 1, 2]);
    reader.next(Duration::ZERO, 100, 150, &mut out);
    assert_eq!(data(&out), [0, 1, 2, 3, 4]);
    reader.next(Duration::ZERO, 100, 0, &mut out);
    assert_eq!(data(&out), [0, 1, 2, 3, 4, 5]);
    reader.next(Duration::ZERO, 0, 100, &mut out);
    assert_eq!(out.len(), 6);
}

/// Fills the journal; returns how many records fitted, and the number of the first that did not.
fn fill(journal: &Journal, len: usize) -> (u64, u64) {
    let mut n = 0;
    loop {
        eventually("ready or full", || {
            journal.has_room() || journal.stats().disk_bytes + 2 * 4096 > journal.stats().max_bytes
        });
        match append(journal, n, len) {
            Ok(_) => n += 1,
            Err(refused) if refused.reason == Reason::Full => return (n, refused.seq),
            Err(refused) => panic!("{refused}"),
        }
    }
}

#[test]
fn a_full_journal_refuses_counts_and_names_exactly_what_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let (kept, first) = fill(&journal, 500);
    let mut lost = vec![first];
    for _ in 0..6 {
        let refused = append(&journal, 0, 500).unwrap_err();
        assert_eq!(refused.reason, Reason::Full);
        lost.push(refused.seq);
    }
    assert!(!journal.has_room());
    let stats = journal.stats();
    assert_eq!((stats.lost.full, stats.lost.total()), (7, 7));
    assert!(stats.disk_bytes <= stats.max_bytes, "{stats:?}");
    assert!(disk_usage(dir.path()) <= stats.max_bytes);

    let mut reader = journal.reader();
    let mut records = drain(&mut reader);
    assert_eq!(data(&records), (0..kept).collect::<Vec<_>>());
    journal.commit(&records.last().unwrap().mark);
    eventually("room again", || journal.has_room());
    let seq = append(&journal, 7777, 500).unwrap();
    records.extend(drain(&mut reader));
    // Some may have been named in what little room was left, the rest now, before the new record.
    assert_eq!(named(&records), lost);
    let last = records.last().unwrap();
    assert_eq!((last.seq, number(last)), (seq, 7777));
    let mut all = seqs(&records);
    all.extend(lost);
    all.sort();
    assert_eq!(all, (1..=seq).collect::<Vec<_>>());
    assert_eq!(journal.stats().lost_unrecorded, 0);
}

#[test]
fn a_loss_is_recorded_without_a_later_append() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let refused = append(&journal, 1, 100_000).unwrap_err();
    assert_eq!((refused.seq, refused.reason), (1, Reason::TooLarge));
    let mut out = Vec::new();
    journal.reader().next(Duration::from_secs(10), 1, usize::MAX, &mut out);
    let Kind::Loss { first, last, reason, .. } = out[0].kind else { panic!("{out:?}") };
    assert_eq!((first, last, reason, out[0].seq), (1, 1, Reason::TooLarge, 2));
}

#[test]
fn a_close_records_the_losses_of_a_full_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let (_, first) = fill(&journal, 1000);
    let second = append(&journal, 0, 1000).unwrap_err().seq;
    journal.close();
    let after = append(&journal, 0, 10).unwrap_err();
    assert_eq!(after.reason, Reason::Io);
    let opened = open(dir.path());
    assert_eq!(opened.recovery.missing, []);
    assert_eq!(named(&drain(&mut opened.journal.reader())), [first, second]);
}

#[test]
fn the_bound_holds_whatever_happens() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let journal = open(dir.path()).journal;
        let max = journal.stats().max_bytes;
        for n in 0..400 {
            let _ = append(&journal, n, 700);
            if n % 50 == 0 {
                assert!(disk_usage(dir.path()) <= max);
                let stats = journal.stats();
                assert!(stats.disk_bytes <= max, "{stats:?}");
            }
        }
        std::thread::sleep(Duration::from_millis(30));
        assert!(disk_usage(dir.path()) <= max);
    }
}

#[test]
fn a_restart_with_a_full_journal_can_still_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    fill(&journal, 500);
    drop(journal);
    let journal = open(dir.path()).journal;
    assert_eq!(append(&journal, 1, 100), Ok(1));
}

#[test]
fn the_largest_record_fits_after_all_losses() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let largest = (0..4096).rev().find(|len| append(&journal, 1, *len).is_ok()).unwrap();
    assert!(largest > 1600, "{largest}");
    for _ in 0..30 {
        calm(&journal);
        append(&journal, 1, 8).unwrap();
        append(&journal, 1, largest + 1).unwrap_err();
        calm(&journal);
        append(&journal, 1, largest).unwrap();
    }
    let records = drain(&mut journal.reader());
    let lost = named(&records).len() as u64;
    let stats = journal.stats();
    assert_eq!(lost, stats.lost.total());
    assert_eq!(records.len() as u64 + lost, stats.last_seq);
}

#[test]
fn a_record_is_durable_when_it_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { sync_interval: Duration::from_secs(10), ..small(dir.path()) };
    let journal = Journal::open(options).unwrap().journal;
    let started = Instant::now();
    let seq = append(&journal, 1, 100).unwrap();
    assert_eq!(journal.wait_durable(seq, Duration::from_secs(9)), Ok(()));
    assert!(started.elapsed() < Duration::from_secs(8), "the wait did not hurry the disk");
    let seq = append(&journal, 2, 100).unwrap();
    let (tell, told) = sync_channel(1);
    journal.when_durable(seq, move |result| tell.send(result).unwrap());
    assert_eq!(told.recv_timeout(Duration::from_secs(9)), Ok(Ok(())));
    assert!(journal.stats().synced_seq >= seq);
    journal.close();
    assert_eq!(journal.wait_durable(seq, Duration::ZERO), Ok(()));
}

#[test]
fn many_waiters_share_one_write() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync_interval: Duration::from_secs(10),
        segment_bytes: 1 << 20,
        max_bytes: 16 << 20,
        ..small(dir.path())
    };
    let journal = Journal::open(options).unwrap().journal;
    std::thread::scope(|scope| {
        for t in 0..16 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..20 {
                    let seq = append(journal, t * 100 + n, 100).unwrap();
                    journal.wait_durable(seq, Duration::from_secs(20)).unwrap();
                }
            });
        }
    });
    let syncs = journal.stats().syncs;
    assert!(syncs < 320, "{syncs} writes for 320 waits");
}

#[test]
fn a_callback_may_drop_the_last_hold_on_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let seq = append(&journal, 1, 100).unwrap();
    let (tell, told) = sync_channel(1);
    let held = std::sync::Arc::clone(&journal);
    let mine = std::sync::Arc::clone(&journal);
    drop(journal);
    held.when_durable(seq, move |result| {
        drop(mine);
        tell.send(result).unwrap();
    });
    drop(held);
    let result = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(result, Ok(()) | Err(SyncFailed::Closed)));
    eventually("the directory is free", || Journal::open(small(dir.path())).is_ok());
}

#[test]
fn open_calls_without_a_record_are_orphans_until_they_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let finished = journal.claim(&rec(1, 20)).unwrap();
    let recorded = journal.claim(&rec(2, 20)).unwrap();
    let open_still = journal.claim(&rec(3, 20)).unwrap();
    append(&journal, 1, 50).unwrap();
    finished.clear();
    // The process dies between the record and the clear.
    append(&journal, 2, 50).unwrap();
    assert_eq!(journal.stats().open_calls, 2);
    drop(journal);
    drop((recorded, open_still));

    for _ in 0..2 {
        // Not acknowledged: reported again.
        let opened = open(dir.path());
        assert_eq!(opened.orphans.len(), 1);
        assert_eq!((opened.orphans[0].id, &opened.orphans[0].bytes), (rec(3, 20).0, &rec(3, 20).1));
    }
    // The orphan's record is in the log, the process dies before saying so.
    let opened = open(dir.path());
    append(&opened.journal, 3, 50).unwrap();
    drop(opened);
    assert_eq!(open(dir.path()).orphans, []);
}

#[test]
fn recovered_orphans_are_not_reported_again_and_their_slots_serve_anew() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let held: Vec<_> = (0..4).map(|n| journal.claim(&rec(n, 96)).unwrap()).collect();
    assert_eq!(journal.claim(&rec(9, 8)).err(), Some(ClaimError::TableFull { max: 4 }));
    assert_eq!(journal.claim(&rec(9, 97)).err(), Some(ClaimError::TooLong { len: 97, max: 96 }));
    drop(journal);
    drop(held);
    let opened = open(dir.path());
    assert_eq!(opened.orphans.len(), 4);
    assert!(opened.journal.claim(&rec(9, 8)).is_err());
    opened.journal.recovered();
    opened.journal.claim(&rec(9, 8)).unwrap().clear();
    drop(opened);
    assert_eq!(open(dir.path()).orphans, []);
}

#[test]
fn claims_after_the_close_are_refused_and_clears_do_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let slot = journal.claim(&rec(1, 20)).unwrap();
    journal.close();
    assert_eq!(journal.claim(&rec(2, 20)).err(), Some(ClaimError::Closed));
    slot.clear();
    assert_eq!(open(dir.path()).orphans.len(), 1);
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let reader = journal.reader();
    let Err(error) = Journal::open(small(dir.path())) else { panic!("two owners") };
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(journal);
    // A reader that outlives the journal does not hold the directory.
    drop(Journal::open(small(dir.path())).unwrap());
    drop(reader);
}

#[test]
fn a_copied_directory_is_another_producer_and_keeps_the_old_records_names() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let original = open(dir.path()).journal;
    for n in 0..5 {
        append_calmly(&original, n, 100);
    }
    let producer = original.producer();
    drop(original);
    copy_dir(dir.path(), copy.path());

    let opened = open(copy.path());
    assert!(opened.recovery.cloned);
    assert_ne!(opened.journal.producer(), producer);
    append(&opened.journal, 5, 100).unwrap();
    let records = drain(&mut opened.journal.reader());
    assert_eq!(data(&records), [0, 1, 2, 3, 4, 5]);
    assert!(records[..5].iter().all(|r| r.producer == producer && r.boot == 1));
    assert_eq!((records[5].producer, records[5].boot), (opened.journal.producer(), 2));
    let clone = opened.journal.producer();
    drop(opened);
    let again = open(copy.path());
    assert!(!again.recovery.cloned);
    assert_eq!(again.journal.producer(), clone);
    assert!(!open(dir.path()).recovery.cloned);
}

#[test]
fn an_impossible_bound_is_refused_with_one_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 10_000, ..small(dir.path()) };
    let Err(OpenError::TooSmall { given: 10_000, least }) = Journal::open(options) else { panic!() };
    Journal::open(Options { max_bytes: least, ..small(dir.path()) }).unwrap();
    let Err(OpenError::NoSlots) = Journal::open(Options { max_open_calls: 0, ..small(dir.path()) }) else {
        panic!()
    };
}

#[test]
fn threads_append_together_and_every_number_is_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, max_bytes: 16 << 20, ..small(dir.path()) };
    let journal = Journal::open(options).unwrap().journal;
    let mut reader = journal.reader();
    let mut records = Vec::new();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                for n in 0..2000 {
                    append_calmly(journal, t * 10_000 + n, 150);
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(20);
        while records.len() < 8000 && Instant::now() < until {
            reader.next(Duration::from_millis(100), 500, usize::MAX, &mut records);
            if let Some(last) = records.last() {
                journal.commit(&Record::clone(last).mark);
            }
        }
    });
    assert_eq!(seqs(&records), (1..=8000).collect::<Vec<_>>());
    for t in 0..4 {
        let mine: Vec<u64> = data(&records).into_iter().filter(|n| n / 10_000 == t).collect();
        assert_eq!(mine, (t * 10_000..t * 10_000 + 2000).collect::<Vec<_>>());
    }
}

#[test]
fn the_oldest_pending_record_has_an_age() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    assert_eq!(journal.stats().oldest_pending, None);
    append(&journal, 1, 10).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    append(&journal, 2, 10).unwrap();
    let age = journal.stats().oldest_pending.unwrap();
    assert!(age >= Duration::from_millis(50) && age < Duration::from_secs(10), "{age:?}");
    let records = drain(&mut journal.reader());
    journal.commit(&records[0].mark);
    assert!(journal.stats().oldest_pending.unwrap() < age);
    assert_eq!(records[0].id, Uuid::from_u128(2));
}

#[test]
fn an_open_call_is_told_once_and_still_reported_if_its_end_never_comes() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    let (long, short) = (rec(1, 30), rec(2, 30));
    let slot = journal.claim(&long).unwrap();
    let _other = journal.claim(&short).unwrap();
    let due = |id| id == Uuid::from_u128(2);
    assert_eq!(journal.append_open_calls(due), 1);
    assert_eq!(journal.append_open_calls(due), 0, "once");
    let records = drain(&mut journal.reader());
    assert_eq!((records.len(), records[0].kind, number(&records[0])), (1, Kind::Open, 1));
    drop((journal, slot));
    let mut orphans: Vec<_> = open(dir.path()).orphans.iter().map(|o| o.id.as_u128()).collect();
    orphans.sort_unstable();
    assert_eq!(orphans, [2, 3], "an intent in the log is not the end of a call");
}

#[test]
fn a_slot_used_again_is_another_call() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..3 {
        let slot = journal.claim(&rec(n, 30)).unwrap();
        assert_eq!(journal.append_open_calls(|_| true), 1);
        append(&journal, n, 40).unwrap();
        slot.clear();
        assert_eq!(journal.append_open_calls(|_| true), 0);
    }
}

/// The table of open calls may be lost in a power cut; an intent that was synced is not.
#[test]
fn an_intent_without_an_end_is_an_orphan_even_without_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).journal;
    for n in 0..3 {
        journal.append_intent(&rec(n, 300)).unwrap();
    }
    append(&journal, 1, 40).unwrap();
    drop(journal);
    std::fs::remove_file(dir.path().join("calls")).unwrap();
    let opened = open(dir.path());
    let orphans: Vec<_> = opened.orphans.iter().map(|o| (o.id.as_u128(), o.bytes.len())).collect();
    assert_eq!(orphans, [(1, 300), (3, 300)]);
    for orphan in &opened.orphans {
        append(&opened.journal, orphan.id.as_u128() as u64 - 1, 40).unwrap();
    }
    opened.journal.recovered();
    drop(opened);
    assert_eq!(open(dir.path()).orphans, []);
}
