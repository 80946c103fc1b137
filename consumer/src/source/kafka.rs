//! Records from a Kafka topic.
//!
//! A thread of its own polls; all calls to the consumer are made there. It fills one batch while
//! another waits to be taken. When both are full it stops polling; when that lasts, it pauses the
//! partitions and goes on polling, so that the group does not expel it (a pause throws away what was
//! prefetched, so not at once).
//!
//! Offsets are committed after their batch was stored, never before. When partitions are taken away,
//! the batches in work may be finished first; if they take too long they are abandoned.
//!
//! A process that is halted for a while (a paused container, a migrated machine) does not see that the
//! group gave its partitions to another. So the thread notes that it is alive, batches are current only
//! while that note is younger than half a session, and a thread that finds it older abandons them
//! and joins the group anew.

use super::{Batch, Dead, Fetched, Lease, Limits, Source, SourceError};
use crate::metrics::Metrics;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, Statistics, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One poll: the longest that a commit or the order to stop waits.
const POLL: Duration = Duration::from_millis(50);
/// How long polling may rest before the partitions are paused instead.
const PAUSE_AFTER: Duration = Duration::from_secs(5);
/// How long the group waits for the batches in work when partitions move.
const REVOKE_WAIT: Duration = Duration::from_secs(20);
/// librdkafka's own `session.timeout.ms`.
const SESSION: Duration = Duration::from_secs(45);
/// How long leaving the group may take.
const CLOSE_WAIT: Duration = Duration::from_secs(15);
const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(30);
/// A fetch that finds nothing returns after this.
const IDLE: Duration = Duration::from_secs(1);
/// Lines of librdkafka's log passed on per [`LOG_WINDOW`].
const LOG_LINES: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// Set before the user's properties. When librdkafka's queue is full it asks for no more for
/// `fetch.queue.backoff.ms`: a second by its own default, in which a queue of this size runs empty.
/// `fetch.max.bytes` is what one answer may hold, compressed, and all of it is unpacked at once.
const DEFAULTS: [(&str, &str); 10] = [
    ("group.id", "sidelog-consumer"),
    ("auto.offset.reset", "earliest"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.wait.max.ms", "100"),
    ("socket.keepalive.enable", "true"),
    ("statistics.interval.ms", "5000"),
    ("partition.assignment.strategy", "range,roundrobin"),
    ("client.id", "sidelog-consumer"),
];
/// What exactly-once rests on: refused among the user's properties.
const OURS: [&str; 4] = [
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "partition.assignment.strategy",
];

#[derive(Debug, Clone)]
pub struct KafkaOptions {
    pub brokers: Vec<String>,
    pub topic: String,
    /// Any librdkafka property, set after our own.
    pub properties: Vec<(String, String)>,
    pub limits: Limits,
}

impl KafkaOptions {
    pub fn new(config: &sidelog::config::Kafka, limits: Limits) -> Self {
        Self {
            brokers: config.brokers.clone(),
            topic: config.topic.clone(),
            properties: config.properties.clone(),
            limits,
        }
    }

    fn client_config(&self) -> Result<ClientConfig, SourceError> {
        let mut config = ClientConfig::new();
        for (key, value) in DEFAULTS {
            config.set(key, value);
        }
        for (key, value) in &self.properties {
            if OURS.contains(&key.as_str()) {
                return Err(SourceError::Property(key.clone()));
            }
            config.set(key, value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }
}

/// Between the polling thread, its callbacks and the pipeline.
struct Shared {
    state: Mutex<State>,
    /// A batch was taken or stored, or it is time to stop.
    moved: Condvar,
    /// A batch is ready, or the thread has ended.
    ready: Notify,
    metrics: Arc<Metrics>,
    topic: String,
    /// How long partitions are surely ours without a sign of life of the polling thread.
    lease: Duration,
    log: Mutex<(Instant, u32)>,
}

struct State {
    /// Counts assignments.
    epoch: u64,
    /// The polling thread's last sign of life.
    alive: Instant,
    ready: Option<Batch>,
    /// Batches of this epoch that are with the pipeline.
    in_work: usize,
    /// Next offset by partition, of all that was stored in this epoch.
    stored: BTreeMap<i32, i64>,
    /// Kafka was not told of all of them yet.
    untold: bool,
    stop: bool,
    ended: bool,
    /// Why it ended, if not by order.
    failure: Option<SourceError>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            epoch: 0,
            alive: Instant::now(),
            ready: None,
            in_work: 0,
            stored: BTreeMap::new(),
            untold: false,
            stop: false,
            ended: false,
            failure: None,
        }
    }
}

impl State {
    /// Whatever is in work belongs to another from here on.
    fn abandon(&mut self) {
        self.epoch += 1;
        self.ready = None;
        self.in_work = 0;
        self.stored.clear();
    }

    /// A sign of life. False: the last one is too long ago for the partitions to be surely ours.
    fn beat(&mut self, lease: Duration) -> bool {
        let in_time = self.alive.elapsed() < lease;
        self.alive = Instant::now();
        in_time
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.moved.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let mut window = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() > LOG_WINDOW {
            if window.1 > LOG_LINES {
                tracing::warn!(lines = window.1 - LOG_LINES, "left out of librdkafka's log");
            }
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 > LOG_LINES {
            return;
        }
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info => {
                tracing::debug!(facility, "librdkafka: {message}")
            }
            _ => tracing::warn!(facility, "librdkafka: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let up = statistics.brokers.values().any(|b| b.nodeid >= 0 && b.state == "UP");
        self.0.metrics.source_up.set(up.into());
        let lags = statistics.topics.values().flat_map(|t| t.partitions.values()).map(|p| p.consumer_lag);
        self.0.metrics.lag.set(lags.filter(|lag| *lag > 0).sum());
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.metrics.source_up.set(0);
        }
        tracing::warn!(%error, reason, "Kafka");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let shared = &self.0;
        shared.metrics.assignments.inc();
        match rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(partitions = partitions.count(), "partitions assigned");
                shared.metrics.source_up.set(1);
            }
            Rebalance::Revoke(partitions) => {
                tracing::info!(partitions = partitions.count(), "partitions taken away");
                // Lost partitions have another owner already: too late to commit.
                if !consumer.assignment_lost() {
                    self.finish(consumer);
                }
            }
            Rebalance::Error(error) => tracing::warn!(%error, "rebalance failed"),
        }
        let mut state = shared.state();
        state.abandon();
        state.alive = Instant::now();
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // A partition that was paused when it went away is still paused when it comes back.
        if let Rebalance::Assign(partitions) = rebalance
            && let Err(error) = consumer.resume(partitions)
        {
            tracing::warn!(%error, "cannot resume partitions");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.0.metrics.commit_errors.inc();
            tracing::warn!(%error, "commit refused; the next one includes it");
        }
    }
}

