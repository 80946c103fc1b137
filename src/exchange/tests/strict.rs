//! `strict` delivery and calls that last: what is in the log, when, and what fails.

use super::*;
use crate::auditor::Faults;
use sidelog_event::Delivery;
use sidelog_journal::{Disk, Record};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A disk that can be told to fail, or to take its time.
#[derive(Debug, Default)]
struct Sick {
    fails: AtomicBool,
    millis: AtomicU64,
}

impl Disk for Sick {
    fn sync(&self, file: &Path, _: u64, _: u64) -> io::Result<()> {
        if file.ends_with("cursor") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(self.millis.load(Ordering::SeqCst)));
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

fn world(sync_timeout: &str) -> (World, Arc<Sick>) {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{{version: 1, service: s, upstream: 'http://127.0.0.1:1', capture: {{max_body: 16B}}, \
          audit: {{started_after: 100ms, include_reads: [/read], rules: [{{match: {{paths: [/pay, /read]}}, delivery: strict}}]}}, \
          journal: {{sync_timeout: {sync_timeout}}}}}"
    );
    let (mut config, _) = config::from_text(&text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
    config.journal.dir = dir.path().join("journal");
    let disk = Arc::new(Sick::default());
    let auditor = Arc::new(Auditor::start_with(&config, &Faults { disk: disk.clone() }).unwrap());
    (World { _dir: dir, config, auditor }, disk)
}

fn records(world: &World) -> Vec<Record> {
    let mut records = Vec::new();
    world.auditor.journal().reader().next(Duration::ZERO, usize::MAX, usize::MAX, &mut records);
    records
}

fn stages(world: &World) -> Vec<(Stage, Option<u16>)> {
    let event =
        |r: &Record| serde_json::from_slice::<AuditEvent<'_>>(&r.payload).map(|e| (e.stage, e.http.status));
    records(world)
        .iter()
        .filter(|r| !matches!(r.kind, Kind::Loss { .. }))
        .map(|r| event(r).unwrap())
        .collect()
}

fn pay() -> String {
    post("/pay", "Content-Type: application/json\r\n", 9)
}

const REFUSED: End = End {
    request: BodyEnd::Complete,
    response: BodyEnd::Aborted,
    error: Some("not_durable"),
    own_status: Some(503),
};

#[tokio::test]
async fn the_intent_with_the_body_is_on_the_disk_when_the_commit_returns() {
    let (mut world, _) = world("5s");
    let mut call = world.begin(pay().as_bytes()).unwrap();
    assert_eq!(call.hold(), Some(16));
    call.request_body(br#"{"pin":1}"#);
    call.commit(true).await.unwrap();
    let all = records(&world);
    let [intent] = &all[..] else { panic!("{all:?}") };
    assert!(world.auditor.journal().stats().synced_seq >= intent.seq);
    let event: AuditEvent<'_> = serde_json::from_slice(&intent.payload).unwrap();
    assert_eq!((event.stage, event.delivery, intent.kind), (Stage::Started, Delivery::Strict, Kind::Open));
    assert_eq!((&*event.request.body, event.request.bytes), (r#"{"pin":"[redacted]"}"#, 9));
    // Of one whose end never came, it is the orphan, body and all, even without the table.
    std::mem::forget(call);
    world.auditor.journal().close();
    std::fs::remove_file(world.config.journal.dir.join("calls")).unwrap();
    world.kill();
    let orphan = world.only();
    assert_eq!((orphan.stage, orphan.event_id), (Stage::Orphaned, intent.id));
    assert_eq!(orphan.request.bytes, 9);
}

#[tokio::test]
async fn a_call_that_cannot_be_put_on_the_disk_is_refused_if_it_may_change_something() {
    let (world, disk) = world("5s");
    disk.fails.store(true, Ordering::SeqCst);
    let mut call = world.begin(pay().as_bytes()).unwrap();
    call.request_body(br#"{"pin":1}"#);
    let refusal = call.commit(true).await.unwrap_err();
    assert_eq!((refusal.status, refusal.reason), (503, "not_durable"));
    call.end(REFUSED);
    // What is known of it is told, and no open call remains.
    assert_eq!(stages(&world), [(Stage::Started, None), (Stage::Completed, Some(503))]);
    assert_eq!(world.open(), 0);
    let read = "GET /read HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut call = world.begin(read.as_bytes()).unwrap();
    assert_eq!(call.hold(), Some(16));
    call.commit(true).await.unwrap();
    disk.fails.store(false, Ordering::SeqCst);
    let mut call = world.begin(pay().as_bytes()).unwrap();
    call.commit(true).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_hangs_is_waited_for_no_longer_than_configured() {
    let (world, disk) = world("50ms");
    disk.millis.store(400, Ordering::SeqCst);
    let mut call = world.begin(pay().as_bytes()).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(call.commit(true).await.unwrap_err().reason, "not_durable");
    assert!(begun.elapsed() < Duration::from_millis(350), "{:?}", begun.elapsed());
    call.end(REFUSED);
}

#[tokio::test]
async fn other_calls_are_not_held() {
    let (world, _) = world("5s");
    assert_eq!(world.begin(create().as_bytes()).unwrap().hold(), None);
    assert_eq!(world.begin(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().hold(), None);
}

#[test]
fn a_call_open_for_long_is_told_once_and_a_short_one_never() {
    let (world, _) = world("5s");
    let short = world.begin(create().as_bytes()).unwrap();
    assert_eq!(world.auditor.tell_open_calls(), 0);
    drop(short);
    let mut long = world.begin(create().as_bytes()).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let mut told = 0;
    while told == 0 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
        told = world.auditor.tell_open_calls();
    }
    assert_eq!((told, world.auditor.tell_open_calls()), (1, 0));
    answered(&mut long, 200);
    long.end(DONE);
    let told = stages(&world);
    assert_eq!(told[1..], [(Stage::Started, None), (Stage::Completed, Some(200))], "{told:?}");
}

#[test]
fn a_tunnel_is_told_when_it_opens_and_not_again() {
    let (world, _) = world("5s");
    let mut call = world.begin(create().as_bytes()).unwrap();
    call.tunnel();
    assert_eq!(stages(&world), [(Stage::Started, None)]);
    std::thread::sleep(Duration::from_millis(120));
    assert_eq!(world.auditor.tell_open_calls(), 0);
    call.end(DONE);
}

#[tokio::test]
async fn a_full_journal_refuses_strict_calls_and_counts_no_loss_for_them() {
    let mut dir = World::with("4MiB", "drop", "1KiB");
    dir.config.audit.delivery = Delivery::Strict;
    dir.kill();
    while dir.auditor.journal().stats().lost.total() == 0 {
        dir.call(&post("/v1/queued", "", 1000), &[b'x'; 1000], b"", DONE);
    }
    let lost = dir.auditor.journal().stats().lost.total();
    let refusal = dir.begin(create().as_bytes()).unwrap_err();
    assert_eq!((refusal.status, refusal.reason), (503, "journal_full"));
    assert!(dir.begin(b"GET /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
    assert_eq!((dir.auditor.journal().stats().lost.total(), dir.open()), (lost, 0));
}

/// How it is held is the relay's affair: `relay/h2/gate.rs`.
#[tokio::test]
async fn over_http_2_a_strict_call_is_held_too() {
    let (world, disk) = world("5s");
    let raw = pay();
    let (mut index, framing) = ask(&raw);
    index.minor = crate::head::HTTP_2;
    let mut call = Watcher::new(world.auditor.clone(), PEER)
        .begin(Head { raw: raw.as_bytes(), index: &index }, &framing)
        .unwrap();
    assert_eq!(call.hold(), Some(16));
    disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(call.commit(true).await.unwrap_err().reason, "not_durable");
    call.end(REFUSED);
}
