//! What the observer is told, over real loopback sockets. That bytes pass unchanged is shown by the
//! end-to-end tests with the real binary.

use super::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happened, in order, in words.
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

impl Log {
    /// Until the connection it watches is no more.
    async fn gone(&self) {
        let gone = async {
            while Arc::strong_count(&self.0) > 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the connection is cut");
    }
}

struct Seen {
    log: Log,
    body: usize,
    answer: usize,
}

impl Observer for Log {
    type Call = Seen;
    fn begin(&mut self, head: Head<'_>, _: &RequestFraming) -> Result<Seen, Refusal> {
        if head.first("x-refuse").is_some() {
            return Err(Refusal { status: 503, reason: "journal_full" });
        }
        self.add(format!("begin {} {}", head.method(), String::from_utf8_lossy(head.target())));
        Ok(Seen { log: self.clone(), body: 0, answer: 0 })
    }
    fn unreachable(&mut self) {
        self.add("unreachable".into());
    }
    fn refused(&mut self, refusal: Refusal, _: &[u8]) {
        self.add(format!("refused {} {}", refusal.status, refusal.reason));
    }
}

impl Call for Seen {
    fn request_body(&mut self, bytes: &[u8]) {
        self.body += bytes.len();
    }
    fn response_head(&mut self, head: Head<'_>) {
        self.log.add(format!("status {}", head.status()));
    }
    fn response_body(&mut self, bytes: &[u8]) {
        self.answer += bytes.len();
    }
    fn tunnel(&mut self) {
        self.log.add("tunnel".into());
    }
    fn end(&mut self, end: End) {
        let End { request, response, error, own_status } = end;
        let own = own_status.map(|s| format!(" own {s}")).unwrap_or_default();
        let error = error.map(|e| format!(" {e}")).unwrap_or_default();
        self.log.add(format!("end {request:?} {} {response:?} {}{error}{own}", self.body, self.answer));
    }
}

/// A relay in front of an origin that runs `script` for its one connection.
async fn relay<F>(script: impl FnOnce(TcpStream) -> F + Send + 'static) -> (TcpStream, Log)
where
    F: Future<Output = ()> + Send + 'static,
{
    relay_with(None, Others::default(), script).await
}

async fn relay_with<F>(
    forward: Option<Forward>,
    others: Others,
    script: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (TcpStream, Log)
where
    F: Future<Output = ()> + Send + 'static,
{
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = origin.local_addr().unwrap();
    tokio::spawn(async move { script(origin.accept().await.unwrap().0).await });
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let log = Log::default();
    let observer = log.clone();
    tokio::spawn(async move {
        let settings = settings_with(others);
        let client = front.accept().await.unwrap().0;
        Connection::new(client, observer)
            .forwarding(forward)
            .run(upstream, &settings, std::future::pending())
            .await;
    });
    (TcpStream::connect(address).await.unwrap(), log)
}

/// Thousands of them wait at once, for hours.
#[tokio::test]
async fn an_idle_connection_needs_little() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, client) = (settings(), TcpStream::connect(address).await.unwrap());
    let connection = Connection::<_, _, TcpStream>::new(client, Log::default());
    let state = std::mem::size_of_val(&connection);
    let future = std::mem::size_of_val(&connection.run(address, &settings, std::future::pending()));
    assert!(state <= 700 && future <= 1000, "{state} and {future} bytes");
}

fn settings() -> Settings {
    settings_with(Others::default())
}

fn settings_with(others: Others) -> Settings {
    let upgrades = Upgrades { allowed: vec!["websocket".into()], others };
    Settings { upgrades: Arc::new(upgrades), ..Settings::brief(Duration::from_millis(300)) }
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    while !got.ends_with(end) {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        got.push(byte[0]);
    }
    got
}

async fn rest(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.map(|_| got)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_end_is_told_before_the_last_byte() {
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"abc").await;
        origin.write_all(OK).await.unwrap();
        read_until(&mut origin, b"0\r\n\r\n").await;
        origin.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
    assert_eq!(read_until(&mut client, b"ok").await, OK);
    // The answer has just been read: the end must already be known.
    assert_eq!(log.lines(), ["begin POST /a", "status 200", "end Complete 3 Complete 2"]);
    client
        .write_all(b"PUT /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n0\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, b"204 No\r\n\r\n").await;
    assert_eq!(log.lines()[3..], ["begin PUT /b", "status 204", "end Complete 4 Complete 0"]);
}

#[tokio::test]
async fn an_early_answer_ends_the_call_while_the_upload_goes_on() {
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"abc").await;
        origin.write_all(OK).await.unwrap();
        read_until(&mut origin, b"defg").await;
        read_until(&mut origin, b"\r\n\r\n").await;
        origin.write_all(OK).await.unwrap();
    })
    .await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nabc").await.unwrap();
    read_until(&mut client, b"ok").await;
    assert_eq!(log.lines()[2], "end Open 3 Complete 2");
    client.write_all(b"defgGET /b HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut client, b"ok").await;
    assert_eq!(log.lines()[3..], ["begin GET /b", "status 200", "end Complete 0 Complete 2"]);
}