impl Context {
    /// Lets the batches in work be stored, then commits: the last act before partitions go.
    fn finish(&self, consumer: &BaseConsumer<Self>) {
        let until = Instant::now() + REVOKE_WAIT;
        let mut state = self.0.state();
        state.ready = None;
        while state.in_work > 0 && Instant::now() < until {
            state = self.0.wait(state, POLL);
            if !state.beat(self.0.lease) {
                state.abandon();
            }
        }
        // All of it: an earlier commit may have been refused because the group is changing.
        let stored = std::mem::take(&mut state.stored);
        drop(state);
        commit(consumer, &self.0, &stored, CommitMode::Sync);
    }
}

fn commit(consumer: &BaseConsumer<Context>, shared: &Shared, stored: &BTreeMap<i32, i64>, mode: CommitMode) {
    if stored.is_empty() {
        return;
    }
    let mut offsets = TopicPartitionList::new();
    for (partition, next) in stored {
        if let Err(error) = offsets.add_partition_offset(&shared.topic, *partition, Offset::Offset(*next)) {
            tracing::error!(%error, partition, "cannot name an offset");
        }
    }
    if let Err(error) = consumer.commit(&offsets, mode) {
        shared.metrics.commit_errors.inc();
        tracing::warn!(%error, "cannot commit; what was stored will be read again and recognised");
    }
}

