//! `sidelog explain`: what would be recorded of a request, and why; one request for people, or many
//! as JSON lines.

mod report;

pub use report::{Bodies, Response};

use crate::config::{Config, Problem};
use crate::extract::Peer;
use crate::head::{Head, HeadIndex};
use crate::pseudonym::Pseudonyms;
use crate::rules::{Judged, Rules};
use report::Report;
use serde::{Deserialize, Serialize};
use sidelog_event::MatchKind;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;

/// One request as it is asked about.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub bodies: Bodies,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug)]
pub struct Explainer {
    service: String,
    rules: Rules,
    peer: Peer,
}

/// How the lines of one run were answered.
#[derive(Debug, Default)]
pub struct Tally {
    pub matched: u64,
    pub ambiguous: u64,
    pub method_not_in_spec: u64,
    pub unmatched: u64,
    pub unreadable: u64,
}

impl Tally {
    fn count(&mut self, kind: MatchKind) {
        *match kind {
            MatchKind::Matched => &mut self.matched,
            MatchKind::Ambiguous => &mut self.ambiguous,
            MatchKind::MethodNotInSpec => &mut self.method_not_in_spec,
            MatchKind::Unmatched => &mut self.unmatched,
        } += 1;
    }

    /// One line for stderr: counts, the share that matched, and lines a second.
    pub fn summary(&self, took: std::time::Duration) -> String {
        let Tally { matched, ambiguous, method_not_in_spec, unmatched, unreadable } = self;
        let lines = matched + ambiguous + method_not_in_spec + unmatched + unreadable;
        let share = 100.0 * (matched + ambiguous) as f64 / lines.max(1) as f64;
        let rate = lines as f64 / took.as_secs_f64().max(1e-6);
        format!(
            "{lines} lines: {matched} matched, {ambiguous} ambiguous, {method_not_in_spec} method_not_in_spec, \
             {unmatched} unmatched, {unreadable} unreadable; {share:.2} % with an operation; {rate:.0} lines/s"
        )
    }
}

/// One line of input. Other members are passed over, so that a log or a list of test cases can be
/// asked about as it is.
#[derive(Debug, Deserialize)]
struct Question {
    method: String,
    target: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// One line of output.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(rename = "match")]
    matched: MatchKind,
    method: &'a str,
    template: Option<&'a str>,
    operation_id: Option<&'a str>,
    path_params: BTreeMap<&'a str, String>,
    alternatives: Vec<String>,
    flags: Vec<&'a str>,
    rule: String,
    level: &'static str,
    delivery: &'static str,
}

/// `Name: value` pairs; `None` when one is not written so.
pub fn parse_headers(lines: &[String]) -> Option<Vec<(String, String)>> {
    lines
        .iter()
        .map(|line| line.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned())))
        .collect()
}

impl Explainer {
    pub fn new(config: &Config, peer: IpAddr) -> Result<(Explainer, Vec<Problem>), Problem> {
        // Fingerprints in explanations are for show; the real key stays with the sidecar.
        let (rules, problems) = Rules::load(config, &Pseudonyms::new(b"sidelog explain"))?;
        Ok((Explainer { service: config.service.clone(), rules, peer: peer.into() }, problems))
    }

    /// Answers every line; a line that cannot be read gets `{"error": …}` with its number. `whole`: as
    /// for a single request, not only what the contract names.
    pub fn bulk(&self, input: impl BufRead, mut output: impl Write, whole: bool) -> io::Result<Tally> {
        let mut tally = Tally::default();
        for (number, line) in input.split(b'\n').enumerate() {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Question>(&line) {
                Ok(question) => {
                    let headers: Vec<_> = question.headers.into_iter().collect();
                    let (raw, index) = HeadIndex::synthesize(&question.method, &question.target, &headers);
                    let head = Head { raw: &raw, index: &index };
                    let judged = self.judge(&head);
                    tally.count(judged.found.kind);
                    if whole {
                        let bodies = Bodies::default();
                        let report = Report::new(self, &head, judged, &bodies);
                        serde_json::to_writer(&mut output, &report.as_json())?;
                    } else {
                        serde_json::to_writer(&mut output, &answer(&head, &judged))?;
                    }
                }
                Err(error) => {
                    tally.unreadable += 1;
                    let text = format!("line {}: {}", number + 1, reason(&error));
                    serde_json::to_writer(&mut output, &serde_json::json!({ "error": text }))?;
                }
            }
            output.write_all(b"\n")?;
        }
        output.flush()?;
        Ok(tally)
    }

    fn judge<'s, 't>(&'s self, head: &Head<'t>) -> Judged<'s, 't> {
        let has_body = head.first("transfer-encoding").is_some()
            || head.first("content-length").is_some_and(|n| n != b"0");
        self.rules.judge(head, has_body, head.first("upgrade").is_some())
    }

    /// Explains one request, to a person or, as one JSON object, to a program.
    pub fn one(&self, request: &Request, format: Format, out: &mut impl Write) -> io::Result<()> {
        let mut headers = request.headers.clone();
        let framed = ["content-length", "transfer-encoding"];
        let length =
            request.bodies.request.as_ref().map(Vec::len).filter(|_| {
                !headers.iter().any(|(name, _)| framed.iter().any(|f| f.eq_ignore_ascii_case(name)))
            });
        headers.extend(length.map(|n| ("Content-Length".to_owned(), n.to_string())));
        let (raw, index) = HeadIndex::synthesize(&request.method, &request.target, &headers);
        let head = Head { raw: &raw, index: &index };
        let report = Report::new(self, &head, self.judge(&head), &request.bodies);
        match format {
            Format::Text => report.write(out),
            Format::Json => writeln!(out, "{}", report.as_json()),
        }
    }
}

/// Each line is line 1 to the parser: only its column tells something.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    format!("{cut} at column {}", error.column())
}

fn answer<'a>(head: &Head<'a>, judged: &'a Judged<'_, '_>) -> Answer<'a> {
    let found = &judged.found;
    Answer {
        matched: found.kind,
        method: found.operation.map_or(head.method(), |o| &o.method),
        template: found.operation.or(found.same_path).map(|o| o.template.as_str()),
        operation_id: found.operation.and_then(|o| o.operation_id.as_deref()),
        path_params: found.params().map(|p| (p.name, p.decoded.into_owned())).collect(),
        // With the other reading of a path that servers read differently, as in events.
        alternatives: found.alternatives.iter().chain(&found.other_reading).map(|o| o.to_string()).collect(),
        flags: found.flags.clone(),
        rule: judged.decision.rule.text().into_owned(),
        level: judged.decision.level.as_str(),
        delivery: judged.decision.delivery.as_str(),
    }
}
