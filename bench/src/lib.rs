//! Sidelog beside its peers, under the same load on the same cores.
//!
//! One core belongs to the subject alone, another to the load and the service behind; rounds are
//! interleaved and medians compared, so that what the machine does meanwhile falls on all alike.
//! Absolute figures of two runs are not comparable, ratios within one run are.

#![allow(clippy::unwrap_used, reason = "a benchmark ends when an assumption breaks, with its place")]

pub mod load;
pub mod process;
pub mod subject;
pub mod table;