/// The polling thread.
struct Poller {
    consumer: BaseConsumer<Context>,
    shared: Arc<Shared>,
    limits: Limits,
    current: Batch,
    /// When the first record of `current` was read.
    since: Instant,
    paused: bool,
}

impl Poller {
    fn run(mut self) {
        let result = self.serve();
        let stored = std::mem::take(&mut self.shared.state().stored);
        commit(&self.consumer, &self.shared, &stored, CommitMode::Sync);
        let shared = Arc::clone(&self.shared);
        // Leaves the group; its callbacks run here.
        drop(self);
        shared.metrics.source_up.set(0);
        {
            let mut state = shared.state();
            state.ended = true;
            state.failure = result.err();
        }
        shared.ready.notify_one();
    }

    fn serve(&mut self) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        let mut blocked: Option<Instant> = None;
        loop {
            let stored = {
                let mut state = shared.state();
                if state.stop {
                    return Ok(());
                }
                if !state.beat(shared.lease) {
                    tracing::warn!(
                        "stood still for too long to be sure of the partitions; joining the group anew"
                    );
                    state.abandon();
                    drop(state);
                    self.consumer.unsubscribe();
                    self.consumer.subscribe(&[&shared.topic])?;
                    continue;
                }
                if state.epoch != self.current.epoch {
                    self.current = Batch::new(&self.shared.topic, state.epoch);
                    self.paused = false;
                }
                self.hand_over(&mut state);
                if std::mem::take(&mut state.untold) { state.stored.clone() } else { BTreeMap::new() }
            };
            commit(&self.consumer, &self.shared, &stored, CommitMode::Async);
            if !self.current.is_full(&self.limits) {
                blocked = None;
                self.resume()?;
                self.poll()?;
                continue;
            }
            if blocked.get_or_insert_with(Instant::now).elapsed() > PAUSE_AFTER {
                self.pause()?;
                self.poll()?;
            } else {
                let state = shared.state();
                if state.ready.is_some() && !state.stop {
                    drop(shared.wait(state, POLL));
                }
            }
        }
    }

    fn hand_over(&mut self, state: &mut State) {
        self.current.more = self.current.is_full(&self.limits);
        let due = self.current.more || (!self.current.is_empty() && self.since.elapsed() >= self.limits.age);
        if due && state.ready.is_none() {
            let empty = Batch::new(&self.shared.topic, state.epoch);
            state.ready = Some(std::mem::replace(&mut self.current, empty));
            self.shared.ready.notify_one();
        }
    }

    fn poll(&mut self) -> Result<(), SourceError> {
        // Many records per look at the shared state.
        for _ in 0..1000 {
            let message = match self.consumer.poll(POLL) {
                None => return Ok(()),
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    if let Some((code, reason)) = self.consumer.client().fatal_error() {
                        return Err(SourceError::Other(format!("Kafka: {code}: {reason}")));
                    }
                    // The callback for errors has told of brokers that are down.
                    tracing::debug!(%error, "poll");
                    return Ok(());
                }
            };
            let epoch = self.shared.state().epoch;
            if epoch != self.current.epoch {
                self.current = Batch::new(&self.shared.topic, epoch);
                self.paused = false;
            }
            if self.current.is_empty() {
                self.since = Instant::now();
            }
            let millis = message.timestamp().to_millis().unwrap_or(0).max(0);
            let payload = message.payload().unwrap_or_default();
            self.current.push(payload, message.partition(), message.offset(), millis);
            if self.current.is_full(&self.limits) || self.since.elapsed() >= self.limits.age {
                return Ok(());
            }
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        if !self.paused {
            self.consumer.pause(&self.consumer.assignment()?)?;
            self.paused = true;
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        if self.paused {
            self.consumer.resume(&self.consumer.assignment()?)?;
            self.paused = false;
        }
        Ok(())
    }
}

