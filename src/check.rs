//! `sidelog check`: everything that is wrong with a configuration and its documents, at once.

use crate::config::{self, Config, Problem, Severity};
use crate::openapi;
use crate::policy;
use crate::pseudonym::Pseudonyms;
use crate::rules::Rules;
use clap::ValueEnum;
use std::net::{TcpStream, ToSocketAddrs};
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
        Ok(loaded) => loaded,
        Err(problems) => return (problems, None),
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
    problems.extend(config.openapi.iter().filter_map(|p| opinion(p)));
    problems.extend(policy::unreachable_rules(&config.audit.rules).into_iter().map(|(rule, by)| Problem {
        place: Some(rule.clone()),
        message: format!("this rule never matches: the one in line {} comes first and covers it", by.line),
        help: Some("put the narrower rule first, or remove it".into()),
        severity: Severity::Warning,
    }));
    if online {
        problems.extend(connections(&config));
    }
    let summary = format!(
        "{}: {} operations in {} documents",
        path.display(),
        rules.specs.operations().len(),
        config.openapi.len()
    );
    (problems, Some(summary))
}

/// What the strict parser says of a 3.0 document; Sidelog itself reads it all the same.
fn opinion(path: &Path) -> Option<Problem> {
    let text = std::fs::read_to_string(path).ok()?;
    let why = openapi::strict_opinion(&text)?;
    Some(Problem {
        place: None,
        message: format!("{}: not strictly OpenAPI 3.0: {why}", path.display()),
        help: Some("Sidelog reads it all the same; generators and validators may not".into()),
        severity: Severity::Warning,
    })
}

fn connections(config: &Config) -> Vec<Problem> {
    let mut targets = vec![("the service", format!("{}:{}", config.upstream.host, config.upstream.port))];
    targets.extend(config.kafka.iter().flat_map(|k| k.brokers.iter().map(|b| ("kafka", b.clone()))));
    targets.into_iter().filter_map(|(what, address)| unreachable(what, &address)).collect()
}

fn unreachable(what: &str, address: &str) -> Option<Problem> {
    let why = match address.to_socket_addrs().map(|mut a| a.next()) {
        Err(error) => error.to_string(),
        Ok(None) => "the name has no address".into(),
        Ok(Some(socket)) => TcpStream::connect_timeout(&socket, CONNECT).err()?.to_string(),
    };
    Some(Problem {
        place: None,
        message: format!("cannot reach {what} at {address}: {why}"),
        help: None,
        severity: Severity::Error,
    })
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
        println!("{summary}; {errors} errors, {} warnings", problems.len() - errors);
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
