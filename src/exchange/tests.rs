//! The relay's part is played by hand, over a real journal and real rules.

mod strict;

use super::*;
use crate::config::{self, Config};
use crate::relay::{Call as _, parse};
use sidelog_event::{Op, Outcome};
use sidelog_journal::Kind;
use std::net::IpAddr;
use std::time::Duration;
use tempfile::TempDir;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const DONE: End =
    End { request: BodyEnd::Complete, response: BodyEnd::Complete, error: None, own_status: None };

const OPENAPI: &str = "
openapi: 3.0.3
info: {title: orders, version: '1'}
paths:
  /v1/orders: {post: {operationId: createOrder, responses: {}}}
  /v1/orders/{id}: {delete: {operationId: deleteOrder, responses: {}}}
  /v1/reset/{token}/confirm: {post: {operationId: confirmReset, responses: {}}}
  /v1/keys/{token}: {delete: {operationId: deleteKey, responses: {}}}
  /v1/queued: {post: {operationId: queued, responses: {}}}
  /v1/whole: {post: {operationId: whole, responses: {}}}
  /v1/meta: {post: {operationId: meta, responses: {}}}
";

const CONFIG: &str = "
version: 1
service: orders
upstream: http://127.0.0.1:1
openapi: [openapi.yaml]
actor: [{header: {id: X-User-Id, trusted_from: [127.0.0.0/8]}}]
capture: {max_body: MAX_BODY}
audit:
  rules:
    - {match: {paths: [/v1/queued]}, delivery: queued}
    - {match: {paths: [/v1/whole]}, level: request_response}
    - {match: {paths: [/v1/meta]}, level: metadata}
journal: {max_bytes: MAX_BYTES, max_open_calls: 8, on_full: ON_FULL}
";

/// A configuration and the directory its journal lives in.
struct World {
    _dir: TempDir,
    config: Config,
    auditor: Arc<Auditor>,
}

impl World {
    fn new() -> World {
        World::with("64MiB", "drop", "1KiB")
    }

    fn with(max_bytes: &str, on_full: &str, max_body: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("openapi.yaml"), OPENAPI).unwrap();
        let text =
            CONFIG.replace("MAX_BYTES", max_bytes).replace("ON_FULL", on_full).replace("MAX_BODY", max_body);
        let (mut config, warnings) = config::from_text(&text, "sidelog.yaml", dir.path(), &|_| None).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        config.journal.dir = dir.path().join("journal");
        let auditor = Arc::new(Auditor::start(&config).unwrap());
        assert_eq!(auditor.rules().specs.operations().len(), 7);
        World { _dir: dir, config, auditor }
    }

    fn begin(&self, raw: &[u8]) -> Result<Exchange, Refusal> {
        let mut index = HeadIndex::default();
        let framing = parse::request(raw, &mut index, &relay::Upgrades::default())?;
        Watcher::new(self.auditor.clone(), PEER).begin(Head { raw, index: &index }, &framing)
    }

    /// A call of the given head, bodies and end.
    fn call(&self, request: &str, body: &[u8], answer: &[u8], end: End) {
        let mut call = self.begin(request.as_bytes()).unwrap();
        call.request_body(body);
        answered(&mut call, 200);
        call.response_body(answer);
        call.end(end);
    }

    /// A journal's restart after kill -9: nobody said goodbye, and the open-call table stays as it is.
    fn kill(&mut self) {
        self.auditor.journal().close();
        self.auditor = Arc::new(Auditor::start(&self.config).unwrap());
    }

    fn payloads(&self) -> Vec<String> {
        let mut records = Vec::new();
        self.auditor.journal().reader().next(Duration::ZERO, usize::MAX, usize::MAX, &mut records);
        let data = records.into_iter().filter(|r| r.kind == Kind::Data);
        data.map(|r| String::from_utf8(r.payload).unwrap()).collect()
    }

    fn events(&self) -> Vec<AuditEvent<'static>> {
        self.payloads().into_iter().map(|p| serde_json::from_str(p.leak()).unwrap()).collect()
    }

    fn only(&self) -> AuditEvent<'static> {
        let mut events = self.events();
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    /// Calls in the open-call table.
    fn open(&self) -> u64 {
        self.auditor.journal().stats().open_calls
    }
}

fn answered(call: &mut Exchange, status: u16) {
    let raw = format!("HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\n\r\n");
    let (_, framing) = ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut index = HeadIndex::default();
    parse::response(raw.as_bytes(), &mut index, &framing).unwrap();
    call.response_head(Head { raw: raw.as_bytes(), index: &index });
}

