//! The connection's edges: TLS and certificates on both sides, Unix sockets, PROXY headers, addresses told
//! to the service, upgrades, refusals. Real clients where there are any: curl, Python, `openssl s_client`.
//!
//! What a test asks about events it reads from the journal, when the sidecar has stopped.

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

mod addresses;
mod alpn;
mod bounds;
mod connections;
mod refused;
mod resets;
mod secure;
mod sockets;
mod upgrades;
mod world;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const POST: &str = "POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
