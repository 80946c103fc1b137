//! One client connection and its upstream connection: a state machine polled in both directions.

mod hold;

use super::buffer::{Fill, LARGE};
use super::forward::Forward;
use super::framing::Framer;
use super::lane::Lane;
use super::parse::{self, HeadLimits, HeadScanner, Refusal, RequestFraming, UNASKED_UPGRADE};
use super::upgrade::{self, Upgrades};
use super::wire::{self, Dial, Protocol, Wire};
use super::{BodyEnd, Call, End, Observer, h2};
use crate::head::{Head, HeadIndex};
use hold::Gate;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};

/// What every connection of a listener shares.
#[derive(Debug, Clone)]
pub struct Settings {
    pub limits: HeadLimits,
    pub head_timeout: Duration,
    /// How long a connection may stand still that only the relay keeps open; zero: for ever.
    pub stall_timeout: Duration,
    /// How long the last words may take, and how long a client may go on sending after our FIN before
    /// its bytes are cut off by RST.
    pub close_timeout: Duration,
    /// `Upgrade` protocols that may become a tunnel.
    pub upgrades: Arc<Upgrades>,
    pub http2: h2::Limits,
}

impl Default for Settings {
    /// Those of a configuration that says nothing, but no upgrade is allowed.
    fn default() -> Self {
        Settings {
            limits: HeadLimits { max_bytes: 64 << 10, max_fields: 1000 },
            head_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(300),
            close_timeout: Duration::from_secs(2),
            upgrades: Arc::default(),
            http2: h2::Limits::default(),
        }
    }
}

