//! Direct and through the sidecar: the same bytes, both ways, and the same end of the connection.
//!
//! Every shape of [`shapes`](crate::shapes) is said to every server twice, straight and through a
//! running sidecar behind which a [`tap`](crate::tap) records what reaches the server. Compared are
//!
//! - what the client sent and what reached the server, to the byte;
//! - what the server sent and what the client received, to the byte;
//! - what the client received direct and through, but for the value of `Date`; most answers tell
//!   all that the application saw of the request;
//! - whether the connection was kept for another request, and whether it was closed in the end.
//!
//! A shape of which something differs names the line of docs/transparency.md that says so; that this
//! and nothing else differs is compared as well ([`named`]), and that each such line was seen.

use crate::client::{self, Held, SOURCE};
use crate::origins::{self, Origin};
use crate::raw;
use crate::shapes::{self, Shape};
use crate::tap::{Tap, Taped};
use harness::{Sidecar, recorded};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The name under which docs/transparency.md points here.
const SHOWN_BY: &str = "tests/tests/garden/identity.rs::what_differs_is_what_the_page_names";

/// Clients at once, for each server.
const CLIENTS: usize = 8;

/// Servers at once.
const SERVERS: usize = 4;

/// A shape that takes longer is named: some wait is not met.
const PATIENT: Duration = Duration::from_secs(2);

/// The first head of a connection, which bears the shape's number, is not longer.
const FIRST_HEAD: usize = 40 << 10;

/// What is compared of each shape.
const COMPARED: usize = 4;

#[derive(Default)]
struct Outcome {
    faults: Vec<String>,
    /// Lines of the page whose difference has been seen.
    shown: BTreeSet<&'static str>,
    shapes: usize,
}

#[test]
fn what_differs_is_what_the_page_names() {
    let asked = std::env::var("SIDELOG_SHAPES").ok();
    let all: Vec<Shape> = match asked.as_deref() {
        None | Some("all") => shapes::all(),
        Some(part) => shapes::all().into_iter().filter(|shape| shape.name.contains(part)).collect(),
    };
    let mut names: Vec<String> = match std::env::var("SIDELOG_ORIGINS") {
        Ok(names) => names.split(',').map(str::to_owned).collect(),
        Err(_) if asked.is_some() => origins::ALL.iter().map(|name| name.to_string()).collect(),
        Err(_) => origins::PLAIN.iter().map(|name| name.to_string()).collect(),
    };
    names.insert(0, "raw".to_owned());
    let (next, found, began) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match behind(name, &all, "") {
                        Some(outcome) => found.lock().unwrap().push(outcome),
                        None => println!("left out: {name} is not installed"),
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let faults: Vec<&str> = found.iter().flat_map(|one| one.faults.iter().map(String::as_str)).collect();
    let held: usize = found.iter().map(|one| one.shapes).sum();
    println!(
        "{} servers, {} shapes, {held} held direct and through, {} comparisons: {} faults; {} s",
        found.len(),
        all.len(),
        held * COMPARED,
        faults.len(),
        began.elapsed().as_secs()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let shown: BTreeSet<_> = found.iter().flat_map(|one| one.shown.iter().copied()).collect();
    let missing: Vec<_> = rows(&all).difference(&shown).copied().collect();
    assert!(missing.is_empty(), "lines of the page of which no shape has shown the difference: {missing:?}");
}

/// The lines of the page that these shapes are to show.
fn rows(all: &[Shape]) -> BTreeSet<&'static str> {
    all.iter().filter_map(|shape| shape.row).collect()
}

#[test]
fn the_page_names_what_the_shapes_show() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/transparency.md");
    let page = std::fs::read_to_string(page).unwrap();
    let told = page.lines().filter(|line| line.contains(SHOWN_BY)).filter_map(|line| line.split('`').nth(1));
    assert_eq!(told.collect::<BTreeSet<_>>(), rows(&shapes::all()));
}

/// And what differs otherwise is noticed: a line that the configuration has added to each request.
#[test]
fn a_line_that_is_added_is_noticed() {
    let all: Vec<Shape> = shapes::all().into_iter().filter(|shape| shape.row.is_none()).take(20).collect();
    let outcome = behind("raw", &all, "forward_address: x_forwarded_for\n").unwrap();
    let noticed = outcome.faults.iter().filter(|fault| fault.contains("the server received")).count();
    assert_eq!(noticed, all.len(), "{:#?}", outcome.faults);
}

