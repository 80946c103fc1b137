//! What can be told of a JSON document without parsing it: whether its models matter.
//!
//! Models, bodies and answers are most of a document, and the sidecar reads them for marks of secrets
//! only. Most documents have none; one pass over the text says so, and then the parser may drop them.
//! Promises to err on one side only: what is doubtful (an escaped letter, a reference to anything but
//! a component of the same file) counts as if there were a mark.

use super::marks::MARK_WORDS;
use aho_corasick::packed::Searcher;
use std::sync::LazyLock;

const REFERENCE: &str = "\"$ref\"";
const PASSWORD: &str = "\"password\"";
const ESCAPE: &str = "\\u00";

/// Looks for a reference, a format, an escape, and what is a mark by itself, in this order. None where
/// the processor lacks what makes it fast.
static FIND: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let marks = MARK_WORDS.iter().copied().chain(["writeOnly"]).map(|word| format!("\"{word}\""));
    Searcher::new([REFERENCE, PASSWORD, ESCAPE].into_iter().map(str::to_owned).chain(marks))
});

/// Whether nothing in a JSON text marks a secret, and every reference names a component of the text
/// itself. False where it cannot be told.
pub(super) fn unmarked(text: &str) -> bool {
    let Some(find) = &*FIND else { return false };
    find.find_iter(text).all(|found| {
        let before = text.get(..found.start()).unwrap_or_default();
        let after = text.get(found.end()..).unwrap_or_default();
        match found.pattern().as_usize() {
            0 => value_of(after).is_none_or(is_component),
            1 => !before.trim_end().strip_suffix(':').is_some_and(|b| b.trim_end().ends_with("\"format\"")),
            2 => !escapes_word(after),
            _ => false,
        }
    })
}

/// The text that follows a key, raw; none where something else follows.
fn value_of(after: &str) -> Option<&str> {
    let text = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    // Without an end the text is no JSON, which is for others to tell.
    text.split('"').next()
}

/// `#/components/schemas/Order`, or `#/definitions/Order` as 2.0 has it: nothing deeper.
fn is_component(reference: &str) -> bool {
    let plain = !reference.contains(['%', '\\']);
    let depth = |rest: &str| rest.matches('/').count();
    let named = match reference.strip_prefix("#/components/") {
        Some(rest) => depth(rest) == 1,
        None => {
            let kinds = ["#/definitions/", "#/parameters/", "#/responses/"];
            kinds.iter().any(|kind| reference.strip_prefix(kind).is_some_and(|rest| depth(rest) == 0))
        }
    };
    plain && named
}

/// Whether an escape, past its `\u00`, stands for a character that keys are made of.
fn escapes_word(digits: &str) -> bool {
    let code = digits.get(..2).and_then(|d| u8::from_str_radix(d, 16).ok());
    code.is_none_or(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'$' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_what_may_hide_one_are_seen() {
        for plain in [
            r##"{"a": {"$ref" : "#/components/schemas/Pass-word"}, "password": {"format": "uuid"}}"##,
            r##"{"$ref": "#/definitions/A", "b": "$ref", "c": "\u003cp\u003e", "required": ["password"]}"##,
            r##"{"properties": {"$ref": {"type": "string"}}}"##,
        ] {
            assert!(unmarked(plain) || FIND.is_none(), "{plain}");
        }
        for marked in [
            r##"{"a": {"format":"password"}}"##,
            "{\"format\"\n : \"password\"}",
            r##"{"writeOnly": true}"##,
            r##"{"x-sensitive-data": true}"##,
            r##"{"x-pii": 1}"##,
            r##"{"\u0077riteOnly": true}"##,
            r##"{"$ref": "other.json"}"##,
            r##"{"$ref": "#/components/schemas/A/properties/b"}"##,
            r##"{"$ref": "#/definitions/A/properties/b"}"##,
            r##"{"$ref": "#/components/schemas/A%2Fb"}"##,
            r##"{"$ref": "#/components\/schemas/a"}"##,
            r##"{"$ref": "#/paths/~1a"}"##,
        ] {
            assert!(!unmarked(marked), "{marked}");
        }
    }
}
