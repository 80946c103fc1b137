//! Header blocks: HEADERS and PUSH_PROMISE with their CONTINUATIONs. Nothing of one is passed before
//! all of it is there and decoded.

use super::frame::{self, HEADER, Header, MAX_STREAM, code, flag, kind};
use super::gate::{Block, State};
use super::hpack::{self, Error};
use super::message::{self, Flaw};
use super::mux::{Broken, Mux, Reader, Side, Step};
use super::streams::{Fate, Stream};
use crate::head::Head;
use crate::relay::parse::Refusal;
use crate::relay::{BodyEnd, Call, End, Observer};

/// Frames of one block. Nobody needs more; each costs its sender nine bytes (CVE-2024-27316).
const MAX_CONTINUATIONS: usize = 32;
/// What a HEADERS frame may hold beside the block: padding, its length, a priority.
const BESIDE: usize = 1 + 255 + 5;

/// Where a block lies.
struct Located {
    /// All frames of it.
    total: usize,
    /// The first fragment, in the first frame.
    first: std::ops::Range<usize>,
    /// The fragments have been put together in [`Reader::fragments`].
    continued: bool,
    /// PUSH_PROMISE only.
    promised: u32,
}

/// Whether a block goes on.
enum Verdict {
    Pass,
    Drop,
    /// When it may: [`super::gate`].
    Hold(State),
}

impl<O: Observer> Mux<O> {
    pub(super) fn block(&mut self, from: Side, header: Header, bytes: &[u8]) -> Result<Step, Broken> {
        let reader = self.reader(from);
        let foreign = header.kind == kind::PUSH_PROMISE || header.stream.is_multiple_of(2);
        if header.stream == 0 || (from == Side::Client && foreign) {
            return Err(reader.broken(code::PROTOCOL_ERROR, "h2_frame"));
        }
        let Some(located) = reader.locate(header, bytes)? else { return Ok(Step::More) };
        if from == Side::Client && self.has_no_room(located.total) {
            return Ok(Step::Wait);
        }
        self.decode(from, &located, bytes)?;
        let end = header.has(flag::END_STREAM);
        let opens = header.stream > self.last;
        let verdict = match (from, header.kind) {
            (Side::Client, _) if opens => self.request(header.stream, end)?,
            (Side::Client, _) => self.trailers(header.stream, end)?,
            (Side::Service, kind::HEADERS) => self.response(header.stream, end),
            (Side::Service, _) => self.promise(header.stream, located.promised),
        };
        let verdict = match verdict {
            Verdict::Pass if from == Side::Client && self.gate.has_blocks() => Verdict::Hold(State::Turn),
            verdict => verdict,
        };
        let step = match (verdict, self.reader(from).rewrite) {
            (Verdict::Hold(state), _) => {
                let frames = bytes.get(..located.total).unwrap_or_default();
                let mut literals = Vec::new();
                self.put_literals(&mut literals, header, &[], true);
                let (stream, touched) = (header.stream, self.list.touched);
                self.hold_block(Block { stream, frames, literals, touched, opens }, state);
                Step::Drop(located.total)
            }
            (Verdict::Pass, None) => Step::Pass(located.total),
            (Verdict::Pass, Some(_)) => self.rewritten(from, header, &located),
            (Verdict::Drop, rewrite) => {
                if rewrite.is_none() && self.list.touched {
                    self.reader(from).rewrite = Some(false);
                }
                Step::Drop(located.total)
            }
        };
        self.list.trim();
        Ok(step)
    }

    fn decode(&mut self, from: Side, located: &Located, bytes: &[u8]) -> Result<(), Broken> {
        let reader = match from {
            Side::Client => &mut self.client,
            Side::Service => &mut self.service,
        };
        let block = match located.continued {
            true => &reader.fragments,
            false => bytes.get(located.first.clone()).unwrap_or_default(),
        };
        let decoded = reader.decoder.decode(block, &mut self.list, reader.limits.decoded);
        if located.continued {
            reader.fragments = Vec::new();
        }
        decoded.map_err(|error| match error {
            Error::TooLarge => reader.broken(code::ENHANCE_YOUR_CALM, "h2_flood"),
            Error::Invalid(why) => {
                tracing::debug!(why, "a header block cannot be read");
                reader.broken(code::COMPRESSION_ERROR, "h2_compression")
            }
        })
    }

