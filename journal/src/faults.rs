//! Where tests stand between the journal and the disk: they are told what is about to be done, may make
//! it wait or fail, and own the clock.
//!
//! Never asked on the way of an append, so that the real thing pays nothing.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::Instant;

/// What the journal asks before it goes to the disk. An error is taken for the disk's own.
pub trait Disk: Debug + Send + Sync {
    /// Blocks are about to be reserved for a file.
    fn reserve(&self, _file: &Path, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
    /// Bytes `from..to` of a file are about to be taken to the disk.
    fn sync(&self, _file: &Path, _from: u64, _to: u64) -> io::Result<()> {
        Ok(())
    }
    /// The names in a directory are about to be taken to the disk.
    fn sync_names(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// The disk as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A disk that can be told to fail.
    #[derive(Debug, Default)]
    pub(crate) struct Sick {
        pub no_space: AtomicBool,
        pub fail_sync: AtomicBool,
    }

    impl Disk for Sick {
        fn reserve(&self, _: &Path, _: u64) -> io::Result<()> {
            let full = self.no_space.load(Ordering::Relaxed);
            if full { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
        }
        fn sync(&self, _: &Path, _: u64, _: u64) -> io::Result<()> {
            let sick = self.fail_sync.load(Ordering::Relaxed);
            if sick { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }
    }
}
