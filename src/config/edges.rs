//! Validates the connection's edges: listener, service, TLS, PROXY protocol, upgrades.
//!
//! Certificates are read and put together here as the sidecar will do it, so that `sidelog check` says
//! what a handshake would otherwise.

use super::load::{Check, quoted};
use super::problem::Pos;
use super::tree::At;
use super::{ClientAuth, ForwardAddress, Http2, Listen, Tls, UpgradeRule, Upstream, UpstreamTls, yaml};
use crate::tls::{self, Part};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

/// Bytes of a Unix socket's path, with its end (`sockaddr_un`).
const MAX_SOCKET_PATH: usize = 108;
const UPSTREAM_HELP: &str = "write `http://host:port`, `https://host:port` or `unix:/path`";

pub(super) fn listen(check: &mut Check<'_>, file: &yaml::File) -> Listen {
    if let Some(path) = socket_path(check, &file.listen, "listen") {
        let mode = u32::from_str_radix(&file.listen_mode.value.0, 8).unwrap_or(0o1000);
        if mode > 0o777 {
            let at = file.listen_mode.at;
            check.error(at, "`listen_mode` is not a file's mode", "three octal digits: `0660`");
        }
        return Listen::Unix { path, mode };
    }
    if !file.listen_mode.is_unset() {
        let help = "it is the mode of a socket file: `listen: unix:/run/sidelog.sock`";
        check.warn(file.listen_mode.at, "`listen_mode` has no effect on an address", help);
    }
    Listen::Tcp(check.address(&file.listen, "listen"))
}

/// The path of `unix:/path`; none where it is something else.
fn socket_path(check: &mut Check<'_>, value: &At<String>, key: &str) -> Option<PathBuf> {
    let path = value.value.trim().strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        let message = format!("`{key}`: {} names no socket file", quoted(value));
        check.error(value.at, message, "write its whole path: `unix:/run/app.sock`");
    } else if path.len() >= MAX_SOCKET_PATH {
        let most = MAX_SOCKET_PATH - 1;
        check.error(value.at, format!("`{key}`: a socket's path has at most {most} bytes"), ());
    }
    Some(PathBuf::from(path))
}

pub(super) fn upstream(check: &mut Check<'_>, file: &yaml::File) -> Upstream {
    let value = &file.upstream;
    let nowhere = Upstream::Tcp { host: String::new(), port: 0, tls: None };
    if value.is_unset() && value.value.is_empty() {
        return nowhere;
    }
    let tls = file.upstream_tls.as_ref();
    if let Some(path) = socket_path(check, value, "upstream") {
        no_effect(check, tls, "`upstream` is a Unix socket");
        if let Some(source) = &file.source_address {
            check.error(source.at, "`source_address` has no meaning with a Unix socket", "leave it out");
        }
        return Upstream::Unix(path);
    }
    let Some(url) = check.url(value, "upstream", &["http", "https"], UPSTREAM_HELP) else { return nowhere };
    if !url.path.is_empty() && url.path != "/" {
        check.error(
            value.at,
            "`upstream` must not have a path",
            "requests are passed on as they are; write `http://host:port`",
        );
    }
    let (host, secure) = (url.host, url.scheme == "https");
    let port = url.port.unwrap_or(if secure { 443 } else { 80 });
    if !secure {
        no_effect(check, tls, "`upstream` is not https://");
        return Upstream::Tcp { host, port, tls: None };
    }
    let default = At { value: yaml::UpstreamTls::default(), at: value.at, from_env: false };
    let tls = upstream_tls(check, tls.unwrap_or(&default));
    Upstream::Tcp { host, port, tls: Some(tls) }
}

fn no_effect(check: &mut Check<'_>, tls: Option<&At<yaml::UpstreamTls>>, why: &str) {
    if let Some(tls) = tls {
        check.warn(tls.at, format!("`upstream_tls` has no effect: {why}"), "leave it out, or write https://");
    }
}

