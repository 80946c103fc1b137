//! Answers of our own, and the client's window that their bodies use.
//!
//! The service counts what it may still send to the client, and knows nothing of bodies of ours. So what one
//! of them has used is taken off the client's next WINDOW_UPDATE of the connection; until then DATA of the
//! service that the client could not take waits. A body that the client has no window for is left out.

use super::frame::{self, HEADER, Header, MAX_STREAM, code};
use super::hpack::put_literal;
use super::mux::{Mux, Side, Step};
use super::streams::Fate;
use crate::relay::Observer;
use crate::relay::parse::Refusal;

/// What the client takes.
pub(super) struct Credit {
    /// On the connection.
    connection: i64,
    /// On a new stream.
    pub stream: usize,
    /// Used by us and not yet kept back from the service.
    debt: u32,
    /// DATA of the service waits for more.
    overdrawn: bool,
}

impl Default for Credit {
    fn default() -> Self {
        let first = frame::FIRST_WINDOW;
        Credit { connection: i64::from(first), stream: first as usize, debt: 0, overdrawn: false }
    }
}

impl<O: Observer> Mux<O> {
    /// Answers a stream that the service does not know, or that is reset there.
    pub(super) fn answer(&mut self, id: u32, end: bool, refusal: Refusal) {
        let body = refusal.problem().unwrap_or_default();
        let used = body.len();
        let fits = used > 0 && used <= self.credit.stream && used as i64 <= self.credit.connection;
        let mut fields = Vec::new();
        if refusal.status == 503 {
            put_literal(&mut fields, b"retry-after", b"5");
        }
        if fits {
            put_literal(&mut fields, b"content-type", b"application/problem+json");
            self.credit.connection -= used as i64;
            self.credit.debt += used as u32;
        }
        let inject = self.inject(Side::Service);
        frame::put_answer(inject, id, refusal.status, &fields, if fits { body.as_bytes() } else { &[] });
        if !end {
            // RFC 9113 §8.1: the client need not send the rest.
            frame::put_reset(inject, id, code::NO_ERROR);
        }
        self.streams.remember(id, Fate::Refused);
    }

    /// The client takes more; the service hears of what we have not used.
    pub(super) fn client_window(&mut self, header: Header, bytes: &[u8]) -> Step {
        let Some(whole) = bytes.get(..header.total()) else { return Step::More };
        let more = frame::word(whole, HEADER).unwrap_or_default() & MAX_STREAM;
        self.credit.connection += i64::from(more);
        self.credit.overdrawn = false;
        let kept = self.credit.debt.min(more.saturating_sub(1));
        if kept == 0 {
            return Step::Pass(whole.len());
        }
        self.credit.debt -= kept;
        self.made.clear();
        frame::put_window(&mut self.made, more - kept);
        Step::Replace(whole.len())
    }

    /// Whether the client cannot take this DATA of the service because of what we have sent. It is
    /// counted if it can.
    pub(super) fn overdraws(&mut self, n: usize) -> bool {
        self.credit.overdrawn = self.credit.debt > 0 && n as i64 > self.credit.connection;
        if !self.credit.overdrawn {
            self.credit.connection -= n as i64;
        }
        self.credit.overdrawn
    }

    /// Whether DATA of the service waits for the client.
    pub fn is_overdrawn(&self) -> bool {
        self.credit.overdrawn
    }
}
