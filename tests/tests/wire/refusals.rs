//! Requests that two readers could read in two ways, or that Sidelog does not relay: refused, and
//! nothing of them reaches the service.

use harness::origin::{End, Record, requests};

/// Where the fault shows, and so what may have been forwarded before it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// In the head: the service receives no byte.
    Head,
    /// In the body: the service may receive a beginning, never a complete message.
    Body,
}

pub struct Refusal {
    pub name: String,
    pub raw: Vec<u8>,
    /// The answers that fit.
    pub statuses: &'static [u16],
    pub shows: Shows,
}

const BAD: &[u16] = &[400];
const CODING: &[u16] = &[400, 501];
const METHOD: &[u16] = &[400, 405, 501];
const VERSION: &[u16] = &[400, 505];
const LONG_TARGET: &[u16] = &[414, 431];
const LONG_HEAD: &[u16] = &[431];

pub fn all() -> Vec<Refusal> {
    [lengths(), codings(), lines(), hosts_and_targets(), methods_and_versions(), bounds(), bodies()]
        .into_iter()
        .flatten()
        .collect()
}

fn refusal(name: impl Into<String>, statuses: &'static [u16], raw: impl AsRef<[u8]>) -> Refusal {
    Refusal { name: name.into(), raw: raw.as_ref().to_vec(), statuses, shows: Shows::Head }
}

/// A POST whose head has these extra lines (each with its line end), followed by this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /v1/orders HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const SIZED: &str = "Content-Length: 3\r\n";
const SMUGGLED: &str = "DELETE /v1/smug HTTP/1.1\r\nHost: a\r\n\r\n";

fn lengths() -> Vec<Refusal> {
    let mut all = vec![
        refusal(
            "CL.TE",
            BAD,
            post(&format!("Content-Length: 42\r\n{CHUNKED}"), &format!("0\r\n\r\n{SMUGGLED}")),
        ),
        refusal("TE.CL", BAD, post(&format!("{CHUNKED}Content-Length: 4\r\n"), "25\r\nx\r\n0\r\n\r\n")),
        refusal("the same length twice", BAD, post(&format!("{SIZED}{SIZED}"), "abc")),
        refusal("two lengths", BAD, post(&format!("Content-Length: 0\r\n{SIZED}"), "abc")),
        refusal(
            "a length and its underscore spelling",
            BAD,
            post("Content_Length: 0\r\nContent-Length: 3\r\n", "abc"),
        ),
        refusal("underscore length alone", BAD, post("content_length: 3\r\n", "abc")),
    ];
    for value in [
        "3, 3",
        "3,4",
        "3,",
        ",3",
        "+3",
        "-1",
        "0x3",
        "0_3",
        "3 3",
        "3;",
        "3.0",
        "",
        " ",
        "three",
        "\"3\"",
        "18446744073709551616",
        "18446744073709551619",
        "99999999999999999999999",
        "\u{b}3",
    ] {
        let request = post(&format!("Content-Length: {value}\r\n"), "abc");
        all.push(refusal(format!("content-length {value:?}"), BAD, request));
    }
    all
}

fn codings() -> Vec<Refusal> {
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    let mut all = vec![
        refusal(
            "two codings in two fields",
            CODING,
            post(&format!("{CHUNKED}Transfer-Encoding: x\r\n"), chunks),
        ),
        refusal("chunked in two fields", CODING, post(&format!("{CHUNKED}{CHUNKED}"), chunks)),
        refusal("underscore coding", BAD, post(&format!("Transfer_Encoding: chunked\r\n{SIZED}"), "abc")),
        refusal("underscore coding alone", BAD, post("transfer_encoding: chunked\r\n", chunks)),
        refusal("a coding on 1.0", BAD, format!("POST / HTTP/1.0\r\nHost: a\r\n{CHUNKED}\r\n{chunks}")),
        refusal("a coding behind a space", BAD, post("Transfer-Encoding : chunked\r\n", chunks)),
        refusal("a folded coding", BAD, post("Transfer-Encoding:\r\n chunked\r\n", chunks)),
    ];
    for value in [
        "gzip, chunked",
        "x, chunked",
        "chunked, x",
        "chunked, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ", chunked",
        "gzip",
        "",
        "\u{b}chunked",
        "chunk",
        "chunked x",
    ] {
        let request = post(&format!("Transfer-Encoding: {value}\r\n"), chunks);
        all.push(refusal(format!("transfer-encoding {value:?}"), CODING, request));
    }
    all
}

