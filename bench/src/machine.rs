//! The machine: what it is, and how much others take of it while something is measured.

use crate::process::{cpu_seconds_with_dead, machine_seconds};
use std::path::Path;
use std::time::Instant;

/// Cores that others may use before a figure is called noisy.
const QUIET: f64 = 0.2;
/// Cores that the host may withhold from this machine.
const STEAL: f64 = 0.1;
/// The share of noisy measurements with which a run cannot be judged.
const NOISY_SHARE: f64 = 0.1;

/// What a run was made on.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// Of the directory that journals and logs were in.
    pub filesystem: String,
}

impl Machine {
    /// This one. To be asked before the process is bound to a core.
    pub fn this(dir: &Path) -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|l| l.starts_with(key)).unwrap_or("").to_owned();
            line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
        Machine {
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / 1024.0 / 1024.0).round(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            filesystem: filesystem(&read("/proc/mounts"), dir),
        }
    }
}

/// The type of the file system that a directory lies in: of the longest mount point above it.
fn filesystem(mounts: &str, dir: &Path) -> String {
    let entries = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = entries.filter(|(at, _)| dir.starts_with(at));
    above.max_by_key(|(at, _)| at.len()).map_or(String::new(), |(_, kind)| kind.to_owned())
}

/// Cores that were not ours while something was measured.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Noise {
    /// Used by other processes of this machine.
    pub others: f64,
    /// Withheld by the host.
    pub steal: f64,
}

impl Noise {
    pub fn too_much(self) -> bool {
        self.others > QUIET || self.steal > STEAL
    }
}

/// Why a run cannot be judged, if so.
pub fn noisy(all: &[Noise]) -> Option<String> {
    let loud = all.iter().filter(|n| n.too_much()).count();
    (loud as f64 > all.len() as f64 * NOISY_SHARE).then(|| {
        format!(
            "in {loud} of {} measurements others used more than {QUIET} cores, or the host withheld more than {STEAL}",
            all.len()
        )
    })
}

/// Looks at the machine from `begin` to `end`.
#[derive(Debug)]
pub struct Watch {
    began: Instant,
    /// Of all processes, of ours, withheld: seconds of CPU.
    before: [f64; 3],
}

impl Watch {
    pub fn begin() -> Watch {
        Watch { began: Instant::now(), before: Watch::used() }
    }

    pub fn end(self) -> Noise {
        let seconds = self.began.elapsed().as_secs_f64();
        let after = Watch::used();
        let mut spent = after.iter().zip(self.before).map(|(after, before)| (after - before) / seconds);
        let mut next = || spent.next().unwrap_or(0.0);
        let (all, own, steal) = (next(), next(), next());
        Noise { others: (all - own).max(0.0), steal: steal.max(0.0) }
    }

    /// Interrupts are left out: on whose behalf they came is not known.
    fn used() -> [f64; 3] {
        let us = std::process::id();
        let descendants = harness::descendants(us).into_iter().map(|(pid, _)| pid);
        let own = descendants.chain([us]).map(cpu_seconds_with_dead).sum();
        [[0, 1, 2].map(machine_seconds).iter().sum(), own, machine_seconds(7)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpfiles xfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(filesystem(mounts, Path::new("/home/x")), "ext4");
        assert_eq!(filesystem("", Path::new("/")), "");
    }

    #[test]
    fn a_run_is_noisy_when_more_than_a_tenth_of_it_is() {
        let quiet = Noise { others: 0.1, steal: 0.0 };
        let stolen = Noise { others: 0.0, steal: 0.3 };
        let mut all = vec![quiet; 9];
        assert_eq!(noisy(&all), None);
        all.push(stolen);
        assert_eq!(noisy(&all), None);
        all.push(stolen);
        assert!(noisy(&all).is_some_and(|why| why.starts_with("in 2 of 11")));
    }
}
