//! Real documents and the requests their operations should get.
//!
//! `tests/data/openapi` has a sample that always runs. The whole corpus lies beside the project
//! (`../shared/openapi`); where it does not, the test says so and passes. A debug build takes every
//! few documents, a release build all.

use super::*;
use crate::config::BasePath;
use crate::openapi::{self, Operation};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Unambiguous cases in the sample.
const SAMPLE: usize = 291;
/// Loads worth a line in the report.
const SLOW: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Case {
    spec: String,
    method: String,
    target: String,
    tier: String,
    expect_method: Option<String>,
    expect_template: Option<String>,
    #[serde(default)]
    expect_params: BTreeMap<String, String>,
    #[serde(default)]
    expect_params_decoded: BTreeMap<String, String>,
    #[serde(default)]
    alternatives: Vec<String>,
    #[serde(default)]
    params_ambiguous: bool,
    #[serde(default)]
    other_method_matches: bool,
    #[serde(default)]
    mutation: String,
}

#[derive(Default, Debug)]
struct Tally {
    cases: usize,
    right: usize,
    params: usize,
    marked_ambiguous: usize,
    named: usize,
}

/// Figures of a run, and the first few cases that went wrong.
#[derive(Default)]
struct Report {
    tiers: BTreeMap<String, Tally>,
    negatives: BTreeMap<String, Tally>,
    wrong: Vec<String>,
    loading: Duration,
    building: Duration,
    documents: usize,
    operations: usize,
    /// Per match, for the document with the most requests.
    per_match: Duration,
    most: usize,
}

impl Report {
    fn complain(&mut self, text: String) {
        if self.wrong.len() < 60 {
            self.wrong.push(text);
        }
    }

    fn time(&mut self, matcher: &SpecMatcher, cases: &[Case]) {
        if cases.len() <= self.most {
            return;
        }
        const ROUNDS: u32 = 5;
        let begin = Instant::now();
        for case in (0..ROUNDS).flat_map(|_| cases) {
            std::hint::black_box(matcher.find(&case.method, case.target.as_bytes(), &none));
        }
        self.most = cases.len();
        self.per_match = begin.elapsed() / (ROUNDS * cases.len() as u32);
    }

    fn unambiguous(&self) -> Tally {
        let mut sum = Tally::default();
        for tally in self.tiers.iter().filter(|(tier, _)| *tier != "ambiguous").map(|(_, t)| t) {
            sum.cases += tally.cases;
            sum.right += tally.right;
            sum.params += tally.params;
            sum.marked_ambiguous += tally.marked_ambiguous;
        }
        sum
    }

    fn print(&self) {
        println!(
            "{} documents, {} operations; loaded in {:?}, built in {:?}; {:?} per match",
            self.documents, self.operations, self.loading, self.building, self.per_match
        );
        for (tier, t) in &self.tiers {
            println!(
                "{tier}: {} of {} right, {} with parameters, {} marked ambiguous, {} named",
                t.right, t.cases, t.params, t.marked_ambiguous, t.named
            );
        }
        for (mutation, t) in &self.negatives {
            println!("negative {mutation}: {} of {} as expected", t.right, t.cases);
        }
        self.wrong.iter().for_each(|w| println!("  {w}"));
    }
}

fn none(_: &str) -> Option<&'static [u8]> {
    None
}

fn is(operation: &Operation, case: &Case) -> bool {
    Some(&operation.method) == case.expect_method.as_ref()
        && Some(&operation.template) == case.expect_template.as_ref()
}

fn judge(matcher: &SpecMatcher, case: &Case, report: &mut Report) {
    let found = matcher.find(&case.method, case.target.as_bytes(), &none);
    let operation = found.operation.filter(|_| found.kind != MatchKind::MethodNotInSpec);
    let right = operation.is_some_and(|o| is(o, case));
    let mut params = BTreeMap::new();
    let mut decoded = BTreeMap::new();
    for p in found.params() {
        params.insert(p.name.to_owned(), p.raw.into_owned());
        decoded.insert(p.name.to_owned(), p.decoded.into_owned());
    }
    let same =
        case.params_ambiguous || (params == case.expect_params && decoded == case.expect_params_decoded);
    let ambiguous = found.kind == MatchKind::Ambiguous;
    let told: Vec<String> =
        operation.into_iter().chain(found.alternatives.iter().copied()).map(ToString::to_string).collect();
    let expected = format!(
        "{} {}",
        case.expect_method.as_deref().unwrap_or_default(),
        case.expect_template.as_deref().unwrap_or_default()
    );
    let named = told.contains(&expected) && case.alternatives.iter().all(|a| told.contains(a));
    let tally = report.tiers.entry(case.tier.clone()).or_default();
    tally.cases += 1;
    tally.right += usize::from(right);
    tally.params += usize::from(right && same);
    tally.marked_ambiguous += usize::from(ambiguous);
    tally.named += usize::from(named);
    let fine = if case.tier == "ambiguous" { ambiguous && named } else { right && same && !ambiguous };
    if !fine {
        report.complain(format!(
            "{} {} {} {}: expected {:?}, got {:?} {params:?} alternatives {:?}",
            case.spec,
            case.tier,
            case.method,
            case.target,
            case.expect_template,
            operation.map(|o| &o.template),
            found.alternatives.iter().map(|o| &o.template).collect::<Vec<_>>(),
        ));
    }
}

