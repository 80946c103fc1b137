//! Which records are already stored, and which never came. Pure: told, never asking.
//!
//! A producer numbers its records without holes, so a record is known by `(producer, boot, seq)`.
//! This module keeps, per producer, the numbers that are stored, as ranges, and the *span* of event
//! times for which that knowledge is whole: everything the tables hold of that producer with a time
//! in the span is known here. So for each record there are three answers:
//!
//! - its number is among the stored ones: [`Verdict::Duplicate`];
//! - it is not, and its time lies in the span: [`Verdict::New`];
//! - its time lies outside: [`Verdict::Unknown`]: ask the tables about the time around it, tell the
//!   answer to [`Marks::load`], judge again.
//!
//! That makes no assumption about order, restarts, forgotten producers or how an insert was cut:
//! what was forgotten is asked again. (A stored copy of a record has the record's own time, so the
//! answer about that time is enough.) It does assume one writer per producer at a time, which the
//! key of the Kafka message gives.
//!
//! Holes: a number that is passed over becomes a hole. A later record may fill it (the shipper
//! rewinds), a loss record may explain it, and after a while [`Marks::due`] offers it as a gap, to be
//! checked against the tables and recorded once.

use crate::ranges::RangeSet;
use sidelog_event::Position;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// Ranges, spans and boots one producer may cost before it is forgotten and asked about again.
const MAX_RANGES: usize = 4096;

/// Bounds of what is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub producers: usize,
    /// How long a hole may wait to be filled or explained.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { producers: 20_000, patience: Duration::from_secs(60) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    New,
    Duplicate,
    /// Only the tables know.
    Unknown,
}

/// `first..=last` of a producer's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub producer: Uuid,
    pub boot: u64,
    pub first: u64,
    pub last: u64,
}

/// Numbers that never came, unless the tables know better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub range: Range,
    /// Time of the record that showed it.
    pub millis: i64,
    /// Whether the number before `first` is known to exist. If not, `first` is 1 and the gap begins
    /// after the greatest number the tables hold below `last`.
    pub anchored: bool,
    seen: Duration,
}

/// What the tables hold of some producers for a span of time.
#[derive(Debug, Default)]
pub struct Answer {
    /// Milliseconds since 1970, inclusive.
    pub span: (i64, i64),
    /// Time of the record that made us ask.
    pub about: i64,
    pub producers: Vec<Uuid>,
    pub stored: Vec<Range>,
    /// Explained losses.
    pub covered: Vec<Range>,
}

#[derive(Debug, Default)]
struct Boot {
    stored: RangeSet,
    /// Declared lost, found missing, or dead: no longer a hole. (Such a record may still come late.)
    covered: RangeSet,
    holes: Vec<Hole>,
}

impl Boot {
    fn top(&self) -> Option<u64> {
        self.stored.last().max(self.covered.last())
    }

    /// Takes `first..=last` out of the holes.
    fn fill(&mut self, first: u64, last: u64) {
        if self.holes.iter().all(|h| h.range.last < first || h.range.first > last) {
            return;
        }
        let mut rest = Vec::with_capacity(self.holes.len() + 1);
        for hole in self.holes.drain(..) {
            let Range { first: a, last: b, .. } = hole.range;
            if b < first || a > last {
                rest.push(hole);
                continue;
            }
            if a < first {
                rest.push(Hole { range: Range { last: first - 1, ..hole.range }, ..hole });
            }
            if b > last {
                rest.push(Hole { range: Range { first: last + 1, ..hole.range }, anchored: true, ..hole });
            }
        }
        self.holes = rest;
    }

    fn cost(&self) -> usize {
        1 + self.stored.len() + self.covered.len() + self.holes.len()
    }
}

#[derive(Debug, Default)]
struct Producer {
    /// Milliseconds for which `boots` is whole.
    span: RangeSet,
    boots: BTreeMap<u64, Boot>,
    used: u64,
}

/// The memory.
#[derive(Debug)]
pub struct Marks {
    bounds: Bounds,
    producers: HashMap<Uuid, Producer>,
    tick: u64,
}

