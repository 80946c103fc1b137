//! One record's bytes → what becomes of it: a row, or a dead letter. Pure: no I/O, no state.
//!
//! Promises: never panics, whatever the bytes; nothing of a dead letter's content shows in its
//! reason. Refuses to guess: a document of another version, or with a member missing, is a dead
//! letter, not a half-filled row.

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use sidelog_event::{AuditEvent, Envelope, Loss, Position, Stage, VERSION};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};
use uuid::Uuid;

/// Before 2200: what a `DateTime64(3)` and a monthly partition can hold without surprises.
const LAST_MILLISECOND: i64 = 7_258_118_399_999;

/// Where a record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Empty for a journal.
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
}

/// What a readable record becomes. Large, and not meant to be kept: see [`crate::contents`].
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A row of `events`.
    Event(EventRow<'a>),
    /// A row of `open_calls`.
    OpenCall(EventRow<'a>),
    /// A row of `losses`.
    Loss(LossRow<'a>),
}

impl Parsed<'_> {
    pub fn position(&self) -> Position {
        match self {
            Self::Event(row) | Self::OpenCall(row) => row.position(),
            Self::Loss(row) => Position { producer: row.producer, boot: row.told_boot, seq: row.seq },
        }
    }

    /// Milliseconds since 1970 of its `ts` column.
    pub fn millis(&self) -> i64 {
        match self {
            Self::Event(row) | Self::OpenCall(row) => row.ts,
            Self::Loss(row) => row.ts,
        }
    }
}

/// A record that cannot become a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter {
    pub reason: DeadReason,
    /// Its place in the producer's sequence, where that much could be read.
    pub position: Option<Position>,
}

/// Why a record is dead: a bounded set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    Empty,
    NotJson,
    /// JSON, but not the shape of an envelope with exactly one of event and loss.
    NotAnEnvelope,
    /// Another version of the contract.
    Version,
    /// Producer, boot or seq is zero, or a loss names an impossible range.
    Position,
    /// A time that the table cannot hold.
    Time,
}

impl DeadReason {
    pub const ALL: [Self; 6] =
        [Self::Empty, Self::NotJson, Self::NotAnEnvelope, Self::Version, Self::Position, Self::Time];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotJson => "not_json",
            Self::NotAnEnvelope => "not_an_envelope",
            Self::Version => "version",
            Self::Position => "position",
            Self::Time => "time",
        }
    }
}

