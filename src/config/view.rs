//! What an operator may see of the configuration in force. Secrets are left out by construction: this
//! writes down the keys it knows, each either shown or replaced by `[secret]`.

use super::{
    ActorRule, Audit, BasePath, ClientIp, Config, ForwardedCertRule, HeaderRule, Jwks, JwksUrl, JwtRule,
    OnFull, Place, Reason, Redact, Relay, Rule, Selector, Unknown,
};
use super::{properties, units};
use serde_json::{Map, Value, json};

const SECRET: &str = "[secret]";

/// The configuration as it is in force, defaults included, in the form of the YAML.
pub fn effective(config: &Config) -> Value {
    // Destructured, so that a new section cannot be forgotten.
    let Config {
        service,
        listen,
        upstream,
        openapi,
        base_path,
        multi_segment,
        audit,
        capture,
        actor,
        client_ip,
        reason,
        redact,
        journal,
        kafka,
        clickhouse,
        retention,
        admin,
        relay,
        standalone,
        reload,
        sources: _,
    } = config;
    let host =
        if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.clone() };
    let ClientIp { header, trusted_proxies } = client_ip;
    let Reason { header: reasons, query, body } = reason;
    let Redact { keys, keep, unknown, pseudonym_key_file } = redact;
    json!({
        "version": 1,
        "service": service,
        "listen": listen,
        "upstream": format!("http://{host}:{}", upstream.port),
        "openapi": openapi,
        "base_path": match base_path {
            BasePath::Auto => json!("auto"),
            BasePath::None => json!("none"),
            BasePath::Explicit(prefixes) => json!(prefixes),
        },
        "multi_segment": multi_segment,
        "audit": audit_rules(audit),
        "capture": {
            "max_body": units::show_size(capture.max_body as u64),
            "max_decoded": units::show_size(capture.max_decoded as u64),
        },
        "actor": actor.iter().map(actor_rule).collect::<Vec<_>>(),
        "client_ip": { "header": header, "trusted_proxies": trusted_proxies },
        "reason": { "header": reasons, "query": query, "body": body },
        "redact": {
            "keys": keys,
            "keep": keep,
            "unknown": match unknown { Unknown::Keep => "keep", Unknown::Mask => "mask" },
            "pseudonym_key_file": pseudonym_key_file,
        },
        "journal": {
            "dir": journal.dir,
            "max_bytes": units::show_size(journal.max_bytes),
            "on_full": match journal.on_full { OnFull::Drop => "drop", OnFull::Refuse => "refuse" },
            "max_open_calls": journal.max_open_calls,
            "sync_timeout": units::show_duration(journal.sync_timeout),
        },
        "kafka": kafka.as_ref().map(|kafka| json!({
            "brokers": kafka.brokers,
            "topic": kafka.topic,
            "properties": kafka.properties.iter().map(property).collect::<Map<_, _>>(),
        })),
        "clickhouse": {
            "url": clickhouse.url,
            "database": clickhouse.database,
            "user": clickhouse.user,
            "password": clickhouse.password.as_ref().map(|_| SECRET),
            "cluster": clickhouse.cluster,
            "readers": {
                "max_rows": clickhouse.readers.max_rows,
                "max_bytes": units::show_size(clickhouse.readers.max_bytes),
                "max_time": units::show_duration(clickhouse.readers.max_time),
                "max_memory": units::show_size(clickhouse.readers.max_memory),
            },
        },
        "retention": {
            "days": retention.days,
            "body_days": retention.body_days,
            "rules": retention.rules.iter().map(|rule| json!({
                "match": { "tenants": rule.tenants, "services": rule.services, "levels": rule.levels },
                "days": rule.days,
                "body_days": rule.body_days,
            })).collect::<Vec<_>>(),
            "archive": retention.archive,
        },
        "admin": { "listen": admin.listen, "local": admin.local },
        "relay": relay_bounds(relay),
        "standalone": { "data": standalone.data, "http_port": standalone.http_port },
        "reload": { "interval": units::show_duration(reload.interval) },
    })
}

