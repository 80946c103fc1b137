//! Measure every subject under every load, round by round, and print the medians. `bench/run.sh`
//! is the way to start it.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use sidelog_bench::load::{LOADS, Load};
use sidelog_bench::subject::{SUBJECTS, Subject, service};
use sidelog_bench::table::{self, Sample};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Before each measurement: connections are made, buffers are warm.
const WARM_UP: Duration = Duration::from_secs(1);

struct Plan {
    duration: Duration,
    rounds: usize,
    connections: usize,
    subjects: Vec<Subject>,
}

fn main() -> ExitCode {
    let plan = plan();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("two cores are needed, one for the subject, one for the load; there is {cores}");
        return ExitCode::FAILURE;
    }
    if cfg!(debug_assertions) {
        println!("built without optimisation: these figures mean nothing");
    }
    let dir = tempfile::tempdir().unwrap();
    let (addr, _service) = service(dir.path());
    let (mut samples, mut complaints) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        for load in LOADS {
            for subject in &plan.subjects {
                eprintln!("round {round} of {}: {} by {}", plan.rounds, load.name(), subject.name());
                let sample = measure(*subject, load, addr, &plan, dir.path(), &mut complaints);
                samples.push(sample);
            }
        }
    }
    println!(
        "\nmedians of {} × {} s, {} connections; one core for the subject, one for wrk and the service (nginx)",
        plan.rounds,
        plan.duration.as_secs(),
        plan.connections
    );
    for load in LOADS {
        table::print(load, &samples);
    }
    for complaint in &complaints {
        println!("INVALID: {complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan() -> Plan {
    let number = |key: &str, default: usize| match std::env::var(key) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{key}={text} is not a number")),
        Err(_) => default,
    };
    let wanted = std::env::var("SUBJECTS").unwrap_or_default();
    let subjects: Vec<Subject> = SUBJECTS
        .into_iter()
        .filter(|s| wanted.is_empty() || wanted.split(',').any(|w| w == s.name()))
        .collect();
    assert!(!subjects.is_empty(), "SUBJECTS={wanted} names none of {:?}", SUBJECTS.map(Subject::name));
    Plan {
        duration: Duration::from_secs(number("DURATION", 5) as u64),
        rounds: number("ROUNDS", 3),
        connections: number("CONNECTIONS", 64),
        subjects,
    }
}

fn measure(
    subject: Subject,
    load: Load,
    service: SocketAddr,
    plan: &Plan,
    dir: &Path,
    complaints: &mut Vec<String>,
) -> Sample {
    let running = subject.start(service, dir);
    load.run(running.addr, plan.connections, WARM_UP, dir);
    let cpu = || running.process.as_ref().map(|p| p.cpu_seconds());
    let (cpu_before, events_before) = (cpu(), running.events());
    let figures = load.run(running.addr, plan.connections, plan.duration, dir);
    let (cpu_after, events_after) = (cpu(), running.events());
    let resident = running.process.as_ref().map(|p| p.resident_mib());
    if figures.errors > 0.0 {
        complaints.push(format!("{} under {}: {} errors", subject.name(), load.name(), figures.errors));
    }
    if let Some(((before, short_before), (after, short_after))) = events_before.zip(events_after) {
        let (written, short) = (after - before, short_after - short_before);
        let due = if load == Load::Post { figures.requests } else { 0.0 };
        if written < due || short > 0.0 {
            complaints.push(format!("{written} events for {due} audited calls, {short} lost or unmatched"));
        }
    }
    let cpu_micros = cpu_before.zip(cpu_after).map(|(a, b)| (b - a) * 1e6 / figures.requests);
    Sample { subject, load, figures, cpu_micros, resident }
}
