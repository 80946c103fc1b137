//! HPACK (RFC 7541): header blocks in, lists of names and values out, and plain blocks back.
//!
//! Owns one direction's dynamic table, kept as both ends keep it: every block that passes must be
//! decoded here, also those of streams nobody watches. Bounded in table size, decoded bytes and
//! fields. No unsafe code, no panic; in steady state no allocation.
//!
//! Why not a crate: those at hand rebuild a table per Huffman text (250 times slower), or let 64 KiB
//! unfold to 228 MB, or are private to their framework. What this one accepts is compared with two of
//! them in `hpack_tests.rs`.

use super::huffman;
use crate::head::Span;
use std::collections::VecDeque;

/// A table larger than this is not kept for anyone; greater settings are lowered on their way.
pub const MAX_TABLE: usize = 64 << 10;
/// The size both ends begin with (RFC 9113 §6.5.2).
const FIRST_TABLE: usize = 4096;
/// What an entry counts beside its bytes (RFC 7541 §4.1).
const ENTRY: usize = 32;
/// Evicted entries with more room than this are not used again: many short entries in long
/// allocations would exceed the table's bound.
const REUSABLE: usize = 256;

/// Room that a list may keep for the next one.
const USUAL: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// More bytes or fields than allowed.
    TooLarge,
    Invalid(&'static str),
}

use Error::{Invalid, TooLarge};

/// Bounds of one decoded list.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Names and values together.
    pub bytes: usize,
    pub fields: usize,
}

/// A decoded list: the bytes of names and values in one piece, and where they lie.
#[derive(Debug, Default)]
pub struct List {
    pub bytes: Vec<u8>,
    pub fields: Vec<(Span, Span)>,
    /// The block has changed the dynamic table, or its size.
    pub touched: bool,
}

impl List {
    fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.touched = false;
    }

    /// Gives the room of an unusually large list back.
    pub fn trim(&mut self) {
        if self.bytes.capacity() > USUAL {
            *self = List::default();
        }
    }

    fn slice(&self, span: &Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(n, v)| (self.slice(n), self.slice(v)))
    }
}

#[derive(Debug, Default)]
struct Entry {
    /// The name, then the value.
    bytes: Vec<u8>,
    name: usize,
}

#[derive(Debug)]
pub struct Decoder {
    entries: VecDeque<Entry>,
    size: usize,
    /// What the encoder keeps to.
    max: usize,
    /// What the decoding end has allowed it.
    allowed: usize,
    spare: Entry,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            entries: VecDeque::new(),
            size: 0,
            max: FIRST_TABLE,
            allowed: FIRST_TABLE,
            spare: Entry::default(),
        }
    }
}

impl Decoder {
    /// The decoding end has announced a table size. A lower one takes effect when the encoder has
    /// heard of it, which the encoder tells by a size update; until then the higher one stands.
    pub fn allow(&mut self, size: usize) {
        self.allowed = self.allowed.max(size.min(MAX_TABLE));
    }

