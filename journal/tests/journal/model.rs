//! Random histories against a model that keeps everything in memory.

use crate::support::*;
use proptest::prelude::*;
use sidelog_journal::{Journal, Kind, Reader, Record, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Claim,
    /// Finishes the oldest open call, properly.
    Finish,
    Read(usize),
    /// Commits the n-th of what was read since the last commit.
    Commit(usize),
    Rewind,
    Settle,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0usize..2500).prop_map(Step::Append),
        4 => Just(Step::Claim),
        4 => Just(Step::Finish),
        8 => (1usize..20).prop_map(Step::Read),
        6 => (0usize..20).prop_map(Step::Commit),
        1 => Just(Step::Rewind),
        3 => Just(Step::Settle),
        2 => Just(Step::Reopen),
    ]
}

/// (boot, seq): the order of the log.
type Place = (u64, u64);

struct World {
    journal: Arc<Journal>,
    reader: Reader,
    /// Everything accepted, by place: the payload's number.
    kept: BTreeMap<Place, u64>,
    lost: BTreeSet<Place>,
    /// Named by loss records that were read.
    named: BTreeSet<Place>,
    seen: BTreeSet<Place>,
    committed: Place,
    position: Place,
    since_commit: Vec<Record>,
    open: Vec<(u64, Slot)>,
    next: u64,
}

impl World {
    fn new(dir: &Path) -> World {
        let journal = open(dir).journal;
        let reader = journal.reader();
        World {
            journal,
            reader,
            kept: BTreeMap::new(),
            lost: BTreeSet::new(),
            named: BTreeSet::new(),
            seen: BTreeSet::new(),
            committed: (0, 0),
            position: (0, 0),
            since_commit: Vec::new(),
            open: Vec::new(),
            next: 0,
        }
    }

    fn append(&mut self, n: u64, len: usize) {
        match append(&self.journal, n, len) {
            Ok(seq) => {
                assert!(self.kept.insert((self.journal.boot(), seq), n).is_none());
            }
            Err(refused) => {
                self.lost.insert((self.journal.boot(), refused.seq));
            }
        }
    }

    fn read(&mut self, max: usize) {
        let mut out = Vec::new();
        self.reader.next(Duration::ZERO, max, usize::MAX, &mut out);
        for record in &out {
            let place = (record.boot, record.seq);
            assert!(place > self.position, "order: {place:?} after {:?}", self.position);
            // Nothing that was kept is skipped.
            let skipped: Vec<_> = self
                .kept
                .range((std::ops::Bound::Excluded(self.position), std::ops::Bound::Excluded(place)))
                .collect();
            assert!(skipped.is_empty(), "skipped {skipped:?}");
            self.position = place;
            self.seen.insert(place);
            match record.kind {
                Kind::Data | Kind::Open => assert_eq!(self.kept.get(&place), Some(&number(record))),
                Kind::Loss { first, last, .. } => {
                    assert!(!self.kept.contains_key(&place));
                    self.named.extend((first..=last).map(|seq| (record.boot, seq)));
                }
            }
        }
        self.since_commit.extend(out);
    }

    fn commit(&mut self, n: usize) {
        if n < self.since_commit.len() {
            let record = &self.since_commit[n];
            self.journal.commit(&record.mark);
            self.committed = self.committed.max((record.boot, record.seq));
            self.since_commit.drain(..=n);
        }
    }

    fn rewind(&mut self) {
        self.reader.rewind();
        self.position = self.committed;
        self.since_commit.clear();
    }

    fn reopen(mut self, dir: &Path) -> World {
        let stats = self.journal.stats();
        assert!(stats.disk_bytes <= stats.max_bytes, "{stats:?}");
        let still_open: BTreeSet<u64> = self.open.iter().map(|(n, _)| *n).collect();
        drop(self.journal);
        let opened = open(dir);
        let r = &opened.recovery;
        assert_eq!((r.corrupt_regions, r.torn_bytes), (0, 0), "{r:?}");
        for m in &r.missing {
            for seq in m.first..=m.last {
                assert!(self.lost.contains(&(m.boot, seq)), "{m:?} is not lost");
                self.named.insert((m.boot, seq));
            }
        }
        let orphans: BTreeSet<u64> =
            opened.orphans.iter().map(|o| u64::from_le_bytes(*o.bytes.first_chunk().unwrap())).collect();
        assert_eq!(orphans, still_open);
        self.open.clear();
        self.journal = opened.journal;
        self.reader = self.journal.reader();
        for n in orphans {
            self.append(n, 30);
        }
        self.journal.recovered();
        self.position = self.committed;
        self.since_commit.clear();
        self
    }

    fn run(mut self, step: &Step, dir: &Path) -> World {
        match step {
            Step::Append(len) => {
                self.next += 1;
                self.append(self.next, *len);
            }
            Step::Claim => {
                self.next += 1;
                if let Ok(slot) = self.journal.claim(&rec(self.next, 30)) {
                    self.open.push((self.next, slot));
                }
            }
            Step::Finish if !self.open.is_empty() => {
                let (n, slot) = self.open.remove(0);
                self.append(n, 60);
                slot.clear();
            }
            Step::Finish => {}
            Step::Read(max) => self.read(*max),
            Step::Commit(n) => self.commit(*n),
            Step::Rewind => self.rewind(),
            Step::Settle => std::thread::sleep(Duration::from_millis(3)),
            Step::Reopen => return self.reopen(dir),
        }
        self
    }
}

/// `PROPTEST_CASES` for a longer search.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_read_once_in_order_or_its_loss_is_named(
        steps in proptest::collection::vec(step(), 1..160)
    ) {
        let dir = memory_dir();
        let mut world = World::new(dir.path());
        for step in &steps {
            world = world.run(step, dir.path());
        }
        // A last life in which everything is read to the end.
        world = world.reopen(dir.path());
        loop {
            let before = world.seen.len();
            world.read(usize::MAX);
            if world.seen.len() == before {
                break;
            }
        }
        for place in world.kept.keys() {
            prop_assert!(world.seen.contains(place), "{place:?} was kept and never read");
        }
        let boot = world.journal.boot();
        for place in &world.lost {
            prop_assert!(world.named.contains(place) || place.0 == boot, "{place:?} was lost and nobody says so");
        }
        for place in &world.named {
            prop_assert!(!world.kept.contains_key(place), "{place:?} was kept and is called lost");
        }
    }
}
