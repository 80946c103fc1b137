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
