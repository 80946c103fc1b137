//! The sidecar as a whole: listeners on pingora's server, the relay behind them, the journal and the
//! shipper beside them; start, drain, stop.

use crate::admin::{Admin, Scope};
use crate::auditor::{Auditor, Faults, StartError};
use crate::config::{Config, Upstream};
use crate::emit::Shipper;
use crate::exchange::Watcher;
use crate::relay::{self, Connection, Settings, Wire};
use crate::reload::{Origin, Reloader};
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::apps::http_app::HttpServer;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::l4::stream::Stream as TcpLike;
use pingora_core::protocols::{GetSocketDigest, Stream, TcpKeepalive};
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the shipper may go on sending after the last connection has ended.
const FLUSH: Duration = Duration::from_secs(5);

/// A sidecar that is up.
pub struct Sidecar {
    pub traffic: SocketAddr,
    pub admin: SocketAddr,
    pub local: SocketAddr,
    auditor: Arc<Auditor>,
    shipper: Option<Shipper>,
    connections: Arc<Connections>,
    drain_timeout: Duration,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    services: Vec<JoinHandle<()>>,
    reloader: Option<Reloader>,
    /// Tells of calls that are open for long.
    open_calls: Option<Ticker>,
}

impl std::fmt::Debug for Sidecar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sidecar").field("traffic", &self.traffic).finish_non_exhaustive()
    }
}

/// Connections under way, and whether they should end.
#[derive(Debug, Default)]
struct Connections {
    open: AtomicUsize,
    draining: Arc<AtomicBool>,
}

impl Sidecar {
    /// Opens the journal, loads the documents and listens. Must be called inside a tokio runtime.
    pub async fn start(config: &Config) -> Result<Sidecar, StartError> {
        Sidecar::start_with(config, &Faults::default()).await
    }

    /// The same on a disk that may fail as a test wishes.
    pub async fn start_with(config: &Config, faults: &Faults) -> Result<Sidecar, StartError> {
        let auditor = Arc::new(Auditor::start_with(config, faults)?);
        let upstream = resolve(&config.upstream)?;
        let shipper = match &config.kafka {
            Some(kafka) => Some(
                Shipper::start(auditor.journal().clone(), kafka.clone(), auditor.metrics().clone(), FLUSH)
                    .map_err(|e| StartError::Kafka(e.to_string()))?,
            ),
            None => None,
        };
        let connections = Arc::new(Connections::default());
        let (stop, stopping) = watch::channel(false);
        let (cut, cut_off) = watch::channel(false);
        let app = App {
            auditor: auditor.clone(),
            upstream,
            settings: settings(config),
            connections: connections.clone(),
            cut_off,
            max_connections: config.relay.max_connections,
        };
        let mut started = Started { services: Vec::new(), stopping };
        let traffic = started.listen(config.listen, app, "traffic")?;
        let mut admins = Vec::new();
        for (address, scope) in [(config.admin.listen, Scope::Pod), (config.admin.local, Scope::Local)] {
            let admin = Admin { scope, auditor: auditor.clone(), draining: connections.draining.clone() };
            admins.push(started.listen(address, HttpServer::new_app(admin), "admin")?);
        }
        let open_calls = auditor.tells_open_calls().then(|| Ticker::start(auditor.clone()));
        Ok(Sidecar {
            traffic,
            admin: admins[0],
            local: admins[1],
            auditor,
            shipper,
            connections,
            drain_timeout: config.relay.drain_timeout,
            stop,
            cut,
            services: started.services,
            reloader: None,
            open_calls,
        })
    }

    /// From now on, changes of the files that `config` was made of take effect; at once on SIGHUP.
    pub fn follow(&mut self, config: Config, origin: Origin) {
        match Reloader::start(&self.auditor, config, origin) {
            Ok(reloader) => self.reloader = Some(reloader),
            Err(error) => tracing::error!(%error, "changes of the configuration will need a restart"),
        }
    }

    pub fn auditor(&self) -> &Arc<Auditor> {
        &self.auditor
    }

