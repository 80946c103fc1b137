//! The mux alone, fed with frames made by hand and by seeded dice.

use super::super::hpack::{Bounds, put_literal};
use super::*;
use crate::head::Head;
use crate::relay::Commit;
use crate::relay::parse::RequestFraming;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[path = "gate_tests.rs"]
mod gate;

/// What the observer was told, in words, and how far the streams' bytes had been passed then.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>, Disk);

/// What the disk says to the commits of a path; of others it has not finished writing.
type Disk = Arc<Mutex<HashMap<String, Result<(), Refusal>>>>;

impl Log {
    fn add(&self, line: String) {
        self.0.borrow_mut().push(line);
    }
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut())
    }
}

struct Seen {
    log: Log,
    path: String,
    bodies: [Vec<u8>; 2],
    trailers: usize,
}

impl Observer for Log {
    type Call = Seen;
    fn begin(&mut self, head: Head<'_>, _: &RequestFraming) -> Result<Seen, Refusal> {
        let path = String::from_utf8_lossy(head.target()).into_owned();
        if path == "/refuse" {
            return Err(Refusal { status: 503, reason: "journal_full" });
        }
        self.add(format!("begin {path}"));
        Ok(Seen { log: self.clone(), path, bodies: [vec![], vec![]], trailers: 0 })
    }
    fn unreachable(&mut self) {}
    fn refused(&mut self, refusal: Refusal, _: &[u8]) {
        self.add(format!("refused {}", refusal.reason));
    }
    fn streamed(&mut self, why: &'static str) {
        self.add(format!("streamed {why}"));
    }
}

impl Call for Seen {
    fn hold(&self) -> Option<usize> {
        self.path.starts_with("/strict").then_some(100)
    }
    fn commit(&mut self, whole: bool) -> Commit {
        self.log.add(format!("commit {} {} {whole}", self.path, self.bodies[0].len()));
        let (disk, path) = (self.log.1.clone(), self.path.clone());
        Box::pin(std::future::poll_fn(move |_| match disk.lock().unwrap().get(&path) {
            Some(result) => Poll::Ready(*result),
            None => Poll::Pending,
        }))
    }
    fn request_body(&mut self, bytes: &[u8]) {
        self.bodies[0].extend_from_slice(bytes);
    }
    fn response_head(&mut self, head: Head<'_>) {
        self.log.add(format!("status {} {}", self.path, head.status()));
    }
    fn response_body(&mut self, bytes: &[u8]) {
        self.bodies[1].extend_from_slice(bytes);
    }
    fn response_trailers(&mut self, fields: Head<'_>) {
        self.trailers += fields.fields().count();
    }
    fn tunnel(&mut self) {
        self.log.add(format!("tunnel {}", self.path));
    }
    fn end(&mut self, end: End) {
        let End { request, response, error, own_status } = end;
        let [up, down] = [0, 1].map(|i| self.bodies[i].len());
        let extra = error.map(|e| format!(" {e}")).unwrap_or_default();
        let own = own_status.map(|s| format!(" own {s}")).unwrap_or_default();
        let trailers = if self.trailers > 0 { format!(" +{}", self.trailers) } else { String::new() };
        self.log.add(format!("end {} {request:?} {up} {response:?} {down}{trailers}{extra}{own}", self.path));
    }
}

const HEADS: HeadLimits = HeadLimits { max_bytes: 64 << 10, max_fields: 100 };

fn mux(log: &Log, limits: Limits) -> Mux<Log> {
    forwarding(log, limits, None)
}

fn forwarding(log: &Log, limits: Limits, forward: Option<Forward>) -> Mux<Log> {
    let upgrades = Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() };
    let settings = Settings {
        limits: HEADS,
        http2: limits,
        upgrades: Arc::new(upgrades),
        ..Settings::brief(Duration::from_secs(5))
    };
    Mux::new(log.clone(), &settings, forward, 256 << 10)
}

/// What has come out on either side.
#[derive(Default)]
struct Out {
    to_service: Vec<u8>,
    to_client: Vec<u8>,
}

/// A connection without sockets: what is fed on one side comes out on the other.
struct World {
    mux: Mux<Log>,
    log: Log,
    pending: [Vec<u8>; 2],
    out: Out,
    longest_wait: usize,
    now: Instant,
}

impl World {
    fn new() -> World {
        World::with(Limits::default())
    }

    fn with(limits: Limits) -> World {
        World::forwarding(limits, None)
    }

    fn forwarding(limits: Limits, forward: Option<Forward>) -> World {
        let log = Log::default();
        let mux = forwarding(&log, limits, forward);
        let (pending, out) = Default::default();
        let mut world = World { mux, log, pending, out, longest_wait: 0, now: Instant::now() };
        world.client(&settings(&[])).unwrap();
        world.service(&settings(&[])).unwrap();
        world.out = Out::default();
        world
    }

