//! Sidelog's sidecar: relays HTTP bytes unchanged and records who did what.

pub mod config;
pub mod extract;
pub mod head;
pub mod policy;
pub mod pseudonym;
pub mod relay;
pub mod capture;
pub mod metrics;
pub mod redact;
pub mod openapi;
pub mod pseudonym;
pub mod spec_match;
