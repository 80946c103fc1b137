//! What redaction promises, case by case; then the same as properties over random input.

use super::text::Pass;
use super::*;
use proptest::prelude::*;

mod cases;
mod encodings;
mod failures;
mod lengths;
mod members;
mod properties;
mod stored;
mod unknown;

/// Never to be seen again.
const CANARY: &str = "CANARYx7Qz";

fn redactor() -> Redactor {
    with(&[], &[])
}

fn with(keys: &[&str], keep: &[&str]) -> Redactor {
    configured(keys, keep, config::Unknown::Keep).unwrap()
}

fn configured(keys: &[&str], keep: &[&str], unknown: config::Unknown) -> Result<Redactor, BadRedact> {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let config = config::Redact { keys: own(keys), keep: own(keep), unknown, pseudonym_key_file: None };
    Redactor::new(&config, MAX_DECODED, Pseudonyms::new(b"0123456789abcdef"))
}

/// A text that makes the redactor panic, in tests.
pub(super) const FAIL_POINT: &str = "the redactor: panics here";

const MAX_DECODED: usize = 1 << 16;

/// An event of a call nobody made, with nothing secret in it.
fn event() -> AuditEvent<'static> {
    serde_json::from_str(
        r#"{"event_id":"01890a5d-ac96-774b-bcce-b302099a8057","stage":"completed","time":"2026-01-02T03:04:05Z",
        "service":"orders","http":{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http",
        "host":"api.example.com","path":"/v1/orders"},"operation":{"match":"matched","op":"create"},
        "actor":{"source":"anonymous","verified":false},"client":{"ip":"10.0.0.1","ip_source":"peer",
        "peer_ip":"10.0.0.1"},"outcome":"success","request":{"bytes":0},"response":{"bytes":0},
        "level":"request_response","delivery":"written","policy":"default"}"#,
    )
    .unwrap()
}

fn raw<'a>(content_type: &'a str, bytes: &'a [u8]) -> RawBody<'a> {
    RawBody {
        content_type: content_type.as_bytes(),
        bytes,
        total: bytes.len() as u64,
        complete: true,
        keep: true,
        digest: (!bytes.is_empty()).then(|| {
            let mut digester = Pseudonyms::new(b"0123456789abcdef").digester();
            digester.update(bytes);
            digester.finish()
        }),
        ..RawBody::default()
    }
}

/// A request body's text and state, and the whole stored event.
struct Seen {
    body: String,
    state: String,
    rules: Vec<String>,
    stored: String,
}

fn see(redactor: &Redactor, raw: RawBody<'_>) -> Seen {
    see_marked(redactor, raw, &SchemaMarks::default())
}

fn see_marked(redactor: &Redactor, raw: RawBody<'_>, marks: &SchemaMarks) -> Seen {
    let none = RawBody { complete: true, ..RawBody::default() };
    let redacted = redactor.redact(event(), raw, none, marks);
    let mut buffer = Vec::new();
    let stored = String::from_utf8(redacted.store(&mut buffer).unwrap().bytes().to_vec()).unwrap();
    Seen {
        body: redacted.request.body.to_string(),
        state: redacted.request.body_state.to_string(),
        rules: redacted.redactions.rules.iter().map(|r| r.to_string()).collect(),
        stored,
    }
}

fn json_body(text: &str) -> String {
    let seen = see(&redactor(), raw("application/json", text.as_bytes()));
    assert_eq!(seen.state, "complete", "{text}");
    seen.body
}

/// No trace of the canary: as it is, in base64 at any alignment, in hex, reversed.
fn assert_gone(canary: &str, text: &str) {
    use base64::Engine as _;
    let lower = text.to_ascii_lowercase();
    let hex: String = canary.bytes().map(|b| format!("{b:02x}")).collect();
    let reversed: String = canary.chars().rev().collect();
    for form in [canary.to_ascii_lowercase(), hex, reversed.to_ascii_lowercase()] {
        assert!(!lower.contains(&form), "{form} in {text}");
    }
    for pad in 0..3 {
        let mut padded = vec![0u8; pad];
        padded.extend_from_slice(canary.as_bytes());
        let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
        let inner = encoded.get(4..encoded.len() - 3).unwrap_or_default();
        assert!(inner.len() < 6 || !text.contains(inner), "{inner} in {text}");
    }
}
