//! A recording origin: what a service behind the sidecar really received, byte for byte.
//!
//! Owns a TCP listener on a port chosen by the OS. Every connection is recorded as it came (bytes,
//! and whether it ended in EOF or in a reset) and answered by a script of [`Step`]s. The record is
//! the oracle of the wire tests: it never parses, normalises or guesses, except where a script asks
//! for it ([`Step::Answer`]). The same engine, [`Peer`], also plays the client's side, so that both
//! ends of a dialogue are written and checked in one language.
//!
//! Promises: a wait never outlasts [`PATIENCE`]; what went wrong stands in [`Record::trouble`]
//! instead of a panic on some thread. Refuses nothing: any bytes are worth recording.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest any single step waits for the other side.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between the bytes of [`Step::Drip`]: long enough for the reader to see most of them one by one.
const DRIP: Duration = Duration::from_micros(200);

/// What a scripted peer does, one after the other. When the script is over it waits for the other
/// side to end the connection, recording on, and closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait until this many more bytes have come (after those that earlier steps waited for).
    Bytes(usize),
    /// Wait for the end of a head: the next empty line.
    Head,
    /// Wait until the request is complete whose head an earlier step waited for.
    Body,
    /// Wait until the other side has ended its direction, by EOF or reset.
    End,
    Send(Vec<u8>),
    /// Send one byte at a time.
    Drip(Vec<u8>),
    Pause(Duration),
    /// Send a FIN and go on reading.
    HalfClose,
    /// End both directions.
    Close,
    /// Abort the connection with a RST.
    Reset,
    /// Send these bytes after each complete request, until the other side ends the connection; to a
    /// HEAD request, the head of them.
    Answer(Vec<u8>),
}

/// How the other side ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Open,
    Eof,
    Reset,
    /// This side closed or reset the connection first.
    Here,
}

/// All that one side of a connection saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub received: Vec<u8>,
    pub end: End,
    /// Why the script stopped early: a wait that was not met, a write that failed.
    pub trouble: Option<String>,
    /// The script is over and the connection closed on this side too.
    pub finished: bool,
}

impl Default for Record {
    fn default() -> Self {
        Record { received: Vec::new(), end: End::Open, trouble: None, finished: false }
    }
}

/// A record still being written, and the bell that rings at each change.
#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
}

impl Shared {
    /// A thread that panicked does not make the bytes it recorded before less true.
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Wait until `met` says something about the record; None after `patience`.
    fn wait<T>(&self, patience: Duration, mut met: impl FnMut(&Record) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut record = self.lock();
        loop {
            if let Some(value) = met(&record) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())?;
            record = self.changed.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One side of a connection: a thread that records what comes, and a script for what goes.
pub struct Peer {
    stream: TcpStream,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    /// Bytes that earlier steps have waited for.
    heeded: usize,
    /// Where the head begins that was last waited for.
    head_at: usize,
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> std::io::Result<Peer> {
        Peer::over(TcpStream::connect_timeout(&addr, PATIENCE)?, Arc::default())
    }

    /// The same from an address of this host's choice: any of 127.0.0.0/8. What the other side
    /// records of its peer then tells which connection it speaks of.
    pub fn connect_from(source: Ipv4Addr, addr: SocketAddr) -> std::io::Result<Peer> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        Peer::over(socket.into(), Arc::default())
    }

    fn over(stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<Peer> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (mut from, to) = (stream.try_clone()?, Arc::clone(&shared));
        let reader = std::thread::spawn(move || record(&mut from, &to));
        Ok(Peer { stream, shared, reader: Some(reader), heeded: 0, head_at: 0 })
    }

    /// Play a script to its end and give back what was seen.
    pub fn converse(addr: SocketAddr, steps: &[Step]) -> Record {
        match Peer::connect(addr) {
            Ok(peer) => peer.play(steps),
            Err(e) => Record { trouble: Some(format!("connect to {addr}: {e}")), ..Record::default() },
        }
    }

    fn play(mut self, steps: &[Step]) -> Record {
        for (i, step) in steps.iter().enumerate() {
            match self.step(step) {
                Ok(true) => {}
                Ok(false) => return self.finish(),
                Err(why) => {
                    self.shared.update(|r| r.trouble = Some(format!("step {i}, {}: {why}", name(step))));
                    break;
                }
            }
        }
        if self.until(|r| (r.end != End::Open).then_some(())).is_none() {
            self.shared.update(|r| {
                r.trouble.get_or_insert_with(|| "the other side never ended the connection".into());
            });
        }
        self.finish()
    }

    /// One step; false: the connection is closed.
    fn step(&mut self, step: &Step) -> Result<bool, String> {
        match step {
            Step::Bytes(n) => self.wait_bytes(*n)?,
            Step::Head => self.wait_head()?,
            Step::Body => {
                let end = self.wait_request(self.head_at)?.ok_or_else(|| self.so_far("no end of a body"))?;
                self.heeded = end;
            }
            Step::End => self
                .until(|r| (r.end != End::Open).then_some(()))
                .ok_or_else(|| self.so_far("no end of the connection"))?,
            Step::Send(bytes) => self.send(bytes)?,
            Step::Drip(bytes) => {
                for byte in bytes.chunks(1) {
                    self.send(byte)?;
                    std::thread::sleep(DRIP);
                }
            }
            Step::Pause(time) => std::thread::sleep(*time),
            Step::HalfClose => {
                // The other side may be gone already; then there is nobody left to tell.
                let _ = self.stream.shutdown(Shutdown::Write);
            }
            Step::Close => return Ok(false),
            Step::Reset => {
                reset_on_close(&self.stream).map_err(|e| e.to_string())?;
                self.shared.update(|r| r.end = End::Here);
                self.join(Shutdown::Read);
                return Ok(false);
            }
            Step::Answer(answer) => self.answer_all(answer)?,
        }
        Ok(true)
    }

    /// Send exactly these bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|e| format!("write: {e}"))
    }

