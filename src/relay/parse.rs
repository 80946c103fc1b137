//! Request and response heads: bytes in, an index over them out.
//!
//! Requests are read to the letter of RFC 9112, without any of the leniency it allows, because the
//! bytes go on unchanged: what the service's parser might read differently is refused. Responses
//! are the service's word to its own client and are read as clients read them, so long as their end
//! is certain.

use super::framing::Framer;
use super::grammar::{is_field_value, is_host, is_token, trim_ows};
use super::upgrade::{Offer, Upgrades};
use crate::head::{HeadIndex, Span};

/// Bounds of a request head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    pub max_bytes: usize,
    pub max_fields: usize,
}

/// Why a request may not pass: what the client is told and under which word it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

impl Refusal {
    /// The body of the answer (RFC 9457), where the service could have been called and was not.
    pub fn problem(&self) -> Option<String> {
        let Refusal { status, reason } = self;
        (*status == 503 && !reason.is_empty()).then(|| {
            format!(
                r#"{{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The call was not passed on to the service, because it could not be recorded.","reason":"{reason}"}}"#
            )
        })
    }
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// What the relay needs of a request head, beside the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFraming {
    pub body: Framer,
    /// The response to HEAD has no body whatever it says.
    pub head_method: bool,
    /// The client asks for a tunnel.
    pub upgrade: Option<Offer>,
}

impl RequestFraming {
    /// The client asks for a tunnel and may have one.
    pub fn may_switch(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|offer| !offer.allowed.is_empty())
    }

    /// It asks for one that it cannot have, and the service will read so.
    pub fn is_declined(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|offer| offer.allowed.is_empty() && !offer.withdrawn)
    }

    /// It asks for one that it cannot have, and the service will not read of that.
    pub fn is_withdrawn(&self) -> bool {
        self.upgrade.as_ref().is_some_and(|offer| offer.withdrawn)
    }

    /// A 101 must name a protocol the client asked for.
    pub fn may_switch_to(&self, protocol: Option<String>) -> bool {
        self.upgrade.as_ref().zip(protocol).is_some_and(|(offer, to)| offer.allowed.contains(&to))
    }
}

/// A 101 to a request that offered no such protocol, or none that is allowed.
pub const UNASKED_UPGRADE: &str = "unasked_upgrade";

/// Bytes of empty lines before a request line.
const MAX_EMPTY_LINES: usize = 8;

/// Finds the end of a head that arrives in pieces, and refuses early what can never become one.
#[derive(Debug, Default, Clone)]
pub struct HeadScanner {
    scanned: usize,
    line_start: usize,
    lines: usize,
}

impl HeadScanner {
    /// `bytes`: everything received of this head so far. The head's length once it is whole.
    pub fn scan_request(&mut self, bytes: &[u8], limits: HeadLimits) -> Result<Option<usize>, Refusal> {
        if self.scanned == 0 {
            let first = bytes.iter().find(|b| !matches!(b, b'\r' | b'\n'));
            if first.is_some_and(|b| !super::grammar::is_token_byte(*b)) {
                return Err(refuse(400, "bad_request_line"));
            }
        }
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        for at in memchr::memchr_iter(b'\n', fresh) {
            let lf = self.scanned + at;
            if lf == 0 || bytes.get(lf - 1) != Some(&b'\r') {
                return Err(refuse(400, "bare_lf"));
            }
            if lf - 1 == self.line_start {
                match (self.lines, lf) {
                    // RFC 9112 §2.2: at least one empty line before the request line is tolerated.
                    (0, ..=MAX_EMPTY_LINES) => {}
                    (0, _) => return Err(refuse(400, "bad_request_line")),
                    _ => return self.whole(lf + 1, limits),
                }
            } else {
                self.lines += 1;
            }
            self.line_start = lf + 1;
            if self.lines > limits.max_fields + 1 {
                return Err(refuse(431, "too_many_fields"));
            }
        }
        self.scanned = bytes.len();
        if bytes.len() >= limits.max_bytes {
            return Err(too_large(self.lines));
        }
        Ok(None)
    }

    fn whole(&self, len: usize, limits: HeadLimits) -> Result<Option<usize>, Refusal> {
        if len > limits.max_bytes { Err(too_large(self.lines)) } else { Ok(Some(len)) }
    }

