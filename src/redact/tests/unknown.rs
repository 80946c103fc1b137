//! `redact.unknown: mask`: only declared fields keep their values.

use super::*;
use crate::openapi::{Operation, load_with_fields};

const DOCUMENT: &str = r##"
openapi: 3.0.3
paths:
  /orders:
    post:
      parameters:
        - {name: dry_run, in: query, schema: {type: boolean}}
        - {name: ids, in: query, schema: {type: array, items: {type: string}}}
        - {name: filter, in: query, schema: {type: object, properties: {status: {type: string}}}}
      requestBody:
        content:
          application/json: {schema: {$ref: '#/components/schemas/Order'}}
          application/x-www-form-urlencoded: {schema: {$ref: '#/components/schemas/Order'}}
          multipart/form-data: {schema: {$ref: '#/components/schemas/Order'}}
      responses: {200: {content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Order'}}}}}}
  /notes:
    post: {requestBody: {content: {text/plain: {schema: {type: string}}}}, responses: {}}
  /secrets:
    post:
      requestBody: {content: {application/json: {schema: {type: object, x-sensitive: true, properties: {a: {type: string}}}}}}
      responses: {200: {content: {application/json: {schema: {type: object, properties: {a: {type: string}}}}}}}
components:
  schemas:
    Order:
      allOf:
        - {type: object, properties: {id: {type: string}, amount: {type: number}, password: {type: string}}}
        - properties:
            customer: {properties: {name: {type: string}}}
            tags: {type: array, items: {type: string}}
            meta: {type: object}
            labels: {additionalProperties: {type: string}}
"##;

fn operations() -> Vec<Operation> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openapi.yaml");
    std::fs::write(&path, DOCUMENT).unwrap();
    load_with_fields(&path).unwrap().0.operations
}

fn marks(template: &str) -> SchemaMarks {
    SchemaMarks::of(operations().iter().find(|o| o.template == template).unwrap())
}

fn masking() -> Redactor {
    configured(&[], &["trace"], config::Unknown::Mask).unwrap()
}

#[test]
fn only_declared_fields_of_json_keep_their_values() {
    let marks = marks("/orders");
    for (body, want) in [
        (
            r#"{"id":"a","amount":1.5,"extra":"CANARYx7Qz","more":{"id":"CANARYx7Qz"},"n":null,"list":[1]}"#,
            r#"{"id":"a","amount":1.5,"extra":"[redacted]","more":"[redacted]","n":"[redacted]","list":"[redacted]"}"#,
        ),
        (
            r#"{"customer":{"name":"Ada","vat":"CANARYx7Qz","amount":7},"tags":["x","y"],"password":"CANARYx7Qz"}"#,
            r#"{"customer":{"name":"Ada","vat":"[redacted]","amount":"[redacted]"},"tags":["x","y"],"password":"[redacted]"}"#,
        ),
        (
            r#"{"meta":{"x":1,"y":{"z":2}},"labels":{"any":"x","deep":{"n":1}},"tags":[{"id":1},["CANARYx7Qz"]]}"#,
            r#"{"meta":{"x":"[redacted]","y":"[redacted]"},"labels":{"any":"x","deep":{"n":"[redacted]"}},"tags":[{"id":"[redacted]"},["[redacted]"]]}"#,
        ),
        // A plain value where an object is declared; the operator's name; a value detector.
        (
            r#"{"customer":"CANARYx7Qz","trace":{"a":[1]},"id":"AKIAIOSFODNN7EXAMPLE"}"#,
            r#"{"customer":"[redacted]","trace":{"a":[1]},"id":"[redacted:aws_access_key]"}"#,
        ),
        (r#""CANARYx7Qz""#, r#""[redacted]""#),
        (r#"[1,{"id":"x"}]"#, r#"["[redacted]",{"id":"[redacted]"}]"#),
        (r#"{"\u0069d":"a"} {"x":1}"#, r#"{"\u0069d":"a"} {"x":"[redacted]"}"#),
    ] {
        let seen = see_marked(&masking(), raw("application/json", body.as_bytes()), &marks);
        assert_eq!((seen.state.as_str(), seen.body.as_str()), ("complete", want));
        assert_gone(CANARY, &seen.stored);
        // The rule is silent where the mode is off.
        let kept = see_marked(&redactor(), raw("application/json", body.as_bytes()), &marks);
        assert!(!kept.rules.iter().any(|r| r == "schema:undeclared"));
    }
    let seen = see_marked(&masking(), raw("application/json", br#"{"x":1}"#), &marks);
    assert_eq!(seen.rules, ["schema:undeclared"]);
}

#[test]
fn the_response_has_a_schema_of_its_own() {
    let none = RawBody { complete: true, ..RawBody::default() };
    let body = br#"[{"id":"a","x":1}]"#;
    let redacted = masking().redact(event(), none, raw("application/json", body), &marks("/orders"));
    assert_eq!(redacted.response.body, r#"[{"id":"a","x":"[redacted]"}]"#);
}

#[test]
fn only_declared_fields_of_forms_keep_their_values() {
    let marks = marks("/orders");
    for (body, want) in [
        ("id=a&extra=CANARYx7Qz&amount=1", "id=a&extra=[redacted]&amount=1"),
        (
            "customer%5Bname%5D=Ada&customer[vat]=CANARYx7Qz",
            "customer%5Bname%5D=Ada&customer[vat]=[redacted]",
        ),
        (
            "tags=a&tags[]=b&tags[0]=c&tags[0][x]=CANARYx7Qz",
            "tags=a&tags[]=b&tags[0]=c&tags[0][x]=[redacted]",
        ),
        ("CANARYx7Qz&id", "[redacted]&id"),
    ] {
        let seen = see_marked(&masking(), raw("application/x-www-form-urlencoded", body.as_bytes()), &marks);
        assert_eq!(seen.body, want);
        assert_gone(CANARY, &seen.stored);
    }
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let all = |extra: &str| {
        let fields = [
            part("id", "a"),
            part("extra", extra),
            part("tags", "x"),
            part("customer", r#"{"name":"Ada","x":1}"#),
        ];
        fields.concat() + "--b--\r\n"
    };
    let body = all("CANARYx7Qz");
    let seen = see_marked(&masking(), raw("multipart/form-data; boundary=b", body.as_bytes()), &marks);
    assert_eq!(seen.body, all("[redacted]").replace(r#""x":1"#, r#""x":"[redacted]""#));
}

#[test]
fn only_declared_query_parameters_keep_their_values() {
    let query = "dry_run=true&ids=1&ids=2&filter[status]=open&filter[x]=CANARYx7Qz&utm=CANARYx7Qz&CANARYx7Qz";
    let want = "dry_run=true&ids=1&ids=2&filter[status]=open&filter[x]=[redacted]&utm=[redacted]&[redacted]";
    let mut call = event();
    call.http.query = query.into();
    let none = || RawBody { complete: true, ..RawBody::default() };
    let marks = marks("/orders");
    let redacted = masking().redact(call, none(), none(), &marks);
    assert_eq!(redacted.http.query, want);
    assert_eq!(masking().query(query.as_bytes(), &marks), want);
    // Read back from disk, what was kept stays.
    let mut buffer = Vec::new();
    let stored = redacted.store(&mut buffer).unwrap();
    let again = masking().recover(serde_json::from_slice(stored.bytes()).unwrap());
    assert_eq!(again.http.query, want);
}

#[test]
fn what_matches_no_operation_is_masked_all_over() {
    let none = SchemaMarks::default();
    for (content_type, body, state, want) in [
        (
            "application/json",
            r#"{"a":"CANARYx7Qz","b":[1]}"#,
            "complete",
            r#"{"a":"[redacted]","b":"[redacted]"}"#,
        ),
        ("application/x-www-form-urlencoded", "a=CANARYx7Qz&b=1", "complete", "a=[redacted]&b=[redacted]"),
        ("text/plain", "hello CANARYx7Qz", "omitted:undeclared", ""),
        ("text/xml", "<a>CANARYx7Qz</a>", "omitted:undeclared", ""),
        ("", "<a>CANARYx7Qz</a>", "omitted:undeclared", ""),
    ] {
        let seen = see_marked(&masking(), raw(content_type, body.as_bytes()), &none);
        assert_eq!((seen.state.as_str(), seen.body.as_str()), (state, want));
        assert_gone(CANARY, &seen.stored);
    }
    let seen = see_marked(&masking(), raw("text/plain", b"hello there"), &marks("/notes"));
    assert_eq!((seen.state.as_str(), seen.body.as_str()), ("complete", "hello there"));
}

/// 94: a schema that is marked as a whole has no name to mask. Independent of the mode.
#[test]
fn a_body_marked_as_a_whole_is_left_out() {
    let body = br#"{"a":"CANARYx7Qz"}"#;
    let redacted = redactor().redact(
        event(),
        raw("application/json", body),
        raw("application/json", body),
        &marks("/secrets"),
    );
    assert_eq!((&*redacted.request.body_state, &*redacted.request.body), ("omitted:marked", ""));
    assert_eq!(redacted.response.body, r#"{"a":"CANARYx7Qz"}"#);
}
