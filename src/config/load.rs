//! From the configuration as typed to the valid one. Every check runs, and everything wrong is
//! reported together; a value that is wrong is stood in for, so that one mistake is told once.
//!
//! Reads the files that `*_file` keys name; looks whether OpenAPI documents are there. Opens no socket.

use super::problem::{Help, Pos, Problems, Severity, nearest, one_of, shown, shown_path};
use super::tree::At;
use super::{
    Admin, Audit, BasePath, Capture, ClickHouse, ClientIp, Config, Journal, Kafka, Level, Listen, Message,
    OnFull, ReadLimits, Reason, Redact, Relay, Reload, Retention, RetentionRule, Rule, Secret, Selector,
    Standalone, Unknown, Upstream, edges, properties, units, yaml,
};
use crate::extract::{Source, Template};
use crate::sources::Sources;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of a body that may be kept.
const MAX_BODY: u64 = 16 << 20;
/// Most bytes of a body after decompression.
const MAX_DECODED: u64 = 64 << 20;
/// The journal needs room for two small segments and its tables.
const MIN_JOURNAL: u64 = 4 << 20;
const HEAD: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 10;
/// Bytes of a connection that wait for the disk: at least what is read at once.
const HELD: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
const UNSENT: std::ops::RangeInclusive<u64> = 16 << 10..=64 << 20;
/// All new streams of a connection wait as long.
const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// Longest of every duration.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of the service's name.
const MAX_SERVICE: usize = 200;
/// Bytes of a file named by a `*_file` key.
const MAX_FILE: u64 = 1 << 20;
/// Bytes of a pseudonym key, at least.
pub const MIN_PSEUDONYM_KEY: usize = 16;
/// Headers that name a client's address.
const ADDRESS_HEADERS: &[&str] = &["X-Forwarded-For", "Forwarded", "X-Real-IP"];

/// The valid configuration; meaningless where `problems` has an error.
pub(super) fn validate(file: &yaml::File, dir: &Path, problems: &mut Problems) -> Config {
    let mut check = Check { dir, problems, sources: Sources::default() };
    let listen = edges::listen(&mut check, file);
    let upstream = edges::upstream(&mut check, file);
    let tls = file.tls.as_ref().and_then(|tls| edges::tls(&mut check, tls));
    let admin = check.admin(&file.admin);
    check.ports(file, &listen, &admin, &upstream);
    Config {
        service: check.service(&file.service),
        proxy_protocol: file
            .proxy_protocol
            .as_ref()
            .map(|section| edges::proxy_protocol(&mut check, section, &listen)),
        upstream_http2: edges::upstream_http2(file.upstream_http2.value),
        forward_address: edges::forward_address(file.forward_address.value),
        source_address: edges::source_address(&mut check, file.source_address.as_ref(), &upstream),
        listen,
        upstream,
        openapi: file.openapi.iter().map(|p| check.openapi(p)).collect(),
        base_path: check.base_path(&file.base_path),
        multi_segment: file.multi_segment.iter().map(|n| n.value.clone()).collect(),
        audit: check.audit(&file.audit),
        capture: Capture {
            max_body: check.size(&file.capture.max_body, "capture.max_body", 0..=MAX_BODY) as usize,
            max_decoded: check.size(&file.capture.max_decoded, "capture.max_decoded", 0..=MAX_DECODED)
                as usize,
        },
        actor: file.actor.iter().filter_map(|a| super::actor::rule(&mut check, a, tls.as_ref())).collect(),
        client_ip: check.client_ip(&file.client_ip),
        reason: check.reason(&file.reason),
        messages: file.messages.iter().map(|message| check.message(message)).collect(),
        redact: check.redact(&file.redact),
        journal: check.journal(&file.journal),
        kafka: file.kafka.as_ref().map(|k| check.kafka(&k.value)),
        clickhouse: check.clickhouse(&file.clickhouse),
        retention: check.retention(&file.retention),
        admin,
        relay: check.relay(&file.relay),
        tls,
        standalone: Standalone {
            data: check.path(&file.standalone.data, "standalone.data"),
            http_port: file.standalone.http_port.value,
        },
        reload: Reload { interval: check.duration(&file.reload.interval, "reload.interval") },
        sources: check.sources,
    }
}

