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
use crate::exchange::finish::Answer;
use crate::extract::{self, Peer};
use crate::head::{Head, HeadIndex};
use crate::policy::Decision;
use crate::redact::{RawBody, SchemaMarks, TOO_LARGE_DECODED};
use crate::relay::{self, BodyEnd, Commit, End, Observer, Refusal, RequestFraming};
use crate::rules::{Facts, Judged, Rules, split_target};
use jiff::Timestamp;
use sidelog_event::{AuditEvent, Delivery, Http, Level, Message, Outcome, Redactions, Stage};
use sidelog_journal::Slot;
use std::borrow::Cow;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

mod grpc;

/// A method that only reads came with a body: harmless to most services, a hidden call to some.
const SAFE_METHOD_WITH_BODY: &str = "safe_method_with_body";
/// The offer to upgrade is recorded and did not reach the service.
const UPGRADE_WITHDRAWN: &str = "upgrade_withdrawn";

/// Watches the calls of one connection.
#[derive(Debug)]
pub struct Watcher {
    auditor: Arc<Auditor>,
    peer: Peer,
}

impl Watcher {
    pub fn new(auditor: Arc<Auditor>, peer: impl Into<Peer>) -> Self {
        Watcher { auditor, peer: peer.into() }
    }
}

impl Observer for Watcher {
    type Call = Exchange;

    fn begin(&mut self, head: Head<'_>, framing: &RequestFraming) -> Result<Exchange, Refusal> {
        Exchange::begin(&self.auditor, &self.peer, head, framing)
    }

    fn unreachable(&mut self) {
        self.auditor.metrics().upstream_connect_failures.inc();
    }

    fn streamed(&mut self, why: &'static str) {
        self.auditor.metrics().stream(why);
    }

    fn http2(&mut self) {
        self.auditor.metrics().http2_connections.inc();
    }

    fn upstream_not_http2(&mut self) {
        self.auditor.metrics().upstream_not_http2.inc();
        tracing::warn!(peer = self.peer.address(), "the service does not answer HTTP/2 with HTTP/2");
    }

    fn malformed(&mut self, refusal: Refusal, recorded: bool) {
        match recorded {
            true => self.auditor.count_refusal(&self.peer, refusal),
            false => self.refused(refusal, &[]),
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
    /// Those of its begin, whatever is in force meanwhile.
    rules: Arc<Rules>,
    id: Uuid,
    time: Timestamp,
    started: Instant,
    /// A copy of the request head with its index.
    raw: Vec<u8>,
    index: HeadIndex,
    decision: Decision,
    mutating: bool,
    scheme: &'static str,
    facts: Facts,
    flags: Vec<&'static str>,
    request: Capture,
    response: Capture,
    request_encoding: Vec<u8>,
    answer: Answer,
    status: Option<u16>,
    grpc: Option<Box<Grpc>>,
    intent: Option<Slot>,
}

/// What is read along of a gRPC call.
#[derive(Default)]
struct Grpc {
    requests: grpc::Messages,
    responses: grpc::Messages,
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
        let Judged { decision, mutating, .. } = &judged;
        let must_fit = auditor.on_full() == OnFull::Refuse || decision.delivery == Delivery::Strict;
        if must_fit && *mutating && !auditor.journal().has_room() {
            return Err(Refusal { status: 503, reason: "journal_full" });
        }
        let (facts, mut flags) = rules.facts(&head, peer, &judged);
        if !framing.body.is_done() && extract::is_safe(head.method()) {
            flags.push(SAFE_METHOD_WITH_BODY);
        }
        if framing.is_withdrawn() {
            flags.push(UPGRADE_WITHDRAWN);
        }
        let grpc = grpc::is_grpc(head.first("content-type").unwrap_or_default()).then(Box::default);
        auditor.metrics().open_calls.inc();
        let (request, response) = captures(rules.max_body, judged.decision.level, &head);
        let mut audited = Box::new(Audited {
            auditor: auditor.clone(),
            rules: Arc::clone(&rules),
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            started: Instant::now(),
            raw: head.raw.to_vec(),
            index: head.index.clone(),
            decision: judged.decision,
            mutating: judged.mutating,
            scheme: peer.scheme(),
            facts,
            flags,
            request,
            response,
            request_encoding: encoding(&head),
            answer: Answer::default(),
            status: None,
            grpc,
            intent: None,
        });
        audited.write_intent();
        Ok(Exchange(Some(audited)))
    }
}

impl relay::Call for Exchange {
    fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    fn hold(&self) -> Option<usize> {
        let audited = self.0.as_ref()?;
        (audited.decision.delivery == Delivery::Strict).then(|| audited.rules.max_body)
    }

