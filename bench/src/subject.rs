//! Who is measured: the service alone, and each way to stand before it. One file for each program; what it
//! takes to start it is all that stands there.

pub mod envoy;
pub mod haproxy;
pub mod nghttpd;
pub mod nginx;
pub mod pingora;
pub mod sidelog;

use crate::document::Document;
use crate::figures::Part;
use crate::process::{Process, installed};
use crate::resident::{self, Resident};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How subjects are called, in `SUBJECTS`, tables and goals.
pub mod name {
    pub const DIRECT: &str = "direct";
    pub const BARE_PINGORA: &str = "bare-pingora";
    pub const NGINX: &str = "nginx";
    pub const NGINX_LOG: &str = "nginx-json-log";
    pub const NGINX_KAFKA: &str = "nginx-lua-kafka";
    pub const NGINX_GRPC: &str = "nginx-grpc-pass";
    pub const HAPROXY: &str = "haproxy";
    pub const HAPROXY_LOG: &str = "haproxy-json-log";
    pub const ENVOY: &str = "envoy-lua";
    pub const SIDELOG: &str = "sidelog";
    pub const SIDELOG_UNSHIPPED: &str = "sidelog-unshipped";
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// No proxy at all.
    Direct,
    /// pingora-proxy with default filters, doing nothing.
    BarePingora,
    /// nginx as a reverse proxy that logs nothing.
    Nginx,
    /// The same, writing request bodies to a JSON access log.
    NginxLog,
    /// The same with the lua module, producing bodies to Kafka.
    NginxKafka,
    /// nginx with HTTP/2 on both sides.
    NginxGrpc,
    /// haproxy that logs nothing.
    Haproxy,
    /// The same, writing request bodies to a JSON log.
    HaproxyLog,
    /// Envoy, whose access log in JSON gets the body from a lua filter.
    Envoy,
    /// Sidelog: matches, extracts, redacts and journals each POST before it is answered, and ships it to Kafka.
    Sidelog,
    /// The same without Kafka: what shipping costs is the difference.
    SidelogUnshipped,
}

use Subject::{
    BarePingora, Direct, Envoy, Haproxy, HaproxyLog, Nginx, NginxGrpc, NginxKafka, NginxLog, Sidelog,
    SidelogUnshipped,
};

impl Subject {
    pub const ALL: [Subject; 11] = [
        Direct,
        BarePingora,
        Nginx,
        NginxLog,
        NginxKafka,
        NginxGrpc,
        Haproxy,
        HaproxyLog,
        Envoy,
        Sidelog,
        SidelogUnshipped,
    ];

    /// Those of a part, in the order of its table.
    pub fn of(part: Part) -> &'static [Subject] {
        match part {
            Part::Post => &[
                Direct,
                BarePingora,
                Nginx,
                NginxLog,
                NginxKafka,
                Haproxy,
                HaproxyLog,
                Envoy,
                Sidelog,
                SidelogUnshipped,
            ],
            Part::Get => &[Direct, Nginx, Haproxy, Sidelog],
            Part::Http2 => &[Direct, NginxGrpc, Haproxy, Sidelog],
            Part::Latency => &[Direct, Nginx, Sidelog],
            Part::Strict | Part::Memory | Part::Ready => &[Sidelog],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Direct => name::DIRECT,
            BarePingora => name::BARE_PINGORA,
            Nginx => name::NGINX,
            NginxLog => name::NGINX_LOG,
            NginxKafka => name::NGINX_KAFKA,
            NginxGrpc => name::NGINX_GRPC,
            Haproxy => name::HAPROXY,
            HaproxyLog => name::HAPROXY_LOG,
            Envoy => name::ENVOY,
            Sidelog => name::SIDELOG,
            SidelogUnshipped => name::SIDELOG_UNSHIPPED,
        }
    }

    /// What is not installed that it needs.
    pub fn missing(self) -> Option<&'static str> {
        let there = match self {
            Direct | BarePingora | Sidelog | SidelogUnshipped => return None,
            Nginx | NginxLog | NginxGrpc => installed("nginx").is_some(),
            NginxKafka => nginx::has_lua(),
            Haproxy | HaproxyLog => installed("haproxy").is_some(),
            Envoy => envoy::program().is_some(),
        };
        let needs = match self {
            NginxKafka => "libnginx-mod-http-lua, lua-nginx-kafka, lua-cjson and `scripts/deps.sh peers`",
            Envoy => "`scripts/deps.sh peers`",
            Haproxy | HaproxyLog => "haproxy",
            _ => "nginx",
        };
        (!there).then_some(needs)
    }

    /// Start it with its files in `ground.dir`.
    pub fn start(self, ground: &Ground<'_>) -> Result<Running, String> {
        match self {
            Direct => Ok(Running::new(ground.service, None)),
            BarePingora => pingora::start(ground),
            Nginx => nginx::proxy(ground, &nginx::Log::Off),
            NginxLog => nginx::proxy(ground, &nginx::Log::Json),
            NginxKafka => {
                let brokers = ground.old_brokers.ok_or("there is no broker that its client can speak to")?;
                nginx::proxy(ground, &nginx::Log::Kafka(brokers))
            }
            NginxGrpc => nginx::grpc(ground),
            Haproxy => haproxy::start(ground, false),
            HaproxyLog => haproxy::start(ground, true),
            Envoy => envoy::start(ground),
            Sidelog => sidelog::start(ground, ""),
            SidelogUnshipped => sidelog::start(&Ground { brokers: None, ..*ground }, ""),
        }
    }

    /// Where what it saw ends up in Kafka: whether on the old broker, and the topic.
    pub fn topic(self) -> Option<(bool, &'static str)> {
        match self {
            Sidelog => Some((false, sidelog::TOPIC)),
            NginxKafka => Some((true, nginx::TOPIC)),
            _ => None,
        }
    }
}