    fn feed(&mut self, from: Side, bytes: &[u8]) -> Result<(), Broken> {
        let pending = &mut self.pending[from as usize];
        pending.extend_from_slice(bytes);
        loop {
            self.mux.poll_gate(&mut Context::from_waker(Waker::noop()), self.now);
            for side in [Side::Client, Side::Service] {
                let out =
                    if side == Side::Client { &mut self.out.to_service } else { &mut self.out.to_client };
                if self.mux.may_speak(side) {
                    self.mux.speak(side, out);
                }
            }
            let out = if from == Side::Client { &mut self.out.to_service } else { &mut self.out.to_client };
            let step = self.mux.step(from, pending)?;
            let n = match step {
                Step::Wait if from == Side::Client && !self.mux.is_stuck() => continue,
                Step::More | Step::Wait => break,
                Step::Pass(n) => {
                    out.extend_from_slice(&pending[..n]);
                    n
                }
                Step::Drop(n) => n,
                Step::Replace(n) => {
                    out.extend_from_slice(self.mux.made());
                    n
                }
            };
            assert!(n > 0 && n <= pending.len(), "{step:?} of {}", pending.len());
            pending.drain(..n);
        }
        self.longest_wait = self.longest_wait.max(pending.len());
        Ok(())
    }

    fn client(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.feed(Side::Client, bytes)
    }

    fn service(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.feed(Side::Service, bytes)
    }

    /// Kind, flags, stream and payload of the frames that went to the client.
    fn answers(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        frames(&std::mem::take(&mut self.out.to_client))
    }

    fn requests(&mut self) -> Vec<(u8, u8, u32, Vec<u8>)> {
        frames(&std::mem::take(&mut self.out.to_service))
    }
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(h) = Header::read(bytes) {
        all.push((h.kind, h.flags, h.stream, bytes[HEADER..h.total()].to_vec()));
        bytes = &bytes[h.total()..];
    }
    assert!(bytes.is_empty(), "half a frame");
    all
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, kind, flags, stream, payload);
    out
}

fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        entries.iter().flat_map(|(k, v)| [&k.to_be_bytes()[..], &v.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

const END: u8 = flag::END_STREAM;
const WHOLE: u8 = flag::END_HEADERS;

fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(n, v)| put_literal(&mut block, n.as_bytes(), v.as_bytes()));
    block
}

/// A POST that leaves the table alone.
fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")];
    literals(&[&head, more].concat())
}

fn open(id: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE, id, &post(path, &[]))
}

fn ok(id: u32, flags: u8) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE | flags, id, &[0x88])
}

fn data(id: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, id, bytes)
}

fn reset(id: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, id, &code.to_be_bytes())
}

/// Each request gets the line, its trailers do not, and tables play no part in what goes on.
#[test]
fn a_field_is_added_to_every_request() {
    let address = Some("192.0.2.7".parse().unwrap());
    let mut w = World::forwarding(Limits::default(), Some(Forward::x_forwarded_for(address)));
    // With indexing: the second request is one byte for each field.
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "a")];
    let mut first = Vec::new();
    for (name, value) in fields {
        first.push(0x40);
        for text in [name, value] {
            first.push(text.len() as u8);
            first.extend_from_slice(text.as_bytes());
        }
    }
    w.client(&frame(kind::HEADERS, WHOLE, 1, &first)).unwrap();
    w.client(&frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")]))).unwrap();
    w.client(&frame(kind::HEADERS, END | WHOLE, 3, &[0xc1, 0xc0, 0xbf, 0xbe])).unwrap();
    let mut reader = crate::relay::h2::hpack::Decoder::default();
    let mut list = List::default();
    let mut told = Vec::new();
    for (_, flags, id, block) in w.requests() {
        reader.decode(&block, &mut list, Bounds { bytes: 1 << 16, fields: 100 }).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        told.push((id, flags & END > 0, list.iter().map(|(n, v)| (text(n), text(v))).collect::<Vec<_>>()));
    }
    let own = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
        fields.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
    };
    let whole = own(&[&fields[..], &[("x-forwarded-for", "192.0.2.7")]].concat());
    assert_eq!(told, [(1, false, whole.clone()), (1, true, own(&[("t", "v")])), (3, true, whole)]);
    w.client(&frame(kind::HEADERS, END | WHOLE, 5, &post("/b", &[("x_forwarded-for", "6.6.6.6")]))).unwrap();
    assert!(w.requests().is_empty(), "a field that could hide the line is refused");
    assert_eq!(w.log.take().last().unwrap(), "refused underscore_field");
}

