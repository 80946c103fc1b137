//! `name=value` and `name: value` inside text: log lines, connection strings, URLs in fields,
//! header dumps, GraphQL, embedded JSON. If the name means a secret, the value goes.
//!
//! Text has no grammar, so where a value ends is guessed generously: too much is masked rather
//! than too little. A pass is linear: it looks back a bounded way for the name, and what a value
//! covers is not looked at again.

use super::tally::{Edits, MASK, Rule, Tally};
use super::text::Pass;
use memchr::memchr2_iter;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::ops::Range;

/// Longest name looked at, bytes; of longer ones the end.
const MAX_NAME: usize = 128;

/// Spaces, quotes, backslashes and brackets allowed between name and separator.
const MAX_CLOSE: usize = 8;

pub(super) fn find(text: &str, pass: &mut Pass<'_>, edits: &mut Edits) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for at in memchr2_iter(b'=', b':', bytes) {
        if at < done || bytes.get(at..at + 3) == Some(b"://") {
            continue;
        }
        let Some((name, quoted)) = name_before(text, done, at) else { continue };
        let Some(rule) = means_secret(name, pass) else { continue };
        let span = value_after(bytes, at, quoted);
        if !span.is_empty() {
            done = span.end;
            edits.replace(boundaries(text, span), MASK, Tally::one(rule));
        }
    }
}

/// A span widened to character boundaries.
fn boundaries(text: &str, span: Range<usize>) -> Range<usize> {
    let end = (span.end..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
    let start = (0..=span.start).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    start..end
}

/// The name that ends before the separator, at most two words of it, and whether it was quoted.
fn name_before(text: &str, from: usize, at: usize) -> Option<(&str, bool)> {
    let bytes = text.as_bytes();
    let limit = from.max(at.saturating_sub(MAX_NAME));
    let back = |end: usize, ok: fn(u8) -> bool, most: usize| {
        let taken = bytes.get(limit..end).unwrap_or_default().iter().rev().take(most);
        end - taken.take_while(|b| ok(**b)).count()
    };
    let end = back(at, |b| b" \t\"'`\\])".contains(&b), MAX_CLOSE);
    let quoted = bytes.get(end..at).unwrap_or_default().iter().any(|b| b"\"'`\\".contains(b));
    let mut start = back(end, in_name, MAX_NAME);
    if start == end {
        return None;
    }
    // "API key: …"
    let gap = back(start, |b| b == b' ', 1);
    if gap < start {
        let word = back(gap, in_name, MAX_NAME);
        start = if word < gap { word } else { start };
    }
    let start = (start..=end).find(|i| text.is_char_boundary(*i))?;
    text.get(start..end).map(|name| (name, quoted))
}

fn in_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_-.%[$@".contains(&b) || !b.is_ascii()
}

/// The last word, or both words together: "access key", but not "password for".
fn means_secret<'r>(name: &str, pass: &mut Pass<'r>) -> Option<&'r Rule> {
    let decoded = match name.contains('%') {
        true => percent_decode_str(name).decode_utf8_lossy(),
        false => Cow::Borrowed(name),
    };
    // Hardly any word before a colon holds a listed name, and one look tells for both words.
    if !pass.may_mean(&decoded) {
        return None;
    }
    let Some((first, last)) = decoded.rsplit_once(' ') else { return pass.name(&decoded) };
    pass.name(last).or_else(|| if pass.name(first).is_none() { pass.name(&decoded) } else { None })
}

/// Where the value lies after the separator at `at`; empty if there is none.
fn value_after(bytes: &[u8], at: usize, quoted: bool) -> Range<usize> {
    let skip = |from: usize, ok: fn(u8) -> bool| {
        from + bytes.get(from..).unwrap_or_default().iter().take_while(|b| ok(**b)).count()
    };
    // `:=`, `=>`, `==`
    let sign = skip(at + 1, |b| b"=>".contains(&b)).min(at + 3);
    let start =
        if quoted { skip(sign, |b| b.is_ascii_whitespace()) } else { skip(sign, |b| b" \t".contains(&b)) };
    let rest = bytes.get(start..).unwrap_or_default();
    let to_end = start..bytes.len();
    let until = |stop: &[u8]| start..start + rest.iter().take_while(|b| !stop.contains(b)).count();
    match rest {
        [] => start..start,
        // Nothing on this line, or a YAML block: what belongs to the name cannot be told.
        [b'\r' | b'\n', more @ ..] | [b'|' | b'>', more @ ..] if bytes.get(at) == Some(&b':') => {
            if more.iter().all(u8::is_ascii_whitespace) { start..start } else { to_end }
        }
        [b'\r' | b'\n', ..] => start..start,
        [b'\\', quote @ (b'"' | b'\''), ..] => {
            closing(bytes, start + 2, *quote, true).map_or(to_end, |end| start..end)
        }
        [quote @ (b'"' | b'\'' | b'`'), ..] => {
            closing(bytes, start + 1, *quote, false).map_or(to_end, |end| start..end)
        }
        [b'{' | b'[' | b'(', ..] => balanced(rest).map_or(to_end, |len| start..start + len),
        // `name: several words` and `name = several words`: to the end of the line.
        _ if start > sign => until(b"\r\n"),
        _ => until(b" \t\r\n&;\"'`<>#"),
    }
}

/// The end, quote included, of a quoted value. With `escaped` the quote is written `\"`.
fn closing(bytes: &[u8], from: usize, quote: u8, escaped: bool) -> Option<usize> {
    let mut backslashes = 0usize;
    for (i, b) in bytes.get(from..)?.iter().enumerate() {
        if *b == quote && (if escaped { backslashes == 1 } else { backslashes.is_multiple_of(2) }) {
            return Some(from + i + 1);
        }
        backslashes = if *b == b'\\' { backslashes + 1 } else { 0 };
    }
    None
}

/// Length of a bracketed value, quotes respected. `None`: it does not end, or a backslash makes
/// it too hard to tell.
fn balanced(rest: &[u8]) -> Option<usize> {
    let (mut depth, mut quotes) = (0usize, false);
    for (i, b) in rest.iter().enumerate() {
        match b {
            b'"' => quotes = !quotes,
            b'\\' => return None,
            b'{' | b'[' | b'(' if !quotes => depth += 1,
            b'}' | b']' | b')' if !quotes => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}
