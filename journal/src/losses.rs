//! Numbers that were given out and have no record: ranges waiting to be written, and their frames.
//!
//! At most [`MAX`] ranges wait; beyond that they are merged with the last one, which then names some
//! numbers that are not lost (an auditor looks for them and finds them) but never misses one.

use crate::frame::{self, u64_at};
use crate::types::Reason;

/// Ranges waiting at most. Room for their frames is kept free at the end of every segment.
pub(crate) const MAX: usize = 8;
const PAYLOAD: usize = 40;
/// What a loss occupies in the log.
pub(crate) const FRAME: usize = (frame::HEADER + PAYLOAD).next_multiple_of(frame::ALIGN);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Whose numbers they are: the boot that writes it, or an earlier one.
    pub boot: u64,
    pub first: u64,
    pub last: u64,
    pub reason: Reason,
    /// µs since 1970.
    pub time: u64,
}

impl Loss {
    pub(crate) fn encode(&self) -> [u8; PAYLOAD] {
        let mut out = [0; PAYLOAD];
        frame::put(&mut out, 0, &self.first.to_le_bytes());
        frame::put(&mut out, 8, &self.last.to_le_bytes());
        frame::put(&mut out, 16, &self.reason.code().to_le_bytes());
        frame::put(&mut out, 24, &self.time.to_le_bytes());
        frame::put(&mut out, 32, &self.boot.to_le_bytes());
        out
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Loss> {
        Some(Loss {
            first: u64_at(payload, 0)?,
            last: u64_at(payload, 8)?,
            reason: Reason::from_code(u64_at(payload, 16)?),
            time: u64_at(payload, 24)?,
            boot: u64_at(payload, 32)?,
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    ranges: Vec<Loss>,
}

impl Waiting {
    pub(crate) fn add(&mut self, loss: Loss) {
        let no_room = self.ranges.len() >= MAX;
        if let Some(last) = self.ranges.last_mut() {
            let follows = last.reason == loss.reason && last.last + 1 == loss.first;
            if follows || no_room {
                last.first = last.first.min(loss.first);
                last.last = last.last.max(loss.last);
                last.time = loss.time;
                return;
            }
        }
        self.ranges.push(loss);
    }

    pub(crate) fn ranges(&self) -> &[Loss] {
        &self.ranges
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers.
    pub(crate) fn total(&self) -> u64 {
        self.ranges.iter().map(|l| l.last - l.first + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(first: u64, last: u64, reason: Reason) -> Loss {
        Loss { boot: 3, first, last, reason, time: last }
    }

    #[test]
    fn neighbours_of_one_reason_are_one_range() {
        let mut w = Waiting::default();
        w.add(loss(1, 1, Reason::Full));
        w.add(loss(2, 2, Reason::Full));
        w.add(loss(3, 3, Reason::TooLarge));
        w.add(loss(4, 4, Reason::Full));
        let expected = [loss(1, 2, Reason::Full), loss(3, 3, Reason::TooLarge), loss(4, 4, Reason::Full)];
        assert_eq!(w.ranges(), expected);
        assert_eq!(w.total(), 4);
    }

    #[test]
    fn the_number_of_ranges_is_bounded_and_none_is_missed() {
        let mut w = Waiting::default();
        for seq in 1..=100 {
            w.add(loss(seq, seq, if seq % 2 == 0 { Reason::Full } else { Reason::TooLarge }));
        }
        assert_eq!(w.ranges().len(), MAX);
        for seq in 1..=100 {
            assert!(w.ranges().iter().any(|l| l.first <= seq && seq <= l.last));
        }
    }

    #[test]
    fn a_loss_reads_back() {
        for reason in Reason::ALL {
            let l = Loss { boot: 5, first: 910, last: 946, reason, time: 77 };
            assert_eq!(Loss::decode(&l.encode()), Some(l));
        }
        assert_eq!(Loss::decode(&[0; 39]), None);
    }
}
