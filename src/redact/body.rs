//! A captured body: which reader it is for, or why nothing of it may be kept.
//!
//! The media type is a hint; the content decides. JSON is tried first whatever the type says, and a
//! text that was meant to be JSON and is not is omitted. An encoded body is decoded first, within a
//! bound. What is cut short, cannot be decoded, is not UTF-8 or of no type we can read is omitted
//! too: its length and digest remain.

use super::place::Place;
use super::tally::{Edits, Tally};
use super::text::Pass;
use super::{decode, form, json, multipart, text, xml};
use std::borrow::Cow;

/// A captured body and what is needed to read it.
#[derive(Debug, Clone, Default)]
pub struct RawBody<'a> {
    /// The header's value as sent; may lie, empty if absent.
    pub content_type: &'a [u8],
    /// The header's value as sent; empty if absent.
    pub content_encoding: &'a [u8],
    /// The captured prefix, transfer coding removed.
    pub bytes: &'a [u8],
    /// Bytes on the wire, captured or not.
    pub total: u64,
    /// The message ended properly.
    pub complete: bool,
    /// Less was captured than `total`.
    pub truncated: bool,
    /// Over all bytes on the wire, from `Pseudonyms::digester`.
    pub digest: Option<String>,
    /// The level wants the body.
    pub keep: bool,
}

/// What is kept of a body.
pub(super) struct Kept<'a> {
    pub text: Cow<'a, str>,
    pub state: &'static str,
    pub tally: Tally,
}

impl Kept<'_> {
    fn nothing(state: &'static str) -> Self {
        Kept { text: Cow::Borrowed(""), state, tally: Tally::default() }
    }
}

/// Why a body is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Omit {
    Unparseable,
    Encoding,
    Type,
    /// With `redact.unknown: mask`: of a kind in which declared and undeclared cannot be told apart.
    Undeclared,
}

impl Omit {
    fn state(self) -> &'static str {
        match self {
            Omit::Unparseable => "omitted:unparseable",
            Omit::Encoding => "omitted:encoding",
            Omit::Type => "omitted:type",
            Omit::Undeclared => "omitted:undeclared",
        }
    }
}

/// A body as it may be written: with these edits, or as another text.
pub(super) enum Read {
    Edited(Edits),
    Rendered(String, Tally),
}

/// `max`: bytes of a body when decoded.
pub(super) fn keep<'a, 'r>(pass: &mut Pass<'r>, raw: &RawBody<'a>, place: Place<'r>, max: usize) -> Kept<'a> {
    if raw.total == 0 && raw.bytes.is_empty() {
        return Kept::nothing(if raw.complete { "none" } else { "aborted" });
    }
    if !raw.keep {
        return Kept::nothing("omitted:level");
    }
    if let Place::Marked = place {
        return Kept::nothing("omitted:marked");
    }
    if !raw.complete {
        return Kept::nothing("aborted");
    }
    if raw.truncated || raw.bytes.len() as u64 != raw.total {
        return Kept::nothing("omitted:truncated");
    }
    let bytes = match decode::decode(raw.content_encoding, raw.bytes, max) {
        Ok(None) => Cow::Borrowed(raw.bytes),
        Ok(Some(decoded)) => Cow::Owned(decoded),
        Err(undecoded) => {
            pass.flag(undecoded.flag());
            return Kept::nothing(Omit::Encoding.state());
        }
    };
    if bytes.is_empty() {
        return Kept::nothing("complete");
    }
    match read(pass, &MediaType::of(raw.content_type), &bytes, place, 0) {
        Err(omit) => Kept::nothing(omit.state()),
        Ok(Read::Rendered(text, tally)) => Kept { text: Cow::Owned(text), state: "complete", tally },
        Ok(Read::Edited(edits)) => {
            let (text, tally) = match edits.apply(std::str::from_utf8(&bytes).unwrap_or_default()) {
                Some((text, tally)) => (Cow::Owned(text), tally),
                None => (text_of(bytes), Tally::default()),
            };
            Kept { text, state: "complete", tally }
        }
    }
}

/// What was read as text before.
fn text_of(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).unwrap_or_default()),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).unwrap_or_default()),
    }
}

