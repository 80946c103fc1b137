//! What only bodies and the answer tell: the method meant, the calls inside, what was created, why,
//! how a gRPC call ended. Read once, when the call is over, off the forwarding path.
//!
//! Never: stores what it looks at. A body that is captured for this alone is not in the event.

use super::Audited;
use crate::extract::{self, Asked, Source, created};
use crate::head::Head;
use sidelog_event::{AuditEvent, Level, Op, Outcome};

/// Bytes of an answer looked at where the level keeps none of it: an id stands near the top, and a
/// gRPC-Web answer of one message is short.
const MAX_LOOK: usize = 64 << 10;
/// Bytes of a `Location`.
const MAX_LOCATION: usize = 2048;

/// What is kept of a response head.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub media: Vec<u8>,
    pub encoding: Vec<u8>,
    location: Vec<u8>,
    pub grpc_status: Option<u16>,
}

/// Whether a request's body may tell more than itself: a method, calls, a reason.
pub(super) fn tells(head: &Head<'_>) -> bool {
    let media = head.first("content-type").unwrap_or_default().to_ascii_lowercase();
    let has = |word: &[u8]| media.windows(word.len()).any(|w| w == word);
    has(b"json") || has(b"graphql") || has(b"multipart/") || has(b"x-www-form-urlencoded")
}

impl Audited {
    /// Remembers what matters of the response head, and how much of the body is to be looked at.
    pub(super) fn answered(&mut self, head: &Head<'_>) {
        let first = |name| head.first(name).unwrap_or_default();
        self.answer.media = first("content-type").to_vec();
        self.answer.encoding = super::encoding(head);
        self.answer.grpc_status = head.first("grpc-status").and_then(extract::grpc_status);
        let location = first("location");
        if location.len() <= MAX_LOCATION {
            self.answer.location = location.to_vec();
        }
        if self.decision.level != Level::RequestResponse && self.looks_at_answer() {
            self.response.look(self.rules.max_body.min(MAX_LOOK));
        }
    }

    fn looks_at_answer(&self) -> bool {
        let has = |word: &[u8]| self.answer.media.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
        let index = self.facts.operation_index;
        let wanted = self.facts.operation.op == Op::Create
            || self.status == Some(201)
            || matches!(self.rules.id_source(index), Some(Source::Answer(_)));
        let id = wanted && self.status.is_some_and(|s| s / 100 == 2) && has(b"json");
        plain(&self.answer.encoding) && (id || has(b"application/grpc-web"))
    }

    /// Completes an event. `whole`: the request came to its end.
    pub(super) fn finish(&self, event: &mut AuditEvent<'_>, whole: bool) {
        let head = self.head();
        let media = head.first("content-type").unwrap_or_default();
        let body = if plain(&self.request_encoding) { self.request.kept() } else { &[] };
        self.override_method(event, media, body);
        self.inner_calls(event, media, body, whole);
        self.grpc_end(event);
        self.created(event);
        self.rules.hint(self.facts.operation_index, &mut event.operation);
        self.id_by_document(event, media, body);
        self.reason(event, media, body);
    }

    /// A body may say that another method is meant (`_method`). Where the head says so too, the
    /// mutating one counts.
    fn override_method(&self, event: &mut AuditEvent<'_>, media: &[u8], body: &[u8]) {
        let Some(method) = extract::method_in_body(&event.http.method, media, body) else { return };
        let told = &event.http.effective_method;
        if *told != event.http.method && !extract::is_safe(told) {
            return;
        }
        let operation = &mut event.operation;
        let route = (!operation.route.is_empty()).then_some(&*operation.route);
        let resource = extract::resource(&method, route, &operation.path_params);
        let (op, kind, id) = (resource.op, resource.kind.into_owned(), resource.id.into_owned());
        (operation.op, operation.resource_type, operation.resource_id) = (op, kind.into(), id.into());
        event.http.effective_method = method.into();
    }

    fn inner_calls(&self, event: &mut AuditEvent<'_>, media: &[u8], body: &[u8], whole: bool) {
        // What the head told is told.
        if !event.operation.calls.is_empty() {
            return;
        }
        let head = self.head();
        let asked = Asked {
            method: head.method(),
            target: head.target(),
            host: head.first("host").unwrap_or_default(),
            media,
            body,
            whole: whole && !self.request.is_truncated(),
        };
        let Some(calls) = extract::of_call(&asked) else { return };
        if calls.cut {
            event.flags.push(extract::flags::CALLS_TRUNCATED.into());
        }
        self.rules.carry(&mut event.operation, calls);
    }

