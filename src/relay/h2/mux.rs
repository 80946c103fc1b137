//! What each frame of a connection means, and whether it may pass. No I/O: bytes in, a [`Step`] out.
//!
//! One [`Mux`] reads along in both directions. DATA and frames without meaning to us are passed as
//! they come, in pieces; header blocks only when they are whole and decoded.

use super::Limits;
use super::answer::Credit;
use super::frame::{self, HEADER, Header, MAX_STREAM, code, flag, kind, setting};
use super::gate::Gate;
use super::hpack::{Decoder, List, MAX_TABLE};
use super::streams::{Fate, Storm, Streams};
use crate::head::HeadIndex;
use crate::relay::parse::{HeadLimits, Refusal};
use crate::relay::{BodyEnd, Call, End, Forward, Observer, Settings, Upgrades};
use std::sync::Arc;
use std::time::Instant;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Service,
}

/// What is to be done with the bytes at the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Not enough to tell.
    More,
    Pass(usize),
    Drop(usize),
    /// [`Mux::made`] goes on in their stead.
    Replace(usize),
    /// Not before [`Mux::poll_gate`] has made room (of the service: the client's WINDOW_UPDATE).
    Wait,
}

/// The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    pub by: Side,
    /// For the GOAWAY.
    pub code: u32,
    /// A bounded word.
    pub reason: &'static str,
}

/// [`Broken::reason`] of a service whose first words are not HTTP/2.
pub const NOT_HTTP2: &str = "upstream_not_http2";
/// More settings than anyone has.
const MAX_SETTINGS: usize = 1024;
/// Payload of the PING that follows our first GOAWAY: its answer tells that the client knows.
const DRAIN_PING: [u8; 8] = *b"sl-drain";

/// Bounds of the header blocks of one direction.
#[derive(Debug, Clone, Copy)]
pub struct BlockLimits {
    /// Encoded.
    pub encoded: usize,
    /// Decoded; what is beyond costs the connection, not the stream.
    pub decoded: super::hpack::Bounds,
}

/// Reading position of one direction.
#[derive(Debug)]
pub(super) struct Reader {
    pub side: Side,
    pub decoder: Decoder,
    pub limits: BlockLimits,
    pub max_frame: usize,
    /// The first SETTINGS have passed; nothing of ours may precede them.
    pub settled: bool,
    inside: Option<Inside>,
    /// Fragments of a continued block.
    pub fragments: Vec<u8>,
    /// The reader behind us no longer has the table the writer assumes; whether it has been told to
    /// forget its own.
    pub rewrite: Option<bool>,
    /// Frames of ours for the next place between two frames.
    inject: Vec<u8>,
    /// Connection window to be given back to who reads this direction.
    owed: u32,
}

/// A frame that is passed in pieces.
#[derive(Debug, Clone, Copy)]
struct Inside {
    /// DATA still to come, then padding, or any other payload.
    data: usize,
    rest: usize,
    stream: u32,
    end: bool,
    way: Way,
}

/// Where the pieces of a frame go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Pass,
    Drop,
    /// To the gate.
    Hold,
}

impl Reader {
    fn new(side: Side, limits: BlockLimits) -> Self {
        Reader {
            side,
            decoder: Decoder::default(),
            limits,
            max_frame: frame::FIRST_MAX_FRAME,
            settled: false,
            inside: None,
            fragments: Vec::new(),
            rewrite: None,
            inject: Vec::new(),
            owed: 0,
        }
    }

    /// Window of the connection to be given back to who reads this direction.
    pub(super) fn owe(&mut self, window: usize) {
        self.owed = self.owed.saturating_add(u32::try_from(window).unwrap_or(u32::MAX));
    }

    /// The stream of the frame whose pieces go to the gate.
    pub(super) fn holding(&self) -> Option<u32> {
        self.inside.filter(|inside| inside.way == Way::Hold).map(|inside| inside.stream)
    }

    /// What is still to come of a frame of this stream goes nowhere.
    pub(super) fn leave_out(&mut self, id: u32) {
        if self.holding() == Some(id)
            && let Some(inside) = &mut self.inside
        {
            inside.way = Way::Drop;
        }
    }

    pub(super) fn broken(&self, code: u32, reason: &'static str) -> Broken {
        Broken { by: self.side, code, reason }
    }
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// The client has been told that there will be no more, not yet from where on.
    Told,
    /// Streams after this one are not served.
    After(u32),
}

