//! `bench-call`: what auditing one POST of 1 KiB costs, without sockets: parsing both heads, matching in
//! GitHub's document, redaction, the open-call table and the journal (`written`).
//!
//! Prints nanoseconds of CPU (medians) and allocations by call, and, where valgrind is installed, instructions by
//! call, which are the same again and again: the figure to watch while the code is changed. `--calls N` makes N calls and
//! prints nothing: that is what valgrind is given. `--check` is for CI: a few calls in whatever build this is, held
//! against the figures below; it fails only when one is worse by 30 % or more.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use sidelog::auditor::Auditor;
use sidelog::config;
use sidelog::exchange::Watcher;
use sidelog::head::{Head, HeadIndex};
use sidelog::relay::{BodyEnd, Call as _, End, Observer as _, Upgrades, parse};
use sidelog_bench::counting::{Counting, allocations};
use sidelog_bench::document::Document;
use sidelog_bench::figures::median;
use sidelog_bench::load::body;
use sidelog_bench::process::{cpu_time, installed};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 21;
const CALLS: usize = 2000;
/// Under valgrind, twice: the difference is the calls' alone.
const FEW: usize = 200;
const MANY: usize = 1200;

/// Figures of an unoptimised build, with the generated document: allocations of a call, and its CPU as a multiple of
/// what serde_json takes to parse and write the body, measured in turns with it.
const COMMITTED: [(&str, f64); 2] = [("allocations", 62.1), ("times serde_json", 5.8)];
const WORSE: f64 = 1.3;

const ANSWER: &str =
    "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n";
const ANSWER_BODY: &[u8] = b"{\"id\":\"o-1\",\"ok\":true}\n";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DONE: End =
    End { request: BodyEnd::Complete, response: BodyEnd::Complete, error: None, own_status: None };

struct Calls {
    auditor: Arc<Auditor>,
    request: String,
    body: String,
    _dir: tempfile::TempDir,
}

impl Calls {
    fn prepare(own_document: bool) -> (Calls, &'static str) {
        let dir = tempfile::tempdir().unwrap();
        let prepare = if own_document { Document::generate } else { Document::prepare };
        let document = prepare(dir.path()).unwrap();
        let text = format!(
            "version: 1\nservice: bench\nupstream: http://127.0.0.1:1\nopenapi: ['{}']\njournal: {{max_bytes: 16GiB}}\n",
            document.file.display()
        );
        let (mut config, _) = config::from_text(&text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
        config.journal.dir = dir.path().join("journal");
        let auditor = Arc::new(Auditor::start(&config).unwrap());
        let body = body();
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            document.target,
            body.len()
        );
        (Calls { auditor, request, body, _dir: dir }, document.name)
    }

    /// As the relay plays it.
    fn make(&self, calls: usize) {
        let mut watcher = Watcher::new(self.auditor.clone(), PEER);
        let (mut index, mut answer) = (HeadIndex::default(), HeadIndex::default());
        let upgrades = Upgrades::default();
        for _ in 0..calls {
            let raw = self.request.as_bytes();
            let framing = parse::request(raw, &mut index, &upgrades).unwrap();
            let mut call = watcher.begin(Head { raw, index: &index }, &framing).unwrap();
            call.request_body(self.body.as_bytes());
            parse::response(ANSWER.as_bytes(), &mut answer, &framing).unwrap();
            call.response_head(Head { raw: ANSWER.as_bytes(), index: &answer });
            call.response_body(ANSWER_BODY);
            call.end(DONE);
        }
    }
}

/// What a call takes, in the middle of so many rounds.
struct Cost {
    nanos: f64,
    allocations: f64,
    /// CPU as a multiple of serde_json's.
    times: f64,
}

impl Cost {
    fn measure(calls: &Calls, rounds: usize, of: usize) -> Cost {
        let (mut nanos, mut times, mut allocated) = (Vec::new(), Vec::new(), 0);
        calls.make(of);
        for _ in 0..rounds {
            let before = allocations();
            let begun = cpu_time();
            calls.make(of);
            let own = (cpu_time() - begun).as_nanos() as f64;
            allocated += allocations() - before;
            let begun = cpu_time();
            (0..of).for_each(|_| parse_and_write(&calls.body));
            times.push(own / (cpu_time() - begun).as_nanos() as f64);
            nanos.push(own / of as f64);
        }
        Cost {
            nanos: median(nanos).unwrap(),
            allocations: allocated as f64 / (rounds * of) as f64,
            times: median(times).unwrap(),
        }
    }
}

fn parse_and_write(body: &str) {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    std::hint::black_box(serde_json::to_vec(&value).unwrap());
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mode, count) = (args.next(), args.next());
    let (calls, document) = Calls::prepare(mode.as_deref() == Some("--check"));
    match (mode.as_deref(), count) {
        (Some("--calls"), Some(count)) => calls.make(count.parse().unwrap()),
        (Some("--check"), _) => return check(&calls),
        _ => report(&calls, document),
    }
    ExitCode::SUCCESS
}

fn report(calls: &Calls, document: &str) {
    let Cost { nanos, allocations, times } = Cost::measure(calls, ROUNDS, CALLS);
    let instructions = instructions().map_or_else(|| "– (no valgrind)".to_owned(), |n| format!("{n:.0}"));
    println!("an audited POST of 1 KiB, document: {document}");
    println!("| ns of CPU | × serde_json | allocations | instructions |\n|---|---|---|---|");
    println!("| {nanos:.0} | {times:.1} | {allocations:.1} | {instructions} |");
}

fn check(calls: &Calls) -> ExitCode {
    let Cost { allocations, times, .. } = Cost::measure(calls, ROUNDS, FEW);
    let mut worse = false;
    for ((what, committed), now) in COMMITTED.iter().zip([allocations, times]) {
        let much = now >= WORSE * committed;
        worse |= much;
        println!(
            "{what}: {now:.1}, committed {committed:.1}{}",
            if much { ": 30 % worse or more" } else { "" }
        );
    }
    if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// By call, as callgrind counts them.
fn instructions() -> Option<f64> {
    installed("valgrind")?;
    let [few, many] = [FEW, MANY].map(collected);
    Some((many? - few?) / (MANY - FEW) as f64)
}

fn collected(calls: usize) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["--calls", &calls.to_string()])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    if count.is_none() {
        eprintln!("valgrind said:\n{said}");
    }
    count
}
