//! `sidelog explain`: what would be recorded of a request, and why; one request for people, or many
//! as JSON lines.

use crate::config::{Config, Problem};
use crate::extract::Peer;
use crate::head::{Head, HeadIndex};
use crate::policy::{Decision, RuleRef};
use crate::pseudonym::Pseudonyms;
use crate::rules::{Facts, Judged, Rules, split_target};
use serde::{Deserialize, Serialize};
use sidelog_event::{Actor, ActorSource, Level, MatchKind};
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;

#[derive(Debug)]
pub struct Explainer {
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
        Ok((Explainer { rules, peer: peer.into() }, problems))
    }

    /// Answers every line; a line that cannot be read gets `{"error": …}` with its number.
    pub fn bulk(&self, input: impl BufRead, mut output: impl Write) -> io::Result<Tally> {
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
                    serde_json::to_writer(&mut output, &answer(&head, &judged))?;
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

    /// Explains one request to a person.
    pub fn one(
        &self,
        method: &str,
        target: &str,
        headers: &[(String, String)],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let (raw, index) = HeadIndex::synthesize(method, target, headers);
        let head = Head { raw: &raw, index: &index };
        let judged = self.judge(&head);
        let (facts, flags) = self.rules.facts(&head, &self.peer, &judged);
        let show = |text: &str| self.rules.redactor.path(text.as_bytes());
        let mut row = |name: &str, value: &str| writeln!(out, "{}", format!("{name:<12} {value}").trim_end());
        row("request", &format!("{method} {}", self.shown_target(&head, &facts)))?;
        match judged.found.operation {
            Some(o) => {
                let id = o.operation_id.as_deref().unwrap_or("no operationId");
                row("operation", &format!("{} {} ({id}), {}", o.method, o.route, judged.found.kind))?;
            }
            None => {
                row("operation", format!("none: {} {}", judged.found.kind, facts.operation.route).trim_end())?
            }
        }
        for (name, value) in &facts.operation.path_params.0 {
            row("  parameter", &format!("{name} = {}", show(value)))?;
        }
        for other in &facts.operation.alternatives {
            row("  or", other)?;
        }
        let decision = &judged.decision;
        let recorded = format!("{}, delivery {}", decision.level, decision.delivery);
        row("recorded", if decision.recorded() { &recorded } else { "no" })?;
        row("because", &because(&head, &judged))?;
        let actor = &facts.actor;
        let who = if actor.id.is_empty() { "nobody named" } else { actor.id.as_ref() };
        row("actor", &format!("{} from {} ({})", show(who), actor.source, trust(actor)))?;
        let more = [
            ("name", &actor.name),
            ("type", &actor.kind),
            ("on behalf of", &actor.on_behalf_of),
            ("tenant", &actor.tenant),
        ];
        for (name, value) in more {
            if !value.is_empty() {
                row(&format!("  {name}"), &show(value))?;
            }
        }
        if !actor.roles.is_empty() {
            row("  roles", &show(&actor.roles.join(", ")))?;
        }
        row("client", &format!("{} from {}", facts.client.ip, facts.client.ip_source))?;
        let what = &facts.operation;
        row("change", &format!("{} {} {}", what.op, what.resource_type, show(&what.resource_id)))?;
        for flag in &flags {
            row("flag", flag)?;
        }
        row("masked", &self.masked(&judged))
    }

    fn shown_target(&self, head: &Head<'_>, facts: &Facts) -> String {
        let (path, query) = split_target(head.target());
        let path = self.rules.redactor.path(path);
        if query.is_empty() {
            return path;
        }
        format!("{path}?{}", self.rules.redactor.query(query, self.rules.marks(facts.operation_index)))
    }

    fn masked(&self, judged: &Judged<'_, '_>) -> String {
        let marks: Vec<&str> = judged.found.operation.map(|o| o.marks.names().collect()).unwrap_or_default();
        let marked = if marks.is_empty() {
            String::new()
        } else {
            format!("{} (marked in the document), ", marks.join(", "))
        };
        format!("{marked}names that mean a secret, values that look like one")
    }
}

/// What decided; of a default, which.
fn because(head: &Head<'_>, judged: &Judged<'_, '_>) -> String {
    let Decision { level, rule, .. } = &judged.decision;
    let which = match (rule, level) {
        (RuleRef::Default, Level::None) if matches!(head.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE") => {
            "reads are not recorded"
        }
        (RuleRef::Default, Level::Metadata) if head.first("upgrade").is_some() => "a tunnel is opened",
        (RuleRef::Default, _) if judged.found.operation.is_some() => "`audit.level`",
        (RuleRef::Default, _) => "`audit.unmatched`",
        _ => return rule.text().into_owned(),
    };
    format!("default: {which}")
}

fn trust(actor: &Actor<'_>) -> String {
    let key = match actor.source {
        ActorSource::ApiKey | ActorSource::Cookie => "; the sidecar's own key gives another fingerprint",
        _ => "",
    };
    match (actor.verified, actor.unverified_reason.as_ref()) {
        (true, _) => "verified".to_owned(),
        (false, "") => format!("not verified{key}"),
        (false, why) => format!("not verified: {why}{key}"),
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
        alternatives: found.alternatives.iter().map(|o| format!("{} {}", o.method, o.template)).collect(),
        flags: found.flags.clone(),
        rule: judged.decision.rule.text().into_owned(),
        level: judged.decision.level.as_str(),
        delivery: judged.decision.delivery.as_str(),
    }
}
