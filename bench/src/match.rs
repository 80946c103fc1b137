//! What it costs to find an operation, beside two routers alone: `matchit` and `wayfind`, one router
//! for each method, as their users set them up.
//!
//! All get the same paths, one for each operation that both routers take; what they refuse is counted.
//! Rounds are interleaved and the medians of CPU time compared. The routers only find a route; Sidelog also reads the
//! target apart, looks for oddities and decides between operations that fit equally. The documents are
//! the corpus's largest, beside the project (`../shared/openapi`); where that is not, the largest of
//! `tests/data/openapi`.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

use sidelog::config::BasePath;
use sidelog::openapi::{self, Document};
use sidelog::spec_match::SpecMatcher;
use sidelog_bench::counting::{Counting, allocations};
use sidelog_bench::document::{Corpus, GITHUB, project};
use sidelog_bench::process::cpu_time;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Rounds of each subject; each asks for all operations.
const ROUNDS: usize = 41;
/// Passes over all operations in a round.
const PASSES: usize = 4;
const LOADS: usize = 9;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let temp = tempfile::tempdir().unwrap();
    for path in documents(temp.path()) {
        measure(&path);
    }
}

/// GitHub's document and Microsoft Graph's, or the one of the most operations, where the corpus is
/// there.
fn documents(temp: &Path) -> Vec<PathBuf> {
    let Some(corpus) = Corpus::unpack(temp) else {
        println!("no corpus at ../shared/openapi: the largest document of tests/data/openapi stands in");
        let specs = std::fs::read_dir(project().join("tests/data/openapi/specs")).unwrap();
        let files = specs.map(|e| e.unwrap().path()).filter(|p| p.is_file());
        return files.max_by_key(|p| std::fs::metadata(p).unwrap().len()).into_iter().collect();
    };
    // The number of operations decides between several, and where there is none.
    let second = corpus.documents().max_by_key(|(name, operations)| (name.contains("msgraph"), *operations));
    let second = second.map(|(name, _)| name);
    if let Some(name) = second.filter(|name| !name.contains("msgraph")) {
        println!("no document of Microsoft Graph in the corpus: {name}, of the most operations, stands in");
    }
    [GITHUB].into_iter().chain(second).map(|n| corpus.file(n)).collect()
}

struct Request {
    method: String,
    path: String,
}

/// Answers a request; more than 0: it was found.
type Subject<'a> = &'a dyn Fn(&Request) -> usize;

fn measure(path: &Path) {
    let mut loads = Vec::new();
    let mut loaded = None;
    for _ in 0..LOADS {
        let begun = Instant::now();
        loaded = Some(openapi::load(path).unwrap().0);
        // It has a thread of its own, so not by this one's CPU time.
        loads.push(begun.elapsed());
    }
    let document = loaded.unwrap();
    let begun = cpu_time();
    let matcher = SpecMatcher::new(vec![document.clone()], &BasePath::None).0;
    let built = cpu_time() - begun;
    println!(
        "\n{}: {} operations; loaded in {:.1} ms (median of {LOADS}), matcher built in {:.1} ms",
        path.file_name().unwrap().to_string_lossy(),
        document.operations.len(),
        median(&mut loads).as_secs_f64() * 1e3,
        built.as_secs_f64() * 1e3
    );
    let (routers, requests) = Routers::new(&document);
    routers.told(&document);

    let find = |r: &Request| {
        let found = matcher.find(&r.method, r.path.as_bytes(), &|_| None::<&[u8]>);
        usize::from(found.operation.is_some())
    };
    let captured = |r: &Request| {
        let found = matcher.find(&r.method, r.path.as_bytes(), &|_| None::<&[u8]>);
        found.params().map(|p| black_box(p).decoded.len()).sum::<usize>()
            + usize::from(found.operation.is_some())
    };
    let by_matchit = |r: &Request| usize::from(routers.matchit[&r.method].at(&r.path).is_ok());
    let by_wayfind = |r: &Request| usize::from(routers.wayfind[&r.method].search(&r.path).is_some());
    let subjects: [(&str, Subject<'_>); 4] = [
        ("sidelog", &find),
        ("sidelog, parameters read", &captured),
        ("matchit", &by_matchit),
        ("wayfind", &by_wayfind),
    ];
    let mut times: Vec<Vec<Duration>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..ROUNDS {
        for i in 0..subjects.len() {
            let at = (round + i) % subjects.len();
            times[at].push(timed(&requests, subjects[at].1));
        }
    }
    println!("| {:<25}| ns a match | allocations | found |", "");
    println!("|{0:-<26}|{0:-<12}|{0:-<13}|{0:-<7}|", "");
    for ((name, subject), times) in subjects.iter().zip(&mut times) {
        let nanos = median(times).as_nanos() as f64 / (PASSES * requests.len()) as f64;
        let before = allocations();
        let found = requests.iter().filter(|r| subject(r) > 0).count();
        let allocations = allocations() - before;
        let each = allocations as f64 / requests.len() as f64;
        println!("| {name:<25}| {nanos:>10.0} | {each:>11.2} | {found:>5} |");
    }
}

fn timed(requests: &[Request], subject: Subject<'_>) -> Duration {
    let begun = cpu_time();
    for request in (0..PASSES).flat_map(|_| requests) {
        black_box(subject(black_box(request)));
    }
    cpu_time() - begun
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[derive(Default)]
struct Routers {
    matchit: HashMap<String, matchit::Router<usize>>,
    wayfind: HashMap<String, wayfind::Router<usize>>,
    refused: [usize; 2],
}

impl Routers {
    /// The routers, and a request for each operation that both take, in an order that is neither the
    /// document's nor by chance.
    fn new(document: &Document) -> (Routers, Vec<Request>) {
        let mut routers = Routers::default();
        let mut builders: HashMap<String, wayfind::RouterBuilder<usize>> = HashMap::new();
        let mut requests = Vec::new();
        for (i, operation) in document.operations.iter().enumerate() {
            let (method, path) = (&operation.method, path_of(&operation.template));
            let names = |open: &str, close: &str| {
                let mut count = 0;
                replaced(path, |_| {
                    count += 1;
                    format!("{open}p{count}{close}")
                })
            };
            let one = routers.matchit.entry(method.clone()).or_default().insert(names("{", "}"), i);
            let other = builders
                .entry(method.clone())
                .or_insert_with(wayfind::RouterBuilder::new)
                .insert(&names("<", ">"), i);
            routers.refused[0] += usize::from(one.is_err());
            routers.refused[1] += usize::from(other.is_err());
            if one.is_ok() && other.is_ok() {
                let path = replaced(path, |name| format!("{name}-{}", 1000 + i));
                requests.push(Request { method: method.clone(), path });
            }
        }
        routers.wayfind = builders.into_iter().map(|(method, builder)| (method, builder.build())).collect();
        let len = requests.len();
        let order = |at: usize| (at * 7919) % len;
        let mut shuffled: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
        shuffled.sort_by_key(|(at, _)| order(*at));
        (routers, shuffled.into_iter().map(|(_, request)| request).collect())
    }

    fn told(&self, document: &Document) {
        let [matchit, wayfind] = self.refused;
        println!("refused of {}: matchit {matchit}, wayfind {wayfind}, sidelog 0", document.operations.len());
    }
}

/// A template without its conditions.
fn path_of(template: &str) -> &str {
    template.split(['?', '#']).next().unwrap_or_default()
}

/// A template with another text for each parameter.
fn replaced(template: &str, mut text: impl FnMut(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&text(name));
        rest = tail;
    }
    out.push_str(rest);
    out
}
