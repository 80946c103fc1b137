//! The way to the service: TCP, a Unix socket, TLS over TCP; one connection per client connection.
//!
//! Promises: a certificate is always verified; a PROXY header, where it is asked for, is the very first
//! thing on the connection. Never: retries, pools, or tries a second address.

use crate::auditor::StartError;
use crate::config::{self, Config, ForwardAddress};
use crate::metrics::Metrics;
use crate::proxy_protocol;
use crate::relay::{Dial, DialError, Protocol, Wire};
use crate::tls::Live;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

/// Where the service is, and how to get there.
#[derive(Debug)]
pub struct Upstream {
    place: Place,
    tls: Option<(Arc<Live<ClientConfig>>, ServerName<'static>)>,
    source: Option<IpAddr>,
    proxy_header: bool,
    handshake: Duration,
}

#[derive(Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Upstream {
    /// Looks the service's name up, once. Must be called inside a tokio runtime.
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Upstream, StartError> {
        let (place, tls) = match &config.upstream {
            config::Upstream::Unix(path) => (Place::Unix(path.clone()), None),
            config::Upstream::Tcp { host, port, tls } => {
                let tls = tls.as_ref().map(|tls| {
                    let live = Live::start(tls.clone(), metrics.clone())?;
                    Ok::<_, StartError>((live, server_name(tls.sni.as_deref().unwrap_or(host))?))
                });
                (Place::Tcp(resolve(host, *port)?), tls.transpose()?)
            }
        };
        Ok(Upstream {
            place,
            tls,
            source: config.source_address,
            proxy_header: config.forward_address == ForwardAddress::ProxyV2,
            handshake: config.relay.head_timeout,
        })
    }

    /// The way for one client connection: `client` as it is to be told, and the address it came to.
    pub fn route(&self, client: Option<SocketAddr>, server: Option<SocketAddr>) -> Route<'_> {
        let header = self.proxy_header.then(|| proxy_protocol::write(client, server));
        Route { upstream: self, header }
    }

    async fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let Some(source) = self.source else { return TcpStream::connect(to).await };
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        late_port(&socket);
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(to).await
    }
}

/// Dials for one client connection.
#[derive(Debug)]
pub struct Route<'a> {
    upstream: &'a Upstream,
    header: Option<Vec<u8>>,
}

impl Route<'_> {
    async fn greet<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> io::Result<()> {
        match &self.header {
            Some(header) => stream.write_all(header).await,
            None => Ok(()),
        }
    }

    async fn open(&self) -> io::Result<ServiceStream> {
        match &self.upstream.place {
            Place::Unix(path) => {
                let mut stream = UnixStream::connect(path).await?;
                self.greet(&mut stream).await?;
                Ok(ServiceStream::Unix(stream))
            }
            Place::Tcp(address) => {
                let mut stream = self.upstream.tcp(*address).await?;
                // Without it small writes may be delayed; the relay works all the same.
                let _ = stream.set_nodelay(true);
                self.greet(&mut stream).await?;
                Ok(ServiceStream::Tcp(stream))
            }
        }
    }
}

impl Dial for Route<'_> {
    type Stream = ServiceStream;

    async fn dial(&mut self, protocol: Protocol) -> Result<ServiceStream, DialError> {
        let failed = |error: &io::Error, what: &'static str| {
            tracing::debug!(%error, what, "the service cannot be reached");
        };
        let plain = self.open().await.map_err(|e| {
            failed(&e, "connect");
            DialError::CONNECT
        })?;
        let (stream, (tls, name)) = match (plain, &self.upstream.tls) {
            (ServiceStream::Tcp(stream), Some(tls)) => (stream, tls),
            (plain, _) => return Ok(plain),
        };
        let connector = TlsConnector::from(tls.get());
        let connector = connector.with_alpn(vec![protocol.alpn().to_vec()]);
        let handshake = connector.connect(name.clone(), stream);
        match tokio::time::timeout(self.upstream.handshake, handshake).await {
            Ok(Ok(stream)) if protocol == Protocol::Http2 && agreed(&stream) != Protocol::Http2 => {
                Err(DialError::NOT_HTTP2)
            }
            Ok(Ok(stream)) => Ok(ServiceStream::Tls(Box::new(stream))),
            Ok(Err(error)) if is_no_protocol(&error) => Err(DialError::NOT_HTTP2),
            Ok(Err(error)) => {
                failed(&error, "TLS handshake");
                Err(DialError::TLS)
            }
            Err(_) => Err(DialError::TLS),
        }
    }
}

/// What a service has agreed to. One that knows nothing of ALPN speaks HTTP/1.1.
fn agreed(stream: &TlsStream<TcpStream>) -> Protocol {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() == Some(Protocol::Http2.alpn()) { Protocol::Http2 } else { Protocol::Http1 }
}

/// The service speaks nothing of what was offered.
fn is_no_protocol(error: &io::Error) -> bool {
    use rustls::{AlertDescription, Error};
    let cause = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    matches!(cause, Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

fn server_name(name: &str) -> Result<ServerName<'static>, StartError> {
    ServerName::try_from(name.to_owned())
        .map_err(|e| StartError::Upstream { host: name.to_owned(), why: e.to_string() })
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, StartError> {
    let failed = |why: String| StartError::Upstream { host: host.to_owned(), why };
    (host, port)
        .to_socket_addrs()
        .map_err(|e| failed(e.to_string()))?
        .next()
        .ok_or_else(|| failed("the name has no address".into()))
}

/// A bound socket takes its port only when it connects, so that ports are shared between destinations.
fn late_port(socket: &TcpSocket) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as `socket`, and the option's value is an `int` of the
    // size given. A failure only means that ports run out sooner.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket.as_raw_fd(), on);
}

/// The connection to the service.
#[derive(Debug)]
pub enum ServiceStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Large, and not everybody's.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire for ServiceStream {
    fn reset_on_close(&self) {
        match self {
            ServiceStream::Tcp(stream) => stream.reset_on_close(),
            ServiceStream::Unix(stream) => stream.reset_on_close(),
            ServiceStream::Tls(stream) => stream.get_ref().0.reset_on_close(),
        }
    }
}

/// Calls the same on whichever stream it is.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            ServiceStream::Tcp($stream) => $call,
            ServiceStream::Unix($stream) => $call,
            ServiceStream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for ServiceStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for ServiceStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
