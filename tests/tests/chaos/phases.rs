//! Stretches of a test, the first of them quiet, and whether traffic told them apart.

use crate::setting;
use harness::clients::{Answer, Pace, Plan, percentile};
use std::time::{Duration, Instant};

/// A steady load of `SIDELOG_RATE` calls a second.
pub fn steady() -> Plan {
    let clients = 8;
    let rate = setting("SIDELOG_RATE", 400);
    let pace = Pace::Every(Duration::from_secs(1) * clients / rate as u32);
    Plan {
        clients: clients as usize,
        pace,
        media_type: "text/plain",
        body: &[b'x'; 500],
        paths: &["/written/a"],
    }
}

pub struct Phases {
    what: &'static str,
    /// Name, beginning, end, and MiB resident at the end.
    all: Vec<(&'static str, Instant, Instant, u64)>,
}

impl Phases {
    pub fn begin(what: &'static str, first: &'static str) -> Phases {
        let mut phases = Phases { what, all: Vec::new() };
        phases.next(first);
        phases
    }

    pub fn next(&mut self, name: &'static str) {
        let now = Instant::now();
        self.all.push((name, now, now, 0));
    }

    /// The last one is over; the sidecar has so many MiB resident.
    pub fn end(&mut self, resident: u64) {
        let last = self.all.last_mut().unwrap();
        (last.2, last.3) = (Instant::now(), resident);
    }

    /// Prints what clients saw in each; fails where they saw the fault.
    pub fn unnoticed(&self, answers: &[Answer]) {
        assert!(answers.iter().all(|a| a.status == 200), "traffic noticed");
        let mut quiet = None;
        for (name, from, to, resident) in &self.all {
            let during: Vec<_> =
                answers.iter().filter(|a| a.began >= *from && a.began < *to).cloned().collect();
            assert!(!during.is_empty(), "{name}: no call was answered");
            let (p50, p99) = (percentile(&during, 50.0), percentile(&during, 99.0));
            let base = *quiet.get_or_insert(p99);
            println!(
                "{} {name}: {} calls, p50 {p50:.2?}, p99 {p99:.2?} ({:.2} x quiet), {resident} MiB resident",
                self.what,
                during.len(),
                p99.as_secs_f64() / base.as_secs_f64()
            );
            // On a busy machine: far above noise, far below any time-out of Kafka's or ClickHouse's.
            assert!(p99 < 5 * base + Duration::from_millis(200), "{name}: p99 {p99:?}, quiet {base:?}");
            let more = resident.saturating_sub(self.all[0].3);
            assert!(more <= 32, "{name}: {more} MiB more resident than when all was quiet");
        }
    }
}
