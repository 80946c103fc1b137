//! `bench-proxy`: the sidecar beside its peers. `make bench-proxy` builds, installs what is missing and starts it.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ROUNDS` | 5 | of all parts, interleaved |
//! | `DURATION` | 5 | seconds of each measurement |
//! | `CONNECTIONS` | 64 | of wrk |
//! | `PARTS` | all | `post,get,http2,latency,strict,memory,ready` |
//! | `SUBJECTS` | all | by name |
//!
//! With `--docs FILE` it measures nothing and writes the page of the last run.

use clap::Parser;
use sidelog_bench::figures::Part;
use sidelog_bench::machine::Machine;
use sidelog_bench::process::{LOAD_CORE, raise_files, stay_on};
use sidelog_bench::proxy::{Bench, Plan, Run};
use sidelog_bench::report;
use sidelog_bench::subject::Subject;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(about = "Sidelog beside its peers", long_about = None)]
struct Args {
    /// Write this page from the last run instead of measuring.
    #[arg(long)]
    docs: Option<PathBuf>,
    /// The run to make it from. Default: figures/proxy.json beside this program.
    #[arg(long, requires = "docs")]
    from: Option<PathBuf>,
    /// Even if the machine was too noisy to judge.
    #[arg(long, requires = "docs")]
    noisy: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.from.clone().unwrap_or_else(|| report::file("proxy.json"));
    let done = match &args.docs {
        Some(page) => docs(&file, page, args.noisy),
        None => measure(&file),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

fn docs(from: &Path, page: &Path, noisy: bool) -> Result<(), String> {
    let run = Run::read(from)?;
    if let Some(why) = run.noisy().filter(|_| !noisy) {
        return Err(format!(
            "not written: the machine was too noisy ({why}); --noisy writes it all the same"
        ));
    }
    std::fs::write(page, report::page(&run)).map_err(|e| format!("cannot write {}: {e}", page.display()))
}

fn measure(file: &Path) -> Result<(), String> {
    let plan = plan()?;
    let dir = tempfile::tempdir().map_err(|e| format!("no directory: {e}"))?;
    let machine = Machine::this(dir.path());
    if machine.cores < 2 {
        return Err(format!(
            "two cores are needed, one for the subject, one for the load; there is {}",
            machine.cores
        ));
    }
    if cfg!(debug_assertions) {
        println!("built without optimisation: these figures mean nothing");
    }
    raise_files();
    stay_on(LOAD_CORE);
    let (rounds, mut run) = (plan.rounds, Run::begin(&plan, machine));
    let mut bench = Bench::prepare(plan, dir.path())?;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        bench.round();
        // After each round, so that a run that is ended leaves what it has.
        run.take(&bench);
        run.write(file)?;
    }
    println!("{}", report::text(&run));
    println!("{}", file.display());
    if run.notes.iter().any(|note| note.contains("INVALID")) {
        return Err("some measurements are invalid, see the notes".to_owned());
    }
    Ok(())
}

fn plan() -> Result<Plan, String> {
    let set = |key: &str| std::env::var(key).ok().filter(|text| !text.is_empty());
    let number = |key: &str, default: usize| match set(key) {
        Some(text) => text.parse().map_err(|_| format!("{key}={text} is not a number")),
        None => Ok(default),
    };
    Ok(Plan {
        duration: Duration::from_secs(number("DURATION", 5)?.max(1) as u64),
        rounds: number("ROUNDS", 5)?.max(1),
        connections: number("CONNECTIONS", 64)?.max(1),
        parts: chosen("PARTS", set("PARTS"), &Part::ALL, Part::name)?,
        subjects: chosen("SUBJECTS", set("SUBJECTS"), &Subject::ALL, Subject::name)?,
    })
}

/// Those of `all` that are named, separated by commas; without names, all.
fn chosen<T: Copy>(
    key: &str,
    names: Option<String>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let Some(names) = names else { return Ok(all.to_vec()) };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    match names.iter().find(|n| !all.iter().any(|t| name(*t) == **n)) {
        Some(unknown) => {
            let known: Vec<&str> = all.iter().map(|t| name(*t)).collect();
            Err(format!("{key}: {unknown} is none of {}", known.join(", ")))
        }
        None => Ok(all.iter().copied().filter(|t| names.contains(&name(*t))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose() {
        let parts = |names: &str| chosen("PARTS", Some(names.to_owned()), &Part::ALL, Part::name);
        assert_eq!(parts("ready, post").unwrap(), [Part::Post, Part::Ready]);
        assert!(parts("pots").unwrap_err().contains("pots is none of post, get"));
        assert_eq!(chosen("PARTS", None, &Part::ALL, Part::name).unwrap().len(), Part::ALL.len());
    }
}
