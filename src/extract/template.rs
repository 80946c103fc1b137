//! The readable line in the words of whoever knows the service: a text with placeholders, of a
//! document's `x-audit-message` or of `messages` in the configuration.
//!
//! `{actor} started workflow {path.id} with input {body.input}` becomes
//! `alice started workflow 42 with input nightly (success)`.
//!
//! | placeholder | what |
//! |---|---|
//! | `{actor}` | name or id, `anonymous`; an unproven one is marked |
//! | `{actor.id}`, `{actor.name}`, `{actor.type}`, `{on_behalf_of}`, `{tenant}` | as in the event |
//! | `{service}`, `{operation}`, `{method}`, `{path}`, `{status}`, `{error}`, `{reason}` | as in the event |
//! | `{resource.type}`, `{resource.id}`, `{client.ip}` | as in the event |
//! | `{path.NAME}`, `{query.NAME}` | a parameter |
//! | `{body.a.b}` | a member of the JSON body, or a form's field; of an object or list, its JSON |
//! | `{outcome}` | how it ended |
//! | `{{`, `}}` | a brace |
//!
//! Promises: every value is the redacted event's, made printable and at most [`MAX_VALUE`] characters;
//! what is not there is `-`. The line has at most [`MAX_LINE`] characters and always says how the call
//! ended: where the text does not, the outcome stands behind it, in brackets, since a line that says
//! `started` of a call that was denied would be a lie.

use super::calls::parameter;
use super::resource::who;
use super::text::{clean, words};
use super::{Source, json};
use serde_json::Value;
use sidelog_event::AuditEvent;
use std::fmt::Write;

/// Characters of the whole line.
pub const MAX_LINE: usize = 300;
/// Characters of one value.
const MAX_VALUE: usize = 128;
/// What cut texts end in.
const ELLIPSIS: usize = 2;
/// In the place of what is not there.
const ABSENT: &str = "-";

/// A text with placeholders, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    Path(String),
    Query(String),
    Body(Vec<String>),
}

/// Members of the event that have a name of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Actor,
    ActorId,
    ActorName,
    ActorType,
    OnBehalfOf,
    Tenant,
    Service,
    Operation,
    Method,
    Path,
    Status,
    Error,
    Reason,
    ResourceType,
    ResourceId,
    ClientIp,
    Outcome,
}

const FIELDS: [(&str, Field); 17] = [
    ("actor", Field::Actor),
    ("actor.id", Field::ActorId),
    ("actor.name", Field::ActorName),
    ("actor.type", Field::ActorType),
    ("on_behalf_of", Field::OnBehalfOf),
    ("tenant", Field::Tenant),
    ("service", Field::Service),
    ("operation", Field::Operation),
    ("method", Field::Method),
    ("path", Field::Path),
    ("status", Field::Status),
    ("error", Field::Error),
    ("reason", Field::Reason),
    ("resource.type", Field::ResourceType),
    ("resource.id", Field::ResourceId),
    ("client.ip", Field::ClientIp),
    ("outcome", Field::Outcome),
];

impl Template {
    /// Reads a text; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let shown = || clean(text.as_bytes(), 80).text.into_owned();
        if text.trim().is_empty() || text.chars().count() > MAX_LINE {
            return Err(format!("`{}` is no text of 1 to {MAX_LINE} characters", shown()));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{").or_else(|| brace.strip_prefix("}}")) {
                plain.extend(brace.chars().next());
                rest = after;
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|b| b.split_once('}'));
            let Some((name, after)) = inside else {
                return Err(format!(
                    "`{}`: a brace without its other; a plain one is written twice",
                    shown()
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(
                    clean(std::mem::take(&mut plain).as_bytes(), MAX_LINE).text.into_owned(),
                ));
            }
            parts.push(Part::parse(name)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(clean(plain.as_bytes(), MAX_LINE).text.into_owned()));
        }
        Ok(Template(parts))
    }

    /// Path parameters it names.
    pub fn path_params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Path(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The line of an event whose members are redacted.
    pub fn line(&self, event: &AuditEvent<'_>) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                part => {
                    let value = part.value(event).filter(|value| !value.trim().is_empty());
                    line.push_str(&words(
                        value.as_deref().unwrap_or(ABSENT).as_bytes(),
                        MAX_VALUE - ELLIPSIS,
                    ));
                }
            }
        }
        if self.0.contains(&Part::Field(Field::Outcome)) {
            return words(line.as_bytes(), MAX_LINE - ELLIPSIS);
        }
        let end = format!(" ({})", event.outcome);
        let mut line = words(line.as_bytes(), MAX_LINE - ELLIPSIS - end.len());
        line.push_str(&end);
        line
    }
}

