//! The real binary, and what it takes of the machine.

use harness::{Process, binary, recorded};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub struct Sidecar {
    pub process: Process,
    pub traffic: SocketAddr,
    pub admin: SocketAddr,
}

/// Writes a configuration; `more`: further lines, which may name `listen`.
pub fn configure(dir: &Path, upstream: SocketAddr, more: &str) {
    std::fs::write(dir.join("key"), recorded::KEY).unwrap();
    let listen = if more.contains("listen:") { "" } else { "listen: 127.0.0.1:0\n" };
    let text = format!(
        "version: 1\nservice: stress\nupstream: http://{upstream}\n{listen}\
         admin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n\
         redact: {{pseudonym_key_file: key}}\n{more}\n"
    );
    std::fs::write(dir.join("sidelog.yaml"), text).unwrap();
}

impl Sidecar {
    pub async fn start(dir: &Path) -> Sidecar {
        let program = std::env::var_os("SIDELOG_BINARY").map_or_else(|| binary("sidelog"), PathBuf::from);
        let mut command = Command::new(program);
        command.current_dir(dir).args(["proxy", "--config", "sidelog.yaml"]);
        let process = Process::start("sidelog", command, dir);
        let words = process.ready("sidelog ready ", Duration::from_secs(60)).await;
        Sidecar {
            traffic: words["traffic"].parse().unwrap(),
            admin: words["admin"].parse().unwrap(),
            process,
        }
    }

    /// Asks it to end; it must do so well.
    pub async fn stop(&self) {
        let status = self.process.stop(Duration::from_secs(60)).await;
        assert!(status.success(), "{status}");
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}
