//! Real HTTP servers, each with an application that writes down every request it executed.
//!
//! Owns how each is started, and reads what it wrote. Three need nothing but what `make test` needs
//! anyway; Python's other servers come with `scripts/deps.sh garden`, nginx and haproxy from the
//! system. Promises: a server that is not there is named, never passed over in silence.

use harness::{Port, Process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const PYTHON: &str = include_str!("origin.py");
const NODE: &str = include_str!("origin.js");
const GO: &str = include_str!("origin.go");
const JAVA: &str = include_str!("Origin.java");
const NGINX: &str = include_str!("nginx.conf");
const HAPROXY: &str = include_str!("haproxy.cfg");

/// Those that come with what `make test` needs.
pub const PLAIN: &[&str] = &["http.server", "node", "jdk"];

pub const ALL: &[&str] = &[
    "http.server",
    "gunicorn",
    "uvicorn-h11",
    "uvicorn-httptools",
    "waitress",
    "tornado",
    "aiohttp",
    "node",
    "node-insecure",
    "jdk",
    "go",
    "nginx",
    "haproxy",
];

pub struct Origin {
    process: Process,
    pub port: u16,
    _held: Option<Port>,
}

/// A request as the application saw it; text stands for bytes, a char each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

impl Origin {
    /// None: what it needs is not here.
    pub async fn start(name: &str, dir: &Path) -> Option<Origin> {
        match name {
            "nginx" => proxy(name, NGINX, &["/usr/sbin/nginx", "/usr/local/sbin/nginx"], dir).await,
            "haproxy" => proxy(name, HAPROXY, &["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"], dir).await,
            _ => {
                let process = Process::start(name, command(name, dir)?, dir);
                let port = process.ready("ready ", START).await["port"].parse().unwrap();
                Some(Origin { process, port, _held: None })
            }
        }
    }

    /// All that was executed, in the order in which it was written down.
    pub fn ledger(&self) -> Vec<Call> {
        // nginx writes bytes beyond ASCII as they are, the others none at all.
        let bytes = std::fs::read(self.process.logs()[0]).unwrap();
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        text.lines().filter(|line| line.starts_with('{')).filter_map(call).collect()
    }
}

fn call(line: &str) -> Option<Call> {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    if value["status"].as_u64().is_some_and(|status| status != 200) {
        return None;
    }
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let body = match value["raw"].as_str() {
        Some(raw) => raw.chars().map(|c| u8::try_from(c).unwrap()).collect(),
        None => hex(&text("body")),
    };
    Some(Call { method: text("method"), target: text("target"), body })
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

fn command(name: &str, dir: &Path) -> Option<Command> {
    let write = |file: &str, text: &str| {
        std::fs::write(dir.join(file), text).unwrap();
        dir.join(file)
    };
    let mut command;
    match name {
        "node" | "node-insecure" => {
            command = Command::new(on_path("node")?);
            command.arg(write("origin.js", NODE));
            command.arg(name.strip_prefix("node-").unwrap_or("strict"));
        }
        "jdk" => {
            command = Command::new(on_path("java")?);
            command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1"]).arg(write("Origin.java", JAVA));
        }
        "go" => {
            let built = dir.join("go-origin");
            let mut build = Command::new(on_path("go")?);
            build.arg("build").arg("-o").arg(&built).arg(write("origin.go", GO)).current_dir(dir);
            assert!(build.status().unwrap().success(), "go build");
            command = Command::new(built);
        }
        _ => {
            command = Command::new(on_path("python3")?);
            command.arg(write("origin.py", PYTHON)).arg(name);
            if name != "http.server" {
                let garden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/garden");
                command.env("PYTHONPATH", garden.canonicalize().ok()?);
            }
        }
    }
    command.current_dir(dir);
    Some(command)
}

/// A server of the system's packages, which must be told its port.
async fn proxy(name: &str, config: &str, places: &[&str], dir: &Path) -> Option<Origin> {
    let binary = on_path(name).or_else(|| places.iter().map(PathBuf::from).find(|p| p.exists()))?;
    let port = Port::reserve();
    let config = config.replace("PORT", &port.number().to_string()).replace("DIR", dir.to_str().unwrap());
    let file = dir.join("origin.conf");
    std::fs::write(&file, config).unwrap();
    std::fs::write(dir.join("large.bin"), vec![b'l'; 1 << 20]).unwrap();
    let mut command = Command::new(binary);
    match name {
        "nginx" => command.arg("-e").arg("stderr").arg("-p").arg(dir).arg("-c").arg(&file),
        _ => command.arg("-f").arg(&file),
    };
    let process = Process::start(name, command, dir);
    harness::wait_until(START, "it listens", async || {
        process.must_run();
        std::net::TcpStream::connect(("127.0.0.1", port.number())).is_ok()
    })
    .await;
    Some(Origin { process, port: port.number(), _held: Some(port) })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
