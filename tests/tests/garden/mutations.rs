//! Framing mutations: a message taken apart, one to three of its parts disfigured, and put together.
//!
//! Owns the catalogue of changes and the corpus made of it. Promises: the same number makes the same
//! bytes, on every machine and in every run; each change of the catalogue occurs alone or first
//! before any occurs for a second time. Refuses to know what ought to come of any of them: that is
//! for the ledger and the journal to agree upon.

/// A change to one part. `{n}` stands for the true length, `{x}` for it in hexadecimal, `{t}` for the
/// true target, `{i}` for the message's number.
#[derive(Debug, Clone)]
pub enum Change {
    /// The field that says how long the body is.
    Framing(Vec<u8>),
    /// A line more, before all others.
    First(Vec<u8>),
    /// A line more, behind all others.
    Last(Vec<u8>),
    Host(Vec<u8>),
    Method(Vec<u8>),
    Target(Vec<u8>),
    Version(Vec<u8>),
    /// Between method and target.
    Gap(Vec<u8>),
    /// Between target and version.
    SecondGap(Vec<u8>),
    Before(Vec<u8>),
    /// Behind the request line.
    LineEnd(Vec<u8>),
    /// The empty line.
    HeadEnd(Vec<u8>),
    ChunkSize(Vec<u8>),
    ChunkLineEnd(Vec<u8>),
    ChunkEnd(Vec<u8>),
    LastChunk(Vec<u8>),
    Trailer(Vec<u8>),
    BodyEnd(Vec<u8>),
    /// Bytes beyond the body's length, or short of it.
    More(Vec<u8>),
    Less(usize),
}

pub struct Mutation {
    pub bytes: Vec<u8>,
    /// How it came about.
    pub told: String,
}

/// How the message says how long it is, before anything is changed.
#[derive(Clone, Copy, PartialEq)]
enum Coding {
    Length,
    Chunked,
    None,
}

/// A whole message, part by part.
struct Message {
    number: usize,
    before: Vec<u8>,
    method: Vec<u8>,
    gap: Vec<u8>,
    target: Vec<u8>,
    second_gap: Vec<u8>,
    version: Vec<u8>,
    line_end: Vec<u8>,
    host: Vec<u8>,
    framing: Vec<u8>,
    first: Vec<Vec<u8>>,
    last: Vec<Vec<u8>>,
    head_end: Vec<u8>,
    coding: Coding,
    content: Vec<u8>,
    chunk_size: Vec<u8>,
    chunk_line_end: Vec<u8>,
    chunk_end: Vec<u8>,
    last_chunk: Vec<u8>,
    trailers: Vec<Vec<u8>>,
    body_end: Vec<u8>,
    more: Vec<u8>,
    less: usize,
}

const CRLF: &[u8] = b"\r\n";

impl Message {
    /// `kind` of the seven; each with marks of its own in the targets.
    fn new(n: usize, kind: usize) -> Message {
        let inner = format!("POST /s/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nz");
        let ending = format!("0\r\n\r\n{inner}");
        let (method, coding, content) = match kind {
            0 => ("POST", Coding::Length, "abc"),
            1 => ("POST", Coding::Length, inner.as_str()),
            2 => ("PUT", Coding::Chunked, "abc"),
            3 => ("POST", Coding::Chunked, inner.as_str()),
            4 => ("POST", Coding::Length, ending.as_str()),
            5 => ("PATCH", Coding::Chunked, ending.as_str()),
            _ => ("GET", Coding::None, ""),
        };
        let framing: &[u8] = match coding {
            Coding::Length => b"Content-Length: {n}\r\n",
            Coding::Chunked => b"Transfer-Encoding: chunked\r\n",
            Coding::None => b"",
        };
        Message {
            number: n,
            before: Vec::new(),
            method: method.into(),
            gap: b" ".to_vec(),
            target: format!("/m/{n}").into(),
            second_gap: b" ".to_vec(),
            version: b"HTTP/1.1".to_vec(),
            line_end: CRLF.to_vec(),
            host: b"Host: a\r\n".to_vec(),
            framing: framing.to_vec(),
            first: Vec::new(),
            last: Vec::new(),
            head_end: CRLF.to_vec(),
            coding,
            content: content.into(),
            chunk_size: b"{x}".to_vec(),
            chunk_line_end: CRLF.to_vec(),
            chunk_end: CRLF.to_vec(),
            last_chunk: b"0\r\n".to_vec(),
            trailers: Vec::new(),
            body_end: CRLF.to_vec(),
            more: Vec::new(),
            less: 0,
        }
    }

