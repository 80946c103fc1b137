//! A service that writes down what it executes before it answers, does as it is ordered, and may be away.

use crate::aborts_h2;
use crate::message::{self, Head};
use crate::plan::{How, Orders, Service, pattern};
use harness::Port;
use harness::recorded::digest;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A call that was executed: its request had come whole.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub times: u32,
    pub method: String,
    pub target: String,
    pub length: usize,
    pub digest: String,
    /// The status that was said, perhaps not heard.
    pub said: Option<u16>,
    /// The answer was said to its end.
    pub whole: bool,
}

/// Calls by their `X-Request-Id`.
pub type Ledger = HashMap<String, Entry>;

#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Ledger>>);

impl Book {
    pub fn execute(&self, id: &str, method: &str, target: &str, body: &[u8]) {
        let mut ledger = self.0.lock().unwrap();
        let entry = ledger.entry(id.to_owned()).or_default();
        entry.times += 1;
        (entry.method, entry.target) = (method.to_owned(), target.to_owned());
        (entry.length, entry.digest) = (body.len(), digest(body));
    }

    pub fn say(&self, id: &str, status: u16) {
        self.0.lock().unwrap().get_mut(id).unwrap().said = Some(status);
    }

    pub fn finish(&self, id: &str) {
        self.0.lock().unwrap().get_mut(id).unwrap().whole = true;
    }

    pub fn read(&self) -> Ledger {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Clone, Copy)]
pub enum Speaks {
    Http1,
    Http2,
}

pub struct Origin {
    pub book: Book,
    speaks: Speaks,
    port: Port,
    task: Option<JoinHandle<()>>,
}

impl Origin {
    pub fn start() -> Origin {
        Origin::that_speaks(Speaks::Http1)
    }

    pub fn that_speaks(speaks: Speaks) -> Origin {
        let mut origin = Origin { book: Book::default(), speaks, port: Port::reserve(), task: None };
        origin.arrive();
        origin
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// Listens.
    pub fn arrive(&mut self) {
        let listener = self.listen();
        let (book, speaks) = (self.book.clone(), self.speaks);
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = book.clone();
                match speaks {
                    Speaks::Http1 => {
                        tokio::spawn(async move { serve(stream, &book).await.unwrap_or_default() })
                    }
                    Speaks::Http2 => tokio::spawn(aborts_h2::serve(stream, book)),
                };
            }
        }));
    }

    fn listen(&self) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address()).unwrap();
        socket.listen(1024).unwrap()
    }

    /// Does not; connections that there are go on.
    pub async fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }
}

/// Breaks off.
pub async fn cut(mut stream: TcpStream, how: How) {
    let _ = match how {
        How::Rst => stream.set_zero_linger(),
        How::Fin => stream.shutdown().await,
    };
}

/// Carries out calls until the connection ends. `None`: it has.
async fn serve(mut stream: TcpStream, book: &Book) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            match Head::read(&bytes) {
                Some(head) => break head,
                None => more(&mut stream, &mut bytes).await?,
            }
        };
        let orders = Orders::read(head.field("x-orders"));
        let (body, used) = loop {
            if let Service::BreaksOffRequest(at, how) = orders.service
                && bytes.len() > head.len + at
            {
                cut(stream, how).await;
                return None;
            }
            match head.body(&bytes[head.len..]) {
                Some(whole) => break whole,
                None => more(&mut stream, &mut bytes).await?,
            }
        };
        bytes.drain(..head.len + used);
        let id = head.field("x-request-id");
        let method = head.line.split(' ').next().unwrap();
        book.execute(id, method, head.word(), &body);
        if let Ok(pause) = head.field("x-pause").parse() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        let first = format!("HTTP/1.1 {} Said\r\n", orders.status);
        let answer = match orders.status {
            204 => format!("{first}\r\n").into_bytes(),
            _ => message::write(&first, &pattern(1, orders.length), orders.chunked),
        };
        let (n, how) = match orders.service {
            Service::Hangs(n) => (n, None),
            Service::BreaksOffAnswer(n, how) if n < answer.len() => (n, Some(how)),
            _ => (answer.len(), None),
        };
        if Head::read(&answer[..n]).is_some() {
            book.say(id, orders.status);
        }
        stream.write_all(&answer[..n]).await.ok()?;
        match how {
            None if n < answer.len() => {
                more(&mut stream, &mut bytes).await?;
                return None;
            }
            None => book.finish(id),
            Some(how) => {
                cut(stream, how).await;
                return None;
            }
        }
    }
}

/// `None`: no more comes.
async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(bytes).await.ok()? > 0).then_some(())
}
