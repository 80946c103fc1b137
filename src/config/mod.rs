//! The configuration: what a YAML file says, checked once, so that nothing invalid exists after.
//!
//! text → [`tree`] (positions) → [`env`] (variables) → [`shape`] (keys and types, by the schema of
//! [`yaml`]) → typed → [`load`] (values) → [`Config`]. Each step reports all it finds and hands on
//! what is sound, so one run shows everything that is wrong. Secrets come from files or variables and
//! appear in no message, no debug output and not in [`effective`].

mod actor;
mod edges;
mod env;
mod load;
mod problem;
mod properties;
mod shape;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod view;
mod yaml;

pub use actor::is_loopback;
pub use load::{MIN_PSEUDONYM_KEY, read_bounded, read_pseudonym_key};
pub use problem::{Problem, Severity};
pub use view::effective;

use crate::sources::Sources;
use ipnet::IpNet;
use sidelog_event::{Delivery, Level};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tree::At;
pub use yaml::OtherUpgrades;

/// `journal.dir` where the file does not say.
pub const DEFAULT_JOURNAL_DIR: &str = "/var/lib/sidelog";
/// Bytes of a configuration file.
const MAX_FILE: usize = 1 << 20;

/// Said where the schema and the typed structs differ; a test sees to it that they do not.
const MISFIT: &str = "sidelog does not understand its own schema here";

/// A configuration and what is odd about it, or everything that is wrong.
pub type Loaded = Result<(Config, Vec<Problem>), Vec<Problem>>;

/// Reads and checks a file. `env` looks a variable up.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let name = path.to_string_lossy();
    let unreadable = |why: String| {
        let help = "name a configuration with --config FILE".to_string();
        let message = format!("cannot read {}: {why}", problem::shown_path(path));
        vec![Problem { place: None, message, help: Some(help), severity: Severity::Error }]
    };
    let bytes = std::fs::read(path).map_err(|e| unreadable(load::why(&e)))?;
    let mut sources = Sources::default();
    sources.read(path, &bytes);
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_string()))?;
    let (mut config, problems) = from_text(&text, &name, path.parent().unwrap_or(Path::new("")), env)?;
    config.sources.extend(sources);
    Ok((config, problems))
}

/// Checks a text. `file_name` stands in messages, and files are looked for from `dir`.
pub fn from_text(text: &str, file_name: &str, dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let mut problems = problem::Problems::new(file_name);
    if text.len() > MAX_FILE {
        problems.error(problem::Pos { line: 1, column: 1 }, "the file is larger than 1MiB", ());
    } else if let Some(file) = typed(text, &mut problems, env) {
        let config = load::validate(&file, dir, &mut problems);
        return problems.finish().map(|warnings| (config, warnings));
    }
    Err(problems.finish().unwrap_or_else(|problems| problems))
}

/// What is sound of the text, typed. None where it is not YAML at all.
fn typed(
    text: &str,
    problems: &mut problem::Problems,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<yaml::File> {
    let mut document = match tree::parse(text) {
        Ok(document) => document,
        Err((message, at)) => {
            let line = text.lines().nth(at.line.saturating_sub(1) as usize).unwrap_or_default();
            let help = if line.contains("${") && line.contains(['[', '{']) {
                Some("inside [ ] and { }, put it in quotes: \"${NAME}\"".to_string())
            } else {
                message.contains("tab").then(|| "indent with spaces".to_string())
            };
            problems.error(at, format!("this is not YAML: {message}"), help);
            return None;
        }
    };
    env::expand(&mut document, env, problems);
    let document = shape::check(document, shape::schema(), problems);
    match <yaml::File as serde::Deserialize>::deserialize(&document) {
        Ok(file) => Some(file),
        // Ours, not the user's: the schema let something pass. Its text may hold a variable's value.
        Err(_) => {
            problems.error(document.at, MISFIT, "please report this file");
            None
        }
    }
}

/// What the command line says where there is no file.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// Left out where nothing is relayed (`explain`).
    pub upstream: Option<&'a str>,
    /// Relative to the working directory.
    pub openapi: &'a [PathBuf],
    pub listen: Option<SocketAddr>,
    /// Directory for everything kept: the embedded store, and the journal in `journal` below it.
    pub data: Option<&'a Path>,
}

