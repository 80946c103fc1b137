//! Strict calls: what reaches the service, when, in which order and how compressed, and what does not.

use super::*;

const NOT_DURABLE: Refusal = Refusal { status: 503, reason: "not_durable" };

impl World {
    /// The disk is done with a path's commits, well or not.
    fn disk(&mut self, path: &str, result: Result<(), Refusal>) {
        self.log.1.lock().unwrap().insert(path.into(), result);
        self.client(b"").unwrap();
    }

    /// Kind and stream of the frames that have reached the service.
    fn passed(&mut self) -> Vec<(u8, u32)> {
        self.requests().iter().map(|(kind, _, id, _)| (*kind, *id)).collect()
    }

    fn commits(&self) -> Vec<String> {
        self.log.take().into_iter().filter(|line| line.starts_with("commit")).collect()
    }

    /// The commits and, before them, why they come too early.
    fn streamed(&self) -> Vec<String> {
        let of_it = |line: &String| line.starts_with("commit") || line.starts_with("streamed");
        self.log.take().into_iter().filter(of_it).collect()
    }
}

/// What a service makes of the header blocks it gets: the paths, with `k` and its value if they say so.
#[derive(Default)]
struct Service(Decoder);

impl Service {
    fn reads(&mut self, frames: &[(u8, u8, u32, Vec<u8>)]) -> Vec<(u32, String)> {
        let mut read = Vec::new();
        for (_, _, id, block) in frames.iter().filter(|(kind, ..)| *kind == kind::HEADERS) {
            let mut list = List::default();
            self.0.decode(block, &mut list, Bounds { bytes: 1000, fields: 20 }).unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let told = |(n, _): &(&[u8], &[u8])| *n == b":path" || *n == b"k" || *n == b"t";
            read.push((*id, list.iter().filter(told).map(|(_, v)| text(v)).collect::<Vec<_>>().join(" ")));
        }
        read
    }
}

/// A POST that puts `k: v` into the table.
fn indexing(id: u32, flags: u8, path: &str, v: u8) -> Vec<u8> {
    let mut block = post(path, &[]);
    block.extend_from_slice(&[0x40, 1, b'k', 1, v]);
    frame(kind::HEADERS, WHOLE | flags, id, &block)
}

/// One that takes the latest entry from it.
fn indexed(id: u32, flags: u8, path: &str) -> Vec<u8> {
    let mut block = post(path, &[]);
    block.push(0xbe);
    frame(kind::HEADERS, WHOLE | flags, id, &block)
}

fn window(id: u32, n: usize) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, id, &(n as u32).to_be_bytes())
}

#[test]
fn a_body_that_fits_is_on_the_disk_before_the_service_hears_of_the_call() {
    let trailers = frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")]));
    let cases = [
        ([frame(kind::HEADERS, END | WHOLE, 1, &post("/strict", &[]))].concat(), 0),
        ([open(1, "/strict"), data(1, END, b"abc")].concat(), 3),
        ([open(1, "/strict"), data(1, 0, b"abc"), data(1, END | flag::PADDED, b"\x02de\0\0")].concat(), 5),
        ([open(1, "/strict"), data(1, 0, b"abc"), trailers].concat(), 3),
        ([open(1, "/strict"), window(1, 9), data(1, END, b"abc")].concat(), 3),
    ];
    for (asked, n) in cases {
        // All at once, and byte by byte.
        for size in [asked.len(), 1] {
            let mut w = World::new();
            asked.chunks(size).for_each(|part| w.client(part).unwrap());
            assert_eq!(w.out.to_service, b"", "{n}");
            assert_eq!(w.log.take(), ["begin /strict".into(), format!("commit /strict {n} true")]);
            w.disk("/strict", Ok(()));
            assert_eq!(w.out.to_service, asked);
            w.service(&ok(1, END)).unwrap();
            assert_eq!(w.log.take()[1], format!("end /strict Complete {n} Complete 0"));
            assert_eq!((w.mux.streams.len(), w.mux.gate.size, w.mux.is_holding()), (0, 0, false));
        }
    }
}

