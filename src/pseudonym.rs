//! Keyed digests: the same value gives the same text under one key, and nobody without the key can
//! go back or guess. Used for credentials, for bodies that are not kept, and for whole-body digests.
//!
//! HMAC-SHA256 (RFC 2104), never a bare hash: tokens and PINs are guessable. Cut to 128 bits as section 5
//! allows (RFC 4868 section 2.3 does the same): what is left is chance, which no storage compresses, and
//! nobody who lacks the key can look for two values with one digest.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// How a digest's text begins.
const DIGEST_PREFIX: &str = "hmac-sha256-128:";

/// Whether a text is what [`Digester::finish`] returns, under whichever key.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix(DIGEST_PREFIX).is_some_and(|rest| is_keyed(rest, 32))
}

/// Whether a text is what [`Pseudonyms::fingerprint`] returns, under whichever key.
pub fn is_fingerprint(text: &str) -> bool {
    is_keyed(text, 24)
}

/// `KEYID:HEX` with so many digits.
fn is_keyed(text: &str, digits: usize) -> bool {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once(':').is_some_and(|(id, mac)| hex(id, 8) && hex(mac, digits))
}

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

    /// `hmac-sha256-128:KEYID:HEX`, the first 128 bits; the name is RFC 2104's for that.
    pub fn finish(self) -> String {
        let mac = self.mac.finalize().into_bytes();
        let mut out = String::with_capacity(DIGEST_PREFIX.len() + self.key_id.len() + 33);
        let _ = write!(out, "{DIGEST_PREFIX}{}:", self.key_id);
        hex(&mac[..16], &mut out);
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

    /// RFC 4231, test case 2; its first half.
    #[test]
    fn digest_is_hmac_sha256_128() {
        let mut d = Pseudonyms::new(b"Jefe").digester();
        d.update(b"what do ya want ");
        d.update(b"for nothing?");
        let digest = d.finish();
        assert!(digest.ends_with(":5bdcc146bf60754e6a042426089575c7"), "{digest}");
        assert!(is_digest(&digest));
    }

    #[test]
    fn what_is_no_digest_is_told_apart() {
        let digest = "hmac-sha256-128:c1d2a47c:00112233445566778899aabbccddeeff";
        assert!(is_digest(digest));
        let secret = digest.replace("00112233", "hunter22");
        let short = digest.trim_end_matches('f');
        for text in ["", "secret", "c1d2a47c:00112233445566778899aabb", short, &format!("{digest}0"), &secret]
        {
            assert!(!is_digest(text), "{text}");
        }
    }
}
