//! Where a record stands: producer, boot, sequence; and the document that carries it there.

use crate::{AuditEvent, VERSION};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use uuid::Uuid;

/// A record's place. `seq` starts at 1 with each `boot` and has no holes: a record that could not
/// be kept uses up its number, and a later [`Loss`] names the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// A journal directory, by the random id made with it.
    pub producer: Uuid,
    /// How many times that directory has been opened for writing; starts at 1.
    pub boot: u64,
    /// 1, 2, 3, … within the boot.
    pub seq: u64,
}

/// A record that names what is missing: `first..=last` of the same producer were given numbers and
/// then not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss<'a> {
    /// Whose numbers they are; absent: the boot of this record. An earlier one where damage was found
    /// when the journal was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u64>,
    pub first: u64,
    pub last: u64,
    /// A bounded set: `journal_full`, `record_too_large`, `io_error`, `corrupt`.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    pub time: Timestamp,
}

/// One Kafka message's value. Exactly one of `event` and `loss` is present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope<'a> {
    /// [`VERSION`].
    pub v: u32,
    pub producer: Uuid,
    pub boot: u64,
    pub seq: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub event: Option<AuditEvent<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss<'a>>,
}

impl Envelope<'_> {
    pub fn position(&self) -> Position {
        Position { producer: self.producer, boot: self.boot, seq: self.seq }
    }
}

/// Which member of the [`Envelope`] a journal record fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Event,
    Loss,
}

/// Joins a journal record (`json`: a serialised [`AuditEvent`] or [`Loss`]) with its position to
/// the JSON of an [`Envelope`], without parsing it again. Appends to `out`.
pub fn stamp(out: &mut Vec<u8>, at: &Position, kind: RecordKind, json: &[u8]) {
    use std::io::Write;
    let member = match kind {
        RecordKind::Event => "event",
        RecordKind::Loss => "loss",
    };
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        r#"{{"v":{VERSION},"producer":"{}","boot":{},"seq":{},"{member}":"#,
        at.producer, at.boot, at.seq
    );
    out.extend_from_slice(json);
    out.push(b'}');
}