    /// A new stream of the client.
    fn request(&mut self, id: u32, end: bool) -> Result<Verdict, Broken> {
        self.last = id;
        if self.is_late(id) {
            return Ok(Verdict::Drop);
        }
        if self.streams.len() >= self.bounds.max_streams {
            self.refuse(
                id,
                end,
                Refusal { status: 503, reason: "too_many_streams" },
                Some(code::REFUSED_STREAM),
            )?;
            return Ok(Verdict::Drop);
        }
        let read = message::request(&mut self.list, &mut self.index, end, self.heads, &self.upgrades);
        let begun = read.and_then(|request| {
            let head = Head { raw: &self.list.bytes, index: &self.index };
            let call = self.observer.begin(head, &request.framing).map_err(Flaw::Unwanted)?;
            Ok((request, call))
        });
        let (request, mut call) = match begun {
            Ok(begun) => begun,
            Err(flaw) => {
                let code = matches!(flaw, Flaw::Malformed(_)).then_some(code::PROTOCOL_ERROR);
                self.refuse(id, end, flaw.refusal(), code)?;
                return Ok(Verdict::Drop);
            }
        };
        if let Some(refusal) = self.deny {
            call.end(End {
                request: if end { BodyEnd::Complete } else { BodyEnd::Aborted },
                response: BodyEnd::Aborted,
                error: Some(refusal.reason),
                own_status: Some(refusal.status),
            });
            self.denied += 1;
            self.answer(id, end, refusal);
            return Ok(Verdict::Drop);
        }
        let tunnel = request.framing.upgrade.is_some();
        let stream = Stream { call: Some(call), tunnel, left: request.length, ..Stream::new() };
        self.streams.insert(id, stream);
        if end {
            self.end_side(Side::Client, id);
        }
        Ok(self.gate_head(id, end).map_or(Verdict::Pass, Verdict::Hold))
    }

    /// The service never sees this stream. `code`: it is reset; otherwise it is answered.
    fn refuse(&mut self, id: u32, end: bool, refusal: Refusal, code: Option<u32>) -> Result<(), Broken> {
        self.observer.refused(refusal, &[]);
        match code {
            Some(code) => {
                frame::put_reset(self.inject(Side::Service), id, code);
                self.streams.remember(id, Fate::Refused);
            }
            None => self.answer(id, end, refusal),
        }
        self.strike()
    }

    /// A second block of the client on a stream ends it.
    fn trailers(&mut self, id: u32, end: bool) -> Result<Verdict, Broken> {
        let Some(stream) = self.streams.get_mut(id) else {
            return match self.streams.fate(id) {
                Some(Fate::Refused) => Ok(Verdict::Drop),
                Some(Fate::Reset) => Ok(Verdict::Pass),
                None if self.is_late(id) => Ok(Verdict::Drop),
                None => Err(self.client.broken(code::STREAM_CLOSED, "h2_stream_state")),
            };
        };
        if stream.request_end {
            return Err(self.client.broken(code::STREAM_CLOSED, "h2_stream_state"));
        }
        let short = stream.left.is_some_and(|left| left > 0);
        let sound = end && message::request_trailers(&self.list, &mut self.index, self.heads).is_ok();
        if short || !sound {
            self.abort(id, if short { "content_length" } else { "trailer" })?;
            return Ok(Verdict::Drop);
        }
        let state = self.gate_trailers(id);
        self.end_side(Side::Client, id);
        Ok(state.map_or(Verdict::Pass, Verdict::Hold))
    }

    /// Whatever it says, it goes on.
    fn response(&mut self, id: u32, end: bool) -> Verdict {
        let Some(stream) = self.streams.get_mut(id) else {
            return if self.is_refused(id) { Verdict::Drop } else { Verdict::Pass };
        };
        if stream.answered {
            message::fields(&self.list, &mut self.index);
            if let Some(call) = &mut stream.call {
                call.response_trailers(Head { raw: &self.list.bytes, index: &self.index });
            }
        } else if let Some(status) = message::response(&self.list, &mut self.index)
            && (status >= 200 || end)
        {
            stream.answered = true;
            if let Some(call) = &mut stream.call {
                call.response_head(Head { raw: &self.list.bytes, index: &self.index });
                if stream.tunnel && status < 300 {
                    call.tunnel();
                }
            }
        }
        if end {
            self.end_side(Side::Service, id);
        }
        Verdict::Pass
    }

