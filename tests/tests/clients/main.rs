//! Clients as people use them, unmodified: each talks to a service directly, through the sidecar and through
//! the sidecar with TLS, sees the same, and each call that may change something has one true event.
//!
//! A client that is not installed fails its test. Left out, with a line that says so, is what
//! `scripts/deps.sh clients` cannot bring to a system: Chromium where it is not Linux on x86-64.

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

mod calls;
mod sessions;
mod world;
