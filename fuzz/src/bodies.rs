//! Redaction of bodies: whatever surrounds it, a secret that a detector knows never comes out; what
//! was JSON stays JSON.

use crate::Target;
use sidelog::config;
use sidelog::pseudonym::Pseudonyms;
use sidelog::redact::{RawBody, Redactor, SchemaMarks};
use sidelog_event::AuditEvent;
use std::sync::LazyLock;

pub const JSON: Target = Target {
    name: "redact_json",
    run: json,
    seeds: &[
        br#"{"a":[{"Password":"x"}],"pass\u0077ord":"y","user":{"apiKey":1}}"#,
        br#"{"payload":"{\"password\":\"x\"}","n":-1.5e3,"t":true}"#,
        b"{\"a\":1}\n{\"token\":[1,2]}\n",
    ],
};

pub const FORM: Target = Target {
    name: "redact_form",
    run: form,
    seeds: &[b"password=x&a=1&user%5Bpassword%5D=y&p%61ssword=z", b"note=https://u:p@h/?token=x;b"],
};

pub const MULTIPART: Target = Target {
    name: "redact_multipart",
    run: multipart,
    seeds: &[
        b"--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nx\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=f; filename=a\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--",
    ],
};

pub const XML: Target = Target {
    name: "redact_xml",
    run: xml,
    seeds: &[
        b"<a><Password>x</Password><b token='y'><![CDATA[z]]></b></a>",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
    ],
};

pub const ENCODED: Target = Target {
    name: "encoded",
    run: encoded,
    seeds: &[
        // {"password":"x"}: gzip, deflate (zlib), zstd; and what only claims to be brotli.
        b"\x00\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV*H,..\xcf/JQ\xb2R\xaaP\xaa\x05\x00",
        b"\x01x\x9c\xabV*H,..\xcf/JQ\xb2R\xaaP\xaa\x05\x00.\xda\x05\x57",
        b"\x02(\xb5/\xfd\x20\x10\x81\x00\x00{\"password\":\"x\"}",
        b"\x03\x8b\x07\x80{\"password\":\"x\"}\x03",
    ],
};

const SECRET: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

const EVENT: &str = r#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","stage":"completed",
    "time":"2026-01-02T03:04:05Z","service":"orders","http":{"version":"1.1","method":"POST",
    "effective_method":"POST","scheme":"http","path":"/v1"},"operation":{"match":"unmatched","op":"create"},
    "actor":{"source":"anonymous","verified":false},"client":{"ip":"10.0.0.1","ip_source":"peer",
    "peer_ip":"10.0.0.1"},"outcome":"success","request":{"bytes":0},"response":{"bytes":0},
    "level":"request","delivery":"written","policy":"default"}"#;

/// The stored event of a call with this body.
fn stored(content_type: &str, body: &[u8]) -> serde_json::Value {
    stored_as(content_type, "", body)
}

fn stored_as(content_type: &str, content_encoding: &str, body: &[u8]) -> serde_json::Value {
    static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
        let pseudonyms = Pseudonyms::new(b"0123456789abcdef");
        Redactor::new(&config::Redact::default(), 1 << 20, pseudonyms).expect("defaults")
    });
    let event: AuditEvent<'_> = serde_json::from_str(EVENT).expect("an event");
    let raw = RawBody {
        content_type: content_type.as_bytes(),
        content_encoding: content_encoding.as_bytes(),
        bytes: body,
        total: body.len() as u64,
        complete: true,
        keep: true,
        ..RawBody::default()
    };
    let redacted = REDACTOR.redact(event, raw, RawBody::default(), &SchemaMarks::default());
    let mut buffer = Vec::new();
    redacted.store(&mut buffer).expect("serialises");
    serde_json::from_slice(&buffer).expect("JSON")
}

/// With the secret put somewhere into the body, it must not come out.
fn check(content_type: &str, data: &[u8]) {
    stored(content_type, data);
    let at = data.first().map_or(0, |b| usize::from(*b) * data.len() / 256);
    for place in [0, at, data.len()] {
        let body = [&data[..place], b" ", SECRET.as_bytes(), b" ", &data[place..]].concat();
        let event = stored(content_type, &body);
        assert!(!event.to_string().contains(SECRET), "{content_type} {}", event["request"]);
    }
}

fn json(data: &[u8]) {
    check("application/json", data);
    if serde_json::from_slice::<serde_json::Value>(data).is_ok_and(|v| v.is_object() || v.is_array()) {
        let event = stored("application/json", data);
        let request = &event["request"];
        if request["body_state"] == "complete" {
            let body = request["body"].as_str().unwrap_or_default();
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "no longer JSON: {body}");
        }
    }
}

fn form(data: &[u8]) {
    check("application/x-www-form-urlencoded", data);
}

fn multipart(data: &[u8]) {
    check("multipart/form-data; boundary=b", data);
}

fn xml(data: &[u8]) {
    check("application/xml", data);
}

/// The first byte chooses the encoding. Half a stream, another's, a bomb: the body is small or left out.
fn encoded(data: &[u8]) {
    const CODINGS: [&str; 6] = ["gzip", "deflate", "zstd", "br", "gzip, br", "identity, x-gzip"];
    let Some((first, body)) = data.split_first() else { return };
    let coding = CODINGS[usize::from(*first) % CODINGS.len()];
    let event = stored_as("application/json", coding, body);
    let body = event["request"]["body"].as_str().unwrap_or_default();
    // What is masked may grow a little.
    assert!(body.len() <= 2 << 20, "{coding}: {} bytes", body.len());
}
