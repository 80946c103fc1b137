//! One call's life: begin → intent → body → response → end. Turns what the relay sees into one event.
//!
//! Promises: an audited call yields exactly one completion, also when its connection is dropped; the
//! intent is on disk before the request's first byte is forwarded (`written`), the completion before
//! the answer's last byte is passed on.
//! Never: waits for I/O, holds more than `capture.max_body` of a body, stores anything that has not
//! passed the redactor.

use crate::auditor::Auditor;
use crate::capture::Capture;
use crate::config::OnFull;
use crate::extract::{self, Peer};
use crate::head::{Head, HeadIndex};
use crate::policy::Decision;
use crate::redact::{RawBody, SchemaMarks};
use crate::relay::{self, BodyEnd, End, Observer, Refusal, RequestFraming};
use crate::rules::{Facts, split_target};
use jiff::Timestamp;
use sidelog_event::{AuditEvent, Delivery, Http, Level, Message, Outcome, Redactions, Stage};
use sidelog_journal::Slot;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// Watches the calls of one connection.
#[derive(Debug)]
pub struct Watcher {
    auditor: Arc<Auditor>,
    peer: Peer,
    /// The last call that began has an event of its own.
    recorded: bool,
}

impl Watcher {
    pub fn new(auditor: Arc<Auditor>, peer: impl Into<Peer>) -> Self {
        Watcher { auditor, peer: peer.into(), recorded: false }
    }
}

impl Observer for Watcher {
    type Call = Exchange;

    fn begin(&mut self, head: Head<'_>, framing: &RequestFraming) -> Result<Exchange, Refusal> {
        let exchange = Exchange::begin(&self.auditor, &self.peer, head, framing)?;
        self.recorded = exchange.0.is_some();
        Ok(exchange)
    }

    fn unreachable(&mut self) {
        self.auditor.metrics().upstream_connect_failures.inc();
    }

    fn malformed(&mut self, refusal: Refusal) {
        if self.recorded {
            self.auditor.metrics().refuse(refusal.reason);
        } else {
            self.refused(refusal, &[]);
        }
    }

    fn refused(&mut self, refusal: Refusal, received: &[u8]) {
        self.auditor.refuse(&self.peer, refusal, received);
    }
}

/// One call; nothing is kept of one that is not audited.
pub struct Exchange(Option<Box<Audited>>);

struct Audited {
    auditor: Arc<Auditor>,
    id: Uuid,
    time: Timestamp,
    started: Instant,
    /// A copy of the request head with its index.
    raw: Vec<u8>,
    index: HeadIndex,
    decision: Decision,
    scheme: &'static str,
    facts: Facts,
    flags: Vec<&'static str>,
    request: Capture,
    response: Capture,
    response_type: Vec<u8>,
    response_encoding: Vec<u8>,
    status: Option<u16>,
    intent: Option<Slot>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exchange({:?})", self.0.as_ref().map(|a| a.id))
    }
}

impl Exchange {
    fn begin(
        auditor: &Arc<Auditor>,
        peer: &Peer,
        head: Head<'_>,
        framing: &RequestFraming,
    ) -> Result<Exchange, Refusal> {
        auditor.metrics().requests.inc();
        let rules = auditor.rules();
        let judged = rules.judge(&head, !framing.body.is_done(), framing.may_switch());
        if !judged.decision.recorded() {
            return Ok(Exchange(None));
        }
        if auditor.on_full() == OnFull::Refuse && !auditor.journal().has_room() {
            return Err(Refusal { status: 503, reason: "journal_full" });
        }
        let (facts, flags) = rules.facts(&head, peer, &judged);
        auditor.metrics().open_calls.inc();
        let (request, response) = captures(auditor.max_body(), judged.decision.level, &head);
        let mut audited = Box::new(Audited {
            auditor: auditor.clone(),
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            started: Instant::now(),
            raw: head.raw.to_vec(),
            index: head.index.clone(),
            decision: judged.decision,
            scheme: peer.scheme(),
            facts,
            flags,
            request,
            response,
            response_type: Vec::new(),
            response_encoding: Vec::new(),
            status: None,
            intent: None,
        });
        audited.write_intent();
        Ok(Exchange(Some(audited)))
    }
}