pub struct Mux<O: Observer> {
    pub(super) observer: O,
    pub(super) client: Reader,
    pub(super) service: Reader,
    pub(super) streams: Streams<O::Call>,
    pub(super) heads: HeadLimits,
    pub(super) bounds: Limits,
    pub(super) upgrades: Arc<Upgrades>,
    /// Added to each request.
    pub(super) forward: Option<Forward>,
    /// The client's latest stream.
    pub(super) last: u32,
    /// Scratch, reused from block to block.
    pub(super) list: List,
    pub(super) index: HeadIndex,
    pub(super) made: Vec<u8>,
    storm: Storm,
    drain: Drain,
    /// The last stream the service's own GOAWAY named.
    service_goaway: u32,
    /// There is no service: every request is answered with this.
    pub(super) deny: Option<Refusal>,
    /// Requests answered so.
    pub(super) denied: u64,
    pub(super) gate: Gate,
    /// Frames of the client that have waited long enough, for the next place between two.
    pub(super) released: Vec<u8>,
    /// What the client may still send, of all streams, and of a new one.
    pub(super) window: i64,
    pub(super) stream_window: usize,
    pub(super) credit: Credit,
}

impl<O: Observer> Mux<O> {
    /// `response`: bytes of an answer's header block.
    pub fn new(observer: O, settings: &Settings, forward: Option<Forward>, response: usize) -> Self {
        let (heads, bounds) = (settings.limits, settings.http2);
        let both = |encoded: usize, fields: usize| BlockLimits {
            encoded,
            decoded: super::hpack::Bounds { bytes: 2 * encoded, fields },
        };
        let mut client = Reader::new(Side::Client, both(heads.max_bytes, 4 * heads.max_fields));
        // A field is added to every request: each block is written anew.
        client.rewrite = forward.is_some().then_some(false);
        Mux {
            observer,
            client,
            forward,
            service: Reader::new(Side::Service, both(response, response / 32)),
            streams: Streams::default(),
            heads,
            bounds,
            upgrades: settings.upgrades.clone(),
            last: 0,
            list: List::default(),
            index: HeadIndex::default(),
            made: Vec::new(),
            storm: Storm::new(bounds),
            drain: Drain::No,
            service_goaway: MAX_STREAM,
            deny: None,
            denied: 0,
            gate: Gate::new(bounds.held),
            released: Vec::new(),
            window: i64::from(frame::FIRST_WINDOW),
            stream_window: frame::FIRST_WINDOW as usize,
            credit: Credit::default(),
        }
    }

    pub(super) fn reader(&mut self, side: Side) -> &mut Reader {
        match side {
            Side::Client => &mut self.client,
            Side::Service => &mut self.service,
        }
    }

    pub fn observer(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Looks at the first bytes that have not been read along yet.
    pub fn step(&mut self, from: Side, bytes: &[u8]) -> Result<Step, Broken> {
        if self.reader(from).inside.is_some() {
            return Ok(self.pieces(from, 0, bytes));
        }
        let Some(header) = Header::read(bytes) else { return Ok(Step::More) };
        self.check(from, header)?;
        match header.kind {
            kind::DATA => self.data(from, header, bytes),
            kind::HEADERS | kind::PUSH_PROMISE => self.block(from, header, bytes),
            kind::CONTINUATION => Err(self.reader(from).broken(code::PROTOCOL_ERROR, "h2_frame")),
            kind::RST_STREAM if header.len == 4 => self.reset(from, header, bytes),
            kind::SETTINGS => self.settings(from, header, bytes),
            kind::GOAWAY if from == Side::Service => Ok(self.goaway(header, bytes)),
            kind::WINDOW_UPDATE if header.stream == 0 && header.len == 4 => Ok(match from {
                Side::Client => self.client_window(header, bytes),
                Side::Service => self.service_window(header, bytes),
            }),
            kind::PING if from == Side::Client && self.drain == Drain::Told => Ok(self.ping(header, bytes)),
            _ => Ok(self.other(from, header, bytes)),
        }
    }

    /// The service allows the client more.
    fn service_window(&mut self, header: Header, bytes: &[u8]) -> Step {
        let Some(more) = frame::word(bytes, HEADER) else { return Step::More };
        self.window += i64::from(more & MAX_STREAM);
        self.other(Side::Service, header, bytes)
    }

    /// What can be said of a frame by its header. The service's errors are for its client to judge.
    fn check(&mut self, from: Side, header: Header) -> Result<(), Broken> {
        let reader = self.reader(from);
        if !reader.settled && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(match from {
                Side::Client => reader.broken(code::PROTOCOL_ERROR, "h2_preface"),
                Side::Service => reader.broken(code::HTTP_1_1_REQUIRED, NOT_HTTP2),
            });
        }
        let fixed = match header.kind {
            kind::PRIORITY => Some(5),
            kind::RST_STREAM | kind::WINDOW_UPDATE => Some(4),
            kind::PING => Some(8),
            _ => None,
        };
        let misfits = from == Side::Client && fixed.is_some_and(|len| len != header.len);
        if header.len > reader.max_frame || misfits {
            return Err(reader.broken(code::FRAME_SIZE_ERROR, "h2_frame"));
        }
        let of_a_stream = matches!(header.kind, kind::DATA | kind::HEADERS | kind::RST_STREAM);
        if of_a_stream && header.stream == 0 {
            return Err(reader.broken(code::PROTOCOL_ERROR, "h2_frame"));
        }
        Ok(())
    }

