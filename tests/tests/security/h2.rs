//! HTTP/2, frame by frame: streams that say what no honest client says, and gRPC, which is one call
//! with its own status however many messages it carries.
//!
//! Frames and header blocks (literals only) are written here by hand, because no client library
//! would write them. The service behind the sidecar is the `h2` crate, which keeps the ledger.

use crate::cases::From;
use crate::fixture::{Fixture, of_peer, peer};
use crate::group::Outcome;
use crate::oracle::{keyed_digest, members};
use crate::redaction::peak_kib;
use harness::origin::{End, PATIENCE, Peer, Record};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Streams of the flood, over ten connections.
const FLOOD: u32 = 100_000;
/// Messages of the stream.
const MESSAGES: usize = 1000;

// --- the cases -----------------------------------------------------------------------------------

pub fn extended_connect() -> Outcome {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/ws"),
        (":authority", "a"),
    ];
    all_refused(34, &[fields.to_vec()])
}

pub fn injection() -> Outcome {
    let with = |name: &'static str, value: &'static str| {
        let mut fields = post("/v1/orders");
        match fields.iter_mut().find(|(n, _)| *n == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
        fields
    };
    let smuggled = "DELETE /v1/smug HTTP/1.1\r\nHost: a\r\n\r\n";
    all_refused(
        35,
        &[
            with("x", "a\r\nx-user: evil"),
            with("x", "a\nb"),
            with("x\r\ny", "a"),
            with(":path", "/v1/orders HTTP/1.1\r\nHost: a\r\n\r\n"),
            with(":path", "/v1/orders HTTP/1.1"),
            with(":method", smuggled),
            with(":method", "POST /v1/smug"),
        ],
    )
}

pub fn two_authorities() -> Outcome {
    all_refused(37, &[[post("/v1/orders"), vec![("host", "b")]].concat()])
}

pub fn connection_fields() -> Outcome {
    let with = |name, value| [post("/v1/orders"), vec![(name, value)]].concat();
    all_refused(
        38,
        &[with("transfer-encoding", "chunked"), with("connection", "keep-alive"), with("te", "gzip")],
    )
}

/// A length that is not that of the DATA: never a complete call, never an event that says so.
pub fn lengths() -> Outcome {
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    // The last one is right, so that something passes.
    for (index, length) in ["0", "9", "3"].into_iter().enumerate() {
        let fields = [post("/v1/orders"), vec![("content-length", length)]].concat();
        let bytes =
            [hello(), frame(HEADERS, END_HEADERS, 1, &block(&fields)), frame(DATA, END_STREAM, 1, b"abc")]
                .concat();
        say(&fixture, 36, index, &bytes);
    }
    let events = fixture.stop();
    let mut faults = Vec::new();
    let complete: Vec<_> = service.ledger().into_iter().filter(|call| call.complete).collect();
    if complete.len() != 1 || complete[0].body != b"abc" {
        faults.push(format!("complete calls that reached the service: {complete:?}"));
    }
    let whole: Vec<_> = events.iter().filter(|event| event["error"].is_null()).collect();
    if whole.len() != 1 || whole[0]["client"]["peer_ip"] != peer(From::Stranger, 36, 2).to_string() {
        faults.push(format!("events of complete calls: {whole:#?}"));
    }
    outcome(
        faults,
        "2 × the stream ends in an error, no complete call, no event of one; with the right length it passes",
    )
}

pub fn reset_in_the_body() -> Outcome {
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    let bytes = [
        hello(),
        frame(HEADERS, END_HEADERS, 1, &block(&post("/v1/orders"))),
        frame(DATA, 0, 1, b"abc"),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
    ]
    .concat();
    say(&fixture, 39, 0, &bytes);
    let events = fixture.stop();
    let own = of_peer(&events, peer(From::Stranger, 39, 0));
    let [event] = own[..] else { panic!("not one event: {events:#?}") };
    let wanted = json!({
        "error": "client_reset", "outcome": "aborted", "request.body_state": "aborted", "request.bytes": 3,
        "http.version": "2", "http.path": "/v1/orders",
    });
    outcome(
        members(event, wanted.as_object().unwrap()),
        "one event: `error=client_reset`, `request.body_state=aborted`",
    )
}

/// Streams that are reset as they are opened, as fast as they can be written.
pub fn rapid_reset() -> Outcome {
    const MAY_GROW_KIB: u64 = 64 << 10;
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    let before = peak_kib(fixture.sidecar.process.id());
    let to = fixture.traffic();
    std::thread::scope(|scope| {
        for connection in 0..10 {
            scope.spawn(move || {
                let mut client = Peer::connect_from(peer(From::Stranger, 40, connection), to).unwrap();
                // The other side may end the connection long before all is written: that is its right.
                let _ = flood(connection, |bytes| client.send(bytes));
                client.half_close();
                client.wait(PATIENCE, |r| r.end != End::Open);
            });
        }
    });
    let grown = peak_kib(fixture.sidecar.process.id()) - before;
    let events = fixture.stop();
    let recorded: std::collections::HashSet<_> =
        events.iter().filter_map(|e| e["http"]["path"].as_str()).collect();
    let mut faults: Vec<String> = Vec::new();
    for call in service.ledger().iter().filter(|call| !recorded.contains(call.target.as_str())) {
        faults.push(format!("reached the service without an event: {}", call.target));
    }
    if grown > MAY_GROW_KIB {
        faults.push(format!("memory grew by {grown} KiB"));
    }
    assert!(!events.is_empty(), "nothing was let through, nothing is compared");
    faults.truncate(5);
    outcome(faults, "less than 64 MiB more memory; every stream that reached the service has its event")
}

fn flood(connection: usize, mut send: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    send(&hello())?;
    let mut bytes = Vec::new();
    for n in 0..FLOOD / 10 {
        let (stream, path) = (2 * n + 1, format!("/v1/{connection}/{n}"));
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &block(&post(&path))));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        if bytes.len() > 32 << 10 {
            send(&bytes)?;
            bytes.clear();
        }
    }
    send(&bytes)
}

