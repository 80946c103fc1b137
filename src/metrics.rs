//! Every metric of the sidecar, by name. Nothing else names a metric.
//!
//! Label values come from closed sets only (`&'static str`), so cardinality is bounded by the code.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why something was refused, lost or failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    pub reason: &'static str,
}

/// How something went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempt {
    pub result: &'static str,
}

/// The media type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal),+ $(,)?) => {
        /// Counters and gauges, shared by all threads. A field's comment is its help text.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind,)+
        }
        impl Metrics {
            fn registry(&self) -> Registry {
                let mut registry = Registry::default();
                $(registry.register($name, concat!($($help),+).trim(), self.$field.clone());)+
                registry
            }
            /// Every metric's name as scraped, for the reference documentation and its test.
            pub const NAMES: &'static [(&'static str, &'static str)] = &[$(($name, concat!($($help),+))),+];
        }
    };
}

metrics! {
    /// Client connections accepted.
    connections: Counter = "sidelog_connections",
    /// Client connections open now.
    connections_open: Gauge = "sidelog_connections_open",
    /// Client connections that speak HTTP/2; they carry many requests at once.
    http2_connections: Counter = "sidelog_http2_connections",
    /// Requests with a head that could be read, forwarded or not.
    requests: Counter = "sidelog_requests",
    /// Requests refused, by reason; nothing of them reached the service, or not to the end.
    refused: Family<Reason, Counter> = "sidelog_refused",
    /// Refused requests that were only counted: more came than audit.refusals_per_second.
    refusals_unrecorded: Counter = "sidelog_unrecorded_refusals",
    /// Connections to the service that failed.
    upstream_connect_failures: Counter = "sidelog_upstream_connect_failures",
    /// HTTP/2 connections ended because the service does not speak HTTP/2.
    upstream_not_http2: Counter = "sidelog_upstream_not_http2",
    /// Audit events written to the journal.
    events: Counter = "sidelog_events",
    /// Events of calls that matched no operation.
    unmatched: Counter = "sidelog_unmatched_events",
    /// Events of calls that fit several operations equally.
    ambiguous: Counter = "sidelog_ambiguous_events",
    /// Events recovered for calls during which the sidecar died.
    orphaned: Counter = "sidelog_orphaned_events",
    /// Events that could not be kept, by reason; each is named by a later loss record.
    lost: Family<Reason, Counter> = "sidelog_lost_events",
    /// Calls forwarded without an intent on disk because the open-call table was full.
    intents_skipped: Counter = "sidelog_intents_skipped",
    /// Strict calls forwarded before what is kept of their body was on the disk, but for their last bytes, by reason.
    strict_streamed: Family<Reason, Counter> = "sidelog_strict_streamed",
    /// Bodies longer than capture.max_body.
    bodies_truncated: Counter = "sidelog_truncated_bodies",
    /// Events with a body longer than capture.max_decoded once its Content-Encoding is removed.
    bodies_oversized: Counter = "sidelog_oversized_decoded_bodies",
    /// Values masked before storage.
    redactions: Counter = "sidelog_redactions",
    /// Audited calls open now.
    open_calls: Gauge = "sidelog_open_calls",
    /// Key documents (JWKS) fetched or read, changed or not.
    jwks_fetches: Counter = "sidelog_jwks_fetches",
    /// Key documents that could not be fetched, read or used, by reason; the last good keys stay.
    jwks_failures: Family<Reason, Counter> = "sidelog_jwks_failures",
    /// Bytes the journal uses on disk.
    journal_bytes: Gauge = "sidelog_journal_bytes",
    /// Records in the journal not yet delivered.
    journal_pending: Gauge = "sidelog_journal_pending_records",
    /// Journal syncs to disk that failed.
    journal_sync_failures: Gauge = "sidelog_journal_sync_failures",
    /// Times the journal's files were found removed or cut short, and made again.
    journal_reopened: Gauge = "sidelog_journal_reopened",
    /// Attempts to make, name or remove a file of the journal that failed.
    journal_io_errors: Gauge = "sidelog_journal_io_errors",
    /// Damaged regions found in the journal.
    journal_corrupt: Gauge = "sidelog_journal_corrupt_regions",
    /// Records acknowledged by Kafka.
    shipped: Counter = "sidelog_shipped_records",
    /// Deliveries to Kafka that failed and are tried again, by reason.
    ship_failures: Family<Reason, Counter> = "sidelog_ship_failures",
    /// Certificates replaced because their files changed.
    tls_reloads: Counter = "sidelog_tls_reloads",
    /// Changed certificate files that could not be used.
    tls_reload_failures: Counter = "sidelog_tls_reload_failures",
    /// Events too large for the journal or for Kafka, kept without their bodies.
    slimmed: Counter = "sidelog_slimmed_records",
    /// Attempts to put changed configuration and documents in force, by result.
    reloads: Family<Attempt, Counter> = "sidelog_reload",
    /// Whether all of the configuration and the documents on disk is in force, but for what needs a restart.
    reload_success: Gauge = "sidelog_config_last_reload_success",
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }

    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    pub fn stream(&self, reason: &'static str) {
        self.strict_streamed.get_or_create(&Reason { reason }).inc();
    }

    pub fn lose(&self, reason: &'static str) {
        self.lose_many(reason, 1);
    }

    pub fn lose_many(&self, reason: &'static str, events: u64) {
        self.lost.get_or_create(&Reason { reason }).inc_by(events);
    }

    pub fn reload(&self, result: &'static str) {
        self.reloads.get_or_create(&Attempt { result }).inc();
    }

    pub fn jwks_failure(&self, reason: &'static str) {
        self.jwks_failures.get_or_create(&Reason { reason }).inc();
    }

    pub fn ship_failure(&self, reason: &'static str) {
        self.ship_failures.get_or_create(&Reason { reason }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_encoded_under_their_names() {
        let metrics = Metrics::default();
        // A family has no line before its first label.
        metrics.refuse("bare_lf");
        metrics.lose("full");
        metrics.stream("patience");
        metrics.ship_failure("delivery");
        metrics.reload("failure");
        metrics.jwks_failure("connect");
        metrics.events.inc();
        let text = metrics.encode();
        assert!(text.contains("sidelog_refused_total{reason=\"bare_lf\"} 1"), "{text}");
        assert!(text.contains("sidelog_events_total 1"), "{text}");
        for (name, _) in Metrics::NAMES {
            assert!(text.contains(name), "{name}");
        }
    }
}