    /// The same for a response; lines may end in a bare LF, as clients accept.
    pub fn scan_response(&mut self, bytes: &[u8]) -> Option<usize> {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        for at in memchr::memchr_iter(b'\n', fresh) {
            let lf = self.scanned + at;
            let line = bytes.get(self.line_start..lf).unwrap_or_default();
            if matches!(line, b"" | b"\r") && self.lines > 0 {
                return Some(lf + 1);
            }
            self.lines += 1;
            self.line_start = lf + 1;
        }
        self.scanned = bytes.len();
        None
    }
}

fn too_large(lines: usize) -> Refusal {
    if lines == 0 { refuse(414, "target_too_long") } else { refuse(431, "head_too_large") }
}

/// Cuts `raw` into lines without their ends, remembering where each lies.
fn lines(raw: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', raw).map(move |lf| {
        let line = raw.get(start..lf).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let at = start;
        start = lf + 1;
        (at, line)
    })
}

fn span(start: usize, len: usize) -> Span {
    start as u32..(start + len) as u32
}

/// Reads a whole request head (`raw` ends with the empty line) into `index`.
pub fn request(raw: &[u8], index: &mut HeadIndex, upgrades: &Upgrades) -> Result<RequestFraming, Refusal> {
    index.fields.clear();
    index.len = raw.len();
    index.status = 0;
    let mut rows = lines(raw).skip_while(|(_, line)| line.is_empty());
    let (at, line) = rows.next().unwrap_or((0, b""));
    request_line(at, line, index)?;
    let mut facts = Facts::default();
    for (at, line) in rows {
        if line.is_empty() {
            break;
        }
        let (name, value) = field(at, line, index)?;
        facts.note(name, value)?;
    }
    let target = raw.get(index.target.start as usize..index.target.end as usize).unwrap_or_default();
    let method = raw.get(index.method.start as usize..index.method.end as usize).unwrap_or_default();
    facts.check_target(target, index.minor, method)?;
    let offered = facts.upgrade.take();
    let mut framing = facts.framing(index.minor, method)?;
    if let Some(offered) = offered {
        let able = index.minor == 1 && framing.body.is_done();
        framing.upgrade = Some(upgrades.judge(offered, target, able)?);
    }
    Ok(framing)
}

fn request_line(at: usize, line: &[u8], index: &mut HeadIndex) -> Result<(), Refusal> {
    const BAD: Refusal = refuse(400, "bad_request_line");
    let sp1 = memchr::memchr(b' ', line).ok_or(BAD)?;
    let sp2 = memchr::memrchr(b' ', line).ok_or(BAD)?;
    if sp2 <= sp1 + 1 {
        return Err(BAD);
    }
    let (method, target, version) = (&line[..sp1], &line[sp1 + 1..sp2], &line[sp2 + 1..]);
    if !is_token(method) {
        return Err(BAD);
    }
    index.minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        b"HTTP/2.0" if method == b"PRI" => return Err(refuse(505, "http2_preface")),
        [b'H', b'T', b'T', b'P', b'/', d, b'.', m] if d.is_ascii_digit() && m.is_ascii_digit() => {
            return Err(refuse(505, "http_version"));
        }
        _ => return Err(BAD),
    };
    if !is_target(target) {
        return Err(refuse(400, "bad_target"));
    }
    index.method = span(at, method.len());
    index.target = span(at + sp1 + 1, target.len());
    Ok(())
}

/// No space, control byte, fragment or byte that is not UTF-8. Well-formed UTF-8 is outside RFC 3986 but common;
/// U+0085 and U+00A0 are white space to some services' line splitters, so they may not pass.
pub(super) fn is_target(target: &[u8]) -> bool {
    if target.contains(&b'#') {
        return false;
    }
    if target.iter().all(|b| matches!(b, b'!'..=b'~')) {
        return true;
    }
    std::str::from_utf8(target).is_ok_and(|t| !t.chars().any(|c| c.is_whitespace() || c.is_control()))
}

