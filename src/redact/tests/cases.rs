//! Cases, most from the evasion list the project tests against.

use super::*;

fn names(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().filter(|l| !l.is_empty() && !l.starts_with('#'))
}

#[test]
fn names_that_mean_a_secret() {
    let (redactor, none) = (redactor(), SchemaMarks::default());
    for name in names(include_str!("../../../tests/data/redact/names-secret.txt")) {
        assert!(redactor.rule_of(name, &none).is_some(), "{name} is not masked");
    }
}

#[test]
fn names_that_do_not() {
    let (redactor, none) = (redactor(), SchemaMarks::default());
    for name in names(include_str!("../../../tests/data/redact/names-harmless.txt")) {
        assert_eq!(redactor.rule_of(name, &none), None, "{name} is masked");
    }
}

#[test]
fn the_configuration_adds_and_keeps() {
    let redactor = with(&["iban", "data", "my key"], &["session", "pin"]);
    let none = SchemaMarks::default();
    for (name, rule) in [
        ("iban", Some("key:iban")),
        ("customerIBAN", Some("key:iban")),
        ("iban_number", Some("key:iban")),
        ("caribane", None),
        ("data", Some("key:data")),
        ("database", None),
        ("metadata", None),
        ("MY-KEY", Some("key:my key")),
        ("session", None),
        ("Session", None),
        ("session_id", Some("key:session_id")),
        ("pin", None),
        ("password", Some("key:password")),
    ] {
        assert_eq!(redactor.rule_of(name, &none).as_deref(), rule, "{name}");
    }
}

#[test]
fn contradictions_in_the_configuration_are_errors() {
    let new = |keys: &[&str], keep: &[&str]| configured(keys, keep, config::Unknown::Keep).map(|_| ());
    assert_eq!(new(&["userPin"], &["user-pin"]), Err(BadRedact::Both("userPin".into())));
    assert!(matches!(new(&["--"], &[]), Err(BadRedact::Empty { list: "keys", .. })));
    assert!(matches!(new(&[], &[""]), Err(BadRedact::Empty { list: "keep", .. })));
}

