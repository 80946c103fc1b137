//! Whole files: the examples, the broken ones with their messages, and every default.

use super::problem::shown_path;
use super::tree::{Kind, Node};
use super::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const MINIMAL: &str = "service: orders\nupstream: http://127.0.0.1:8080\n";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn no_env(_: &str) -> Option<String> {
    None
}

fn text(yaml: &str) -> Loaded {
    from_text(yaml, "sidelog.yaml", &root("config"), &no_env)
}

fn ok(yaml: &str) -> Config {
    match text(yaml) {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            config
        }
        Err(problems) => panic!("{}", lines(&problems)),
    }
}

/// The minimal configuration with more lines.
fn with(more: &str) -> Config {
    ok(&format!("{MINIMAL}{more}"))
}

fn http(host: &str, port: u16) -> Upstream {
    Upstream::Tcp { host: host.into(), port, tls: None }
}

fn refused(more: &str) -> String {
    lines(&text(&format!("{MINIMAL}{more}")).expect_err("must be refused"))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// Compares with a committed file, or writes it where `UPDATE_GOLDEN` is set.
fn golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs: UPDATE_GOLDEN=1 writes it anew", path.display());
}

#[test]
fn broken_files_say_what_is_wrong_where_and_how_to_mend_it() {
    let dir = root("tests/data/config/broken");
    let env = |name: &str| match name {
        "ADDRESS" => Some("s3cret-value".to_string()),
        "BIG" => Some("100000".to_string()),
        _ => None,
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 21);
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let yaml = std::fs::read_to_string(&path).unwrap();
        // A directory of no name, so that messages do not depend on where this runs.
        let problems = from_text(&yaml, &name, &dir, &env).expect_err(&name);
        let told = lines(&problems).replace(&format!("{}/", dir.display()), "DIR/");
        assert!(!told.contains("s3cret") && !told.contains("hunter2"), "{told}");
        golden(&path.with_extension("stderr"), &told);
    }
}

#[test]
fn long_paths_are_told_whole() {
    let dir = Path::new("/").join("long-".repeat(40));
    let told = lines(
        &from_text(&format!("{MINIMAL}clickhouse: {{password_file: absent}}"), "x.yaml", &dir, &no_env)
            .expect_err("absent"),
    );
    assert!(told.contains(&format!("`{}/absent`", dir.display())), "{told}");
}

#[test]
fn places_name_the_file_as_it_was_given() {
    let path = root("tests/data/config/broken/07-upstream-credentials.yaml");
    let problems = load(&path, &no_env).expect_err("credentials");
    let place = problems[0].place.clone().unwrap();
    assert_eq!(place, Place { file: path.to_string_lossy().into_owned(), line: 2, column: 11 });
    assert_eq!(problems[0].severity, Severity::Error);
}

#[test]
fn a_file_that_cannot_be_read_has_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let problems = load(&dir.path().join("absent.yaml"), &no_env).expect_err("absent");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].place, None);
    assert!(problems[0].message.ends_with("there is no such file"), "{}", problems[0].message);
    std::fs::write(dir.path().join("latin1.yaml"), b"service: caf\xe9").unwrap();
    let problems = load(&dir.path().join("latin1.yaml"), &no_env).expect_err("latin1");
    assert!(problems[0].message.ends_with("it is not UTF-8"), "{}", problems[0].message);
}

#[test]
fn huge_and_hostile_documents_are_refused() {
    let huge = format!("{MINIMAL}# {}\n", "x".repeat(MAX_FILE));
    assert_eq!(
        lines(&text(&huge).expect_err("huge")),
        "sidelog.yaml:1:1: error: the file is larger than 1MiB\n"
    );
    let deep = format!("{MINIMAL}openapi: {}", "[".repeat(10_000));
    assert!(text(&deep).is_err());
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for (one, next) in ["a", "b", "c", "d", "e", "f", "g"].iter().zip(["b", "c", "d", "e", "f", "g", "h"]) {
        bomb += &format!("{next}: &{next} [{}]\n", [format!("*{one}").as_str(); 10].join(", "));
    }
    let told = lines(&text(&bomb).expect_err("bomb"));
    assert!(told.contains("not YAML"), "{told}");
}