impl relay::Call for Exchange {
    fn request_body(&mut self, bytes: &[u8]) {
        if let Some(audited) = &mut self.0 {
            audited.request.push(bytes, audited.auditor.pseudonyms());
        }
    }

    fn response_head(&mut self, head: Head<'_>) {
        if let Some(audited) = &mut self.0 {
            audited.status = Some(head.status());
            audited.response_type = head.first("content-type").unwrap_or_default().to_vec();
            audited.response_encoding = head.first("content-encoding").unwrap_or_default().to_vec();
        }
    }

    fn response_body(&mut self, bytes: &[u8]) {
        if let Some(audited) = &mut self.0 {
            audited.response.push(bytes, audited.auditor.pseudonyms());
        }
    }

    fn tunnel(&mut self) {
        if let Some(audited) = &mut self.0 {
            audited.flags.push("tunnel");
            audited.tell_open();
        }
    }

    fn end(&mut self, end: End) {
        if let Some(audited) = self.0.take() {
            audited.complete(end);
        }
    }
}

impl Drop for Exchange {
    /// The relay was dropped in mid-call: the sidecar is going down.
    fn drop(&mut self) {
        if let Some(audited) = self.0.take() {
            audited.complete(End {
                request: BodyEnd::Open,
                response: BodyEnd::Aborted,
                error: Some("shutdown"),
                own_status: None,
            });
        }
    }
}

