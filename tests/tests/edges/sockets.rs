//! Unix sockets on either side, and PROXY headers.

use crate::world::{World, ask, curl, serve};
use crate::{OK, POST};
use harness::origin::{Origin, Step};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

#[test]
fn curl_and_the_service_meet_over_two_unix_sockets() {
    let world = World::new();
    let service = UnixListener::bind(world.path("app.sock")).unwrap();
    let service = std::thread::spawn(move || serve(service.accept().unwrap().0, OK).unwrap());
    // Left by a process that is gone.
    drop(UnixListener::bind(world.path("in.sock")).unwrap());
    let (app, own) = (world.path("app.sock"), world.path("in.sock"));
    let world = world.start(&format!(
        "upstream: unix:{}\nlisten: unix:{}\nlisten_mode: 0600\n",
        app.display(),
        own.display()
    ));
    assert_eq!(world.listens(), format!("unix:{}", own.display()));
    assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
    let args = ["--unix-socket", "in.sock", "-A", "x", "--json", "{}", "http://a/v1/orders"];
    assert_eq!(curl(world.dir.path(), &args), "ok");
    let seen = String::from_utf8(service.join().unwrap()).unwrap();
    assert!(seen.starts_with("POST /v1/orders HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n"), "{seen}");
    let event = world.event();
    let client = &event.client;
    assert_eq!((&*client.ip, &*client.peer_ip, &*client.ip_source), ("unix", "unix", "unix"));
}

#[test]
fn a_service_whose_socket_is_gone_is_a_502() {
    let world = World::new();
    let app = world.path("app.sock");
    let world = world.start(&format!("upstream: unix:{}\n", app.display()));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    assert!(ask(&mut client, POST.as_bytes(), "\r\n\r\n").starts_with("HTTP/1.1 502 "));
    assert_eq!(world.event().error.as_deref(), Some("upstream_connect"));
}

fn proxied(from: &str, origin: &Origin) -> World {
    origin.play(vec![Step::Answer(OK.into())]);
    let client_ip = "client_ip: {header: X-Forwarded-For, trusted_proxies: [198.51.100.0/24]}\n";
    let upstream = format!("upstream: http://{}\n", origin.addr());
    World::new().start(&format!("{upstream}proxy_protocol: {{from: [{from}]}}\n{client_ip}"))
}

/// Version 2, for `192.0.2.7:56324`, with a TLV.
fn binary() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb, 4, 0, 1, 9];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..], &addresses].concat()
}

#[test]
fn a_proxy_header_names_the_client() {
    let line = |address: &str| format!("PROXY TCP4 {address} 10.0.0.1 56324 443\r\n").into_bytes();
    let forwarded = POST.replace("Host: a", "Host: a\r\nX-Forwarded-For: 203.0.113.9");
    for (header, request, ip, peer, source) in [
        (line("192.0.2.7"), POST, "192.0.2.7", "192.0.2.7", "proxy_protocol"),
        (binary(), POST, "192.0.2.7", "192.0.2.7", "proxy_protocol"),
        (b"PROXY UNKNOWN\r\n".to_vec(), POST, "127.0.0.1", "127.0.0.1", "peer"),
        // The header's client is the peer whose word on others counts, or does not.
        (line("198.51.100.1"), &forwarded, "203.0.113.9", "198.51.100.1", "x-forwarded-for"),
        (line("192.0.2.7"), &forwarded, "192.0.2.7", "192.0.2.7", "proxy_protocol"),
    ] {
        let origin = Origin::start().unwrap();
        let world = proxied("127.0.0.0/8", &origin);
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        assert_eq!(ask(&mut client, &[&header, request.as_bytes()].concat(), "ok"), OK);
        drop(client);
        assert_eq!(origin.finished()[0].received, request.as_bytes(), "the header is not passed on");
        let client = world.event().client;
        assert_eq!((&*client.ip, &*client.peer_ip, &*client.ip_source), (ip, peer, source));
    }
}

#[test]
fn a_proxy_header_that_is_missing_or_odd_closes_the_connection() {
    let origin = Origin::start().unwrap();
    let world = proxied("127.0.0.0/8", &origin);
    let odd = [&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n"[..], POST.as_bytes()].concat();
    for bytes in [POST.as_bytes(), &odd] {
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        client.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // Closed, by a reset where bytes were left unread.
        let _ = client.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    world.until_metric("sidelog_refused_total", "proxy_protocol", 2.0);
    assert_eq!(origin.finished().len(), 0);
    let events = world.events();
    assert!(events.len() == 2 && events.iter().all(|e| e.flags == ["proxy_protocol"]), "{events:#?}");
}

#[test]
fn a_proxy_header_from_anyone_else_is_refused() {
    let origin = Origin::start().unwrap();
    let world = proxied("10.0.0.0/8", &origin);
    for header in [b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(), binary()] {
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        let request = [&header, POST.as_bytes()].concat();
        assert!(ask(&mut client, &request, "\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }
    assert_eq!(origin.finished().len(), 0);
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let world = World::new();
    let pki = harness::Pki::new(world.dir.path(), "own");
    pki.issue_server("server");
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    let world = world.start(&format!(
        "upstream: http://{}\ntls: {{cert_file: server.crt, key_file: server.key}}\n\
         proxy_protocol: {{from: 127.0.0.1}}\n",
        origin.addr()
    ));
    let address = format!("https://{}/v1/orders", world.traffic());
    let args = ["--haproxy-protocol", "--cacert", "own-ca.pem", "-d", "a", &address];
    assert_eq!(curl(world.dir.path(), &args), "ok");
    let event = world.event();
    assert_eq!((&*event.client.ip, &*event.client.ip_source), ("127.0.0.1", "proxy_protocol"));
    assert_eq!(event.http.scheme, "https");
}

#[test]
fn a_socket_on_which_somebody_answers_is_not_taken_away() {
    let world = World::new();
    let listener = UnixListener::bind(world.path("in.sock")).unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!(
        "service: t\njournal: {{dir: journal}}\nadmin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n\
         listen: unix:{}\nupstream: http://{}\n",
        world.path("in.sock").display(),
        service.local_addr().unwrap()
    );
    std::fs::write(world.path("sidelog.yaml"), yaml).unwrap();
    let program = harness::binary("sidelog");
    let args = ["proxy", "--config", "sidelog.yaml"];
    let output = crate::world::run(program.to_str().unwrap(), world.dir.path(), &args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot listen on unix:"), "{said}");
    drop(UnixStream::connect(world.path("in.sock")).unwrap());
    drop(listener);
}
