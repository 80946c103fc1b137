//! `sidelog explain`: one request for people, many as JSON lines.

use crate::{Ran, command, data, golden, ran, sidelog};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

/// `{"alg":"RS256"}.{"sub":"alice","name":"Alice"}.signature`, which nobody can verify here.
const TOKEN: &str = "Authorization: Bearer \
    eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSIsIm5hbWUiOiJBbGljZSJ9.c2lnbmF0dXJl";

/// `{"alg":"none"}.{"sub":"alice","act":{"sub":"desk"}}.`
const DELEGATED: &str = "Authorization: Bearer \
    eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImFjdCI6eyJzdWIiOiJkZXNrIn19.";

const CERTIFICATE: &str = "X-Forwarded-Client-Cert: \
    By=spiffe://x;Hash=ab12;Subject=\"CN=orders,O=Acme\";URI=spiffe://prod.example/orders";

/// Name of the golden file, and the arguments.
const ONE: [(&str, &[&str]); 21] = [
    ("matched", &["DELETE", "/v1/orders/7%208"]),
    ("ambiguous", &["PUT", "/v1/shops/settings"]),
    ("unmatched", &["PATCH", "/v1/nothing/here"]),
    ("method-not-in-spec", &["POST", "/v1/orders/7"]),
    ("ignored", &["POST", "/v1/heartbeat"]),
    ("not-ignored-when-spelled-oddly", &["POST", "/v1//heartbeat"]),
    ("rule", &["POST", "/v1/payments"]),
    ("read", &["GET", "/v1/orders/7"]),
    ("read-included", &["GET", "/v1/reports/7"]),
    ("jwt-unverified", &["PUT", "/v1/keys/k1", "-H", TOKEN]),
    (
        "trusted-header",
        &[
            "PUT",
            "/v1/keys/k1",
            "--peer",
            "10.1.2.3",
            "-H",
            "X-User-Id: bob",
            "-H",
            "X-Forwarded-For: 203.0.113.9",
        ],
    ),
    ("untrusted-header", &["PUT", "/v1/keys/k1", "--peer", "192.0.2.1", "-H", "X-User-Id: bob"]),
    ("api-key", &["PUT", "/v1/keys/k1", "-H", "X-Api-Key: hunter2hunter2"]),
    ("jwt-delegated", &["PUT", "/v1/keys/k1", "-H", DELEGATED]),
    ("forwarded-cert", &["PUT", "/v1/keys/k1", "--peer", "10.1.2.3", "-H", CERTIFICATE]),
    ("cookie", &["PUT", "/v1/keys/k1", "-H", "Cookie: a=b; sid=hunter2hunter2"]),
    (
        "body",
        &[
            "POST",
            "/v1/payments",
            "--content-type",
            "application/json",
            "--body",
            r#"{"iban": "DE02120300000000202051", "password": "hunter2hunter2", "amount": 7}"#,
            "--status",
            "201",
            "--response-type",
            "application/json",
            "--response-body",
            r#"{"id": "p1", "token": "hunter2hunter2"}"#,
        ],
    ),
    ("body-from-a-file", &["PUT", "/v1/shops/7", "--content-type", "text/csv", "--body", "@sidelog.yaml"]),
    (
        "form-override",
        &[
            "POST",
            "/v1/orders/7",
            "--content-type",
            "application/x-www-form-urlencoded",
            "--body",
            "_method=DELETE&reason=fraud",
        ],
    ),
    ("path-confusion", &["POST", "/v1/shops/..%2fheartbeat", "-H", "X-Forwarded-For: 203.0.113.9"]),
    (
        "secrets-in-the-target",
        &["DELETE", "/v1/orders/AKIAIOSFODNN7EXAMPLE?access_token=hunter2hunter2&page=2"],
    ),
];

#[test]
fn one_request_is_explained_to_people() {
    let dir = data("cli/explain");
    for (name, request) in ONE {
        let ran = sidelog(&dir, &[&["explain", "--config", "sidelog.yaml"], request].concat());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{name}");
        golden(&dir.join(name).with_extension("stdout"), &ran.stdout);
        for secret in ["hunter2", "AKIAIOSFODNN7EXAMPLE", "c2lnbmF0dXJl"] {
            assert!(!ran.stdout.contains(secret), "{name}: {}", ran.stdout);
        }
    }
}

