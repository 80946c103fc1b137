use super::*;
use sidelog_journal::{Kind, Reason};
use tempfile::TempDir;

fn config(dir: &TempDir) -> Config {
    let text = "{version: 1, service: s, upstream: 'http://127.0.0.1:1'}";
    let (mut config, _) = config::from_text(text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
    config.journal.dir = dir.path().join("journal");
    config
}

fn key(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("journal").join(KEY_FILE)).unwrap()
}

fn start(dir: &TempDir) -> Auditor {
    Auditor::start(&config(dir)).unwrap()
}

#[test]
fn a_key_is_made_once_for_its_owner_only_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fingerprint = start(&one).pseudonyms().fingerprint(b"x");
    assert_eq!(key(&one).len(), 64);
    let mode = std::fs::metadata(one.path().join("journal").join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(start(&one).pseudonyms().fingerprint(b"x"), fingerprint);
    assert_ne!(start(&two).pseudonyms().fingerprint(b"x"), fingerprint);
}

/// A sidecar that does not start takes its service down with it.
#[test]
fn a_key_that_cannot_be_used_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(start(&dir));
    std::fs::write(dir.path().join("journal").join(KEY_FILE), "short").unwrap();
    drop(start(&dir));
    assert_eq!(key(&dir).len(), 64);
}

#[test]
fn a_configured_key_that_cannot_be_read_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    config.redact.pseudonym_key_file = Some(dir.path().join("none.key"));
    assert!(matches!(Auditor::start(&config), Err(StartError::Key { .. })));
}

#[test]
fn a_broken_document_does_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir);
    std::fs::write(dir.path().join("bad.yaml"), "paths: [").unwrap();
    config.openapi = vec![dir.path().join("bad.yaml"), dir.path().join("none.yaml")];
    assert!(Auditor::start(&config).unwrap().rules().specs.operations().is_empty());
}

#[test]
fn keys_are_fetched_from_the_start_and_nobody_waits_for_them() {
    let issuer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{{service: s, upstream: 'http://127.0.0.1:1', actor: [jwt: {{jwks_url: 'http://{}/keys'}}]}}",
        issuer.local_addr().unwrap()
    );
    let (mut with_keys, _) = config::from_text(&text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
    with_keys.journal.dir = dir.path().join("journal");
    let _auditor = Auditor::start(&with_keys).unwrap();
    // Blocks until somebody comes: without a fetch the test would not end.
    let (mut fetch, _) = issuer.accept().unwrap();
    let mut line = [0; 14];
    fetch.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"GET /keys HTTP");
}

#[test]
fn an_intent_that_cannot_be_read_is_counted_as_lost() {
    let dir = tempfile::tempdir().unwrap();
    let auditor = start(&dir);
    auditor.record_orphan(b"{\"half\":");
    assert!(auditor.scrape().contains("sidelog_lost_events_total{reason=\"corrupt\"} 1"));
    assert_eq!((auditor.metrics().orphaned.get(), auditor.metrics().events.get()), (0, 0));
}

/// What an earlier life lost becomes a record of this one.
#[test]
fn what_is_missing_of_an_earlier_life_is_told_as_a_loss_of_that_boot() {
    let dir = tempfile::tempdir().unwrap();
    let auditor = start(&dir);
    let record = |_| {
        let whole = include_bytes!("../../event/tests/data/whole.json");
        let envelope: sidelog_event::Envelope<'_> = serde_json::from_slice(whole).unwrap();
        auditor.record(auditor.rules().redactor.recover(envelope.event.unwrap()));
    };
    (0..5).for_each(record);
    drop(auditor);
    let journal = dir.path().join("journal");
    let segment = std::fs::read_dir(&journal).unwrap().map(|e| e.unwrap().path());
    let segment = segment.filter(|p| p.extension().is_some_and(|e| e == "seg")).min().unwrap();
    let bytes = std::fs::read(&segment).unwrap();
    let at = memchr::memmem::find_iter(&bytes, b"SLf1").nth(2).unwrap();
    let mut bad = bytes.clone();
    bad[at + 100] ^= 1;
    std::fs::write(&segment, bad).unwrap();
    let auditor = start(&dir);
    let mut records = Vec::new();
    auditor.journal().reader().next(std::time::Duration::ZERO, 100, usize::MAX, &mut records);
    let told: Vec<_> = records.iter().filter(|r| r.boot == 2).map(|r| r.kind).collect();
    let [Kind::Loss { boot: 1, first: 3, last: 3, reason: Reason::Corrupt, .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert!(auditor.scrape().contains("sidelog_lost_events_total{reason=\"corrupt\"} 1"));
    drop(auditor);
    assert_eq!(
        start(&dir).metrics().lost.get_or_create(&crate::metrics::Reason { reason: "corrupt" }).get(),
        0
    );
}
