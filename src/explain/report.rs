//! Everything there is to tell of one request: for people as lines, for programs as one JSON object.
//!
//! Promises: what is shown has passed the redactor, as an event would; the event shown is the one that
//! would be stored, but for its id, its times and what only the relay knows.

use super::Explainer;
use crate::extract::{self, Peer, Source};
use crate::head::Head;
use crate::policy::{Decision, RuleRef};
use crate::redact::{RawBody, Redacted, SchemaMarks};
use crate::rules::{Judged, Rules, split_target};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sidelog_event as event;
use sidelog_event::{Actor, ActorSource, AuditEvent, Client, Http, Level, MatchKind, Message, Op, Operation};
use std::borrow::Cow;
use std::io::{self, Write};
use uuid::Uuid;

/// Characters of a kept body shown to people; programs get all of it.
const MAX_SHOWN: usize = 2000;

/// What is known of a request beside its head.
#[derive(Debug, Clone, Default)]
pub struct Bodies {
    pub request: Option<Vec<u8>>,
    pub response: Option<Response>,
}

#[derive(Debug, Clone, Default)]
pub struct Response {
    pub status: Option<u16>,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// The rules that strike on one part of a call.
#[derive(Debug, Serialize)]
struct Struck {
    part: &'static str,
    count: u32,
    rules: Vec<String>,
}

pub struct Report<'r> {
    judged: Judged<'r, 'r>,
    because: String,
    event: Redacted<AuditEvent<'r>>,
    struck: Vec<Struck>,
    /// The file of the operation's document.
    document: Option<&'r str>,
    bodies: (bool, bool),
    /// Where a reason is looked for.
    reasons: String,
}