/// The same as for people, all of it, and the event as it would be stored.
#[test]
fn one_request_is_explained_to_programs() {
    let dir = data("cli/explain");
    for (name, request) in ONE {
        let args = [&["explain", "--config", "sidelog.yaml", "--json"], request].concat();
        let ran = sidelog(&dir, &args);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{name}");
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        golden(&dir.join(name).with_extension("json"), &format!("{told:#}\n"));
        for secret in ["hunter2", "AKIAIOSFODNN7EXAMPLE", "c2lnbmF0dXJl"] {
            assert!(!ran.stdout.contains(secret), "{name}: {}", ran.stdout);
        }
    }
}

#[test]
fn many_requests_are_explained_whole_if_asked() {
    let lines = "{\"method\":\"PUT\",\"target\":\"/v1/shops/settings\"}\nnonsense\n";
    let ran = bulk(&data("cli/explain"), &["--config", "sidelog.yaml", "--json"], lines);
    assert_eq!(ran.status, 2);
    let answers = answers(&ran);
    let one = sidelog(
        &data("cli/explain"),
        &["explain", "--config", "sidelog.yaml", "--json", "PUT", "/v1/shops/settings"],
    );
    assert_eq!(answers[0], serde_json::from_str::<Value>(&one.stdout).unwrap());
    assert!(answers[1]["error"].as_str().unwrap().starts_with("line 2: "));
}

/// Both readings of a path are in the contract's answer too.
#[test]
fn a_path_of_two_readings_names_both() {
    let line = "{\"method\":\"POST\",\"target\":\"/v1/shops/..%2fheartbeat\"}\n";
    let ran = bulk(&data("cli/explain"), &["--config", "sidelog.yaml"], line);
    let answer = &answers(&ran)[0];
    assert_eq!(answer["alternatives"], json!(["POST /heartbeat"]), "{answer}");
    assert_eq!(answer["flags"], json!(["encoded_slash", "path_confusion"]));
}

