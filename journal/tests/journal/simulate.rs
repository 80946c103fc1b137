//! Whole histories from a seed: appends, deliveries, a disk that is full or fails, and ends by SIGKILL
//! or power cut at any point; after each, the journal is opened again and held to its promises.
//!
//! The journal is the real one, its threads' work done step by step, on real files in memory. What a
//! power cut leaves is modelled beside it: of each page, what was last synced, what was last written, or
//! the first sectors of the one and the rest of the other; of each name, the old state or the new. The
//! broker is a model: it takes records, reports late, in any order or not at all, and may have stored
//! what it reports as failed.
//!
//! `SIDELOG_SEEDS=100000` for a longer search, `SIDELOG_SEED=17` for one history.

use crate::support::*;
use sidelog_journal::{Disk, Journal, Kind, Opened, Options, Reader, Record, Slot, Steps, SyncFailed};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const SECTOR: usize = 512;
/// Written once per life and synced before it is used.
const UNTOUCHED: [&str; 2] = ["producer", "lock"];

#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// What the disk has for certain, and how it behaves.
#[derive(Debug)]
struct World {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    now: Instant,
    full: bool,
    failing: bool,
    /// The cursor could not be synced since the last power cut.
    cursor_failed: bool,
    /// By inode.
    images: HashMap<u64, Vec<u8>>,
    names: BTreeMap<String, u64>,
    journal: Weak<Journal>,
    /// Records that come while the disk is at work, and what became of those that came.
    coming: Vec<(u64, usize)>,
    came: Vec<(u64, Result<u64, u64>)>,
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|m| m.ino())
}

/// Regular files, with inodes.
fn listing(dir: &Path) -> BTreeMap<String, u64> {
    let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap()).filter(|e| e.path().is_file());
    files.map(|e| (e.file_name().into_string().unwrap(), inode(&e.path()).unwrap())).collect()
}

impl World {
    fn new(dir: &Path) -> World {
        let state = State {
            now: Instant::now(),
            full: false,
            failing: false,
            cursor_failed: false,
            images: HashMap::new(),
            names: BTreeMap::new(),
            journal: Weak::new(),
            coming: Vec::new(),
            came: Vec::new(),
        };
        World { dir: dir.to_path_buf(), state: Mutex::new(state) }
    }

    /// All that is there now is on the disk.
    fn settle(&self) {
        let mut state = self.state.lock().unwrap();
        state.names = listing(&self.dir);
        state.images.clear();
        for (name, inode) in state.names.clone() {
            state.images.insert(inode, std::fs::read(self.dir.join(name)).unwrap());
        }
    }

    /// Appends go on while the disk is at work.
    fn append_meanwhile(&self) {
        let (journal, coming) = {
            let mut state = self.state.lock().unwrap();
            (state.journal.upgrade(), std::mem::take(&mut state.coming))
        };
        let Some(journal) = journal else { return };
        for (n, len) in coming {
            let result = journal.append(&rec(n, len)).map_err(|refused| refused.seq);
            self.state.lock().unwrap().came.push((n, result));
        }
    }

    /// What a power cut leaves of every file.
    fn after_power_cut(&self, random: &mut Random) -> Vec<(String, Vec<u8>)> {
        let state = self.state.lock().unwrap();
        let now = listing(&self.dir);
        let mut files: BTreeMap<u64, (Option<&String>, Option<&String>)> = BTreeMap::new();
        for (name, inode) in &state.names {
            files.entry(*inode).or_default().0 = Some(name);
        }
        for (name, inode) in &now {
            files.entry(*inode).or_default().1 = Some(name);
        }
        let mut left = Vec::new();
        for (inode, (durable, current)) in files {
            let name = match (durable, current) {
                (Some(a), Some(b)) => {
                    if random.one_in(2) {
                        a
                    } else {
                        b
                    }
                }
                (Some(one), None) | (None, Some(one)) if random.one_in(2) => one,
                _ => continue,
            };
            if UNTOUCHED.contains(&name.as_str()) {
                continue;
            }
            let image = state.images.get(&inode);
            let written = current.map(|name| std::fs::read(self.dir.join(name)).unwrap());
            let bytes = match (image, written) {
                (Some(image), Some(written)) => mix(image, &written, random),
                (None, Some(written)) if random.one_in(4) => Vec::with_capacity(written.len()),
                (None, Some(written)) => mix(&[], &written, random),
                (Some(image), None) => image.clone(),
                (None, None) => continue,
            };
            left.push((name.clone(), bytes));
        }
        left
    }
}

