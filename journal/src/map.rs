//! A file's bytes as memory: the only place with `unsafe` memory access.
//!
//! Owns shared mappings of files whose blocks were reserved beforehand, so that a store cannot fail
//! for want of space. Promises that nothing is read through a mapping (readers use `pread`, which
//! reports a bad disk as an error instead of a signal) and that every store is inside it.
//!
//! What no program can prevent: another process cutting a mapped file short. A store beyond the new
//! end raises SIGBUS. The keeper looks at the files four times a second and moves to new ones, which
//! leaves a window; nobody but the journal may write in its directory.

use memmap2::{Advice, MmapOptions, MmapRaw, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Mapped {
    map: MmapRaw,
}

impl Mapped {
    /// Maps `len` bytes of a file that has them reserved.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Arc<Mapped>> {
        let map = MmapOptions::new().len(len).map_raw(file)?;
        Ok(Arc::new(Mapped { map }))
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Writes `from..to` to the disk and waits for it: an `fdatasync` of these pages only, which
    /// leaves the pages made ready ahead of the writer alone.
    pub(crate) fn flush(&self, from: usize, to: usize) -> io::Result<()> {
        self.map.flush_range(from, to.saturating_sub(from))
    }

    /// Takes the page faults of `from..to` now, off the writer's path. A kernel that cannot (before
    /// 5.14) leaves them to the writer.
    pub(crate) fn populate(&self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from < to {
            #[cfg(target_os = "linux")]
            let _ = self.map.advise_range(Advice::PopulateWrite, from, to - from);
            #[cfg(not(target_os = "linux"))]
            let _ = self.map.advise_range(Advice::WillNeed, from, to - from);
        }
    }

    /// Gives the pages of `from..to` back to the page cache: resident memory stays small.
    pub(crate) fn release(&self, from: usize, to: usize) {
        let to = to.min(self.len());
        if from < to {
            // SAFETY: this is a shared mapping of a file: MADV_DONTNEED drops page-table entries,
            // the contents stay in the page cache and come back at the next access.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, from, to - from) };
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len(), "a word outside the mapping");
        // SAFETY: inside the mapping (checked), aligned (checked; mappings start at a page), and
        // alive as long as `self`. Words reached here are only ever accessed as atomics: a Pen owns
        // a mapping of its own, whose words it stores at frame starts it alone is writing.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }

    /// Stores a word after everything this thread stored before.
    pub(crate) fn store(&self, at: usize, word: u64) {
        self.word(at).store(word, Ordering::Release);
    }

    /// Stores bytes word by word, the last one filled with zeros; `at` is a multiple of eight.
    pub(crate) fn store_bytes(&self, at: usize, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0u8; 8];
            super::frame::put(&mut word, 0, chunk);
            self.word(at + i * 8).store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

/// The one writer of a mapping.
pub(crate) struct Pen {
    map: Arc<Mapped>,
}

impl Pen {
    /// Call once per mapping: the pen must be the only one.
    pub(crate) fn new(map: &Arc<Mapped>) -> Pen {
        Pen { map: Arc::clone(map) }
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.map.len()), "a write outside the mapping");
        // SAFETY: the target is inside the mapping (checked) and cannot overlap `bytes`, since no
        // reference into the mapping is ever handed out. `&mut self` of the only pen means no other
        // thread of this process stores here; nothing loads through the mapping.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.map.as_mut_ptr().add(at), bytes.len());
        }
    }

    /// Writes what `word` holds after everything written before.
    pub(crate) fn seal(&mut self, at: usize, word: [u8; 8]) {
        self.map.store(at, u64::from_ne_bytes(word));
    }
}
