//! The real binary, in a directory that outlives it.

use harness::{Process, binary};
use serde_json::Value;
use sidelog_journal::{Kind, Record};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub struct Sidecar {
    pub process: Process,
    pub traffic: SocketAddr,
    pub admin: SocketAddr,
}

/// Writes a configuration: `more` is YAML for the journal and whatever else.
pub fn configure(dir: &Path, upstream: SocketAddr, more: &str) {
    let text = format!(
        "version: 1\nservice: chaos\nupstream: http://{upstream}\nlisten: 127.0.0.1:0\n\
         admin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n\
         audit: {{rules: [{{match: {{paths: ['/strict/**']}}, delivery: strict}}]}}\n{more}\n"
    );
    std::fs::write(dir.join("sidelog.yaml"), text).unwrap();
}

/// `sidelog` with these arguments.
pub fn sidelog(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("sidelog"));
    command.args(arguments);
    command
}

impl Sidecar {
    pub async fn start(dir: &Path) -> Sidecar {
        let mut command = sidelog(&["proxy", "--config", "sidelog.yaml"]);
        command.current_dir(dir);
        Sidecar::of(command, dir).await
    }

    /// Of a command that ends in being `sidelog proxy`.
    pub async fn of(command: Command, dir: &Path) -> Sidecar {
        let process = Process::start("sidelog", command, dir);
        let words = process.ready("sidelog ready ", Duration::from_secs(60)).await;
        Sidecar {
            traffic: words["traffic"].parse().unwrap(),
            admin: words["admin"].parse().unwrap(),
            process,
        }
    }

    /// The sum of a metric's series.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        sum(&text, name)
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> u64 {
        resident(&self.process)
    }
}

/// The sum of a metric's series in what `/metrics` says.
pub fn sum(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Resident memory of a process, in MiB.
pub fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// What a journal tells of calls, by their request ids.
#[derive(Debug, Default)]
pub struct Told {
    /// Ends of calls: stage and status.
    pub ends: HashMap<String, Vec<(String, Option<u64>)>>,
    /// Numbers that loss records name.
    pub lost: u64,
    pub records: u64,
}

impl Told {
    pub fn by(dir: &Path) -> Told {
        let mut told = Told::default();
        sidelog_journal::visit(dir, |record| {
            told.records += 1;
            told.add(&record);
            ControlFlow::Continue(())
        })
        .unwrap();
        told
    }

    fn add(&mut self, record: &Record) {
        match record.kind {
            Kind::Loss { first, last, .. } => self.lost += last - first + 1,
            Kind::Open => {}
            Kind::Data => {
                let event: Value = serde_json::from_slice(&record.payload).unwrap();
                self.event(&event);
            }
        }
    }

    pub fn event(&mut self, event: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let end = (text(&event["stage"]), event["http"]["status"].as_u64());
        self.ends.entry(text(&event["http"]["request_id"])).or_default().push(end);
    }
}

/// Seen from here, a path inside the mounts of another process.
pub fn inside(process: u32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root")).join(path.strip_prefix("/").unwrap())
}