    /// Ends the traffic: stops accepting, lets calls under way finish within the drain time-out.
    /// Those cut off are recorded as such.
    pub async fn quiesce(&mut self) {
        self.connections.draining.store(true, Ordering::Relaxed);
        self.reloader = None;
        // Receivers live as long as the services; an error means that none is left to tell.
        let _ = self.stop.send(true);
        for service in self.services.drain(..) {
            // A listener that panicked has been reported by the panic hook.
            let _ = service.await;
        }
        let by = tokio::time::Instant::now() + self.drain_timeout;
        while self.connections.open.load(Ordering::Acquire) > 0 && tokio::time::Instant::now() < by {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let cut = self.connections.open.load(Ordering::Acquire);
        if cut > 0 {
            tracing::warn!(cut, "calls still under way at the drain time-out are cut off");
        }
        let _ = self.cut.send(true);
        while self.connections.open.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ships what is in the journal for a moment, and closes it.
    pub async fn close(mut self) {
        self.open_calls = None;
        if let Some(shipper) = self.shipper.take() {
            // Joining a thread blocks; the runtime's other tasks may still be needed.
            let _ = tokio::task::spawn_blocking(move || shipper.stop()).await;
        }
        self.auditor.journal().close();
    }

    pub async fn drain(mut self) {
        self.quiesce().await;
        self.close().await;
    }
}

/// Looks for calls that are open for long, until dropped.
struct Ticker(JoinHandle<()>);

impl Ticker {
    fn start(auditor: Arc<Auditor>) -> Ticker {
        let mut tick = tokio::time::interval(auditor.look_for_open_calls());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Ticker(tokio::spawn(async move {
            loop {
                tick.tick().await;
                let auditor = auditor.clone();
                // A panic has been reported by the panic hook; the next round tries again.
                let _ = tokio::task::spawn_blocking(move || auditor.tell_open_calls()).await;
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listeners while they are being brought up.
struct Started {
    services: Vec<JoinHandle<()>>,
    stopping: ShutdownWatch,
}

impl Started {
    /// Binds first, so that port 0 works and the address is known, and hands the socket to pingora.
    fn listen<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        address: SocketAddr,
        app: A,
        what: &'static str,
    ) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Listen { what, address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let name = bound.to_string();
        let mut fds = Fds::new();
        // pingora owns the socket from here on and closes it when the service ends.
        fds.add(name.clone(), listener.into_raw_fd());
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(120),
            interval: Duration::from_secs(30),
            count: 4,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        let endpoint =
            ListenerConfig::tcp(name.as_str()).tcp_socket_options(options).l4_buffer(if what == "traffic" {
                L4BufferSettings::unbuffered()
            } else {
                L4BufferSettings::default()
            });
        let mut service = Service::new(what.into(), app);
        service.add_listener(endpoint);
        let stopping = self.stopping.clone();
        let fds = Arc::new(parking_lot::Mutex::new(fds));
        self.services.push(tokio::spawn(async move { service.start_service(Some(fds), stopping, 1).await }));
        Ok(bound)
    }
}

fn settings(config: &Config) -> Arc<Settings> {
    Arc::new(Settings {
        limits: relay::parse::HeadLimits {
            max_bytes: config.relay.max_head,
            max_fields: config.relay.max_fields,
        },
        head_timeout: config.relay.head_timeout,
        upgrades: config.relay.upgrades.clone(),
        http2: relay::h2::Limits {
            max_streams: config.relay.max_streams,
            max_resets: config.relay.max_resets,
        },
    })
}

fn resolve(upstream: &Upstream) -> Result<SocketAddr, StartError> {
    let failed = |why: String| StartError::Upstream { host: upstream.host.clone(), why };
    (upstream.host.as_str(), upstream.port)
        .to_socket_addrs()
        .map_err(|e| failed(e.to_string()))?
        .next()
        .ok_or_else(|| failed("the name has no address".into()))
}

/// The traffic listener's application: one relay per connection.
struct App {
    auditor: Arc<Auditor>,
    upstream: SocketAddr,
    settings: Arc<Settings>,
    connections: Arc<Connections>,
    /// Becomes true when the drain time-out is over.
    cut_off: watch::Receiver<bool>,
    max_connections: usize,
}

/// Counts a connection for as long as it lives.
struct Counted<'a>(&'a App);

impl<'a> Counted<'a> {
    fn new(app: &'a App) -> (Self, usize) {
        let metrics = app.auditor.metrics();
        metrics.connections.inc();
        metrics.connections_open.inc();
        (Counted(app), app.connections.open.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.auditor.metrics().connections_open.dec();
        self.0.connections.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Wire for TcpLike {
    fn reset_on_close(&self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is open for as long as `self`, and the option's value is a
        // `linger` of the size given. A failure only means FIN instead of RST.
        unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                size_of::<libc::linger>() as libc::socklen_t,
            );
        }
    }
}

#[async_trait]
impl ServerApp for App {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let (_counted, open) = Counted::new(self);
        if self.max_connections > 0 && open > self.max_connections {
            self.auditor.metrics().refuse("too_many_connections");
            return None;
        }
        let stream = stream.into_any().downcast::<TcpLike>().ok()?;
        let peer = stream.get_socket_digest()?.peer_addr()?.as_inet()?.ip();
        let watcher = Watcher::new(self.auditor.clone(), peer.to_canonical());
        let mut shutdown = shutdown.clone();
        let drain = async move {
            // An error means that the sender is gone: the sidecar is going down.
            let _ = shutdown.wait_for(|stop| *stop).await;
        };
        let relay = Connection::new(*stream, watcher).run(self.upstream, &self.settings, drain);
        let mut cut_off = self.cut_off.clone();
        tokio::select! {
            biased;
            () = relay => {}
            // Dropping the relay ends its calls as cut off.
            _ = cut_off.wait_for(|cut| *cut) => {}
        }
        None
    }
}
