//! A whole run as it is kept: JSON beside the binaries, from which every table and page is made.

use super::{Bench, Plan};
use crate::figures::{Figures, Part};
use crate::goals::{Outcome, outcomes};
use crate::machine::{Machine, Noise, noisy};
use crate::process::{installed, sibling};
use crate::subject::{Subject, envoy};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// UTC.
    pub date: String,
    /// What repeats it.
    pub command: String,
    pub machine: Machine,
    pub versions: Vec<String>,
    /// That was matched.
    pub document: String,
    pub rounds: usize,
    pub seconds: u64,
    pub connections: usize,
    pub figures: Figures,
    /// Of each measurement.
    pub noise: Vec<Noise>,
    pub notes: Vec<String>,
    /// Made from the figures; kept for those who read the file with other programs.
    #[serde(default, skip_deserializing)]
    pub goals: Vec<Outcome>,
}

impl Run {
    pub fn begin(plan: &Plan, machine: Machine) -> Run {
        Run {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            command: command(plan),
            machine,
            versions: versions(),
            rounds: plan.rounds,
            seconds: plan.duration.as_secs(),
            connections: plan.connections,
            ..Run::default()
        }
    }

    /// Takes over what was measured so far.
    pub fn take(&mut self, bench: &Bench<'_>) {
        bench.document().name.clone_into(&mut self.document);
        self.figures = bench.figures.clone();
        self.noise = bench.noise.clone();
        self.notes = bench.notes.clone();
        self.goals = outcomes(&self.figures);
    }

    /// Why it cannot be judged, if so.
    pub fn noisy(&self) -> Option<String> {
        noisy(&self.noise)
    }

    pub fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        std::fs::write(file, text + "\n").map_err(|e| format!("cannot write {}: {e}", file.display()))
    }

    pub fn read(file: &Path) -> Result<Run, String> {
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("cannot read {}: {e}; `make bench-proxy` makes it", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }
}

/// With only what is not as by default.
fn command(plan: &Plan) -> String {
    let mut command = format!("make bench-proxy ROUNDS={} DURATION={}", plan.rounds, plan.duration.as_secs());
    let list = |names: Vec<&str>| names.join(",");
    if plan.connections != 64 {
        command += &format!(" CONNECTIONS={}", plan.connections);
    }
    if plan.parts.len() < Part::ALL.len() {
        command += &format!(" PARTS={}", list(plan.parts.iter().map(|p| p.name()).collect()));
    }
    if plan.subjects.len() < Subject::ALL.len() {
        command += &format!(" SUBJECTS={}", list(plan.subjects.iter().map(|s| s.name()).collect()));
    }
    command
}

/// Of all programs that are there.
fn versions() -> Vec<String> {
    let programs = [
        ("sidelog", sibling("sidelog").ok(), "--version"),
        ("nginx", installed("nginx"), "-v"),
        ("haproxy", installed("haproxy"), "-v"),
        ("envoy", envoy::program(), "--version"),
        ("nghttp2", installed("nghttpd"), "--version"),
        ("wrk", installed("wrk"), "-v"),
    ];
    let ask = |(name, program, flag): (&str, Option<PathBuf>, &str)| {
        let output = Command::new(program?).arg(flag).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        Some(format!("{name} {}", number(&String::from_utf8_lossy(&said))?))
    };
    programs.into_iter().filter_map(ask).collect()
}

/// The first word that looks like a version: it begins with a digit and has a point.
fn number(said: &str) -> Option<&str> {
    said.split([' ', '/', '\n']).find(|w| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::What;
    use std::time::Duration;

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.json");
        let mut run = Run { date: "2026-01-02".into(), rounds: 5, ..Run::default() };
        run.figures.add(Part::Ready, "sidelog", What::ReadyMillis, 80.0);
        run.noise.push(Noise { others: 0.1, steal: 0.0 });
        run.goals = outcomes(&run.figures);
        run.write(&file).unwrap();
        let again = Run::read(&file).unwrap();
        assert_eq!((again.date, again.rounds), (run.date, 5));
        assert_eq!(again.figures, run.figures);
        assert_eq!(again.noise, run.noise);
        assert!(Run::read(&dir.path().join("none.json")).unwrap_err().contains("make bench-proxy"));
    }

    #[test]
    fn versions_stand_where_they_like() {
        for (said, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("/a/envoy  version: 9e558/1.40.0/Clean/RELEASE", "1.40.0"),
            ("HAProxy version 2.6.12-1 2026/10/17", "2.6.12-1"),
        ] {
            assert_eq!(number(said), Some(version));
        }
        assert_eq!(number("none"), None);
    }

    #[test]
    fn the_command_names_what_is_unusual() {
        let mut plan = Plan {
            duration: Duration::from_secs(5),
            rounds: 5,
            connections: 64,
            parts: Part::ALL.to_vec(),
            subjects: Subject::ALL.to_vec(),
        };
        assert_eq!(command(&plan), "make bench-proxy ROUNDS=5 DURATION=5");
        plan.parts = vec![Part::Post, Part::Ready];
        plan.subjects = vec![Subject::Sidelog];
        assert_eq!(command(&plan), "make bench-proxy ROUNDS=5 DURATION=5 PARTS=post,ready SUBJECTS=sidelog");
    }
}