#[test]
fn a_call_ends_with_the_answer() {
    let mut w = World::new();
    let asked = [open(1, "/a"), data(1, 0, b"abc"), data(1, END, b"")].concat();
    w.client(&asked).unwrap();
    assert_eq!(w.out.to_service, asked);
    let answer = [ok(1, 0), data(1, 0, b"hello"), data(1, END, b"!!")].concat();
    w.service(&answer[..answer.len() - 1]).unwrap();
    assert_eq!(w.log.take(), ["begin /a", "status /a 200"]);
    w.service(&answer[answer.len() - 1..]).unwrap();
    assert_eq!((w.out.to_client.as_slice(), w.mux.streams.len()), (&answer[..], 0));
    assert_eq!(w.log.take(), ["end /a Complete 3 Complete 7"]);
}

/// The end is told in the step that releases the last byte, not after it.
#[test]
fn the_end_is_told_before_the_last_frame_passes() {
    for last in [
        data(1, END, b""),
        data(1, END, b"x"),
        frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")])),
    ] {
        let mut w = World::new();
        w.client(&frame(kind::HEADERS, END | WHOLE, 1, &post("/a", &[]))).unwrap();
        w.service(&ok(1, 0)).unwrap();
        w.log.take();
        let mut passed = 0;
        while passed < last.len() {
            // Whoever is given the last byte finds the end in the log already.
            let step = w.mux.step(Side::Service, &last[passed..]).unwrap();
            let Step::Pass(n) = step else { panic!("{step:?}") };
            passed += n;
        }
        assert!(w.log.take()[0].starts_with("end /a Complete 0 Complete"), "{last:?}");
    }
}

#[test]
fn interim_answers_trailers_and_early_answers() {
    let mut w = World::new();
    w.client(&open(1, "/a")).unwrap();
    let interim = frame(kind::HEADERS, WHOLE, 1, &literals(&[(":status", "103")]));
    let trailers = frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("grpc-status", "0"), ("x", "y")]));
    w.service(&[interim, ok(1, 0), trailers].concat()).unwrap();
    assert_eq!(w.log.take(), ["begin /a", "status /a 200", "end /a Open 0 Complete 0 +2"]);
    w.client(&data(1, END, b"late")).unwrap();
    assert_eq!(w.mux.streams.len(), 0);
}

#[test]
fn padding_is_no_body() {
    let mut w = World::new();
    let mut padded = post("/a", &[]);
    padded.insert(0, 2);
    padded.extend_from_slice(&[0, 0]);
    let asked = [
        frame(kind::HEADERS, WHOLE | flag::PADDED, 1, &padded),
        data(1, END | flag::PADDED, &[3, b'a', b'b', 0, 0, 0]),
        frame(
            kind::HEADERS,
            END | WHOLE | flag::PRIORITY,
            3,
            &[&[0, 0, 0, 1, 7][..], &post("/b", &[])].concat(),
        ),
    ]
    .concat();
    w.client(&asked).unwrap();
    assert_eq!(w.out.to_service, asked);
    w.service(&[ok(1, END), ok(3, END)].concat()).unwrap();
    assert_eq!(
        w.log.take(),
        [
            "begin /a",
            "begin /b",
            "status /a 200",
            "end /a Complete 2 Complete 0",
            "status /b 200",
            "end /b Complete 0 Complete 0"
        ]
    );
}

#[test]
fn resets_are_told_apart() {
    let mut w = World::new();
    w.client(&[open(1, "/a"), open(3, "/b"), reset(1, 8)].concat()).unwrap();
    w.service(&[ok(3, 0), data(3, 0, b"x"), reset(3, 2)].concat()).unwrap();
    assert_eq!(
        w.log.take(),
        [
            "begin /a",
            "begin /b",
            "end /a Aborted 0 Aborted 0 client_reset",
            "status /b 200",
            "end /b Aborted 0 Aborted 1 upstream_reset"
        ]
    );
    // What was on its way when the service reset the stream still counts for flow control.
    w.requests();
    w.client(&[data(3, 0, b"yz"), data(3, END, b"")].concat()).unwrap();
    assert_eq!(w.requests().len(), 2);
    assert_eq!(w.client(&data(1, 0, b"z")).unwrap_err().code, code::STREAM_CLOSED);
}

#[test]
fn three_hundred_resets_are_three_hundred_ends() {
    let mut w = World::new();
    for n in 0..300 {
        w.client(&[open(2 * n + 1, "/a"), reset(2 * n + 1, 8)].concat()).unwrap();
    }
    let log = w.log.take();
    assert_eq!(log.iter().filter(|l| l.ends_with("client_reset")).count(), 300);
    assert_eq!(w.requests().len(), 600);
}

#[test]
fn a_storm_of_resets_ends_the_connection() {
    let mut w = World::with(Limits { max_resets: 10, ..Limits::default() });
    let mut storm = (0..1000).map(|n| w.client(&[open(2 * n + 1, "/a"), reset(2 * n + 1, 8)].concat()));
    let broken = storm.find_map(Result::err).unwrap();
    assert_eq!((broken.code, broken.reason), (code::ENHANCE_YOUR_CALM, "h2_flood"));
    // Streams that were answered before may be left in any number.
    let mut w = World::with(Limits { max_resets: 10, ..Limits::default() });
    for n in 0..1000 {
        w.client(&open(2 * n + 1, "/a")).unwrap();
        w.service(&ok(2 * n + 1, 0)).unwrap();
        w.client(&reset(2 * n + 1, 8)).unwrap();
    }
}

