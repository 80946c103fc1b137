//! The loop: fetch, read, drop what is stored, store the rest, commit.
//!
//! While a batch is being inserted, the next are read: at most [`Options::in_flight`] batches are on their
//! way to ClickHouse, as blocks ready to be sent again.
//!
//! Promises: a batch is committed only when all its rows and dead letters are safe, and those before it;
//! while ClickHouse is down, slow or read-only the same batches are tried again, for ever, and nothing
//! more is read. The tables are asked what they hold only while nothing is on its way to them: so what
//! is in flight is never taken for missing.

use crate::contents::{self, Blocks, Contents, Record, month};
use crate::dedup::{Bounds, Marks, Range, Verdict};
use crate::metrics::Metrics;
use crate::migrate;
use crate::ranges::RangeSet;
use crate::source::{Batch, Dead, Fetched, Lease, Source, SourceError};
use crate::store::{Encoded, Store, StoreError};
use crate::transform::LossRow;
use sidelog_event::Position;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// The tables are asked about this much more time than a batch spans, so that they are seldom asked.
const SLACK_MILLIS: i64 = 3_600_000;
/// The same in spans of the batch, where that is more: a backlog is read faster than it was written.
const SLACK_SPANS: i64 = 8;
/// Times that the tables are asked about for one batch, each with one question.
const MAX_STRETCHES: usize = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two looks at the holes.
const GAP_INTERVAL: Duration = Duration::from_secs(5);
/// Holes looked at in one go.
const GAPS_AT_ONCE: usize = 200;

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub bounds: Bounds,
    /// Batches being inserted at once, at least one.
    pub in_flight: usize,
    /// After the order to stop, how long the batch in work may still take.
    pub grace: Duration,
    /// Make or update the tables first.
    pub migrate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bounds: Bounds::default(), in_flight: 2, grace: Duration::from_secs(20), migrate: true }
    }
}

/// Runs until `shutdown` becomes true (or its sender is gone), or the source fails for good.
pub async fn run<S: Source>(
    mut source: S,
    store: Store,
    options: Options,
    metrics: Arc<Metrics>,
    shutdown: watch::Receiver<bool>,
) -> Result<(), SourceError> {
    let marks = Marks::new(options.bounds);
    let retry = Retry { metrics: Arc::clone(&metrics), shutdown: shutdown.clone(), grace: options.grace };
    let start = Instant::now();
    let mut pipeline = Pipeline {
        store,
        marks,
        metrics,
        retry,
        in_flight: VecDeque::new(),
        most_in_flight: options.in_flight.max(1),
        epoch: None,
        start,
        looked: start,
    };
    let result = pipeline.run(&mut source, options.migrate, shutdown).await;
    // What is under way gets its time; what is not stored then is read again.
    let _ = pipeline.land(&mut source, 0).await;
    source.close().await;
    result
}

/// Why a batch is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Its partitions are no longer ours.
    Abandoned,
    Shutdown,
}

struct Pipeline {
    store: Store,
    marks: Marks,
    metrics: Arc<Metrics>,
    retry: Retry,
    /// In the order they were fetched in.
    in_flight: VecDeque<Flight>,
    most_in_flight: usize,
    /// Of the batch that `marks` were learnt under.
    epoch: Option<u64>,
    start: Instant,
    /// Last look at the holes.
    looked: Instant,
}

/// A batch on its way to ClickHouse.
struct Flight {
    /// Without its records.
    batch: Batch,
    task: JoinHandle<Result<(), Stop>>,
}

/// What is to be stored of a batch, besides its blocks.
#[derive(Default)]
struct Picked<'a> {
    /// By month.
    losses: BTreeMap<u32, Vec<LossRow<'a>>>,
    dead: Vec<Dead<'a>>,
    /// Of each record whether it is new; None: all are.
    keep: Option<Vec<bool>>,
}