    fn change(&mut self, change: &Change) {
        match change.clone() {
            Change::Framing(line) => {
                // What the field now names is what the body looks like.
                let named = String::from_utf8_lossy(&line).to_lowercase();
                if self.coding == Coding::None {
                    self.content = b"abc".to_vec();
                }
                self.coding = if named.contains("chunked") { Coding::Chunked } else { Coding::Length };
                self.framing = line;
            }
            Change::First(line) => self.first.push(line),
            Change::Last(line) => self.last.push(line),
            Change::Host(line) => self.host = line,
            Change::Method(method) => self.method = method,
            Change::Target(target) => {
                let (target, was) = (filled(&target, 0, &self.target, self.number), &mut self.target);
                *was = target;
            }
            Change::Version(version) => self.version = version,
            Change::Gap(gap) => self.gap = gap,
            Change::SecondGap(gap) => self.second_gap = gap,
            Change::Before(bytes) => self.before = bytes,
            Change::LineEnd(end) => self.line_end = end,
            Change::HeadEnd(end) => self.head_end = end,
            Change::ChunkSize(size) => self.chunk_size = size,
            Change::ChunkLineEnd(end) => self.chunk_line_end = end,
            Change::ChunkEnd(end) => self.chunk_end = end,
            Change::LastChunk(last) => self.last_chunk = last,
            Change::Trailer(line) => self.trailers.push(line),
            Change::BodyEnd(end) => self.body_end = end,
            Change::More(more) => self.more = more,
            Change::Less(less) => self.less = less,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.content.len();
        let line = |line: &Vec<u8>| filled(line, length, b"", self.number);
        let mut all = [&self.before, &self.method, &self.gap, &self.target, &self.second_gap, &self.version]
            .map(|part| part.as_slice())
            .concat();
        all.extend(&self.line_end);
        all.extend(self.first.iter().flat_map(line));
        all.extend(&self.host);
        all.extend(line(&self.framing));
        all.extend(self.last.iter().flat_map(line));
        all.extend(&self.head_end);
        match self.coding {
            Coding::None => {}
            Coding::Length => all.extend(&self.content),
            Coding::Chunked => {
                all.extend(line(&self.chunk_size));
                all.extend(&self.chunk_line_end);
                all.extend(&self.content);
                all.extend(&self.chunk_end);
                all.extend(&self.last_chunk);
                all.extend(self.trailers.iter().flat_map(line));
                all.extend(&self.body_end);
            }
        }
        all.extend(&self.more);
        all.truncate(all.len() - self.less.min(all.len()));
        all
    }
}

/// Placeholders replaced.
fn filled(text: &[u8], length: usize, target: &[u8], number: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let (put, used): (Vec<u8>, usize) = match rest {
            [b'{', b'n', b'}', ..] => (length.to_string().into(), 3),
            [b'{', b'x', b'}', ..] => (format!("{length:x}").into(), 3),
            [b'{', b'X', b'}', ..] => (format!("{length:X}").into(), 3),
            [b'{', b'i', b'}', ..] => (number.to_string().into(), 3),
            [b'{', b't', b'}', ..] => (target.to_vec(), 3),
            _ => (vec![*first], 1),
        };
        all.extend(put);
        rest = behind.get(used - 1..).unwrap_or_default();
    }
    all
}