fn ask(raw: &str) -> (HeadIndex, RequestFraming) {
    let mut index = HeadIndex::default();
    let framing = parse::request(raw.as_bytes(), &mut index, &relay::Upgrades::default()).unwrap();
    (index, framing)
}

fn post(path: &str, fields: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n{fields}\r\n")
}

fn create() -> String {
    post("/v1/orders", "Content-Type: text/plain\r\nX-User-Id: alice\r\n", 5)
}

#[test]
fn one_completion_per_call_and_the_slot_is_taken_meanwhile() {
    let world = World::new();
    let mut call = world.begin(create().as_bytes()).unwrap();
    assert_eq!((world.open(), world.events().len()), (1, 0));
    assert_eq!(world.auditor.metrics().open_calls.get(), 1);
    call.request_body(b"he");
    call.request_body(b"llo");
    answered(&mut call, 201);
    call.response_body(b"fine");
    call.end(DONE);
    assert_eq!(world.open(), 0);
    drop(call);
    let event = world.only();
    assert_eq!(
        (event.stage, event.outcome, event.http.status),
        (Stage::Completed, Outcome::Success, Some(201))
    );
    assert_eq!(
        (&*event.operation.id, &*event.actor.id, &*event.client.ip),
        ("createOrder", "alice", "127.0.0.1")
    );
    assert_eq!(
        (&*event.request.body, &*event.request.body_state, event.request.bytes),
        ("hello", "complete", 5)
    );
    assert_eq!(
        (&*event.response.body, &*event.response.body_state, event.response.bytes),
        ("", "omitted:level", 4)
    );
    assert!(event.response.digest.starts_with("hmac-sha256-128:"));
    assert_eq!(event.message, "alice created order (success)");
    assert!(event.duration_us.is_some() && event.error.is_none() && event.flags.is_empty());
    let metrics = world.auditor.metrics();
    assert_eq!((metrics.open_calls.get(), metrics.events.get(), metrics.requests.get()), (0, 1, 1));
    assert_eq!(metrics.bodies_truncated.get(), 0);
}

#[test]
fn reads_leave_no_trace() {
    let world = World::new();
    world.call("GET /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n", b"", b"", DONE);
    assert_eq!((world.events().len(), world.auditor.metrics().requests.get()), (0, 1));
}

#[test]
fn a_call_cut_off_by_the_shutdown_says_so() {
    let world = World::new();
    let mut call = world.begin(create().as_bytes()).unwrap();
    call.request_body(b"he");
    drop(call);
    let event = world.only();
    assert_eq!((event.stage, event.error.as_deref()), (Stage::Completed, Some("shutdown")));
    assert_eq!((event.outcome, event.http.status), (Outcome::Unknown, None));
    assert_eq!((&*event.request.body, &*event.request.body_state), ("", "aborted"));
    assert_eq!((world.open(), world.auditor.metrics().open_calls.get()), (0, 0));
}

#[test]
fn a_call_open_at_a_kill_becomes_one_orphan() {
    let mut world = World::new();
    world.call(&create(), b"hello", b"", DONE);
    let call = world.begin(create().as_bytes()).unwrap();
    let id = call.0.as_ref().unwrap().id;
    std::mem::forget(call);
    world.kill();
    let events = world.events();
    assert_eq!(events.len(), 2);
    let orphan = &events[1];
    assert_eq!((orphan.event_id, orphan.stage, orphan.outcome), (id, Stage::Orphaned, Outcome::Unknown));
    assert_eq!((orphan.error.as_deref(), orphan.http.status), (Some("sidecar_killed"), None));
    assert_eq!(
        (&*orphan.actor.id, &*orphan.operation.id, &*orphan.http.path),
        ("alice", "createOrder", "/v1/orders")
    );
    assert_eq!(orphan.message, "alice tried to create order (unknown)");
    assert_eq!((world.auditor.metrics().orphaned.get(), world.open()), (1, 0));
    world.kill();
    assert_eq!((world.events().len(), world.auditor.metrics().orphaned.get()), (2, 0));
}

