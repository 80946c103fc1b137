//! One running sidecar, an origin behind it that keeps its own ledger, and a client in front that
//! sends exact bytes.
//!
//! Each payload comes from an address of its own (127.ZONE.CASE.PAYLOAD), so that the journal tells
//! which events are whose, without a mark in the bytes. Events are read from the journal once the
//! sidecar has ended, by the crate that wrote them.

use crate::cases::{From, Payload, Words};
use crate::oracle::ledger_and_events;
use harness::origin::{End, Origin, PATIENCE, Peer, Request, Step, requests};
use harness::recorded::{KEY, events};
use harness::{Canary, Sidecar};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The proxies a configuration may trust: `from: proxy`.
pub const PROXIES: &str = "127.2.0.0/16";

pub struct Fixture {
    pub origin: Origin,
    pub sidecar: Sidecar,
    pub canary: Canary,
    /// What words in payloads mean; none of it may be found in an event.
    pub words: Words,
    /// What the service answers.
    pub answer: Vec<u8>,
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
}

/// What came of a payload, but for its events.
#[derive(Debug)]
pub struct Seen {
    pub raw: Vec<u8>,
    pub peer: Ipv4Addr,
    /// What the client received.
    pub received: Vec<u8>,
    /// How the connection ended for the client.
    pub end: End,
    /// The complete requests the service would have executed.
    pub ledger: Vec<Request>,
    /// All it received.
    pub forwarded: Vec<u8>,
    /// Reasons under which refusals were counted.
    pub refused: Vec<String>,
}

impl Fixture {
    /// Starts a sidecar with `yaml`, to which service, upstream, journal and the key are added.
    pub fn start(yaml: &str) -> Fixture {
        Fixture::start_in(tempfile::tempdir().unwrap(), yaml)
    }

    /// The same with files that were put into `dir` before.
    pub fn start_in(dir: tempfile::TempDir, yaml: &str) -> Fixture {
        Fixture::make(dir, yaml, None)
    }

    /// The same in front of another service.
    pub fn before(upstream: SocketAddr, yaml: &str) -> Fixture {
        Fixture::make(tempfile::tempdir().unwrap(), yaml, Some(upstream))
    }

