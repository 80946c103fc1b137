//! Journal → Kafka. One thread reads the journal, librdkafka sends, and the journal's cursor moves
//! over what the broker has acknowledged without a hole.
//!
//! Promises: nothing is skipped (a failed report rewinds to the cursor), order within the producer is
//! kept (one key, one partition, idempotence), memory is bounded (librdkafka's queue; when it is full
//! the journal is not read). Duplicates after a rewind are removed by the consumer's marks.
//! The journal owns time: `message.timeout.ms=0`, librdkafka never gives up on its own.

use crate::config;
use crate::metrics::Metrics;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use sidelog_event::{AuditEvent, Loss, Position, RecordKind, stamp};
use sidelog_journal::{Journal, Kind, Mark, Reader, Record};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records read from the journal at a time.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// How long to wait for news from the journal or from the broker before looking around.
const TICK: Duration = Duration::from_millis(100);
/// Pause before trying again after a failed delivery.
const BACKOFF: Duration = Duration::from_secs(1);

/// How long to wait for the remaining reports after a failed one.
const DRAIN: Duration = Duration::from_secs(10);

/// The thread that ships. Dropping it without [`Shipper::stop`] leaves the rest for the next start.
#[derive(Debug)]
pub struct Shipper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shipper {
    /// Checks the Kafka settings and starts shipping. The broker need not be there.
    pub fn start(
        journal: Arc<Journal>,
        kafka: config::Kafka,
        metrics: Arc<Metrics>,
        flush: Duration,
    ) -> Result<Shipper, KafkaError> {
        let stop = Arc::new(AtomicBool::new(false));
        let window = Arc::new(Window::default());
        let producer = create(&kafka, &window, &metrics)?;
        let mut run =
            Run { journal, kafka, metrics, window, stop: stop.clone(), slim: HashSet::new(), flush };
        let thread = std::thread::Builder::new()
            .name("shipper".into())
            .spawn(move || run.ship(producer))
            .map_err(|_| KafkaError::ClientCreation("no thread for the shipper".into()))?;
        Ok(Shipper { stop, thread: Some(thread) })
    }

    /// Ships what is in the journal for at most the flush time given at the start, then returns.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic in the shipper has been reported by the panic hook; nothing is lost by it.
            let _ = thread.join();
        }
    }
}

/// Records handed to librdkafka, in order, until all before them are acknowledged.
#[derive(Default)]
struct Window {
    state: Mutex<WindowState>,
    changed: Condvar,
}

#[derive(Default)]
struct WindowState {
    /// Opaque of the first entry.
    first: usize,
    entries: VecDeque<Entry>,
    /// The mark up to which everything is acknowledged, if it moved since it was last taken.
    done: Option<Mark>,
    /// The first failure since the last rewind, with its opaque.
    failed: Option<(usize, RDKafkaErrorCode)>,
}

struct Entry {
    mark: Mark,
    /// Boot and sequence number, to know the record again after a rewind.
    at: (u64, u64),
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    Open,
    Acked,
    Failed,
}

impl Window {
    /// Delivery reports may run on librdkafka's poll thread and on ours during a flush.
    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: &Record) -> usize {
        let mut state = self.lock();
        let (mark, at) = (record.mark.clone(), (record.boot, record.seq));
        state.entries.push_back(Entry { mark, at, report: Report::Open });
        state.first + state.entries.len() - 1
    }

    /// Takes back the last push, which librdkafka did not accept.
    fn unpush(&self) {
        self.lock().entries.pop_back();
    }

    fn report(&self, opaque: usize, result: Result<(), RDKafkaErrorCode>) {
        let mut state = self.lock();
        let state = &mut *state;
        // Reports of before a rewind are late news.
        let Some(entry) = opaque.checked_sub(state.first).and_then(|i| state.entries.get_mut(i)) else {
            return;
        };
        match result {
            Ok(()) => entry.report = Report::Acked,
            Err(code) => {
                entry.report = Report::Failed;
                state.failed = state.failed.or(Some((opaque, code)));
            }
        }
        while state.entries.front().is_some_and(|e| e.report == Report::Acked) {
            state.done = state.entries.pop_front().map(|e| e.mark);
            state.first += 1;
        }
        self.changed.notify_all();
    }

    fn take_done(&self) -> Option<Mark> {
        self.lock().done.take()
    }

    fn failed(&self) -> Option<(usize, RDKafkaErrorCode)> {
        self.lock().failed
    }

    fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    fn wait(&self, at_most: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout(state, at_most);
    }

    /// Forgets what was under way; its reports will be ignored.
    fn clear(&self) {
        let mut state = self.lock();
        state.first += state.entries.len();
        state.entries.clear();
        state.failed = None;
    }
}

