//! Envelopes from Kafka (or a journal) into ClickHouse, each exactly once.
//!
//! One batch, end to end: a [`source`] hands over a [`source::Batch`]; [`contents`] makes blocks
//! of its records, row by row ([`transform`]); [`dedup`] drops what is stored already, asking the
//! [`store`] where it does not know; the rows go in, one insert per table and month; then the source
//! commits. What cannot be read becomes a dead letter; what never came becomes a row of `losses`.
//! [`pipeline::run`] is that loop.
//!
//! Crash anywhere: the batch is read again, and what had been stored is recognised by its
//! `(producer, boot, seq)`.

pub mod access;
pub mod archive;
pub mod contents;
pub mod dedup;
pub mod erase;
pub mod metrics;
pub mod migrate;
pub mod mutations;
pub mod native;
pub mod pipeline;
pub mod ranges;
pub mod retention;
pub mod serve;
pub mod source;
pub mod store;
pub mod transform;
pub mod verify;