#[tokio::test]
async fn a_service_that_breaks_off_is_told_apart() {
    for (answer, expected) in [
        (&b""[..], "end Complete 0 Aborted 0 upstream_closed"),
        (b"HTTP/1.1 200 OK\r\n", "end Complete 0 Aborted 0 upstream_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "end Complete 0 Aborted 3 upstream_closed"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", "end Complete 0 Complete 3"),
    ] {
        let (mut client, log) = relay(move |mut origin| async move {
            read_until(&mut origin, b"\r\n\r\n").await;
            origin.write_all(answer).await.unwrap();
        })
        .await;
        client.write_all(b"DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(rest(&mut client).await.unwrap(), answer);
        assert_eq!(log.lines().last().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_client_that_resets_is_recorded_and_the_reset_is_passed_on() {
    let (told, hear) = tokio::sync::oneshot::channel();
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"abc").await;
        told.send(rest(&mut origin).await.is_err()).unwrap();
    })
    .await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nabc").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(hear.await.unwrap(), "the origin saw no reset");
    assert_eq!(log.lines(), ["begin POST /a", "end Aborted 3 Aborted 0 client_reset"]);
}

#[tokio::test]
async fn a_body_malformed_from_its_start_never_reaches_the_service() {
    let (seen, hear) = tokio::sync::oneshot::channel();
    let (mut client, log) = relay(|mut origin| async move {
        seen.send(rest(&mut origin).await).unwrap();
    })
    .await;
    client
        .write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
        .await
        .unwrap();
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(
        log.lines(),
        ["begin POST /a", "end Aborted 0 Aborted 0 request_malformed own 400", "refused 400 chunk_size"]
    );
    assert!(tokio::time::timeout(Duration::from_millis(100), hear).await.is_err(), "a connection was opened");
}

#[tokio::test]
async fn a_body_malformed_later_breaks_off_towards_the_service() {
    let (seen, hear) = tokio::sync::oneshot::channel();
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"Wiki").await;
        seen.send(rest(&mut origin).await.is_err()).unwrap();
    })
    .await;
    client
        .write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.write_all(b"\r\n+5\r\n").await.unwrap();
    assert!(rest(&mut client).await.unwrap().starts_with(b"HTTP/1.1 400 "));
    assert!(hear.await.unwrap(), "the origin took an incomplete message for a whole one");
    assert_eq!(log.lines()[1], "end Aborted 4 Aborted 0 request_malformed own 400");
}

#[tokio::test]
async fn a_tunnel_opens_only_with_the_answer_that_was_asked_for() {
    let upgrade = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"\r\n\r\n").await;
        origin.write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: WebSocket\r\n\r\nhi").await.unwrap();
        assert_eq!(read_until(&mut origin, b"\0\n\nraw").await, b"early\0\n\nraw");
    })
    .await;
    client.write_all(&[&upgrade[..], b"early"].concat()).await.unwrap();
    read_until(&mut client, b"\r\n\r\nhi").await;
    client.write_all(b"\0\n\nraw").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), b"");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(log.lines(), ["begin GET /ws", "status 101", "tunnel", "end Complete 11 Complete 2"]);

    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"\r\n\r\n").await;
        origin.write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n").await.unwrap();
        rest(&mut origin).await.unwrap_or_default();
    })
    .await;
    client.write_all(upgrade).await.unwrap();
    assert!(rest(&mut client).await.unwrap().starts_with(b"HTTP/1.1 502 "));
    assert_eq!(log.lines()[1], "end Complete 0 Aborted 0 upstream_upgrade own 502");
}

#[tokio::test]
async fn bytes_after_an_upgrade_that_was_declined_are_the_next_request() {
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"\r\n\r\n").await;
        origin.write_all(OK).await.unwrap();
        assert_eq!(read_until(&mut origin, b"\r\n\r\n").await, b"DELETE /b HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.write_all(OK).await.unwrap();
    })
    .await;
    client
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\nDELETE /b HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), [OK, OK].concat());
    assert_eq!(log.lines()[3], "begin DELETE /b");
}

/// What Java's `HttpClient` sends first on each connection.
const OFFER: &[u8] = b"DELETE /a HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: a\r\n\
    HTTP2-Settings: AAEA\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc";

#[tokio::test]
async fn an_offer_that_is_not_allowed_is_withdrawn_and_a_101_all_the_same_cut_off() {
    let forward = Some(Forward::x_forwarded_for(None));
    let (mut client, log) = relay_with(forward, Others::Withdraw, |mut origin| async move {
        let expected =
            b"DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-Forwarded-For: unknown\r\n\r\nabc";
        for answer in [OK, b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\nframes"] {
            assert_eq!(read_until(&mut origin, b"abc").await, expected);
            origin.write_all(answer).await.unwrap();
        }
        let rest = rest(&mut origin).await.unwrap_or_default();
        assert_eq!(rest, b"", "nothing passes into the tunnel");
    })
    .await;
    // What follows is the next request.
    client.write_all(&[OFFER, OFFER].concat()).await.unwrap();
    assert_eq!(read_until(&mut client, b"ok").await, OK);
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 502 ") && !answer.ends_with(b"frames"));
    let end = ["end Complete 3 Aborted 0 upstream_upgrade own 502", "refused 502 unasked_upgrade"];
    assert_eq!(log.lines()[4..], end);
}

