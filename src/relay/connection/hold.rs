//! Calls that must be on the disk before they reach the service.
//!
//! Promises: nothing of such a call is forwarded before its first commit succeeded. A body that fits the
//! bound is held whole until then; of a longer one, what fits. One that cannot be waited for (the client
//! waits for `100 Continue`, or dawdles) is forwarded after that commit, but for its last bytes, which
//! wait for a second one: without them the service has no complete request.
//! Memory: the head and the bound, at most, and only while waiting.

use super::super::buffer::Fill;
use super::super::parse::Refusal;
use super::super::{Call, Commit, Observer, streamed};
use super::{Connection, Settings, Wire};
use crate::head::Head;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Between the service and the end of a request.
pub(super) enum Gate {
    Open,
    /// The request's last bytes need a commit.
    Armed,
    Closed(Commit),
}

impl Gate {
    /// Whether bytes may pass.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Refusal> {
        let Gate::Closed(commit) = self else { return Ok(true) };
        match commit.as_mut().poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(result) => {
                *self = Gate::Open;
                result.map(|()| true)
            }
        }
    }

    /// The request's end has been read and not yet forwarded.
    pub(super) fn end<C: Call>(&mut self, call: &mut Option<C>) {
        if let Gate::Armed = self {
            *self = call.as_mut().map_or(Gate::Open, |call| Gate::Closed(call.commit(true)));
        }
    }
}

/// Why a held call goes no further.
pub(super) enum Stop {
    /// The body is malformed, or the call could not be put on the disk.
    Refused(Refusal, &'static str),
    ClientClosed,
    ClientReset,
}

/// How much of a request is here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Whole,
    /// As much as is kept of any body.
    Full,
    /// The rest cannot be waited for.
    Part,
}

impl<C: Wire, O: Observer, U: Wire> Connection<C, O, U> {
    /// Returns when the request may be forwarded. `head`: bytes of its head.
    pub(super) async fn hold(&mut self, head: usize, settings: &Settings) -> Result<(), Stop> {
        self.gate = Gate::Open;
        let Some(bound) = self.call.as_ref().and_then(Call::hold) else { return Ok(()) };
        let held = Box::pin(self.gather(head, bound, settings)).await?;
        let Some(call) = &mut self.call else { return Ok(()) };
        let committed = call.commit(held == Held::Whole).await;
        committed.map_err(|refusal| Stop::Refused(refusal, refusal.reason))?;
        if held == Held::Part {
            self.gate = Gate::Armed;
        }
        Ok(())
    }

    async fn gather(&mut self, head: usize, bound: usize, settings: &Settings) -> Result<Held, Stop> {
        let by = tokio::time::Instant::now() + settings.head_timeout;
        let bound = head + bound;
        loop {
            if self.up.framer.is_done() {
                return Ok(Held::Whole);
            }
            if self.up.buffer.len() >= bound {
                return Ok(Held::Full);
            }
            if self.expects_continue(head) {
                self.observer.streamed(streamed::CONTINUE);
                return Ok(Held::Part);
            }
            let fill = poll_fn(|cx| self.up.buffer.poll_fill(cx, &mut self.client, true, bound));
            match tokio::time::timeout_at(by, fill).await {
                Err(_) => {
                    self.observer.streamed(streamed::PATIENCE);
                    return Ok(Held::Part);
                }
                Ok(Err(_)) => return Err(Stop::ClientReset),
                Ok(Ok(Fill::Eof)) => {
                    self.up.eof = true;
                    return Err(Stop::ClientClosed);
                }
                Ok(Ok(Fill::Full)) => return Ok(Held::Full),
                Ok(Ok(Fill::Read(_))) => self.read_held()?,
            }
        }
    }

    fn expects_continue(&self, head: usize) -> bool {
        let raw = self.up.buffer.bytes().get(..head).unwrap_or_default();
        let expect = Head { raw, index: &self.request_index }.first("expect");
        expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    fn read_held(&mut self) -> Result<(), Stop> {
        let Self { up, call, .. } = self;
        let fresh = up.buffer.bytes().get(up.ready..).unwrap_or_default();
        let fed = up.framer.feed(fresh, |bytes| {
            if let Some(call) = call {
                call.request_body(bytes);
            }
        });
        let malformed = |reason| Stop::Refused(Refusal { status: 400, reason }, "request_malformed");
        up.ready += fed.map_err(malformed)?;
        Ok(())
    }

    pub(super) async fn stop_held(mut self: Box<Self>, stop: Stop, settings: &Settings) {
        match stop {
            Stop::Refused(refusal, error) => {
                self.recorded = false;
                self.end_call(Some(error), Some(refusal.status));
                self.observer.malformed(refusal, self.recorded);
                self.answer(refusal.status, refusal.reason, settings).await;
            }
            Stop::ClientClosed => {
                self.end_call(Some("client_reset"), None);
                self.close(settings).await;
            }
            Stop::ClientReset => {
                self.end_call(Some("client_reset"), None);
                self.reset();
            }
        }
    }
}

/// What an answer of our own says beside its status: for a refusal by the journal, fields and body of
/// RFC 9457.
pub(super) fn problem(status: u16, reason: &'static str) -> (&'static str, String) {
    let body = Refusal { status, reason }.problem();
    let fields = "Content-Type: application/problem+json\r\nRetry-After: 5\r\n";
    body.map_or(("", String::new()), |body| (fields, body))
}
