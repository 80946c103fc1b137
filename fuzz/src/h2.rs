//! HTTP/2: header blocks and frames. Read in one piece or in many, the answer must be the same.

use crate::Target;
use sidelog::head::Head;
use sidelog::relay::h2::Limits;
use sidelog::relay::h2::hpack::{Bounds, Decoder, List, put_literal};
use sidelog::relay::h2::mux::{Broken, Mux, Side, Step};
use sidelog::relay::parse::{HeadLimits, RequestFraming};
use sidelog::relay::{Call, Commit, End, Observer, Refusal, Settings, Upgrades};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

pub const HPACK: Target = Target {
    name: "hpack",
    run: hpack,
    seeds: &[
        // RFC 7541, C.4.1 and C.6.1: with Huffman codes and entries for the table.
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b",
        b"\x20\x3f\xe1\x1f\x82\x40\x01a\x01b\xbe\x10\x01c\x01d",
    ],
};

pub const FRAMES: Target = Target {
    name: "frames",
    run: frames,
    seeds: &[
        // A call, and its answer: chunks of one byte for side and length, then frames.
        b"\x1b\0\0\x06\x01\x04\0\0\0\x01\x83\x86\x84\x41\x01a\0\0\x03\0\x01\0\0\0\x01abc\x8a\0\0\x01\x01\x05\0\0\0\x01\x88",
        // A block in two pieces, one stream abandoned, a ping, a window, the end.
        b"\x1b\0\0\x03\x01\0\0\0\0\x01\x83\x86\x84\0\0\x03\x09\x04\0\0\0\x01\x41\x01a\x0d\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08\
          \x91\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x0d\0\0\x04\x08\0\0\0\0\0\0\0\0\x01\
          \x91\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
    ],
};

/// The same with calls that wait for the disk.
pub const STRICT: Target = Target { name: "frames_strict", run: strict, seeds: FRAMES.seeds };

const BOUNDS: Bounds = Bounds { bytes: 4096, fields: 64 };

