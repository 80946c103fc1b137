//! Where in a text one of many short beginnings may stand, cheaply.
//!
//! Every beginning has three bytes or more, so wherever it stands it covers a pair of bytes at an
//! even place. Of the pairs it may cover there, the rarest in ordinary text is its sign, one for an
//! even and one for an odd start. The text is read pair by pair against a small table of the signs;
//! on a hit the beginnings with that sign are compared. Faster than an automaton, since no step
//! waits for the one before; it matters because every body and string goes through here and hardly
//! any has a hit. Case is ignored.

/// A beginning by one of its signs.
struct Entry {
    /// Where the sign is in the beginning.
    offset: usize,
    text: &'static str,
    owner: usize,
}

pub(super) struct Beginnings {
    /// By [`place`]: which group of beginnings has a sign there, from 1; 0: none.
    signs: Box<[u8; 1 << BITS]>,
    groups: Vec<Vec<Entry>>,
}

/// Bits of an index of signs: six of each byte of a pair.
const BITS: u32 = 12;

/// A pair's index. Lower and upper case have one; other bytes may fall together, which only makes more
/// candidates.
fn place(a: u8, b: u8) -> usize {
    indices(u64::from(u16::from_le_bytes([a, b]))) as usize
}

/// The indices of the four pairs in a word, 16 bits each. What case differs in (bit 5) and what no
/// beginning has (bit 7) is left out of every byte, and the bits left of two bytes are put together.
fn indices(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let six = word & (0x1F * ONES) | word >> 1 & (0x20 * ONES);
    six & 0x003F_003F_003F_003F | six >> 2 & 0x0FC0_0FC0_0FC0_0FC0
}

/// How often a pair is met in ordinary text, roughly: letters by their frequency, others seldom.
fn frequency(pair: &[u8]) -> usize {
    const LETTERS: &[u8] = b"zqxjkvbpygfwmucldrhsnioate";
    let of = |byte: &u8| LETTERS.iter().position(|l| *l == byte | 0x20).map_or(1, |rank| rank + 2);
    pair.iter().map(of).product()
}

impl Beginnings {
    /// Beginnings of two bytes count only before a letter or digit; there are none of one.
    pub fn new(all: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let mut new = Beginnings { signs: Box::new([0; 1 << BITS]), groups: Vec::new() };
        for (text, owner) in all {
            let bytes = text.as_bytes();
            for start in 0..2 {
                let pairs = bytes.windows(2).enumerate().skip(start).step_by(2);
                let rarest = pairs.min_by_key(|(_, pair)| frequency(pair));
                if let Some((offset, pair)) = rarest {
                    new.add(place(pair[0], pair[1]), Entry { offset, text, owner });
                } else if let Some(last) = bytes.last() {
                    // Only its second byte is in the pair; letters are of either case.
                    for next in (b'0'..=b'9').chain(b'a'..=b'z') {
                        new.add(place(*last, next), Entry { offset: text.len() - 1, text, owner });
                    }
                }
            }
        }
        new
    }

    fn add(&mut self, place: usize, entry: Entry) {
        let group = &mut self.signs[place];
        if *group == 0 {
            // Beyond 255 they share the last, since what is in a group is compared anyway.
            if self.groups.len() < usize::from(u8::MAX) {
                self.groups.push(Vec::new());
            }
            *group = self.groups.len() as u8;
        }
        if let Some(group) = self.groups.get_mut(usize::from(*group) - 1) {
            group.push(entry);
        }
    }

    /// Calls `found(owner, end)` wherever a beginning stands.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let (words, rest) = text.as_chunks::<8>();
        for (i, word) in words.iter().enumerate() {
            let indices = indices(u64::from_le_bytes(*word));
            let group = |pair: usize| self.signs[(indices >> (16 * pair)) as usize % (1 << BITS)];
            // One question for four pairs: hardly any has a sign.
            if group(0) | group(1) | group(2) | group(3) != 0 {
                for pair in 0..4 {
                    self.compare(text, 8 * i + 2 * pair, group(pair), &mut found);
                }
            }
        }
        for (i, pair) in rest.as_chunks::<2>().0.iter().enumerate() {
            let group = self.signs[place(pair[0], pair[1])];
            self.compare(text, 8 * words.len() + 2 * i, group, &mut found);
        }
    }

    /// The beginnings of a group, whose sign may stand at a place.
    #[inline]
    fn compare(&self, text: &[u8], at: usize, group: u8, found: &mut impl FnMut(usize, usize)) {
        let Some(group) = usize::from(group).checked_sub(1).and_then(|i| self.groups.get(i)) else { return };
        for entry in group {
            let Some(start) = at.checked_sub(entry.offset) else { continue };
            let wanted = entry.text.as_bytes();
            let Some(rest) = text.get(start..) else { continue };
            let same =
                wanted.len() <= rest.len() && wanted.iter().zip(rest).all(|(w, b)| w.eq_ignore_ascii_case(b));
            let end = start + wanted.len();
            if same && (wanted.len() > 2 || text.get(end).is_some_and(u8::is_ascii_alphanumeric)) {
                found(entry.owner, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found() {
        let all = Beginnings::new([("ghp_", 0), ("s.", 1), ("hvs.", 2), ("ghp", 3)]);
        let mut found = Vec::new();
        all.each(b"GHP_hvs.a s. s.B ghp", |owner, end| found.push((owner, end)));
        found.sort_unstable();
        assert_eq!(found, [(0, 4), (1, 8), (1, 15), (2, 8), (3, 3), (3, 20)]);
    }

    #[test]
    fn no_place_is_missed_whatever_the_length() {
        let all = Beginnings::new([("ghp_", 0), ("abc", 1)]);
        for (word, owner) in [("ghp_", 0), ("aBc", 1)] {
            for (before, after) in (0..20).flat_map(|b| (0..20).map(move |a| (b, a))) {
                let text = format!("{}{word}{}", "x".repeat(before), "x".repeat(after));
                let mut found = Vec::new();
                all.each(text.as_bytes(), |owner, end| found.push((owner, end)));
                assert_eq!(found, [(owner, before + word.len())], "{text}");
            }
        }
    }
}
