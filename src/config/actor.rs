//! Validates the sources of an actor's identity: whoever is believed here can be anyone in the log.

use super::load::{Check, quoted};
use super::problem::shown_path;
use super::tree::At;
use super::{
    ActorRule, Claims, ClientAuth, ForwardedCertRule, HeaderRule, Jwks, JwksUrl, JwtRule, Tls, units, yaml,
};
use http::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const ANSWER: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;

/// None where the item is wrong; the shape check has made sure that it has exactly one key.
pub(super) fn rule(check: &mut Check<'_>, actor: &At<yaml::Actor>, tls: Option<&Tls>) -> Option<ActorRule> {
    let actor = &actor.value;
    if let Some(mtls) = &actor.mtls {
        if tls.is_none_or(|tls| tls.client_auth == ClientAuth::None) {
            let help = "name the CA that clients' certificates are verified against";
            check.error(mtls.at, "`mtls` needs `tls.client_ca_file`", help);
        }
        return Some(ActorRule::Mtls);
    }
    if let Some(jwt) = &actor.jwt {
        return Some(ActorRule::Jwt(jwt_rule(check, &jwt.value)));
    }
    if let Some(header) = &actor.header {
        return Some(ActorRule::Header(header_rule(check, &header.value)));
    }
    if let Some(key) = &actor.api_key {
        return Some(ActorRule::ApiKey {
            header: header_name(check, &key.value.header, "actor.api_key.header"),
        });
    }
    if let Some(cookie) = &actor.cookie {
        let name = &cookie.value.name;
        // Left out: the shape check has said so.
        let fits = name.is_unset() || !check.token(name, "actor.cookie.name", "a cookie's name").is_empty();
        return fits.then(|| ActorRule::Cookie { name: name.value.clone() });
    }
    if let Some(cert) = &actor.forwarded_cert {
        let (cert, key) = (&cert.value, "actor.forwarded_cert");
        return Some(ActorRule::ForwardedCert(ForwardedCertRule {
            header: header_name(check, &cert.header, &format!("{key}.header")),
            verify_header: optional(check, &cert.verify_header, &format!("{key}.verify_header")),
            trusted_from: check.networks(&cert.trusted_from, &format!("{key}.trusted_from")),
        }));
    }
    actor.basic.as_ref().map(|_| ActorRule::Basic)
}

fn header_name(check: &mut Check<'_>, value: &At<String>, key: &str) -> String {
    check.token(value, key, "a header's name")
}

fn optional(check: &mut Check<'_>, value: &Option<At<String>>, key: &str) -> Option<String> {
    value.as_ref().map(|v| header_name(check, v, key))
}

fn header_rule(check: &mut Check<'_>, header: &yaml::Header) -> HeaderRule {
    HeaderRule {
        // Left out: the shape check has said so.
        id: if header.id.is_unset() {
            String::new()
        } else {
            header_name(check, &header.id, "actor.header.id")
        },
        name: optional(check, &header.name, "actor.header.name"),
        kind: optional(check, &header.kind, "actor.header.type"),
        on_behalf_of: optional(check, &header.on_behalf_of, "actor.header.on_behalf_of"),
        tenant: optional(check, &header.tenant, "actor.header.tenant"),
        roles: optional(check, &header.roles, "actor.header.roles"),
        trusted_from: check.networks(&header.trusted_from, "actor.header.trusted_from"),
    }
}

fn jwt_rule(check: &mut Check<'_>, jwt: &yaml::Jwt) -> JwtRule {
    let claim = |check: &mut Check<'_>, value: &At<String>, key: &str| {
        if value.value.split('.').any(str::is_empty) {
            check.error(
                value.at,
                format!("`{key}`: {} is not a claim", quoted(value)),
                "a name, or names with dots between them: `realm_access.roles`",
            );
        }
        value.value.clone()
    };
    let claims = &jwt.claims;
    let optional = |check: &mut Check<'_>, value: &Option<At<String>>, key: &str| {
        value.as_ref().map(|v| claim(check, v, key))
    };
    let (tenant, roles, kind) = (
        optional(check, &claims.tenant, "actor.jwt.claims.tenant"),
        optional(check, &claims.roles, "actor.jwt.claims.roles"),
        optional(check, &claims.kind, "actor.jwt.claims.type"),
    );
    JwtRule {
        header: header_name(check, &jwt.header, "actor.jwt.header"),
        jwks: jwks(check, jwt),
        issuer: jwt.issuer.as_ref().map(|i| check.text(i, "actor.jwt.issuer")),
        audience: jwt.audience.iter().map(|a| check.text(a, "actor.jwt.audience")).collect(),
        algorithms: jwt.algorithms.iter().map(|a| format!("{:?}", a.value)).collect(),
        leeway: check.duration(&jwt.leeway, "actor.jwt.leeway").as_secs(),
        claims: Claims {
            id: claim(check, &claims.id, "actor.jwt.claims.id"),
            name: claim(check, &claims.name, "actor.jwt.claims.name"),
            tenant,
            roles,
            kind,
            act: claim(check, &claims.act, "actor.jwt.claims.act"),
        },
    }
}

