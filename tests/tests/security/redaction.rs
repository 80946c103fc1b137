//! What must never be kept: secrets by name, by value, by mark, in every wrapping.
//!
//! Bodies of both directions are recorded, and the service's answers hold secrets, too. The words of
//! the payloads are secrets all of them: `group` looks for each in every event.

use crate::attribution::token;
use crate::cases::{Coding, From};
use crate::fixture::{Fixture, of_peer, peer};
use crate::group::{InCode, Outcome};
use crate::{oracle, stores};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::Canary;
use harness::origin::Step;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::net::TcpListener;

pub const IN_CODE: &[InCode] = &[
    (87, entities_are_not_fetched),
    (89, bombs),
    (95, stores::error_paths),
    (96, stores::every_store),
    (97, pseudonyms),
];

/// Each mark on a field with a name that says nothing.
pub const DOCUMENT: &str = "openapi: 3.0.3
info: {title: people, version: '1'}
paths:
  /v1/people:
    post:
      operationId: addPerson
      requestBody:
        content:
          application/json:
            schema:
              type: object
              properties:
                one: {type: string, writeOnly: true}
                two: {type: string, format: password}
                three: {type: string, x-ms-secret: true}
                four: {type: string, x-sensitive: true}
                five: {type: string, x-sensitive-data: {}}
                six: {type: string, x-pii: true}
                seven: {type: string, x-secret: true}
                open: {type: string}
";

pub const CONFIG: &str = "openapi: [openapi.yaml]
audit: {level: request_response, unmatched: request_response}
actor: [{basic: {}}, {api_key: {header: X-API-Key}}]
";

pub fn start() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("openapi.yaml"), DOCUMENT).unwrap();
    equip(Fixture::start_in(dir, CONFIG))
}

/// Gives a fixture the words of this group's payloads and an answer with secrets.
pub fn equip(mut fixture: Fixture) -> Fixture {
    fixture.words.extend(words(&fixture.canary));
    fixture.words.push(("PORT".into(), bait().local_addr().unwrap().port().to_string()));
    fixture.answer = answer(&fixture.canary);
    fixture
}

/// Where the external entities of the payloads are. Nobody ever connects.
fn bait() -> &'static TcpListener {
    static BAIT: std::sync::OnceLock<TcpListener> = std::sync::OnceLock::new();
    BAIT.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    })
}

fn entities_are_not_fetched() -> Outcome {
    match bait().accept() {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok("no outbound connection".into()),
        other => Err(vec![format!("an external entity was fetched: {other:?}")]),
    }
}

/// Bodies that expand to much more: one that would fit what is captured, one that would not.
fn bombs() -> Outcome {
    const MAY_GROW_KIB: u64 = 32 << 10;
    let fixture = start();
    let kib = || peak_kib(fixture.sidecar.process.id());
    let zeros = Coding::Gzip.apply(&vec![0; 10 << 20]);
    // RFC 1952 §2.2: members one after the other are one stream.
    let huge: Vec<u8> = zeros.repeat((10 << 20) / zeros.len());
    let expands = 10_u64 * huge.len() as u64 / zeros.len() as u64;
    let small = zeros.repeat(((60 << 10) / zeros.len()).max(1));
    fixture.send_raw(peer(From::Stranger, 89, 0), gzipped(&Coding::Gzip.apply(b"{}")), answering(&fixture));
    let before = kib();
    let mut all = Vec::new();
    for (index, bomb) in [(1, &small), (2, &huge)] {
        let seen = fixture.send_raw(peer(From::Stranger, 89, index), gzipped(bomb), answering(&fixture));
        assert_eq!(seen.forwarded, seen.raw, "bytes changed on the way");
        all.push(seen);
    }
    let grown = kib() - before;
    let events = fixture.stop();
    let mut faults = Vec::new();
    for seen in &all {
        let own = of_peer(&events, seen.peer);
        faults.extend(oracle::truth(seen, &own));
        let wanted = json!({"request.body": null, "request.body_state": {"has": "omitted:"}});
        own.iter().for_each(|event| faults.extend(oracle::members(event, wanted.as_object().unwrap())));
    }
    if grown > MAY_GROW_KIB {
        faults.push(format!("memory grew by {grown} KiB"));
    }
    assert!(expands > 9 << 10, "the bomb expands to {expands} MiB only");
    if faults.is_empty() {
        Ok("body omitted, its digest kept; bytes unchanged, less than 32 MiB more memory".into())
    } else {
        Err(faults)
    }
}

