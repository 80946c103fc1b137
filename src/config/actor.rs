//! Validates the sources of an actor's identity: whoever is believed here can be anyone in the log.

use super::load::{Check, quoted};
use super::problem::shown_path;
use super::tree::At;
use super::{ActorRule, Claims, ClientAuth, HeaderRule, JwtRule, Tls, yaml};
use std::path::PathBuf;

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
    actor.basic.as_ref().map(|_| ActorRule::Basic)
}

fn header_name(check: &mut Check<'_>, value: &At<String>, key: &str) -> String {
    check.token(value, key, "a header's name")
}

fn header_rule(check: &mut Check<'_>, header: &yaml::Header) -> HeaderRule {
    let optional = |check: &mut Check<'_>, value: &Option<At<String>>, key: &str| {
        value.as_ref().map(|v| header_name(check, v, key))
    };
    HeaderRule {
        // Left out: the shape check has said so.
        id: if header.id.is_unset() {
            String::new()
        } else {
            header_name(check, &header.id, "actor.header.id")
        },
        name: optional(check, &header.name, "actor.header.name"),
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
        optional(check, &claims.kind, "actor.jwt.claims.kind"),
    );
    JwtRule {
        header: header_name(check, &jwt.header, "actor.jwt.header"),
        jwks: jwt.jwks_file.as_ref().and_then(|file| jwks(check, file)),
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
        },
    }
}

/// A JWKS document: JSON with a list `keys`. Which keys can be used is for the verifier to say.
fn jwks(check: &mut Check<'_>, file: &At<String>) -> Option<(PathBuf, String)> {
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