#[tokio::test]
async fn where_other_offers_pass_they_go_as_sent_but_not_with_bytes_behind_them() {
    for behind in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (mut client, log) = relay_with(None, Others::Pass, |mut origin| async move {
            assert_eq!(read_until(&mut origin, b"abc").await, OFFER);
            origin.write_all(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\nframes").await.unwrap();
            assert_eq!(rest(&mut origin).await.unwrap_or_default(), b"");
        })
        .await;
        client.write_all(&[OFFER, behind].concat()).await.unwrap();
        let answer = rest(&mut client).await.unwrap();
        let (status, last) = match behind {
            b"" => (&b"HTTP/1.1 502 "[..], "refused 502 unasked_upgrade"),
            _ => (&b"HTTP/1.1 400 "[..], "refused 400 upgrade"),
        };
        assert!(answer.starts_with(status) && !answer.ends_with(b"frames"));
        assert_eq!(log.lines().last().unwrap(), last);
    }
}

/// The service has said all and gone; the client takes none of it, or does not go.
#[tokio::test]
async fn a_connection_that_only_the_relay_keeps_open_ends() {
    let (mut client, log) = relay(|mut origin| async move {
        read_until(&mut origin, b"\r\n\r\n").await;
        origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        origin.shutdown().await.unwrap();
        rest(&mut origin).await.unwrap_or_default();
    })
    .await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut client, b"ok").await, OK);
    // Half of an upload, and silence: the FIN comes at once, the end of it all when that has gone on for
    // too long.
    client.write_all(b"abc").await.unwrap();
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    log.gone().await;
    assert_eq!(log.lines(), ["begin POST /a", "status 200", "end Open 0 Complete 2"]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_what_is_left_is_cut_off() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = origin.local_addr().unwrap();
    tokio::spawn(async move {
        let mut origin = origin.accept().await.unwrap().0;
        read_until(&mut origin, b"\r\n\r\n").await;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 7000\r\n\r\n{}", "a".repeat(7000));
        origin.write_all(answer.as_bytes()).await.unwrap();
        rest(&mut origin).await.unwrap_or_default();
    });
    // Holds less than the answer has.
    let (mut client, far) = tokio::io::duplex(1000);
    let log = Log::default();
    let settings = settings();
    let relay = Connection::new(far, log.clone()).run(upstream, &settings, std::future::pending());
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), relay).await.expect("the connection is cut");
    assert_eq!(log.lines().last().unwrap(), "end Complete 0 Complete 7000");
}

impl Wire for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}

#[tokio::test]
async fn one_field_is_added_to_each_request_and_nothing_else_changes() {
    let (seen, hear) = tokio::sync::oneshot::channel();
    let (mut client, log) =
        relay_with(Some(Forward::x_forwarded_for(None)), Others::default(), |mut origin| async move {
            let first = read_until(&mut origin, b"abc").await;
            origin.write_all(OK).await.unwrap();
            let second = read_until(&mut origin, b"\r\n\r\n").await;
            origin.write_all(OK).await.unwrap();
            seen.send([first, second]).unwrap();
            rest(&mut origin).await.unwrap();
        })
        .await;
    let first = "POST /a HTTP/1.1\r\nhost: a\r\nx-forwarded-for:  6.6.6.6 \r\nContent-Length: 3\r\n";
    let second = "\r\nGET /b HTTP/1.1\r\nHost: a\r\n";
    client.write_all(format!("{first}\r\nabc{second}\r\n").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await.unwrap(), [OK, OK].concat());
    let line = "X-Forwarded-For: unknown\r\n";
    let expected = [format!("{first}{line}\r\nabc"), format!("{second}{line}\r\n")];
    assert_eq!(hear.await.unwrap().map(|b| String::from_utf8(b).unwrap()), expected);
    assert_eq!(log.lines()[2], "end Complete 3 Complete 2", "the line is none of the call's");
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_at_its_deadline() {
    let (mut client, log) = relay(|_| async {}).await;
    let begun = std::time::Instant::now();
    client.write_all(b"POST /a HTTP/1.1\r\n").await.unwrap();
    let (mut read, mut write) = client.split();
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if write.write_all(b"X: 1\r\n").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        read = read.read_exact(&mut answer) => { read.unwrap(); }
        () = trickle => {}
    }
    assert_eq!(answer, b"HTTP/1.1 408");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(log.lines(), ["refused 408 head_timeout"]);
}

#[tokio::test]
async fn an_observer_may_refuse() {
    let (mut client, log) = relay(|_| async {}).await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nX-Refuse: 1\r\n\r\n").await.unwrap();
    assert!(rest(&mut client).await.unwrap().starts_with(b"HTTP/1.1 503 "));
    assert_eq!(log.lines(), ["refused 503 journal_full"]);
}
