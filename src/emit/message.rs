//! A journal record as a Kafka message. Pure.

use sidelog_event::{AuditEvent, Loss, Position, RecordKind, stamp};
use sidelog_journal::{Kind, Reason, Record};
use std::borrow::Cow;
use std::time::SystemTime;

/// How much of a record is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// Without bodies: the broker does not take all of it.
    Slim,
    /// Not even that fits: only that it was there. One record must not hold up all others for ever.
    Gone,
}

/// Writes the message over `out`.
pub(super) fn write(record: &Record, form: Form, out: &mut Vec<u8>) {
    out.clear();
    let at = Position { producer: record.producer, boot: record.boot, seq: record.seq };
    let mut loss = |first, last, reason: Reason, time: SystemTime| {
        let time = jiff::Timestamp::try_from(time).unwrap_or_default();
        let loss = Loss { boot: None, first, last, reason: reason.as_str().into(), time };
        // Plain data always serialises.
        stamp(out, &at, RecordKind::Loss, &serde_json::to_vec(&loss).unwrap_or_default());
    };
    match (record.kind, form) {
        (Kind::Loss { first, last, reason, time }, _) => loss(first, last, reason, time),
        (Kind::Data, Form::Gone) => loss(record.seq, record.seq, Reason::TooLarge, record.time),
        (Kind::Data, Form::Slim) => stamp(out, &at, RecordKind::Event, &without_bodies(&record.payload)),
        (Kind::Data, Form::Whole) => stamp(out, &at, RecordKind::Event, &record.payload),
    }
}

/// An event too large for the broker, without its bodies; their digests and sizes stay.
fn without_bodies(payload: &[u8]) -> Cow<'_, [u8]> {
    let Ok(mut event) = serde_json::from_slice::<AuditEvent<'_>>(payload) else { return payload.into() };
    for message in [&mut event.request, &mut event.response] {
        if !message.body.is_empty() {
            message.body = "".into();
            message.body_state = "omitted:too_large".into();
        }
    }
    serde_json::to_vec(&event).map_or(payload.into(), Cow::Owned)
}
