//! The two sockets: prefaces, ends, time-outs, drains and bounds, over real loopback connections.

use super::super::frame::{self, HEADER, Header, flag, kind};
use super::super::hpack::put_literal;
use super::*;
use crate::head::Head;
use crate::relay::h2::Limits;
use crate::relay::parse::{HeadLimits, RequestFraming};
use crate::relay::{Call, Commit, Connection, End};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Seen(Log, usize, bool);

impl Observer for Log {
    type Call = Seen;
    fn begin(&mut self, head: Head<'_>, _: &RequestFraming) -> Result<Seen, Refusal> {
        if head.target() == b"/refuse" {
            return Err(Refusal { status: 503, reason: "journal_full" });
        }
        self.add(format!("begin {}", String::from_utf8_lossy(head.target())));
        Ok(Seen(self.clone(), 0, head.target() == b"/strict"))
    }
    fn unreachable(&mut self) {
        self.add("unreachable".into());
    }
    fn refused(&mut self, refusal: Refusal, _: &[u8]) {
        self.add(format!("refused {}", refusal.reason));
    }
    fn upstream_not_http2(&mut self) {
        self.add("not http2".into());
    }
}

impl Call for Seen {
    fn hold(&self) -> Option<usize> {
        self.2.then_some(1000)
    }
    fn commit(&mut self, whole: bool) -> Commit {
        self.0.add(format!("commit {} {whole}", self.1));
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        })
    }
    fn request_body(&mut self, bytes: &[u8]) {
        self.1 += bytes.len();
    }
    fn response_head(&mut self, _: Head<'_>) {}
    fn response_body(&mut self, _: &[u8]) {}
    fn tunnel(&mut self) {}
    fn end(&mut self, end: End) {
        let error = end.error.or(end.own_status.map(|_| "own")).unwrap_or("-");
        self.0.add(format!("end {:?} {} {:?} {error}", end.request, self.1, end.response));
    }
}

/// A relay in front of `upstream`, for one connection.
async fn relay(upstream: std::net::SocketAddr) -> (TcpStream, Log, oneshot::Sender<()>) {
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let log = Log::default();
    let observer = log.clone();
    let (drain, drained) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let settings = Settings {
            limits: HeadLimits { max_bytes: 64 << 10, max_fields: 100 },
            head_timeout: Duration::from_millis(300),
            upgrades: vec![],
            http2: Limits { max_resets: 10_000, ..Limits::default() },
        };
        let client = front.accept().await.unwrap().0;
        let drain = async {
            if drained.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Connection::new(client, observer).run(upstream, &settings, drain).await;
    });
    (TcpStream::connect(address).await.unwrap(), log, drain)
}

/// The same with an origin that runs `script` for its one connection.
async fn with_origin<F>(
    script: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (TcpStream, Log, oneshot::Sender<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = origin.local_addr().unwrap();
    tokio::spawn(async move { script(origin.accept().await.unwrap().0).await });
    relay(upstream).await
}

fn settings() -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out);
    out
}

fn open(id: u32, path: &str, end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")] {
        put_literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    let mut out = Vec::new();
    let flags = flag::END_HEADERS | if end { flag::END_STREAM } else { 0 };
    frame::put(&mut out, kind::HEADERS, flags, id, &block);
    out
}

fn ok(id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_status(&mut out, id, 200);
    out
}

fn hello() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

/// The next frame; `None` at the end of the connection.
async fn next(stream: &mut TcpStream) -> Option<(Header, Vec<u8>)> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await.ok()?;
    let header = Header::read(&head).unwrap();
    let mut payload = vec![0; header.len];
    stream.read_exact(&mut payload).await.ok()?;
    Some((header, payload))
}

async fn all(stream: &mut TcpStream) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, payload)) = next(stream).await {
        frames.push((header.kind, header.stream, payload));
    }
    frames
}

async fn exactly(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got, expected);
}

fn goaway(last: u32, code: u32) -> (u8, u32, Vec<u8>) {
    (kind::GOAWAY, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
}

#[tokio::test]
async fn bytes_pass_and_the_end_is_known_with_the_answer() {
    let asked = [hello(), open(1, "/a", true)].concat();
    let expected = asked.clone();
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        exactly(&mut origin, &expected).await;
        origin.write_all(&[settings(), ok(1)].concat()).await.unwrap();
        assert_eq!(origin.read(&mut [0]).await.unwrap(), 0, "the client's FIN is passed on");
    })
    .await;
    for byte in asked {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    exactly(&mut client, &[settings(), ok(1)].concat()).await;
    assert_eq!(log.lines(), ["begin /a", "end Complete 0 Complete -"]);
    client.shutdown().await.unwrap();
    assert!(all(&mut client).await.is_empty());
}

