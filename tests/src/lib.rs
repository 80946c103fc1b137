//! What the end-to-end tests stand on: real services, the project's own binaries, and ways to ask
//! both what they know.
//!
//! Promises: every process started here dies with the test, however the test ends; every port is
//! chosen by the operating system; every file lies in a temporary directory of the test's own; when
//! a test fails, the last lines of each process it started are printed.
//!
//! Refuses: to fetch or build anything (`make test` does), and to know what is inside Sidelog: it
//! talks to the binaries as a user does, by files, HTTP and SQL.
//!
//! | here | what |
//! |---|---|
//! | [`Kafka`] [`Bao`] [`Kinto`] | unmodified services, installed by `scripts/deps.sh` |
//! | [`Engine`] [`Sidecar`] [`Consumer`] [`Standalone`] | the project's binaries |
//! | [`binary`] | where one of them lies, to be run in some other way |
//! | [`Pki`] | a certificate authority and what it issues |
//! | [`deps`] | where an installed thing lies |
//! | [`Chain`] | all of them in a row: OpenBao, sidecar, Kafka, consumer, ClickHouse |
//! | [`load`] | many mixed calls to OpenBao by many clients |
//! | [`clients`] | the same call again and again, at a pace, and what came back |
//! | [`recorded`] | the events in a journal, and the digests in them |
//! | [`Random`] [`setting`] | seeds and lengths of runs, from the environment |
//! | [`Canary`] | a secret, and whether a trace of it is to be found in files or text |

mod bao;
mod canary;
mod chain;
pub mod clients;
mod kafka;
mod kinto;
pub mod load;
pub mod origin;
mod own;
mod pki;
mod port;
mod process;
mod random;
pub mod recorded;
mod sql;
mod wait;

pub use bao::{AuditedCall, Bao};
pub use canary::Canary;
pub use chain::Chain;
pub use kafka::Kafka;
pub use kinto::Kinto;
pub use own::{Consumer, Engine, Sidecar, Standalone, binary};
pub use pki::Pki;
pub use port::Port;
pub use process::{Process, descendants, is_alive};
pub use random::{Random, setting};
pub use sql::Sql;
pub use wait::{wait_for, wait_until};

use std::path::PathBuf;

/// Where `scripts/deps.sh` put `item`.
pub fn deps(item: &str) -> PathBuf {
    // As cargo says now, not as it said when this was built: worktrees may share a target directory.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let path = PathBuf::from(package).join("../.deps").join(item);
    assert!(path.exists(), "{item} is not installed: run `make test`, or scripts/deps.sh {item}");
    path
}

/// A new temporary directory.
fn temp_dir(prefix: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("sidelog-{prefix}-")).tempdir().unwrap()
}