impl<'r> Report<'r> {
    /// `judged` is of the same head.
    pub fn new(
        explainer: &'r Explainer,
        head: &Head<'r>,
        judged: Judged<'r, 'r>,
        bodies: &'r Bodies,
    ) -> Report<'r> {
        let Explainer { rules, peer, service } = explainer;
        let because = because(head, &judged);
        let document = judged.found.operation.and_then(|o| rules.specs.document_of(o));
        let (raw, marks) = draft(rules, head, &judged, peer, bodies);
        let raw = AuditEvent { service: service.into(), ..raw };
        let (request, response) = raw_bodies(rules, head, judged.decision.level, bodies);
        let struck = struck(rules, &raw, &request, &response, marks);
        let mut event = rules.redactor.redact(raw, request, response, marks);
        let index = judged.found.operation.and_then(|o| rules.specs.index_of(o));
        event.tell(rules.template(index));
        let places: Vec<String> = rules.reasons(index).iter().map(ToString::to_string).collect();
        let bodies = (bodies.request.is_some(), bodies.response.is_some());
        Report { judged, because, event, struck, document, bodies, reasons: places.join(", ") }
    }

    /// One JSON object.
    pub fn as_json(&self) -> Value {
        let (found, decision, event) = (&self.judged.found, &self.judged.decision, &*self.event);
        json!({
            "match": found.kind,
            "method": found.operation.map_or(&*event.http.method, |o| &o.method),
            "template": found.operation.or(found.same_path).map(|o| &o.template),
            "operation_id": found.operation.and_then(|o| o.operation_id.as_deref()),
            "document": self.document,
            "path_params": event.operation.path_params,
            "alternatives": found.alternatives.iter().map(|o| o.to_string()).collect::<Vec<_>>(),
            "other_reading": found.other_reading.map(|o| o.to_string()),
            "flags": event.flags,
            "recorded": decision.recorded(),
            "rule": decision.rule.text(),
            "because": self.because,
            "level": decision.level,
            "delivery": decision.delivery,
            "marked": self.marked(),
            "redactions": self.struck,
            "event": decision.recorded().then_some(event),
        })
    }

    /// Lines for people.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut row = |name: &str, value: &str| writeln!(out, "{}", format!("{name:<12} {value}").trim_end());
        let event = &*self.event;
        let query = if event.http.query.is_empty() { "" } else { "?" };
        row("request", &format!("{} {}{query}{}", event.http.method, event.http.path, event.http.query))?;
        self.write_match(&mut row)?;
        let decision = &self.judged.decision;
        let recorded = format!("{}, delivery {}", decision.level, decision.delivery);
        row("recorded", if decision.recorded() { &recorded } else { "no" })?;
        row("because", &self.because)?;
        self.write_people(&mut row)?;
        let what = &event.operation;
        row("change", &format!("{} {} {}", what.op, what.resource_type, what.resource_id))?;
        if event.http.effective_method != event.http.method {
            row("  executed", &format!("{}, by an override", event.http.effective_method))?;
        }
        for call in &what.calls {
            row("  inside", &format!("{} {call}", what.protocol))?;
        }
        match &event.reason {
            Some(reason) => row("reason", reason)?,
            None if self.reasons.is_empty() => {}
            None => row("reason", &format!("none; looked for in {}", self.reasons))?,
        }
        for flag in &event.flags {
            row("flag", flag)?;
        }
        for (given, name, message) in
            [(self.bodies.0, "body", &event.request), (self.bodies.1, "response", &event.response)]
        {
            if given {
                write_body(&mut row, name, message)?;
            }
        }
        let marked = self.marked();
        if !marked.is_empty() {
            row("marked", &format!("{} (by the document)", marked.join(", ")))?;
        }
        for Struck { part, count, rules } in &self.struck {
            row("masked", &format!("{part}: {count} by {}", rules.join(", ")))?;
        }
        if self.struck.is_empty() {
            row("masked", "nothing of this")?;
        }
        // Without an answer, what became of the call is not known.
        if decision.recorded() && event.http.status.is_some() {
            row("message", &event.message)?;
        }
        Ok(())
    }

    fn write_match(&self, row: &mut impl FnMut(&str, &str) -> io::Result<()>) -> io::Result<()> {
        let found = &self.judged.found;
        match found.operation {
            Some(o) => {
                let id = o.operation_id.as_deref().unwrap_or("no operationId");
                row("operation", &format!("{} {} ({id}), {}", o.method, o.route, found.kind))?;
            }
            None => {
                let route = found.route().unwrap_or_default();
                row("operation", format!("none: {} {route}", found.kind).trim_end())?;
            }
        }
        if let Some(document) = self.document {
            row("  document", document)?;
        }
        for (name, value) in &self.event.operation.path_params.0 {
            row("  parameter", &format!("{name} = {value}"))?;
        }
        for other in &found.alternatives {
            row("  or", &format!("{} {}", other.method, other.route))?;
        }
        if let Some(other) = found.other_reading {
            row("  read as", &format!("{} {} by a lenient server", other.method, other.route))?;
        }
        Ok(())
    }

    /// Who and from where.
    fn write_people(&self, row: &mut impl FnMut(&str, &str) -> io::Result<()>) -> io::Result<()> {
        let Actor { id, name, kind, tenant, roles, source, credential, on_behalf_of, .. } = &self.event.actor;
        let who = if id.is_empty() { "nobody named" } else { id.as_ref() };
        row("actor", &format!("{who} from {source} ({})", trust(&self.event.actor)))?;
        for (what, value) in
            [("name", name), ("type", kind), ("on behalf of", on_behalf_of), ("tenant", tenant)]
        {
            if !value.is_empty() {
                row(&format!("  {what}"), value)?;
            }
        }
        if !roles.is_empty() {
            row("  roles", &roles.join(", "))?;
        }
        if !credential.is_empty() && !matches!(source, ActorSource::ApiKey | ActorSource::Cookie) {
            row("  credential", "as a keyed fingerprint")?;
        }
        let Client { ip, ip_source, peer_ip, forwarded } = &self.event.client;
        row("client", &format!("{ip} from {ip_source}"))?;
        if ip != peer_ip {
            row("  peer", peer_ip)?;
        }
        if !forwarded.is_empty() {
            let believed = if ip_source == "peer" { "not believed" } else { "from a trusted proxy" };
            row("  claimed", &format!("{forwarded} ({believed})"))?;
        }
        Ok(())
    }

    /// Names that the operation's document marks as secret.
    fn marked(&self) -> Vec<&str> {
        self.judged.found.operation.map(|o| o.marks.names().collect()).unwrap_or_default()
    }
}

fn write_body(
    row: &mut impl FnMut(&str, &str) -> io::Result<()>,
    name: &str,
    message: &Message<'_>,
) -> io::Result<()> {
    let kind = if message.content_type.is_empty() { "no content type" } else { &message.content_type };
    row(name, &format!("{}, {} bytes, {kind}", message.body_state, message.bytes))?;
    if message.body.is_empty() {
        return Ok(());
    }
    let mut shown: String = message.body.chars().take(MAX_SHOWN).collect();
    if shown.len() < message.body.len() {
        shown.push('…');
    }
    shown.lines().try_for_each(|line| row("  kept", line))
}