fn audit_rules(audit: &Audit) -> Value {
    json!({
        "ignore": audit.ignore.iter().map(selector).collect::<Vec<_>>(),
        "include_reads": audit.include_reads.iter().map(selector).collect::<Vec<_>>(),
        "rules": audit.rules.iter().map(rule).collect::<Vec<_>>(),
        "unmatched": audit.unmatched,
        "level": audit.level,
        "delivery": audit.delivery,
        "started_after": units::show_duration(audit.started_after),
    })
}

fn relay_bounds(relay: &Relay) -> Value {
    json!({
        "max_head": units::show_size(relay.max_head as u64),
        "max_fields": relay.max_fields,
        "head_timeout": units::show_duration(relay.head_timeout),
        "drain_timeout": units::show_duration(relay.drain_timeout),
        "max_connections": relay.max_connections,
        "max_streams": relay.max_streams,
        "max_resets": relay.max_resets,
        "upgrades": relay.upgrades,
        "threads": relay.threads,
    })
}

fn place(Place { file, line, column }: &Place) -> String {
    format!("{file}:{line}:{column}")
}

fn selector((selector, _): &(Selector, Place)) -> Value {
    match selector {
        Selector::Path(path) => json!(path),
        Selector::Operation(id) => json!({ "operation": id }),
        Selector::Tag(tag) => json!({ "tag": tag }),
    }
}

fn rule(rule: &Rule) -> Value {
    json!({
        "match": {
            "methods": rule.methods,
            "paths": rule.paths,
            "operations": rule.operations,
            "tags": rule.tags,
        },
        "level": rule.level,
        "delivery": rule.delivery,
        "place": place(&rule.place),
    })
}

fn actor_rule(rule: &ActorRule) -> Value {
    match rule {
        ActorRule::Jwt(JwtRule { header, jwks, issuer, audience, algorithms, leeway, claims }) => {
            let (file, url) = match jwks {
                Jwks::None => (None, None),
                Jwks::File { path, .. } => (Some(path), None),
                Jwks::Url(url) => (None, Some(url)),
            };
            json!({ "jwt": {
                "header": header,
                "jwks_file": file,
                "jwks_url": url.map(|_| jwks.name()),
                "jwks_fetch": url.map(|url| jwks_fetch(url)),
                "issuer": issuer,
                "audience": audience,
                "algorithms": algorithms,
                "leeway": format!("{leeway}s"),
                "claims": {
                    "id": claims.id,
                    "name": claims.name,
                    "tenant": claims.tenant,
                    "roles": claims.roles,
                    "type": claims.kind,
                    "act": claims.act,
                },
            }})
        }
        ActorRule::Header(HeaderRule { id, name, kind, on_behalf_of, tenant, roles, trusted_from }) => {
            json!({ "header": {
                "id": id,
                "name": name,
                "type": kind,
                "on_behalf_of": on_behalf_of,
                "tenant": tenant,
                "roles": roles,
                "trusted_from": trusted_from,
            }})
        }
        ActorRule::Basic => json!({ "basic": {} }),
        ActorRule::ApiKey { header } => json!({ "api_key": { "header": header } }),
        ActorRule::Cookie { name } => json!({ "cookie": { "name": name } }),
        ActorRule::ForwardedCert(ForwardedCertRule { header, verify_header, trusted_from }) => {
            json!({ "forwarded_cert": {
                "header": header,
                "verify_header": verify_header,
                "trusted_from": trusted_from,
            }})
        }
    }
}

fn jwks_fetch(url: &JwksUrl) -> Value {
    let JwksUrl { url: _, refresh, cooldown, timeout, max_bytes, ca_file, authorities: _ } = url;
    json!({
        "refresh": units::show_duration(*refresh),
        "cooldown": units::show_duration(*cooldown),
        "timeout": units::show_duration(*timeout),
        "max_bytes": units::show_size(*max_bytes),
        "ca_file": ca_file,
    })
}

fn property((name, value): &(String, String)) -> (String, Value) {
    let shown = if properties::is_secret(name) { SECRET } else { value };
    (name.clone(), json!(shown))
}
