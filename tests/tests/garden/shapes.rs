//! The shapes of traffic that are sent to every server, direct and through the sidecar.
//!
//! Owns the catalogue. Promises: the same in every run; every shape has a number, and its first
//! request bears it (`nN.`, in its `Host` or its target), so that what reached a server can be told
//! apart. What a shape's request asks of the server stands in its target: `/answer/WHAT`.
//! Refuses offers to upgrade: they have tests of their own (tests/tests/edges/upgrades.rs).

use crate::raw;

#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// The same, a part at a time.
    Parts(Vec<Vec<u8>>),
    /// Wait until that many final answers are whole.
    Answers(usize),
    /// Wait until told to go on, or answered.
    Interim,
    Fin,
}

use Step::*;

#[derive(Debug, Clone)]
pub struct Shape {
    pub number: usize,
    pub name: String,
    pub steps: Vec<Step>,
    /// Which of its requests, and of the probe's, are HEAD.
    pub heads: Vec<bool>,
    /// Whether to ask once more when all is said.
    pub probe: bool,
    /// Only the server that says whatever it is told ([`raw`]) can answer it.
    pub raw: bool,
    /// The line of docs/transparency.md that says what differs; None: nothing does.
    pub row: Option<&'static str>,
}

impl Shape {
    pub fn token(&self) -> String {
        format!("n{}.", self.number)
    }

    pub fn probe_bytes(&self) -> Vec<u8> {
        let n = self.number;
        format!("GET /answer/echo/probe HTTP/1.1\r\nHost: n{n}.test\r\nConnection: close\r\n\r\n").into()
    }

    /// All that is said.
    pub fn bytes(&self) -> Vec<u8> {
        let said = |step: &Step| match step {
            Send(bytes) => bytes.clone(),
            Parts(parts) => parts.concat(),
            _ => Vec::new(),
        };
        self.steps.iter().flat_map(said).collect()
    }
}

/// Bytes in which every value occurs and no run repeats soon.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A body in chunks of this size.
fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
    let mut all: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
    all.extend(b"0\r\n\r\n");
    all
}

#[derive(Default)]
struct Catalogue(Vec<Shape>);

pub fn all() -> Vec<Shape> {
    let mut all = Catalogue::default();
    all.methods();
    all.targets();
    all.fields();
    all.hosts();
    all.bodies();
    all.conversations();
    all.pipelines();
    all.answers();
    all.conditions();
    all.raw_answers();
    all.differing();
    all.refused();
    all.0
}

impl Catalogue {
    /// The `Host` of the next shape.
    fn host(&self) -> String {
        format!("n{}.test", self.0.len())
    }

    fn add(&mut self, name: impl Into<String>, steps: Vec<Step>) -> &mut Shape {
        let number = self.0.len();
        let shape =
            Shape { number, name: name.into(), steps, heads: vec![], probe: true, raw: false, row: None };
        self.0.push(shape);
        self.0.last_mut().unwrap()
    }

    /// A request: its line without the version, fields (whole lines), body.
    fn request(&self, line: &str, fields: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", self.host());
        [head.as_bytes(), body].concat()
    }

    /// One request, one answer.
    fn ask(&mut self, name: impl Into<String>, line: &str, fields: &str, body: &[u8]) -> &mut Shape {
        let bytes = self.request(line, fields, body);
        let shape = self.add(name, vec![Send(bytes), Answers(1)]);
        shape.heads = vec![line.starts_with("HEAD ")];
        shape
    }

    /// One request as it stands, with `{n}` for the number.
    fn plain(&mut self, name: impl Into<String>, text: impl AsRef<[u8]>) -> &mut Shape {
        let number = format!("n{}", self.0.len());
        let mut bytes = text.as_ref().to_vec();
        while let Some(at) = memchr::memmem::find(&bytes, b"{n}") {
            bytes.splice(at..at + 3, number.bytes());
        }
        self.add(name, vec![Send(bytes), Answers(1)])
    }

