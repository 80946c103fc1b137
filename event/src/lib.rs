//! The audit event, version 1: what the sidecar writes, Kafka carries and the consumer stores.
//!
//! This crate is the contract and nothing else: plain data, serde and JSON Schema, no I/O.
//! Everything here has already been redacted when it leaves the sidecar; the type that proves so
//! (`Redacted`) lives in the sidecar's `redact.rs`, the only place that can make one.
//!
//! Two layers:
//! - [`AuditEvent`]: one call, as told by one sidecar.
//! - [`Envelope`]: an event (or a [`Loss`]) at its [`Position`] in the producer's sequence. This is
//!   the JSON document of a Kafka message. The journal stores the inner JSON and the position
//!   apart; [`stamp`] joins them.

mod event;
mod position;

pub use event::*;
pub use position::*;

/// The version written into every envelope as `v`. Readers accept any document with this number
/// and ignore fields they do not know; a change that old readers would misread gets a new number.
pub const VERSION: u32 = 1;
