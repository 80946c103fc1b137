//! Where a message begins and ends: one reading of every byte, or none.

use crate::cases::{self, From, Group};
use crate::fixture::{Fixture, events_by_call, of_peer, peer};
use crate::garden;
use crate::group::{InCode, Outcome};
use crate::{h2, oracle};
use harness::origin::{Step, requests};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};

pub const IN_CODE: &[InCode] = &[
    (31, tunnels),
    (34, h2::extended_connect),
    (35, h2::injection),
    (36, h2::lengths),
    (37, h2::two_authorities),
    (38, h2::connection_fields),
    (39, h2::reset_in_the_body),
    (40, h2::rapid_reset),
    (42, mutations),
    (43, garden::others),
];

pub fn start() -> Fixture {
    Fixture::start("")
}

/// What an upgrade to WebSocket may become: nothing, or a tunnel that is one event.
fn tunnels() -> Outcome {
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let inside = "DELETE /v1/smug HTTP/1.1\r\nHost: a\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let raw = [upgrade, inside].concat().into_bytes();
    let client = peer(From::Stranger, 31, 9);

    let closed = Fixture::start("relay: {upgrades: []}\n");
    let seen = closed.send_raw(client, raw.clone(), vec![Step::Answer(crate::fixture::OK.into())]);
    assert_eq!((oracle::answers(&seen.received), &seen.refused[..]), (vec![200, 200], &[][..]));
    let events = closed.stop();
    let mut faults = oracle::truth(&seen, &of_peer(&events, client));
    if events.len() != 1 || seen.ledger.iter().any(|request| request.field("upgrade").is_some()) {
        faults.push(format!("a tunnel that is not allowed: {events:#?}"));
    }

    let open = Fixture::start("");
    let script = vec![
        Step::Head,
        Step::Send(switched.into()),
        Step::Bytes(inside.len()),
        Step::Send(b"pong".into()),
        Step::End,
    ];
    let seen = open.send_raw(client, raw.clone(), script);
    assert_eq!(oracle::answers(&seen.received), [101]);
    assert_eq!(seen.forwarded, raw);
    let events = open.stop();
    let [event] = of_peer(&events, client)[..] else { panic!("not one event: {events:#?}") };
    let wanted = json!({
        "http.method": "GET", "http.path": "/ws", "http.status": 101, "flags": ["tunnel"],
        "request.bytes": inside.len(), "response.bytes": 4, "client.ip": client.to_string(),
    });
    faults.extend(oracle::members(event, wanted.as_object().unwrap()));
    if faults.is_empty() {
        Ok("not allow-listed: the DELETE is a request of its own; allowed: one event, `flags=tunnel`".into())
    } else {
        Err(faults)
    }
}

/// Every byte value in every place around the fields that say where a message ends.
fn mutations() -> Outcome {
    let fixture = start();
    let all: Vec<Vec<u8>> = gadgets().iter().enumerate().flat_map(|(n, gadget)| around(n, gadget)).collect();
    fixture.origin.play(vec![Step::Answer(crate::fixture::OK.into())]);
    let (to, from) = (fixture.traffic(), peer(From::Stranger, 42, 0));
    std::thread::scope(|scope| {
        for part in all.chunks(all.len().div_ceil(4)) {
            scope.spawn(move || part.iter().for_each(|raw| offer(to, from, raw)));
        }
    });
    let ledger: Vec<_> =
        fixture.origin.finished().iter().flat_map(|record| requests(&record.received).0).collect();
    let events = fixture.stop();
    // Each has a target of its own, so that order does not matter.
    let faults = events_by_call(&ledger, &events);
    // A field disfigured into another leaves an honest length, behind which an honest request stands:
    // executed as such, and recorded as such.
    assert!(ledger.len() > 100, "only {} passed: nothing is compared", ledger.len());
    if faults.is_empty() {
        Ok(format!("{} requests: 0 executed without an event", all.len()))
    } else {
        Err(faults)
    }
}

/// `Transfer-Encoding: chunked` with one byte too many in each place.
fn gadgets() -> Vec<Vec<u8>> {
    const PLACES: [(&str, &str); 7] = [
        ("", "Transfer-Encoding: chunked\r\n"),
        ("Transfer", "-Encoding: chunked\r\n"),
        ("Transfer-Encoding", ": chunked\r\n"),
        ("Transfer-Encoding:", "chunked\r\n"),
        ("Transfer-Encoding: chun", "ked\r\n"),
        ("Transfer-Encoding: chunked", "\r\n"),
        ("Transfer-Encoding: chunked\r", "\n"),
    ];
    let with = |(before, after): (&str, &str), byte| [before.as_bytes(), &[byte], after.as_bytes()].concat();
    PLACES.iter().flat_map(|place| (0..=255).map(move |byte| with(*place, byte))).collect()
}

/// A gadget where the length comes before it, after it, and where there is none.
fn around(n: usize, gadget: &[u8]) -> [Vec<u8>; 3] {
    let smuggled = format!("DELETE /smug/{n} HTTP/1.1\r\nHost: a\r\n\r\n");
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let ending = format!("0\r\n\r\n{smuggled}");
    let build = |kind: &str, before: String, after: &str, body: &str| {
        let head = format!("POST /m/{n}/{kind} HTTP/1.1\r\nHost: a\r\n{before}");
        [head.as_bytes(), gadget, after.as_bytes(), b"\r\n", body.as_bytes()].concat()
    };
    [
        build("length-first", format!("Content-Length: {}\r\n", ending.len()), "", &ending),
        build("length-last", String::new(), "Content-Length: 4\r\n", &chunk),
        build("no-length", String::new(), "", &chunk),
    ]
}

/// Sends and waits for the end, whatever it is.
pub fn offer(to: SocketAddr, from: Ipv4Addr, raw: &[u8]) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(harness::origin::PATIENCE)).unwrap();
    let _ = stream.write_all(raw);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The payloads of the groups that are about bytes.
pub fn raw_payloads() -> Vec<Vec<u8>> {
    let groups = [Group::Framing, Group::Operations, Group::Targets];
    let cases = groups.into_iter().flat_map(cases::of);
    cases.flat_map(|case| case.payloads).map(|payload| payload.bytes(&cases::Words::new())).collect()
}
