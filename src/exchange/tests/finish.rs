//! What bodies and answers add to an event.

use super::*;

const DOCUMENT: &str = "
openapi: 3.0.3
info: {title: orders, version: '1'}
x-audit-reason: why
paths:
  /v1/orders: {post: {responses: {}}, get: {responses: {}}}
  /v1/orders/{id}: {get: {responses: {}}, put: {responses: {}}, delete: {responses: {}}}
  /v1/keys: {post: {responses: {}}}
  /v1/keys/{token}: {get: {responses: {}}}
  /v1/checkout: {post: {responses: {}}}
  /v1/rotate: {post: {x-audit-op: update, x-audit-resource: keys, x-audit-resource-id: $response.body#/key_name, responses: {}}}
  /v1/hidden: {post: {x-audit-reason: [password, change.comment], responses: {}}}
  /v1/workflows/{id}/start:
    post: {x-audit-message: '{actor} started workflow {path.id} with {body.input} and {body.password}', responses: {}}
  /graphql: {post: {responses: {}}}
  /v1/batch: {post: {responses: {}}}
";

const CONFIG: &str = "
version: 1
service: orders
upstream: http://127.0.0.1:1
openapi: [openapi.yaml]
reason: {header: [X-Why, X-Audit-Reason], query: [because], body: [note.text]}
audit: {level: LEVEL}
messages: [{operations: [POST /v1/rotate], text: '{outcome}: keys rotated by {actor}'}]
journal: {max_bytes: 64MiB, max_open_calls: 8}
";

fn world(level: &str) -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("openapi.yaml"), DOCUMENT).unwrap();
    let text = CONFIG.replace("LEVEL", level);
    let (mut config, warnings) = config::from_text(&text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    config.journal.dir = dir.path().join("journal");
    let auditor = Arc::new(Auditor::start(&config).unwrap());
    World { _dir: dir, config, auditor }
}

/// One call with JSON bodies; the event it leaves.
fn told(
    world: &World,
    line: &str,
    fields: &str,
    body: &str,
    answer: (&str, &str, &str),
) -> AuditEvent<'static> {
    let media = if fields.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{media}{fields}\r\n", body.len());
    let mut call = world.begin(head.as_bytes()).unwrap();
    call.request_body(body.as_bytes());
    let (status, fields, answer) = answer;
    let media = if fields.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
    let raw = format!("HTTP/1.1 {status} X\r\n{media}{fields}\r\n");
    let (_, framing) = ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut index = HeadIndex::default();
    parse::response(raw.as_bytes(), &mut index, &framing).unwrap();
    call.response_head(Head { raw: raw.as_bytes(), index: &index });
    call.response_body(answer.as_bytes());
    call.end(DONE);
    world.events().pop().unwrap()
}

fn resource(event: &AuditEvent<'_>) -> (Op, String, String) {
    let operation = &event.operation;
    (operation.op, operation.resource_type.to_string(), operation.resource_id.to_string())
}

const OK: (&str, &str, &str) = ("200", "", "{}");