    /// Tell the other side that no more will come.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// What has been seen so far.
    pub fn record(&self) -> Record {
        self.shared.lock().clone()
    }

    /// Wait until the record meets a condition; false after `patience`.
    pub fn wait(&self, patience: Duration, met: impl Fn(&Record) -> bool) -> bool {
        self.shared.wait(patience, |r| met(r).then_some(())).is_some()
    }

    fn until<T>(&self, met: impl FnMut(&Record) -> Option<T>) -> Option<T> {
        self.shared.wait(PATIENCE, met)
    }

    fn wait_bytes(&mut self, n: usize) -> Result<(), String> {
        let target = self.heeded + n;
        self.until(|r| match r {
            r if r.received.len() >= target => Some(true),
            r if r.end != End::Open => Some(false),
            _ => None,
        })
        .filter(|enough| *enough)
        .ok_or_else(|| self.so_far(&format!("fewer than {target} bytes")))?;
        self.heeded = target;
        Ok(())
    }

    fn wait_head(&mut self) -> Result<(), String> {
        let start = self.heeded;
        self.head_at = start;
        self.heeded = self
            .until(|r| match find(r.received.get(start..).unwrap_or_default(), b"\r\n\r\n") {
                Some(at) => Some(Some(start + at + 4)),
                None if r.end != End::Open => Some(None),
                None => None,
            })
            .flatten()
            .ok_or_else(|| self.so_far("no end of a head"))?;
        Ok(())
    }

