//! The shapes that must pass through unchanged: each a small dialogue with the reason it is here.

use crate::dialogue::{Move, Move::*, Shape};

fn c(bytes: impl AsRef<[u8]>) -> Move {
    C(bytes.as_ref().to_vec())
}

fn o(bytes: impl AsRef<[u8]>) -> Move {
    O(bytes.as_ref().to_vec())
}

fn shape(name: &'static str, why: &'static str, moves: impl Into<Vec<Move>>) -> Shape {
    Shape { name, why, moves: moves.into() }
}

/// A request with a plain answer.
fn asked(name: &'static str, why: &'static str, request: impl AsRef<[u8]>) -> Shape {
    shape(name, why, [c(request), o(OK)])
}

/// A plain request with this answer.
fn answered(name: &'static str, why: &'static str, response: impl AsRef<[u8]>) -> Shape {
    shape(name, why, [c(get("/")), o(response)])
}

/// The head of an answer to HEAD, after which the connection goes on.
fn head_of(name: &'static str, why: &'static str, response: &str) -> Shape {
    shape(name, why, [c("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), o(response), c(get("/")), o(OK)])
}

/// A plain request to `target`.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A POST with these extra header lines and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /v1/orders HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

fn sized(body: &str) -> String {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Bytes in which every value occurs and no run repeats soon.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub fn all() -> Vec<Shape> {
    [
        request_bodies(),
        heads(),
        targets(),
        responses(),
        conversations(),
        upgrades(),
        endings(),
        pieces(),
        large(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn request_bodies() -> Vec<Shape> {
    let chunks = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    vec![
        asked("sized body", "the plain case", sized("{\"a\":1}")),
        asked("zero length", "Content-Length: 0 is a body, of no bytes", sized("")),
        asked("no body", "a POST may have none", post("", "")),
        asked("get", "no body, no framing field", get("/")),
        asked(
            "get with a sized body",
            "unusual, allowed, must not be cut off",
            "GET /search HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nquery",
        ),
        asked(
            "get with a chunked body",
            "framing does not depend on the method",
            format!("GET /search HTTP/1.1\r\nHost: a\r\n{CHUNKED}\r\n{chunks}"),
        ),
        asked(
            "delete with a body",
            "some services read it",
            "DELETE /v1/orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        ),
        asked("chunked", "chunk boundaries are kept", post(CHUNKED, chunks)),
        asked(
            "chunk extensions",
            "names, tokens and quoted strings, kept",
            post(CHUNKED, "5;a;b=c;d=\"e;\\\"f\"\r\nhello\r\n0;last\r\n\r\n"),
        ),
        asked(
            "chunk sizes in other spellings",
            "upper and lower case, leading zeros",
            post(CHUNKED, &format!("000A\r\n{}\r\n1a\r\n{}\r\n000\r\n\r\n", "x".repeat(10), "y".repeat(26))),
        ),
        asked(
            "request trailers",
            "fields after the last chunk, announced",
            post(
                &format!("Trailer: X-Check\r\n{CHUNKED}"),
                "3\r\nabc\r\n0\r\nX-Check: 1\r\nx-other:  v \r\n\r\n",
            ),
        ),
        asked(
            "chunked in capitals",
            "coding names have no case",
            post("transfer-encoding: Chunked\r\n", "1\r\nx\r\n0\r\n\r\n"),
        ),
        asked("chunked and empty", "only the last chunk", post(CHUNKED, "0\r\n\r\n")),
        asked(
            "a body that looks like a request",
            "content is not parsed",
            sized("DELETE /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        asked(
            "a binary body",
            "every byte value",
            // Bytes as chars below 0x80 only, so that the length in bytes is the length in chars.
            sized(&(0..128u8).map(char::from).collect::<String>()),
        ),
    ]
}

fn heads() -> Vec<Shape> {
    let long = |name, why, value: usize| {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "v".repeat(value));
        shape(name, why, [c(request), o(OK)])
    };
    vec![
        asked("case, order and duplicates", "names as written, same names apart",
            b"GET / HTTP/1.1\r\nx-b: 1\r\nHOST: a\r\nX-A: 2\r\nX-B: 3\r\nx-a: 4\r\nX-B: 3\r\n\r\n",
),
        asked("empty values and no space", "nothing is put behind the colon",
            b"GET / HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Blank: \r\nX-Tight:1\r\n\r\n",
),
        asked("spaces around values", "outer white space is kept",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Wide: \t 1 2\t3 \t \r\n\r\n",
),
        asked("obs-text in a value", "bytes 0x80 to 0xff are allowed and kept",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-User: \x80\xe9\xff \xc3\xa9\r\n\r\n",
),
        asked("odd tokens as names", "every tchar",
            b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~0: 1\r\nX_User: u\r\n\r\n",
),
        asked("a proxy's fields", "hop-by-hop fields belong to the service here",
            b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: timeout=5\r\nTE: trailers, deflate;q=0.5\r\n\
              Proxy-Authorization: Basic dTpw\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, te\r\n\
              Via: 1.1 x\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
),
        asked("host with a port", "as sent", b"GET / HTTP/1.1\r\nHost: example.test:8443\r\n\r\n"),
        asked("ipv6 host", "brackets and colons", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"),
        asked("purge", "a method of no standard", b"PURGE /cached HTTP/1.1\r\nHost: a\r\n\r\n"),
        asked("lower-case post", "methods have case, it is the service's matter",
            b"post /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
),
        asked("m-search", "a method with a hyphen", b"M-SEARCH /ssdp HTTP/1.1\r\nHost: a\r\n\r\n"),
        asked("a long method", "any token", b"X!#$%&'*+.^_`|~0-LONG /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        asked("options of the server", "asterisk-form", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        long("a header line of 9 KiB", "longer than a first buffer", 9 << 10),
        long("a head of 60 KiB", "within the default bound", (60 << 10) - 64),
        shape(
            "two hundred request fields",
            "as many as a browser and three proxies would send",
            [c(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(200))), o(OK)],
        ),
    ]
}

/// This many header lines.
fn lines(count: usize) -> String {
    (0..count).map(|i| format!("X-{i}: {i}\r\n")).collect()
}

fn targets() -> Vec<Shape> {
    let one = |name, why, target: &str| shape(name, why, [c(get(target)), o(OK)]);
    vec![
        one("double slashes", "not joined", "//v1//orders//"),
        one("dot segments", "not resolved", "/a/./b/../../c/%2e%2e/d"),
        one("encoded slash", "not decoded", "/files/a%2Fb%2fc"),
        one("broken percent encoding", "not mended", "/%zz/%/%f"),
        one("raw braces and pipes", "browsers send them", "/a?f={x}|[y]^`\\"),
        one("question marks", "only the first one counts, all stay", "/a?b?c=?&&=&"),
        one("empty query", "the mark stays", "/?"),
        one("matrix parameters", "semicolons stay", "/a;x=1/b;y"),
        one("a target of 20 KiB", "long queries are common", &format!("/q?{}", "k=v&".repeat(5 << 10))),
        one("absolute-form of the same authority", "allowed in every request", "http://a/v1/orders?x=1"),
    ]
}

fn responses() -> Vec<Shape> {
    vec![
        answered("chunked response", "boundaries, extensions and sizes as the service chose",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n",
),
        answered("response trailers", "passed on, announced or not",
            b"HTTP/1.1 200 OK\r\nTrailer: Grpc-Status\r\nTransfer-Encoding: chunked\r\n\r\n\
              3\r\nabc\r\n0\r\nGrpc-Status: 7\r\nx-md5:  q \r\n\r\n",
),
        answered("empty response", "Content-Length: 0", EMPTY),
        answered("204", "no body and no length", b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"),
        answered("304 with a length", "the length of what is not sent",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nETag: \"x\"\r\n\r\n",
),
        answered("no reason phrase", "only the space", b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx"),
        answered("an odd reason phrase", "obs-text is allowed",
            b"HTTP/1.1 418 I'm a \xf0\x9f\xab\x96\t!\r\nContent-Length: 1\r\n\r\nx",
),
        answered("an unknown status", "three digits, any meaning",
            b"HTTP/1.1 799 Whatever\r\nContent-Length: 1\r\n\r\nx",
),
        answered("the service's own date and server", "nothing added, nothing replaced",
            b"HTTP/1.1 200 OK\r\nserver: x\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
              set-cookie: a=1\r\nX-Odd: \xff\r\nSet-Cookie: b=2\r\nconnection: keep-alive\r\n\
              Keep-Alive: timeout=5\r\ncontent-length: 2\r\n\r\nok",
),
        answered("a thousand response fields", "no bound of ours on what the service says",
            format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", lines(1000)),
),
        answered("a response head of 60 KiB", "long cookies, long policies",
            format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "v".repeat(60 << 10)),
),
        answered("early hints", "103, then 200",
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n{OK}"),
),
        answered("several interim responses", "as many as the service sends",
            format!("{0}{0}HTTP/1.1 103 Early Hints\r\n\r\n{OK}", "HTTP/1.1 102 Processing\r\n\r\n"),
),
        head_of("head with a length", "no body follows, the next response does",
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
),
        head_of("head with a coding", "no chunk follows",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
),
        head_of("head with neither", "not delimited by the close", "HTTP/1.1 200 OK\r\n\r\n"),
    ]
}

fn conversations() -> Vec<Shape> {
    let expect = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let answer = |i: usize| o(format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<{i}>"));
    let requests =
        |n: usize| -> Vec<Vec<u8>> { (0..n).map(|i| sized(&format!("body {i}")).into_bytes()).collect() };
    let pipelined = |n| {
        let mut moves = vec![CBurst(requests(n)), answer(0)];
        (1..n).for_each(|i| moves.extend([OHeeds, answer(i)]));
        moves
    };
    vec![
        shape(
            "keep-alive",
            "one connection to the service for one from the client",
            requests(5).iter().enumerate().flat_map(|(i, r)| [c(r), answer(i)]).collect::<Vec<_>>(),
        ),
        shape("two pipelined requests", "in one write", pipelined(2)),
        shape("ten pipelined requests", "in one write", pipelined(10)),
        shape(
            "pipelined methods",
            "one without a body, one with, one safe",
            [
                CBurst(vec![get("/1").into(), post(CHUNKED, "1\r\nx\r\n0\r\n\r\n").into(), get("/3").into()]),
                o("HTTP/1.1 204 No Content\r\n\r\n"),
                OHeeds,
                o("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n"),
                OHeeds,
                o(OK),
            ],
        ),
        shape("100-continue", "the client waits for it", [c(post(expect, "")), o(go_on), c("abc"), o(OK)]),
        shape(
            "100-continue not awaited",
            "a client may send at once",
            [c(post(expect, "abc")), o(go_on), o(OK)],
        ),
        shape("100-continue never sent", "the service answers at the end", [c(post(expect, "abc")), o(OK)]),
        shape(
            "417 instead of 100",
            "the body is never sent",
            [c(post(expect, "")), o("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")],
        ),
        shape(
            "early response",
            "while the upload is still running, which goes on",
            [
                c(post("Content-Length: 9\r\n", "abc")),
                o("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nbig!"),
                c("defghi"),
                c(get("/next")),
                o(OK),
            ],
        ),
        shape(
            "early response and close",
            "the service does not want the rest",
            [
                c(post("Content-Length: 9\r\n", "abc")),
                o("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
                OFin,
            ],
        ),
        shape(
            "both directions at once",
            "every chunk passes before the next is made",
            [
                c(post(CHUNKED, "")),
                o("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                c("3\r\none\r\n"),
                o("3\r\nONE\r\n"),
                c("3\r\ntwo\r\n"),
                o("3\r\nTWO\r\n"),
                c("0\r\n\r\n"),
                o("0\r\n\r\n"),
            ],
        ),
        shape(
            "event stream",
            "an event arrives before the next is made; the client leaves",
            [
                c(get("/events")),
                o("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
                CFin,
            ],
        ),
        shape(
            "http/1.0",
            "no Host, the close is the end",
            [
                c("GET /old HTTP/1.0\r\n\r\n"),
                o("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold"),
                OFin,
            ],
        ),
        shape(
            "http/1.0 answered as 1.1",
            "what most services do",
            [
                c("GET /old HTTP/1.0\r\nHost: a\r\n\r\n"),
                o("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nold"),
                OFin,
            ],
        ),
        shape(
            "http/1.0 with keep-alive",
            "the connection goes on as both agreed",
            [
                c("POST /old HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"),
                o("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
                c("GET /old HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
                o("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
            ],
        ),
        shape(
            "1.0 response to a 1.1 request",
            "with a length, then closed",
            [c(get("/")), o("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), OFin],
        ),
    ]
}

fn upgrades() -> Vec<Shape> {
    vec![
        shape(
            "upgrade",
            "raw bytes both ways after the 101",
            [
                c(UPGRADE),
                o(SWITCHING),
                c(b"\x81\x85\x01\x02\x03\x04abcde\r\n\r\nPOST / HTTP/1.1\r\n"),
                o(b"\x81\x05\x00\xffxyz HTTP/1.1 200 OK\r\n\r\n"),
                c(b"\x88\x80\x00\x00\x00\x00"),
                o(b"\x88\x00"),
                OFin,
            ],
        ),
        shape(
            "upgrade with bytes behind the 101",
            "in the same packet as the head",
            [
                c(UPGRADE),
                o([SWITCHING.as_bytes(), b"\x81\x02hi"].concat()),
                c(b"\x81\x82\x00\x00\x00\x00hi"),
                CFin,
                o(b"\x88\x00"),
                OFin,
            ],
        ),
        shape(
            "upgrade with bytes ahead of the 101",
            "they belong to the tunnel once it is open",
            [
                CBurst(vec![UPGRADE.into(), b"\x81\x82\x00\x00\x00\x00hi".into()]),
                o(SWITCHING),
                OHeeds,
                o(b"\x81\x02ho"),
            ],
        ),
        shape("upgrade not taken", "the connection stays HTTP", [c(UPGRADE), o(OK), c(sized("x")), o(OK)]),
    ]
}

fn endings() -> Vec<Shape> {
    let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let open = "HTTP/1.1 200 OK\r\n\r\nuntil the close";
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    vec![
        shape(
            "half-closed client",
            "it waits for its answer all the same",
            [c(sized("x")), CFin, o(OK), OFin],
        ),
        shape(
            "half-closed client, late answer",
            "the FIN is seen while the service works",
            [c(sized("x")), o(interim), CFin, o(OK), OFin],
        ),
        shape(
            "connection: close",
            "the service closes",
            [
                c("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                o("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
                OFin,
            ],
        ),
        shape(
            "close-delimited",
            "no length: the close is the end",
            [c(get("/")), o(open), o(" comes"), OFin],
        ),
        shape(
            "idle connection closed by the service",
            "the client hears of it at once",
            [c(get("/")), o(OK), OFin],
        ),
        shape(
            "service closes mid-body",
            "the client sees what came and the end",
            [c(get("/")), o(begun), OFin],
        ),
        shape("service closes without an answer", "no status is invented", [c(sized("x")), OFin]),
        shape(
            "service closes mid-chunk",
            "a truncated body stays truncated",
            [c(get("/")), o("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), OFin],
        ),
        shape(
            "client stops mid-body",
            "the service sees the end and may answer",
            [
                c(post("Content-Length: 9\r\n", "abc")),
                CFin,
                o("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
                OFin,
            ],
        ),
        shape(
            "client resets an upload",
            "the service sees it",
            [c(post("Content-Length: 9\r\n", "abc")), o(interim), CReset],
        ),
        shape("client resets while it waits", "the service sees it", [c(sized("x")), o(interim), CReset]),
        shape("client resets a download", "the service sees it", [c(get("/")), o(begun), CReset]),
        shape(
            "service resets before it answers",
            "no status is invented",
            [c(post(CHUNKED, "1\r\nx\r\n")), o(interim), c("1\r\ny\r\n"), OReset],
        ),
        shape(
            "service resets a sized body",
            "the client sees a reset",
            [c(post(CHUNKED, "1\r\nx\r\n")), o(begun), c("0\r\n\r\n"), OReset],
        ),
        shape(
            "service resets a close-delimited body",
            "a FIN would make it look complete",
            [c(post(CHUNKED, "1\r\nx\r\n")), o(open), c("0\r\n\r\n"), OReset],
        ),
    ]
}

fn pieces() -> Vec<Shape> {
    let request = post(CHUNKED, "5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n");
    let response =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n";
    vec![
        shape(
            "request byte by byte",
            "no boundary of a read is one of the message",
            [CDrip(request.clone().into()), o(OK)],
        ),
        shape("response byte by byte", "the same the other way", [c(get("/")), ODrip(response.into())]),
        shape(
            "both byte by byte",
            "twice on one connection",
            [
                CDrip(request.clone().into()),
                ODrip(response.into()),
                CDrip(sized("abc").into()),
                ODrip(OK.into()),
            ],
        ),
        shape(
            "chunk heads split across packets",
            "inside the size, CR LF and the trailers",
            [
                c(post(CHUNKED, "")),
                c("1"),
                c("0\r"),
                c("\n0123456789abcdef\r"),
                c("\n5;a=\""),
                c("b\"\r\nhello"),
                c("\r\n0\r\nX"),
                c(": 1\r\n\r"),
                c("\n"),
                o("HTTP/1.1 200 OK\r\nTransfer-Enc"),
                o("oding: chunked\r\n\r"),
                o("\n5"),
                o("\r\nhel"),
                o("lo\r"),
                o("\n0\r\n\r"),
                o("\n"),
            ],
        ),
        shape(
            "request line split",
            "in the method, the target and the version",
            [
                c("PO"),
                c("ST /v1/or"),
                c("ders HTTP/1."),
                c("1\r"),
                c("\nHost: a\r\nContent-Length: 3\r\n\r\na"),
                c("bc"),
                o("HT"),
                o("TP/1.1 20"),
                o("0 OK\r\nContent-Length: 2\r\n\r\n"),
                o("ok"),
            ],
        ),
    ]
}

fn large() -> Vec<Shape> {
    let mib = pattern(1 << 20);
    let head = |framing: &str| post(framing, "").into_bytes();
    let chunks: Vec<u8> = mib
        .chunks(100_000)
        .flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    vec![
        shape(
            "a MiB each way",
            "every byte value, larger than any buffer",
            [
                c([head(&format!("Content-Length: {}\r\n", mib.len())), mib.clone()].concat()),
                o([format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", mib.len()).as_bytes(), &mib]
                    .concat()),
            ],
        ),
        shape(
            "a MiB of chunks each way",
            "chunks larger than any buffer",
            [
                c([head(CHUNKED), chunks.clone()].concat()),
                o([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &chunks].concat()),
            ],
        ),
        shape(
            "a MiB until the close",
            "no length at all",
            [c(get("/")), o([b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &mib].concat()), OFin],
        ),
        shape(
            "a MiB through a tunnel",
            "both directions after the 101",
            [c(UPGRADE), o(SWITCHING), c(&mib), o(&mib)],
        ),
    ]
}