/// Reads a body, or a part of a multipart one (`nest` deep).
pub(super) fn read<'r>(
    pass: &mut Pass<'r>,
    media: &MediaType,
    bytes: &[u8],
    place: Place<'r>,
    nest: u8,
) -> Result<Read, Omit> {
    if media.kind == Kind::Multipart {
        return multipart::read(pass, media.boundary.as_deref(), bytes, place, nest);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(if media.kind == Kind::Unknown { Omit::Type } else { Omit::Encoding });
    };
    if !(media.utf8 || (media.ascii_superset && text.is_ascii())) {
        return Err(Omit::Encoding);
    }
    if json::begins(text) {
        match json::stream(pass, text, place) {
            Ok(edits) => return Ok(Read::Edited(edits)),
            Err(_) if json::cut(text) => return Err(Omit::Unparseable),
            Err(_) => {}
        }
    }
    if text.trim_start().starts_with("--") && multipart::looks(text) {
        return multipart::read(pass, multipart::first_boundary(text), bytes, place, nest);
    }
    let markup = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').starts_with('<');
    match media.kind {
        // JSON that does not begin like a container: a bare scalar.
        Kind::Json => json::stream(pass, text, place).map(Read::Edited).map_err(|_| Omit::Unparseable),
        Kind::Form if !markup => Ok(Read::Edited(form::read(pass, text, place))),
        Kind::Xml if !place.is_anywhere() => Err(Omit::Undeclared),
        _ if markup && !place.is_anywhere() => Err(Omit::Undeclared),
        Kind::Xml => xml::read(pass, text).map(Read::Edited),
        _ if markup => xml::read(pass, text).map(Read::Edited),
        Kind::Text | Kind::Absent if form::looks(text) => Ok(Read::Edited(form::read(pass, text, place))),
        Kind::Text if !place.scalar() => Err(Omit::Undeclared),
        Kind::Text => Ok(Read::Edited(text::body(pass, text))),
        _ => Err(Omit::Type),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    Multipart,
    Xml,
    /// Free text; not CSV, YAML or HTML, where a name may lie far from its value.
    Text,
    Absent,
    Unknown,
}

/// A `Content-Type`, as far as it matters here.
#[derive(Debug)]
pub(super) struct MediaType {
    kind: Kind,
    /// No charset, or UTF-8.
    utf8: bool,
    /// A charset whose first half is ASCII.
    ascii_superset: bool,
    boundary: Option<String>,
}

impl MediaType {
    pub fn is_multipart(&self) -> bool {
        self.kind == Kind::Multipart
    }

    pub fn of(value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        let mut parts = parameters(&value);
        let kind = kind(&parts.next().map(|(name, _)| name).unwrap_or_default());
        let mut media = MediaType { kind, utf8: true, ascii_superset: false, boundary: None };
        for (name, value) in parts {
            match name.as_str() {
                "charset" => {
                    let charset = value.to_ascii_lowercase();
                    media.utf8 &= matches!(charset.as_str(), "" | "utf-8" | "utf8");
                    media.ascii_superset = matches!(
                        charset.as_str(),
                        "us-ascii" | "ascii" | "iso-8859-1" | "iso-8859-15" | "latin1" | "windows-1252"
                    );
                }
                // Two boundaries: which one the service uses cannot be told.
                "boundary" => {
                    media.boundary = if media.boundary.is_none() { Some(value) } else { Some(String::new()) }
                }
                _ => {}
            }
        }
        media
    }
}

fn kind(essence: &str) -> Kind {
    match essence {
        "" => Kind::Absent,
        "application/x-www-form-urlencoded" => Kind::Form,
        "application/graphql" | "text/plain" | "text/event-stream" | "text/markdown" => Kind::Text,
        "application/xml" | "text/xml" => Kind::Xml,
        "application/x-ndjson" | "application/jsonl" | "application/json-seq" | "text/json" => Kind::Json,
        _ if essence.starts_with("multipart/") => Kind::Multipart,
        _ if essence.ends_with("/json") || essence.ends_with("+json") => Kind::Json,
        _ if essence.ends_with("+xml") => Kind::Xml,
        _ => Kind::Unknown,
    }
}

/// The parts of a header value such as `form-data; name="a; b"; filename=x`: names in lower case,
/// values unquoted. The first has no value.
pub(super) fn parameters(value: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = unquoted_semicolon(text);
        let part = text.get(..end).unwrap_or_default().trim();
        rest = text.get(end + 1..);
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
    })
}

fn unquoted_semicolon(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let at = text.bytes().position(|b| {
        let ends = b == b';' && !quoted;
        if b == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = b == b'\\' && !escaped;
        ends
    });
    at.unwrap_or(text.len())
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}