/// The event as it would be before redaction, without its bodies; and the marks that hold for it.
fn draft<'r>(
    rules: &'r Rules,
    head: &Head<'r>,
    judged: &Judged<'r, 'r>,
    peer: &Peer,
    bodies: &'r Bodies,
) -> (AuditEvent<'r>, &'r crate::redact::SchemaMarks) {
    let (facts, flags) = rules.facts(head, peer, judged);
    let (path, query) = split_target(head.target());
    let mut draft = blank();
    let text = |bytes: &'r [u8]| String::from_utf8_lossy(bytes);
    draft.http = Http {
        version: head.version().into(),
        method: head.method().into(),
        effective_method: judged.overridden.clone().unwrap_or(head.method().into()),
        scheme: "http".into(),
        host: text(head.first("host").unwrap_or_default()),
        path: text(path),
        query: text(query),
        status: bodies.response.as_ref().and_then(|r| r.status),
        grpc_status: None,
        user_agent: extract::user_agent(head),
        request_id: extract::request_id(head),
        idempotency_key: extract::idempotency_key(head),
        trace_id: extract::trace_id(head).into(),
    };
    draft.outcome = extract::outcome(draft.http.status, None);
    (draft.operation, draft.actor, draft.client) = (facts.operation, facts.actor, facts.client);
    let Decision { level, delivery, rule } = &judged.decision;
    (draft.level, draft.delivery, draft.policy) = (*level, *delivery, rule.text());
    draft.flags = flags.into_iter().map(Cow::from).collect();
    draft.reason = facts.reason.map(Cow::from);
    if let Some(body) = &bodies.request {
        let kept = body.get(..rules.max_body).unwrap_or(body);
        read_body(rules, head, facts.operation_index, &mut draft, kept);
    }
    (draft, rules.marks(facts.marks_index))
}

/// What a body tells beyond itself, in the order in which the sidecar reads it: the method meant, the
/// calls inside, why.
fn read_body(rules: &Rules, head: &Head<'_>, index: Option<usize>, draft: &mut AuditEvent<'_>, body: &[u8]) {
    let media = head.first("content-type").unwrap_or_default();
    override_method(draft, media, body);
    if draft.operation.calls.is_empty() {
        let asked = extract::Asked {
            method: head.method(),
            target: head.target(),
            host: head.first("host").unwrap_or_default(),
            media,
            body,
            whole: body.len() < rules.max_body,
        };
        if let Some(calls) = extract::of_call(&asked) {
            rules.carry(&mut draft.operation, calls);
        }
    }
    rules.hint(index, &mut draft.operation);
    let in_body = |source: &Source| match source {
        Source::Body(steps) => Source::in_body(steps, media, body),
        _ => None,
    };
    if draft.reason.is_none() {
        draft.reason = rules.reasons(index).iter().find_map(in_body).map(Cow::from);
    }
}

/// A body may say that another method is meant; where the head says so too, the mutating one counts.
fn override_method(draft: &mut AuditEvent<'_>, media: &[u8], body: &[u8]) {
    let told = &draft.http.effective_method;
    let Some(method) = extract::method_in_body(&draft.http.method, media, body) else { return };
    if *told != draft.http.method && !extract::is_safe(told) {
        return;
    }
    let operation = &mut draft.operation;
    let route = (!operation.route.is_empty()).then_some(&*operation.route);
    let resource = extract::resource(&method, route, &operation.path_params);
    let (op, kind, id) = (resource.op, resource.kind.into_owned(), resource.id.into_owned());
    (operation.op, operation.resource_type, operation.resource_id) = (op, kind.into(), id.into());
    draft.http.effective_method = method.into();
}

fn raw_bodies<'r>(
    rules: &Rules,
    head: &Head<'r>,
    level: Level,
    bodies: &'r Bodies,
) -> (RawBody<'r>, RawBody<'r>) {
    let raw = |all: &'r [u8], keep| RawBody {
        bytes: all.get(..rules.max_body).unwrap_or(all),
        total: all.len() as u64,
        complete: true,
        truncated: all.len() > rules.max_body,
        keep,
        ..RawBody::default()
    };
    let request = RawBody {
        content_type: head.first("content-type").unwrap_or_default(),
        content_encoding: head.first("content-encoding").unwrap_or_default(),
        ..raw(
            bodies.request.as_deref().unwrap_or_default(),
            matches!(level, Level::Request | Level::RequestResponse),
        )
    };
    let response = match &bodies.response {
        Some(response) => RawBody {
            content_type: response.content_type.as_bytes(),
            ..raw(&response.body, level == Level::RequestResponse)
        },
        None => raw(&[], false),
    };
    (request, response)
}

