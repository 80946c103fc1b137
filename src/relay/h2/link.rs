//! The two sockets of an HTTP/2 connection: a state machine polled in both directions.

use super::frame::{PREFACE, code};
use super::is_preface;
use super::mux::{Broken, Mux, NOT_HTTP2, Side, Step};
use crate::relay::buffer::{Buffer, Fill, LARGE, SMALL};
use crate::relay::parse::Refusal;
use crate::relay::{Observer, Settings, Wire};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

/// Header blocks of answers are the service's own; this bound only keeps memory finite.
const MAX_RESPONSE_BLOCK: usize = 256 << 10;
/// Frame headers and padding of a block that is held back until it is whole.
const BESIDE: usize = 1 << 10;
/// Bytes of our own that may wait for a client to read them; no more is read from it meanwhile.
const MAX_INJECTED: usize = 16 << 10;
/// How long the last words may take, and how long a client may go on sending after our FIN.
const LINGER: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: &str = "head_timeout";
const UNREACHABLE: Refusal = Refusal { status: 502, reason: "upstream_connect" };

/// One direction. Either the first `ready` bytes of `buffer` may be written, or, where bytes are left
/// out or replaced, what is in `out`; never both.
#[derive(Debug, Default)]
struct Lane {
    buffer: Buffer,
    ready: usize,
    out: Vec<u8>,
    written: usize,
    /// Bytes of ours in `out`; counted until all of it is gone.
    injected: usize,
    /// Written, but perhaps still in a buffer of the stream's own (TLS).
    unflushed: bool,
    /// The last read filled a small block.
    busy: bool,
    /// There may be frames in the buffer that were not looked at for want of room.
    stalled: bool,
    eof: bool,
    dead: bool,
    fin: bool,
}

impl Lane {
    fn is_flushed(&self) -> bool {
        self.ready == 0 && self.out.is_empty() && !self.unflushed
    }

    fn unread(&self) -> &[u8] {
        self.buffer.bytes().get(self.ready..).unwrap_or_default()
    }

    fn pass(&mut self, n: usize) {
        if self.out.is_empty() {
            self.ready += n;
        } else {
            self.out.extend_from_slice(self.buffer.bytes().get(..n).unwrap_or_default());
            self.buffer.consume(n);
        }
    }

    fn drop(&mut self, n: usize) {
        self.spill();
        self.buffer.consume(n);
    }

    fn replace(&mut self, n: usize, by: &[u8]) {
        self.drop(n);
        self.out.extend_from_slice(by);
    }

    /// Makes the position in `buffer` the one up to which has been read along.
    fn spill(&mut self) {
        if self.ready > 0 {
            self.out.extend_from_slice(self.buffer.bytes().get(..self.ready).unwrap_or_default());
            self.buffer.consume(self.ready);
            self.ready = 0;
        }
    }

    /// Writes what may be written. True when all is gone.
    fn poll_flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) -> bool {
        while self.ready > 0 || !self.out.is_empty() {
            let bytes = match self.ready {
                0 => self.out.get(self.written..).unwrap_or_default(),
                n => self.buffer.bytes().get(..n).unwrap_or_default(),
            };
            let n = match Pin::new(&mut *to).poll_write(cx, bytes) {
                _ if self.dead => bytes.len(),
                Poll::Ready(Ok(n)) if n > 0 => n,
                Poll::Ready(_) => {
                    self.dead = true;
                    continue;
                }
                Poll::Pending => return false,
            };
            self.wrote(n);
            self.unflushed = true;
        }
        if self.unflushed {
            if Pin::new(to).poll_flush(cx).is_pending() {
                return false;
            }
            self.unflushed = false;
            self.buffer.release();
        }
        true
    }

    fn wrote(&mut self, n: usize) {
        if self.ready > 0 {
            self.buffer.consume(n);
            self.ready -= n;
            return;
        }
        self.written += n;
        if self.written == self.out.len() {
            (self.written, self.injected) = (0, 0);
            self.out.clear();
            if self.out.capacity() > SMALL {
                self.out = Vec::new();
            }
        }
    }

    fn poll_fin<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut W) {
        if !self.fin && !self.dead {
            self.fin = Pin::new(to).poll_shutdown(cx).is_ready();
        }
    }
}