#[test]
fn a_refused_stream_dies_alone() {
    let mut w = World::new();
    w.client(&open(1, "/a")).unwrap();
    w.requests();
    // An answer of ours waits for the end of a frame that is under way.
    let sibling = [ok(1, 0), data(1, 0, b"0123456789")].concat();
    w.service(&sibling[..sibling.len() - 4]).unwrap();
    w.client(
        &[open(3, "/refuse"), data(3, 0, b"abcdef"), frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 9])]
            .concat(),
    )
    .unwrap();
    assert_eq!(w.out.to_client, sibling[..sibling.len() - 4]);
    w.service(&sibling[sibling.len() - 4..]).unwrap();
    let answers = w.answers();
    assert_eq!((answers[2].0, answers[2].1, answers[2].2), (kind::HEADERS, WHOLE, 3));
    assert!(answers[2].3.starts_with(b"\x08\x03503"));
    assert_eq!((answers[3].0, answers[3].1, answers[3].2), (kind::DATA, END, 3));
    assert!(answers[3].3.ends_with(br#""reason":"journal_full"}"#));
    assert_eq!(answers[4], (kind::RST_STREAM, 0, 3, vec![0, 0, 0, 0]));
    assert_eq!(answers[5], (kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 6]), "its window is given back");
    assert_eq!(w.requests(), [], "the service knows nothing of it");
    w.client(&[data(3, END, b""), reset(3, 0), data(1, END, b"x")].concat()).unwrap();
    w.service(&data(1, END, b"")).unwrap();
    assert_eq!(w.requests().len(), 1);
    assert_eq!(
        w.log.take(),
        ["begin /a", "status /a 200", "refused journal_full", "end /a Complete 1 Complete 10"]
    );
}

/// The refused block has entered the client's table; what refers to it must be understood by a service
/// that never saw it.
#[test]
fn blocks_after_a_refused_one_are_understood() {
    let mut w = World::new();
    let mut block = vec![0x83, 0x86, 0x44, 7];
    block.extend_from_slice(b"/refuse");
    block.extend_from_slice(&[0x41, 1, b'a', 0x40, 1, b'k', 1, b'v']);
    w.client(&frame(kind::HEADERS, WHOLE | END, 1, &block)).unwrap();
    // 0xbf: :authority; a new path; then 0xbf: k.
    let next = [&[0x83, 0x86, 0xbf, 0x44, 2][..], b"/b", &[0xbf]].concat();
    // A split block and a priority, which is lost.
    let (first, rest) = next.split_at(3);
    let first = [&[0, 0, 0, 0, 1][..], first].concat();
    w.client(&frame(kind::HEADERS, flag::PRIORITY, 3, &first)).unwrap();
    w.client(&frame(kind::CONTINUATION, WHOLE, 3, rest)).unwrap();
    // `/b` entered the table too: 0xbe.
    w.client(&frame(kind::HEADERS, WHOLE | END, 5, &[0x83, 0x86, 0xbe, 0xc0])).unwrap();
    let requests = w.requests();
    assert_eq!(requests.iter().map(|(k, f, s, _)| (*k, *f, *s)).collect::<Vec<_>>(), [(1, 4, 3), (1, 5, 5)]);
    let mut service = Decoder::default();
    let mut list = List::default();
    for ((_, _, _, block), expected) in requests.iter().zip([
        &[":method", ":scheme", ":authority", ":path", "k"][..],
        &[":method", ":scheme", ":path", ":authority"],
    ]) {
        service.decode(block, &mut list, Bounds { bytes: 1000, fields: 100 }).unwrap();
        let names: Vec<_> = list.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned()).collect();
        assert_eq!(names, expected);
        assert!(list.iter().any(|(n, v)| n == b":path" && v == b"/b"));
    }
    assert_eq!(w.log.take(), ["refused journal_full", "begin /b", "begin /b"]);
}

#[test]
fn malformed_requests_are_reset() {
    for (more, reason) in [
        (("Upper", "x"), "bad_field_name"),
        (("connection", "close"), "connection_field"),
        (("x", "a\nb"), "bad_field_value"),
        (("content-length", "1x"), "content_length"),
    ] {
        let mut w = World::new();
        w.client(&frame(kind::HEADERS, WHOLE, 1, &post("/a", &[more]))).unwrap();
        assert_eq!(w.answers(), [(kind::RST_STREAM, 0, 1, vec![0, 0, 0, 1])]);
        assert_eq!((w.requests(), w.log.take()), (vec![], vec![format!("refused {reason}")]));
    }
}