    fn answer_all(&mut self, answer: &[u8]) -> Result<(), String> {
        let head = find(answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        while let Some(end) = self.wait_request(self.heeded)? {
            let asks_head = self.shared.lock().received.get(self.heeded..end).is_some_and(is_head);
            self.heeded = end;
            self.send(if asks_head { answer.get(..head).unwrap_or(answer) } else { answer })?;
        }
        Ok(())
    }

    /// Where the request ends that begins at `start`; None: the connection ended before it did.
    fn wait_request(&self, start: usize) -> Result<Option<usize>, String> {
        self.until(|r| match next_request(r.received.get(start..).unwrap_or_default()) {
            Some((_, used)) => Some(Some(start + used)),
            None if r.end != End::Open => Some(None),
            None => None,
        })
        .ok_or_else(|| self.so_far("no end of a request"))
    }

    fn so_far(&self, what: &str) -> String {
        let record = self.record();
        format!("{what}: {} bytes, {:?}", record.received.len(), record.end)
    }

    /// Let the recording thread come to its end. Once it has, the stream is left alone: a shutdown
    /// after [`reset_on_close`] would send a FIN first.
    fn join(&mut self, how: Shutdown) {
        if let Some(reader) = self.reader.take() {
            let _ = self.stream.shutdown(how);
            let _ = reader.join();
        }
    }

    /// Close, and give back what was seen.
    pub fn finish(mut self) -> Record {
        self.shared.update(|r| {
            if r.end == End::Open {
                r.end = End::Here;
            }
        });
        self.join(Shutdown::Both);
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.update(|r| r.finished = true);
        shared.lock().clone()
    }
}

/// Whether a request asks for a head alone.
fn is_head(request: &[u8]) -> bool {
    request.trim_ascii_start().starts_with(b"HEAD ")
}

/// Name of a step without its bytes, for messages.
fn name(step: &Step) -> String {
    match step {
        Step::Send(b) => format!("send {} bytes", b.len()),
        Step::Drip(b) => format!("drip {} bytes", b.len()),
        Step::Answer(_) => "answer".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Copy all that comes into the record until the other side, or this one, ends the connection.
fn record(from: &mut TcpStream, to: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let end = match from.read(&mut buffer) {
            Ok(0) => End::Eof,
            Ok(n) => {
                to.update(|r| r.received.extend_from_slice(buffer.get(..n).unwrap_or_default()));
                continue;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => End::Reset,
        };
        to.update(|r| {
            if r.end == End::Open {
                r.end = end;
            }
        });
        return;
    }
}

/// Make the coming close a RST instead of a FIN.
fn reset_on_close(stream: &TcpStream) -> std::io::Result<()> {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// The listener, its present script and the records of the connections that came since.
pub struct Origin {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    script: Mutex<Vec<Step>>,
    connections: Mutex<Vec<Arc<Shared>>>,
    stop: AtomicBool,
}

impl Origin {
    /// Listen on a free port of 127.0.0.1, answering nothing until told to.
    pub fn start() -> std::io::Result<Origin> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let acceptor = std::thread::spawn(move || accept(&listener, &shared));
        Ok(Origin { addr, state, acceptor: Some(acceptor) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answer the connections that come from now on by this script, and forget the earlier ones.
    pub fn play(&self, script: Vec<Step>) {
        *self.state.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
        self.state.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The connections since the last [`Origin::play`], as they are now.
    pub fn records(&self) -> Vec<Record> {
        self.shared().iter().map(|s| s.lock().clone()).collect()
    }

    /// The same, once all of them are over (or after [`PATIENCE`]).
    pub fn finished(&self) -> Vec<Record> {
        let deadline = Instant::now() + PATIENCE;
        for shared in self.shared() {
            shared.wait(deadline.saturating_duration_since(Instant::now()), |r| r.finished.then_some(()));
        }
        self.records()
    }

    fn shared(&self) -> Vec<Arc<Shared>> {
        self.state.connections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        // A connection of our own wakes the acceptor.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &State) {
    while let Ok((stream, _)) = listener.accept() {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::<Shared>::default();
        let script = state.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shared));
        std::thread::spawn(move || match Peer::over(stream, Arc::clone(&shared)) {
            Ok(peer) => drop(peer.play(&script)),
            Err(e) => shared.update(|r| {
                r.trouble = Some(format!("accepted connection: {e}"));
                r.finished = true;
            }),
        });
    }
}

/// A request as a service would have understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Bytes as sent, each as one char (ISO 8859-1).
    pub target: String,
    pub version: String,
    pub fields: Vec<(String, String)>,
    /// Chunks joined.
    pub body: Vec<u8>,
}

impl Request {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Whether a service received a beginning of what was sent and nothing else, but for empty lines ahead of it,
/// and the lines of an offer to upgrade.
pub fn came_through(sent: &[u8], received: &[u8]) -> bool {
    let begins = sent.iter().take_while(|b| b"\r\n".contains(b)).count();
    let offers = |line: &[u8]| {
        let line = line.to_ascii_lowercase();
        [&b"upgrade:"[..], b"http2-settings:", b"connection: upgrade"].iter().any(|l| line.starts_with(l))
    };
    let withdrawn = sent.split_inclusive(|b| *b == b'\n').filter(|line| !offers(line)).collect::<Vec<_>>();
    let sent = [sent, sent.get(begins..).unwrap_or_default(), &withdrawn.concat()];
    sent.iter().any(|sent| sent.starts_with(received))
}

/// The complete requests in a recorded stream, as a lenient service would read them, and whether
/// bytes of an incomplete one are left over.
pub fn requests(mut stream: &[u8]) -> (Vec<Request>, bool) {
    let mut all = Vec::new();
    while let Some((request, used)) = next_request(stream) {
        all.push(request);
        stream = stream.get(used..).unwrap_or_default();
    }
    (all, !stream.iter().all(|b| b"\r\n".contains(b)))
}

/// The first complete request and the bytes it takes, empty lines before it included.
pub fn next_request(stream: &[u8]) -> Option<(Request, usize)> {
    let skipped = stream.iter().take_while(|b| b"\r\n".contains(b)).count();
    let rest = stream.get(skipped..)?;
    let head_len = find(rest, b"\r\n\r\n")? + 4;
    let text: String = rest.get(..head_len)?.iter().map(|b| char::from(*b)).collect();
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.splitn(3, ' ');
    let (method, target) = (words.next()?.to_string(), words.next().unwrap_or("").to_string());
    let version = words.next().unwrap_or("").to_string();
    let fields: Vec<_> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.trim().to_string(), v.trim().to_string()))
        .collect();
    let mut request = Request { method, target, version, fields, body: Vec::new() };
    let body = rest.get(head_len..)?;
    let chunked = request.field("transfer-encoding").is_some_and(|v| v.to_lowercase().contains("chunked"));
    let used = if chunked {
        let (joined, used) = unchunk(body)?;
        request.body = joined;
        used
    } else {
        let length = request.field("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        request.body = body.get(..length)?.to_vec();
        length
    };
    Some((request, skipped + head_len + used))
}

/// The joined chunks and the bytes they took, last chunk and trailers included.
pub fn unchunk(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut joined, mut at) = (Vec::new(), 0);
    loop {
        let line_len = find(body.get(at..)?, b"\r\n")?;
        let line = std::str::from_utf8(body.get(at..at + line_len)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        at += line_len + 2;
        if size == 0 {
            // Trailer lines up to an empty one.
            loop {
                let line_len = find(body.get(at..)?, b"\r\n")?;
                at += line_len + 2;
                if line_len == 0 {
                    return Some((joined, at));
                }
            }
        }
        joined.extend_from_slice(body.get(at..at.checked_add(size)?)?);
        at += size + 2;
        body.get(..at)?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn records_what_came_and_answers_by_the_script() {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Head, Step::Send(b"one".into()), Step::Bytes(2), Step::Drip(b"two".into())]);
        let client = [
            Step::Send(GET.into()),
            Step::Bytes(3),
            Step::Send(b"xy".into()),
            Step::Bytes(3),
            Step::HalfClose,
        ];
        let seen = Peer::converse(origin.addr(), &client);
        assert_eq!((seen.received.as_slice(), seen.end, seen.trouble), (&b"onetwo"[..], End::Eof, None));
        let records = origin.finished();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].received, [GET, b"xy"].concat());
        assert_eq!((records[0].end, &records[0].trouble), (End::Eof, &None));
    }

    #[test]
    fn a_reset_is_told_from_an_eof_on_either_side() {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Head, Step::Send(b"x".into())]);
        Peer::converse(origin.addr(), &[Step::Send(GET.into()), Step::Bytes(1), Step::Reset]);
        assert_eq!(origin.finished()[0].end, End::Reset);

        origin.play(vec![Step::Head, Step::Reset]);
        let seen = Peer::converse(origin.addr(), &[Step::Send(GET.into()), Step::End]);
        assert_eq!(seen.end, End::Reset);
    }

