//! What the relay asks of the connections it is given: bytes both ways, and an abortive close; and of
//! whoever opens the one to the service.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream that can be closed by RST.
pub trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close abortive, to pass a peer's RST on.
    fn reset_on_close(&self);
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        // Best effort: without it the other side sees FIN instead of RST.
        let _ = self.set_zero_linger();
    }
}

impl Wire for UnixStream {
    /// Unix sockets know no RST: the other side sees the end of the stream, or `ECONNRESET` where it
    /// had sent something that was never read.
    fn reset_on_close(&self) {}
}

/// What is spoken on a client's connection, and therefore on the one to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Its name in a TLS handshake.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        }
    }

    /// Of what was agreed to by name, if anything. Without a word everything speaks HTTP/1.1.
    pub fn agreed(name: Option<&[u8]>) -> Protocol {
        if name == Some(Protocol::Http2.alpn()) { Protocol::Http2 } else { Protocol::Http1 }
    }
}

/// FIN, then what the peer still sends is discarded for a moment, so that no RST overtakes what was said
/// last. `ended`: it sends no more.
pub(super) async fn close<W: Wire>(stream: &mut W, ended: bool, within: Duration) {
    if stream.shutdown().await.is_err() || ended {
        return;
    }
    let mut sink = [0; 1024];
    // An error or the time's end: there is nobody left to be polite to.
    let _ = tokio::time::timeout(within, async {
        while matches!(stream.read(&mut sink).await, Ok(n) if n > 0) {}
    })
    .await;
}

/// Opens the connection to the service: once for each client connection, when its first request may
/// pass.
pub trait Dial {
    type Stream: Wire;

    fn dial(&mut self, protocol: Protocol) -> impl Future<Output = Result<Self::Stream, DialError>> + Send;
}

/// Why the service cannot be reached, in a word of `AuditEvent::error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialError(pub &'static str);

impl DialError {
    /// Nobody takes the connection.
    pub const CONNECT: DialError = DialError("upstream_connect");
    /// Somebody does, but is not who it should be, or does not speak TLS.
    pub const TLS: DialError = DialError("upstream_tls");
    /// Somebody who does not speak HTTP/2, though the client does.
    pub const NOT_HTTP2: DialError = DialError("upstream_not_http2");
}

impl Dial for SocketAddr {
    type Stream = TcpStream;

    async fn dial(&mut self, _: Protocol) -> Result<TcpStream, DialError> {
        let stream = TcpStream::connect(*self).await.map_err(|_| DialError::CONNECT)?;
        // Without it small writes may be delayed; the relay works all the same.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}