impl Pipeline {
    async fn run<S: Source>(
        &mut self,
        source: &mut S,
        migrate: bool,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), SourceError> {
        if migrate {
            let mut backoff = Backoff::default();
            while let Ok(None) = self.retry.attempt("migrate", migrate::migrate(&self.store)).await {
                if self.retry.pause(&mut backoff).await.is_err() {
                    return Ok(());
                }
            }
        }
        self.metrics.set_started();
        self.metrics.store_up.set(1);
        loop {
            let fetched = tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                fetched = source.fetch() => fetched?,
            };
            match fetched {
                Fetched::Batch(batch) => match self.take(source, batch).await {
                    Ok(()) => {}
                    Err(Stop::Abandoned) => self.abandon(),
                    Err(Stop::Shutdown) => return Ok(()),
                },
                Fetched::Idle if self.land(source, 0).await.is_err() => return Ok(()),
                Fetched::Idle => {}
            }
            if self.looked.elapsed() >= GAP_INTERVAL {
                self.looked = Instant::now();
                if self.land(source, 0).await.is_err() {
                    return Ok(());
                }
                if let Err(error) = self.look_at_holes().await {
                    tracing::warn!(%error, "cannot check gaps; trying again later");
                }
            }
        }
    }

    /// Waits until at most `left` batches are in flight, and commits the others. [`Stop::Shutdown`]: one
    /// was not stored, so nothing after it may be committed.
    async fn land<S: Source>(&mut self, source: &mut S, left: usize) -> Result<(), Stop> {
        while self.in_flight.len() > left {
            let Some(Flight { batch, task }) = self.in_flight.pop_front() else { break };
            let task = task.await;
            self.metrics.in_flight.set(self.in_flight.len() as i64);
            match task {
                Ok(Ok(())) => source.commit(&batch),
                Ok(Err(Stop::Abandoned)) => self.abandon(),
                Ok(Err(Stop::Shutdown)) => {
                    self.in_flight.drain(..).for_each(|flight| flight.task.abort());
                    return Err(Stop::Shutdown);
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(Stop::Shutdown),
            }
        }
        Ok(())
    }

    /// Some of a batch was noted as stored and is not.
    fn abandon(&mut self) {
        self.marks.clear();
        self.metrics.abandoned_batches.inc();
    }

    /// Reads a batch and sends it off.
    async fn take<S: Source>(&mut self, source: &mut S, mut batch: Batch) -> Result<(), Stop> {
        self.metrics.records.inc_by(batch.len() as u64);
        self.metrics.record_bytes.inc_by(batch.byte_len() as u64);
        let lease = source.lease(&batch);
        if self.epoch != Some(batch.epoch) {
            self.land(source, 0).await?;
            self.marks.clear();
            let mut backoff = Backoff::default();
            while self.retry.attempt("settle", self.store.settle()).await?.is_none() {
                still_ours(&lease)?;
                self.retry.pause(&mut backoff).await?;
            }
            self.epoch = Some(batch.epoch);
        }
        let contents = self.read(&batch, &lease).await?;
        if self.unknown(&contents).next().is_some() {
            self.land(source, 0).await?;
            self.learn(&contents, &lease).await?;
        }
        let Contents { records, dead, blocks } = contents;
        let picked = self.pick(&batch, records, dead);
        if !picked.dead.is_empty() {
            self.bury(source, &batch, &picked.dead, &lease).await?;
        }
        let blocks = self.encode(&batch, blocks, picked, &lease).await?;
        self.marks.trim();
        self.metrics.producers.set(self.marks.len() as i64);
        batch.drop_records();
        self.land(source, self.most_in_flight - 1).await?;
        let inserter = Inserter {
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            retry: self.retry.clone(),
        };
        let task = tokio::spawn(async move { inserter.insert(&blocks, &lease).await });
        self.in_flight.push_back(Flight { batch, task });
        self.metrics.in_flight.set(self.in_flight.len() as i64);
        Ok(())
    }

    /// Time and producer of the records that only the tables know.
    fn unknown(&self, contents: &Contents<'_>) -> impl Iterator<Item = (i64, Uuid)> {
        let read = contents.records.iter().map(|r| (r.at, r.millis));
        let dead = contents.dead.iter().filter_map(|(d, at)| Some((at.as_ref().copied()?, d.item.millis)));
        read.chain(dead)
            .filter(|(at, millis)| self.marks.judge(at, *millis) == Verdict::Unknown)
            .map(|(at, millis)| (millis, at.producer))
    }

    /// Asks the tables about what the marks do not know.
    async fn learn(&mut self, contents: &Contents<'_>, lease: &Lease) -> Result<(), Stop> {
        let mut unknown: Vec<(i64, Uuid)> = self.unknown(contents).collect();
        unknown.sort_unstable();
        for stretch in stretches(&unknown) {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let slack = SLACK_MILLIS.max(SLACK_SPANS * (last.0 - first.0));
            let span = ((first.0 - SLACK_MILLIS).max(0), last.0 + slack);
            let mut producers: Vec<Uuid> = stretch.iter().map(|(_, producer)| *producer).collect();
            producers.sort_unstable();
            producers.dedup();
            let mut backoff = Backoff::default();
            let answer = loop {
                match self.retry.attempt("load", self.store.stored(&producers, span, first.0)).await? {
                    Some(answer) => break answer,
                    None => self.retry.pause(&mut backoff).await?,
                }
                still_ours(lease)?;
            };
            self.marks.load(&answer, self.start.elapsed());
        }
        Ok(())
    }

    /// Reads a batch. When a row does not fit its table, that may have changed: it is asked again.
    async fn read<'b>(&self, batch: &'b Batch, lease: &Lease) -> Result<Contents<'b>, Stop> {
        let mut backoff = Backoff::default();
        loop {
            let read = contents::read(batch, &self.store, None);
            match self.retry.attempt("encode", read).await? {
                Some(contents) => return Ok(contents),
                None => self.misfit(&mut backoff, lease).await?,
            }
        }
    }

    /// Before another try at making blocks.
    async fn misfit(&self, backoff: &mut Backoff, lease: &Lease) -> Result<(), Stop> {
        self.store.forget_columns().await;
        self.retry.pause(backoff).await?;
        still_ours(lease)
    }

    /// Tells what is new, and notes it as stored.
    fn pick<'a>(
        &mut self,
        batch: &Batch,
        records: Vec<Record<'a>>,
        letters: Vec<(Dead<'a>, Option<Position>)>,
    ) -> Picked<'a> {
        let mut picked = Picked::default();
        let now = self.start.elapsed();
        let mut newest = 0;
        for Record { number, at, millis, loss } in records {
            if self.marks.judge(&at, millis) == Verdict::Duplicate {
                self.metrics.duplicates.inc();
                let keep = picked.keep.get_or_insert_with(|| vec![true; batch.len()]);
                if let Some(keep) = keep.get_mut(number) {
                    *keep = false;
                }
                continue;
            }
            if self.marks.accept(&at, millis, now) {
                self.metrics.late_records.inc();
            }
            newest = newest.max(millis);
            if let Some(row) = loss {
                self.metrics.lost(&row.reason, row.last - row.first + 1);
                let (first, last) = (row.first, row.last);
                self.marks.cover(&Range { producer: at.producer, boot: row.boot, first, last });
                picked.losses.entry(month(millis)).or_default().push(*row);
            }
        }
        for (letter, at) in letters {
            self.metrics.dead(letter.reason);
            picked.dead.push(letter);
            let Some(Position { producer, boot, seq }) = at else { continue };
            let range = Range { producer, boot, first: seq, last: seq };
            if self.marks.note_dead(&range) {
                let ts = letter.item.millis;
                let row = LossRow {
                    ts,
                    producer,
                    boot,
                    first: seq,
                    last: seq,
                    reason: "dead_letter".into(),
                    seq: 0,
                    told_boot: 0,
                };
                picked.losses.entry(month(ts)).or_default().push(row);
            }
        }
        if newest / 1000 > self.metrics.newest_event.get() {
            self.metrics.newest_event.set(newest / 1000);
        }
        picked
    }

    /// Makes blocks ready to be sent, one for each table and month, each with its token.
    async fn encode(
        &self,
        batch: &Batch,
        blocks: Blocks,
        picked: Picked<'_>,
        lease: &Lease,
    ) -> Result<Vec<(String, Encoded)>, Stop> {
        let keep = picked.keep.as_deref();
        let mut blocks = Some(blocks).filter(|_| keep.is_none());
        let mut backoff = Backoff::default();
        let mut done = loop {
            let ready = blocks.take();
            let work = async {
                let blocks = match ready {
                    Some(blocks) => blocks,
                    None => contents::read(batch, &self.store, keep).await?.blocks,
                };
                blocks.finish()
            };
            match self.retry.attempt("encode", work).await? {
                Some(done) => break done,
                None => self.misfit(&mut backoff, lease).await?,
            }
        };
        for (month, rows) in &picked.losses {
            done.push((*month, self.losses(rows, lease).await?));
        }
        let name = batch.name();
        Ok(done.into_iter().map(|(month, block)| (format!("{name}-{month}"), block)).collect())
    }

    async fn losses(&self, rows: &[LossRow<'_>], lease: &Lease) -> Result<Encoded, Stop> {
        let mut backoff = Backoff::default();
        loop {
            match self.retry.attempt("encode", self.store.encode("losses", rows)).await? {
                Some(block) => return Ok(block),
                None => self.misfit(&mut backoff, lease).await?,
            }
        }
    }

    /// Puts dead letters away; the batch is not committed before.
    async fn bury<S: Source>(
        &self,
        source: &mut S,
        batch: &Batch,
        dead: &[Dead<'_>],
        lease: &Lease,
    ) -> Result<(), Stop> {
        for letter in dead.iter().take(10) {
            let origin = letter.item.origin;
            tracing::warn!(
                reason = letter.reason.as_str(),
                topic = origin.topic,
                partition = origin.partition,
                offset = origin.offset,
                "a record cannot be read and becomes a dead letter"
            );
        }
        let mut backoff = Backoff::default();
        loop {
            match source.dead_letter(batch, dead).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::warn!(%error, count = dead.len(), "cannot put dead letters away; trying again")
                }
            }
            self.metrics.retry("dead_letter");
            self.retry.pause(&mut backoff).await?;
            still_ours(lease)?;
        }
    }

    /// Records holes that were neither filled nor explained in time.
    async fn look_at_holes(&mut self) -> Result<(), StoreError> {
        let due = self.marks.due(self.start.elapsed(), GAPS_AT_ONCE);
        if due.is_empty() {
            return Ok(());
        }
        let (anchored, open): (Vec<_>, Vec<_>) = due.into_iter().partition(|hole| hole.anchored);
        let inside = self.store.inside(&anchored).await?;
        let below = self.store.below(&open).await?;
        let mut missing: Vec<(Range, i64)> = Vec::new();
        for hole in &anchored {
            let Range { producer, boot, first, last } = hole.range;
            let mut stored = RangeSet::default();
            for (a, b) in inside.get(&(producer, boot)).into_iter().flat_map(RangeSet::iter) {
                stored.insert(a.max(first), b.min(last));
            }
            self.marks.found(hole, &stored);
            let rest = stored.missing(first, last).into_iter();
            missing.extend(rest.map(|(first, last)| (Range { first, last, ..hole.range }, hole.millis)));
        }
        for hole in &open {
            // What lies below the greatest number stored is history: someone saw to it in its time.
            let top = below.get(&(hole.range.producer, hole.range.boot)).copied().unwrap_or(0);
            let history = Range { last: top.min(hole.range.last), ..hole.range };
            self.marks.dismiss(&history);
            if top < hole.range.last {
                missing.push((Range { first: hole.range.first.max(top + 1), ..hole.range }, hole.millis));
            }
        }
        self.record_gaps(&missing).await
    }

    async fn record_gaps(&mut self, missing: &[(Range, i64)]) -> Result<(), StoreError> {
        let mut months: BTreeMap<u32, Vec<LossRow<'_>>> = BTreeMap::new();
        for (Range { producer, boot, first, last }, ts) in missing.iter().copied() {
            let row = LossRow { ts, producer, boot, first, last, reason: "gap".into(), seq: 0, told_boot: 0 };
            months.entry(month(ts)).or_default().push(row);
        }
        for (month, rows) in &months {
            let Some(LossRow { producer, boot, first, last, .. }) = rows.first() else { continue };
            // A gap is recorded once, so its first one names the list.
            let token = format!("gap-{producer}-{boot}-{first}..{last}-{}-{month}", rows.len());
            self.store.insert::<LossRow<'static>>("losses", &token, rows).await?;
            self.metrics.stored("losses", rows.len() as u64);
            for LossRow { producer, boot, first, last, .. } in rows {
                let (first, last) = (*first, *last);
                self.marks.cover(&Range { producer: *producer, boot: *boot, first, last });
                self.metrics.gaps.inc();
                self.metrics.gap_records.inc_by(last - first + 1);
                tracing::warn!(%producer, boot, first, last, "records never arrived and nothing explains it");
            }
        }
        Ok(())
    }
}

