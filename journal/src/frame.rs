//! One record on disk: how it is laid out, and how records are found again among damaged bytes.
//!
//! Owns the frame format. Promises that a frame is taken for valid only if every byte of it is what
//! was written, and that one damaged frame hides no other. Pure: byte slices in, values out.
//!
//! A frame starts at a multiple of eight; all numbers are little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0  | 4  | magic `SLf1` |
//! | 4  | 4  | length, from the magic to the last byte of the payload |
//! | 8  | 4  | CRC32C of payload, the rest of the header and the directory's salt, in that order |
//! | 12 | 4  | kind: 1 data, 2 loss, 3 open call, 4 intent |
//! | 16 | 8  | seq |
//! | 24 | 16 | id |
//! | 40 | 8  | time, µs since 1970 |
//! | 48 | …  | payload, then zeros to the next multiple of eight |
//!
//! Magic and length are one aligned word, written last: until it stands there is no frame. The
//! payload comes first in the checksum so that the long part is computed before the append lock is
//! taken. The salt is random and never leaves the directory, so a payload that *looks* like a frame
//! (a request body may hold anything) is not taken for one when the search runs over its bytes.

use uuid::Uuid;

pub(crate) const HEADER: usize = 48;
pub(crate) const ALIGN: usize = 8;
const MAGIC: [u8; 4] = *b"SLf1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    Loss,
    /// A call that has been open for long.
    Open,
    /// A call about to be made: written before it, so its end stands after this in the log.
    Intent,
}

impl FrameKind {
    fn code(self) -> u32 {
        match self {
            FrameKind::Data => 1,
            FrameKind::Loss => 2,
            FrameKind::Open => 3,
            FrameKind::Intent => 4,
        }
    }

    fn from_code(code: u32) -> Option<FrameKind> {
        match code {
            1 => Some(FrameKind::Data),
            2 => Some(FrameKind::Loss),
            3 => Some(FrameKind::Open),
            4 => Some(FrameKind::Intent),
            _ => None,
        }
    }
}

/// What the header says beside length and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub kind: FrameKind,
    pub seq: u64,
    pub id: Uuid,
    /// µs since 1970.
    pub time: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub meta: Meta,
    pub payload: &'a [u8],
    /// Length without the padding.
    pub len: usize,
}

impl Frame<'_> {
    /// What the frame occupies.
    pub(crate) fn size(&self) -> usize {
        self.len.next_multiple_of(ALIGN)
    }
}

/// What a frame with such a payload occupies.
pub(crate) fn size(payload: usize) -> usize {
    payload.saturating_add(HEADER).next_multiple_of(ALIGN)
}

/// The part of the checksum that needs no lock.
pub(crate) fn payload_crc(payload: &[u8]) -> u32 {
    crc32c::crc32c(payload)
}

/// The header of a frame. The first eight bytes are the word to be written last.
pub(crate) fn header(meta: &Meta, payload_len: usize, payload_crc: u32, salt: u64) -> [u8; HEADER] {
    let mut h = [0u8; HEADER];
    put(&mut h, 0, &MAGIC);
    put(&mut h, 4, &u32::try_from(HEADER + payload_len).unwrap_or(u32::MAX).to_le_bytes());
    put(&mut h, 12, &meta.kind.code().to_le_bytes());
    put(&mut h, 16, &meta.seq.to_le_bytes());
    put(&mut h, 24, meta.id.as_bytes());
    put(&mut h, 40, &meta.time.to_le_bytes());
    let crc = full_crc(payload_crc, &h, salt);
    put(&mut h, 8, &crc.to_le_bytes());
    h
}

fn full_crc(payload_crc: u32, header: &[u8; HEADER], salt: u64) -> u32 {
    let mut rest = [0u8; HEADER - 4 + 8];
    put(&mut rest, 0, &header[0..8]);
    put(&mut rest, 8, &header[12..HEADER]);
    put(&mut rest, HEADER - 4, &salt.to_le_bytes());
    crc32c::crc32c_append(payload_crc, &rest)
}

/// The frame at the start of `buf`, if one stands there whole.
pub(crate) fn decode(buf: &[u8], salt: u64) -> Option<Frame<'_>> {
    let header = buf.first_chunk::<HEADER>()?;
    let len = length(buf)?;
    let payload = buf.get(HEADER..len)?;
    let kind = FrameKind::from_code(u32_at(header, 12)?)?;
    if full_crc(payload_crc(payload), header, salt) != u32_at(header, 8)? {
        return None;
    }
    let meta = Meta { kind, seq: u64_at(header, 16)?, id: uuid_at(header, 24)?, time: u64_at(header, 40)? };
    Some(Frame { meta, payload, len })
}

/// The length the frame at the start of `buf` claims, if there is the beginning of one.
pub(crate) fn length(buf: &[u8]) -> Option<usize> {
    if buf.first_chunk::<4>()? != &MAGIC {
        return None;
    }
    let len = usize::try_from(u32_at(buf, 4)?).ok()?;
    (len >= HEADER).then_some(len)
}

