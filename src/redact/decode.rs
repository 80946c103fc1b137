//! `Content-Encoding`: from the bytes on the wire to the bytes the service reads, within a bound.
//!
//! Knows `gzip`, `x-gzip`, `deflate` (with the zlib frame or, as some clients send it, without), `br`
//! and `zstd`, one at a time. Promises: no more than `max` bytes of output are made, whatever the
//! ratio; beside them stands only the coding's own window (32 KiB for gzip and deflate, at most 8 MiB
//! for zstd as RFC 9659 has it, at most 16 MiB for br, and of those only what was written). Refuses
//! what a service may read otherwise than we: a stream that is damaged, cut or followed by anything,
//! and codings over codings. All that is refused has a flag for the event.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::Read;

/// Largest window of zstd, as a power of two.
const ZSTD_WINDOW: u32 = 23;

/// Output made at a time.
const STEP: usize = 16 << 10;

/// The flag of [`Undecoded::TooLarge`].
pub const TOO_LARGE: &str = "body_too_large_decoded";

/// Why an encoded body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undecoded {
    /// Several codings, one over the other.
    Stacked,
    /// A coding that is not known here.
    Unknown,
    /// Not what the header says, or damaged, cut, or with more after its end.
    False,
    /// More than the bound when decoded.
    TooLarge,
}

impl Undecoded {
    /// As it stands in `flags`.
    pub fn flag(self) -> &'static str {
        match self {
            Undecoded::Stacked => "encoding_stacked",
            Undecoded::Unknown => "encoding_unknown",
            Undecoded::False => "encoding_false",
            Undecoded::TooLarge => TOO_LARGE,
        }
    }
}

/// The decoded body; `None` where the header names no coding.
pub(super) fn decode(header: &[u8], bytes: &[u8], max: usize) -> Result<Option<Vec<u8>>, Undecoded> {
    let names = header.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let mut names = names.filter(|n| !n.is_empty() && !n.eq_ignore_ascii_case(b"identity"));
    let Some(name) = names.next() else { return Ok(None) };
    if names.next().is_some() {
        return Err(Undecoded::Stacked);
    }
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).min(max));
    match name.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => read(MultiGzDecoder::new(bytes), max, &mut out)?,
        b"deflate" => inflate(bytes, max, &mut out)?,
        b"br" => unbrotli(bytes, max, &mut out)?,
        b"zstd" => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(bytes).map_err(|_| Undecoded::False)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(|_| Undecoded::False)?;
            read(decoder, max, &mut out)?;
        }
        _ => return Err(Undecoded::Unknown),
    }
    Ok(Some(out))
}

/// Reads to the end or to one byte more than allowed.
fn read(decoder: impl Read, max: usize, out: &mut Vec<u8>) -> Result<(), Undecoded> {
    decoder.take(max as u64 + 1).read_to_end(out).map_err(|_| Undecoded::False)?;
    if out.len() > max { Err(Undecoded::TooLarge) } else { Ok(()) }
}