/// What came of all shapes behind one server; None: it is not here. `more`: of the configuration.
fn behind(name: &str, all: &[Shape], more: &str) -> Option<Outcome> {
    let began = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // The server lives as long as this.
    let (_origin, port) = match name {
        "raw" => (None, raw::start()),
        _ => {
            let origin = runtime.block_on(Origin::start(name, dir.path()))?;
            let port = origin.port;
            (Some(origin), port)
        }
    };
    let tap = Tap::before(port);
    std::fs::write(dir.path().join("redact.key"), recorded::KEY).unwrap();
    let config = format!(
        "service: garden\nupstream: http://127.0.0.1:{}\njournal: {{dir: journal}}\n{more}{}",
        tap.port(),
        crate::CONFIG
    );
    let sidecar = runtime.block_on(Sidecar::start(dir.path(), &config));
    let through: SocketAddr = sidecar.url().strip_prefix("http://").unwrap().parse().unwrap();
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let shapes: Vec<&Shape> = all.iter().filter(|shape| !shape.raw || name == "raw").collect();
    let (next, held) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(shape) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What a server makes of a request that is refused is not asked.
                    let refused = shape.row == Some("refused");
                    let direct = if refused { Held::default() } else { client::hold(shape, direct) };
                    held.lock().unwrap().push((*shape, direct, client::hold(shape, through)));
                }
            });
        }
    });
    let held = held.into_inner().unwrap();
    assert!(runtime.block_on(sidecar.stop()).success(), "the sidecar in front of {name} did not end well");
    let tapes = tap.finish();
    let outcome = compare(name, &held, &tapes);
    println!(
        "{name}: {} shapes, {} faults, shown: {:?}; {:.1} s",
        outcome.shapes,
        outcome.faults.len(),
        outcome.shown,
        began.elapsed().as_secs_f32()
    );
    Some(outcome)
}

fn compare(name: &str, held: &[(&Shape, Held, Held)], tapes: &[Taped]) -> Outcome {
    let mut outcome = Outcome { shapes: held.len(), ..Outcome::default() };
    let mut told = 0;
    for (shape, direct, through) in held {
        let token = shape.token();
        let of_it = |taped: &&Taped| {
            let first = taped.to_server.get(..FIRST_HEAD).unwrap_or(&taped.to_server);
            memchr::memmem::find(first, token.as_bytes()).is_some()
        };
        let mine: Vec<&Taped> = tapes.iter().filter(of_it).collect();
        told += mine.len();
        let row = shape.row.or_else(|| manner(name, shape));
        let (faults, shown) = named::judge(&Case { row, direct, through, tapes: &mine });
        let said = format!("{name}, {}", shape.name);
        if direct.took.max(through.took) > PATIENT {
            let (direct, through) = (direct.took.as_millis(), through.took.as_millis());
            println!("{said}: took {direct} ms direct, {through} ms through");
        }
        outcome.faults.extend(faults.into_iter().map(|fault| format!("{said}: {fault}")));
        outcome.shown.extend(row.filter(|_| shown));
    }
    if told != tapes.len() {
        let strange = format!("{name}: {} connections to the server, {told} of the shapes", tapes.len());
        outcome.faults.push(strange);
    }
    if let Some(open) = tapes.iter().find(|taped| !taped.left || !taped.server_left) {
        let head = escaped(&open.to_server);
        outcome
            .faults
            .push(format!("{name}: the connection was never closed on which the server got {head}"));
    }
    outcome
}

/// The line of the page that a server's own manner of answering a shape comes under.
fn manner(server: &str, shape: &Shape) -> Option<&'static str> {
    // It sends the last chunk of a body that an answer to HEAD does not have.
    let last_chunk = ["HEAD pieces", "HEAD slow", "HEAD large-pieces", "HEAD trailers"];
    (server == "waitress" && last_chunk.contains(&&*shape.name)).then_some("answer-surplus")
}

/// All that came of a shape.
struct Case<'a> {
    /// The line of the page under which it comes.
    row: Option<&'static str>,
    direct: &'a Held,
    through: &'a Held,
    tapes: &'a [&'a Taped],
}