    fn data(&mut self, from: Side, header: Header, bytes: &[u8]) -> Result<Step, Broken> {
        let mut at = HEADER;
        let mut padding = 0;
        if header.has(flag::PADDED) {
            let Some(n) = bytes.get(HEADER) else { return Ok(Step::More) };
            at += 1;
            padding = usize::from(*n);
        }
        let Some(data) = header.total().checked_sub(at + padding) else {
            return Err(self.reader(from).broken(code::PROTOCOL_ERROR, "h2_frame"));
        };
        let end = header.has(flag::END_STREAM);
        if from == Side::Client && self.must_wait(header) {
            return Ok(Step::Wait);
        }
        let drop = match from {
            Side::Client => self.admit_data(header.stream, data as u64, end)?,
            Side::Service => self.is_refused(header.stream),
        };
        if from == Side::Service && !drop && self.overdraws(header.len) {
            return Ok(Step::Wait);
        }
        if from == Side::Client {
            self.window -= header.len as i64;
        }
        let way = match from {
            _ if drop => Way::Drop,
            Side::Client => self.way_of_data(header),
            Side::Service => Way::Pass,
        };
        if drop {
            // The other side will not give this window back.
            self.reader(other(from)).owe(header.len);
        }
        self.reader(from).inside = Some(Inside { data, rest: padding, stream: header.stream, end, way });
        Ok(self.pieces(from, at, bytes))
    }

    /// Whether DATA of the client must not pass.
    fn admit_data(&mut self, id: u32, n: u64, end: bool) -> Result<bool, Broken> {
        let Some(stream) = self.streams.get_mut(id) else {
            return match self.streams.fate(id) {
                Some(fate) => Ok(fate == Fate::Refused),
                None if self.is_refused(id) => Ok(true),
                None if id > self.last => Err(self.client.broken(code::PROTOCOL_ERROR, "h2_stream_state")),
                None => Err(self.client.broken(code::STREAM_CLOSED, "h2_stream_state")),
            };
        };
        if stream.request_end {
            return Err(self.client.broken(code::STREAM_CLOSED, "h2_stream_state"));
        }
        if let Some(left) = &mut stream.left {
            match left.checked_sub(n) {
                Some(rest) if rest == 0 || !end => *left = rest,
                // Known before any of this frame has passed.
                _ => return self.abort(id, "content_length").map(|()| true),
            }
        }
        Ok(false)
    }