#[test]
fn what_contradicts_its_length_dies_alone() {
    let sized = |id| frame(kind::HEADERS, WHOLE, id, &post("/a", &[("content-length", "3")]));
    for wrong in [
        vec![data(1, 0, b"ab"), data(1, 0, b"cd")],
        vec![data(1, END, b"ab")],
        vec![data(1, 0, b"ab"), frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")]))],
    ] {
        let mut w = World::new();
        w.client(&[sized(1), sized(3)].concat()).unwrap();
        w.service(&ok(1, 0)).unwrap();
        w.requests();
        w.answers();
        w.client(&wrong.concat()).unwrap();
        // Both are told, the offending frame does not pass, and neither hears of it again.
        let broken = (kind::RST_STREAM, 0, 1, vec![0, 0, 0, 1]);
        assert_eq!(w.requests().last(), Some(&broken));
        assert_eq!(w.answers().first(), Some(&broken));
        w.client(&data(1, 0, b"more")).unwrap();
        w.service(&data(1, 0, b"answer")).unwrap();
        assert_eq!(w.requests(), [(kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 6])]);
        assert!(w.answers().iter().all(|(k, _, s, _)| (*k, *s) == (kind::WINDOW_UPDATE, 0)));
        w.client(&data(3, END, b"abc")).unwrap();
        w.service(&ok(3, END)).unwrap();
        let log = w.log.take();
        assert!(log.contains(&"refused content_length".into()), "{log:?}");
        assert!(
            log.iter().any(|l| l.starts_with("end /a Aborted") && l.ends_with("request_malformed")),
            "{log:?}"
        );
        assert!(log.contains(&"end /a Complete 3 Complete 0".into()), "{log:?}");
    }
}

#[test]
fn an_answer_to_a_dead_stream_does_not_spoil_the_tables() {
    let mut w = World::new();
    let sized = frame(kind::HEADERS, WHOLE, 1, &post("/a", &[("content-length", "1")]));
    w.client(&[sized, open(3, "/b"), data(1, 0, b"ab")].concat()).unwrap();
    w.answers();
    // The service answers 1 before it hears of its end, and puts `k: v` into the table.
    w.service(&frame(kind::HEADERS, WHOLE, 1, &[0x88, 0x40, 1, b'k', 1, b'v'])).unwrap();
    w.service(&frame(kind::HEADERS, WHOLE | END, 3, &[0x88, 0xbe])).unwrap();
    let answers = w.answers();
    assert_eq!(answers.len(), 1);
    let mut list = List::default();
    Decoder::default().decode(&answers[0].3, &mut list, Bounds { bytes: 100, fields: 10 }).unwrap();
    assert_eq!(list.iter().collect::<Vec<_>>(), [(&b":status"[..], &b"200"[..]), (b"k", b"v")]);
}

#[test]
fn streams_are_bounded_and_the_one_too_many_may_try_again() {
    let mut w = World::with(Limits { max_streams: 2, ..Limits::default() });
    w.client(&[open(1, "/a"), open(3, "/b"), open(5, "/c")].concat()).unwrap();
    assert_eq!(w.answers(), [(kind::RST_STREAM, 0, 5, code::REFUSED_STREAM.to_be_bytes().to_vec())]);
    w.client(&reset(1, 8)).unwrap();
    w.client(&open(7, "/d")).unwrap();
    assert_eq!(
        w.log.take()[2..],
        ["refused too_many_streams", "end /a Aborted 0 Aborted 0 client_reset", "begin /d"]
    );
}

#[test]
fn floods_end_in_enhance_your_calm() {
    let calm = |bytes: &[u8]| {
        let broken = World::new().client(bytes).unwrap_err();
        assert_eq!((broken.by, broken.code), (Side::Client, code::ENHANCE_YOUR_CALM), "{}", broken.reason);
    };
    // CONTINUATION frames without end: many, empty ones, large ones.
    let first = frame(kind::HEADERS, 0, 1, &post("/a", &[]));
    calm(&[first.clone(), frame(kind::CONTINUATION, 0, 1, b"").repeat(33)].concat());
    calm(&[first.clone(), frame(kind::CONTINUATION, 0, 1, &[0; 16 << 10]).repeat(4)].concat());
    // A block that unfolds.
    let mut bomb = vec![0x40, 1, b'k', 0x7f, 0x81, 0x1e];
    bomb.extend_from_slice(&[b'x'; 3968]);
    bomb.resize(16 << 10, 0xbe);
    calm(&frame(kind::HEADERS, WHOLE, 1, &bomb));
    calm(&frame(kind::HEADERS, WHOLE, 1, &[0x82; 401]));
    calm(&frame(kind::SETTINGS, 0, 0, &[0; 1200]));
    // Refusals.
    let mut w = World::with(Limits { max_resets: 10, ..Limits::default() });
    let broken = (0..200).find_map(|n| w.client(&open(2 * n + 1, "/refuse")).err()).unwrap();
    assert_eq!(broken.code, code::ENHANCE_YOUR_CALM);
}