/// What strikes on each part, each given to the redactor alone.
fn struck(
    rules: &Rules,
    raw: &AuditEvent<'_>,
    request: &RawBody<'_>,
    response: &RawBody<'_>,
    marks: &SchemaMarks,
) -> Vec<Struck> {
    let none = || RawBody { complete: true, ..RawBody::default() };
    let part = |part, fill: &dyn Fn(&mut AuditEvent<'_>), request: RawBody<'_>, response: RawBody<'_>| {
        let mut alone = blank();
        fill(&mut alone);
        let redacted = rules.redactor.redact(alone, request, response, marks);
        let rules = redacted.redactions.rules.iter().map(|rule| rule.to_string()).collect();
        Struck { part, count: redacted.redactions.count, rules }
    };
    let owned = |text: &Cow<'_, str>| Cow::Owned(text.to_string());
    let plain = |name, fill: &dyn Fn(&mut AuditEvent<'_>)| part(name, fill, none(), none());
    let mut all = vec![
        plain("path", &|e| e.http.path = owned(&raw.http.path)),
        plain("path parameters", &|e| {
            let params = raw.operation.path_params.0.iter();
            e.operation.path_params.0 = params.map(|(n, v)| (owned(n), owned(v))).collect();
        }),
        plain("query", &|e| e.http.query = owned(&raw.http.query)),
        plain("headers", &|e| {
            e.http.host = owned(&raw.http.host);
            e.http.user_agent = owned(&raw.http.user_agent);
            e.http.request_id = owned(&raw.http.request_id);
            e.client.forwarded = owned(&raw.client.forwarded);
        }),
        plain("actor", &|e| {
            let Actor { id, name, kind, tenant, roles, .. } = &raw.actor;
            (e.actor.id, e.actor.name) = (owned(id), owned(name));
            (e.actor.kind, e.actor.tenant) = (owned(kind), owned(tenant));
            e.actor.roles = roles.iter().map(owned).collect();
        }),
    ];
    all.push(part("body", &|_| (), request.clone(), none()));
    all.push(part("response body", &|_| (), none(), response.clone()));
    all.retain(|struck| struck.count > 0);
    all
}

/// An event about nothing.
fn blank<'a>() -> AuditEvent<'a> {
    AuditEvent {
        event_id: Uuid::nil(),
        stage: event::Stage::Completed,
        time: Timestamp::UNIX_EPOCH,
        duration_us: None,
        service: "".into(),
        http: Http {
            version: "".into(),
            method: "".into(),
            effective_method: "".into(),
            scheme: "".into(),
            host: "".into(),
            path: "".into(),
            query: "".into(),
            status: None,
            grpc_status: None,
            user_agent: "".into(),
            request_id: "".into(),
            idempotency_key: "".into(),
            trace_id: "".into(),
        },
        operation: Operation {
            matched: MatchKind::Unmatched,
            id: "".into(),
            route: "".into(),
            summary: "".into(),
            tags: Vec::new(),
            api_version: "".into(),
            alternatives: Vec::new(),
            path_params: event::Params::default(),
            op: Op::Other,
            resource_type: "".into(),
            resource_id: "".into(),
            protocol: "".into(),
            calls: Vec::new(),
            calls_total: 0,
        },
        actor: Actor {
            id: "".into(),
            name: "".into(),
            kind: "".into(),
            tenant: "".into(),
            roles: Vec::new(),
            source: ActorSource::Anonymous,
            verified: false,
            on_behalf_of: "".into(),
            unverified_reason: "".into(),
            credential: "".into(),
        },
        client: Client { ip: "".into(), ip_source: "".into(), peer_ip: "".into(), forwarded: "".into() },
        outcome: event::Outcome::Unknown,
        error: None,
        reason: None,
        request: Message::default(),
        response: Message::default(),
        redactions: event::Redactions::default(),
        level: Level::None,
        delivery: event::Delivery::Queued,
        policy: "".into(),
        flags: Vec::new(),
        message: "".into(),
    }
}

/// What decided; of a default, which.
fn because(head: &Head<'_>, judged: &Judged<'_, '_>) -> String {
    let Decision { level, rule, .. } = &judged.decision;
    let which = match (rule, level) {
        (RuleRef::Default, Level::None) if matches!(head.method(), "GET" | "HEAD" | "OPTIONS" | "TRACE") => {
            "reads are not recorded"
        }
        (RuleRef::Default, Level::Metadata | Level::Request | Level::RequestResponse)
            if extract::is_safe(head.method()) && extract::mutates(head.target()) =>
        {
            "the query string has a GraphQL mutation"
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