    /// Reads one whole block. After an error the tables of the two ends are no longer known: the
    /// connection must end.
    pub fn decode(&mut self, block: &[u8], list: &mut List, bounds: Bounds) -> Result<(), Error> {
        list.clear();
        let mut input = Input(block);
        let mut updates = 0;
        while let Some(first) = input.peek() {
            if first & 0xe0 == 0x20 {
                updates += 1;
                // RFC 7541 §4.2: the smallest and the last size since the block before.
                if !list.fields.is_empty() || updates > 2 {
                    return Err(Invalid("size update out of place"));
                }
                self.resize(input.integer(5)?)?;
                list.touched = true;
                continue;
            }
            self.field(first, &mut input, list, bounds)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        first: u8,
        input: &mut Input<'_>,
        list: &mut List,
        bounds: Bounds,
    ) -> Result<(), Error> {
        if list.fields.len() >= bounds.fields {
            return Err(TooLarge);
        }
        let start = list.bytes.len();
        let middle;
        if first & 0x80 != 0 {
            let (name, value) = self.get(input.integer(7)?)?;
            list.bytes.extend_from_slice(name);
            middle = list.bytes.len();
            list.bytes.extend_from_slice(value);
        } else {
            match input.integer(if first & 0x40 != 0 { 6 } else { 4 })? {
                0 => input.text(&mut list.bytes, bounds.bytes)?,
                index => list.bytes.extend_from_slice(self.get(index)?.0),
            }
            middle = list.bytes.len();
            input.text(&mut list.bytes, bounds.bytes)?;
        }
        if list.bytes.len() > bounds.bytes {
            return Err(TooLarge);
        }
        let end = list.bytes.len();
        list.fields.push((start as u32..middle as u32, middle as u32..end as u32));
        if first & 0xc0 == 0x40 {
            list.touched = true;
            self.insert(list.bytes.get(start..).unwrap_or_default(), middle - start);
        }
        Ok(())
    }

    fn get(&self, index: usize) -> Result<(&[u8], &[u8]), Error> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        index
            .checked_sub(STATIC.len() + 1)
            .and_then(|at| self.entries.get(at))
            .and_then(|entry| entry.bytes.split_at_checked(entry.name))
            .ok_or(Invalid("no such index"))
    }

    fn resize(&mut self, max: usize) -> Result<(), Error> {
        if max > self.allowed {
            return Err(Invalid("size update above what was allowed"));
        }
        self.max = max;
        self.evict(max);
        Ok(())
    }

    fn insert(&mut self, bytes: &[u8], name: usize) {
        let size = bytes.len() + ENTRY;
        // What does not fit empties the table and is not an error (RFC 7541 §4.4).
        self.evict(self.max.saturating_sub(size));
        if size > self.max {
            return;
        }
        let mut entry = std::mem::take(&mut self.spare);
        entry.bytes.clear();
        entry.bytes.extend_from_slice(bytes);
        entry.name = name;
        self.entries.push_front(entry);
        self.size += size;
    }

    /// Removes the oldest entries until no more than `room` is taken.
    fn evict(&mut self, room: usize) {
        while self.size > room {
            let Some(entry) = self.entries.pop_back() else { return self.size = 0 };
            self.size -= entry.bytes.len() + ENTRY;
            if entry.bytes.capacity() <= REUSABLE {
                self.spare = entry;
            }
        }
    }
}

/// What is left of a block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<usize, Error> {
        let (first, rest) = self.0.split_first().ok_or(Invalid("cut short"))?;
        self.0 = rest;
        Ok(usize::from(*first))
    }

    /// RFC 7541 §5.1, up to 28 bits after the prefix.
    fn integer(&mut self, prefix: u32) -> Result<usize, Error> {
        let mask = (1 << prefix) - 1;
        let mut value = self.byte()? & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Invalid("integer too long"))
    }

    /// Appends a string literal; no work is done for one that would exceed `max` even uncoded.
    fn text(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), Error> {
        let coded = self.peek().is_some_and(|b| b & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Invalid("cut short"))?;
        self.0 = rest;
        // No code is longer than 30 bits, so a quarter of the coded length comes out at least.
        if out.len() + if coded { length / 4 } else { length } > max {
            return Err(TooLarge);
        }
        if !coded {
            out.extend_from_slice(text);
        } else if !huffman::decode(text, out) {
            return Err(Invalid("huffman"));
        }
        Ok(())
    }
}

/// Appends a field as a literal that no one may index: it reads the same whatever the tables hold.
pub fn put_literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x10);
    for text in [name, value] {
        put_length(out, text.len());
        out.extend_from_slice(text);
    }
}

fn put_length(out: &mut Vec<u8>, mut n: usize) {
    const PREFIX: usize = 0x7f;
    if n < PREFIX {
        return out.push(n as u8);
    }
    out.push(PREFIX as u8);
    n -= PREFIX;
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Empties the reader's dynamic table for good.
pub const FORGET: u8 = 0x20;

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
