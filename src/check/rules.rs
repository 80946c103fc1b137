//! What the configuration says of calls, held against what the documents have.

use super::{count, warning};
use crate::config::{BasePath, Config, Place, Problem, Selector, Severity, Upstream};
use crate::extract;
use crate::openapi::Operation;
use crate::policy;
use crate::rules::Rules;
use crate::spec_match::SpecMatcher;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Operations named in one message.
const MAX_NAMED: usize = 8;

/// Everything of this module, in no order.
///
/// `path`: of the configuration; its top-level keys are looked up in the text, for values carry no places.
pub(super) fn problems(config: &Config, rules: &Rules, path: &Path) -> Vec<Problem> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let place = |key: &str| place_of_key(path, &text, key);
    let operations = rules.specs.operations();
    let mut found = unknown_words(config, &rules.specs);
    if !operations.is_empty() {
        found.extend(unknown_paths(config, operations));
        found.extend(idle_reads(config, operations));
        found.extend(unrecorded(config, rules));
        found.extend(base_path(config, operations, &place));
    }
    found.extend(far_upstream(config, &place));
    found.sort_by_key(|p| p.place.as_ref().map(|at| (at.line, at.column)));
    found
}

/// Operations and tags that the configuration names and no document has.
fn unknown_words(config: &Config, specs: &SpecMatcher) -> Vec<Problem> {
    let ids: HashSet<&str> = specs.operations().iter().filter_map(|o| o.operation_id.as_deref()).collect();
    let tags: HashSet<&str> = specs.operations().iter().flat_map(|o| &o.tags).map(String::as_str).collect();
    let mut found = Vec::new();
    let mut look = |what: &str, word: &str, known: &HashSet<&str>, place: &Place| {
        if !known.contains(word) {
            let message = format!("no document has the {what} `{word}`: this matches nothing");
            let help = format!("compare with the {what}s of the documents; upper and lower case matter");
            found.push(warning(place.clone(), message, help));
        }
    };
    let audit = &config.audit;
    for (selector, place) in audit.ignore.iter().chain(&audit.include_reads) {
        match selector {
            Selector::Operation(id) => look("operation", id, &ids, place),
            Selector::Tag(tag) => look("tag", tag, &tags, place),
            Selector::Path(_) => {}
        }
    }
    for rule in &audit.rules {
        rule.operations.iter().for_each(|id| look("operation", id, &ids, &rule.place));
        rule.tags.iter().for_each(|tag| look("tag", tag, &tags, &rule.place));
    }
    found
}

/// Paths that no document has. Of `ignore` only templates: paths beside the documents (`/metrics`) are
/// what it is for.
fn unknown_paths(config: &Config, operations: &[Operation]) -> Vec<Problem> {
    let audit = &config.audit;
    let of = |list: &'_ [(Selector, Place)]| -> Vec<(String, Place)> {
        let path = |(selector, place): &(Selector, Place)| match selector {
            Selector::Path(path) => Some((path.clone(), place.clone())),
            _ => None,
        };
        list.iter().filter_map(path).collect()
    };
    let mut paths = of(&audit.include_reads);
    paths.extend(of(&audit.ignore).into_iter().filter(|(path, _)| path.contains('{')));
    paths.extend(audit.rules.iter().flat_map(|r| r.paths.iter().map(|p| (p.clone(), r.place.clone()))));
    paths.retain(|(path, _)| !operations.iter().any(|o| policy::selects(path, o)));
    let help = "compare with the paths of the documents, base path included; upper and lower case matter";
    paths
        .into_iter()
        .map(|(path, place)| {
            let message = format!("no operation of the documents is at `{path}`: this matches none of them");
            warning(place, message, help.to_owned())
        })
        .collect()
}

/// `include_reads` that name nothing but what is recorded anyway.
fn idle_reads(config: &Config, operations: &[Operation]) -> Vec<Problem> {
    let fits = |selector: &Selector, o: &Operation| match selector {
        Selector::Path(path) => policy::selects(path, o),
        Selector::Operation(id) => o.operation_id.as_ref() == Some(id),
        Selector::Tag(tag) => o.tags.contains(tag),
    };
    let mut found = Vec::new();
    for (selector, place) in &config.audit.include_reads {
        let mut chosen = operations.iter().filter(|o| fits(selector, o)).peekable();
        if chosen.peek().is_some() && chosen.all(|o| !extract::is_safe(&o.method)) {
            let message = "no read is among the operations that this selects: it changes nothing".to_owned();
            let help = "mutating calls are recorded without it; name a read, or leave this out".to_owned();
            found.push(warning(place.clone(), message, help));
        }
    }
    found
}

