//! The HTTP/1.x byte relay.
//!
//! One client connection, one upstream connection, the same bytes both ways. A strict parser reads
//! along and decides only two things: whether a request may pass, and where each message ends. What
//! it learns it tells an [`Observer`]; the observer never slows, buffers or changes traffic, but it
//! is told of a call's end *before* the last byte of the answer is passed on, so that no client ever
//! saw an answer of which there is no record.
//!
//! Promises: bytes unchanged and in order; a call's bytes are forwarded only between its `begin` and
//! its end; memory per direction bounded by [`buffer::LARGE`] (a head: by its own limit); no time-out
//! but where the relay alone holds a connection open: a client that dawdles over a head, a peer that
//! takes nothing of what is left when the other has finished, silence after a FIN.
//! Refuses: everything `parse.rs` and `framing.rs` call uncertain.
//! Never: interprets `Connection`, retries, pools, re-orders, removes a byte, or adds one but for the
//! field of [`Forward`], where that is asked for.

pub mod buffer;
mod connection;
mod forward;
pub mod framing;
mod grammar;
mod lane;
pub mod parse;
mod upgrade;
mod wire;

pub use connection::{Connection, Settings};
pub use forward::Forward;
pub use parse::{Refusal, RequestFraming};
pub use upgrade::{Upgrade, Upgrades};
pub use wire::{Dial, DialError, Wire};

use crate::head::Head;

/// Watches the calls of one connection.
pub trait Observer {
    type Call: Call;

    /// A request may pass: called once its head is whole, before its first byte is forwarded. An
    /// error refuses the request after all.
    fn begin(&mut self, head: Head<'_>, framing: &RequestFraming) -> Result<Self::Call, Refusal>;

    /// The service cannot be connected to; the client gets 502.
    fn unreachable(&mut self);

    /// The call that has just ended was cut off for what its request turned out to be after its head, or
    /// for a tunnel nobody had asked for. The call was told; this is for the count of refusals.
    fn malformed(&mut self, refusal: Refusal) {
        self.refused(refusal, &[]);
    }

    /// A request was refused. `received`: what there is of its head.
    fn refused(&mut self, refusal: Refusal, received: &[u8]);
}

/// Watches one call. All methods are synchronous and see slices of the relay's own buffers.
pub trait Call {
    fn request_body(&mut self, bytes: &[u8]);
    /// The final response head (or a 101); interim ones are not reported.
    fn response_head(&mut self, head: Head<'_>);
    fn response_body(&mut self, bytes: &[u8]);
    /// The tunnel after a 101 is open; body bytes now are tunnel bytes.
    fn tunnel(&mut self);
    /// Exactly once, before the last byte of the response is passed on. Dropping a call without it
    /// means the relay itself was stopped.
    fn end(&mut self, end: End);
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub request: BodyEnd,
    pub response: BodyEnd,
    /// What broke, from the set of `AuditEvent::error`.
    pub error: Option<&'static str>,
    /// The status Sidelog itself answered, when the service's answer could not be passed on.
    pub own_status: Option<u16>,
}

/// How far a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    Complete,
    /// Still under way when the other message ended.
    Open,
    /// Broken off.
    Aborted,
}

#[cfg(test)]
mod tests;
