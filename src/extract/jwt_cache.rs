//! Remembers tokens that were read, so that a session's thousand calls cost one RSA operation.
//!
//! Keyed by the SHA-256 of the whole token; no token is kept. Bounded to [`CAPACITY`] tokens: each
//! shard has two generations, and when the younger is full the older is dropped, which keeps what was
//! used lately without a clock. What is returned still has its `exp` and `nbf`: the caller compares
//! them with the time at hand, a cached token gets no longer life. Where there are keys, only verified
//! tokens enter, so a flood of forged ones evicts nothing.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tokens remembered by one rule.
pub(super) const CAPACITY: usize = 1024;
const SHARDS: usize = 8;
const GENERATION: usize = CAPACITY / SHARDS / 2;

pub(super) type Key = [u8; 32];

#[derive(Debug)]
pub(super) struct Cache<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
}

#[derive(Debug)]
struct Shard<T> {
    young: HashMap<Key, T>,
    old: HashMap<Key, T>,
}

impl<T: Clone> Cache<T> {
    pub fn new() -> Cache<T> {
        let shard = |_| Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() });
        Cache { shards: std::array::from_fn(shard) }
    }

    pub fn key(token: &[u8]) -> Key {
        Sha256::digest(token).into()
    }

    pub fn get(&self, key: &Key) -> Option<T> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(key) {
            return Some(value.clone());
        }
        let value = shard.old.remove(key)?;
        shard.put(*key, value.clone());
        Some(value)
    }

    pub fn put(&self, key: Key, value: T) {
        self.shard(&key).put(key, value);
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<T>> {
        let [first, ..] = key;
        let [zeroth, ..] = &self.shards;
        let shard = self.shards.get(usize::from(*first) % SHARDS).unwrap_or(zeroth);
        // A map is whole after each call, so a panic elsewhere does not spoil it.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |m: &Mutex<Shard<T>>| {
            let shard = m.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(count).sum()
    }
}

impl<T> Shard<T> {
    fn put(&mut self, key: Key, value: T) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_keeps_what_is_used() {
        let cache = Cache::new();
        let hot = Cache::<u32>::key(b"hot");
        cache.put(hot, 7);
        for i in 0..100_000u32 {
            cache.put(Cache::<u32>::key(&i.to_le_bytes()), i);
            assert_eq!(cache.get(&hot), Some(7), "after {i}");
        }
        assert!(cache.len() <= CAPACITY, "{}", cache.len());
        assert_eq!(cache.get(&Cache::<u32>::key(&0u32.to_le_bytes())), None, "long unused");
    }
}
