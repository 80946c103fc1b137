//! A bounded copy of a body that streams by, with a digest of the whole. Traffic never waits for it.

use crate::pseudonym::{Digester, Pseudonyms};

#[derive(Debug, Default)]
pub struct Capture {
    kept: Vec<u8>,
    bound: usize,
    total: u64,
    digester: Option<Digester>,
}

impl Capture {
    /// Keeps at most `bound` bytes.
    pub fn new(bound: usize) -> Self {
        Capture { bound, ..Capture::default() }
    }

    /// Keeps at most `bound` bytes from now on; for a body of which nothing went by yet.
    pub fn look(&mut self, bound: usize) {
        self.bound = bound;
    }

    pub fn push(&mut self, bytes: &[u8], pseudonyms: &Pseudonyms) {
        if bytes.is_empty() {
            return;
        }
        self.total += bytes.len() as u64;
        self.digester.get_or_insert_with(|| pseudonyms.digester()).update(bytes);
        let room = self.bound.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Bytes that went by.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn is_truncated(&self) -> bool {
        self.total > self.kept.len() as u64
    }

    /// The digest of all that went by so far; `None` when nothing did.
    pub fn digest(&self) -> Option<String> {
        self.digester.clone().map(Digester::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_a_prefix_and_digests_the_whole() {
        let key = Pseudonyms::new(b"0123456789abcdef");
        let mut capture = Capture::new(5);
        capture.push(b"abc", &key);
        assert!(!capture.is_truncated());
        capture.push(b"defg", &key);
        assert_eq!((capture.kept(), capture.total(), capture.is_truncated()), (&b"abcde"[..], 7, true));
        let mut whole = key.digester();
        whole.update(b"abcdefg");
        assert_eq!(capture.digest(), Some(whole.finish()));
        assert_eq!(Capture::new(5).digest(), None);
    }
}
