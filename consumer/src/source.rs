//! Where records come from: one trait, two implementations.
//!
//! A source hands over batches in order and is told when one is stored; what was handed over and not
//! committed comes again after a crash. Memory is bounded: a source holds at most two batches beyond
//! those in work.

pub mod journal;
pub mod kafka;

use crate::transform::{DeadReason, Origin};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// When a batch is handed over.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub rows: usize,
    pub bytes: usize,
    /// Since its first record was read.
    pub age: Duration,
}

impl Default for Limits {
    /// Three batches are in memory as they were read: one being filled, one that waits, one being read.
    fn default() -> Self {
        Self { rows: 50_000, bytes: 8 << 20, age: Duration::from_secs(1) }
    }
}

/// Records read together; their bytes lie in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    /// Kafka topic; empty for a journal.
    pub topic: String,
    /// Batches with another number were read under another assignment: what is known of stored
    /// records may be out of date, and an older number may no longer be committed.
    pub epoch: u64,
    bytes: Vec<u8>,
    messages: Vec<Message>,
    stretches: Vec<Stretch>,
    name: Option<String>,
    /// The source has more already: it ended for its size.
    pub more: bool,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    start: usize,
    end: usize,
    partition: i32,
    offset: i64,
    millis: i64,
}

/// What the batch holds of one partition: first and last offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub partition: i32,
    pub first: i64,
    pub last: i64,
}

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub bytes: &'a [u8],
    pub origin: Origin<'a>,
    /// When it was written to Kafka or the journal: the same each time it is read.
    pub millis: i64,
}

impl Batch {
    pub fn new(topic: impl Into<String>, epoch: u64) -> Self {
        Self { topic: topic.into(), epoch, ..Self::default() }
    }

    pub fn push(&mut self, payload: &[u8], partition: i32, offset: i64, millis: i64) {
        self.push_with(partition, offset, millis, |bytes| bytes.extend_from_slice(payload));
    }

    /// As [`Batch::push`]; `write` appends the record's bytes.
    pub fn push_with(&mut self, partition: i32, offset: i64, millis: i64, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.messages.push(Message { start, end: self.bytes.len(), partition, offset, millis });
        self.stretch(Stretch { partition, first: offset, last: offset });
    }

    fn stretch(&mut self, more: Stretch) {
        match self.stretches.iter_mut().find(|s| s.partition == more.partition) {
            Some(stretch) => stretch.last = more.last,
            None => self.stretches.push(more),
        }
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_full(&self, limits: &Limits) -> bool {
        self.len() >= limits.rows || self.byte_len() >= limits.bytes
    }

    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.messages.iter().map(|m| Item {
            bytes: self.bytes.get(m.start..m.end).unwrap_or_default(),
            origin: Origin { topic: &self.topic, partition: m.partition, offset: m.offset },
            millis: m.millis,
        })
    }

    /// Lets go of the records; name and places stay.
    pub fn drop_records(&mut self) {
        self.bytes = Vec::new();
        self.messages = Vec::new();
    }

    /// For a source whose places are not offsets of partitions.
    pub fn set_name(&mut self, name: String) {
        self.name = Some(name);
    }

    /// Names the content: the same records in the same batch give the same name, others another.
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut name = self.topic.clone();
        for Stretch { partition, first, last } in &self.stretches {
            let _ = write!(name, "-{partition}:{first}..{last}");
        }
        name
    }
}

/// Names the content of batches that follow one another, as [`Batch::name`] does.
pub fn name_all(batches: &[Batch]) -> String {
    if batches.iter().any(|batch| batch.name.is_some()) {
        return batches.iter().map(Batch::name).collect::<Vec<_>>().join("+");
    }
    let mut all = Batch::new(batches.first().map_or("", |batch| &batch.topic), 0);
    for stretch in batches.iter().flat_map(|batch| &batch.stretches) {
        all.stretch(*stretch);
    }
    all.name()
}

