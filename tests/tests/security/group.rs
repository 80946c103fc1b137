//! Runs a group: its payloads one after the other against one sidecar, its cases in code, and then
//! compares with the journal. A group is run once, whichever test asks first.

use crate::cases::{self, Case, Group};
use crate::fixture::{Fixture, Seen, of_peer};
use crate::oracle;
use crate::{PENDING, attribution, framing, operations, redaction, targets};
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// What came of a case: in words for the page, and what is wrong.
#[derive(Debug, Clone)]
pub struct Told {
    pub case: Case,
    pub result: String,
    pub faults: Vec<String>,
}

/// A case in code: the words for the page, or what is wrong.
pub type Outcome = Result<String, Vec<String>>;

/// A case in code, by its number.
pub type InCode = (u32, fn() -> Outcome);

/// The results of a group, by case.
pub fn results(group: Group) -> &'static [Told] {
    static RESULTS: [OnceLock<Vec<Told>>; 5] = [const { OnceLock::new() }; 5];
    let at = Group::ALL.iter().position(|g| *g == group).unwrap();
    RESULTS[at].get_or_init(|| run(group))
}

/// Panics with everything that is wrong in the group.
pub fn must_hold(group: Group) {
    let mut wrong = Vec::new();
    for told in results(group) {
        let name = format!("{} {}", told.case.id, told.case.name);
        match PENDING.iter().find(|(id, _)| *id == told.case.id) {
            Some(_) if told.faults.is_empty() => {
                wrong.push(format!("{name}: holds, but stands in PENDING: take it off the list"));
            }
            Some((_, why)) => println!("pending   {name}: {why}"),
            None if told.faults.is_empty() => println!("holds     {name}: {}", told.result),
            None => wrong.extend(told.faults.iter().map(|fault| format!("{name}: {fault}"))),
        }
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

fn run(group: Group) -> Vec<Told> {
    let (start, in_code): (fn() -> Fixture, &[InCode]) = match group {
        Group::Framing => (framing::start, framing::IN_CODE),
        Group::Operations => (operations::start, operations::IN_CODE),
        Group::Targets => (targets::start, targets::IN_CODE),
        Group::Attribution => (attribution::start, attribution::IN_CODE),
        Group::Redaction => (redaction::start, redaction::IN_CODE),
    };
    let cases = cases::of(group);
    let mut told = in_data(&cases, &start());
    for case in cases {
        let Some((_, code)) = in_code.iter().find(|(id, _)| *id == case.id) else {
            assert!(!case.payloads.is_empty(), "case {} has neither payloads nor code", case.id);
            continue;
        };
        let outcome = catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|panic| Err(vec![said(&*panic)]));
        let entry =
            told.entry(case.id).or_insert_with(|| Told { case, result: String::new(), faults: vec![] });
        match outcome {
            Ok(result) if entry.result.is_empty() => entry.result = result,
            Ok(result) => entry.result = format!("{}; {result}", entry.result),
            Err(faults) => entry.faults.extend(faults),
        }
    }
    told.into_values().collect()
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// All payloads of all cases, then the journal.
fn in_data(cases: &[Case], fixture: &Fixture) -> BTreeMap<u32, Told> {
    let mut seen: Vec<(usize, usize, Seen)> = Vec::new();
    for (c, case) in cases.iter().enumerate() {
        for (p, payload) in case.payloads.iter().enumerate() {
            seen.push((c, p, fixture.send(case.id, p, payload)));
        }
    }
    let told = fixture.told();
    let (events, refusals) = fixture.stop_with_refusals();
    let mut all = BTreeMap::new();
    for (c, p, seen) in &seen {
        let (case, payload) = (&cases[*c], &cases[*c].payloads[*p]);
        let own = of_peer(&events, seen.peer);
        let mut faults = oracle::faults(payload, &fixture.words, seen, &own);
        faults.extend(secrets(fixture, &own));
        let refused = of_peer(&refusals, seen.peer);
        faults.extend(oracle::refusals(seen, &refused));
        faults.extend(secrets(fixture, &refused));
        let entry = all.entry(case.id).or_insert_with(|| Told {
            case: case.clone(),
            result: String::new(),
            faults: Vec::new(),
        });
        entry.faults.extend(faults.into_iter().map(|fault| format!("payload {}: {fault}", p + 1)));
    }
    for told in all.values_mut() {
        told.result = crate::page::result(&told.case);
    }
    leftovers(fixture, &told, all.values_mut());
    all
}

/// What is found in a payload's events of the canary, or of a secret without one.
fn secrets(fixture: &Fixture, events: &[&Value]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events.iter().map(|event| event.to_string()) {
        let marked = fixture.canary.in_bytes(event.as_bytes()).into_iter();
        let whole = fixture.words.iter().filter(|(word, secret)| word != "PORT" && event.contains(secret));
        let hits = marked.chain(whole.map(|(word, _)| word.as_str()));
        found.extend(hits.map(|hit| format!("a secret ({hit}) in {event}")));
    }
    found
}

/// And in everything else the sidecar left or said. Nobody knows of which case that is.
fn leftovers<'t>(fixture: &Fixture, told: &[u8], all: impl Iterator<Item = &'t mut Told>) {
    let mut hits = fixture.canary.in_files(&[fixture.dir()]);
    hits.extend(fixture.canary.in_bytes(told).into_iter().map(|h| format!("metrics or configuration ({h})")));
    if hits.is_empty() {
        return;
    }
    for told in all {
        told.faults.push(format!("somewhere in this group a secret was left behind: {hits:?}"));
    }
}
