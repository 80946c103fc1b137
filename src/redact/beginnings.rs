//! Where in a text one of many short beginnings may stand, cheaply: the text is read once, three
//! bytes at a time, against a bit map; only a hit there is compared.
//!
//! Faster than an automaton, since no step waits for the one before; it matters because every body
//! and string goes through here and hardly any has a hit. Case is ignored.

/// One beginning and whose it is.
struct Entry {
    key: u32,
    text: &'static str,
    owner: usize,
}

pub(super) struct Beginnings {
    /// A bit per hash of three bytes.
    map: Box<[u64]>,
    /// By `key`.
    entries: Vec<Entry>,
}

/// Bits of the map's index.
const BITS: u32 = 16;

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
        for entry in &entries {
            let (word, bit) = place(entry.key);
            if let Some(word) = map.get_mut(word) {
                *word |= bit;
            }
        }
        Beginnings { map, entries }
    }

    /// Calls `found(owner, end)` wherever a beginning stands.
    pub fn each(&self, text: &[u8], mut found: impl FnMut(usize, usize)) {
        let mut key = 0;
        for (at, byte) in text.iter().enumerate() {
            key = (key << 8 | fold(*byte)) & 0xFF_FFFF;
            let (word, bit) = place(key);
            if self.map.get(word).is_some_and(|bits| bits & bit != 0) && at >= 2 {
                self.compare(text, at - 2, key, &mut found);
            }
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
