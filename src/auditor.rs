//! What every call needs and shares: the rules, the journal, the metrics. Starts them and tells how
//! they are.

use crate::config::{self, Config, OnFull, Problem};
use crate::extract::Peer;
use crate::jwks;
use crate::metrics::Metrics;
use crate::pseudonym::Pseudonyms;
use crate::redact::{RawBody, Redacted, SchemaMarks, StoredEvent};
use crate::refusals::{self, Rate};
use crate::relay::Refusal;
use crate::reload::Standing;
use crate::rules::{Documents, Rules};
use crate::tls;
use arc_swap::{ArcSwap, Guard};
use sidelog_event::{AuditEvent, MatchKind, Outcome, Stage};
use sidelog_journal::{
    ClaimError, Disk, Journal, Missing, OpenError, Opened, Options, RealDisk, Recovery, Refused, Slot,
    Storable,
};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Why the sidecar cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for {what}: {source}")]
    Listen { what: &'static str, address: String, source: io::Error },
    #[error("upstream host `{host}` cannot be resolved: {why}")]
    Upstream { host: String, why: String },
    #[error("TLS: {0}")]
    Tls(#[from] tls::Error),
    #[error("journal: {0}")]
    Journal(#[from] OpenError),
    #[error("pseudonym key {path}: {source}")]
    Key { path: String, source: io::Error },
    #[error("kafka settings: {0}")]
    Kafka(String),
    #[error("{0}")]
    Rules(Box<Problem>),
}

/// Room for an intent in the open-call table. A longer one is cut to its essentials.
const SLOT_BYTES: u32 = 2048;
/// Characters that its texts are cut to, one after the other, until it fits.
const SHORTER: [usize; 2] = [120, 24];
/// The file in the journal directory that holds a key made by ourselves.
const KEY_FILE: &str = "pseudonym.key";

thread_local! {
    /// Serialised events, one at a time.
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a test puts in the place of the real thing.
#[derive(Debug, Clone)]
pub struct Faults {
    pub disk: Arc<dyn Disk>,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { disk: Arc::new(RealDisk) }
    }
}

pub struct Auditor {
    service: String,
    rules: ArcSwap<Rules>,
    standing: Standing,
    pseudonyms: Pseudonyms,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    on_full: OnFull,
    sync_timeout: Duration,
    /// Calls open for longer are told of; zero: none.
    started_after: Duration,
    refusals: Rate,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Auditor {
    /// Opens the journal, loads the documents, and records the calls that were open when the last
    /// life ended.
    pub fn start(config: &Config) -> Result<Auditor, StartError> {
        Auditor::start_with(config, &Faults::default())
    }

    /// The same on a disk that may fail as a test wishes.
    pub fn start_with(config: &Config, faults: &Faults) -> Result<Auditor, StartError> {
        let (opened, documents) = open_and_read(config, faults);
        let Opened { journal, orphans, recovery } = opened?;
        report(&recovery);
        let pseudonyms = Pseudonyms::new(&pseudonym_key(config)?);
        let (rules, problems) =
            Rules::with(config, documents, &pseudonyms).map_err(|p| StartError::Rules(Box::new(p)))?;
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        for line in rules.specs.summary() {
            tracing::info!("{line}");
        }
        let metrics = Arc::new(Metrics::default());
        jwks::watch(&rules.extractor, &metrics);
        let auditor = Auditor {
            service: config.service.clone(),
            standing: Standing::new(config, &rules),
            rules: ArcSwap::from_pointee(rules),
            pseudonyms,
            journal,
            metrics,
            on_full: config.journal.on_full,
            sync_timeout: config.journal.sync_timeout,
            started_after: config.audit.started_after,
            refusals: Rate::new(config.audit.refusals_per_second),
        };
        let stale = auditor.standing.is_stale();
        auditor.standing.tried(&problems, stale, &[]);
        auditor.metrics.reload_success.set(i64::from(!stale));
        for orphan in &orphans {
            auditor.record_orphan(&orphan.bytes);
        }
        for missing in &recovery.missing {
            auditor.record_missing(missing);
        }
        auditor.journal.recovered();
        Ok(auditor)
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// The rules in force. A call takes them once, at its begin, and keeps them to its end.
    pub fn rules(&self) -> Guard<Arc<Rules>> {
        self.rules.load()
    }

    /// Puts new rules in force for the calls that begin from now on.
    pub fn replace_rules(&self, rules: Rules) {
        rules.extractor.adopt_keys(&self.rules().extractor);
        jwks::watch(&rules.extractor, &self.metrics);
        self.rules.store(Arc::new(rules));
    }

    /// What is in force since when, and what is not.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    pub fn pseudonyms(&self) -> &Pseudonyms {
        &self.pseudonyms
    }

    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn on_full(&self) -> OnFull {
        self.on_full
    }

    /// Puts an intent into the open-call table. `None` when there is no room; traffic goes on.
    pub fn claim(&self, mut intent: Redacted<AuditEvent<'_>>) -> Option<Slot> {
        let slot = JSON.with_borrow_mut(|json| {
            let mut claimed = self.try_claim(&intent, json);
            for max in SHORTER {
                let Some(Err(ClaimError::TooLong { .. })) = claimed else { break };
                intent.shorten(max);
                claimed = self.try_claim(&intent, json);
            }
            claimed.and_then(Result::ok)
        });
        if slot.is_none() {
            self.metrics.intents_skipped.inc();
        }
        slot
    }

    /// `None` when the event cannot be written as JSON, which plain data always can.
    fn try_claim(
        &self,
        intent: &Redacted<AuditEvent<'_>>,
        json: &mut Vec<u8>,
    ) -> Option<Result<Slot, ClaimError>> {
        intent.store(json).ok().map(|stored| self.journal.claim(&stored))
    }

    /// Appends the intent of a call that is about to be made; `None`: there is no room.
    pub fn record_intent(&self, intent: Redacted<AuditEvent<'_>>) -> Option<u64> {
        self.store(intent, |journal, stored| journal.append_intent(stored)).ok()
    }

    /// Appends the intent of a call that will be open for long.
    pub fn record_open(&self, intent: Redacted<AuditEvent<'_>>) {
        if let Err(reason) = self.store(intent, |journal, stored| journal.append_open(stored)) {
            self.metrics.lose(reason);
        }
    }

    pub fn tells_open_calls(&self) -> bool {
        !self.started_after.is_zero()
    }

    /// How often [`Auditor::tell_open_calls`] is worth a look.
    pub fn look_for_open_calls(&self) -> Duration {
        (self.started_after / 4).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Appends the intents of calls that have been open for long, each once. Their ids say since when.
    /// It reads files: not for the threads that serve calls.
    pub fn tell_open_calls(&self) -> usize {
        let Some(before) = SystemTime::now().checked_sub(self.started_after) else { return 0 };
        let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let due = |id: Uuid| {
            id.get_timestamp().is_some_and(|began| {
                let (seconds, nanos) = began.to_unix();
                Duration::new(seconds, nanos) <= before
            })
        };
        self.journal.append_open_calls(due)
    }

    /// Resolves when the record is on the disk, or to an error when it is known not to get there, or
    /// not to get there in time.
    pub fn durable(&self, seq: u64) -> impl Future<Output = Result<(), ()>> + Send + use<> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.journal.when_durable(seq, move |result| {
            // Nobody waits any more: the time was over.
            let _ = tell.send(result);
        });
        let within = self.sync_timeout;
        async move {
            match tokio::time::timeout(within, told).await {
                Ok(Ok(Ok(()))) => Ok(()),
                _ => Err(()),
            }
        }
    }

    /// Appends an event to the journal, without its bodies if it would be too large. One that does not
    /// fit is counted, and a later loss record names it.
    pub fn record(&self, event: Redacted<AuditEvent<'_>>) {
        let (redactions, matched) = (event.redactions.count, event.operation.matched);
        if let Err(reason) = self.store(event, |journal, stored| journal.append(stored)) {
            return self.metrics.lose(reason);
        }
        self.metrics.events.inc();
        self.metrics.redactions.inc_by(u64::from(redactions));
        match matched {
            MatchKind::Ambiguous => _ = self.metrics.ambiguous.inc(),
            MatchKind::Unmatched => _ = self.metrics.unmatched.inc(),
            MatchKind::Matched | MatchKind::MethodNotInSpec => {}
        }
    }

    /// Counts a refused request, and records it as long as there are not too many.
    pub fn refuse(&self, peer: &Peer, refusal: Refusal, received: &[u8]) {
        self.count_refusal(peer, refusal);
        // What has no room is not made known by filling it.
        if refusal.reason == "journal_full" {
            return;
        }
        if !self.refusals.admit() {
            self.metrics.refusals_unrecorded.inc();
            return;
        }
        let event = refusals::event(&self.service, peer, refusal, received);
        let none = || RawBody { complete: true, ..RawBody::default() };
        let rules = self.rules();
        let mut redacted = rules.redactor.redact(event, none(), none(), &SchemaMarks::default());
        redacted.tell(None);
        self.record(redacted);
    }

    /// Counts a refusal of which the call's own event tells.
    pub fn count_refusal(&self, peer: &Peer, refusal: Refusal) {
        let Refusal { status, reason } = refusal;
        self.metrics.refuse(reason);
        tracing::debug!(peer = peer.address(), status, reason, "request refused");
    }

    /// Appends in one of the journal's ways; the error is why it was not kept.
    fn store(
        &self,
        mut event: Redacted<AuditEvent<'_>>,
        append: impl FnOnce(&Journal, &StoredEvent<'_>) -> Result<u64, Refused>,
    ) -> Result<u64, &'static str> {
        JSON.with_borrow_mut(|json| {
            let mut stored = event.store(json);
            if stored.as_ref().is_ok_and(|s| s.bytes().len() > self.journal.max_record()) {
                self.metrics.slimmed.inc();
                event.drop_bodies();
                stored = event.store(json);
            }
            let stored = stored.map_err(|_| "unserialisable")?;
            append(&self.journal, &stored).map_err(|refused| refused.reason.as_str())
        })
    }

    /// The call of an intent left by a life that ended by force: what became of it is not known.
    fn record_orphan(&self, intent: &[u8]) {
        let Ok(mut event) = serde_json::from_slice::<AuditEvent<'_>>(intent) else {
            tracing::error!("an open call's intent cannot be read; the call is lost");
            self.metrics.lose("corrupt");
            return;
        };
        event.stage = Stage::Orphaned;
        event.outcome = Outcome::Unknown;
        event.error = Some("sidecar_killed".into());
        let mut redacted = self.rules().redactor.recover(event);
        redacted.tell(None);
        self.record(redacted);
        self.metrics.orphaned.inc();
    }

    /// Records of earlier lives that cannot be read any more become a loss that the store shows. A
    /// record speaks for its own producer only; what another one lost is in the log file alone.
    fn record_missing(&self, missing: &Missing) {
        if missing.producer == self.journal.producer() && self.journal.append_loss(missing).is_ok() {
            let lost = missing.last.saturating_sub(missing.first).saturating_add(1);
            self.metrics.lose_many(missing.reason.as_str(), lost);
        }
    }

    /// The text of `/metrics`.
    pub fn scrape(&self) -> String {
        let stats = self.journal.stats();
        let as_gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.journal_bytes.set(as_gauge(stats.disk_bytes));
        self.metrics.journal_pending.set(as_gauge(stats.pending));
        self.metrics.journal_sync_failures.set(as_gauge(stats.sync_failures));
        self.metrics.journal_reopened.set(as_gauge(stats.reopened));
        self.metrics.journal_io_errors.set(as_gauge(stats.io_errors));
        self.metrics.journal_corrupt.set(as_gauge(stats.corrupt_regions));
        self.metrics.encode()
    }
}

/// The disk is waited for while the documents are read, on a thread of their own if there can be one.
fn open_and_read(config: &Config, faults: &Faults) -> (Result<Opened, OpenError>, Documents) {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("documents".into());
        let reader = reader.spawn_scoped(scope, || Documents::read(config));
        let opened = open(config, faults);
        let documents = reader.map_or_else(
            |_| Documents::read(config),
            |reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        );
        (opened, documents)
    })
}