/// A row of `events` and of `open_calls`. Enumerations are the numbers of their columns.
#[derive(Debug, Clone, PartialEq, Row, Serialize)]
pub struct EventRow<'a> {
    #[serde(with = "clickhouse::serde::uuid")]
    pub event_id: Uuid,
    pub ts: i64,
    pub stage: i8,
    pub duration_us: Option<u64>,
    pub service: Cow<'a, str>,

    pub tenant: Cow<'a, str>,
    pub actor_id: Cow<'a, str>,
    pub actor_name: Cow<'a, str>,
    pub actor_type: Cow<'a, str>,
    pub actor_roles: Vec<Cow<'a, str>>,
    pub actor_source: i8,
    pub actor_verified: bool,
    pub actor_on_behalf_of: Cow<'a, str>,
    pub actor_unverified_reason: Cow<'a, str>,
    pub actor_credential: Cow<'a, str>,

    pub client_ip: Ipv6Addr,
    pub client_ip_source: Cow<'a, str>,
    pub peer_ip: Ipv6Addr,
    pub forwarded: Cow<'a, str>,

    pub method: Cow<'a, str>,
    pub effective_method: Cow<'a, str>,
    pub http_version: Cow<'a, str>,
    pub scheme: Cow<'a, str>,
    pub host: Cow<'a, str>,
    pub path: Cow<'a, str>,
    pub query: Cow<'a, str>,
    pub status: u16,
    pub grpc_status: Option<u16>,
    pub user_agent: Cow<'a, str>,
    pub request_id: Cow<'a, str>,
    pub idempotency_key: Cow<'a, str>,
    pub trace_id: Cow<'a, str>,

    pub operation_match: i8,
    pub operation_id: Cow<'a, str>,
    pub route: Cow<'a, str>,
    pub summary: Cow<'a, str>,
    pub tags: Vec<Cow<'a, str>>,
    pub api_version: Cow<'a, str>,
    pub alternatives: Vec<Cow<'a, str>>,
    pub path_params: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub op: i8,
    pub resource_type: Cow<'a, str>,
    pub resource_id: Cow<'a, str>,
    pub protocol: Cow<'a, str>,
    pub calls: Vec<Cow<'a, str>>,
    pub calls_total: u32,

    pub outcome: i8,
    pub error: Cow<'a, str>,
    pub reason: Cow<'a, str>,

    pub request_content_type: Cow<'a, str>,
    pub request_bytes: u64,
    pub request_messages: Option<u64>,
    pub request_digest: Cow<'a, str>,
    pub request_body: Cow<'a, str>,
    pub request_body_state: Cow<'a, str>,
    pub response_content_type: Cow<'a, str>,
    pub response_bytes: u64,
    pub response_messages: Option<u64>,
    pub response_digest: Cow<'a, str>,
    pub response_body: Cow<'a, str>,
    pub response_body_state: Cow<'a, str>,
    pub redaction_count: u32,
    pub redaction_rules: Vec<Cow<'a, str>>,

    pub level: i8,
    pub delivery: i8,
    pub policy: Cow<'a, str>,
    pub flags: Vec<Cow<'a, str>>,
    pub message: Cow<'a, str>,

    #[serde(with = "clickhouse::serde::uuid")]
    pub producer: Uuid,
    pub boot: u64,
    pub seq: u64,
    pub kafka_topic: Cow<'a, str>,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
}

impl EventRow<'_> {
    pub fn position(&self) -> Position {
        Position { producer: self.producer, boot: self.boot, seq: self.seq }
    }
}

/// A row of `losses`.
#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
pub struct LossRow<'a> {
    pub ts: i64,
    #[serde(with = "clickhouse::serde::uuid")]
    pub producer: Uuid,
    pub boot: u64,
    pub first: u64,
    pub last: u64,
    pub reason: Cow<'a, str>,
    pub seq: u64,
    pub told_boot: u64,
}

/// Reads one record.
pub fn parse<'a>(bytes: &'a [u8], origin: Origin<'a>) -> Result<Parsed<'a>, DeadLetter> {
    if bytes.is_empty() {
        return Err(DeadLetter { reason: DeadReason::Empty, position: None });
    }
    // Looking at all of it at once is quicker than at one string after the other.
    let read = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    let envelope: Envelope<'a> = match read {
        Ok(envelope) => envelope,
        Err(error) => return Err(autopsy(bytes, &error)),
    };
    let position = envelope.position();
    let dead = |reason| Err(DeadLetter { reason, position: Some(position) });
    if envelope.v != VERSION {
        return dead(DeadReason::Version);
    }
    if !plausible(&position) {
        return Err(DeadLetter { reason: DeadReason::Position, position: None });
    }
    match (envelope.event, envelope.loss) {
        (Some(event), None) if !storable(event.time) => dead(DeadReason::Time),
        (Some(event), None) => {
            let stage = event.stage;
            let row = event_row(event, position, origin);
            Ok(if stage == Stage::Started { Parsed::OpenCall(row) } else { Parsed::Event(row) })
        }
        (None, Some(loss)) if !storable(loss.time) => dead(DeadReason::Time),
        (None, Some(loss)) if loss.first == 0 || loss.first > loss.last => dead(DeadReason::Position),
        (None, Some(loss)) => Ok(Parsed::Loss(loss_row(loss, position))),
        _ => dead(DeadReason::NotAnEnvelope),
    }
}