/// The parts of a URL.
pub(super) struct Url {
    /// Lower case.
    pub scheme: String,
    /// Without brackets.
    pub host: String,
    pub port: Option<u16>,
    pub path: String,
}

/// The checks, one per kind of value and one per section.
pub(super) struct Check<'a> {
    dir: &'a Path,
    problems: &'a mut Problems,
    /// The files read so far.
    sources: Sources,
}

impl Check<'_> {
    pub fn error(&mut self, at: Pos, message: impl Into<String>, help: impl Into<Help>) {
        self.problems.error(at, message, help);
    }

    pub fn warn(&mut self, at: Pos, message: impl Into<String>, help: impl Into<Help>) {
        self.problems.warn(at, message, help);
    }

    // Kinds of values.

    /// Not empty, no control characters.
    pub fn text(&mut self, value: &At<String>, key: &str) -> String {
        if value.value.trim().is_empty() {
            self.error(value.at, format!("`{key}` must not be empty"), ());
        } else if value.value.chars().any(char::is_control) {
            self.error(value.at, format!("`{key}` must not hold control characters"), ());
        }
        value.value.clone()
    }

    /// A header's name or a method: a token of RFC 9110.
    pub fn token(&mut self, value: &At<String>, key: &str, what: &str) -> String {
        if value.value.is_empty() || !value.value.bytes().all(is_token_byte) {
            self.error(value.at, format!("`{key}`: {} is not {what}", quoted(value)), ());
        }
        value.value.clone()
    }

    pub fn address(&mut self, value: &At<String>, key: &str) -> SocketAddr {
        value.value.parse().unwrap_or_else(|_| {
            let text = value.value.trim();
            let help = match text.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => match host {
                    "" | "*" => format!("write `0.0.0.0:{port}`, or `[::]:{port}` for IPv6 as well"),
                    "localhost" => format!("write `127.0.0.1:{port}`"),
                    _ => "write an IP address and a port; names are not looked up here".to_string(),
                },
                None if text.parse::<u16>().is_ok() => format!("write `0.0.0.0:{text}`"),
                _ => "write an IP address and a port: `0.0.0.0:15080`".to_string(),
            };
            let help = if value.from_env { "write an IP address and a port".to_string() } else { help };
            self.error(value.at, format!("`{key}`: {} is not an address", quoted(value)), help);
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    pub fn networks(&mut self, values: &[At<String>], key: &str) -> Vec<IpNet> {
        let mut networks = Vec::with_capacity(values.len());
        for value in values {
            let text = value.value.trim();
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) => {
                    if network.prefix_len() == 0 {
                        self.warn(
                            value.at,
                            format!("`{key}`: {} is every address there is", quoted(value)),
                            "whoever connects can then claim to be anyone; name the proxies' networks",
                        );
                    }
                    networks.push(network.trunc());
                }
                Err(_) => self.error(
                    value.at,
                    format!("`{key}`: {} is neither an address nor a network", quoted(value)),
                    "write `10.0.0.0/8`, `192.0.2.7` or `fd00::/8`",
                ),
            }
        }
        networks
    }

    pub fn size(&mut self, value: &At<yaml::Size>, key: &str, range: std::ops::RangeInclusive<u64>) -> u64 {
        match units::size(&value.value.0) {
            Ok(bytes) if range.contains(&bytes) => bytes,
            Ok(_) => {
                let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
                let range = match (*range.start(), *range.end()) {
                    (_, u64::MAX) => format!("at least {least}"),
                    (0, _) => format!("at most {most}"),
                    _ => format!("between {least} and {most}"),
                };
                self.error(value.at, format!("`{key}` must be {range}"), ());
                0
            }
            Err(help) => {
                let text = At { value: value.value.0.clone(), at: value.at, from_env: value.from_env };
                self.error(value.at, format!("`{key}`: {} is not a size", quoted(&text)), help);
                0
            }
        }
    }

    pub fn duration(&mut self, value: &At<yaml::Span>, key: &str) -> Duration {
        match units::duration(&value.value.0) {
            Ok(duration) if duration <= MAX_WAIT => duration,
            Ok(_) => {
                let most = units::show_duration(MAX_WAIT);
                self.error(value.at, format!("`{key}` must be at most {most}"), ());
                Duration::ZERO
            }
            Err(help) => {
                let text = At { value: value.value.0.clone(), at: value.at, from_env: value.from_env };
                self.error(value.at, format!("`{key}`: {} is not a duration", quoted(&text)), help);
                Duration::ZERO
            }
        }
    }

    /// A path as the process will use it: relative to the working directory.
    fn path(&mut self, value: &At<String>, key: &str) -> PathBuf {
        PathBuf::from(self.text(value, key))
    }

    /// The path of a file beside the configuration.
    pub fn beside(&mut self, value: &At<String>, key: &str) -> PathBuf {
        self.dir.join(self.text(value, key))
    }

    /// A file beside the configuration, read.
    pub fn file(&mut self, value: &At<String>, key: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = self.dir.join(self.text(value, key));
        match read_bounded(&path) {
            Ok(bytes) => {
                self.sources.read(&path, &bytes);
                Some((path, bytes))
            }
            Err(why) => {
                let help = "paths are relative to the configuration file";
                let name = if value.from_env { "the file".to_string() } else { shown_path(&path) };
                self.error(value.at, format!("`{key}`: cannot read {name}: {why}"), help);
                None
            }
        }
    }

    /// `scheme://host[:port][/path]` without credentials.
    pub fn url(&mut self, value: &At<String>, key: &str, schemes: &[&str], help: &str) -> Option<Url> {
        let text = value.value.trim();
        let mut fail = |message: String, help: &str| {
            self.problems.error(value.at, format!("`{key}`: {message}"), help);
            None
        };
        let Some((scheme, rest)) = text.split_once(':') else {
            return fail(format!("{} is not a URL", quoted(value)), help);
        };
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) || !rest.starts_with("//") {
            let kind = schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(" or ");
            return fail(format!("{} is not an {kind} URL", quoted(value)), help);
        }
        let rest = rest.trim_start_matches("//");
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(end) => rest.split_at_checked(end).unwrap_or((rest, "")),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return fail(
                "credentials do not belong in the URL".into(),
                "leave out everything before the `@`",
            );
        }
        if path.contains(['?', '#']) {
            return fail("a query or fragment has no meaning here".into(), help);
        }
        match host_port(authority) {
            Some((host, port)) => Some(Url { scheme, host, port, path: path.to_string() }),
            None => fail(format!("{} has no valid host and port", quoted(value)), help),
        }
    }

    // Sections.

    fn reason(&mut self, reason: &yaml::Reason) -> Reason {
        let body = |check: &mut Self, path: &At<String>| {
            let text = check.text(path, "reason.body");
            let member = matches!(Source::parse(&text), Ok(Source::Body(_)));
            if !member && !text.trim().is_empty() {
                let message = format!("`reason.body`: {} is no path to a member", quoted(path));
                check.error(path.at, message, "write the members' names with dots between: `change.comment`");
            }
            text
        };
        Reason {
            header: reason.header.iter().map(|h| self.token(h, "reason.header", "a header's name")).collect(),
            query: reason.query.iter().map(|q| self.text(q, "reason.query")).collect(),
            body: reason.body.iter().map(|p| body(self, p)).collect(),
        }
    }

    fn message(&mut self, message: &At<yaml::MessageRule>) -> Message {
        let yaml::MessageRule { operations, text } = &message.value;
        if !text.is_unset()
            && let Err(why) = Template::parse(&text.value)
        {
            let help = "until then, the usual line is written; the placeholders are in the documentation";
            self.warn(text.at, format!("`messages.text`: {why}"), help);
        }
        Message {
            operations: operations.iter().map(|o| self.text(o, "messages.operations")).collect(),
            text: text.value.clone(),
            place: self.problems.place(message.at),
        }
    }

    fn service(&mut self, service: &At<String>) -> String {
        // Left out: the shape check has said so.
        if service.is_unset() {
            return service.value.clone();
        }
        if service.value.len() > MAX_SERVICE {
            self.error(service.at, format!("`service` must be at most {MAX_SERVICE} bytes"), ());
        }
        self.text(service, "service")
    }

    /// A document that is missing never stops traffic; one named on the command line just now does.
    fn openapi(&mut self, value: &At<String>) -> PathBuf {
        let path = self.dir.join(self.text(value, "openapi"));
        let severity = if value.is_unset() { Severity::Error } else { Severity::Warning };
        let (message, help) = match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => return path,
            Ok(_) => (format!("`openapi`: {} is not a file", quoted(value)), "name the documents one by one"),
            Err(e) => (
                format!("`openapi`: cannot read {}: {}", quoted(value), why(&e)),
                "without it, calls are recorded without operations",
            ),
        };
        self.problems.add(severity, value.at, message, help);
        path
    }

    fn base_path(&mut self, values: &[At<String>]) -> BasePath {
        match values {
            [one] if one.value == "auto" => return BasePath::Auto,
            [one] if one.value == "none" => return BasePath::None,
            _ => {}
        }
        for value in values.iter().filter(|v| !v.value.starts_with('/')) {
            let message = format!("`base_path`: {} does not start with `/`", quoted(value));
            self.error(value.at, message, "write `auto`, `none` or a list such as `[/v1]`");
        }
        BasePath::Explicit(values.iter().map(|v| v.value.trim_end_matches('/').to_string()).collect())
    }

    fn audit(&mut self, audit: &yaml::Audit) -> Audit {
        if audit.level.value == Level::None {
            self.warn(
                audit.level.at,
                "`audit.level: none` records no mutating call, unless a rule says so",
                "to leave out single paths, use `audit.ignore`",
            );
        }
        if audit.unmatched.value == Level::None {
            self.warn(
                audit.unmatched.at,
                "`audit.unmatched: none` leaves calls to undocumented operations unrecorded",
                "`metadata` records them without bodies",
            );
        }
        Audit {
            ignore: self.selectors(&audit.ignore, "audit.ignore"),
            include_reads: self.selectors(&audit.include_reads, "audit.include_reads"),
            rules: audit.rules.iter().map(|r| self.rule(r)).collect(),
            unmatched: audit.unmatched.value,
            level: audit.level.value,
            delivery: audit.delivery.value,
            started_after: self.duration(&audit.started_after, "audit.started_after"),
            refusals_per_second: audit.refusals_per_second.value,
        }
    }

    fn selectors(&mut self, entries: &[At<yaml::Selector>], key: &str) -> Vec<(Selector, super::Place)> {
        let mut selectors = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = |s: &str| At { value: s.to_string(), at: entry.at, from_env: entry.from_env };
            let selector = match &entry.value {
                yaml::Selector::Path(p) => self.path_selector(&text(p), key),
                yaml::Selector::By(by) => match (&by.operation, &by.tag, &by.path) {
                    (Some(id), None, None) => Some(Selector::Operation(self.text(&text(id), key))),
                    (None, Some(tag), None) => Some(Selector::Tag(self.text(&text(tag), key))),
                    (None, None, Some(p)) => self.path_selector(&text(p), key),
                    // None or several: the shape check has said so.
                    _ => None,
                },
            };
            selectors.extend(selector.map(|s| (s, self.problems.place(entry.at))));
        }
        selectors
    }

    fn path_selector(&mut self, value: &At<String>, key: &str) -> Option<Selector> {
        self.pattern(value, key).then(|| Selector::Path(value.value.clone()))
    }

    pub fn pattern(&mut self, value: &At<String>, key: &str) -> bool {
        let path = &value.value;
        if !path.starts_with('/') {
            let plain = path.is_empty() || path.contains(['/', '*']) || key.starts_with("relay.");
            let help = match plain {
                true => "paths start with `/`".to_string(),
                false if key == "audit.rules.match.paths" => {
                    "an operation goes to `operations`, a tag to `tags`".into()
                }
                false => "an operation is written `operation: id`, a tag `tag: name`".to_string(),
            };
            self.error(value.at, format!("`{key}`: {} does not start with `/`", quoted(value)), help);
            return false;
        }
        if path.contains(['?', '#']) {
            let help = "only the path is compared; a single segment is `*` or `{name}`";
            self.error(value.at, format!("`{key}`: {} is more than a path", quoted(value)), help);
            return false;
        }
        if path.split('/').any(|s| s.contains("**") && s != "**") {
            let help = "`**` is a segment of its own: `/v1/**`; part of a segment is `*`";
            self.error(value.at, format!("`{key}`: {} is not a pattern", quoted(value)), help);
            return false;
        }
        if path.bytes().filter(|b| *b == b'{').count() != path.bytes().filter(|b| *b == b'}').count() {
            let help = "a parameter is written `{name}`";
            self.error(value.at, format!("`{key}`: {} is not a pattern", quoted(value)), help);
            return false;
        }
        true
    }

    fn rule(&mut self, rule: &At<yaml::Rule>) -> Rule {
        let matches = &rule.value.matches.value;
        let kinds = [&matches.methods, &matches.paths, &matches.operations, &matches.tags];
        if !rule.value.matches.is_unset() && kinds.iter().all(|k| k.is_empty()) {
            self.error(
                rule.at,
                "`match` of a rule must not be empty",
                "give `methods`, `paths`, `operations` or `tags`; what holds for all calls goes to `audit`",
            );
        }
        let texts = |check: &mut Self, values: &[At<String>], key: &str| {
            values.iter().map(|v| check.text(v, key)).collect::<Vec<_>>()
        };
        let paths = &matches.paths;
        Rule {
            methods: matches.methods.iter().map(|m| self.method(m)).collect(),
            paths: paths
                .iter()
                .filter(|p| self.pattern(p, "audit.rules.match.paths"))
                .map(|p| p.value.clone())
                .collect(),
            operations: texts(self, &matches.operations, "audit.rules.match.operations"),
            tags: texts(self, &matches.tags, "audit.rules.match.tags"),
            level: rule.value.level.as_ref().map(|l| l.value),
            delivery: rule.value.delivery.as_ref().map(|d| d.value),
            place: self.problems.place(rule.at),
        }
    }

    fn method(&mut self, method: &At<String>) -> String {
        let name = self.token(method, "audit.rules.match.methods", "a method");
        if name.bytes().any(|b| b.is_ascii_lowercase()) {
            self.warn(
                method.at,
                format!("method {} is not in upper case, and methods are case-sensitive", quoted(method)),
                (!method.from_env).then(|| format!("write `{}`", name.to_ascii_uppercase())),
            );
        }
        name
    }

    fn client_ip(&mut self, client_ip: &yaml::ClientIp) -> ClientIp {
        let trusted_proxies = self.networks(&client_ip.trusted_proxies, "client_ip.trusted_proxies");
        let Some(header) = &client_ip.header else {
            if let Some(first) = client_ip.trusted_proxies.first() {
                let help = format!("name the header they set: {}", one_of(ADDRESS_HEADERS));
                self.warn(first.at, "`client_ip.trusted_proxies` has no effect without `header`", help);
            }
            return ClientIp { header: None, trusted_proxies };
        };
        let known = ADDRESS_HEADERS.iter().find(|h| h.eq_ignore_ascii_case(header.value.trim()));
        if known.is_none() {
            let help = match nearest(&header.value, ADDRESS_HEADERS.iter().copied()) {
                Some(near) if !header.from_env => format!("did you mean `{near}`?"),
                _ => format!("use {}", one_of(ADDRESS_HEADERS)),
            };
            self.error(header.at, format!("`client_ip.header`: {} is not known", quoted(header)), help);
        }
        if client_ip.trusted_proxies.is_empty() {
            self.error(
                header.at,
                "`client_ip.header` needs `trusted_proxies`",
                "name the addresses of your proxies: anyone else can write any address into a header",
            );
        }
        ClientIp { header: known.map(|h| h.to_string()), trusted_proxies }
    }

    fn redact(&mut self, redact: &yaml::Redact) -> Redact {
        for keep in &redact.keep {
            if redact.keys.iter().any(|k| k.value.eq_ignore_ascii_case(&keep.value)) {
                let message = format!("{} stands in `redact.keys` and in `redact.keep`", quoted(keep));
                self.error(keep.at, message, "leave it out of one of them");
            }
        }
        let pseudonym_key_file = redact.pseudonym_key_file.as_ref().and_then(|file| {
            let (path, bytes) = self.file(file, "redact.pseudonym_key_file")?;
            if trimmed(&bytes).len() < MIN_PSEUDONYM_KEY {
                self.error(
                    file.at,
                    format!("`redact.pseudonym_key_file` holds fewer than {MIN_PSEUDONYM_KEY} bytes"),
                    "make one: head -c 32 /dev/urandom | base64 > redact.key",
                );
            }
            Some(path)
        });
        Redact {
            keys: redact.keys.iter().map(|k| self.text(k, "redact.keys")).collect(),
            keep: redact.keep.iter().map(|k| self.text(k, "redact.keep")).collect(),
            unknown: match redact.unknown.as_ref().map(|u| u.value) {
                None | Some(yaml::Unknown::Keep) => Unknown::Keep,
                Some(yaml::Unknown::Mask) => Unknown::Mask,
            },
            pseudonym_key_file,
        }
    }

    fn journal(&mut self, journal: &yaml::Journal) -> Journal {
        let sync_timeout = self.duration(&journal.sync_timeout, "journal.sync_timeout");
        if units::duration(&journal.sync_timeout.value.0) == Ok(Duration::ZERO) {
            self.error(journal.sync_timeout.at, "`journal.sync_timeout` must be more than 0", ());
        }
        Journal {
            dir: self.path(&journal.dir, "journal.dir"),
            max_bytes: self.size(&journal.max_bytes, "journal.max_bytes", MIN_JOURNAL..=u64::MAX),
            on_full: match journal.on_full.value {
                yaml::OnFull::Drop => OnFull::Drop,
                yaml::OnFull::Refuse => OnFull::Refuse,
            },
            max_open_calls: journal.max_open_calls.value,
            sync_timeout,
        }
    }

    fn kafka(&mut self, kafka: &yaml::Kafka) -> Kafka {
        for broker in &kafka.brokers {
            if host_port(&broker.value).is_none_or(|(_, port)| port.is_none()) {
                let message = format!("`kafka.brokers`: {} is not `host:port`", quoted(broker));
                self.error(broker.at, message, "for example `kafka:9092`");
            }
        }
        let topic = &kafka.topic.value;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let dots = topic == "." || topic == "..";
        if topic.is_empty() || topic.len() > 249 || dots || !topic.bytes().all(fits) {
            self.error(
                kafka.topic.at,
                format!("`kafka.topic`: {} is not a topic's name", quoted(&kafka.topic)),
                "at most 249 letters, digits, `.`, `_` and `-`",
            );
        }
        properties::check(self, &kafka.properties);
        Kafka {
            brokers: kafka.brokers.iter().map(|b| b.value.clone()).collect(),
            topic: topic.clone(),
            properties: kafka.properties.iter().map(|(k, v)| (k.clone(), v.value.0.clone())).collect(),
        }
    }

    fn clickhouse(&mut self, clickhouse: &yaml::ClickHouse) -> ClickHouse {
        self.url(&clickhouse.url, "clickhouse.url", &["http"], "write `http://host:port`");
        let password = clickhouse.password_file.as_ref().and_then(|file| {
            let (_, bytes) = self.file(file, "clickhouse.password_file")?;
            match std::str::from_utf8(trimmed(&bytes)) {
                Ok(password) => Some(Secret(password.to_string())),
                Err(_) => {
                    self.error(file.at, "`clickhouse.password_file` is not UTF-8", ());
                    None
                }
            }
        });
        let cluster = clickhouse.cluster.as_ref().filter(|c| !c.value.is_empty());
        if let Some(cluster) = cluster {
            self.identifier(cluster, "clickhouse.cluster");
        }
        self.identifier(&clickhouse.database, "clickhouse.database");
        ClickHouse {
            url: clickhouse.url.value.trim().trim_end_matches('/').to_string(),
            database: clickhouse.database.value.clone(),
            user: self.text(&clickhouse.user, "clickhouse.user"),
            password,
            cluster: cluster.map(|c| c.value.clone()),
            readers: self.readers(&clickhouse.readers),
        }
    }

    fn readers(&mut self, readers: &yaml::Readers) -> ReadLimits {
        let max_time = self.duration(&readers.max_time, "clickhouse.readers.max_time");
        if units::duration(&readers.max_time.value.0).is_ok_and(|time| time < Duration::from_secs(1)) {
            self.error(readers.max_time.at, "`clickhouse.readers.max_time` must be at least 1s", ());
        }
        let sizes = 1 << 20..=u64::MAX >> 1;
        ReadLimits {
            max_rows: readers.max_rows.value,
            max_bytes: self.size(&readers.max_bytes, "clickhouse.readers.max_bytes", sizes.clone()),
            max_time,
            max_memory: self.size(&readers.max_memory, "clickhouse.readers.max_memory", sizes),
        }
    }

    fn retention(&mut self, retention: &yaml::Retention) -> Retention {
        let rules = retention.rules.iter().map(|rule| {
            let matches = &rule.value.matches.value;
            let empty =
                matches.tenants.is_empty() && matches.services.is_empty() && matches.levels.is_empty();
            if empty && !rule.value.matches.is_unset() {
                let help = "give `tenants`, `services` or `levels`; what holds for all goes to `retention`";
                self.error(rule.at, "`match` of a retention rule must not be empty", help);
            }
            let values = |texts: &[At<String>]| texts.iter().map(|t| t.value.clone()).collect();
            RetentionRule {
                tenants: values(&matches.tenants),
                services: values(&matches.services),
                levels: matches.levels.iter().map(|l| l.value).collect(),
                days: rule.value.days.as_ref().unwrap_or(&retention.days).value,
                body_days: rule.value.body_days.as_ref().unwrap_or(&retention.body_days).value,
            }
        });
        Retention {
            rules: rules.collect(),
            days: retention.days.value,
            body_days: retention.body_days.value,
            archive: retention.archive.as_ref().map(|dir| self.path(dir, "retention.archive")),
        }
    }

    /// A name that stands in SQL as it is.
    fn identifier(&mut self, value: &At<String>, key: &str) {
        let name = value.value.as_bytes();
        let letters = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if !letters || name.first().is_none_or(u8::is_ascii_digit) || name.len() > 64 {
            let message = format!("`{key}`: {} is not a name", quoted(value));
            self.error(value.at, message, "letters, digits and `_`, at most 64, not a digit first");
        }
    }

    fn admin(&mut self, admin: &yaml::Admin) -> Admin {
        let local = self.address(&admin.local, "admin.local");
        if !local.ip().is_loopback() {
            self.error(
                admin.local.at,
                "`admin.local` must be an address of this host only",
                "it shows traffic and takes commands: use `127.0.0.1` or `[::1]`",
            );
        }
        Admin { listen: self.address(&admin.listen, "admin.listen"), local }
    }

    /// Listeners that would be in each other's way, and a relay that would call itself.
    fn ports(&mut self, file: &yaml::File, listen: &Listen, admin: &Admin, upstream: &Upstream) {
        let clash = |a: SocketAddr, b: SocketAddr| {
            let any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() != 0 && a.port() == b.port() && (any || a.ip() == b.ip())
        };
        let traffic = match listen {
            Listen::Tcp(address) => Some(("listen", *address, file.listen.at)),
            Listen::Unix { .. } => None,
        };
        let admins = [
            ("admin.listen", admin.listen, file.admin.listen.at),
            ("admin.local", admin.local, file.admin.local.at),
        ];
        let listeners: Vec<_> = traffic.into_iter().chain(admins).collect();
        for (i, (second, b, at_b)) in listeners.iter().enumerate() {
            for (first, _, at_a) in listeners.iter().take(i).filter(|(_, a, _)| clash(*a, *b)) {
                let at = (*at_b).max(*at_a);
                let message = format!("`{first}` and `{second}` cannot have the same address and port");
                self.error(at, message, "give one of them another port");
            }
        }
        if edges::is_itself(listen, upstream) {
            self.error(
                file.upstream.at,
                "`upstream` is Sidelog's own `listen` address",
                "name the service's port, or listen on another",
            );
        }
    }

    fn relay(&mut self, relay: &yaml::Relay) -> Relay {
        let head_timeout = self.duration(&relay.head_timeout, "relay.head_timeout");
        if units::duration(&relay.head_timeout.value.0) == Ok(Duration::ZERO) {
            self.error(relay.head_timeout.at, "`relay.head_timeout` must be more than 0", ());
        }
        Relay {
            max_head: self.size(&relay.max_head, "relay.max_head", HEAD) as usize,
            max_fields: relay.max_fields.value as usize,
            head_timeout,
            drain_timeout: self.duration(&relay.drain_timeout, "relay.drain_timeout"),
            max_connections: relay.max_connections.value as usize,
            max_streams: relay.max_streams.value as usize,
            max_resets: relay.max_resets.value,
            strict_patience: self.strict_patience(&relay.strict_patience),
            strict_held: self.size(&relay.strict_held, "relay.strict_held", HELD) as usize,
            max_unsent: self.size(&relay.max_unsent, "relay.max_unsent", UNSENT) as u32,
            stall_timeout: self.duration(&relay.stall_timeout, "relay.stall_timeout"),
            close_timeout: self.duration(&relay.close_timeout, "relay.close_timeout"),
            upgrades: edges::upgrades(self, &relay.upgrades),
            other_upgrades: relay.other_upgrades.value,
            threads: relay.threads.value as usize,
        }
    }

    fn strict_patience(&mut self, value: &At<yaml::Span>) -> Duration {
        const KEY: &str = "relay.strict_patience";
        let patience = self.duration(value, KEY);
        if patience > MAX_PATIENCE {
            let most = units::show_duration(MAX_PATIENCE);
            self.error(value.at, format!("`{KEY}` must be at most {most}"), ());
        }
        patience
    }
}