fn lines() -> Vec<Refusal> {
    let mut all = vec![
        refusal("bare LF everywhere", BAD, "POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc"),
        refusal("bare LF after the request line", BAD, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        refusal("bare LF between fields", BAD, post("X: 1\nY: 2\r\n", "")),
        refusal("bare LF at the end of the head", BAD, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        refusal("bare CR in a value", BAD, post("X: a\rContent-Length: 9\r\n", "")),
        refusal("bare CR at the end of a line", BAD, post("X: a\r\r\n", "")),
        refusal("NUL in a value", BAD, post("X: a\0b\r\n", "")),
        refusal("NUL in a name", BAD, post("X\0: a\r\n", "")),
        refusal("a control byte in a value", BAD, post("X: a\x01b\r\n", "")),
        refusal("DEL in a value", BAD, post("X: a\x7fb\r\n", "")),
        refusal("obs-fold", BAD, post("X: a\r\n b\r\n", "")),
        refusal("obs-fold by a tab", BAD, post("X: a\r\n\tb\r\n", "")),
        refusal("a fold before the first field", BAD, "GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n"),
        refusal("a space before the colon", BAD, post("X : a\r\n", "")),
        refusal("a tab before the colon", BAD, post("X\t: a\r\n", "")),
        refusal("a space in a name", BAD, post("X Y: a\r\n", "")),
        refusal("no name", BAD, post(": a\r\n", "")),
        refusal("no colon", BAD, post("XY\r\n", "")),
        refusal("8-bit name", BAD, b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: a\r\n\r\n"),
    ];
    for byte in *b"\"(),/;<=>?@[\\]{}" {
        let name = char::from(byte);
        all.push(refusal(format!("{name} in a name"), BAD, post(&format!("X{name}: a\r\n"), "")));
    }
    all
}

fn hosts_and_targets() -> Vec<Refusal> {
    let target = |t: &str| format!("POST {t} HTTP/1.1\r\nHost: a\r\n{SIZED}\r\nabc");
    let mut all = vec![
        refusal("no host", BAD, "GET / HTTP/1.1\r\nX: a\r\n\r\n"),
        refusal("two hosts", BAD, post("Host: b\r\n", "")),
        refusal("the same host twice", BAD, post("Host: a\r\n", "")),
        refusal("two hosts on 1.0", BAD, "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
        refusal("a space in the target", BAD, target("/v1/or ders")),
        refusal("two spaces before the target", BAD, target(" /v1/orders")),
        refusal("a tab before the target", BAD, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        refusal("NUL in the target", BAD, target("/v1/ord\0ers")),
        refusal("a control byte in the target", BAD, target("/v1/\x07")),
    ];
    for host in ["", "a/health", "a b", "u@a", "a:b", "a?x", "a#x", "[::1", "a\\b"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        all.push(refusal(format!("host {host:?}"), BAD, request));
    }
    for form in [
        "v1/orders",
        "*",
        "a:80",
        "?x=1",
        "http://evil.test/v1/orders",
        "http://health@a/v1/orders",
        "http://a:81/v1/orders",
        "ftp://a/",
        "http:/a/",
        "http:///v1/orders",
    ] {
        all.push(refusal(format!("target {form}"), BAD, target(form)));
    }
    all
}

fn methods_and_versions() -> Vec<Refusal> {
    let mut all = vec![
        refusal(
            "connect",
            METHOD,
            format!("CONNECT 127.0.0.1:9 HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n{SMUGGLED}"),
        ),
        refusal("connect with a path", METHOD, "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        refusal("no version", VERSION, "POST /v1/orders\r\n\r\n"),
        refusal("an unreadable line", BAD, "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03\r\n\r\n"),
    ];
    for method in ["G=\"(e),[T];\"", "GE T", "G@T", "", "G\u{e9}T", "POST/"] {
        let request = format!("{method} /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n");
        all.push(refusal(format!("method {method:?}"), METHOD, request));
    }
    for version in [
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/9.9",
        "HTTP/0.9",
        "HTTP/1",
        "HTTP/1.1x",
        "http/1.1",
        "HTTP/1.1 ",
        "HTTP/01.1",
        "ICY/1.1",
    ] {
        let request = format!("POST /v1/orders {version}\r\nHost: a\r\n{SIZED}\r\nabc");
        all.push(refusal(format!("version {version:?}"), VERSION, request));
    }
    all
}

fn bounds() -> Vec<Refusal> {
    let many: String = (0..20_000).map(|i| format!("X{i}: a\r\n")).collect();
    vec![
        refusal(
            "a header line of 300 KiB",
            LONG_HEAD,
            post(&format!("X: {}\r\n", "a".repeat(300 << 10)), ""),
        ),
        refusal("twenty thousand fields", LONG_HEAD, post(&many, "")),
        refusal(
            "a target of 300 KiB",
            LONG_TARGET,
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(300 << 10)),
        ),
    ]
}

fn bodies() -> Vec<Refusal> {
    let mut all = Vec::new();
    let mut add = |name: &str, body: &str| {
        let raw = post(CHUNKED, body).into_bytes();
        all.push(Refusal { name: name.into(), raw, statuses: BAD, shows: Shows::Body });
    };
    for size in
        ["0x3", "+3", "-3", "3 ", " 3", "", "g", "3,", "10000000000000003", "ffffffffffffffffff", "3\t"]
    {
        add(&format!("chunk size {size:?}"), &format!("{size}\r\nabc\r\n0\r\n\r\n"));
    }
    add("bare LF after a chunk size", "3\nabc\r\n0\r\n\r\n");
    add("bare LF after a chunk", "3\r\nabc\n0\r\n\r\n");
    add("bare LF in a chunk extension", "3;\nxx\r\nabc\r\n0\r\n\r\n");
    add("bare CR in a chunk extension", "3;a\rb\r\nabc\r\n0\r\n\r\n");
    add("NUL in a chunk extension", "3;a=\0\r\nabc\r\n0\r\n\r\n");
    add("an open quote in a chunk extension", "3;a=\"b\r\nabc\r\n0\r\n\r\n");
    add("a chunk longer than its size", "3\r\nabcXX\r\n0\r\n\r\n");
    add("a chunk without its line end", "3\r\nabc0\r\n\r\n");
    add("a trailer that is a length", "3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n");
    add("a trailer that is a coding", "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n");
    add("a trailer that is a host", "3\r\nabc\r\n0\r\nHost: b\r\n\r\n");
    add("a trailer without a colon", "3\r\nabc\r\n0\r\nXY\r\n\r\n");
    add("a folded trailer", "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n");
    add("a space before a trailer's colon", "3\r\nabc\r\n0\r\nX : a\r\n\r\n");
    add("bare LF in the trailers", "3\r\nabc\r\n0\r\nX: a\n\r\n");
    add("NUL in a trailer", "3\r\nabc\r\n0\r\nX: \0\r\n\r\n");
    add("bare LF at the end", "3\r\nabc\r\n0\r\n\n");
    all
}

/// What is wrong with how a request was refused: what the client saw, what the origin received.
pub fn faults(refusal: &Refusal, client: &Record, origin: &[Record]) -> Vec<String> {
    let mut faults = Vec::new();
    match answer(&client.received) {
        Some((status, closes, true)) => {
            if !refusal.statuses.contains(&status) {
                faults.push(format!("answered {status}, not one of {:?}", refusal.statuses));
            }
            if !closes {
                faults.push("the answer does not say connection: close".into());
            }
        }
        _ => faults.push(format!("no single, complete answer: {:?}", text(&client.received))),
    }
    if client.end != End::Eof {
        faults.push(format!("the connection was not closed in order: {:?}", client.end));
    }
    for record in origin {
        match refusal.shows {
            Shows::Head if !record.received.is_empty() => {
                faults.push(format!("the origin received {:?}", text(&record.received)));
            }
            Shows::Body if !requests(&record.received).0.is_empty() => {
                faults.push(format!("the origin received a complete {:?}", text(&record.received)));
            }
            _ => {}
        }
        if let Some(trouble) = &record.trouble {
            faults.push(format!("the origin: {trouble}"));
        }
    }
    faults
}

/// Status of a response, whether it announces the close, and whether it is complete with nothing
/// behind it.
pub fn answer(bytes: &[u8]) -> Option<(u16, bool, bool)> {
    let text: String = bytes.iter().map(|b| char::from(*b)).collect();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let fields: Vec<(String, &str)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_lowercase(), v.trim())).collect();
    let value = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    let closes = value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    let length = value("content-length").and_then(|v| v.parse::<usize>().ok());
    Some((status, closes, length == Some(body.chars().count())))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).unwrap_or_default()).into_owned()
}
