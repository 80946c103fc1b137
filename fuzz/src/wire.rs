//! HTTP/1: heads and chunked bodies. Read in one piece or in many, the answer must be the same.

use crate::Target;
use sidelog::head::{Head, HeadIndex};
use sidelog::relay::framing::Framer;
use sidelog::relay::parse::{self, HeadLimits, HeadScanner, RequestFraming};
use sidelog::relay::{Offer, Upgrades, without_offer};

const LIMITS: HeadLimits = HeadLimits { max_bytes: 64 << 10, max_fields: 256 };

pub const REQUEST: Target = Target {
    name: "request",
    run: request,
    seeds: &[
        b"POST /v1/orders?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n",
    ],
};

pub const RESPONSE: Target = Target {
    name: "response",
    run: response,
    seeds: &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.0 204\nX: y\nTransfer-Encoding: gzip, chunked\n\n",
    ],
};

pub const CHUNKS: Target = Target {
    name: "chunks",
    run: chunks,
    seeds: &[b"3\r\nabc\r\n0\r\n\r\n", b"A;x=\"y\\\"\"\r\n0123456789\r\n0\r\nTrailer: a\r\n\r\nrest"],
};

/// The head's length when it comes in pieces of so many bytes.
fn scan(data: &[u8], step: usize) -> Result<Option<usize>, parse::Refusal> {
    let mut scanner = HeadScanner::default();
    let mut end = 0;
    while end < data.len() {
        end = (end + step).min(data.len());
        if let Some(len) = scanner.scan_request(&data[..end], LIMITS)? {
            return Ok(Some(len));
        }
    }
    Ok(None)
}

fn request(data: &[u8]) {
    let whole = scan(data, data.len().max(1));
    let pieces = scan(data, 1 + data.len() % 7);
    if let (Ok(Some(whole)), Ok(Some(pieces))) = (whole, pieces) {
        assert_eq!(whole, pieces, "the end of a head depends on how it arrives");
    }
    let Ok(Some(len)) = whole else { return };
    assert!(pieces.is_ok(), "refused only in pieces");
    let raw = &data[..len];
    let mut index = HeadIndex::default();
    let upgrades = Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() };
    let Ok(framing) = parse::request(raw, &mut index, &upgrades) else { return };
    let head = Head { raw, index: &index };
    assert!(!head.method().is_empty() && !head.target().is_empty());
    assert!(head.all("host").count() <= 1 && head.all("content-length").count() <= 1);
    assert!(head.first("content-length").is_none() || head.first("transfer-encoding").is_none());
    assert!(!head.target().iter().any(|b| b.is_ascii_control() || *b == b' '));
    for (name, value) in head.fields() {
        assert!(name.bytes().all(|b| b.is_ascii_graphic() && b != b':'), "{name:?}");
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{value:?}");
    }
    if let Framer::Sized(n) = framing.body {
        let told = head.first("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
        assert_eq!(told, Some(n));
    }
    let Some(shorter) = without_offer(&head, &framing) else { return };
    assert!(shorter.len() < raw.len());
    let again = parse::request(&shorter, &mut index, &upgrades).expect("what goes on could have come so");
    assert!(!again.is_withdrawn() && again.may_switch() == framing.may_switch());
    assert_eq!((again.body, again.head_method), (framing.body, framing.head_method));
}

fn response(data: &[u8]) {
    let Some(len) = HeadScanner::default().scan_response(data) else { return };
    let mut index = HeadIndex::default();
    let raw = &data[..len];
    for head_method in [false, true] {
        let upgrade = Some(Offer { allowed: vec!["websocket".to_owned()], withdrawn: false });
        let asked = RequestFraming { body: Framer::Done, head_method, upgrade };
        if parse::response(raw, &mut index, &asked).is_ok() {
            assert!((100..1000).contains(&index.status));
            let _ = parse::switched_to(raw, &index);
        }
    }
}

/// Body bytes and how many bytes belonged to the message, fed in pieces.
fn feed(data: &[u8], step: usize, strict: bool) -> (Result<usize, &'static str>, Vec<u8>) {
    let (mut framer, mut body, mut used) = (Framer::chunked(strict), Vec::new(), 0);
    for piece in data.chunks(step) {
        match framer.feed(piece, |bytes| body.extend_from_slice(bytes)) {
            Ok(taken) => used += taken,
            Err(why) => return (Err(why), body),
        }
        if framer.is_done() {
            break;
        }
    }
    (Ok(used), body)
}

fn chunks(data: &[u8]) {
    for strict in [true, false] {
        let (whole, body) = feed(data, data.len().max(1), strict);
        let (pieces, same) = feed(data, 1 + data.len() % 5, strict);
        assert_eq!(whole, pieces, "the end of a body depends on how it arrives");
        if whole.is_ok() {
            assert_eq!(body, same);
        }
        assert!(body.len() <= data.len());
    }
}
