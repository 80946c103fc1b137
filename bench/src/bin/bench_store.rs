//! `bench-store`: millions of events in the real table: bytes on disk and the time questions take.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ROWS` | 8000000 | to load |
//! | `RUNS` | 10 | of each question |
//! | `SEED` | 1 | of the events |

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use harness::Engine;
use sidelog_bench::events::Plan;
use sidelog_bench::process::{load_average, peak_mib};
use sidelog_bench::report::file;
use sidelog_bench::storage::questions::{self, Answered, LIMIT};
use sidelog_bench::storage::{Size, load, reader, size};
use sidelog_consumer::migrate::Place;
use sidelog_consumer::store::{Store, StoreOptions};
use std::process::ExitCode;
use std::time::Instant;

/// Bytes by event on disk, at most.
const BYTES: f64 = 143.0;

#[tokio::main]
async fn main() -> ExitCode {
    let plan = Plan { events: number("ROWS", 8_000_000), seed: number("SEED", 1), ..Plan::default() };
    let engine = Engine::start().await;
    let store = Store::new(&StoreOptions {
        url: engine.url(),
        user: "writer".into(),
        password: Some(sidelog::config::Secret("writer's".into())),
        place: Place { database: "audit".into(), cluster: None },
    });
    let start = Instant::now();
    load::load(store, plan).await;
    let speed = plan.events as f64 / start.elapsed().as_secs_f64();
    println!(
        "{} rows at {speed:.0} rows/s (made, parsed, stored), engine at most {:.0} MiB",
        plan.events,
        peak_mib(engine.id())
    );
    let size = size(&engine.writer()).await;
    tell_size(&size);
    let answers = questions::ask(&reader(&engine), number("RUNS", 10) as usize).await;
    tell_answers(&answers);
    println!("\nload average {:.1}; engine at most {:.0} MiB", load_average(), peak_mib(engine.id()));
    let document = serde_json::json!({ "load_rows_per_second": speed, "size": size, "questions": answers });
    let file = file("store.json");
    std::fs::write(&file, serde_json::to_string_pretty(&document).unwrap()).unwrap();
    println!("{}", file.display());
    let good = size.bytes_per_row <= BYTES && !answers.iter().any(Answered::too_slow);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell_size(size: &Size) {
    println!(
        "\n{:.1} B/event on disk (goal {BYTES}): columns {:.1}, indexes {:.1}; {} parts",
        size.bytes_per_row, size.columns, size.indexes, size.parts
    );
    for (name, bytes) in &size.largest {
        println!("  {name:<24} {bytes:>6.1}");
    }
}

fn tell_answers(answers: &[Answered]) {
    println!("\n| {:<44} | {:>5} | {:>6} | {:>6} |", "ms", "rows", "p50", "p95");
    println!("|{}|", [46, 7, 8, 8].map(|n| "-".repeat(n)).join("|"));
    for answer in answers {
        let Answered { name, rows, p50, p95 } = answer;
        let mark = if answer.too_slow() { format!(" above {LIMIT}") } else { String::new() };
        println!("| {name:<44} | {rows:>5} | {p50:>6.0} | {p95:>6.0} |{mark}");
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