/// The corpus: message `n` of it, always the same.
pub fn message(n: usize, catalogue: &[Change]) -> Mutation {
    /// Prime, and larger than the catalogue: neighbours in the corpus are of different families.
    const STRIDE: usize = 7919;
    let mut random = Random(n as u64);
    let mut changes = vec![catalogue[n * STRIDE % catalogue.len()].clone()];
    // The first round is of single changes; then half are combinations.
    let more = if n < catalogue.len() { 0 } else { [0, 1, 1, 2][random.below(4)] };
    changes.extend((0..more).map(|_| catalogue[random.below(catalogue.len())].clone()));
    let about_chunks = |change: &Change| {
        use Change::*;
        matches!(
            change,
            ChunkSize(_) | ChunkLineEnd(_) | ChunkEnd(_) | LastChunk(_) | Trailer(_) | BodyEnd(_)
        )
    };
    let kind = if changes.iter().any(about_chunks) { [2, 3, 5][random.below(3)] } else { random.below(7) };
    let mut message = Message::new(n, kind);
    changes.iter().for_each(|change| message.change(change));
    Mutation { bytes: message.bytes(), told: format!("{changes:?}") }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Every single change.
pub fn catalogue() -> Vec<Change> {
    let mut all = Vec::new();
    let lines = lengths().into_iter().chain(codings());
    for line in lines {
        all.extend([Change::Framing(line.clone()), Change::First(line.clone()), Change::Last(line)]);
    }
    let mut each = |make: fn(Vec<u8>) -> Change, of: &[&[u8]]| {
        all.extend(of.iter().map(|bytes| make(bytes.to_vec())));
    };
    each(Change::Last, FIELDS);
    each(Change::First, FIELDS);
    each(Change::Host, HOSTS);
    each(Change::Method, METHODS);
    each(Change::Target, TARGETS);
    each(Change::Version, VERSIONS);
    each(Change::Gap, GAPS);
    each(Change::SecondGap, GAPS);
    each(Change::Before, &[CRLF, b"\r\n\r\n", b"\r\n\r\n\r\n", b"\n", b" ", b"\r", b"\0", b"\xef\xbb\xbf"]);
    each(Change::LineEnd, ENDS);
    each(Change::HeadEnd, ENDS);
    each(Change::ChunkSize, SIZES);
    each(Change::ChunkLineEnd, ENDS);
    each(Change::ChunkEnd, ENDS);
    each(Change::LastChunk, LAST);
    each(Change::Trailer, TRAILERS);
    each(Change::Trailer, FIELDS);
    each(Change::BodyEnd, ENDS);
    each(Change::More, &[CRLF, b"\n", b"\0", b"x", b"GET ", b"\r\n\r\n"]);
    all.extend([1, 2, 3].map(Change::Less));
    all.extend(one_byte_more());
    all.push(Change::Last([b"X-Long: ", vec![b'a'; 9000].as_slice(), CRLF].concat()));
    all.push(Change::Target([b"{t}?q=", vec![b'a'; 7000].as_slice()].concat()));
    all.push(Change::ChunkSize([b"{x};a=", vec![b'a'; 3000].as_slice()].concat()));
    all
}

fn lengths() -> Vec<Vec<u8>> {
    const VALUES: &[&str] = &[
        "{n}",
        " {n}",
        "\t{n}",
        "{n} ",
        "{n}\t",
        "+{n}",
        "-{n}",
        "0{n}",
        "00000000000000000000{n}",
        "{n}, {n}",
        "{n},",
        ",{n}",
        "{n} {n}",
        "{n}, 0",
        "0, {n}",
        "0",
        "1",
        "0x{x}",
        "{x}h",
        "{n}.0",
        "{n}e0",
        "\"{n}\"",
        "{n};a",
        "1_0",
        "18446744073709551616",
        "18446744073709551619",
        "4294967299",
        "-1",
        "",
        "{n}\u{b}",
        "\u{b}{n}",
        "{n}\u{a0}",
        "\u{663}",
        "{n}\0",
        "{n}\r\n 0",
        "\r\n {n}",
        "{n}\r",
        "{n}\n",
    ];
    const NAMES: &[&str] = &[
        "content-length",
        "CONTENT-LENGTH",
        "Content-Length ",
        "Content-Length\t",
        " Content-Length",
        "Content_Length",
        "Content-Length\0",
        "Content Length",
        "Content-Length:",
        "ContentLength",
        "X\u{b}Content-Length",
        "X: y\nContent-Length",
        "X: y\rContent-Length",
        "X-Content-Length",
        "Content-Length\u{a0}",
        "Content-Length-",
        "Content-Length\u{ad}",
        "Contentlength\u{212a}",
    ];
    let values = VALUES.iter().map(|value| format!("Content-Length: {value}\r\n").into());
    values.chain(NAMES.iter().map(|name| format!("{name}: {{n}}\r\n").into())).collect()
}

fn codings() -> Vec<Vec<u8>> {
    const VALUES: &[&str] = &[
        "chunked",
        "Chunked",
        "CHUNKED",
        " chunked",
        "\tchunked",
        "chunked ",
        "chunked\t",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "gzip",
        "chunked;q=1",
        "chunked; a=b",
        "\"chunked\"",
        "'chunked'",
        "xchunked",
        "chunkedx",
        "x chunked",
        "chunked x",
        "chun\\ked",
        "",
        "trailers",
        "\u{b}chunked",
        "chunked\u{b}",
        "chunked\u{a0}",
        "\0chunked",
        "chunked\0",
        "chunked\r",
        "\rchunked",
        "chunked\n",
        "\nchunked",
        "\r\n chunked",
        "chunked\r\n ",
        "x\r\n chunked",
        "chun\u{212a}ed",
        "deflate,,chunked",
    ];
    const NAMES: &[&str] = &[
        "transfer-encoding",
        "TRANSFER-ENCODING",
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        " Transfer-Encoding",
        "\tTransfer-Encoding",
        "Transfer_Encoding",
        "TRANSFER_ENCODING",
        "Transfer-Encoding\0",
        "\0Transfer-Encoding",
        "Transfer Encoding",
        "Transfer-Encoding:",
        "TransferEncoding",
        "X-Transfer-Encoding",
        "X: y\nTransfer-Encoding",
        "X: y\rTransfer-Encoding",
        "Transfer-Encoding\u{b}",
        "Transfer\u{ad}-Encoding",
        "TE",
        "Content-Encoding",
        "Transfer-Encodin",
    ];
    let values = VALUES.iter().map(|value| format!("Transfer-Encoding: {value}\r\n").into());
    values.chain(NAMES.iter().map(|name| format!("{name}: chunked\r\n").into())).collect()
}

/// Bytes that some reader takes for something, in the places where it matters.
fn one_byte_more() -> Vec<Change> {
    const BYTES: &[u8] = b"\0\x01\t\n\x0b\x0c\r\x1c \"',;:=_-+\\/\x7f\x80\x85\xa0\xff";
    let mut all = Vec::new();
    for byte in BYTES {
        let with = |before: &str, after: &str| [before.as_bytes(), &[*byte], after.as_bytes()].concat();
        all.extend([
            Change::Method(with("POST", "")),
            Change::Method(with("", "POST")),
            Change::Target(with("{t}", "")),
            Change::Target(with("{t}/a", "b?c=d")),
            Change::Version(with("HTTP/1.1", "")),
            Change::Last(with("X", ": y\r\n")),
            Change::Last(with("", "X: y\r\n")),
            Change::Last(with("X: ", "y\r\n")),
            Change::Last(with("X: y", "z\r\n")),
            Change::ChunkSize(with("{x}", "")),
            Change::ChunkSize(with("", "{x}")),
            Change::ChunkSize(with("{x};a", "b=c")),
            Change::ChunkSize(with("{x};a=\"b", "c\"")),
            Change::ChunkEnd(with("", "\r\n")),
            Change::LastChunk(with("0", "\r\n")),
            Change::Trailer(with("X", ": y\r\n")),
            Change::Trailer(with("X: y", "z\r\n")),
        ]);
    }
    all
}

const FIELDS: &[&[u8]] = &[
    b"Expect: 100-continue\r\n", b"Expect: 100-Continue\r\n", b"Expect: 100-continue, x\r\n",
    b"Expect: 200-ok\r\n", b"Expect:\r\n", b"Expect: 100-continue\r\nExpect: x\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Upgrade: websocket\r\n", b"Upgrade: TLS/1.0\r\n", b"Connection: upgrade\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: close, keep-alive\r\n",
    b"Connection: Content-Length\r\n", b"Connection: Transfer-Encoding\r\n", b"Connection: Host\r\n",
    b"Connection: TE, close\r\nTE: trailers\r\n", b"Connection:\r\n", b"Connection: cl\0ose\r\n",
    b"Proxy-Connection: close\r\n", b"Keep-Alive: timeout=1\r\n", b"TE: trailers, chunked\r\n", b"TE: gzip\r\n",
    b"Trailer: X\r\n", b"Trailer: Content-Length\r\n", b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: chunked\r\n", b"Content-Type: application/json\r\n",
    b"Content-Type: multipart/form-data; boundary=\"\r\n", b"Content-Range: bytes 0-1/2\r\n", b"Range: bytes=0-\r\n",
    b"X-HTTP-Method-Override: DELETE\r\n", b"X-Method-Override: DELETE\r\n", b"X_HTTP_METHOD_OVERRIDE: DELETE\r\n",
    b"X-Original-URL: /s/{i}\r\n", b"X-Rewrite-URL: /s/{i}\r\n", b"X-Forwarded-Host: b\r\n", b"X_Forwarded_For: 1.2.3.4\r\n",
    b"Host: a\r\n", b"Host: b\r\n", b"host: a\r\n", b"Host : b\r\n", b"Host\t: b\r\n", b" Host: b\r\n",
    b"X: a\r\n b\r\n", b"X: a\r\n\tContent-Length: 0\r\n", b"X: a\r\n \r\n", b" folded\r\n", b"\tfolded\r\n",
    b"X\r\n", b": y\r\n", b":\r\n", b"X :y\r\n", b"X\t:y\r\n", b"X:\r\n", b"X:y\r\n", b"X:  y  \r\n", b"X: \t y\r\n",
    b"X_Y: z\r\n", b"X.Y: z\r\n", b"X!#$%&'*+.^`|~: z\r\n", b"X(Y): z\r\n", b"\"X\": z\r\n", b"X: \xc3\xa4\xff\r\n",
    b"X: a\nY: b\r\n", b"X: a\rY: b\r\n", b"X: a\n\r\n", b"X: a\r\r\n", b"X: a\n", b"X: \0\r\n", b"X: \x7f\r\n",
    b"X: a\n\nPOST /s/{i} HTTP/1.1\r\n", b"X: a\r\n\nGET /s/{i} HTTP/1.1\r\n", b"X: a\r\n\r\nPOST /s/{i} HTTP/1.1\r\nHost: a\r\n",
    b"Cookie: a=\"b;\r\n", b"Authorization: Basic x\r\n", b"Date: \r\n", b"Max-Forwards: 0\r\n", b"X: y\x0b\r\n", b"X: y\x0c\r\n",
    b"HTTP/1.1 200 OK\r\n", b"GET / HTTP/1.1\r\n", b"X: y\x85\r\n", b"X\xa0: y\r\n",
];

const HOSTS: &[&[u8]] = &[
    b"",
    b"Host:\r\n",
    b"Host: a:80\r\n",
    b"Host: a:\r\n",
    b"Host: a b\r\n",
    b"Host: a, b\r\n",
    b"Host: a/s/{i}\r\n",
    b"Host: a@b\r\n",
    b"Host: [::1]\r\n",
    b"Host: [::1\r\n",
    b"Host: A.\r\n",
    b"HOST: a\r\n",
    b"Host:a\r\n",
    b"Host: a \r\n",
    b"Host: \ta\r\n",
    b"Host: \xc3\xa4\r\n",
    b"Host: a?b\r\n",
    b"Host: a#b\r\n",
    b"Host: a\\b\r\n",
    b"Host: %61\r\n",
    b"Host: a:99999\r\n",
    b"Host: http://a\r\n",
    b"Host : a\r\n",
    b"Host: a\0\r\n",
];

const METHODS: &[&[u8]] = &[
    b"post",
    b"Post",
    b"GET",
    b"get",
    b"HEAD",
    b"head",
    b"DELETE",
    b"PUT",
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PURGE",
    b"M-SEARCH",
    b"QUERY",
    b"PRI",
    b"LINK",
    b"MKCOL",
    b"PROPFIND",
    b"REPORT",
    b"ACL",
    b"PO ST",
    b"",
    b"_POST",
    b"PO_ST",
    b"POST!",
    b"P\0ST",
    b"\xc3\x96",
    b"X",
    b"GET,POST",
    b"(GET)",
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    b"GETX",
    b"HEADX",
    b"1",
    b"$",
];

const TARGETS: &[&[u8]] = &[
    b"{t}?a=1",
    b"{t}?",
    b"{t}??a",
    b"{t}?a?b",
    b"{t}&a",
    b"{t}#f",
    b"{t}?a#f",
    b"{t};p=1",
    b"{t}/../x",
    b"{t}/./x",
    b"{t}/%2e%2e/x",
    b"{t}%2f..%2fx",
    b"{t}//x",
    b"/{t}",
    b"//a{t}",
    b"///{t}",
    b"/.{t}",
    b"/%2e{t}",
    b"\\{t}",
    b"{t}\\x",
    b"http://a{t}",
    b"HTTP://a{t}",
    b"http://A{t}",
    b"http://b{t}",
    b"http://a:80{t}",
    b"http://u@a{t}",
    b"https://a{t}",
    b"http:/a{t}",
    b"http:{t}",
    b"http://{t}",
    b"ftp://a{t}",
    b"a:80",
    b"a",
    b"*",
    b"*{t}",
    b"m/x",
    b"",
    b"?a{t}",
    b"{t}%",
    b"{t}%0",
    b"{t}%zz",
    b"{t}%00",
    b"{t}%0d%0aX:%20y",
    b"{t}%20x",
    b"{t}+x",
    b"{t}|",
    b"{t}\"",
    b"{t}<>",
    b"{t}{}",
    b"{t}^",
    b"{t}`",
    b"{t}'",
    b"{t}[1]",
    b"{t}\xc3\xa4",
    b"{t}\xff",
    b"{t}%ff",
    b"{t}%u002f",
    b"{t} x",
    b"{t}\tx",
    b"{t} HTTP/1.1",
    b"{t}?_method=DELETE",
    b"{t}?a=b&_method=DELETE&a=c",
    b"{t}@b",
    b"{t}:80",
    b"{t}?a=\xe4",
    b"{t}?http://b/",
    b"{t}//",
    b"{t}/.",
    b"{t}/..",
    b"{t}/...",
    b"{t}/..;/x",
    b"{t}?%",
    b"{t}?a=%0a",
    b"{t}~!$&'()*+,;=:@",
];

const VERSIONS: &[&[u8]] = &[
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/1.9",
    b"HTTP/2",
    b"HTTP/2.0",
    b"HTTP/3.0",
    b"HTTP/0.9",
    b"HTTP/1.10",
    b"HTTP/01.1",
    b"HTTP/1.01",
    b"http/1.1",
    b"Http/1.1",
    b"HTTP/1",
    b"HTTP/1.",
    b"HTTP/.1",
    b"HTTP/1.1x",
    b"HTTP/1.1 ",
    b"HTTP/1.1\t",
    b" HTTP/1.1",
    b"",
    b"HTTPS/1.1",
    b"HTTP /1.1",
    b"HTTP/ 1.1",
    b"HTTP/1,1",
    b"HTTP/1.1.1",
    b"HTTP/-1.1",
    b"HTTP/+1.1",
    b"HTTP\\1.1",
    b"ICY",
    b"HTTP/x.y",
    b"HTTP/1.1 HTTP/1.0",
    b"HTTP/4294967297.1",
];

const GAPS: &[&[u8]] = &[
    b"  ", b"\t", b" \t", b"\t ", b"", b"\x0b", b"\x0c", b"\xa0", b"\r", b"\n", b"\r\n", b"\0", b"\x1c",
    b" \r",
];

const ENDS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"",
    b"\r\r\n",
    b"\n\r",
    b" \r\n",
    b"\t\r\n",
    b"\r\n ",
    b"\r \n",
    b"\r\n\r\n",
    b"\n\n",
    b"\0\r\n",
    b"\x0b\r\n",
    b"x\r\n",
    b"xx",
    b"\r\n\n",
    b"\x0d\x0b\n",
    b"\r\n\t",
    b"\r\n\r",
    b"\xe0\xaa",
];

