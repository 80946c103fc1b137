//! Sidelog beside its peers, under the same load on the same cores.
//!
//! | here | measured |
//! |---|---|
//! | [`load`] [`subject`] [`table`] | the sidecar, beside other proxies |
//! | [`events`] | nothing: makes the events for what follows |
//! | [`ingest`] | the consumer, beside ClickHouse's own Kafka engine and the raw insert |
//! | [`storage`] | bytes on disk and questions, on millions of rows |
//!
//! For the sidecar, one core belongs to the subject alone, another to the load and the service behind; rounds are
//! interleaved and medians compared, so that what the machine does meanwhile falls on all alike.
//! Absolute figures of two runs are not comparable, ratios within one run are.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

pub mod events;
pub mod ingest;
pub mod load;
pub mod process;
pub mod storage;
pub mod subject;
pub mod table;
