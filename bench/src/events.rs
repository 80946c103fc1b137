//! Synthetic audit events in the shape that sidecars write: the same seed gives the same bytes.
//!
//! Three services with real OpenAPI documents, a dozen sidecars or more, 200 tenants of very different
//! size, some 12,000 people and machines, bodies of 300 to 700 bytes, over three months. What is random in
//! real events is random here: ids, digests, traces. So what is measured on them (time to parse, bytes
//! on disk) can be expected of real ones; what a rule would have masked stands there masked.

mod body;
mod random;
mod world;

use crate::events::body::Body;
use crate::events::random::Random;
use crate::events::world::{Call, World};
use sidelog::extract;
use sidelog_event::{
    Actor, ActorSource, AuditEvent, Client, Delivery, Http, Level, MatchKind, Message, Op, Operation, Params,
    Position, RecordKind, Redactions, Stage, stamp,
};
use std::borrow::Cow;
use uuid::Uuid;

/// 2026-08-01T00:00:00Z.
pub const START: i64 = 1_785_542_400_000;
/// Three months.
pub const SPAN: i64 = 92 * 86_400_000;

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub events: u64,
    pub seed: u64,
    /// Sidecars: one Kafka key each.
    pub producers: u32,
    /// Milliseconds from the first to the last, from [`START`] on.
    pub span: i64,
    /// Times in no order, so that each batch spans all months; otherwise as they passed.
    pub mixed: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { events: 1_000_000, seed: 1, producers: 12, span: SPAN, mixed: false }
    }
}

/// A record as it goes to Kafka, but for its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub at: Position,
    pub millis: i64,
}

/// Makes one event after the other.
pub struct Events {
    plan: Plan,
    world: World,
    random: Random,
    /// Numbers given, by producer.
    seqs: Vec<u64>,
    made: u64,
    inner: Vec<u8>,
}

impl Events {
    pub fn new(plan: Plan) -> Events {
        let world = World::new(plan.seed);
        let seqs = vec![0; plan.producers as usize];
        Events { plan, world, random: Random::new(plan.seed), seqs, made: 0, inner: Vec::new() }
    }

    /// Appends the next event's envelope to `out`; None: all are made.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Option<Made> {
        if self.made == self.plan.events {
            return None;
        }
        let random = &mut self.random;
        let millis = START
            + match self.plan.mixed {
                true => random.below(self.plan.span as u64) as i64,
                // Sidecars' clocks and journals differ by moments.
                false => {
                    (self.made as i128 * i128::from(self.plan.span) / i128::from(self.plan.events)) as i64
                        + random.below(2000) as i64
                }
            };
        self.made += 1;
        let producer = random.below(self.seqs.len() as u64) as usize;
        let seq = self.seqs.get_mut(producer)?;
        *seq += 1;
        let at = Position { producer: producer_id(producer), boot: 1, seq: *seq };
        let call = self.world.call(random, producer);
        self.inner.clear();
        // Plain data always serialises.
        serde_json::to_writer(&mut self.inner, &event(random, &call, millis)).unwrap();
        stamp(out, &at, RecordKind::Event, &self.inner);
        Some(Made { at, millis })
    }
}

fn producer_id(number: usize) -> Uuid {
    Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0000 + (number as u128) * 0x1_0001)
}

fn event<'a>(random: &mut Random, call: &'a Call<'a>, millis: i64) -> AuditEvent<'a> {
    let operation = call.operation;
    let params = Params(call.params.iter().map(|(n, v)| (Cow::from(*n), Cow::from(v.as_str()))).collect());
    let resource = extract::resource(&operation.method, Some(&operation.route), &params);
    let (op, kind, mut id) = (resource.op, resource.kind.into_owned(), resource.id.into_owned());
    let status = status(random, op);
    let created = op == Op::Create && status < 300;
    if created {
        id = call.fresh.clone();
    }
    let outcome = extract::outcome(Some(status), None);
    let (request, response) = messages(random, call, op, status);
    let masked = request.body.contains("[redacted]");
    let person = call.person;
    let mut event = AuditEvent {
        event_id: uuid::Builder::from_unix_timestamp_millis(millis as u64, &random.bytes()).into_uuid(),
        stage: Stage::Completed,
        time: jiff::Timestamp::from_millisecond(millis).unwrap()
            + jiff::SignedDuration::from_micros(random.below(1000) as i64),
        duration_us: Some(random.latency()),
        service: call.service.into(),
        http: Http {
            version: if person.machine { "2".into() } else { "1.1".into() },
            method: operation.method.as_str().into(),
            effective_method: operation.method.as_str().into(),
            scheme: "http".into(),
            host: call.host.into(),
            path: call.path.as_str().into(),
            query: if random.one_in(12) { "dry_run=false&source=console".into() } else { "".into() },
            status: Some(status),
            grpc_status: None,
            user_agent: person.agent.as_str().into(),
            request_id: if random.one_in(2) { random.uuid().to_string().into() } else { "".into() },
            idempotency_key: if random.one_in(20) { random.uuid().to_string().into() } else { "".into() },
            trace_id: if random.one_in(3) {
                format!("{:032x}", random.uuid().as_u128()).into()
            } else {
                "".into()
            },
        },
        operation: Operation {
            matched: MatchKind::Matched,
            id: operation.operation_id.as_deref().unwrap_or_default().into(),
            route: operation.route.as_str().into(),
            summary: operation.summary.as_str().into(),
            tags: operation.tags.iter().map(|t| t.as_str().into()).collect(),
            api_version: operation.api_version.as_str().into(),
            alternatives: vec![],
            path_params: params,
            op,
            resource_type: kind.into(),
            resource_id: id.into(),
            protocol: "".into(),
            calls: vec![],
            calls_total: 0,
        },
        actor: Actor {
            id: person.id.as_str().into(),
            name: person.name.as_str().into(),
            kind: if person.machine { "service".into() } else { "user".into() },
            tenant: call.tenant.into(),
            roles: person.roles.iter().map(|r| Cow::from(*r)).collect(),
            source: if person.machine { ActorSource::Mtls } else { ActorSource::VerifiedJwt },
            verified: true,
            on_behalf_of: "".into(),
            unverified_reason: "".into(),
            credential: person.credential(millis).into(),
        },
        client: Client {
            ip: person.ip.as_str().into(),
            ip_source: "x-forwarded-for".into(),
            peer_ip: call.peer.into(),
            forwarded: person.ip.as_str().into(),
        },
        outcome,
        error: None,
        reason: random.one_in(25).then(|| format!("ticket OPS-{}", random.below(9000)).into()),
        request,
        response,
        redactions: match masked {
            true => Redactions { count: 1, rules: vec!["key:password".into()] },
            false => Redactions::default(),
        },
        level: Level::Request,
        delivery: Delivery::Written,
        policy: "default".into(),
        flags: vec![],
        message: "".into(),
    };
    event.message = extract::message(&event.actor, &event.operation, &event.http, event.outcome).into();
    event
}

