//! Heavy load: many calls that break off everywhere, restarts under load, bodies of any size, idle
//! connections by the thousand. The yardstick is the service's own ledger, never what clients believe.
//!
//! | here | what is done | what must hold |
//! |---|---|---|
//! | `aborts` `aborts_h2` | clients and service break off at random points; nobody listens for moments | each executed call has one event with its true end, and no status that nobody said |
//! | `drain` | SIGTERM under load, again and again, on one journal | no answer cut off, no call executed and not answered; no event lost or doubled |
//! | `large` | bodies both ways beside open event streams | constant memory; the digest of the whole body |
//! | `idle` | connections that say nothing | memory per connection, and that it is given back |
//! | `slow_reader` | a client that does not read its answer | little is buffered for it |
//! | `document` | a document of ten megabytes is read | it is not what stays resident |
//!
//! `make stress` runs them at length and prints the figures of docs/traffic.md; `SIDELOG_CALLS`,
//! `SIDELOG_TERMS`, `SIDELOG_MIB` and `SIDELOG_IDLE` make them longer or shorter, `SIDELOG_BINARY` names
//! another build of the sidecar.

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

mod aborts;
mod aborts_h2;
mod client;
mod document;
mod drain;
mod idle;
mod judge;
mod large;
mod message;
mod origin;
mod plan;
mod sidecar;
mod slow_reader;