fn upstream_tls(check: &mut Check<'_>, section: &At<yaml::UpstreamTls>) -> UpstreamTls {
    let yaml = &section.value;
    let path = |check: &mut Check<'_>, value: &Option<At<String>>, key: &str| {
        value.as_ref().map(|v| check.beside(v, key))
    };
    let made = UpstreamTls {
        ca_file: path(check, &yaml.ca_file, Part::Ca.key()),
        sni: yaml.sni.as_ref().map(|sni| {
            if rustls_name(&sni.value).is_none() {
                let message = format!("`upstream_tls.sni`: {} is not a host's name", quoted(sni));
                check.error(sni.at, message, "for example `orders.example.com`");
            }
            sni.value.clone()
        }),
        client_cert_file: path(check, &yaml.client_cert_file, Part::ClientCertificate.key()),
        client_key_file: path(check, &yaml.client_key_file, Part::ClientKey.key()),
        reload: check.duration(&yaml.reload, "upstream_tls.reload"),
    };
    match (&yaml.client_cert_file, &yaml.client_key_file) {
        (Some(_), Some(_)) | (None, None) => {}
        (Some(one), None) | (None, Some(one)) => {
            let help = "a certificate and its key: `client_cert_file` and `client_key_file`";
            check.error(one.at, "`upstream_tls` has only half of a client certificate", help);
            return made;
        }
    }
    if let Err(error) = tls::client(&made) {
        let at = error.file.as_ref().and_then(|(part, _)| match part {
            Part::Ca => yaml.ca_file.as_ref(),
            Part::ClientCertificate => yaml.client_cert_file.as_ref(),
            _ => yaml.client_key_file.as_ref(),
        });
        unusable(check, at, section.at, &error);
    }
    made
}

fn rustls_name(name: &str) -> Option<()> {
    tokio_rustls::rustls::pki_types::ServerName::try_from(name).ok().map(|_| ())
}

/// `at`: where the file is named.
fn unusable(check: &mut Check<'_>, at: Option<&At<String>>, section: Pos, error: &tls::Error) {
    let help = "paths are relative to the configuration file; keys are PEM and not encrypted";
    match (at, &error.file) {
        (Some(value), Some((part, _))) if value.from_env => {
            check.error(value.at, format!("`{}`: the file: {}", part.key(), error.why), help);
        }
        (Some(value), Some((part, path))) => {
            let path = super::problem::shown_path(path);
            check.error(value.at, format!("`{}`: {path}: {}", part.key(), error.why), help);
        }
        _ => check.error(section, error.to_string(), ()),
    }
}

pub(super) fn tls(check: &mut Check<'_>, section: &At<yaml::Tls>) -> Option<Tls> {
    let yaml = &section.value;
    // Left out: the shape check has said so.
    if yaml.cert_file.is_unset() || yaml.key_file.is_unset() {
        return None;
    }
    let made = Tls {
        cert_file: check.beside(&yaml.cert_file, Part::Certificate.key()),
        key_file: check.beside(&yaml.key_file, Part::Key.key()),
        client_ca_file: yaml.client_ca_file.as_ref().map(|ca| check.beside(ca, Part::ClientCa.key())),
        client_auth: client_auth(check, yaml),
        reload: check.duration(&yaml.reload, "tls.reload"),
    };
    if let Err(error) = tls::server(&made) {
        let at = error.file.as_ref().and_then(|(part, _)| match part {
            Part::Certificate => Some(&yaml.cert_file),
            Part::ClientCa => yaml.client_ca_file.as_ref(),
            _ => Some(&yaml.key_file),
        });
        unusable(check, at, section.at, &error);
    }
    Some(made)
}

fn client_auth(check: &mut Check<'_>, yaml: &yaml::Tls) -> ClientAuth {
    let word = yaml.client_auth.as_ref();
    match (word.map(|w| w.value), &yaml.client_ca_file) {
        (None, None) | (Some(yaml::ClientAuth::None), None) => ClientAuth::None,
        (None, Some(_)) | (Some(yaml::ClientAuth::Required), Some(_)) => ClientAuth::Required,
        (Some(yaml::ClientAuth::Optional), Some(_)) => ClientAuth::Optional,
        (Some(yaml::ClientAuth::None), Some(ca)) => {
            let help = "write `client_auth: optional` or `required`, or leave the CA out";
            check.warn(
                ca.at,
                "`tls.client_ca_file` has no effect: no client is asked for a certificate",
                help,
            );
            ClientAuth::None
        }
        (Some(_), None) => {
            let at = word.map(|w| w.at).unwrap_or_default();
            let help = "name the CA that clients' certificates are verified against";
            check.error(at, "`tls.client_auth` needs `tls.client_ca_file`", help);
            ClientAuth::None
        }
    }
}

