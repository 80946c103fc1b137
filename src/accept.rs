//! From an accepted connection to one that speaks HTTP: the PROXY header, the TLS handshake, and who is
//! at the other end.
//!
//! TLS is spoken here and not by pingora's listener: the PROXY header comes before the handshake, the
//! client's verified certificate and the protocol agreed on are needed, and a handshake must count as an
//! open connection when the sidecar drains.

use crate::config::Config;
use crate::extract::{Certificate, Peer};
use crate::metrics::Metrics;
use crate::proxy_protocol::{self, Told};
use crate::pseudonym::Pseudonyms;
use crate::relay::{Protocol, Refusal, Wire};
use crate::tls::{Error, Listener, Live};
use crate::upstream::{Route, Upstream};
use ipnet::IpNet;
use pingora_core::protocols::GetSocketDigest;
use pingora_core::protocols::l4::stream::Stream as TcpLike;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::{self, server::Acceptor};
use tokio_rustls::server::TlsStream;

/// What a listener does with a connection before HTTP.
#[derive(Debug)]
pub struct Gate {
    tls: Option<Arc<Live<Listener>>>,
    /// Peers that must begin with a PROXY header.
    proxies: Option<Vec<IpNet>>,
    timeout: Duration,
}

/// A connection that speaks HTTP, and who is at its other end.
pub struct Accepted<'u> {
    pub stream: ClientStream,
    /// As the handshake says; without one the client says so itself (`h2c` by prior knowledge).
    pub protocol: Protocol,
    pub peer: Peer,
    pub route: Route<'u>,
}

/// Both ends of a connection, as the socket tells or a PROXY header.
struct Ends {
    peer: Peer,
    client: Option<SocketAddr>,
    server: Option<SocketAddr>,
}

/// Why a connection is closed before its first request. The peer is the one that the socket tells.
pub struct Rejected {
    pub peer: Peer,
    /// None: the client left, having said nothing that could be wrong.
    pub refusal: Option<Refusal>,
}

impl Gate {
    /// Must be called inside a tokio runtime.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Gate, Error> {
        let tls = config.tls.as_ref().map(|tls| Live::start(tls.clone(), metrics.clone()));
        Ok(Gate {
            tls: tls.transpose()?,
            proxies: config.proxy_protocol.clone(),
            timeout: config.relay.head_timeout,
        })
    }

    /// Bounded by `relay.head_timeout` as a whole.
    pub async fn admit<'u>(
        &self,
        mut stream: Box<TcpLike>,
        pseudonyms: &Pseudonyms,
        upstream: &'u Upstream,
    ) -> Result<Accepted<'u>, Rejected> {
        let by = Instant::now() + self.timeout;
        let ends = self.introduce(&mut stream, by).await?;
        let mut route = upstream.route(ends.client, ends.server);
        let mut peer = ends.peer;
        let Some(tls) = &self.tls else {
            let stream = ClientStream::Plain(stream);
            return Ok(Accepted { stream, protocol: Protocol::Http1, peer, route });
        };
        peer.tls = true;
        let stream = match tokio::time::timeout_at(by, shake(&tls.get(), stream, &mut route)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unshaken(peer, &error)),
            Err(_) => return Err(rejected(peer, "tls_timeout")),
        };
        let (_, session) = stream.get_ref();
        // There is one only if the verifier has taken it.
        if let Some(own) = session.peer_certificates().and_then(|chain| chain.first()) {
            peer.certificate = Some(Arc::new(Certificate::new(own, pseudonyms)));
        }
        let protocol = Protocol::agreed(session.alpn_protocol());
        Ok(Accepted { stream: ClientStream::Tls(stream), protocol, peer, route })
    }

    /// Reads the PROXY header where one must come.
    async fn introduce(&self, stream: &mut TcpLike, by: Instant) -> Result<Ends, Rejected> {
        let (client, server) = addresses(stream);
        let peer = Peer { ip: client.map(|a| a.ip().to_canonical()), ..Peer::default() };
        let ends = Ends { peer, client, server };
        if !self.expects_header(&ends.peer) {
            return Ok(ends);
        }
        let told = tokio::time::timeout_at(by, proxy_protocol::read(stream)).await;
        let proxied = Peer { proxied: true, ..ends.peer.clone() };
        match told {
            Ok(Ok(Told::Nothing)) => Ok(ends),
            Ok(Ok(Told::Unix)) => Ok(Ends { peer: Peer { ip: None, ..proxied }, client: None, server: None }),
            Ok(Ok(Told::Addresses { client, server })) => {
                let peer = Peer { ip: Some(client.ip().to_canonical()), ..proxied };
                Ok(Ends { peer, client: Some(client), server: Some(server) })
            }
            Ok(Err(_)) | Err(_) => Err(rejected(ends.peer, "proxy_protocol")),
        }
    }

    fn expects_header(&self, peer: &Peer) -> bool {
        let Some(proxies) = &self.proxies else { return false };
        peer.ip.is_some_and(|ip| proxies.iter().any(|net| net.contains(&ip)))
    }
}

/// The TLS handshake. A client that would speak HTTP/2 may do so if the service does.
async fn shake(
    listener: &Listener,
    stream: Box<TcpLike>,
    route: &mut Route<'_>,
) -> io::Result<Box<TlsStream<Box<TcpLike>>>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let http2 = Protocol::Http2.alpn();
    let offered = hello.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == http2));
    let only = if offered { route.speaks().await } else { Some(Protocol::Http1) };
    Ok(Box::new(hello.into_stream(listener.offering(only)).await?))
}

fn addresses(stream: &TcpLike) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let Some(digest) = stream.get_socket_digest() else { return (None, None) };
    let inet = |address: Option<&pingora_core::protocols::l4::socket::SocketAddr>| {
        address.and_then(|a| a.as_inet()).copied()
    };
    (inet(digest.peer_addr()), inet(digest.local_addr()))
}

fn rejected(peer: Peer, reason: &'static str) -> Rejected {
    // There is nothing to answer in HTTP yet.
    Rejected { peer, refusal: Some(Refusal { status: 0, reason }) }
}

/// A port scanner or a probe that only connects is no refusal; a certificate that is not believed is.
fn unshaken(peer: Peer, error: &io::Error) -> Rejected {
    use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
    if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset {
        return Rejected { peer, refusal: None };
    }
    tracing::debug!(%error, "TLS handshake failed");
    let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    rejected(
        peer,
        match cause {
            Some(InvalidCertificate(_) | NoCertificatesPresented) => "client_certificate",
            _ => "tls_handshake",
        },
    )
}

/// The client's connection.
pub enum ClientStream {
    Plain(Box<TcpLike>),
    /// Large, and not everybody's.
    Tls(Box<TlsStream<Box<TcpLike>>>),
}

impl Wire for TcpLike {
    fn reset_on_close(&self) {
        // SAFETY: the descriptor is open for as long as `self`.
        let socket = unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) };
        // A failure only means FIN instead of RST.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}

impl Wire for ClientStream {
    fn reset_on_close(&self) {
        match self {
            ClientStream::Plain(stream) => stream.reset_on_close(),
            ClientStream::Tls(stream) => stream.get_ref().0.reset_on_close(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            // Many clients just close. A request that was cut short is seen by its framing.
            ClientStream::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                other => other,
            },
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
