//! What a journal holds, read by the crate that wrote it, and the keyed digests in it, computed anew from
//! the RFC and not by the code under test.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sidelog_journal::{Journal, Kind, Options, Record};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// The key of keyed digests, for a configuration's `pseudonym_key_file`.
pub const KEY: &[u8] = b"a key for the security cases";

/// Every completed event in a journal that nobody has open.
pub fn events(journal: &Path) -> Vec<Value> {
    let opened = Journal::open(Options::new(journal)).unwrap();
    let (mut reader, mut records) = (opened.journal.reader(), Vec::new());
    loop {
        let before = records.len();
        reader.next(Duration::ZERO, usize::MAX, usize::MAX, &mut records);
        if records.len() == before {
            break;
        }
    }
    let ended = |record: &Record| match record.kind {
        Kind::Data => Some(serde_json::from_slice(&record.payload).unwrap()),
        // The intent of a call that lasted; its end comes behind it.
        Kind::Open => None,
        Kind::Loss { .. } => panic!("the journal lost something: {record:?}"),
    };
    records.iter().filter_map(ended).collect()
}

/// Every completed event in a journal in use, in order, and how many records are named as lost.
pub fn so_far(journal: &Path) -> (Vec<Value>, u64) {
    let (mut all, mut lost) = (Vec::new(), 0);
    sidelog_journal::visit(journal, |record| {
        match record.kind {
            Kind::Data => all.push(serde_json::from_slice(&record.payload).unwrap()),
            // The intent of a call that lasted, or was strict; its end comes behind it.
            Kind::Open => {}
            Kind::Loss { first, last, .. } => lost += last - first + 1,
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    (all, lost)
}

/// `hmac-sha256-128:KEYID:HEX` under [`KEY`].
pub fn digest(body: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.update(body);
    digest.finish()
}

/// The same of a body that comes in pieces.
pub struct Digest(Hmac<Sha256>);

impl Digest {
    #[expect(clippy::new_without_default, reason = "there is no other one")]
    pub fn new() -> Digest {
        Digest(Hmac::new_from_slice(KEY).unwrap())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let id = hex(Sha256::digest(KEY).get(..4).unwrap());
        let mac = self.0.finalize().into_bytes();
        format!("hmac-sha256-128:{id}:{}", hex(mac.get(..16).unwrap()))
    }
}
