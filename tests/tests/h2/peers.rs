//! The other ends: a service and a client of Node.js, gRPC's reference implementation for Python, and
//! what the sidecar between them has written down.

use harness::{Process, Sidecar, deps, recorded};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const START: Duration = Duration::from_secs(30);

fn script(name: &str) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("tests/h2").join(name).canonicalize().unwrap()
}

fn node(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script(name));
    command
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command
        .arg(script("grpc_peer.py"))
        .env("PYTHONPATH", deps("grpc").canonicalize().unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Proxies of the machine are not meant for peers on it.
        .env("no_proxy", "*");
    command
}

/// A service and a sidecar in front of it, in a directory of their own.
pub struct World {
    pub service: Process,
    pub sidecar: Sidecar,
    pub direct: String,
    dir: tempfile::TempDir,
}

impl World {
    pub async fn of_node() -> World {
        World::start("origin", node("origin.js"), "origin ready ", &[], &["", ""]).await
    }

    /// With more keys of `journal`, and perhaps another program that starts the sidecar. On a busy machine a
    /// short body may take longer than strict calls are usually held for.
    pub async fn of_node_with(program: &[&str], more: &str) -> World {
        let rest = "relay: {strict_patience: 60s}";
        World::start("origin", node("origin.js"), "origin ready ", program, &[more, rest]).await
    }

    pub async fn of_grpc() -> World {
        World::of_grpc_with(&[], "").await
    }

    pub async fn of_grpc_with(program: &[&str], more: &str) -> World {
        let mut command = python();
        command.arg("server");
        World::start("grpc", command, "grpc ready ", program, &[more, ""]).await
    }

    /// `more`: keys of `journal`, and lines of configuration.
    async fn start(name: &str, command: Command, ready: &str, program: &[&str], more: &[&str; 2]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let service = Process::start(name, command, dir.path());
        let words = service.ready(ready, START).await;
        let direct = format!("127.0.0.1:{}", words["port"]);
        let sidecar = Sidecar::start_under(program, dir.path(), &yaml(&direct, more)).await;
        World { service, sidecar, direct, dir }
    }

    /// In front of a service that somebody else has started.
    pub async fn before(upstream: &str) -> (Sidecar, tempfile::TempDir) {
        World::before_with(upstream, "").await
    }

    /// The same with more lines of configuration.
    pub async fn before_with(upstream: &str, lines: &str) -> (Sidecar, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let yaml = yaml(upstream, &["", lines]);
        (Sidecar::start(dir.path(), &yaml).await, dir)
    }

    pub fn through(&self) -> String {
        self.sidecar.url().strip_prefix("http://").unwrap().to_owned()
    }

    pub fn events(&self) -> Vec<Value> {
        events(self.dir.path())
    }

    pub fn recorded(&self) -> (Vec<Value>, u64) {
        recorded::so_far(&self.dir.path().join("journal"))
    }
}

fn yaml(upstream: &str, [journal, rest]: &[&str; 2]) -> String {
    let audit = "level: request_response, rules: [{match: {paths: ['/strict/**', '/pkg.Strict/*']}, delivery: strict}]";
    format!(
        "service: t\nupstream: http://{upstream}\njournal: {{dir: journal{journal}}}\naudit: {{{audit}}}\n{rest}\n"
    )
}

/// The completed events in a journal in use, in order, where nothing may be lost.
pub fn events(dir: &Path) -> Vec<Value> {
    let (events, lost) = recorded::so_far(&dir.join("journal"));
    assert_eq!(lost, 0);
    events
}

/// What Node's client saw of one of its cases.
pub fn client(address: &str, case: &str) -> Value {
    let mut command = node("client.js");
    command.arg(format!("http://{address}")).arg(case);
    output(command)
}

/// The same, still running.
pub fn start_client(address: &str, case: &str, logs: &Path) -> Process {
    let mut command = node("client.js");
    command.arg(format!("http://{address}")).arg(case);
    Process::start("client", command, logs)
}

pub fn grpc_client(address: &str) -> Value {
    let mut command = python();
    command.arg("client").arg(address);
    output(command)
}

/// What a gRPC client is told of one call each to a strict method and another one.
pub fn grpc_strict(address: &str) -> Value {
    let mut command = python();
    command.arg("strict").arg(address);
    output(command)
}

fn output(mut command: Command) -> Value {
    let output = command.stdin(Stdio::null()).output().expect("node and python3 are needed here");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