#[test]
fn every_default() {
    let c = ok(MINIMAL);
    assert_eq!(c.service, "orders");
    assert_eq!(c.listen, Listen::Tcp("0.0.0.0:15080".parse().unwrap()));
    assert_eq!(c.upstream, http("127.0.0.1", 8080));
    assert!(c.openapi.is_empty());
    assert_eq!(c.base_path, BasePath::Auto);
    assert!(c.multi_segment.is_empty());
    assert!(c.audit.ignore.is_empty() && c.audit.include_reads.is_empty() && c.audit.rules.is_empty());
    assert_eq!((c.audit.unmatched, c.audit.level), (Level::Request, Level::Request));
    assert_eq!(c.audit.delivery, Delivery::Written);
    assert_eq!((c.capture.max_body, c.capture.max_decoded), (65536, 1 << 20));
    assert_eq!(c.redact.unknown, Unknown::Keep);
    assert!(c.actor.is_empty());
    assert!(c.client_ip.header.is_none() && c.client_ip.trusted_proxies.is_empty());
    assert!(c.redact.keys.is_empty() && c.redact.keep.is_empty() && c.redact.pseudonym_key_file.is_none());
    assert_eq!(c.journal.dir, Path::new("/var/lib/sidelog"));
    assert_eq!(c.journal.max_bytes, 256 << 20);
    assert_eq!((c.journal.on_full, c.journal.max_open_calls), (OnFull::Drop, 4096));
    assert!(c.kafka.is_none());
    assert_eq!(c.clickhouse.url, "http://127.0.0.1:8123");
    assert_eq!((c.clickhouse.database.as_str(), c.clickhouse.user.as_str()), ("audit", "default"));
    assert!(c.clickhouse.password.is_none() && c.clickhouse.cluster.is_none());
    assert_eq!(c.admin.listen, "0.0.0.0:15090".parse().unwrap());
    assert_eq!(c.admin.local, "127.0.0.1:15091".parse().unwrap());
    assert_eq!((c.relay.max_head, c.relay.max_fields), (65536, 1000));
    assert_eq!(c.relay.head_timeout, Duration::from_secs(60));
    assert_eq!(c.relay.drain_timeout, Duration::from_secs(25));
    assert_eq!((c.relay.max_connections, c.relay.threads), (0, 0));
    assert_eq!((c.relay.max_streams, c.relay.max_resets), (1000, 200));
    assert_eq!((c.relay.strict_patience, c.relay.strict_held), (Duration::from_secs(1), 1 << 20));
    assert_eq!(c.relay.max_unsent, 128 << 10);
    let websocket = UpgradeRule { protocol: "websocket".into(), paths: None };
    assert_eq!(c.relay.upgrades, [websocket]);
    assert_eq!(c.relay.other_upgrades, OtherUpgrades::Withdraw);
    let (stall, close) = (c.relay.stall_timeout, c.relay.close_timeout);
    assert_eq!((stall, close), (Duration::from_secs(300), Duration::from_secs(2)));
    assert!(c.tls.is_none() && c.proxy_protocol.is_none() && c.source_address.is_none());
    assert_eq!((c.forward_address, c.audit.refusals_per_second), (ForwardAddress::None, 10));
    assert_eq!(c.upstream_http2, Http2::Auto);
    assert_eq!((c.standalone.data.as_path(), c.standalone.http_port), (Path::new("./sidelog-data"), 18123));

    let kafka = with("kafka: {brokers: kafka:9092}").kafka.unwrap();
    assert_eq!(kafka.brokers, ["kafka:9092"]);
    assert_eq!(kafka.topic, "audit.events");
    assert!(kafka.properties.is_empty());
    let actor = with("actor: [jwt: {}, api_key: {}, basic: {}]").actor;
    let [ActorRule::Jwt(jwt), ActorRule::ApiKey { header }, ActorRule::Basic] = actor.as_slice() else {
        panic!("{actor:?}")
    };
    assert_eq!((jwt.header.as_str(), jwt.leeway), ("Authorization", 30));
    assert_eq!((jwt.claims.id.as_str(), jwt.claims.name.as_str()), ("sub", "name"));
    assert!(jwt.claims.tenant.is_none() && jwt.claims.roles.is_none() && jwt.claims.kind.is_none());
    assert!(matches!(jwt.jwks, Jwks::None) && jwt.issuer.is_none());
    assert_eq!(jwt.claims.act, "act");
    assert!(jwt.audience.is_empty() && jwt.algorithms.is_empty());
    assert_eq!(header, "X-Api-Key");
    let actor =
        with("actor: [jwt: {jwks_url: 'https://a/keys?p=x'}, forwarded_cert: {trusted_from: ::1}]").actor;
    let [ActorRule::Jwt(JwtRule { jwks: Jwks::Url(url), .. }), ActorRule::ForwardedCert(cert)] =
        actor.as_slice()
    else {
        panic!("{actor:?}")
    };
    let bounds = (url.refresh.as_secs(), url.cooldown.as_secs(), url.timeout.as_secs(), url.max_bytes);
    assert_eq!((url.url.as_str(), bounds), ("https://a/keys?p=x", (600, 30, 5, 256 << 10)));
    assert!(url.authorities.is_empty());
    assert_eq!((cert.header.as_str(), &cert.verify_header), ("X-Forwarded-Client-Cert", &None));
}

