//! Journal → Kafka. One thread reads the journal, librdkafka sends, and the journal's cursor moves
//! over what the broker has acknowledged without a hole.
//!
//! Promises: nothing is skipped; in the topic, every record of a producer stands for the first time
//! after all before it (one key, one partition, idempotence, and a producer that introduces itself
//! with one record and ends at the first batch it cannot deliver); memory is bounded (librdkafka's queue; when it is full the journal is
//! not read). After a failure everything since the cursor is sent again; the consumer knows the
//! duplicates by their positions. A record larger than the broker takes is sent without its bodies
//! and, if that does not help, as the loss of itself: it never holds up the others.
//!
//! The parts: `window` (what is under way), `client` (librdkafka), `message` (records as messages).

mod client;
mod message;
#[cfg(test)]
mod tests;
mod window;

use crate::config;
use crate::metrics::Metrics;
pub use client::topic_partitions;
use client::{Client, Context};
use message::Form;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer};
use sidelog_journal::{Journal, Reader, Record};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use uuid::Uuid;
use window::{At, Window};

/// Records read from the journal at a time.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// How long to wait for news from the journal or from the broker before looking around.
const TICK: Duration = Duration::from_millis(100);
/// Pause before a new producer after one failed; twice as long each time until something is delivered.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// A broker forgets a producer after a while without records (a day, by default).
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The thread that ships. Dropping it without [`Shipper::stop`] leaves the rest for the next start.
pub struct Shipper {
    window: Arc<Window>,
    flush: Duration,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipper").field("flush", &self.flush).finish_non_exhaustive()
    }
}

impl Shipper {
    /// Checks the Kafka settings and starts shipping. The broker need not be there.
    pub fn start(
        journal: Arc<Journal>,
        kafka: config::Kafka,
        metrics: Arc<Metrics>,
        flush: Duration,
    ) -> Result<Shipper, KafkaError> {
        let window = Arc::new(Window::default());
        let batch_bytes = client::batch_bytes(&kafka);
        let mut run = Run {
            journal,
            kafka,
            metrics,
            window: window.clone(),
            forms: BTreeMap::new(),
            batch_bytes,
            known: None,
        };
        let producer = run.create()?;
        let thread = std::thread::Builder::new()
            .name("shipper".into())
            .spawn(move || run.ship(producer))
            .map_err(|_| KafkaError::ClientCreation("no thread for the shipper".into()))?;
        Ok(Shipper { window, flush, thread: Some(thread) })
    }

    /// Ships what is in the journal for at most the flush time given at the start, then returns.
    pub fn stop(mut self) {
        self.end(Instant::now() + self.flush);
    }

    fn end(&mut self, by: Instant) {
        if let Some(thread) = self.thread.take() {
            self.window.stop(by);
            // A panic in the shipper has been reported by the panic hook; nothing is lost by it.
            let _ = thread.join();
        }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

/// Why shipping from the cursor on came to an end.
enum Ended {
    Stopped,
    /// A delivery failed: a new producer starts again at the cursor.
    Failed,
}

struct Run {
    journal: Arc<Journal>,
    kafka: config::Kafka,
    metrics: Arc<Metrics>,
    window: Arc<Window>,
    /// Records after the cursor that are not sent whole.
    forms: BTreeMap<At, Form>,
    batch_bytes: usize,
    /// Whose records the broker knows the present producer by, and since when.
    known: Option<(Uuid, Instant)>,
}

impl Run {
    fn create(&self) -> Result<Client, KafkaError> {
        let context = Context::new(&self.window, &self.metrics);
        client::config(&self.kafka, self.batch_bytes).create_with_context(context)
    }

    fn ship(&mut self, mut producer: Client) {
        let mut reader = self.journal.reader();
        let mut pause = MIN_PAUSE;
        loop {
            let before = self.metrics.shipped.get();
            if let Ended::Stopped = self.attempt(&producer, &mut reader) {
                return self.finish(&producer);
            }
            // Purges the queue, so that nothing overtakes the rewind, and brings the last reports.
            drop(producer);
            self.known = None;
            let learned = self.learn();
            self.commit();
            self.window.clear();
            reader.rewind();
            let moved = learned || self.metrics.shipped.get() > before;
            pause = if moved { MIN_PAUSE } else { (2 * pause).min(MAX_PAUSE) };
            match self.recreate(pause) {
                Some(new) => producer = new,
                None => return,
            }
        }
    }

    /// A new producer after the pause, or `None` when told to stop.
    fn recreate(&self, pause: Duration) -> Option<Client> {
        loop {
            self.window.pause(pause);
            if self.window.stop_by().is_some() {
                return None;
            }
            match self.create() {
                Ok(new) => return Some(new),
                Err(error) => tracing::error!(%error, "no new kafka producer; trying again"),
            }
        }
    }

    /// Reads and sends until told to stop or until something fails.
    fn attempt(&mut self, producer: &Client, reader: &mut Reader) -> Ended {
        let (mut records, mut message) = (Vec::new(), Vec::new());
        loop {
            records.clear();
            reader.next(TICK, BATCH, BATCH_BYTES, &mut records);
            if self.window.overdue() || (records.is_empty() && self.window.stop_by().is_some()) {
                return Ended::Stopped;
            }
            for record in &records {
                if let Err(ended) = self.send(producer, record, &mut message) {
                    return ended;
                }
            }
            self.commit();
            if self.failed(producer) {
                return Ended::Failed;
            }
        }
    }

    /// Hands one record to librdkafka, waiting while its queue is full.
    fn send(&mut self, producer: &Client, record: &Record, message: &mut Vec<u8>) -> Result<(), Ended> {
        let mut key = Uuid::encode_buffer();
        let key = record.producer.hyphenated().encode_lower(&mut key).as_bytes();
        let at = (record.boot, record.seq);
        message::write(record, self.form(at), message);
        loop {
            let reports = self.window.reports();
            let Some(opaque) = self.window.push(record, message.len()) else {
                self.failed(producer);
                return Err(Ended::Failed);
            };
            let envelope =
                BaseRecord::with_opaque_to(&self.kafka.topic, opaque).key(key).payload(message.as_slice());
            let Err((error, _)) = producer.send(envelope) else { return self.introduce(producer, record) };
            self.window.unpush();
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    self.window.wait(reports, TICK);
                    self.commit();
                    if self.window.overdue() {
                        return Err(Ended::Stopped);
                    }
                }
                Some(RDKafkaErrorCode::MessageSizeTooLarge) if self.shrink(at) => {
                    message::write(record, self.form(at), message);
                }
                _ => {
                    tracing::warn!(%error, "kafka takes no records; starting again at the cursor");
                    self.metrics.ship_failure("send");
                    return Err(Ended::Failed);
                }
            }
        }
    }