/// Stores the blocks of one batch, by itself.
struct Inserter {
    store: Store,
    metrics: Arc<Metrics>,
    retry: Retry,
}

/// Cuts what is sorted by time where nothing is for long, at most into [`MAX_STRETCHES`]: of a backlog of
/// months in no order, every record would be a question of its own.
fn stretches<T>(sorted: &[(i64, T)]) -> Vec<&[(i64, T)]> {
    let gap = |pair: &[(i64, T)]| match pair {
        [a, b] => b.0 - a.0,
        _ => 0,
    };
    let gaps = sorted.windows(2).map(gap).enumerate();
    let mut cuts: Vec<(i64, usize)> =
        gaps.map(|(at, gap)| (gap, at + 1)).filter(|c| c.0 > SLACK_MILLIS).collect();
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    cuts.truncate(MAX_STRETCHES - 1);
    cuts.sort_unstable_by_key(|(_, at)| *at);
    let (mut rest, mut done, mut stretches) = (sorted, 0, Vec::new());
    for (_, at) in cuts {
        let (stretch, after) = rest.split_at(at - done);
        stretches.push(stretch);
        (rest, done) = (after, at);
    }
    stretches.push(rest);
    stretches
}

impl Inserter {
    async fn insert(&self, blocks: &[(String, Encoded)], lease: &Lease) -> Result<(), Stop> {
        for (token, block) in blocks {
            let mut backoff = Backoff::default();
            loop {
                still_ours(lease)?;
                let start = Instant::now();
                if self.retry.attempt("insert", self.store.send(token, block)).await?.is_some() {
                    self.metrics.insert_seconds.observe(start.elapsed().as_secs_f64());
                    self.metrics.stored(block.table, block.rows as u64);
                    break;
                }
                self.retry.pause(&mut backoff).await?;
            }
        }
        Ok(())
    }
}