/// One in ten goes wrong, as it does.
fn status(random: &mut Random, op: Op) -> u16 {
    match random.below(1000) {
        0..=39 => 403,
        40..=49 => 401,
        50..=59 => 400,
        60..=74 => 404,
        75..=84 => 409,
        85..=92 => 422,
        93..=96 => 500,
        97..=99 => 503,
        _ if op == Op::Create => 201,
        _ if op == Op::Delete => 204,
        _ => 200,
    }
}

/// Both bodies as the event tells them: the request's text, of the answer only size and digest.
fn messages<'a>(random: &mut Random, call: &Call<'_>, op: Op, status: u16) -> (Message<'a>, Message<'a>) {
    let request = match op {
        Op::Delete | Op::Read => Message { body_state: "none".into(), ..Message::default() },
        _ => {
            let body = Body { random, call }.text();
            Message {
                content_type: "application/json".into(),
                bytes: body.len() as u64,
                messages: None,
                digest: digest(random).into(),
                body: body.into(),
                body_state: "complete".into(),
            }
        }
    };
    let response = match status {
        204 => Message { body_state: "none".into(), ..Message::default() },
        _ => Message {
            content_type: "application/json".into(),
            bytes: 40 + random.below(700),
            messages: None,
            digest: digest(random).into(),
            body: "".into(),
            body_state: "omitted:level".into(),
        },
    };
    (request, response)
}

/// Of a keyed digest nothing can be guessed.
fn digest(random: &mut Random) -> String {
    format!("hmac-sha256-128:c1d2a47c:{:016x}{:016x}", random.next(), random.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelog_event::Envelope;
    use std::collections::{BTreeMap, BTreeSet};

    fn all(plan: Plan) -> Vec<u8> {
        let (mut events, mut out) = (Events::new(plan), Vec::new());
        while events.next(&mut out).is_some() {
            out.push(b'\n');
        }
        out
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let plan = Plan { events: 500, ..Plan::default() };
        assert_eq!(all(plan), all(plan));
        assert_ne!(all(plan), all(Plan { seed: 2, ..plan }));
    }

    #[test]
    fn events_are_what_a_consumer_reads_without_holes_over_three_months() {
        for mixed in [false, true] {
            let bytes = all(Plan { events: 5000, mixed, ..Plan::default() });
            let mut next: BTreeMap<Uuid, u64> = BTreeMap::new();
            let (mut operations, mut tenants, mut months) =
                (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            let (mut bodies, mut sum) = (0, 0);
            for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                let envelope: Envelope<'_> = serde_json::from_slice(line).unwrap();
                let seq = next.entry(envelope.producer).or_default();
                *seq += 1;
                assert_eq!(envelope.seq, *seq);
                let event = envelope.event.unwrap();
                months.insert(event.time.to_zoned(jiff::tz::TimeZone::UTC).month());
                operations.insert(event.operation.id.into_owned());
                tenants.insert(event.actor.tenant.into_owned());
                if !event.request.body.is_empty() {
                    let body = &*event.request.body;
                    serde_json::from_str::<serde_json::Value>(body).unwrap();
                    assert!((300..=700).contains(&body.len()), "{} bytes: {body}", body.len());
                    (bodies, sum) = (bodies + 1, sum + body.len());
                }
            }
            assert_eq!((next.len(), months.len()), (12, 3));
            assert!(operations.len() > 15 && tenants.len() > 100, "{operations:?} {}", tenants.len());
            assert!((400..600).contains(&(sum / bodies)), "{} bytes on average", sum / bodies);
        }
    }
}