/// One field line into the index; its name and value.
fn field<'a>(at: usize, line: &'a [u8], index: &mut HeadIndex) -> Result<(&'a [u8], &'a [u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(refuse(400, "obs_fold"));
    }
    let colon = memchr::memchr(b':', line).ok_or(refuse(400, "bad_field"))?;
    let (name, rest) = line.split_at(colon);
    if !is_token(name) {
        return Err(refuse(400, "bad_field_name"));
    }
    let rest = rest.get(1..).unwrap_or_default();
    if !is_field_value(rest) {
        return Err(refuse(400, "bad_field_value"));
    }
    // Lawful white space, but a lenient parser takes `chunked` and a tab for a coding it does not know,
    // and all that follows for its body.
    if name.len() == 17 && rest.contains(&b'\t') && name.eq_ignore_ascii_case(b"transfer-encoding") {
        return Err(refuse(400, "transfer_encoding"));
    }
    let value = trim_ows(rest);
    let offset = value.as_ptr() as usize - line.as_ptr() as usize;
    index.fields.push((span(at, name.len()), span(at + offset, value.len())));
    Ok((name, value))
}

/// What the fields of a request say about its framing and its target.
#[derive(Default)]
struct Facts<'a> {
    length: Option<u64>,
    chunked: bool,
    host: Option<&'a [u8]>,
    upgrade: Option<Vec<String>>,
}

impl<'a> Facts<'a> {
    fn note(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let repeated = self.host.replace(value).is_some();
                return if repeated || !is_host(value) { Err(refuse(400, "bad_host")) } else { Ok(()) };
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let text = String::from_utf8_lossy(value).to_ascii_lowercase();
                let list = self.upgrade.get_or_insert_default();
                // As in `without_offer`: a no-break space is no space (RFC 9110 §5.6.3).
                list.extend(text.split(',').map(|p| p.trim_ascii().to_owned()));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let repeated = self.length.replace(request_length(value)?).is_some();
                return if repeated { Err(refuse(400, "content_length")) } else { Ok(()) };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.coding(value)?,
            _ => {}
        }
        if name.contains(&b'_') && folds_into_framing(name) {
            return Err(refuse(400, "underscore_field"));
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(refuse(400, "transfer_encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            let codings = value.split(|b| *b == b',').map(trim_ows);
            let known = codings.clone().all(|c| {
                [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress", b"chunked"]
                    .iter()
                    .any(|k| c.eq_ignore_ascii_case(k))
            });
            let last_chunked =
                codings.clone().next_back().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
            let once = codings.filter(|c| c.eq_ignore_ascii_case(b"chunked")).count() == 1;
            // Well formed, but a coding we cannot see through.
            let status = if known && last_chunked && once { 501 } else { 400 };
            return Err(refuse(status, "transfer_encoding"));
        }
        self.chunked = true;
        Ok(())
    }

    /// RFC 9112 §3.2 and §3.3.
    fn check_target(&self, target: &[u8], minor: u8, method: &[u8]) -> Result<(), Refusal> {
        const BAD: Refusal = refuse(400, "bad_target");
        if method == b"CONNECT" {
            return Err(refuse(405, "connect"));
        }
        if self.host.is_none() && minor == 1 {
            return Err(refuse(400, "bad_host"));
        }
        match target {
            [b'/', ..] => Ok(()),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ => {
                let rest = match target.split_at_checked(7) {
                    Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http://") => rest,
                    _ => return Err(BAD),
                };
                let slash = memchr::memchr(b'/', rest).ok_or(BAD)?;
                let authority = rest.get(..slash).unwrap_or_default();
                let same = self.host.is_some_and(|h| h.eq_ignore_ascii_case(authority));
                if same { Ok(()) } else { Err(BAD) }
            }
        }
    }

    fn framing(self, minor: u8, method: &[u8]) -> Result<RequestFraming, Refusal> {
        let body = match (self.length, self.chunked) {
            (Some(_), true) => return Err(refuse(400, "length_and_coding")),
            (None, true) if minor == 0 => return Err(refuse(400, "coding_in_http10")),
            (None, true) => Framer::chunked(true),
            (Some(n), false) => Framer::sized(n),
            (None, false) => Framer::Done,
        };
        Ok(RequestFraming { body, head_method: method == b"HEAD", upgrade: None })
    }
}

/// `1*DIGIT` without leading zeros, in one field with one value. At most 18 digits.
pub(super) fn request_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.len() > 1 && value.first() == Some(&b'0') {
        return Err(refuse(400, "content_length"));
    }
    digits(value).ok_or(refuse(400, "content_length"))
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// CGI-style services read `Content_Length` as `Content-Length`.
pub(super) fn folds_into_framing(name: &[u8]) -> bool {
    const FRAMING: [&str; 9] = [
        "content-length",
        "transfer-encoding",
        "connection",
        "host",
        "upgrade",
        "expect",
        "te",
        "trailer",
        "keep-alive",
    ];
    FRAMING.iter().any(|f| {
        f.len() == name.len()
            && f.bytes().zip(name).all(|(f, n)| f == if *n == b'_' { b'-' } else { n.to_ascii_lowercase() })
    })
}

/// What the relay needs of a response head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseFraming {
    pub status: u16,
    pub body: Framer,
    /// Length and coding contradict: whatever the client believes, nothing may follow.
    pub then_close: bool,
}

/// Reads a whole response head into `index`. RFC 9112 §6.3 decides where the body ends.
pub fn response(
    raw: &[u8],
    index: &mut HeadIndex,
    asked: &RequestFraming,
) -> Result<ResponseFraming, &'static str> {
    index.fields.clear();
    index.len = raw.len();
    let mut rows = lines(raw);
    let (_, line) = rows.next().ok_or("status_line")?;
    (index.status, index.minor) = status_line(line).ok_or("status_line")?;
    let (mut length, mut codings, mut last_framing) = (None, None::<bool>, false);
    for (at, line) in rows {
        if line.is_empty() {
            break;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            // A folded value is harmless unless the end of the message hangs on it.
            if last_framing {
                return Err("folded_framing");
            }
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, rest) = line.split_at(colon);
        let trimmed = name.trim_ascii_end();
        let value = trim_ows(rest.get(1..).unwrap_or_default());
        last_framing = false;
        if trimmed.eq_ignore_ascii_case(b"content-length") {
            last_framing = true;
            for part in value.split(|b| *b == b',') {
                let n = digits(trim_ows(part)).ok_or("content_length")?;
                if length.replace(n).is_some_and(|before| before != n) {
                    return Err("content_length");
                }
            }
        } else if trimmed.eq_ignore_ascii_case(b"transfer-encoding") {
            last_framing = true;
            let last = value.rsplit(|b| *b == b',').next().map(trim_ows).unwrap_or_default();
            codings = Some(last.eq_ignore_ascii_case(b"chunked"));
        }
        let offset = value.as_ptr() as usize - line.as_ptr() as usize;
        index.fields.push((span(at, name.len()), span(at + offset, value.len())));
    }
    response_framing(index, asked, length, codings)
}

