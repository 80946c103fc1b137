//! The journal from outside: through its API, its files, and its death.
//!
//! | file | what is promised |
//! |---|---|
//! | life.rs   | append, read, commit, reopen, close; the bound; open calls; one owner; copies |
//! | damage.rs | any byte flipped, any cut: everything else is read, and the loss is named |
//! | model.rs  | random histories against a model |
//! | kill.rs   | SIGKILL at any moment |
//! | faults.rs | files removed or cut under a running journal |
//! | inspect.rs | looking at a directory, in use or not, and mending it |

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod damage;
mod faults;
mod inspect;
mod kill;
mod life;
mod model;
mod support;