    /// gRPC answers 200 to everything; its own status says how it ended.
    fn grpc_end(&self, event: &mut AuditEvent<'_>) {
        let in_body = || extract::grpc_web_status(&self.answer.media, self.response.kept());
        let Some(code) = self.answer.grpc_status.or_else(in_body) else { return };
        event.http.grpc_status = Some(code);
        if event.outcome == Outcome::Success {
            event.outcome = extract::grpc_outcome(code);
        }
    }

    /// What the answer says was created.
    fn created(&self, event: &mut AuditEvent<'_>) {
        let operation = &mut event.operation;
        let method = &*event.http.effective_method;
        let Some(status @ 200..=299) = self.status else { return };
        if !operation.protocol.is_empty() || !matches!(method, "POST" | "PUT") {
            return;
        }
        // 201 says so itself: of the one thing a PUT names, and of a path that no document knows.
        let named = operation.op == Op::Update && extract::names_one(&operation.route);
        if status == 201 && (named || (method == "POST" && operation.route.is_empty())) {
            operation.op = Op::Create;
        }
        if method == "POST"
            && let Some((kind, id)) = self.located(status, &operation.resource_type, operation.op)
        {
            operation.op = Op::Create;
            operation.resource_id = id.into();
            if let Some(kind) = kind {
                operation.resource_type = kind.into();
            }
        } else if operation.op == Op::Create
            && operation.resource_id.is_empty()
            && let Some((name, id)) = created::in_body(&operation.resource_type, self.readable_answer())
            && !self.rules.is_secret([&*name], self.facts.operation_index)
        {
            operation.resource_id = id.into();
        }
    }

    /// Type and id of what `Location` leads to. Only with 201 is that what was created; with another
    /// status, it is if it has the type that was to be created.
    fn located(&self, status: u16, kind: &str, op: Op) -> Option<(Option<String>, String)> {
        if self.answer.location.is_empty() {
            return None;
        }
        let head = self.head();
        let (path, _) = crate::rules::split_target(head.target());
        let host = head.first("host").unwrap_or_default();
        let place = created::location(&self.answer.location, host, path)?;
        if let Some((item, id)) = self.rules.item(&place.path) {
            let fits = status == 201 || (op == Op::Create && item == kind);
            return id.filter(|_| fits).map(|id| (Some(item), id));
        }
        if status != 201 || op != Op::Create {
            return None;
        }
        let id = created::child(&place, path)?;
        let parent = path.rsplit(|b| *b == b'/').find(|s| !s.is_empty()).unwrap_or_default();
        let parent = String::from_utf8_lossy(parent);
        Some((kind.is_empty().then(|| extract::clean(parent.as_bytes(), 128).text.into_owned()), id))
    }

    fn readable_answer(&self) -> &[u8] {
        if plain(&self.answer.encoding) { self.response.kept() } else { &[] }
    }

    /// `x-audit-resource-id` of the document.
    fn id_by_document(&self, event: &mut AuditEvent<'_>, media: &[u8], body: &[u8]) {
        let id = match self.rules.id_source(self.facts.operation_index) {
            None => return,
            Some(Source::Body(steps)) => Source::in_body(steps, media, body),
            Some(Source::Answer(steps)) => Source::in_body(steps, &self.answer.media, self.readable_answer()),
            Some(source) => source.in_head(&self.head(), &event.operation.path_params),
        };
        if let Some(id) = id.and_then(|id| created::fit(&id)) {
            event.operation.resource_id = id.into();
        }
    }

    fn reason(&self, event: &mut AuditEvent<'_>, media: &[u8], body: &[u8]) {
        if event.reason.is_some() {
            return;
        }
        let places = self.rules.reasons(self.facts.operation_index);
        let in_body = |source: &Source| match source {
            Source::Body(steps) => Source::in_body(steps, media, body),
            _ => None,
        };
        event.reason = places.iter().find_map(in_body).map(Into::into);
    }
}

/// Not compressed.
fn plain(encoding: &[u8]) -> bool {
    encoding.is_empty() || encoding.trim_ascii().eq_ignore_ascii_case(b"identity")
}