fn response_framing(
    index: &HeadIndex,
    asked: &RequestFraming,
    length: Option<u64>,
    chunked: Option<bool>,
) -> Result<ResponseFraming, &'static str> {
    let status = index.status;
    let body = match (length, chunked) {
        _ if status == 101 => {
            if asked.upgrade.is_none() {
                return Err(UNASKED_UPGRADE);
            }
            Framer::Tunnel
        }
        _ if asked.head_method || status < 200 || status == 204 || status == 304 => Framer::Done,
        (_, Some(true)) => Framer::chunked(false),
        (_, Some(false)) | (None, None) => Framer::UntilClose,
        (Some(n), None) => Framer::sized(n),
    };
    Ok(ResponseFraming { status, body, then_close: length.is_some() && chunked.is_some() && status >= 200 })
}

/// `HTTP/1.x SP 3DIGIT [SP reason]`.
fn status_line(line: &[u8]) -> Option<(u16, u8)> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor @ (b'0' | b'1'), b' ', a @ b'1'..=b'9', b, c, rest @ ..] = rest else { return None };
    let sound = b.is_ascii_digit() && c.is_ascii_digit() && matches!(rest.first(), None | Some(b' '));
    if !sound {
        return None;
    }
    let n = |d: &u8| u16::from(d - b'0');
    Some((n(a) * 100 + n(b) * 10 + n(c), minor - b'0'))
}