#[test]
fn urls_of_keys() {
    let told = |url: &str| match text(&format!("{MINIMAL}actor: [jwt: {{jwks_url: '{url}'}}]")) {
        Ok((_, warnings)) => lines(&warnings),
        Err(problems) => lines(&problems),
    };
    for good in [
        "https://a/keys",
        "https://a:8443/keys?p=q",
        "http://127.0.0.1:1/",
        "http://[::1]/",
        "http://localhost",
    ] {
        assert_eq!(told(good), "", "{good}");
    }
    assert!(told("http://a/keys").contains("warning: `actor.jwt.jwks_url`: over http://"));
    for bad in [
        "",
        "a/keys",
        "ftp://a/",
        "https://",
        "/keys",
        "https://a b/",
        "https:a",
        "https://u:hunter2@a/",
        "https://a/#f",
    ] {
        assert!(told(bad).contains("error: `actor.jwt.jwks_url`: "), "{bad}: {}", told(bad));
    }
    assert!(!told("https://u:hunter2@a/").contains("hunter2"));
}

#[test]
fn sections_with_everything_commented_out_are_empty() {
    let c = with(
        "capture:\n  # max_body: 1MiB\naudit:\nactor:\n  - basic:\nclickhouse: {cluster: \"\"}\nversion:\n",
    );
    assert_eq!(c.capture.max_body, 65536);
    assert!(matches!(c.actor.as_slice(), [ActorRule::Basic]));
    assert!(c.clickhouse.cluster.is_none());
}

#[test]
fn upstreams() {
    for (url, host, port) in [
        ("http://orders", "orders", 80),
        ("http://orders:8080/", "orders", 8080),
        ("HTTP://127.0.0.1:1", "127.0.0.1", 1),
        ("'http://[::1]:8080'", "::1", 8080),
        ("'http://[::1]'", "::1", 80),
    ] {
        let c = ok(&format!("service: orders\nupstream: {url}\n"));
        assert_eq!(c.upstream, http(host, port), "{url}");
    }
    let unix = |url: &str| ok(&format!("service: orders\nupstream: {url}\n")).upstream;
    assert_eq!(unix("unix:/run/app.sock"), Upstream::Unix("/run/app.sock".into()));
    assert_eq!(unix("unix:///run/app.sock"), Upstream::Unix("/run/app.sock".into()));
    for url in [
        "http://",
        "http:orders",
        "http:/orders",
        "http://orders:",
        "http://orders:x",
        "http://orders:99999",
        "http://orders:+1",
        "http://or ders",
        "'http://[::1'",
        "'http://[zz]:1'",
        "'http://[::1]x'",
        "http://orders/?a",
        "http://orders?x",
        "'http://orders#x'",
        "http://u@orders",
        "http://orders/v1",
        "ftp://orders",
        "unix:app.sock",
        "unix:/run/",
        "/orders",
        "http://///orders",
        "http://orders:80:80",
    ] {
        assert!(text(&format!("service: orders\nupstream: {url}\n")).is_err(), "{url}");
    }
}

