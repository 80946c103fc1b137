//! The garden: real HTTP servers behind the sidecar, and thousands of disfigured messages before it.
//!
//! What two parsers read differently is how a call slips past the record. So each message of a
//! corpus goes through a running sidecar to each server, with a plain request, the probe, behind it
//! on the same connection. Then the server's own ledger is held against the journal:
//!
//! - every call that was executed, reads too, has exactly one event of its method, target and body;
//! - no event tells of an answer to a call that was not executed;
//! - answers come in the order of the calls, each to the connection that asked;
//! - a probe that is recorded as a request is not read as a part of something else.
//!
//! | file | what |
//! |---|---|
//! | [`mutations`] | the corpus |
//! | [`origins`] and the scripts beside it | the servers and their ledgers |
//! | [`judge`] | ledger, journal and answers compared |
//! | [`identity`] | undisfigured traffic, direct and through the sidecar: what differs |
//! | [`shapes`], [`client`] | that traffic, and who says it |
//! | [`tap`], [`raw`] | what reached a server; a server that answers with any bytes |
//!
//! `SIDELOG_MUTATIONS=N`: that many messages, to every server that is installed, instead of some
//! hundreds to those that need no installing; `SIDELOG_SHAPES=all` (or a part of their names): the
//! shapes to every server as well; `SIDELOG_ORIGINS=a,b`: only these servers.

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

#[path = "../security/cases.rs"]
#[allow(dead_code, reason = "what must come of each is not asked here")]
mod cases;
mod client;
mod identity;
mod judge;
mod mutations;
mod origins;
mod raw;
mod shapes;
mod tap;

use harness::{Sidecar, recorded};
use judge::{Seen, faults};
use mutations::Mutation;
use origins::Origin;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// In `make test`.
const FEW: usize = 220;

/// Clients at once, for each server.
const CLIENTS: usize = 8;

/// Servers at once.
const SERVERS: usize = 3;

/// Silence after which nothing more is expected. Too short a one costs comparison, never truth.
const QUIET: Duration = Duration::from_millis(500);

/// Between the parts of a message: long enough to be read apart.
const APART: Duration = Duration::from_millis(30);

const CONFIG: &str = "audit: {include_reads: ['/**']}\nredact: {pseudonym_key_file: redact.key}\n";

#[test]
fn no_server_executes_what_is_not_recorded() {
    let asked: Option<usize> = std::env::var("SIDELOG_MUTATIONS").ok().map(|n| n.parse().unwrap());
    let count = asked.unwrap_or(FEW);
    let catalogue = mutations::catalogue();
    let mutations = (0..count).map(|n| mutations::message(n, &catalogue));
    let corpus: Vec<Mutation> = mutations.chain(security_cases()).collect();
    let count = corpus.len();
    let names: Vec<String> = match std::env::var("SIDELOG_ORIGINS") {
        Ok(names) => names.split(',').map(str::to_owned).collect(),
        Err(_) if asked.is_some() => origins::ALL.iter().map(|name| name.to_string()).collect(),
        Err(_) => origins::PLAIN.iter().map(|name| name.to_string()).collect(),
    };
    let (found, here) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    for together in names.chunks(SERVERS) {
        std::thread::scope(|scope| {
            for name in together {
                let (corpus, found, here) = (&corpus, &found, &here);
                scope.spawn(move || match behind(name, corpus, "") {
                    Some(faults) => {
                        here.fetch_add(1, Ordering::Relaxed);
                        let named = faults.into_iter().map(|fault| format!("{name}: {fault}"));
                        found.lock().unwrap().extend(named);
                    }
                    None => println!("left out: {name} is not installed"),
                });
            }
        });
    }
    let found = found.into_inner().unwrap();
    println!("{} servers, {count} messages each: {} faults", here.into_inner(), found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The payloads of the security cases that are about bytes. They bear no numbers.
fn security_cases() -> impl Iterator<Item = Mutation> {
    let groups = [cases::Group::Framing, cases::Group::Operations, cases::Group::Targets];
    groups.into_iter().flat_map(cases::of).flat_map(|case| {
        let told = format!("security case {}", case.id);
        let bytes = |payload: &cases::Payload| payload.bytes(&cases::Words::new());
        let all: Vec<_> = case.payloads.iter().map(bytes).collect();
        all.into_iter().map(move |bytes| Mutation { bytes, told: told.clone() })
    })
}

/// What is wrong behind one server; None: it is not here.
fn behind(name: &str, corpus: &[Mutation], relay: &str) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let origin = runtime.block_on(Origin::start(name, dir.path()))?;
    std::fs::write(dir.path().join("redact.key"), recorded::KEY).unwrap();
    let config = format!(
        "service: garden\nupstream: http://127.0.0.1:{}\njournal: {{dir: journal}}\n{CONFIG}{relay}",
        origin.port
    );
    let sidecar = runtime.block_on(Sidecar::start(dir.path(), &config));
    let to: SocketAddr = sidecar.url().strip_prefix("http://").unwrap().parse().unwrap();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some((n, mutation)) = {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    corpus.get(n).map(|mutation| (n, mutation))
                } {
                    let seen = converse(to, n, &mutation.bytes);
                    all.lock().unwrap().push((n, seen));
                }
            });
        }
    });
    assert!(runtime.block_on(sidecar.stop()).success(), "the sidecar in front of {name} did not end well");
    let mut seen = all.into_inner().unwrap();
    seen.sort_by_key(|(n, _)| *n);
    let seen: Vec<Seen> = seen.into_iter().map(|(_, seen)| seen).collect();
    let events = recorded::events(&dir.path().join("journal"));
    let ledger = origin.ledger();
    let probes = ledger.iter().filter(|call| call.target.starts_with("/p/")).count();
    let (of_messages, answered) = (ledger.len() - probes, seen.iter().filter(|s| s.probe_answered()).count());
    let waiting = seen.iter().filter(|s| s.waiting).count();
    println!(
        "{name}: {} messages: {of_messages} calls executed; probes: {probes} executed, {answered} answered, \
         {waiting} taken for a part of the message, all others met a closed connection",
        corpus.len()
    );
    assert!(of_messages * 10 > corpus.len(), "{name} executed next to nothing: nothing is compared");
    assert!(answered * 20 > corpus.len(), "{name} answered hardly any probe: nothing is compared");
    let told = |(n, fault): (Option<usize>, String)| match n.and_then(|n| corpus.get(n)) {
        Some(Mutation { bytes, told }) => {
            let bytes = bytes.get(..bytes.len().min(600)).unwrap_or(bytes).escape_ascii();
            format!("{fault}\n    sent: {bytes}\n    changed: {told:.300}")
        }
        None => fault,
    };
    Some(faults(&ledger, &events, &seen).into_iter().map(told).collect())
}

