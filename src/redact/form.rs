//! `application/x-www-form-urlencoded` bodies and query strings.
//!
//! What is kept keeps its encoding. Names are compared decoded, and decoded again where that still
//! changes them; a value is looked into decoded.

use super::names::{Role, Verdict};
use super::place::{Place, UNDECLARED};
use super::tally::{Edits, MASK, Rule, Tally};
use super::text::Pass;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;
use std::ops::Range;

/// Times a name is percent-decoded at most.
const MAX_DECODE: usize = 3;

/// What a masked value must not contain raw, so that the text still splits as it did.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'+')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b';');

/// Fields that show `code` to be an OAuth authorization code rather than a country's or an error's.
const OAUTH: &[&[u8]] = &[b"state", b"granttype", b"redirecturi", b"sessionstate", b"clientid"];

pub(super) fn read<'r>(pass: &mut Pass<'r>, text: &str, place: Place<'r>) -> Edits {
    let mut edits = Edits::default();
    let (mut oauth, mut code) = (false, None);
    let mut beside: (Option<&Rule>, Vec<Range<usize>>) = (None, Vec::new());
    let mut start = 0;
    for pair in text.split('&') {
        let (raw_name, raw_value) = pair.split_once('=').map_or((pair, None), |(n, v)| (n, Some(v)));
        let value = start + pair.len() - raw_value.map_or(0, str::len)..start + pair.len();
        let whole = start..start + pair.len();
        let name = name(raw_name);
        let (Verdict { rule, role }, squashed) = pass.squashed(&name);
        oauth |= OAUTH.contains(&squashed);
        if squashed == b"code" {
            code = Some(value.clone());
        }
        inside(pass, raw_name, start, &mut edits);
        if let Some(raw) = raw_value {
            match (rule, role) {
                (Some(rule), _) => edits.replace(value.clone(), MASK, Tally::one(rule)),
                (None, Role::Name) => beside.0 = beside.0.or(pass.name(&decode(raw))),
                (None, Role::Value) => beside.1.push(value.clone()),
                _ => {}
            }
            if rule.is_none() && !declared(pass, place, &name) {
                edits.replace(value.clone(), MASK, Tally::one(&UNDECLARED));
            } else if rule.is_none() {
                inside(pass, raw, value.start, &mut edits);
            }
        }
        if raw_value.is_none() && !pair.is_empty() && !declared(pass, place, &name) {
            // A name without a value may as well be a value without a name.
            edits.replace(whole, MASK, Tally::one(&UNDECLARED));
        }
        start += pair.len() + 1;
    }
    if let Some(rule) = beside.0 {
        for span in beside.1 {
            edits.replace(span, MASK, Tally::one(rule));
        }
    }
    if let (true, Some(span), Some(rule)) = (oauth, code, pass.name("authorization_code")) {
        edits.replace(span, MASK, Tally::one(rule));
    }
    edits
}

/// Whether a value, or one of several, may stand under this name.
fn declared<'r>(pass: &mut Pass<'r>, place: Place<'r>, name: &str) -> bool {
    place.is_anywhere()
        || pass.below(place.form_field(name), name).is_some_and(|at| at.scalar() || at.items().scalar())
}

/// Whether a text with no media type of its own reads as a form: `name=value` pairs, no spaces.
pub(super) fn looks(text: &str) -> bool {
    // Base64 ends with `=` and is none.
    let valued =
        text.split('&').any(|pair| pair.split_once('=').is_some_and(|(_, v)| !matches!(v, "" | "=")));
    valued
        && !text.trim_end().contains(|c: char| c.is_whitespace() || "{}<>\"".contains(c))
        && text
            .split('&')
            .all(|pair| pair.split_once('=').is_none_or(|(name, _)| !name.contains([':', '/', '?'])))
}

fn inside(pass: &mut Pass<'_>, raw: &str, start: usize, edits: &mut Edits) {
    if let Some((masked, tally)) = pass.string(&decode(raw)) {
        edits.replace(start..start + raw.len(), encode(&masked), tally);
    }
}

/// Encodes a masked text again, brackets and colons readable.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNSAFE).to_string()
}

fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['%', '+']) {
        return Cow::Borrowed(raw);
    }
    let spaced = raw.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn name(raw: &str) -> Cow<'_, str> {
    let mut name = decode(raw);
    for _ in 1..MAX_DECODE {
        if !name.contains('%') {
            break;
        }
        name = Cow::Owned(percent_decode_str(&name).decode_utf8_lossy().into_owned());
    }
    name
}