/// Another consumer may store the batch now: it must not be stored here as well.
fn still_ours(lease: &Lease) -> Result<(), Stop> {
    if lease.holds() { Ok(()) } else { Err(Stop::Abandoned) }
}

struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

/// Trying again: until it works, the batch is no longer ours, or time is up.
#[derive(Clone)]
struct Retry {
    metrics: Arc<Metrics>,
    shutdown: watch::Receiver<bool>,
    grace: Duration,
}

impl Retry {
    /// None: it failed and may be tried again.
    async fn attempt<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Option<T>, Stop> {
        let result = tokio::select! {
            biased;
            result = work => result,
            () = self.time_is_up() => return Err(Stop::Shutdown),
        };
        match result {
            Ok(value) => {
                self.metrics.store_up.set(1);
                Ok(Some(value))
            }
            Err(error) => {
                tracing::warn!(what, kind = error.kind(), %error, "ClickHouse refuses; trying again");
                self.metrics.retry(what);
                self.metrics.store_up.set(0);
                Ok(None)
            }
        }
    }

    async fn pause(&self, backoff: &mut Backoff) -> Result<(), Stop> {
        let mut shutdown = self.shutdown.clone();
        if *shutdown.borrow_and_update() {
            // It failed at least once since; the batch will be read again.
            return Err(Stop::Shutdown);
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.0) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
        backoff.0 = (backoff.0 * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    async fn time_is_up(&self) {
        let mut shutdown = self.shutdown.clone();
        let _ = shutdown.wait_for(|stop| *stop).await;
        tokio::time::sleep(self.grace).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_asks_few_questions_however_its_times_lie() {
        let lengths = |times: &[i64]| {
            let hours: Vec<(i64, ())> = times.iter().map(|hour| (hour * SLACK_MILLIS, ())).collect();
            stretches(&hours).iter().map(|stretch| stretch.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&[0]), [1]);
        assert_eq!(lengths(&[0, 1, 1, 2]), [4], "an hour apart");
        assert_eq!(lengths(&[0, 2, 3, 9]), [1, 2, 1]);
        // Twenty days, each with two records two hours apart; the longest of the gaps are kept.
        let days: Vec<i64> =
            (0..20).flat_map(|day| [24 * day + 100 * (day / 5), 24 * day + 100 * (day / 5) + 2]).collect();
        let cut = lengths(&days);
        assert_eq!((cut.len(), cut.iter().sum::<usize>()), (MAX_STRETCHES, 40));
        let beginnings: Vec<usize> = cut
            .iter()
            .scan(0, |at, len| {
                *at += len;
                Some(*at - len)
            })
            .collect();
        assert!([10, 20, 30].iter().all(|at| beginnings.contains(at)), "{beginnings:?}");
    }
}
