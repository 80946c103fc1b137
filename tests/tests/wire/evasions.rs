//! Evasion cases kept as exact bytes, one JSON object a line, and what must come of each.
//!
//! `tests/data/wire/evasions.jsonl` holds those this project always tests. Where the larger shared
//! collection is at hand (`SIDELOG_SHARED`, or `../shared` beside the repository), its framing,
//! method and target groups are run as well.

use crate::sidecar::Sidecar;
use harness::origin::{End, Origin, PATIENCE, Peer, Record, Request, Step, came_through, requests};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Silence after which an exchange counts as over.
const QUIET: Duration = Duration::from_millis(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Refused with 4xx or 5xx and closed; no complete request at the origin.
    Refused,
    /// Executed once, recorded once.
    Executed,
    /// One of the two.
    Either,
    /// Whatever the origin executed is recorded.
    Recorded,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Evasion {
    pub name: String,
    pub expect: Expect,
    /// Each char one byte.
    pub raw_latin1: String,
}

/// The committed cases.
pub fn committed() -> Vec<Evasion> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/wire/evasions.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Groups A to C of the shared collection, if it is there.
pub fn shared() -> Option<Vec<Evasion>> {
    #[derive(Deserialize)]
    struct Line {
        id: u32,
        group: String,
        name: String,
        must: String,
        #[serde(default)]
        raw_latin1: Vec<String>,
    }
    let dir = std::env::var_os("SIDELOG_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let text = std::fs::read_to_string(dir.join("security-cases.jsonl")).ok()?;
    let mut all = Vec::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        if !line.group.starts_with(['A', 'B', 'C']) {
            continue;
        }
        for (i, raw_latin1) in line.raw_latin1.into_iter().enumerate() {
            let name = format!("{}.{} {}", line.id, i + 1, line.name);
            all.push(Evasion { name, expect: expectation(line.id, i, &line.must), raw_latin1 });
        }
    }
    Some(all)
}

/// What the collection's wording asks for. Where it leaves a choice, either outcome will do.
fn expectation(id: u32, index: usize, must: &str) -> Expect {
    match id {
        // The collection would let the trailer pass; a trailer that names framing is refused here.
        20 => return Expect::Either,
        28 if index > 0 => return Expect::Either,
        _ => {}
    }
    let choice = ["R or ", "R, or ", "R (or ", "R (preferred) or ", "R (431/400) or ", "R (414/400) or "];
    match must {
        m if choice.iter().any(|c| m.starts_with(c)) => Expect::Either,
        m if m.starts_with('R') => Expect::Refused,
        m if m.starts_with("E1") => Expect::Executed,
        _ => Expect::Recorded,
    }
}

/// What came of a case.
struct Outcome {
    client: Record,
    executed: Vec<Request>,
    /// Connections whose bytes end within a request.
    incomplete: usize,
    origin_bytes: Vec<u8>,
    events: f64,
    refused: f64,
}

/// Send the bytes and say what is wrong with what came of them.
pub fn faults(case: &Evasion, sidecar: &Sidecar, origin: &Origin) -> Vec<String> {
    let raw: Vec<u8> = case.raw_latin1.chars().map(|c| u8::try_from(c).expect("a latin-1 char")).collect();
    let outcome = run(&raw, sidecar, origin);
    let mut faults = invariants(&raw, &outcome);
    let (refused, executed) = (not_refused(&outcome), not_executed(&outcome));
    match case.expect {
        Expect::Refused => faults.extend(refused),
        Expect::Executed => faults.extend(executed),
        Expect::Either if refused.is_some() && executed.is_some() => {
            faults.extend(refused);
            faults.extend(executed);
        }
        Expect::Either | Expect::Recorded => {}
    }
    faults
}

fn run(raw: &[u8], sidecar: &Sidecar, origin: &Origin) -> Outcome {
    origin.play(vec![Step::Answer(OK.into())]);
    let counters = || (sidecar.metric("sidelog_events_total"), sidecar.metric("sidelog_refused_total"));
    let before = counters();
    let mut peer = Peer::connect(sidecar.traffic).unwrap();
    let _ = peer.send(raw);
    quiet(&peer);
    peer.half_close();
    peer.wait(PATIENCE, |r| r.end != End::Open);
    let client = peer.finish();
    let (mut executed, mut incomplete, mut origin_bytes) = (Vec::new(), 0, Vec::new());
    for record in origin.finished() {
        let (all, rest) = requests(&record.received);
        executed.extend(all);
        incomplete += usize::from(rest);
        origin_bytes.extend(record.received);
    }
    let audited = executed.iter().filter(|r| is_mutating(r)).count();
    sidecar.metric_reaching("sidelog_events_total", before.0 + audited as f64);
    let after = counters();
    let (events, refused) = (after.0 - before.0, after.1 - before.1);
    Outcome { client, executed, incomplete, origin_bytes, events, refused }
}

/// Wait for the end of the connection, or for silence after an answer.
fn quiet(peer: &Peer) {
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut length = 0;
    while Instant::now() < deadline {
        let seen = length;
        let more = peer.wait(QUIET, |r| r.end != End::Open || r.received.len() > seen);
        let record = peer.record();
        if record.end != End::Open || (!more && !record.received.is_empty()) {
            return;
        }
        length = record.received.len();
    }
}

/// What holds for every case: no byte is made up, and what was executed is recorded. More may be
/// recorded than a complete mutating call: a broken one, a refused one, a request for a tunnel.
fn invariants(raw: &[u8], outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    let passed = &outcome.origin_bytes;
    if !came_through(raw, passed) {
        faults.push(format!("the origin received other bytes: {:?}", String::from_utf8_lossy(passed)));
    }
    let audited = outcome.executed.iter().filter(|r| is_mutating(r)).count() as f64;
    let tunnels = outcome.executed.iter().filter(|r| !is_mutating(r) && r.field("upgrade").is_some()).count();
    let most = audited + outcome.incomplete as f64 + outcome.refused + tunnels as f64;
    if outcome.events < audited || outcome.events > most {
        faults.push(format!("{} events for {audited} calls to be audited (at most {most})", outcome.events));
    }
    faults
}

fn not_refused(outcome: &Outcome) -> Option<String> {
    let status = status(&outcome.client);
    let fits = matches!(status, Some(400..=431 | 500..=505))
        && outcome.executed.is_empty()
        && outcome.refused == 1.0
        && outcome.client.end == End::Eof;
    (!fits).then(|| {
        format!(
            "not refused: status {status:?}, {} executed, {} counted as refused, {:?}",
            outcome.executed.len(),
            outcome.refused,
            outcome.client.end
        )
    })
}

fn not_executed(outcome: &Outcome) -> Option<String> {
    let status = status(&outcome.client);
    let fits = status == Some(200) && outcome.executed.len() == 1 && outcome.events == 1.0;
    (!fits).then(|| {
        format!(
            "not executed and recorded once: status {status:?}, {} executed, {} events",
            outcome.executed.len(),
            outcome.events
        )
    })
}

fn status(client: &Record) -> Option<u16> {
    let line = String::from_utf8_lossy(client.received.get(..12)?).into_owned();
    line.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// What must be audited: all but safe methods, in exactly their spelling, without a body and
/// without a method override.
fn is_mutating(request: &Request) -> bool {
    // A tunnel may carry anything, so that asking for one is recorded.
    let upgrade = request.field("upgrade").is_some();
    let safe = ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&request.method.as_str());
    let overridden = request.field("x-http-method-override").is_some() || request.target.contains("_method=");
    !safe || overridden || upgrade || !request.body.is_empty()
}
