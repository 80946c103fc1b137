//! Where in a text one of many short beginnings may stand, cheaply.
//!
//! Every beginning has three bytes or more, so wherever it stands it covers a pair of bytes at an
//! even place: the text is read pair by pair against a small table of the pairs that beginnings
//! have; on a hit three bytes are looked up in a bit map, and only a hit there is compared. Faster
//! than an automaton, since no step waits for the one before; it matters because every body and
//! string goes through here and hardly any has a hit. Case is ignored.

/// One beginning and whose it is.
struct Entry {
    key: u32,
    text: &'static str,
    owner: usize,
}

pub(super) struct Beginnings {
    /// By [`pair`]: whether two bytes are a beginning's first two, or its second and third.
    pairs: Box<[u8; 1 << PAIR_BITS]>,
    /// A bit per hash of three bytes.
    map: Box<[u64]>,
    /// By `key`.
    entries: Vec<Entry>,
}

/// Bits of the map's index.
const BITS: u32 = 16;

/// Bits of a pair's index.
const PAIR_BITS: u32 = 12;

/// In `pairs`: first and second byte; second and third.
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// A pair's index; case is ignored.
fn pair(a: u8, b: u8) -> usize {
    let key = u32::from(u16::from_be_bytes([a, b]) | 0x2020);
    (key.wrapping_mul(0x9E37_79B1) >> (32 - PAIR_BITS)) as usize
}

/// Lower case for letters; other bytes may fall together, which only makes more candidates.
fn fold(byte: u8) -> u32 {
    u32::from(byte | 0x20)
}

/// Word of the map and bit in it.
fn place(key: u32) -> (usize, u64) {
    let hash = key.wrapping_mul(0x9E37_79B1) >> (32 - BITS);
    ((hash >> 6) as usize, 1 << (hash & 63))
}

impl Beginnings {
    /// Beginnings of two bytes count only before a letter or digit; there are none of one.
    pub fn new(all: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let mut entries = Vec::new();
        for (text, owner) in all {
            let key = |bytes: &[u8]| bytes.iter().take(3).fold(0, |key, b| key << 8 | fold(*b));
            if text.len() == 2 {
                for third in (b'0'..=b'9').chain(b'a'..=b'z') {
                    entries.push(Entry { key: key(text.as_bytes()) << 8 | fold(third), text, owner });
                }
            } else {
                entries.push(Entry { key: key(text.as_bytes()), text, owner });
            }
        }
        entries.sort_by_key(|e| e.key);
        let mut map = vec![0u64; 1 << (BITS - 6)].into_boxed_slice();
        let mut pairs = Box::new([0; 1 << PAIR_BITS]);
        for entry in &entries {
            let (word, bit) = place(entry.key);
            if let Some(word) = map.get_mut(word) {
                *word |= bit;
            }
            let [_, a, b, c] = entry.key.to_be_bytes();
            pairs[pair(a, b)] |= FIRST;
            pairs[pair(b, c)] |= SECOND;
        }
        Beginnings { pairs, map, entries }
    }

    /// Calls `found(owner, end)` wherever a beginning stands.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let (pairs, last) = text.as_chunks::<2>();
        for (i, [a, b]) in pairs.iter().enumerate() {
            let hit = self.pairs[pair(*a, *b)];
            if hit != 0 {
                self.look(text, 2 * i, hit, &mut found);
            }
        }
        // A beginning that starts in the last but one pair ends in the odd byte.
        if !last.is_empty() && text.len() >= 3 {
            self.three(text, text.len() - 3, &mut found);
        }
    }

    fn look(&self, text: &[u8], at: usize, hit: u8, found: &mut impl FnMut(usize, usize)) {
        if hit & SECOND != 0 && at > 0 {
            self.three(text, at - 1, found);
        }
        // The last three bytes of a text of odd length are looked at in the end.
        if hit & FIRST != 0 && (at + 3 < text.len() || text.len().is_multiple_of(2)) {
            self.three(text, at, found);
        }
    }

    fn three(&self, text: &[u8], start: usize, found: &mut impl FnMut(usize, usize)) {
        let Some([a, b, c]) = text.get(start..).and_then(|t| t.first_chunk::<3>()) else { return };
        let key = fold(*a) << 16 | fold(*b) << 8 | fold(*c);
        let (word, bit) = place(key);
        if self.map.get(word).is_some_and(|bits| bits & bit != 0) {
            self.compare(text, start, key, found);
        }
    }

    #[cold]
    fn compare(&self, text: &[u8], start: usize, key: u32, found: &mut impl FnMut(usize, usize)) {
        let first = self.entries.partition_point(|e| e.key < key);
        for entry in self.entries.iter().skip(first).take_while(|e| e.key == key) {
            let end = start + entry.text.len();
            if text.get(start..end).is_some_and(|t| t.eq_ignore_ascii_case(entry.text.as_bytes())) {
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
}
