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

/// What a readable record becomes.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A row of `events`.
    Event(Box<EventRow<'a>>),
    /// A row of `open_calls`.
    OpenCall(Box<EventRow<'a>>),
    /// A row of `losses`.
    Loss(LossRow<'a>),
}

impl Parsed<'_> {
    pub fn position(&self) -> Position {
        match self {
            Self::Event(row) | Self::OpenCall(row) => row.position(),
            Self::Loss(row) => Position { producer: row.producer, boot: row.boot, seq: row.seq },
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
    pub user_agent: Cow<'a, str>,
    pub request_id: Cow<'a, str>,
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

    pub outcome: i8,
    pub error: Cow<'a, str>,
    pub reason: Cow<'a, str>,

    pub request_content_type: Cow<'a, str>,
    pub request_bytes: u64,
    pub request_digest: Cow<'a, str>,
    pub request_body: Cow<'a, str>,
    pub request_body_state: Cow<'a, str>,
    pub response_content_type: Cow<'a, str>,
    pub response_bytes: u64,
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
}

/// Reads one record.
pub fn parse<'a>(bytes: &'a [u8], origin: Origin<'a>) -> Result<Parsed<'a>, DeadLetter> {
    if bytes.is_empty() {
        return Err(DeadLetter { reason: DeadReason::Empty, position: None });
    }
    let envelope: Envelope<'a> = match serde_json::from_slice(bytes) {
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
            let row = Box::new(event_row(event, position, origin));
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
        user_agent: http.user_agent,
        request_id: http.request_id,
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
        outcome: number(Outcome::ALL, &event.outcome),
        error: event.error.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        request_content_type: request.content_type,
        request_bytes: request.bytes,
        request_digest: request.digest,
        request_body: request.body,
        request_body_state: request.body_state,
        response_content_type: response.content_type,
        response_bytes: response.bytes,
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
        boot: at.boot,
        first: loss.first,
        last: loss.last,
        reason: loss.reason,
        seq: at.seq,
    }
}
