//! Real public documents and the requests that should reach their operations, through the real binary.
//!
//! The corpus lies beside the project (`../shared/openapi`); where it does not, the test says so and
//! passes. Each document is given to `explain --openapi FILE --stdin` with all its requests.

use crate::command;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One line of the cases file.
#[derive(Deserialize)]
struct Case {
    spec: String,
    method: String,
    target: String,
    host: Option<String>,
    tier: String,
    expect_method: String,
    expect_template: String,
    expect_params_decoded: BTreeMap<String, String>,
    /// Two readings of the parameters are as good as each other.
    #[serde(default)]
    params_ambiguous: bool,
}

/// One line of the answer, as far as it is compared.
#[derive(Deserialize, Debug)]
struct Answer {
    #[serde(rename = "match")]
    matched: String,
    method: String,
    template: Option<String>,
    path_params: BTreeMap<String, String>,
    alternatives: Vec<String>,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    cases: usize,
    /// Operation and parameters as expected; in the ambiguous tier: marked ambiguous, and the
    /// expected operation named.
    right: usize,
}

#[derive(Default)]
struct Report {
    tiers: BTreeMap<String, Tally>,
    wrong: Vec<String>,
    documents: usize,
    lines: usize,
    /// Of all runs, one after the other, loading included.
    time: Duration,
}

fn corpus() -> Option<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let dir = Path::new(&package).join("../../shared/openapi");
    dir.join("cases.jsonl.gz").exists().then_some(dir)
}

/// The cases, by document.
fn cases(corpus: &Path) -> BTreeMap<String, Vec<Case>> {
    let out = Command::new("gzip").arg("-dc").arg(corpus.join("cases.jsonl.gz")).output().unwrap();
    assert!(out.status.success());
    let mut cases: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        cases.entry(case.spec.clone()).or_default().push(case);
    }
    cases
}

fn unpacked(corpus: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = corpus.join("specs.tar.xz");
    assert!(
        Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(dir.path()).status().unwrap().success()
    );
    dir
}

fn ask(specs: &Path, spec: &str, cases: &[Case]) -> (Vec<Answer>, Duration) {
    let questions = tempfile::NamedTempFile::new().unwrap();
    let mut file = BufWriter::new(questions.as_file());
    for case in cases {
        let host = case.host.as_deref().unwrap_or("localhost");
        let question = json!({"method": case.method, "target": case.target, "headers": {"Host": host}});
        writeln!(file, "{question}").unwrap();
    }
    file.flush().unwrap();
    let begun = Instant::now();
    let out = command(specs, &["explain", "--openapi", spec, "--stdin"])
        .stdin(File::open(questions.path()).unwrap())
        .output()
        .unwrap();
    let time = begun.elapsed();
    assert!(out.status.success(), "{spec}: {}", String::from_utf8_lossy(&out.stderr));
    let answers = out.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let answers: Vec<Answer> = answers.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len(), "{spec}: one answer a line");
    (answers, time)
}

fn is_right(case: &Case, answer: &Answer) -> bool {
    let expected = format!("{} {}", case.expect_method, case.expect_template);
    let same = answer.method == case.expect_method && answer.template.as_ref() == Some(&case.expect_template);
    if case.tier == "ambiguous" {
        return answer.matched == "ambiguous" && (same || answer.alternatives.contains(&expected));
    }
    let params = case.params_ambiguous || answer.path_params == case.expect_params_decoded;
    answer.matched == "matched" && same && params
}

fn judge(report: &Mutex<Report>, spec: &str, cases: &[Case], answers: &[Answer], time: Duration) {
    let mut report = report.lock().unwrap();
    report.documents += 1;
    report.lines += cases.len();
    report.time += time;
    for (case, answer) in cases.iter().zip(answers) {
        let right = is_right(case, answer);
        let tally = report.tiers.entry(case.tier.clone()).or_default();
        tally.cases += 1;
        tally.right += usize::from(right);
        if !right && report.wrong.len() < 20 {
            let text = format!(
                "{spec} {} {} {}: expected {} {} {:?}, got {answer:?}",
                case.tier,
                case.method,
                case.target,
                case.expect_method,
                case.expect_template,
                case.expect_params_decoded
            );
            report.wrong.push(text);
        }
    }
}

impl Report {
    fn print(&self) {
        for (tier, Tally { cases, right }) in &self.tiers {
            println!("{tier}: {right} of {cases} right ({:.2} %)", percent(*right, *cases));
        }
        let rate = self.lines as f64 / self.time.as_secs_f64();
        println!(
            "{} documents, {} lines, {rate:.0} lines/s, loading and starting included",
            self.documents, self.lines
        );
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[test]
fn every_document_of_the_corpus_and_its_requests() {
    let Some(corpus) = corpus() else {
        println!("left out: there is no corpus of real documents at ../shared/openapi");
        return;
    };
    let (cases, specs) = (cases(&corpus), unpacked(&corpus));
    let (report, queue) = (Mutex::<Report>::default(), Mutex::new(cases.iter()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((spec, cases)) = queue.lock().unwrap().next() else { break };
                    let (answers, time) = ask(specs.path(), spec, cases);
                    judge(&report, spec, cases, &answers, time);
                }
            });
        }
    });
    let report = report.into_inner().unwrap();
    report.print();
    assert!(report.documents >= 127 && report.lines >= 55_000, "{} documents", report.documents);
    // Unambiguous requests get their operation and parameters; the others are marked, and the
    // operation meant is among those named.
    assert_eq!(report.wrong, [""; 0], "and perhaps more");
}
