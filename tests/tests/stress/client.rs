//! A client that does as planned, and what it saw.

use crate::message::{self, Head};
use crate::origin::cut;
use crate::plan::{Client, How, Plan};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a call, as far as its client can tell.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// It broke off before the answer was whole.
    pub gave_up: bool,
    pub status: Option<u16>,
    /// The answer, if it came whole.
    pub answer: Option<Vec<u8>>,
}

/// A connection, kept while it lasts.
pub struct Connection {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    pub fn to(to: SocketAddr) -> Connection {
        Connection { to, stream: None }
    }

    pub async fn call(&mut self, plan: &Plan) -> Seen {
        let call = tokio::time::timeout(PATIENCE, self.attempt(plan));
        call.await.unwrap_or_else(|_| panic!("neither an answer nor an end: {plan:?}"))
    }

    async fn attempt(&mut self, plan: &Plan) -> Seen {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.to).await.unwrap(),
        };
        stream.set_nodelay(true).unwrap();
        let request = request(plan);
        let (n, gave_up) = match plan.client {
            Client::BreaksOffRequest(at, _) => (request.len() * at / 1000, true),
            Client::Dawdles => (30, false),
            _ => (request.len(), false),
        };
        for part in request[..n].chunks((n / 3).max(1)) {
            // It may have been answered, or broken off, already.
            if stream.write_all(part).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        match plan.client {
            Client::BreaksOffRequest(_, how) => {
                return give_up(stream, how, Seen { gave_up, ..Seen::default() }).await;
            }
            Client::BreaksOffWaiting(pause, how) => {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                return give_up(stream, how, Seen::default()).await;
            }
            Client::Reads | Client::BreaksOffAnswer(..) | Client::Dawdles => {}
        }
        let (mut bytes, mut seen) = (Vec::new(), Seen::default());
        loop {
            if let Some(head) = Head::read(&bytes) {
                seen.status = Some(head.status());
                if let Some((body, _)) = head.body(&bytes[head.len..]) {
                    seen.answer = Some(body);
                    self.stream = (head.field("connection") != "close").then_some(stream);
                    return seen;
                }
            }
            if let Client::BreaksOffAnswer(at, how) = plan.client
                && bytes.len() >= at
            {
                return give_up(stream, how, seen).await;
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                return seen;
            }
        }
    }
}

async fn give_up(stream: TcpStream, how: How, seen: Seen) -> Seen {
    cut(stream, how).await;
    Seen { gave_up: true, ..seen }
}

fn request(plan: &Plan) -> Vec<u8> {
    let Plan { id, method, target, body, chunked, .. } = plan;
    let lines = format!(
        "{method} {target} HTTP/1.1\r\nHost: origin\r\nX-Request-Id: {id}\r\nX-Orders: {}\r\n",
        plan.orders()
    );
    message::write(&lines, body, *chunked)
}