/// The defaults, and what the command line says: for `sidelog-standalone --upstream URL` and for
/// `explain --openapi FILE`. Problems have no place.
pub fn defaults_for(options: &Options<'_>) -> Loaded {
    let mut file = yaml::File { service: At::unset("local"), ..yaml::File::default() };
    // Where nothing is relayed, nothing is dialled.
    file.upstream = At::unset(options.upstream.unwrap_or("http://127.0.0.1:80"));
    file.openapi = options.openapi.iter().map(|p| At::unset(p.to_string_lossy())).collect();
    if let Some(listen) = options.listen {
        file.listen = At::unset(listen.to_string());
    }
    if let Some(data) = options.data {
        file.standalone.data = At::unset(data.to_string_lossy());
    }
    if options.upstream.is_some() {
        let journal = Path::new(&file.standalone.data.value).join("journal");
        file.journal.dir = At::unset(journal.to_string_lossy());
    }
    let mut problems = problem::Problems::new("");
    let config = load::validate(&file, Path::new(""), &mut problems);
    problems.finish().map(|warnings| (config, warnings))
}

/// The JSON Schema of the YAML, for editors and for the reference.
pub fn schema() -> serde_json::Value {
    shape::schema().clone()
}

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub service: String,
    pub listen: Listen,
    /// None: `listen` speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Peers that must begin with a PROXY header. None: nobody does.
    pub proxy_protocol: Option<Vec<IpNet>>,
    pub upstream: Upstream,
    pub upstream_http2: Http2,
    pub forward_address: ForwardAddress,
    /// Where connections to the service come from.
    pub source_address: Option<IpAddr>,
    /// Absolute or relative to the working directory; already joined to the file's directory.
    pub openapi: Vec<PathBuf>,
    pub base_path: BasePath,
    /// Path parameters that may span slashes, beside those that the documents mark.
    pub multi_segment: Vec<String>,
    pub audit: Audit,
    pub capture: Capture,
    pub actor: Vec<ActorRule>,
    pub client_ip: ClientIp,
    pub reason: Reason,
    pub messages: Vec<Message>,
    pub redact: Redact,
    pub journal: Journal,
    pub kafka: Option<Kafka>,
    pub clickhouse: ClickHouse,
    pub retention: Retention,
    pub admin: Admin,
    pub relay: Relay,
    pub standalone: Standalone,
    pub reload: Reload,
    /// What it was read from: the file itself, keys and passwords; not the OpenAPI documents.
    pub sources: Sources,
}

/// How changes of the files are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// How often they are looked at; zero: only on SIGHUP.
    pub interval: std::time::Duration,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix { path: PathBuf, mode: u32 },
}

/// The listener's certificate, and what is asked of clients. The files could be used when the
/// configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: Option<PathBuf>,
    pub client_auth: ClientAuth,
    /// How often the files are looked at; zero: never.
    pub reload: std::time::Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Optional,
    Required,
}

/// `http://host:port`, `https://host:port` (with `tls`) or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    Tcp { host: String, port: u16, tls: Option<UpstreamTls> },
    Unix(PathBuf),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Upstream::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                match host.contains(':') {
                    true => write!(f, "{scheme}://[{host}]:{port}"),
                    false => write!(f, "{scheme}://{host}:{port}"),
                }
            }
            Upstream::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the service is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The only CA believed; None: the system's.
    pub ca_file: Option<PathBuf>,
    /// None: the upstream's host.
    pub sni: Option<String>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub reload: std::time::Duration,
}

/// Whether the service speaks HTTP/2, and so what clients are offered in a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// One that is spoken to over TLS is asked; any other is taken not to.
    Auto,
    On,
    Off,
}

