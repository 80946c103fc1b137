//! Keyed digests: the same value gives the same text under one key, and nobody without the key can
//! go back or guess. Used for credentials, for bodies that are not kept, and for whole-body digests.
//!
//! HMAC-SHA256 (RFC 2104), never a bare hash: tokens and PINs are guessable.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A pseudonym key with its id, the first 8 hex digits of SHA-256(key).
#[derive(Clone)]
pub struct Pseudonyms {
    mac: Hmac<Sha256>,
    key_id: String,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pseudonyms({})", self.key_id)
    }
}

impl Pseudonyms {
    /// `key`: at least 16 bytes; the caller has checked.
    pub fn new(key: &[u8]) -> Self {
        let mut key_id = String::with_capacity(8);
        hex(&Sha256::digest(key)[..4], &mut key_id);
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mac = Hmac::new_from_slice(key).expect("any length");
        Pseudonyms { mac, key_id }
    }

    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// `KEYID:HEX` with 96 bits of the MAC: short enough to read, long enough not to collide.
    pub fn fingerprint(&self, value: &[u8]) -> String {
        let mut d = self.digester();
        d.update(value);
        let mac = d.mac.finalize().into_bytes();
        let mut out = String::with_capacity(self.key_id.len() + 25);
        out.push_str(&self.key_id);
        out.push(':');
        hex(&mac[..12], &mut out);
        out
    }

    /// For a body that streams by.
    pub fn digester(&self) -> Digester {
        Digester { mac: self.mac.clone(), key_id: self.key_id.clone() }
    }
}

/// A digest being fed.
#[derive(Clone)]
pub struct Digester {
    mac: Hmac<Sha256>,
    key_id: String,
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

impl Digester {
    pub fn update(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }

    /// `hmac-sha256:KEYID:HEX`, all 256 bits.
    pub fn finish(self) -> String {
        let mac = self.mac.finalize().into_bytes();
        let mut out = String::with_capacity(13 + self.key_id.len() + 64);
        let _ = write!(out, "hmac-sha256:{}:", self.key_id);
        hex(&mac, &mut out);
        out
    }
}

fn hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_value_same_text_under_one_key_only() {
        let (a, b) = (Pseudonyms::new(b"0123456789abcdef"), Pseudonyms::new(b"another key 16 b"));
        assert_eq!(a.fingerprint(b"token"), a.fingerprint(b"token"));
        assert_ne!(a.fingerprint(b"token"), a.fingerprint(b"tokem"));
        assert_ne!(a.fingerprint(b"token"), b.fingerprint(b"token"));
        assert_ne!(a.key_id(), b.key_id());
    }

    /// RFC 4231, test case 2.
    #[test]
    fn digest_is_hmac_sha256() {
        let mut d = Pseudonyms::new(b"Jefe").digester();
        d.update(b"what do ya want ");
        d.update(b"for nothing?");
        assert!(d.finish().ends_with(":5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    }
}