/// Reads a topic as a member of a consumer group.
pub struct KafkaSource {
    shared: Arc<Shared>,
    config: ClientConfig,
    dead_letters: Option<FutureProducer>,
    dead_topic: String,
}

impl KafkaSource {
    /// Joins the group. Brokers that are down are waited for; a bad property is an error.
    pub fn open(options: &KafkaOptions, metrics: Arc<Metrics>) -> Result<Self, SourceError> {
        let config = options.client_config()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            moved: Condvar::new(),
            ready: Notify::new(),
            metrics,
            topic: options.topic.clone(),
            lease: lease(&config),
            log: Mutex::new((Instant::now(), 0)),
        });
        let consumer: BaseConsumer<Context> = config.create_with_context(Context(Arc::clone(&shared)))?;
        consumer.subscribe(&[&options.topic])?;
        let poller = Poller {
            consumer,
            shared: Arc::clone(&shared),
            limits: options.limits,
            current: Batch::new(&options.topic, 0),
            since: Instant::now(),
            paused: false,
        };
        std::thread::Builder::new()
            .name("kafka".into())
            .spawn(move || poller.run())
            .map_err(|e| SourceError::Other(format!("cannot start a thread: {e}")))?;
        Ok(Self { shared, config, dead_letters: None, dead_topic: format!("{}.dlq", options.topic) })
    }

    fn producer(&mut self) -> Result<FutureProducer, SourceError> {
        if let Some(producer) = &self.dead_letters {
            return Ok(producer.clone());
        }
        let mut config = self.config.clone();
        for (key, _) in DEFAULTS {
            config.remove(key);
        }
        config.remove("enable.auto.commit").remove("enable.auto.offset.store");
        config.set("acks", "all").set("enable.idempotence", "true").set("client.id", "sidelog-consumer");
        config.set("message.timeout.ms", DEAD_LETTER_TIMEOUT.as_millis().to_string());
        let producer: FutureProducer = config.create()?;
        self.dead_letters = Some(producer.clone());
        Ok(producer)
    }
}

/// Half a session: the group waits for a whole one before it gives partitions to another.
fn lease(config: &ClientConfig) -> Duration {
    let session = config.get("session.timeout.ms").and_then(|millis| millis.parse().ok());
    session.map_or(SESSION, Duration::from_millis) / 2
}

/// Where it came from and why it is here; nothing of its content.
fn headers(dead: &Dead<'_>, payload: &'static str) -> OwnedHeaders {
    let origin = dead.item.origin;
    [
        ("reason", dead.reason.as_str().to_owned()),
        ("topic", origin.topic.to_owned()),
        ("partition", origin.partition.to_string()),
        ("offset", origin.offset.to_string()),
        ("payload", payload.to_owned()),
    ]
    .iter()
    .fold(OwnedHeaders::new_with_capacity(5), |headers, (key, value)| {
        headers.insert(Header { key: &format!("sidelog-{key}"), value: Some(value) })
    })
}