fn bulk(dir: &Path, args: &[&str], lines: &str) -> Ran {
    let mut command = command(dir, &[&["explain", "--stdin"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    ran(child.wait_with_output().unwrap())
}

fn answers(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The contract that scripts rely on: these members, always all of them, in this order.
const MEMBERS: [&str; 10] = [
    "match",
    "method",
    "template",
    "operation_id",
    "path_params",
    "alternatives",
    "flags",
    "rule",
    "level",
    "delivery",
];

#[test]
fn many_requests_are_answered_line_by_line() {
    let requests = [
        json!({"method": "DELETE", "target": "/v1/orders/a%2Fb%20c?x=1"}),
        json!({"method": "PUT", "target": "/v1/shops/settings"}),
        json!({"method": "POST", "target": "/v1/orders/7"}),
        json!({"method": "PATCH", "target": "/v1/nothing"}),
        json!({"method": "POST", "target": "/v1/payments", "headers": {"Host": "api.example.com"}}),
        json!({"method": "GET", "target": "/v1/orders/7", "headers": {"X-HTTP-Method-Override": "DELETE"}}),
    ];
    let lines: String = requests.iter().map(|r| format!("{r}\n")).collect();
    let ran = bulk(&data("cli/explain"), &["--config", "sidelog.yaml"], &lines);
    assert_eq!(ran.status, 0);
    assert!(
        ran.stderr.starts_with(
            "6 lines: 3 matched, 1 ambiguous, 1 method_not_in_spec, 1 unmatched, 0 unreadable; "
        )
    );
    for line in ran.stdout.lines() {
        let at = |key: &&str| line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key}: {line}"));
        assert!(MEMBERS.iter().map(at).is_sorted(), "{line}");
        let object: Value = serde_json::from_str(line).unwrap();
        assert_eq!(object.as_object().unwrap().len(), MEMBERS.len(), "{line}");
    }
    assert_eq!(
        answers(&ran),
        [
            json!({"match": "matched", "method": "DELETE", "template": "/orders/{id}", "operation_id": "deleteOrder",
                "path_params": {"id": "a/b c"}, "alternatives": [], "flags": ["encoded_slash"],
                "rule": "default", "level": "request", "delivery": "written"}),
            json!({"match": "ambiguous", "method": "PUT", "template": "/shops/{shop}", "operation_id": "putShop",
                "path_params": {"shop": "settings"}, "alternatives": ["PUT /{kind}/settings"], "flags": [],
                "rule": "default", "level": "request", "delivery": "written"}),
            json!({"match": "method_not_in_spec", "method": "POST", "template": "/orders/{id}", "operation_id": null,
                "path_params": {}, "alternatives": [], "flags": [],
                "rule": "default", "level": "request", "delivery": "written"}),
            json!({"match": "unmatched", "method": "PATCH", "template": null, "operation_id": null,
                "path_params": {}, "alternatives": [], "flags": [],
                "rule": "default", "level": "request", "delivery": "written"}),
            json!({"match": "matched", "method": "POST", "template": "/payments", "operation_id": "createPayment",
                "path_params": {}, "alternatives": [], "flags": [],
                "rule": "rule sidelog.yaml:10", "level": "request_response", "delivery": "queued"}),
            json!({"match": "matched", "method": "GET", "template": "/orders/{id}", "operation_id": "getOrder",
                "path_params": {"id": "7"}, "alternatives": [], "flags": [],
                "rule": "default", "level": "request", "delivery": "written"}),
        ]
    );
}

#[test]
fn a_bad_line_is_answered_and_counted_and_the_others_go_on() {
    let good = r#"{"method":"GET","target":"/v1/orders/7"}"#;
    let lines = format!("{good}\nnonsense\n\n{{\"method\":\"GET\"}}\n{{\"verb\":\"GET\"}}\n{good}");
    let ran = bulk(&data("cli/explain"), &["--config", "sidelog.yaml"], &lines);
    assert_eq!(ran.status, 2);
    assert!(ran.stderr.starts_with("5 lines: 2 matched, 0 ambiguous, "), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("error: 3 of the lines could not be read; the answer to each says why\n"));
    let answers = answers(&ran);
    let errors: Vec<&str> = answers.iter().filter_map(|a| a["error"].as_str()).collect();
    assert_eq!(errors.len(), 3, "{answers:?}");
    for (error, start) in
        errors.iter().zip(["line 2: ", "line 4: missing field `target`", "line 5: missing field `method`"])
    {
        assert!(error.starts_with(start), "{error}");
    }
    assert_eq!((&answers[0], answers.len()), (&answers[4], 5));
}

#[test]
fn a_document_alone_gets_the_defaults() {
    let ran = bulk(
        &data("cli/explain"),
        &["--openapi", "openapi.yaml"],
        "{\"method\":\"POST\",\"target\":\"/v1/heartbeat\"}\n",
    );
    assert_eq!(ran.status, 0, "{ran:?}");
    let answer = &answers(&ran)[0];
    assert_eq!(
        (&answer["operation_id"], &answer["rule"], &answer["level"]),
        (&json!("heartbeat"), &json!("default"), &json!("request"))
    );
    let one =
        sidelog(&data("cli/explain"), &["explain", "--openapi", "openapi.yaml", "POST", "/v1/heartbeat"]);
    assert!(one.stdout.contains("because      default: `audit.level`\n"), "{}", one.stdout);
}

/// Answers from half a configuration would be wrong ones.
#[test]
fn nothing_is_explained_by_what_is_broken() {
    for (args, told) in [
        (["--config", "../check/html/sidelog.yaml"], "../check/html/openapi.html:1:1: error: this is HTML"),
        (["--config", "../check/missing/sidelog.yaml"], "sidelog.yaml:3:11: error: `openapi`: cannot read"),
        (["--config", "../../config/broken/03-missing-keys.yaml"], "error: missing key"),
        (["--openapi", "../check/html/openapi.html"], "../check/html/openapi.html:1:1: error: this is HTML"),
        (["--openapi", "absent.yaml"], "error: `openapi`: cannot read `absent.yaml`: there is no such file"),
    ] {
        let ran = sidelog(&data("cli/explain"), &["explain", args[0], args[1], "GET", "/"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (78, ""), "{args:?}");
        assert!(ran.stderr.contains(told), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn questions_that_make_no_sense_are_usage_errors() {
    let config = ["explain", "--config", "sidelog.yaml"];
    for more in [
        &[][..],
        &["GET"],
        &["GET", "/", "-H", "no colon"],
        &["--stdin", "GET", "/"],
        &["--stdin", "-H", "a: b"],
        &["--stdin", "--body", "x"],
        &["GET", "/", "--body", "@absent"],
        &["GET", "/", "--status", "99"],
    ] {
        let ran = sidelog(&data("cli/explain"), &[&config, more].concat());
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{more:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

/// `explain --stdin < many | head -1` is no failure.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let lines = "{\"method\":\"GET\",\"target\":\"/v1/orders/7\"}\n".repeat(20_000);
    let mut command = command(&data("cli/explain"), &["explain", "--config", "sidelog.yaml", "--stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}