/// Mutating operations that are left unrecorded, by what does it. One that is named by itself is meant;
/// a pattern may take more than was meant.
fn unrecorded(config: &Config, rules: &Rules) -> Vec<Problem> {
    let mut by: BTreeMap<String, Vec<&Operation>> = BTreeMap::new();
    for operation in rules.specs.operations().iter().filter(|o| !extract::is_safe(&o.method)) {
        let decision = policy::of_operation(&rules.policy, operation);
        if !decision.recorded() {
            by.entry(decision.rule.text().into_owned()).or_default().push(operation);
        }
    }
    by.into_iter()
        .map(|(rule, operations)| {
            let one = operations.len() == 1;
            let help = match one {
                true => "calls that change something are what an audit is for: be sure that it is not wanted",
                false => "name those that are meant one by one, so that new ones are recorded",
            };
            let message = format!(
                "{} left unrecorded: {}",
                count(operations.len(), "mutating operation"),
                named(&operations)
            );
            Problem {
                severity: if one { Severity::Note } else { Severity::Warning },
                ..warning(place_of(config, &rule), message, help.to_owned())
            }
        })
        .collect()
}

/// The place that a decision's text names (`ignore sidelog.yaml:7`).
fn place_of(config: &Config, rule: &str) -> Place {
    let at = rule.split_once(' ').map_or(rule, |(_, at)| at);
    let audit = &config.audit;
    let places = audit.ignore.iter().map(|(_, place)| place).chain(audit.rules.iter().map(|r| &r.place));
    let same = |place: &&Place| format!("{}:{}", place.file, place.line) == at;
    places.into_iter().find(same).cloned().unwrap_or(Place { file: at.to_owned(), line: 1, column: 1 })
}

/// The first few, and how many more.
pub(super) fn named(operations: &[&Operation]) -> String {
    let mut names: Vec<String> =
        operations.iter().take(MAX_NAMED).map(|o| format!("{} {}", o.method, o.route)).collect();
    if let Some(more @ 1..) = operations.len().checked_sub(MAX_NAMED) {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// A configured base path that the documents know nothing of, or have in their paths already.
fn base_path(config: &Config, operations: &[Operation], place: &dyn Fn(&str) -> Place) -> Option<Problem> {
    let place = || place("base_path");
    let own: HashSet<&str> = operations.iter().flat_map(|o| &o.bases).map(String::as_str).collect();
    let mut shown: Vec<&str> = own.iter().copied().filter(|base| !base.is_empty()).collect();
    shown.sort_unstable();
    let servers = shown.join(", ");
    match &config.base_path {
        BasePath::Auto => None,
        BasePath::None if own.contains("") => None,
        BasePath::None => Some(warning(
            place(),
            format!("`base_path` is none, but the documents' servers are at {servers}"),
            "with `auto`, both are tried".to_owned(),
        )),
        BasePath::Explicit(bases) => {
            let twice = bases.iter().find(|base| {
                !base.is_empty() && operations.iter().all(|o| o.template.starts_with(&format!("{base}/")))
            });
            if let Some(base) = twice {
                return Some(warning(
                    place(),
                    format!(
                        "the documents' paths begin with `{base}` already; `base_path` adds it once more"
                    ),
                    "write `base_path: none`".to_owned(),
                ));
            }
            let known = |base: &String| own.contains(base.as_str());
            (!own.contains("") && !bases.iter().any(known)).then(|| {
                warning(
                    place(),
                    format!("none of `base_path` is among the documents' servers: {servers}"),
                    "right where a proxy before Sidelog rewrites paths; otherwise write `auto`".to_owned(),
                )
            })
        }
    }
}

/// A service that is not on this host can be reached around Sidelog.
fn far_upstream(config: &Config, place: &dyn Fn(&str) -> Place) -> Option<Problem> {
    let Upstream::Tcp { host, .. } = &config.upstream else { return None };
    let near = host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    (!near).then(|| {
        let message =
            format!("the service at `{host}` is not on this host: calls may reach it around Sidelog");
        let help = "put Sidelog beside it and let it listen on 127.0.0.1, or let only Sidelog reach it";
        warning(place("upstream"), message, help.to_owned())
    })
}

/// Where a key of the outermost map stands, as far as it can be told from its line.
fn place_of_key(path: &Path, text: &str, key: &str) -> Place {
    let line = text.lines().position(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    let line = line.map_or(1, |at| u32::try_from(at + 1).unwrap_or(1));
    Place { file: path.to_string_lossy().into_owned(), line, column: 1 }
}