/// A CA and a certificate of it that is good for both ends, as files.
fn certificates(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["orders.test".to_string()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    for name in ["tls.crt", "clients-ca.crt", "service-ca.crt", "sidelog.crt"] {
        std::fs::write(dir.join(name), &certificate).unwrap();
    }
    for name in ["tls.key", "sidelog.key"] {
        std::fs::write(dir.join(name), key.serialize_pem()).unwrap();
    }
}

#[test]
fn tls_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let load = |yaml: &str| match from_text(yaml, "sidelog.yaml", dir.path(), &no_env) {
        Ok((config, warnings)) => (config, lines(&warnings)),
        Err(problems) => panic!("{}", lines(&problems)),
    };
    let (c, told) = load(
        "service: orders
upstream: https://127.0.0.1
upstream_tls: {ca_file: service-ca.crt, sni: orders.test, client_cert_file: sidelog.crt, client_key_file: sidelog.key}
listen: unix:/run/sidelog.sock
listen_mode: 666
tls: {cert_file: tls.crt, key_file: tls.key, client_ca_file: clients-ca.crt}
actor: [mtls: {}]
",
    );
    assert_eq!(told, "");
    let file = |name: &str| Some(dir.path().join(name));
    let Upstream::Tcp { port: 443, tls: Some(tls), .. } = &c.upstream else { panic!("{:?}", c.upstream) };
    assert_eq!((tls.ca_file.clone(), tls.sni.as_deref()), (file("service-ca.crt"), Some("orders.test")));
    assert_eq!((tls.client_key_file.clone(), tls.reload), (file("sidelog.key"), Duration::from_secs(10)));
    assert_eq!(c.listen, Listen::Unix { path: "/run/sidelog.sock".into(), mode: 0o666 });
    let tls = c.tls.unwrap();
    assert_eq!((Some(tls.cert_file), tls.client_auth), (file("tls.crt"), ClientAuth::Required));
    assert!(matches!(c.actor.as_slice(), [ActorRule::Mtls]));

    let told = load("service: s\nupstream: http://s\nupstream_tls: {}\nlisten_mode: 0600\ntls: {cert_file: tls.crt, key_file: tls.key, client_ca_file: tls.crt, client_auth: none}\n").1;
    assert!(
        told.contains("`upstream_tls` has no effect") && told.contains("`listen_mode` has no effect"),
        "{told}"
    );
    assert!(told.contains("`tls.client_ca_file` has no effect"), "{told}");
}

#[test]
fn upgrades_may_be_narrowed_by_path() {
    let rule = |protocol: &str, paths: Option<&[&str]>| UpgradeRule {
        protocol: protocol.into(),
        paths: paths.map(|p| p.iter().map(|s| s.to_string()).collect()),
    };
    let upgrades = |yaml: &str| with(&format!("relay: {{upgrades: {yaml}}}")).relay.upgrades;
    assert_eq!(upgrades("WebSocket"), [rule("websocket", None)]);
    assert_eq!(upgrades("[]"), []);
    assert_eq!(
        upgrades("[foo, {protocol: websocket, paths: [/ws/**, '/live/{id}']}]"),
        [rule("foo", None), rule("websocket", Some(&["/ws/**", "/live/{id}"]))]
    );
    let c = with(
        "relay: {other_upgrades: refuse}\nforward_address: proxy_v2\nsource_address: 127.0.0.2\nproxy_protocol: {from: ['::ffff:10.0.0.0/104']}",
    );
    assert_eq!(c.relay.other_upgrades, OtherUpgrades::Refuse);
    assert_eq!((c.forward_address, c.source_address), (ForwardAddress::ProxyV2, "127.0.0.2".parse().ok()));
    assert_eq!(c.proxy_protocol, Some(vec!["10.0.0.0/8".parse().unwrap()]));
}

