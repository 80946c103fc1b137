//! `sidelog journal`: a real journal of a real sidecar, in use, at rest, and damaged.

use crate::sidelog;
use sidelog_journal::{Journal, Options, Storable};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

struct Rec(u128, String);

impl Storable for Rec {
    fn id(&self) -> Uuid {
        Uuid::from_u128(self.0)
    }
    fn bytes(&self) -> &[u8] {
        self.1.as_bytes()
    }
}

fn rec(n: u128) -> Rec {
    Rec(n, format!(r#"{{"number": {n}}}"#))
}

fn journal(dir: &Path) -> Arc<Journal> {
    Journal::open(Options { max_open_calls: 8, ..Options::new(dir.join("journal")) }).unwrap().journal
}

/// Five records, two of them delivered, and an open call.
fn filled(dir: &Path) -> Arc<Journal> {
    let journal = journal(dir);
    for n in 1..=5 {
        journal.append(&rec(n)).unwrap();
    }
    let mut records = Vec::new();
    journal.reader().next(Duration::ZERO, 2, usize::MAX, &mut records);
    journal.commit(&records[1].mark);
    drop(journal.claim(&rec(9)).unwrap());
    journal
}

fn stat(dir: &Path) -> serde_json::Value {
    let ran = sidelog(dir, &["journal", "stat", "--dir", "journal", "--json"]);
    assert_eq!((ran.status, &*ran.stderr), (0, ""));
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The text with what differs from run to run replaced.
fn plain(text: &str, producer: Uuid) -> String {
    text.replace(&producer.to_string(), "PRODUCER")
}

#[test]
fn stat_tells_what_is_there_while_it_is_in_use_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let journal = filled(dir.path());
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while stat(dir.path())["delivered"]["seq"] != 2 {
        assert!(std::time::Instant::now() < until, "the cursor is never written");
    }
    assert_eq!(stat(dir.path())["in_use"], true);
    let producer = journal.producer();
    drop(journal);
    let ran = sidelog(dir.path(), &["journal", "stat", "--dir", "journal"]);
    let text = plain(&ran.stdout, producer);
    let segments = text.lines().find(|line| line.starts_with("segments")).unwrap();
    let expected = format!(
        "journal     journal\nproducer    PRODUCER\nboot        1\n{segments}\n\
         records     5, boot 1 seq 1 to boot 1 seq 5\ndelivered   to boot 1 seq 2\n\
         backlog     3 records, 192 bytes\nopen calls  1\ndamage      none\nmissing     none\n"
    );
    assert_eq!((text.as_str(), ran.status), (expected.as_str(), 0));
    let seen = stat(dir.path());
    assert_eq!(seen["in_use"], false);
    assert_eq!(seen["backlog"], serde_json::json!({"records": 3, "bytes": 192}));
    assert_eq!(seen["segments"][0]["last"], 5);
}

#[test]
fn dump_prints_records_as_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let journal = filled(dir.path());
    let lines = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let ran = sidelog(dir.path(), &[&["journal", "dump", "--dir", "journal"], arguments].concat());
        assert_eq!((ran.status, &*ran.stderr), (0, ""));
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    let numbers = |lines: &[serde_json::Value]| -> Vec<u64> {
        lines.iter().map(|line| line["content"]["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&all), [1, 2, 3, 4, 5]);
    assert_eq!((&all[0]["kind"], &all[0]["boot"], &all[0]["seq"]), (&"event".into(), &1.into(), &1.into()));
    assert_eq!(all[0]["producer"], journal.producer().to_string());
    assert_eq!(numbers(&lines(&["--from", "2", "--to", "4"])), [2, 3, 4]);
    assert_eq!(lines(&["--boot", "7"]).len(), 0);
    assert_eq!(numbers(&lines(&["--open-calls"])), [9]);
}

#[test]
fn repair_says_what_it_does_and_loses_nothing_that_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let journal = filled(dir.path());
    let locked = sidelog(dir.path(), &["journal", "repair", "--dir", "journal"]);
    assert_eq!((locked.status, &*locked.stdout), (69, ""));
    assert_eq!(
        locked.stderr,
        "error: journal directory journal is in use by another process: give each its own directory\n"
    );
    drop(journal);
    let whole = sidelog(dir.path(), &["journal", "repair", "--dir", "journal"]);
    assert_eq!((&*whole.stdout, whole.status), ("nothing to repair\n", 0));

    let files = std::fs::read_dir(dir.path().join("journal")).unwrap().map(|e| e.unwrap().path());
    let segment = files.filter(|p| p.extension().is_some_and(|e| e == "seg")).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[1024 + 3 * 64 + 50] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    std::fs::write(dir.path().join("journal/cursor"), [7; 1024]).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let lost = "lost: boot 1 seq 4 to 4 (corrupt); the next start records it\n";

    let would = sidelog(dir.path(), &["journal", "repair", "--dir", "journal", "--dry-run"]);
    let expected = format!(
        "would write {name} anew with its sound records\n\
         would write the cursor anew: delivery would begin at the oldest record, duplicates are known as such\n{lost}"
    );
    assert_eq!((would.stdout, would.status), (expected, 0));
    let did = sidelog(dir.path(), &["journal", "repair", "--dir", "journal"]);
    let expected = format!(
        "copied 64 damaged bytes to quarantine\nwrote {name} anew with its sound records\n\
         wrote the cursor anew: delivery begins at the oldest record, duplicates are known as such\n{lost}"
    );
    assert_eq!((did.stdout, did.status), (expected, 0));
    let again = sidelog(dir.path(), &["journal", "repair", "--dir", "journal"]);
    assert_eq!((again.stdout, again.status), (format!("nothing to repair\n{lost}"), 0));
    let seen = stat(dir.path());
    assert_eq!((&seen["records"], &seen["damage"]["stretches"]), (&4.into(), &0.into()));
    assert_eq!(seen["missing"][0]["first"], 4);
}

#[test]
fn a_place_is_needed_and_a_configuration_may_name_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(sidelog(dir.path(), &["journal", "stat"]).status, 2);
    let absent = sidelog(dir.path(), &["journal", "stat", "--dir", "none"]);
    assert_eq!((absent.status, &*absent.stdout), (69, ""));
    assert!(absent.stderr.starts_with("error: journal directory none: "), "{}", absent.stderr);
    drop(filled(dir.path()));
    let config = "version: 1\nservice: s\nupstream: http://127.0.0.1:1\njournal: {dir: journal}\n";
    std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
    let ran = sidelog(dir.path(), &["journal", "stat", "--config", "sidelog.yaml"]);
    assert!(ran.status == 0 && ran.stdout.contains("backlog     3 records"), "{ran:?}");
}
