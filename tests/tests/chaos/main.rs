//! Faults under load: the real sidecar in front of a service that keeps its own ledger, and the two
//! compared afterwards. The ledger is the yardstick, never what clients believe.
//!
//! | here | what fails | what must hold |
//! |---|---|---|
//! | `kill` | the sidecar, by SIGKILL, again and again | no executed call without an event, none twice |
//! | `disk` | the journal's disk: full, failing, slow, gone | losses counted to the event, or 503 and nothing executed |
//! | `broker` | Kafka: refuses, resets, hangs | traffic and memory do not notice; nothing lost, nothing twice |
//! | `consumer` | the consumer, by SIGKILL; its group, by members that come and go or are halted; ClickHouse: refuses, hangs, killed | each record one row, no row twice; traffic does not notice |
//!
//! `make chaos` runs them at length and prints the figures of docs/reliability.md; variables make them
//! longer or shorter (`SIDELOG_KILLS`, `SIDELOG_CONSUMER_KILLS`, `SIDELOG_REBALANCE_SECONDS`,
//! `SIDELOG_HALTS`, `SIDELOG_OUTAGE_SECONDS`, `SIDELOG_RATE` in calls a second).

mod broker;
mod consumer;
mod disk;
mod feed;
mod kill;
mod origin;
mod phases;
mod sidecar;
mod wire;

use harness::{Random, setting};
