//! `multipart/*` bodies: fields by name, files as their length only.
//!
//! Strict about the frame (RFC 2046 §5.1 with CRLF), because a part a service finds and we do not
//! would be kept as another part's text: anything unexpected omits the body. Kept of a part's
//! headers are `Content-Disposition` and `Content-Type`; preamble and epilogue are dropped.

use super::body::{MediaType, Omit, Read, parameters, read as read_part};
use super::place::{Place, UNDECLARED};
use super::tally::{MASK, Tally};
use super::text::Pass;
use memchr::memmem;
use percent_encoding::percent_decode_str;

/// Parts of one body.
const MAX_PARTS: usize = 1000;

/// Multiparts inside each other.
const MAX_NEST: u8 = 2;

/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;

/// Whether a text of another type reads as a multipart body.
pub(super) fn looks(text: &str) -> bool {
    text.lines()
        .take(20)
        .any(|line| line.get(..20).is_some_and(|head| head.eq_ignore_ascii_case("content-disposition:")))
}

/// The boundary its first line shows.
pub(super) fn first_boundary(text: &str) -> Option<&str> {
    text.trim_start().lines().next()?.strip_prefix("--").map(str::trim_end)
}

pub(super) fn read<'r>(
    pass: &mut Pass<'r>,
    boundary: Option<&str>,
    bytes: &[u8],
    place: Place<'r>,
    nest: u8,
) -> Result<Read, Omit> {
    let boundary = boundary.filter(|b| plain_boundary(b)).ok_or(Omit::Unparseable)?;
    if nest >= MAX_NEST || pass.string(boundary).is_some() {
        return Err(Omit::Unparseable);
    }
    let (mut out, mut tally) = (String::new(), Tally::default());
    for part in parts(bytes, boundary)? {
        out.push_str("--");
        out.push_str(boundary);
        out.push_str("\r\n");
        tally.merge(write_part(pass, part, place, nest, &mut out)?);
        out.push_str("\r\n");
    }
    out.push_str("--");
    out.push_str(boundary);
    out.push_str("--\r\n");
    Ok(Read::Rendered(out, tally))
}

fn plain_boundary(boundary: &str) -> bool {
    (1..=MAX_BOUNDARY).contains(&boundary.len())
        && !boundary.ends_with(' ')
        && boundary.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b))
}

/// The bytes between the delimiters.
fn parts<'b>(bytes: &'b [u8], boundary: &str) -> Result<Vec<&'b [u8]>, Omit> {
    let first = format!("--{boundary}");
    let next = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(next.as_bytes());
    let mut rest = match bytes.strip_prefix(first.as_bytes()) {
        Some(rest) => rest,
        None => {
            let at = finder.find(bytes).ok_or(Omit::Unparseable)?;
            bytes.get(at + next.len()..).unwrap_or_default()
        }
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let body = rest.strip_prefix(b"\r\n").ok_or(Omit::Unparseable)?;
        let end = finder.find(body).ok_or(Omit::Unparseable)?;
        if parts.len() >= MAX_PARTS {
            return Err(Omit::Unparseable);
        }
        parts.push(body.get(..end).unwrap_or_default());
        rest = body.get(end + next.len()..).unwrap_or_default();
    }
}

/// What a part's headers say.
#[derive(Default)]
struct Headers {
    disposition: Option<String>,
    content_type: Option<String>,
    /// `Content-Transfer-Encoding` other than 7bit, 8bit, binary; or `Content-Encoding`.
    encoded: bool,
}

