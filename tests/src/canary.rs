//! Secrets that can be found again, whatever was done to them on the way.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::path::{Path, PathBuf};

/// A mark unique to one test run. Every secret of the run is made of it, several times over, so
/// that a piece of a secret still shows the mark.
#[derive(Debug, Clone)]
pub struct Canary {
    mark: String,
}

impl Default for Canary {
    fn default() -> Self {
        Canary::new()
    }
}

impl Canary {
    pub fn new() -> Canary {
        let random = uuid::Uuid::new_v4().simple().to_string();
        // Letters of both cases: a search that folds case must be meant, not a lucky hit.
        Canary { mark: format!("Zq{}", random.get(..14).unwrap()) }
    }

    /// To look for a secret that somebody else made.
    pub fn of(secret: &str) -> Canary {
        Canary { mark: secret.to_owned() }
    }

    /// A secret; another `name` gives another one.
    pub fn secret(&self, name: &str) -> String {
        format!("{0}-{name}-{0}", self.mark)
    }

    /// Every file under `roots` in which the mark is found, with the disguise it wears there.
    pub fn in_files(&self, roots: &[&Path]) -> Vec<String> {
        let disguises = self.disguises();
        let mut found = Vec::new();
        let mut pending: Vec<PathBuf> = roots.iter().map(|p| p.to_path_buf()).collect();
        let mut files = 0;
        while let Some(path) = pending.pop() {
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            // Live services delete files of theirs at any time; sockets and pipes hold nothing.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            files += 1;
            found.extend(hits(&bytes, &disguises).map(|disguise| format!("{} ({disguise})", path.display())));
        }
        assert!(files > 0, "nothing to search in {roots:?}");
        found
    }

    /// The disguises in which the mark is found in `bytes`.
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<&'static str> {
        hits(bytes, &self.disguises()).collect()
    }

    /// The mark in every writing in which a secret commonly travels.
    fn disguises(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mark = self.mark.as_bytes();
        let hex = |f: fn(&u8) -> String| mark.iter().map(f).collect::<String>().into_bytes();
        let mut all = vec![
            ("plain", mark.to_vec()),
            ("lower case", self.mark.to_lowercase().into_bytes()),
            ("reversed", mark.iter().rev().copied().collect()),
            ("hex", hex(|b| format!("{b:02x}"))),
            ("HEX", hex(|b| format!("{b:02X}"))),
            ("URL-encoded", hex(|b| format!("%{b:02x}"))),
            ("URL-ENCODED", hex(|b| format!("%{b:02X}"))),
            ("JSON escapes", hex(|b| format!("\\u{b:04x}"))),
            ("UTF-16", mark.iter().flat_map(|b| [*b, 0]).collect()),
        ];
        for (name, alphabet) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
            all.extend((0..3).map(|offset| (name, base64_inside(alphabet, mark, offset))));
        }
        all
    }
}

fn hits<'a>(
    bytes: &'a [u8],
    disguises: &'a [(&'static str, Vec<u8>)],
) -> impl Iterator<Item = &'static str> + 'a {
    disguises.iter().filter(|(_, mark)| contains(bytes, mark)).map(|(name, _)| *name)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// The Base64 digits that depend on `mark` alone when it stands `offset` bytes into a group of 3.
fn base64_inside(alphabet: &impl Engine, mark: &[u8], offset: usize) -> Vec<u8> {
    let mut text = vec![0; offset];
    text.extend_from_slice(mark);
    let digits = alphabet.encode(&text).into_bytes();
    let first = (offset * 8).div_ceil(6);
    let end = text.len() * 8 / 6;
    digits.get(first..end).unwrap().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_disguise() {
        let canary = Canary::new();
        let secret = canary.secret("s");
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        let percent: String = secret.bytes().map(|b| format!("%{b:02X}")).collect();
        assert_eq!(canary.in_bytes(format!("x{secret}x").as_bytes()), ["plain"]);
        assert_eq!(canary.in_bytes(hex.as_bytes()), ["hex"]);
        assert_eq!(canary.in_bytes(percent.as_bytes()), ["URL-ENCODED"]);
        for before in ["", "a", "ab", "abc", "user:"] {
            let encoded = STANDARD.encode(format!("{before}{secret}"));
            assert!(canary.in_bytes(encoded.as_bytes()).contains(&"base64"), "{before:?}");
        }
        assert!(canary.in_bytes(Canary::new().secret("s").as_bytes()).is_empty());
    }

    #[test]
    fn half_a_secret_is_found_in_a_file() {
        let canary = Canary::new();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        let secret = canary.secret("s");
        std::fs::write(dir.path().join("deep/file"), secret.split_once("-s-").unwrap().1).unwrap();
        std::fs::write(dir.path().join("other"), "innocent").unwrap();
        let found = canary.in_files(&[dir.path()]);
        assert_eq!(found, [format!("{} (plain)", dir.path().join("deep/file").display())]);
    }
}
