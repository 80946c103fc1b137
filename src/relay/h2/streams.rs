//! The streams of one connection: those that are open, what is still known of some that are not, and
//! how fast a client throws them away.

use super::Limits;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

/// One open stream and the call on it.
#[derive(Debug)]
pub struct Stream<C> {
    /// Until its end is told. `None` also for promised streams that cannot be read.
    pub call: Option<C>,
    /// The client has ended its side.
    pub request_end: bool,
    pub response_end: bool,
    /// The final response head has been read.
    pub answered: bool,
    /// Extended CONNECT: a 2xx makes it a tunnel.
    pub tunnel: bool,
    /// What is still to come of an announced length.
    pub left: Option<u64>,
    /// The end of the request must not pass before a commit.
    pub gated: bool,
}

impl<C> Stream<C> {
    pub fn new() -> Self {
        Stream {
            call: None,
            request_end: false,
            response_end: false,
            answered: false,
            tunnel: false,
            left: None,
            gated: false,
        }
    }
}

/// Why a stream of which frames still arrive is no longer open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// By us: neither side may see frames of it any more.
    Refused,
    /// By the service: what the client had already sent still counts for flow control.
    Reset,
}

/// How many fates are remembered. Frames of a stream refused longer ago are an error, as RFC 9113
/// §5.1 allows.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
pub struct Streams<C> {
    open: HashMap<u32, Stream<C>, BuildHasherDefault<IdHasher>>,
    gone: VecDeque<(u32, Fate)>,
}

impl<C> Default for Streams<C> {
    fn default() -> Self {
        Streams { open: HashMap::default(), gone: VecDeque::new() }
    }
}

impl<C> Streams<C> {
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut Stream<C>> {
        self.open.get_mut(&id)
    }

    pub fn insert(&mut self, id: u32, stream: Stream<C>) {
        self.open.insert(id, stream);
    }

    pub fn remove(&mut self, id: u32) -> Option<Stream<C>> {
        self.open.remove(&id)
    }

    /// Takes out the client's streams after `last`.
    pub fn after(&mut self, last: u32) -> Vec<(u32, Stream<C>)> {
        self.open.extract_if(|id, _| id % 2 == 1 && *id > last).collect()
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Stream<C>> + '_ {
        self.open.drain().map(|(_, stream)| stream)
    }

    pub fn remember(&mut self, id: u32, fate: Fate) {
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        self.gone.push_back((id, fate));
    }

    /// Most connections never refuse or reset anything: then this costs nothing.
    pub fn fate(&self, id: u32) -> Option<Fate> {
        self.gone.iter().rev().find(|(gone, _)| *gone == id).map(|(_, fate)| *fate)
    }
}

/// Stream identifiers rise by two and are not chosen freely: one multiplication spreads them.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32(u32::from(*b)));
    }
    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// How many seconds' worth of resets may come at once.
const BURST: u32 = 10;

/// A token bucket for abandoned and refused streams: opening and dropping them costs a client
/// nothing, us an event and the service a call (CVE-2023-44487).
#[derive(Debug)]
pub struct Storm {
    rate: u32,
    tokens: f64,
    since: Instant,
}

impl Storm {
    pub fn new(limits: Limits) -> Self {
        Storm { rate: limits.max_resets, tokens: f64::from(limits.max_resets * BURST), since: Instant::now() }
    }

    /// Counts one. False: too many.
    #[must_use]
    pub fn allows(&mut self, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let earned = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(self.rate);
        self.since = now;
        self.tokens = (self.tokens + earned).min(f64::from(self.rate * BURST)) - 1.0;
        self.tokens >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_storm_is_told_from_a_busy_client() {
        let limits = Limits { max_resets: 5, ..Limits::default() };
        let now = Instant::now();
        let mut storm = Storm::new(limits);
        assert!((0..50).all(|_| storm.allows(now)), "ten seconds' worth at once");
        assert!(!storm.allows(now));
        let mut storm = Storm::new(limits);
        assert!((0..1000).all(|n| storm.allows(now + Duration::from_millis(200 * n))), "five a second");
        let mut storm = Storm::new(Limits { max_resets: 0, ..limits });
        assert!((0..10_000).all(|_| storm.allows(now)), "no limit");
    }

    #[test]
    fn fates_are_remembered_for_a_while() {
        let mut streams = Streams::<()>::default();
        streams.remember(1, Fate::Refused);
        streams.remember(3, Fate::Reset);
        assert_eq!(
            (streams.fate(1), streams.fate(3), streams.fate(5)),
            (Some(Fate::Refused), Some(Fate::Reset), None)
        );
        (0..REMEMBERED as u32).for_each(|n| streams.remember(5 + 2 * n, Fate::Reset));
        assert_eq!((streams.fate(1), streams.gone.len()), (None, REMEMBERED));
    }
}