impl Source for KafkaSource {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        let until = tokio::time::Instant::now() + IDLE;
        loop {
            let ready = self.shared.ready.notified();
            {
                let mut state = self.shared.state();
                if state.ended {
                    let ended = || SourceError::Other("the Kafka thread has ended".into());
                    return Err(state.failure.take().unwrap_or_else(ended));
                }
                if let Some(batch) = state.ready.take() {
                    state.in_work += 1;
                    drop(state);
                    self.shared.moved.notify_all();
                    return Ok(Fetched::Batch(batch));
                }
            }
            if tokio::time::timeout_at(until, ready).await.is_err() {
                return Ok(Fetched::Idle);
            }
        }
    }

    fn commit(&mut self, batch: &Batch) {
        let mut state = self.shared.state();
        if state.epoch == batch.epoch {
            state.in_work = state.in_work.saturating_sub(1);
            state.untold = true;
            state.stored.extend(batch.stretches().iter().map(|s| (s.partition, s.last + 1)));
        }
        drop(state);
        self.shared.moved.notify_all();
    }

    async fn dead_letter(&mut self, _: &Batch, dead: &[Dead<'_>]) -> Result<(), SourceError> {
        let producer = self.producer()?;
        for letter in dead {
            // The same partition keys are not needed: dead letters have no order worth keeping.
            let record = FutureRecord::<(), [u8]>::to(&self.dead_topic);
            let whole = record.payload(letter.item.bytes).headers(headers(letter, "whole"));
            let sent = producer.send(whole, DEAD_LETTER_TIMEOUT).await;
            let Err((error, _)) = sent else { continue };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                return Err(error.into());
            }
            // Headers made it too large. The original stays where the headers say.
            let record = FutureRecord::<(), [u8]>::to(&self.dead_topic);
            let bare = record.headers(headers(letter, "left_out"));
            producer.send(bare, DEAD_LETTER_TIMEOUT).await.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn lease(&self, batch: &Batch) -> Lease {
        let (shared, epoch) = (Arc::clone(&self.shared), batch.epoch);
        Lease::new(move || {
            let state = shared.state();
            state.epoch == epoch && state.alive.elapsed() < shared.lease
        })
    }

    async fn close(&mut self) {
        {
            let mut state = self.shared.state();
            state.stop = true;
            state.ready = None;
            // A batch that was not stored stays uncommitted.
            state.in_work = 0;
        }
        self.shared.moved.notify_all();
        let until = tokio::time::Instant::now() + CLOSE_WAIT;
        while !self.shared.state().ended {
            if tokio::time::timeout_at(until, self.shared.ready.notified()).await.is_err() {
                tracing::warn!("leaving the Kafka group takes long; not waiting");
                return;
            }
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(properties: &[(&str, &str)]) -> KafkaOptions {
        KafkaOptions {
            brokers: vec!["a:1".into(), "b:2".into()],
            topic: "t".into(),
            properties: properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            limits: Limits::default(),
        }
    }

    #[test]
    fn properties_are_passed_on_but_not_those_that_exactly_once_rests_on() {
        let config = options(&[("group.id", "mine"), ("security.protocol", "ssl")]).client_config().unwrap();
        assert_eq!(config.get("group.id"), Some("mine"));
        assert_eq!(config.get("security.protocol"), Some("ssl"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        for key in OURS {
            let error = options(&[(key, "true")]).client_config().unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    use prometheus_client::registry::Registry;
    use rdkafka::mocking::MockCluster;

    /// A cluster in this process, with one topic of two partitions.
    fn cluster() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 2, 1).unwrap();
        cluster.create_topic("t.dlq", 1, 1).unwrap();
        cluster
    }

    fn open(brokers: &str, rows: usize) -> KafkaSource {
        let properties = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "300")];
        let limits = Limits { rows, age: Duration::from_millis(100), ..Limits::default() };
        let options = KafkaOptions { brokers: vec![brokers.into()], limits, ..options(&properties) };
        let metrics = Metrics::register(&mut Registry::default());
        KafkaSource::open(&options, Arc::new(metrics)).unwrap()
    }

    async fn produce(brokers: &str, numbers: std::ops::Range<u32>) {
        let producer: FutureProducer =
            ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
        let sent = numbers.map(|n| {
            let (key, payload) = ((n % 7).to_string(), n.to_string());
            let producer = producer.clone();
            async move {
                let record = FutureRecord::to("t").key(&key).payload(&payload);
                producer.send(record, Duration::from_secs(10)).await.unwrap();
            }
        });
        for sent in sent.map(tokio::spawn).collect::<Vec<_>>() {
            sent.await.unwrap();
        }
    }

    async fn next(source: &mut KafkaSource) -> Option<Batch> {
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until {
            if let Fetched::Batch(batch) = source.fetch().await.unwrap() {
                return Some(batch);
            }
        }
        None
    }

    fn numbers(batch: &Batch) -> Vec<u32> {
        batch.items().map(|i| std::str::from_utf8(i.bytes).unwrap().parse().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_committed_is_not_read_again_and_what_was_not_is() {
        let cluster = cluster();
        let brokers = cluster.bootstrap_servers();
        produce(&brokers, 0..1000).await;
        let mut source = open(&brokers, 100);
        let (mut done, mut rest) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let batch = next(&mut source).await.unwrap();
            assert!(batch.len() <= 100);
            done.extend(numbers(&batch));
            source.commit(&batch);
        }
        // Handed over, and never stored.
        next(&mut source).await.unwrap();
        source.close().await;
        let mut source = open(&brokers, 100);
        while done.len() + rest.len() < 1000 {
            let batch = next(&mut source).await.unwrap();
            rest.extend(numbers(&batch));
            source.commit(&batch);
        }
        source.close().await;
        done.extend(rest);
        done.sort_unstable();
        assert_eq!(done, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn partitions_move_after_the_batch_in_work_and_an_old_batch_commits_nothing() {
        let cluster = cluster();
        let brokers = cluster.bootstrap_servers();
        produce(&brokers, 0..300).await;
        let mut first = open(&brokers, 50);
        let batch = next(&mut first).await.unwrap();
        let mut second = open(&brokers, 50);
        // The group waits for the batch.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(first.lease(&batch).holds());
        let mut all: std::collections::BTreeSet<_> = numbers(&batch).into_iter().collect();
        first.commit(&batch);
        let until = Instant::now() + Duration::from_secs(20);
        while first.lease(&batch).holds() {
            assert!(Instant::now() < until, "no partition was taken away");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Too late: this must not move anything.
        first.commit(&batch);
        while all.len() < 300 {
            for source in [&mut first, &mut second] {
                if let Fetched::Batch(batch) = source.fetch().await.unwrap() {
                    all.extend(numbers(&batch));
                    source.commit(&batch);
                }
            }
            assert!(Instant::now() < until + Duration::from_secs(20), "{} of 300 came", all.len());
        }
        // Some may come twice: a commit during a rebalance may be refused. None may be missing.
        first.close().await;
        second.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pipeline_that_stands_still_keeps_its_partitions_and_bounded_memory() {
        let cluster = cluster();
        let brokers = cluster.bootstrap_servers();
        produce(&brokers, 0..2000).await;
        let mut source = open(&brokers, 100);
        let batch = next(&mut source).await.unwrap();
        // Longer than PAUSE_AFTER and the session.
        tokio::time::sleep(PAUSE_AFTER + Duration::from_secs(2)).await;
        assert!(source.lease(&batch).holds(), "the group expelled it");
        let mut all = numbers(&batch);
        source.commit(&batch);
        while all.len() < 2000 {
            let batch = next(&mut source).await.unwrap();
            all.extend(numbers(&batch));
            source.commit(&batch);
        }
        all.sort_unstable();
        assert_eq!(all, (0..2000).collect::<Vec<_>>());
        source.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dead_letter_says_where_it_came_from() {
        let cluster = cluster();
        let brokers = cluster.bootstrap_servers();
        let mut source = open(&brokers, 10);
        let mut batch = Batch::new("t", 0);
        batch.push(b"poison", 1, 77, 5);
        let reason = crate::transform::DeadReason::NotJson;
        let dead: Vec<_> = batch.items().map(|item| Dead { item, reason }).collect();
        source.dead_letter(&batch, &dead).await.unwrap();
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", "reader")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let mut place = TopicPartitionList::new();
        place.add_partition_offset("t.dlq", 0, Offset::Beginning).unwrap();
        reader.assign(&place).unwrap();
        let message = reader.poll(Duration::from_secs(15)).unwrap().unwrap();
        assert_eq!(message.payload(), Some(&b"poison"[..]));
        use rdkafka::message::Headers;
        let headers: Vec<_> = message
            .headers()
            .unwrap()
            .iter()
            .map(|h| format!("{}={}", h.key, std::str::from_utf8(h.value.unwrap()).unwrap()))
            .collect();
        let expected = ["reason=not_json", "topic=t", "partition=1", "offset=77", "payload=whole"]
            .map(|h| format!("sidelog-{h}"));
        assert_eq!(headers, expected);
        source.close().await;
    }
}
