//! When many connections have ended, or documents have been read, the memory they used goes back to the
//! system.
//!
//! The allocator keeps what is freed for the next connection, which is right while they come and go. After
//! a flood it would keep it for good: glibc gives back only what lies at the end of its heaps, and something
//! small nearly always lies there. Asking it takes milliseconds, so it is asked rarely, and never by a
//! thread that relays.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer connections are not worth it.
const MANY: usize = 256;
/// How far their number must have fallen.
const FALL: usize = 4;

/// The most connections there were since memory was given back.
#[derive(Debug, Default)]
pub struct Tide {
    peak: AtomicUsize,
}

impl Tide {
    /// One more, so that there are `open`.
    pub fn rise(&self, open: usize) {
        self.peak.fetch_max(open, Ordering::Relaxed);
    }

    /// One less. True: it is time to give memory back; said once for each fall.
    pub fn falls(&self, open: usize) -> bool {
        let peak = self.peak.load(Ordering::Relaxed);
        let low = peak >= MANY && open <= peak / FALL;
        low && self.peak.compare_exchange(peak, open, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Has the allocator keep little at the end of its heaps, for the whole process; called before anything
/// large is read. By itself it learns from each large block that is freed to take the next one from a heap,
/// and to keep twice as much there: after GitHub's document of 13 MB up to 26 MB (`mallopt(3)`, the dynamic
/// thresholds).
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: numbers only; the allocator locks itself.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// Gives back what is free. Takes milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes no memory from us, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_told_once_and_small_ones_are_not() {
        let tide = Tide::default();
        let told =
            |from: usize, to: usize| (to..from).rev().filter(|open| tide.falls(*open)).collect::<Vec<_>>();
        (1..=4000).for_each(|open| tide.rise(open));
        assert_eq!(told(4000, 600), [1000]);
        (600..=700).for_each(|open| tide.rise(open));
        assert_eq!(told(700, 0), [250], "from the thousand that were left");
        (1..=255).for_each(|open| tide.rise(open));
        assert_eq!(told(255, 0), [0; 0]);
    }
}
