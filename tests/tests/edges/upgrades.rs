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

/// A request that offers an upgrade, with what the service answers it; what the client gets.
fn offer(target: &str, protocol: &str, answer: &str, more: &str) -> (String, Vec<u8>, World) {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Head, Step::Send(answer.into())]);
    let world = World::new().start(&format!("upstream: http://{}\n{more}", origin.addr()));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    let seen = origin.finished().into_iter().next().map(|r| r.received).unwrap_or_default();
    if !seen.is_empty() {
        assert_eq!(String::from_utf8_lossy(&seen), request, "it passes unchanged, or not at all");
    }
    (got, seen, world)
}

fn switching(protocol: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nin the tunnel"
    )
}

#[test]
fn an_upgrade_that_is_not_allowed_here_is_a_request_like_any_other() {
    for (target, protocol) in [("/ws", "h2c"), ("/other", "websocket"), ("/ws/../other", "websocket")] {
        let (got, ..) = offer(target, protocol, OK, NARROW);
        assert_eq!(got, OK, "{target} {protocol}");
        let (got, _, world) = offer(target, protocol, &switching(protocol), NARROW);
        assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("tunnel"), "{target} {protocol}: {got}");
        world.until_metric("sidelog_refused_total", "unasked_upgrade", 1.0);
        let event = world.event();
        assert_eq!(
            (event.error.as_deref(), &event.flags[..]),
            (Some("refused"), &["unasked_upgrade".into()][..])
        );
    }
    let (got, seen, _) = offer("/ws", "h2c", OK, "relay: {other_upgrades: refuse}\n");
    assert!(got.starts_with("HTTP/1.1 400 ") && seen.is_empty(), "{got}");
}

#[test]
fn a_101_that_answers_another_offer_opens_nothing() {
    let (got, ..) = offer("/ws/a", "websocket", &switching("websocket"), NARROW);
    assert!(got.starts_with("HTTP/1.1 101 ") && got.ends_with("in the tunnel"), "{got}");
    for other in ["h2c", "websocket, h2c", ""] {
        let (got, _, world) = offer("/ws/a", "websocket", &switching(other), NARROW);
        assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("tunnel"), "{other}: {got}");
        assert_eq!(world.event().error.as_deref(), Some("upstream_upgrade"));
    }
}

/// The service chooses; what the client sends behind its offer waits for that.
#[test]
fn of_several_offers_only_the_allowed_one_may_be_taken_up() {
    let (got, ..) = offer("/ws/a", "websocket, h2c", &switching("websocket"), NARROW);
    assert!(got.starts_with("HTTP/1.1 101 ") && got.ends_with("in the tunnel"), "{got}");
    let (got, _, world) = offer("/ws/a", "websocket, h2c", &switching("h2c"), NARROW);
    assert!(got.starts_with("HTTP/1.1 502 ") && !got.contains("tunnel"), "{got}");
    assert_eq!(world.event().error.as_deref(), Some("upstream_upgrade"));
}

/// curl offers h2c with `--http2`, as Java's `HttpClient` does by default.
#[test]
fn a_client_that_offers_http2_is_served_with_http1() {
    for (relay, with) in [("", ["-X", "DELETE"]), ("relay: {other_upgrades: pass}\n", ["-d", "a=1"])] {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Answer(OK.into())]);
        let world = World::new().start(&format!("upstream: http://{}\n{relay}", origin.addr()));
        let address = format!("http://{}/v1/orders", world.traffic());
        assert_eq!(curl(world.dir.path(), &["--http2", with[0], with[1], &address]), "ok");
        assert!(String::from_utf8_lossy(&origin.finished()[0].received).contains("Upgrade: h2c"));
    }
}
