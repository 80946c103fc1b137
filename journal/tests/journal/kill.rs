//! SIGKILL at any moment: what was acknowledged is there.
//!
//! The child is this test binary again, told by a variable to run one function.

use crate::support::*;
use sidelog_journal::Kind;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const DIR: &str = "SIDELOG_JOURNAL_TEST_DIR";

fn child(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Appends for ever; says each number after the append returned. Every tenth call stays open.
#[test]
#[ignore = "run as a child by the tests below"]
fn appends_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let journal = open(Path::new(&dir)).journal;
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        let slot = journal.claim(&rec(n, 16));
        match append(&journal, n, 40 + (n as usize * 37) % 600) {
            Ok(seq) => writeln!(out, "kept {n} {seq}").unwrap(),
            Err(refused) => writeln!(out, "lost {n} {}", refused.seq).unwrap(),
        }
        if let Ok(slot) = slot {
            slot.clear();
        }
    }
}

#[test]
#[ignore = "run as a child by the tests below"]
fn holds_the_directory() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let journal = open(Path::new(&dir)).journal;
    std::mem::forget(journal.claim(&rec(1, 16)).unwrap());
    std::mem::forget(journal.claim(&rec(2, 16)).unwrap());
    append(&journal, 2, 16).unwrap();
    println!("held");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
#[ignore = "run as a child by the tests below"]
fn counts_threads() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..5 {
        let journal = open(Path::new(&dir)).journal;
        let reader = journal.reader();
        assert_eq!(threads(), before + 2);
        drop(journal);
        assert_eq!(threads(), before);
        drop(reader);
    }
    println!("counted");
}

#[test]
fn no_thread_outlives_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("kill::counts_threads", dir.path());
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success() && out.contains("counted"), "{out}");
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20u64 {
        let mut child = child("kill::appends_until_killed", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = Vec::new();
        let mut line = String::new();
        // Enough lines to be in the middle of things, differently each time; then no mercy.
        while said.len() < 20 + (round as usize * 53) % 400 {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the child died by itself");
            said.extend(parse(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        said.extend(rest.split_inclusive('\n').filter(|l| l.ends_with('\n')).filter_map(parse));
        check(dir.path(), &said);
    }
}

/// (kept, n, seq)
fn parse(line: &str) -> Option<(bool, u64, u64)> {
    let at = line.find("kept ").or_else(|| line.find("lost "))?;
    let mut words = line.get(at..)?.split_whitespace();
    let kept = words.next()? == "kept";
    Some((kept, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn check(dir: &Path, said: &[(bool, u64, u64)]) {
    let opened = open(dir);
    let boot = opened.journal.boot() - 1;
    let recovery = &opened.recovery;
    assert_eq!((recovery.corrupt_regions, recovery.damaged_slots), (0, 0), "{recovery:?}");
    let all = drain(&mut opened.journal.reader());
    let records: Vec<_> = all.iter().filter(|r| r.boot == boot).collect();
    let named = |seq: u64| {
        records
            .iter()
            .any(|r| matches!(r.kind, Kind::Loss { first, last, .. } if (first..=last).contains(&seq)))
            || recovery.missing.iter().any(|m| m.boot == boot && (m.first..=m.last).contains(&seq))
    };
    for (kept, n, seq) in said {
        let found = records.iter().find(|r| r.seq == *seq && r.kind == Kind::Data);
        match found {
            Some(r) => assert!(*kept && number(r) == *n),
            None => assert!(!kept && named(*seq), "record {n} (seq {seq}, kept {kept}) is gone"),
        }
    }
    // Whatever was given out is in the log or named.
    for seq in 1..=records.last().map_or(0, |r| r.seq) {
        assert!(records.iter().any(|r| r.seq == seq) || named(seq), "seq {seq} vanished");
    }
    // One call was in flight at most: open, without its record.
    assert!(opened.orphans.len() <= 1, "{:?}", opened.orphans);
    for orphan in &opened.orphans {
        assert!(records.iter().all(|r| r.id != orphan.id));
    }
    opened.journal.recovered();
    if let Some(last) = all.last() {
        opened.journal.commit(&last.mark);
    }
}

#[test]
fn two_processes_never_share_a_directory_and_a_killed_one_leaves_it_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("kill::holds_the_directory", dir.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("held") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the child died by itself");
    }
    let refused = sidelog_journal::Journal::open(small(dir.path())).err().unwrap();
    assert!(matches!(refused, sidelog_journal::OpenError::Locked { .. }), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(1));
    let opened = open(dir.path());
    assert_eq!(opened.journal.boot(), 2);
    let ids: Vec<_> = opened.orphans.iter().map(|o| o.id).collect();
    assert_eq!(ids, [rec(1, 16).0], "the call with a record is no orphan, the other one is");
}
