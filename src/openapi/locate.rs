//! Where a JSON pointer stands in the text, for messages.
//!
//! Trees carry no positions; the few nodes that messages name are looked up again. A pointer that
//! cannot be found leaves the warning without a line, nothing more.

use super::Warning;
use super::tree;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Warnings given a position. All of one file are found in one reading of it.
const MAX_LOCATED: usize = 1000;

/// Line and column, from 1.
type Position = (u32, u32);

/// Fills in lines and columns. `path` finds a file by the name that warnings give it.
pub(super) fn fill(warnings: &mut [Warning], path: impl Fn(&str) -> Option<PathBuf>) {
    let mut by_file: BTreeMap<String, Vec<&mut Warning>> = BTreeMap::new();
    let without = |w: &&mut Warning| w.line.is_none() && !w.pointer.is_empty();
    for warning in warnings.iter_mut().filter(without).take(MAX_LOCATED) {
        by_file.entry(warning.file.clone()).or_default().push(warning);
    }
    for (name, mut warnings) in by_file {
        let Some(bytes) = path(&name).and_then(|p| std::fs::read(p).ok()) else { continue };
        let Ok(text) = tree::decode(&bytes) else { continue };
        let pointers: Vec<&str> = warnings.iter().map(|w| w.pointer.as_str()).collect();
        let places = positions(text, &pointers);
        for (warning, at) in warnings.iter_mut().zip(places) {
            (warning.line, warning.column) = at.unzip();
        }
    }
}

/// A node that is looked for.
#[derive(Clone, Copy)]
struct Wanted<'t> {
    number: usize,
    path: &'t [String],
    /// Tokens of the path already followed.
    depth: usize,
}

impl Wanted<'_> {
    fn is_here(&self) -> bool {
        self.depth == self.path.len()
    }
}

/// Where the values stand that pointers name.
fn positions(text: &str, pointers: &[&str]) -> Vec<Option<Position>> {
    let tokens = |p: &&str| p.split('/').skip(1).map(|t| t.replace("~1", "/").replace("~0", "~")).collect();
    let paths: Vec<Vec<String>> = pointers.iter().map(tokens).collect();
    let all = paths.iter().enumerate();
    let wanted: Vec<Wanted<'_>> = all.map(|(number, path)| Wanted { number, path, depth: 0 }).collect();
    let mut found = vec![None; paths.len()];
    if json_positions(text, wanted.clone(), &mut found).is_err() {
        found.fill(None);
        yaml_positions(text, wanted, &mut found);
    }
    found
}

/// Those of `wanted` that a map's key or a list's index leads to.
fn below<'t>(wanted: &[Wanted<'t>], token: &str) -> Vec<Wanted<'t>> {
    let next = wanted.iter().filter(|w| w.path.get(w.depth).is_some_and(|t| t == token));
    next.map(|w| Wanted { depth: w.depth + 1, ..*w }).collect()
}

fn line_column(text: &str, offset: usize) -> Option<Position> {
    let before = text.get(..offset)?;
    let line = 1 + memchr::memchr_iter(b'\n', before.as_bytes()).count();
    let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
    Some((u32::try_from(line).ok()?, u32::try_from(column).ok()?))
}

/// A walk cannot both note where a node is and look into it: nodes below one that is wanted itself
/// wait for the next walk. Reads no further than it must. The error: the text is not JSON.
fn json_positions<'t>(
    text: &'t str,
    mut wanted: Vec<Wanted<'t>>,
    found: &mut [Option<Position>],
) -> serde_json::Result<()> {
    while !wanted.is_empty() {
        let (json, mut later) = (Some(text), Vec::new());
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let follow = Follow { json, wanted, found: &mut *found, later: &mut later };
        let walked = follow.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if found.iter().filter(|at| at.is_none()).count() > later.len() {
            walked?;
        }
        wanted = later;
    }
    Ok(())
}

fn yaml_positions(text: &str, mut wanted: Vec<Wanted<'_>>, found: &mut [Option<Position>]) {
    while !wanted.is_empty() {
        let mut later = Vec::new();
        // The walk ends early, which the parser may call an error: what was found stands.
        let _ = serde_saphyr::with_deserializer_from_str_with_options(text, tree::yaml_options(), |d| {
            Follow { json: None, wanted, found: &mut *found, later: &mut later }.deserialize(d)
        });
        wanted = later;
    }
}

