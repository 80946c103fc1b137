//! Bodies with a `Content-Encoding`: read like any other, or left out with a flag.

use super::super::decode::tests::{CODINGS, encode, header};
use super::*;

fn flags(redactor: &Redactor, raw: RawBody<'_>) -> (String, Vec<String>) {
    let none = RawBody { complete: true, ..RawBody::default() };
    let redacted = redactor.redact(event(), raw, none, &SchemaMarks::default());
    let flags = redacted.flags.iter().map(|f| f.to_string()).collect();
    (redacted.request.body_state.to_string(), flags)
}

/// 88.
#[test]
fn encoded_bodies_are_read_like_any_other() {
    let json = format!(
        r#"{{"password":"{CANARY}","a":[{{"passw\u006frd":"{CANARY}"}}],"n":"{}"}}"#,
        "x".repeat(999)
    );
    let kept = json_body(&json);
    let form = format!("password={CANARY}&x=1");
    for coding in CODINGS {
        let wire = encode(coding, json.as_bytes());
        let body = RawBody { content_encoding: header(coding).as_bytes(), ..raw("application/json", &wire) };
        let digest = body.digest.clone().unwrap();
        let seen = see(&redactor(), body);
        assert_eq!((seen.state.as_str(), &seen.body), ("complete", &kept), "{coding}");
        assert_gone(CANARY, &seen.stored);
        // Length and digest are those of the bytes on the wire.
        assert!(seen.stored.contains(&format!("\"bytes\":{}", wire.len())) && seen.stored.contains(&digest));
        let wire = encode(coding, form.as_bytes());
        let body = RawBody {
            content_encoding: header(coding).as_bytes(),
            ..raw("application/x-www-form-urlencoded", &wire)
        };
        assert_eq!(see(&redactor(), body).body, "password=[redacted]&x=1", "{coding}");
        // Empty, and yet something on the wire.
        let wire = encode(coding, b"");
        let body = RawBody { content_encoding: header(coding).as_bytes(), ..raw("application/json", &wire) };
        assert_eq!(flags(&redactor(), body), ("complete".to_owned(), vec![]), "{coding}");
    }
}

/// 89, 90.
#[test]
fn what_does_not_decode_is_left_out_and_flagged() {
    let json = format!(r#"{{"password":"{CANARY}"}}"#);
    let gzip = encode("gzip", json.as_bytes());
    let twice = encode("gzip", &gzip);
    let bomb = encode("gzip", &vec![b' '; MAX_DECODED + 1]);
    let cut = gzip.get(..gzip.len() - 3).unwrap();
    let trailing = [gzip.as_slice(), json.as_bytes()].concat();
    for (encoding, bytes, flag) in [
        ("gzip", json.as_bytes(), "encoding_false"),
        ("br", json.as_bytes(), "encoding_false"),
        ("deflate", json.as_bytes(), "encoding_false"),
        ("zstd", json.as_bytes(), "encoding_false"),
        ("gzip", cut, "encoding_false"),
        ("gzip", &trailing, "encoding_false"),
        ("gzip, gzip", &twice, "encoding_stacked"),
        ("br,identity, gzip", &twice, "encoding_stacked"),
        ("compress", json.as_bytes(), "encoding_unknown"),
        ("gzip", &bomb, "body_too_large_decoded"),
    ] {
        let body = RawBody { content_encoding: encoding.as_bytes(), ..raw("application/json", bytes) };
        let seen = see(&redactor(), body.clone());
        assert_eq!((seen.state.as_str(), seen.body.as_str()), ("omitted:encoding", ""), "{encoding}");
        assert!(seen.stored.contains("hmac-sha256-128:"), "length and digest remain");
        assert_gone(CANARY, &seen.stored);
        assert_eq!(flags(&redactor(), body).1, [flag], "{encoding}");
    }
    // Named once, encoded twice: what comes out is no text.
    let body = RawBody { content_encoding: b"gzip", ..raw("application/json", &twice) };
    assert_eq!(see(&redactor(), body).state, "omitted:encoding");
    // No more is decoded than arrived.
    let body =
        RawBody { content_encoding: b"gzip", truncated: true, total: 999, ..raw("application/json", cut) };
    assert_eq!(flags(&redactor(), body), ("omitted:truncated".to_owned(), vec![]));
}