fn jwks(check: &mut Check<'_>, jwt: &yaml::Jwt) -> Jwks {
    // Checked even where there is no URL: what is wrong is wrong.
    let fetch = fetch(check, &jwt.jwks_fetch);
    match (&jwt.jwks_file, &jwt.jwks_url) {
        (Some(_), Some(url)) => {
            check.error(
                url.at,
                "`actor.jwt.jwks_url` and `actor.jwt.jwks_file` exclude each other",
                "leave one out, or write two `jwt` sources",
            );
            Jwks::None
        }
        (Some(file), None) => {
            jwks_file(check, file).map_or(Jwks::None, |(path, text)| Jwks::File { path, text })
        }
        (None, Some(url)) => Jwks::Url(Box::new(JwksUrl { url: jwks_url(check, url), ..fetch })),
        (None, None) => Jwks::None,
    }
}

fn fetch(check: &mut Check<'_>, fetch: &yaml::JwksFetch) -> JwksUrl {
    let at_least = |check: &mut Check<'_>, value: &At<yaml::Span>, key: &str, least: Duration| {
        let duration = check.duration(value, key);
        // Zero: it could not be read, which has been said, or is as wrong.
        if duration < least && (!duration.is_zero() || units::duration(&value.value.0).is_ok()) {
            check.error(value.at, format!("`{key}` must be at least {}", units::show_duration(least)), ());
        }
        duration
    };
    let (ca_file, authorities) =
        fetch.ca_file.as_ref().and_then(|file| authorities(check, file)).unwrap_or_default();
    JwksUrl {
        url: String::new(),
        refresh: at_least(check, &fetch.refresh, "actor.jwt.jwks_fetch.refresh", Duration::from_secs(10)),
        cooldown: at_least(check, &fetch.cooldown, "actor.jwt.jwks_fetch.cooldown", Duration::from_secs(1)),
        timeout: at_least(check, &fetch.timeout, "actor.jwt.jwks_fetch.timeout", Duration::from_millis(100)),
        max_bytes: check.size(&fetch.max_bytes, "actor.jwt.jwks_fetch.max_bytes", ANSWER),
        ca_file,
        authorities,
    }
}

/// Where the keys are; only looked at, never opened here.
fn jwks_url(check: &mut Check<'_>, value: &At<String>) -> String {
    const KEY: &str = "actor.jwt.jwks_url";
    const HELP: &str = "write `https://host/path`";
    let text = value.value.trim();
    let uri = text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let Some((uri, host)) = uri.as_ref().and_then(|uri| Some((uri, uri.host()?))) else {
        check.error(value.at, format!("`{KEY}`: {} is not a URL of a JWKS", quoted(value)), HELP);
        return String::new();
    };
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        let message = format!("`{KEY}`: credentials do not belong in the URL");
        check.error(value.at, message, "leave out everything before the `@`");
    }
    if text.contains('#') {
        check.error(value.at, format!("`{KEY}`: a fragment has no meaning here"), HELP);
    }
    if uri.scheme_str() == Some("http") && !is_loopback(host) {
        check.warn(
            value.at,
            format!("`{KEY}`: over http://, whoever is on the way can put in keys of their own"),
            "use https://; `jwks_fetch.ca_file` names an authority of your own",
        );
    }
    text.to_string()
}

/// A host of a URL that is this very machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The certificates of a PEM file.
fn authorities(check: &mut Check<'_>, file: &At<String>) -> Option<(Option<PathBuf>, Vec<Vec<u8>>)> {
    const KEY: &str = "actor.jwt.jwks_fetch.ca_file";
    let (path, pem) = check.file(file, KEY)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.unwrap_or_default();
    if certificates.is_empty() {
        let name = if file.from_env { "the file".to_string() } else { shown_path(&path) };
        let message = format!("`{KEY}`: {name} holds no certificate in PEM form");
        check.error(file.at, message, "it starts with `-----BEGIN CERTIFICATE-----`");
        return None;
    }
    Some((Some(path), certificates.iter().map(|c| c.to_vec()).collect()))
}

/// A JWKS document: JSON with a list `keys`. Which keys can be used is for the verifier to say.
fn jwks_file(check: &mut Check<'_>, file: &At<String>) -> Option<(PathBuf, String)> {
    const KEY: &str = "actor.jwt.jwks_file";
    const HELP: &str = "a JWKS document is JSON: {\"keys\": [...]}";
    let (path, bytes) = check.file(file, KEY)?;
    let name = if file.from_env { "the file".to_string() } else { shown_path(&path) };
    let Ok(text) = String::from_utf8(bytes) else {
        check.error(file.at, format!("`{KEY}`: {name} is not UTF-8"), HELP);
        return None;
    };
    let json: serde_json::Value = match serde_json::from_str(&text) {
        Ok(json) => json,
        Err(e) => {
            let (line, column) = (e.line(), e.column());
            check.error(file.at, format!("`{KEY}`: {name} is not JSON (line {line}, column {column})"), HELP);
            return None;
        }
    };
    let Some(keys) = json.get("keys").and_then(|k| k.as_array()) else {
        check.error(file.at, format!("`{KEY}`: {name} has no list `keys`"), HELP);
        return None;
    };
    if keys.is_empty() {
        check.warn(file.at, format!("`{KEY}`: {name} holds no key"), "no token can be verified");
    }
    if keys.iter().any(|k| k.get("d").is_some()) {
        let help = "verifying needs the public keys only; keep private ones with the issuer";
        check.warn(file.at, format!("`{KEY}`: {name} holds a private key"), help);
    }
    Some((path, text))
}