/// What a subject stands on.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// What is behind it.
    pub service: SocketAddr,
    /// HTTP/2 without TLS on both sides; otherwise HTTP/1.1.
    pub http2: bool,
    /// An empty directory of its own.
    pub dir: &'a Path,
    /// What Sidelog matches.
    pub document: Option<&'a Document>,
    /// Of Kafka; None: nothing is shipped.
    pub brokers: Option<&'a str>,
    /// Of a Kafka that still takes messages of the formats before 0.11.
    pub old_brokers: Option<&'a str>,
}

/// A subject that takes connections.
#[derive(Debug)]
pub struct Running {
    pub addr: SocketAddr,
    /// None: there is no proxy.
    pub process: Option<Process>,
    /// Where Sidelog shows its metrics.
    admin: Option<SocketAddr>,
    /// Sidelog's journal.
    pub journal: Option<PathBuf>,
    /// From the start of the process until it said that it is ready.
    pub ready_after: Duration,
    /// Whether its records go to Kafka, so that they come to an end.
    ships: bool,
    /// How long work goes on behind the last answer; Sidelog is asked instead.
    flush: Duration,
}

/// How long delivery may take behind the load.
const DELIVERY: Duration = Duration::from_secs(60);

impl Running {
    fn new(addr: SocketAddr, process: Option<Process>) -> Running {
        Running {
            addr,
            process,
            admin: None,
            journal: None,
            ready_after: Duration::ZERO,
            ships: false,
            flush: Duration::ZERO,
        }
    }

    /// Events journalled so far, and those lost or without an operation; None for subjects that
    /// audit nothing.
    pub fn events(&self) -> Option<(f64, f64)> {
        let metrics = get(self.admin?, "/metrics")?;
        let of = |name| metric(&metrics, name);
        let short = of("sidelog_lost_events_total") + of("sidelog_unmatched_events_total");
        Some((of("sidelog_events_total"), short))
    }

    /// Records that are not delivered yet, of Sidelog.
    pub fn pending(&self) -> f64 {
        let metrics = self.admin.and_then(|admin| get(admin, "/metrics")).unwrap_or_default();
        metric(&metrics, "sidelog_journal_pending_records")
    }

    /// Wait until the work behind the last answer is done; false: it was not in time.
    pub fn settle(&self) -> bool {
        std::thread::sleep(self.flush);
        let deadline = Instant::now() + DELIVERY;
        while self.ships && self.pending() > 0.0 {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        true
    }

    /// CPU that it and its children have used, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        self.process.as_ref().map_or(0.0, Process::cpu_seconds)
    }

    /// Memory of it and its children, without the journal's mappings.
    pub fn resident(&self) -> Option<Resident> {
        Some(resident::of(&self.process.as_ref()?.family(), self.journal.as_deref()))
    }
}

fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The sum of all series of a metric.
fn metric(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// Writes a file of a subject.
fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_the_whole_name() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\na 1\n";
        assert_eq!(metric(text, "a"), 6.0);
    }

    #[test]
    fn names_are_all_different() {
        let mut names = Subject::ALL.map(Subject::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Subject::ALL.len());
    }
}
