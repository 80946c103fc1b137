//! The fields that name an actor, found in one pass over the head, with what makes them doubtful:
//! repetition, a look-alike beside them, a `Connection` field that has the next hop remove them.

use super::text::trim;
use crate::head::Head;

/// What was found of one field name.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found<'h> {
    /// The first value, even if empty. `None`: the field is not there.
    pub value: Option<&'h [u8]>,
    /// Another field of the same name has another value.
    pub differing: bool,
    /// A name that a service could take for this one (`X_User` for `X-User`) is there.
    pub lookalike: bool,
    /// `Connection` names it: the service may not get to see it.
    pub nominated: bool,
}

impl<'h> Found<'h> {
    /// The value, unless it is absent or empty and nothing differs from it.
    pub fn present(&self) -> Option<&'h [u8]> {
        self.value.filter(|v| !v.is_empty() || self.differing)
    }
}

/// Scans for `names` (lower case, each once); the result has their order.
pub(super) fn scan<'h>(head: &Head<'h>, names: &[String]) -> Vec<Found<'h>> {
    let mut found = vec![Found::default(); names.len()];
    let mut connection = false;
    for (name, value) in head.fields() {
        connection |= name.eq_ignore_ascii_case("connection");
        for (watched, found) in names.iter().zip(&mut found) {
            if watched.len() != name.len() || !looks_like(watched, name) {
                continue;
            }
            if !watched.eq_ignore_ascii_case(name) {
                found.lookalike = true;
            } else if found.value.is_some_and(|first| first != value) {
                found.differing = true;
            } else {
                found.value = Some(value);
            }
        }
    }
    if connection {
        for (watched, found) in names.iter().zip(&mut found) {
            found.nominated = found.value.is_some() && is_nominated(head, watched);
        }
    }
    found
}

/// The values of a cookie of this exact name, in all the `Cookie` fields: senders may split them.
pub(super) fn cookies<'h>(head: &Head<'h>, name: &str) -> impl Iterator<Item = &'h [u8]> {
    pairs(head).filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
}

/// What was found of a cookie; `field` is what was found of the field.
pub(super) fn cookie<'h>(head: &Head<'h>, name: &str, field: &Found<'h>) -> Found<'h> {
    let mut found = Found { nominated: field.nominated, ..Found::default() };
    for (other, value) in pairs(head) {
        if other != name.as_bytes() {
            let text = std::str::from_utf8(other).unwrap_or_default();
            found.lookalike |= text.len() == name.len() && looks_like(name, text);
        } else if found.value.is_some_and(|first| first != value) {
            found.differing = true;
        } else {
            found.value = Some(value);
        }
    }
    found
}

/// RFC 6265 §4.2. A part without `=` is no cookie.
fn pairs<'h>(head: &Head<'h>) -> impl Iterator<Item = (&'h [u8], &'h [u8])> {
    let fields = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let fields: Vec<&'h [u8]> = fields.map(|(_, value)| value).collect();
    fields.into_iter().flat_map(|value| value.split(|b| *b == b';')).filter_map(|part| {
        let at = part.iter().position(|b| *b == b'=')?;
        Some((trim(part.get(..at)?), trim(part.get(at + 1..)?)))
    })
}

/// Is the field one that `Connection` lists as hop-by-hop (RFC 9110 §7.6.1)?
pub(super) fn is_nominated(head: &Head<'_>, name: &str) -> bool {
    head.all("connection")
        .flat_map(|value| value.split(|b| *b == b','))
        .any(|option| trim(option).eq_ignore_ascii_case(name.as_bytes()))
}

/// Equal once every character that is not a letter or digit became the same one, as CGI and its heirs
/// (WSGI, Rack, PHP) do with names.
fn looks_like(a: &str, b: &str) -> bool {
    let fold = |b: u8| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' };
    a.bytes().map(fold).eq(b.bytes().map(fold))
}
