//! Records from a journal in the same process (standalone: no Kafka in between).

use super::{Batch, Dead, Fetched, Lease, Limits, Source, SourceError};
use crate::store::Store;
use clickhouse::Row;
use serde::{Serialize, Serializer};
use sidelog_event::{Loss, Position, RecordKind, stamp};
use sidelog_journal::{Journal, Kind, Mark, Reader, Record};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A fetch that finds nothing returns after this.
const IDLE: Duration = Duration::from_millis(500);

/// Reads a journal from what was last committed to it.
pub struct JournalSource {
    journal: Arc<Journal>,
    /// Away while a thread waits for records with it.
    reader: Option<Reader>,
    store: Store,
    limits: Limits,
    /// The ends of the batches in work.
    in_work: VecDeque<Mark>,
}

impl JournalSource {
    /// Dead letters go to the table `dead_letters` of `store`.
    pub fn new(journal: Arc<Journal>, store: Store, limits: Limits) -> Self {
        let reader = Some(journal.reader());
        Self { journal, reader, store, limits, in_work: VecDeque::new() }
    }
}

#[derive(Debug, Row, Serialize)]
struct DeadRow<'a> {
    reason: &'static str,
    origin: &'a str,
    #[serde(serialize_with = "bytes")]
    payload: &'a [u8],
}

fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Waits for a first record, then fills up to the limits; whether the time was not needed for that.
fn gather(reader: &mut Reader, limits: &Limits) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    reader.next(IDLE, limits.rows, limits.bytes, &mut records);
    let until = Instant::now() + limits.age;
    let mut bytes: usize = records.iter().map(|r| r.payload.len()).sum();
    while !records.is_empty() && records.len() < limits.rows && bytes < limits.bytes {
        let left = until.saturating_duration_since(Instant::now());
        let before = records.len();
        reader.next(left, limits.rows - before, limits.bytes - bytes, &mut records);
        if records.len() == before {
            break;
        }
        bytes += records.iter().skip(before).map(|r| r.payload.len()).sum::<usize>();
    }
    (records, Instant::now() < until)
}

/// The records as envelopes, and the place after the last; None if there are none.
fn batch(records: &[Record]) -> Option<(Batch, Mark)> {
    let (first, last) = (records.first()?, records.last()?);
    let mut batch = Batch::new("", 0);
    batch.set_name(format!(
        "journal-{}-{}:{}..{}:{}",
        first.producer, first.boot, first.seq, last.boot, last.seq
    ));
    for record in records {
        let at = Position { producer: record.producer, boot: record.boot, seq: record.seq };
        let since = record.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(0);
        batch.push_with(-1, -1, millis, |out| match &record.kind {
            Kind::Data | Kind::Open => stamp(out, &at, RecordKind::Event, &record.payload),
            Kind::Loss { boot, first, last, reason, time } => {
                let time = jiff::Timestamp::try_from(*time).unwrap_or_default();
                let boot = (*boot != record.boot).then_some(*boot);
                let loss = Loss { boot, first: *first, last: *last, reason: reason.as_str().into(), time };
                // Numbers, a word and a time always serialise.
                let json = serde_json::to_vec(&loss).unwrap_or_default();
                stamp(out, &at, RecordKind::Loss, &json);
            }
        });
    }
    Some((batch, last.mark))
}

impl Source for JournalSource {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        // Absent only if an earlier fetch was dropped half-way: begin again at what was committed.
        let mut reader = self.reader.take().unwrap_or_else(|| self.journal.reader());
        let limits = self.limits;
        let gathered = tokio::task::spawn_blocking(move || {
            let (records, more) = gather(&mut reader, &limits);
            let mut batch = batch(&records);
            if let Some((batch, _)) = &mut batch {
                batch.more = more;
            }
            (reader, batch)
        });
        let (reader, batch) =
            gathered.await.map_err(|e| SourceError::Other(format!("reading the journal: {e}")))?;
        self.reader = Some(reader);
        Ok(match batch {
            Some((batch, end)) => {
                self.in_work.push_back(end);
                Fetched::Batch(batch)
            }
            None => Fetched::Idle,
        })
    }

    fn commit(&mut self, _: &Batch) {
        if let Some(end) = self.in_work.pop_front() {
            self.journal.commit(&end);
        }
    }

    async fn dead_letter(&mut self, batch: &Batch, dead: &[Dead<'_>]) -> Result<(), SourceError> {
        let origin = batch.name();
        let rows: Vec<_> = dead
            .iter()
            .map(|d| DeadRow { reason: d.reason.as_str(), origin: &origin, payload: d.item.bytes })
            .collect();
        Ok(self.store.insert::<DeadRow<'static>>("dead_letters", &origin, &rows).await?)
    }

    /// One process has the journal open, and nobody else reads it.
    fn lease(&self, _: &Batch) -> Lease {
        Lease::new(|| true)
    }

    async fn close(&mut self) {}
}
