//! The configuration: what a YAML file says, checked once, so that nothing invalid exists after.

use ipnet::IpNet;
use sidelog_event::{Delivery, Level};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub service: String,
    pub listen: SocketAddr,
    pub upstream: Upstream,
    /// Absolute or relative to the working directory; already joined to the file's directory.
    pub openapi: Vec<PathBuf>,
    pub base_path: BasePath,
    pub audit: Audit,
    pub capture: Capture,
    pub actor: Vec<ActorRule>,
    pub client_ip: ClientIp,
    pub redact: Redact,
    pub journal: Journal,
    pub kafka: Option<Kafka>,
    pub clickhouse: ClickHouse,
    pub admin: Admin,
    pub relay: Relay,
    pub standalone: Standalone,
}

/// `http://host:port`. (`https://` and `unix:` arrive with TLS.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BasePath {
    #[default]
    Auto,
    None,
    Explicit(Vec<String>),
}

/// A place in a configuration file, for `policy` in events and for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// One entry of `ignore` or `include_reads`: `/path/{template}`, `/glob/**`, or
/// `{operation: id}` / `{tag: name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Starts with `/`. `{x}` and `*` stand for one segment, `**` for any number; compared with the
    /// matched template and with the path.
    Path(String),
    Operation(String),
    Tag(String),
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub methods: Vec<String>,
    pub paths: Vec<String>,
    pub operations: Vec<String>,
    pub tags: Vec<String>,
    pub level: Option<Level>,
    pub delivery: Option<Delivery>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Audit {
    pub ignore: Vec<(Selector, Place)>,
    pub include_reads: Vec<(Selector, Place)>,
    pub rules: Vec<Rule>,
    /// Level of a mutating call that matches no operation.
    pub unmatched: Level,
    /// Level of every other mutating call.
    pub level: Level,
    pub delivery: Delivery,
}

#[derive(Debug, Clone)]
pub struct Capture {
    /// Bytes of each body kept for the event.
    pub max_body: usize,
}

#[derive(Debug, Clone)]
pub enum ActorRule {
    Jwt(JwtRule),
    Header(HeaderRule),
    Basic,
    ApiKey { header: String },
}

#[derive(Debug, Clone)]
pub struct JwtRule {
    pub header: String,
    /// The JWKS document's text and its path; read when the configuration was.
    pub jwks: Option<(PathBuf, String)>,
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    /// Accepted algorithms; empty = those that fit the keys (never `none`).
    pub algorithms: Vec<String>,
    /// Clock skew allowed, seconds.
    pub leeway: u64,
    pub claims: Claims,
}

/// Claim names; nested ones by dots (`realm_access.roles`).
#[derive(Debug, Clone)]
pub struct Claims {
    pub id: String,
    pub name: String,
    pub tenant: Option<String>,
    pub roles: Option<String>,
    pub kind: Option<String>,
}

#[derive(Debug, Clone)]
pub struct HeaderRule {
    pub id: String,
    pub name: Option<String>,
    pub tenant: Option<String>,
    pub roles: Option<String>,
    /// Peers whose word is taken. Never empty.
    pub trusted_from: Vec<IpNet>,
}

#[derive(Debug, Clone, Default)]
pub struct ClientIp {
    /// None: the peer is the client.
    pub header: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Debug, Clone, Default)]
pub struct Redact {
    /// More key names to mask, added to the default list.
    pub keys: Vec<String>,
    /// Key names never masked by name (value detectors still apply).
    pub keep: Vec<String>,
    /// None: a random key is made in the journal directory.
    pub pseudonym_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Traffic goes on, the loss is counted and recorded.
    Drop,
    /// Calls that would be audited get 503.
    Refuse,
}

#[derive(Debug, Clone)]
pub struct Journal {
    pub dir: PathBuf,
    pub max_bytes: u64,
    pub on_full: OnFull,
    /// Slots of the open-call table: audited calls in flight at once.
    pub max_open_calls: u32,
}

#[derive(Debug, Clone)]
pub struct Kafka {
    pub brokers: Vec<String>,
    pub topic: String,
    /// librdkafka properties, set after our own.
    pub properties: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub struct ClickHouse {
    pub url: String,
    pub database: String,
    pub user: String,
    /// Read from `password_file` when the configuration was.
    pub password: Option<Secret>,
    pub cluster: Option<String>,
}

/// A value that never shows in debug output, logs or `/config`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

#[derive(Debug, Clone)]
pub struct Admin {
    /// Pod-wide: `/healthz /readyz /metrics`.
    pub listen: SocketAddr,
    /// This host only.
    pub local: SocketAddr,
}

/// Bounds of the byte relay.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Bytes of a request or response head, at most 256 KiB.
    pub max_head: usize,
    /// Fields of a head.
    pub max_fields: usize,
    /// How long a client may take to send a head once it began.
    pub head_timeout: std::time::Duration,
    /// How long calls in flight may go on after SIGTERM.
    pub drain_timeout: std::time::Duration,
    /// Connections at once; 0 = bounded by the process's file limit only.
    pub max_connections: usize,
    /// `Upgrade` protocols that may become a tunnel.
    pub upgrades: Vec<String>,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
}

#[derive(Debug, Clone)]
pub struct Standalone {
    pub data: PathBuf,
    pub http_port: u16,
}
