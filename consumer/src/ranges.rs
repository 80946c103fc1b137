//! A set of numbers, kept as inclusive ranges: small where the numbers have few holes.

/// Sorted, apart from each other by at least one number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// Ranges held: what it costs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|r| r.1 < number);
        self.0.get(at).is_some_and(|r| r.0 <= number)
    }

    /// Adds `first..=last`; nothing if it is empty.
    pub fn insert(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // The ranges that overlap or touch, in one step for the usual case: just after the end.
        let from = self.0.partition_point(|r| r.1.saturating_add(1) < first);
        let to = self.0.partition_point(|r| r.0 <= last.saturating_add(1));
        if from == to {
            self.0.insert(from, (first, last));
            return;
        }
        let joined = self.0.drain(from..to).fold((first, last), |j, r| (j.0.min(r.0), j.1.max(r.1)));
        self.0.insert(from, joined);
    }

    pub fn extend(&mut self, other: &RangeSet) {
        for (first, last) in other.iter() {
            self.insert(first, last);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// The greatest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|r| r.1)
    }

    /// What lies between the ranges.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.windows(2).filter_map(|pair| match pair {
            [left, right] => Some((left.1 + 1, right.0 - 1)),
            _ => None,
        })
    }

    /// `first..=last` without the numbers of this set.
    pub fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = first;
        let from = self.0.partition_point(|r| r.1 < first);
        for &(a, b) in self.0.iter().skip(from).take_while(|r| r.0 <= last) {
            if a > next {
                missing.push((next, a - 1));
            }
            match b.checked_add(1) {
                Some(after) => next = after,
                None => return missing,
            }
        }
        if next <= last {
            missing.push((next, last));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_the_same_set_as_a_plain_one() {
        let mut random = 12345u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let (mut ranges, mut plain) = (RangeSet::default(), BTreeSet::new());
            for _ in 0..next(30) {
                let first = next(60);
                let last = first + next(8);
                ranges.insert(first, last);
                plain.extend(first..=last);
            }
            assert_eq!(ranges.iter().flat_map(|(a, b)| a..=b).collect::<BTreeSet<_>>(), plain);
            assert!((0..80).all(|n| ranges.contains(n) == plain.contains(&n)));
            assert_eq!(ranges.last(), plain.last().copied());
            assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.1 + 1 < b.0), "joined");
            let missing: BTreeSet<u64> = ranges.missing(10, 40).iter().flat_map(|&(a, b)| a..=b).collect();
            assert_eq!(missing, (10..=40).filter(|n| !plain.contains(n)).collect());
            let inner: BTreeSet<u64> = ranges.holes().flat_map(|(a, b)| a..=b).collect();
            let span = plain.first().copied().unwrap_or(0)..plain.last().copied().unwrap_or(0);
            assert_eq!(inner, span.filter(|n| !plain.contains(n)).collect());
        }
    }

    #[test]
    fn the_greatest_number_is_no_trouble() {
        let mut ranges = RangeSet::default();
        ranges.insert(u64::MAX - 1, u64::MAX);
        ranges.insert(5, 4);
        ranges.insert(u64::MAX, u64::MAX);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(u64::MAX - 1, u64::MAX)]);
        assert_eq!(ranges.missing(u64::MAX - 2, u64::MAX), [(u64::MAX - 2, u64::MAX - 2)]);
    }
}