fn pairs(list: &List) -> Vec<(Vec<u8>, Vec<u8>)> {
    list.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Blocks of one connection, each behind a byte that tells its length.
fn hpack(data: &[u8]) {
    let mut decoder = Decoder::default();
    let (mut list, mut again) = (List::default(), List::default());
    let mut rest = data;
    while let Some((len, tail)) = rest.split_first() {
        let (block, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = tail;
        if decoder.decode(block, &mut list, BOUNDS).is_err() {
            break;
        }
        let fields = pairs(&list);
        assert!(fields.len() <= BOUNDS.fields && list.bytes.len() <= BOUNDS.bytes);
        // As it is written anew where the tables differ.
        let mut plain = Vec::new();
        fields.iter().for_each(|(name, value)| put_literal(&mut plain, name, value));
        Decoder::default().decode(&plain, &mut again, BOUNDS).expect("our own words");
        assert_eq!(pairs(&again), fields);
    }
}

#[derive(Clone, Default)]
struct Watcher {
    lines: Rc<RefCell<Vec<String>>>,
    strict: bool,
}

struct Watched {
    watcher: Watcher,
    number: usize,
    bodies: [Vec<u8>; 2],
}

impl Watcher {
    fn tell(&self, line: String) {
        self.lines.borrow_mut().push(line);
    }
}

impl Watched {
    fn tell(&self, line: String) {
        self.watcher.tell(format!("{} {line}", self.number));
    }
}

impl Observer for Watcher {
    type Call = Watched;

    fn begin(&mut self, head: Head<'_>, _: &RequestFraming) -> Result<Watched, Refusal> {
        assert!(!head.method().is_empty() && !head.target().is_empty());
        for (name, value) in head.fields() {
            assert!(!name.is_empty() && !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{value:?}");
        }
        self.tell(format!("begin {:?} {:?}", head.method(), head.target()));
        let number = self.lines.borrow().len();
        Ok(Watched { watcher: self.clone(), number, bodies: Default::default() })
    }

    fn unreachable(&mut self) {}

    fn refused(&mut self, refusal: Refusal, _: &[u8]) {
        self.tell(format!("refused {}", refusal.reason));
    }
}

impl Call for Watched {
    fn hold(&self) -> Option<usize> {
        (self.watcher.strict && !self.number.is_multiple_of(4)).then_some(16)
    }

    fn commit(&mut self, whole: bool) -> Commit {
        self.tell(format!("commit {whole}"));
        let refusal = Refusal { status: 503, reason: "not_durable" };
        let fails = self.number % 4 == if whole { 1 } else { 2 };
        Box::pin(std::future::ready(if fails { Err(refusal) } else { Ok(()) }))
    }

    fn request_body(&mut self, bytes: &[u8]) {
        self.bodies[0].extend_from_slice(bytes);
    }

    fn response_head(&mut self, head: Head<'_>) {
        self.tell(format!("answered {}", head.status()));
    }

    fn response_body(&mut self, bytes: &[u8]) {
        self.bodies[1].extend_from_slice(bytes);
    }

    fn tunnel(&mut self) {
        self.tell("a tunnel".into());
    }

    fn end(&mut self, end: End) {
        self.tell(format!("{end:?} {:?}", self.bodies));
    }
}

/// What a connection made of what it was sent.
#[derive(Debug, PartialEq)]
struct Outcome {
    told: Vec<String>,
    /// To the service, to the client.
    sent: [Vec<u8>; 2],
    broken: Option<Broken>,
}

struct Connection {
    mux: Mux<Watcher>,
    pending: [Vec<u8>; 2],
    sent: [Vec<u8>; 2],
    /// Nobody's patience ends.
    now: Instant,
}

impl Connection {
    fn feed(&mut self, from: Side, bytes: &[u8]) -> Result<(), Broken> {
        let Connection { mux, pending, sent, now } = self;
        let [to_service, to_client] = sent;
        let pending = &mut pending[from as usize];
        pending.extend_from_slice(bytes);
        loop {
            mux.poll_gate(&mut Context::from_waker(Waker::noop()), *now);
            if mux.may_speak(Side::Client) {
                mux.speak(Side::Client, to_service);
            }
            if mux.may_speak(Side::Service) {
                mux.speak(Side::Service, to_client);
            }
            let out = if from == Side::Client { &mut *to_service } else { &mut *to_client };
            let n = match mux.step(from, pending)? {
                Step::Wait if from == Side::Client && !mux.is_stuck() => continue,
                Step::More | Step::Wait => return Ok(()),
                Step::Pass(n) => {
                    out.extend_from_slice(pending.get(..n).expect("no more than there is"));
                    n
                }
                Step::Drop(n) => n,
                Step::Replace(n) => {
                    out.extend_from_slice(mux.made());
                    n
                }
            };
            assert!(n > 0, "no progress");
            pending.drain(..n);
        }
    }
}

/// Chunks of both sides in the order given, each fed in pieces of so many bytes.
fn exchange(data: &[u8], step: usize, strict: bool) -> Outcome {
    let watcher = Watcher { strict, ..Watcher::default() };
    let heads = HeadLimits { max_bytes: 2048, max_fields: 64 };
    // Storms are a matter of time, which is not fuzzed.
    let limits = Limits { max_streams: 8, max_resets: 0, ..Limits::default() };
    let upgrades = Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() };
    let settings =
        Settings { limits: heads, http2: limits, upgrades: Arc::new(upgrades), ..Settings::default() };
    let mux = Mux::new(watcher.clone(), &settings, None, 2048);
    let (pending, sent) = Default::default();
    let mut connection = Connection { mux, pending, sent, now: Instant::now() };
    let mut chunks = vec![(Side::Client, SETTINGS), (Side::Service, SETTINGS)];
    let mut rest = data;
    while let Some((first, tail)) = rest.split_first() {
        let (chunk, tail) = tail.split_at(usize::from(first & 0x7f).min(tail.len()));
        chunks.push((if first & 0x80 == 0 { Side::Client } else { Side::Service }, chunk));
        rest = tail;
    }
    let pieces = chunks.iter().flat_map(|(side, chunk)| chunk.chunks(step).map(move |piece| (*side, piece)));
    let broken = pieces.map(|(side, piece)| connection.feed(side, piece)).find_map(Result::err);
    let Connection { mux, sent, .. } = connection;
    drop(mux);
    Outcome { told: watcher.lines.take(), sent, broken }
}

const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

fn frames(data: &[u8]) {
    compare(data, false);
}

fn strict(data: &[u8]) {
    compare(data, true);
}

fn compare(data: &[u8], strict: bool) {
    let whole = exchange(data, usize::MAX, strict);
    let count = |what: &str| whole.told.iter().filter(|line| line.contains(what)).count();
    assert!(count("End {") <= count("begin "), "{:?}", whole.told);
    let pieces = exchange(data, 1 + data.len() % 5, strict);
    assert_eq!(pieces, whole, "the outcome depends on how bytes arrive");
}