struct Context {
    window: Arc<Window>,
    metrics: Arc<Metrics>,
    log_gate: LogGate,
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

/// Settings that make the promises above, then the user's.
fn client_config(kafka: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    for (key, value) in [
        ("client.id", "sidelog"),
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("max.in.flight.requests.per.connection", "5"),
        ("message.timeout.ms", "0"),
        ("linger.ms", "50"),
        ("compression.codec", "lz4"),
        ("batch.size", "262144"),
        ("queue.buffering.max.messages", "20000"),
        ("queue.buffering.max.kbytes", "16384"),
        ("partitioner", "murmur2_random"),
        ("socket.keepalive.enable", "true"),
    ] {
        client.set(key, value);
    }
    for (key, value) in &kafka.properties {
        client.set(key, value);
    }
    client.set("bootstrap.servers", kafka.brokers.join(","));
    client
}

fn create(
    kafka: &config::Kafka,
    window: &Arc<Window>,
    metrics: &Arc<Metrics>,
) -> Result<ThreadedProducer<Context>, KafkaError> {
    client_config(kafka).create_with_context(Context {
        window: window.clone(),
        metrics: metrics.clone(),
        log_gate: LogGate::new(),
    })
}

/// What became of one attempt to ship from the cursor on.
enum Ended {
    Stopped,
    /// A delivery failed: start again at the cursor.
    Failed,
    /// The producer is beyond repair: make a new one, then start again at the cursor.
    Fatal,
}

struct Run {
    journal: Arc<Journal>,
    kafka: config::Kafka,
    metrics: Arc<Metrics>,
    window: Arc<Window>,
    stop: Arc<AtomicBool>,
    /// Records the broker refused for their size, to be sent without bodies.
    slim: HashSet<(u64, u64)>,
    flush: Duration,
}

impl Run {
    fn ship(&mut self, mut producer: ThreadedProducer<Context>) {
        let mut reader = self.journal.reader();
        loop {
            match self.attempt(&producer, &mut reader) {
                Ended::Stopped => return self.finish(&producer),
                Ended::Failed if self.drained() => {}
                Ended::Failed | Ended::Fatal => {
                    // Dropping the producer purges its queue, so nothing overtakes the rewind.
                    drop(producer);
                    match self.recreate() {
                        Some(new) => producer = new,
                        None => return,
                    }
                }
            }
            self.commit();
            self.window.clear();
            reader.rewind();
            self.window.wait(BACKOFF);
        }
    }

    /// A new producer, or `None` when told to stop.
    fn recreate(&self) -> Option<ThreadedProducer<Context>> {
        while !self.stopping() {
            match create(&self.kafka, &self.window, &self.metrics) {
                Ok(new) => return Some(new),
                Err(error) => tracing::error!(%error, "no new kafka producer; trying again"),
            }
            std::thread::sleep(BACKOFF);
        }
        None
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Reads and sends until told to stop or until something fails.
    fn attempt(&mut self, producer: &ThreadedProducer<Context>, reader: &mut Reader) -> Ended {
        let (mut records, mut message) = (Vec::new(), Vec::new());
        let mut stop_by = None;
        loop {
            records.clear();
            reader.next(TICK, BATCH, BATCH_BYTES, &mut records);
            if self.stopping() {
                // What is in the journal now is still sent, within bounds.
                let by = *stop_by.get_or_insert_with(|| Instant::now() + self.flush);
                if records.is_empty() || Instant::now() >= by {
                    return Ended::Stopped;
                }
            }
            for record in &records {
                if let Some(ended) = self.send(producer, record, &mut message) {
                    return ended;
                }
            }
            self.commit();
            if let Some(ended) = self.failure(producer) {
                return ended;
            }
        }
    }

    /// Hands one record to librdkafka, waiting while its queue is full.
    fn send(
        &mut self,
        producer: &ThreadedProducer<Context>,
        record: &Record,
        message: &mut Vec<u8>,
    ) -> Option<Ended> {
        let key = record.producer.hyphenated().to_string();
        let mut slim = self.slim.contains(&(record.boot, record.seq));
        self.envelope(record, slim, message);
        loop {
            let opaque = self.window.push(record);
            let sent = producer.send(
                BaseRecord::with_opaque_to(&self.kafka.topic, opaque)
                    .key(key.as_bytes())
                    .payload(message.as_slice()),
            );
            let Err((error, _)) = sent else { return None };
            self.window.unpush();
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    self.window.wait(TICK);
                    self.commit();
                    if let Some(ended) = self.failure(producer) {
                        return Some(ended);
                    }
                    if self.stopping() {
                        return Some(Ended::Stopped);
                    }
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) if !slim => {
                    slim = true;
                    self.envelope(record, slim, message);
                }
                _ => {
                    tracing::error!(%error, "kafka does not take records; starting again at the cursor");
                    self.metrics.ship_failure("send");
                    return Some(Ended::Fatal);
                }
            }
        }
    }