impl Case<'_> {
    /// What reached the server, if it is not what was sent.
    fn up(&self) -> Option<String> {
        let [taped] = self.tapes else {
            return Some(format!("{} connections to the server instead of one", self.tapes.len()));
        };
        let Held { sent, heard, kept, .. } = self.through;
        // What was said when the server had said its last may have reached nobody.
        let enough = *kept || taped.to_server.len() < *heard || !sent.starts_with(&taped.to_server);
        let differs = difference(sent, &taped.to_server).filter(|_| enough);
        differs.map(|differs| format!("the server received {differs}"))
    }

    /// What reached the client, if it is not what the server sent.
    fn down(&self) -> Option<String> {
        let [taped] = self.tapes else { return None };
        let differs = difference(&taped.from_server, &self.through.received);
        differs.map(|differs| format!("sent by the server, the client received {differs}"))
    }

    /// What the client received, if it is not what it receives without a sidecar.
    fn answers(&self) -> Option<String> {
        let differs = difference(&masked(&self.direct.received), &masked(&self.through.received));
        differs.map(|differs| format!("unlike direct, the client received {differs}"))
    }

    /// How the connection went on and ended, if that is not as without a sidecar.
    fn end(&self) -> Option<String> {
        let end = |held: &Held| (held.kept, held.closed.is_some());
        let (direct, through) = (end(self.direct), end(self.through));
        (direct != through).then(|| {
            format!("(kept for another request, closed in the end) is {through:?}, direct it is {direct:?}")
        })
    }

    fn all(&self) -> Vec<String> {
        [self.up(), self.down(), self.answers(), self.end()].into_iter().flatten().collect()
    }
}

/// Where two byte strings part, with a little of what stands there.
fn difference(want: &[u8], got: &[u8]) -> Option<String> {
    if want == got {
        return None;
    }
    let at = want.iter().zip(got).take_while(|(a, b)| a == b).count();
    let near = |all: &[u8]| escaped(all.get(at.saturating_sub(30)..).unwrap_or_default());
    let (is, was) = (got.len(), want.len());
    Some(format!(
        "{is} bytes instead of {was}, parting at {at}: \"{}\" instead of \"{}\"",
        near(got),
        near(want)
    ))
}

fn escaped(bytes: &[u8]) -> String {
    bytes.get(..bytes.len().min(160)).unwrap_or_default().escape_ascii().to_string()
}

/// The same with the values of `Date` made alike.
fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in memchr::memchr_iter(b'\n', &bytes.clone()) {
        let line = bytes.get_mut(at + 1..).unwrap_or_default();
        if line.get(..6).is_some_and(|name| name.eq_ignore_ascii_case(b"date: ")) {
            line.iter_mut().skip(6).take_while(|byte| **byte != b'\r').for_each(|byte| *byte = b'D');
        }
    }
    bytes
}

/// The differences that the page names: what exactly differs, of each of its lines that is shown here.
mod named {
    use super::*;

    /// What is wrong, and whether the difference that the shape's line names has shown.
    pub fn judge(case: &Case) -> (Vec<String>, bool) {
        match case.row {
            None => (case.all(), false),
            Some("peer-address") => peer_address(case),
            Some("one-at-a-time") => one_at_a_time(case),
            Some("refused") => refused(case),
            Some("answer-surplus") => answer_surplus(case),
            Some("answer-contradiction") => answer_contradiction(case),
            Some("answer-unreadable") => answer_unreadable(case),
            Some(row) => (vec![format!("nobody knows what `{row}` means")], false),
        }
    }

    /// The service's peer is the sidecar.
    fn peer_address(case: &Case) -> (Vec<String>, bool) {
        let (client, sidecar) = (SOURCE.to_string(), Ipv4Addr::LOCALHOST.to_string());
        let told = memchr::memmem::find(&case.direct.received, client.as_bytes());
        let mut received = case.direct.received.clone();
        if let Some(at) = told {
            received.splice(at..at + client.len(), sidecar.bytes());
        }
        let direct = Held { received, ..case.direct.clone() };
        (Case { direct: &direct, ..*case }.all(), told.is_some())
    }

    /// A request goes on when the answer to the one before it is whole. If that ends the connection, the
    /// server may never see it, and cannot answer what it would have thought of it.
    fn one_at_a_time(case: &Case) -> (Vec<String>, bool) {
        if case.direct.received.starts_with(&raw::behind(true)) {
            let alone = raw::behind(false);
            let received = [&alone, case.direct.received.get(alone.len()..).unwrap_or_default()].concat();
            let direct = Held { received, ..case.direct.clone() };
            return (Case { direct: &direct, ..*case }.all(), true);
        }
        let (said, _) = case.through.sent.split_at(case.through.said);
        let in_order = matches!(case.tapes, [taped] if said.starts_with(&taped.to_server));
        match in_order && case.through.answers > 0 && case.through.closed.is_some() {
            true => (case.down().into_iter().collect(), false),
            false => (case.all(), false),
        }
    }

    /// The client gets an answer of Sidelog's and the end of the connection; the server never gets a
    /// whole request.
    fn refused(case: &Case) -> (Vec<String>, bool) {
        let own = ["HTTP/1.1 4", "HTTP/1.1 5"].iter().any(|begins| own_answer(case, begins));
        let fault = (!own).then(|| format!("not refused: {}", escaped(&case.through.received)));
        let reached = case.tapes.first().map(|taped| format!("the server got {}", escaped(&taped.to_server)));
        (fault.into_iter().chain(reached).collect(), own)
    }

