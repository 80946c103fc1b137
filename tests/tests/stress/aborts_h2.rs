//! The same over HTTP/2 without TLS: streams that are reset beside others that are not, and connections
//! that are dropped with a stream on them.

use crate::aborts::{Queue, come_and_go, plans};
use crate::client::{PATIENCE, Seen};
use crate::judge::judge;
use crate::origin::{Book, Origin, Speaks};
use crate::plan::{Client, Orders, Plan, Service, pattern};
use crate::sidecar::{Sidecar, configure};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use harness::{recorded, setting};
use http::{Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Connections that carry many streams at once, and streams of each.
const SHARED: (usize, usize) = (2, 8);
/// Connections that carry one, and are dropped where it is given up.
const ALONE: usize = 6;

/// The service's end of a connection.
pub async fn serve(stream: TcpStream, book: Book) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let book = book.clone();
        tokio::spawn(async move { carry_out(request, respond, &book).await });
    }
}

async fn carry_out(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    book: &Book,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let field = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (orders, id) = (Orders::read(&field("x-orders")), field("x-request-id"));
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        bytes.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
        if matches!(orders.service, Service::BreaksOffRequest(at, _) if bytes.len() > at) {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
    }
    book.execute(&id, head.method.as_str(), head.uri.path_and_query().unwrap().as_str(), &bytes);
    let whole = pattern(1, orders.length);
    let (n, breaks_off) = match orders.service {
        Service::BreaksOffAnswer(n, _) if n < whole.len() => (n, true),
        Service::Hangs(n) => (n, false),
        _ => (whole.len(), false),
    };
    let last = n == whole.len() && !matches!(orders.service, Service::Hangs(_));
    if n > 0 || last {
        book.say(&id, orders.status);
        let answer = Response::builder().status(orders.status).body(()).unwrap();
        let mut send = respond.send_response(answer, last && n == 0)?;
        if n > 0 {
            send.send_data(Bytes::copy_from_slice(&whole[..n]), last)?;
        }
        if last {
            book.finish(&id);
            return Ok(());
        }
        if breaks_off {
            // So that some of it arrives.
            tokio::time::sleep(Duration::from_millis(2)).await;
            send.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        std::future::poll_fn(|cx| send.poll_reset(cx)).await?;
        return Ok(());
    }
    if breaks_off {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    std::future::poll_fn(|cx| respond.poll_reset(cx)).await?;
    Ok(())
}

/// A connection, made anew when it is gone.
struct Connection {
    to: SocketAddr,
    open: Mutex<Option<(SendRequest<Bytes>, JoinHandle<()>)>>,
}

impl Connection {
    fn to(to: SocketAddr) -> Arc<Connection> {
        Arc::new(Connection { to, open: Mutex::default() })
    }

    async fn ready(&self) -> SendRequest<Bytes> {
        let mut open = self.open.lock().await;
        loop {
            if let Some((send, _)) = &*open
                && let Ok(ready) = send.clone().ready().await
            {
                return ready;
            }
            let stream = TcpStream::connect(self.to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let Ok((send, driver)) = h2::client::handshake(stream).await else { continue };
            *open = Some((send, tokio::spawn(async { drop(driver.await) })));
        }
    }

    /// Without a word.
    async fn drop(&self) {
        if let Some((_, driver)) = self.open.lock().await.take() {
            driver.abort();
        }
    }

    async fn call(&self, plan: &Plan, alone: bool) -> Seen {
        let attempt = tokio::time::timeout(PATIENCE, self.attempt(plan));
        let seen = attempt.await.unwrap_or_else(|_| panic!("neither an answer nor an end: {plan:?}"));
        if alone && seen.gave_up {
            self.drop().await;
        }
        seen
    }

    async fn attempt(&self, plan: &Plan) -> Seen {
        let gave_up = Seen { gave_up: true, ..Seen::default() };
        let mut request = Request::builder()
            .method(plan.method)
            .uri(format!("http://origin{}", plan.target))
            .header("x-request-id", &plan.id)
            .header("x-orders", plan.orders());
        if !plan.chunked {
            request = request.header("content-length", plan.body.len());
        }
        let (request, empty) = (request.body(()).unwrap(), plan.body.is_empty());
        let mut ready = self.ready().await;
        let Ok((answer, mut send)) = ready.send_request(request, empty) else { return Seen::default() };
        if let Client::BreaksOffRequest(at, _) = plan.client {
            let part = plan.body.len() * at / 1000;
            let _ = send.send_data(Bytes::copy_from_slice(&plan.body[..part]), false);
            tokio::time::sleep(Duration::from_millis(1)).await;
            send.send_reset(Reason::CANCEL);
            return gave_up;
        }
        if !empty {
            // What is not taken any more is not missed.
            let _ = send.send_data(Bytes::copy_from_slice(&plan.body), true);
        }
        if let Client::BreaksOffWaiting(pause, _) = plan.client {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            send.send_reset(Reason::CANCEL);
            return gave_up;
        }
        let Ok(answer) = answer.await else { return Seen::default() };
        let mut seen = Seen { status: Some(answer.status().as_u16()), ..Seen::default() };
        let (mut body, mut bytes) = (answer.into_body(), Vec::new());
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return seen };
            bytes.extend_from_slice(&data);
            let _ = body.flow_control().release_capacity(data.len());
            if matches!(plan.client, Client::BreaksOffAnswer(at, _) if bytes.len() >= at)
                && !body.is_end_stream()
            {
                send.send_reset(Reason::CANCEL);
                return Seen { gave_up: true, ..seen };
            }
        }
        seen.answer = Some(bytes);
        seen
    }
}

async fn client(queue: Queue, connection: Arc<Connection>, alone: bool) -> Vec<(Plan, Seen)> {
    let mut all = Vec::new();
    loop {
        let Some(mut plan) = queue.lock().unwrap().pop_front() else { return all };
        if plan.client == Client::Dawdles {
            // A frame that never ends is for the whole connection to answer.
            plan.client = Client::Reads;
        }
        let seen = connection.call(&plan, alone).await;
        all.push((plan, seen));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_executed_stream_has_one_true_event() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::that_speaks(Speaks::Http2));
    configure(
        dir.path(),
        origin.address(),
        "journal: {dir: journal, max_bytes: 1GiB}\nrelay: {max_resets: 0}",
    );
    let sidecar = Sidecar::start(dir.path()).await;
    let queue = plans(setting("SIDELOG_CALLS", 1000));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..SHARED.0 {
        let connection = Connection::to(sidecar.traffic);
        (0..SHARED.1).for_each(|_| _ = clients.spawn(client(queue.clone(), connection.clone(), false)));
    }
    for _ in 0..ALONE {
        clients.spawn(client(queue.clone(), Connection::to(sidecar.traffic), true));
    }
    let done = Arc::new(AtomicBool::new(false));
    let moody = tokio::spawn({
        let done = done.clone();
        async move { come_and_go(origin, &done).await }
    });
    let calls: Vec<(Plan, Seen)> = clients.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Relaxed);
    let origin = moody.await.unwrap();
    sidecar.stop().await;
    let ledger = origin.book.read();
    judge(&calls, &ledger, &recorded::events(&dir.path().join("journal")));
    assert!(ledger.len() > calls.len() / 2, "the test met no call");
}
