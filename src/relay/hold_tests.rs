//! Calls that are held until they are on the disk, over real loopback sockets.

use super::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BOUND: usize = 100_000;

/// What happened, in order, and how the next commits end: the time they take, and whether they succeed.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Notes>>);

type Notes = (Vec<String>, Vec<(u64, bool)>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().0.push(line);
    }
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }
}

struct Strict(Log, usize);

impl Observer for Log {
    type Call = Strict;
    fn begin(&mut self, _: Head<'_>, _: &RequestFraming) -> Result<Strict, Refusal> {
        Ok(Strict(self.clone(), 0))
    }
    fn unreachable(&mut self) {}
    fn streamed(&mut self, why: &'static str) {
        self.add(format!("streamed {why}"));
    }
    fn refused(&mut self, refusal: Refusal, _: &[u8]) {
        self.add(format!("refused {} {}", refusal.status, refusal.reason));
    }
}

impl Call for Strict {
    fn hold(&self) -> Option<usize> {
        Some(BOUND)
    }
    fn commit(&mut self, whole: bool) -> Commit {
        let Strict(log, seen) = self;
        log.add(format!("commit {seen} {whole}"));
        let mut plan = log.0.lock().unwrap();
        let (millis, fine) = if plan.1.is_empty() { (0, true) } else { plan.1.remove(0) };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            if fine { Ok(()) } else { Err(Refusal { status: 503, reason: "not_durable" }) }
        })
    }
    fn request_body(&mut self, bytes: &[u8]) {
        self.1 += bytes.len();
    }
    fn response_head(&mut self, _: Head<'_>) {}
    fn response_body(&mut self, _: &[u8]) {}
    fn tunnel(&mut self) {}
    fn end(&mut self, end: End) {
        let error = end.error.map(|e| format!(" {e}")).unwrap_or_default();
        self.0.add(format!("end {:?}{error} {:?}", end.request, end.own_status));
    }
}

/// A relay in front of an origin that notes all it gets and answers each `!` with a 200.
async fn relay(plan: &[(u64, bool)]) -> (TcpStream, Log, Arc<Mutex<Vec<u8>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = origin.local_addr().unwrap();
    let ledger = got.clone();
    tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            ledger.lock().unwrap().extend_from_slice(&buffer[..n]);
            for _ in buffer[..n].iter().filter(|b| **b == b'!') {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            }
        }
    });
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let log = Log::default();
    log.0.lock().unwrap().1 = plan.to_vec();
    let observer = log.clone();
    tokio::spawn(async move {
        let settings = Settings::brief(Duration::from_millis(500));
        let client = front.accept().await.unwrap().0;
        super::Connection::new(client, observer).run(upstream, &settings, std::future::pending()).await;
    });
    (TcpStream::connect(address).await.unwrap(), log, got)
}

fn post(length: usize, fields: &str) -> Vec<u8> {
    format!("POST /p HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {length}\r\n\r\n").into_bytes()
}

async fn answer(client: &mut TcpStream) -> String {
    let mut got = vec![0; 4096];
    let n = tokio::time::timeout(Duration::from_secs(5), client.read(&mut got)).await.unwrap().unwrap_or(0);
    String::from_utf8_lossy(&got[..n]).into_owned()
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

#[tokio::test]
async fn nothing_is_forwarded_before_the_whole_body_is_committed() {
    let (mut client, log, got) = relay(&[(150, true)]).await;
    let request = [post(5, ""), b"abcd".to_vec()].concat();
    client.write_all(&request).await.unwrap();
    pause().await;
    assert_eq!((got.lock().unwrap().len(), log.lines().len()), (0, 0), "the body is not whole");
    client.write_all(b"!").await.unwrap();
    pause().await;
    assert_eq!((got.lock().unwrap().len(), &log.lines()[..]), (0, &["commit 5 true".to_string()][..]));
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(*got.lock().unwrap(), [&request[..], b"!"].concat());
    // The connection goes on with the next call.
    let chunked = b"POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n";
    client.write_all(chunked).await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    assert!(got.lock().unwrap().ends_with(chunked));
}

#[tokio::test]
async fn a_call_that_cannot_be_committed_never_reaches_the_service() {
    let (mut client, log, got) = relay(&[(0, true), (0, false)]).await;
    client.write_all(&[post(1, ""), b"!".to_vec()].concat()).await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    let before = got.lock().unwrap().len();
    client.write_all(&[post(1, ""), b"!".to_vec()].concat()).await.unwrap();
    let refusal = answer(&mut client).await;
    assert!(refusal.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refusal}");
    assert!(refusal.contains("Content-Type: application/problem+json\r\n"), "{refusal}");
    assert!(refusal.contains("Connection: close\r\n"), "{refusal}");
    let (_, body) = refusal.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["status"], &body["reason"]), (&503.into(), &"not_durable".into()));
    assert_eq!(answer(&mut client).await, "", "closed");
    assert_eq!(got.lock().unwrap().len(), before);
    assert_eq!(log.lines()[3..], ["end Complete not_durable Some(503)", "refused 503 not_durable"]);
}