impl Marks {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, producers: HashMap::new(), tick: 0 }
    }

    /// Producers remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Forgets everything: another consumer may have written meanwhile.
    pub fn clear(&mut self) {
        self.producers.clear();
    }

    pub fn judge(&self, at: &Position, millis: i64) -> Verdict {
        let Some(producer) = self.producers.get(&at.producer) else { return Verdict::Unknown };
        if producer.boots.get(&at.boot).is_some_and(|b| b.stored.contains(at.seq)) {
            Verdict::Duplicate
        } else if u64::try_from(millis).is_ok_and(|m| producer.span.contains(m)) {
            Verdict::New
        } else {
            Verdict::Unknown
        }
    }

    /// Notes that a record judged new is about to be stored. Returns whether it had been given up.
    pub fn accept(&mut self, at: &Position, millis: i64, now: Duration) -> bool {
        self.tick += 1;
        let tick = self.tick;
        let producer = self.producers.entry(at.producer).or_default();
        producer.used = tick;
        let boot = producer.boots.entry(at.boot).or_default();
        let (first, anchored) = match boot.top() {
            None => (1, false),
            Some(top) => (top.saturating_add(1), true),
        };
        if at.seq > first {
            let range = Range { producer: at.producer, boot: at.boot, first, last: at.seq - 1 };
            boot.holes.push(Hole { range, millis, anchored, seen: now });
        } else {
            boot.fill(at.seq, at.seq);
        }
        boot.stored.insert(at.seq, at.seq);
        boot.covered.contains(at.seq)
    }

    /// Notes that a range needs no further explanation.
    pub fn cover(&mut self, range: &Range) {
        let boot = self.boot(range);
        boot.fill(range.first, range.last);
        boot.covered.insert(range.first, range.last);
    }

    /// Notes a record that cannot be read. Returns whether that must be recorded: it is neither stored
    /// nor explained.
    pub fn note_dead(&mut self, range: &Range) -> bool {
        let boot = self.boot(range);
        if boot.stored.contains(range.first) || boot.covered.contains(range.first) {
            return false;
        }
        boot.fill(range.first, range.last);
        boot.covered.insert(range.first, range.last);
        true
    }

    /// Takes in what the tables hold.
    pub fn load(&mut self, answer: &Answer, now: Duration) {
        let mut tops = HashMap::new();
        for id in &answer.producers {
            let boots = self.producers.get(id).into_iter().flat_map(|p| &p.boots);
            tops.extend(boots.filter_map(|(number, boot)| Some(((*id, *number), boot.top()?))));
        }
        for range in &answer.stored {
            let boot = self.boot(range);
            boot.stored.insert(range.first, range.last);
            boot.fill(range.first, range.last);
        }
        for range in &answer.covered {
            self.cover(range);
        }
        for id in &answer.producers {
            self.tick += 1;
            let producer = self.producers.entry(*id).or_default();
            producer.used = self.tick;
            if let (Ok(first), Ok(last)) = (u64::try_from(answer.span.0.max(0)), u64::try_from(answer.span.1))
            {
                producer.span.insert(first, last);
            }
            // A consumer that died between two tables or months left holes, and took its memory of
            // them along.
            for (number, boot) in &mut producer.boots {
                let seen_before = tops.get(&(*id, *number)).copied().unwrap_or(0);
                let mut all = boot.stored.clone();
                all.extend(&boot.covered);
                boot.holes.extend(all.holes().filter(|hole| hole.0 > seen_before).map(|(first, last)| {
                    Hole {
                        range: Range { producer: *id, boot: *number, first, last },
                        millis: answer.about,
                        anchored: true,
                        seen: now,
                    }
                }));
            }
        }
    }

    fn boot(&mut self, range: &Range) -> &mut Boot {
        self.producers.entry(range.producer).or_default().boots.entry(range.boot).or_default()
    }

    /// Holes whose time has come, at most `limit`. They stay until covered or filled.
    pub fn due(&self, now: Duration, limit: usize) -> Vec<Hole> {
        let holes = self.producers.values().flat_map(|p| p.boots.values()).flat_map(|b| &b.holes);
        holes.filter(|h| h.seen + self.bounds.patience <= now).take(limit).copied().collect()
    }

    /// Notes what the tables said about a hole: these numbers of it are stored.
    pub fn found(&mut self, hole: &Hole, stored: &RangeSet) {
        let boot = self.boot(&hole.range);
        for (first, last) in stored.iter() {
            boot.stored.insert(first, last);
            boot.fill(first, last);
        }
    }

    /// Drops a hole that is none.
    pub fn dismiss(&mut self, range: &Range) {
        self.boot(range).fill(range.first, range.last);
    }

    /// Keeps the memory within its bounds. Call between batches: what goes is asked again.
    pub fn trim(&mut self) {
        self.producers
            .retain(|_, p| p.span.len() + p.boots.values().map(Boot::cost).sum::<usize>() <= MAX_RANGES);
        let excess = self.producers.len().saturating_sub(self.bounds.producers);
        if excess > 0 {
            let mut ages: Vec<u64> = self.producers.values().map(|p| p.used).collect();
            let (_, limit, _) = ages.select_nth_unstable(excess - 1);
            let limit = *limit;
            self.producers.retain(|_, p| p.used > limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const NOW: Duration = Duration::ZERO;

    fn producer(n: u128) -> Uuid {
        Uuid::from_u128(n + 1)
    }

    fn at(seq: u64) -> Position {
        Position { producer: producer(0), boot: 1, seq }
    }

    fn range(first: u64, last: u64) -> Range {
        Range { producer: producer(0), boot: 1, first, last }
    }

    fn loaded() -> Marks {
        let mut marks = Marks::new(Bounds::default());
        let producers = vec![producer(0)];
        marks.load(&Answer { span: (0, 1_000_000), about: 5, producers, ..Answer::default() }, NOW);
        marks
    }

    fn holes(marks: &Marks) -> Vec<(u64, u64, bool)> {
        let mut holes: Vec<_> = marks
            .due(Bounds::default().patience, usize::MAX)
            .iter()
            .map(|h| (h.range.first, h.range.last, h.anchored))
            .collect();
        holes.sort_unstable();
        holes
    }

    #[test]
    fn holes_wait_are_filled_and_are_explained() {
        let mut marks = loaded();
        for seq in [3, 4, 10, 20] {
            assert!(!marks.accept(&at(seq), 5, NOW));
        }
        assert_eq!(marks.due(Duration::from_secs(59), usize::MAX), [], "not yet");
        assert_eq!(holes(&marks), [(1, 2, false), (5, 9, true), (11, 19, true)]);
        marks.accept(&at(7), 5, NOW);
        marks.accept(&at(1), 5, NOW);
        marks.cover(&range(11, 18));
        assert_eq!(holes(&marks), [(2, 2, true), (5, 6, true), (8, 9, true), (19, 19, true)]);
        assert!(marks.accept(&at(12), 5, NOW), "given up, and came after all");
        assert_eq!(marks.judge(&at(12), 5), Verdict::Duplicate);
        assert_eq!(marks.judge(&at(13), 5), Verdict::New);
    }

    /// Damage found at a start: the next boot tells what the one before has lost.
    #[test]
    fn a_loss_of_an_earlier_boot_explains_its_hole_and_makes_none() {
        let mut marks = loaded();
        for seq in [1, 2, 6] {
            marks.accept(&at(seq), 5, NOW);
        }
        let told = Position { boot: 2, seq: 1, ..at(0) };
        marks.accept(&told, 6, NOW);
        marks.cover(&range(3, 5));
        assert_eq!(holes(&marks), []);
        assert_eq!(marks.judge(&told, 6), Verdict::Duplicate);
        assert_eq!(marks.judge(&Position { boot: 1, ..told }, 6), Verdict::Duplicate, "boot 1 has its own");
        marks.accept(&Position { seq: 2, ..told }, 7, NOW);
        // A loss at the end of a boot, and one of a boot that nothing else is known of.
        marks.cover(&range(7, 9));
        marks.cover(&Range { boot: 9, ..range(40, 50) });
        assert_eq!(holes(&marks), []);
    }

    #[test]
    fn what_the_tables_hold_leaves_its_own_holes() {
        let mut marks = Marks::new(Bounds::default());
        let stored = vec![range(100, 120), range(130, 140)];
        let covered = vec![range(121, 122)];
        let answer = Answer { span: (0, 10), about: 5, producers: vec![producer(0)], stored, covered };
        marks.load(&answer, NOW);
        assert_eq!(holes(&marks), [(123, 129, true)], "what is below the first is history");
        marks.load(&answer, NOW);
        assert_eq!(holes(&marks), [(123, 129, true)], "the same answer again changes nothing");
    }

    #[test]
    fn a_time_outside_of_what_was_asked_is_unknown() {
        let marks = loaded();
        assert_eq!(marks.judge(&at(1), 1_000_000), Verdict::New);
        assert_eq!(marks.judge(&at(1), 1_000_001), Verdict::Unknown);
        let other = Position { producer: producer(7), ..at(1) };
        assert_eq!(marks.judge(&other, 5), Verdict::Unknown);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut marks = Marks::new(Bounds { producers: 3, ..Bounds::default() });
        for n in 0..10 {
            let answer = Answer { span: (0, 9), about: 5, producers: vec![producer(n)], ..Answer::default() };
            marks.load(&answer, NOW);
        }
        marks.accept(&at(1), 5, NOW);
        marks.trim();
        assert_eq!(marks.len(), 3);
        assert_eq!(marks.judge(&at(1), 5), Verdict::Duplicate, "used last, so kept");
        for seq in 1..=MAX_RANGES as u64 {
            marks.accept(&at(seq * 2), 5, NOW);
        }
        marks.trim();
        assert_eq!(marks.judge(&at(2), 5), Verdict::Unknown, "too many holes: forgotten, and asked again");
    }

    /// Numbers from a fixed seed.
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

    /// A topic partition, tables, and consumers that die. Each record's time is fixed; times are far
    /// enough apart that no answer covers all.
    struct World {
        log: Vec<Position>,
        table: Vec<(Position, i64)>,
        random: Random,
    }

    impl World {
        fn millis(at: &Position) -> i64 {
            // Not in order of seq, and spread over many spans.
            ((at.seq * 7919) % 5000) as i64 * 10 + at.boot as i64
        }

        /// What `Store::stored` answers.
        fn ask(&self, producers: Vec<Uuid>, span: (i64, i64), about: i64) -> Answer {
            let inside = self
                .table
                .iter()
                .filter(|(p, t)| producers.contains(&p.producer) && (span.0..=span.1).contains(t));
            let stored =
                inside.map(|(p, _)| Range { producer: p.producer, boot: p.boot, first: p.seq, last: p.seq });
            Answer { span, about, stored: stored.collect(), producers, covered: Vec::new() }
        }

        /// A consumer reads the log from `from`, in batches, and dies somewhere; returns the last
        /// offset committed.
        fn live(&mut self, from: usize) -> usize {
            let mut marks = Marks::new(Bounds { producers: 2, ..Bounds::default() });
            let mut next = from;
            while next < self.log.len() {
                let end = (next + 1 + self.random.below(60) as usize).min(self.log.len());
                let batch: Vec<Position> = self.log[next..end].to_vec();
                for at in &batch {
                    let time = Self::millis(at);
                    if marks.judge(at, time) == Verdict::Unknown {
                        let answer = self.ask(vec![at.producer], (time - 300, time + 300), time);
                        marks.load(&answer, NOW);
                    }
                }
                let mut rows: Vec<(Position, i64)> = Vec::new();
                for at in &batch {
                    let time = Self::millis(at);
                    if marks.judge(at, time) != Verdict::Duplicate {
                        assert_eq!(marks.judge(at, time), Verdict::New);
                        marks.accept(at, time, NOW);
                        rows.push((*at, time));
                    }
                }
                // Months (here: parity of the time) go in one after the other.
                for month in 0..2 {
                    if self.random.one_in(12) {
                        return next;
                    }
                    self.table.extend(rows.iter().filter(|(_, t)| t / 10 % 2 == month));
                }
                if self.random.one_in(8) {
                    return next;
                }
                marks.trim();
                next = end;
            }
            next
        }
    }

    #[test]
    fn whatever_is_replayed_and_however_consumers_die_each_record_is_stored_once() {
        for seed in 0..150 {
            let mut world = World { log: Vec::new(), table: Vec::new(), random: Random(seed) };
            let mut sent = BTreeSet::new();
            // Producers ship with drops, rewinds and new boots, interleaved.
            let mut places = [(1u64, 0u64); 4];
            for _ in 0..300 {
                let who = world.random.below(4) as usize;
                let (boot, seq) = &mut places[who];
                match world.random.below(20) {
                    0 => (*boot, *seq) = (*boot + 1, 0),
                    1 => *seq += 1 + world.random.below(5),
                    2 => *seq = seq.saturating_sub(world.random.below(40)),
                    _ => {}
                }
                for _ in 0..=world.random.below(6) {
                    *seq += 1;
                    let at = Position { producer: producer(who as u128), boot: *boot, seq: *seq };
                    world.log.push(at);
                    sent.insert(at);
                }
            }
            let mut committed = 0;
            while committed < world.log.len() {
                // Commits are lost too.
                let lost = world.random.below(80) as usize;
                committed = world.live(committed.saturating_sub(lost)).max(committed);
            }
            let stored: BTreeSet<_> = world.table.iter().map(|(at, _)| *at).collect();
            assert_eq!(stored.len(), world.table.len(), "seed {seed}: stored twice");
            assert_eq!(stored, sent, "seed {seed}");
        }
    }
}
