//! Where a message body ends (RFC 9112 §6 and §7), read along byte for byte.
//!
//! A pure state machine over slices: it never copies, never looks ahead and says of every slice how
//! much of it belongs to the message. A request is read strictly: whatever two parsers could read
//! differently is an error, and nothing of the offending slice is forwarded. A response is the
//! service's own word to its client: it is read so that its end is known, and passed on as it is.

use super::grammar::{is_field_value, is_token, is_token_byte};

/// How the rest of a message is delimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framer {
    /// Nothing more belongs to the message.
    Done,
    /// So many more bytes.
    Sized(u64),
    Chunked(Chunks),
    /// Until the sender closes (responses only).
    UntilClose,
    /// A tunnel after 101: bytes without messages.
    Tunnel,
}

/// Bounds and position inside a chunked body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    /// Size read so far, then bytes of this chunk still to come.
    left: u64,
    /// Bytes of this chunk's header, or of the trailer section, so far.
    overhead: u32,
    /// Requests are strict.
    strict: bool,
    /// The trailer line being read; kept because it may arrive in pieces. Bounded by `MAX_OVERHEAD`.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SizeFirst,
    Size,
    ExtName,
    ExtNameMore,
    ExtValue,
    ExtToken,
    ExtQuoted,
    ExtEscape,
    ExtAfterQuoted,
    ExtAny,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerFirst,
    Trailer,
    TrailerLf,
    EndLf,
}

/// Longest chunk header and longest trailer section.
pub const MAX_OVERHEAD: u32 = 16 << 10;

/// Why a body is not well framed: a bounded word for metrics and events.
pub type Malformed = &'static str;

impl Framer {
    pub fn chunked(strict: bool) -> Framer {
        Framer::Chunked(Chunks { state: State::SizeFirst, left: 0, overhead: 0, strict, line: Vec::new() })
    }

    /// A body of `n` bytes.
    pub fn sized(n: u64) -> Framer {
        if n == 0 { Framer::Done } else { Framer::Sized(n) }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Framer::Done)
    }

    /// Whether the end of the connection is a proper end of the message.
    pub fn may_close(&self) -> bool {
        matches!(self, Framer::Done | Framer::UntilClose | Framer::Tunnel)
    }

    /// At least so many bytes are still to come: decides how large a buffer is worth taking.
    pub fn expects(&self) -> u64 {
        match self {
            Framer::Done => 0,
            Framer::Sized(n) => *n,
            Framer::Chunked(c) => c.left,
            Framer::UntilClose | Framer::Tunnel => u64::MAX,
        }
    }

    /// Reads `bytes`; returns how many belong to the message and may be forwarded. `body` gets the
    /// body's bytes without chunk framing. After an error nothing of `bytes` may be forwarded.
    pub fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        match self {
            Framer::Done => Ok(0),
            Framer::UntilClose | Framer::Tunnel => {
                body(bytes);
                Ok(bytes.len())
            }
            Framer::Sized(left) => {
                let n = (*left).min(bytes.len() as u64) as usize;
                let (mine, _) = bytes.split_at(n);
                if n > 0 {
                    body(mine);
                }
                *left -= n as u64;
                if *left == 0 {
                    *self = Framer::Done;
                }
                Ok(n)
            }
            Framer::Chunked(chunks) => {
                let (n, end) = chunks.feed(bytes, body)?;
                if end {
                    *self = Framer::Done;
                }
                Ok(n)
            }
        }
    }
}

impl Chunks {
    /// Bytes consumed and whether the last of them ended the body.
    fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data {
                let rest = bytes.get(at..).unwrap_or_default();
                let n = self.left.min(rest.len() as u64) as usize;
                body(rest.get(..n).unwrap_or_default());
                self.left -= n as u64;
                at += n;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            at += 1;
            if self.step(byte)? {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// One byte outside chunk data. True at the end of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        use State::*;
        self.state = match self.state {
            SizeFirst | Size => self.size(byte)?,
            ExtName | ExtNameMore | ExtValue | ExtToken | ExtQuoted | ExtEscape | ExtAfterQuoted | ExtAny => {
                self.extension(byte)?
            }
            SizeLf if byte == b'\n' => {
                self.overhead = 0;
                if self.left == 0 { TrailerFirst } else { Data }
            }
            SizeLf => return Err("chunk_size"),
            DataCr if byte == b'\r' => DataLf,
            DataLf if byte == b'\n' => SizeFirst,
            Data | DataCr | DataLf => return Err("chunk_end"),
            TrailerFirst | Trailer | TrailerLf => self.trailer(byte)?,
            EndLf if byte == b'\n' => return Ok(true),
            EndLf => return Err("trailer"),
        };
        Ok(false)
    }

    fn count(&mut self, what: Malformed) -> Result<(), Malformed> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD { Err(what) } else { Ok(()) }
    }

