//! The path of a target: each segment's decoded text, and `;name=value` parameters in segments
//! (`;jsessionid=…`).
//!
//! Segments have no names, so only values known by their look, and those the caller knows to be
//! secret from the matched template, are masked.

use super::form::encode;
use super::scan;
use super::tally::{Edits, MASK, Tally};
use super::text::Pass;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Whether each segment is a plain text that says nothing beyond its look.
pub(super) fn is_dull(path: &str) -> bool {
    !path.contains(';') && path.split('/').all(scan::dull)
}

/// `secret`: decoded values of path parameters that are masked by name, with the account of each.
pub(super) fn read(pass: &mut Pass<'_>, path: &str, secrets: &[(String, Tally)]) -> Edits {
    let mut edits = Edits::default();
    let mut start = 0;
    for segment in path.split('/') {
        let mut at = start;
        for (i, part) in segment.split(';').enumerate() {
            let span = at..at + part.len();
            let text = percent_decode_str(part).decode_utf8_lossy();
            if let Some((_, tally)) = secrets.iter().find(|(secret, _)| holds(&text, secret)) {
                edits.replace(span, MASK, tally.clone());
            } else if let Some((name, value)) = part.split_once('=')
                && i > 0
                && let Some(rule) = pass.name(&percent_decode_str(name).decode_utf8_lossy())
            {
                edits.replace(span.end - value.len()..span.end, MASK, Tally::one(rule));
            } else if let Some((masked, tally)) = pass.string(&text) {
                edits.replace(span, encode(&masked), tally);
            }
            at += part.len() + 1;
        }
        start += segment.len() + 1;
    }
    // A parameter over several segments (`{path}` of a file, say) is in none of them whole.
    for (secret, tally) in secrets.iter().filter(|(secret, _)| secret.contains('/')) {
        for (at, found) in path.match_indices(secret.as_str()) {
            edits.replace(at..at + found.len(), MASK, tally.clone());
        }
    }
    edits
}

/// Whether a text is the secret or, for one too long to occur by chance, contains it.
fn holds(text: &str, secret: &str) -> bool {
    text == secret || (secret.len() > 3 && text.contains(secret))
}

/// A target's bytes as text: what is not UTF-8 or not printable is percent-encoded.
pub(super) fn printable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Cow::Borrowed(text),
        _ => {
            let mut out = String::with_capacity(bytes.len() + 16);
            for chunk in bytes.utf8_chunks() {
                for c in chunk.valid().chars() {
                    if c.is_control() {
                        out.extend(percent_encoding::utf8_percent_encode(
                            c.encode_utf8(&mut [0; 4]),
                            percent_encoding::NON_ALPHANUMERIC,
                        ));
                    } else {
                        out.push(c);
                    }
                }
                out.extend(chunk.invalid().iter().map(|b| percent_encoding::percent_encode_byte(*b)));
            }
            Cow::Owned(out)
        }
    }
}
