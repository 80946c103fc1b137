//! What is measured: the service alone, and each way to stand before it.

use crate::process::{LOAD_CORE, Process, SUBJECT_CORE, free_address};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// In the order of the table.
pub const SUBJECTS: [Subject; 5] =
    [Subject::Direct, Subject::BarePingora, Subject::Nginx, Subject::NginxLog, Subject::Sidelog];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// No proxy at all.
    Direct,
    /// pingora-proxy with default filters, doing nothing.
    BarePingora,
    /// nginx as a reverse proxy.
    Nginx,
    /// The same, writing request bodies to a JSON access log.
    NginxLog,
    /// Sidelog, matching 1,200 operations and journalling each POST with its redacted body.
    Sidelog,
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Subject::Direct => "direct",
            Subject::BarePingora => "bare-pingora",
            Subject::Nginx => "nginx",
            Subject::NginxLog => "nginx-json-log",
            Subject::Sidelog => "sidelog",
        }
    }

    /// Start it in front of `service`, with its files in `dir`.
    pub fn start(self, service: SocketAddr, dir: &Path) -> Running {
        match self {
            Subject::Direct => Running { addr: service, admin: None, process: None },
            Subject::BarePingora => {
                let addr = free_address();
                let args = [addr.to_string(), service.to_string()];
                let mut process = Process::start(
                    SUBJECT_CORE,
                    &sibling("bare_pingora"),
                    &[&args[0], &args[1]],
                    Stdio::null(),
                );
                process.listening(addr);
                Running { addr, admin: None, process: Some(process) }
            }
            Subject::Nginx => nginx_proxy(service, dir, "access_log off;"),
            Subject::NginxLog => nginx_proxy(service, dir, JSON_LOG),
            Subject::Sidelog => sidelog(service, dir),
        }
    }
}

/// A subject that takes connections.
pub struct Running {
    pub addr: SocketAddr,
    /// Where Sidelog shows its metrics.
    admin: Option<SocketAddr>,
    /// None: there is no proxy.
    pub process: Option<Process>,
}

impl Running {
    /// Events journalled so far, and those lost or without an operation; None for subjects that
    /// audit nothing.
    pub fn events(&self) -> Option<(f64, f64)> {
        let metrics = get(self.admin?, "/metrics");
        let of = |name| metric(&metrics, name);
        let short = of("sidelog_lost_events_total") + of("sidelog_unmatched_events_total");
        Some((of("sidelog_events_total"), short))
    }

    /// Records that are not delivered yet, of Sidelog.
    pub fn pending(&self) -> f64 {
        self.admin.map_or(0.0, |admin| metric(&get(admin, "/metrics"), "sidelog_journal_pending_records"))
    }
}

/// A small fixed answer from nginx, on the load's core.
pub fn service(dir: &Path) -> (SocketAddr, Process) {
    let addr = free_address();
    let server = "access_log off;\nserver { listen ADDR; default_type application/json;\n\
                  location / { return 200 '{\"id\":\"o-1\",\"ok\":true}'; } }";
    let process = nginx(LOAD_CORE, addr, dir, "service", &server.replace("ADDR", &addr.to_string()));
    (addr, process)
}

/// What a user would configure to keep bodies: escaped, and written in blocks.
const JSON_LOG: &str = "log_format audit escape=json '{\"time\":\"$time_iso8601\",\"peer\":\"$remote_addr\",\
    \"method\":\"$request_method\",\"path\":\"$request_uri\",\"host\":\"$host\",\"status\":$status,\
    \"duration\":$request_time,\"agent\":\"$http_user_agent\",\"body\":\"$request_body\"}';\n\
    access_log DIR/access.log audit buffer=64k flush=1s;";

fn nginx_proxy(service: SocketAddr, dir: &Path, log: &str) -> Running {
    let addr = free_address();
    let log = log.replace("DIR", &dir.display().to_string());
    let http = format!(
        "{log}\nupstream service {{ server {service}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {addr}; client_body_buffer_size 64k;\n\
         location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection '';\n\
         proxy_set_header Host $host; }} }}"
    );
    let process = nginx(SUBJECT_CORE, addr, dir, "proxy", &http);
    Running { addr, admin: None, process: Some(process) }
}

