//! How the service is told who the client is.

use crate::world::{World, ask};
use crate::{OK, POST};
use harness::origin::{Origin, Step};
use std::net::{TcpListener, TcpStream};

/// What the service receives of two requests on one connection, one with fields of the client's own.
fn told(more: &str) -> (String, String, [String; 2]) {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    let world = World::new().start(&format!("upstream: http://{}\n{more}", origin.addr()));
    let own = POST.replace("Host: a", "x-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nHost: a");
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    let from = client.local_addr().unwrap().to_string();
    for request in [POST, &own] {
        assert_eq!(ask(&mut client, request.as_bytes(), "ok"), OK);
    }
    drop(client);
    let seen = origin.finished().remove(0).received;
    (from, String::from_utf8_lossy(&seen).into_owned(), [POST.to_owned(), own])
}

#[test]
fn nothing_is_added_unless_it_is_asked_for() {
    let (_, seen, sent) = told("");
    assert_eq!(seen, sent.concat());
}

#[test]
fn one_line_is_added_at_the_end_of_each_head() {
    for (word, line) in
        [("x_forwarded_for", "X-Forwarded-For: 127.0.0.1\r\n"), ("forwarded", "Forwarded: for=127.0.0.1\r\n")]
    {
        let (_, seen, sent) = told(&format!("forward_address: {word}\n"));
        let expected = sent.map(|request| request.replace("\r\n\r\nabc", &format!("\r\n{line}\r\nabc")));
        assert_eq!(seen, expected.concat(), "{word}");
    }
}

#[test]
fn a_proxy_header_begins_the_connection() {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    let world =
        World::new().start(&format!("upstream: http://{}\nforward_address: proxy_v2\n", origin.addr()));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let header = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01"[..],
        &from.port().to_be_bytes(),
        &to.port().to_be_bytes(),
    ]
    .concat();
    client.set_nodelay(true).unwrap();
    std::io::Write::write_all(&mut client, POST.as_bytes()).unwrap();
    let expected = [&header, POST.as_bytes()].concat();
    let deadline = std::time::Instant::now() + harness::origin::PATIENCE;
    let seen = || origin.records().first().map(|r| r.received.clone()).unwrap_or_default();
    while seen().len() < expected.len() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(seen(), expected);
}

#[test]
fn connections_come_from_the_address_that_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!("upstream: http://{}\nsource_address: 127.0.0.2\n", listener.local_addr().unwrap());
    let world = World::new().start(&yaml);
    let service = std::thread::spawn(move || {
        let (stream, from) = listener.accept().unwrap();
        crate::world::serve(stream, OK).unwrap();
        from
    });
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    assert_eq!(ask(&mut client, POST.as_bytes(), "ok"), OK);
    drop(client);
    assert_eq!(service.join().unwrap().ip().to_string(), "127.0.0.2");
}

#[test]
fn a_request_that_could_hide_the_line_is_refused() {
    let origin = Origin::start().unwrap();
    let yaml = format!("upstream: http://{}\nforward_address: x_forwarded_for\n", origin.addr());
    let world = World::new().start(&yaml);
    for field in ["X_Forwarded_For: 6.6.6.6", "Connection: close, x-forwarded-for"] {
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        let request = POST.replace("Host: a", &format!("Host: a\r\n{field}"));
        assert!(ask(&mut client, request.as_bytes(), "\r\n\r\n").starts_with("HTTP/1.1 400 "), "{field}");
    }
    assert_eq!(origin.finished().len(), 0);
}
