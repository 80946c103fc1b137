//! Clients nobody here wrote: curl and a WebSocket library, through the sidecar and without it.

use crate::sidecar::Sidecar;
use crate::{OK, dialogue::difference, shapes::pattern};
use harness::origin::{Origin, Step, requests};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};

/// Run curl against an address and give back its output; the request names the same host wherever
/// it goes, so that its bytes are the same.
fn curl(addr: SocketAddr, path: &str, args: &[&str], stdin: &[u8]) -> Vec<u8> {
    let mut input = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut input, stdin).unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--noproxy", "*", "-H", "Host: a"])
        .args(args)
        .arg(format!("http://{addr}{path}"))
        .stdin(Stdio::from(input))
        .output()
        .expect("curl is needed here: apt-get install curl");
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn curl_sees_and_says_the_same() {
    let origin = Origin::start().unwrap();
    let sidecar = Sidecar::start(origin.addr());
    let body = pattern(3 << 20);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let path = file.path().to_str().unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("a plain request", &["-i"]),
        ("http/1.0", &["-i", "-0"]),
        ("head", &["-I"]),
        ("a form", &["-i", "-d", "a=1&b=2"]),
        ("a method of no standard", &["-i", "-X", "PURGE"]),
        ("an upload", &["-i", "-H", "Expect:", "-T", path]),
        ("an upload with http/1.0", &["-i", "-0", "-T", path]),
        ("a compressed request", &["-i", "--compressed"]),
        ("a JSON body", &["-i", "--json", "{\"a\":1}"]),
    ];
    for (name, args) in cases {
        let run = |addr| {
            let close = "HTTP/1.1 200 OK\r\nX-Case: as Is\r\nContent-Length: 2\r\n\r\n";
            let answer = if args.contains(&"-I") { close.to_string() } else { format!("{close}ok") };
            origin.play(vec![Step::Answer(answer.into())]);
            let output = curl(addr, "/v1/a%2Fb?x=1", args, b"");
            (output, origin.finished().into_iter().map(|r| r.received).collect::<Vec<_>>())
        };
        let (direct, through) = (run(origin.addr()), run(sidecar.traffic));
        assert_eq!(difference(&direct.0, &through.0), None, "{name}: curl's output");
        assert_eq!(difference(&direct.1.concat(), &through.1.concat()), None, "{name}: the request");
        assert_eq!(through.1.len(), 1, "{name}: connections");
    }
}

#[test]
fn curl_waits_for_100_and_uploads_chunks() {
    let origin = Origin::start().unwrap();
    let sidecar = Sidecar::start(origin.addr());
    let body = pattern(2 << 20);
    // curl announces an upload of unknown length and waits a second at most for the answer.
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    origin.play(vec![Step::Head, Step::Send(go_on.into()), Step::Body, Step::Send(OK.into())]);
    let output = curl(sidecar.traffic, "/files", &["-T", "-", "-H", "Expect: 100-continue"], &body);
    assert_eq!(output, b"ok");
    let records = origin.finished();
    let (all, rest) = requests(&records[0].received);
    assert_eq!((all.len(), rest), (1, false));
    assert_eq!(difference(&body, &all[0].body), None);
    assert!(all[0].field("transfer-encoding").is_some());
}

#[test]
fn curl_downloads_and_reuses_its_connection() {
    let origin = Origin::start().unwrap();
    let sidecar = Sidecar::start(origin.addr());
    let body = pattern(5 << 20);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    origin.play(vec![Step::Answer([head.as_bytes(), &body].concat())]);
    let output = curl(sidecar.traffic, "/[1-2]", &[], b"");
    assert_eq!(difference(&[body.as_slice(), &body].concat(), &output), None);
    let records = origin.finished();
    assert_eq!(records.len(), 1, "both downloads over one connection");
    let targets: Vec<String> = requests(&records[0].received).0.into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/1", "/2"]);
}

/// A server that sends back what it gets, for one connection.
fn echo_server(listener: TcpListener) -> Option<CloseFrame> {
    let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
    let mut said = None;
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => said = frame,
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message).unwrap(),
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return said,
            Err(e) => panic!("server: {e}"),
        }
    }
}

#[test]
fn a_websocket_client_talks_through_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sidecar = Sidecar::start(listener.local_addr().unwrap());
    let server = std::thread::spawn(move || echo_server(listener));
    let stream = TcpStream::connect(sidecar.traffic).unwrap();
    stream.set_read_timeout(Some(harness::origin::PATIENCE)).unwrap();
    let (mut socket, response) = tungstenite::client("ws://a/ws", stream).unwrap();
    assert_eq!(response.status(), 101);
    let binary = pattern(1 << 20);
    for message in [Message::text("grüße"), Message::binary(binary), Message::text("x".repeat(70_000))] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message, "the echo differs");
    }
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    let bye = CloseFrame { code: CloseCode::Away, reason: "done".into() };
    socket.close(Some(bye.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(bye.clone())));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
    assert_eq!(server.join().unwrap(), Some(bye));
}
