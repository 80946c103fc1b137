//! Sidelog beside its peers, under the same load on the same cores.
//!
//! | here | measured |
//! |---|---|
//! | [`proxy`] | the sidecar, beside other proxies: [`subject`] under [`load`], what came out as [`figures`] |
//! | [`goals`] [`report`] | nothing: judge what came out, and tell it |
//! | [`counting`] [`machine`] [`process`] [`resident`] | nothing: what the machine and processes used |
//! | [`document`] [`events`] | nothing: make what the others need |
//! | [`ingest`] | the consumer, beside ClickHouse's own Kafka engine and the raw insert |
//! | [`storage`] | bytes on disk and questions, on millions of rows |
//!
//! For the sidecar, one core belongs to the subject alone, another to the load and the service behind; rounds are
//! interleaved and medians compared, so that what the machine does meanwhile falls on all alike.
//! Absolute figures of two runs are not comparable, ratios within one run are.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

pub mod counting;
pub mod document;
pub mod events;
pub mod figures;
pub mod goals;
pub mod ingest;
pub mod load;
pub mod machine;
pub mod process;
pub mod proxy;
pub mod report;
pub mod resident;
pub mod storage;
pub mod subject;