/// Why a connection is over.
#[derive(Debug)]
enum Over {
    /// The service has closed and all of it has been passed on.
    Close,
    /// Drained: no stream is left.
    Drained,
    /// A peer broke off; break off towards the other.
    Reset(&'static str),
    Broken(Broken),
}

impl From<Broken> for Over {
    fn from(broken: Broken) -> Self {
        Over::Broken(broken)
    }
}

struct Link<'s, C, U, O: Observer> {
    client: C,
    upstream: Option<U>,
    up: Lane,
    down: Lane,
    mux: Mux<O>,
    settings: &'s Settings,
    /// Since when an incomplete frame of the client has been held back.
    partial: Option<Instant>,
    /// Looks after `partial`; armed at most once per `head_timeout`, not per frame.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Looks after bodies that are held until they are whole.
    patience: Option<Pin<Box<Sleep>>>,
}

/// Carries streams until a side closes, the frames are refused, or `drain` has resolved and no stream
/// is left. `received`: what has been read from the client already. `connect` is awaited once the
/// client has said that it speaks HTTP/2.
pub async fn run<C: Wire, U: Wire, O: Observer>(
    client: C,
    received: Buffer,
    connect: impl Future<Output = io::Result<U>>,
    observer: O,
    settings: &Settings,
    drain: impl Future<Output = ()>,
) {
    let up = Lane { buffer: received, ..Lane::default() };
    let mux =
        Mux::new(observer, settings.limits, settings.http2, settings.upgrades.clone(), MAX_RESPONSE_BLOCK);
    let down = Lane::default();
    let (partial, alarm, patience) = (None, None, None);
    let mut link = Link { client, upstream: None, up, down, mux, settings, partial, alarm, patience };
    let mut drain = std::pin::pin!(drain);
    if !link.preface(drain.as_mut()).await {
        return;
    }
    link.mux.observer().http2();
    match connect.await {
        Ok(upstream) => link.upstream = Some(upstream),
        Err(_) => return link.deny().await,
    }
    let mut draining = false;
    let over = poll_fn(|cx| {
        if !draining && drain.as_mut().poll(cx).is_ready() {
            draining = true;
            link.mux.drain();
        }
        link.poll(cx)
    });
    let over = over.await;
    link.end(over).await;
}