/// The key of keyed digests, without one newline at its end; the same reading for whoever needs it.
pub fn read_pseudonym_key(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read_bounded(path)?;
    let key = trimmed(&bytes);
    if key.len() < MIN_PSEUDONYM_KEY {
        return Err(format!("it holds fewer than {MIN_PSEUDONYM_KEY} bytes"));
    }
    Ok(key.to_vec())
}

/// A small file, or why there is none.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| why(&e))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| why(&e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {}", units::show_size(MAX_FILE)));
    }
    Ok(bytes)
}

/// Without the system's error number.
pub(super) fn why(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_string(),
        kind => kind.to_string(),
    }
}

/// Without one line end at the end: editors and `echo` add it.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// A value as messages show it; never one that came from a variable.
pub(super) fn quoted(value: &At<String>) -> String {
    if value.from_env { "the variable's value".to_string() } else { shown(&value.value) }
}

/// `host`, `host:port`, `[v6]:port`; the host without brackets.
fn host_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return match port.strip_prefix(':') {
            Some(port) => Some((host.to_string(), Some(port_number(port)?))),
            None => port.is_empty().then(|| (host.to_string(), None)),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port_number(port)?)),
        None => (text, None),
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (!host.is_empty() && host.len() <= 253 && host.bytes().all(fits)).then(|| (host.to_string(), port))
}

fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}
