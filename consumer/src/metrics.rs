//! Every metric of the consumer: names, labels and what they mean live here only.

use crate::transform::DeadReason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Table {
    pub table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    pub reason: &'static str,
}

/// Reasons that producers give for a loss; any other word counts as `other`.
const LOSS_REASONS: [&str; 4] = ["journal_full", "record_too_large", "io_error", "corrupt"];

/// The instruments, and the health told by `/readyz`.
#[derive(Debug)]
pub struct Metrics {
    pub records: Counter,
    pub record_bytes: Counter,
    pub rows: Family<Table, Counter>,
    pub duplicates: Counter,
    pub dead_letters: Family<Reason, Counter>,
    pub lost_records: Family<Reason, Counter>,
    pub gaps: Counter,
    pub gap_records: Counter,
    pub late_records: Counter,
    pub insert_seconds: Histogram,
    pub retries: Family<Reason, Counter>,
    pub abandoned_batches: Counter,
    pub assignments: Counter,
    pub commit_errors: Counter,
    pub in_flight: Gauge,
    pub producers: Gauge,
    pub newest_event: Gauge,
    pub lag: Gauge,
    pub store_up: Gauge,
    pub source_up: Gauge,
    started: AtomicBool,
}

impl Metrics {
    /// Makes the instruments and puts them into `registry` (as `sidelog_consumer_…`).
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            records: Counter::default(),
            record_bytes: Counter::default(),
            rows: Family::default(),
            duplicates: Counter::default(),
            dead_letters: Family::default(),
            lost_records: Family::default(),
            gaps: Counter::default(),
            gap_records: Counter::default(),
            late_records: Counter::default(),
            insert_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            retries: Family::default(),
            abandoned_batches: Counter::default(),
            assignments: Counter::default(),
            commit_errors: Counter::default(),
            in_flight: Gauge::default(),
            producers: Gauge::default(),
            newest_event: Gauge::default(),
            lag: Gauge::default(),
            store_up: Gauge::default(),
            source_up: Gauge::default(),
            started: AtomicBool::new(false),
        };
        metrics.describe(registry.sub_registry_with_prefix("sidelog_consumer"));
        // Present from the start, so that a rate over them is never "no data".
        for reason in DeadReason::ALL {
            let _ = metrics.dead_letters.get_or_create(&Reason { reason: reason.as_str() });
        }
        for reason in LOSS_REASONS {
            let _ = metrics.lost_records.get_or_create(&Reason { reason });
        }
        metrics
    }

    fn describe(&self, r: &mut Registry) {
        r.register("records", "Records read from the source", self.records.clone());
        r.register_with_unit("records", "Their size", Unit::Bytes, self.record_bytes.clone());
        r.register("rows", "Rows stored", self.rows.clone());
        r.register("duplicates", "Records dropped because they are stored already", self.duplicates.clone());
        r.register("dead_letters", "Records that cannot be read", self.dead_letters.clone());
        r.register("lost_records", "Records that producers say they lost", self.lost_records.clone());
        r.register("gaps", "Ranges of records that never came and that nothing explains", self.gaps.clone());
        r.register("gap_records", "Records in those ranges", self.gap_records.clone());
        r.register(
            "late_records",
            "Records stored after they had been counted as lost or missing",
            self.late_records.clone(),
        );
        r.register_with_unit(
            "insert",
            "Time of one successful insert",
            Unit::Seconds,
            self.insert_seconds.clone(),
        );
        r.register("retries", "Operations that failed and are tried again", self.retries.clone());
        r.register(
            "abandoned_batches",
            "Batches given up because their partitions went to another consumer",
            self.abandoned_batches.clone(),
        );
        r.register(
            "assignments",
            "Times that partitions were assigned or taken away",
            self.assignments.clone(),
        );
        r.register("commit_errors", "Commits that Kafka refused", self.commit_errors.clone());
        r.register("batches_in_flight", "Inserts on their way to ClickHouse", self.in_flight.clone());
        r.register("producers", "Producers remembered", self.producers.clone());
        r.register(
            "newest_event_timestamp_seconds",
            "Time of the newest event stored, seconds since 1970",
            self.newest_event.clone(),
        );
        r.register("lag_records", "Records in Kafka that are not read yet", self.lag.clone());
        r.register("store_up", "1 while ClickHouse takes what it is given", self.store_up.clone());
        r.register("source_up", "1 while records can be read", self.source_up.clone());
    }

    pub fn dead(&self, reason: DeadReason) {
        self.dead_letters.get_or_create(&Reason { reason: reason.as_str() }).inc();
    }

    pub fn stored(&self, table: &'static str, rows: u64) {
        self.rows.get_or_create(&Table { table }).inc_by(rows);
    }

    /// A loss told by a producer; `reason` is the producer's word.
    pub fn lost(&self, reason: &str, records: u64) {
        let reason = LOSS_REASONS.iter().find(|r| **r == reason).copied().unwrap_or("other");
        self.lost_records.get_or_create(&Reason { reason }).inc_by(records);
    }

    pub fn retry(&self, reason: &'static str) {
        self.retries.get_or_create(&Reason { reason }).inc();
    }

    /// The tables are there and the source was opened.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether records flow, or would if there were any.
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Relaxed) && self.store_up.get() == 1 && self.source_up.get() == 1
    }

    /// What [`Metrics::is_ready`] still lacks, as a sentence.
    pub fn waiting_for(&self) -> String {
        let store = (self.store_up.get() != 1).then_some("ClickHouse");
        let source = (self.source_up.get() != 1).then_some("the source");
        let missing: Vec<_> = store.into_iter().chain(source).collect();
        format!("waiting for {}\n", missing.join(" and "))
    }
}