#[test]
fn levels_say_which_bodies_are_kept() {
    let world = World::new();
    for (path, request, response) in [
        ("/v1/meta", "omitted:level", "omitted:level"),
        ("/v1/orders", "complete", "omitted:level"),
        ("/v1/whole", "complete", "complete"),
    ] {
        world.call(&post(path, "Content-Type: text/plain\r\n", 5), b"hello", b"world", DONE);
        let event = world.events().pop().unwrap();
        assert_eq!((&*event.request.body_state, &*event.response.body_state), (request, response), "{path}");
        assert_eq!(event.request.body == "hello", request == "complete", "{path}");
        assert_eq!(event.response.body == "world", response == "complete", "{path}");
        assert_eq!((event.request.bytes, event.response.bytes), (5, 5), "{path}");
    }
    assert_eq!(world.auditor.metrics().bodies_truncated.get(), 0);
}

#[test]
fn longer_bodies_than_captured_are_counted_and_left_out() {
    let world = World::new();
    let long = vec![b'x'; 1025];
    world.call(&post("/v1/whole", "Content-Type: text/plain\r\n", 1025), &long, &long, DONE);
    let event = world.only();
    for message in [&event.request, &event.response] {
        assert_eq!((&*message.body, &*message.body_state), ("", "omitted:truncated"));
        assert_eq!(message.bytes, 1025);
        assert!(message.digest.starts_with("hmac-sha256-128:"));
    }
    assert_eq!(world.auditor.metrics().bodies_truncated.get(), 2);
}

#[test]
fn bodies_that_unfold_to_more_than_the_bound_are_counted_and_left_out() {
    let world = World::with("64MiB", "drop", "4KiB");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &vec![b' '; (1 << 20) + 1]).unwrap();
    let body = gzip.finish().unwrap();
    let request = post("/v1/orders", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", body.len());
    world.call(&request, &body, b"", DONE);
    let event = world.only();
    assert_eq!((&*event.request.body, &*event.request.body_state), ("", "omitted:encoding"));
    assert_eq!(event.flags, ["body_too_large_decoded"]);
    assert_eq!(world.auditor.metrics().bodies_oversized.get(), 1);
}

#[test]
fn an_event_too_large_for_the_journal_keeps_all_but_its_bodies() {
    let world = World::with("4MiB", "drop", "16MiB");
    let long = vec![b'x'; world.auditor.journal().max_record() + 1];
    world.call(&post("/v1/whole", "Content-Type: text/plain\r\n", long.len()), &long, b"", DONE);
    let event = world.only();
    assert_eq!((&*event.request.body, &*event.request.body_state), ("", "omitted:too_large"));
    assert_eq!((event.request.bytes, event.outcome), (long.len() as u64, Outcome::Success));
    assert_eq!(world.auditor.metrics().slimmed.get(), 1);
}

/// Appends calls until the journal is full.
fn fill(world: &World) -> u64 {
    let body = vec![b'x'; 1000];
    for calls in 0..100_000 {
        if world.auditor.journal().stats().lost.total() > 0 {
            return calls;
        }
        world.call(&post("/v1/orders", "Content-Type: text/plain\r\n", 1000), &body, b"", DONE);
    }
    panic!("the journal is never full");
}

/// A second field of that name hides nothing.
#[test]
fn every_content_encoding_counts() {
    let world = World::new();
    let fields = "Content-Type: application/json\r\nContent-Encoding: identity\r\ncontent-encoding: gzip\r\n";
    world.call(&post("/v1/orders", fields, 9), b"{\"pin\":1}", b"", DONE);
    let event = world.only();
    assert_eq!(event.request.body_state, "omitted:encoding");
    assert_eq!(event.flags, ["encoding_false"]);
}

