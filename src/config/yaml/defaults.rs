//! What holds where a file says nothing: positions of such values are unset ([`At::unset`]).

use super::*;

impl Default for File {
    fn default() -> Self {
        File {
            version: At::unset(1u32),
            service: text(""),
            listen: text("0.0.0.0:15080"),
            listen_mode: At::unset(Mode("0660".into())),
            tls: None,
            proxy_protocol: None,
            upstream: text(""),
            upstream_tls: None,
            upstream_http2: At::unset(Http2::Auto),
            forward_address: At::unset(ForwardAddress::None),
            source_address: None,
            openapi: Vec::new(),
            base_path: vec![text("auto")],
            multi_segment: Vec::new(),
            audit: Audit::default(),
            capture: Capture::default(),
            actor: Vec::new(),
            client_ip: ClientIp::default(),
            reason: Reason::default(),
            messages: Vec::new(),
            redact: Redact::default(),
            journal: Journal::default(),
            kafka: None,
            clickhouse: ClickHouse::default(),
            retention: Retention::default(),
            admin: Admin::default(),
            relay: Relay::default(),
            standalone: Standalone::default(),
            reload: Reload::default(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Audit {
            ignore: Vec::new(),
            include_reads: Vec::new(),
            rules: Vec::new(),
            unmatched: At::unset(Level::Request),
            level: At::unset(Level::Request),
            delivery: At::unset(Delivery::Written),
            started_after: At::unset(Span("5s".into())),
            refusals_per_second: At::unset(10u32),
        }
    }
}

impl Default for Capture {
    fn default() -> Self {
        Capture { max_body: At::unset(Size("64KiB".into())), max_decoded: At::unset(Size("1MiB".into())) }
    }
}

impl Default for Reason {
    fn default() -> Self {
        Reason { header: vec![text("X-Audit-Reason")], query: Vec::new(), body: Vec::new() }
    }
}

impl Default for Jwt {
    fn default() -> Self {
        Jwt {
            header: text("Authorization"),
            jwks_file: None,
            jwks_url: None,
            jwks_fetch: JwksFetch::default(),
            issuer: None,
            audience: Vec::new(),
            algorithms: Vec::new(),
            leeway: At::unset(Span("30s".into())),
            claims: Claims::default(),
        }
    }
}

impl Default for JwksFetch {
    fn default() -> Self {
        JwksFetch {
            refresh: At::unset(Span("10m".into())),
            cooldown: At::unset(Span("30s".into())),
            timeout: At::unset(Span("5s".into())),
            max_bytes: At::unset(Size("256KiB".into())),
            ca_file: None,
        }
    }
}

impl Default for ForwardedCert {
    fn default() -> Self {
        ForwardedCert {
            header: text("X-Forwarded-Client-Cert"),
            verify_header: None,
            trusted_from: Vec::new(),
        }
    }
}

impl Default for Claims {
    fn default() -> Self {
        Claims {
            id: text("sub"),
            name: text("name"),
            tenant: None,
            roles: None,
            kind: None,
            act: text("act"),
        }
    }
}

impl Default for ApiKey {
    fn default() -> Self {
        ApiKey { header: text("X-Api-Key") }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            dir: text(crate::config::DEFAULT_JOURNAL_DIR),
            max_bytes: At::unset(Size("256MiB".into())),
            on_full: At::unset(OnFull::Drop),
            max_open_calls: At::unset(4096u32),
            sync_timeout: At::unset(Span("5s".into())),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Kafka { brokers: Vec::new(), topic: text("audit.events"), properties: BTreeMap::new() }
    }
}

impl Default for ClickHouse {
    fn default() -> Self {
        ClickHouse {
            url: text("http://127.0.0.1:8123"),
            database: text("audit"),
            user: text("default"),
            password_file: None,
            cluster: None,
            readers: Readers::default(),
        }
    }
}

impl Default for Readers {
    fn default() -> Self {
        Readers {
            max_rows: At::unset(1_000_000u64),
            max_bytes: At::unset(Size("1GiB".into())),
            max_time: At::unset(Span("60s".into())),
            max_memory: At::unset(Size("2GiB".into())),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { listen: text("0.0.0.0:15090"), local: text("127.0.0.1:15091") }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Relay {
            max_head: At::unset(Size("64KiB".into())),
            max_fields: At::unset(1000u32),
            head_timeout: At::unset(Span("60s".into())),
            drain_timeout: At::unset(Span("25s".into())),
            max_connections: At::unset(0u32),
            max_streams: At::unset(1000u32),
            max_resets: At::unset(200u32),
            strict_patience: At::unset(Span("1s".into())),
            strict_held: At::unset(Size("1MiB".into())),
            max_unsent: At::unset(Size("128KiB".into())),
            stall_timeout: At::unset(Span("5m".into())),
            close_timeout: At::unset(Span("2s".into())),
            upgrades: vec![At::unset(Upgrade::Protocol("websocket".into()))],
            other_upgrades: At::unset(OtherUpgrades::default()),
            threads: At::unset(0u32),
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload { interval: At::unset(Span("5s".into())) }
    }
}

impl Default for Standalone {
    fn default() -> Self {
        Standalone { data: text("./sidelog-data"), http_port: At::unset(18123u16) }
    }
}
