//! What decides between operations of one path: conditions in the template, and the declared types
//! of path parameters.

use super::template::Captures;
use crate::openapi::{Discriminator, Operation, ParamKind};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// A request as matching sees it.
#[derive(Clone, Copy)]
pub struct Request<'r, 't> {
    pub method: &'r str,
    /// Canonical.
    pub path: &'r [u8],
    pub query: &'r [u8],
    pub header: &'r dyn Fn(&str) -> Option<&'t [u8]>,
}

/// How well an operation's conditions hold; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// They may stand in the body, which is not read.
    Unknown,
    /// So many hold, none fails.
    Holds(usize),
}

impl Request<'_, '_> {
    /// How well the conditions of an operation hold; none if one fails.
    pub fn standing(&self, operation: &Operation) -> Option<Standing> {
        let mut unknown = false;
        for condition in &operation.discriminators {
            match self.holds(condition) {
                Some(true) => {}
                Some(false) => return None,
                // AWS's query protocol sends the same parameters as a form.
                None if condition.key == "Action" && self.method == "POST" => unknown = true,
                None => return None,
            }
        }
        Some(if unknown { Standing::Unknown } else { Standing::Holds(operation.discriminators.len()) })
    }

    /// Whether a condition holds; none if the request has nothing of that name.
    fn holds(&self, condition: &Discriminator) -> Option<bool> {
        let wanted = condition.value.as_deref();
        let mut named = false;
        for pair in self.query.split(|b| *b == b'&') {
            let (key, value) = match memchr::memchr(b'=', pair) {
                Some(i) => (pair.get(..i).unwrap_or_default(), pair.get(i + 1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            if form_decoded(key) == condition.key.as_bytes() {
                named = true;
                if wanted.is_none_or(|w| form_decoded(value) == form_decoded(w.as_bytes())) {
                    return Some(true);
                }
            }
        }
        match (self.header)(&condition.key) {
            Some(value) => Some(wanted.is_none_or(|w| w.as_bytes() == value)),
            None => named.then_some(false),
        }
    }
}

fn form_decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_decode(&spaced).collect()
}

pub fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(value).into()
}

/// How well captured values fit the declared types: first that none contradicts, then how many are
/// of a narrow type (a UUID fits a string parameter too, but means the UUID parameter).
pub fn fit(
    operation: &Operation,
    names: &[Option<Box<str>>],
    captures: &Captures,
    path: &[u8],
) -> (bool, usize) {
    let mut narrow = 0;
    for (name, (start, end)) in names.iter().zip(captures.iter()) {
        let Some(name) = name else { continue };
        let Some(param) = operation.path_params.iter().find(|p| p.name == **name) else { continue };
        let value = decoded(path.get(start..end).unwrap_or_default());
        match value_fits(&param.kind, &String::from_utf8_lossy(&value)) {
            Some(false) => return (false, 0),
            Some(true) => narrow += 1,
            None => {}
        }
    }
    (true, narrow)
}

/// Whether a parameter's declared type rules out a value.
pub fn refuses(operation: &Operation, name: &str, value: &[u8]) -> bool {
    let param = operation.path_params.iter().find(|p| p.name == name);
    param.is_some_and(|p| value_fits(&p.kind, &String::from_utf8_lossy(&decoded(value))) == Some(false))
}

/// Whether a value is of a type; none if every value is.
fn value_fits(kind: &ParamKind, value: &str) -> Option<bool> {
    Some(match kind {
        ParamKind::Any => return None,
        ParamKind::Integer => is_integer(value),
        ParamKind::Number => value.parse::<f64>().is_ok_and(f64::is_finite),
        ParamKind::Boolean => matches!(value, "true" | "false"),
        ParamKind::Uuid => is_shaped(value, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        ParamKind::Date => is_shaped(value, "9999-99-99"),
        ParamKind::DateTime => {
            value.split_once(['T', 't', ' ']).is_some_and(|(d, _)| is_shaped(d, "9999-99-99"))
        }
        ParamKind::OneOf(values) => values.iter().any(|v| v == value),
    })
}

fn is_integer(value: &str) -> bool {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `x` stands for a hex digit, `9` for a digit, the rest for itself.
fn is_shaped(value: &str, shape: &str) -> bool {
    value.len() == shape.len()
        && value.bytes().zip(shape.bytes()).all(|(b, s)| match s {
            b'x' => b.is_ascii_hexdigit(),
            b'9' => b.is_ascii_digit(),
            s => b == s,
        })
}

/// Whether two operations' conditions can never hold together: same key, other value.
pub fn exclusive(a: &Operation, b: &Operation) -> bool {
    a.discriminators.iter().any(|x| {
        b.discriminators.iter().any(|y| x.key == y.key && x.value.is_some() && y.value.is_some() && x != y)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_contradict_or_narrow() {
        let fits = |kind, value| value_fits(&kind, value);
        assert_eq!(fits(ParamKind::Any, "x"), None);
        assert_eq!(fits(ParamKind::Integer, "-42"), Some(true));
        assert_eq!(fits(ParamKind::Integer, "4x"), Some(false));
        assert_eq!(fits(ParamKind::Number, "1.5e3"), Some(true));
        assert_eq!(fits(ParamKind::Number, "inf"), Some(false));
        assert_eq!(fits(ParamKind::Uuid, "4f2e0f14-6a4b-4920-a919-159a0f14a1f5"), Some(true));
        assert_eq!(fits(ParamKind::Uuid, "4f2e0f14-6a4b-4920-a919-159a0f14a1fg"), Some(false));
        assert_eq!(fits(ParamKind::Date, "2024-02-30"), Some(true));
        assert_eq!(fits(ParamKind::DateTime, "2024-02-30T00:00:00Z"), Some(true));
        assert_eq!(fits(ParamKind::OneOf(vec!["a".into()]), "b"), Some(false));
    }

    #[test]
    fn conditions_look_at_query_and_headers() {
        let operation = |method: &str, key: &str, value: Option<&str>| Operation {
            method: method.into(),
            discriminators: vec![Discriminator { key: key.into(), value: value.map(str::to_owned) }],
            ..Operation::default()
        };
        let standing = |query: &[u8], op: &Operation| {
            let header = |n: &str| (n == "X-Amz-Target").then_some(&b"Svc.List"[..]);
            Request { method: &op.method, path: b"/", query, header: &header }.standing(op)
        };
        let beta = operation("GET", "beta", Some("true"));
        assert_eq!(standing(b"a=1&beta=%74rue", &beta), Some(Standing::Holds(1)));
        assert_eq!(standing(b"beta=false", &beta), None);
        assert_eq!(standing(b"", &beta), None);
        assert_eq!(standing(b"acl", &operation("GET", "acl", None)), Some(Standing::Holds(1)));
        assert_eq!(
            standing(b"", &operation("POST", "X-Amz-Target", Some("Svc.List"))),
            Some(Standing::Holds(1))
        );
        assert_eq!(standing(b"", &operation("POST", "X-Amz-Target", Some("Svc.Get"))), None);
        assert_eq!(standing(b"", &operation("POST", "Action", Some("X"))), Some(Standing::Unknown));
        assert_eq!(standing(b"", &operation("GET", "Action", Some("X"))), None);
    }
}
