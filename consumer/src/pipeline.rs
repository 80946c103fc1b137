//! The loop: fetch, read, drop what is stored, store the rest, commit.
//!
//! The source's batches are small, inserts are large: rows are put together until they reach
//! [`Options::insert`] or the source has no more for now, because merging what came in small pieces costs
//! ClickHouse more than taking it. While some are being inserted, the next are read: at most [`Options::in_flight`] inserts
//! are on their way, as blocks ready to be sent again.
//!
//! Promises: a batch is committed only when all its rows and dead letters are safe, and those before it;
//! while ClickHouse is down, slow or read-only the same inserts are tried again, for ever, and nothing
//! more is read. The tables are asked what they hold only while nothing is on its way to them: so what
//! is in flight is never taken for missing.

use crate::contents::{self, Blocks, Contents, Record, month};
use crate::dedup::{Bounds, Hole, Marks, Range, Verdict};
use crate::metrics::Metrics;
use crate::migrate;
use crate::ranges::RangeSet;
use crate::source::{self, Batch, Dead, Fetched, Lease, Limits, Source, SourceError};
use crate::store::{Encoded, Store, StoreError};
use crate::transform::LossRow;
use sidelog_event::Position;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

/// The tables are asked about this much more time than a batch spans, so that they are seldom asked.
const SLACK_MILLIS: i64 = 3_600_000;
/// The same in spans of the batch, where that is more: a backlog is read faster than it was written, and
/// whoever asks must wait for all inserts. About as many rows as 128 batches hold are in the answer at most.
const SLACK_SPANS: i64 = 128;
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
    /// When rows are sent off, unless the source has no more before. `bytes`: in memory, as columns.
    pub insert: Limits,
    /// Inserts under way at once, at least one.
    pub in_flight: usize,
    /// After the order to stop, how long the batch in work may still take.
    pub grace: Duration,
    /// Make or update the tables first.
    pub migrate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            insert: Limits { rows: 100_000, bytes: 48 << 20, age: Duration::from_secs(1) },
            in_flight: 2,
            grace: Duration::from_secs(20),
            migrate: true,
        }
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
        pending: None,
        in_flight: VecDeque::new(),
        options,
        epoch: None,
        start,
        looked: start,
    };
    let result = pipeline.run(&mut source, shutdown).await;
    // What is under way gets its time; what is not stored then is read again.
    let _ = pipeline.land_all(&mut source).await;
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
    options: Options,
    /// Rows that wait for more.
    pending: Option<Pending>,
    /// In the order their batches were fetched in.
    in_flight: VecDeque<Flight>,
    /// Of the batch that `marks` were learnt under.
    epoch: Option<u64>,
    start: Instant,
    /// Last look at the holes.
    looked: Instant,
}

/// Batches whose rows go into ClickHouse together.
struct Pending {
    /// Without their records; never empty, all of one epoch.
    batches: Vec<Batch>,
    blocks: Blocks,
    /// Rows of the table of losses, each list with its token.
    losses: Vec<(String, Encoded)>,
    /// Of the records' positions: a topic that was made anew has the same offsets for others.
    hasher: DefaultHasher,
    lease: Lease,
    since: Instant,
}

impl Pending {
    /// Whether there is no point in waiting, or no time.
    fn is_due(&self, limits: &Limits) -> bool {
        self.batches.last().is_none_or(|batch| !batch.more)
            || self.blocks.rows() >= limits.rows
            || self.blocks.byte_len() >= limits.bytes
            || self.since.elapsed() >= limits.age
    }

    /// Adds what is alike.
    fn append(&mut self, more: Pending) {
        self.batches.extend(more.batches);
        self.blocks.append(more.blocks);
        self.losses.extend(more.losses);
        more.hasher.finish().hash(&mut self.hasher);
    }

    /// What is sent, with tokens that name the content.
    fn finish(self) -> (Vec<Batch>, Vec<(String, Encoded)>) {
        let name = format!("{}-{:016x}", source::name_all(&self.batches), self.hasher.finish());
        let blocks = self.blocks.finish().into_iter();
        let blocks = blocks.map(|(month, block)| (format!("{name}-{month}"), block));
        (self.batches, blocks.chain(self.losses).collect())
    }
}