/// The protocol a 101 switches to, lower-cased.
pub fn switched_to(raw: &[u8], index: &HeadIndex) -> Option<String> {
    crate::head::Head { raw, index }
        .first("upgrade")
        .map(|v| String::from_utf8_lossy(v).trim_ascii().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;

    const LIMITS: HeadLimits = HeadLimits { max_bytes: 64 << 10, max_fields: 1000 };

    fn read(wire: &[u8]) -> Result<(HeadIndex, RequestFraming), Refusal> {
        let mut whole = None;
        for step in [1, wire.len()] {
            let mut scanner = HeadScanner::default();
            let mut got = None;
            for end in (step..=wire.len()).step_by(step) {
                got = scanner.scan_request(&wire[..end], LIMITS)?;
                if got.is_some() {
                    break;
                }
            }
            whole = got;
        }
        let len = whole.expect("the head is whole");
        let mut index = HeadIndex::default();
        let upgrades = Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() };
        let framing = request(&wire[..len], &mut index, &upgrades)?;
        Ok((index, framing))
    }

    fn with(fields: &str) -> Result<RequestFraming, Refusal> {
        read(format!("POST /v1/orders HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).map(|(_, f)| f)
    }

    #[test]
    fn a_head_is_indexed_as_it_stands() {
        let wire = b"\r\npOsT /a?b=c HTTP/1.1\r\nHOST: a:80\r\nx-a:1\r\nX-A: \t 2 \t\r\nX-Empty:\r\nX-Bin: \xff\r\n\r\nrest";
        let (index, framing) = read(wire).unwrap();
        let head = Head { raw: wire, index: &index };
        assert_eq!((head.method(), head.target(), head.version()), ("pOsT", &b"/a?b=c"[..], "1.1"));
        assert_eq!(head.all("X-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(head.first("x-empty"), Some(&b""[..]));
        assert_eq!(head.first("x-bin"), Some(&b"\xff"[..]));
        assert_eq!(index.len, wire.len() - 4);
        assert_eq!(framing, RequestFraming { body: Framer::Done, head_method: false, upgrade: None });
    }

    #[test]
    fn framing_that_is_certain_passes() {
        assert_eq!(with("Content-Length: 3\r\n").unwrap().body, Framer::Sized(3));
        assert_eq!(with("content-length:0\r\n").unwrap().body, Framer::Done);
        assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().body, Framer::chunked(true));
        assert_eq!(
            with("Upgrade: WebSocket\r\nConnection: upgrade\r\n").unwrap().upgrade,
            Some(Offer { allowed: vec!["websocket".into()], withdrawn: false })
        );
        assert!(with("Upgrade: websocket\r\nContent-Length: 0\r\n").unwrap().may_switch());
        for none in [
            "Upgrade: h2c\r\n",
            "Upgrade: websocket\r\nContent-Length: 1\r\n",
            "Upgrade: \r\n",
            "Upgrade: websocket\u{a0}\r\n",
            "Upgrade: \u{2003}websocket\r\n",
        ] {
            let asked = with(none).unwrap();
            assert!(asked.is_withdrawn() && !asked.may_switch(), "{none}");
        }
        let both = with("Upgrade: websocket, h2c\r\n").unwrap();
        assert_eq!(both.upgrade, Some(Offer { allowed: vec!["websocket".into()], withdrawn: true }));
        assert!(read(b"GET / HTTP/1.0\r\n\r\n").is_ok());
        assert!(read(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
        assert!(read(b"POST http://A/x HTTP/1.1\r\nHost: a\r\n\r\n").is_ok());
        assert!(read("GET /caf\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes()).is_ok());
    }

    #[test]
    fn framing_that_is_not_certain_is_refused() {
        for (fields, reason, status) in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "length_and_coding", 400),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", "content_length", 400),
            ("Content-Length: 3, 3\r\n", "content_length", 400),
            ("Content-Length: +3\r\n", "content_length", 400),
            ("Content-Length: 0x3\r\n", "content_length", 400),
            ("Content-Length: 0003\r\n", "content_length", 400),
            ("Content-Length: \r\n", "content_length", 400),
            ("Content-Length: 18446744073709551619\r\n", "content_length", 400),
            ("Content-Length : 3\r\n", "bad_field_name", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", "transfer_encoding", 501),
            ("Transfer-Encoding: x, chunked\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding: chunked, x\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding: identity\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding: \"chunked\"\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding:\x0bchunked\r\n", "bad_field_value", 400),
            ("Transfer-Encoding: chunked\t\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding:\tchunked\r\n", "transfer_encoding", 400),
            ("Transfer-Encoding:\r\n chunked\r\n", "transfer_encoding", 400),
            ("Transfer_Encoding: chunked\r\n", "underscore_field", 400),
            ("Content_Length: 3\r\n", "underscore_field", 400),
            ("X: a\rContent-Length: 9\r\n", "bad_field_value", 400),
            ("X: a\0b\r\n", "bad_field_value", 400),
            ("X: 1\r\n folded\r\n", "obs_fold", 400),
            ("X 1\r\n", "bad_field", 400),
            (": 1\r\n", "bad_field_name", 400),
            ("Host: a\r\n", "bad_host", 400),
        ] {
            assert_eq!(with(fields), Err(Refusal { status, reason }), "{fields:?}");
        }
    }

    #[test]
    fn request_lines_that_are_not_certain_are_refused() {
        for (wire, reason, status) in [
            ("POST /a\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            ("POST  /a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST /a b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST /a\0 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST /a\u{a0}b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST * HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("POST http://a?x=/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target", 400),
            ("G\"ET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            ("(GET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            ("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_lf", 400),
            ("GET / HTTP/1.1\nHost: a\n\n", "bare_lf", 400),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "bare_lf", 400),
            ("GET / HTTP/1.1\r\n\r\n", "bad_host", 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad_host", 400),
            ("GET / HTTP/1.1\r\nHost: a/health\r\n\r\n", "bad_host", 400),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "http_version", 505),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "http_version", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2_preface", 505),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", "bad_request_line", 400),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "connect", 405),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "coding_in_http10", 400),
        ] {
            assert_eq!(read(wire.as_bytes()).map(|_| ()), Err(Refusal { status, reason }), "{wire:?}");
        }
    }

    #[test]
    fn heads_are_bounded() {
        let long = format!("GET /{}", "a".repeat(70_000));
        assert_eq!(
            HeadScanner::default().scan_request(long.as_bytes(), LIMITS),
            Err(Refusal { status: 414, reason: "target_too_long" })
        );
        let wide = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
        assert_eq!(
            HeadScanner::default().scan_request(wide.as_bytes(), LIMITS),
            Err(Refusal { status: 431, reason: "head_too_large" })
        );
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(1001));
        assert_eq!(
            HeadScanner::default().scan_request(many.as_bytes(), LIMITS),
            Err(Refusal { status: 431, reason: "too_many_fields" })
        );
    }

    fn answer(wire: &str, head_method: bool, upgrade: bool) -> Result<ResponseFraming, &'static str> {
        let asked = RequestFraming {
            body: Framer::Done,
            head_method,
            upgrade: upgrade.then(|| Offer { allowed: vec!["websocket".into()], withdrawn: false }),
        };
        let mut scanner = HeadScanner::default();
        let len = (1..=wire.len()).find_map(|n| scanner.scan_response(&wire.as_bytes()[..n])).expect("whole");
        response(&wire.as_bytes()[..len], &mut HeadIndex::default(), &asked)
    }

    #[test]
    fn responses_end_where_rfc_9112_says() {
        let body = |wire: &str| answer(wire, false, false).map(|r| r.body);
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Ok(Framer::Sized(5)));
        assert_eq!(body("HTTP/1.1 200\r\nContent-Length: 5, 5\r\n\r\n"), Ok(Framer::Sized(5)));
        assert_eq!(body("HTTP/1.0 200 OK\nX: y\n\n"), Ok(Framer::UntilClose));
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            Ok(Framer::chunked(false))
        );
        assert_eq!(body("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), Ok(Framer::UntilClose));
        assert_eq!(body("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"), Ok(Framer::Done));
        assert_eq!(body("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"), Ok(Framer::Done));
        assert_eq!(body("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"), Ok(Framer::Done));
        assert_eq!(
            answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, false).map(|r| r.body),
            Ok(Framer::Done)
        );
        assert_eq!(
            answer("HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", false, true).map(|r| r.body),
            Ok(Framer::Tunnel)
        );
        let both = answer(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            false,
        )
        .unwrap();
        assert_eq!((both.body, both.then_close), (Framer::chunked(false), true));
    }

    #[test]
    fn responses_without_a_certain_end_are_errors() {
        for wire in [
            "HTTP/1.1 101 S\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(answer(wire, false, false).is_err(), "{wire:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn random_heads_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut wire = b"POST /a HTTP/1.1\r\nHost: a\r\n".to_vec();
            wire.extend_from_slice(&bytes);
            wire.extend_from_slice(b"\r\n\r\n");
            if let Ok(Some(n)) = HeadScanner::default().scan_request(&wire, LIMITS) {
                let _ = request(&wire[..n], &mut HeadIndex::default(), &Upgrades::default());
            }
            let asked = RequestFraming { body: Framer::Done, head_method: false, upgrade: None };
            if let Some(n) = HeadScanner::default().scan_response(&wire) {
                let _ = response(&wire[..n], &mut HeadIndex::default(), &asked);
            }
        }
    }
}
