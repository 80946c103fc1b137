//! Calls that must be on the disk before they reach the service.
//!
//! Promises: nothing of such a call is forwarded before its commit succeeded, and of one whose body is here
//! in time, that commit covers the body. A longer one, one whose client dawdles (`Limits::patience`), waits for
//! `100 Continue` or has no window left is forwarded once its head is on the disk, but for the frame that ends
//! it, which waits for a second commit: without it the service has no complete request. If a commit fails the
//! stream is answered with 503, alone.
//!
//! How: what waits is taken out of the connection's order and copied, so that frames of other streams pass.
//! Not so header blocks: they share one compression table and open streams in rising order. A block behind
//! one that waits waits too, whoever's it is, and its stream's DATA with it. So blocks reach the service as
//! the client sent them. Where one is left out after all (refused, or reset by its client), those behind it
//! are written anew as literals, which each of them is kept as, too.
//!
//! Memory: `Limits::held` per connection and one block; nothing more is read of this client then. The client's
//! window is not extended for it: the service's own, as far as the client has used it up.

use super::frame::{self, Header, code, flag};
use super::mux::{Mux, Side, Way};
use super::streams::Fate;
use crate::head::Head;
use crate::relay::buffer::LARGE;
use crate::relay::parse::Refusal;
use crate::relay::{BodyEnd, Call, Commit, End, Observer, streamed};
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Instant;

/// What frames wait for.
pub(super) enum State {
    /// The rest of the body, up to so much of it.
    Body {
        until: Instant,
        bound: usize,
        /// The service's window is the bound, and not what is kept of a body.
        narrow: bool,
    },
    /// The rest of the frame that ends the request.
    End,
    Disk(Commit),
    /// Only for their turn.
    Turn,
}

/// Frames of one stream that follow each other.
struct Held {
    stream: u32,
    frames: Vec<u8>,
    /// How many bytes of them are a header block, and this block as literals.
    block: usize,
    literals: Vec<u8>,
    /// The block has changed the compression table.
    touched: bool,
    /// It opens the stream: the service does not know it yet.
    opens: bool,
    /// Window of the connection used by DATA.
    window: usize,
    state: State,
}

impl Held {
    fn new(stream: u32, state: State) -> Held {
        let (frames, literals) = Default::default();
        Held { stream, frames, block: 0, literals, touched: false, opens: false, window: 0, state }
    }

    fn size(&self) -> usize {
        self.frames.len() + self.literals.len()
    }
}

/// A header block that is to wait.
pub(super) struct Block<'b> {
    pub stream: u32,
    pub frames: &'b [u8],
    pub literals: Vec<u8>,
    pub touched: bool,
    pub opens: bool,
}

/// What of a client's frames waits, in the order it came.
pub(super) struct Gate {
    waiting: VecDeque<Held>,
    pub(super) size: usize,
    /// Of `size`.
    bound: usize,
    /// Nothing more of the client can be taken before some of it is gone.
    stuck: bool,
}

impl Gate {
    pub(super) fn new(bound: usize) -> Gate {
        Gate { waiting: VecDeque::new(), size: 0, bound, stuck: false }
    }

    /// Whether a header block must wait for another one.
    pub(super) fn has_blocks(&self) -> bool {
        self.waiting.iter().any(|held| held.block > 0)
    }

    fn last(&mut self, stream: u32) -> Option<&mut Held> {
        self.waiting.iter_mut().rev().find(|held| held.stream == stream)
    }

    fn has(&self, stream: u32) -> bool {
        self.waiting.iter().any(|held| held.stream == stream)
    }

    fn fits(&self, more: usize) -> bool {
        self.size + more <= self.bound
    }

    fn append(&mut self, stream: u32, bytes: &[u8]) {
        if let Some(held) = self.last(stream) {
            held.frames.extend_from_slice(bytes);
            self.size += bytes.len();
        }
    }

    /// Takes out one that may go.
    fn next(&mut self, busy: Option<u32>) -> Option<Held> {
        let mut blocks = false;
        for (at, held) in self.waiting.iter().enumerate() {
            let ready = matches!(held.state, State::Turn) && busy != Some(held.stream);
            let behind = |earlier: &Held| earlier.stream == held.stream;
            let behind = (blocks && held.block > 0) || self.waiting.iter().take(at).any(behind);
            if ready && !behind {
                return self.take(at);
            }
            blocks |= held.block > 0;
        }
        None
    }

    fn take(&mut self, at: usize) -> Option<Held> {
        let held = self.waiting.remove(at)?;
        self.size -= held.size();
        self.stuck = false;
        Some(held)
    }
}

impl<O: Observer> Mux<O> {
    /// Whether frames wait for the disk or for others that do.
    pub fn is_holding(&self) -> bool {
        !self.gate.waiting.is_empty()
    }

    /// Nothing more of the client can be taken until [`Mux::poll_gate`] has made room.
    pub fn is_stuck(&self) -> bool {
        self.gate.stuck
    }

