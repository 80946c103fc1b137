//! `bench-call`: what auditing one POST of 1 KiB costs, without sockets: parsing both heads, matching in
//! GitHub's document, redaction, the open-call table and the journal (`written`).
//!
//! Prints nanoseconds of CPU (medians) and allocations by call, and, where valgrind is installed, instructions by
//! call, which are the same again and again: the figure to watch while the code is changed. `--calls N` makes N calls and
//! prints nothing: that is what valgrind is given.

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
use std::process::Command;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 21;
const CALLS: usize = 2000;
/// Under valgrind, twice: the difference is the calls' alone.
const FEW: usize = 200;
const MANY: usize = 1200;

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
    fn prepare() -> (Calls, &'static str) {
        let dir = tempfile::tempdir().unwrap();
        let document = Document::prepare(dir.path()).unwrap();
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

fn main() {
    let mut args = std::env::args().skip(1);
    let (calls, document) = Calls::prepare();
    if let (Some("--calls"), Some(count)) = (args.next().as_deref(), args.next()) {
        return calls.make(count.parse().unwrap());
    }
    calls.make(CALLS);
    let mut nanos = Vec::new();
    let before = allocations();
    for _ in 0..ROUNDS {
        let begun = cpu_time();
        calls.make(CALLS);
        nanos.push((cpu_time() - begun).as_nanos() as f64 / CALLS as f64);
    }
    let each = (allocations() - before) as f64 / (ROUNDS * CALLS) as f64;
    let instructions = instructions().map_or_else(|| "– (no valgrind)".to_owned(), |n| format!("{n:.0}"));
    println!("an audited POST of 1 KiB, document: {document}");
    println!("| ns of CPU | allocations | instructions |\n|---|---|---|");
    println!("| {:.0} | {each:.1} | {instructions} |", median(nanos).unwrap());
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
