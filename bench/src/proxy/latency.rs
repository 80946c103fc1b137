//! What the sidecar adds to a call at a load that leaves it idle most of the time, beside what nginx adds,
//! which does nothing but relay: most of it is the machine's, waking one more process twice.
//!
//! Calls are timed from when they were due, so that a slow answer cannot hide those it keeps waiting. All
//! ways are measured in each round, and the difference to the direct one is that round's figure.

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
    let mut direct = None;
    for subject in Subject::of(Part::Latency) {
        // The other two are what the figure is made of.
        if *subject == Subject::Nginx && !bench.plan.has(Subject::Nginx) {
            continue;
        }
        eprintln!("  {}: {}", Part::Latency.name(), subject.name());
        let stage = bench.start(*subject, false)?;
        calls(stage.running.addr, bench.document.target, WARM_UP)?;
        let (target, duration) = (bench.document.target, bench.plan.duration);
        let [p50, p99] = bench.watched(|_| calls(stage.running.addr, target, duration))?;
        let mut add = |what, value| bench.figures.add(Part::Latency, subject.name(), what, value);
        add(What::P50Micros, p50);
        add(What::P99Micros, p99);
        match direct {
            None => direct = Some((p50, p99)),
            Some((direct_p50, direct_p99)) => {
                add(What::AddedP50Millis, (p50 - direct_p50) / 1e3);
                add(What::AddedP99Millis, (p99 - direct_p99) / 1e3);
            }
        }
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