fn plausible(position: &Position) -> bool {
    !position.producer.is_nil() && position.boot > 0 && position.seq > 0
}

fn storable(time: jiff::Timestamp) -> bool {
    (0..=LAST_MILLISECOND).contains(&time.as_millisecond())
}

/// Says why a record is not an [`Envelope`], and where it stood if that much is readable.
fn autopsy(bytes: &[u8], error: &serde_json::Error) -> DeadLetter {
    #[derive(Deserialize)]
    struct Head {
        v: u32,
        producer: Uuid,
        boot: u64,
        seq: u64,
    }
    if error.is_syntax() || error.is_eof() {
        return DeadLetter { reason: DeadReason::NotJson, position: None };
    }
    match serde_json::from_slice::<Head>(bytes) {
        Ok(Head { v, producer, boot, seq }) => {
            let position = Position { producer, boot, seq };
            let reason = if v == VERSION { DeadReason::NotAnEnvelope } else { DeadReason::Version };
            DeadLetter { reason, position: Some(position).filter(plausible) }
        }
        Err(error) if error.is_syntax() || error.is_eof() => {
            DeadLetter { reason: DeadReason::NotJson, position: None }
        }
        Err(_) => DeadLetter { reason: DeadReason::NotAnEnvelope, position: None },
    }
}

/// The number of a word in its `Enum8` column: its place in the list, from 1.
fn number<T: PartialEq>(all: &[T], word: &T) -> i8 {
    all.iter().position(|w| w == word).map_or(0, |at| at as i8 + 1)
}

/// An IPv4 address becomes `::ffff:a.b.c.d`, as ClickHouse does; what is no address becomes `::`.
fn ipv6(text: &str) -> Ipv6Addr {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.to_ipv6_mapped(),
        Ok(IpAddr::V6(v6)) => v6,
        Err(_) => Ipv6Addr::UNSPECIFIED,
    }
}

fn event_row<'a>(event: AuditEvent<'a>, at: Position, origin: Origin<'a>) -> EventRow<'a> {
    use sidelog_event::{ActorSource, Delivery, Level, MatchKind, Op, Outcome};
    let AuditEvent { http, operation, actor, client, request, response, redactions, .. } = event;
    EventRow {
        event_id: event.event_id,
        ts: event.time.as_millisecond(),
        stage: number(Stage::ALL, &event.stage),
        duration_us: event.duration_us,
        service: event.service,
        tenant: actor.tenant,
        actor_id: actor.id,
        actor_name: actor.name,
        actor_type: actor.kind,
        actor_roles: actor.roles,
        actor_source: number(ActorSource::ALL, &actor.source),
        actor_verified: actor.verified,
        actor_on_behalf_of: actor.on_behalf_of,
        actor_unverified_reason: actor.unverified_reason,
        actor_credential: actor.credential,
        client_ip: ipv6(&client.ip),
        client_ip_source: client.ip_source,
        peer_ip: ipv6(&client.peer_ip),
        forwarded: client.forwarded,
        method: http.method,
        effective_method: http.effective_method,
        http_version: http.version,
        scheme: http.scheme,
        host: http.host,
        path: http.path,
        query: http.query,
        status: http.status.unwrap_or(0),
        grpc_status: http.grpc_status,
        user_agent: http.user_agent,
        request_id: http.request_id,
        idempotency_key: http.idempotency_key,
        trace_id: http.trace_id,
        operation_match: number(MatchKind::ALL, &operation.matched),
        operation_id: operation.id,
        route: operation.route,
        summary: operation.summary,
        tags: operation.tags,
        api_version: operation.api_version,
        alternatives: operation.alternatives,
        path_params: operation.path_params.0,
        op: number(Op::ALL, &operation.op),
        resource_type: operation.resource_type,
        resource_id: operation.resource_id,
        protocol: operation.protocol,
        calls: operation.calls,
        calls_total: operation.calls_total,
        outcome: number(Outcome::ALL, &event.outcome),
        error: event.error.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        request_content_type: request.content_type,
        request_bytes: request.bytes,
        request_messages: request.messages,
        request_digest: request.digest,
        request_body: request.body,
        request_body_state: request.body_state,
        response_content_type: response.content_type,
        response_bytes: response.bytes,
        response_messages: response.messages,
        response_digest: response.digest,
        response_body: response.body,
        response_body_state: response.body_state,
        redaction_count: redactions.count,
        redaction_rules: redactions.rules,
        level: number(Level::ALL, &event.level),
        delivery: number(Delivery::ALL, &event.delivery),
        policy: event.policy,
        flags: event.flags,
        message: event.message,
        producer: at.producer,
        boot: at.boot,
        seq: at.seq,
        kafka_topic: Cow::Borrowed(origin.topic),
        kafka_partition: origin.partition,
        kafka_offset: origin.offset,
    }
}