    #[test]
    fn a_wait_that_is_not_met_is_reported() {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Bytes(99)]);
        Peer::converse(origin.addr(), &[Step::Send(GET.into()), Step::HalfClose]);
        let trouble = origin.finished()[0].trouble.clone().unwrap();
        assert!(trouble.contains("fewer than 99 bytes: 27 bytes, Eof"), "{trouble}");
    }

    #[test]
    fn answers_each_complete_request() {
        let origin = Origin::start().unwrap();
        origin.play(vec![Step::Answer(b"a".into())]);
        let post = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        let sent = [GET, post, b"GET /half"].concat();
        let seen =
            Peer::converse(origin.addr(), &[Step::Send(sent.clone()), Step::Bytes(2), Step::HalfClose]);
        assert_eq!(seen.received, b"aa");
        let (all, rest) = requests(&origin.finished()[0].received);
        assert_eq!(all.iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/", "/p"]);
        assert_eq!(all[1].body, b"abc");
        assert!(rest, "the half request is left over");
    }

    #[test]
    fn forgets_earlier_connections_when_a_new_script_begins() {
        let origin = Origin::start().unwrap();
        Peer::converse(origin.addr(), &[Step::HalfClose]);
        origin.finished();
        origin.play(Vec::new());
        assert!(origin.records().is_empty());
    }
}
