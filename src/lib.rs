//! Sidelog's sidecar: relays HTTP bytes unchanged and records who did what.

pub mod config;
pub mod head;
pub mod openapi;
pub mod pseudonym;
pub mod spec_match;