impl Part {
    fn parse(name: &str) -> Result<Part, String> {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            return Ok(Part::Field(*field));
        }
        match name.split_once('.') {
            Some(("path", parameter)) if !parameter.is_empty() => Ok(Part::Path(parameter.to_owned())),
            Some(("query", parameter)) if !parameter.is_empty() => Ok(Part::Query(parameter.to_owned())),
            Some(("body", member)) => match Source::parse(member) {
                Ok(Source::Body(steps)) => Ok(Part::Body(steps)),
                _ => Err(format!("`{{{}}}` is no path to a member", clean(name.as_bytes(), 80).text)),
            },
            _ => {
                let known: Vec<_> = FIELDS.iter().map(|(known, _)| *known).collect();
                Err(format!(
                    "`{{{}}}` is not known; there are path.NAME, query.NAME, body.MEMBER, {}",
                    clean(name.as_bytes(), 80).text,
                    known.join(", ")
                ))
            }
        }
    }

    fn value(&self, event: &AuditEvent<'_>) -> Option<String> {
        let AuditEvent { http, operation, actor, client, request, .. } = event;
        let field = match self {
            Part::Text(text) => return Some(text.clone()),
            Part::Path(name) => return operation.path_params.get(name).map(str::to_owned),
            Part::Query(name) => {
                return parameter(http.query.as_bytes(), name).map(std::borrow::Cow::into_owned);
            }
            Part::Body(steps) => return member(steps, request),
            Part::Field(field) => field,
        };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match field {
            Field::Actor => write!(text, "{}", who(actor)),
            Field::ActorId => write!(text, "{}", actor.id),
            Field::ActorName => write!(text, "{}", actor.name),
            Field::ActorType => write!(text, "{}", actor.kind),
            Field::OnBehalfOf => write!(text, "{}", actor.on_behalf_of),
            Field::Tenant => write!(text, "{}", actor.tenant),
            Field::Service => write!(text, "{}", event.service),
            Field::Operation if operation.id.is_empty() => write!(text, "{}", operation.route),
            Field::Operation => write!(text, "{}", operation.id),
            Field::Method => write!(text, "{}", http.effective_method),
            Field::Path => write!(text, "{}", http.path),
            Field::Status => http.status.map_or(Ok(()), |status| write!(text, "{status}")),
            Field::Error => write!(text, "{}", event.error.as_deref().unwrap_or_default()),
            Field::Reason => write!(text, "{}", event.reason.as_deref().unwrap_or_default()),
            Field::ResourceType => write!(text, "{}", operation.resource_type),
            Field::ResourceId => write!(text, "{}", operation.resource_id),
            Field::ClientIp => write!(text, "{}", client.ip),
            Field::Outcome => write!(text, "{}", event.outcome),
        };
        Some(text)
    }
}

/// A member of the redacted body as it is kept: a text, or the JSON of what is none.
fn member(steps: &[String], request: &sidelog_event::Message<'_>) -> Option<String> {
    let body = request.body.as_bytes();
    if let Some(text) = Source::in_body(steps, request.content_type.as_bytes(), body) {
        return Some(text);
    }
    // Only where no text stands there, so seldom.
    let whole: Value = serde_json::from_slice(body).ok()?;
    let found = steps.iter().try_fold(&whole, |at, step| match at {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        at => at.get(step),
    });
    found
        .filter(|value| value.is_object() || value.is_array())
        .map(|v| words(v.to_string().as_bytes(), json::MAX_TEXT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    const EVENT: &str = r#"{"event_id":"01981d2e-7c00-7abc-8def-0123456789ab","stage":"completed",
        "time":"2026-03-01T12:34:56Z","service":"flows",
        "http":{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http",
        "path":"/v1/workflows/42/start","query":"dry=a+b","status":202},
        "operation":{"match":"matched","id":"startWorkflow","route":"/v1/workflows/{id}/start",
        "path_params":{"id":"42"},"op":"other","resource_type":"workflows","resource_id":"42"},
        "actor":{"id":"alice","tenant":"acme","source":"verified_jwt","verified":true},
        "client":{"ip":"203.0.113.9","ip_source":"peer","peer_ip":"203.0.113.9"},
        "outcome":"success","reason":"ticket 7",
        "request":{"content_type":"application/json","bytes":9,
        "body":"{\"input\":\"nightly\",\"a\":{\"b\":7},\"list\":[1,{\"c\":\"d\"}],\"password\":\"[redacted]\"}"},
        "response":{"bytes":0},"level":"request","delivery":"written","policy":"default"}"#;

    fn line(text: &str) -> String {
        Template::parse(text).unwrap().line(&serde_json::from_str(EVENT).unwrap())
    }

    #[test]
    fn placeholders_are_members_of_the_event() {
        for (text, expected) in [
            (
                "{actor} started workflow {path.id} with input {body.input}",
                "alice started workflow 42 with input nightly (success)",
            ),
            ("{body.a.b} {body.list.1.c} {body.password} {query.dry}", "7 d [redacted] a b (success)"),
            ("{body.a} {body.list}", r#"{"b":7} [1,{"c":"d"}] (success)"#),
            ("{body.none} {query.none} {error} {on_behalf_of}", "- - - - (success)"),
            (
                "{tenant}/{service}: {operation} {method} {path} {status}",
                "acme/flows: startWorkflow POST /v1/workflows/42/start 202 (success)",
            ),
            (
                "{resource.type} {resource.id} {client.ip} {reason}",
                "workflows 42 203.0.113.9 ticket 7 (success)",
            ),
            ("{outcome}: {{{actor.id}}}", "success: {alice}"),
            ("no placeholder\n", "no placeholder\\u{a} (success)"),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn the_line_is_bounded_printable_and_says_how_it_ended() {
        let mut event: AuditEvent<'_> = serde_json::from_str(EVENT).unwrap();
        event.actor.id = Cow::Owned(format!("x\u{202e}{}", " y".repeat(500)));
        let text = "{actor} ".repeat(37);
        let line = Template::parse(&text).unwrap().line(&event);
        assert!(line.chars().count() <= MAX_LINE, "{}", line.chars().count());
        assert!(line.ends_with(" … (success)") && !line.contains('\u{202e}'), "{line}");
        let one = Template::parse("{actor}").unwrap().line(&event);
        assert!(one.chars().count() <= MAX_VALUE + " (success)".len(), "{one}");
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        let long = "x".repeat(MAX_LINE + 1);
        for bad in [
            "",
            " ",
            &long,
            "{",
            "}",
            "{actor",
            "{}",
            "{nobody}",
            "{path.}",
            "{query.}",
            "{body.}",
            "{body.a..b}",
            "{ actor }",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        let names: Vec<String> =
            Template::parse("{path.a}{path.b}{actor}").unwrap().path_params().map(str::to_owned).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
