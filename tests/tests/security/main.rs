//! The security cases: requests by which a call could slip past the record, be recorded as something
//! else or as somebody else's, or leave a secret behind. Each is run against `sidelog proxy`, with an
//! origin behind it that keeps its own ledger, and compared with what the journal then says.
//!
//! | file | what |
//! |---|---|
//! | `data/security/cases.jsonl` | every case; exact bytes and what must come of them |
//! | [`cases`] | reads it |
//! | [`fixture`] | a sidecar, an origin, a client; the events in the journal |
//! | [`oracle`] | what must hold of any payload, and of a given one |
//! | [`group`] | runs the cases of a group, in data and in code |
//! | [`framing`] [`operations`] [`targets`] [`attribution`] [`redaction`] | the groups, and their cases in code |
//! | [`garden`] [`h2`] | real servers behind the sidecar; HTTP/2, frame by frame |
//! | [`page`] | docs/security.md, from the results |
//! | [`stores`] | no secret in any store: journal, Kafka, ClickHouse, logs, metrics |

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

mod attribution;
mod cases;
mod fixture;
mod framing;
mod garden;
mod group;
mod h2;
mod operations;
mod oracle;
mod page;
mod redaction;
mod stores;
mod targets;

use cases::Group;

/// Cases that cannot hold yet, and why. They are run all the same, and one that holds unexpectedly
/// fails: it is to be taken off the list then. docs/security.md shows them as such.
pub const PENDING: &[(u32, &str)] = &[];

#[test]
fn framing() {
    group::must_hold(Group::Framing);
}

#[test]
fn operations() {
    group::must_hold(Group::Operations);
}

#[test]
fn targets() {
    group::must_hold(Group::Targets);
}

#[test]
fn attribution() {
    group::must_hold(Group::Attribution);
}

#[test]
fn redaction() {
    group::must_hold(Group::Redaction);
}

/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_page_tells_what_was_run() {
    page::must_be_current();
}

#[test]
fn every_shared_case_is_here() {
    cases::must_be_all();
}
