//! `events`: synthetic audit events, to a Kafka topic as sidecars would send them, or as lines of JSON.
//!
//! ```text
//! events --events 1000000 --brokers 127.0.0.1:9092 --topic audit.events
//! events --events 1000 > events.jsonl
//! ```

#![allow(clippy::unwrap_used, reason = "a tool for developers ends when an assumption breaks")]

use clap::Parser;
use sidelog_bench::events::{Events, Plan};
use sidelog_bench::ingest::topic;
use std::io::{BufWriter, Write};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sidecars: one Kafka key each.
    #[arg(long, default_value_t = 12)]
    producers: u32,
    /// Times in no order.
    #[arg(long)]
    mixed: bool,
    /// Where Kafka is; otherwise the events go to standard output.
    #[arg(long, requires = "topic")]
    brokers: Option<String>,
    /// A topic that exists.
    #[arg(long)]
    topic: Option<String>,
}

fn main() {
    let args = Args::parse();
    let plan = Plan {
        events: args.events,
        seed: args.seed,
        producers: args.producers,
        mixed: args.mixed,
        ..Plan::default()
    };
    match (args.brokers, args.topic) {
        (Some(brokers), Some(topic)) => topic::fill(&brokers, &topic, plan),
        _ => lines(plan),
    }
}

fn lines(plan: Plan) {
    let (mut events, mut line) = (Events::new(plan), Vec::new());
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    while events.next(&mut line).is_some() {
        line.push(b'\n');
        // A reader such as `head` may have had enough.
        if out.write_all(&line).is_err() {
            return;
        }
        line.clear();
    }
}
