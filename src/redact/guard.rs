//! What becomes of a panic in the redactor: nothing of the value it was about is kept, printed or
//! passed on.
//!
//! A panic's message may hold what was being read (a text that was sliced, a value that was
//! formatted), so while [`guarded`] runs, the process's panic hook tells the place only.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Puts a hook before the present one that keeps silent about messages of panics in here. Once per
/// process; a hook set later must do the same.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                return before(panic);
            }
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "redaction failed; what it was about is not stored");
        }));
    });
}

/// `None`: it panicked, and what it has changed by then is not to be trusted.
pub(super) fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    INSIDE.set(outer);
    result.ok()
}