#[tokio::test]
async fn a_service_of_http_1_is_told_apart() {
    for words in [&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], b""] {
        let (mut client, log, _drain) = with_origin(move |mut origin| async move {
            exactly(&mut origin, PREFACE).await;
            origin.write_all(words).await.unwrap();
        })
        .await;
        client.write_all(&[hello(), open(1, "/a", true)].concat()).await.unwrap();
        let frames = all(&mut client).await;
        assert_eq!(frames, [(kind::SETTINGS, 0, vec![]), goaway(1, code::HTTP_1_1_REQUIRED)]);
        let lines = log.lines();
        assert_eq!(lines, ["begin /a", "not http2", "end Complete 0 Aborted upstream_malformed"]);
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_502() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (mut client, log, _drain) = relay(socket.local_addr().unwrap()).await;
    client.write_all(&[hello(), open(1, "/a", true), open(3, "/b", true)].concat()).await.unwrap();
    let frames = all(&mut client).await;
    let answer = |id| (kind::HEADERS, id, b"\x08\x03502".to_vec());
    assert_eq!(frames, [(kind::SETTINGS, 0, vec![]), answer(1), answer(3), goaway(3, code::NO_ERROR)]);
    let ends = log.lines().iter().filter(|l| *l == "end Complete 0 Aborted upstream_connect").count();
    assert_eq!((ends, log.lines()[0].as_str()), (2, "unreachable"));
}

#[tokio::test]
async fn what_is_held_back_has_a_deadline_and_what_is_idle_has_none() {
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        origin.write_all(&settings()).await.unwrap();
        all(&mut origin).await;
    })
    .await;
    client.write_all(&hello()).await.unwrap();
    exactly(&mut client, &settings()).await;
    // Idle for longer than the time-out; then half a header block.
    let idle = tokio::time::timeout(Duration::from_millis(500), client.read(&mut [0])).await;
    assert!(idle.is_err(), "an idle connection is the service's to end");
    let head = open(1, "/a", true);
    client.write_all(&head[..head.len() - 1]).await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(all(&mut client).await, [goaway(0, code::ENHANCE_YOUR_CALM)]);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(log.lines(), ["refused head_timeout"]);
}

#[tokio::test]
async fn a_preface_that_is_none_is_refused() {
    let (mut client, log, _drain) = with_origin(|_| async {}).await;
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await.unwrap();
    assert_eq!(all(&mut client).await, [(kind::SETTINGS, 0, vec![]), goaway(0, code::PROTOCOL_ERROR)]);
    assert_eq!(log.lines(), ["refused h2_preface"]);
}

#[tokio::test]
async fn a_break_is_recorded_and_passed_on() {
    // The client's reset.
    let (told, hear) = oneshot::channel();
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        exactly(&mut origin, &hello()).await;
        let mut rest = Vec::new();
        told.send(origin.read_to_end(&mut rest).await.is_err()).unwrap();
    })
    .await;
    client.write_all(&[hello(), open(1, "/a", false)].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(hear.await.unwrap(), "the origin saw no reset");
    assert_eq!(log.lines(), ["begin /a", "end Aborted 0 Aborted client_reset"]);
    // The service's close in the middle of an answer.
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        exactly(&mut origin, &[hello(), open(1, "/a", true)].concat()).await;
        origin.write_all(&[settings(), vec![0, 0, 9, 0, 0, 0, 0, 0, 1, b'x']].concat()).await.unwrap();
    })
    .await;
    client.write_all(&[hello(), open(1, "/a", true)].concat()).await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), 9 + 10);
    assert_eq!(log.lines(), ["begin /a", "end Complete 0 Aborted upstream_closed"]);
}

