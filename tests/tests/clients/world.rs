//! A service, a sidecar before it without TLS and one with, and programs that are run against all three.

use harness::{Pki, Process, Sidecar, deps, recorded, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// How a client gets to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    Plain,
    Tls,
}

pub const EVERY_WAY: &[Way] = &[Way::Direct, Way::Plain, Way::Tls];

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::Plain => "plain",
            Way::Tls => "tls",
        }
    }
}

/// A service and its two sidecars.
pub struct Place {
    direct: String,
    plain: Sidecar,
    tls: Sidecar,
    dir: tempfile::TempDir,
}

impl Place {
    /// `upstream`: address and port. `http2`: that is what it speaks.
    pub async fn before(upstream: &str, http2: bool) -> Place {
        let dir = tempfile::tempdir().unwrap();
        Pki::new(dir.path(), "own").issue_server("server");
        let file = |name: &str| dir.path().join(name);
        let speaks = if http2 { "upstream_http2: on\n" } else { "" };
        let yaml = format!(
            "service: clients\nupstream: http://{upstream}\n{speaks}journal: {{dir: journal}}\n\
             redact: {{pseudonym_key_file: redact.key}}\naudit: {{level: request}}\n"
        );
        let tls =
            format!("tls: {{cert_file: {:?}, key_file: {:?}}}\n", file("server.crt"), file("server.key"));
        let [plain, tls] = [(Way::Plain, yaml.clone()), (Way::Tls, yaml + &tls)].map(async |(way, yaml)| {
            let own = file(way.name());
            std::fs::create_dir(&own).unwrap();
            std::fs::write(own.join("redact.key"), recorded::KEY).unwrap();
            Sidecar::start(&own, &yaml).await
        });
        let (plain, tls) = (plain.await, tls.await);
        Place { direct: upstream.to_owned(), plain, tls, dir }
    }

    /// Address and port.
    pub fn address(&self, way: Way) -> String {
        match way {
            Way::Direct => self.direct.clone(),
            Way::Plain => self.plain.url().replace("http://", ""),
            Way::Tls => self.tls.url().replace("http://", ""),
        }
    }

    pub fn url(&self, way: Way) -> String {
        let scheme = if way == Way::Tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address(way))
    }

    /// The certificate by which a client knows the sidecar.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("own-ca.pem")
    }

    /// Every completed event of a sidecar for paths that begin so, once there are `count`.
    pub async fn events(&self, way: Way, under: &str, count: usize) -> Vec<Value> {
        let journal = self.dir.path().join(way.name()).join("journal");
        let path = |event: &Value| event["http"]["path"].as_str().unwrap_or_default().to_owned();
        let fits = |event: &Value| event["stage"] == "completed" && path(event).starts_with(under);
        let so_far = || {
            let (events, lost) = recorded::so_far(&journal);
            assert_eq!(lost, 0);
            events.into_iter().filter(fits).collect::<Vec<Value>>()
        };
        // The end of a tunnel comes after both have closed; that of a call is there before its answer.
        wait_until(PATIENCE, "the events are there", async || so_far().len() >= count).await;
        so_far()
    }
}

/// A file of this directory.
pub fn script(name: &str) -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("tests/clients").join(name).canonicalize().unwrap()
}

/// A program with a script, among what `scripts/deps.sh clients` has installed.
pub fn program(name: &str, arguments: &[&str], file: &str) -> Command {
    let mut command = Command::new(name);
    let installed = deps("clients").canonicalize().unwrap();
    let python = installed.join("python");
    command
        .args(arguments)
        .arg(script(file))
        .env("PYTHONPATH", &python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("JUPYTER_PATH", python.join("share/jupyter"))
        .env("NODE_PATH", installed.join("node_modules"))
        .env("CHROMIUM", installed.join("chromium"))
        .env("LD_LIBRARY_PATH", installed.join("lib"))
        // Proxies and authorities of the machine are not meant for peers on it.
        .env("no_proxy", "*")
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    command
}

/// What a program says on its standard output; it must be there, and end well.
pub async fn output(name: &str, command: Command, dir: &Path) -> String {
    let process = Process::start(name, command, dir);
    let status = process.end(PATIENCE).await;
    assert!(status.success(), "{name} ended with {status}");
    process.said()
}

/// The same, one JSON text a line.
pub async fn told(name: &str, command: Command, dir: &Path) -> Vec<Value> {
    let said = output(name, command, dir).await;
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}")))
        .collect()
}