    /// Waits for the report of the first record. A broker that does not know a producer takes batches of
    /// it from any number on: the second in flight would be stored although the first was refused. Of
    /// one it knows, it takes none after a refused one.
    fn introduce(&mut self, producer: &Client, record: &Record) -> Result<(), Ended> {
        let known = |(who, since): (Uuid, Instant)| who == record.producer && since.elapsed() < REMEMBERED;
        if self.known.is_some_and(known) {
            return Ok(());
        }
        loop {
            let reports = self.window.reports();
            self.commit();
            if self.failed(producer) {
                return Err(Ended::Failed);
            }
            if self.window.len() == 0 {
                self.known = Some((record.producer, Instant::now()));
                return Ok(());
            }
            if self.window.overdue() {
                return Err(Ended::Stopped);
            }
            self.window.wait(reports, TICK);
        }
    }

    fn form(&self, at: At) -> Form {
        self.forms.get(&at).copied().unwrap_or(Form::Whole)
    }

    /// Leaves more of a record out. False when there is nothing left to leave out.
    fn shrink(&mut self, at: At) -> bool {
        let smaller = match self.form(at) {
            Form::Whole => {
                self.metrics.slimmed.inc();
                Form::Slim
            }
            Form::Slim => {
                tracing::error!(boot = at.0, seq = at.1, "larger than kafka takes even without bodies");
                self.metrics.lose("record_too_large");
                Form::Gone
            }
            Form::Gone => return false,
        };
        self.forms.insert(at, smaller);
        true
    }

    fn commit(&mut self) {
        if let Some((at, mark)) = self.window.take_done() {
            self.journal.commit(&mark);
            self.known = self.known.map(|(who, _)| (who, Instant::now()));
            self.forms.retain(|pending, _| *pending > at);
        }
    }

    /// Whether a delivery failed or the producer is beyond repair; told and counted.
    fn failed(&self, producer: &Client) -> bool {
        if let Some(code) = self.window.failed() {
            tracing::warn!(%code, "records were not delivered; starting again at the cursor");
            self.metrics.ship_failure("delivery");
        } else if let Some((code, why)) = producer.client().fatal_error() {
            tracing::warn!(%code, why, "kafka producer failed; starting again at the cursor");
            self.metrics.ship_failure("fatal");
        } else {
            return false;
        }
        true
    }

    /// Draws the lesson from what the broker found too large. True if there was one.
    fn learn(&mut self) -> bool {
        let Some(refused) = self.window.too_large() else { return false };
        self.metrics.ship_failure("too_large");
        // librdkafka sends a record of that size alone; fewer may have been too many together.
        if refused.records > 1 && refused.bytes < self.batch_bytes {
            self.batch_bytes = (self.batch_bytes / 2).max(1);
            tracing::warn!(batch_bytes = self.batch_bytes, "the broker takes smaller batches only");
            return true;
        }
        self.shrink(refused.at)
    }

    /// The last reports before the end.
    fn finish(&mut self, producer: &Client) {
        let left =
            self.window.stop_by().map_or(Duration::ZERO, |by| by.saturating_duration_since(Instant::now()));
        if let Err(error) = producer.flush(left) {
            tracing::debug!(%error, "flush");
        }
        self.commit();
        let pending = self.window.len();
        if pending > 0 {
            tracing::warn!(pending, "kafka did not take everything in time; the rest stays in the journal");
        }
    }
}