/// Response heads are the service's own; this bound only keeps memory finite.
const MAX_RESPONSE_HEAD: usize = 1 << 20;
const INCOMPLETE: Refusal = Refusal { status: 400, reason: "head_incomplete" };
/// Why an exchange is over.
enum Over {
    /// Both messages are complete; the connection may carry the next call.
    Next,
    /// Properly over; close.
    Close,
    /// A peer broke off; break off towards the other.
    Reset(&'static str),
    /// The request turned out to be malformed after its head.
    BadRequest(&'static str),
    /// The service's answer cannot be passed on.
    BadResponse(&'static str),
    /// The call could not be put on the disk, and its last bytes were not forwarded.
    Refused(Refusal),
}

/// Why a request with a whole head was not begun.
enum Unbegun {
    Refused(Refusal),
    /// The call was begun and has ended: its body is malformed from its start.
    Malformed(Refusal),
}

impl From<Refusal> for Unbegun {
    fn from(refusal: Refusal) -> Unbegun {
        Unbegun::Refused(refusal)
    }
}

enum Idle {
    Bytes,
    ClientClosed,
    UpstreamClosed,
}

/// `C`: the client's stream, `U`: the service's, as [`Dial`] opens it.
pub struct Connection<C, O: Observer, U> {
    client: C,
    upstream: Option<U>,
    /// Added to each request.
    forward: Option<Forward>,
    up: Lane,
    down: Lane,
    observer: O,
    call: Option<O::Call>,
    /// The call that ended last has an event of its own.
    recorded: bool,
    gate: Gate,
    asked: RequestFraming,
    request_index: HeadIndex,
    response_index: HeadIndex,
    response_scanner: HeadScanner,
    /// The final response head has been read.
    answered: bool,
    /// Length and coding of the response contradict; nothing may follow it.
    then_close: bool,
    /// Runs while nothing but the relay keeps the connection open and no byte moves.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<C, O: Observer, U> std::fmt::Debug for Connection<C, O, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("up", &self.up).field("down", &self.down).finish_non_exhaustive()
    }
}

impl<C: Wire, O: Observer, U: Wire> Connection<C, O, U> {
    pub fn new(client: C, observer: O) -> Self {
        Connection {
            client,
            upstream: None,
            forward: None,
            up: Lane::new(),
            down: Lane::new(),
            observer,
            call: None,
            recorded: false,
            gate: Gate::Open,
            asked: RequestFraming { body: Framer::Done, head_method: false, upgrade: None },
            request_index: HeadIndex::default(),
            response_index: HeadIndex::default(),
            response_scanner: HeadScanner::default(),
            answered: false,
            then_close: false,
            stall: None,
        }
    }

    /// Adds a field to each request.
    pub fn forwarding(self, forward: Option<Forward>) -> Self {
        Connection { forward, ..self }
    }

    /// The connection to the service is open already.
    pub fn connected(self, upstream: Option<U>) -> Self {
        Connection { upstream, ..self }
    }

    /// Carries calls until a side closes, a request is refused, or `drain` resolves while no call is
    /// under way.
    ///
    /// Most connections are idle most of the time, so what one needs then is all that its future holds;
    /// what is rare or the last of it is in a box of its own.
    pub fn run(
        self,
        service: impl Dial<Stream = U>,
        settings: &Settings,
        drain: impl Future<Output = ()>,
    ) -> impl Future<Output = ()> {
        Box::new(self).carry(service, settings, drain)
    }

    async fn carry(
        mut self: Box<Self>,
        mut service: impl Dial<Stream = U>,
        settings: &Settings,
        drain: impl Future<Output = ()>,
    ) {
        let mut drain = std::pin::pin!(drain);
        loop {
            let len = match self.next_head(settings, drain.as_mut()).await {
                Ok(Some(len)) => len,
                Ok(None) => return self.leave(settings).await,
                Err(refusal) => return Box::pin(self.refuse(refusal, settings)).await,
            };
            if self.upstream.is_none() && h2::is_preface(self.up.buffer.bytes()) {
                return Box::pin(self.into_http2(service, settings, drain)).await;
            }
            let len = match self.begin(len, settings) {
                Ok(len) => len,
                Err(unbegun) => return Box::pin(self.turn_away(unbegun, settings)).await,
            };
            if let Err(stop) = self.hold(len, settings).await {
                return Box::pin(self.stop_held(stop, settings)).await;
            }
            if self.upstream.is_none() {
                let dialled = Box::pin(service.dial(Protocol::Http1)).await;
                match dialled {
                    Ok(stream) => self.upstream = Some(stream),
                    Err(error) => {
                        self.observer.unreachable();
                        self.end_call(Some(error.0), Some(502));
                        return Box::pin(self.answer(502, "", settings)).await;
                    }
                }
            }
            let over = poll_fn(|cx| self.poll_exchange(cx, settings)).await;
            self.stall = None;
            match over {
                Over::Next => {}
                Over::Close => {
                    self.end_call(None, None);
                    return Box::pin(self.close(settings)).await;
                }
                Over::Reset(who) => {
                    self.end_call(Some(who), None);
                    return self.reset();
                }
                Over::BadRequest(_) | Over::BadResponse(_) | Over::Refused(_) => {
                    return Box::pin(self.broken(over, settings)).await;
                }
            }
        }
    }

    /// The client has said so: what follows is HTTP/2.
    async fn into_http2(
        self: Box<Self>,
        service: impl Dial<Stream = U>,
        settings: &Settings,
        drain: impl Future<Output = ()>,
    ) {
        let Connection { client, up, forward, observer, .. } = *self;
        h2::Opening { client, received: up.buffer, forward, observer }.run(service, settings, drain).await;
    }

    /// Waits for a whole request head. `None`: the connection is over.
    async fn next_head(
        &mut self,
        settings: &Settings,
        mut drain: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<usize>, Refusal> {
        let mut scanner = HeadScanner::default();
        // From the connection's or the head's first byte on, however the bytes trickle in.
        let mut deadline = None;
        loop {
            let received = self.up.buffer.bytes();
            if !received.is_empty()
                && let Some(len) = scanner.scan_request(received, settings.limits)?
            {
                return Ok(Some(len));
            }
            if self.up.eof {
                return if self.up.buffer.is_empty() { Ok(None) } else { Err(INCOMPLETE) };
            }
            let bounded = self.upstream.is_none() || !self.up.buffer.is_empty();
            let fresh = self.up.buffer.is_empty();
            // What has arrived already is served: its sender could not know.
            let idle = poll_fn(|cx| match self.poll_idle(cx, settings.limits.max_bytes) {
                Poll::Pending if fresh && drain.as_mut().poll(cx).is_ready() => {
                    Poll::Ready(Ok(Idle::ClientClosed))
                }
                event => event,
            });
            // Only where the client alone can hold us: a kept-alive connection obeys the service's time-out.
            let event = if bounded {
                let by = *deadline.get_or_insert_with(|| Instant::now() + settings.head_timeout);
                match tokio::time::timeout_at(by, idle).await {
                    Ok(event) => event,
                    Err(_) if self.up.buffer.is_empty() => return Ok(None),
                    Err(_) => return Err(Refusal { status: 408, reason: "head_timeout" }),
                }
            } else {
                idle.await
            };
            match event {
                Ok(Idle::Bytes) => {}
                Ok(Idle::ClientClosed) => {
                    self.up.eof = true;
                    return if self.up.buffer.is_empty() { Ok(None) } else { Err(INCOMPLETE) };
                }
                Ok(Idle::UpstreamClosed) => {
                    self.pass_on_rest(settings).await;
                    return Ok(None);
                }
                Err(_) => {
                    self.reset();
                    return Ok(None);
                }
            }
        }
    }

    /// Waits for request bytes, or for either side to close the idle connection.
    fn poll_idle(&mut self, cx: &mut Context<'_>, bound: usize) -> Poll<io::Result<Idle>> {
        match self.up.buffer.poll_fill(cx, &mut self.client, false, bound) {
            Poll::Ready(Ok(Fill::Eof)) => return Poll::Ready(Ok(Idle::ClientClosed)),
            Poll::Ready(Ok(Fill::Read(_) | Fill::Full)) => return Poll::Ready(Ok(Idle::Bytes)),
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => {}
        }
        let Some(upstream) = &mut self.upstream else { return Poll::Pending };
        match self.down.buffer.poll_fill(cx, upstream, false, LARGE) {
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(Idle::UpstreamClosed)),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Opens the call whose head is the first `len` bytes. The part of the body that came with the
    /// head is read along before anything is forwarded, so that a body malformed from its start
    /// never reaches the service. An offer that is withdrawn is told as received. Returns the length of
    /// the head as it is forwarded.
    fn begin(&mut self, len: usize, settings: &Settings) -> Result<usize, Unbegun> {
        let bytes = self.up.buffer.bytes();
        let (raw, rest) = bytes.split_at(len);
        self.asked = parse::request(raw, &mut self.request_index, &settings.upgrades)?;
        let head = Head { raw, index: &self.request_index };
        if let Some(forward) = &self.forward {
            forward.check(&head)?;
        }
        if self.asked.is_declined() {
            let body = self.asked.body.clone().feed(rest, |_| {});
            if body.is_ok_and(|n| n < rest.len()) {
                return Err(Unbegun::Refused(upgrade::REFUSED));
            }
        }
        let shorter = upgrade::without_offer(&head, &self.asked);
        let mut index = HeadIndex::default();
        if let Some(shorter) = &shorter {
            // Nothing goes on that could not have come so.
            parse::request(shorter, &mut index, &settings.upgrades)?;
        }
        let mut call = self.observer.begin(head, &self.asked)?;
        self.up.framer = self.asked.body.clone();
        let fed = self.up.framer.feed(rest, |b| call.request_body(b));
        self.call = Some(call);
        (self.answered, self.then_close) = (false, false);
        self.down.framer = Framer::Done;
        self.response_scanner = HeadScanner::default();
        match fed {
            Ok(n) => {
                let mut len = len;
                if let Some(shorter) = shorter {
                    self.up.buffer.replace_front(len, &shorter);
                    (len, self.request_index) = (shorter.len(), index);
                }
                if let Some(forward) = &self.forward {
                    // Before the empty line.
                    self.up.buffer.insert(len - 2, forward.line());
                    len += forward.line().len();
                }
                self.up.ready = len + n;
                Ok(len)
            }
            Err(reason) => {
                self.end_call(Some("request_malformed"), Some(400));
                Err(Unbegun::Malformed(Refusal { status: 400, reason }))
            }
        }
    }

    /// One call, both directions at once.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, settings: &Settings) -> Poll<Over> {
        let was_tunnel = self.is_tunnel();
        let step = self.poll_up(cx).and_then(|()| self.poll_down(cx)).and_then(|()| {
            // What the client sent after its upgrade request has waited for the 101.
            if self.is_tunnel() && !was_tunnel { self.poll_up(cx) } else { Ok(()) }
        });
        match step {
            Err(over) => Poll::Ready(over),
            Ok(()) => match self.verdict() {
                Poll::Pending if self.poll_stalled(cx, settings).is_ready() => {
                    Poll::Ready(Over::Reset("timeout"))
                }
                verdict => verdict,
            },
        }
    }

    /// Ready when the connection has stood still for too long while only the relay keeps it open. As long
    /// as client and service hold each other, their own time-outs decide, as they would without us.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, settings: &Settings) -> Poll<()> {
        let moved = std::mem::take(&mut self.up.moved) | std::mem::take(&mut self.down.moved);
        if settings.stall_timeout.is_zero() || !self.is_held_by_relay() {
            self.stall = None;
            return Poll::Pending;
        }
        if moved {
            self.stall = None;
        }
        let sleep = || Box::pin(tokio::time::sleep(settings.stall_timeout));
        self.stall.get_or_insert_with(sleep).as_mut().poll(cx)
    }

    /// One side has finished, and the other neither takes what is left nor ends its own.
    fn is_held_by_relay(&self) -> bool {
        let (up, down) = (&self.up, &self.down);
        let answered = down.eof || (self.answered && down.framer.is_done());
        (answered && !down.flushed()) || (up.eof && !up.flushed()) || (down.eof && down.flushed())
    }

    fn is_tunnel(&self) -> bool {
        self.up.framer == Framer::Tunnel
    }

    fn verdict(&self) -> Poll<Over> {
        let (up, down) = (&self.up, &self.down);
        let sent = up.framer.is_done() && up.flushed();
        let up_over = sent || up.dead || (up.eof && up.fin);
        if down.eof {
            return if down.flushed() && up_over { Poll::Ready(Over::Close) } else { Poll::Pending };
        }
        let received = self.answered && down.framer.is_done() && down.flushed();
        match (received, sent) {
            // Surplus response bytes are nobody's answer: close rather than guess.
            (true, true) if self.then_close || !down.buffer.is_empty() => Poll::Ready(Over::Close),
            (true, true) => Poll::Ready(Over::Next),
            (true, false) if up.dead || self.then_close => Poll::Ready(Over::Close),
            _ => Poll::Pending,
        }
    }

    /// Client to service.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let Self { up, upstream: Some(upstream), client, call, gate, .. } = self else { return Ok(()) };
        loop {
            if !gate.poll(cx).map_err(Over::Refused)? {
                return Ok(());
            }
            if !up.poll_flush(cx, upstream) {
                return Ok(());
            }
            if up.eof {
                // Bytes left over belong to a later call; the FIN goes after them.
                if up.buffer.is_empty() {
                    up.poll_fin(cx, upstream);
                }
                return Ok(());
            }
            // After the request's end reading goes on, into the buffer only, to see the client close.
            let more = up.framer.expects() > LARGE as u64 / 8;
            match up.buffer.poll_fill(cx, client, more, LARGE) {
                Poll::Pending | Poll::Ready(Ok(Fill::Full)) => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Over::Reset("client_reset")),
                Poll::Ready(Ok(Fill::Eof)) => (up.eof, up.moved) = (true, true),
                Poll::Ready(Ok(Fill::Read(_))) if up.framer.is_done() => {}
                Poll::Ready(Ok(Fill::Read(_))) => {
                    let fed = up.framer.feed(up.buffer.bytes(), |b| {
                        if let Some(call) = call {
                            call.request_body(b);
                        }
                    });
                    up.ready = fed.map_err(Over::BadRequest)?;
                    if up.framer.is_done() {
                        gate.end(call);
                    }
                }
            }
        }
    }