    /// Passes as much of a frame as there is; `skip` bytes before its payload go with it.
    fn pieces(&mut self, from: Side, skip: usize, bytes: &[u8]) -> Step {
        let rest = bytes.get(skip..).unwrap_or_default();
        let reader = self.reader(from);
        let Some(inside) = &mut reader.inside else { return Step::More };
        let data = inside.data.min(rest.len());
        let padding = inside.rest.min(rest.len() - data);
        inside.data -= data;
        inside.rest -= padding;
        let Inside { stream, end, way, .. } = *inside;
        let over = inside.data + inside.rest == 0;
        let n = skip + data + padding;
        if n == 0 {
            return Step::More;
        }
        if over {
            reader.inside = None;
        }
        if data > 0
            && let Some(call) = self.streams.get_mut(stream).and_then(|s| s.call.as_mut())
        {
            let data = rest.get(..data).unwrap_or_default();
            match from {
                Side::Client => call.request_body(data),
                Side::Service => call.response_body(data),
            }
        }
        match way {
            Way::Pass => {
                if over && end {
                    self.end_side(from, stream);
                }
                return Step::Pass(n);
            }
            Way::Hold => self.hold_piece(stream, bytes.get(..n).unwrap_or_default(), over, end),
            Way::Drop => {}
        }
        Step::Drop(n)
    }

    /// A side of a stream has ended. The end of the answer is the end of the call.
    pub(super) fn end_side(&mut self, from: Side, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        match from {
            Side::Client => stream.request_end = true,
            Side::Service => {
                stream.response_end = true;
                let complete = stream.answered;
                let end = End {
                    request: if stream.request_end { BodyEnd::Complete } else { BodyEnd::Open },
                    response: if complete { BodyEnd::Complete } else { BodyEnd::Aborted },
                    error: (!complete).then_some("upstream_malformed"),
                    own_status: None,
                };
                if let Some(mut call) = stream.call.take() {
                    call.end(end);
                }
            }
        }
        if stream.request_end && stream.response_end {
            self.streams.remove(id);
        }
    }

    fn reset(&mut self, from: Side, header: Header, bytes: &[u8]) -> Result<Step, Broken> {
        if bytes.len() < header.total() {
            return Ok(Step::More);
        }
        let id = header.stream;
        if from == Side::Client && id % 2 == 1 && id > self.last {
            return Err(self.client.broken(code::PROTOCOL_ERROR, "h2_stream_state"));
        }
        let refused = self.is_refused(id);
        // A stream the service has never heard of cannot be reset there.
        let unopened = from == Side::Client && self.let_go(id);
        let pass = if refused || unopened { Step::Drop(header.total()) } else { Step::Pass(header.total()) };
        if unopened {
            self.streams.remember(id, Fate::Refused);
        }
        self.release();
        let error = match from {
            Side::Client => "client_reset",
            Side::Service => "upstream_reset",
        };
        let Some(answered) = self.break_off(id, error) else { return Ok(pass) };
        match from {
            Side::Service => self.streams.remember(id, Fate::Reset),
            Side::Client if !answered => self.strike()?,
            Side::Client => {}
        }
        Ok(pass)
    }

    /// What one side announces binds what the other sends.
    fn settings(&mut self, from: Side, header: Header, bytes: &[u8]) -> Result<Step, Broken> {
        let reader = self.reader(from);
        if header.stream != 0 {
            return Err(reader.broken(code::PROTOCOL_ERROR, "h2_frame"));
        }
        if !header.len.is_multiple_of(6) {
            return Err(reader.broken(code::FRAME_SIZE_ERROR, "h2_frame"));
        }
        if header.len > MAX_SETTINGS {
            return Err(reader.broken(code::ENHANCE_YOUR_CALM, "h2_flood"));
        }
        let Some(whole) = bytes.get(..header.total()) else { return Ok(Step::More) };
        reader.settled = true;
        if header.has(flag::ACK) {
            return Ok(Step::Pass(whole.len()));
        }
        let mut lowered = false;
        self.made.clear();
        self.made.extend_from_slice(whole);
        for entry in self.made.get_mut(HEADER..).unwrap_or_default().as_chunks_mut::<6>().0 {
            let [a, b, value @ ..] = entry;
            let n = u32::from_be_bytes(*value) as usize;
            let bound = match from {
                Side::Client => &mut self.service,
                Side::Service => &mut self.client,
            };
            match u16::from_be_bytes([*a, *b]) {
                setting::HEADER_TABLE_SIZE => {
                    bound.decoder.allow(n);
                    if n > MAX_TABLE {
                        *value = (MAX_TABLE as u32).to_be_bytes();
                        lowered = true;
                    }
                }
                setting::INITIAL_WINDOW_SIZE => match from {
                    Side::Client => self.credit.stream = n,
                    Side::Service => self.stream_window = n,
                },
                setting::MAX_FRAME_SIZE => bound.max_frame = bound.max_frame.max(n.min(0xff_ffff)),
                _ => {}
            }
        }
        Ok(if lowered { Step::Replace(whole.len()) } else { Step::Pass(whole.len()) })
    }