#[test]
fn frames_that_are_uncertain_end_the_connection() {
    let sound = || [open(1, "/a"), frame(kind::HEADERS, WHOLE | END, 3, &post("/b", &[]))].concat();
    for (bytes, code) in [
        (data(0, 0, b""), code::PROTOCOL_ERROR),
        (data(5, 0, b""), code::PROTOCOL_ERROR),
        (data(3, 0, b""), code::STREAM_CLOSED),
        (data(1, flag::PADDED, &[1]), code::PROTOCOL_ERROR),
        (open(2, "/a"), code::PROTOCOL_ERROR),
        (open(0, "/a"), code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, WHOLE | END, 3, &literals(&[("t", "v")])), code::STREAM_CLOSED),
        (frame(kind::CONTINUATION, WHOLE, 1, b""), code::PROTOCOL_ERROR),
        ([frame(kind::HEADERS, 0, 5, &post("/a", &[])), data(1, 0, b"")].concat(), code::PROTOCOL_ERROR),
        (
            [frame(kind::HEADERS, 0, 5, &post("/a", &[])), frame(kind::CONTINUATION, WHOLE, 7, b"")].concat(),
            code::PROTOCOL_ERROR,
        ),
        (frame(kind::PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 2]), code::PROTOCOL_ERROR),
        (reset(9, 8), code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 5]), code::FRAME_SIZE_ERROR),
        (frame(kind::PING, 0, 0, &[0; 7]), code::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), code::FRAME_SIZE_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0; 4]), code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 0, &[0; 5]), code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[0; 6]), code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 1, &[0; (16 << 10) + 1]), code::FRAME_SIZE_ERROR),
        (frame(kind::HEADERS, WHOLE, 5, &[0x80]), code::COMPRESSION_ERROR),
        (frame(kind::HEADERS, WHOLE | flag::PADDED, 5, &[9, 0]), code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, WHOLE | flag::PRIORITY, 5, &[0]), code::PROTOCOL_ERROR),
    ] {
        let mut w = World::new();
        w.client(&sound()).unwrap();
        let broken = w.client(&bytes).map_err(|b| (b.by, b.code));
        assert_eq!(broken, Err((Side::Client, code)), "{:?}", &bytes[..bytes.len().min(20)]);
    }
    let log = Log::default();
    assert_eq!(
        mux(&log, Limits::default()).step(Side::Client, &open(1, "/a")).unwrap_err().reason,
        "h2_preface"
    );
    let broken =
        mux(&log, Limits::default()).step(Side::Service, b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
    assert_eq!((broken.code, broken.reason), (code::HTTP_1_1_REQUIRED, NOT_HTTP2));
}

#[test]
fn a_table_larger_than_ours_is_lowered_in_its_place() {
    let mut w = World::new();
    w.client(&settings(&[(1, 1 << 20), (3, 7), (1, 100)])).unwrap();
    assert_eq!(w.out.to_service, settings(&[(1, MAX_TABLE as u32), (3, 7), (1, 100)]));
    assert!(
        w.mux
            .service
            .decoder
            .decode(&[0x3f, 0xe1, 0xff, 0x03], &mut List::default(), Bounds { bytes: 1, fields: 1 })
            .is_ok()
    );
    // Larger frames are announced to the other side.
    w.service(&settings(&[(5, 1 << 20)])).unwrap();
    w.client(&[open(1, "/a"), data(1, 0, &[0; 100_000])].concat()).unwrap();
}

#[test]
fn extended_connect_becomes_a_tunnel() {
    let connect = |protocol| {
        literals(&[
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":path", "/ws"),
            (":authority", "a"),
        ])
    };
    let mut w = World::new();
    w.client(&frame(kind::HEADERS, WHOLE, 1, &connect("websocket"))).unwrap();
    w.client(&frame(kind::HEADERS, WHOLE, 3, &connect("connect-udp"))).unwrap();
    w.service(&ok(1, 0)).unwrap();
    w.client(&data(1, 0, b"frame")).unwrap();
    w.service(&data(1, END, b"bye")).unwrap();
    assert_eq!(
        w.log.take(),
        ["begin /ws", "refused upgrade", "status /ws 200", "tunnel /ws", "end /ws Open 5 Complete 3"]
    );
}

#[test]
fn pushed_streams_are_watched() {
    let mut w = World::new();
    w.client(&open(1, "/a")).unwrap();
    let promise =
        literals(&[(":method", "GET"), (":scheme", "http"), (":path", "/style"), (":authority", "a")]);
    let pushed = [
        frame(kind::PUSH_PROMISE, WHOLE, 1, &[&[0, 0, 0, 2][..], &promise].concat()),
        ok(2, 0),
        data(2, END, b"css"),
        // One that cannot be read goes on unwatched.
        frame(kind::PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 4, 0x82]),
        ok(4, END),
    ]
    .concat();
    w.service(&pushed).unwrap();
    assert_eq!(w.out.to_client, pushed);
    assert_eq!(
        w.log.take(),
        ["begin /a", "begin /style", "status /style 200", "end /style Complete 0 Complete 3"]
    );
    assert_eq!(w.mux.streams.len(), 1);
}

