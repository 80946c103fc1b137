//! `delivery: strict`: each call waits for the disk, beside what the disk can do.
//!
//! The disk's own rate is measured in the same directory right behind: as many bytes as the journal writes
//! for a call are appended 64 times to one file, and waited for, again and again. Nothing is shipped here,
//! so that the journal tells how many bytes that is.

use super::{Bench, WARM_UP};
use crate::figures::{Part, What};
use crate::load::{Request, wrk};
use crate::process::sibling;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Records by group commit, and calls in flight.
const GROUP: usize = 64;
/// A record's own head in the journal.
const FRAME: f64 = 48.0;

pub fn measure(bench: &mut Bench<'_>) -> Result<(), String> {
    eprintln!("  {}", Part::Strict.name());
    let service = bench.service(false)?;
    let stage = bench.sidelog(service, false, "audit: {delivery: strict}\n")?;
    let (target, duration, dir) = (bench.document.target, bench.plan.duration, stage.dir.path());
    let load = |time| wrk::run(Request::Post, stage.running.addr, target, GROUP, time, dir);
    let mut calls = load(WARM_UP)?.requests;
    let cpu = stage.running.cpu_seconds();
    let seen = bench.watched(|_| load(duration))?;
    let cpu = stage.running.cpu_seconds() - cpu;
    calls += seen.requests;
    if seen.errors > 0.0 {
        return Err(format!("INVALID: {} of {} requests failed", seen.errors, seen.requests));
    }
    let journal = stage.running.journal.as_deref().ok_or("no journal")?;
    let bytes = journalled(journal)? / calls;
    let disk = bench.watched(|_| group_commits(dir, bytes as usize, duration))?;
    bench.own(Part::Strict, What::RequestsPerSecond, seen.per_second);
    bench.own(Part::Strict, What::CpuMicros, cpu * 1e6 / seen.requests);
    for (what, value) in [(What::P50Micros, seen.p50), (What::P99Micros, seen.p99)] {
        bench.own(Part::Strict, what, value.unwrap_or_default());
    }
    bench.own(Part::Strict, What::BytesPerCall, bytes);
    bench.own(Part::Strict, What::DiskPerSecond, disk);
    bench.own(Part::Strict, What::ShareOfDisk, seen.per_second / disk);
    Ok(())
}

/// Bytes of all records in a journal that nobody ships.
fn journalled(dir: &Path) -> Result<f64, String> {
    let output = Command::new(sibling("sidelog")?)
        .args(["journal", "stat", "--json", "--dir"])
        .arg(dir)
        .output()
        .map_err(|e| format!("sidelog journal stat: {e}"))?;
    let stat: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("sidelog journal stat: {e}"))?;
    let backlog = |key: &str| stat.get("backlog").and_then(|b| b.get(key)?.as_f64());
    match (backlog("records"), backlog("bytes")) {
        (Some(records), Some(bytes)) if records > 0.0 => Ok(bytes + records * FRAME),
        _ => Err(format!("sidelog journal stat tells no backlog: {stat}")),
    }
}

/// Records a second that reach the disk in groups.
fn group_commits(dir: &Path, bytes: usize, time: Duration) -> Result<f64, String> {
    let record = vec![b'x'; bytes.max(1)];
    let commits = || -> std::io::Result<f64> {
        let mut file = File::create_new(dir.join("group-commits"))?;
        let (began, mut groups) = (Instant::now(), 0);
        while began.elapsed() < time {
            for _ in 0..GROUP {
                file.write_all(&record)?;
            }
            file.sync_data()?;
            groups += 1;
        }
        Ok((groups * GROUP) as f64 / began.elapsed().as_secs_f64())
    };
    commits().map_err(|e| format!("group commits: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_commits_something() {
        let dir = tempfile::tempdir().unwrap();
        let rate = group_commits(dir.path(), 100, Duration::from_millis(1)).unwrap();
        assert!(rate > 0.0);
        assert_eq!(std::fs::metadata(dir.path().join("group-commits")).unwrap().len() % 6400, 0);
    }
}
