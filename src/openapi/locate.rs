//! Where a JSON pointer stands in the text, for messages.
//!
//! Trees carry no positions; the few nodes that a message names are looked up again. A pointer that
//! cannot be found leaves the warning without a line, nothing more.

use super::Warning;
use super::files::Files;
use super::tree;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_saphyr::Spanned;
use std::collections::HashMap;
use std::fmt;

/// Warnings given a position: each costs reading its file again.
const MAX_LOCATED: usize = 50;

/// Fills in lines and columns.
pub(super) fn fill(warnings: &mut [Warning], files: &Files) {
    let mut texts: HashMap<String, Option<String>> = HashMap::new();
    for warning in warnings.iter_mut().filter(|w| !w.pointer.is_empty()).take(MAX_LOCATED) {
        let text = texts.entry(warning.file.clone()).or_insert_with(|| {
            let bytes = std::fs::read(files.path(&warning.file)?).ok()?;
            Some(tree::decode(&bytes).ok()?.to_owned())
        });
        if let Some((line, column)) = text.as_deref().and_then(|t| position(t, &warning.pointer)) {
            (warning.line, warning.column) = (Some(line), Some(column));
        }
    }
}

/// Line and column, from 1, of the value a pointer names.
fn position(text: &str, pointer: &str) -> Option<(u32, u32)> {
    let tokens: Vec<String> =
        pointer.split('/').skip(1).map(|t| t.replace("~1", "/").replace("~0", "~")).collect();
    json_offset(text, &tokens).and_then(|o| line_column(text, o)).or_else(|| yaml_position(text, &tokens))
}

/// The offset of a node in a JSON text.
fn json_offset(text: &str, tokens: &[String]) -> Option<usize> {
    let mut raw: &RawValue = serde_json::from_str(text).ok()?;
    for token in tokens {
        let inner = raw.get();
        raw = if inner.starts_with('[') {
            *serde_json::from_str::<Vec<&RawValue>>(inner).ok()?.get(token.parse::<usize>().ok()?)?
        } else {
            serde_json::from_str::<HashMap<String, &RawValue>>(inner).ok()?.get(token)?
        };
    }
    (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)
}

fn line_column(text: &str, offset: usize) -> Option<(u32, u32)> {
    let before = text.get(..offset)?;
    let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    Some((u32::try_from(line).ok()?, u32::try_from(column).ok()?))
}

fn yaml_position(text: &str, tokens: &[String]) -> Option<(u32, u32)> {
    let mut found = None;
    // The walk ends early, which the parser may call an error: what was found stands.
    let _ = serde_saphyr::with_deserializer_from_str_with_options(text, tree::yaml_options(), |d| {
        Follow { tokens, found: &mut found }.deserialize(d)
    });
    found
}

/// Follows the tokens through maps and lists to one value and notes where it is.
struct Follow<'t, 'f> {
    tokens: &'t [String],
    found: &'f mut Option<(u32, u32)>,
}

impl<'de> DeserializeSeed<'de> for Follow<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if !self.tokens.is_empty() {
            return d.deserialize_any(self);
        }
        let here = Spanned::<IgnoredAny>::deserialize(d)?.referenced;
        *self.found = u32::try_from(here.line()).ok().zip(u32::try_from(here.column()).ok());
        Ok(())
    }
}

impl<'de> Visitor<'de> for Follow<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else { return Ok(()) };
        while let Some(key) = map.next_key::<String>()? {
            if key == *token {
                map.next_value_seed(Follow { tokens: rest, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else { return Ok(()) };
        for i in 0.. {
            let more = if token.parse() == Ok(i) {
                seq.next_element_seed(Follow { tokens: rest, found: &mut *self.found })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nodes_in_json_and_yaml() {
        let json = "{\n \"a\": {\"x/y\":\n  [1, {\"z\": null}]}}";
        assert_eq!(position(json, "/a/x~1y/1/z"), Some((3, 13)));
        let yaml = "a:\n  x/y:\n    - 1\n    - z: null\n";
        assert_eq!(position(yaml, "/a/x~1y/1/z"), Some((4, 10)));
        assert_eq!(position(yaml, "/a/none"), None);
        assert_eq!(position(json, "/a/x~1y/7"), None);
    }
}
