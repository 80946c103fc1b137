//! The records handed to librdkafka and not yet acknowledged without a hole, in the journal's order;
//! and the wish to stop, since everything that waits waits here.
//!
//! Promises: the cursor moves over nothing that is not acknowledged; once a delivery has failed, no
//! further record enters, so that none overtakes the rewind. Bounded by librdkafka's queue: each
//! record holds a place there until it is reported.

use rdkafka::error::RDKafkaErrorCode;
use sidelog_journal::{Mark, Record};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Boot and sequence number: knows a record again after a rewind, and sorts as the journal does.
pub(super) type At = (u64, u64);

#[derive(Default)]
pub(super) struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Opaque of the first entry. Opaques are never used again, not even by the next producer.
    first: usize,
    entries: VecDeque<Entry>,
    /// The last record up to which all are acknowledged, if that moved since it was last taken.
    done: Option<(At, Mark)>,
    /// The first failure reported since the last rewind.
    failed: Option<RDKafkaErrorCode>,
    /// Counts reports, so that none between a look and a wait is missed.
    reports: u64,
    stop_by: Option<Instant>,
}

struct Entry {
    mark: Mark,
    at: At,
    /// Of the message.
    bytes: usize,
    report: Option<Result<(), RDKafkaErrorCode>>,
}

/// What the broker found too large in one attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// The first of them.
    pub at: At,
    pub bytes: usize,
    /// How many; they may have been refused together, as one batch.
    pub records: usize,
}

impl Window {
    /// Delivery reports may run on librdkafka's poll thread and on ours during a flush.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a record that is about to be sent and says its opaque; `None` after a failure.
    pub fn push(&self, record: &Record, bytes: usize) -> Option<usize> {
        let mut state = self.lock();
        if state.failed.is_some() {
            return None;
        }
        let at = (record.boot, record.seq);
        state.entries.push_back(Entry { mark: record.mark, at, bytes, report: None });
        Some(state.first + state.entries.len() - 1)
    }

    /// Takes back the last push, which librdkafka did not accept.
    pub fn unpush(&self) {
        self.lock().entries.pop_back();
    }

    pub fn report(&self, opaque: usize, result: Result<(), RDKafkaErrorCode>) {
        let mut state = self.lock();
        let state = &mut *state;
        // Reports of before a rewind are late news.
        let Some(entry) = opaque.checked_sub(state.first).and_then(|i| state.entries.get_mut(i)) else {
            return;
        };
        entry.report = Some(result);
        state.failed = state.failed.or(result.err());
        while state.entries.front().is_some_and(|e| e.report == Some(Ok(()))) {
            state.done = state.entries.pop_front().map(|e| (e.at, e.mark));
            state.first += 1;
        }
        state.reports += 1;
        self.changed.notify_all();
    }

    pub fn take_done(&self) -> Option<(At, Mark)> {
        self.lock().done.take()
    }

    pub fn failed(&self) -> Option<RDKafkaErrorCode> {
        self.lock().failed
    }

    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub fn too_large(&self) -> Option<TooLarge> {
        let state = self.lock();
        let refused = Some(Err(RDKafkaErrorCode::MessageSizeTooLarge));
        let mut all = state.entries.iter().filter(|e| e.report == refused);
        let first = all.next()?;
        Some(TooLarge { at: first.at, bytes: first.bytes, records: 1 + all.count() })
    }

    /// Forgets what was under way; its reports will be ignored.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.first += state.entries.len();
        state.entries.clear();
        state.failed = None;
    }

    /// For [`Window::wait`].
    pub fn reports(&self) -> u64 {
        self.lock().reports
    }

    /// Waits for a report after `seen` of them.
    pub fn wait(&self, seen: u64, at_most: Duration) {
        let state = self.lock();
        // The state says why it ended; whoever waited looks at it.
        let _ = self.changed.wait_timeout_while(state, at_most, |s| s.reports == seen);
    }

    /// Waits, but no longer than until told to stop.
    pub fn pause(&self, at_most: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, at_most, |s| s.stop_by.is_none());
    }

    /// Asks for an end, at the latest then.
    pub fn stop(&self, by: Instant) {
        self.lock().stop_by = Some(by);
        self.changed.notify_all();
    }

    /// When to have ended, once told to stop.
    pub fn stop_by(&self) -> Option<Instant> {
        self.lock().stop_by
    }

    /// Told to stop, and the time given for it is over.
    pub fn overdue(&self) -> bool {
        self.stop_by().is_some_and(|by| Instant::now() >= by)
    }
}