/// A record that could not be read, on its way to where such records go.
#[derive(Debug, Clone, Copy)]
pub struct Dead<'a> {
    pub item: Item<'a>,
    pub reason: DeadReason,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("Kafka: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    #[error("Kafka property {0} belongs to the consumer; remove it from kafka.properties")]
    Property(String),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

/// Tells, from any task, whether a batch is still ours to store.
#[derive(Clone)]
pub struct Lease(Arc<dyn Fn() -> bool + Send + Sync>);

impl Lease {
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    pub fn holds(&self) -> bool {
        (self.0)()
    }
}

/// What a fetch gives.
#[derive(Debug)]
pub enum Fetched {
    Batch(Batch),
    /// Nothing for now.
    Idle,
}

/// A stream of records that can be read again from what was last committed.
pub trait Source: Send {
    /// The next batch, or [`Fetched::Idle`] after a while. An error is final.
    fn fetch(&mut self) -> impl Future<Output = Result<Fetched, SourceError>> + Send;

    /// Everything up to and with this batch is stored. Batches are committed in the order they were
    /// fetched in, while later ones may be in work.
    fn commit(&mut self, batch: &Batch);

    /// Puts records away that cannot be read; returns when they are safe. May be called again with
    /// the same records.
    fn dead_letter(
        &mut self,
        batch: &Batch,
        dead: &[Dead<'_>],
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Whether the batch is still ours to store: no longer when its partitions were taken away.
    fn lease(&self, batch: &Batch) -> Lease;

    /// The last batch was committed and no more will be fetched.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_what_was_put_in_and_names_it() {
        let mut batch = Batch::new("audit.events", 3);
        batch.push(b"one", 0, 7, 100);
        batch.push(b"", 2, 1, 101);
        batch.push(b"three", 0, 9, 102);
        let items: Vec<_> =
            batch.items().map(|i| (i.bytes, i.origin.partition, i.origin.offset, i.millis)).collect();
        assert_eq!(items, [(&b"one"[..], 0, 7, 100), (b"", 2, 1, 101), (b"three", 0, 9, 102)]);
        assert_eq!(batch.name(), "audit.events-0:7..9-2:1..1");
        assert_eq!(batch.byte_len(), 8);
        batch.drop_records();
        assert_eq!((batch.len(), batch.name()), (0, "audit.events-0:7..9-2:1..1".to_owned()));
    }

    #[test]
    fn batches_put_together_are_named_by_all_of_their_content() {
        let batch = |records: &[(i32, i64)]| {
            let mut batch = Batch::new("t", 1);
            records.iter().for_each(|(partition, offset)| batch.push(b"x", *partition, *offset, 0));
            batch.drop_records();
            batch
        };
        let name =
            |batches: &[&[(i32, i64)]]| name_all(&batches.iter().map(|b| batch(b)).collect::<Vec<_>>());
        assert_eq!(name(&[&[(0, 7), (0, 8)]]), "t-0:7..8");
        assert_eq!(name(&[&[(0, 7)], &[(1, 3)], &[(0, 8), (2, 0)]]), "t-0:7..8-1:3..3-2:0..0");
        // The ends are the same, and what lies between is not.
        assert_ne!(
            name(&[&[(0, 7)], &[(1, 3)], &[(0, 8)]]),
            name(&[&[(0, 7)], &[(1, 3), (1, 4)], &[(0, 8)]])
        );
        let named = |name: &str| {
            let mut batch = Batch::new("", 0);
            batch.set_name(name.to_owned());
            batch
        };
        assert_eq!(
            name_all(&[named("journal-p-1:1..1:9"), named("journal-p-1:10..2:4")]),
            "journal-p-1:1..1:9+journal-p-1:10..2:4"
        );
    }

    #[test]
    fn a_batch_is_full_by_rows_or_bytes() {
        let mut batch = Batch::new("audit.events", 3);
        [&b"one"[..], b"", b"three"].iter().for_each(|record| batch.push(record, 0, 7, 100));
        assert!(batch.is_full(&Limits { rows: 3, ..Limits::default() }));
        assert!(batch.is_full(&Limits { bytes: 8, ..Limits::default() }));
        assert!(!batch.is_full(&Limits { rows: 4, bytes: 9, ..Limits::default() }));
    }
}
