//! The way to the service: TCP, a Unix socket, TLS over TCP; one connection per client connection.
//!
//! Promises: a certificate is always verified; a PROXY header, where it is asked for, is the very first
//! thing on the connection. Never: retries, pools, or tries a second address.

use crate::auditor::StartError;
use crate::config::{self, Config, ForwardAddress, Http2};
use crate::metrics::Metrics;
use crate::proxy_protocol;
use crate::relay::{Dial, DialError, Protocol, Wire};
use crate::tls::Live;
use crate::unsent;
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
    max_unsent: u32,
    http2: Http2,
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
            max_unsent: config.relay.max_unsent,
            http2: config.upstream_http2,
        })
    }

    /// The way for one client connection: `client` as it is to be told, and the address it came to.
    pub fn route(&self, client: Option<SocketAddr>, server: Option<SocketAddr>) -> Route<'_> {
        let header = self.proxy_header.then(|| proxy_protocol::write(client, server));
        Route { upstream: self, header, ready: None }
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
    /// Opened to learn what the service speaks, and that.
    ready: Option<(ServiceStream, Protocol)>,
}

impl Route<'_> {
    /// What is to be agreed to with a client that would speak HTTP/2. A service behind TLS is asked: its
    /// connection for this client is opened now. `None`: both may be, and it will be seen.
    pub async fn speaks(&mut self) -> Option<Protocol> {
        match (self.upstream.http2, &self.upstream.tls) {
            (Http2::Off, _) | (Http2::Auto, None) => Some(Protocol::Http1),
            (Http2::On, _) => None,
            (Http2::Auto, Some(_)) => {
                // One that cannot be reached is dialled again for the first request, which is then answered.
                let opened = self.connect(&[Protocol::Http2, Protocol::Http1]).await.ok()?;
                let (_, agreed) = self.ready.insert(opened);
                Some(*agreed)
            }
        }
    }

    /// The connection that was opened to ask, if this is spoken on it.
    pub fn opened(&mut self, protocol: Protocol) -> Option<ServiceStream> {
        self.ready.take_if(|(_, agreed)| *agreed == protocol).map(|(stream, _)| stream)
    }

    /// Opens the connection, offering these in a handshake.
    async fn connect(&self, offers: &[Protocol]) -> Result<(ServiceStream, Protocol), DialError> {
        let failed = |error: &io::Error, what: &'static str| {
            tracing::debug!(%error, what, "the service cannot be reached");
        };
        let plain = self.open().await.map_err(|e| {
            failed(&e, "connect");
            DialError::CONNECT
        })?;
        let (stream, (tls, name)) = match (plain, &self.upstream.tls) {
            (ServiceStream::Tcp(stream), Some(tls)) => (stream, tls),
            (plain, _) => return Ok((plain, offers.first().copied().unwrap_or(Protocol::Http1))),
        };
        let connector = TlsConnector::from(tls.get());
        let connector = connector.with_alpn(offers.iter().map(|p| p.alpn().to_vec()).collect());
        let handshake = connector.connect(name.clone(), stream);
        match tokio::time::timeout(self.upstream.handshake, handshake).await {
            Ok(Ok(stream)) => {
                let agreed = Protocol::agreed(stream.get_ref().1.alpn_protocol());
                Ok((ServiceStream::Tls(Box::new(stream)), agreed))
            }
            Ok(Err(error)) if is_no_protocol(&error) => Err(disagreement(offers)),
            Ok(Err(error)) => {
                failed(&error, "TLS handshake");
                Err(DialError::TLS)
            }
            Err(_) => Err(DialError::TLS),
        }
    }

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
                unsent::bound(&stream, self.upstream.max_unsent);
                self.greet(&mut stream).await?;
                Ok(ServiceStream::Tcp(stream))
            }
        }
    }
}

impl Dial for Route<'_> {
    type Stream = ServiceStream;

    async fn dial(&mut self, protocol: Protocol) -> Result<ServiceStream, DialError> {
        if let Some(stream) = self.opened(protocol) {
            return Ok(stream);
        }
        let (stream, agreed) = self.connect(&[protocol]).await?;
        // One that says nothing speaks HTTP/1.1; over TLS, HTTP/2 must be agreed to.
        if agreed == protocol { Ok(stream) } else { Err(disagreement(&[protocol])) }
    }
}

/// What a service that speaks none of these is in an event.
fn disagreement(offers: &[Protocol]) -> DialError {
    if offers.contains(&Protocol::Http2) { DialError::NOT_HTTP2 } else { DialError::TLS }
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
