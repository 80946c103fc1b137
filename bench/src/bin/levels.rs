//! What an event costs, and what waiting for it adds to a call, in one run.
//!
//! The sidecar on a core of its own, shipping to a real Kafka, under a steady load in interleaved rounds:
//! the same call ignored, `queued`, `written` and `strict`. What a level costs more than `ignored` is the
//! price of its event: reading it, redaction, journal and shipping. The journal alone is measured by
//! its own example, `bench`.
//!
//! `RATE` (calls a second), `ROUNDS` and `DURATION` (seconds) change the load.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use harness::Kafka;
use harness::clients::{Answer, Load, Pace, Plan, percentile};
use sidelog_bench::document::{Document, GENERATED_TARGET, generated};
use sidelog_bench::figures::median;
use sidelog_bench::load::body;
use sidelog_bench::process::stay_on;
use sidelog_bench::subject::{Ground, Running, nginx, sidelog};
use std::time::{Duration, Instant};

const CLIENTS: u32 = 8;
/// By path: see [`rules`].
const LEVELS: [(&str, &[&str]); 4] = [
    ("ignored", &["/v1/tenants/ignored/resource150/items"]),
    ("queued", &["/v1/tenants/queued/resource150/items"]),
    ("written", &["/v1/tenants/written/resource150/items"]),
    ("strict", &["/v1/tenants/strict/resource150/items"]),
];

fn rules() -> String {
    let rule =
        |delivery| format!("{{match: {{paths: ['/v1/tenants/{delivery}/**']}}, delivery: {delivery}}}");
    format!(
        "audit: {{ignore: ['/v1/tenants/ignored/**'], rules: [{}, {}]}}\n",
        rule("queued"),
        rule("strict")
    )
}

fn main() {
    if cfg!(debug_assertions) {
        println!("built without optimisation: these figures mean nothing");
    }
    println!("load average {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(calls());
}

/// One level in all rounds.
#[derive(Default)]
struct Row {
    answers: Vec<Answer>,
    /// Of the sidecar by call, microseconds, by round.
    cpu: Vec<f64>,
}

async fn calls() {
    let (rate, rounds) = (number("RATE", 500), number("ROUNDS", 5));
    let duration = Duration::from_secs(number("DURATION", 5).into());
    stay_on(1);
    let mut kafka = Kafka::start().await;
    kafka.create_topic(sidelog::TOPIC, 2).await;
    let dir = tempfile::tempdir().unwrap();
    let (service, _process) = nginx::service(dir.path()).unwrap();
    let file = dir.path().join("openapi.yaml");
    std::fs::write(&file, generated()).unwrap();
    let document = Document { file, name: "generated", target: GENERATED_TARGET };
    let brokers = kafka.bootstrap();
    let ground = Ground {
        service,
        http2: false,
        dir: dir.path(),
        document: Some(&document),
        brokers: Some(&brokers),
        old_brokers: None,
    };
    let sidecar = sidelog::start(&ground, &rules()).unwrap();
    let plan = |paths| Plan {
        clients: CLIENTS as usize,
        pace: Pace::Every(Duration::from_secs(1) * CLIENTS / rate),
        media_type: "application/json",
        body: body().into_bytes().leak(),
        paths,
    };
    let mut rows: Vec<Row> = LEVELS.iter().map(|_| Row::default()).collect();
    // The first round warms up.
    for round in 0..=rounds {
        for (row, (_, paths)) in rows.iter_mut().zip(LEVELS) {
            let (answers, cpu) = measure(&sidecar, plan(paths), duration);
            if round > 0 {
                row.cpu.push(cpu * 1e6 / answers.len() as f64);
                row.answers.extend(answers);
            }
        }
    }
    let (events, lost) = sidecar.events().unwrap();
    println!(
        "\n{rate} calls a second by {CLIENTS} clients, POST of 1 KiB JSON, {rounds} rounds of {duration:?}"
    );
    print(&rows);
    println!("{events} events, {lost} lost or unmatched");
    kafka.kill().await;
}

/// The load, and what the sidecar used until all was shipped.
fn measure(sidecar: &Running, plan: Plan, duration: Duration) -> (Vec<Answer>, f64) {
    let cpu = || sidecar.process.as_ref().map_or(0.0, |p| p.cpu_seconds());
    let before = cpu();
    let load = Load::start(plan, sidecar.addr);
    std::thread::sleep(duration);
    let answers = load.stop();
    assert!(answers.iter().all(|a| a.status == 200), "a call failed");
    let until = Instant::now() + Duration::from_secs(30);
    while sidecar.pending() > 0.0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    (answers, cpu() - before)
}

fn print(rows: &[Row]) {
    let micros = |row: &Row, p: f64| percentile(&row.answers, p).as_secs_f64() * 1e6;
    let cpu = |row: &Row| median(row.cpu.clone()).unwrap();
    let Some(base) = rows.first() else { return };
    println!(
        "| {:<8} | {:>6} | {:>7} | {:>7} | {:>7} | {:>7} | {:>7} | {:>10} |",
        "delivery", "calls", "p50 µs", "added", "p99 µs", "added", "CPU µs", "by event"
    );
    println!("|{}|", [10, 8, 9, 9, 9, 9, 9, 12].map(|n| "-".repeat(n)).join("|"));
    for (row, (name, _)) in rows.iter().zip(LEVELS) {
        let (p50, p99) = (micros(row, 50.0), micros(row, 99.0));
        println!(
            "| {name:<8} | {:>6} | {p50:>7.0} | {:>7.0} | {p99:>7.0} | {:>7.0} | {:>7.1} | {:>10.1} |",
            row.answers.len(),
            p50 - micros(base, 50.0),
            p99 - micros(base, 99.0),
            cpu(row),
            cpu(row) - cpu(base)
        );
    }
}

fn number(key: &str, default: u32) -> u32 {
    match std::env::var(key) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{key}={text} is not a number")),
        Err(_) => default,
    }
}