pub fn grpc_unary() -> Outcome {
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    let message = b"\0\0\0\0\x03abc".to_vec();
    let status = call_grpc(fixture.traffic(), "/pkg.Svc/Delete", std::slice::from_ref(&message));
    assert_eq!(status, "7");
    let events = fixture.stop();
    let [event] = &events[..] else { panic!("not one event: {events:#?}") };
    let wanted = json!({
        "http.method": "POST", "http.path": "/pkg.Svc/Delete", "http.status": 200, "http.grpc_status": 7,
        "operation.protocol": "grpc", "operation.calls": ["pkg.Svc/Delete"], "outcome": "denied",
        "request.bytes": message.len(), "request.digest": keyed_digest(&message),
    });
    outcome(
        members(event, wanted.as_object().unwrap()),
        "one event: `operation.calls=pkg.Svc/Delete`, `http.grpc_status=7`, `outcome=denied`",
    )
}

pub fn grpc_stream() -> Outcome {
    const MAY_GROW_KIB: u64 = 32 << 10;
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    let message = [b"\0\0\0\x04\0".to_vec(), vec![b'x'; 1024]].concat();
    let before = peak_kib(fixture.sidecar.process.id());
    let status = call_grpc(fixture.traffic(), "/pkg.Svc/Upload", &vec![message.clone(); MESSAGES]);
    assert_eq!(status, "0");
    let grown = peak_kib(fixture.sidecar.process.id()) - before;
    let events = fixture.stop();
    let [event] = &events[..] else { panic!("not one event: {events:#?}") };
    let wanted = json!({
        "operation.calls": ["pkg.Svc/Upload"], "outcome": "success", "http.grpc_status": 0,
        "request.messages": MESSAGES, "request.bytes": message.len() * MESSAGES,
        "request.digest": keyed_digest(&message.repeat(MESSAGES)),
    });
    let mut faults = members(event, wanted.as_object().unwrap());
    if grown > MAY_GROW_KIB {
        faults.push(format!("memory grew by {grown} KiB"));
    }
    outcome(
        faults,
        "one event: `request.messages=1000`, every byte counted and digested; less than 32 MiB more memory",
    )
}

fn outcome(faults: Vec<String>, holds: &str) -> Outcome {
    if faults.is_empty() { Ok(holds.to_owned()) } else { Err(faults) }
}

/// Each of these requests ends in an error and never reaches the service.
fn all_refused(id: u32, requests: &[Vec<(&str, &str)>]) -> Outcome {
    let service = Service::start();
    let fixture = Fixture::before(service.addr, "");
    let mut faults = Vec::new();
    for (index, fields) in requests.iter().enumerate() {
        let bytes = [hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))].concat();
        let record = say(&fixture, id, index, &bytes);
        if !is_refused(&record) {
            faults.push(format!("{fields:?} is not refused: {:?}", frames(&record.received)));
        }
    }
    // The connection itself works: what is refused is refused for what it says.
    let bytes = [hello(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&post("/v1/good")))].concat();
    say(&fixture, id, 99, &bytes);
    let events = fixture.stop();
    let reached: Vec<String> = service.ledger().into_iter().map(|call| call.target).collect();
    if reached != ["/v1/good"] {
        faults.push(format!("the service saw {reached:?}"));
    }
    let recorded: Vec<&Value> = events.iter().map(|event| &event["http"]["path"]).collect();
    if recorded != ["/v1/good"] {
        faults.push(format!("recorded: {recorded:?}"));
    }
    outcome(faults, &format!("{} × refused, the service saw nothing; a good stream passed", requests.len()))
}