#[tokio::test]
async fn a_drain_ends_the_connection_after_its_streams() {
    let (mut client, log, drain) = with_origin(|mut origin| async move {
        origin.write_all(&settings()).await.unwrap();
        exactly(&mut origin, &[hello(), open(1, "/a", true)].concat()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        origin.write_all(&ok(1)).await.unwrap();
        all(&mut origin).await;
    })
    .await;
    client.write_all(&[hello(), open(1, "/a", true)].concat()).await.unwrap();
    exactly(&mut client, &settings()).await;
    drain.send(()).unwrap();
    assert_eq!(next(&mut client).await.unwrap().0.kind, kind::GOAWAY);
    let (ping, payload) = next(&mut client).await.unwrap();
    assert_eq!(ping.kind, kind::PING);
    let mut pong = Vec::new();
    frame::put(&mut pong, kind::PING, flag::ACK, 0, &payload);
    client.write_all(&pong).await.unwrap();
    let frames = all(&mut client).await;
    assert_eq!(frames, [goaway(1, code::NO_ERROR), (kind::HEADERS, 1, b"\x08\x03200".to_vec())]);
    assert_eq!(log.lines(), ["begin /a", "end Complete 0 Complete -"]);
}

/// A client that has streams refused and never reads what it is told cannot make us hold more.
#[tokio::test]
async fn answers_nobody_reads_hold_the_client_up() {
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        origin.write_all(&settings()).await.unwrap();
        all(&mut origin).await;
    })
    .await;
    client.write_all(&hello()).await.unwrap();
    let mut sent = 0;
    let stuck = async {
        for n in 0..1_000_000 {
            client.write_all(&open(2 * n + 1, "/refuse", false)).await.unwrap();
            sent += 1;
        }
    };
    // The kernel's buffers take some megabytes in both directions; then it stands still.
    let held = tokio::time::timeout(Duration::from_millis(1500), stuck).await.is_err();
    let refused = log.lines().len();
    assert!(held && refused < 500_000, "{refused} of {sent}");
    // Whatever has been refused is told as soon as the client reads.
    exactly(&mut client, &settings()).await;
    for _ in 0..1000 {
        let (answer, _) = next(&mut client).await.unwrap();
        assert!(matches!(answer.kind, kind::HEADERS | kind::DATA | kind::RST_STREAM));
    }
}

fn data(id: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, kind::DATA, u8::from(end), id, bytes);
    out
}

/// One whose body comes and one whose body dawdles; the answer to a third is not kept waiting by them.
#[tokio::test]
async fn held_calls_go_on_when_the_disk_or_patience_says_so() {
    let asked = [open(1, "/a", false), open(3, "/strict", false), open(5, "/strict", false)].concat();
    let (first, second) = (open(1, "/a", false), [open(3, "/strict", false), data(3, b"abc", true)].concat());
    let third = [open(5, "/strict", false), data(5, b"ab", false)].concat();
    let expected = [hello(), first, data(1, b"x", true), second, third, data(5, b"c", true)].concat();
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        origin.write_all(&settings()).await.unwrap();
        exactly(&mut origin, &expected).await;
        origin.write_all(&[ok(1), ok(3), ok(5)].concat()).await.unwrap();
        assert_eq!(origin.read(&mut [0]).await.unwrap(), 0, "the client's FIN is passed on");
    })
    .await;
    client.write_all(&[hello(), asked, data(1, b"x", true), data(3, b"abc", true)].concat()).await.unwrap();
    client.write_all(&data(5, b"ab", false)).await.unwrap();
    let begun = Instant::now();
    while log.lines().iter().filter(|l| l.starts_with("commit")).count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    client.write_all(&data(5, b"c", true)).await.unwrap();
    // What waits goes on after the client's FIN too.
    client.shutdown().await.unwrap();
    assert_eq!(all(&mut client).await.len(), 4);
    let commits: Vec<_> = log.lines().into_iter().filter(|l| l.starts_with("commit")).collect();
    assert_eq!(commits, ["commit 3 true", "commit 2 false", "commit 3 true"]);
}

#[tokio::test]
async fn a_held_call_whose_client_leaves_does_not_reach_the_service() {
    let expected = [hello(), open(3, "/b", true)].concat();
    let (mut client, log, _drain) = with_origin(|mut origin| async move {
        origin.write_all(&settings()).await.unwrap();
        let mut got = Vec::new();
        origin.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected);
        origin.write_all(&ok(3)).await.unwrap();
    })
    .await;
    let asked = [hello(), open(1, "/strict", false), data(1, b"abc", false), open(3, "/b", true)].concat();
    client.write_all(&asked).await.unwrap();
    client.shutdown().await.unwrap();
    let got = all(&mut client).await;
    // And the window of what was held.
    assert_eq!(got.iter().map(|f| (f.0, f.1)).collect::<Vec<_>>(), [(4, 0), (8, 0), (1, 3)]);
    assert_eq!(log.lines()[2], "end Aborted 3 Aborted client_reset");
}
