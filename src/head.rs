//! A message head as it stood on the wire: borrowed bytes and where its parts lie.
//!
//! Owned by the relay's parser, read by policy, extraction and redaction. No copies, no decoding:
//! a name keeps its case, a value its bytes (outer spaces and tabs cut, RFC 9110 §5.5).

use std::ops::Range;

/// Start and end offsets into the raw head.
pub type Span = Range<u32>;

/// [`HeadIndex::minor`] of HTTP/2, which has no minor versions.
pub const HTTP_2: u8 = 20;

/// Where the parts of a head lie in its bytes. Reused from call to call, so that a steady
/// connection allocates nothing.
#[derive(Debug, Default, Clone)]
pub struct HeadIndex {
    /// Length of the head including the empty line.
    pub len: usize,
    pub method: Span,
    pub target: Span,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1, [`HTTP_2`].
    pub minor: u8,
    /// HTTP/2 requests only: what the client called the scheme.
    pub scheme: Span,
    /// Responses only; 0 in a request.
    pub status: u16,
    /// Name and value of every field, in order.
    pub fields: Vec<(Span, Span)>,
}

/// A head: its bytes with their index.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    pub raw: &'a [u8],
    pub index: &'a HeadIndex,
}

impl<'a> Head<'a> {
    fn slice(&self, span: &Span) -> &'a [u8] {
        self.raw.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The method: an RFC 9110 §5.6.2 token, so always ASCII.
    pub fn method(&self) -> &'a str {
        std::str::from_utf8(self.slice(&self.index.method)).unwrap_or_default()
    }

    /// The request target, bytes as sent.
    pub fn target(&self) -> &'a [u8] {
        self.slice(&self.index.target)
    }

    pub fn version(&self) -> &'static str {
        match self.index.minor {
            0 => "1.0",
            HTTP_2 => "2",
            _ => "1.1",
        }
    }

    /// `http` or `https` as an HTTP/2 client calls it; empty in HTTP/1.
    pub fn scheme(&self) -> &'a str {
        std::str::from_utf8(self.slice(&self.index.scheme)).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.index.status
    }

    /// Every field in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.index
            .fields
            .iter()
            .map(|(n, v)| (std::str::from_utf8(self.slice(n)).unwrap_or_default(), self.slice(v)))
    }

    /// The values of every field of this name (any case), in order.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        let named = move |(n, _): &&(Span, Span)| self.slice(n).eq_ignore_ascii_case(name.as_bytes());
        self.index.fields.iter().filter(named).map(|(_, v)| self.slice(v))
    }

    /// The first field of this name. Where a second one would change the meaning, use
    /// [`Head::all`].
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }
}

impl HeadIndex {
    /// An index over a head made of text, for tests and for `sidelog explain`, where no bytes came
    /// over a wire. Returns the bytes and their index.
    pub fn synthesize(method: &str, target: &str, fields: &[(String, String)]) -> (Vec<u8>, HeadIndex) {
        let mut raw = Vec::new();
        let mut put = |text: &str, after: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            let span = start..raw.len() as u32;
            raw.extend_from_slice(after.as_bytes());
            span
        };
        let mut index = HeadIndex { minor: 1, ..HeadIndex::default() };
        index.method = put(method, " ");
        index.target = put(target, " HTTP/1.1\r\n");
        index.fields = fields.iter().map(|(n, v)| (put(n, ": "), put(v.trim(), "\r\n"))).collect();
        raw.extend_from_slice(b"\r\n");
        index.len = raw.len();
        (raw, index)
    }
}
