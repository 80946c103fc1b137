//! The keys of one `jwt` rule, replaced whole while calls read them.
//!
//! Promises: reading takes no lock and waits for nobody. A document that is no JWKS, or has no usable
//! key, replaces nothing: the last good keys stay. The same document again changes nothing, so that
//! what was remembered of tokens stays.
//!
//! Pure: whoever fetches documents ([`crate::jwks`]) asks where from and hands them in; a token whose
//! key is not there leaves word for it, at most one at a time.

use super::keys::{KeySet, Origin, Signed};
use crate::config::Jwks;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// See the module.
#[derive(Debug)]
pub struct KeyStore {
    source: Jwks,
    set: ArcSwap<KeySet>,
    /// Of the document in force.
    document: Mutex<Option<[u8; 32]>>,
    /// To whoever fetches: a key is missing. Full: it has been told already.
    missing: SyncSender<()>,
    told: Mutex<Option<Receiver<()>>>,
}

/// What became of a document handed in.
#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is the one in force.
    Same,
    /// So many keys are in force now; what was left out, and why.
    With { keys: usize, warnings: Vec<String> },
}

impl KeyStore {
    /// With what a configured file said; with nothing where keys come from a URL. Fails on what is no
    /// JWKS.
    pub(super) fn new(source: &Jwks, warnings: &mut Vec<String>) -> Result<KeyStore, String> {
        let (missing, told) = sync_channel(1);
        let store = KeyStore {
            source: source.clone(),
            set: ArcSwap::default(),
            document: Mutex::default(),
            missing,
            told: Mutex::new(Some(told)),
        };
        if let Jwks::File { path, text } = source {
            let mut own = Vec::new();
            let set = KeySet::parse(text, Origin::File, &mut own)?;
            if set.is_empty() {
                own.push("no usable key; every token is recorded as unverified".into());
            }
            warnings.extend(own.into_iter().map(|what| format!("{}: {what}", path.display())));
            store.put(set, text);
        }
        Ok(store)
    }

    pub fn source(&self) -> &Jwks {
        &self.source
    }

    /// Puts the keys of a document in force. Fails, saying why, where it has none; then nothing changes.
    pub fn replace(&self, text: &str) -> Result<Replaced, String> {
        if *self.document.lock() == Some(digest(text)) {
            return Ok(Replaced::Same);
        }
        let origin = if matches!(self.source, Jwks::Url(_)) { Origin::Url } else { Origin::File };
        let mut warnings = Vec::new();
        let set = KeySet::parse(text, origin, &mut warnings)?;
        if set.is_empty() {
            return Err("it has no usable key".into());
        }
        let keys = set.len();
        self.put(set, text);
        Ok(Replaced::With { keys, warnings })
    }

    /// What tells that a key is missing. `None`: somebody has it. It ends when the store is gone.
    pub fn listen(&self) -> Option<Receiver<()>> {
        self.told.lock().take()
    }

    /// Takes over the keys of a store that had the same source, until they are fetched anew.
    pub(super) fn adopt(&self, former: &KeyStore) {
        let (set, document) = (former.set.load_full(), *former.document.lock());
        if self.set.load().is_empty() && !set.is_empty() {
            self.set.store(set);
            *self.document.lock() = document;
        }
    }

    pub(super) fn load(&self) -> arc_swap::Guard<Arc<KeySet>> {
        self.set.load()
    }

    pub(super) fn tell_missing(&self, signed: &Signed<'_>) {
        // Only what names a key can be helped by another document.
        if signed.header.contains_key("kid") {
            let _ = self.missing.try_send(());
        }
    }

    fn put(&self, mut set: KeySet, text: &str) {
        let mut document = self.document.lock();
        set.generation = self.set.load().generation + 1;
        self.set.store(Arc::new(set));
        *document = Some(digest(text));
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
