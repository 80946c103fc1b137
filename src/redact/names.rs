//! Names that were judged already, and what a name says about its neighbours.
//!
//! Documents have few names, many times each, and a service's bodies have the same ones call after
//! call: the judgement of the last ones is kept in a small table of the thread, so that most names cost
//! a hash and a comparison. A judgement depends on the rules and on the operation's marks, so it counts
//! for those only. Bounded: [`SLOTS`] names of at most [`MAX_NAME`] bytes; others are judged each time.

use super::keys::Hit;
use super::tally::Rule;
use std::cell::Cell;

/// Names remembered; a power of two.
const SLOTS: usize = 256;

/// Longest name remembered, bytes.
const MAX_NAME: usize = 24;

thread_local! {
    /// The thread's table, while no event is being redacted.
    static TABLE: Cell<Option<Box<Table>>> = const { Cell::new(None) };
}

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

/// A judgement, without the rules it was made by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub hit: Hit,
    pub role: Role,
}

#[derive(Clone, Copy)]
struct Slot {
    name: [u8; MAX_NAME],
    /// No name has none.
    len: u8,
    marks: u64,
    known: Known,
}

struct Table {
    keys: u64,
    slots: [Slot; SLOTS],
}

/// The table, taken from the thread and given back. A name that hashes to another's slot takes it.
pub(super) struct Judged(Option<Box<Table>>);

impl Drop for Judged {
    fn drop(&mut self) {
        TABLE.set(self.0.take());
    }
}

impl Judged {
    /// `keys`: the rules that judge; what others said is forgotten.
    pub fn of(keys: u64) -> Self {
        let table = TABLE.take().filter(|table| table.keys == keys);
        Judged(Some(table.unwrap_or_else(|| {
            let known = Known { hit: Hit::None, role: Role::None };
            let slot = Slot { name: [0; MAX_NAME], len: 0, marks: 0, known };
            Box::new(Table { keys, slots: [slot; SLOTS] })
        })))
    }

    /// `marks`: of the operation.
    pub fn get(&self, marks: u64, name: &[u8], hash: u64) -> Option<Known> {
        let slot = self.0.as_ref()?.slots.get(place(hash))?;
        let same = usize::from(slot.len) == name.len() && slot.marks == marks && slot.name.starts_with(name);
        (same && !name.is_empty()).then_some(slot.known)
    }

    pub fn put(&mut self, marks: u64, name: &[u8], hash: u64, known: Known) {
        if let Some(slot) = self.0.as_mut().and_then(|table| table.slots.get_mut(place(hash)))
            && let Some(room) = slot.name.get_mut(..name.len())
        {
            room.copy_from_slice(name);
            (slot.len, slot.marks, slot.known) = (name.len() as u8, marks, known);
        }
    }
}

fn place(hash: u64) -> usize {
    (hash >> 56) as usize % SLOTS
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
        let mut judged = Judged::of(0);
        let known = Known { hit: Hit::Key(7), role: Role::Value };
        let names: Vec<String> = (0..900).map(|i| format!("{}{i}", "n".repeat(i % 30))).collect();
        for name in &names {
            let (bytes, hash) = (name.as_bytes(), hash(name.as_bytes()));
            assert!(judged.get(1, bytes, hash).is_none());
            judged.put(1, bytes, hash, known);
            assert_eq!(judged.get(1, bytes, hash).is_some(), bytes.len() <= MAX_NAME, "{name}");
            assert!(judged.get(2, bytes, hash).is_none(), "marks of another operation");
        }
        assert!(judged.get(1, b"", hash(b"")).is_none());
        judged.put(1, b"", hash(b""), known);
        assert!(judged.get(1, b"", hash(b"")).is_none());
    }

    #[test]
    fn a_thread_remembers_for_one_set_of_rules() {
        let (name, known) = (b"pin", Known { hit: Hit::Key(7), role: Role::None });
        let at = hash(name);
        Judged::of(8).put(0, name, at, known);
        assert_eq!(Judged::of(8).get(0, name, at).map(|k| k.hit), Some(Hit::Key(7)));
        assert!(Judged::of(9).get(0, name, at).is_none());
        assert!(Judged::of(8).get(0, name, at).is_none());
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
