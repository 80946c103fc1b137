//! Names of one event that were judged already, and what a name says about its neighbours.
//!
//! A document has few names, many times each: the judgement of the last ones is kept in a small
//! table, so that most names cost a hash and a comparison. Bounded: [`SLOTS`] names of at most
//! [`MAX_NAME`] bytes; others are judged each time.

use super::tally::Rule;

/// Names remembered; a power of two.
const SLOTS: usize = 64;

/// Longest name remembered, bytes.
const MAX_NAME: usize = 24;

/// What a name means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict<'r> {
    /// By which its value is secret.
    pub rule: Option<&'r Rule>,
    pub role: Role,
}

/// What a name says about its neighbours: the name of a thing, or the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Name,
    Value,
    None,
}

pub(super) fn role(squashed: &[u8]) -> Role {
    match squashed {
        b"name" | b"key" | b"path" | b"field" | b"fieldname" | b"header" | b"param" | b"parameter"
        | b"variable" | b"attribute" | b"property" | b"k" | b"n" => Role::Name,
        b"value" | b"values" | b"val" | b"v" | b"content" | b"contents" | b"text" | b"default"
        | b"newvalue" | b"oldvalue" | b"defaultvalue" | b"stringvalue" | b"rawvalue" | b"example" => {
            Role::Value
        }
        _ => Role::None,
    }
}

#[derive(Clone, Copy)]
struct Slot<'r> {
    name: [u8; MAX_NAME],
    /// No name has none.
    len: u8,
    verdict: Verdict<'r>,
}

/// The table. A name that hashes to another's slot takes it.
pub(super) struct Judged<'r>([Slot<'r>; SLOTS]);

impl<'r> Judged<'r> {
    pub fn new() -> Self {
        let nothing = Verdict { rule: None, role: Role::None };
        Judged([Slot { name: [0; MAX_NAME], len: 0, verdict: nothing }; SLOTS])
    }

    pub fn get(&self, name: &[u8], hash: u64) -> Option<Verdict<'r>> {
        let slot = self.0.get(place(hash))?;
        let same = usize::from(slot.len) == name.len() && slot.name.starts_with(name);
        (same && !name.is_empty()).then_some(slot.verdict)
    }

    pub fn put(&mut self, name: &[u8], hash: u64, verdict: Verdict<'r>) {
        if let Some(slot) = self.0.get_mut(place(hash))
            && let Some(room) = slot.name.get_mut(..name.len())
        {
            room.copy_from_slice(name);
            slot.len = name.len() as u8;
            slot.verdict = verdict;
        }
    }
}

fn place(hash: u64) -> usize {
    (hash >> 58) as usize % SLOTS
}

/// Mixes the bytes of a name, eight at a time. Equal hashes are compared, so this need not be strong.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(ODD);
    let mut hash = mix(0, bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let rest = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = mix(hash, rest);
    hash ^ hash >> 32
}

/// Whether two of the hashes may be equal: false is certain.
pub(super) fn may_repeat(hashes: impl Iterator<Item = u64>) -> bool {
    let mut seen = [0u64; 4];
    for hash in hashes {
        let bit = 1 << (hash & 63);
        let Some(word) = seen.get_mut((hash >> 6) as usize % 4) else { return true };
        if *word & bit != 0 {
            return true;
        }
        *word |= bit;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_until_another_takes_its_slot() {
        let rule = Rule::from("key:a");
        let mut judged = Judged::new();
        let names: Vec<String> = (0..200).map(|i| format!("{}{i}", "n".repeat(i % 30))).collect();
        for name in &names {
            let (bytes, hash) = (name.as_bytes(), hash(name.as_bytes()));
            assert!(judged.get(bytes, hash).is_none());
            judged.put(bytes, hash, Verdict { rule: Some(&rule), role: Role::Value });
            assert_eq!(judged.get(bytes, hash).is_some(), bytes.len() <= MAX_NAME, "{name}");
        }
        assert!(judged.get(b"", hash(b"")).is_none());
        judged.put(b"", hash(b""), Verdict { rule: Some(&rule), role: Role::Value });
        assert!(judged.get(b"", hash(b"")).is_none());
    }

    #[test]
    fn repetition_is_never_missed() {
        let all: Vec<u64> = (0..12u32).map(|i| hash(format!("name{i}").as_bytes())).collect();
        for again in &all {
            assert!(may_repeat(all.iter().copied().chain([*again])));
        }
        assert!(!may_repeat(all.iter().copied().take(2)));
    }
}
