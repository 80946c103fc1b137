//! Wakes readers that wait, and costs those who ring almost nothing when none does.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct Bell {
    waiting: AtomicUsize,
    gate: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// After the news was stored.
    pub(crate) fn ring(&self) {
        // Pairs with the fence in `wait`: either this sees the waiter or the waiter sees the news.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            // A waiter holds the gate from its last look until it sleeps: once the gate is ours, it
            // sleeps and hears the bell.
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.rung.notify_all();
        }
    }

    /// Returns when `news` is true or the time is over.
    pub(crate) fn wait(&self, timeout: Duration, news: impl Fn() -> bool) {
        let until = Instant::now() + timeout;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || news() {
                break;
            }
            gate = self.rung.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(gate);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn no_news_is_missed() {
        let shared = Arc::new((Bell::default(), AtomicU64::new(0)));
        let rounds = 20_000;
        let other = Arc::clone(&shared);
        let writer = std::thread::spawn(move || {
            for n in 1..=rounds {
                other.1.store(n, Ordering::Release);
                other.0.ring();
            }
        });
        let started = Instant::now();
        let mut seen = 0;
        while seen < rounds {
            shared.0.wait(Duration::from_secs(20), || shared.1.load(Ordering::Acquire) > seen);
            seen = shared.1.load(Ordering::Acquire);
        }
        writer.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "a wake-up was missed");
    }
}
