//! Each bound of what comes before HTTP bites, and says so.

use crate::world::{World, ask};
use crate::{OK, POST};
use harness::Pki;
use harness::origin::{Origin, Step};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Sends these bytes and no more; how long it takes until the connection is closed on us.
fn closed_after(world: &World, bytes: &[u8]) -> Duration {
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    client.write_all(bytes).unwrap();
    let begun = Instant::now();
    // An RST is an end as well.
    let rest = client.read(&mut [0]);
    assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
    begun.elapsed()
}

#[test]
fn a_handshake_that_is_not_finished_ends() {
    let world = World::new();
    Pki::new(world.dir.path(), "own").issue_server("server");
    let world = world.start(
        "upstream: http://127.0.0.1:9\nrelay: {head_timeout: 300ms}\n\
         tls: {cert_file: server.crt, key_file: server.key}\n",
    );
    // The first bytes of a ClientHello.
    let took = closed_after(&world, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert!(took >= Duration::from_millis(250), "{took:?}");
    world.until_metric("sidelog_refused_total", "tls_timeout", 1.0);
    let event = world.event();
    assert_eq!((&event.flags[..], event.http.status), (&["tls_timeout".into()][..], None));
    assert_eq!((&*event.http.scheme, &*event.client.ip), ("https", "127.0.0.1"));
}

#[test]
fn a_proxy_header_has_a_size() {
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    // Nothing here waits for the time-out.
    let world = World::new().start(&format!(
        "upstream: http://{}\nrelay: {{head_timeout: 60s}}\nproxy_protocol: {{from: [127.0.0.1]}}\n",
        origin.addr()
    ));
    let binary = |length: u16| {
        let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
        [&fixed[..], &length.to_be_bytes(), &[192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb]].concat()
    };
    closed_after(&world, &[b"PROXY UNKNOWN ", &[b'x'; 93][..]].concat());
    closed_after(&world, &binary(2049));
    world.until_metric("sidelog_refused_total", "proxy_protocol", 2.0);
    // The largest ones: a line of 107 bytes; addresses and one TLV of 2033 bytes.
    let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    let tlv = [&[4, 0x07, 0xf1][..], &[0; 2033]].concat();
    for header in [line.into_bytes(), [binary(2048), tlv].concat()] {
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        assert_eq!(ask(&mut client, &[&header, POST.as_bytes()].concat(), "ok"), OK);
    }
    assert_eq!(world.metric("sidelog_refused_total", ""), 2.0);
}
