//! Sidelog's sidecar: relays HTTP bytes unchanged and records who did what.
//!
//! ARCHITECTURE.md follows one request through these modules.

pub mod accept;
pub mod admin;
pub mod auditor;
pub mod capture;
pub mod check;
pub mod config;
pub mod emit;
pub mod exchange;
pub mod exit;
pub mod explain;
pub mod extract;
pub mod head;
pub mod journal_cmd;
pub mod jwks;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod openapi;
pub mod policy;
pub mod proxy;
pub mod proxy_protocol;
pub mod pseudonym;
pub mod redact;
pub mod refusals;
pub mod relay;
pub mod reload;
pub mod rules;
pub mod signals;
pub mod sources;
pub mod spec_match;
pub mod tide;
pub mod tls;
mod unsent;
pub mod upstream;
