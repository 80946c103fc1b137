//! `sidelog check`: everything that is wrong with a configuration and its documents, at once.
//!
//! `rules` holds the configuration against the documents, `fields` looks at data and credentials,
//! `online` at what the configuration names outside of itself. Errors make a configuration unusable,
//! warnings are probably not meant, notes are worth knowing and never fail a check.

mod fields;
mod online;
mod rules;

use crate::config::{self, Place, Problem, Severity};
use crate::pseudonym::Pseudonyms;
use crate::rules::{Rules, from_warning};
use crate::{openapi, policy};
use clap::ValueEnum;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

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
    let built = match Rules::load(&config, &Pseudonyms::new(b"sidelog check")) {
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
        problems.extend(opinions.map(|(p, warning)| from_warning(p, warning)));
        problems.extend(rules::problems(&config, &built, path));
        problems.extend(fields::problems(&config, &built));
    }
    problems.extend(policy::unreachable_rules(&config.audit.rules).into_iter().map(|(rule, by)| Problem {
        place: Some(rule.clone()),
        message: format!("this rule never matches: the one in line {} comes first and covers it", by.line),
        help: Some("put the narrower rule first, or remove it".into()),
        severity: Severity::Warning,
    }));
    if online {
        problems.extend(online::problems(&config));
    }
    let operations = count(built.specs.operations().len(), "operation");
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

fn count(number: usize, what: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {what}{many}")
}

fn warning(place: Place, message: String, help: String) -> Problem {
    Problem { place: Some(place), message, help: Some(help), severity: Severity::Warning }
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
    if let Some(summary) = summary {
        let of = |severity| problems.iter().filter(|p| p.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let notes = of(Severity::Note);
        let notes = if notes > 0 { format!(", {}", count(notes, "note")) } else { String::new() };
        println!("{summary}; {}, {}{notes}", count(errors, "error"), count(warnings, "warning"));
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
