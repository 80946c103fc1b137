//! `bench-consumer`: Kafka to ClickHouse by `sidelog-consumer`, by ClickHouse's own Kafka engine, and
//! the raw insert as the limit. Settings are environment variables, see the Makefile.
//!
//! | variable | default | |
//! |---|---|---|
//! | `EVENTS` | 1000000 | in the topic |
//! | `PARTITIONS` | 4 | of the topic |
//! | `ROUNDS` | 3 | of all ways, interleaved |
//! | `WAYS` | all | only those whose names hold one of these words, separated by commas |
//! | `HOURS` | 24 | that the events are spread over: what a backlog is |
//! | `MIXED` | 0 | 1: times in no order, each batch spans all `HOURS` |

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use sidelog_bench::events::Plan;
use sidelog_bench::ingest::{Bench, WAYS, report};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let partitions = number("PARTITIONS", 4);
    let plan = Plan {
        events: number("EVENTS", 1_000_000),
        // So that every partition has some.
        producers: 12.max(3 * partitions as u32),
        span: number("HOURS", 24) as i64 * 3_600_000,
        mixed: number("MIXED", 0) == 1,
        ..Plan::default()
    };
    let words = std::env::var("WAYS").unwrap_or_default();
    let ways: Vec<_> =
        WAYS.into_iter().filter(|way| words.split(',').any(|word| way.name().contains(word))).collect();
    let mut bench = Bench::start(plan, partitions as i32).await;
    let mut samples = Vec::new();
    for round in 1..=number("ROUNDS", 3) {
        for way in &ways {
            let sample = bench.measure(*way).await;
            println!(
                "round {round}: {:<20} {:>7.0} rows/s; CPU µs/row: consumer {:.1}, engine {:.1}, broker {:.1}",
                sample.way,
                sample.rows_per_second,
                sample.consumer_micros,
                sample.engine_micros,
                sample.broker_micros
            );
            samples.push(sample);
        }
    }
    if report::tell(&samples, plan.events) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