    fn make(dir: tempfile::TempDir, yaml: &str, upstream: Option<SocketAddr>) -> Fixture {
        let origin = Origin::start().unwrap();
        let upstream = upstream.unwrap_or(origin.addr());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        std::fs::write(dir.path().join("redact.key"), KEY).unwrap();
        let yaml = with_upstream(upstream, yaml);
        let sidecar = runtime.block_on(Sidecar::start(dir.path(), &yaml));
        let canary = Canary::new();
        let words = vec![("CANARY".to_owned(), canary.secret("secret"))];
        Fixture { origin, sidecar, canary, words, answer: OK.into(), runtime, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn traffic(&self) -> SocketAddr {
        self.sidecar.url().strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Sends a payload of case `id` and waits until both connections are over.
    pub fn send(&self, id: u32, index: usize, payload: &Payload) -> Seen {
        let raw = payload.bytes(&self.words);
        self.send_raw(peer(payload.from, id, index), raw, vec![Step::Answer(self.answer.clone())])
    }

    pub fn send_raw(&self, peer: Ipv4Addr, raw: Vec<u8>, script: Vec<Step>) -> Seen {
        self.origin.play(script);
        let before = self.refusals();
        let mut client = Peer::connect_from(peer, self.traffic()).unwrap();
        // A refusal may come, and the connection end, while this is still being sent.
        let _ = client.send(&raw);
        client.half_close();
        client.wait(PATIENCE, |r| r.end != End::Open);
        let client = client.finish();
        let (mut ledger, mut forwarded) = (Vec::new(), Vec::new());
        for record in self.origin.finished() {
            ledger.extend(requests(&record.received).0);
            forwarded.extend(record.received);
        }
        let refused = risen(&before, &self.refusals());
        Seen { raw, peer, received: client.received, end: client.end, ledger, forwarded, refused }
    }

    fn refusals(&self) -> Vec<(String, u64)> {
        let text = self.runtime.block_on(self.sidecar.metrics());
        let series = text.lines().filter_map(|l| l.strip_prefix("sidelog_refused_total{reason=\""));
        let pair = |l: &str| {
            let (reason, value) = l.split_once("\"} ").unwrap();
            (reason.to_owned(), value.parse().unwrap())
        };
        series.map(pair).collect()
    }

    /// Ends the sidecar and starts another on the same journal.
    pub fn restart(&mut self, yaml: &str, kill: bool) {
        let end = if kill { libc::SIGKILL } else { libc::SIGTERM };
        self.sidecar.process.signal(end);
        self.runtime.block_on(self.sidecar.process.end(Duration::from_secs(60)));
        let yaml = with_upstream(self.origin.addr(), yaml);
        self.sidecar = self.runtime.block_on(Sidecar::start(self.dir.path(), &yaml));
    }

    /// Ends the sidecar; every call it has recorded, in order.
    pub fn stop(&self) -> Vec<Value> {
        self.stop_with_refusals().0
    }

    /// The same, and the requests that never became calls (as many as the rate lets be recorded).
    pub fn stop_with_refusals(&self) -> (Vec<Value>, Vec<Value>) {
        let status = self.runtime.block_on(self.sidecar.stop());
        assert!(status.success(), "the sidecar ended with {status}");
        let all = events(&self.dir.path().join("journal"));
        all.into_iter().partition(|event| event["error"] != "refused")
    }

    /// What the sidecar says of itself: metrics and configuration.
    pub fn told(&self) -> Vec<u8> {
        let config = format!("{}/config", self.sidecar.local_url());
        let ask = async { reqwest::get(config).await.unwrap().text().await.unwrap() };
        let told = self.runtime.block_on(self.sidecar.metrics()) + &self.runtime.block_on(ask);
        told.into_bytes()
    }
}

fn with_upstream(upstream: SocketAddr, yaml: &str) -> String {
    let own = "redact: {pseudonym_key_file: redact.key";
    // One mapping may stand in a file once only; a configuration's own words come behind the key.
    let yaml = match yaml.split_once("redact: {") {
        Some((before, after)) => format!("{before}{own}, {after}"),
        None => format!("{yaml}{own}}}\n"),
    };
    format!("service: orders\nupstream: http://{upstream}\njournal: {{dir: journal}}\n{yaml}")
}

/// Where a payload is sent from.
pub fn peer(from: From, id: u32, index: usize) -> Ipv4Addr {
    let zone = match from {
        From::Stranger => 1,
        From::Proxy => 2,
    };
    Ipv4Addr::new(127, zone, u8::try_from(id).unwrap(), u8::try_from(index + 1).unwrap())
}

fn risen(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<String> {
    let mut all = Vec::new();
    for (reason, now) in after {
        let then = before.iter().find(|(r, _)| r == reason).map_or(0, |(_, n)| *n);
        all.extend((then..*now).map(|_| reason.clone()));
    }
    all
}

/// Those of one peer, in the order in which they were recorded.
pub fn of_peer(events: &[Value], peer: Ipv4Addr) -> Vec<&Value> {
    let peer = peer.to_string();
    events.iter().filter(|event| event["client"]["peer_ip"] == peer).collect()
}

/// Compares a ledger and events whose calls came in no order, each with a target of its own.
pub fn events_by_call(ledger: &[Request], events: &[Value]) -> Vec<String> {
    let path = |event: &Value| event["http"]["path"].as_str().unwrap_or_default().to_owned();
    let mut by_path: std::collections::HashMap<String, Vec<&Value>> = Default::default();
    events.iter().for_each(|event| by_path.entry(path(event)).or_default().push(event));
    let mut faults = Vec::new();
    for request in ledger {
        let own = by_path.remove(&request.target).unwrap_or_default();
        faults.extend(ledger_and_events(std::slice::from_ref(request), &own));
    }
    for events in by_path.values() {
        faults.extend(ledger_and_events(&[], events));
    }
    faults
}