const SIZES: &[&[u8]] = &[
    b"{X}",
    b"0{x}",
    b"000000{x}",
    b"0000000000000000000000{x}",
    b"0x{x}",
    b"0X{x}",
    b"x{x}",
    b"+{x}",
    b"-{x}",
    b"{x} ",
    b" {x}",
    b"{x}\t",
    b"{x}  ",
    b"{x};a",
    b"{x};a=b",
    b"{x};a=b;c=d",
    b"{x};a=\"b\"",
    b"{x};a=\"b c\"",
    b"{x};a=\"b\\\"c\"",
    b"{x};a=\"b;c\"",
    b"{x};a=\"b\r\nc\"",
    b"{x};a=\"b",
    b"{x};a=b\"",
    b"{x} ;a",
    b"{x}\t;a",
    b"{x}; a",
    b"{x};a =b",
    b"{x};a= b",
    b"{x};",
    b"{x};;",
    b"{x};;a",
    b"{x};a;",
    b"{x};a=",
    b"{x};=b",
    b"{x};a\rb",
    b"{x};a\nb",
    b"{x};a\0b",
    b"{x};a=\xff",
    b"{x};a=\"\xff\"",
    b"{x}h",
    b"{x}_",
    b"{x}_0",
    b"{x},",
    b"{x},a",
    b"{x}=a",
    b"{x}.0",
    b"{x} a",
    b"{x}:a",
    b"",
    b";a",
    b"ffffffffffffffff",
    b"10000000000000003",
    b"100000003",
    b"80000000",
    b"-1",
    b"{x};\n0",
    b"{x}\r0",
    b"{x}\n",
    b"{n}",
    b"\n{x}",
    b"\r\n{x}",
    b"{x}\x00",
];