    fn methods(&mut self) {
        let methods = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE QUERY PROPFIND REPORT MKCOL LOCK PURGE \
            M-SEARCH LINK post Get X!#$%&'*+.^_`|~0";
        for method in methods.split(' ') {
            self.ask(method, &format!("{method} /answer/echo"), "", b"");
        }
        for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND", "post"] {
            let line = format!("{method} /answer/echo");
            self.ask(format!("{method} with a body"), &line, "Content-Length: 5\r\n", b"query");
        }
        for method in ["POST", "DELETE", "GET"] {
            let line = format!("{method} /answer/echo");
            let body = chunks(b"in chunks", 4);
            self.ask(format!("{method} in chunks"), &line, "Transfer-Encoding: chunked\r\n", &body);
        }
        for text in [
            "GET /answer/echo HTTP/1.0\r\nHost: {n}.test\r\n\r\n",
            "GET /answer/echo/{n}. HTTP/1.0\r\n\r\n",
            "GET /answer/echo HTTP/1.0\r\nHost: {n}.test\r\nConnection: keep-alive\r\n\r\n",
            "GET /answer/echo HTTP/1.0\r\nHost: {n}.test\r\nConnection: Keep-Alive\r\nKeep-Alive: 5\r\n\r\n",
            "POST /answer/echo HTTP/1.0\r\nHost: {n}.test\r\nContent-Length: 3\r\n\r\nabc",
            "POST /answer/echo HTTP/1.0\r\nHost: {n}.test\r\nContent-Length: 0\r\n\r\n",
        ] {
            self.plain(format!("1.0: {text:.60}"), text);
        }
    }

    fn targets(&mut self) {
        for target in [
            "/",
            "//",
            "//answer/echo//",
            "/answer/echo/a/./b/../c",
            "/answer/echo/%2e%2e/d",
            "/answer/echo/..",
            "/answer/echo/a%2Fb%2fc",
            "/answer/echo/%5c",
            "/answer/echo/%00",
            "/answer/echo/%25252e",
            "/answer/echo/%zz/%/%f",
            "/answer/echo/%C3%A9",
            "/answer/echo/%ff%fe",
            "/answer/echo/a;x=1/b;y",
            "/answer/echo/a,b!c$d&e'f(g)h*i+j=k:l@m",
            "/answer/echo/~-._",
            "/answer/echo/a%20b+c",
            "/answer/echo?",
            "/answer/echo?a=1&b=2&a=3",
            "/answer/echo?a?b=c?=&&=&",
            "/answer/echo?a=%26%3d%23",
            "/answer/echo?q=%E4%BD%A0",
            "/answer/echo?a[]=1&a[]=2",
            "/answer/echo?next=http://a/b?c=d",
            "/answer/echo?x={y}|[z]^`\\",
            "/answer/echo?\"quoted\"<>",
            "/answer/echo/{id}",
            "/answer/echo/a|b",
            "/answer/echo/é",
            "/answer/echo?name=你好",
            "/answer/echo?;a=1;b=2",
            "/answer/echo/.hidden",
            "/answer/echo/a.json",
            "/answer/echo//a///b",
            "/answer/echo/CON",
            "/answer/echo/%2F%2f",
            "/ANSWER/ECHO",
            "/answer/echo/a%0d%0aX:1",
            "/answer/echo?a=%0d%0aX:%201",
        ] {
            self.ask(format!("target {target}"), &format!("GET {target}"), "", b"");
        }
        for (name, target) in [
            ("a long path", format!("/answer/echo/{}", "segment/".repeat(300))),
            ("a long segment", format!("/answer/echo/{}", "s".repeat(3000))),
            ("a long query", format!("/answer/echo?{}", "k=v&".repeat(900))),
            ("a very long query", format!("/answer/echo?{}", "k=v&".repeat(4 << 10))),
        ] {
            self.ask(name, &format!("GET {target}"), "", b"");
        }
        self.plain("absolute form", "GET http://{n}.test/answer/echo?x=1 HTTP/1.1\r\nHost: {n}.test\r\n\r\n");
        self.plain(
            "absolute, capitals",
            "GET HTTP://{n}.TEST/answer/echo HTTP/1.1\r\nHost: {n}.test\r\n\r\n",
        );
        self.plain(
            "absolute, port",
            "POST http://{n}.test:80/answer/echo HTTP/1.1\r\nHost: {n}.test:80\r\nContent-Length: 1\r\n\r\nx",
        );
        self.ask("options of the server", "OPTIONS *", "", b"");
        self.ask("options with a body", "OPTIONS *", "Content-Length: 2\r\n", b"{}");
    }

    fn fields(&mut self) {
        let many = |n: usize| (0..n).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
        for (name, fields) in [
            ("case and order", "x-b: 1\r\nX-A: 2\r\nX-B: 3\r\nx-a: 4\r\n".to_owned()),
            ("duplicates", "X-A: 1\r\nX-A: 1\r\nX-A: 2\r\n".into()),
            ("empty values", "X-Empty:\r\nX-Blank: \r\nX-End: 1\r\n".into()),
            ("no space", "X-Tight:1\r\nAccept:*/*\r\n".into()),
            ("wide space", "X-Wide:    1   \r\nX-Tab:\t2\t\r\nX-Mixed: \t 3 4\t5 \t\r\n".into()),
            ("every tchar", "!#$%&'*+-.^_`|~0: 1\r\n".into()),
            ("digits for a name", "1: 2\r\n".into()),
            ("underscores", "X_User: u\r\nuser_id: 7\r\n".into()),
            ("dots", "X.Y.Z: 1\r\n".into()),
            ("colons in a value", "X-Url: http://a:1/b:c\r\n".into()),
            ("quotes", "X-Q: \"a\\\"b\", 'c', \"\r\n".into()),
            ("commas", "X-List: ,a,,b, c ,\r\n".into()),
            ("percent", "X-P: %0d%0a %s %n ${jndi:x} {{x}}\r\n".into()),
            ("a long value", format!("X-Long: {}\r\n", "v".repeat(2000))),
            ("a value of 7 KiB", format!("X-Long: {}\r\n", "v".repeat(7 << 10))),
            ("a value of 30 KiB", format!("X-Long: {}\r\n", "v".repeat(30 << 10))),
            ("a long name", format!("X-{}: 1\r\n", "n".repeat(200))),
            ("fifty fields", many(50)),
            ("ninety fields", many(90)),
            ("three hundred fields", many(300)),
            ("cookies", "Cookie: a=1; b=\"2\"; c=; d\r\n".into()),
            ("two cookie fields", "Cookie: a=1\r\nCookie: b=2\r\n".into()),
            ("odd cookies", "Cookie: =; ;;a==;b=%20;c=\u{e9}\r\n".into()),
            ("basic", "Authorization: Basic dTpw\r\n".into()),
            ("bearer", "Authorization: Bearer e30.e30.c2ln\r\n".into()),
            ("odd authorization", "Authorization: Digest username=\"a\", nonce=\"\"\r\n".into()),
            ("two authorizations", "Authorization: Basic dTpw\r\nAuthorization: Bearer x\r\n".into()),
            (
                "proxy fields",
                "Via: 1.1 x\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\
              X-Real-IP: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n"
                    .into(),
            ),
            (
                "traces",
                "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
              tracestate: a=1\r\nX-Request-Id: r\r\n"
                    .into(),
            ),
            ("a broken trace", "traceparent: 00-zz\r\n".into()),
            ("te", "TE: trailers, deflate;q=0.5\r\n".into()),
            ("te and connection", "TE: trailers\r\nConnection: TE\r\n".into()),
            ("connection keep-alive", "Connection: keep-alive\r\n".into()),
            ("connection close", "Connection: close\r\n".into()),
            ("connection CLOSE", "connection: CLOSE\r\n".into()),
            ("connection with options", "Connection: keep-alive, X-A, , x-b\r\nX-A: 1\r\nX-B: 2\r\n".into()),
            ("connection twice", "Connection: X-A\r\nConnection: close\r\nX-A: 1\r\n".into()),
            ("keep-alive", "Keep-Alive: timeout=5, max=100\r\n".into()),
            ("proxy connection", "Proxy-Connection: keep-alive\r\n".into()),
            ("max forwards", "Max-Forwards: 0\r\n".into()),
            ("trailer without chunks", "Trailer: X-Check\r\n".into()),
            ("accepted codings", "Accept-Encoding: gzip, br;q=0.9, zstd, *;q=0\r\n".into()),
            ("identity", "Accept-Encoding: identity\r\n".into()),
            ("accept", "Accept: text/html, */*;q=0.1\r\nAccept-Language: de, en;q=0.5\r\n".into()),
            (
                "browser",
                "User-Agent: Mozilla/5.0 (X11; Linux)\r\nReferer: http://a/b#c\r\nOrigin: null\r\n\
              Sec-Fetch-Mode: cors\r\nDNT: 1\r\nPriority: u=1, i\r\n"
                    .into(),
            ),
            ("preflight", "Origin: http://a\r\nAccess-Control-Request-Method: PUT\r\n".into()),
            ("expect something else", "Expect: something-else\r\n".into()),
            ("method override", "X-HTTP-Method-Override: DELETE\r\n".into()),
            ("audit reason", "X-Audit-Reason: because\r\nX-Audit-Ticket: 1\r\n".into()),
            ("content fields without content", "Content-Type: text/plain\r\nContent-MD5: x\r\n".into()),
            ("date", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".into()),
            ("a word of its own", "X-Sidelog: 1\r\nVia: 1.1 sidelog\r\n".into()),
        ] {
            self.ask(format!("field: {name}"), "GET /answer/echo", &fields, b"");
        }
        self.plain(
            "field: host in the middle",
            "GET /answer/echo HTTP/1.1\r\nA: 1\r\nHOST: {n}.test\r\nB: 2\r\n\r\n",
        );
        self.plain("field: host last", "GET /answer/echo HTTP/1.1\r\nA: 1\r\nB: 2\r\nHost: {n}.test\r\n\r\n");
        self.plain("field: host without a space", "GET /answer/echo HTTP/1.1\r\nhost:{n}.test\r\n\r\n");
        self.plain(
            "field: latin 1",
            b"GET /answer/echo HTTP/1.1\r\nHost: {n}.test\r\nX-U: \x80\xe9\xff\r\n\r\n",
        );
        self.plain("field: utf 8", "GET /answer/echo HTTP/1.1\r\nHost: {n}.test\r\nX-U: é 你 🫖\r\n\r\n");
        self.plain(
            "field: no break space",
            b"GET /answer/echo HTTP/1.1\r\nHost: {n}.test\r\nX-U: \xa0a\xa0\r\n\r\n",
        );
        self.plain(
            "field: 8 bits in a cookie",
            b"GET /answer/echo HTTP/1.1\r\nHost: {n}.test\r\nCookie: a=\xe9\r\n\r\n",
        );
    }

    fn hosts(&mut self) {
        for host in [
            "example.test",
            "EXAMPLE.test",
            "example.test:8443",
            "example.test:80",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:8080",
            "[2001:db8::1]",
            "[::1]:8080",
            "a_b.test",
            "a-b.test",
            "example.test.",
            "xn--bcher-kva.test",
            "a",
            "1",
            "a.b.c.d.e.f.g.h",
        ] {
            self.plain(
                format!("host {host}"),
                format!("GET /answer/echo/{{n}}. HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            );
        }
        self.plain("an empty line first", "\r\nGET /answer/echo HTTP/1.1\r\nHost: {n}.test\r\n\r\n");
    }

    fn bodies(&mut self) {
        for size in [0, 1, 1 << 10, 64 << 10, 1 << 20] {
            for method in ["POST", "PUT"] {
                let line = format!("{method} /answer/echo");
                let fields = format!("Content-Length: {size}\r\n");
                self.ask(format!("{method} of {size} bytes"), &line, &fields, &pattern(size));
            }
        }
        for (size, chunk) in [
            (0, 1),
            (1, 1),
            (64, 1),
            (1 << 10, 7),
            (1 << 10, 1 << 10),
            (10_000, 999),
            (64 << 10, 64 << 10),
            (1 << 20, 8 << 10),
            (1 << 20, 1 << 20),
        ] {
            let fields = "Transfer-Encoding: chunked\r\n";
            let body = chunks(&pattern(size), chunk);
            self.ask(format!("{size} bytes in chunks of {chunk}"), "POST /answer/echo", fields, &body);
        }
        for (name, fields, body) in [
            ("upper case sizes", "", "A\r\n0123456789\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"),
            ("leading zeros", "", "0005\r\nhello\r\n000\r\n\r\n"),
            ("extensions", "", "5;a;b=c;d=\"e;f\"\r\nhello\r\n0;last\r\n\r\n"),
            ("a trailer", "Trailer: X-Check\r\n", "3\r\nabc\r\n0\r\nX-Check: 1\r\n\r\n"),
            ("trailers untold", "", "3\r\nabc\r\n0\r\nX-A: 1\r\nx-b:  2 \r\nX-A:3\r\n\r\n"),
            ("trailers wanted back", "TE: trailers\r\nConnection: TE\r\n", "3\r\nabc\r\n0\r\nX-A: 1\r\n\r\n"),
            ("and close", "Connection: close\r\n", "3\r\nabc\r\n0\r\n\r\n"),
        ] {
            let fields = format!("{fields}Transfer-Encoding: chunked\r\n");
            self.ask(format!("chunks: {name}"), "POST /answer/echo", &fields, body.as_bytes());
        }
        let fields = "transfer-encoding:   Chunked   \r\n";
        self.ask("chunks: coding in capitals", "POST /answer/echo", fields, b"1\r\nx\r\n0\r\n\r\n");
        for (name, kind, body) in [
            ("json", "application/json", "{\"password\":\"p\",\"a\":[1,2,{}]}"),
            ("broken json", "application/json", "{\"a\":"),
            ("a form", "application/x-www-form-urlencoded", "a=1&password=p%20q&&=&b"),
            (
                "multipart",
                "multipart/form-data; boundary=b",
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--\r\n",
            ),
            ("xml", "text/xml; charset=utf-8", "<a b='c'>d</a>"),
            ("a request", "message/http", "DELETE /answer/echo HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a strange type", "%;=\"", "\0\u{1}\r\n\r\n0\r\n\r\n"),
            ("a coding", "text/plain\r\nContent-Encoding: gzip", "not gzip at all"),
        ] {
            let fields = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
            self.ask(format!("content: {name}"), "POST /answer/echo", &fields, body.as_bytes());
        }
        self.expectations();
        self.pieces();
    }

    fn expectations(&mut self) {
        for (name, fields, body) in [
            ("a length", "Content-Length: 3\r\n", &b"abc"[..]),
            ("chunks", "Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
            ("64 KiB", "Content-Length: 65536\r\n", &pattern(64 << 10)),
        ] {
            let fields = format!("Expect: 100-continue\r\n{fields}");
            let head = self.request("POST /answer/echo", &fields, b"");
            self.add(
                format!("expect 100: {name}"),
                vec![Send(head), Interim, Send(body.to_vec()), Answers(1)],
            );
            let whole = [&self.request("POST /answer/echo", &fields, b"")[..], body].concat();
            if body.len() < 100 {
                self.add(format!("expect 100, not waiting: {name}"), vec![Send(whole), Answers(1)]);
            }
        }
        let fields = "expect: 100-Continue\r\nConnection: close\r\nContent-Length: 3\r\n";
        let head = self.request("POST /answer/echo", fields, b"");
        self.add("expect 100: and close", vec![Send(head), Interim, Send(b"abc".to_vec()), Answers(1)]);
    }

    /// The same bytes in other packets.
    fn pieces(&mut self) {
        let post =
            |all: &Catalogue| all.request("POST /answer/echo", "X-A: 1\r\nContent-Length: 6\r\n", b"abcdef");
        for (name, at) in [
            ("in the method", 2),
            ("in the target", 9),
            ("in a field", 30),
            ("before the body", 0),
            ("in the body", 3),
        ] {
            let whole = post(self);
            let at = if at < 9 && name.contains("body") { whole.len() - 6 + at } else { at };
            let (first, second) = whole.split_at(at);
            self.add(format!("cut {name}"), vec![Parts(vec![first.into(), second.into()]), Answers(1)]);
        }
        let whole = post(self);
        let lines = whole.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        self.add("line by line", vec![Parts(lines), Answers(1)]);
        let head = self.request("POST /answer/echo", "Transfer-Encoding: chunked\r\n", b"");
        let parts = ["3\r", "\nab", "c\r\n", "0\r\n\r", "\n"].map(|part| part.as_bytes().to_vec());
        self.add("chunks cut anywhere", vec![Send(head), Parts(parts.to_vec()), Answers(1)]);
        let whole = self.request("GET /answer/echo", "X-A: 1\r\n", b"");
        let (first, last) = whole.split_at(whole.len() - 1);
        self.add("the last byte apart", vec![Parts(vec![first.into(), last.into()]), Answers(1)]);
    }

    fn conversations(&mut self) {
        let get = |all: &Catalogue, i: usize| all.request(&format!("GET /answer/echo/{i}"), "", b"");
        let post = |all: &Catalogue, i: usize| {
            all.request(&format!("POST /answer/echo/{i}"), "Content-Length: 3\r\n", b"abc")
        };
        for n in [2, 3, 10, 40] {
            let steps = (0..n)
                .flat_map(|i| [Send(if i % 2 == 0 { get(self, i) } else { post(self, i) }), Answers(i + 1)]);
            let steps = steps.collect();
            self.add(format!("{n} requests in turn"), steps);
        }
        let bodies = [0, 1, 5000, 70_000];
        let steps = bodies.iter().enumerate().flat_map(|(i, size)| {
            let fields = format!("Content-Length: {size}\r\n");
            [Send(self.request("POST /answer/echo", &fields, &pattern(*size))), Answers(i + 1)]
        });
        let steps = steps.collect();
        self.add("growing bodies in turn", steps);
        let chunked = self.request("POST /answer/echo", "Transfer-Encoding: chunked\r\n", &chunks(b"abc", 2));
        let steps = vec![
            Send(chunked.clone()),
            Answers(1),
            Send(post(self, 1)),
            Answers(2),
            Send(chunked),
            Answers(3),
        ];
        self.add("framings in turn", steps);
        let head = self.request("HEAD /answer/echo", "", b"");
        let steps =
            vec![Send(head.clone()), Answers(1), Send(get(self, 1)), Answers(2), Send(head), Answers(3)];
        self.add("HEAD, GET, HEAD", steps).heads = vec![true, false, true];
        for (name, kinds) in [
            ("answers without a body", ["204", "304", "204"]),
            ("failures in turn", ["404", "500", "404"]),
            ("chunked answers in turn", ["pieces", "trailers", "pieces"]),
            ("all sorts", ["201", "gzip", "cookies"]),
        ] {
            let asked = |(i, kind): (usize, &&str)| {
                [Send(self.request(&format!("GET /answer/{kind}"), "", b"")), Answers(i + 1)]
            };
            let steps = kinds.iter().enumerate().flat_map(asked).collect();
            self.add(name, steps);
        }
        for n in [1, 3] {
            let turn = |i| [Send(if i == 1 { post(self, i) } else { get(self, i) }), Answers(i + 1)];
            let steps = (0..n).flat_map(turn).chain([Fin]).collect();
            self.add(format!("a FIN after {n}"), steps).probe = false;
        }
        let steps = vec![Send(post(self, 0)), Fin];
        self.add("a FIN right behind a body", steps).probe = false;
    }

    /// Several requests in one write.
    fn pipelines(&mut self) {
        let get = |all: &Catalogue, i: usize| all.request(&format!("GET /answer/echo/{i}"), "", b"");
        for n in [2, 3, 10, 40] {
            let all = (0..n).flat_map(|i| get(self, i)).collect();
            self.add(format!("{n} requests at once"), vec![Send(all), Answers(n)]);
        }
        for (name, asked) in [
            ("bodies at once", &["post", "chunks", "post"][..]),
            ("HEAD among others", &["head", "post", "head"]),
            ("a slow one first", &["slow", "post"]),
            ("the last one closes", &["post", "end"]),
        ] {
            let bytes = asked.iter().flat_map(|kind| match *kind {
                "post" => self.request("POST /answer/echo", "Content-Length: 3\r\n", b"abc"),
                "chunks" => {
                    let body = chunks(b"abc", 2);
                    self.request("PUT /answer/echo", "Transfer-Encoding: chunked\r\n", &body)
                }
                "head" => self.request("HEAD /answer/echo", "", b""),
                "slow" => self.request("GET /answer/slow", "", b""),
                _ => self.request("GET /answer/echo", "Connection: close\r\n", b""),
            });
            let bytes = bytes.collect();
            let shape = self.add(name, vec![Send(bytes), Answers(asked.len())]);
            shape.heads = asked.iter().map(|kind| *kind == "head").collect();
        }
    }

    fn answers(&mut self) {
        for kind in [
            "echo",
            "201",
            "204",
            "304",
            "404",
            "500",
            "pieces",
            "slow",
            "sized-slow",
            "gzip",
            "cookies",
            "large",
            "large-pieces",
            "fields",
            "early",
            "trailers",
            "close",
            "empty",
        ] {
            for (name, line, fields, body) in [
                ("GET", format!("GET /answer/{kind}"), "", ""),
                ("HEAD", format!("HEAD /answer/{kind}"), "", ""),
                ("POST", format!("POST /answer/{kind}"), "Content-Length: 4\r\n", "body"),
                ("closing", format!("GET /answer/{kind}"), "Connection: close\r\n", ""),
            ] {
                self.ask(format!("{name} {kind}"), &line, fields, body.as_bytes());
            }
            self.plain(
                format!("1.0 {kind}"),
                format!("GET /answer/{kind} HTTP/1.0\r\nHost: {{n}}.test\r\n\r\n"),
            );
        }
    }

    fn conditions(&mut self) {
        for fields in [
            "Range: bytes=0-9",
            "Range: bytes=-5",
            "Range: bytes=999999999-",
            "Range: lines=1-2",
            "If-None-Match: \"x\"",
            "If-None-Match: *",
            "If-Match: \"no\"",
            "If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
            "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
            "If-Range: \"x\"\r\nRange: bytes=0-1",
            "Accept-Encoding: gzip",
            "Accept-Encoding: br, gzip;q=0",
            "Cache-Control: no-cache\r\nPragma: no-cache",
        ] {
            self.ask(format!("condition: {fields}"), "GET /answer/large", &format!("{fields}\r\n"), b"");
        }
        self.ask("condition: gzip at will", "GET /answer/gzip", "Accept-Encoding: gzip\r\n", b"");
    }

    fn raw_answers(&mut self) {
        for answer in raw::answers() {
            let shape =
                self.ask(format!("raw: {}", answer.name), &format!("GET /answer/{}", answer.name), "", b"");
            (shape.raw, shape.row) = (true, answer.row);
        }
    }

    /// What differs, and how: a line of the page each.
    fn differing(&mut self) {
        self.ask("the peer's address", "GET /answer/peer", "", b"").row = Some("peer-address");
        let end = self.request("GET /answer/echo", "Connection: close\r\n", b"");
        let more = self.request("GET /answer/echo/more", "", b"");
        let steps = vec![Send([end, more].concat()), Answers(2)];
        self.add("a request behind one that closes", steps).row = Some("one-at-a-time");
        let ask = self.request(&format!("GET /answer/{}", raw::BEHIND), "", b"");
        let more = self.request("GET /answer/echo/more", "", b"");
        let shape = self.add("is more behind it", vec![Send([ask, more].concat()), Answers(2)]);
        (shape.raw, shape.row) = (true, Some("one-at-a-time"));
    }

    fn refused(&mut self) {
        let long = format!("GET /{{n}}.{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70 << 10));
        let large = format!("GET /{{n}}. HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70 << 10));
        let many = format!("GET /{{n}}. HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(1001));
        let post =
            |fields: &str, body: &str| format!("POST /{{n}}. HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
        for (reason, text) in [
            ("bad_request_line", "GET  /{n}. HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            ("bad_request_line", "GET /{n}.\r\nHost: a\r\n\r\n".into()),
            ("http_version", "GET /{n}. HTTP/1.2\r\nHost: a\r\n\r\n".into()),
            ("bad_target", "GET /{n}.#fragment HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("bad_target", "GET http://b/{n}. HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("bad_target", "GET {n}. HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("connect", "CONNECT {n}.test:443 HTTP/1.1\r\nHost: {n}.test:443\r\n\r\n".into()),
            ("bad_host", "GET /{n}. HTTP/1.1\r\n\r\n".into()),
            ("bad_host", "GET /{n}. HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into()),
            ("bad_host", "GET /{n}. HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
            ("bare_lf", "GET /{n}. HTTP/1.1\nHost: a\n\n".into()),
            ("bad_field", post("no colon\r\n", "")),
            ("bad_field_name", post("X : 1\r\n", "")),
            ("bad_field_value", post("X: a\0b\r\n", "")),
            ("obs_fold", post("X: a\r\n b\r\n", "")),
            ("underscore_field", post("Content_Length: 3\r\n", "")),
            ("content_length", post("Content-Length: 3, 3\r\n", "abc")),
            ("content_length", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")),
            ("content_length", post("Content-Length: 03\r\n", "abc")),
            ("content_length", post("Content-Length: +3\r\n", "abc")),
            ("length_and_coding", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
            ("transfer_encoding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
            ("transfer_encoding", post("Transfer-Encoding: identity\r\n", "")),
            ("coding_in_http10", "POST /{n}. HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
            ("chunk", post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n")),
            ("chunk", post("Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n")),
            ("target_too_long", long),
            ("head_too_large", large),
            ("too_many_fields", many),
        ] {
            let name = format!("refused: {reason}: {}", text.get(..40).unwrap_or(&text).escape_debug());
            self.plain(name, text).row = Some("refused");
        }
        let shape = self.plain("refused: head_incomplete", "GET /{n}. HTTP/1.1\r\nHost: a\r\n");
        (shape.steps[1], shape.row) = (Fin, Some("refused"));
    }
}

#[test]
fn shapes_are_many_and_told_apart() {
    let all = all();
    let everywhere = all.iter().filter(|shape| !shape.raw && shape.row.is_none()).count();
    assert!(everywhere >= 300, "{everywhere} shapes for every server");
    let mut said = std::collections::HashSet::new();
    for (n, shape) in all.iter().enumerate() {
        assert_eq!(shape.number, n);
        let bytes = shape.bytes();
        let token = memchr::memmem::find(&bytes, shape.token().as_bytes());
        assert!(token.is_some(), "{}: it does not bear its number", shape.name);
        assert!(said.insert((bytes, shape.steps.len())), "{} comes twice", shape.name);
    }
}