/// To llhttp as uvicorn drives it, what follows the head of an offer is not a body: what comes in the same
/// read is dropped, what comes later is the next request. So the offer must not get there.
const OFFER: &str = "POST /m/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
    Content-Length: 51\r\n\r\nPOST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz";

fn offers(relay: &str) {
    let plain = "POST /m/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz";
    let message = |text: &str| Mutation { bytes: text.into(), told: "nothing".into() };
    // The second of two messages comes in two parts.
    match behind("uvicorn-httptools", &[message(plain), message(OFFER)], relay) {
        Some(found) => assert!(found.is_empty(), "{}", found.join("\n")),
        None => println!("left out: uvicorn is not installed (scripts/deps.sh garden)"),
    }
}

#[test]
fn an_offer_with_a_body_hides_no_call() {
    offers("");
}

#[test]
fn an_offer_with_a_body_hides_no_call_where_other_offers_are_refused() {
    offers("relay: {other_upgrades: refuse}\n");
}

/// Sends a message, then a probe on the same connection, and gives back what was answered.
fn converse(to: SocketAddr, n: usize, message: &[u8]) -> Seen {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(QUIET)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut received = Vec::new();
    // A refusal may come, and the connection end, while this is still being sent.
    let (first, second) = message.split_at(cut(n, message));
    let _ = stream.write_all(first);
    if !second.is_empty() {
        std::thread::sleep(APART);
        let _ = stream.write_all(second);
    }
    let mut ended = listen(&mut stream, &mut received, judge::has_answer);
    if !ended {
        let probe =
            format!("POST /p/{n} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nprobe");
        let _ = stream.write_all(probe.as_bytes());
        stream.set_read_timeout(Some(QUIET * 2)).unwrap();
        ended = listen(&mut stream, &mut received, |_| false);
    }
    if !ended {
        // Some servers make do with what they have when no more can come.
        let _ = stream.shutdown(Shutdown::Write);
        listen(&mut stream, &mut received, |_| false);
    }
    Seen { n, received, waiting: !ended }
}

/// Half of the messages come in two parts, head and body: some readers take what comes at once for one
/// thing, and what comes later for another.
fn cut(n: usize, message: &[u8]) -> usize {
    let head = memchr::memmem::find(message, b"\r\n\r\n").map(|at| at + 4);
    head.filter(|_| n % 2 == 1).unwrap_or(message.len())
}

/// Reads until there is enough, silence (false), or the end of the connection (true).
fn listen(stream: &mut TcpStream, received: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) -> bool {
    let mut buffer = [0; 4096];
    while !enough(received) {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(n) => received.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    false
}
