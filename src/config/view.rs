//! What an operator may see of the configuration in force. Secrets are left out by construction: this
//! writes down the keys it knows, each either shown or replaced by `[secret]`.

use super::{
    ActorRule, Audit, BasePath, ClientAuth, ClientIp, Config, ForwardAddress, ForwardedCertRule, HeaderRule,
    Http2, Jwks, JwksUrl, JwtRule, Listen, OnFull, Place, Reason, Redact, Relay, Rule, Selector, Tls,
    Unknown, UpgradeRule, Upstream, UpstreamTls,
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
        tls,
        proxy_protocol,
        upstream,
        upstream_http2,
        forward_address,
        source_address,
        openapi,
        base_path,
        multi_segment,
        audit,
        capture,
        actor,
        client_ip,
        reason,
        messages,
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
    let ClientIp { header, trusted_proxies } = client_ip;
    let Reason { header: reasons, query, body } = reason;
    let Redact { keys, keep, unknown, pseudonym_key_file } = redact;
    json!({
        "version": 1,
        "service": service,
        "listen": match listen {
            Listen::Tcp(address) => address.to_string(),
            Listen::Unix { path, .. } => format!("unix:{}", path.display()),
        },
        "listen_mode": match listen {
            Listen::Tcp(_) => None,
            Listen::Unix { mode, .. } => Some(format!("{mode:04o}")),
        },
        "tls": tls.as_ref().map(listener_tls),
        "proxy_protocol": proxy_protocol.as_ref().map(|from| json!({ "from": from })),
        "upstream": upstream.to_string(),
        "upstream_tls": match upstream {
            Upstream::Tcp { tls: Some(tls), .. } => service_tls(tls),
            _ => Value::Null,
        },
        "upstream_http2": match upstream_http2 {
            Http2::Auto => "auto",
            Http2::On => "on",
            Http2::Off => "off",
        },
        "forward_address": match forward_address {
            ForwardAddress::None => "none",
            ForwardAddress::XForwardedFor => "x_forwarded_for",
            ForwardAddress::Forwarded => "forwarded",
            ForwardAddress::ProxyV2 => "proxy_v2",
        },
        "source_address": source_address,
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
        "messages": messages.iter().map(|m| json!({ "operations": m.operations, "text": m.text })).collect::<Vec<_>>(),
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

fn listener_tls(Tls { cert_file, key_file, client_ca_file, client_auth, reload }: &Tls) -> Value {
    json!({
        "cert_file": cert_file,
        "key_file": key_file,
        "client_ca_file": client_ca_file,
        "client_auth": match client_auth {
            ClientAuth::None => "none",
            ClientAuth::Optional => "optional",
            ClientAuth::Required => "required",
        },
        "reload": units::show_duration(*reload),
    })
}

fn service_tls(tls: &UpstreamTls) -> Value {
    let UpstreamTls { ca_file, sni, client_cert_file, client_key_file, reload } = tls;
    json!({
        "ca_file": ca_file,
        "sni": sni,
        "client_cert_file": client_cert_file,
        "client_key_file": client_key_file,
        "reload": units::show_duration(*reload),
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
        "refusals_per_second": audit.refusals_per_second,
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
        "strict_patience": units::show_duration(relay.strict_patience),
        "strict_held": units::show_size(relay.strict_held as u64),
        "max_unsent": units::show_size(relay.max_unsent.into()),
        "stall_timeout": units::show_duration(relay.stall_timeout),
        "close_timeout": units::show_duration(relay.close_timeout),
        "upgrades": relay.upgrades.iter().map(upgrade).collect::<Vec<_>>(),
        "other_upgrades": relay.other_upgrades,
        "threads": relay.threads,
    })
}

fn upgrade(UpgradeRule { protocol, paths }: &UpgradeRule) -> Value {
    match paths {
        None => json!(protocol),
        Some(paths) => json!({ "protocol": protocol, "paths": paths }),
    }
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
        ActorRule::Mtls => json!({ "mtls": {} }),
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
