//! `sidelog check`: everything that is wrong with a configuration and its documents, at once.

use crate::config::{self, Config, Place, Problem, Selector, Severity, Upstream};
use crate::pseudonym::Pseudonyms;
use crate::rules::{self, Rules};
use crate::spec_match::SpecMatcher;
use crate::{openapi, policy};
use clap::ValueEnum;
use std::collections::HashSet;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

const CONNECT: Duration = Duration::from_secs(3);

/// Problems in file order, and a line for people when there is a configuration at all. Opens no
/// connection unless `online`.
pub fn run(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    online: bool,
) -> (Vec<Problem>, Option<String>) {
    let (config, mut problems) = match config::load(path, env) {
        Ok((config, warnings)) => (config, documents_matter(warnings)),
        Err(problems) => return (documents_matter(problems), None),
    };
    let rules = match Rules::load(&config, &Pseudonyms::new(b"sidelog check")) {
        Ok((rules, found)) => {
            problems.extend(found);
            rules
        }
        Err(problem) => {
            problems.push(problem);
            return (problems, None);
        }
    };
    // While something is broken, what follows from it would only be noise.
    if problems.iter().all(|p| p.severity == Severity::Warning) {
        let opinions = config.openapi.iter().filter_map(|p| Some((p, openapi::strict_opinion(p)?)));
        problems.extend(opinions.map(|(p, warning)| rules::from_warning(p, warning)));
        problems.extend(unknown_words(&config, &rules.specs));
    }
    problems.extend(policy::unreachable_rules(&config.audit.rules).into_iter().map(|(rule, by)| Problem {
        place: Some(rule.clone()),
        message: format!("this rule never matches: the one in line {} comes first and covers it", by.line),
        help: Some("put the narrower rule first, or remove it".into()),
        severity: Severity::Warning,
    }));
    if online {
        problems.extend(connections(&config));
    }
    let operations = count(rules.specs.operations().len(), "operation");
    let documents = count(config.openapi.len(), "document");
    (problems, Some(format!("{}: {operations} in {documents}", path.display())))
}

/// A document that is missing is a warning to `proxy`, which relays without it; to those who ask
/// whether all is well, or what a request is, it is an error.
pub fn documents_matter(mut problems: Vec<Problem>) -> Vec<Problem> {
    for problem in problems.iter_mut().filter(|p| p.message.starts_with("`openapi`: ")) {
        problem.severity = Severity::Error;
    }
    problems
}

/// Operations and tags that the configuration names and no document has.
fn unknown_words(config: &Config, specs: &SpecMatcher) -> Vec<Problem> {
    let ids: HashSet<&str> = specs.operations().iter().filter_map(|o| o.operation_id.as_deref()).collect();
    let tags: HashSet<&str> = specs.operations().iter().flat_map(|o| &o.tags).map(String::as_str).collect();
    let mut found = Vec::new();
    let mut look = |what: &str, word: &str, known: &HashSet<&str>, place: &Place| {
        if !known.contains(word) {
            found.push(Problem {
                place: Some(place.clone()),
                message: format!("no document has the {what} `{word}`: this matches nothing"),
                help: Some(format!("compare with the {what}s of the documents; upper and lower case matter")),
                severity: Severity::Warning,
            });
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

fn count(number: usize, what: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {what}{many}")
}

fn connections(config: &Config) -> Vec<Problem> {
    let mut targets = Vec::new();
    let mut found = Vec::new();
    match &config.upstream {
        Upstream::Unix(path) => {
            let error = UnixStream::connect(path).err();
            found.extend(
                error.map(|e| cannot_reach("the service", &config.upstream.to_string(), &e.to_string())),
            );
        }
        Upstream::Tcp { host, port, .. } => targets.push(("the service", format!("{host}:{port}"))),
    }
    targets.extend(config.kafka.iter().flat_map(|k| k.brokers.iter().map(|b| ("kafka", b.clone()))));
    found.extend(targets.into_iter().filter_map(|(what, address)| unreachable(what, &address)));
    found
}

fn unreachable(what: &str, address: &str) -> Option<Problem> {
    let why = match address.to_socket_addrs().map(|mut a| a.next()) {
        Err(error) => error.to_string(),
        Ok(None) => "the name has no address".into(),
        Ok(Some(socket)) => TcpStream::connect_timeout(&socket, CONNECT).err()?.to_string(),
    };
    Some(cannot_reach(what, address, &why))
}

fn cannot_reach(what: &str, address: &str, why: &str) -> Problem {
    Problem {
        place: None,
        message: format!("cannot reach {what} at {address}: {why}"),
        help: Some("start it, or correct its address".into()),
        severity: Severity::Error,
    }
}

/// Prints the problems: text to stderr, or one JSON object to stdout.
pub fn print(problems: &[Problem], summary: &Option<String>, format: Format) {
    if format == Format::Json {
        let rows: Vec<_> = problems.iter().map(as_json).collect();
        println!("{}", serde_json::json!({ "problems": rows }));
        return;
    }
    for problem in problems {
        eprintln!("{problem}");
    }
    let errors = problems.iter().filter(|p| p.severity == Severity::Error).count();
    if let Some(summary) = summary {
        let (errors, warnings) = (count(errors, "error"), count(problems.len() - errors, "warning"));
        println!("{summary}; {errors}, {warnings}");
    }
}

fn as_json(problem: &Problem) -> serde_json::Value {
    let place = problem.place.as_ref();
    serde_json::json!({
        "file": place.map(|p| &p.file),
        "line": place.map(|p| p.line),
        "column": place.map(|p| p.column),
        "severity": problem.severity.as_str(),
        "message": problem.message,
        "help": problem.help,
    })
}
