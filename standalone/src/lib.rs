//! Everything in one process: sidecar, journal, consumer and an embedded ClickHouse.

pub mod engine;
pub mod run;