    /// The Kafka message of a record.
    fn envelope(&self, record: &Record, slim: bool, message: &mut Vec<u8>) {
        message.clear();
        let at = Position { producer: record.producer, boot: record.boot, seq: record.seq };
        match &record.kind {
            Kind::Data if slim => {
                self.metrics.slimmed.inc();
                stamp(message, &at, RecordKind::Event, &without_bodies(&record.payload));
            }
            Kind::Data => stamp(message, &at, RecordKind::Event, &record.payload),
            Kind::Loss { first, last, reason, time } => {
                let time = jiff::Timestamp::try_from(*time).unwrap_or_default();
                let loss = Loss { first: *first, last: *last, reason: reason.as_str().into(), time };
                // Plain data always serialises.
                let json = serde_json::to_vec(&loss).unwrap_or_default();
                stamp(message, &at, RecordKind::Loss, &json);
            }
        }
    }

    fn commit(&self) {
        if let Some(mark) = self.window.take_done() {
            self.journal.commit(&mark);
        }
    }

    /// Looks at delivery reports and the producer's health.
    fn failure(&mut self, producer: &ThreadedProducer<Context>) -> Option<Ended> {
        if let Some((code, why)) = producer.client().fatal_error() {
            tracing::error!(?code, why, "kafka producer failed for good; making a new one");
            self.metrics.ship_failure("fatal");
            return Some(Ended::Fatal);
        }
        let (opaque, code) = self.window.failed()?;
        if code == RDKafkaErrorCode::MessageSizeTooLarge {
            let position = self.position_of(opaque);
            self.slim.extend(position);
            self.metrics.ship_failure("too_large");
        } else {
            tracing::warn!(%code, "a record was not delivered; starting again at the cursor");
            self.metrics.ship_failure("delivery");
        }
        Some(Ended::Failed)
    }

    fn position_of(&self, opaque: usize) -> Option<(u64, u64)> {
        let state = self.window.lock();
        state.entries.get(opaque.checked_sub(state.first)?).map(|e| e.at)
    }

    /// Waits for the reports of everything under way, so that nothing overtakes a rewind. False when
    /// they do not come in time.
    fn drained(&self) -> bool {
        let by = Instant::now() + DRAIN;
        while Instant::now() < by && !self.stopping() {
            if !self.window.lock().entries.iter().any(|e| e.report == Report::Open) {
                return true;
            }
            self.window.wait(TICK);
        }
        false
    }

    /// The last reports before the end.
    fn finish(&self, producer: &ThreadedProducer<Context>) {
        if let Err(error) = producer.flush(self.flush) {
            tracing::warn!(%error, "kafka did not take everything in time; the rest stays in the journal");
        }
        self.commit();
        if !self.window.is_empty() {
            tracing::info!("records left in the journal will be shipped at the next start");
        }
    }
}

/// An event too large for the broker, without its bodies; their digests and sizes stay.
fn without_bodies(payload: &[u8]) -> Vec<u8> {
    let Ok(mut event) = serde_json::from_slice::<AuditEvent<'_>>(payload) else { return payload.to_vec() };
    for message in [&mut event.request, &mut event.response] {
        if !message.body.is_empty() {
            message.body = "".into();
            message.body_state = "omitted:too_large".into();
        }
    }
    serde_json::to_vec(&event).unwrap_or_else(|_| payload.to_vec())
}