    /// `chunk-size = 1*HEXDIG`, at most 15 digits that count, so that it fits 60 bits.
    fn size(&mut self, byte: u8) -> Result<State, Malformed> {
        self.count("chunk_size")?;
        let first = self.state == State::SizeFirst;
        if let Some(digit) = (byte as char).to_digit(16) {
            if self.left >> 56 != 0 || self.overhead > 64 {
                return Err("chunk_size");
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        match byte {
            _ if first => Err("chunk_size"),
            b'\r' => Ok(State::SizeLf),
            b';' if self.strict => Ok(State::ExtName),
            b';' | b' ' | b'\t' if !self.strict => Ok(State::ExtAny),
            _ => Err("chunk_size"),
        }
    }

    /// `chunk-ext = *( ";" token [ "=" ( token / quoted-string ) ] )` without optional spaces in a
    /// request; anything up to the line end in a response.
    fn extension(&mut self, byte: u8) -> Result<State, Malformed> {
        use State::*;
        const BAD: Malformed = "chunk_extension";
        self.count(BAD)?;
        match (self.state, byte) {
            (ExtAny, b'\r') => Ok(SizeLf),
            (ExtAny, b'\n') => Err(BAD),
            (ExtAny, _) => Ok(ExtAny),
            (ExtName | ExtNameMore, b) if is_token_byte(b) => Ok(ExtNameMore),
            (ExtNameMore, b'=') => Ok(ExtValue),
            (ExtValue, b'"') => Ok(ExtQuoted),
            (ExtValue | ExtToken, b) if is_token_byte(b) => Ok(ExtToken),
            (ExtNameMore | ExtToken | ExtAfterQuoted, b';') => Ok(ExtName),
            (ExtNameMore | ExtToken | ExtAfterQuoted, b'\r') => Ok(SizeLf),
            (ExtQuoted, b'"') => Ok(ExtAfterQuoted),
            (ExtQuoted, b'\\') => Ok(ExtEscape),
            (ExtQuoted, b'\t' | b' '..=b'~' | 0x80..) => Ok(ExtQuoted),
            (ExtEscape, b'\t' | b' '..=b'~' | 0x80..) => Ok(ExtQuoted),
            _ => Err(BAD),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        use State::*;
        const BAD: Malformed = "trailer";
        self.count(BAD)?;
        match (self.state, byte) {
            (TrailerFirst, b'\r') => Ok(EndLf),
            (TrailerFirst | Trailer, b'\n') => Err(BAD),
            (Trailer, b'\r') => {
                if self.strict && !trailer_line_is_safe(&self.line) {
                    return Err(BAD);
                }
                self.line.clear();
                Ok(TrailerLf)
            }
            (TrailerLf, b'\n') => Ok(TrailerFirst),
            (TrailerLf, _) => Err(BAD),
            (_, byte) => {
                if self.strict {
                    self.line.push(byte);
                }
                Ok(Trailer)
            }
        }
    }
}

fn trailer_line_is_safe(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let (name, value) = line.split_at(colon);
    is_token(name) && is_field_value(value.get(1..).unwrap_or_default()) && is_trailer_name(name)
}

/// RFC 9110 §6.5.1: fields that frame, route, authenticate or re-define the message have no place in
/// a trailer; a service that merges trailers would act on what nobody saw in the head.
pub(super) fn is_trailer_name(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 20] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let folded: Vec<u8> =
        name.iter().map(|b| if *b == b'_' { b'-' } else { b.to_ascii_lowercase() }).collect();
    !FORBIDDEN.iter().any(|f| f.as_bytes() == folded) && !folded.starts_with(b"x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of `step`; the body, the bytes consumed, or the error.
    fn run(strict: bool, wire: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let mut framer = Framer::chunked(strict);
        let (mut body, mut used) = (Vec::new(), 0);
        for piece in wire.chunks(step) {
            let n = framer.feed(piece, |b| body.extend_from_slice(b))?;
            used += n;
            if framer.is_done() {
                break;
            }
            assert_eq!(n, piece.len());
        }
        Ok((body, used, framer.is_done()))
    }

    #[test]
    fn chunks_read_the_same_in_any_pieces() {
        let wire = b"4\r\nWiki\r\n6;a=b;c=\"d;\\\"e\"\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-Sum: 1\r\n\r\nNEXT";
        for step in 1..=wire.len() {
            let (body, used, done) = run(true, wire, step).unwrap();
            assert_eq!(body, b"Wikipedia in \r\n\r\nchunks.");
            assert_eq!((used, done), (wire.len() - 4, true), "step {step}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused_in_a_request() {
        let bad: [&[u8]; 24] = [
            b"\r\n",
            b"+4\r\nWiki\r\n",
            b"-4\r\n",
            b"0x4\r\nWiki\r\n",
            b" 4\r\nWiki\r\n",
            b"4 \r\nWiki\r\n",
            b"4\nWiki\r\n",
            b"4\r\nWikiX\r\n",
            b"4\r\nWiki\n",
            b"4\r\nWiki\rX",
            b"4;\r\nWiki\r\n",
            b"4; a\r\nWiki\r\n",
            b"4;a=\r\nWiki\r\n",
            b"4;a\n5\r\nWiki\r\n",
            b"4;a=\"b\nc\"\r\nWiki\r\n",
            b"4;a=\"b\0\"\r\nWiki\r\n",
            b"1000000000000000f\r\n",
            b"0\r\nContent-Length: 4\r\n\r\n",
            b"0\r\nTransfer_Encoding: chunked\r\n\r\n",
            b"0\r\nHost: b\r\n\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\n folded\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\nX: 1\r\r\n",
        ];
        for wire in bad {
            for step in [1, 2, wire.len()] {
                assert!(run(true, wire, step).is_err(), "{:?}", String::from_utf8_lossy(wire));
            }
        }
    }

    #[test]
    fn overhead_is_bounded() {
        let mut wire = b"4;a=".to_vec();
        wire.resize(MAX_OVERHEAD as usize + 10, b'b');
        assert_eq!(run(true, &wire, 1000), Err("chunk_extension"));
        let mut wire = b"0\r\nX: ".to_vec();
        wire.resize(MAX_OVERHEAD as usize + 10, b'b');
        assert_eq!(run(true, &wire, 1000), Err("trailer"));
        assert_eq!(run(true, &[b'0'; 100], 100), Err("chunk_size"));
    }

    #[test]
    fn responses_may_pad_chunk_sizes() {
        let (body, _, done) =
            run(false, b"4  \r\nWiki\r\n0 ; x y\r\nServer-Timing: a b;\r\n\r\n", 3).unwrap();
        assert_eq!((body.as_slice(), done), (&b"Wiki"[..], true));
        assert!(run(false, b"4\nWiki", 1).is_err());
    }

    #[test]
    fn sized_bodies_end_exactly() {
        let mut framer = Framer::sized(5);
        assert_eq!(framer.feed(b"abc", |_| {}), Ok(3));
        assert!(!framer.is_done() && !framer.may_close());
        assert_eq!(framer.feed(b"defg", |_| {}), Ok(2));
        assert!(framer.is_done());
        assert_eq!(framer.feed(b"GET", |_| panic!("no body")), Ok(0));
        assert!(Framer::sized(0).is_done());
    }

    proptest::proptest! {
        /// Any body in any chunking, cut anywhere, is read back; the bytes after it are not touched.
        #[test]
        fn any_chunking_reads_back(parts in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 1..40), 0..6), step in 1usize..50) {
            let mut wire = Vec::new();
            for p in &parts {
                wire.extend_from_slice(format!("{:X}\r\n", p.len()).as_bytes());
                wire.extend_from_slice(p);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let len = wire.len();
            wire.extend_from_slice(b"DELETE / HTTP/1.1\r\n");
            let (body, used, done) = run(true, &wire, step).unwrap();
            proptest::prop_assert_eq!(body, parts.concat());
            proptest::prop_assert_eq!((used, done), (len, true));
        }

        #[test]
        fn random_bytes_never_panic(wire in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), strict: bool) {
            let _ = run(strict, &wire, 7);
        }
    }
}
