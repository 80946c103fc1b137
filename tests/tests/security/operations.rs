//! What is meant: methods in any spelling, overrides, calls within calls; and that a call is one
//! call, whatever becomes of its connection.

use crate::cases::From;
use crate::fixture::{Fixture, OK, of_peer, peer};
use crate::group::{InCode, Outcome};
use crate::{h2, oracle};
use harness::origin::{End, PATIENCE, Peer, Step, requests};
use serde_json::json;

pub const IN_CODE: &[InCode] =
    &[(52, h2::grpc_unary), (53, h2::grpc_stream), (54, killed_in_the_answer), (56, never_twice)];

pub fn start() -> Fixture {
    Fixture::start("audit: {include_reads: ['/v1/*/delete']}\n")
}

/// An answer that never ends, and a sidecar that dies meanwhile: the intent becomes the event.
fn killed_in_the_answer() -> Outcome {
    let mut fixture = Fixture::start("");
    let from = peer(From::Stranger, 54, 0);
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    fixture.origin.play(vec![Step::Head, Step::Body, Step::Send(stream.into()), Step::End]);
    let mut client = Peer::connect_from(from, fixture.traffic()).unwrap();
    client.send(b"POST /v1/watch HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    assert!(client.wait(PATIENCE, |r| r.received.len() == stream.len()), "{:?}", client.record());
    fixture.restart("", true);
    assert!(client.wait(PATIENCE, |r| r.end != End::Open));
    let events = fixture.stop();
    let [event] = of_peer(&events, from)[..] else { panic!("not one event: {events:#?}") };
    let wanted = json!({
        "stage": "orphaned", "outcome": "unknown", "http.method": "POST", "http.path": "/v1/watch",
        "client.ip": from.to_string(),
    });
    let faults = oracle::members(event, wanted.as_object().unwrap());
    if faults.is_empty() { Ok("one event: `stage=orphaned`, `outcome=unknown`".into()) } else { Err(faults) }
}

/// The service closes a kept connection as the next call arrives: the moment where a proxy retries.
fn never_twice() -> Outcome {
    let fixture = Fixture::start("");
    let from = peer(From::Stranger, 56, 0);
    fixture.origin.play(vec![Step::Head, Step::Body, Step::Send(OK.into()), Step::Bytes(1), Step::Close]);
    let mut client = Peer::connect_from(from, fixture.traffic()).unwrap();
    let call = |n: u8| format!("POST /v1/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    client.send(call(1).as_bytes()).unwrap();
    assert!(client.wait(PATIENCE, |r| r.received.len() == OK.len()));
    client.send(call(2).as_bytes()).unwrap();
    assert!(client.wait(PATIENCE, |r| r.end != End::Open));
    let connections = fixture.origin.finished();
    assert_eq!(connections.len(), 1, "another connection was tried");
    let (executed, _) = requests(&connections[0].received);
    let second = executed.iter().filter(|request| request.target == "/v1/2").count();
    assert!(second <= 1, "the second call came {second} times");
    let events = fixture.stop();
    let [first, second] = of_peer(&events, from)[..] else { panic!("not two events: {events:#?}") };
    let mut faults = oracle::members(first, json!({"outcome": "success"}).as_object().unwrap());
    let wanted = json!({
        "http.path": "/v1/2", "outcome": "server_error", "error": {"has": "upstream_"}, "http.status": null,
    });
    faults.extend(oracle::members(second, wanted.as_object().unwrap()));
    if faults.is_empty() {
        Ok("one connection, never tried again; the second call: `outcome=server_error`".into())
    } else {
        Err(faults)
    }
}