#[test]
fn a_drain_lets_open_streams_finish() {
    let mut w = World::new();
    w.client(&open(1, "/a")).unwrap();
    w.mux.drain();
    w.client(b"").unwrap();
    let told = w.answers();
    assert_eq!(told[0], (kind::GOAWAY, 0, 0, [&MAX_STREAM.to_be_bytes()[..], &[0; 4]].concat()));
    assert_eq!(told[1], (kind::PING, 0, 0, DRAIN_PING.to_vec()));
    // Opened before the client knew: still served.
    w.client(&open(3, "/b")).unwrap();
    w.client(&frame(kind::PING, flag::ACK, 0, b"another!")).unwrap();
    w.requests();
    w.client(&frame(kind::PING, flag::ACK, 0, &DRAIN_PING)).unwrap();
    w.client(b"").unwrap();
    assert_eq!(w.answers(), [(kind::GOAWAY, 0, 0, vec![0, 0, 0, 3, 0, 0, 0, 0])]);
    assert_eq!(w.requests(), [], "the answer to our PING is ours");
    // Too late: as if never sent, but for the window.
    w.client(&[open(5, "/c"), data(5, END, b"xyz")].concat()).unwrap();
    w.client(b"").unwrap();
    assert_eq!((w.requests(), w.answers()), (vec![], vec![(kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 3])]));
    // The service's GOAWAY may not name a later stream than ours.
    w.service(&frame(kind::GOAWAY, 0, 0, &[&MAX_STREAM.to_be_bytes()[..], &[0, 0, 0, 0], b"why"].concat()))
        .unwrap();
    assert_eq!(w.answers(), [(kind::GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\0why".to_vec())]);
    assert!(!w.mux.is_drained());
    w.client(&[data(1, END, b""), data(3, END, b"")].concat()).unwrap();
    w.service(&[ok(1, END), ok(3, END)].concat()).unwrap();
    assert!(w.mux.is_drained());
    assert_eq!(
        w.log.take().iter().filter(|l| l.starts_with("end") && l.contains("Complete 0 Complete")).count(),
        2
    );
}

#[test]
fn streams_beyond_the_services_goaway_end() {
    let mut w = World::new();
    w.client(&[open(1, "/a"), open(3, "/b")].concat()).unwrap();
    w.service(&frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).unwrap();
    assert_eq!(w.log.take()[2..], ["end /b Aborted 0 Aborted 0 upstream_reset"]);
    w.mux.farewell(code::NO_ERROR);
    w.client(b"").unwrap();
    assert_eq!(w.answers().last().unwrap().3, [0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn without_a_service_requests_are_answered() {
    let log = Log::default();
    let mut mux = mux(&log, Limits::default());
    mux.deny(Refusal { status: 502, reason: "upstream_connect" });
    let bytes = [settings(&[]), open(1, "/a"), data(1, END, b"abc")].concat();
    let mut at = 0;
    while let Step::Pass(n) | Step::Drop(n) = mux.step(Side::Client, &bytes[at..]).unwrap() {
        at += n;
    }
    mux.farewell(code::NO_ERROR);
    let mut out = Vec::new();
    mux.speak(Side::Service, &mut out);
    let kinds: Vec<_> = frames(&out).iter().map(|(k, _, s, _)| (*k, *s)).collect();
    assert_eq!(kinds, [(4, 0), (1, 1), (3, 1), (7, 0), (8, 0)]);
    assert_eq!(log.take(), ["begin /a", "end /a Aborted 0 Aborted 0 upstream_connect own 502"]);
}

/// Small numbers from a seed, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// A dialogue of sound frames, each side's in order.
fn dialogue(dice: &mut Dice) -> Vec<(Side, Vec<u8>)> {
    let mut all = Vec::new();
    let mut id = 1;
    for _ in 0..=dice.roll(6) {
        let body = vec![b'b'; dice.roll(20_000)];
        let path = format!("/{id}");
        let mut fields = vec![("x-same", "value")];
        let length = body.len().to_string();
        if dice.roll(2) == 0 {
            fields.push(("content-length", &length));
        }
        let mut block = post(&path, &fields);
        // Something for the table, and something from it.
        block.extend_from_slice(&[0x40, 1, b'k', 1, b'v', 0xbe]);
        let (first, rest) = block.split_at(dice.roll(block.len()));
        if dice.roll(3) == 0 {
            all.push((Side::Client, frame(kind::HEADERS, 0, id, first)));
            all.push((Side::Client, frame(kind::CONTINUATION, WHOLE, id, rest)));
        } else {
            all.push((Side::Client, frame(kind::HEADERS, WHOLE, id, &block)));
        }
        for part in body.chunks(1 + dice.roll(9000)) {
            all.push((Side::Client, data(id, 0, part)));
            all.push((Side::Service, frame(kind::WINDOW_UPDATE, 0, id, &[0, 0, 1, 0])));
        }
        match dice.roll(3) {
            0 => all.push((Side::Client, frame(kind::HEADERS, END | WHOLE, id, &literals(&[("t", "v")])))),
            _ => all.push((Side::Client, data(id, END | flag::PADDED, &[2, 0, 0]))),
        }
        all.push((Side::Client, frame(kind::PING, 0, 0, &[7; 8])));
        all.push((Side::Client, frame(200, 9, id, &[1; 30])));
        if dice.roll(4) == 0 {
            all.push((Side::Service, frame(kind::HEADERS, WHOLE, id, &literals(&[(":status", "103")]))));
        }
        all.push((Side::Service, frame(kind::HEADERS, WHOLE, id, &[0x88, 0x40, 1, b'k', 1, b'v', 0xbe])));
        all.push((Side::Service, data(id, 0, &vec![b'r'; dice.roll(16_000)])));
        all.push((Side::Service, data(id, END, b"")));
        id += 2;
    }
    all
}

#[test]
fn whatever_is_sound_passes_unchanged_in_any_pieces() {
    let mut dice = Dice(7);
    for _ in 0..60 {
        let all = dialogue(&mut dice);
        let mut w = World::new();
        let mut sent = Out::default();
        for (from, bytes) in &all {
            let sent = if *from == Side::Client { &mut sent.to_service } else { &mut sent.to_client };
            sent.extend_from_slice(bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (part, after) = rest.split_at(1 + dice.roll(rest.len()));
                w.feed(*from, part).unwrap();
                rest = after;
            }
        }
        assert!(w.out.to_service == sent.to_service && w.out.to_client == sent.to_client);
        assert!(w.longest_wait < 1000, "only header blocks and control frames wait");
        let log = w.log.take();
        let (begun, ended) =
            (log.iter().filter(|l| l.starts_with("begin")), log.iter().filter(|l| l.starts_with("end")));
        assert_eq!((begun.count(), w.mux.streams.len()), (ended.count(), 0));
        assert!(log.iter().filter(|l| l.starts_with("end")).all(|l| l.contains("Complete")), "{log:?}");
    }
}

#[test]
fn every_split_in_two_reads_the_same() {
    let asked = [
        frame(kind::HEADERS, flag::PADDED, 1, &[&[2][..], &post("/a", &[])[..9], &[0, 0]].concat()),
        frame(kind::CONTINUATION, WHOLE, 1, &post("/a", &[])[9..]),
        data(1, flag::PADDED, &[2, b'a', b'b', b'c', 0, 0]),
        frame(kind::SETTINGS, flag::ACK, 0, b""),
        data(1, END, b"d"),
    ]
    .concat();
    for at in 0..=asked.len() {
        let mut w = World::new();
        w.client(&asked[..at]).unwrap();
        assert!(asked.starts_with(&w.out.to_service));
        w.client(&asked[at..]).unwrap();
        assert!(w.out.to_service == asked, "{at}");
        w.service(&ok(1, END)).unwrap();
        assert_eq!(w.log.take()[2], "end /a Complete 4 Complete 0", "{at}");
    }
}

#[test]
fn damaged_dialogues_never_panic_and_every_call_ends() {
    let mut dice = Dice(11);
    let (mut broken, mut refused) = (0, 0);
    for _ in 0..4000 {
        let mut all = dialogue(&mut dice);
        all.truncate(1 + dice.roll(40));
        for _ in 0..=dice.roll(3) {
            let n = dice.roll(all.len());
            let (_, bytes) = &mut all[n];
            if bytes.is_empty() {
                continue;
            }
            // Headers and the beginnings of payloads are where damage matters.
            let at = dice.roll(bytes.len().min(60));
            match dice.roll(3) {
                0 => bytes.truncate(at),
                1 => bytes[at] ^= 1 << dice.roll(8),
                _ => bytes[at] = dice.roll(256) as u8,
            }
        }
        let mut w = World::new();
        broken += usize::from(all.iter().any(|(from, bytes)| w.feed(*from, bytes).is_err()));
        w.mux.lost("upstream_closed");
        let log = w.log.take();
        let count = |word: &str| log.iter().filter(|l| l.starts_with(word)).count();
        assert_eq!(count("begin"), count("end"), "{log:?}");
        refused += count("refused");
        assert!(w.pending.iter().all(|p| p.len() < 300 << 10));
    }
    assert!(broken > 1000 && refused > 20, "{broken} {refused}");
}