    /// When a body has been waited for long enough.
    pub fn gathers_until(&self) -> Option<Instant> {
        self.gate.waiting.iter().find_map(|held| match held.state {
            State::Body { until, .. } => Some(until),
            _ => None,
        })
    }

    /// Asks after the commits that are under way; what may pass then waits in [`Mux::speak`].
    pub fn poll_gate(&mut self, cx: &mut Context<'_>, now: Instant) {
        let mut failed = Vec::new();
        for at in 0..self.gate.waiting.len() {
            let Some(held) = self.gate.waiting.get(at) else { break };
            if matches!(held.state, State::Body { until, .. } if now >= until) {
                self.go_on(at, streamed::PATIENCE);
            }
            let Some(held) = self.gate.waiting.get_mut(at) else { break };
            let State::Disk(commit) = &mut held.state else { continue };
            let Poll::Ready(result) = commit.as_mut().poll(cx) else { continue };
            held.state = State::Turn;
            if let Err(refusal) = result {
                failed.push((held.stream, refusal));
            }
        }
        for (stream, refusal) in failed {
            // Both commits of a call may have failed.
            if self.gate.has(stream) {
                self.not_on_disk(stream, refusal);
            }
        }
        self.release();
    }

    /// What a new stream, whose head has just been read, waits for, if it does.
    pub(super) fn gate_head(&mut self, id: u32, end: bool) -> Option<State> {
        let stream = self.streams.get_mut(id)?;
        let bound = stream.call.as_ref()?.hold()?;
        if end || stream.tunnel {
            return Some(self.commit(id, true));
        }
        let head = Head { raw: &self.list.bytes, index: &self.index };
        let expects = head.first("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        let (kept, bound) = (bound, bound.min(self.stream_window));
        let narrow = bound < kept;
        if expects || bound == 0 {
            if expects || narrow {
                self.observer.streamed(if expects { streamed::CONTINUE } else { streamed::WINDOW });
            }
            return Some(self.commit(id, false));
        }
        Some(State::Body { until: Instant::now() + self.bounds.patience, bound, narrow })
    }

    /// What trailers wait for, if they do.
    pub(super) fn gate_trailers(&mut self, id: u32) -> Option<State> {
        if self.is_gated(id) {
            return Some(self.commit(id, true));
        }
        if matches!(self.gate.last(id)?.state, State::Body { .. }) {
            let state = self.commit(id, true);
            self.gate.last(id)?.state = state;
        }
        // Behind the head, as it is a block.
        None
    }

    pub(super) fn hold_block(&mut self, block: Block<'_>, state: State) {
        let Block { stream, frames, literals, touched, opens } = block;
        let (block, frames) = (frames.len(), frames.to_vec());
        let held = Held { frames, block, literals, touched, opens, ..Held::new(stream, state) };
        self.gate.size += held.size();
        self.gate.waiting.push_back(held);
        self.release();
    }

    /// Whether no frame of `n` bytes can be taken now that may have to wait.
    pub(super) fn has_no_room(&mut self, n: usize) -> bool {
        if self.gate.waiting.is_empty() || self.gate.fits(n) {
            return false;
        }
        self.wait_for_room();
        true
    }

    /// Whether DATA cannot be taken yet. Asked before anything else is done with it.
    pub(super) fn must_wait(&mut self, header: Header) -> bool {
        let id = header.stream;
        let ends = header.has(flag::END_STREAM) && self.is_gated(id);
        if !ends && !self.gate.has(id) {
            return false;
        }
        if header.total() <= LARGE {
            return self.has_no_room(header.total());
        }
        // Too long to be kept: it passes, in pieces, when what is before it is on the disk.
        if !self.gate.has(id) {
            let state = self.commit(id, false);
            if let Some(stream) = self.streams.get_mut(id) {
                stream.gated = false;
            }
            self.gate.waiting.push_back(Held::new(id, state));
        } else if let Some(at) = self.gate.waiting.iter().position(|held| held.stream == id) {
            self.go_on(at, streamed::SIZE);
        }
        self.wait_for_room();
        true
    }

    /// What becomes of DATA that passes in the end.
    pub(super) fn way_of_data(&mut self, header: Header) -> Way {
        let id = header.stream;
        if header.has(flag::END_STREAM) && self.is_gated(id) {
            self.gate.waiting.push_back(Held::new(id, State::End));
        }
        match self.gate.last(id) {
            Some(held) => {
                held.window += header.len;
                Way::Hold
            }
            None => Way::Pass,
        }
    }

    /// Whether the service does not know this stream because its head still waits.
    pub(super) fn is_unopened(&self, id: u32) -> bool {
        self.gate.waiting.iter().any(|held| held.stream == id && held.opens)
    }

    /// Bytes of a frame that waits. `over`: they are its last.
    pub(super) fn hold_piece(&mut self, id: u32, bytes: &[u8], over: bool, end: bool) {
        self.gate.append(id, bytes);
        if !over {
            return;
        }
        let gated = self.is_gated(id);
        let Some(held) = self.gate.last(id) else { return };
        let state = match held.state {
            State::Body { .. } if end => Some(self.commit(id, true)),
            State::Body { bound, narrow, .. } if held.window >= bound => {
                if narrow {
                    self.observer.streamed(streamed::WINDOW);
                }
                Some(self.commit(id, false))
            }
            // Also when patience ended in the middle of this frame.
            _ if end && gated => Some(self.commit(id, true)),
            State::End => Some(State::Turn),
            _ => None,
        };
        if let Some((held, state)) = self.gate.last(id).zip(state) {
            held.state = state;
        }
        if end {
            self.end_side(Side::Client, id);
        }
        if self.window <= 0 {
            // No more will come of any body before some of it has been passed on.
            self.go_on_first(streamed::WINDOW);
        }
        self.release();
    }

    /// Forgets the frames of a stream. True: the service has never heard of it.
    pub(super) fn let_go(&mut self, id: u32) -> bool {
        let (mut unopened, mut at) = (false, 0);
        while let Some(held) = self.gate.waiting.get(at) {
            if held.stream != id {
                at += 1;
                continue;
            }
            let Some(held) = self.gate.take(at) else { break };
            unopened |= held.opens;
            if held.touched && self.client.rewrite.is_none() {
                self.client.rewrite = Some(false);
            }
            self.service.owe(held.window);
        }
        self.client.leave_out(id);
        unopened
    }

    /// The client will say no more: what is incomplete does not reach the service.
    pub fn client_ended(&mut self) {
        let busy = self.client.holding();
        let incomplete =
            |held: &Held| matches!(held.state, State::Body { .. } | State::End) || busy == Some(held.stream);
        while let Some(held) = self.gate.waiting.iter().find(|held| incomplete(held)) {
            let id = held.stream;
            if !self.let_go(id) {
                frame::put_reset(self.inject(Side::Client), id, code::CANCEL);
            }
            self.break_off(id, "client_reset");
        }
        self.release();
    }

    fn is_gated(&mut self, id: u32) -> bool {
        self.streams.get_mut(id).is_some_and(|stream| stream.gated && stream.call.is_some())
    }

    /// Puts what there is of a call on the disk. If that is not all, the end needs a commit too.
    fn commit(&mut self, id: u32, whole: bool) -> State {
        let Some(stream) = self.streams.get_mut(id) else { return State::Turn };
        stream.gated = !whole;
        stream.call.as_mut().map_or(State::Turn, |call| State::Disk(call.commit(whole)))
    }

    /// The rest of a body is not waited for.
    fn go_on(&mut self, at: usize, why: &'static str) {
        let Some(held) = self.gate.waiting.get(at) else { return };
        if let State::Body { .. } = held.state {
            self.observer.streamed(why);
            let state = self.commit(held.stream, false);
            if let Some(held) = self.gate.waiting.get_mut(at) {
                held.state = state;
            }
        }
    }

    /// The same of the one that all others wait for.
    fn go_on_first(&mut self, why: &'static str) {
        if let Some(at) = self.gate.waiting.iter().position(|held| held.block > 0) {
            self.go_on(at, why);
        }
    }

    fn wait_for_room(&mut self) {
        self.gate.stuck = true;
        self.go_on_first(streamed::SIZE);
        self.release();
    }

    /// Lets go on what may.
    pub(super) fn release(&mut self) {
        while let Some(held) = self.gate.next(self.client.holding()) {
            let literal = held.block > 0 && self.client.rewrite.is_some();
            let rest = if literal {
                self.client.rewrite = Some(true);
                self.released.extend_from_slice(&held.literals);
                held.block
            } else {
                0
            };
            self.released.extend_from_slice(held.frames.get(rest..).unwrap_or_default());
        }
    }

    /// The stream goes no further; the others do.
    fn not_on_disk(&mut self, id: u32, refusal: Refusal) {
        let unopened = self.let_go(id);
        // One that has ended meanwhile has been told.
        let call = self.streams.get_mut(id).and_then(|stream| stream.call.as_ref());
        let recorded = call.is_none_or(Call::is_recorded);
        self.observer.malformed(refusal, recorded);
        if !unopened {
            frame::put_reset(self.inject(Side::Client), id, code::CANCEL);
        }
        let Some(mut stream) = self.streams.remove(id) else {
            return self.streams.remember(id, Fate::Refused);
        };
        let own_status = (!stream.answered).then_some(refusal.status);
        if let Some(mut call) = stream.call.take() {
            let request = if stream.request_end { BodyEnd::Complete } else { BodyEnd::Aborted };
            let error = Some(refusal.reason);
            call.end(End { request, response: BodyEnd::Aborted, error, own_status });
        }
        match own_status {
            Some(_) => self.answer(id, stream.request_end, refusal),
            None => {
                frame::put_reset(self.inject(Side::Service), id, code::INTERNAL_ERROR);
                self.streams.remember(id, Fate::Refused);
            }
        }
    }
}