    /// A push (RFC 9113 §8.4): a request nobody made, and an answer to it. Watched like a call where it
    /// can be read; what it may say is between service and client.
    fn promise(&mut self, parent: u32, id: u32) -> Verdict {
        if self.is_refused(parent) {
            frame::put_reset(self.inject(Side::Client), id, code::REFUSED_STREAM);
            self.streams.remember(id, Fate::Refused);
            return Verdict::Drop;
        }
        if self.streams.len() >= self.bounds.max_streams {
            return Verdict::Pass;
        }
        let read = message::request(&mut self.list, &mut self.index, true, self.heads, &[]);
        let call = read.ok().and_then(|request| {
            let head = Head { raw: &self.list.bytes, index: &self.index };
            self.observer.begin(head, &request.framing).ok()
        });
        self.streams.insert(id, Stream { call, request_end: true, ..Stream::new() });
        Verdict::Pass
    }

    /// The block again, as literals: what it says no longer depends on a table.
    fn rewritten(&mut self, from: Side, header: Header, located: &Located) -> Step {
        let forget = self.reader(from).rewrite.replace(true) == Some(false);
        let promised = located.promised.to_be_bytes();
        let prefix = if header.kind == kind::PUSH_PROMISE { &promised[..] } else { &[] };
        let mut made = std::mem::take(&mut self.made);
        made.clear();
        self.put_literals(&mut made, header, prefix, forget);
        self.made = made;
        Step::Replace(located.total)
    }

    fn put_literals(&self, out: &mut Vec<u8>, header: Header, prefix: &[u8], forget: bool) {
        let mut block = Vec::with_capacity(self.list.bytes.len() + 4 * self.list.fields.len() + 1);
        if forget {
            block.push(hpack::FORGET);
        }
        for (name, value) in self.list.iter() {
            hpack::put_literal(&mut block, name, value);
        }
        frame::put_block(out, header, prefix, &block);
    }
}

impl Reader {
    /// Finds the frames of a block; `None`: they are not all there yet. Refuses early what would be
    /// too large.
    fn locate(&mut self, header: Header, bytes: &[u8]) -> Result<Option<Located>, Broken> {
        if header.len > self.limits.encoded + BESIDE {
            return Err(self.broken(code::ENHANCE_YOUR_CALM, "h2_flood"));
        }
        let Some(whole) = bytes.get(..header.total()) else { return Ok(None) };
        let malformed = self.broken(code::PROTOCOL_ERROR, "h2_frame");
        let (mut start, mut end) = (HEADER, whole.len());
        if header.has(flag::PADDED) {
            end = end.checked_sub(usize::from(*whole.get(HEADER).ok_or(malformed)?)).ok_or(malformed)?;
            start += 1;
        }
        let mut promised = 0;
        if header.kind == kind::PUSH_PROMISE {
            promised = frame::word(whole, start).ok_or(malformed)? & MAX_STREAM;
            start += 4;
        } else if header.has(flag::PRIORITY) {
            start += 5;
        }
        if start > end {
            return Err(malformed);
        }
        let mut located = Located { total: whole.len(), first: start..end, continued: false, promised };
        if header.has(flag::END_HEADERS) {
            return Ok(Some(located));
        }
        let Some(total) = self.extent(header, located.first.len(), bytes)? else { return Ok(None) };
        (located.total, located.continued) = (total, true);
        self.gather(located.first.clone(), whole.len(), bytes.get(..total).unwrap_or_default());
        Ok(Some(located))
    }

    /// Length of all frames of a continued block. However the bytes trickle in, looking again costs a
    /// few frame headers and no copy.
    fn extent(&self, first: Header, mut size: usize, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let mut total = first.total();
        for _ in 0..MAX_CONTINUATIONS {
            let rest = bytes.get(total..).unwrap_or_default();
            let Some(header) = Header::read(rest) else { return Ok(None) };
            if header.kind != kind::CONTINUATION || header.stream != first.stream {
                return Err(self.broken(code::PROTOCOL_ERROR, "h2_frame"));
            }
            if header.len > self.max_frame {
                return Err(self.broken(code::FRAME_SIZE_ERROR, "h2_frame"));
            }
            size += header.len;
            if size > self.limits.encoded {
                return Err(self.broken(code::ENHANCE_YOUR_CALM, "h2_flood"));
            }
            total += header.total();
            if rest.len() < header.total() {
                return Ok(None);
            }
            if header.has(flag::END_HEADERS) {
                return Ok(Some(total));
            }
        }
        Err(self.broken(code::ENHANCE_YOUR_CALM, "h2_flood"))
    }

    fn gather(&mut self, first: std::ops::Range<usize>, mut at: usize, frames: &[u8]) {
        self.fragments.clear();
        self.fragments.extend_from_slice(frames.get(first).unwrap_or_default());
        while let Some(header) = frames.get(at..).and_then(Header::read) {
            self.fragments
                .extend_from_slice(frames.get(at + HEADER..at + header.total()).unwrap_or_default());
            at += header.total();
        }
    }
}