/// How the service is told the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardAddress {
    None,
    XForwardedFor,
    Forwarded,
    ProxyV2,
}

/// A protocol that may become a tunnel. `paths`: None: everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeRule {
    pub protocol: String,
    pub paths: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BasePath {
    #[default]
    Auto,
    None,
    Explicit(Vec<String>),
}

/// A place in a configuration file, for `policy` in events and for messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
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
    /// Zero: open calls are not told of.
    pub started_after: std::time::Duration,
    /// Refused requests recorded each second; 0: none.
    pub refusals_per_second: u32,
}

#[derive(Debug, Clone)]
pub struct Capture {
    /// Bytes of each body kept for the event.
    pub max_body: usize,
    /// Bytes of a body with its `Content-Encoding` removed; of larger ones nothing is kept.
    pub max_decoded: usize,
}

#[derive(Debug, Clone)]
pub enum ActorRule {
    Jwt(JwtRule),
    Header(HeaderRule),
    /// The client's certificate.
    Mtls,
    Basic,
    ApiKey {
        header: String,
    },
    Cookie {
        name: String,
    },
    ForwardedCert(ForwardedCertRule),
}

#[derive(Debug, Clone)]
pub struct JwtRule {
    pub header: String,
    pub jwks: Jwks,
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    /// Accepted algorithms; empty = those that fit the keys (never `none`).
    pub algorithms: Vec<String>,
    /// Clock skew allowed, seconds.
    pub leeway: u64,
    pub claims: Claims,
}

/// Where the keys that verify tokens are from.
#[derive(Clone)]
pub enum Jwks {
    /// Nothing can be verified.
    None,
    /// The document's text as it was when the configuration was read.
    File {
        path: PathBuf,
        text: String,
    },
    Url(Box<JwksUrl>),
}

/// Key documents may hold shared secrets: only where they are is shown.
impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({})", self.name())
    }
}

impl Jwks {
    /// As messages call it: a URL without its query, which may be meant for few eyes.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Jwks::None => "none".into(),
            Jwks::File { path, .. } => path.to_string_lossy(),
            Jwks::Url(source) => source.url.split('?').next().unwrap_or_default().into(),
        }
    }

    pub fn same_place(&self, other: &Jwks) -> bool {
        match (self, other) {
            (Jwks::Url(one), Jwks::Url(other)) => {
                one.url == other.url && one.authorities == other.authorities
            }
            _ => false,
        }
    }
}

/// Keys to be fetched, and within which bounds.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    /// `http://` or `https://`, without credentials and fragment.
    pub url: String,
    pub refresh: Duration,
    /// Between two fetches.
    pub cooldown: Duration,
    pub timeout: Duration,
    pub max_bytes: u64,
    pub ca_file: Option<PathBuf>,
    /// The certificates in `ca_file` as DER; empty: the system's.
    pub authorities: Vec<Vec<u8>>,
}

/// Claim names; nested ones by dots (`realm_access.roles`).
#[derive(Debug, Clone)]
pub struct Claims {
    pub id: String,
    pub name: String,
    pub tenant: Option<String>,
    pub roles: Option<String>,
    pub kind: Option<String>,
    /// Who acts for the subject.
    pub act: String,
}

#[derive(Debug, Clone)]
pub struct HeaderRule {
    pub id: String,
    pub name: Option<String>,
    pub kind: Option<String>,
    pub on_behalf_of: Option<String>,
    pub tenant: Option<String>,
    pub roles: Option<String>,
    /// Peers whose word is taken. Never empty.
    pub trusted_from: Vec<IpNet>,
}

#[derive(Debug, Clone)]
pub struct ForwardedCertRule {
    pub header: String,
    /// Says whether the certificate is good.
    pub verify_header: Option<String>,
    /// Peers whose word is taken. Never empty.
    pub trusted_from: Vec<IpNet>,
}

#[derive(Debug, Clone, Default)]
pub struct ClientIp {
    /// None: the peer is the client.
    pub header: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
}