/// nginx with one worker and all its files in `dir`.
fn nginx(core: &str, addr: SocketAddr, dir: &Path, name: &str, http: &str) -> Process {
    let home = dir.join(name);
    std::fs::create_dir_all(&home).unwrap();
    let home = home.display();
    let temp: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().fold(String::new(), |mut t, k| {
            let _ = writeln!(t, "{k}_temp_path {home}/{k};");
            t
        });
    let user = if std::env::var_os("USER").is_some_and(|u| u != "root") { "" } else { "user root;" };
    let config = format!(
        "{user}\ndaemon off;\nworker_processes 1;\npid {home}/nginx.pid;\nerror_log {home}/error.log warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n{temp}{http}\n}}\n"
    );
    let path = format!("{home}/nginx.conf");
    std::fs::write(&path, config).unwrap();
    let error_log = format!("{home}/error.log");
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let mut process = Process::start(core, program, &["-c", &path, "-e", &error_log], Stdio::null());
    process.listening(addr);
    process
}

fn sidelog(service: SocketAddr, dir: &Path) -> Running {
    sidelog_with(service, &dir.join("sidelog"), "")
}

/// Sidelog with its files in `home`, and more lines of configuration.
pub fn sidelog_with(service: SocketAddr, home: &Path, more: &str) -> Running {
    // A fresh journal each time: nobody ships it, and a full one would make the work lighter.
    let _ = std::fs::remove_dir_all(home);
    std::fs::create_dir_all(home).unwrap();
    std::fs::write(home.join("openapi.yaml"), openapi()).unwrap();
    let config = home.join("sidelog.yaml");
    let text = format!(
        "version: 1\nservice: bench\nlisten: 127.0.0.1:0\nupstream: http://{service}\nopenapi: [openapi.yaml]\n\
         journal: {{dir: {}, max_bytes: 16GiB}}\nadmin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n{more}",
        home.join("journal").display()
    );
    std::fs::write(&config, text).unwrap();
    let args = ["proxy", "--config", config.to_str().unwrap()];
    let mut process = Process::start(SUBJECT_CORE, &sibling("sidelog"), &args, Stdio::piped());
    let mut lines = BufReader::new(process.stdout()).lines();
    let ready = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|l| l.starts_with("sidelog ready "))
        .expect("sidelog says that it is ready");
    std::thread::spawn(move || lines.for_each(drop));
    let word = |key: &str| -> SocketAddr {
        let found = ready.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        found.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no {key} address in {ready:?}"))
    };
    Running { addr: word("traffic"), admin: Some(word("admin")), process: Some(process) }
}

/// A document of 1,200 operations: 300 resources of a tenant, four operations each.
pub fn openapi() -> String {
    let mut text = String::from("openapi: 3.0.3\ninfo: {title: bench, version: '1'}\npaths:\n");
    for i in 0..300 {
        let operation = |verb: &str, name: &str| {
            format!(
                "    {verb}: {{operationId: {name}{i}, tags: [resource{i}], responses: {{'200': {{description: ok}}}}}}\n"
            )
        };
        let _ = writeln!(text, "  /v1/tenants/{{tenantId}}/resource{i}/items:");
        text += &operation("get", "list");
        text += &operation("post", "create");
        let _ = writeln!(text, "  /v1/tenants/{{tenantId}}/resource{i}/items/{{itemId}}:");
        text += &operation("put", "replace");
        text += &operation("delete", "remove");
    }
    text
}

/// A program built beside this one.
fn sibling(name: &str) -> String {
    let exe: PathBuf = std::env::current_exe().unwrap();
    let path = exe.with_file_name(name);
    assert!(path.exists(), "{} is not there: build it first", path.display());
    path.display().to_string()
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The sum of all series of a metric.
fn metric(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_1200_operations() {
        assert_eq!(openapi().matches("operationId").count(), 1200);
    }

    #[test]
    fn series_are_summed_by_the_whole_name() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\na 1\n";
        assert_eq!(metric(text, "a"), 6.0);
    }
}
