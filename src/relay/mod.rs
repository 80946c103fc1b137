//! The HTTP/1.x byte relay, and in `h2` the HTTP/2 frame relay.
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
//! Never: interprets `Connection`, retries, pools, re-orders, adds a byte but for the field of [`Forward`],
//! where that is asked for, or removes one but of an offer that is not allowed ([`Upgrades`]).

pub mod buffer;
mod connection;
mod forward;
pub mod framing;
mod grammar;
pub mod h2;
mod lane;
pub mod parse;
mod upgrade;
mod wire;

pub use connection::{Connection, Settings};
pub use forward::Forward;
pub use parse::{Refusal, RequestFraming};
pub use upgrade::{Offer, Others, Upgrade, Upgrades, without_offer};
pub use wire::{Dial, DialError, Protocol, Wire};

use crate::head::Head;
use std::pin::Pin;

/// Watches the calls of one connection.
pub trait Observer {
    type Call: Call;

    /// A request may pass: called once its head is whole, before its first byte is forwarded. An
    /// error refuses the request after all.
    fn begin(&mut self, head: Head<'_>, framing: &RequestFraming) -> Result<Self::Call, Refusal>;

    /// The service cannot be connected to; the client gets 502.
    fn unreachable(&mut self);

    /// A call has ended for what its request turned out to be after its head, for a tunnel nobody had
    /// asked for, or because it could not be put on the disk. `recorded`: its own event tells.
    fn malformed(&mut self, refusal: Refusal, _recorded: bool) {
        self.refused(refusal, &[]);
    }

    /// A request was refused. `received`: what there is of its head.
    fn refused(&mut self, refusal: Refusal, received: &[u8]);

    /// A strict call goes on before what is kept of its body was on the disk, for one of the reasons in
    /// [`streamed`]; its last bytes still wait.
    fn streamed(&mut self, _why: &'static str) {}

    /// The client speaks HTTP/2 on this connection; there may be many calls at once.
    fn http2(&mut self) {}

    /// The service does not answer HTTP/2 with HTTP/2; the client gets a GOAWAY.
    fn upstream_not_http2(&mut self) {}
}

/// Why a strict call is not held until its body is on the disk.
pub mod streamed {
    /// The body took too long.
    pub const PATIENCE: &str = "patience";
    /// More waited, of this connection, than may.
    pub const SIZE: &str = "size";
    /// The service lets the client send no more before it has seen some.
    pub const WINDOW: &str = "window";
    /// The client waits for `100 Continue`.
    pub const CONTINUE: &str = "continue";
}

/// Resolves when a call is on the disk.
pub type Commit = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// Watches one call. All methods are synchronous and see slices of the relay's own buffers.
pub trait Call {
    /// Whether its end leaves an event.
    fn is_recorded(&self) -> bool {
        true
    }
    /// Asked once, after `begin`: whether nothing may be forwarded before [`Call::commit`] succeeded,
    /// and how much of the body is to be held until then.
    fn hold(&self) -> Option<usize> {
        None
    }
    /// Puts what is known of the call on the disk; an error refuses it. `whole`: the request's end has
    /// been seen. Comes a second time, before the request's last bytes are forwarded, if it had to be
    /// forwarded before its body was here.
    fn commit(&mut self, _whole: bool) -> Commit {
        Box::pin(std::future::ready(Ok(())))
    }
    fn request_body(&mut self, bytes: &[u8]);
    /// The final response head (or a 101); interim ones are not reported.
    fn response_head(&mut self, head: Head<'_>);
    fn response_body(&mut self, bytes: &[u8]);
    /// The fields after the body (HTTP/2 only).
    fn response_trailers(&mut self, _fields: Head<'_>) {}
    /// The tunnel after a 101 (HTTP/2: a 2xx to an extended CONNECT) is open; body bytes now are tunnel bytes.
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
impl Settings {
    /// For tests that wait for the time-outs.
    pub(crate) fn brief(within: std::time::Duration) -> Settings {
        let limits = parse::HeadLimits { max_bytes: 64 << 10, max_fields: 100 };
        Settings { limits, head_timeout: within, stall_timeout: within, ..Settings::default() }
    }
}

#[cfg(test)]
mod hold_tests;
#[cfg(test)]
mod tests;
