//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

/// Asks `condition` again and again; panics with `message` when it is still false after `within`.
#[track_caller]
pub fn wait_until<C: AsyncFnMut() -> bool>(
    within: Duration,
    message: &str,
    mut condition: C,
) -> impl Future<Output = ()> {
    wait_for(within, message, async move || condition().await.then_some(()))
}

/// Asks `question` again and again until it has an answer; panics with `message` when there is
/// none after `within`.
pub async fn wait_for<T, Q: AsyncFnMut() -> Option<T>>(
    within: Duration,
    message: &str,
    mut question: Q,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {message}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
