//! The sidecar as a whole: listeners, the relay behind them, the journal and the shipper beside them;
//! start, drain, stop. And the place where a connection's protocol is chosen.

use crate::accept::{Accepted, Gate, Rejected};
use crate::admin::{Admin, Scope};
use crate::auditor::{Auditor, Faults, StartError};
use crate::config::{Config, ForwardAddress, OtherUpgrades};
use crate::emit::Shipper;
use crate::exchange::Watcher;
use crate::listen::{Bound, Listeners};
use crate::policy::Paths;
use crate::relay::buffer::Buffer;
use crate::relay::{self, Connection, Forward, Others, Protocol, Settings, Upgrade, Upgrades, h2};
use crate::reload::{Origin, Reloader};
use crate::tide::{self, Tide};
use crate::upstream::Upstream;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::apps::http_app::HttpServer;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as TcpLike;
use pingora_core::server::ShutdownWatch;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the shipper may go on sending after the last connection has ended.
const FLUSH: Duration = Duration::from_secs(5);
/// How long after many connections have ended their memory is given back.
const SETTLE: Duration = Duration::from_millis(500);

/// A sidecar that is up.
pub struct Sidecar {
    pub traffic: Bound,
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
    tide: Tide,
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
        let upstream = Upstream::new(config, auditor.metrics())?;
        let gate = Gate::new(config, auditor.metrics())?;
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
            gate,
            upstream,
            forward_address: config.forward_address,
            settings: settings(config),
            connections: connections.clone(),
            cut_off,
            max_connections: config.relay.max_connections,
        };
        let max_unsent = config.relay.max_unsent;
        let mut listeners = Listeners { services: Vec::new(), stopping, max_unsent };
        let traffic = listeners.traffic(&config.listen, app)?;
        let mut admins = Vec::new();
        for (address, scope) in [(config.admin.listen, Scope::Pod), (config.admin.local, Scope::Local)] {
            let admin = Admin { scope, auditor: auditor.clone(), draining: connections.draining.clone() };
            admins.push(listeners.admin(address, HttpServer::new_app(admin))?);
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
            services: listeners.services,
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
        self.connections.draining.store(true, Ordering::SeqCst);
        self.reloader = None;
        // Receivers live as long as the services; an error means that none is left to tell.
        let _ = self.stop.send(true);
        for service in self.services.drain(..) {
            // A listener that panicked has been reported by the panic hook.
            let _ = service.await;
        }
        let by = tokio::time::Instant::now() + self.drain_timeout;
        while self.connections.open.load(Ordering::SeqCst) > 0 && tokio::time::Instant::now() < by {
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

fn settings(config: &Config) -> Settings {
    let relay = &config.relay;
    let allowed = relay.upgrades.iter().map(|rule| Upgrade {
        protocol: rule.protocol.clone(),
        paths: rule.paths.as_deref().map(Paths::new),
    });
    Settings {
        limits: relay::parse::HeadLimits { max_bytes: relay.max_head, max_fields: relay.max_fields },
        head_timeout: relay.head_timeout,
        stall_timeout: relay.stall_timeout,
        close_timeout: relay.close_timeout,
        upgrades: Arc::new(Upgrades {
            allowed: allowed.collect(),
            others: match relay.other_upgrades {
                OtherUpgrades::Withdraw => Others::Withdraw,
                OtherUpgrades::Pass => Others::Pass,
                OtherUpgrades::Refuse => Others::Refuse,
            },
        }),
        http2: h2::Limits {
            max_streams: relay.max_streams,
            max_resets: relay.max_resets,
            patience: relay.strict_patience,
            held: relay.strict_held,
        },
    }
}

/// The traffic listener's application: one relay per connection.
struct App {
    auditor: Arc<Auditor>,
    gate: Gate,
    upstream: Upstream,
    forward_address: ForwardAddress,
    settings: Settings,
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
        let open = app.connections.open.fetch_add(1, Ordering::SeqCst) + 1;
        app.connections.tide.rise(open);
        (Counted(app), open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.auditor.metrics().connections_open.dec();
        let connections = &self.0.connections;
        let open = connections.open.fetch_sub(1, Ordering::AcqRel) - 1;
        if connections.tide.falls(open)
            && let Ok(runtime) = Handle::try_current()
        {
            // In a while: this connection, and others that end just now, still hold theirs.
            runtime.spawn(async {
                tokio::time::sleep(SETTLE).await;
                let _ = tokio::task::spawn_blocking(tide::give_back).await;
            });
        }
    }
}

impl App {
    /// One connection: what comes before HTTP, then the protocol that is spoken.
    async fn serve(&self, stream: Box<TcpLike>, shutdown: &ShutdownWatch) {
        // What only the start of a connection needs is in a box, and not in each idle one's future.
        let admitted = Box::pin(self.gate.admit(stream, self.auditor.pseudonyms(), &self.upstream));
        let accepted = match admitted.await {
            Ok(accepted) => accepted,
            Err(Rejected { peer, refusal }) => {
                if let Some(refusal) = refusal {
                    self.auditor.refuse(&peer, refusal, b"");
                }
                return;
            }
        };
        let mut shutdown = shutdown.clone();
        let drain = Box::pin(async move {
            // An error means that the sender is gone: the sidecar is going down.
            let _ = shutdown.wait_for(|stop| *stop).await;
        });
        let Accepted { stream, protocol, peer, mut route } = accepted;
        let forward = self.forward(peer.ip);
        let watcher = Watcher::new(self.auditor.clone(), peer);
        match protocol {
            Protocol::Http1 => {
                let opened = route.opened(protocol);
                let relay = Connection::new(stream, watcher).forwarding(forward).connected(opened);
                relay.run(route, &self.settings, drain).await;
            }
            Protocol::Http2 => {
                let received = Buffer::default();
                let relay = h2::Opening { client: stream, received, forward, observer: watcher };
                Box::pin(relay.run(route, &self.settings, drain)).await;
            }
        }
    }

    /// What is added to each request of a client at this address.
    fn forward(&self, client: Option<IpAddr>) -> Option<Forward> {
        match self.forward_address {
            ForwardAddress::XForwardedFor => Some(Forward::x_forwarded_for(client)),
            ForwardAddress::Forwarded => Some(Forward::forwarded(client)),
            ForwardAddress::None | ForwardAddress::ProxyV2 => None,
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
        // Accepted, but counted too late to be waited for: the journal may be closed before its first call.
        if self.connections.draining.load(Ordering::SeqCst) {
            return None;
        }
        let stream = stream.into_any().downcast::<TcpLike>().ok()?;
        let mut cut_off = self.cut_off.clone();
        tokio::select! {
            biased;
            () = self.serve(stream, shutdown) => {}
            // Dropping the relay ends its calls as cut off.
            _ = cut_off.wait_for(|cut| *cut) => {}
        }
        None
    }
}
