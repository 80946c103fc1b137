//! What is read from a request: the operation, the token, the cookie, the forwarded certificate, the
//! client's address, the calls it carries.

use crate::Target;
use sidelog::config::{self, Config};
use sidelog::extract::calls::{Asked, Call, of_call};
use sidelog::head::{Head, HeadIndex};
use sidelog::pseudonym::Pseudonyms;
use sidelog::rules::Rules;
use sidelog_event::ActorSource;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;

pub const OPERATION: Target = Target {
    name: "operation",
    run: operation,
    seeds: &[
        b"/v1/orders/7",
        b"/v1//orders/../%2e%2e/a%2Fb;x=1?q=%00",
        b"/shops/caf%C3%A9/orders/7:cancel#x",
    ],
};

pub const TOKEN: Target = Target {
    name: "token",
    run: token,
    seeds: &[
        b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjoxfQ.",
        b"Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOlsxXSwiYWN0Ijp7InN1YiI6ImIifX0.AAAA",
        b"Basic dTpw",
    ],
};

pub const COOKIE: Target = Target {
    name: "cookie",
    run: cookie,
    seeds: &[b"sid=abc; theme=\"dark\"; sid=def", b"a;=b;sid; sid=\"x\\\"y\" ;$Version=1"],
};

pub const CERTIFICATE: Target = Target {
    name: "certificate",
    run: certificate,
    seeds: &[
        b"By=spiffe://a/b;Hash=00;Subject=\"CN=alice,O=\\\"Acme\\\"\";URI=spiffe://a/c;DNS=a.b,By=c;URI=d",
        b"-----BEGIN%20CERTIFICATE-----%0AMIIB%0A-----END%20CERTIFICATE-----",
        b":MIIBgTCCASegAwIBAgIUJ0o=:",
        b"CN=alice+OU=x\\, y,O=#0c0161",
    ],
};

pub const CALLS: Target = Target {
    name: "calls",
    run: calls,
    seeds: &[
        b"0[{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":1},{\"method\":\"c\",\"params\":[],\"id\":2}]",
        b"0{\"query\":\"mutation M($a:[I!]=[1]){a:f(x:{y:\\\"\\\\u007d\\\"})@i ...F} fragment F on T{b}\",\"operationName\":\"M\"}",
        b"0{\"requests\":[{\"id\":\"1\",\"method\":\"DELETE\",\"url\":\"/me/events/7?x=1\"}]}",
        b"1query=mutation%7Ba%7D&operationName=M",
        b"2mutation{a}",
        b"3--b\r\nContent-Type: application/http\r\n\r\nDELETE /a/1 HTTP/1.1\r\n\r\n--b--",
        b"4--b\r\nContent-Disposition: form-data; name=operations\r\n\r\n{\"query\":\"{a}\"}\r\n--b--",
    ],
};

pub const ADDRESS: Target = Target {
    name: "address",
    run: address,
    seeds: &[
        b"6.6.6.6, 7.7.7.7",
        b"for=\"[2001:db8::1]:80\";proto=http, for=_x, for=unknown",
        b"[::ffff:1.2.3.4]:9, ,",
    ],
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn config(more: &str) -> Config {
    let text = format!("service: orders\nupstream: http://127.0.0.1:8080\n{more}");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    config::from_text(&text, "sidelog.yaml", &dir, &|_| None).expect("a valid configuration").0
}

fn rules(more: &str) -> Rules {
    let pseudonyms = Pseudonyms::new(b"0123456789abcdef");
    Rules::load(&config(more), &pseudonyms).expect("valid rules").0
}

fn operation(data: &[u8]) {
    static RULES: LazyLock<Rules> = LazyLock::new(|| rules("openapi: [openapi.yaml]\n"));
    for method in ["GET", "POST", "OPTIONS"] {
        let found = RULES.specs.find(method, data, &|_| None);
        let again = RULES.specs.find(method, data, &|_| None);
        assert_eq!(format!("{found:?}"), format!("{again:?}"));
        if let Some(operation) = found.operation {
            let names: Vec<_> = found.params().map(|p| p.name.to_owned()).collect();
            assert_eq!(names.len(), operation.route.matches('{').count(), "{names:?} of {}", operation.route);
        }
    }
}

fn judge(rules: &Rules, name: &str, value: &[u8], look: impl Fn(&Head<'_>)) {
    let (mut raw, mut index) = HeadIndex::synthesize("POST", "/v1/orders", &[]);
    raw.truncate(raw.len() - 2);
    let start = raw.len() as u32;
    raw.extend_from_slice(name.as_bytes());
    let colon = raw.len() as u32;
    raw.extend_from_slice(b": ");
    // What the parser would never let through.
    raw.extend(value.iter().filter(|b| !b.is_ascii_control()));
    let end = raw.len() as u32;
    raw.extend_from_slice(b"\r\n\r\n");
    index.fields.push((start..colon, colon + 2..end));
    index.len = raw.len();
    let head = Head { raw: &raw, index: &index };
    look(&head);
    let judged = rules.judge(&head, true, false);
    let _ = rules.facts(&head, PEER, &judged);
}

fn token(data: &[u8]) {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        rules(
            "actor:\n  - jwt: {jwks_file: jwks.json, issuer: i}\n  - basic: {}\n  - api_key: {header: X-Api-Key}\n",
        )
    });
    judge(&RULES, "Authorization", data, |head| {
        let (actor, _) = RULES.extractor.actor(head, PEER);
        assert!(!actor.verified && actor.source != ActorSource::VerifiedJwt, "forged: {actor:?}");
    });
}

