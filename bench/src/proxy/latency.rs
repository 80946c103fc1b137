//! What the sidecar adds to a call at a load that leaves it idle most of the time.
//!
//! Calls are timed from when they were due, so that a slow answer cannot hide those it keeps waiting. Both
//! ways are measured in each round, and their difference is that round's figure.

use super::{Bench, WARM_UP};
use crate::figures::{Part, What};
use crate::load::body;
use crate::subject::Subject;
use harness::clients::{Load, Pace, Plan, percentile};
use std::net::SocketAddr;
use std::time::Duration;

const CLIENTS: u32 = 8;
const RATE: u32 = 1000;

pub fn measure(bench: &mut Bench<'_>) -> Result<(), String> {
    let mut found = Vec::new();
    for subject in [Subject::Direct, Subject::Sidelog] {
        eprintln!("  {}: {}", Part::Latency.name(), subject.name());
        let stage = bench.start(subject, false)?;
        calls(stage.running.addr, bench.document.target, WARM_UP)?;
        let (target, duration) = (bench.document.target, bench.plan.duration);
        let [p50, p99] = bench.watched(|_| calls(stage.running.addr, target, duration))?;
        bench.figures.add(Part::Latency, subject.name(), What::P50Micros, p50);
        bench.figures.add(Part::Latency, subject.name(), What::P99Micros, p99);
        found.push((p50, p99));
    }
    if let [(p50, p99), (with_p50, with_p99)] = found.as_slice() {
        bench.own(Part::Latency, What::AddedP50Millis, (with_p50 - p50) / 1e3);
        bench.own(Part::Latency, What::AddedP99Millis, (with_p99 - p99) / 1e3);
    }
    Ok(())
}

/// p50 and p99 in microseconds.
fn calls(to: SocketAddr, target: &'static str, time: Duration) -> Result<[f64; 2], String> {
    let plan = Plan {
        clients: CLIENTS as usize,
        pace: Pace::Every(Duration::from_secs(1) * CLIENTS / RATE),
        media_type: "application/json",
        body: body().into_bytes().leak(),
        paths: vec![target].leak(),
    };
    let load = Load::start(plan, to);
    std::thread::sleep(time);
    let answers = load.stop();
    match answers.iter().find(|a| a.status != 200) {
        Some(answer) => Err(format!("INVALID: a call was answered {}", answer.status)),
        None => Ok([50.0, 99.0].map(|p| percentile(&answers, p).as_secs_f64() * 1e6)),
    }
}
