//! What the relay asks of the connections it is given: bytes both ways, and an abortive close; and of
//! whoever opens the one to the service.

use std::future::Future;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};
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

/// Opens the connection to the service: once for each client connection, when its first request may
/// pass.
pub trait Dial {
    type Stream: Wire;

    fn dial(&self) -> impl Future<Output = Result<Self::Stream, DialError>> + Send;
}

/// Why the service cannot be reached, in a word of `AuditEvent::error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialError(pub &'static str);

impl DialError {
    /// Nobody takes the connection.
    pub const CONNECT: DialError = DialError("upstream_connect");
    /// Somebody does, but is not who it should be, or does not speak TLS.
    pub const TLS: DialError = DialError("upstream_tls");
}

impl Dial for SocketAddr {
    type Stream = TcpStream;

    async fn dial(&self) -> Result<TcpStream, DialError> {
        let stream = TcpStream::connect(self).await.map_err(|_| DialError::CONNECT)?;
        // Without it small writes may be delayed; the relay works all the same.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}