fn answering(fixture: &Fixture) -> Vec<Step> {
    vec![Step::Answer(fixture.answer.clone())]
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The most memory a process has ever had resident.
pub fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// One secret under one key: the same tag. Under another key: another. Never the hash that anybody
/// can compute.
fn pseudonyms() -> Outcome {
    let mut fixture = Fixture::start("actor: [{api_key: {header: X-API-Key}}]\n");
    let secret = fixture.canary.secret("key");
    let call = |fixture: &Fixture, index: usize| {
        let from = peer(From::Stranger, 97, index);
        let head = "POST /v1/orders HTTP/1.1\r\nHost: a\r\n";
        let raw = format!("{head}X-API-Key: {secret}\r\nContent-Length: {}\r\n\r\n{secret}", secret.len());
        fixture.send_raw(from, raw.into_bytes(), vec![Step::Answer(fixture.answer.clone())]);
    };
    (0..2).for_each(|index| call(&fixture, index));
    std::fs::write(fixture.dir().join("redact.key"), b"another key for the same cases").unwrap();
    fixture.restart("actor: [{api_key: {header: X-API-Key}}]\n", false);
    call(&fixture, 2);
    let events = fixture.stop();
    let tags = |index: usize| -> [String; 2] {
        let [event] = of_peer(&events, peer(From::Stranger, 97, index))[..] else { panic!("{events:#?}") };
        [&event["actor"]["credential"], &event["request"]["digest"]].map(|v| v.as_str().unwrap().to_owned())
    };
    let (first, second, third) = (tags(0), tags(1), tags(2));
    assert_eq!(first, second, "the same secret under the same key");
    assert_eq!(first[1], oracle::keyed_digest(secret.as_bytes()));
    let bare: String =
        Sha256::digest(secret.as_bytes()).iter().take(12).map(|b| format!("{b:02x}")).collect();
    for (old, new) in first.iter().zip(&third) {
        let parts = |tag: &str| -> [String; 2] {
            let (rest, mac) = tag.rsplit_once(':').unwrap();
            [rest.rsplit(':').next().unwrap().to_owned(), mac.to_owned()]
        };
        let ([old_key, old_mac], [new_key, new_mac]) = (parts(old), parts(new));
        assert_ne!(old_key, new_key, "the key's name");
        assert_ne!(old_mac, new_mac, "the tag under another key");
        assert!(!old_mac.starts_with(&bare) && !new_mac.starts_with(&bare), "a bare hash");
    }
    let found = Canary::of(&bare).in_files(&[&fixture.dir().join("journal")]);
    assert_eq!(found, [""; 0], "a bare hash in the journal");
    Ok("equal under one key, another name and tag under the next; no bare hash".into())
}

/// An answer of the service, with what a login gives out.
pub fn answer(canary: &Canary) -> Vec<u8> {
    let body = json!({"token": canary.secret("answer"), "ok": true}).to_string();
    let cookie = canary.secret("cookie");
    format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: sid={cookie}; HttpOnly\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// Secrets in their common shapes, put together here so that none of them stands in a file.
pub fn words(canary: &Canary) -> Vec<(String, String)> {
    let claims = json!({"sub": "alice", "secret": canary.secret("jwt")});
    let line = |c: char| String::from(c).repeat(64);
    let pem = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", &line('b'), &line('c')].join("\\n");
    let of = |alphabet: &str, length: usize| -> String { alphabet.chars().cycle().take(length).collect() };
    [
        ("BASIC", STANDARD.encode(format!("u:{}", canary.secret("basic")))),
        ("JWT", token(&json!({"alg": "HS256"}), &claims, b"k")),
        ("PEM", format!("-----BEGIN PRIVATE {0}-----\\n{pem}\\n-----END PRIVATE {0}-----", "KEY")),
        ("AWS", format!("AK{}{}", "IA", of("Q3EGR5TW2MXZ7PLK", 16))),
        ("GITHUB", format!("gh{}_{}", 'p', of("a8Kd2Lq9Zx4Vb7Nm1Ty6Wc3", 36))),
        ("SLACK", format!("xo{}-{}-{}", "xb", of("2847561930", 12), of("kD8sLq2ZxVb7", 24))),
        ("STRIPE", format!("sk_{}_{}", "live", of("4eC39HqLyjWDarjtT1zdp7dc", 24))),
        ("PAN", ["4111", "1111", "1111", "1111"].join(" ")),
    ]
    .map(|(name, secret)| (name.to_owned(), secret))
    .into()
}