/// Of each page the old, the new, or a write cut short.
fn mix(old: &[u8], new: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = old.to_vec();
    out.resize(old.len().max(new.len()), 0);
    for (i, page) in new.chunks(PAGE).enumerate() {
        let take = match random.below(3) {
            0 => page.len(),
            1 => 0,
            _ => (random.below(9) as usize * SECTOR).min(page.len()),
        };
        out[i * PAGE..i * PAGE + take].copy_from_slice(&page[..take]);
    }
    out
}

impl Disk for World {
    fn reserve(&self, _: &Path, _: u64) -> io::Result<()> {
        let full = self.state.lock().unwrap().full;
        if full { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn sync(&self, file: &Path, from: u64, to: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.failing {
            state.cursor_failed |= file.ends_with("cursor");
            drop(state);
            self.append_meanwhile();
            return Err(io::Error::from_raw_os_error(5));
        }
        let (Ok(bytes), Some(inode)) = (std::fs::read(file), inode(file)) else { return Ok(()) };
        let image = state.images.entry(inode).or_default();
        image.resize(bytes.len().max(image.len()), 0);
        let to = usize::try_from(to).unwrap_or(usize::MAX).min(bytes.len());
        let from = (from as usize).min(to);
        image[from..to].copy_from_slice(&bytes[from..to]);
        drop(state);
        self.append_meanwhile();
        Ok(())
    }

    fn sync_names(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.names = listing(dir);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.state.lock().unwrap().now
    }
}

/// (boot, seq): the order of the log.
type Place = (u64, u64);

/// What was promised of a record.
#[derive(Debug, Clone, Copy)]
struct Kept {
    n: u64,
    /// Its commit was confirmed.
    durable: bool,
    /// A power cut may have taken it.
    fragile: bool,
}

struct Run {
    dir: tempfile::TempDir,
    random: Random,
    /// What comes while the disk is at work: of its own, so that without it a seed is the history it was.
    meanwhile: Option<Random>,
    world: Arc<World>,
    journal: Arc<Journal>,
    steps: Steps,
    reader: Reader,
    kept: BTreeMap<Place, Kept>,
    /// Refused, and whether a power cut may have taken the knowledge of it.
    lost: BTreeMap<Place, bool>,
    /// Handed to the broker and not yet acknowledged without a hole: with what it reported.
    window: VecDeque<(Record, Option<bool>)>,
    /// What the broker has.
    stored: BTreeMap<Place, Option<u64>>,
    highest: Place,
    /// Named by loss records the broker has.
    named: BTreeSet<Place>,
    open: Vec<(u64, Slot)>,
    /// Calls whose intent is in the log, with its place, and no end yet.
    intents: BTreeMap<u64, Place>,
    next: u64,
    cuts: u64,
}

fn options(world: &Arc<World>) -> Options {
    Options { disk: world.clone(), max_open_calls: 6, ..small(&world.dir) }
}

impl Run {
    fn new(seed: u64, meanwhile: bool) -> Run {
        let dir = memory_dir();
        let world = Arc::new(World::new(dir.path()));
        let (Opened { journal, .. }, steps) = Journal::open_stepwise(options(&world)).unwrap();
        world.settle();
        world.state.lock().unwrap().journal = Arc::downgrade(&journal);
        Run {
            reader: journal.reader(),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            meanwhile: meanwhile.then_some(Random(seed)),
            dir,
            world,
            journal,
            steps,
            kept: BTreeMap::new(),
            lost: BTreeMap::new(),
            window: VecDeque::new(),
            stored: BTreeMap::new(),
            highest: (0, 0),
            named: BTreeSet::new(),
            open: Vec::new(),
            intents: BTreeMap::new(),
            next: 0,
            cuts: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => {
                let len = self.random.below(1500) as usize;
                self.append(len);
            }
            35..39 => self.claim(),
            39..43 => self.intent(),
            43..48 => self.finish(),
            48..60 => self.steps.keep(),
            60..68 => {
                self.sync();
                self.note_durable();
            }
            68..80 => self.send(),
            80..88 => self.reports(true),
            88..90 => self.reports(false),
            90..93 => self.world.state.lock().unwrap().now += Duration::from_millis(600),
            93..95 => {
                let full = self.random.one_in(2);
                self.world.state.lock().unwrap().full = full;
            }
            95..96 => {
                let failing = self.random.one_in(3);
                self.world.state.lock().unwrap().failing = failing;
            }
            96..97 => _ = self.journal.append_open_calls(|_| true),
            97..99 => self.end(false),
            _ => self.end(true),
        }
    }

    fn sync(&mut self) {
        if let Some(random) = &mut self.meanwhile {
            for _ in 0..random.below(4) {
                self.next += 1;
                let len = random.below(1500) as usize;
                self.world.state.lock().unwrap().coming.push((self.next, len));
            }
        }
        self.steps.sync();
        let came = {
            let mut state = self.world.state.lock().unwrap();
            state.coming.clear();
            std::mem::take(&mut state.came)
        };
        for (n, result) in came {
            self.took(n, result);
        }
    }

    fn append(&mut self, len: usize) {
        self.next += 1;
        let result = self.journal.append(&rec(self.next, len));
        self.took(self.next, result.map_err(|r| r.seq));
    }

    fn took(&mut self, n: u64, result: Result<u64, u64>) {
        let boot = self.journal.boot();
        let fresh = match result {
            Ok(seq) => self.kept.insert((boot, seq), Kept { n, durable: false, fragile: false }).is_none(),
            Err(seq) => self.lost.insert((boot, seq), false).is_none(),
        };
        assert!(fresh, "a number was given out twice");
    }

    fn claim(&mut self) {
        self.next += 1;
        if let Ok(slot) = self.journal.claim(&rec(self.next, 40)) {
            self.open.push((self.next, slot));
        }
    }

    fn intent(&mut self) {
        self.next += 1;
        let result = self.journal.append_intent(&rec(self.next, 80));
        if let Ok(seq) = result {
            self.intents.insert(self.next, (self.journal.boot(), seq));
        }
        self.took(self.next, result.map_err(|r| r.seq));
    }

    /// The oldest open call ends, properly.
    fn finish(&mut self) {
        let (n, slot) = match self.intents.keys().next().copied() {
            Some(n) if self.random.one_in(2) => (n, None),
            _ if self.open.is_empty() => return,
            _ => {
                let (n, slot) = self.open.remove(0);
                (n, Some(slot))
            }
        };
        let result = self.journal.append(&rec(n, 120));
        if result.is_ok() {
            self.intents.remove(&n);
        }
        self.took(n, result.map_err(|r| r.seq));
        if let Some(slot) = slot {
            slot.clear();
        }
    }

    /// Asks of each record whether it is on the disk.
    fn note_durable(&mut self) {
        let boot = self.journal.boot();
        for ((_, seq), kept) in self.kept.range_mut((boot, 0)..) {
            match self.journal.wait_durable(*seq, Duration::ZERO) {
                Ok(()) => kept.durable = true,
                Err(SyncFailed::Io | SyncFailed::Timeout | SyncFailed::Detached) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Hands records to the broker.
    fn send(&mut self) {
        let mut records = Vec::new();
        let many = 1 + self.random.below(12) as usize;
        self.reader.next(Duration::ZERO, many, usize::MAX, &mut records);
        for record in records {
            self.window.push_back((record, None));
        }
    }

    /// The broker reports on some of what is under way, in any order.
    fn reports(&mut self, well: bool) {
        for i in 0..self.window.len() {
            if self.random.one_in(3) {
                continue;
            }
            let (record, report) = &mut self.window[i];
            // Of a failed batch, none after it is stored for the first time.
            *report = Some(well);
            let record = record.clone();
            if well || self.random.one_in(2) {
                self.store_up_to(i, &record);
            }
            if !well {
                break;
            }
        }
        while let Some((record, Some(true))) = self.window.front() {
            self.journal.commit(&record.mark);
            self.window.pop_front();
        }
        if self.window.iter().any(|(_, report)| *report == Some(false)) {
            self.window.clear();
            self.reader.rewind();
        }
    }

    /// A broker stores in order: what it has of a producer, it has all before it of this window.
    fn store_up_to(&mut self, i: usize, _last: &Record) {
        for at in 0..=i {
            let record = self.window[at].0.clone();
            self.store(&record);
        }
    }

    fn store(&mut self, record: &Record) {
        let place = (record.boot, record.seq);
        let content = match record.kind {
            Kind::Data | Kind::Open => Some(number(record)),
            Kind::Loss { boot, first, last, .. } => {
                self.named.extend((first..=last).map(|seq| (boot, seq)));
                None
            }
        };
        match self.stored.get(&place) {
            Some(before) => assert_eq!(*before, content, "{place:?} came twice and is not the same"),
            None => {
                assert!(place > self.highest, "{place:?} after {:?}", self.highest);
                self.highest = place;
                self.stored.insert(place, content);
            }
        }
        if let Some(kept) = self.kept.get(&place) {
            assert_eq!(content, Some(kept.n), "{place:?} is not what was appended");
        }
        assert!(!self.lost.contains_key(&place), "{place:?} was refused and is in the log");
    }

    /// The process ends by SIGKILL, or the machine by a power cut; then it starts again.
    fn end(&mut self, power: bool) {
        self.cuts += 1;
        let stats = self.journal.stats();
        assert!(stats.disk_bytes <= stats.max_bytes, "{stats:?}");
        let left = if power {
            self.world.after_power_cut(&mut self.random)
        } else {
            let names = listing(self.dir.path()).into_keys().filter(|n| !UNTOUCHED.contains(&n.as_str()));
            names.map(|name| (name.clone(), std::fs::read(self.dir.path().join(name)).unwrap())).collect()
        };
        if power {
            self.kept.values_mut().filter(|k| !k.durable).for_each(|k| k.fragile = true);
            self.lost.values_mut().for_each(|fragile| *fragile = true);
        }
        let open: Vec<u64> = self.open.drain(..).map(|(n, _)| n).collect();
        self.restart(&left, power, &open);
    }

    fn restart(&mut self, left: &[(String, Vec<u8>)], power: bool, open: &[u64]) {
        // Closing writes to the directory; what the end left is put back over it.
        self.journal.close();
        for name in listing(self.dir.path()).into_keys().filter(|n| !UNTOUCHED.contains(&n.as_str())) {
            std::fs::remove_file(self.dir.path().join(name)).unwrap();
        }
        for (name, bytes) in left {
            std::fs::write(self.dir.path().join(name), bytes).unwrap();
        }
        {
            let mut state = self.world.state.lock().unwrap();
            (state.full, state.failing) = (false, false);
        }
        let cursor_failed = power && std::mem::take(&mut self.world.state.lock().unwrap().cursor_failed);
        let producer = self.journal.producer();
        let (Opened { journal, orphans, recovery }, steps) =
            Journal::open_stepwise(options(&self.world)).unwrap();
        assert_eq!(journal.producer(), producer);
        assert!(power || recovery.corrupt_regions == 0, "{recovery:?}");
        self.world.state.lock().unwrap().journal = Arc::downgrade(&journal);
        (self.journal, self.steps) = (journal, steps);
        self.reader = self.journal.reader();
        self.window.clear();
        let orphans: BTreeSet<u64> = orphans.iter().map(|o| o.id.as_u128() as u64 - 1).collect();
        let forgotten: Vec<_> = open.iter().filter(|n| !power && !orphans.contains(n)).collect();
        assert!(forgotten.is_empty(), "open calls {forgotten:?} are forgotten");
        for (n, place) in &self.intents {
            let kept = &self.kept[place];
            let there = !kept.fragile && !self.stored.contains_key(place);
            assert!(!there || orphans.contains(n), "intent {n} at {place:?} is forgotten: {kept:?}");
        }
        // As the sidecar does: an end for each orphan, a loss for each missing range.
        for n in orphans {
            let result = self.journal.append(&rec(n, 60));
            if result.is_ok() {
                self.intents.remove(&n);
            }
            self.took(n, result.map_err(|r| r.seq));
        }
        for missing in &recovery.missing {
            for seq in missing.first..=missing.last {
                let place = (missing.boot, seq);
                let kept = self.kept.get(&place);
                // Delivered and deleted, and then the disk lost the cursor it had failed to take: a false
                // alarm, but nothing is lost.
                let alarm = cursor_failed && self.stored.contains_key(&place);
                let missed = kept.is_none_or(|k| k.fragile) || alarm;
                assert!(missed, "{place:?} is called missing: {kept:?}, {missing:?}");
            }
            if let Err(refused) = self.journal.append_loss(missing) {
                self.lost.insert((self.journal.boot(), refused.seq), false);
            }
        }
        self.journal.recovered();
        self.world.settle();
    }

    /// Everything that can be delivered is, and held against what was promised.
    fn settle(mut self) -> u64 {
        self.end(false);
        for round in 0.. {
            assert!(round < 2000, "never empty: {:?}", self.journal.stats());
            self.world.state.lock().unwrap().now += Duration::from_millis(600);
            self.steps.keep();
            self.steps.sync();
            self.send();
            if self.window.is_empty() && self.journal.stats().lost_unrecorded == 0 {
                break;
            }
            for entry in &mut self.window {
                entry.1 = None;
            }
            let records: Vec<Record> = self.window.drain(..).map(|(r, _)| r).collect();
            for record in &records {
                self.store(record);
                self.journal.commit(&record.mark);
            }
        }
        for (place, kept) in &self.kept {
            assert!(self.stored.contains_key(place) || kept.fragile, "{place:?} is gone: {kept:?}");
        }
        for (place, fragile) in &self.lost {
            assert!(self.named.contains(place) || *fragile, "{place:?} was lost and nobody says so");
        }
        self.cuts
    }
}

/// Says which history it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIDELOG_SEED={} failed", self.0);
        }
    }
}

fn history(seed: u64) -> u64 {
    history_with(seed, true)
}

fn history_with(seed: u64, meanwhile: bool) -> u64 {
    let named = Seed(seed);
    let mut run = Run::new(seed, meanwhile);
    for _ in 0..150 {
        run.step();
    }
    let cuts = run.settle();
    drop(named);
    cuts
}

/// Losses that no record named yet, every record before them delivered and deleted, a new segment
/// begun behind them: its base said that they had been there, and a kill made them vanish.
#[test]
fn losses_behind_which_a_new_segment_was_begun_are_named_after_a_kill() {
    for seed in [28083, 49080] {
        history_with(seed, false);
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_was_acknowledged_is_delivered_and_what_was_lost_is_named_whatever_ends_it() {
    if let Some(seed) = setting("SIDELOG_SEED") {
        history(seed);
        return;
    }
    let (seeds, threads) = (setting("SIDELOG_SEEDS").unwrap_or(2000), 2);
    let began = Instant::now();
    let cuts: u64 = std::thread::scope(|scope| {
        let part = |t| scope.spawn(move || (t..seeds).step_by(threads).map(history).sum::<u64>());
        let parts: Vec<_> = (0..threads as u64).map(part).collect();
        parts.into_iter().map(|p| p.join().unwrap()).sum()
    });
    println!("{seeds} histories, {cuts} ends by force, {:.1?}", began.elapsed());
}
