//! The HTTP/2 frame relay: the same frames on, both ways, over one upstream connection per client
//! connection.
//!
//! A reader follows each direction frame by frame, decodes every header block in passing and tells
//! the [`Observer`](super::Observer) of each stream as of a call of HTTP/1.1. Flow control,
//! priorities, settings, pings and time-outs stay the endpoints' own.
//!
//! | file | owns |
//! |---|---|
//! | `link.rs` | the two sockets: reading, writing, draining, ending |
//! | `mux.rs` | what each frame means and whether it may pass; no I/O |
//! | `block.rs` | header blocks: requests, answers, trailers, promises |
//! | `answer.rs` | our own answers, and the client's window they use |
//! | `gate.rs` | calls that must be on the disk before they pass |
//! | `streams.rs` | the streams that are open, and those that were refused |
//! | `message.rs` | a header list as a message head, strictly |
//! | `hpack.rs`, `huffman.rs` | header compression |
//! | `frame.rs` | frame headers, and the few frames we write |
//!
//! Promises: frames unchanged and in order, but for those listed below; an answer's end is told
//! before its last byte is passed on; a refused stream dies alone; memory per direction bounded by
//! one header block ([`HeadLimits`](super::parse::HeadLimits)) or [`LARGE`](super::buffer::LARGE),
//! per connection by `max_streams` and by what may wait for the disk.
//!
//! What differs from the bytes received, and when:
//! - A refused stream is answered or reset by us and the service never sees it; the window of its
//!   DATA is given back. If its header block changed the compression table, later blocks of that
//!   direction are written anew as literals (fields and their order unchanged; padding and the
//!   deprecated priority are lost).
//! - A strict call's frames wait for the disk (`gate.rs`), and header blocks behind its own; other frames of
//!   other streams pass them.
//! - What the bodies of our own answers use of the client's window is kept back from its next WINDOW_UPDATE.
//! - `SETTINGS_HEADER_TABLE_SIZE` above [`hpack::MAX_TABLE`] is lowered in its place.
//! - While draining: a GOAWAY of ours and a PING to learn that it has arrived.
//!
//! Refuses: a stream whose request is uncertain (`message.rs`); the connection when the frames
//! themselves are, or when it is a flood. An answer may say what it likes: its end is always certain.
//! Never: waits for or re-orders streams that are not strict but as said; merges streams; translates to
//! HTTP/1.1. A service that does not speak HTTP/2 gets its client a GOAWAY (`HTTP_1_1_REQUIRED`).

mod answer;
mod block;
mod frame;
mod gate;
pub mod hpack;
mod huffman;
mod link;
mod message;
pub mod mux;
mod streams;

pub use link::Opening;

use std::time::Duration;

/// Bounds of one connection, beside those of heads.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams open at once. One more is refused so that the client may try again.
    pub max_streams: usize,
    /// Streams that a client may abandon before they are answered, or have refused, per second,
    /// averaged over ten. More end the connection. 0: any number.
    pub max_resets: u32,
    /// How long the body of a strict call is waited for, and other streams' heads with it.
    pub patience: Duration,
    /// Bytes that wait for the disk, of all streams.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_streams: 1000, max_resets: 200, patience: Duration::from_secs(1), held: 1 << 20 }
    }
}

/// The first line of what an HTTP/2 client says; no HTTP/1 request begins so.
pub fn is_preface(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\n")
}