impl<C: Wire, U: Wire, O: Observer> Link<'_, C, U, O> {
    /// Waits for the whole preface. False: the connection has been ended.
    async fn preface(&mut self, mut drain: Pin<&mut impl Future<Output = ()>>) -> bool {
        let Self { client, up, settings, .. } = self;
        let whole = async {
            loop {
                let bytes = up.buffer.bytes();
                let n = bytes.len().min(PREFACE.len());
                if bytes.get(..n) != PREFACE.get(..n) {
                    return Some("h2_preface");
                }
                if n == PREFACE.len() {
                    return None;
                }
                let fill = poll_fn(|cx| up.buffer.poll_fill(cx, client, false, LARGE));
                if !matches!(fill.await, Ok(Fill::Read(_))) {
                    return Some("head_incomplete");
                }
            }
        };
        let flaw = tokio::select! {
            biased;
            whole = tokio::time::timeout(settings.head_timeout, whole) => whole.unwrap_or(Some(HEAD_TIMEOUT)),
            () = drain.as_mut() => Some("draining"),
        };
        let Some(reason) = flaw else {
            self.up.ready = PREFACE.len();
            return true;
        };
        if is_preface(self.up.buffer.bytes()) && reason != "draining" {
            self.mux.observer().refused(Refusal { status: 400, reason }, &[]);
        }
        self.mux.farewell(code::PROTOCOL_ERROR);
        self.last_words().await;
        false
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            if let Err(over) = self.poll_up(cx).and_then(|()| self.poll_down(cx)) {
                return Poll::Ready(over);
            }
            // Each direction makes frames for the other, and room for them. What is not flushed is woken
            // by its socket.
            let resumes = |lane: &Lane, side| lane.stalled && lane.is_flushed() && self.has_room(side);
            let resumes = resumes(&self.up, Side::Client) || resumes(&self.down, Side::Service);
            if !resumes && !self.mux.may_speak(Side::Client) {
                return self.verdict();
            }
        }
    }

    fn verdict(&self) -> Poll<Over> {
        let down = &self.down;
        if !down.is_flushed() || down.stalled {
            return Poll::Pending;
        }
        match self.mux.is_drained() {
            _ if down.eof => Poll::Ready(Over::Close),
            true if self.mux.waiting(Side::Service) == 0 => Poll::Ready(Over::Drained),
            _ => Poll::Pending,
        }
    }

    /// Client to service.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        loop {
            self.poll_gate(cx);
            self.speak(Side::Client);
            let Some(upstream) = &mut self.upstream else { return Ok(()) };
            if !self.up.poll_flush(cx, upstream) {
                return Ok(());
            }
            if self.read_along(Side::Client, cx)? {
                continue;
            }
            if self.up.stalled {
                return Ok(());
            }
            if self.up.eof {
                self.mux.client_ended();
                if self.mux.is_holding() || self.mux.may_speak(Side::Client) {
                    return Ok(());
                }
                if let Some(upstream) = &mut self.upstream {
                    self.up.poll_fin(cx, upstream);
                }
                return Ok(());
            }
            let large = self.up.busy || self.mux.expects(Side::Client) > LARGE / 8;
            let bound = self.settings.limits.max_bytes + BESIDE;
            match self.up.buffer.poll_fill(cx, &mut self.client, large, bound) {
                Poll::Pending => {
                    self.up.busy = false;
                    return self.watch(cx);
                }
                Poll::Ready(Err(_)) => return Err(Over::Reset("client_reset")),
                Poll::Ready(Ok(Fill::Eof)) => self.up.eof = true,
                Poll::Ready(Ok(Fill::Full)) => return Err(too_large(Side::Client)),
                Poll::Ready(Ok(Fill::Read(n))) => self.up.busy = n >= SMALL,
            }
        }
    }

    /// Service to client.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        loop {
            self.speak(Side::Service);
            if !self.down.poll_flush(cx, &mut self.client) {
                return Ok(());
            }
            if self.down.dead {
                return Err(Over::Reset("client_reset"));
            }
            if self.read_along(Side::Service, cx)? {
                continue;
            }
            let Some(upstream) = &mut self.upstream else { return Ok(()) };
            if self.down.stalled || self.down.eof {
                return Ok(());
            }
            let large = self.down.busy || self.mux.expects(Side::Service) > LARGE / 8;
            match self.down.buffer.poll_fill(cx, upstream, large, MAX_RESPONSE_BLOCK + BESIDE) {
                Poll::Pending => {
                    self.down.busy = false;
                    return Ok(());
                }
                // An HTTP/1 service closes at such a preface, with or without an answer.
                Poll::Ready(Err(_) | Ok(Fill::Eof)) if !self.mux.is_settled() && !self.up.eof => {
                    let (code, reason) = (code::HTTP_1_1_REQUIRED, NOT_HTTP2);
                    return Err(Broken { by: Side::Service, code, reason }.into());
                }
                Poll::Ready(Err(_)) => return Err(Over::Reset("upstream_reset")),
                Poll::Ready(Ok(Fill::Eof)) => self.down.eof = true,
                Poll::Ready(Ok(Fill::Full)) => return Err(too_large(Side::Service)),
                Poll::Ready(Ok(Fill::Read(n))) => self.down.busy = n >= SMALL,
            }
        }
    }

    /// Reads along what has arrived. True: something of it is done with.
    fn read_along(&mut self, from: Side, cx: &mut Context<'_>) -> Result<bool, Over> {
        let mut moved = false;
        loop {
            let room = self.has_room(from);
            let lane = if from == Side::Client { &mut self.up } else { &mut self.down };
            lane.stalled = !lane.unread().is_empty() && !room;
            if lane.stalled || lane.unread().is_empty() {
                return Ok(moved);
            }
            match self.mux.step(from, lane.unread())? {
                Step::More => return Ok(moved),
                Step::Pass(n) => lane.pass(n),
                Step::Drop(n) => lane.drop(n),
                Step::Replace(n) => lane.replace(n, self.mux.made()),
                Step::Wait => {
                    self.poll_gate(cx);
                    self.speak(from);
                    continue;
                }
            }
            moved = true;
            if from == Side::Client {
                self.partial = None;
            }
            self.speak(from);
        }
    }

    /// Whether the frames of a side may be read along: what they make waits somewhere.
    fn has_room(&self, from: Side) -> bool {
        let (lane, back, towards) = match from {
            Side::Client => (&self.up, &self.down, Side::Service),
            Side::Service => (&self.down, &self.up, Side::Client),
        };
        let stuck = match from {
            Side::Client => self.mux.is_stuck(),
            Side::Service => self.mux.is_overdrawn(),
        };
        !stuck && lane.out.len() < LARGE && back.injected + self.mux.waiting(towards) < MAX_INJECTED
    }

    /// Puts frames of ours between those of `from`.
    fn speak(&mut self, from: Side) {
        if self.mux.may_speak(from) {
            let lane = if from == Side::Client { &mut self.up } else { &mut self.down };
            lane.spill();
            lane.injected += self.mux.speak(from, &mut lane.out);
        }
    }

    /// Asks whether calls that wait for the disk may go on, and whether their bodies dawdle.
    fn poll_gate(&mut self, cx: &mut Context<'_>) {
        while self.mux.is_holding() {
            self.mux.poll_gate(cx, Instant::now().into_std());
            let Some(until) = self.mux.gathers_until().map(Instant::from_std) else { return };
            let alarm = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if alarm.deadline() != until {
                alarm.as_mut().reset(until);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    /// The client has sent no more for now; it may not keep us waiting for the rest of a frame that is
    /// held back until it is whole. An idle connection is the service's to end.
    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        if self.up.unread().is_empty() {
            return Ok(());
        }
        let by = *self.partial.get_or_insert_with(Instant::now) + self.settings.head_timeout;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(by)));
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= by {
                let (code, reason) = (code::ENHANCE_YOUR_CALM, HEAD_TIMEOUT);
                return Err(Broken { by: Side::Client, code, reason }.into());
            }
            alarm.as_mut().reset(by);
        }
        Ok(())
    }

    async fn end(mut self, over: Over) {
        match over {
            Over::Close => {
                self.mux.lost(if self.up.eof { "client_reset" } else { "upstream_closed" });
                self.close().await;
            }
            Over::Drained => self.close().await,
            Over::Reset(who) => {
                self.mux.lost(who);
                self.client.reset_on_close();
                if let Some(upstream) = &self.upstream {
                    upstream.reset_on_close();
                }
            }
            Over::Broken(broken) => self.broken(broken).await,
        }
    }

    async fn broken(&mut self, broken: Broken) {
        let Broken { by, code, reason } = broken;
        match by {
            Side::Client => self.mux.observer().refused(Refusal { status: 400, reason }, &[]),
            Side::Service if reason == NOT_HTTP2 => self.mux.observer().upstream_not_http2(),
            Side::Service => tracing::debug!(reason, "the service's frames cannot be passed on"),
        }
        self.mux.lost(match by {
            Side::Client if reason == HEAD_TIMEOUT => "timeout",
            Side::Client => "request_malformed",
            Side::Service => "upstream_malformed",
        });
        self.mux.farewell(code);
        self.last_words().await;
    }

    /// There is no service. The requests that come first are answered, so that the client learns why.
    async fn deny(mut self) {
        self.mux.observer().unreachable();
        self.mux.deny(UNREACHABLE);
        self.up.buffer.consume(std::mem::take(&mut self.up.ready));
        let by = Instant::now() + self.settings.head_timeout;
        let code = loop {
            match self.mux.step(Side::Client, self.up.unread()) {
                Err(broken) => break broken.code,
                Ok(Step::Pass(n) | Step::Drop(n) | Step::Replace(n)) if n > 0 => {
                    self.up.buffer.consume(n);
                    if self.mux.waiting(Side::Service) < MAX_INJECTED {
                        continue;
                    }
                }
                Ok(_) => {}
            }
            if self.mux.denied() > 0 {
                break code::NO_ERROR;
            }
            let bound = self.settings.limits.max_bytes + BESIDE;
            let fill = poll_fn(|cx| self.up.buffer.poll_fill(cx, &mut self.client, false, bound));
            if !matches!(tokio::time::timeout_at(by, fill).await, Ok(Ok(Fill::Read(_)))) {
                break code::INTERNAL_ERROR;
            }
        };
        self.mux.farewell(code);
        self.last_words().await;
    }

    /// What there is to say to the client, our own words last if they would not stand in the middle of
    /// a frame; then the end.
    async fn last_words(&mut self) {
        self.upstream = None;
        self.speak(Side::Service);
        let Self { client, down, .. } = self;
        let said = poll_fn(|cx| if down.poll_flush(cx, client) { Poll::Ready(()) } else { Poll::Pending });
        if tokio::time::timeout(LINGER, said).await.is_ok() {
            self.close().await;
        }
    }

    /// FIN, then what the client still sends is discarded for a moment, so that no RST overtakes what
    /// was said last.
    async fn close(&mut self) {
        self.upstream = None;
        if self.client.shutdown().await.is_err() || self.up.eof {
            return;
        }
        let client = &mut self.client;
        let mut sink = [0; 1024];
        let _ = tokio::time::timeout(LINGER, async {
            while matches!(client.read(&mut sink).await, Ok(n) if n > 0) {}
        })
        .await;
    }
}

fn too_large(by: Side) -> Over {
    Broken { by, code: code::ENHANCE_YOUR_CALM, reason: "h2_flood" }.into()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