/// Follows the tokens through maps and lists to the values and notes where they are.
struct Follow<'t, 'f> {
    /// The text, where it is JSON, whose parser tells places by what it borrows from it.
    json: Option<&'t str>,
    wanted: Vec<Wanted<'t>>,
    found: &'f mut [Option<Position>],
    later: &'f mut Vec<Wanted<'t>>,
}

impl<'t> Follow<'t, '_> {
    fn below(&mut self, token: &str) -> Option<Follow<'t, '_>> {
        let wanted = below(&self.wanted, token);
        let Follow { json, found, later, .. } = self;
        (!wanted.is_empty()).then_some(Follow { json: *json, wanted, found, later })
    }

    fn is_root(&self) -> bool {
        self.wanted.iter().all(|wanted| wanted.depth == 0)
    }

    /// Everything is found, or waits for the next walk.
    fn has_all(&self) -> bool {
        self.found.iter().filter(|at| at.is_none()).count() == self.later.len()
    }
}

impl<'de> DeserializeSeed<'de> for Follow<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        if !self.wanted.iter().any(Wanted::is_here) {
            return d.deserialize_any(self);
        }
        let at = match self.json {
            Some(text) => {
                let value = <&RawValue>::deserialize(d)?.get();
                let offset = (value.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
                offset.and_then(|offset| line_column(text, offset))
            }
            None => {
                let at = Spanned::<IgnoredAny>::deserialize(d)?.referenced;
                u32::try_from(at.line()).ok().zip(u32::try_from(at.column()).ok())
            }
        };
        for wanted in self.wanted {
            if !wanted.is_here() {
                self.later.push(Wanted { depth: 0, ..wanted });
            } else if let Some(slot) = self.found.get_mut(wanted.number) {
                *slot = at;
            }
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Follow<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.below(&key) {
                Some(seed) => {
                    map.next_value_seed(seed)?;
                    // Models, most of a large document, mostly come after its paths.
                    if self.is_root() && self.has_all() {
                        return Ok(());
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for i in 0.. {
            let more = match self.below(&i.to_string()) {
                Some(seed) => seq.next_element_seed(seed)?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    // What a pointer leads into may be no container at all; the other pointers go on.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_nodes_in_json_and_yaml() {
        let position = |text, pointer| positions(text, &[pointer])[0];
        let json = "{\n \"a\": {\"x/y\":\n  [1, {\"z\": null}]}}";
        assert_eq!(position(json, "/a/x~1y/1/z"), Some((3, 13)));
        let yaml = "a:\n  x/y:\n    - 1\n    - z: null\n";
        assert_eq!(position(yaml, "/a/x~1y/1/z"), Some((4, 10)));
        assert_eq!(position(yaml, "/a/none"), None);
        assert_eq!(position(json, "/a/x~1y/7"), None);
    }

    #[test]
    fn a_text_is_read_no_further_than_it_must() {
        let text = "{\"a\": {\"b\": 1,\n\"b\": [2]}, \"c\": not JSON";
        assert_eq!(positions(text, &["/a/b"]), [Some((2, 6))], "the last of two");
        assert_eq!(positions(text, &["/a", "/a/b"]), [Some((1, 7)), Some((2, 6))]);
    }

    #[test]
    fn finds_many_at_once_also_one_below_another() {
        let yaml = "a:\n  b: [1, {c: 2}]\n  d: x\ne: 1\n";
        let json = "{\n\"a\": {\"b\": [1, {\"c\": 2}], \"d\": \"x\"}, \"e\": 1}";
        let pointers = ["/a/b/1/c", "/a", "/a/b", "/a/d/none", "/e", "/a/b"];
        assert_eq!(
            positions(yaml, &pointers),
            [Some((2, 14)), Some((2, 3)), Some((2, 6)), None, Some((4, 4)), Some((2, 6))]
        );
        assert_eq!(
            positions(json, &pointers),
            [Some((2, 22)), Some((2, 6)), Some((2, 12)), None, Some((2, 43)), Some((2, 12))]
        );
    }
}