#[test]
fn what_was_created_is_told_by_the_answer() {
    let world = world("request");
    let post = |path: &str, answer| resource(&told(&world, &format!("POST {path}"), "", "{}", answer));
    let created = |kind: &str, id: &str| (Op::Create, kind.to_owned(), id.to_owned());
    for (path, answer, expected) in [
        ("/v1/orders", ("201", "Location: /v1/orders/a%20b\r\n", ""), created("orders", "a b")),
        (
            "/v1/orders",
            ("201", "Location: https://public.example/v1/orders/7\r\n", ""),
            created("orders", "7"),
        ),
        ("/v1/orders", ("202", "Location: /v1/orders/7\r\n", ""), created("orders", "7")),
        ("/v1/checkout", ("201", "Location: /v1/orders/7\r\n", ""), created("orders", "7")),
        ("/v1/checkout", ("202", "Location: /v1/orders/7\r\n", ""), created("checkout", "")),
        ("/v1/orders", ("201", "Location: /v1/orders/\r\n", r#"{"id":"9"}"#), created("orders", "9")),
        ("/v1/orders", ("200", "", r#"{"order_id":12}"#), created("orders", "12")),
        ("/v1/orders", ("400", "", r#"{"id":"error-9"}"#), created("orders", "")),
        ("/v1/orders", ("200", "Content-Type: text/plain\r\n", r#"{"id":"9"}"#), created("orders", "")),
        ("/v1/orders", ("200", "Content-Encoding: gzip\r\n", r#"{"id":"9"}"#), created("orders", "")),
        ("/v9/things", ("201", "Location: /v9/things/t1\r\n", ""), created("things", "t1")),
        ("/v9/things", ("201", "", r#"{"id":"t1"}"#), created("", "t1")),
        ("/v9/things", ("200", "", r#"{"id":"t1"}"#), (Op::Other, String::new(), String::new())),
        ("/v1/keys", ("201", "Location: /v1/keys/s3cret\r\n", ""), created("keys", "")),
    ] {
        assert_eq!(post(path, answer), expected, "{path} {answer:?}");
    }
    let put = |status| resource(&told(&world, "PUT /v1/orders/7", "", "{}", (status, "", r#"{"id":"8"}"#)));
    assert_eq!(put("201"), created("orders", "7"));
    assert_eq!(put("200"), (Op::Update, "orders".into(), "7".into()));
}

#[test]
fn an_answer_looked_at_for_an_id_is_not_kept() {
    for level in ["metadata", "request"] {
        let world = world(level);
        let event = told(&world, "POST /v1/orders", "", "{}", ("201", "", r#"{"id":"7","note":"canary"}"#));
        assert_eq!((&*event.operation.resource_id, &*event.response.body), ("7", ""));
        assert_eq!(event.response.body_state, "omitted:level");
        assert!(!world.payloads().concat().contains("canary"));
        assert_eq!(event.message, "anonymous created order 7 (success)");
    }
    let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let world = world("request");
    told(&world, "POST /v1/orders", "", "{}", ("201", "", &format!(r#"{{"id":"{secret}"}}"#)));
    told(&world, "POST /v1/orders", "", "{}", ("201", &format!("Location: /v1/orders/{secret}\r\n"), ""));
    told(&world, "POST /v1/orders", &format!("X-Why: as {secret} asked\r\n"), "{}", OK);
    let rpc = format!(r#"{{"jsonrpc":"2.0","method":"{secret}"}}"#);
    told(&world, "POST /v1/orders", "", &rpc, OK);
    assert!(!world.payloads().concat().contains(secret));
}

#[test]
fn why_from_head_and_body() {
    let world = world("metadata");
    let why = |line: &str, fields: &str, body: &str| {
        told(&world, line, fields, body, OK).reason.map(|r| r.into_owned())
    };
    let body = r#"{"why":"by the document","note":{"text":"by the configuration"}}"#;
    assert_eq!(why("POST /v1/orders?because=q", "X-Audit-Reason: h\r\n", body).as_deref(), Some("h"));
    assert_eq!(why("POST /v1/orders?because=a+b", "", body).as_deref(), Some("a b"));
    assert_eq!(why("POST /v1/orders", "", body).as_deref(), Some("by the document"));
    assert_eq!(why("POST /v9/x", "", body).as_deref(), Some("by the configuration"));
    assert_eq!(why("POST /v1/orders", "", "{}"), None);
    let secret = r#"{"password":"hunter2","why":"no","change":{"comment":"asked"}}"#;
    assert_eq!(why("POST /v1/hidden", "", secret).as_deref(), Some("asked"), "a password is no reason");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(why("POST /v9/x", form, "a=1&note.text=by+form").as_deref(), Some("by form"));
    assert_eq!(why("POST /v9/x", "Content-Encoding: gzip\r\n", body), None);
}

#[test]
fn what_the_document_says_comes_first() {
    let world = world("request");
    let event = told(&world, "POST /v1/rotate", "", "{}", ("200", "", r#"{"id":"x","key_name":"main"}"#));
    assert_eq!(resource(&event), (Op::Update, "keys".into(), "main".into()));
}

#[test]
fn the_readable_line_in_words_of_ones_own() {
    let line = |level: &str, path: &str, body: &str, answer| {
        told(&world(level), &format!("POST {path}"), "", body, answer).message.into_owned()
    };
    let body = r#"{"input":"nightly","password":"hunter2"}"#;
    assert_eq!(
        line("request", "/v1/workflows/42/start", body, OK),
        "anonymous started workflow 42 with nightly and [redacted] (success)"
    );
    let denied = line("metadata", "/v1/workflows/42/start", body, ("403", "", "{}"));
    assert_eq!(denied, "anonymous started workflow 42 with - and - (denied)");
    assert_eq!(line("request", "/v1/rotate", "{}", OK), "success: keys rotated by anonymous");
}

#[test]
fn calls_inside_a_call() {
    let world = world("metadata");
    let calls = |line: &str, fields: &str, body: &str| {
        let event = told(&world, line, fields, body, OK);
        let operation = &event.operation;
        let list: Vec<String> = operation.calls.iter().map(|c| c.to_string()).collect();
        (
            operation.protocol.to_string(),
            list.join(" | "),
            operation.calls_total,
            operation.op,
            event.message.into_owned(),
        )
    };
    let is = |found: (String, String, u32, Op, String), protocol: &str, text: &str, total: u32, op: Op| {
        assert_eq!((&*found.0, &*found.1, found.2, found.3), (protocol, text, total, op), "{}", found.4);
        found.4
    };
    let mutation = r#"{"query":"mutation D { deleteUser(id: 7) { ok } }"}"#;
    let line = is(calls("POST /graphql", "", mutation), "graphql", "mutation D: deleteUser", 1, Op::Other);
    assert_eq!(line, "anonymous called mutation D: deleteUser (success)");
    is(calls("POST /graphql", "", r#"{"query":"{me}"}"#), "graphql", "query: me", 1, Op::Read);
    is(calls("GET /graphql?query=mutation%7Bx%7D", "", ""), "graphql", "mutation: x", 1, Op::Other);
    let batch =
        r#"[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b"},{"jsonrpc":"2.0","method":"c"}]"#;
    let line = is(calls("POST /v1/orders", "", batch), "jsonrpc", "a | b | c", 3, Op::Other);
    assert_eq!(line, "anonymous called a and 2 more (success)");
    let batch = r#"{"requests":[{"method":"DELETE","url":"/v1/orders/7?token=s3cret"},
        {"method":"DELETE","url":"v1/keys/s3cret"},{"method":"DELETE","url":"/x;jsessionid=s3cret/y"}]}"#;
    let found = calls("POST /v1/batch", "", batch);
    assert!(found.1.starts_with("DELETE /v1/orders/7 | DELETE "), "{}", found.1);
    let grpc = "Content-Type: application/grpc\r\n";
    is(calls("POST /pkg.Svc/Delete", grpc, ""), "grpc", "pkg.Svc/Delete", 1, Op::Other);
    assert!(!world.payloads().concat().contains("s3cret"), "{}", world.payloads().concat());
    assert!(!world.payloads().concat().contains("deleteUser(id"), "a body at level metadata");
}

#[test]
fn a_body_longer_than_captured_is_flagged_where_calls_may_be_missing() {
    let world = World::with("64MiB", "drop", "1KiB");
    let batch = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"m"}"#; 100].join(","));
    world.call(&post("/rpc", "Content-Type: application/json\r\n", batch.len()), batch.as_bytes(), b"", DONE);
    let event = world.only();
    assert!(event.operation.calls_total > 20 && event.operation.calls_total < 50);
    assert_eq!(event.flags, ["calls_truncated"]);
}

#[test]
fn grpc_says_itself_how_it_ended() {
    let world = world("request");
    let grpc = "Content-Type: application/grpc-web+proto\r\n";
    let end = |fields: &str, body: &str| {
        let event = told(&world, "POST /pkg.Svc/Delete", grpc, "x", ("200", fields, body));
        (event.http.grpc_status, event.outcome)
    };
    assert_eq!(end("Grpc-Status: 7\r\n", ""), (Some(7), Outcome::Denied));
    assert_eq!(end("Grpc-Status: 0\r\n", ""), (Some(0), Outcome::Success));
    assert_eq!(end(grpc, "\u{0}\u{0}\u{0}\u{0}\u{1}m"), (None, Outcome::Success), "no trailers");
    let mut call = world.begin(post("/p.S/M", "Content-Type: application/grpc\r\n", 1).as_bytes()).unwrap();
    call.request_body(b"x");
    answered(&mut call, 200);
    let (raw, index) = HeadIndex::synthesize("", "", &[("grpc-status".to_owned(), "5".to_owned())]);
    call.response_trailers(Head { raw: &raw, index: &index });
    call.end(DONE);
    let event = world.events().pop().unwrap();
    assert_eq!((event.http.grpc_status, event.outcome), (Some(5), Outcome::ClientError));
}

#[test]
fn other_bodies_name_a_method_too() {
    let world = world("metadata");
    let event = told(&world, "POST /v1/orders/7", "", r#"{"_method":"DELETE"}"#, OK);
    assert_eq!((&*event.http.effective_method, event.operation.op), ("DELETE", Op::Delete));
    let media = "Content-Type: multipart/form-data; boundary=b\r\n";
    let body = "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n--b--\r\n";
    let event = told(&world, "POST /v1/orders/7", media, body, OK);
    assert_eq!((&*event.http.effective_method, event.operation.op), ("PUT", Op::Update));
}

#[test]
fn a_replay_has_the_same_key_and_another_id() {
    let world = world("request");
    let key = "Idempotency-Key: k-1\r\n";
    let first = told(&world, "POST /v1/orders", key, "{}", OK);
    let second = told(&world, "POST /v1/orders", key, "{}", OK);
    assert_eq!((&*first.http.idempotency_key, &*second.http.idempotency_key), ("k-1", "k-1"));
    assert_ne!(first.event_id, second.event_id);
}

/// The document knows the path, but not by this method.
#[test]
fn a_path_keeps_its_secrets_whatever_the_method() {
    let world = world("request");
    let event = told(&world, "DELETE /v1/keys/s3cr3t-value", "", "", ("405", "", ""));
    assert_eq!(event.operation.matched, sidelog_event::MatchKind::MethodNotInSpec);
    assert_eq!(event.operation.path_params.get("token"), Some("[redacted]"));
    assert!(!serde_json::to_string(&event).unwrap().contains("s3cr3t-value"), "{event:?}");
}
