//! HTTP/2 frames (RFC 9113 §4 and §6): the nine bytes before each, and the few that Sidelog writes
//! itself.

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before a payload.
pub const HEADER: usize = 9;
/// The longest payload before a SETTINGS_MAX_FRAME_SIZE, and the least one of these.
pub const FIRST_MAX_FRAME: usize = 16 << 10;
/// Windows of streams and connections before a SETTINGS_INITIAL_WINDOW_SIZE or WINDOW_UPDATE.
pub const FIRST_WINDOW: u32 = 65_535;
/// The greatest stream identifier.
pub const MAX_STREAM: u32 = 0x7fff_ffff;

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// Error codes, RFC 9113 §7.
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
    pub const HTTP_1_1_REQUIRED: u32 = 13;
}

/// Settings that concern the one who reads along, RFC 9113 §6.5.2.
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Of the payload.
    pub len: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let [a, b, c, kind, flags, rest @ ..] = bytes.first_chunk::<HEADER>()?;
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        Some(Header { len, kind: *kind, flags: *flags, stream: u32::from_be_bytes(*rest) & MAX_STREAM })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// With the header.
    pub fn total(&self) -> usize {
        HEADER + self.len
    }
}

/// The four bytes at `at`.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// SETTINGS that change nothing: what a server must say first.
pub fn put_settings(out: &mut Vec<u8>) {
    put(out, kind::SETTINGS, 0, 0, &[]);
}

pub fn put_reset(out: &mut Vec<u8>, stream: u32, code: u32) {
    put(out, kind::RST_STREAM, 0, stream, &code.to_be_bytes());
}

/// Gives back `n` bytes of the connection's window.
pub fn put_window(out: &mut Vec<u8>, n: u32) {
    put(out, kind::WINDOW_UPDATE, 0, 0, &n.to_be_bytes());
}

pub fn put_goaway(out: &mut Vec<u8>, last: u32, code: u32) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&last.to_be_bytes());
    payload[4..].copy_from_slice(&code.to_be_bytes());
    put(out, kind::GOAWAY, 0, 0, &payload);
}

/// A whole answer without a body.
#[cfg(test)]
pub fn put_status(out: &mut Vec<u8>, stream: u32, status: u16) {
    put_answer(out, stream, status, &[], &[]);
}

/// A whole answer. It leaves the client's HPACK table as it is: `:status` by its index in the static
/// table, the value as a literal without indexing, and `fields` likewise.
pub fn put_answer(out: &mut Vec<u8>, stream: u32, status: u16, fields: &[u8], body: &[u8]) {
    let [hundreds, tens, ones] = [status / 100 % 10, status / 10 % 10, status % 10].map(|d| b'0' + d as u8);
    let end = if body.is_empty() { flag::END_STREAM } else { 0 };
    let block = [&[0x08, 3, hundreds, tens, ones], fields].concat();
    put(out, kind::HEADERS, flag::END_HEADERS | end, stream, &block);
    if !body.is_empty() {
        put(out, kind::DATA, flag::END_STREAM, stream, body);
    }
}

/// A header block in as many frames as it takes, the first one of kind `kind`.
pub fn put_block(out: &mut Vec<u8>, first: Header, prefix: &[u8], block: &[u8]) {
    let room = FIRST_MAX_FRAME - prefix.len();
    let (head, mut rest) = block.split_at(block.len().min(room));
    let end = |rest: &[u8]| if rest.is_empty() { flag::END_HEADERS } else { 0 };
    // A promise has no such flag.
    let last = if first.kind == kind::HEADERS { first.flags & flag::END_STREAM } else { 0 };
    let at = out.len();
    put(out, first.kind, last | end(rest), first.stream, prefix);
    out.extend_from_slice(head);
    let [_, a, b, c] = ((prefix.len() + head.len()) as u32).to_be_bytes();
    if let Some(length) = out.get_mut(at..at + 3) {
        length.copy_from_slice(&[a, b, c]);
    }
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(FIRST_MAX_FRAME));
        put(out, kind::CONTINUATION, end(after), first.stream, next);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_the_rfc_draws() {
        let mut out = Vec::new();
        put_goaway(&mut out, 0x0102_0304, code::ENHANCE_YOUR_CALM);
        assert_eq!(out, [0, 0, 8, 7, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 11]);
        out.clear();
        put_status(&mut out, 5, 403);
        assert_eq!(out, [0, 0, 5, 1, 5, 0, 0, 0, 5, 8, 3, b'4', b'0', b'3']);
        assert_eq!(Header::read(&out), Some(Header { len: 5, kind: 1, flags: 5, stream: 5 }));
        assert_eq!(Header::read(&out[..8]), None);
    }

    #[test]
    fn a_long_block_is_continued() {
        let block: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        let mut out = Vec::new();
        let first = Header { len: 0, kind: kind::PUSH_PROMISE, flags: flag::END_HEADERS, stream: 3 };
        put_block(&mut out, first, &[0, 0, 0, 8], &block);
        let (mut at, mut got, mut frames) = (0, Vec::new(), Vec::new());
        while let Some(h) = Header::read(&out[at..]) {
            got.extend_from_slice(&out[at + HEADER..at + h.total()]);
            frames.push((h.kind, h.flags, h.stream, h.len));
            at += h.total();
        }
        assert_eq!(got, [&[0, 0, 0, 8][..], &block].concat());
        assert_eq!(frames, [(5, 0, 3, 16384), (9, 0, 3, 16384), (9, 4, 3, 40_004 - 2 * 16384)]);
    }
}