#[tokio::test]
async fn a_body_longer_than_the_bound_waits_for_what_is_kept_of_it() {
    let (mut client, log, got) = relay(&[(150, true)]).await;
    let body = [vec![b'x'; 3 * BOUND], b"!".to_vec()].concat();
    let request = [post(body.len(), ""), body].concat();
    let sent = request.clone();
    let (mut read, mut write) = client.split();
    let writer = async { write.write_all(&sent).await.unwrap() };
    let reader = async {
        pause().await;
        assert_eq!(got.lock().unwrap().len(), 0);
        let mut got = [0; 12];
        read.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"HTTP/1.1 200");
    };
    tokio::join!(writer, reader);
    assert_eq!(*got.lock().unwrap(), request);
    let lines = log.lines();
    let seen: usize =
        lines[0].strip_prefix("commit ").and_then(|l| l.strip_suffix(" false")).unwrap().parse().unwrap();
    assert!(seen > BOUND - 200 && seen <= BOUND, "{lines:?}");
    assert_eq!(lines[1], "end Complete None");
}

#[tokio::test]
async fn one_that_waits_for_100_continue_keeps_its_last_bytes_until_they_are_committed() {
    for fine in [true, false] {
        let (mut client, log, got) = relay(&[(0, true), (100, fine)]).await;
        let head = post(4, "Expect: 100-continue\r\n");
        // What is withdrawn does not hide what else the head says.
        client.write_all(&post(4, "Upgrade: h2c\r\nExpect: 100-continue\r\n")).await.unwrap();
        pause().await;
        assert_eq!(*got.lock().unwrap(), head, "the head is passed on, so that the service can say 100");
        client.write_all(b"ab").await.unwrap();
        pause().await;
        client.write_all(b"c!").await.unwrap();
        pause().await;
        assert_eq!(*got.lock().unwrap(), [&head[..], b"ab"].concat(), "the end is withheld");
        let answer = answer(&mut client).await;
        let (status, end) = if fine { ("200", &b"abc!"[..]) } else { ("503", &b"ab"[..]) };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(*got.lock().unwrap(), [&head[..], end].concat());
        assert_eq!(log.lines()[..3], ["streamed continue", "commit 0 false", "commit 4 true"]);
    }
}

#[tokio::test]
async fn one_that_dawdles_is_not_waited_for() {
    let (mut client, log, got) = relay(&[]).await;
    client.write_all(&[post(2, ""), b"a".to_vec()].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(got.lock().unwrap().ends_with(b"\r\n\r\na"), "passed on after the head's time-out");
    client.write_all(b"!").await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(log.lines(), ["streamed patience", "commit 1 false", "commit 2 true", "end Complete None"]);
}

#[tokio::test]
async fn a_client_that_goes_away_while_held_leaves_nothing_at_the_service() {
    let (mut client, log, got) = relay(&[]).await;
    client.write_all(&[post(2, ""), b"a".to_vec()].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(answer(&mut client).await, "");
    assert_eq!(
        (log.lines(), got.lock().unwrap().len()),
        (vec!["end Aborted client_reset None".to_string()], 0)
    );
}

#[tokio::test]
async fn a_malformed_body_is_refused_while_held() {
    let (mut client, _, got) = relay(&[]).await;
    client
        .write_all(b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n")
        .await
        .unwrap();
    pause().await;
    client.write_all(b"aX\r\n").await.unwrap();
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 400"));
    assert_eq!(got.lock().unwrap().len(), 0);
}
