//! Refused requests leave events too: who, what of the first line, why; bounded, and without secrets.

use crate::OK;
use crate::world::{World, ask};
use harness::origin::{Origin, Step};
use sidelog_event::{Delivery, Level, Outcome, Stage};
use std::net::TcpStream;

fn world(more: &str) -> (World, Origin) {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    (World::new().start(&format!("upstream: http://{}\n{more}", origin.addr())), origin)
}

fn send(world: &World, request: &str) -> String {
    ask(&mut TcpStream::connect(world.traffic()).unwrap(), request.as_bytes(), "\r\n\r\n")
}

#[test]
fn a_refused_request_is_an_event() {
    let (world, origin) = world("");
    for (request, status) in [
        ("DELETE /v1/orders?token=CANARY-1 HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("PUT /a CANARY-2 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer CANARY-3\r\n\r\n", 400),
        ("POST /u HTTP/1.1\r\nHost: a\r\nContent_Length: 3\r\n\r\nabc", 400),
        ("GET / HTTP/2.7\r\nHost: a\r\n\r\n", 505),
        ("POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    ] {
        assert!(send(&world, request).starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
    }
    assert_eq!(origin.finished().len(), 0);
    let events = world.events();
    let line = |i: usize| {
        let event = &events[i];
        let http = &event.http;
        (&*http.method, &*http.path, event.flags[0].to_string(), http.status)
    };
    assert_eq!(events.len(), 5, "one each, and none twice: {events:#?}");
    assert_eq!(line(0), ("DELETE", "/v1/orders", "bad_field_value".into(), Some(400)));
    assert_eq!(line(1), ("PUT", "/a CANARY-2", "bad_target".into(), Some(400)));
    assert_eq!(line(2), ("POST", "/u", "underscore_field".into(), Some(400)));
    assert_eq!(line(3), ("GET", "/", "http_version".into(), Some(505)));
    for event in &events[..4] {
        assert_eq!((event.stage, event.outcome), (Stage::Completed, Outcome::ClientError));
        assert_eq!((event.error.as_deref(), &*event.policy), (Some("refused"), "default"));
        assert_eq!((event.level, event.delivery), (Level::Metadata, Delivery::Queued));
        assert_eq!((&*event.client.ip, event.message.is_empty()), ("127.0.0.1", false));
    }
    // This one had begun: it is a call that ended badly.
    assert_eq!((events[4].error.as_deref(), events[4].http.status), (Some("request_malformed"), Some(400)));
    let all = format!("{events:?}");
    assert!(!all.contains("CANARY-1") && !all.contains("CANARY-3"), "{all}");
}

#[test]
fn refusals_are_recorded_at_a_bounded_rate() {
    const BAD: &str = "GET / HTTP/1.1\nHost: a\n\n";
    let (all, _origin) = world("audit: {refusals_per_second: 1}\n");
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        send(&all, BAD);
    }
    let seconds = begun.elapsed().as_secs() as f64;
    assert_eq!(all.metric("sidelog_refused_total", "bare_lf"), 20.0);
    let left_out = all.metric("sidelog_unrecorded_refusals_total", "");
    let recorded = all.events().len() as f64;
    assert!(recorded >= 1.0 && recorded <= seconds + 2.0, "{recorded} in {seconds} s");
    assert_eq!(recorded + left_out, 20.0);

    let (none, _origin) = world("audit: {refusals_per_second: 0}\n");
    send(&none, BAD);
    assert_eq!(none.metric("sidelog_unrecorded_refusals_total", ""), 1.0);
    assert_eq!(none.events().len(), 0);
}

/// A CGI-style service reads `X_User` as `X-User`: it may pass, and is flagged.
#[test]
fn a_look_alike_of_the_actors_header_is_flagged() {
    let actor = "actor: [header: {id: X-User, trusted_from: [127.0.0.1]}]\n";
    let (world, _origin) = world(actor);
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    let request = "POST / HTTP/1.1\r\nHost: a\r\nX_User: admin\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(&mut client, request.as_bytes(), "ok"), OK);
    drop(client);
    let event = world.event();
    assert_eq!((&*event.actor.id, &event.flags[..]), ("", &["actor_lookalike".into()][..]));
}

#[test]
fn responses_may_have_a_thousand_fields() {
    let fields: String = (0..1000).map(|i| format!("X-Field-{i}: {}\r\n", "v".repeat(40))).collect();
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(answer.clone().into())]);
    let world = World::new().start(&format!("upstream: http://{}\n", origin.addr()));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    assert_eq!(ask(&mut client, crate::POST.as_bytes(), "\r\n\r\nok"), answer);
}
