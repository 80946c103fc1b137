//! Every call into the file system but mapping: one place to read, and to play faults in.
//!
//! Promises that a reserved file has all its blocks, that [`replace`] leaves the old contents or the
//! new, never a mixture, and that a read goes around sectors the disk cannot give.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(crate) const PAGE: usize = 4096;

/// Creates a file of `len` zeros whose blocks are all reserved, or leaves none. Waits for no disk:
/// length and blocks become durable with the first sync of the contents.
pub(crate) fn create_reserved(path: &Path, len: u64) -> io::Result<File> {
    let _ = fs::remove_file(path);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    if let Err(e) = reserve(&file, len) {
        let _ = fs::remove_file(path);
        return Err(e);
    }
    Ok(file)
}

fn reserve(file: &File, len: u64) -> io::Result<()> {
    match allocate(file, len) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            let zeros = [0u8; 16 * PAGE];
            let mut at = 0;
            while at < len {
                let n = usize::try_from(len - at).unwrap_or(usize::MAX).min(zeros.len());
                file.write_all_at(zeros.get(..n).unwrap_or_default(), at)?;
                at += n as u64;
            }
            Ok(())
        }
        other => other,
    }
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: a plain system call on a descriptor that `file` keeps open.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, _len: u64) -> io::Result<()> {
    let _ = file.as_raw_fd();
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts a small file in place of the old one. `contents` is told the new file, before it has a name.
pub(crate) fn replace(
    dir: &Path,
    name: &str,
    contents: impl FnOnce(&File) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let bytes = contents(&file)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Opens the lock file and takes the lock. `None`: another process has it.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// The same, but somebody who only looks whether it is taken is waited for.
pub(crate) fn lock_patiently(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..5 {
        if let Some(file) = lock(path)? {
            return Ok(Some(file));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    lock(path)
}

/// Reads `len` bytes from `at` into `buf` (emptied first). What lies beyond the end is missing; a
/// block the disk cannot give is zeros, so that its neighbours are still found. False: there was one.
pub(crate) fn read_tolerant(file: &File, at: u64, len: usize, buf: &mut Vec<u8>) -> bool {
    buf.clear();
    buf.resize(len, 0);
    let (mut done, mut whole) = (0, true);
    while done < len {
        let Some(rest) = buf.get_mut(done..) else { break };
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                let (n, readable) = read_block(file, at + done as u64, rest);
                done += n;
                whole &= readable;
            }
        }
    }
    buf.truncate(done.min(len));
    whole
}

/// One block of a stretch that could not be read in one go: how far it went, and whether it could.
fn read_block(file: &File, at: u64, rest: &mut [u8]) -> (usize, bool) {
    let n = rest.len().min(PAGE - usize::try_from(at % PAGE as u64).unwrap_or(0));
    let Some(block) = rest.get_mut(..n) else { return (n, false) };
    let readable = file.read_exact_at(block, at).is_ok();
    if !readable {
        block.fill(0);
    }
    (n, readable)
}

/// Tells a file from its copy: a copy has another inode, or was born at another time. (A copy of
/// the whole block device has neither: nothing inside the directory can tell.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    pub ino: u64,
    /// ns since 1970; 0 where the file system does not know.
    pub born: u64,
}

pub(crate) fn file_id(file: &File) -> io::Result<FileId> {
    let meta = file.metadata()?;
    let born = meta.created().ok().and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
    let born = born.and_then(|d| u64::try_from(d.as_nanos()).ok()).unwrap_or(0);
    Ok(FileId { ino: meta.ino(), born })
}

/// Whether `path` still names `file`, with all its bytes.
pub(crate) fn in_place(file: &File, path: &Path, len: u64) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    held.dev() == named.dev() && held.ino() == named.ino() && held.nlink() > 0 && held.len() >= len
}

/// Whether a file still has a name and all its bytes.
pub(crate) fn linked(file: &File, len: u64) -> bool {
    file.metadata().is_ok_and(|m| m.nlink() > 0 && m.len() >= len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_file_has_its_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let file = create_reserved(&dir.path().join("f"), 1 << 20).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20);
    }

    #[test]
    fn no_file_is_left_when_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(create_reserved(&path, 1 << 60).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_copy_has_another_identity() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "x").unwrap();
        fs::copy(&a, &b).unwrap();
        let id = |p: &Path| file_id(&File::open(p).unwrap()).unwrap();
        assert_ne!(id(&a), id(&b));
        let before = id(&a);
        fs::rename(&a, dir.path().join("c")).unwrap();
        assert_eq!(before, id(&dir.path().join("c")));
    }

    #[test]
    fn a_file_that_was_moved_replaced_or_cut_is_not_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = create_reserved(&path, 8192).unwrap();
        assert!(in_place(&file, &path, 8192) && linked(&file, 8192));
        file.set_len(4096).unwrap();
        assert!(!in_place(&file, &path, 8192) && !linked(&file, 8192));
        file.set_len(8192).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!in_place(&file, &path, 8192) && !linked(&file, 8192));
        fs::write(&path, vec![0; 8192]).unwrap();
        assert!(!in_place(&file, &path, 8192));
    }
}
