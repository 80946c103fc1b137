//! A server that says whatever bytes it is asked for: answers that no server of the garden can be
//! brought to give, and clients understand all the same.
//!
//! Owns the catalogue of those answers, by name. A target `/answer/NAME/…` asks for one; every other
//! request gets a plain one. Promises: an answer is sent when its request is whole, or told to go on
//! when it asks; requests of one connection are answered in order.

use harness::origin::{Request, next_request};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// What follows an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Go,
    Close,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub name: String,
    pub bytes: Vec<u8>,
    pub then: Then,
    /// The line of docs/transparency.md that this answer shows, if it does not pass as it is.
    pub row: Option<&'static str>,
}

/// Asks whether more had come behind the request before it was answered.
pub const BEHIND: &str = "behind";
/// How long that is waited for.
const SOON: Duration = Duration::from_millis(100);
/// A byte at a time.
const DRIPPED: &str = "dripped";
const APART: Duration = Duration::from_millis(1);
/// What one server of the garden sends behind some answers to HEAD, and this one does when asked to.
pub const SURPLUS: &[u8] = b"0\r\n\r\n";
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves until the test ends; the port.
pub fn start() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let answers = answers();
    let (mut received, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let mut told = false;
    stream.set_nodelay(true).ok()?;
    loop {
        while let Some((request, used)) = next_request(&received) {
            received.drain(..used);
            told = false;
            if name(&request) == BEHIND {
                let more = !received.is_empty() || more_comes(&stream);
                stream.write_all(&behind(more)).ok()?;
                continue;
            }
            if say(&mut stream, &answers, &request)? == Then::Close || closes(&request) {
                return stream.shutdown(Shutdown::Both).ok();
            }
        }
        if !told && received.ends_with(b"\r\n\r\n") && asks_to_go_on(&received) {
            told = true;
            stream.write_all(CONTINUE).ok()?;
        }
        match stream.read(&mut buffer).ok()? {
            0 => return stream.shutdown(Shutdown::Both).ok(),
            n => received.extend_from_slice(buffer.get(..n)?),
        }
    }
}

/// What has come is a head, and its client waits before it sends the body.
fn asks_to_go_on(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received).to_ascii_lowercase();
    text.contains("\r\nexpect: 100-continue\r\n")
}

fn closes(request: &Request) -> bool {
    let option = |wanted: &str| {
        request.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains(wanted))
    };
    option("close") || (request.version == "HTTP/1.0" && !option("keep-alive"))
}