    /// The service's GOAWAY: what is beyond the stream it names is not served. It must not name a later stream than ours did (RFC 9113 §6.8).
    fn goaway(&mut self, header: Header, bytes: &[u8]) -> Step {
        const FIXED: usize = HEADER + 8;
        if header.len < 8 {
            return self.other(Side::Service, header, bytes);
        }
        let Some(fixed) = bytes.get(..FIXED) else { return Step::More };
        let last = frame::word(fixed, HEADER).unwrap_or_default() & MAX_STREAM;
        self.service_goaway = self.service_goaway.min(last);
        for (id, mut stream) in self.streams.after(last) {
            end_broken(&mut stream, "upstream_reset");
            self.streams.remember(id, Fate::Reset);
        }
        if header.len > 8 {
            let rest = header.len - 8;
            self.service.inside = Some(Inside { data: 0, rest, stream: 0, end: false, way: Way::Pass });
        }
        match self.drain {
            Drain::After(ours) if ours < last => {
                self.made.clear();
                self.made.extend_from_slice(fixed);
                if let Some(place) = self.made.get_mut(HEADER..HEADER + 4) {
                    place.copy_from_slice(&ours.to_be_bytes());
                }
                Step::Replace(FIXED)
            }
            _ => Step::Pass(FIXED),
        }
    }

    /// Whether this PING is the answer to ours.
    fn ping(&mut self, header: Header, bytes: &[u8]) -> Step {
        let Some(whole) = bytes.get(..header.total()) else { return Step::More };
        if !header.has(flag::ACK) || whole.get(HEADER..) != Some(&DRAIN_PING) {
            return Step::Pass(whole.len());
        }
        self.drain = Drain::After(self.last);
        let last = self.last_served();
        frame::put_goaway(&mut self.service.inject, last, code::NO_ERROR);
        Step::Drop(whole.len())
    }

    /// PRIORITY, PING, WINDOW_UPDATE and what is unknown: as it is.
    fn other(&mut self, from: Side, header: Header, bytes: &[u8]) -> Step {
        let stream = header.stream;
        let way = if stream != 0 && self.is_refused(stream) {
            Way::Drop
        } else if from == Side::Client && self.is_unopened(stream) {
            if self.has_no_room(header.total()) {
                return Step::Wait;
            }
            Way::Hold
        } else {
            Way::Pass
        };
        self.reader(from).inside = Some(Inside { data: 0, rest: header.len, stream, end: false, way });
        self.pieces(from, HEADER, bytes)
    }

    pub(super) fn is_refused(&self, id: u32) -> bool {
        self.streams.fate(id) == Some(Fate::Refused) || self.is_late(id)
    }

    /// Whether the client opened this stream although it had been told not to.
    pub(super) fn is_late(&self, id: u32) -> bool {
        matches!(self.drain, Drain::After(last) if id % 2 == 1 && id > last)
    }

    /// Ends a stream that has become malformed, for both sides and for nobody else.
    pub(super) fn abort(&mut self, id: u32, reason: &'static str) -> Result<(), Broken> {
        let call = self.streams.get_mut(id).and_then(|stream| stream.call.as_ref());
        let recorded = call.is_some_and(Call::is_recorded);
        self.break_off(id, "request_malformed");
        self.observer.malformed(Refusal { status: 400, reason }, recorded);
        if !self.let_go(id) {
            frame::put_reset(&mut self.client.inject, id, code::PROTOCOL_ERROR);
        }
        self.release();
        frame::put_reset(&mut self.service.inject, id, code::PROTOCOL_ERROR);
        self.streams.remember(id, Fate::Refused);
        self.strike()
    }

    /// Ends a stream and its call. Whether it had been answered, if there was one.
    pub(super) fn break_off(&mut self, id: u32, error: &'static str) -> Option<bool> {
        let mut stream = self.streams.remove(id)?;
        end_broken(&mut stream, error);
        Some(stream.answered)
    }