#[test]
fn base_paths() {
    assert_eq!(with("base_path: none").base_path, BasePath::None);
    assert_eq!(
        with("base_path: [/v1, /v2/]").base_path,
        BasePath::Explicit(vec!["/v1".into(), "/v2".into()])
    );
    assert!(refused("base_path: [v1]").contains("3:13: error: `base_path`: `v1` does not start with `/`"));
    assert!(refused("base_path: []").contains("`base_path` must not be empty"));
}

#[test]
fn selectors_and_rules_know_their_place() {
    let c = with(
        "audit:
  ignore: [/a, operation: op, {tag: t}, path: /b/**]
  rules:
    - match: {methods: POST, paths: ['/x/{id}'], operations: [op], tags: [t]}
      level: none
      delivery: queued
    # A comment.
    - match: {methods: [GET]}
",
    );
    let ignore: Vec<_> = c.audit.ignore.iter().map(|(s, p)| (s.clone(), p.line, p.column)).collect();
    assert_eq!(
        ignore,
        [
            (Selector::Path("/a".into()), 4, 12),
            (Selector::Operation("op".into()), 4, 16),
            (Selector::Tag("t".into()), 4, 31),
            (Selector::Path("/b/**".into()), 4, 41),
        ]
    );
    let [first, second] = c.audit.rules.as_slice() else { panic!() };
    assert_eq!(first.place, Place { file: "sidelog.yaml".into(), line: 6, column: 7 });
    assert_eq!((&first.methods[..], &first.paths[..]), (&["POST".into()][..], &["/x/{id}".into()][..]));
    assert_eq!((&first.operations[..], &first.tags[..]), (&["op".into()][..], &["t".into()][..]));
    assert_eq!((first.level, first.delivery), (Some(Level::None), Some(Delivery::Queued)));
    assert_eq!((second.place.line, second.level, second.delivery), (10, None, None));
}

#[test]
fn retention_rules_inherit_what_they_leave_out() {
    let Retention { rules, archive, .. } = with(
        "retention:\n  days: 400\n  body_days: 90\n  archive: old\n  rules:\n  - match: {tenants: acme}\n    days: 0\n",
    )
    .retention;
    assert_eq!((rules[0].days, rules[0].body_days, rules[0].tenants.len()), (0, 90, 1));
    assert_eq!(archive.as_deref(), Some(Path::new("old")));
    let told = refused(
        "retention:\n  days: -1\n  rules:\n  - match: {}\n    days: 3\n  - match: {levels: [metdata]}\n",
    );
    for part in [
        "sidelog.yaml:4:9: error: `retention.days` must be between 0 and 36500",
        "sidelog.yaml:6:5: error: `match` of a retention rule must not be empty",
        "sidelog.yaml:8:22: error: `metdata` is not a value of",
        "did you mean `metadata`?",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn networks_may_be_single_addresses() {
    let c = with("client_ip: {header: x-forwarded-for, trusted_proxies: [192.0.2.7, 10.1.2.3/8, '::1']}");
    // The usual spelling, whatever was typed.
    assert_eq!(c.client_ip.header.as_deref(), Some("X-Forwarded-For"));
    let networks: Vec<String> = c.client_ip.trusted_proxies.iter().map(|n| n.to_string()).collect();
    assert_eq!(networks, ["192.0.2.7/32", "10.0.0.0/8", "::1/128"]);
}

#[test]
fn variables_stand_for_any_scalar() {
    let env = |name: &str| match name {
        "NAME" => Some("12".to_string()),
        "PORT" => Some("0".to_string()),
        "LEVEL" => Some("metadata".to_string()),
        "SIZE" => Some("1MiB".to_string()),
        _ => None,
    };
    let yaml = "service: ${NAME}
upstream: http://${HOST:-localhost}:8080
audit: {level: \"${LEVEL}\"}
capture: {max_body: \"${SIZE}\"}
standalone: {http_port: \"${PORT}\"}
redact: {keys: [\"$${NAME}\"]}
";
    let (c, _) = from_text(yaml, "sidelog.yaml", Path::new(""), &env).unwrap();
    assert_eq!(c.service, "12");
    assert_eq!(c.upstream, http("localhost", 8080));
    assert_eq!(c.audit.level, Level::Metadata);
    assert_eq!(c.capture.max_body, 1 << 20);
    assert_eq!(c.standalone.http_port, 0);
    assert_eq!(c.redact.keys, ["${NAME}"]);
}

#[test]
fn properties_keep_their_spelling() {
    let c = with(
        "kafka: {brokers: [a:1], properties: {linger.ms: 0050, debug: 'a', x: true, socket.nagle: 1.10}}",
    );
    let properties: Vec<_> = c.kafka.unwrap().properties;
    let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
    assert_eq!(
        properties,
        [pair("debug", "a"), pair("linger.ms", "0050"), pair("socket.nagle", "1.10"), pair("x", "true")]
    );
}

/// The directory of the examples with the files they name.
fn examples() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let authority = rcgen::generate_simple_self_signed(["an authority".to_owned()]).unwrap().cert.pem();
    for name in ["minimal.yaml", "full.yaml", "openbao.yaml", "kinto.yaml"] {
        std::fs::copy(root("config").join(name), dir.path().join(name)).unwrap();
    }
    certificates(dir.path());
    for (name, text) in [
        ("openapi.yaml", ""),
        ("openbao.json", ""),
        ("kinto.json", ""),
        ("keys.json", r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0LWp3aw"}]}"#),
        ("ca.pem", &authority),
        ("redact.key", "0123456789abcdef\n"),
        ("clickhouse.password", "s3cret-click\n"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn example(dir: &Path, name: &str) -> Config {
    let env = |name: &str| (name == "KAFKA_PASSWORD").then(|| "s3cret-kafka".to_string());
    match load(&dir.join(name), &env) {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{name}: {warnings:?}");
            config
        }
        Err(problems) => panic!("{}", lines(&problems)),
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let dir = examples();
    let listed: BTreeSet<_> =
        std::fs::read_dir(root("config")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(listed, ["full.yaml", "kinto.yaml", "minimal.yaml", "openbao.yaml"].map(Into::into).into());
    let minimal = example(dir.path(), "minimal.yaml");
    assert_eq!(minimal.openapi, [dir.path().join("openapi.yaml")]);
    assert_eq!(minimal.kafka.unwrap().brokers, ["kafka:9092"]);
    assert_eq!(std::fs::read_to_string(root("config/minimal.yaml")).unwrap().lines().count(), 12);
    let kinto = example(dir.path(), "kinto.yaml");
    assert!(matches!(kinto.actor.as_slice(), [ActorRule::Basic]));
    let openbao = example(dir.path(), "openbao.yaml");
    assert_eq!(openbao.journal.dir, Path::new("./sidelog-data/journal"));
    let full = example(dir.path(), "full.yaml");
    assert_eq!(full.actor.len(), 8);
    assert_eq!(full.clickhouse.password, Some(Secret("s3cret-click".into())));
    assert_eq!(read_pseudonym_key(&dir.path().join("redact.key")).unwrap(), b"0123456789abcdef");
}

#[test]
fn secrets_show_in_neither_debug_output_nor_the_view() {
    let dir = examples();
    let full = example(dir.path(), "full.yaml");
    let view = serde_json::to_string(&effective(&full)).unwrap();
    for shown in [format!("{full:?}"), view.clone()] {
        assert!(!shown.contains("s3cret") && !shown.contains("c2VjcmV0"), "{shown}");
    }
    // They are there, and the rest is shown.
    let kafka = full.kafka.unwrap();
    assert!(kafka.properties.contains(&("sasl.password".into(), "s3cret-kafka".into())));
    for part in [r#""sasl.password":"[secret]""#, r#""password":"[secret]""#, r#""sasl.username":"sidelog""#]
    {
        assert!(view.contains(part), "{part} is not in {view}");
    }
}

#[test]
fn properties_that_hold_secrets() {
    for secret in [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "SASL.Password",
    ] {
        assert!(properties::is_secret(secret), "{secret}");
    }
    for plain in [
        "sasl.username",
        "ssl.ca.location",
        "ssl.key.location",
        "linger.ms",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.certificate.pem",
    ] {
        assert!(!properties::is_secret(plain), "{plain}");
    }
}

/// What the view shows is what the YAML says: written out, it loads to the same again.
#[test]
fn the_view_of_the_defaults_is_a_configuration() {
    let mut view = effective(&ok(MINIMAL));
    // The view's word for the contents of `password_file`, and for no Kafka.
    view["clickhouse"].as_object_mut().unwrap().remove("password");
    for section in ["kafka", "tls", "proxy_protocol", "upstream_tls"] {
        assert!(view.as_object_mut().unwrap().remove(section).unwrap().is_null());
    }
    let again = ok(&view.to_string());
    assert_eq!(effective(&again)["relay"], view["relay"]);
    assert_eq!(effective(&again)["audit"], view["audit"]);
}

/// Any value in any place: a report or a configuration, never a panic, and never a value that the
/// schema lets pass and the typed structs do not.
#[test]
fn odd_values_anywhere_are_reported() {
    let yaml = std::fs::read_to_string(root("config/full.yaml")).unwrap();
    let whole: Value = serde_saphyr::from_str(&yaml).unwrap();
    let mut pointers = vec![String::new()];
    pointers_of(&whole, "", &mut pointers);
    assert!(pointers.len() > 110, "{}", pointers.len());
    let odd = r#"[null, true, -1, 5000000000, 1.5, "é", "${X}", [], [null], {}, {"a": 1}]"#;
    let odd: Vec<Value> = serde_json::from_str(odd).unwrap();
    let env = |name: &str| Some(if name == "X" { "s3cret" } else { "x" }.to_string());
    for pointer in &pointers {
        for value in &odd {
            let mut document = whole.clone();
            *document.pointer_mut(pointer).unwrap() = value.clone();
            let what = format!("{value} at {pointer:?}");
            let Err(problems) = from_text(&document.to_string(), "f", Path::new(""), &env) else { continue };
            for problem in problems {
                assert!(problem.place.is_some(), "{what}: {problem}");
                assert!(
                    problem.message != MISFIT && !problem.to_string().contains("s3cret"),
                    "{what}: {problem}"
                );
            }
        }
    }
}

fn pointers_of(value: &Value, path: &str, pointers: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in members {
        let path = format!("{path}/{name}");
        pointers.push(path.clone());
        pointers_of(value, &path, pointers);
    }
}

/// Dotted keys of a schema.
fn schema_keys(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let parts = ["anyOf", "oneOf"].iter().filter_map(|n| schema.get(n)?.as_array()).flatten();
    parts.chain(schema.get("items")).for_each(|s| schema_keys(s, path, keys));
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        keys.insert(path.clone());
        schema_keys(property, &path, keys);
    }
}

/// Dotted keys of a document, each with its value.
fn document_keys<'a>(node: &'a Node, path: &str, keys: &mut Vec<(String, &'a Node)>) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| document_keys(item, path, keys)),
        Kind::Map(pairs) => {
            for (key, value) in pairs {
                let path = format!("{path}.{}", key.name);
                keys.push((path.clone(), value));
                if path != ".kafka.properties" {
                    document_keys(value, &path, keys);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_full_example_has_every_key() {
    let text = std::fs::read_to_string(root("config/full.yaml")).unwrap();
    let document = tree::parse(&text).unwrap();
    let (mut known, mut found) = (BTreeSet::new(), Vec::new());
    schema_keys(&schema(), "", &mut known);
    document_keys(&document, "", &mut found);
    let found: BTreeSet<String> = found.into_iter().map(|(path, _)| path).collect();
    // Has no effect beside an address, so it stands there as a comment.
    assert!(known.remove(".listen_mode") && text.contains("# listen_mode: 0660"));
    assert_eq!(found, known);
    assert!(known.len() > 80, "{}", known.len());
}

/// What the full example says is a default is the default.
#[test]
fn the_full_example_shows_the_defaults() {
    let text = std::fs::read_to_string(root("config/full.yaml")).unwrap();
    let document = tree::parse(&text).unwrap();
    let (mut found, mut compared, schema) = (Vec::new(), 0, schema());
    document_keys(&document, "", &mut found);
    // Shows both forms of an entry.
    found.retain(|(path, _)| path != ".relay.upgrades");
    for (path, node) in found {
        let mut at = &schema;
        for name in path.split('.').skip(1) {
            at = at.get("items").unwrap_or(at);
            at = at.get("properties").and_then(|p| p.get(name)).unwrap_or(&Value::Null);
        }
        let Some(default) = at.get("default").filter(|d| d.as_array().is_none_or(|a| !a.is_empty())) else {
            continue;
        };
        let typed: Value = match &node.kind {
            Kind::Text(text) => text.as_str().into(),
            Kind::Int(number, _) => (*number).into(),
            Kind::List(items) => items
                .iter()
                .map(|i| match &i.kind {
                    Kind::Text(text) => Value::from(text.as_str()),
                    other => panic!("{other:?}"),
                })
                .collect(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(&typed, default, "{path}");
        compared += 1;
    }
    assert!(compared >= 25, "{compared}");
}

#[test]
fn the_committed_schema_is_this_one() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    golden(&root("docs/config.schema.json"), &text);
}

/// Every key that users see is explained.
#[test]
fn every_key_of_the_schema_has_a_description() {
    fn walk(schema: &Value, path: &str) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(property.get("description").is_some(), "{path}");
            walk(property, &path);
        }
        for part in schema
            .get("items")
            .into_iter()
            .chain(schema.get("anyOf").and_then(Value::as_array).into_iter().flatten())
        {
            walk(part, path);
        }
    }
    walk(&schema(), "");
}

#[test]
fn the_command_line_alone_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let document = dir.path().join("openapi.yaml");
    std::fs::write(&document, "").unwrap();
    let data = dir.path().join("data");
    let (c, warnings) = defaults_for(&Options {
        upstream: Some("http://127.0.0.1:8080"),
        openapi: std::slice::from_ref(&document),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        data: Some(&data),
    })
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!((c.upstream, c.openapi), (http("127.0.0.1", 8080), vec![document]));
    assert_eq!(c.listen, Listen::Tcp("127.0.0.1:0".parse().unwrap()));
    assert_eq!((c.journal.dir, c.standalone.data), (data.join("journal"), data));

    let (c, _) = defaults_for(&Options::default()).unwrap();
    assert_eq!(c.audit.level, Level::Request);

    let absent = [dir.path().join("absent.yaml")];
    let options = Options { upstream: Some("ftp://x"), openapi: &absent, ..Options::default() };
    let problems = defaults_for(&options).expect_err("ftp and absent");
    let told = lines(&problems);
    assert!(told.contains("error: `upstream`: `ftp://x` is not an http:// or https:// URL"), "{told}");
    // Typed just now: an error, where a file's would be a warning.
    let absent = format!("error: `openapi`: cannot read {}", shown_path(&absent[0]));
    assert!(told.contains(&absent), "{told}");
    assert!(problems.iter().all(|p| p.place.is_none()));
}

#[test]
fn suggestions() {
    let words = ["upstream", "listen", "openapi", "kafka", "audit", "max_body"];
    for (typed, meant) in [
        ("upsteam", Some("upstream")),
        ("Listen", Some("listen")),
        ("max-body", Some("max_body")),
        ("maxBody", Some("max_body")),
        ("openAPI", Some("openapi")),
        ("kakfa", Some("kafka")),
        ("x", None),
        ("tls", None),
    ] {
        assert_eq!(problem::nearest(typed, words), meant, "{typed}");
    }
}