/// RFC 1950, or RFC 1951 alone where its two bytes of header are missing.
fn inflate(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Undecoded> {
    let zlib = bytes
        .first_chunk::<2>()
        .is_some_and(|head| head[0] & 0x0F == 8 && u16::from_be_bytes(*head).is_multiple_of(31));
    let mut decoder = Decompress::new(zlib);
    loop {
        let (before, had) = (decoder.total_in() as usize, out.len());
        let rest = bytes.get(before..).unwrap_or_default();
        out.reserve(STEP);
        let status = decoder.decompress_vec(rest, out, FlushDecompress::None);
        if out.len() > max {
            return Err(Undecoded::TooLarge);
        }
        let stuck = decoder.total_in() as usize == before && out.len() == had;
        match status {
            Ok(Status::StreamEnd) if decoder.total_in() as usize == bytes.len() => return Ok(()),
            Ok(Status::Ok | Status::BufError) if !stuck => {}
            _ => return Err(Undecoded::False),
        }
    }
}

/// RFC 7932, without the larger windows some encoders offer.
fn unbrotli(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Undecoded> {
    let alloc = StandardAlloc::default;
    let mut state = BrotliState::new_strict(alloc(), alloc(), alloc());
    let (mut left, mut at, mut total) = (bytes.len(), 0, 0);
    let mut step = vec![0; STEP];
    loop {
        let (mut room, mut filled) = (step.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut at,
            bytes,
            &mut room,
            &mut filled,
            &mut step,
            &mut total,
            &mut state,
        );
        out.extend_from_slice(step.get(..filled).unwrap_or_default());
        if out.len() > max {
            return Err(Undecoded::TooLarge);
        }
        match result {
            BrotliResult::ResultSuccess if left == 0 => return Ok(()),
            BrotliResult::NeedsMoreOutput => {}
            _ => return Err(Undecoded::False),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    /// `deflate-raw` is `deflate` without its frame.
    pub const CODINGS: [&str; 6] = ["gzip", "x-gzip", "deflate", "deflate-raw", "br", "zstd"];

    pub fn encode(coding: &str, bytes: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match coding {
            "gzip" | "x-gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "deflate" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "deflate-raw" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            "br" => {
                let mut out = Vec::new();
                let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
                brotli::BrotliCompress(&mut &bytes[..], &mut out, &params).unwrap();
                out
            }
            "zstd" => zstd::encode_all(bytes, 3).unwrap(),
            other => panic!("{other}"),
        }
    }

    pub fn header(coding: &str) -> &str {
        coding.strip_suffix("-raw").unwrap_or(coding)
    }

    fn decoded(coding: &str, bytes: &[u8], max: usize) -> Result<Option<Vec<u8>>, Undecoded> {
        decode(header(coding).as_bytes(), bytes, max)
    }

    #[test]
    fn every_coding_is_read_whole() {
        for text in [b"".to_vec(), b"{\"a\":1}".to_vec(), b"abcdefgh".repeat(20_000)] {
            for coding in CODINGS {
                let encoded = encode(coding, &text);
                assert_eq!(decoded(coding, &encoded, text.len()), Ok(Some(text.clone())), "{coding}");
                let upper = header(coding).to_ascii_uppercase();
                let listed = format!(" identity ,, {upper}\t");
                assert_eq!(decode(listed.as_bytes(), &encoded, text.len()), Ok(Some(text.clone())));
            }
        }
        for none in ["", "identity", " Identity , ,identity"] {
            assert_eq!(decode(none.as_bytes(), b"x", 9), Ok(None));
        }
    }

    /// Several members are one body (RFC 1952 §2.2), several frames too (RFC 8878 §3.1).
    #[test]
    fn members_in_a_row() {
        for coding in ["gzip", "zstd"] {
            let two = [encode(coding, b"one "), encode(coding, b"two")].concat();
            assert_eq!(decoded(coding, &two, 99), Ok(Some(b"one two".to_vec())), "{coding}");
        }
    }

    #[test]
    fn what_is_not_as_said_is_refused() {
        let text = b"{\"password\":\"x\",\"n\":[1,2,3,4,5,6,7,8,9]}".repeat(9);
        for coding in CODINGS {
            let encoded = encode(coding, &text);
            let mut trailing = encoded.clone();
            trailing.extend_from_slice(b"{}");
            let cut = encoded.get(..encoded.len() - 1).unwrap();
            let half = encoded.get(..encoded.len() / 2).unwrap();
            let cases: [&[u8]; 5] = [&text, &trailing, cut, half, b""];
            for bytes in cases {
                assert_eq!(decoded(coding, bytes, 1 << 20), Err(Undecoded::False), "{coding} {bytes:?}");
            }
        }
        for (header, why) in [
            ("gzip, gzip", Undecoded::Stacked),
            ("gzip, identity, br", Undecoded::Stacked),
            ("compress", Undecoded::Unknown),
            ("aws-chunked", Undecoded::Unknown),
            ("gzip;q=1", Undecoded::Unknown),
            ("dcb", Undecoded::Unknown),
        ] {
            assert_eq!(decode(header.as_bytes(), &encode("gzip", &text), 1 << 20), Err(why), "{header}");
        }
    }

    /// A byte more than the bound is refused, and no bomb makes more than that.
    #[test]
    fn output_is_bounded() {
        let zeros = vec![0u8; 16 << 20];
        for coding in CODINGS {
            let bomb = encode(coding, &zeros);
            assert_eq!(decoded(coding, &bomb, zeros.len() - 1), Err(Undecoded::TooLarge), "{coding}");
            let started = std::time::Instant::now();
            assert_eq!(decoded(coding, &bomb, 1000), Err(Undecoded::TooLarge), "{coding}");
            assert!(started.elapsed().as_secs() < 2, "{coding} was read on");
        }
        // A window larger than RFC 9659 allows.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(25).unwrap();
        encoder.write_all(&zeros).unwrap();
        assert_eq!(decoded("zstd", &encoder.finish().unwrap(), 1 << 30), Err(Undecoded::False));
    }

    /// Run with `--ignored --nocapture`: resident memory over a bomb of 10 MiB that is 10 GiB.
    #[test]
    #[ignore = "a measurement"]
    fn resident_memory_over_a_bomb() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
        };
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let block = vec![0u8; 1 << 20];
        (0..1024).for_each(|_| encoder.write_all(&block).unwrap());
        let bomb = encoder.finish().unwrap().repeat(10);
        let before = resident();
        let started = std::time::Instant::now();
        assert_eq!(decoded("gzip", &bomb, 1 << 20), Err(Undecoded::TooLarge));
        let (took, after) = (started.elapsed(), resident());
        eprintln!("{} MiB bomb: {before} -> {after} MiB at the most, {took:?}", bomb.len() >> 20);
        assert!(after - before < 32);
    }
}
