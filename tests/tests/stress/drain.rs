//! SIGTERM under load, again and again, on one journal and one port.

use crate::message::{self, Head};
use crate::origin::Origin;
use crate::sidecar::{Sidecar, configure};
use harness::{Port, Random, recorded, setting};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENTS: usize = 12;
/// Calls of a connection, at most.
const STAYS: u64 = 40;

/// How a call ended for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    Answered,
    /// Closed before a byte of an answer, where a call had been answered before: what a service does with
    /// a connection that it thinks is idle.
    ClosedIdle,
    /// The same of a connection without a call before: what a service does with what waits to be accepted.
    ClosedFresh,
    /// In the middle of an answer.
    Cut,
}

/// What all clients share.
struct Load {
    to: SocketAddr,
    stop: AtomicBool,
    /// Odd while a sidecar is up and has not been told to end.
    phase: AtomicU64,
    ends: Mutex<HashMap<String, End>>,
    /// Connections refused while a sidecar was up.
    refused: AtomicU64,
}

impl Load {
    async fn client(&self, n: usize) {
        let (mut calls, mut connections) = (0_u64, 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
            let before = self.phase.load(Ordering::SeqCst);
            let Ok(mut stream) = TcpStream::connect(self.to).await else {
                if before % 2 == 1 && self.phase.load(Ordering::SeqCst) == before {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            stream.set_nodelay(true).unwrap();
            connections += 1;
            for at in 0..(connections * 7) % STAYS + 1 {
                calls += 1;
                let id = format!("client-{n}-call-{calls}");
                let end = call(&mut stream, &id, calls % 4, at > 0).await;
                self.ends.lock().unwrap().insert(id, end);
                if end != End::Answered || self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
}

async fn call(stream: &mut TcpStream, id: &str, pause: u64, used: bool) -> End {
    let lines = format!(
        "POST /things HTTP/1.1\r\nHost: origin\r\nX-Request-Id: {id}\r\nX-Pause: {pause}\r\n\
         X-Orders: answer 0 false 200 2000 true\r\n"
    );
    let closed = if used { End::ClosedIdle } else { End::ClosedFresh };
    if stream.write_all(&message::write(&lines, &[b'x'; 300], false)).await.is_err() {
        return closed;
    }
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ if bytes.is_empty() => return closed,
            _ => return End::Cut,
        }
        let Some(head) = Head::read(&bytes) else { continue };
        if head.body(&bytes[head.len..]).is_some() {
            assert_eq!(head.status(), 200);
            return End::Answered;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_ended_again_and_again_cuts_off_no_answer_and_loses_no_event() {
    let terms = setting("SIDELOG_TERMS", 5);
    let mut random = Random::new();
    let (dir, origin, port) = (tempfile::tempdir().unwrap(), Origin::start(), Port::reserve());
    let to = SocketAddr::from(([127, 0, 0, 1], port.number()));
    configure(
        dir.path(),
        origin.address(),
        &format!("listen: {to}\njournal: {{dir: journal, max_bytes: 1GiB}}"),
    );
    let load = Arc::new(Load {
        to,
        stop: AtomicBool::new(false),
        phase: AtomicU64::new(0),
        ends: Mutex::default(),
        refused: AtomicU64::new(0),
    });
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..CLIENTS {
        let load = load.clone();
        clients.spawn(async move { load.client(n).await });
    }
    let mut away = Duration::ZERO;
    for _ in 0..terms {
        let sidecar = Sidecar::start(dir.path()).await;
        load.phase.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(150 + random.below(200))).await;
        load.phase.fetch_add(1, Ordering::SeqCst);
        let told = Instant::now();
        sidecar.stop().await;
        away = away.max(told.elapsed());
    }
    let sidecar = Sidecar::start(dir.path()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    load.stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    sidecar.stop().await;

    let (ledger, ends) = (origin.book.read(), load.ends.lock().unwrap().clone());
    let mut tally = BTreeMap::<End, u32>::new();
    ends.values().for_each(|end| *tally.entry(*end).or_default() += 1);
    let events = recorded::events(&dir.path().join("journal"));
    println!(
        "{terms} times SIGTERM: {} executed, {} events; {tally:?}; at most {away:.1?} to end",
        ledger.len(),
        events.len()
    );
    assert_eq!(load.refused.load(Ordering::Relaxed), 0, "connections refused while a sidecar was up");
    assert!(!tally.contains_key(&End::Cut), "answers cut off");
    let unanswered = |id: &&String| ends[*id] != End::Answered;
    assert_eq!(ledger.keys().find(unanswered), None, "executed and not answered");
    let mut told = HashSet::new();
    for event in &events {
        let id = event["http"]["request_id"].as_str().unwrap().to_owned();
        let is = (ledger[&id].times, event["http"]["status"].as_u64(), event["outcome"].as_str().unwrap());
        assert_eq!(is, (1, Some(200), "success"), "{event}");
        assert!(told.insert(id), "twice: {event}");
    }
    assert_eq!(told.len(), ledger.len(), "executed without an event");
    assert!(ledger.len() as u64 > 100 * terms, "the test met no call");
}