fn judge_negative(matcher: &SpecMatcher, case: &Case, report: &mut Report) {
    let found = matcher.find(&case.method, case.target.as_bytes(), &none);
    let right = match (&case.expect_template, found.kind) {
        (Some(_), MatchKind::Matched | MatchKind::Ambiguous) => {
            found.operation.is_some_and(|o| is(o, case)) || found.alternatives.iter().any(|o| is(o, case))
        }
        (None, MatchKind::MethodNotInSpec) => case.other_method_matches,
        (None, MatchKind::Unmatched) => !case.other_method_matches,
        _ => false,
    };
    let tally = report.negatives.entry(case.mutation.clone()).or_default();
    tally.cases += 1;
    tally.right += usize::from(right);
    if !right {
        report.complain(format!(
            "{} {} {} {}: expected {:?} (path {}), got {} {:?}",
            case.spec,
            case.mutation,
            case.method,
            case.target,
            case.expect_template,
            case.other_method_matches,
            found.kind,
            found.operation.map(|o| &o.template),
        ));
    }
}

/// The matcher that the negative cases were made for: none without its base path, and no parameter
/// over several segments, which the tier `extension` of the other cases is about.
fn strict_matcher(mut document: openapi::Document) -> SpecMatcher {
    for param in document.operations.iter_mut().flat_map(|o| &mut o.path_params) {
        param.multi_segment = false;
    }
    let (mut matcher, _) = SpecMatcher::new(vec![document], &BasePath::Auto);
    matcher.layers.truncate(1);
    matcher
}

fn by_document(text: &str) -> HashMap<String, Vec<Case>> {
    let mut out: HashMap<String, Vec<Case>> = HashMap::new();
    for line in text.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        out.entry(case.spec.clone()).or_default().push(case);
    }
    out
}

fn run(specs: &Path, cases: &str, negatives: &str, every: usize) -> Report {
    let (positive, negative) = (by_document(cases), by_document(negatives));
    let mut report = Report::default();
    let mut names: Vec<_> = positive.keys().chain(negative.keys()).cloned().collect();
    names.sort();
    names.dedup();
    for name in names.iter().step_by(every) {
        let begin = Instant::now();
        let (document, _) = openapi::load(&specs.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let took = begin.elapsed();
        report.loading += took;
        if took > SLOW {
            println!("{name}: {} operations loaded in {took:?}", document.operations.len());
        }
        report.documents += 1;
        report.operations += document.operations.len();
        let begin = Instant::now();
        let (matcher, _) = SpecMatcher::new(vec![document.clone()], &BasePath::Auto);
        report.building += begin.elapsed();
        report.time(&matcher, positive.get(name).map_or(&[], Vec::as_slice));
        for case in positive.get(name).into_iter().flatten() {
            judge(&matcher, case, &mut report);
        }
        let matcher = strict_matcher(document);
        for case in negative.get(name).into_iter().flatten() {
            judge_negative(&matcher, case, &mut report);
        }
    }
    report
}

fn corpus() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/openapi");
    if dir.join("specs.tar.xz").exists() {
        return Some(dir);
    }
    println!("left out: the corpus of real documents is not at {}", dir.display());
    None
}

fn unzipped(path: &Path) -> String {
    let out = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

fn unpacked(corpus: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let status =
        Command::new("tar").arg("-xJf").arg(corpus.join("specs.tar.xz")).arg("-C").arg(dir.path()).status();
    assert!(status.unwrap().success());
    dir
}

/// Where the documents lie below a directory: the archive may have a folder of its own.
fn root_of(dir: &Path, name: &str) -> PathBuf {
    let inner = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    inner.chain([dir.to_owned()]).find(|p| p.join(name).exists()).unwrap()
}

#[test]
fn sample() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi");
    let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let report = run(&dir.join("specs"), &text("cases.jsonl"), &text("cases_negative.jsonl"), 1);
    report.print();
    let sum = report.unambiguous();
    assert_eq!((sum.cases, sum.right, sum.params, sum.marked_ambiguous), (SAMPLE, SAMPLE, SAMPLE, 0));
    assert!(report.negatives.values().all(|t| t.right == t.cases));
}

#[test]
fn whole_corpus() {
    let Some(corpus) = corpus() else { return };
    let every = if cfg!(debug_assertions) { 4 } else { 1 };
    let dir = unpacked(&corpus);
    let report = run(
        &root_of(dir.path(), "github__api.github.com.json"),
        &unzipped(&corpus.join("cases.jsonl.gz")),
        &unzipped(&corpus.join("cases_negative.jsonl.gz")),
        every,
    );
    report.print();
    let sum = report.unambiguous();
    assert!(sum.cases > 1000, "{sum:?}");
    assert_eq!((sum.right, sum.params, sum.marked_ambiguous), (sum.cases, sum.cases, 0));
    if let Some(ambiguous) = report.tiers.get("ambiguous") {
        assert_eq!((ambiguous.marked_ambiguous, ambiguous.named), (ambiguous.cases, ambiguous.cases));
    }
    let wrong: usize = report.negatives.values().map(|t| t.cases - t.right).sum();
    assert_eq!((wrong, report.documents >= 127 / every), (0, true), "{} documents", report.documents);
    // The goal is half a microsecond on a quiet machine; this catches another order of magnitude.
    assert!(cfg!(debug_assertions) || report.per_match < Duration::from_micros(5), "{:?}", report.per_match);
}