fn address(data: &[u8]) {
    static RULES: LazyLock<Vec<(&str, Rules)>> = LazyLock::new(|| {
        ["X-Forwarded-For", "Forwarded", "X-Real-IP"]
            .map(|h| (h, rules(&format!("client_ip: {{header: {h}, trusted_proxies: [10.0.0.0/8]}}\n"))))
            .into()
    });
    for (name, rules) in RULES.iter() {
        judge(rules, name, data, |head| {
            let (client, _) = rules.extractor.client(head, PEER);
            assert!(client.ip.parse::<IpAddr>().is_ok(), "{client:?}");
            assert_eq!(client.peer_ip, PEER.to_string());
        });
    }
}

fn cookie(data: &[u8]) {
    static RULES: LazyLock<Rules> = LazyLock::new(|| rules("actor:\n  - cookie: {name: sid}\n"));
    judge(&RULES, "Cookie", data, |head| {
        let (actor, _) = RULES.extractor.actor(head, PEER);
        assert!(matches!(actor.source, ActorSource::Cookie | ActorSource::Anonymous), "{actor:?}");
        assert!(!actor.verified, "{actor:?}");
    });
}

fn certificate(data: &[u8]) {
    static RULES: LazyLock<[Rules; 2]> = LazyLock::new(|| {
        ["10.0.0.0/8", "192.0.2.0/24"].map(|peers| {
            let header = "X-Forwarded-Client-Cert";
            rules(&format!("actor:\n  - forwarded_cert: {{header: {header}, trusted_from: [{peers}]}}\n"))
        })
    });
    for (rules, trusted) in RULES.iter().zip([true, false]) {
        judge(rules, "X-Forwarded-Client-Cert", data, |head| {
            let (actor, _) = rules.extractor.actor(head, PEER);
            let named = actor.source == ActorSource::ForwardedCert;
            assert!(trusted || !named, "from a stranger: {actor:?}");
            assert!(!named || !actor.id.is_empty(), "{actor:?}");
        });
    }
}

/// The first byte chooses the content type.
fn calls(data: &[u8]) {
    const MEDIA: [&str; 5] = [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/graphql",
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=b",
    ];
    let Some((first, body)) = data.split_first() else { return };
    let media = MEDIA[usize::from(*first) % MEDIA.len()].as_bytes();
    for (method, target) in [("POST", &b"/graphql"[..]), ("POST", b"/v1"), ("GET", b"/graphql?query={a}")] {
        for whole in [true, false] {
            let asked = Asked { method, target, host: b"a", media, body, whole };
            let Some(found) = of_call(&asked) else { continue };
            assert!(found.list.len() as u64 <= u64::from(found.total) && found.list.len() <= 50, "{found:?}");
            let told_by_query = target.contains(&b'?');
            assert!(whole || found.cut || told_by_query, "how should it know? {found:?}");
            for call in &found.list {
                let (Call::Named(text) | Call::Request { path: text, .. }) = call;
                assert!(!text.chars().any(char::is_control), "{found:?}");
            }
        }
    }
}
