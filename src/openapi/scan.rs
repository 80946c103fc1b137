//! What `sidelog check` asks a document beyond its operations: the names of its fields, and which
//! operations ask for credentials. Trees hold neither (see [`super::tree`]): most of a document is
//! models, and the sidecar has no use for them.

use super::tree::{self, push_token};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

/// Fields remembered of one file.
const MAX_NAMES: usize = 100_000;

/// Of one file.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Names of properties and parameters, each with a JSON pointer to where it is first used.
    pub names: BTreeMap<String, String>,
    /// `security` by the pointer of what has it (empty for the root): whether it asks for anything.
    pub security: HashMap<String, bool>,
}

/// Reads a file once more; none where it cannot be read at all.
pub fn scan(path: &Path) -> Option<Scan> {
    let bytes = std::fs::read(path).ok()?;
    let part = tree::with_stack(|| {
        let text = tree::decode(&bytes).ok()?;
        let json = text.trim_start().starts_with('{').then(|| serde_json::from_str::<Part>(text).ok());
        json.flatten().or_else(|| serde_saphyr::from_str_with_options(text, tree::yaml_options()).ok())
    });
    let Part { names, security, .. } = part.ok()??;
    let mut scan = Scan { security: security.into_iter().collect(), ..Scan::default() };
    for (name, pointer) in names.into_iter().take(MAX_NAMES) {
        scan.names.entry(name).or_insert(pointer);
    }
    Some(scan)
}

/// What was found in a node and below it, with pointers from it.
#[derive(Debug, Default)]
struct Part {
    names: Vec<(String, String)>,
    security: Vec<(String, bool)>,
    /// Of a map.
    keys: Vec<Box<str>>,
    /// Of a list: whether it has items, none of which is an empty map.
    asks: bool,
    text: Option<Box<str>>,
}

impl Part {
    /// Takes over what stands under a key of this node, or at a place of this list.
    fn take(&mut self, token: &str, below: Part) {
        let moved = |pointer: String| {
            let mut from_here = String::new();
            push_token(&mut from_here, token);
            from_here + &pointer
        };
        self.names.extend(below.names.into_iter().map(|(name, pointer)| (name, moved(pointer))));
        self.security.extend(below.security.into_iter().map(|(pointer, asks)| (moved(pointer), asks)));
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_none<E>(self) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Part, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_i64<E>(self, _: i64) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_u64<E>(self, _: u64) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_i128<E>(self, _: i128) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_u128<E>(self, _: u128) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_f64<E>(self, _: f64) -> Result<Part, E> {
        Ok(Part::default())
    }
    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part { text: Some(text.into()), ..Part::default() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Part, A::Error> {
        let (mut all, mut number, mut optional) = (Part::default(), 0_usize, false);
        while let Some(item) = seq.next_element::<Part>()? {
            optional |= item.keys.is_empty();
            all.take(&number.to_string(), item);
            number += 1;
        }
        all.asks = number > 0 && !optional;
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let mut all = Part::default();
        let (mut name, mut place) = (None, None);
        while let Some(tree::Key(key)) = map.next_key()? {
            // Instances, not models.
            if matches!(&*key, "example" | "examples" | "enum" | "default") {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            let mut value: Part = map.next_value()?;
            match &*key {
                "properties" => {
                    for property in std::mem::take(&mut value.keys) {
                        let mut pointer = String::from("/properties");
                        push_token(&mut pointer, &property);
                        all.names.push((property.into(), pointer));
                    }
                }
                "security" => all.security.push((String::new(), value.asks)),
                "name" => name = value.text.take(),
                "in" => place = value.text.take(),
                _ => {}
            }
            all.take(&key, value);
            all.keys.push(key);
        }
        // A parameter; what 2.0 names `body` is the body itself.
        if let (Some(name), Some(place)) = (name, place)
            && matches!(&*place, "query" | "path" | "header" | "cookie" | "formData")
        {
            all.names.push((name.into(), String::new()));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_parameters_and_security_are_found_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let text = "security: [{key: []}]\npaths:\n  /x:\n    post:\n      security: []\n      parameters: [{name: pin, in: query}, {name: b, in: body}]\n\
                    \x20   put: {security: [{}, {key: []}]}\n\
                    components:\n  schemas:\n    A: {properties: {iban: {type: string, example: {ssn: 1}}, deep: {properties: {dob: {}}}}}\n";
        std::fs::write(&path, text).unwrap();
        let scan = scan(&path).unwrap();
        let names: Vec<_> = scan.names.iter().map(|(n, p)| (n.as_str(), p.as_str())).collect();
        assert_eq!(
            names,
            [
                ("deep", "/components/schemas/A/properties/deep"),
                ("dob", "/components/schemas/A/properties/deep/properties/dob"),
                ("iban", "/components/schemas/A/properties/iban"),
                ("pin", "/paths/~1x/post/parameters/0"),
            ]
        );
        assert!(scan.security[""]);
        assert_eq!((scan.security["/paths/~1x/post"], scan.security["/paths/~1x/put"]), (false, false));
    }
}