fn open(config: &Config, faults: &Faults) -> Result<Opened, OpenError> {
    Journal::open(Options {
        max_bytes: config.journal.max_bytes,
        max_open_calls: config.journal.max_open_calls,
        slot_bytes: SLOT_BYTES,
        disk: faults.disk.clone(),
        ..Options::new(&config.journal.dir)
    })
}

fn report(recovery: &Recovery) {
    tracing::info!(segments = recovery.segments, pending = recovery.pending, "journal opened");
    if recovery.corrupt_regions > 0 {
        tracing::error!(
            regions = recovery.corrupt_regions,
            bytes = recovery.corrupt_bytes,
            "the journal was damaged; what could not be read is in its quarantine directory"
        );
    }
    for missing in &recovery.missing {
        tracing::error!(
            producer = %missing.producer, boot = missing.boot, first = missing.first, last = missing.last,
            reason = missing.reason.as_str(), "records are missing from the journal"
        );
    }
    if recovery.cloned {
        tracing::warn!("this journal is a copy: it has become a producer of its own");
    }
}

/// The configured key, or one made at the first start and kept beside the journal.
fn pseudonym_key(config: &Config) -> Result<Vec<u8>, StartError> {
    let failed = |path: &Path, source| StartError::Key { path: path.display().to_string(), source };
    if let Some(path) = &config.redact.pseudonym_key_file {
        return config::read_pseudonym_key(path).map_err(|why| failed(path, io::Error::other(why)));
    }
    let path = config.journal.dir.join(KEY_FILE);
    match config::read_pseudonym_key(&path) {
        Ok(key) => return Ok(key),
        Err(_) if !path.exists() => {}
        Err(why) => tracing::error!(
            path = %path.display(), why,
            "the pseudonym key cannot be used; fingerprints and digests of before can no longer be compared"
        ),
    }
    make_key(&path).map_err(|e| failed(&path, e))
}

/// Whole or not at all: half a key would be a key that nobody else has.
fn make_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let text: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests;