/// What a walk over a stretch of frames meets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Frame {
        at: usize,
        frame: Frame<'a>,
    },
    /// Damaged bytes with a valid frame after them, or in a frame's padding.
    Bad {
        from: usize,
        to: usize,
    },
    /// Bytes that are not zero after the last valid frame: an append cut short, or damage.
    Torn {
        from: usize,
        to: usize,
    },
}

/// Walks from frame to frame, over whatever is damaged. Frames come in rising seq.
pub(crate) struct Scan<'a> {
    buf: &'a [u8],
    at: usize,
    salt: u64,
    /// A frame that does not come after this one is not ours.
    floor: u64,
    bad_padding: Option<(usize, usize)>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(buf: &'a [u8], salt: u64, floor: u64) -> Scan<'a> {
        Scan { buf, at: 0, salt, floor, bad_padding: None }
    }

    fn frame_at(&self, at: usize) -> Option<Frame<'a>> {
        let frame = decode(self.buf.get(at..)?, self.salt)?;
        (frame.meta.seq > self.floor).then_some(frame)
    }

    fn take(&mut self, at: usize, frame: Frame<'a>) -> Item<'a> {
        let (end, next) = (at + frame.len, at + frame.size());
        let padding = self.buf.get(end..next.min(self.buf.len())).unwrap_or_default();
        if padding.iter().any(|b| *b != 0) {
            self.bad_padding = Some((end, next));
        }
        self.floor = frame.meta.seq;
        self.at = next;
        Item::Frame { at, frame }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        if let Some((from, to)) = self.bad_padding.take() {
            return Some(Item::Bad { from, to });
        }
        let from = self.at;
        if let Some(frame) = self.frame_at(from) {
            return Some(self.take(from, frame));
        }
        let rest = self.buf.get(from..)?;
        let last = rest.iter().rposition(|b| *b != 0)?;
        let mut at = from + ALIGN;
        while at <= from + last {
            if self.buf.get(at..).and_then(|b| b.first_chunk()) == Some(&MAGIC) && self.frame_at(at).is_some()
            {
                self.at = at;
                return Some(Item::Bad { from, to: at });
            }
            at += ALIGN;
        }
        self.at = self.buf.len();
        Some(Item::Torn { from, to: from + last + 1 })
    }
}

pub(crate) fn put(buf: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buf.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*buf.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*buf.get(at..)?.first_chunk()?))
}

pub(crate) fn uuid_at(buf: &[u8], at: usize) -> Option<Uuid> {
    Some(Uuid::from_bytes(*buf.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 0x1234_5678_9abc_def0;

    fn frame(seq: u64, payload: &[u8]) -> Vec<u8> {
        let meta = Meta { kind: FrameKind::Data, seq, id: Uuid::from_u128(u128::from(seq)), time: 7 };
        let mut out = header(&meta, payload.len(), payload_crc(payload), SALT).to_vec();
        out.extend_from_slice(payload);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
        out
    }

    fn seqs(buf: &[u8]) -> (Vec<u64>, usize) {
        let mut found = (Vec::new(), 0);
        for item in Scan::new(buf, SALT, 0) {
            match item {
                Item::Frame { frame, .. } => found.0.push(frame.meta.seq),
                Item::Bad { .. } | Item::Torn { .. } => found.1 += 1,
            }
        }
        found
    }

    #[test]
    fn any_flipped_bit_costs_at_most_its_own_frame_and_is_seen() {
        let mut buf = Vec::new();
        for seq in 1..=4 {
            buf.extend(frame(seq, format!("payload number {seq}").as_bytes()));
        }
        buf.resize(buf.len() + 256, 0);
        assert_eq!(seqs(&buf), (vec![1, 2, 3, 4], 0));
        for bit in 0..buf.len() * 8 {
            buf[bit / 8] ^= 1 << (bit % 8);
            let (found, damage) = seqs(&buf);
            assert!(found.len() >= 3, "bit {bit}: {found:?}");
            assert_eq!(damage, 1, "bit {bit}");
            buf[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_frame_inside_a_payload_is_not_found_without_the_salt() {
        let meta = Meta { kind: FrameKind::Data, seq: 9, id: Uuid::nil(), time: 0 };
        let mut forged = header(&meta, 4, payload_crc(b"evil"), 0).to_vec();
        forged.extend_from_slice(b"evil");
        let mut buf = frame(1, &forged);
        buf[20] ^= 1;
        buf.extend(frame(2, b"true"));
        assert_eq!(seqs(&buf), (vec![2], 1));
    }

    #[test]
    fn a_frame_of_an_earlier_place_is_not_taken_again() {
        let mut buf = frame(5, b"five");
        buf.extend(frame(3, b"three"));
        buf.extend(frame(6, b"six"));
        assert_eq!(seqs(&buf), (vec![5, 6], 1));
    }

    #[test]
    fn a_length_beyond_the_buffer_is_no_frame() {
        let whole = frame(1, b"0123456789");
        for cut in 0..whole.len() - 6 {
            assert_eq!(decode(&whole[..cut], SALT), None);
        }
    }
}