impl Audited {
    fn head(&self) -> Head<'_> {
        Head { raw: &self.raw, index: &self.index }
    }

    fn marks(&self) -> &SchemaMarks {
        self.auditor.rules().marks(self.facts.operation_index)
    }

    /// Nobody knows how long a tunnel lives: that it is open is told now.
    fn tell_open(&self) {
        let event = AuditEvent { outcome: Outcome::Success, ..self.event(Stage::Started) };
        let no_body = || RawBody { complete: true, ..RawBody::default() };
        let rules = self.auditor.rules();
        let mut open = rules.redactor.redact(event, no_body(), no_body(), self.marks());
        open.tell();
        self.auditor.record_started(open);
    }

    /// Puts what is known before forwarding into the open-call table, so that it survives kill -9.
    fn write_intent(&mut self) {
        if self.decision.delivery == Delivery::Queued {
            return;
        }
        let event = self.event(Stage::Started);
        let rules = self.auditor.rules();
        let no_body = || RawBody { complete: true, ..RawBody::default() };
        let intent = rules.redactor.redact(event, no_body(), no_body(), self.marks());
        self.intent = self.auditor.claim(intent);
    }

    fn complete(mut self: Box<Self>, end: End) {
        self.status = end.own_status.or(self.status);
        if end.request == BodyEnd::Open && end.error.is_none() {
            self.flags.push("early_response");
        }
        let auditor = self.auditor.clone();
        let mut event = self.event(Stage::Completed);
        self.override_method(&mut event);
        event.duration_us = Some(self.started.elapsed().as_micros() as u64);
        event.outcome = extract::outcome(self.status, end.error);
        event.error = end.error.map(Into::into);
        let (request, response) = self.bodies(&end);
        let cut = [&request, &response].into_iter().filter(|body| body.keep && body.truncated).count();
        auditor.metrics().bodies_truncated.inc_by(cut as u64);
        let mut redacted = auditor.rules().redactor.redact(event, request, response, self.marks());
        redacted.tell();
        auditor.record(redacted);
        if let Some(intent) = self.intent.take() {
            intent.clear();
        }
        auditor.metrics().open_calls.dec();
    }

    /// A form may say that another method is meant (`_method`). Where the head says so too, the
    /// mutating one counts.
    fn override_method(&self, event: &mut AuditEvent<'_>) {
        if !is_form(&self.head()) {
            return;
        }
        let Some(method) = extract::form_method(&event.http.method, self.request.kept()) else { return };
        let told = &event.http.effective_method;
        if *told != event.http.method && !extract::is_safe(told) {
            return;
        }
        let operation = &mut event.operation;
        let route = (!operation.route.is_empty()).then_some(&*operation.route);
        let resource = extract::resource(&method, route, &operation.path_params);
        let (op, kind, id) = (resource.op, resource.kind.into_owned(), resource.id.into_owned());
        (operation.op, operation.resource_type, operation.resource_id) = (op, kind.into(), id.into());
        event.http.effective_method = method.into_owned().into();
    }

    /// What was captured of both bodies, and what is needed to read it.
    fn bodies(&self, end: &End) -> (RawBody<'_>, RawBody<'_>) {
        let head = self.head();
        let level = self.decision.level;
        let request = RawBody {
            content_type: head.first("content-type").unwrap_or_default(),
            content_encoding: head.first("content-encoding").unwrap_or_default(),
            bytes: self.request.kept(),
            total: self.request.total(),
            complete: end.request == BodyEnd::Complete,
            truncated: self.request.is_truncated(),
            digest: self.request.digest(),
            keep: level != Level::Metadata,
        };
        let response = RawBody {
            content_type: &self.response_type,
            content_encoding: &self.response_encoding,
            bytes: self.response.kept(),
            total: self.response.total(),
            complete: end.response == BodyEnd::Complete,
            truncated: self.response.is_truncated(),
            digest: self.response.digest(),
            keep: level == Level::RequestResponse,
        };
        (request, response)
    }

    /// The event without bodies, borrowing from the head.
    fn event(&self, stage: Stage) -> AuditEvent<'_> {
        let head = self.head();
        let (path, query) = split_target(head.target());
        AuditEvent {
            event_id: self.id,
            stage,
            time: self.time,
            duration_us: None,
            service: self.auditor.service().into(),
            http: Http {
                version: head.version().into(),
                method: head.method().into(),
                effective_method: extract::effective_method(&head).unwrap_or(head.method().into()),
                scheme: self.scheme.into(),
                host: text(head.first("host").unwrap_or_default()),
                path: text(path),
                query: text(query),
                status: self.status,
                grpc_status: None,
                user_agent: extract::user_agent(&head),
                request_id: extract::request_id(&head),
                idempotency_key: extract::idempotency_key(&head),
                trace_id: extract::trace_id(&head).into(),
            },
            operation: self.facts.operation.clone(),
            actor: self.facts.actor.clone(),
            client: self.facts.client.clone(),
            outcome: Outcome::Unknown,
            error: None,
            reason: None,
            request: Message::default(),
            response: Message::default(),
            redactions: Redactions::default(),
            level: self.decision.level,
            delivery: self.decision.delivery,
            policy: self.decision.rule.text(),
            flags: self.flags.iter().map(|f| (*f).into()).collect(),
            message: "".into(),
        }
    }
}

/// Room for what is looked at of each body; the rest is only counted and digested.
fn captures(max: usize, level: Level, head: &Head<'_>) -> (Capture, Capture) {
    let request = level != Level::Metadata || is_form(head);
    let response = level == Level::RequestResponse;
    (Capture::new(if request { max } else { 0 }), Capture::new(if response { max } else { 0 }))
}

fn is_form(head: &Head<'_>) -> bool {
    let media = head.first("content-type").unwrap_or_default();
    let essence = media.split(|b| *b == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Bytes that are not UTF-8 percent-encoded, so that nothing is lost.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => percent_encoding::percent_encode(bytes, percent_encoding::CONTROLS).to_string().into(),
    }
}

#[cfg(test)]
mod tests;