/// Where callers say why; in this order.
#[derive(Debug, Clone, Default)]
pub struct Reason {
    pub header: Vec<String>,
    pub query: Vec<String>,
    /// Paths to members: `change.comment`.
    pub body: Vec<String>,
}

/// The readable line of some operations.
#[derive(Debug, Clone)]
pub struct Message {
    /// Ids, or method and template.
    pub operations: Vec<String>,
    /// As `extract::Template` reads it.
    pub text: String,
    pub place: Place,
}

#[derive(Debug, Clone, Default)]
pub struct Redact {
    /// More key names to mask, added to the default list.
    pub keys: Vec<String>,
    /// Key names never masked by name (value detectors still apply).
    pub keep: Vec<String>,
    pub unknown: Unknown,
    /// None: a random key is made in the journal directory.
    pub pseudonym_key_file: Option<PathBuf>,
}

/// What becomes of values that no schema declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// Kept, unless they are masked for another reason.
    #[default]
    Keep,
    /// Masked: only declared fields keep their values.
    Mask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// Traffic goes on, the loss is counted and recorded.
    Drop,
    /// Mutating calls that would be audited get 503.
    Refuse,
}

#[derive(Debug, Clone)]
pub struct Journal {
    pub dir: PathBuf,
    pub max_bytes: u64,
    pub on_full: OnFull,
    /// Slots of the open-call table: audited calls in flight at once.
    pub max_open_calls: u32,
    /// How long a `strict` call may wait for the disk.
    pub sync_timeout: std::time::Duration,
}

#[derive(Clone)]
pub struct Kafka {
    pub brokers: Vec<String>,
    pub topic: String,
    /// librdkafka properties, set after our own.
    pub properties: Vec<(String, String)>,
}

/// Properties may be passwords: only their names are shown.
impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &names)
            .finish()
    }
}

#[derive(Debug, Clone)]
pub struct ClickHouse {
    pub url: String,
    pub database: String,
    pub user: String,
    /// Read from `password_file` when the configuration was.
    pub password: Option<Secret>,
    pub cluster: Option<String>,
    pub readers: ReadLimits,
}

/// What one question of a reader may cost ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    pub max_rows: u64,
    pub max_bytes: u64,
    pub max_time: Duration,
    pub max_memory: u64,
}

/// When events expire; 0 days: never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    pub days: u32,
    pub body_days: u32,
    /// First match wins over these.
    pub rules: Vec<RetentionRule>,
    /// Where events go before they are removed; relative to the working directory.
    pub archive: Option<PathBuf>,
}

/// Every kind that is not empty must fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    pub tenants: Vec<String>,
    pub services: Vec<String>,
    pub levels: Vec<Level>,
    pub days: u32,
    pub body_days: u32,
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
    pub head_timeout: Duration,
    /// How long calls in flight may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Connections at once; 0 = bounded by the process's file limit only.
    pub max_connections: usize,
    /// HTTP/2 streams open at once on one connection.
    pub max_streams: usize,
    /// HTTP/2 streams a client may abandon unanswered per second, averaged over ten; 0 = any number.
    pub max_resets: u32,
    /// How long the body of a strict call over HTTP/2 is waited for, at most 60 s.
    pub strict_patience: Duration,
    /// Bytes of a client's HTTP/2 connection that wait for the disk, 64 KiB to 64 MiB.
    pub strict_held: usize,
    /// Bytes of one connection that may wait in the system for a peer that does not take them.
    pub max_unsent: u32,
    /// How long a connection may stand still that only one side and the relay hold open; zero: for ever.
    pub stall_timeout: std::time::Duration,
    /// How long a client may go on sending after our FIN.
    pub close_timeout: std::time::Duration,
    /// `Upgrade` protocols that may become a tunnel.
    pub upgrades: Vec<UpgradeRule>,
    /// What becomes of a request that offers another; it has no chance of a tunnel.
    pub other_upgrades: OtherUpgrades,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
}

#[derive(Debug, Clone)]
pub struct Standalone {
    pub data: PathBuf,
    pub http_port: u16,
}