#[test]
fn a_secret_store_masks_the_subtree_under_a_listed_key() {
    let body = br#"{"options":{"cas":0},"data":{"db_user":"x","canary_value":"CANARYx7Qz","n":[1,{"a":"CANARYx7Qz"}]}}"#;
    let seen = see(&with(&["data"], &[]), raw("application/json", body));
    assert_eq!(seen.body, r#"{"options":{"cas":0},"data":"[redacted]"}"#);
    assert_eq!(seen.rules, ["key:data"]);
}

#[test]
fn json_by_name() {
    for (body, want) in [
        // 79: any depth, any case, escaped names.
        (
            r#"{"a":[{"Password":"CANARY"}],"passw\u006frd":"CANARY","user":{"apiKey":"CANARY","client_secret":"CANARY"}}"#,
            r#"{"a":[{"Password":"[redacted]"}],"passw\u006frd":"[redacted]","user":{"apiKey":"[redacted]","client_secret":"[redacted]"}}"#,
        ),
        // 80: duplicates stay visible.
        (
            r#"{"password":"CANARY1","password":"CANARY2"}"#,
            r#"{"password":"[redacted]","password":"[redacted]"}"#,
        ),
        // 81: JSON in a string, twice.
        (r#"{"payload":"{\"password\":\"CANARY\"}"}"#, r#"{"payload":"{\"password\":\"[redacted]\"}"}"#),
        (
            r#"{"p":"{\"q\":\"{\\\"password\\\":\\\"CANARY\\\"}\"}"}"#,
            r#"{"p":"{\"q\":\"{\\\"password\\\":\\\"[redacted]\\\"}\"}"}"#,
        ),
        // 82: every type.
        (
            r#"{"pin":1234567,"otp":[1,2,3],"token":{"v":"CANARY"},"secret":true,"sid":null,"x":1}"#,
            r#"{"pin":"[redacted]","otp":"[redacted]","token":"[redacted]","secret":"[redacted]","sid":null,"x":1}"#,
        ),
        // A name beside its value, in any order.
        (r#"[{"value":"CANARY","name":"DB_PASSWORD"}]"#, r#"[{"value":"[redacted]","name":"DB_PASSWORD"}]"#),
        (r#"{"name":"color","value":"red"}"#, r#"{"name":"color","value":"red"}"#),
        (
            r#"[{"op":"replace","path":"/user/password","value":{"x":"CANARY"}}]"#,
            r#"[{"op":"replace","path":"/user/password","value":"[redacted]"}]"#,
        ),
        (
            r#"{"h":[["Cookie","CANARY"],["Accept","*"]]}"#,
            r#"{"h":[["Cookie","[redacted]"],["Accept","*"]]}"#,
        ),
        // Text inside strings.
        (
            r#"{"query":"mutation { login(user: \"bob\", password: \"CANARY\") { id } }"}"#,
            r#"{"query":"mutation { login(user: \"bob\", password: [redacted]) { id } }"}"#,
        ),
        (
            r#"{"c":"Server=db;User Id=sa;Password=CANARY;Timeout=3"}"#,
            r#"{"c":"Server=db;User Id=sa;Password=[redacted];Timeout=3"}"#,
        ),
        (
            r#"{"u":"https://h/cb?access_token=CANARY&x=1#id_token=CANARY"}"#,
            r#"{"u":"https://h/cb?access_token=[redacted]&x=1#id_token=[redacted]"}"#,
        ),
        (
            r#"{"e":"bad request: {\"password\":\"CANARY\"}"}"#,
            r#"{"e":"bad request: {\"password\":[redacted]}"}"#,
        ),
        (r#"{"u":"a%3D1%26password%3DCANARY"}"#, r#"{"u":"a=1&password=[redacted]"}"#),
        (r#"{"m":"API key: CANARY more"}"#, r#"{"m":"API key: [redacted]"}"#),
        // {"password":"CANARY"} in base64.
        (r#"{"message":"eyJwYXNzd29yZCI6IkNBTkFSWSJ9"}"#, r#"{"message":"[redacted:base64_json]"}"#),
        // A string that was meant to be JSON and is cut.
        (r#"{"log":"{\"a\":1,\"password\":\"CANA"}"#, r#"{"log":"[redacted:broken_json]"}"#),
        // Nothing to do: not a byte changes.
        (
            "\r\n{ \"n\" : 1.0e400 ,\"big\":12345678901234567890, \"t\":\"caf\\u00e9\\/\",\"n\":-0.0 }\t",
            "\r\n{ \"n\" : 1.0e400 ,\"big\":12345678901234567890, \"t\":\"caf\\u00e9\\/\",\"n\":-0.0 }\t",
        ),
        // Sequences.
        ("{\"password\":1}\n{\"a\":2}\n", "{\"password\":\"[redacted]\"}\n{\"a\":2}\n"),
    ] {
        assert_eq!(json_body(body), want);
    }
}

#[test]
fn duplicate_names_raise_a_flag() {
    let flags = |body: &str| {
        let none = RawBody { complete: true, ..RawBody::default() };
        let raw = raw("application/json", body.as_bytes());
        redactor().redact(event(), raw, none, &SchemaMarks::default()).flags.len()
    };
    assert_eq!(flags(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}"#), 0);
    assert_eq!(flags(r#"{"a":1,"b":2,"a":3}"#), 1);
    assert_eq!(flags(r#"[{"z":{"a":1,"\u0061":3}}]"#), 1);
}

#[test]
fn values_by_their_look() {
    let long = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0";
    for (value, name) in [
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl".to_owned(), "jwt"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----".to_owned(), "private_key"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow cut".to_owned(), "private_key"),
        ("LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpNSUlFb3c=".to_owned(), "private_key_base64"),
        ("AKIAIOSFODNN7EXAMPLE".to_owned(), "aws_access_key"),
        ("ASIAIOSFODNN7EXAMPLE".to_owned(), "aws_access_key"),
        (format!("ghp_{long}"), "github_token"),
        (format!("github_pat_{long}"), "github_token"),
        (format!("glpat-{long}"), "gitlab_token"),
        (["xox", "b-123456789012-abcdefABCDEF"].concat(), "slack_token"),
        (["sk_", "live_", long].concat(), "stripe_key"),
        (["rk_", "live_", long].concat(), "stripe_key"),
        (format!("AIza{long}"), "google_key"),
        (format!("npm_{long}"), "npm_token"),
        (format!("pypi-AgEIcHlwaS5vcmc{long}"), "pypi_token"),
        (format!("SG.A1b2C3d4E5f6G7h8I9j0Kl.{long}"), "sendgrid_key"),
        (format!("gho_{long}"), "github_token"),
        (format!("glrt-{long}"), "gitlab_token"),
        ("xapp-1-A012ABCDEFG-123456789-abcdef".to_owned(), "slack_token"),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQVYBF\n-----END PGP PRIVATE KEY BLOCK-----".to_owned(),
            "private_key",
        ),
        ("4111-1111-1111-1111".to_owned(), "pan"),
        (format!("hvs.{long}"), "vault_token"),
        (format!("hvb.{long}"), "vault_token"),
        ("s.A1b2C3d4E5f6G7h8I9j0K1l2".to_owned(), "vault_token"),
        (format!("sk-proj-{long}"), "sk_key"),
        (format!("hf_{long}"), "huggingface_token"),
        ("4111 1111 1111 1111".to_owned(), "pan"),
        ("378282246310005".to_owned(), "pan"),
    ] {
        let mask = format!("[redacted:{name}]");
        for (before, after) in [("", ""), ("use ", " now"), ("\"", "\""), ("(", "),"), ("é", "é")] {
            // One that does not end takes the rest.
            let after = if value.ends_with("cut") { "" } else { after };
            let body = serde_json::json!({ "note": format!("{before}{value}{after}") }).to_string();
            let want = serde_json::json!({ "note": format!("{before}{mask}{after}") }).to_string();
            assert_eq!(json_body(&body), want);
        }
        // Escaped where the detector looks for its beginning; as a name; in a form; in XML; in text.
        let first = value.chars().next().unwrap();
        let rest = serde_json::to_string(value.get(1..).unwrap()).unwrap();
        let body = format!("[\"\\u{:04x}{}]", u32::from(first), rest.get(1..).unwrap());
        assert_eq!(json_body(&body), format!("[\"{mask}\"]"));
        let as_name = json_body(&serde_json::json!({ &value: 1 }).to_string());
        assert!(as_name.starts_with(&format!("{{\"{mask}\":")), "{as_name}");
        let encoded =
            percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC).to_string();
        let form = format!("a=1&note={encoded}");
        let seen = see(&redactor(), raw("application/x-www-form-urlencoded", form.as_bytes()));
        assert_eq!(seen.body, format!("a=1&note={mask}"));
        assert_eq!(seen.rules, [format!("value:{name}")]);
        let xml = format!("<a><note>{value}</note><note at='{value}'/></a>");
        let seen = see(&redactor(), raw("text/xml", xml.as_bytes()));
        assert_eq!(seen.body, format!("<a><note>{mask}</note><note at='{mask}'/></a>"));
        let seen = see(&redactor(), raw("text/plain; charset=utf-8", value.as_bytes()));
        assert_eq!((seen.state.as_str(), seen.body), ("complete", mask));
    }
}

#[test]
fn ordinary_values_stay() {
    for kept in [
        r#"{"id":"550e8400-e29b-41d4-a716-446655440000","at":"2026-01-02T03:04:05.678Z","ms":1767323045678}"#,
        r#"{"url":"https://example.com:8443/a/b?page=2&sort=name","mail":"bob@example.com","n":1234567890123456789}"#,
        r#"{"sha":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","v":"1.2.3-rc.1","eyJ":"eyJ"}"#,
        r#"{"text":"Reset: done at 12:30 [ok] {x} 100% a=b c:d","b64":"aGVsbG8gd29ybGQsIHRoaXMgaXMgZmluZQ==","e":""}"#,
        r#"{"token_type":"Bearer","expires_in":3600,"max_tokens":4096,"tokens_used":12,"author":"bob","pinned":true}"#,
        r#"{"required":["name","password"],"task":"disk-usage-of-the-whole-fleet","s":"systems.thatarelongandnotatoken"}"#,
    ] {
        assert_eq!(json_body(kept), kept);
    }
}

/// 83, 84, 90: what cannot be read for certain is not kept.
#[test]
fn fails_closed() {
    let json = format!(r#"{{"password":"{CANARY}"}}"#);
    let form = format!("password={CANARY}");
    let cut = format!(r#"{{"a":1,"password":"{CANARY}"#);
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content_type, body, state) in [
        ("application/json", cut.as_bytes(), "omitted:unparseable"),
        ("text/plain", cut.as_bytes(), "omitted:unparseable"),
        ("", cut.as_bytes(), "omitted:unparseable"),
        ("application/json", form.as_bytes(), "omitted:unparseable"),
        ("application/json;charset=utf-16", utf16.as_slice(), "omitted:encoding"),
        ("application/json", utf16.as_slice(), "omitted:unparseable"),
        ("application/json; charset=utf-7", json.as_bytes(), "omitted:encoding"),
        ("application/json; charset=ibm037", json.as_bytes(), "omitted:encoding"),
        ("application/octet-stream", form.as_bytes(), "omitted:type"),
        ("application/protobuf", b"\x0a\x0aCANARYx7Qz", "omitted:type"),
        ("image/png", b"\x89PNG CANARYx7Qz", "omitted:type"),
        ("text/csv", b"user,password\nbob,CANARYx7Qz", "omitted:type"),
        ("application/yaml", b"password: CANARYx7Qz", "omitted:type"),
        ("", b"something CANARYx7Qz", "omitted:type"),
        ("text/plain", b"caf\xe9 CANARYx7Qz", "omitted:encoding"),
        ("text/html", b"<p>CANARYx7Qz<br></p>", "omitted:unparseable"),
        ("text/xml", b"<!DOCTYPE a [<!ENTITY x 'CANARYx7Qz'>]><a>&x;</a>", "omitted:unparseable"),
        ("text/xml", b"<!DOCTYPE a SYSTEM 'http://h/x.dtd'><a>CANARYx7Qz</a>", "omitted:unparseable"),
        ("text/xml", b"<a>&unknown; CANARYx7Qz</a>", "omitted:unparseable"),
        ("text/xml", b"<a>CANARYx7Qz", "omitted:unparseable"),
        ("text/xml", b"<?xml version='1.0' encoding='utf-7'?><a>CANARYx7Qz</a>", "omitted:encoding"),
        ("multipart/form-data", b"--x\r\n\r\nCANARYx7Qz\r\n--x--", "omitted:unparseable"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nCANARYx7Qz",
            "omitted:unparseable",
        ),
        (
            "multipart/form-data; boundary=x; boundary=y",
            b"--x\r\n\r\nCANARYx7Qz\r\n--x--",
            "omitted:unparseable",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\nContent-Disposition: form-data; name=a\n\nCANARYx7Qz\n--x--\n",
            "omitted:unparseable",
        ),
    ] {
        let seen = see(&redactor(), raw(content_type, body));
        assert_eq!((seen.state.as_str(), seen.body.as_str()), (state, ""), "{content_type} {body:?}");
        assert!(seen.stored.contains("hmac-sha256-128:"), "length and digest remain");
        assert_gone(CANARY, &seen.stored);
    }
}

#[test]
fn a_media_type_that_lies_hides_nothing() {
    let json = format!(r#"{{"password":"{CANARY}","a":1}}"#);
    for content_type in [
        "text/plain",
        "",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/xml",
        "application/json, text/plain",
        "application/json;charset=latin1",
        "image/png",
        "\u{0}",
    ] {
        let seen = see(&redactor(), raw(content_type, json.as_bytes()));
        assert_eq!(seen.body, r#"{"password":"[redacted]","a":1}"#, "{content_type}");
    }
    let with_bom = format!("\u{feff}{json}");
    assert_gone(CANARY, &see(&redactor(), raw("application/json", with_bom.as_bytes())).stored);
    let form = format!("a=1&password={CANARY}");
    assert_eq!(see(&redactor(), raw("text/plain", form.as_bytes())).body, "a=1&password=[redacted]");
    let multipart =
        format!("--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n{CANARY}\r\n--x--\r\n");
    for content_type in ["text/plain", "", "application/x-www-form-urlencoded"] {
        let seen = see(&redactor(), raw(content_type, multipart.as_bytes()));
        assert_eq!(seen.state, "complete");
        assert_gone(CANARY, &seen.stored);
    }
}

#[test]
fn states_of_a_body() {
    let body = br#"{"a":1}"#;
    let json = || raw("application/json", body);
    for (raw, state, text) in [
        (RawBody { complete: true, keep: true, ..RawBody::default() }, "none", ""),
        (RawBody { keep: true, ..RawBody::default() }, "aborted", ""),
        (json(), "complete", r#"{"a":1}"#),
        (RawBody { keep: false, ..json() }, "omitted:level", ""),
        (RawBody { complete: false, ..json() }, "aborted", ""),
        (RawBody { truncated: true, total: 99, ..json() }, "omitted:truncated", ""),
        (RawBody { total: 99, ..json() }, "omitted:truncated", ""),
        (RawBody { content_encoding: b"gzip, gzip", ..json() }, "omitted:encoding", ""),
        (RawBody { content_encoding: b" Identity ", ..json() }, "complete", r#"{"a":1}"#),
    ] {
        let total = raw.total;
        let none = RawBody { complete: true, ..RawBody::default() };
        let redacted = redactor().redact(event(), none, raw, &SchemaMarks::default());
        let response = &redacted.response;
        assert_eq!((&*response.body_state, &*response.body, response.bytes), (state, text, total));
    }
}

/// 85, 92.
#[test]
fn forms_and_queries() {
    for (text, want) in [
        ("password=CANARY&x=1", "password=[redacted]&x=1"),
        ("PASSWORD=CANARY&x=a%20b+c", "PASSWORD=[redacted]&x=a%20b+c"),
        ("user%5Bpassword%5D=CANARY&user[pin]=12", "user%5Bpassword%5D=[redacted]&user[pin]=[redacted]"),
        ("p%61ssword=CANARY", "p%61ssword=[redacted]"),
        ("p%2561ssword=CANARY", "p%2561ssword=[redacted]"),
        (
            "access_token=CANARY&api_key=CANARY&sig=CANARY",
            "access_token=[redacted]&api_key=[redacted]&sig=[redacted]",
        ),
        ("X-Amz-Signature=CANARY&X-Amz-Date=2026", "X-Amz-Signature=[redacted]&X-Amz-Date=2026"),
        ("to=https%3A%2F%2Fu%3ACANARY%40h%2F&n", "to=https://u:[redacted:url_password]@h/&n"),
        ("to=https%3A%2F%2Fh%2F%3Faccess_token%3DCANARY", "to=https://h/?access_token%3D[redacted]"),
        ("q=%7B%22password%22%3A%22CANARY%22%7D", "q={%22password%22:%22[redacted]%22}"),
        ("name=password&value=CANARY", "name=password&value=[redacted]"),
        ("code=CANARY&state=xyz", "code=[redacted]&state=xyz"),
        ("code=US&page=2", "code=US&page=2"),
        ("a=1;password=CANARY&b", "a=1%3Bpassword%3D[redacted]&b"),
        ("&&=&=x&a==b&%ZZ=%", "&&=&=x&a==b&%ZZ=%"),
        ("token_type=a&page=2&author=b", "token_type=a&page=2&author=b"),
    ] {
        assert_eq!(redactor().query(text.as_bytes(), &SchemaMarks::default()), want);
        let seen = see(&redactor(), raw("application/x-www-form-urlencoded;charset=UTF-8", text.as_bytes()));
        assert_eq!(seen.body, want);
    }
}

/// 86.
#[test]
fn multipart_keeps_fields_and_no_files() {
    let boundary = "----b";
    let parts = [
        ("form-data; name=\"password\"", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; name=password", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; NAME = \"user[password]\"", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; name*=UTF-8''passw%6Frd", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; name=x; name=\"pass\\word\"", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; name=\"a;b\"; name=\"token\"", "", "CANARYx7Qz", "[redacted]"),
        ("form-data; name=\"doc\"; filename=\"a.txt\"", "", "CANARYx7Qz", "[file: 10 bytes]"),
        ("form-data; name=\"doc\"; filename*=UTF-8''a.txt", "", "CANARYx7Qz", "[file: 10 bytes]"),
        (
            "form-data; name=\"b\"",
            "Content-Transfer-Encoding: base64\r\n",
            "Q0FOQVJZeDdReg==",
            "[part: 16 bytes]",
        ),
        ("form-data; name=\"j\"", "", "{\"pin\":1,\"a\":2}", "{\"pin\":\"[redacted]\",\"a\":2}"),
        ("form-data; name=\"j\"", "Content-Type: image/png\r\n", "CANARYx7Qz", "[part: 10 bytes]"),
        ("attachment", "", "CANARYx7Qz", "[part: 10 bytes]"),
        ("form-data; name=\"note\"", "", "hello", "hello"),
    ];
    let render = |side: fn(&(&str, &str, &str, &str)) -> String, headers: bool| {
        let mut text = String::new();
        for part in &parts {
            let kept = if headers || part.1.starts_with("Content-Type") { part.1 } else { "" };
            text +=
                &format!("--{boundary}\r\nContent-Disposition: {}\r\n{kept}\r\n{}\r\n", part.0, side(part));
        }
        text + &format!("--{boundary}--\r\n")
    };
    let body = format!("preamble CANARYx7Qz\r\n{}epilogue CANARYx7Qz", render(|p| p.2.to_owned(), true));
    for content_type in
        ["multipart/form-data; boundary=----b", "multipart/form-data; charset=x; BOUNDARY=\"----b\""]
    {
        let seen = see(&redactor(), raw(content_type, body.as_bytes()));
        assert_eq!(seen.body, render(|p| p.3.to_owned(), false), "{}", seen.state);
        assert_gone(CANARY, &seen.stored);
    }
}

#[test]
fn multipart_in_multipart() {
    let inner = "--i\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nCANARYx7Qz\r\n--i--";
    let outer = format!(
        "--o\r\nContent-Disposition: form-data; name=\"set\"\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n{inner}\r\n--o--"
    );
    let seen = see(&redactor(), raw("multipart/form-data; boundary=o", outer.as_bytes()));
    assert_eq!(seen.state, "complete");
    assert!(seen.body.contains("name=\"password\"\r\n\r\n[redacted]"), "{}", seen.body);
    assert_gone(CANARY, &seen.stored);
}

/// 87.
#[test]
fn xml_by_name() {
    for (body, want) in [
        ("<a><Password>CANARY</Password><b>x</b></a>", "<a><Password>[redacted]</Password><b>x</b></a>"),
        (
            "<a><ns:apiKey x='1'>CANARY</ns:apiKey></a>",
            "<a><ns:apiKey x='[redacted]'>[redacted]</ns:apiKey></a>",
        ),
        ("<a password=\"CANARY\" b = 'c'/>", "<a password=\"[redacted]\" b = 'c'/>"),
        ("<a><secret><![CDATA[CANARY]]></secret></a>", "<a><secret>[redacted]</secret></a>"),
        ("<a><token><v>CANARY</v><w x='CANARY'/></token></a>", "<a><token>[redacted]</token></a>"),
        (
            "<m><entry key=\"password\">CANARY</entry></m>",
            "<m><entry key=\"password\">[redacted]</entry></m>",
        ),
        ("<i id='pin' value='CANARY'/>", "<i id='pin' value='[redacted]'/>"),
        (
            "<d><key>password</key> <string>CANARY</string><string>b</string></d>",
            "<d><key>password</key> <string>[redacted]</string><string>b</string></d>",
        ),
        ("<a>x<!-- CANARY -->y<?pi CANARY?></a>", "<a>xy</a>"),
        ("<a>&#103;hp_A1b2C3d4<!-- -->E5f6G7h8<![CDATA[I9j0]]></a>", "<a>[redacted:github_token]</a>"),
        ("<a>password=CANARY &lt;</a>", "<a>password=[redacted] &lt;</a>"),
        (
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a b='&amp;'>&lt;&#x41;</a>\n",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a b='&amp;'>&lt;&#x41;</a>\n",
        ),
    ] {
        for content_type in ["application/xml", "text/plain", ""] {
            let seen = see(&redactor(), raw(content_type, body.as_bytes()));
            assert_eq!((seen.state.as_str(), seen.body.as_str()), ("complete", want), "{content_type}");
        }
    }
}

#[test]
fn plain_text() {
    for (body, want) in [
        ("user: bob\npassword: my dog CANARY\nx: 1", "user: bob\npassword: [redacted]\nx: 1"),
        ("PASSWORD='CANARY two' next", "PASSWORD=[redacted] next"),
        ("password:\n  - CANARY\n", "password:[redacted]"),
        ("secret: |\n  CANARY\n  CANARY", "secret: [redacted]"),
        (
            "data: {\"a\":1}\n\ndata: {\"token\":{\"x\":\"CANARY\"}}\n\n",
            "data: {\"a\":1}\n\ndata: {\"token\":[redacted]}\n\n",
        ),
        ("Enter your password:", "Enter your password:"),
        ("all is well at 12:30", "all is well at 12:30"),
    ] {
        let seen = see(&redactor(), raw("text/plain", body.as_bytes()));
        assert_eq!((seen.state.as_str(), seen.body.as_str()), ("complete", want));
    }
}

/// 94.
#[test]
fn schema_marks_mask_neutral_names() {
    let marks = SchemaMarks::new(["displayName", "notes", "--"]);
    let body = br#"{"display_name":"CANARYx7Qz","notes":["CANARYx7Qz"],"other":"x","noteshelf":1}"#;
    let seen = see_marked(&redactor(), raw("application/json", body), &marks);
    assert_eq!(seen.body, r#"{"display_name":"[redacted]","notes":"[redacted]","other":"x","noteshelf":1}"#);
    assert_eq!(seen.rules, ["mark:displayName", "mark:notes"]);
    // A document names the parts of a nested name.
    for (content_type, body) in [
        (
            "application/x-www-form-urlencoded",
            "user[notes]=CANARYx7Qz&notes%5B0%5D=CANARYx7Qz&a.notes=CANARYx7Qz",
        ),
        ("application/json", r#"[{"op":"add","path":"/a/notes/-","value":"CANARYx7Qz"}]"#),
        ("text/xml", "<a xmlns:n='x'><n:notes>CANARYx7Qz</n:notes><b n:notes='CANARYx7Qz'/></a>"),
    ] {
        let seen = see_marked(&redactor(), raw(content_type, body.as_bytes()), &marks);
        assert_eq!(seen.state, "complete");
        assert_gone(CANARY, &seen.stored);
    }
    // What the operator keeps is kept.
    let seen = see_marked(&with(&[], &["notes"]), raw("application/json", br#"{"notes":"x"}"#), &marks);
    assert_eq!(seen.body, r#"{"notes":"x"}"#);
}

/// 91 and the members taken from heads.
#[test]
fn members_of_the_event() {
    let mut event = event();
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl";
    event.http.path =
        format!("/v1/reset/{CANARY}/x;jsessionid=CANARYelse/{jwt}/ghp%5FA1b2C3d4E5f6G7h8I9j0").into();
    event.http.query = format!("access_token={CANARY}&page=1").into();
    event.http.user_agent = format!("curl password={CANARY}").into();
    event.http.host = format!("u:{CANARY}@h Bearer {CANARY}").into();
    event.http.request_id = jwt.into();
    event.operation.path_params.0 = vec![("token".into(), CANARY.into()), ("id".into(), "7".into())];
    event.operation.resource_id = CANARY.into();
    event.message = format!("bob reset {CANARY} (success)").into();
    event.reason = Some(format!("because token={CANARY}").into());
    event.actor.id = jwt.into();
    event.actor.name = format!("Basic {}", "dTpDQU5BUll4N1F6").into();
    event.actor.credential = CANARY.into();
    event.actor.roles = vec!["admin".into(), jwt.into()];
    event.client.forwarded = format!("for=1.2.3.4;secret={CANARY}").into();
    event.http.host = "h".into();
    let mut request = raw("application/json; token=CANARYx7Qz", b"{}");
    request.digest = Some(CANARY.to_owned());
    let none = RawBody { complete: true, ..RawBody::default() };
    let redacted = redactor().redact(event, request, none, &SchemaMarks::default());
    let mut buffer = Vec::new();
    let stored = redacted.store(&mut buffer).unwrap();
    assert_eq!(stored.id(), redacted.event_id);
    let text = std::str::from_utf8(stored.bytes()).unwrap();
    assert_gone(CANARY, text);
    assert_gone("CANARYelse", text);
    assert!(!text.contains("eyJ"), "{text}");
    assert_eq!(
        redacted.http.path,
        "/v1/reset/[redacted]/x;jsessionid=[redacted]/[redacted:jwt]/[redacted:github_token]"
    );
    assert_eq!(redacted.http.query, "access_token=[redacted]&page=1");
    assert_eq!(redacted.message, "bob reset [redacted] (success)");
    assert_eq!(redacted.operation.path_params.get("id"), Some("7"));
    assert_eq!(redacted.request.digest, "");
    let key = Pseudonyms::new(b"0123456789abcdef");
    assert_eq!(redacted.actor.credential, key.fingerprint(CANARY.as_bytes()));
    assert!(redacted.redactions.count > 8 && redacted.redactions.rules.len() <= 16);

    // Reading it back changes nothing that was right.
    let again = redactor().recover(serde_json::from_str(text).unwrap());
    assert_eq!(
        (&again.http, &again.actor, &again.message),
        (&redacted.http, &redacted.actor, &redacted.message)
    );
    assert_eq!(again.request.body, "");
}

#[test]
fn a_path_parameter_over_several_segments_goes_from_the_path() {
    let mut event = event();
    event.http.path = format!("/v1/files/a/{CANARY}/b").into();
    event.operation.path_params.0 = vec![("secret".into(), format!("a/{CANARY}/b").into())];
    let none = || RawBody { complete: true, ..RawBody::default() };
    let redacted = redactor().redact(event, none(), none(), &SchemaMarks::default());
    assert_eq!(redacted.http.path, "/v1/files/[redacted]");
}

#[test]
fn targets_that_are_not_text_become_text() {
    assert_eq!(redactor().path(b"/caf\xe9/\x00/caf\xc3\xa9"), "/caf%E9/%00/caf\u{e9}");
    assert_eq!(redactor().path(b"/v1/secret/data/app"), "/v1/secret/data/app");
}

/// No rule name comes from traffic.
#[test]
fn rule_names_are_ours() {
    let body = format!(r#"{{"my_{CANARY}_password":1,"{CANARY}token":2}}"#);
    let seen = see(&redactor(), raw("application/json", body.as_bytes()));
    assert_eq!(seen.rules, ["key:password", "key:token"]);
}

/// A debug build on a busy machine does these in well under the bound; anything quadratic takes
/// minutes.
#[test]
fn hostile_sizes_stay_linear() {
    let n = 1 << 18;
    let bodies: Vec<(&str, String)> = vec![
        ("application/json", "[".repeat(n)),
        ("application/json", format!("\"{}\"", "eyJ".repeat(n))),
        ("application/json", format!("\"{}\"", "-----BEGIN PRIVATE KEY-----".repeat(n / 8))),
        ("application/json", format!("\"{}\"", "a://b:".repeat(n))),
        ("application/json", format!("\"{}\"", "4111 ".repeat(n))),
        ("application/json", format!("\"{}\"", "4".repeat(n))),
        ("application/json", format!("\"{}\"", "token=".repeat(n))),
        ("application/json", format!("\"{}\"", "token='".repeat(n))),
        ("application/json", format!("\"{}\"", "a:".repeat(n))),
        ("application/json", format!("\"{}\"", "\\\\".repeat(n))),
        ("application/json", format!("\"{}\"", "%25".repeat(n))),
        ("application/json", format!("{{\"{}\":1}}", "password".repeat(n / 4))),
        ("application/json", format!("[{}1]", "[\"[\",1],".repeat(n / 8))),
        ("application/json", format!("[{}1]", "\"[1\",".repeat(n / 4))),
        ("application/json", format!("{{{}\"b\":1}}", "\"a\":1,".repeat(n / 4))),
        ("application/json", format!("{{{}\"name\":\"pin\"}}", "\"value\":1,".repeat(n / 8))),
        ("application/x-www-form-urlencoded", "a=1&".repeat(n)),
        ("application/x-www-form-urlencoded", "%25".repeat(n)),
        ("text/plain", "password:\n".repeat(n / 4)),
        ("text/plain", "[{x\n".repeat(n / 4)),
        ("text/plain", "secret: {".repeat(n / 4)),
        ("text/xml", "<a>".repeat(n)),
        ("text/xml", format!("<a {}/>", "b='c' ".repeat(n / 4))),
        ("text/xml", format!("<a>{}</a>", "&amp;".repeat(n / 4))),
        ("text/xml", format!("<a>{}</a>", "<name>x</name>".repeat(n / 16))),
        ("multipart/form-data; boundary=x", "--x\r\n".repeat(n / 4)),
        ("multipart/form-data; boundary=x", format!("--x\r\nA: b\r\n\r\n{}", "\r\n--".repeat(n / 4))),
    ];
    let redactor = redactor();
    for (content_type, body) in bodies {
        let started = std::time::Instant::now();
        let seen = see(&redactor, raw(content_type, body.as_bytes()));
        let took = started.elapsed();
        assert!(
            took.as_secs() < 20,
            "{took:?} for {content_type} {}",
            body.chars().take(40).collect::<String>()
        );
        assert!(seen.body.len() <= 4 * body.len() + 64);
        if std::env::var_os("SHOW_TIMES").is_some() {
            eprintln!("{took:?} {} {}", seen.state, body.chars().take(30).collect::<String>());
        }
    }
}

/// Run in release, with `--ignored --nocapture`, to see what a body costs. The least of many rounds,
/// since others use the machine too.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_body() {
    let one = r#"{"id":"ord_8812","customer":{"first_name":"Ada","last_name":"Lovelace","email":"ada@example.com"},"amount":1250,"currency":"EUR","created":"2026-01-02T03:04:05Z","lines":[{"sku":"A-1","qty":2,"unit":"pcs"}],"#;
    let clean = format!(
        r#"[{one}"note":"first"}},{one}"note":"second one"}},{one}"note":"third"}},{one}"note":"4, padded to a KiB: {}"}}]"#,
        "x".repeat(90)
    );
    let key = clean.replace("\"note\":\"third\"", "\"password\":\"x\"");
    let value = clean.replace("third", "AKIAIOSFODNN7EXAMPLE");
    let redactor = redactor();
    let marks = SchemaMarks::default();
    let mut buffer = Vec::new();
    for (what, body) in [("clean", clean.as_str()), ("a key", &key), ("a value", &value), ("empty", "{}")] {
        let raw = RawBody { digest: None, ..raw("application/json", body.as_bytes()) };
        let alone = least(|| {
            let mut pass = Pass::new(&redactor.keys, &marks);
            std::hint::black_box(body::keep(&mut pass, &raw, Place::Anywhere, MAX_DECODED).state);
        });
        let event = event();
        let stored = least(|| {
            let none = RawBody { complete: true, ..RawBody::default() };
            let redacted = redactor.redact(event.clone(), raw.clone(), none, &marks);
            std::hint::black_box(redacted.store(&mut buffer).unwrap().bytes().len());
        });
        eprintln!(
            "{what}: {} bytes, body alone {alone:?}, event redacted and serialised {stored:?}",
            body.len()
        );
    }
}

fn least(mut run: impl FnMut()) -> std::time::Duration {
    let rounds = (0..400).map(|_| {
        let started = std::time::Instant::now();
        (0..100).for_each(|_| run());
        started.elapsed() / 100
    });
    rounds.min().unwrap()
}
