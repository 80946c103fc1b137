//! A client that holds a [`Shape`](crate::shapes::Shape): it says what the shape says, waits for whole
//! answers where the shape waits, and then asks once more, to learn whether the connection was kept.
//!
//! Promises: no answer is waited for by the clock; the clock only ends what would wait for ever, and
//! then says so. Reads of an answer no more than where it ends (RFC 9112 §6.3).

use crate::shapes::{Shape, Step};
use crate::tap::at_once;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The address that clients come from, so that a server which tells its peer's tells whose it is.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// Silence after which nothing more is expected.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a client waits to be told to go on; then it goes on, as clients do.
const TOLD: Duration = Duration::from_secs(1);

/// Between parts that are to travel apart.
const APART: Duration = Duration::from_millis(8);

/// What came of a shape.
#[derive(Debug, Default, Clone)]
pub struct Held {
    /// All that was said, the probe included.
    pub sent: Vec<u8>,
    /// Bytes of it that are not the probe's.
    pub said: usize,
    /// Bytes of it that had been said when the last bytes came back.
    pub heard: usize,
    pub received: Vec<u8>,
    /// Final answers that are whole.
    pub answers: usize,
    /// The probe was answered: the connection had been kept.
    pub kept: bool,
    /// How the connection ended; None: it did not within all patience.
    pub closed: Option<bool>,
    pub took: Duration,
}

struct Client<'a> {
    stream: TcpStream,
    shape: &'a Shape,
    held: Held,
}

/// Says a shape to this address.
pub fn hold(shape: &Shape, to: SocketAddr) -> Held {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((SOURCE, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let began = Instant::now();
    let mut client = Client { stream, shape, held: Held::default() };
    shape.steps.iter().for_each(|step| client.step(step));
    client.held.said = client.held.sent.len();
    let asked = client.held.answers;
    if client.held.closed.is_none() && shape.probe {
        client.send(&shape.probe_bytes());
        client.until(|held| held.answers > asked);
        client.held.kept = client.held.answers > asked;
    }
    client.until(|_| false);
    client.held.took = began.elapsed();
    client.held
}

impl Client<'_> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Send(bytes) => self.send(bytes),
            Step::Parts(parts) => parts.iter().for_each(|part| {
                self.send(part);
                std::thread::sleep(APART);
            }),
            Step::Answers(n) => {
                let wanted = self.held.answers.max(*n);
                self.until(|held| held.answers >= wanted);
            }
            Step::Interim => self.within(TOLD, |held| !held.received.is_empty()),
            Step::Fin => drop(self.stream.shutdown(Shutdown::Write)),
        }
    }

    /// A server that has closed takes no more, and is nevertheless listened to.
    fn send(&mut self, bytes: &[u8]) {
        self.held.sent.extend_from_slice(bytes);
        let _ = self.stream.write_all(bytes);
    }

    /// Reads until there is enough, the connection ends, or nothing comes.
    fn until(&mut self, enough: impl Fn(&Held) -> bool) {
        self.within(PATIENCE, enough);
    }

    fn within(&mut self, patience: Duration, enough: impl Fn(&Held) -> bool) {
        let mut buffer = vec![0; 64 << 10];
        let deadline = Instant::now() + patience;
        while !enough(&self.held) && self.held.closed.is_none() {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else {
                return;
            };
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut buffer) {
                Ok(0) => self.held.closed = Some(true),
                Ok(n) => {
                    self.held.received.extend_from_slice(buffer.get(..n).unwrap_or_default());
                    self.held.answers = whole_answers(&self.held.received, &self.shape.heads);
                    self.held.heard = self.held.sent.len();
                    at_once(&self.stream);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
                Err(_) => self.held.closed = Some(false),
            }
        }
    }
}

/// How many final answers are whole; `heads`: which requests were HEAD.
fn whole_answers(mut rest: &[u8], heads: &[bool]) -> usize {
    let mut count = 0;
    while let Some((status, used)) = answer(rest, heads.get(count) == Some(&true)) {
        rest = rest.get(used..).unwrap_or_default();
        count += usize::from(status >= 200);
    }
    count
}

/// The status of the first answer and the bytes that it takes, once it is whole.
fn answer(bytes: &[u8], to_head: bool) -> Option<(u16, usize)> {
    let head = head_len(bytes)?;
    let text = String::from_utf8_lossy(bytes.get(..head)?).to_ascii_lowercase();
    let status: u16 = text.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    let field = |name: &str| {
        let found = text.lines().find_map(|line| line.split_once(':').filter(|(n, _)| *n == name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    if to_head || status < 200 || matches!(status, 204 | 304) {
        return Some((status, head));
    }
    let body = bytes.get(head..)?;
    if field("transfer-encoding").is_some() {
        return harness::origin::unchunk(body).map(|(_, used)| (status, head + used));
    }
    let length: usize = field("content-length")?.split(',').next()?.trim().parse().ok()?;
    (body.len() >= length).then_some((status, head + length))
}

/// Up to and with the empty line; lines may end in a bare LF.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    for lf in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(start..lf)?;
        if start > 0 && matches!(line, b"" | b"\r") {
            return Some(lf + 1);
        }
        start = lf + 1;
    }
    None
}

#[test]
fn an_answer_ends_where_its_head_says() {
    let said = [
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
    ];
    let heads = [false, false, false, true];
    for n in 0..said.len() {
        let whole = said[..n].concat();
        assert_eq!(whole_answers(whole.as_bytes(), &heads), n, "{whole:?}");
        let cut = said[..=n].concat();
        let cut = cut.as_bytes().split_last().unwrap().1;
        assert_eq!(whole_answers(cut, &heads), n, "{}", cut.escape_ascii());
    }
    assert_eq!(whole_answers(said.concat().as_bytes(), &heads), 4, "one that ends with the connection");
}