    pub(super) fn strike(&mut self) -> Result<(), Broken> {
        match self.storm.allows(Instant::now()) {
            true => Ok(()),
            false => Err(self.client.broken(code::ENHANCE_YOUR_CALM, "h2_flood")),
        }
    }

    /// Frames of ours that travel with those of `from`.
    pub(super) fn inject(&mut self, from: Side) -> &mut Vec<u8> {
        &mut self.reader(from).inject
    }

    /// Bytes of ours that wait to travel with those of `from`.
    pub fn waiting(&self, from: Side) -> usize {
        let reader = if from == Side::Client { &self.client } else { &self.service };
        reader.inject.len() + if reader.owed > 0 { HEADER + 4 } else { 0 }
    }

    /// Whether something of ours waits to travel with the frames of `from`, and one of them ends here.
    pub fn may_speak(&self, from: Side) -> bool {
        let reader = if from == Side::Client { &self.client } else { &self.service };
        let released = from == Side::Client && !self.released.is_empty();
        reader.settled && reader.inside.is_none() && (released || self.waiting(from) > 0)
    }

    /// Hands over what [`Mux::may_speak`] told of. How much of it is our own.
    pub fn speak(&mut self, from: Side, out: &mut Vec<u8>) -> usize {
        if from == Side::Client {
            out.append(&mut self.released);
        }
        let before = out.len();
        let reader = self.reader(from);
        out.append(&mut reader.inject);
        let owed = std::mem::take(&mut reader.owed);
        if owed > 0 {
            frame::put_window(out, owed);
        }
        if from == Side::Service {
            self.window += i64::from(owed);
        }
        out.len() - before
    }

    /// How much of the frame that is being passed in pieces is still to come.
    pub fn expects(&self, from: Side) -> usize {
        let reader = if from == Side::Client { &self.client } else { &self.service };
        reader.inside.map_or(0, |i| i.data + i.rest)
    }

    /// The service has begun to speak HTTP/2.
    pub fn is_settled(&self) -> bool {
        self.service.settled
    }

    /// What goes on in place of the bytes of a [`Step::Replace`].
    pub fn made(&self) -> &[u8] {
        &self.made
    }

    /// Requests answered for want of a service.
    pub fn denied(&self) -> u64 {
        self.denied
    }

    /// From now on no new streams. First GOAWAY without an end, then, when the client is known to
    /// have heard it, one with the last stream that is served (RFC 9113 §6.8).
    pub fn drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Told;
            let inject = &mut self.service.inject;
            frame::put_goaway(inject, self.service_goaway, code::NO_ERROR);
            frame::put(inject, kind::PING, 0, 0, &DRAIN_PING);
        }
    }

    /// Draining, and no stream is left.
    pub fn is_drained(&self) -> bool {
        matches!(self.drain, Drain::After(_)) && self.streams.is_empty()
    }

    /// The last frames for the client: why the connection ends.
    pub fn farewell(&mut self, code: u32) {
        if !self.service.settled {
            let mut first = Vec::new();
            frame::put_settings(&mut first);
            first.append(&mut self.service.inject);
            self.service.inject = first;
            self.service.settled = true;
        }
        let last = self.last_served();
        frame::put_goaway(&mut self.service.inject, last, code);
    }

    /// For a GOAWAY: never more than any before it said.
    fn last_served(&self) -> u32 {
        let ours = if let Drain::After(last) = self.drain { last } else { self.last };
        ours.min(self.service_goaway)
    }

    /// From now on there is no service to pass anything to.
    pub fn deny(&mut self, refusal: Refusal) {
        self.deny = Some(refusal);
        frame::put_settings(&mut self.service.inject);
        self.service.settled = true;
    }

    /// The connection is over; `error` is what became of the calls still open.
    pub fn lost(&mut self, error: &'static str) {
        for mut stream in self.streams.drain() {
            end_broken(&mut stream, error);
        }
    }
}

pub(super) fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Service,
        Side::Service => Side::Client,
    }
}

fn end_broken<C: Call>(stream: &mut super::streams::Stream<C>, error: &'static str) {
    if let Some(mut call) = stream.call.take() {
        let request = if stream.request_end { BodyEnd::Complete } else { BodyEnd::Aborted };
        call.end(End { request, response: BodyEnd::Aborted, error: Some(error), own_status: None });
    }
}

#[cfg(test)]
#[path = "mux_tests.rs"]
mod tests;