/// Batches on their way to ClickHouse.
struct Flight {
    batches: Vec<Batch>,
    task: JoinHandle<Result<(), Stop>>,
}

/// What is to be stored of a batch, besides its blocks.
#[derive(Default)]
struct Picked<'a> {
    /// By month.
    losses: BTreeMap<u32, Vec<LossRow<'a>>>,
    dead: Vec<Dead<'a>>,
    /// Of the positions of what is new.
    hasher: DefaultHasher,
    /// Of each record whether it is new; None: all are.
    keep: Option<Vec<bool>>,
}

impl Pipeline {
    async fn run<S: Source>(
        &mut self,
        source: &mut S,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), SourceError> {
        if self.options.migrate {
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
                Fetched::Idle if self.land_all(source).await.is_err() => return Ok(()),
                Fetched::Idle => {}
            }
            if self.looked.elapsed() >= GAP_INTERVAL {
                self.looked = Instant::now();
                if self.due_holes().is_empty() {
                    continue;
                }
                if self.land_all(source).await.is_err() {
                    return Ok(());
                }
                if let Err(error) = self.look_at_holes().await {
                    tracing::warn!(%error, "cannot check gaps; trying again later");
                }
            }
        }
    }

    /// Sends off what is pending and waits until nothing is in flight.
    async fn land_all<S: Source>(&mut self, source: &mut S) -> Result<(), Stop> {
        self.send_off(source).await?;
        self.land(source, 0).await
    }

    /// Waits until at most `left` inserts are in flight, and commits the others. [`Stop::Shutdown`]: one
    /// was not stored, so nothing after it may be committed.
    async fn land<S: Source>(&mut self, source: &mut S, left: usize) -> Result<(), Stop> {
        while self.in_flight.len() > left {
            let Some(Flight { batches, task }) = self.in_flight.pop_front() else { break };
            let task = task.await;
            self.metrics.in_flight.set(self.in_flight.len() as i64);
            match task {
                Ok(Ok(())) => batches.iter().for_each(|batch| source.commit(batch)),
                Ok(Err(Stop::Abandoned)) => self.abandon(),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Ok(Err(Stop::Shutdown)) | Err(_) => {
                    self.pending = None;
                    self.in_flight.drain(..).for_each(|flight| flight.task.abort());
                    return Err(Stop::Shutdown);
                }
            }
        }
        Ok(())
    }

    /// Some of a batch was noted as stored and is not.
    fn abandon(&mut self) {
        self.marks.clear();
        self.metrics.abandoned_batches.inc();
    }

    /// Reads a batch, and sends it off with those before it if that is worth an insert.
    async fn take<S: Source>(&mut self, source: &mut S, mut batch: Batch) -> Result<(), Stop> {
        self.metrics.records.inc_by(batch.len() as u64);
        self.metrics.record_bytes.inc_by(batch.byte_len() as u64);
        let lease = source.lease(&batch);
        if self.epoch != Some(batch.epoch) {
            self.land_all(source).await?;
            self.marks.clear();
            let mut backoff = Backoff::default();
            while self.retry.attempt("settle", self.store.settle()).await?.is_none() {
                still_ours(&lease)?;
                self.retry.pause(&mut backoff).await?;
            }
            self.epoch = Some(batch.epoch);
        }
        let contents = self.read(&batch, None, &lease).await?;
        if self.times(&contents).any(|(_, unknown)| unknown.is_some()) {
            self.land_all(source).await?;
            self.learn(&contents, &lease).await?;
        }
        let Contents { records, dead, blocks } = contents;
        let Picked { losses, dead, hasher, keep } = self.pick(&batch, records, dead);
        if !dead.is_empty() {
            self.bury(source, &batch, &dead, &lease).await?;
        }
        let losses =
            self.losses(&format!("{}-{:016x}", batch.name(), hasher.finish()), &losses, &lease).await?;
        let blocks = match keep {
            Some(keep) => self.read(&batch, Some(&keep), &lease).await?.blocks,
            None => blocks,
        };
        self.marks.trim();
        self.metrics.producers.set(self.marks.len() as i64);
        batch.drop_records();
        let batches = vec![batch];
        let pending = Pending { batches, blocks, losses, hasher, lease, since: Instant::now() };
        self.gather(source, pending).await
    }

    /// Adds a batch to those that are pending, and sends them off if they are worth an insert.
    async fn gather<S: Source>(&mut self, source: &mut S, more: Pending) -> Result<(), Stop> {
        if self.pending.as_ref().is_some_and(|pending| !pending.blocks.are_like(&more.blocks)) {
            self.send_off(source).await?;
        }
        match &mut self.pending {
            Some(pending) => pending.append(more),
            none => *none = Some(more),
        }
        match &self.pending {
            Some(pending) if pending.is_due(&self.options.insert) => self.send_off(source).await,
            _ => Ok(()),
        }
    }

    /// Sends what is pending on its way, as soon as there is room.
    async fn send_off<S: Source>(&mut self, source: &mut S) -> Result<(), Stop> {
        if self.pending.is_none() {
            return Ok(());
        }
        self.land(source, self.options.in_flight.max(1) - 1).await?;
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let lease = pending.lease.clone();
        let (batches, blocks) = pending.finish();
        let inserter = Inserter {
            store: self.store.clone(),
            metrics: Arc::clone(&self.metrics),
            retry: self.retry.clone(),
        };
        let task = tokio::spawn(async move { inserter.insert(&blocks, &lease).await });
        self.in_flight.push_back(Flight { batches, task });
        self.metrics.in_flight.set(self.in_flight.len() as i64);
        Ok(())
    }

    /// Times of the records, with the producer of those that only the tables know.
    fn times(&self, contents: &Contents<'_>) -> impl Iterator<Item = (i64, Option<Uuid>)> {
        let read = contents.records.iter().map(|r| (r.at, r.millis));
        let dead = contents.dead.iter().filter_map(|(d, at)| Some((at.as_ref().copied()?, d.item.millis)));
        read.chain(dead).map(|(at, millis)| {
            let unknown = self.marks.judge(&at, millis) == Verdict::Unknown;
            (millis, unknown.then_some(at.producer))
        })
    }

    /// Asks the tables about what the marks do not know.
    async fn learn(&mut self, contents: &Contents<'_>, lease: &Lease) -> Result<(), Stop> {
        let mut times: Vec<(i64, Option<Uuid>)> = self.times(contents).collect();
        times.sort_unstable();
        for stretch in stretches(&times) {
            let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
            let slack = SLACK_MILLIS.max(SLACK_SPANS * (last.0 - first.0));
            let span = ((first.0 - SLACK_MILLIS).max(0), last.0 + slack);
            let mut producers: Vec<Uuid> = stretch.iter().filter_map(|(_, unknown)| *unknown).collect();
            producers.sort_unstable();
            producers.dedup();
            if producers.is_empty() {
                continue;
            }
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
    /// `keep`: only the records for which it is true.
    async fn read<'b>(
        &self,
        batch: &'b Batch,
        keep: Option<&[bool]>,
        lease: &Lease,
    ) -> Result<Contents<'b>, Stop> {
        let mut backoff = Backoff::default();
        loop {
            let read = contents::read(batch, &self.store, keep);
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
            (at.producer, at.boot, at.seq).hash(&mut picked.hasher);
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
            (producer, boot, seq).hash(&mut picked.hasher);
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

    /// Makes losses ready to be sent, each month with its token.
    async fn losses(
        &self,
        name: &str,
        months: &BTreeMap<u32, Vec<LossRow<'_>>>,
        lease: &Lease,
    ) -> Result<Vec<(String, Encoded)>, Stop> {
        let mut done = Vec::new();
        let mut backoff = Backoff::default();
        for (month, rows) in months {
            let block = loop {
                match self.retry.attempt("encode", self.store.encode("losses", rows)).await? {
                    Some(block) => break block,
                    None => self.misfit(&mut backoff, lease).await?,
                }
            };
            done.push((format!("{name}-{month}"), block));
        }
        Ok(done)
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

    fn due_holes(&self) -> Vec<Hole> {
        self.marks.due(self.start.elapsed(), GAPS_AT_ONCE)
    }

    /// Records holes that were neither filled nor explained in time.
    async fn look_at_holes(&mut self) -> Result<(), StoreError> {
        let due = self.due_holes();
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
