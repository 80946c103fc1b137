//! Everything in one process: the engine as a child, the sidecar, and the consumer reading the
//! sidecar's own journal instead of Kafka.
//!
//! Start: engine, sidecar, consumer. Stop, in this order so that nothing is left behind: traffic ends,
//! the consumer stores what is still in the journal, the journal closes, the engine stops.

use crate::engine::{Engine, EngineError, EngineOptions};
use prometheus_client::registry::Registry;
use sidelog::auditor::StartError;
use sidelog::config::{Config, DEFAULT_JOURNAL_DIR, Secret};
use sidelog::proxy::Sidecar;
use sidelog::reload::Origin;
use sidelog_consumer::metrics::Metrics;
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::pipeline;
use sidelog_consumer::source::journal::JournalSource;
use sidelog_consumer::source::{Limits, SourceError};
use sidelog_consumer::store::{Store, StoreError, StoreOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the engine may take to answer; a large data directory loads its parts first.
const ENGINE_START: Duration = Duration::from_secs(60);
/// How long the rest of the journal may take to reach the tables at the end.
const LAST_ROWS: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Sidecar(#[from] StartError),
    #[error("consumer: {0}")]
    Consumer(#[from] SourceError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no thread for the consumer: {0}")]
    Thread(std::io::Error),
    #[error("a task of ours failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Settings of a configuration that mean something else when all is in one process.
pub fn adapt(config: &mut Config) {
    if config.kafka.take().is_some() {
        tracing::warn!("standalone reads the journal itself: the kafka section is not used");
    }
    if config.journal.dir == Path::new(DEFAULT_JOURNAL_DIR) {
        config.journal.dir = config.standalone.data.join("journal");
    }
}

/// A standalone Sidelog that is up.
pub struct Standalone {
    sidecar: Sidecar,
    engine: Engine,
    stop: watch::Sender<bool>,
    /// A thread of its own, so that a burst of rows never takes the relay's threads.
    consumer: JoinHandle<Result<(), RunError>>,
}

impl std::fmt::Debug for Standalone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standalone").field("sidecar", &self.sidecar).finish_non_exhaustive()
    }
}

impl Standalone {
    /// `config` has been [`adapt`]ed. `library`: where `libchdb` is, if not in the usual places.
    pub async fn start(config: &Config, library: Option<PathBuf>) -> Result<Standalone, RunError> {
        let options = EngineOptions {
            http_port: config.standalone.http_port,
            library,
            database: config.clickhouse.database.clone(),
            ..EngineOptions::new(&config.standalone.data)
        };
        let engine =
            tokio::task::spawn_blocking(move || Engine::start_ready(&options, ENGINE_START)).await??;
        let sidecar = Sidecar::start(config).await?;
        let store = Store::new(&StoreOptions {
            url: engine.http_url.clone(),
            user: engine.writer.user.clone(),
            password: Some(Secret(engine.writer.password.clone())),
            place: Place { database: config.clickhouse.database.clone(), cluster: None },
        });
        // So that the ready line's promise holds: SQL can be asked at once.
        migrate::migrate(&store).await?;
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let source =
            JournalSource::new(sidecar.auditor().journal().clone(), store.clone(), Limits::default());
        let (stop, stopping) = watch::channel(false);
        let consumer = std::thread::Builder::new()
            .name("consumer".into())
            .spawn(move || consume(source, store, metrics, stopping))
            .map_err(RunError::Thread)?;
        Ok(Standalone { sidecar, engine, stop, consumer })
    }

    /// From now on, changes of the configuration's files take effect.
    pub fn follow(&mut self, config: Config, origin: Origin) {
        self.sidecar.follow(config, origin);
    }

    /// The line that tells where everything is.
    pub fn ready_line(&self) -> String {
        let Standalone { sidecar, engine, .. } = self;
        format!(
            "sidelog-standalone ready traffic={} sql={} user={} admin={} local={}",
            sidecar.traffic, engine.http_url, engine.reader.user, sidecar.admin, sidecar.local
        )
    }

    /// Returns when the engine or the consumer has ended by itself.
    pub async fn broken(&self) {
        while self.engine.exited().is_none() && !self.consumer.is_finished() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Ends everything in order.
    pub async fn stop(mut self) -> Result<(), RunError> {
        self.sidecar.quiesce().await;
        let journal = self.sidecar.auditor().journal().clone();
        let by = Instant::now() + LAST_ROWS;
        while journal.stats().pending > 0 && !self.consumer.is_finished() && Instant::now() < by {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let left = journal.stats().pending;
        if left > 0 {
            tracing::warn!(left, "events stay in the journal; the next start stores them");
        }
        // An error means that the consumer has ended already.
        let _ = self.stop.send(true);
        let consumer = self.consumer;
        // A panic in the consumer has been reported by the panic hook.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || consumer.join()).await? {
            tracing::error!(%error, "the consumer had failed");
        }
        self.sidecar.close().await;
        let engine = self.engine;
        tokio::task::spawn_blocking(move || engine.stop()).await??;
        Ok(())
    }
}

fn consume(
    source: JournalSource,
    store: Store,
    metrics: Arc<Metrics>,
    stopping: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Thread)?;
    let options = pipeline::Options { migrate: false, ..pipeline::Options::default() };
    runtime.block_on(pipeline::run(source, store, options, metrics, stopping))?;
    Ok(())
}
