//! Tunnels: only where they are allowed, told when they open and when they close.

use crate::OK;
use crate::world::{World, curl};
use harness::origin::{Origin, Step};
use sidelog_event::{Outcome, Stage};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{self, Message};

const NARROW: &str = "relay: {upgrades: [{protocol: websocket, paths: [/ws/**]}]}\n";

#[test]
fn a_websocket_is_told_when_it_opens_and_when_it_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!("upstream: http://{}\n{NARROW}", listener.local_addr().unwrap());
    let world = World::new().start(&yaml);
    let server = std::thread::spawn(move || {
        let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_text() {
                socket.send(message).unwrap();
            }
        }
    });
    let stream = TcpStream::connect(world.traffic()).unwrap();
    let (mut socket, _) = tungstenite::client("ws://a/ws/room", stream).unwrap();
    socket.send(Message::text("hello")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    server.join().unwrap();

    let events = world.events();
    let [open, close] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!((open.stage, close.stage), (Stage::Started, Stage::Completed));
    assert_eq!(open.event_id, close.event_id);
    assert_eq!((open.http.status, open.duration_us), (Some(101), None));
    assert_eq!((close.http.status, close.outcome), (Some(101), Outcome::Success));
    assert!(close.duration_us.is_some() && close.flags == ["tunnel"]);
    // A frame of five letters has 11 bytes from a client (it is masked) and 7 from a server; then the
    // closing ones.
    assert!(close.request.bytes >= 11 && close.response.bytes >= 7, "{close:#?}");
    assert_eq!(close.http.path, "/ws/room");
}

/// What the client gets, what the service has seen, and who stood between them.
struct Offered {
    got: String,
    seen: String,
    world: World,
}

/// Sends a request to a service that answers so.
fn send(request: &str, answer: &str, more: &str) -> Offered {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(answer.into())]);
    let world = World::new().start(&format!("upstream: http://{}\n{more}", origin.addr()));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    let seen = origin.finished().into_iter().next().map(|r| r.received).unwrap_or_default();
    Offered { got, seen: String::from_utf8(seen).unwrap(), world }
}

fn offer(target: &str, protocol: &str, answer: &str, more: &str) -> Offered {
    send(&request(target, Some(protocol)), answer, more)
}

fn request(target: &str, protocol: Option<&str>) -> String {
    let offer = protocol.map(|p| format!("Connection: Upgrade\r\nUpgrade: {p}\r\n")).unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{offer}\r\n")
}

fn switching(protocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nin the tunnel"
    )
}

#[test]
fn an_offer_that_is_not_allowed_is_withdrawn() {
    for (target, protocol) in [("/ws", "h2c"), ("/other", "websocket"), ("/ws/../other", "websocket")] {
        let Offered { got, seen, .. } = offer(target, protocol, OK, NARROW);
        assert_eq!((got.as_str(), seen), (OK, request(target, None)), "{target} {protocol}");
    }
    // With a body, as Java's client sends it.
    let head = |offer: &str, options: &str| {
        format!("POST /v1/orders HTTP/1.1\r\n{options}Content-Length: 3\r\nHost: a\r\n{offer}\r\nabc")
    };
    let java =
        head("HTTP2-Settings: AAEA\r\nUpgrade: h2c\r\n", "Connection: close, Upgrade, HTTP2-Settings\r\n");
    let Offered { got, seen, world } = send(&java, OK, "");
    assert_eq!((got.as_str(), seen), (OK, head("", "Connection: close\r\n")));
    let event = world.event();
    assert_eq!((event.http.status, &event.flags[..]), (Some(200), &["upgrade_withdrawn".into()][..]));
    assert_eq!((event.request.bytes, event.outcome), (3, Outcome::Success));

    let Offered { got, seen, .. } = offer("/ws", "h2c", OK, "relay: {other_upgrades: refuse}\n");
    assert!(got.starts_with("HTTP/1.1 400 ") && seen.is_empty(), "{got}");
}

/// One that answers what it was not asked, or was asked and may not do.
#[test]
fn a_service_that_switches_all_the_same_is_cut_off() {
    for relay in [NARROW, "relay: {upgrades: [], other_upgrades: pass}\n"] {
        let Offered { got, seen, world } = offer("/other", "websocket", &switching("websocket"), relay);
        assert_eq!(seen, request("/other", relay.contains("pass").then_some("websocket")));
        assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("tunnel"), "{got}");
        world.until_metric("sidelog_refused_total", "unasked_upgrade", 1.0);
        let event = world.event();
        assert_eq!(
            (event.error.as_deref(), &event.flags[..]),
            (Some("refused"), &["unasked_upgrade".into()][..])
        );
    }
}

#[test]
fn a_101_that_answers_another_offer_opens_nothing() {
    let Offered { got, seen, .. } = offer("/ws/a", "websocket", &switching("websocket"), NARROW);
    assert!(got.starts_with("HTTP/1.1 101 ") && got.ends_with("in the tunnel"), "{got}");
    assert_eq!(seen, request("/ws/a", Some("websocket")), "it passes unchanged");
    for other in ["h2c", "websocket, h2c", ""] {
        let Offered { got, world, .. } = offer("/ws/a", "websocket", &switching(other), NARROW);
        assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("tunnel"), "{other}: {got}");
        assert_eq!(world.event().error.as_deref(), Some("upstream_upgrade"));
    }
}

#[test]
fn of_several_offers_only_the_allowed_one_goes_on() {
    let Offered { got, seen, .. } = offer("/ws/a", "h2c, websocket", &switching("websocket"), NARROW);
    assert!(got.starts_with("HTTP/1.1 101 ") && got.ends_with("in the tunnel"), "{got}");
    assert_eq!(seen, request("/ws/a", Some("websocket")));
}

/// curl offers h2c with `--http2`, as Java's `HttpClient` does by default.
#[test]
fn a_client_that_offers_http2_is_served_with_http1() {
    for (relay, offered) in [("", false), ("relay: {other_upgrades: pass}\n", true)] {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Answer(OK.into())]);
        let world = World::new().start(&format!("upstream: http://{}\n{relay}", origin.addr()));
        let address = format!("http://{}/v1/orders", world.traffic());
        assert_eq!(curl(world.dir.path(), &["--http2", "-d", "a=1", &address]), "ok");
        let seen = String::from_utf8_lossy(&origin.finished()[0].received).into_owned();
        assert_eq!(seen.contains("Upgrade: h2c"), offered, "{seen}");
    }
}