    fn commit(&mut self, whole: bool) -> Commit {
        let Some(audited) = &mut self.0 else { return Box::pin(ready(Ok(()))) };
        let Some(seq) = audited.append_intent(whole) else {
            if audited.mutating {
                // Nothing of it is in the log, and it will not be made.
                self.0.take().into_iter().for_each(|audited| audited.forget());
                return Box::pin(ready(Err(Refusal { status: 503, reason: "journal_full" })));
            }
            return Box::pin(ready(Ok(())));
        };
        let (mutating, durable) = (audited.mutating, audited.auditor.durable(seq));
        Box::pin(async move {
            match durable.await {
                Err(()) if mutating => Err(Refusal { status: 503, reason: "not_durable" }),
                _ => Ok(()),
            }
        })
    }

    fn request_body(&mut self, bytes: &[u8]) {
        if let Some(audited) = &mut self.0 {
            audited.request.push(bytes, audited.auditor.pseudonyms());
            if let Some(grpc) = &mut audited.grpc {
                grpc.requests.push(bytes);
            }
        }
    }

    fn response_head(&mut self, head: Head<'_>) {
        if let Some(audited) = &mut self.0 {
            audited.status = Some(head.status());
            audited.answered(&head);
        }
        // An answer without messages has its status here.
        self.response_trailers(head);
    }

    fn response_trailers(&mut self, fields: Head<'_>) {
        if let Some(audited) = &mut self.0 {
            let told = fields.first("grpc-status").and_then(extract::grpc_status);
            audited.answer.grpc_status = told.or(audited.answer.grpc_status);
        }
    }

    fn response_body(&mut self, bytes: &[u8]) {
        if let Some(audited) = &mut self.0 {
            audited.response.push(bytes, audited.auditor.pseudonyms());
            if let Some(grpc) = &mut audited.grpc {
                grpc.responses.push(bytes);
            }
        }
    }