#[test]
fn frames_of_other_streams_pass_and_header_blocks_keep_their_order() {
    let mut w = World::new();
    w.client(&[open(1, "/a"), indexing(3, 0, "/strict", b'v')].concat()).unwrap();
    w.requests();
    w.client(&[data(1, 0, b"x"), frame(kind::PING, 0, 0, &[1; 8]), indexed(5, END, "/b")].concat()).unwrap();
    w.client(&[data(1, 0, b"y"), frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")]))].concat())
        .unwrap();
    w.client(&data(3, END, b"body")).unwrap();
    assert_eq!(w.passed(), [(kind::DATA, 1), (kind::PING, 0), (kind::DATA, 1)]);
    // Another behind it is ready first, and waits for its turn.
    w.client(&frame(kind::HEADERS, END | WHOLE, 7, &post("/strict2", &[]))).unwrap();
    w.disk("/strict2", Ok(()));
    assert_eq!(w.passed(), []);
    w.disk("/strict", Ok(()));
    let requests = w.requests();
    let order: Vec<_> = requests.iter().map(|(kind, _, id, _)| (*kind, *id)).collect();
    assert_eq!(order, [(1, 3), (0, 3), (1, 5), (1, 1), (1, 7)]);
    let reads = Service::default().reads(&requests);
    assert_eq!(reads[..2], [(3, "/strict v".into()), (5, "/b v".into())], "as they were compressed");
}

#[test]
fn a_call_that_cannot_be_put_on_the_disk_is_answered_and_the_service_hears_nothing_of_it() {
    let mut w = World::new();
    let asked = [
        indexing(1, 0, "/a", b'v'),
        indexing(3, 0, "/strict", b'w'),
        indexed(5, END, "/b"),
        data(3, 0, b"abc"),
        data(3, END, b"def"),
        indexed(7, END, "/strict2"),
    ];
    w.client(&asked.concat()).unwrap();
    w.disk("/strict", Err(NOT_DURABLE));
    w.disk("/strict2", Ok(()));
    let requests = w.requests();
    assert!(requests.iter().all(|(.., id, _)| *id != 3), "{requests:?}");
    let reads = Service::default().reads(&requests);
    // What was compressed by an entry the service never got.
    assert_eq!(reads, [(1, "/a v".into()), (5, "/b w".into()), (7, "/strict2 w".into())]);
    let answers = w.answers();
    assert_eq!((answers[0].0, answers[0].2), (kind::HEADERS, 3));
    assert!(answers[0].3.starts_with(b"\x08\x03503"), "{answers:?}");
    assert_eq!(answers.last(), Some(&(kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 6])));
    let log = w.log.take();
    assert!(log.contains(&"end /strict Complete 6 Aborted 0 not_durable own 503".into()), "{log:?}");
    assert!(log.contains(&"refused not_durable".into()), "{log:?}");
    // Whatever more of it comes goes nowhere, and the others go on.
    w.client(&[window(3, 5), data(1, END, b"x"), indexed(9, END, "/c")].concat()).unwrap();
    w.service(&[ok(1, END), ok(5, END), ok(7, END), ok(9, END)].concat()).unwrap();
    assert_eq!((w.passed(), w.mux.streams.len()), (vec![(0, 1), (1, 9)], 0));
}

#[test]
fn the_rest_of_a_refused_call_is_not_needed() {
    let mut w = World::new();
    w.client(&[open(1, "/strict"), data(1, 0, &[1; 100])].concat()).unwrap();
    assert_eq!(w.commits(), ["commit /strict 100 false"], "as much as is kept of any body");
    // In the middle of a frame.
    let more = data(1, 0, &[2; 50]);
    w.client(&more[..30]).unwrap();
    w.disk("/strict", Err(NOT_DURABLE));
    w.client(&more[30..]).unwrap();
    w.client(&[data(1, END, b"end"), open(3, "/b")].concat()).unwrap();
    assert_eq!(w.passed(), [(kind::HEADERS, 3)]);
    let answers = w.answers();
    assert!(answers.contains(&(kind::RST_STREAM, 0, 1, code::NO_ERROR.to_be_bytes().to_vec())));
    let back: u32 = answers.iter().filter(|a| a.0 == kind::WINDOW_UPDATE).map(|a| word(&a.3)).sum();
    assert_eq!(back, 153, "the connection's window");
}

fn word(bytes: &[u8]) -> u32 {
    frame::word(bytes, 0).unwrap()
}

#[test]
fn the_end_of_a_long_body_waits_for_a_second_commit() {
    let ends = [
        data(1, END, b"end"),
        data(1, END, b""),
        frame(kind::HEADERS, END | WHOLE, 1, &literals(&[("t", "v")])),
        data(1, END, &[3; 90_000]),
    ];
    for end in ends {
        for result in [Ok(()), Err(NOT_DURABLE)] {
            let mut w = World::new();
            w.service(&settings(&[(setting::MAX_FRAME_SIZE, 1 << 20)])).unwrap();
            w.answers();
            let begin = [open(1, "/strict"), data(1, 0, &[1; 150]), open(3, "/b")].concat();
            w.client(&begin).unwrap();
            assert_eq!(w.out.to_service, b"");
            w.disk("/strict", Ok(()));
            assert_eq!(w.out.to_service, begin);
            w.client(&data(1, 0, &[2; 150])).unwrap();
            assert_eq!(w.out.to_service.len(), begin.len() + 159);
            w.log.1.lock().unwrap().clear();
            w.requests();
            w.client(&[&end[..], &data(3, 0, b"x")].concat()).unwrap();
            let large = end.len() > 80_000;
            let behind = if large { vec![] } else { vec![(kind::DATA, 3)] };
            assert_eq!(w.passed(), behind, "other streams go on");
            assert_eq!(w.commits().len(), 2);
            w.disk("/strict", result);
            let requests = w.out.to_service.clone();
            if result.is_ok() {
                assert!(requests.starts_with(&end));
                w.service(&ok(1, END)).unwrap();
                let log = w.log.take();
                assert!(log.iter().any(|l| l.starts_with("end /strict Complete")), "{log:?}");
                continue;
            }
            let told = w.requests();
            assert!(told.contains(&(kind::RST_STREAM, 0, 1, code::CANCEL.to_be_bytes().to_vec())));
            assert!(told.iter().all(|(kind, _, id, _)| *id != 1 || *kind == kind::RST_STREAM));
            let log = w.log.take();
            assert!(log.iter().any(|l| l.ends_with("not_durable own 503")), "{log:?}");
            assert_eq!(w.mux.streams.len(), 1);
        }
    }
}

/// The client gets what the service says of a call before it is over, also when its end cannot pass.
#[test]
fn an_early_answer_makes_the_end_pass_or_the_stream_break() {
    let part = |w: &mut World| {
        w.client(&[open(1, "/strict"), data(1, 0, &[1; 150])].concat()).unwrap();
        w.disk("/strict", Ok(()));
        w.log.1.lock().unwrap().clear();
        w.requests();
    };
    let mut w = World::new();
    part(&mut w);
    w.service(&ok(1, END)).unwrap();
    w.client(&data(1, END, b"x")).unwrap();
    assert_eq!((w.passed(), w.mux.streams.len()), (vec![(kind::DATA, 1)], 0), "nothing is left to be told");
    let mut w = World::new();
    part(&mut w);
    w.service(&ok(1, 0)).unwrap();
    w.client(&data(1, END, b"x")).unwrap();
    w.disk("/strict", Err(NOT_DURABLE));
    assert_eq!(w.passed(), [(kind::RST_STREAM, 1)]);
    assert_eq!(w.answers()[1], (kind::RST_STREAM, 0, 1, code::INTERNAL_ERROR.to_be_bytes().to_vec()));
    assert!(w.log.take().contains(&"end /strict Complete 151 Aborted 0 not_durable".into()));
}

#[test]
fn a_body_is_waited_for_only_where_it_can_come_in_time() {
    let expect = frame(kind::HEADERS, WHOLE, 1, &post("/strict", &[("expect", "100-continue")]));
    let mut w = World::new();
    w.client(&expect).unwrap();
    assert_eq!(w.streamed(), ["streamed continue", "commit /strict 0 false"]);
    // The service's own windows.
    let mut w = World::new();
    w.service(&settings(&[(setting::INITIAL_WINDOW_SIZE, 0)])).unwrap();
    w.client(&open(1, "/strict")).unwrap();
    assert_eq!(w.streamed(), ["streamed window", "commit /strict 0 false"]);
    let mut w = World::new();
    w.service(&settings(&[(setting::INITIAL_WINDOW_SIZE, 50)])).unwrap();
    w.client(&[open(1, "/strict"), data(1, 0, &[1; 50])].concat()).unwrap();
    assert_eq!(w.streamed(), ["streamed window", "commit /strict 50 false"]);
    let mut w = World::new();
    w.client(&[open(1, "/a"), data(1, 0, &[1; 16_384]), data(1, 0, &[1; 16_384])].concat()).unwrap();
    w.client(&[open(3, "/strict"), data(3, 0, &[1; 50]), data(1, 0, &[1; 16_384])].concat()).unwrap();
    w.client(&data(1, 0, &[1; 16_300])).unwrap();
    assert_eq!(w.commits(), [""; 0]);
    w.client(&data(3, 0, &[1; 33])).unwrap();
    assert_eq!(
        w.streamed(),
        ["streamed window", "commit /strict 83 false"],
        "the connection's window is used up"
    );
    // Patience.
    let mut w = World::new();
    w.client(&[open(1, "/strict"), data(1, 0, b"abc")].concat()).unwrap();
    let until = w.mux.gathers_until().unwrap();
    w.now = until - Duration::from_millis(1);
    w.client(&open(3, "/b")).unwrap();
    assert_eq!(w.commits(), [""; 0]);
    w.now = until;
    w.client(b"").unwrap();
    assert_eq!(w.streamed(), ["streamed patience", "commit /strict 3 false"]);
    assert_eq!(w.mux.gathers_until(), None);
    w.disk("/strict", Ok(()));
    assert_eq!(w.passed(), [(1, 1), (0, 1), (1, 3)]);
    // As much as is kept of any body is all there is to wait for.
    let mut w = World::new();
    w.client(&[open(1, "/strict"), data(1, 0, &[1; 100])].concat()).unwrap();
    assert_eq!(w.streamed(), ["commit /strict 100 false"]);
}

#[test]
fn patience_and_what_may_wait_are_as_configured() {
    let asked = [open(1, "/strict"), data(1, 0, b"abc")].concat();
    for seconds in [0, 7] {
        let patience = Duration::from_secs(seconds);
        let mut w = World::with(Limits { patience, ..Limits::default() });
        let before = Instant::now();
        w.now = before;
        w.client(&asked).unwrap();
        let until = w.mux.gathers_until().unwrap();
        assert!(until >= before + patience && until <= Instant::now() + patience, "{seconds}");
        w.now = until;
        w.client(b"").unwrap();
        assert_eq!(w.streamed(), ["streamed patience", "commit /strict 3 false"]);
    }
    for held in [64 << 10, 256 << 10] {
        let mut w = World::with(Limits { held, ..Limits::default() });
        w.client(&open(1, "/strict")).unwrap();
        let long = "x".repeat(15_000);
        for n in 1..50 {
            w.client(&frame(kind::HEADERS, END | WHOLE, 2 * n + 1, &post("/b", &[("a", &long)]))).unwrap();
        }
        // A block may pass the bound, and is there twice.
        let size = w.mux.gate.size;
        assert!(w.mux.is_stuck() && size > held - 40_000 && size < held + 40_000, "{size} of {held}");
        assert_eq!(w.streamed(), ["streamed size", "commit /strict 0 false"]);
        w.disk("/strict", Ok(()));
        assert_eq!(w.requests().iter().filter(|r| r.0 == kind::HEADERS).count(), 50);
    }
}

/// Patience ends while the frame that ends the request is being read.
#[test]
fn an_end_that_comes_too_late_has_its_own_commit() {
    let mut w = World::new();
    let end = data(1, END, b"abc");
    w.client(&[&open(1, "/strict")[..], &end[..10]].concat()).unwrap();
    w.now = w.mux.gathers_until().unwrap();
    w.client(b"").unwrap();
    w.client(&end[10..]).unwrap();
    assert_eq!(w.commits(), ["commit /strict 1 false", "commit /strict 3 true"]);
    w.disk("/strict", Ok(()));
    assert_eq!(w.passed(), [(1, 1), (0, 1)]);
}

#[test]
fn a_tunnel_is_not_waited_for() {
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http")];
    let fields = [&fields[..], &[(":path", "/strict"), (":authority", "a")]].concat();
    let mut w = World::new();
    w.client(&frame(kind::HEADERS, WHOLE, 1, &literals(&fields))).unwrap();
    assert_eq!(w.commits(), ["commit /strict 0 true"]);
    w.disk("/strict", Ok(()));
    w.client(&data(1, END, b"abc")).unwrap();
    assert_eq!((w.passed(), w.commits()), (vec![(1, 1), (0, 1)], vec![]));
}

#[test]
fn a_held_call_that_its_client_gives_up_or_spoils_never_reaches_the_service() {
    let sized = frame(kind::HEADERS, WHOLE, 1, &post("/strict", &[("content-length", "3")]));
    let cases = [
        ([indexing(1, 0, "/strict", b'v'), data(1, 0, b"ab"), reset(1, 8)].concat(), "client_reset"),
        ([sized, data(1, END, b"ab")].concat(), "request_malformed"),
    ];
    for (asked, error) in cases {
        let mut w = World::new();
        w.client(&asked).unwrap();
        w.client(&[window(1, 1), indexing(3, 0, "/b", b'w')].concat()).unwrap();
        let requests = w.requests();
        assert_eq!(requests.iter().map(|r| (r.0, r.2)).collect::<Vec<_>>(), [(1, 3)], "{error}");
        assert_eq!(Service::default().reads(&requests), [(3, "/b w".into())]);
        assert!(w.answers().contains(&(kind::WINDOW_UPDATE, 0, 0, vec![0, 0, 0, 2])));
        let log = w.log.take();
        assert!(log.iter().any(|l| l.starts_with("end /strict") && l.ends_with(error)), "{log:?}");
    }
    // A client that says no more.
    let mut w = World::new();
    w.client(&[open(1, "/strict"), data(1, 0, b"ab"), open(3, "/b"), open(5, "/strict2")].concat()).unwrap();
    w.client(&data(5, END, b"")).unwrap();
    w.mux.client_ended();
    w.disk("/strict2", Ok(()));
    assert_eq!((w.passed(), w.mux.is_holding()), (vec![(1, 3), (1, 5), (0, 5)], false));
}

#[test]
fn what_waits_is_bounded() {
    let mut w = World::new();
    w.client(&frame(kind::HEADERS, END | WHOLE, 1, &post("/strict", &[]))).unwrap();
    w.client(&open(3, "/b")).unwrap();
    for _ in 0..100 {
        w.client(&data(3, 0, &[1; 16_384])).unwrap();
    }
    assert!(w.mux.is_stuck() && w.mux.gate.size < (1 << 20) + 1000, "{}", w.mux.gate.size);
    assert!(w.pending[0].len() > 500_000, "the rest stays where it is");
    w.disk("/strict", Ok(()));
    assert_eq!((w.requests().len(), w.mux.gate.size, w.pending[0].len()), (102, 0, 0));
    // Of heads alone, too; and a body that would be waited for is not while nothing can come.
    let mut w = World::new();
    w.client(&open(1, "/strict")).unwrap();
    let long = "x".repeat(15_000);
    for n in 1..100 {
        w.client(&frame(kind::HEADERS, END | WHOLE, 2 * n + 1, &post("/b", &[("a", &long)]))).unwrap();
    }
    assert!(w.mux.is_stuck() && w.mux.gate.size < (1 << 20) + 50_000, "{}", w.mux.gate.size);
    assert_eq!(w.commits(), ["commit /strict 0 false"]);
    w.disk("/strict", Ok(()));
    assert_eq!(w.requests().iter().filter(|r| r.0 == kind::HEADERS).count(), 100);
}

/// Any mixture: each call arrives whole and as it was meant, or not at all; and each has an end.
#[test]
fn whatever_the_disk_says_the_rest_is_understood() {
    let mut dice = Dice(23);
    let (mut arrived, mut refused) = (0, 0);
    for _ in 0..400 {
        let mut w = World::new();
        let mut service = Service::default();
        let (mut open, mut next, mut meant, mut got) = (Vec::new(), 1, HashMap::new(), HashMap::new());
        let mut bodies: HashMap<u32, Vec<u8>> = HashMap::new();
        for _ in 0..40 {
            let mut said = Vec::new();
            match dice.roll(6) {
                0 | 1 => {
                    let id = next;
                    next += 2;
                    let path = format!("{}/{id}", if dice.roll(2) == 0 { "/strict" } else { "/a" });
                    let end = if dice.roll(3) == 0 {
                        END
                    } else {
                        open.push(id);
                        0
                    };
                    let known = id > 1 && dice.roll(2) == 0;
                    let v = if known { meant[&(id - 2)] } else { b'a' + dice.roll(26) as u8 };
                    said = if known { indexed(id, end, &path) } else { indexing(id, end, &path, v) };
                    meant.insert(id, v);
                }
                2 | 3 if !open.is_empty() => {
                    let at = dice.roll(open.len());
                    let id = open[at];
                    let end = if dice.roll(2) == 0 {
                        open.remove(at);
                        END
                    } else {
                        0
                    };
                    let body = vec![id as u8; dice.roll(200)];
                    bodies.entry(id).or_default().extend_from_slice(&body);
                    said = data(id, end, &body);
                }
                4 if !open.is_empty() && dice.roll(4) == 0 => {
                    said = reset(open.swap_remove(dice.roll(open.len())), 8);
                }
                _ => {
                    let path = format!("/strict/{}", 1 + 2 * dice.roll(20));
                    let result = if dice.roll(2) == 0 { Ok(()) } else { Err(NOT_DURABLE) };
                    w.log.1.lock().unwrap().insert(path, result);
                }
            }
            w.client(&said).unwrap();
        }
        for n in 0..40 {
            let settled =
                w.log.1.lock().unwrap().entry(format!("/strict/{}", 2 * n + 1)).or_insert(Ok(())).is_ok();
            refused += usize::from(!settled && 2 * n + 1 < next);
        }
        w.now += Duration::from_secs(2);
        w.client(b"").unwrap();
        assert!(!w.mux.is_holding() && w.mux.gate.size == 0);
        let requests = w.requests();
        let ids: Vec<u32> = requests.iter().filter(|r| r.0 == kind::HEADERS).map(|r| r.2).collect();
        assert!(ids.is_sorted(), "{ids:?}");
        for (id, read) in service.reads(&requests) {
            let (path, v) = read.rsplit_once(' ').unwrap();
            assert_eq!(v.as_bytes(), [meant[&id]], "{path}");
            assert!(path.ends_with(&format!("/{id}")));
            arrived += 1;
        }
        for (kind, flags, id, payload) in &requests {
            assert!(ids.contains(id), "{kind} of a stream that was never opened");
            if *kind == kind::DATA {
                let body: &mut Vec<u8> = got.entry(*id).or_default();
                body.extend_from_slice(payload);
                assert!(flags & END == 0 || *body == bodies[id]);
            }
        }
        w.mux.lost("client_reset");
        let log = w.log.take();
        let count = |word: &str| log.iter().filter(|l| l.starts_with(word)).count();
        assert_eq!(count("begin"), count("end"), "{log:?}");
        // A refused one has not executed anything: no end of it has passed.
        for line in log.iter().filter(|l| l.contains("not_durable own")) {
            let id: u32 = line.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().parse().unwrap();
            let ended = |r: &&(u8, u8, u32, Vec<u8>)| r.2 == id && r.0 != kind::RST_STREAM && r.1 & END != 0;
            assert_eq!(requests.iter().find(ended), None);
        }
    }
    assert!(arrived > 1000 && refused > 100, "{arrived} {refused}");
}

/// A body of ours must not make the service send more than the client can take.
#[test]
fn the_body_of_a_refusal_is_kept_back_from_the_services_window() {
    let mut w = World::new();
    w.disk("/strict", Err(NOT_DURABLE));
    w.client(&[open(1, "/a"), frame(kind::HEADERS, END | WHOLE, 3, &post("/strict", &[]))].concat()).unwrap();
    let answers = w.answers();
    let problem = &answers[1];
    assert_eq!((problem.0, problem.1, problem.2), (kind::DATA, END, 3));
    let json: serde_json::Value = serde_json::from_slice(&problem.3).unwrap();
    assert_eq!((&json["status"], &json["reason"]), (&503.into(), &"not_durable".into()));
    let used = problem.3.len();
    // The service uses up all it was told of.
    w.service(&ok(1, 0)).unwrap();
    for n in [16_384, 16_384, 16_384, 16_383] {
        w.service(&data(1, 0, &vec![1; n])).unwrap();
    }
    let taken =
        |w: &mut World| w.answers().iter().filter(|a| a.0 == kind::DATA).map(|a| a.3.len()).sum::<usize>();
    assert_eq!(taken(&mut w), 3 * 16_384, "the last one waits");
    assert!(w.mux.is_overdrawn());
    w.requests();
    w.client(&window(0, 1)).unwrap();
    w.client(&window(0, used + 99)).unwrap();
    w.client(&window(0, 1000)).unwrap();
    let windows: Vec<u32> = w.requests().iter().map(|r| word(&r.3)).collect();
    assert_eq!(windows, [1, 99, 1000]);
    w.service(b"").unwrap();
    assert_eq!((taken(&mut w), w.mux.is_overdrawn()), (16_383, false));
    // A client that takes nothing is told by the status alone.
    let mut w = World::new();
    w.disk("/strict", Err(NOT_DURABLE));
    w.client(&settings(&[(setting::INITIAL_WINDOW_SIZE, 10)])).unwrap();
    w.client(&frame(kind::HEADERS, END | WHOLE, 3, &post("/strict", &[]))).unwrap();
    let answers = w.answers();
    assert_eq!((answers.len(), answers[0].0, answers[0].1), (1, kind::HEADERS, END | WHOLE));
}
