//! When connections begin and end on Sidelog's account: docs/transparency.md names each of these.

use crate::world::{World, ask};
use crate::{OK, POST};
use harness::origin::{Origin, Step};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn before(origin: &Origin, more: &str) -> World {
    origin.play(vec![Step::Answer(OK.into())]);
    World::new().start(&format!("upstream: http://{}\n{more}", origin.addr()))
}

#[test]
fn the_service_is_connected_to_when_a_request_is_whole() {
    let origin = Origin::start().unwrap();
    let world = before(&origin, "");
    let (head, rest) = POST.split_at(POST.find("\r\n\r\n").unwrap() + 3);
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    client.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(origin.records().len(), 0, "all but the last byte of the head has come");
    assert_eq!(ask(&mut client, rest.as_bytes(), "ok"), OK);
    assert_eq!(origin.records().len(), 1);
}

#[test]
fn a_connection_too_many_is_closed() {
    let origin = Origin::start().unwrap();
    let world = before(&origin, "relay: {max_connections: 1}\n");
    let mut first = TcpStream::connect(world.traffic()).unwrap();
    assert_eq!(ask(&mut first, POST.as_bytes(), "ok"), OK);
    let mut second = TcpStream::connect(world.traffic()).unwrap();
    assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)), "it is not answered");
    world.until_metric("sidelog_refused_total", "too_many_connections", 1.0);
    assert_eq!(ask(&mut first, POST.as_bytes(), "ok"), OK, "the first one goes on");
}

#[test]
fn who_goes_on_sending_is_reset_in_the_end() {
    const WITHIN: Duration = Duration::from_millis(300);
    let origin = Origin::start().unwrap();
    let world = before(&origin, "relay: {close_timeout: 300ms}\n");
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    client.write_all(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n").unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 505 "), "{}", answer.escape_ascii());
    while client.write_all(b"more and more").is_ok() {
        assert!(begun.elapsed() < WITHIN * 40, "it is listened to for ever");
        std::thread::sleep(WITHIN / 30);
    }
    assert!(begun.elapsed() > WITHIN * 9 / 10, "reset after {:?}", begun.elapsed());
}