    fn tunnel(&mut self) {
        if let Some(audited) = &mut self.0 {
            audited.flags.push("tunnel");
            audited.tell_tunnel();
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
        self.rules.marks(self.facts.marks_index)
    }

    /// Puts what is known before forwarding into the open-call table, so that it survives kill -9.
    fn write_intent(&mut self) {
        if self.decision.delivery == Delivery::Queued {
            return;
        }
        let event = self.event(Stage::Started);
        let no_body = || RawBody { complete: true, ..RawBody::default() };
        let intent = self.rules.redactor.redact(event, no_body(), no_body(), self.marks());
        self.intent = self.auditor.claim(intent);
    }

    /// Puts the call with what there is of its body into the log. `None`: there is no room.
    fn append_intent(&self, whole: bool) -> Option<u64> {
        let request = if whole { BodyEnd::Complete } else { BodyEnd::Open };
        let (request, _) =
            self.bodies(&End { request, response: BodyEnd::Open, error: None, own_status: None });
        let mut event = self.event(Stage::Started);
        self.finish(&mut event, whole);
        let no_body = RawBody { complete: true, ..RawBody::default() };
        let intent = self.rules.redactor.redact(event, request, no_body, self.marks());
        let seq = self.auditor.record_intent(intent)?;
        if let Some(slot) = &self.intent {
            slot.told();
        }
        Some(seq)
    }

    /// A tunnel is open for long by nature: told of at once, unless its intent was.
    fn tell_tunnel(&self) {
        let Some(slot) = &self.intent else { return };
        if self.decision.delivery == Delivery::Strict || !self.auditor.tells_open_calls() {
            return;
        }
        let no_body = || RawBody { complete: true, ..RawBody::default() };
        let redactor = &self.rules.redactor;
        self.auditor.record_open(redactor.redact(
            self.event(Stage::Started),
            no_body(),
            no_body(),
            self.marks(),
        ));
        slot.told();
    }

    /// The call was refused before anything of it was recorded or forwarded.
    fn forget(mut self) {
        if let Some(intent) = self.intent.take() {
            intent.clear();
        }
        self.auditor.metrics().open_calls.dec();
    }

    fn complete(mut self: Box<Self>, end: End) {
        self.status = end.own_status.or(self.status);
        if end.request == BodyEnd::Open && end.error.is_none() {
            self.flags.push("early_response");
        }
        let auditor = self.auditor.clone();
        let mut event = self.event(Stage::Completed);
        event.duration_us = Some(self.started.elapsed().as_micros() as u64);
        event.outcome = extract::outcome(self.status, end.error);
        if let Some(grpc) = &self.grpc {
            event.request.messages = Some(grpc.requests.count());
            event.response.messages = Some(grpc.responses.count());
        }
        event.error = end.error.map(Into::into);
        self.finish(&mut event, end.request == BodyEnd::Complete);
        let (request, response) = self.bodies(&end);
        let cut = [&request, &response].into_iter().filter(|body| body.keep && body.truncated).count();
        auditor.metrics().bodies_truncated.inc_by(cut as u64);
        let mut redacted = self.rules.redactor.redact(event, request, response, self.marks());
        redacted.tell(self.rules.template(self.facts.operation_index));
        if redacted.flags.iter().any(|flag| flag == TOO_LARGE_DECODED) {
            auditor.metrics().bodies_oversized.inc();
        }
        auditor.record(redacted);
        if let Some(intent) = self.intent.take() {
            intent.clear();
        }
        auditor.metrics().open_calls.dec();
    }

    /// What was captured of both bodies, and what is needed to read it.
    fn bodies(&self, end: &End) -> (RawBody<'_>, RawBody<'_>) {
        let head = self.head();
        let level = self.decision.level;
        let request = RawBody {
            content_type: head.first("content-type").unwrap_or_default(),
            content_encoding: &self.request_encoding,
            bytes: self.request.kept(),
            total: self.request.total(),
            complete: end.request == BodyEnd::Complete,
            truncated: self.request.is_truncated(),
            digest: self.request.digest(),
            keep: level != Level::Metadata,
        };
        let response = RawBody {
            content_type: &self.answer.media,
            content_encoding: &self.answer.encoding,
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
                effective_method: self.facts.overridden.as_deref().unwrap_or(head.method()).into(),
                // Of HTTP/2 it is the client's claim.
                scheme: if head.scheme().is_empty() { self.scheme.into() } else { head.scheme().into() },
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
            operation: self.facts.operation.borrowed(),
            actor: self.facts.actor.borrowed(),
            client: self.facts.client.borrowed(),
            outcome: Outcome::Unknown,
            error: None,
            reason: self.facts.reason.as_deref().map(Into::into),
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

/// `Content-Encoding`, of all fields of that name: the second may hide a coding over a coding.
fn encoding(head: &Head<'_>) -> Vec<u8> {
    head.all("content-encoding").collect::<Vec<_>>().join(&b',')
}

/// Room for what is looked at of each body; the rest is only counted and digested. Of a response, more
/// may be asked for once its head is there ([`Audited::answered`]).
fn captures(max: usize, level: Level, head: &Head<'_>) -> (Capture, Capture) {
    let request = level != Level::Metadata || finish::tells(head);
    let response = level == Level::RequestResponse;
    (Capture::new(if request { max } else { 0 }), Capture::new(if response { max } else { 0 }))
}

/// Bytes that are not UTF-8 percent-encoded, so that nothing is lost.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => percent_encoding::percent_encode(bytes, percent_encoding::CONTROLS).to_string().into(),
    }
}

mod finish;
#[cfg(test)]
mod tests;
