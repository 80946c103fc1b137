//! The files that a configuration was made of, and what they held when they were read.
//!
//! Promises: a file counts as changed when its content is another one, whatever path of symbolic links
//! leads to it; what was read is what is remembered, so that no change between reading and looking is
//! missed. A file that is not there is remembered as such: its appearance is a change.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Of a larger file only the size is compared; nothing so large is read by anyone here.
const MAX_BYTES: u64 = 256 << 20;

/// SHA-256 of a file's content.
pub type Digest = [u8; 32];

/// Files by the path they were asked for; `None`: not there, or not to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<PathBuf, Option<Digest>>);

impl Sources {
    /// Remembers what was read.
    pub fn read(&mut self, path: &Path, bytes: &[u8]) {
        self.0.insert(path.to_owned(), Some(Sha256::digest(bytes).into()));
    }

    /// Remembers a file as it is now, for one that could not be read or not be used.
    pub fn look(&mut self, path: &Path) {
        self.0.insert(path.to_owned(), now(path));
    }

    pub fn extend(&mut self, other: Sources) {
        self.0.extend(other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    pub fn get(&self, path: &Path) -> Option<&Digest> {
        self.0.get(path)?.as_ref()
    }

    /// The same files as they are now.
    pub fn again(&self) -> Sources {
        Sources(self.0.keys().map(|path| (path.clone(), now(path))).collect())
    }

    /// One digest of all: of names and contents.
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for (path, digest) in &self.0 {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update([0, u8::from(digest.is_some())]);
            hash.update(digest.unwrap_or_default());
        }
        hash.finalize().into()
    }
}

/// A file's digest. Reads regular files only: a pipe would make the reader wait.
fn now(path: &Path) -> Option<Digest> {
    let meta = std::fs::metadata(path).ok().filter(|meta| meta.is_file())?;
    let mut hash = Sha256::new();
    if meta.len() > MAX_BYTES {
        hash.update(meta.len().to_le_bytes());
        return Some(hash.finalize().into());
    }
    let mut file = File::open(path).ok()?.take(MAX_BYTES);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Some(hash.finalize().into()),
            Ok(n) => hash.update(buffer.get(..n)?),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_counts_not_the_way_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (link, absent) = (dir.path().join("link"), dir.path().join("absent"));
        std::fs::write(dir.path().join("1"), "one").unwrap();
        std::fs::write(dir.path().join("2"), "one").unwrap();
        std::os::unix::fs::symlink("1", &link).unwrap();
        let mut sources = Sources::default();
        sources.read(&link, b"one");
        sources.look(&absent);
        assert_eq!(sources.again(), sources);

        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("2", &link).unwrap();
        assert_eq!(sources.again(), sources, "another file of the same content");
        std::fs::write(dir.path().join("2"), "two").unwrap();
        assert_ne!(sources.again(), sources);
        assert_ne!(sources.again().digest(), sources.digest());

        sources.look(&link);
        assert_eq!(sources.again(), sources);
        std::fs::write(&absent, "").unwrap();
        assert_ne!(sources.again(), sources, "it has appeared");
    }

    /// A pipe named by mistake must not stop the thread that looks.
    #[test]
    fn pipes_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(now(&pipe), None);
    }
}
