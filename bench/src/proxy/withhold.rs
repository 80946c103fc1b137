//! A service that takes requests and keeps its answers back until it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ANSWER: &[u8] =
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"id\":\"o-1\"}";

pub struct Withholding {
    pub addr: SocketAddr,
    received: Arc<AtomicUsize>,
    released: watch::Sender<bool>,
}

impl Withholding {
    /// Each connection is to bring one request with a body of so many bytes.
    pub async fn start(body: usize) -> std::io::Result<Withholding> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let received = Arc::new(AtomicUsize::new(0));
        let (released, wait) = watch::channel(false);
        let count = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, body, Arc::clone(&count), wait.clone()));
            }
        });
        Ok(Withholding { addr, received, released })
    }

    /// Requests that came as a whole.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }

    /// From now on all are answered.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

async fn serve(
    mut stream: TcpStream,
    body: usize,
    received: Arc<AtomicUsize>,
    mut wait: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (mut left, mut head) = (None, Vec::new());
    let mut buffer = [0; 4096];
    while left != Some(0) {
        let n = stream.read(&mut buffer).await?;
        let bytes = buffer.get(..n).filter(|b| !b.is_empty()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        left = match left {
            Some(left) => Some(usize::saturating_sub(left, n)),
            None => {
                head.extend_from_slice(bytes);
                let end = head.windows(4).position(|w| w == b"\r\n\r\n");
                end.map(|at| body.saturating_sub(head.len() - at - 4))
            }
        };
    }
    received.fetch_add(1, Ordering::Relaxed);
    let _ = wait.wait_for(|released| *released).await;
    stream.write_all(ANSWER).await?;
    // Until the client has enough.
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
