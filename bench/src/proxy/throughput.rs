//! As many requests as pass: how many that is, and what each costs.
//!
//! The load's core is often the limit of requests a second, so CPU by request tells more. What a subject
//! still has to do behind the last answer (shipping) is counted with it: it is waited for.

use super::{Bench, Stage, WARM_UP};
use crate::figures::{Part, What};
use crate::load::{Request, Seen, h2load, wrk};
use crate::subject::Subject;
use std::time::Duration;

/// Of all subjects of a part, one after the other.
pub fn measure(bench: &mut Bench<'_>, part: Part) {
    for subject in bench.plan.of(part).collect::<Vec<_>>() {
        eprintln!("  {}: {}", part.name(), subject.name());
        if let Err(trouble) = bench.guarded(|bench| one(bench, part, subject)) {
            bench.notes.push(format!("{} of {}: {trouble}", part.name(), subject.name()));
        }
    }
}

fn one(bench: &mut Bench<'_>, part: Part, subject: Subject) -> Result<(), String> {
    let stage = bench.start(subject, part == Part::Http2)?;
    load(bench, part, &stage, WARM_UP)?;
    stage.running.settle();
    let delivered = |bench: &Bench<'_>| bench.brokers.messages(subject.topic()?);
    let (cpu, events, messages) = (stage.running.cpu_seconds(), stage.running.events(), delivered(bench));
    let duration = bench.plan.duration;
    let seen = bench.watched(|bench| load(bench, part, &stage, duration))?;
    if !stage.running.settle() {
        bench.notes.push(format!("{} of {}: not all was shipped in time", part.name(), subject.name()));
    }
    let cpu = stage.running.cpu_seconds() - cpu;
    if seen.errors > 0.0 {
        return Err(format!("INVALID: {} of {} requests failed", seen.errors, seen.requests));
    }
    let audited = part != Part::Get;
    if let Some(((before, short_before), (after, short_after))) = events.zip(stage.running.events()) {
        let (written, short) = (after - before, short_after - short_before);
        let due = if audited { seen.requests } else { 0.0 };
        if written < due || short > 0.0 {
            return Err(format!("INVALID: {written} events for {due} calls, {short} lost or unmatched"));
        }
    }
    let mut add = |what, value: Option<f64>| {
        if let Some(value) = value {
            bench.figures.add(part, subject.name(), what, value);
        }
    };
    add(What::RequestsPerSecond, Some(seen.per_second));
    add(What::CpuMicros, stage.running.process.as_ref().map(|_| cpu * 1e6 / seen.requests));
    add(What::P50Micros, seen.p50);
    add(What::P99Micros, seen.p99);
    add(What::MeanMicros, seen.mean);
    add(What::ResidentMib, stage.running.resident().map(|r| r.all));
    if let Some(before) = messages.filter(|_| audited) {
        let after = delivered(bench);
        let share = after.map(|after| ((after - before) / seen.requests).min(1.0));
        if let Some(share) = share {
            bench.figures.add(part, subject.name(), What::Delivered, share);
        }
    }
    Ok(())
}

fn load(bench: &Bench<'_>, part: Part, stage: &Stage, time: Duration) -> Result<Seen, String> {
    let (to, target, dir) = (stage.running.addr, bench.document.target, stage.dir.path());
    let http1 = |request| wrk::run(request, to, target, bench.plan.connections, time, dir);
    match part {
        Part::Http2 => h2load::run(to, target, time, dir),
        Part::Get => http1(Request::Get),
        _ => http1(Request::Post),
    }
}