pub(super) fn proxy_protocol(
    check: &mut Check<'_>,
    section: &At<yaml::ProxyProtocol>,
    listen: &Listen,
) -> Vec<IpNet> {
    if matches!(listen, Listen::Unix { .. }) {
        let help = "peers of a Unix socket have no address; let the balancer connect to an IP address";
        check.error(section.at, "`proxy_protocol` has no meaning with a Unix socket", help);
    }
    let networks = check.networks(&section.value.from, "proxy_protocol.from");
    networks.into_iter().map(crate::extract::canonical_net).collect()
}

pub(super) fn upstream_http2(word: yaml::Http2) -> Http2 {
    match word {
        yaml::Http2::Auto => Http2::Auto,
        yaml::Http2::On => Http2::On,
        yaml::Http2::Off => Http2::Off,
    }
}

pub(super) fn forward_address(word: yaml::ForwardAddress) -> ForwardAddress {
    match word {
        yaml::ForwardAddress::None => ForwardAddress::None,
        yaml::ForwardAddress::XForwardedFor => ForwardAddress::XForwardedFor,
        yaml::ForwardAddress::Forwarded => ForwardAddress::Forwarded,
        yaml::ForwardAddress::ProxyV2 => ForwardAddress::ProxyV2,
    }
}

pub(super) fn source_address(
    check: &mut Check<'_>,
    value: Option<&At<String>>,
    upstream: &Upstream,
) -> Option<IpAddr> {
    let value = value?;
    let Ok(source) = value.value.trim().parse::<IpAddr>() else {
        let message = format!("`source_address`: {} is not an address", quoted(value));
        check.error(value.at, message, "an IP address of this host, without a port: `127.0.0.2`");
        return None;
    };
    if let Upstream::Tcp { host, .. } = upstream
        && host.parse::<IpAddr>().is_ok_and(|to| to.is_ipv4() != source.is_ipv4())
    {
        let help = "both must be IPv4, or both IPv6";
        check.error(value.at, "`source_address` and `upstream` are of different kinds", help);
    }
    Some(source)
}

pub(super) fn upgrades(check: &mut Check<'_>, entries: &[At<yaml::Upgrade>]) -> Vec<UpgradeRule> {
    const KEY: &str = "relay.upgrades";
    let mut rules = Vec::with_capacity(entries.len());
    for entry in entries {
        let text = |s: &str| At { value: s.to_owned(), at: entry.at, from_env: entry.from_env };
        let (protocol, paths) = match &entry.value {
            yaml::Upgrade::Protocol(name) => (text(name), None),
            yaml::Upgrade::At(narrow) => (text(&narrow.protocol), Some(&narrow.paths)),
        };
        let protocol = check.token(&protocol, KEY, "a protocol's name").to_ascii_lowercase();
        if protocol == "h2c" {
            let help = "HTTP/2 inside a tunnel would not be audited; let clients use prior knowledge";
            check.error(entry.at, "`relay.upgrades`: `h2c` cannot be allowed", help);
        }
        let paths = paths.map(|paths| {
            let fits =
                |check: &mut Check<'_>, path: &String| check.pattern(&text(path), "relay.upgrades.paths");
            paths.iter().filter(|p| fits(check, p)).cloned().collect()
        });
        rules.push(UpgradeRule { protocol, paths });
    }
    rules
}

/// A relay that would call itself.
pub(super) fn is_itself(listen: &Listen, upstream: &Upstream) -> bool {
    let (host, port, listen) = match (listen, upstream) {
        (Listen::Tcp(listen), Upstream::Tcp { host, port, .. }) => (host, *port, *listen),
        (Listen::Unix { path, .. }, Upstream::Unix(to)) => return path == to,
        _ => return false,
    };
    let here = match host.parse::<IpAddr>() {
        Ok(ip) => ip == listen.ip() || (ip.is_loopback() && listen.ip().is_unspecified()),
        Err(_) => host == "localhost" && (listen.ip().is_loopback() || listen.ip().is_unspecified()),
    };
    here && port == listen.port()
}
