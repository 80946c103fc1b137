//! `strict` calls over HTTP/2: on the disk before the service hears of them, or refused, alone.
//!
//! The disk is made to fail or to hang by `strace`; where a machine does not allow that, the test says so.

use super::peers::{World, client, grpc_strict};
use harness::Process;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// `strace` that does this to the calls that write to the disk.
fn strace(inject: &str) -> Option<Vec<String>> {
    let words = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=msync"];
    let mut words: Vec<String> = words.map(Into::into).to_vec();
    let try_it = Command::new("strace").args(&words[1..]).arg("true").stderr(Stdio::null()).status();
    if !try_it.is_ok_and(|status| status.success()) {
        println!("left out: `strace` does not work here");
        return None;
    }
    words.extend(["-e".to_owned(), format!("inject=msync:{inject}")]);
    Some(words)
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// What the service has heard of, in any order.
fn ledger(service: &Process) -> Vec<String> {
    let said = service.said();
    let mut calls: Vec<String> =
        said.lines().filter_map(|line| Some(line.strip_prefix("called ")?.to_owned())).collect();
    calls.sort_unstable();
    calls
}

/// Path, status, and whether there is a body, of each call the client made.
fn told(seen: &Value) -> Vec<(&str, i64, bool)> {
    let told = |r: &'_ Value| (r["head"].as_i64().unwrap_or_default(), r["length"] != 0);
    let all = seen.as_array().unwrap().iter();
    all.map(|r| (r["path"].as_str().unwrap(), told(r).0, told(r).1)).collect()
}

const MUTATING: [&str; 4] = ["/strict/order", "/strict/gone", "/strict/trailed", "/strict/large"];

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_disk_changes_nothing() {
    let world = World::of_node_with(&[], "").await;
    let direct = client(&world.direct, "strict");
    assert_eq!(told(&direct).len(), 10);
    assert_eq!(direct, client(&world.through(), "strict"));
    let events = world.events();
    for path in MUTATING {
        let event = events.iter().find(|e| e["http"]["path"] == path).unwrap();
        assert_eq!((&event["delivery"], &event["outcome"]), (&json!("strict"), &json!("success")), "{path}");
    }
    let order = events.iter().find(|e| e["http"]["path"] == "/strict/order").unwrap();
    assert_eq!(order["request"]["body"], "{\"n\":1}");
}

/// A disk that fails cannot give the next segment either: then there is no room, which is known sooner.
const REASONS: [&str; 2] = ["not_durable", "journal_full"];

/// Those that may change something are refused, and no others; of them the service hears nothing.
fn only_strict_calls_are_refused(world: &World, seen: &Value) {
    for (path, status, body) in told(seen) {
        let refused = MUTATING.contains(&path);
        assert_eq!((status, body), (if refused { 503 } else { 200 }, true), "{path}: {seen}");
    }
    for refused in seen.as_array().unwrap().iter().filter(|r| r["head"] == 503) {
        assert_eq!(refused["type"], "application/problem+json");
        let problem: Value = serde_json::from_str(refused["text"].as_str().unwrap()).unwrap();
        assert!(REASONS.contains(&problem["reason"].as_str().unwrap()), "{problem}");
    }
    let heard = ["GET /download", "GET /strict/read", "POST /slow", "POST /v1/again", "POST /v1/orders"];
    assert_eq!(ledger(&world.service), [&heard[..], &["POST /v1/upload"]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_fails_strict_calls_die_alone() {
    let Some(strace) = strace("error=EIO") else { return };
    let world = World::of_node_with(&borrowed(&strace), "").await;
    let seen = client(&world.through(), "strict");
    only_strict_calls_are_refused(&world, &seen);
    let metrics = world.sidecar.metrics().await;
    let refused = metrics.lines().filter(|line| line.starts_with("sidelog_refused_total{"));
    let refused: u32 = refused.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(refused, 4, "{metrics}");
    assert!(metrics.contains("sidelog_open_calls 0\n"), "{metrics}");
    // Such a disk may have no room for their events just then; that is named, as soon as there is.
    let accounted = || {
        let (events, lost) = world.recorded();
        let of_them = events.iter().filter(|e| MUTATING.contains(&e["http"]["path"].as_str().unwrap()));
        let told: Vec<&Value> = of_them.map(|e| &e["http"]["path"]).collect();
        let distinct: BTreeSet<&str> = told.iter().map(|path| path.as_str().unwrap()).collect();
        assert_eq!(distinct.len(), told.len(), "twice: {told:?}");
        told.len() as u64 + lost >= MUTATING.len() as u64
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !accounted() {
        assert!(Instant::now() < until, "neither recorded nor named as lost: {:?}", world.recorded());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(metrics.contains("sidelog_http2_connections_total 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_waited_for_as_long_as_configured() {
    let Some(strace) = strace("delay_enter=60000000") else { return };
    let world = World::of_node_with(&borrowed(&strace), ", sync_timeout: 300ms").await;
    let begun = Instant::now();
    let seen = client(&world.through(), "strict");
    only_strict_calls_are_refused(&world, &seen);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let events = world.events();
    for path in MUTATING {
        let of_it: Vec<&Value> = events.iter().filter(|e| e["http"]["path"] == path).collect();
        assert_eq!(of_it.len(), 1, "{path}");
        let error = of_it[0]["error"].as_str().unwrap();
        assert!(error == "not_durable" || error == "refused", "{path}: {error}");
        assert_eq!(of_it[0]["http"]["status"], 503);
    }
}

/// A client that says its head and, after a while that is longer than the default allows, its body.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_waited_for_as_long_as_configured() {
    let world = World::of_node().await;
    for (patience, streamed) in [("60s", 0), ("100ms", 1)] {
        let (sidecar, dir) =
            World::before_with(&world.direct, &format!("relay: {{strict_patience: {patience}}}")).await;
        let address = sidecar.url().strip_prefix("http://").unwrap().to_owned();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        // POST /strict/order, not ended.
        said.extend_from_slice(b"\0\0\x14\x01\x04\0\0\0\x01\x83\x86\x01\x01a\x04\x0d/strict/order");
        stream.write_all(&said).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1300)).await;
        stream.write_all(b"\0\0\x02\0\x01\0\0\0\x01{}").await.unwrap();
        let told = || super::peers::events(dir.path());
        let until = Instant::now() + Duration::from_secs(20);
        while told().is_empty() {
            assert!(Instant::now() < until, "{patience}: no event");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!((&told()[0]["outcome"], &told()[0]["request"]["body"]), (&json!("success"), &json!("{}")));
        let metrics = sidecar.metrics().await;
        let counted = metrics.contains("sidelog_strict_streamed_total{reason=\"patience\"} 1\n");
        assert_eq!(counted, streamed == 1, "{patience}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_is_told_that_a_strict_call_was_not_made() {
    let world = World::of_grpc_with(&[], "").await;
    assert_eq!(grpc_strict(&world.through()), json!(["echo hello", "echo hello"]));
    assert_eq!(ledger(&world.service), ["strict"]);
    let Some(strace) = strace("error=EIO") else { return };
    let world = World::of_grpc_with(&borrowed(&strace), "").await;
    assert_eq!(grpc_strict(&world.through()), json!(["UNAVAILABLE", "echo hello"]));
    assert_eq!(ledger(&world.service), [""; 0]);
}