fn loss_row(loss: Loss<'_>, at: Position) -> LossRow<'_> {
    LossRow {
        ts: loss.time.as_millisecond(),
        producer: at.producer,
        boot: loss.boot.unwrap_or(at.boot),
        first: loss.first,
        last: loss.last,
        reason: loss.reason,
        seq: at.seq,
        told_boot: at.boot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin<'_> = Origin { topic: "audit.events", partition: 3, offset: 41 };
    const ID: &str = "01900000-0000-7000-8000-000000000001";

    const EVENT: &str = r#"{"event_id":"01900000-0000-7000-8000-0000000000aa","stage":"completed",
        "time":"2026-11-22T20:00:00.123456789Z","duration_us":1500,"service":"orders",
        "http":{"version":"1.1","method":"POST","effective_method":"DELETE","scheme":"https","host":"h",
        "path":"/v1/s/a%2Fb","query":"q=\"1\"","status":403,"grpc_status":7,"user_agent":"ua","request_id":"rid","idempotency_key":"ik","trace_id":"t"},
        "operation":{"match":"ambiguous","id":"del","route":"/v1/s/{n}","summary":"s","tags":["a"],
        "api_version":"2","alternatives":["GET /x"],"path_params":{"n":"a/b"},"op":"delete",
        "resource_type":"secret","resource_id":"a/b","protocol":"jsonrpc","calls":["a.b"],"calls_total":2},
        "actor":{"id":"u1","name":"Zoë","type":"user","tenant":"acme","roles":["r1","r2"],"source":"mtls",
        "verified":true,"on_behalf_of":"bob","unverified_reason":"","credential":"fp"},
        "client":{"ip":"203.0.113.7","ip_source":"x-forwarded-for","peer_ip":"::1","forwarded":"203.0.113.7"},
        "outcome":"denied","error":"timeout","reason":"ticket 7",
        "request":{"content_type":"application/json","bytes":9,"messages":1,"digest":"d","body":"{\"a\":\"ü\"}","body_state":"complete"},
        "response":{"bytes":12,"body_state":"omitted:level"},
        "redactions":{"count":2,"rules":["key:password"]},
        "level":"request","delivery":"strict","policy":"f.yaml:3","flags":["early_response"],"message":"m",
        "a_field_of_tomorrow":{"x":[1]}}"#;

    fn envelope(member: &str) -> String {
        format!(r#"{{"v":1,"producer":"{ID}","boot":2,"seq":9,{member}}}"#)
    }

    fn dead(text: &[u8]) -> (DeadReason, bool) {
        let dead = parse(text, ORIGIN).unwrap_err();
        (dead.reason, dead.position.is_some())
    }

    #[test]
    fn an_event_becomes_a_row() {
        let text = envelope(&format!(r#""event":{EVENT}"#));
        let Ok(Parsed::Event(row)) = parse(text.as_bytes(), ORIGIN) else { panic!("not an event") };
        let json = serde_json::to_value(&row).unwrap();
        let expected = r#"{
            "event_id": "01900000-0000-7000-8000-0000000000aa", "ts": 1795377600123, "stage": 2,
            "duration_us": 1500, "service": "orders", "tenant": "acme", "actor_id": "u1", "actor_name": "Zoë",
            "actor_type": "user", "actor_roles": ["r1", "r2"], "actor_source": 2, "actor_verified": true, "actor_on_behalf_of": "bob",
            "actor_unverified_reason": "", "actor_credential": "fp", "client_ip": "::ffff:203.0.113.7",
            "client_ip_source": "x-forwarded-for", "peer_ip": "::1", "forwarded": "203.0.113.7",
            "method": "POST", "effective_method": "DELETE", "http_version": "1.1", "scheme": "https",
            "host": "h", "path": "/v1/s/a%2Fb", "query": "q=\"1\"", "status": 403, "grpc_status": 7, "user_agent": "ua",
            "request_id": "rid", "idempotency_key": "ik", "trace_id": "t", "operation_match": 2, "operation_id": "del",
            "route": "/v1/s/{n}", "summary": "s", "tags": ["a"], "api_version": "2",
            "alternatives": ["GET /x"], "path_params": [["n", "a/b"]], "op": 3, "resource_type": "secret",
            "resource_id": "a/b", "protocol": "jsonrpc", "calls": ["a.b"], "calls_total": 2, "outcome": 2, "error": "timeout", "reason": "ticket 7",
            "request_content_type": "application/json", "request_bytes": 9, "request_messages": 1, "request_digest": "d",
            "request_body": "{\"a\":\"ü\"}", "request_body_state": "complete", "response_content_type": "",
            "response_bytes": 12, "response_messages": null, "response_digest": "", "response_body": "",
            "response_body_state": "omitted:level", "redaction_count": 2, "redaction_rules": ["key:password"],
            "level": 3, "delivery": 3, "policy": "f.yaml:3", "flags": ["early_response"], "message": "m",
            "producer": "01900000-0000-7000-8000-000000000001", "boot": 2, "seq": 9, "kafka_topic": "audit.events", "kafka_partition": 3,
            "kafka_offset": 41
        }"#;
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(json, expected);
        let columns = <EventRow<'_> as Row>::COLUMN_NAMES;
        assert_eq!(columns.len(), expected.as_object().unwrap().len(), "a column has no expectation");
    }

    #[test]
    fn stages_and_losses_go_where_they_belong() {
        let started = envelope(&format!(r#""event":{}"#, EVENT.replace("\"completed\"", "\"started\"")));
        assert!(matches!(parse(started.as_bytes(), ORIGIN), Ok(Parsed::OpenCall(_))));
        let orphaned = envelope(&format!(r#""event":{}"#, EVENT.replace("\"completed\"", "\"orphaned\"")));
        assert!(matches!(parse(orphaned.as_bytes(), ORIGIN), Ok(Parsed::Event(row)) if row.stage == 3));
        let loss =
            envelope(r#""loss":{"first":5,"last":8,"reason":"journal_full","time":"2026-11-22T20:00:00Z"}"#);
        let Ok(Parsed::Loss(row)) = parse(loss.as_bytes(), ORIGIN) else { panic!("not a loss") };
        assert_eq!((row.boot, row.first, row.last, &*row.reason, row.seq), (2, 5, 8, "journal_full", 9));
        let earlier = loss.replace("\"first\"", "\"boot\":1,\"first\"");
        assert!(
            matches!(parse(earlier.as_bytes(), ORIGIN), Ok(Parsed::Loss(row)) if row.boot == 1 && row.told_boot > 1)
        );
    }

    #[test]
    fn addresses_that_are_none_do_not_cost_the_event() {
        let text = envelope(&format!(
            r#""event":{}"#,
            EVENT.replace("203.0.113.7\",\"ip_source", "unix:\",\"ip_source")
        ));
        let Ok(Parsed::Event(row)) = parse(text.as_bytes(), ORIGIN) else { panic!("not an event") };
        assert_eq!(row.client_ip, Ipv6Addr::UNSPECIFIED);
    }

    #[test]
    fn what_cannot_be_read_says_why_in_one_word() {
        use DeadReason::{Empty, NotAnEnvelope, NotJson, Position, Time, Version};
        let event = format!(r#""event":{EVENT}"#);
        let whole = envelope(&event);
        let loss = |first: u64, last: u64, time: &str| {
            let loss =
                format!(r#""loss":{{"first":{first},"last":{last},"reason":"io_error","time":"{time}"}}"#);
            envelope(&loss)
        };
        let time = "2026-11-22T20:00:00Z";
        let cases: Vec<(String, DeadReason, bool)> = vec![
            (String::new(), Empty, false),
            ("\0\0\0".into(), NotJson, false),
            ("null".into(), NotAnEnvelope, false),
            ("[]".into(), NotAnEnvelope, false),
            ("{}".into(), NotAnEnvelope, false),
            ("[".repeat(100_000), NotAnEnvelope, false),
            (whole.strip_suffix('}').unwrap().into(), NotJson, false),
            (format!("{whole}{whole}"), NotJson, false),
            (envelope("\"x\":1"), NotAnEnvelope, true),
            (
                envelope(&format!(
                    "{event},\"loss\":{{\"first\":1,\"last\":1,\"reason\":\"\",\"time\":\"{time}\"}}"
                )),
                NotAnEnvelope,
                true,
            ),
            (whole.replace("\"v\":1", "\"v\":2"), Version, true),
            (whole.replace("\"v\":1", "\"v\":2").replace("\"stage\"", "\"phase\""), Version, true),
            (whole.replace("\"v\":1", "\"v\":-1"), NotAnEnvelope, false),
            (whole.replace("\"completed\"", "\"dreamt\""), NotAnEnvelope, true),
            (whole.replace("\"status\":403", "\"status\":70000"), NotAnEnvelope, true),
            (whole.replace("\"seq\":9", "\"seq\":9,\"seq\":10"), NotAnEnvelope, false),
            (whole.replace("\"seq\":9", "\"seq\":0"), Position, false),
            (whole.replace("\"boot\":2", "\"boot\":0"), Position, false),
            (whole.replace(ID, "00000000-0000-0000-0000-000000000000"), Position, false),
            (whole.replace("\"seq\":9", "\"seq\":18446744073709551616"), NotAnEnvelope, false),
            (whole.replace("2026-11-22T20", "1969-11-22T20"), Time, true),
            (whole.replace("2026-11-22T20", "2200-01-01T20"), Time, true),
            (whole.replace("2026-11-22T20", "yesterday"), NotAnEnvelope, true),
            (loss(0, 4, time), Position, true),
            (loss(5, 4, time), Position, true),
            (loss(1, 4, "1960-01-01T00:00:00Z"), Time, true),
        ];
        for (text, reason, placed) in cases {
            let shown = text.get(..text.len().min(150)).unwrap_or("…");
            assert_eq!(dead(text.as_bytes()), (reason, placed), "{shown}");
        }
        // Not UTF-8, within a string.
        let mut bytes = whole.clone().into_bytes();
        let at = whole.find("orders").unwrap();
        bytes[at] = 0xff;
        assert_eq!(dead(&bytes).0, NotJson);
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_it_panic() {
        let whole = envelope(&format!(r#""event":{EVENT}"#)).into_bytes();
        for end in 0..whole.len() {
            assert!(parse(&whole[..end], ORIGIN).is_err());
        }
        for at in 0..whole.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let _ = parse(&bytes, ORIGIN);
            }
        }
    }
}