const LAST: &[&[u8]] = &[
    b"00\r\n",
    b"000000000000000000000\r\n",
    b"0;a\r\n",
    b"0;a=b\r\n",
    b"0;a=\"b\"\r\n",
    b"0 \r\n",
    b" 0\r\n",
    b"0\t\r\n",
    b"-0\r\n",
    b"+0\r\n",
    b"0x0\r\n",
    b"0\n",
    b"0\r",
    b"0",
    b"",
    b"\r\n",
    b"0;\r\n",
    b"0;a\nb\r\n",
    b"0;\n\r\n",
    b"0\r\r\n",
    b"0_\r\n",
    b"0,\r\n",
    b"0\0\r\n",
    b"g\r\n",
    b"0\r\n0\r\n",
    b"1\r\nz\r\n0\r\n",
    b"1\r\nz0\r\n",
    b"0000;x=y;z\r\n",
    b"0\x0b\r\n",
];

const TRAILERS: &[&[u8]] = &[
    b"X: y\r\nZ: z\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b"Authorization: z\r\n",
    b"Trailer: X\r\n",
    b"Connection: close\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Content-Type: a/b\r\n",
    b"Content-MD5: x\r\n",
    b"0\r\n",
    b"X-HTTP-Method-Override: DELETE\r\n",
    b"Grpc-Status: 0\r\n",
    b"\nPOST /s/{i} HTTP/1.1\r\nHost: a\r\n",
    b"\r\nPOST /s/{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
];