    /// Service to client.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        loop {
            if !self.down.poll_flush(cx, &mut self.client) {
                return Ok(());
            }
            if self.down.dead {
                return Err(Over::Reset("client_reset"));
            }
            if self.down.eof {
                self.down.poll_fin(cx, &mut self.client);
                return Ok(());
            }
            let received = self.answered && self.down.framer.is_done();
            if received && self.up.framer.is_done() {
                return Ok(());
            }
            let Some(upstream) = &mut self.upstream else { return Ok(()) };
            let more = self.answered && self.down.framer.expects() > LARGE as u64 / 8;
            let bound = if self.answered { LARGE } else { MAX_RESPONSE_HEAD };
            match self.down.buffer.poll_fill(cx, upstream, more, bound) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Fill::Full)) if received => return Ok(()),
                Poll::Ready(Ok(Fill::Full)) => return Err(Over::BadResponse("head_too_large")),
                Poll::Ready(Ok(Fill::Eof)) => self.upstream_closed(),
                // The answer is complete: a reset after it need not take it from the client.
                Poll::Ready(Err(_)) if received => self.upstream_closed(),
                Poll::Ready(Err(_)) => return Err(Over::Reset("upstream_reset")),
                Poll::Ready(Ok(Fill::Read(_))) => self.read_response()?,
            }
        }
    }

    fn upstream_closed(&mut self) {
        (self.down.eof, self.down.moved) = (true, true);
        if !self.answered {
            self.down.ready = self.down.buffer.len();
            self.end_call(Some("upstream_closed"), None);
        } else if !self.down.framer.may_close() {
            self.end_call(Some("upstream_closed"), None);
        } else if !self.is_tunnel() {
            self.end_call(None, None);
        }
    }

    /// Reads along what has arrived from the service.
    fn read_response(&mut self) -> Result<(), Over> {
        while !self.answered {
            let fresh = self.down.buffer.bytes().get(self.down.ready..).unwrap_or_default();
            let Some(len) = self.response_scanner.scan_response(fresh) else { return Ok(()) };
            let raw = fresh.get(..len).unwrap_or_default();
            self.response_scanner = HeadScanner::default();
            let framing =
                parse::response(raw, &mut self.response_index, &self.asked).map_err(Over::BadResponse)?;
            if framing.status == 101
                && !self.asked.may_switch_to(parse::switched_to(raw, &self.response_index))
            {
                return Err(Over::BadResponse(UNASKED_UPGRADE));
            }
            self.down.ready += len;
            if framing.status < 200 && framing.status != 101 {
                if self.down.ready == self.down.buffer.len() {
                    return Ok(());
                }
                continue;
            }
            self.answered = true;
            self.then_close = framing.then_close;
            self.down.framer = framing.body;
            let end = self.down.ready;
            let raw = self.down.buffer.bytes().get(end - len..end).unwrap_or_default();
            if let Some(call) = &mut self.call {
                call.response_head(Head { raw, index: &self.response_index });
            }
            if framing.status == 101 {
                self.open_tunnel();
            }
        }
        let Self { down, call, .. } = self;
        if !down.framer.is_done() {
            let fresh = down.buffer.bytes().get(down.ready..).unwrap_or_default();
            let fed = down.framer.feed(fresh, |b| {
                if let Some(call) = call {
                    call.response_body(b);
                }
            });
            down.ready += fed.map_err(Over::BadResponse)?;
        }
        if self.down.framer.is_done() {
            self.end_call(None, None);
        }
        Ok(())
    }

    fn open_tunnel(&mut self) {
        let Self { up, call, .. } = self;
        up.framer = Framer::Tunnel;
        up.ready = up.buffer.len();
        if let Some(call) = call {
            call.tunnel();
            call.request_body(up.buffer.bytes());
        }
    }

    fn end_call(&mut self, error: Option<&'static str>, own_status: Option<u16>) {
        let Some(mut call) = self.call.take() else { return };
        self.recorded = call.is_recorded();
        let (up, down) = (&self.up, &self.down);
        let request = match &up.framer {
            Framer::Done | Framer::Tunnel => BodyEnd::Complete,
            _ if up.eof || up.dead || error.is_some() => BodyEnd::Aborted,
            _ => BodyEnd::Open,
        };
        let closed = down.eof && down.framer.may_close() || (up.framer == Framer::Tunnel && error.is_none());
        let response = match self.answered && (down.framer.is_done() || closed) {
            true => BodyEnd::Complete,
            false => BodyEnd::Aborted,
        };
        call.end(End { request, response, error, own_status });
    }

    /// The exchange broke on something malformed: answer if the client has had no answer yet.
    async fn broken(&mut self, over: Over, settings: &Settings) {
        let (status, error) = match over {
            Over::BadRequest(_) => (400, "request_malformed"),
            Over::Refused(refusal) => (refusal.status, refusal.reason),
            Over::BadResponse(UNASKED_UPGRADE) => (502, "upstream_upgrade"),
            _ => (502, "upstream_malformed"),
        };
        if let Over::BadResponse(why) = over {
            tracing::debug!(why, "the service's answer cannot be passed on");
        }
        let own_status = (!self.answered).then_some(status);
        self.end_call(Some(error), own_status);
        let refused = match over {
            Over::BadRequest(reason) => Some(Refusal { status, reason }),
            // Counted also where the call is not recorded itself.
            Over::BadResponse(reason @ UNASKED_UPGRADE) => Some(Refusal { status, reason }),
            Over::Refused(refusal) => Some(refusal),
            _ => None,
        };
        if let Some(refusal) = refused {
            self.observer.malformed(refusal, self.recorded);
        }
        if let Some(upstream) = self.upstream.take() {
            // An incomplete message must not look like a complete one.
            upstream.reset_on_close();
        }
        match own_status {
            Some(status) => self.answer(status, refused.map_or("", |r| r.reason), settings).await,
            None => self.reset(),
        }
    }

    /// Answers a request of which nothing has been told to anybody.
    async fn refuse(&mut self, refusal: Refusal, settings: &Settings) {
        self.observer.refused(refusal, self.up.buffer.bytes());
        self.answer(refusal.status, refusal.reason, settings).await;
    }

    async fn turn_away(&mut self, unbegun: Unbegun, settings: &Settings) {
        match unbegun {
            Unbegun::Refused(refusal) => self.refuse(refusal, settings).await,
            Unbegun::Malformed(refusal) => {
                self.observer.malformed(refusal, self.recorded);
                self.answer(refusal.status, refusal.reason, settings).await;
            }
        }
    }

    /// An answer of our own, then the end of the connection.
    async fn answer(&mut self, status: u16, reason: &'static str, settings: &Settings) {
        let interim = self.down.buffer.bytes().get(..self.down.ready).unwrap_or_default();
        let (fields, body) = hold::problem(status, reason);
        let head = format!(
            "HTTP/1.1 {status} {}\r\n{fields}Content-Length: {}\r\nConnection: close\r\nVia: 1.1 sidelog\r\n\r\n",
            reason_phrase(status),
            body.len()
        );
        let body = if self.asked.head_method { "" } else { &*body };
        let bytes = [interim, head.as_bytes(), body.as_bytes()].concat();
        let client = &mut self.client;
        let written = tokio::time::timeout(settings.close_timeout, async {
            client.write_all(&bytes).await?;
            client.flush().await
        });
        if matches!(written.await, Ok(Ok(()))) {
            self.close(settings).await;
        }
    }

    /// Passes on what an idle service said before it closed.
    async fn pass_on_rest(&mut self, settings: &Settings) {
        let bytes = self.down.buffer.bytes();
        let client = &mut self.client;
        // The client may be gone as well; then nobody misses these bytes.
        let _ = tokio::time::timeout(settings.close_timeout, async {
            client.write_all(bytes).await?;
            client.shutdown().await
        })
        .await;
    }

    /// FIN, then what the client still sends is discarded for a moment, so that no RST overtakes the
    /// answer.
    async fn close(&mut self, settings: &Settings) {
        self.leave(settings).await;
        wire::close(&mut self.client, self.up.eof, settings.close_timeout).await;
    }

    /// Ends the service's connection in order; TLS has a word for that.
    async fn leave(&mut self, settings: &Settings) {
        if let Some(mut upstream) = self.upstream.take()
            && !self.up.fin
            && !self.up.dead
        {
            // A service that is gone need not be told.
            let _ = tokio::time::timeout(settings.close_timeout, upstream.shutdown()).await;
        }
    }

    /// The service's connection ends by RST now, the client's when it is dropped.
    fn reset(&mut self) {
        self.client.reset_on_close();
        if let Some(upstream) = self.upstream.take() {
            upstream.reset_on_close();
        }
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