/// Reset by us, or the connection ended by us, or answered by us with an error.
fn is_refused(record: &Record) -> bool {
    frames(&record.received).iter().any(|(kind, stream, payload)| match *kind {
        RST_STREAM => *stream == 1,
        GOAWAY => payload.get(4..8).is_some_and(|code| code != [0; 4]),
        // A literal status of 4xx or 5xx.
        HEADERS => payload.windows(3).any(|w| w.iter().all(u8::is_ascii_digit) && w[0] >= b'4'),
        _ => false,
    })
}

// --- the client's side ---------------------------------------------------------------------------

fn post(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
}

/// The preface and empty settings.
fn hello() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// RFC 7541 §6.2.2: literals without indexing, new names, no Huffman.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [integer(text.len()), text.as_bytes().to_vec()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// RFC 7541 §5.1, seven bits of prefix.
fn integer(mut n: usize) -> Vec<u8> {
    if n < 127 {
        return vec![n as u8];
    }
    n -= 127;
    let mut bytes = vec![127];
    while n >= 128 {
        bytes.push((n % 128) as u8 | 128);
        n /= 128;
    }
    bytes.push(n as u8);
    bytes
}

/// The whole frames in a stream of bytes: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(head) = bytes.get(..9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        let Some(payload) = bytes.get(9..9 + length) else { break };
        all.push((head[3], stream, payload.to_vec()));
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    all
}

/// Says this and waits until the first stream is over, or the connection is.
fn say(fixture: &Fixture, id: u32, index: usize, bytes: &[u8]) -> Record {
    let mut client = Peer::connect_from(peer(From::Stranger, id, index), fixture.traffic()).unwrap();
    let _ = client.send(bytes);
    let answered = |record: &Record| {
        let over = |(kind, stream, _): &(u8, u32, Vec<u8>)| {
            *kind == GOAWAY || *stream == 1 && matches!(*kind, HEADERS | RST_STREAM)
        };
        record.end != End::Open || frames(&record.received).iter().any(over)
    };
    client.wait(Duration::from_secs(3), answered);
    client.half_close();
    client.wait(PATIENCE, |record| record.end != End::Open);
    client.finish()
}

/// One gRPC call with these messages; its status.
fn call_grpc(to: SocketAddr, path: &str, messages: &[Vec<u8>]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(to).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://a{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        for message in messages {
            send(&mut body, message).await;
        }
        body.send_data(Default::default(), true).unwrap();
        let mut answer = response.await.unwrap().into_body();
        while let Some(data) = answer.data().await {
            answer.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        let trailers = answer.trailers().await.unwrap().unwrap();
        trailers["grpc-status"].to_str().unwrap().to_owned()
    })
}

/// As much at a time as the window allows.
async fn send(body: &mut h2::SendStream<bytes::Bytes>, message: &[u8]) {
    let mut rest = message.to_vec();
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
        let later = rest.split_off(room.min(rest.len()));
        body.send_data(rest.into(), false).unwrap();
        rest = later;
    }
}

// --- the service ---------------------------------------------------------------------------------

/// A call as the service saw it.
#[derive(Debug, Clone)]
struct Call {
    target: String,
    body: Vec<u8>,
    /// The stream was ended by the client, and not in an error.
    complete: bool,
}

/// An HTTP/2 service that answers everything: gRPC with a status, denied for `Delete`.
struct Service {
    addr: SocketAddr,
    ledger: Arc<Mutex<Vec<Call>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    fn start() -> Service {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let (addr, ledger) = (listener.local_addr().unwrap(), Arc::default());
        let shared = Arc::clone(&ledger);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Service { addr, ledger, _runtime: runtime }
    }

    fn ledger(&self) -> Vec<Call> {
        self.ledger.lock().unwrap().clone()
    }
}

async fn serve(socket: tokio::net::TcpStream, ledger: Arc<Mutex<Vec<Call>>>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let at = {
            let mut ledger = ledger.lock().unwrap();
            let target = request.uri().path_and_query().map_or(String::new(), ToString::to_string);
            ledger.push(Call { target, body: Vec::new(), complete: false });
            ledger.len() - 1
        };
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            while let Some(data) = body.data().await {
                let Ok(data) = data else { return };
                let _ = body.flow_control().release_capacity(data.len());
                ledger.lock().unwrap()[at].body.extend_from_slice(&data);
            }
            ledger.lock().unwrap()[at].complete = true;
            answer(respond, &path);
        });
    }
}

/// 200 and, as trailers, what gRPC makes of it. A stream that was reset meanwhile gets no answer.
fn answer(mut respond: h2::server::SendResponse<bytes::Bytes>, path: &str) {
    let status = if path.ends_with("/Delete") { "7" } else { "0" };
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    if let Ok(mut stream) = respond.send_response(head, false) {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let _ = stream.send_trailers(trailers);
    }
}
