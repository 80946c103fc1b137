//! A durable, bounded queue on disk, and a table of open calls beside it.
mod bell;
mod core;
mod cursor;
mod disk;
mod frame;
mod journal;
mod keeper;
mod losses;
mod map;
mod open_calls;
mod plan;
mod producer;
mod reader;
mod recover;
mod segment;
mod sync;
mod types;

pub use journal::Journal;
pub use open_calls::Slot;
pub use reader::Reader;
pub use types::{
    ClaimError, Kind, Lost, Mark, Missing, OpenError, Opened, Options, Orphan, Reason, Record, Recovery,
    Refused, Stats, Storable, SyncFailed,
};
