//! What a batch holds: its rows as blocks of columns, one for each table and month, and of each record as
//! much as it takes to judge it.
//!
//! A row goes into its block as soon as it is read and is kept nowhere else. Blocks of several batches are
//! put together ([`Blocks::append`]) until they are worth an insert. Of the few batches that hold what is
//! stored already, the blocks are made anew before, from the records that are kept.

use crate::native::{Block, Misfit, Schema};
use crate::source::{Batch, Dead};
use crate::store::{Encoded, Store, StoreError};
use crate::transform::{self, EventRow, LossRow, Parsed};
use sidelog_event::Position;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Records read between two yields to other tasks.
const YIELD_EVERY: usize = 512;
const DAY: i64 = 86_400_000;

/// The records of a batch.
pub struct Contents<'a> {
    pub records: Vec<Record<'a>>,
    pub dead: Vec<(Dead<'a>, Option<Position>)>,
    /// Of events and open calls.
    pub blocks: Blocks,
}

/// A record that could be read.
pub struct Record<'a> {
    /// In the batch, from 0.
    pub number: usize,
    pub at: Position,
    /// Of its `ts` column.
    pub millis: i64,
    /// Few are; the others are rows of [`Contents::blocks`].
    pub loss: Option<Box<LossRow<'a>>>,
}

/// Rows by table and month.
pub struct Blocks {
    events: Months,
    open_calls: Months,
    calendar: Calendar,
}

/// Blocks of one table: an insert touches one partition only.
struct Months {
    table: &'static str,
    schema: Arc<Schema>,
    blocks: BTreeMap<u32, Block>,
}

/// Reads a batch, without keeping other tasks waiting. `keep`: only the records for which it is true.
pub async fn read<'a>(
    batch: &'a Batch,
    store: &Store,
    keep: Option<&[bool]>,
) -> Result<Contents<'a>, StoreError> {
    let mut blocks = Blocks::new(store).await?;
    let (mut records, mut dead) = (Vec::with_capacity(batch.len()), Vec::new());
    for (number, item) in batch.items().enumerate() {
        if number % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        if keep.is_some_and(|keep| keep.get(number) != Some(&true)) {
            continue;
        }
        match transform::parse(item.bytes, item.origin) {
            Ok(parsed) => {
                let (at, millis) = (parsed.position(), parsed.millis());
                let loss = blocks.take(parsed)?;
                records.push(Record { number, at, millis, loss });
            }
            Err(letter) => dead.push((Dead { item, reason: letter.reason }, letter.position)),
        }
    }
    blocks.events.check()?;
    blocks.open_calls.check()?;
    Ok(Contents { records, dead, blocks })
}

impl Blocks {
    async fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self {
            events: Months::new("events", store).await?,
            open_calls: Months::new("open_calls", store).await?,
            calendar: Calendar::default(),
        })
    }

    /// Adds a row; a loss is handed back.
    fn take<'a>(&mut self, parsed: Parsed<'a>) -> Result<Option<Box<LossRow<'a>>>, StoreError> {
        let (months, row) = match &parsed {
            Parsed::Event(row) => (&mut self.events, row),
            Parsed::OpenCall(row) => (&mut self.open_calls, row),
            Parsed::Loss(row) => return Ok(Some(Box::new(row.clone()))),
        };
        let month = self.calendar.month(row.ts);
        months.push(month, row).map_err(|misfit| StoreError::Schema(months.table, misfit))?;
        Ok(None)
    }

    pub fn rows(&self) -> usize {
        self.all().map(Block::rows).sum()
    }

    /// What they take in memory.
    pub fn byte_len(&self) -> usize {
        self.all().map(Block::byte_len).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Block> {
        self.events.blocks.values().chain(self.open_calls.blocks.values())
    }

    /// Whether the others' rows can be added to these: no longer when the tables were changed in between.
    pub fn are_like(&self, others: &Blocks) -> bool {
        self.events.are_like(&others.events) && self.open_calls.are_like(&others.open_calls)
    }

    /// Adds the others' rows, if they are alike.
    pub fn append(&mut self, others: Blocks) {
        self.events.append(others.events);
        self.open_calls.append(others.open_calls);
    }

    /// Ready to be sent, each with its month.
    pub fn finish(self) -> Vec<(u32, Encoded)> {
        let tables = [self.events, self.open_calls].into_iter();
        tables
            .flat_map(|months| {
                let done = move |(month, block)| (month, Encoded::of(months.table, block));
                months.blocks.into_iter().map(done)
            })
            .collect()
    }
}

impl Months {
    async fn new(table: &'static str, store: &Store) -> Result<Self, StoreError> {
        Ok(Self { table, schema: store.schema(table).await?, blocks: BTreeMap::new() })
    }

    fn push(&mut self, month: u32, row: &EventRow<'_>) -> Result<(), Misfit> {
        self.blocks.entry(month).or_insert_with(|| Block::new(&self.schema)).push(row)
    }

    fn check(&self) -> Result<(), StoreError> {
        let misfit = |misfit| StoreError::Schema(self.table, misfit);
        self.blocks.values().try_for_each(|block| block.check().map_err(misfit))
    }

    fn are_like(&self, others: &Self) -> bool {
        others
            .blocks
            .iter()
            .all(|(month, block)| self.blocks.get(month).is_none_or(|mine| mine.is_like(block)))
    }

    fn append(&mut self, others: Self) {
        for (month, block) in others.blocks {
            match self.blocks.entry(month) {
                Entry::Occupied(mine) => mine.into_mut().append(block),
                Entry::Vacant(place) => {
                    place.insert(block);
                }
            }
        }
    }
}

/// The table partition of a time: `toYYYYMM`.
pub fn month(millis: i64) -> u32 {
    let date =
        jiff::Timestamp::from_millisecond(millis).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    date.year().unsigned_abs() as u32 * 100 + date.month().unsigned_abs() as u32
}

/// [`month`] of many times of few days.
#[derive(Default)]
struct Calendar {
    /// The last day asked about, and its month.
    last: Option<(i64, u32)>,
}

impl Calendar {
    fn month(&mut self, millis: i64) -> u32 {
        let today = millis.div_euclid(DAY);
        match self.last {
            Some((day, month)) if day == today => month,
            _ => {
                let month = month(millis);
                self.last = Some((today, month));
                month
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_utc() {
        let mut calendar = Calendar::default();
        for (time, expected) in [
            ("1970-01-01T00:00:00Z", 197001),
            ("1970-01-31T23:59:59.999Z", 197001),
            ("1970-02-01T00:00:00Z", 197002),
            ("2026-10-31T00:00:00Z", 202610),
            ("2026-10-31T23:59:59.999Z", 202610),
            ("2026-11-01T00:00:00Z", 202611),
            ("2026-11-01T00:00:00.001Z", 202611),
            ("2024-02-29T12:00:00+14:00", 202402),
            ("2199-12-31T23:59:59.999Z", 219912),
        ] {
            let millis = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            assert_eq!(month(millis), expected, "{time}");
            assert_eq!(calendar.month(millis), expected, "{time}");
        }
    }
}