    /// Bytes behind an answer are nobody's, and the connection ends. What came with the answer is not
    /// passed on; what comes later is, as a server's last words are; what comes when there is a next
    /// request is no answer to it.
    fn answer_surplus(case: &Case) -> (Vec<String>, bool) {
        let Held { received, closed, .. } = case.through;
        let sent = case.tapes.first().and_then(|taped| taped.from_server.strip_suffix(raw::SURPLUS));
        let Some(answer) = sent else { return (case.all(), false) };
        let direct = masked(&case.direct.received).starts_with(&masked(answer));
        match received.strip_prefix(answer) {
            Some(b"") if direct && closed.is_some() => (case.up().into_iter().collect(), true),
            Some(raw::SURPLUS) if direct && closed.is_some() => (case.up().into_iter().collect(), false),
            Some(rest) if direct && is_own_answer(rest, "HTTP/1.1 502 ") => (Vec::new(), false),
            _ => (vec![format!("not ended behind the answer: {}", escaped(received))], false),
        }
    }

    /// An answer with both a length and a coding passes, and is the last one.
    fn answer_contradiction(case: &Case) -> (Vec<String>, bool) {
        let same = case.direct.received.starts_with(&case.through.received);
        let shown = same && case.through.answers == 1 && case.direct.kept && !case.through.kept;
        let fault = (!shown).then(|| format!("not the last answer: {}", escaped(&case.through.received)));
        (fault.into_iter().chain(case.up()).collect(), shown)
    }

    /// An answer whose end is not certain is answered with 502 instead.
    fn answer_unreadable(case: &Case) -> (Vec<String>, bool) {
        let own = own_answer(case, "HTTP/1.1 502 ");
        let fault = (!own).then(|| format!("not answered with 502: {}", escaped(&case.through.received)));
        (fault.into_iter().chain(case.up()).collect(), own)
    }

    /// The client received this and only this answer, by Sidelog itself, and the end of the connection.
    fn own_answer(case: &Case, begins: &str) -> bool {
        let Held { received, answers, closed, .. } = case.through;
        *answers == 1 && closed.is_some() && is_own_answer(received, begins)
    }

    fn is_own_answer(bytes: &[u8], begins: &str) -> bool {
        bytes.starts_with(begins.as_bytes())
            && bytes.ends_with(b"\r\nConnection: close\r\nVia: 1.1 sidelog\r\n\r\n")
    }
}

/// The test of the test: each way in which traffic could be changed is noticed.
#[test]
fn a_change_on_the_way_is_noticed() {
    let all = shapes::all();
    let shape = all.iter().find(|shape| shape.row.is_none()).unwrap();
    let ok = [raw::OK, raw::OK].concat();
    let (sent, said) = ([shape.bytes(), shape.probe_bytes()].concat(), shape.bytes().len());
    let held = Held {
        sent,
        said,
        received: ok.clone(),
        answers: 2,
        kept: true,
        closed: Some(true),
        ..Held::default()
    };
    let taped =
        Taped { to_server: held.sent.clone(), from_server: ok.clone(), left: true, server_left: true };
    let faults = |through: &Held, tapes: &[&Taped]| {
        named::judge(&Case { row: None, direct: &held, through, tapes }).0.len()
    };
    assert_eq!(faults(&held, &[&taped]), 0);
    assert_eq!(faults(&held, &[]), 1, "the server got nothing");
    assert_eq!(faults(&held, &[&taped, &taped]), 1, "the server got it twice");
    for at in [0, said / 2, said - 1, held.sent.len() - 1] {
        let mut changed = taped.clone();
        changed.to_server[at] ^= 0x20;
        assert_eq!(faults(&held, &[&changed]), 1, "byte {at} of the request");
    }
    for at in [0, ok.len() / 2, ok.len() - 1] {
        let mut received = ok.clone();
        received[at] ^= 0x20;
        let through = Held { received, ..held.clone() };
        assert_eq!(faults(&through, &[&taped]), 2, "byte {at} of the answer");
    }
    assert_eq!(faults(&Held { closed: None, ..held.clone() }, &[&taped]), 1, "left open");
    assert_eq!(faults(&Held { kept: false, ..held.clone() }, &[&taped]), 1, "not kept");
    assert_eq!(masked(b"a\r\ndate: now\r\nX: y\r\n\r\n"), b"a\r\ndate: DDD\r\nX: y\r\n\r\n");
    assert_eq!(masked(b"a\r\nDates: now\r\n\r\n"), b"a\r\nDates: now\r\n\r\n");
}
