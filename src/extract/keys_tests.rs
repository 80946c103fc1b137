//! Project Wycheproof's vectors (tests/data/wycheproof), and keys that must not be used.

use super::*;
use crate::extract::jwt::cut;
use serde_json::json;

const SIGNATURES: &str = include_str!("../../tests/data/wycheproof/json_web_signature.json");
const KEYS: &str = include_str!("../../tests/data/wycheproof/json_web_key.json");

/// Vectors that count as valid and that we refuse all the same: in two, characters are no base64url;
/// two have another algorithm (PS384) than the key names (PS256).
const STRICTER: [u64; 4] = [346, 350, 372, 373];

/// Vectors that count as invalid but are, byte for byte, the valid one of this number: the padding they
/// are to have was lost upstream.
const MISLABELLED: [u64; 2] = [367, 370];
const VALID: u64 = 357;

/// As a token's signature is checked, with all that is before: cutting, decoding, choosing keys.
fn is_verified(keys: &Value, jws: &str) -> bool {
    let keys = KeySet::parse(&keys.to_string(), Origin::File, &mut Vec::new());
    keys.is_ok_and(|keys| cut(jws.as_bytes()).is_ok_and(|(signed, _)| keys.verify(&signed, &[]).is_ok()))
}

/// Whether an algorithm of ours fits the key at all: P-521 (which these vectors call ES521) does not.
fn is_supported(keys: &Value) -> bool {
    let list = keys.get("keys").and_then(Value::as_array);
    let list = list.map_or(std::slice::from_ref(keys), Vec::as_slice);
    list.iter().all(|key| member(key, "crv") != Some("P-521"))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: u32,
    refused: u32,
    unsupported: u32,
    stricter: u32,
    mislabelled: u32,
}

fn run(vectors: &str) -> Counts {
    let mut counts = Counts::default();
    let groups: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let tests = || groups.iter().flat_map(|g| g["tests"].as_array().unwrap());
    let valid = tests().find(|test| test[0] == VALID);
    for group in &groups {
        for test in group["tests"].as_array().unwrap() {
            let (id, result) = (test[0].as_u64().unwrap(), test[2].as_str().unwrap());
            let verified = is_verified(&group["key"], test[3].as_str().unwrap());
            match (result, verified) {
                ("valid", true) => counts.accepted += 1,
                ("invalid", false) => counts.refused += 1,
                ("valid", false) if !is_supported(&group["key"]) => counts.unsupported += 1,
                ("valid", false) if STRICTER.contains(&id) => counts.stricter += 1,
                ("invalid", true) if MISLABELLED.contains(&id) => {
                    assert_eq!(test[3], valid.unwrap()[3], "it is the valid one");
                    counts.mislabelled += 1;
                }
                _ => panic!("{result} but verified is {verified}: {test}"),
            }
        }
    }
    counts
}

#[test]
fn wycheproof_signatures() {
    let expected = Counts { accepted: 40, refused: 353, unsupported: 2, stricter: 4, mislabelled: 2 };
    assert_eq!(run(SIGNATURES), expected);
}

#[test]
fn wycheproof_keys() {
    let expected = Counts { accepted: 5, refused: 21, ..Counts::default() };
    assert_eq!(run(KEYS), expected);
}

fn parse(keys: Value, origin: Origin) -> (usize, String) {
    let mut warnings = Vec::new();
    let set = KeySet::parse(&json!({ "keys": keys }).to_string(), origin, &mut warnings).unwrap();
    (set.len(), warnings.join("\n"))
}

fn secret(kid: &str, byte: u8) -> Value {
    json!({"kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode([byte; 64])})
}

#[test]
fn secrets_that_others_may_read_are_not_used() {
    let public = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": URL_SAFE_NO_PAD.encode([7; 32])});
    assert_eq!(parse(json!([secret("a", 1), secret("b", 2)]), Origin::File), (2, String::new()));
    let (used, warnings) = parse(json!([secret("a", 1), public]), Origin::File);
    assert!(used == 1 && warnings.contains("shared secrets beside public keys"), "{warnings}");
    let (used, warnings) = parse(json!([secret("a", 1), public]), Origin::Url);
    assert!(used == 1 && warnings.contains("does not belong behind a URL"), "{warnings}");
}

#[test]
fn namesakes_are_not_used_but_the_same_key_twice_is() {
    let (used, warnings) = parse(json!([secret("a", 1), secret("a", 2), secret("b", 3)]), Origin::File);
    assert!(used == 1 && warnings.contains("different keys with one `kid`"), "{warnings}");
    assert_eq!(parse(json!([secret("a", 1), secret("a", 1)]), Origin::File), (2, String::new()));
}

#[test]
fn no_message_quotes_the_document() {
    let bad = KeySet::parse("{\"keys\": CANARY", Origin::File, &mut Vec::new()).unwrap_err();
    assert!(!bad.contains("CANARY") && bad.contains("line 1"), "{bad}");
    let long = "k".repeat(5000);
    let (_, warnings) = parse(json!([{"kty": long, "kid": long, "k": "CANARY"}]), Origin::File);
    assert!(warnings.len() < 300 && !warnings.contains("CANARY"), "{warnings}");
}
