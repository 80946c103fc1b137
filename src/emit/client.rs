//! The librdkafka producer: its settings, and where its reports and its log go.

use super::window::Window;
use crate::config;
use crate::metrics::Metrics;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) type Client = ThreadedProducer<Context>;

/// Bytes of one batch, unless the user says otherwise or the broker takes less.
const BATCH_BYTES: usize = 256 << 10;

/// What is worth setting, under all the names it has (librdkafka is given them in no order). The user's
/// properties stand instead.
const DEFAULTS: [(&[&str], &str); 7] = [
    (&["client.id"], "sidelog"),
    (&["linger.ms", "queue.buffering.max.ms"], "50"),
    (&["compression.codec", "compression.type"], "lz4"),
    (&["queue.buffering.max.messages"], "20000"),
    (&["queue.buffering.max.kbytes"], "16384"),
    (&["partitioner"], "murmur2_random"),
    (&["socket.keepalive.enable"], "true"),
];

/// What makes the promises. The configuration has refused properties that contradict it.
const PROMISES: [(&str, &str); 4] = [
    ("enable.idempotence", "true"),
    // A refused batch ends the producer. Without this, librdkafka would go on with the records after
    // it, and they would stand in the topic before those that are sent again.
    ("enable.gapless.guarantee", "true"),
    ("acks", "all"),
    // The journal owns time: librdkafka never gives up on its own.
    ("message.timeout.ms", "0"),
];

pub(super) fn config(kafka: &config::Kafka, batch_bytes: usize) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in &kafka.properties {
        client.set(key, value);
    }
    for (names, value) in DEFAULTS {
        if let ([name, ..], false) = (names, names.iter().any(|name| client.get(name).is_some())) {
            client.set(*name, value);
        }
    }
    for (key, value) in PROMISES {
        client.set(key, value);
    }
    client.set("batch.size", batch_bytes.to_string());
    client.set("bootstrap.servers", kafka.brokers.join(","));
    client
}

/// How many partitions a topic has: 0 where there is no such topic, which this never makes. The error
/// is a sentence: no answer, no rights.
pub fn topic_partitions(kafka: &config::Kafka, within: Duration) -> Result<usize, String> {
    let mut settings = ClientConfig::new();
    for (key, value) in &kafka.properties {
        settings.set(key, value);
    }
    settings.set("bootstrap.servers", kafka.brokers.join(","));
    // A producer that asks for a topic may make it.
    settings.set("allow.auto.create.topics", "false");
    let client: BaseConsumer = settings.create().map_err(|e| e.to_string())?;
    let metadata = client.fetch_metadata(Some(&kafka.topic), within).map_err(|e| e.to_string())?;
    let Some(topic) = metadata.topics().first() else { return Ok(0) };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Ok(topic.partitions().len()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(0),
        Some(code) => Err(code.to_string()),
    }
}

/// The batch size to begin with.
pub(super) fn batch_bytes(kafka: &config::Kafka) -> usize {
    let own = kafka.properties.iter().rev().find(|(name, _)| name == "batch.size");
    own.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(BATCH_BYTES)
}

/// Where reports and log lines go.
pub(super) struct Context {
    window: Arc<Window>,
    metrics: Arc<Metrics>,
    log_gate: LogGate,
}

impl Context {
    pub fn new(window: &Arc<Window>, metrics: &Arc<Metrics>) -> Context {
        Context { window: window.clone(), metrics: metrics.clone(), log_gate: LogGate::new() }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if (level as i32) <= (RDKafkaLogLevel::Warning as i32) {
            if let Some(skipped) = self.log_gate.open() {
                tracing::warn!(facility, message, skipped, "kafka client");
            }
        } else {
            tracing::debug!(facility, message, "kafka client");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(skipped) = self.log_gate.open() {
            tracing::warn!(%error, reason, skipped, "kafka");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(_) => {
                self.metrics.shipped.inc();
                self.window.report(opaque, Ok(()));
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.window.report(opaque, Err(code));
            }
        }
    }
}

/// Lets one line a second through; librdkafka repeats itself twenty times a second while a broker
/// refuses connections.
struct LogGate {
    started: Instant,
    last: AtomicI64,
    skipped: AtomicU64,
}

impl LogGate {
    fn new() -> Self {
        LogGate { started: Instant::now(), last: AtomicI64::new(-1), skipped: AtomicU64::new(0) }
    }

    /// The number of lines held back since the last one, if this one may pass.
    fn open(&self) -> Option<u64> {
        let now = self.started.elapsed().as_secs() as i64;
        if self.last.swap(now, Ordering::Relaxed) == now {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.skipped.swap(0, Ordering::Relaxed))
    }
}