#[test]
fn when_the_journal_is_full_calls_are_refused_if_so_chosen() {
    let world = World::with("4MiB", "refuse", "1KiB");
    let body = vec![b'x'; 1000];
    let request = post("/v1/orders", "Content-Type: text/plain\r\n", 1000);
    let refusal = (0..100_000).find_map(|_| match world.begin(request.as_bytes()) {
        Ok(mut call) => {
            call.request_body(&body);
            call.end(DONE);
            None
        }
        Err(refusal) => Some(refusal),
    });
    assert_eq!(refusal, Some(Refusal { status: 503, reason: "journal_full" }));
    assert_eq!(world.auditor.journal().stats().lost.total(), 0, "refused before anything is lost");
    assert_eq!((world.open(), world.auditor.metrics().open_calls.get()), (0, 0));
    // What is not recorded goes on.
    world.begin(b"GET /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
}

#[test]
fn when_the_journal_is_full_the_losses_are_counted_exactly() {
    let world = World::with("4MiB", "drop", "1KiB");
    let calls = fill(&world);
    for _ in 0..9 {
        world.call(&create(), b"hello", b"", DONE);
    }
    let kept = world.events().len() as u64;
    assert_eq!(world.auditor.metrics().events.get(), kept);
    let lost = calls + 9 - kept;
    assert!(lost >= 1);
    assert_eq!(world.auditor.journal().stats().lost.total(), lost);
    let text = world.auditor.scrape();
    assert!(
        text.contains(&format!("sidelog_lost_events_total{{reason=\"journal_full\"}} {lost}\n")),
        "{text}"
    );
    assert_eq!((world.open(), world.auditor.metrics().open_calls.get()), (0, 0));
}

#[test]
fn an_answer_before_the_end_of_the_request_is_flagged() {
    let world = World::new();
    world.call(&create(), b"he", b"", End { request: BodyEnd::Open, ..DONE });
    world.call(&create(), b"he", b"", End { request: BodyEnd::Open, error: Some("client_reset"), ..DONE });
    let events = world.events();
    assert_eq!(events[0].flags, ["early_response"]);
    assert_eq!(events[0].request.body_state, "aborted");
    assert!(events[1].flags.is_empty());
}

#[test]
fn our_own_answer_and_a_tunnel_are_told() {
    let world = World::new();
    let mut call = world.begin(create().as_bytes()).unwrap();
    call.end(End {
        error: Some("upstream_connect"),
        own_status: Some(502),
        response: BodyEnd::Aborted,
        ..DONE
    });
    let mut call = world.begin(create().as_bytes()).unwrap();
    call.tunnel();
    call.end(DONE);
    let events = world.events();
    assert_eq!((events[0].http.status, events[0].outcome), (Some(502), Outcome::ServerError));
    assert_eq!(events[1].flags, ["tunnel"]);
}

#[test]
fn a_queued_call_takes_no_slot() {
    let world = World::new();
    let mut call = world.begin(post("/v1/queued", "", 0).as_bytes()).unwrap();
    assert_eq!(world.open(), 0);
    call.end(DONE);
    assert_eq!(world.only().delivery, Delivery::Queued);
    assert_eq!(world.auditor.metrics().intents_skipped.get(), 0);
}

#[test]
fn more_open_calls_than_slots_go_on_without_an_intent() {
    let world = World::new();
    let calls: Vec<_> = (0..11).map(|_| world.begin(create().as_bytes()).unwrap()).collect();
    assert_eq!((world.open(), world.auditor.metrics().intents_skipped.get()), (8, 3));
    calls.into_iter().for_each(|mut call| call.end(DONE));
    assert_eq!((world.open(), world.events().len()), (0, 11));
}

#[test]
fn an_intent_too_long_for_its_slot_is_shortened() {
    let long = "x".repeat(9000);
    let wide = "\u{1F600}".repeat(2000);
    for (path, fields) in [
        (format!("/v1/{long}?q={long}"), String::new()),
        ("/v1/orders".into(), format!("User-Agent: {long}\r\nX-Request-Id: {long}\r\nX-User-Id: {long}\r\n")),
        (
            format!("/v1/orders/{wide}"),
            format!("User-Agent: {wide}\r\nX-Request-Id: {wide}\r\nX-User-Id: {wide}\r\n"),
        ),
        ("/v1/orders".into(), format!("X-Audit-Reason: {wide}\r\n")),
    ] {
        let mut world = World::new();
        let raw = format!("DELETE {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let call = world.begin(raw.as_bytes()).unwrap();
        let id = call.0.as_ref().unwrap().id;
        assert_eq!((world.open(), world.auditor.metrics().intents_skipped.get()), (1, 0), "{path:.20}");
        std::mem::forget(call);
        world.kill();
        let orphan = world.only();
        assert_eq!((orphan.event_id, &*orphan.http.method), (id, "DELETE"));
        assert!(orphan.http.path.starts_with("/v1/"));
    }
}

#[test]
fn a_form_may_name_the_method() {
    let world = World::new();
    let form = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    for (path, fields, body, method, op) in [
        ("/v1/orders", form, "_method=DELETE", "DELETE", Op::Delete),
        ("/v1/meta", form, "a=b&_method=put", "PUT", Op::Update),
        ("/v1/orders", form, "a=b", "POST", Op::Create),
        ("/v1/orders", "Content-Type: text/plain\r\n", "_method=DELETE", "POST", Op::Create),
        ("/v1/orders?_method=PATCH", form, "_method=DELETE", "PATCH", Op::Update),
        ("/v1/orders?_method=GET", form, "_method=DELETE", "DELETE", Op::Delete),
    ] {
        world.call(&post(path, fields, body.len()), body.as_bytes(), b"", DONE);
        let event = world.events().pop().unwrap();
        assert_eq!((&*event.http.method, &*event.http.effective_method), ("POST", method), "{path} {body}");
        assert_eq!(event.operation.op, op, "{path} {body}");
    }
}

/// A secret that no rule knows by its look, only by where it stands.
const CANARY: &str = "kAnarienvogel";

#[test]
fn no_secret_comes_through_the_back_door() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJrQW5hcmllbnZvZ2VsIn0.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU";
    let long = format!("{CANARY}-{}", "y".repeat(400));
    let get = |target: &str| format!("DELETE {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let with = |fields: &str| post("/v1/orders", fields, 0);
    let heads = [
        // By the parameter's name: plain, encoded, longer than an id is kept, unprintable.
        post(&format!("/v1/reset/{CANARY}/confirm"), "", 0),
        post(&format!("/v1/reset/%6B{}/confirm", CANARY.get(1..).unwrap()), "", 0),
        get(&format!("/v1/keys/{CANARY}")),
        get(&format!("/v1/keys/%6B{}", CANARY.get(1..).unwrap())),
        get(&format!("/v1/keys/{long}")),
        get(&format!("/v1/keys/{CANARY}%01x")),
        get(&format!("/v1/keys/{CANARY}%40x%2Fy")),
        // By its look.
        get(&format!("/v1/orders/{jwt}")),
        get(&format!("/v1/orders/{}{jwt}", "z".repeat(180))),
        get(&format!("/v2/unknown/{jwt}")),
        with(&format!("User-Agent: app password={CANARY}\r\n")),
        with(&format!("User-Agent: app {jwt}\r\n")),
        with(&format!("X-User-Id: alice token={CANARY}\r\n")),
        with(&format!("X-User-Id: {jwt}\r\n")),
        with(&format!("X-Request-Id: {jwt}\r\n")),
        // Cut off where a text has its bound.
        with(&format!("User-Agent: {} {jwt}\r\n", "u".repeat(440))),
        with(&format!("User-Agent: {} password={CANARY}\r\n", "u".repeat(495))),
        with(&format!("X-Request-Id: {}{jwt}\r\n", "r".repeat(60))),
        with(&format!("X-Request-Id: {} {jwt}\r\n", "r".repeat(60))),
        with(&format!("X-User-Id: {} {jwt}\r\n", "i".repeat(190))),
        with(&format!("Authorization: Bearer {CANARY}\r\nCookie: sid={CANARY}\r\n")),
        get(&format!("/v1/orders/7?password={CANARY}&access_token={jwt}")),
        get(&format!("/v1/orders/7;jsessionid={CANARY}")),
    ];
    let mut world = World::new();
    for some in heads.chunks(8) {
        for head in some {
            world.call(head, b"", b"", DONE);
            // The intent too: what is on disk while the call is open is what the orphan shows.
            std::mem::forget(world.begin(head.as_bytes()).unwrap());
        }
        world.kill();
    }
    let payloads = world.payloads();
    assert_eq!(payloads.len(), 2 * heads.len());
    for payload in payloads {
        let told: AuditEvent<'_> = serde_json::from_str(&payload).unwrap();
        assert!(!told.message.is_empty());
        for secret in ["Anarienvogel", "eyJzdWIiOiJrQW5h", "c2lnbmF0dXJl"] {
            assert!(!payload.contains(secret), "{secret} in {payload}");
        }
    }
}

#[test]
fn requests_are_counted_once_each() {
    let world = World::with("4MiB", "refuse", "1KiB");
    let mut watcher = Watcher::new(world.auditor.clone(), PEER);
    let raw = create();
    let (index, framing) = ask(&raw);
    let mut call = watcher.begin(Head { raw: raw.as_bytes(), index: &index }, &framing).unwrap();
    call.end(End { error: Some("request_malformed"), own_status: Some(400), ..DONE });
    watcher.refused(Refusal { status: 400, reason: "chunk" }, b"");
    watcher.refused(Refusal { status: 400, reason: "bare_lf" }, b"GET");
    watcher.unreachable();
    let metrics = world.auditor.metrics();
    assert_eq!((metrics.requests.get(), metrics.upstream_connect_failures.get()), (1, 1));
    let text = world.auditor.scrape();
    for reason in ["chunk", "bare_lf"] {
        assert!(text.contains(&format!("sidelog_refused_total{{reason=\"{reason}\"}} 1")), "{text}");
    }
}

mod finish;