/// What a request asks for.
fn name(request: &Request) -> &str {
    let rest = request.target.split_once("/answer/").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// The answer to [`BEHIND`].
pub fn behind(more: bool) -> Vec<u8> {
    let body = if more { "more " } else { "alone" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}").into_bytes()
}

fn more_comes(stream: &TcpStream) -> bool {
    let waits = |time| stream.set_read_timeout(time).is_ok();
    waits(Some(SOON)) && matches!(stream.peek(&mut [0]), Ok(n) if n > 0) | !waits(None)
}

fn say(stream: &mut TcpStream, answers: &[Answer], request: &Request) -> Option<Then> {
    let name = name(request);
    if name == "peer" {
        let peer = stream.peer_addr().ok()?.ip().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{peer}", peer.len());
        stream.write_all(answer.as_bytes()).ok()?;
        return Some(Then::Go);
    }
    let found = answers.iter().find(|answer| answer.name == name);
    let (bytes, then) = found.map_or((OK, Then::Go), |answer| (&answer.bytes, answer.then));
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let bytes = if request.method == "HEAD" { bytes.get(..head)? } else { bytes };
    match name {
        DRIPPED => bytes.chunks(1).try_for_each(|byte| {
            std::thread::sleep(APART);
            stream.write_all(byte)
        }),
        _ => stream.write_all(bytes),
    }
    .ok()?;
    Some(then)
}

pub fn answers() -> Vec<Answer> {
    let mut all = Vec::new();
    let mut add = |then, row, name: &str, bytes: Vec<u8>| {
        all.push(Answer { name: name.into(), bytes, then, row });
    };
    let fields =
        |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").into_bytes();
    let chunked =
        |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    let many = |n: usize| (0..n).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    let ok = String::from_utf8_lossy(OK);
    for (name, value) in [
        ("names", "server: x\r\nSERVER: y\r\nX-aB-Cd: 1\r\nx-ab-cd: 2\r\n!#$%&'*+-.^_`|~: 3\r\n".to_owned()),
        ("empty-values", "X-Empty:\r\nX-Blank: \r\nX-Tight:1\r\nX-Tab:\t2\t\r\nX-Wide:    3   \r\n".into()),
        ("cookies", "Set-Cookie: a=1; Path=/\r\nset-cookie: b=\"2,3\"; Secure\r\nSet-Cookie: c=\r\n".into()),
        (
            "hop-by-hop",
            "Keep-Alive: timeout=5, max=9\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\n\
          Proxy-Authenticate: Basic\r\nTrailer: X\r\nVia: 1.1 a, 1.0 b\r\n"
                .into(),
        ),
        ("underscores", "X_Count: 1\r\nContent_Type: a\r\nTransfer_Encoding: chunked\r\n".into()),
        ("dates", "Age: 3\r\nExpires: 0\r\nLast-Modified: never\r\n".into()),
        ("long-value", format!("X-Long: {}\r\n", "v".repeat(40 << 10))),
        ("many-fields", many(900)),
        ("spaces-in-names", "X Spaced : 1\r\n: no name\r\nno colon\r\n".into()),
        ("length-twice", "Content-Length: 2\r\n".into()),
        ("upgrade-told", "Upgrade: h2c\r\nAlt-Svc: h3=\":443\"\r\n".into()),
        ("sidelog-too", "Via: 1.1 sidelog\r\n".into()),
    ] {
        add(Then::Go, None, name, fields(&value));
    }
    let obs_text = [b"HTTP/1.1 200 OK\r\nX-Latin: \x80\xe9\xff\r\nX-Utf8: \xc3\xa9\r\n", &OK[17..]].concat();
    add(Then::Go, None, "obs-text", obs_text);
    for (name, line) in [
        ("no-reason", "HTTP/1.1 200 "),
        ("no-space", "HTTP/1.1 200"),
        ("odd-reason", "HTTP/1.1 200 I'm a 🫖 \t!"),
        ("version-10", "HTTP/1.0 200 OK\r\nConnection: keep-alive"),
        ("status-203", "HTTP/1.1 203 Non-Authoritative"),
        ("status-205", "HTTP/1.1 205 Reset Content"),
        ("status-206", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9"),
        ("status-299", "HTTP/1.1 299 Odd"),
        ("status-401", "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"a\", Bearer"),
        ("status-421", "HTTP/1.1 421 Misdirected"),
        ("status-426", "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c"),
        ("status-503", "HTTP/1.1 503 Busy\r\nRetry-After: 5"),
        ("status-799", "HTTP/1.1 799 Whatever"),
        ("status-999", "HTTP/1.1 999 Whatever"),
    ] {
        add(Then::Go, None, name, format!("{line}\r\nContent-Length: 2\r\n\r\nok").into_bytes());
    }
    for (name, body) in [
        ("chunk-spelling", "000A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n".to_owned()),
        ("chunk-extensions", "3;x=\"y\\\"\";z\r\nabc\r\n0;last\r\n\r\n".into()),
        ("chunk-spaces", "3 \r\nabc\r\n0\r\n\r\n".into()),
        ("trailers", "3\r\nabc\r\n0\r\nGrpc-Status: 7\r\nx-md5:  q \r\n\r\n".into()),
        ("no-chunks", "0\r\n\r\n".into()),
        ("small-chunks", format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(2000))),
        ("one-large-chunk", format!("100000\r\n{}\r\n0\r\n\r\n", "y".repeat(1 << 20))),
        (DRIPPED, "1\r\na\r\n2\r\nbc\r\n0\r\nX: 1\r\n\r\n".into()),
    ] {
        add(Then::Go, None, name, chunked(&body));
    }
    for (name, first) in [
        ("hints", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n".to_owned()),
        ("processing", "HTTP/1.1 102 Processing\r\n\r\n".repeat(3)),
        ("continue-unasked", "HTTP/1.1 100 Continue\r\n\r\n".into()),
        ("interim-fields", format!("HTTP/1.1 110 Odd\r\n{}\r\n", many(50))),
        ("interim-length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n".into()),
    ] {
        add(Then::Go, None, name, format!("{first}{ok}").into_bytes());
    }
    for (name, whole) in [
        ("no-content", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"),
        ("no-content-length", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n"),
        ("not-modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nETag: \"x\"\r\n\r\n"),
        ("not-modified-chunked", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("bare-lf", "HTTP/1.1 200 OK\nContent-Length: 2\nX: 1\n\nok"),
        ("folded", "HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\n\tc\r\nContent-Length: 2\r\n\r\nok"),
        ("length-list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
        ("two-codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ] {
        add(Then::Go, None, name, whole.into());
    }
    for (name, whole) in [
        ("until-close", "HTTP/1.1 200 OK\r\nX: 1\r\n\r\nall until the end"),
        ("until-close-10", "HTTP/1.0 200 OK\r\n\r\nall until the end"),
        ("until-close-empty", "HTTP/1.1 200 OK\r\n\r\n"),
        ("until-close-coded", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nall until the end"),
        ("close-told", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        ("close-untold", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("cut-length", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut"),
        ("cut-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncut"),
        ("cut-last-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncut\r\n0\r\n"),
        ("cut-head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("cut-after-hints", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("nothing", ""),
    ] {
        add(Then::Close, None, name, whole.into());
    }
    add(Then::Go, Some("answer-surplus"), "surplus", [OK, SURPLUS].concat());
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    add(Then::Go, Some("answer-contradiction"), "length-and-coding", both.into());
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "x".repeat(1 << 20));
    add(Then::Go, Some("answer-unreadable"), "long-head", long.into());
    for (name, whole) in [
        ("not-http", "I do not speak HTTP\r\n\r\n"),
        ("two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
        ("length-no-number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
        ("unasked-101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: odd\r\nConnection: upgrade\r\n\r\nodd"),
        ("folded-framing", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok"),
    ] {
        add(Then::Close, Some("answer-unreadable"), name, whole.into());
    }
    all
}