fn write_part<'r>(
    pass: &mut Pass<'r>,
    part: &[u8],
    place: Place<'r>,
    nest: u8,
    out: &mut String,
) -> Result<Tally, Omit> {
    let (head, content) = match memmem::find(part, b"\r\n\r\n") {
        _ if part.starts_with(b"\r\n") => (&[][..], part.get(2..).unwrap_or_default()),
        Some(at) => {
            part.split_at_checked(at).and_then(|(h, c)| Some((h, c.get(4..)?))).ok_or(Omit::Unparseable)?
        }
        None => return Err(Omit::Unparseable),
    };
    let headers = headers(head)?;
    let mut tally = Tally::default();
    let known = [("Content-Disposition", &headers.disposition), ("Content-Type", &headers.content_type)];
    for (name, value) in known.into_iter().filter_map(|(n, v)| Some((n, v.as_deref()?))) {
        let shown = match pass.string(value) {
            Some((masked, found)) => {
                tally.merge(found);
                masked
            }
            None => value.to_owned(),
        };
        out.extend([name, ": ", &shown, "\r\n"]);
    }
    out.push_str("\r\n");
    tally.merge(write_content(pass, &headers, content, place, nest, out));
    Ok(tally)
}

fn headers(head: &[u8]) -> Result<Headers, Omit> {
    let text = std::str::from_utf8(head).map_err(|_| Omit::Unparseable)?;
    let mut headers = Headers::default();
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(Omit::Unparseable)?;
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        // Folded lines, bare line ends, odd names: services differ in what they make of them.
        if name.is_empty() || !name.chars().all(token) || value.contains(['\r', '\n', '\0']) {
            return Err(Omit::Unparseable);
        }
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if headers.disposition.is_none() => {
                headers.disposition = Some(value.to_owned())
            }
            "content-type" if headers.content_type.is_none() => headers.content_type = Some(value.to_owned()),
            "content-disposition" | "content-type" => return Err(Omit::Unparseable),
            "content-transfer-encoding" => {
                headers.encoded |= !["7bit", "8bit", "binary"].contains(&value.to_ascii_lowercase().as_str());
            }
            "content-encoding" => headers.encoded = true,
            _ => {}
        }
    }
    Ok(headers)
}

fn write_content<'r>(
    pass: &mut Pass<'r>,
    headers: &Headers,
    content: &[u8],
    place: Place<'r>,
    nest: u8,
    out: &mut String,
) -> Tally {
    let omitted =
        |what: &str, out: &mut String| out.extend(["[", what, ": ", &content.len().to_string(), " bytes]"]);
    let (mut named, mut file, mut rule) = (false, false, None);
    let mut at = None;
    for (name, value) in parameters(headers.disposition.as_deref().unwrap_or_default()).skip(1) {
        match name.trim_end_matches('*') {
            "name" => {
                named = true;
                // name*=UTF-8''pass%77ord; browsers escape quotes in name="…" the same way.
                let value = value
                    .rsplit_once('\'')
                    .filter(|_| name.ends_with('*'))
                    .map_or(value.as_str(), |(_, v)| v);
                let value = percent_decode_str(value).decode_utf8_lossy();
                rule = rule.or(pass.name(&value));
                // Of two names both must be declared.
                let here = pass.below(place.form_field(&value), &value);
                if here.is_none() {
                    rule = rule.or(Some(&UNDECLARED));
                }
                at = here;
            }
            "filename" => file = true,
            _ if name.starts_with("name*") || name.starts_with("filename*") => file = true,
            _ => {}
        }
    }
    if let Some(rule) = rule {
        out.push_str(MASK);
        return Tally::one(rule);
    }
    let media = MediaType::of(headers.content_type.as_deref().unwrap_or("text/plain").as_bytes());
    if file {
        omitted("file", out);
    } else if headers.encoded || !(named || media.is_multipart()) {
        omitted("part", out);
    } else {
        // An array of values comes as several parts of its name.
        let at = at.map_or(place, |at| if at.scalar() || !at.items().scalar() { at } else { at.items() });
        match read_part(pass, &media, content, at, nest + 1) {
            Ok(Read::Rendered(text, tally)) => {
                out.push_str(&text);
                return tally;
            }
            Ok(Read::Edited(edits)) => {
                let text = std::str::from_utf8(content).unwrap_or_default();
                let (text, tally) = edits.apply(text).unwrap_or_else(|| (text.to_owned(), Tally::default()));
                out.push_str(&text);
                return tally;
            }
            Err(_) => omitted("part", out),
        }
    }
    Tally::default()
}
