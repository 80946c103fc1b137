//! Refused requests as events: who was turned away, why, and what of the first line could be read.
//!
//! Such an event costs the refused client nothing, so their number is bounded: a token bucket for the
//! process. What does not fit is counted. They are redacted like all others; nothing of a head but its
//! first line is looked at, and none of a body.

use crate::extract::{self, Peer};
use crate::relay::Refusal;
use crate::rules::split_target;
use jiff::Timestamp;
use sidelog_event::{
    AuditEvent, Client, Delivery, Http, Level, MatchKind, Message, Op, Operation, Outcome, Params,
    Redactions, Stage,
};
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Bytes of a method and of a target that are told.
const MAX_METHOD: usize = 32;
const MAX_TARGET: usize = 2048;

/// A token bucket that holds one second's worth, without a lock: what is kept is when the bucket will be
/// full again (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate {
    start: Instant,
    /// Between two tokens; zero: there are none.
    step: u64,
    /// Nanoseconds after `start`.
    full_at: AtomicU64,
}

impl Rate {
    pub fn new(per_second: u32) -> Rate {
        let step = 1_000_000_000u64.checked_div(u64::from(per_second)).unwrap_or(0);
        Rate { start: Instant::now(), step, full_at: AtomicU64::new(0) }
    }

    pub fn admit(&self) -> bool {
        self.admit_at(self.start.elapsed())
    }

    fn admit_at(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let room = now.saturating_add(1_000_000_000);
        let take = |full_at: u64| {
            let next = full_at.max(now).saturating_add(self.step);
            (next <= room).then_some(next)
        };
        self.step > 0 && self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// The event of a refusal, not redacted yet. `received`: what there is of the request's head.
pub fn event<'a>(service: &'a str, peer: &Peer, refusal: Refusal, received: &'a [u8]) -> AuditEvent<'a> {
    let line = FirstLine::read(received);
    let (path, query) = split_target(line.target);
    let address: Cow<'_, str> = peer.address().into();
    AuditEvent {
        event_id: Uuid::now_v7(),
        stage: Stage::Completed,
        time: Timestamp::now(),
        duration_us: None,
        service: service.into(),
        http: Http {
            version: line.version.into(),
            method: line.method.into(),
            effective_method: line.method.into(),
            scheme: peer.scheme().into(),
            host: "".into(),
            path: text(path),
            query: text(query),
            // 0: the connection was closed without one.
            status: Some(refusal.status).filter(|status| *status > 0),
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
            path_params: Params::default(),
            op: Op::Other,
            resource_type: "".into(),
            resource_id: "".into(),
            protocol: "".into(),
            calls: Vec::new(),
            calls_total: 0,
        },
        actor: extract::anonymous(),
        client: Client {
            ip: address.clone(),
            ip_source: peer.source().into(),
            peer_ip: address,
            forwarded: "".into(),
        },
        outcome: Outcome::ClientError,
        error: Some("refused".into()),
        reason: None,
        request: Message::default(),
        response: Message::default(),
        redactions: Redactions::default(),
        level: Level::Metadata,
        delivery: Delivery::Queued,
        policy: "default".into(),
        flags: vec![refusal.reason.into()],
        message: "".into(),
    }
}

/// As much of a request line as can be told apart.
#[derive(Debug, PartialEq, Eq)]
struct FirstLine<'a> {
    method: &'a str,
    target: &'a [u8],
    version: &'a str,
}

impl<'a> FirstLine<'a> {
    fn read(received: &'a [u8]) -> FirstLine<'a> {
        let start = received.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(received.len());
        let rest = received.get(start..).unwrap_or_default();
        let line = rest.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let mut words = line.splitn(2, |b| *b == b' ');
        let method = words.next().filter(|m| m.len() <= MAX_METHOD && m.iter().all(u8::is_ascii_graphic));
        let Some(method) = method.and_then(|m| std::str::from_utf8(m).ok()) else {
            return FirstLine { method: "", target: b"", version: "" };
        };
        // Spaces within a target are a reason to refuse it: it ends before the version, if there is one.
        let rest = words.next().unwrap_or_default();
        let (target, version) = match rest.iter().rposition(|b| *b == b' ') {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
            None => (rest, &b""[..]),
        };
        let version = match version {
            b"HTTP/1.1" => "1.1",
            b"HTTP/1.0" => "1.0",
            b"HTTP/2" => "2",
            _ => "",
        };
        FirstLine { method, target: target.get(..MAX_TARGET).unwrap_or(target), version }
    }
}

/// As `exchange` tells paths, but of bytes nobody has checked.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => percent_encoding::percent_encode(bytes, percent_encoding::CONTROLS).to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(received: &str) -> (String, String, String) {
        let line = FirstLine::read(received.as_bytes());
        (line.method.into(), String::from_utf8_lossy(line.target).into(), line.version.into())
    }

    fn words(method: &str, target: &str, version: &str) -> (String, String, String) {
        (method.into(), target.into(), version.into())
    }

    #[test]
    fn the_first_line_is_told_as_far_as_it_can_be_read() {
        assert_eq!(line("POST /a?b=c HTTP/1.1\r\nHost: a"), words("POST", "/a?b=c", "1.1"));
        assert_eq!(line("\r\nPOST /a HTTP/1.0\nHost: a"), words("POST", "/a", "1.0"));
        assert_eq!(line("POST /a b HTTP/1.1\r\n"), words("POST", "/a b", "1.1"));
        assert_eq!(line("POST /a HTTP/2"), words("POST", "/a", "2"));
        assert_eq!(line("POST /a"), words("POST", "/a", ""));
        assert_eq!(line("POST"), words("POST", "", ""));
        assert_eq!(line("POST /a HTTP/3\r\n"), words("POST", "/a", ""));
        assert_eq!(line(""), words("", "", ""));
        assert_eq!(line("\u{16}\u{3}\u{1} x y"), words("", "", ""));
        assert_eq!(line(&format!("{} /a", "X".repeat(33))), words("", "", ""));
        assert_eq!(line(&format!("GET /{}", "a".repeat(9000))).1.len(), MAX_TARGET);
    }

    #[test]
    fn the_event_says_who_what_and_why() {
        let peer: Peer = "192.0.2.7".parse().unwrap();
        let refusal = Refusal { status: 400, reason: "bare_lf" };
        let event = event("orders", &peer, refusal, b"DELETE /v1/\xff\x01?a=b HTTP/1.1\n");
        assert_eq!(
            (&*event.http.method, &*event.http.path, &*event.http.query),
            ("DELETE", "/v1/%FF%01", "a=b")
        );
        assert_eq!((event.http.status, event.outcome), (Some(400), Outcome::ClientError));
        assert_eq!((event.error.as_deref(), &event.flags[..]), (Some("refused"), &["bare_lf".into()][..]));
        assert_eq!((&*event.client.ip, &*event.client.ip_source), ("192.0.2.7", "peer"));
    }

    #[test]
    fn the_rate_is_kept_and_a_second_of_it_may_come_at_once() {
        let rate = Rate::new(10);
        let burst = |at: Duration| (0..100).filter(|_| rate.admit_at(at)).count();
        assert_eq!(burst(Duration::ZERO), 10);
        assert_eq!(burst(Duration::from_millis(99)), 0);
        assert_eq!(burst(Duration::from_millis(350)), 3);
        assert_eq!(burst(Duration::from_secs(60)), 10);
        assert!(!Rate::new(0).admit());
    }
}
