//! Where the redactor itself fails, what it was about is gone and the event remains.

use super::*;

/// 95.
#[test]
fn a_panic_costs_what_it_was_about() {
    let body = format!(r#"{{"a":"{FAIL_POINT}","b":"{CANARY}"}}"#);
    let fine = br#"{"password":1,"b":2}"#;
    let redacted = redactor().redact(
        event(),
        raw("application/json", body.as_bytes()),
        raw("application/json", fine),
        &SchemaMarks::default(),
    );
    assert_eq!((&*redacted.request.body_state, &*redacted.request.body), ("omitted:failed", ""));
    assert_eq!(redacted.request.bytes, body.len() as u64);
    assert!(redacted.request.digest.starts_with("hmac-sha256-128:"));
    assert_eq!(redacted.response.body, r#"{"password":"[redacted]","b":2}"#);
    assert_eq!(redacted.flags, ["redaction_failed"]);
    assert_eq!(redacted.http.path, "/v1/orders");
    let mut buffer = Vec::new();
    let stored = redacted.store(&mut buffer).unwrap();
    assert_gone(CANARY, std::str::from_utf8(stored.bytes()).unwrap());
}

#[test]
fn a_panic_over_a_member_costs_all_members() {
    let mut event = event();
    event.http.query = format!("a=1&b={CANARY}").into();
    event.actor.name = CANARY.into();
    event.actor.credential = CANARY.into();
    event.operation.path_params.0 = vec![("a".into(), CANARY.into())];
    event.client.forwarded = FAIL_POINT.into();
    event.flags = vec![CANARY.into()];
    let (id, bytes) = (event.event_id, 7);
    let request = RawBody { total: bytes, ..raw("application/json", br#"{"b":2}"#) };
    let redacted = redactor().redact(event, request, RawBody::default(), &SchemaMarks::default());
    assert_eq!((redacted.event_id, redacted.request.bytes), (id, bytes));
    assert!(redacted.flags.iter().any(|f| f == "redaction_failed"));
    let mut buffer = Vec::new();
    let stored = redacted.store(&mut buffer).unwrap();
    assert_gone(CANARY, std::str::from_utf8(stored.bytes()).unwrap());
}

/// 97: a tag under a key, never a bare hash.
#[test]
fn pseudonyms_hold_under_one_key_only() {
    let body = br#"{"a":1}"#;
    let tags = |key: &[u8]| {
        let config = config::Redact::default();
        let redactor = Redactor::new(&config, MAX_DECODED, Pseudonyms::new(key)).unwrap();
        let mut event = event();
        event.actor.credential = CANARY.into();
        let mut digester = Pseudonyms::new(key).digester();
        digester.update(body);
        let request = RawBody { digest: Some(digester.finish()), ..raw("application/json", body) };
        let redacted = redactor.redact(event, request, RawBody::default(), &SchemaMarks::default());
        [redacted.actor.credential.to_string(), redacted.request.digest.to_string()]
    };
    let (old, new) = (b"0123456789abcdef", b"fedcba9876543210");
    assert_eq!(tags(old), tags(old));
    for ((before, after), key) in tags(old).iter().zip(tags(new)).zip([CANARY.as_bytes(), body]) {
        assert_ne!(*before, after);
        // The key's id stands before the tag and tells that it was rotated.
        let id = |tag: &str| tag.rsplit_once(':').unwrap().0.to_owned();
        assert_ne!(id(before), id(&after));
        let bare: String =
            <sha2::Sha256 as sha2::Digest>::digest(key).iter().map(|b| format!("{b:02x}")).collect();
        assert!(!before.contains(bare.get(..24).unwrap()));
    }
}
