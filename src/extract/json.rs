//! JSON bodies, read in one pass for the few members that tell what a call asks for.
//!
//! Promises: never fails. What stood before a body broke off (a captured prefix, bad syntax, too deep
//! a nest) is told; of a member that stands twice, the last, as JSON parsers read it. Linear in the
//! body; what is kept is bounded.
//! Refuses: bodies with a byte order mark and other dialects of JSON.

use super::calls::MAX_CALLS;
use super::text::words;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Characters of a text taken from a body.
pub(super) const MAX_TEXT: usize = 512;

/// A JSON body that may carry calls.
#[derive(Debug)]
pub(super) enum Body<'a> {
    One(Box<Envelope<'a>>),
    Many(List<'a>),
}

/// Members by which protocols name a call; all others are passed over.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    /// GraphQL.
    pub query: Option<Cow<'a, str>>,
    pub operation_name: Option<Cow<'a, str>>,
    /// `extensions.persistedQuery.sha256Hash`, or `documentId`, of a query the server knows already.
    pub persisted: Option<Cow<'a, str>>,
    /// JSON-RPC, and REST batches.
    pub method: Option<Cow<'a, str>>,
    pub jsonrpc: bool,
    pub params: bool,
    pub id: bool,
    /// `url`, `path`, `relative_url`: where a member of a batch goes.
    pub url: Option<Cow<'a, str>>,
    /// `_method`: Laravel reads it in JSON, too.
    pub other_method: Option<Cow<'a, str>>,
    /// `requests`, `Operations`, …: the members of a REST batch.
    pub members: Option<List<'a>>,
    /// `defaults`: what such members leave out (Kinto).
    pub defaults: Option<Box<Envelope<'a>>>,
    /// It has members that a GraphQL request has not.
    pub foreign: bool,
}

#[derive(Debug, Default)]
pub(super) struct List<'a> {
    /// The first [`MAX_CALLS`] that are objects.
    pub items: Vec<Envelope<'a>>,
    /// All, whatever they are.
    pub total: u32,
}

/// Reads a body as far as it goes; `false`: it broke off before its end.
pub(super) fn read(body: &[u8]) -> (Option<Body<'_>>, bool) {
    let mut read = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    let whole = TopSeed(&mut read).deserialize(&mut json).and_then(|()| json.end()).is_ok();
    (read, whole)
}

struct TopSeed<'o, 'a>(&'o mut Option<Body<'a>>);

impl<'de> DeserializeSeed<'de> for TopSeed<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        let Body::One(envelope) = self.0.insert(Body::One(Box::default())) else { return Ok(()) };
        members(map, envelope, true)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<(), S::Error> {
        let Body::Many(list) = self.0.insert(Body::Many(List::default())) else { return Ok(()) };
        elements(seq, list)
    }
}

fn members<'de, M: MapAccess<'de>>(
    mut map: M,
    into: &mut Envelope<'de>,
    outermost: bool,
) -> Result<(), M::Error> {
    while let Some(Key(key)) = map.next_key()? {
        match &*key {
            "query" => map.next_value_seed(Text(&mut into.query))?,
            "operationName" => map.next_value_seed(Text(&mut into.operation_name))?,
            "documentId" | "doc_id" => map.next_value_seed(Text(&mut into.persisted))?,
            "extensions" => map.next_value_seed(Within(&mut into.persisted, "persistedQuery"))?,
            "variables" => drop(map.next_value::<IgnoredAny>()?),
            other => {
                into.foreign = true;
                foreign(other, &mut map, into, outermost)?;
            }
        }
    }
    Ok(())
}

/// A member that is none of GraphQL's.
fn foreign<'de, M: MapAccess<'de>>(
    key: &str,
    map: &mut M,
    into: &mut Envelope<'de>,
    outermost: bool,
) -> Result<(), M::Error> {
    match key {
        "method" => map.next_value_seed(Text(&mut into.method)),
        "url" | "path" | "relative_url" | "relativeUrl" => map.next_value_seed(Text(&mut into.url)),
        "_method" => map.next_value_seed(Text(&mut into.other_method)),
        "requests" | "Operations" | "batchRequests" | "compositeRequest" if outermost => {
            map.next_value_seed(Nested::List(into.members.insert(List::default())))
        }
        "defaults" if outermost => map.next_value_seed(Nested::One(into.defaults.insert(Box::default()))),
        _ => {
            into.jsonrpc |= key == "jsonrpc";
            into.params |= key == "params";
            into.id |= key == "id";
            map.next_value::<IgnoredAny>().map(drop)
        }
    }
}

fn elements<'de, S: SeqAccess<'de>>(mut seq: S, into: &mut List<'de>) -> Result<(), S::Error> {
    loop {
        if into.items.len() < MAX_CALLS {
            let mut element = Envelope::default();
            let more = seq.next_element_seed(Nested::One(&mut element));
            // Also of an element that breaks off.
            let begun = element.method.is_some() || element.query.is_some() || element.url.is_some();
            if more.as_ref().map_or(begun, Option::is_some) {
                into.total += 1;
                into.items.push(element);
            }
            if more?.is_none() {
                return Ok(());
            }
        } else {
            match seq.next_element::<IgnoredAny>()? {
                Some(_) => into.total = into.total.saturating_add(1),
                None => return Ok(()),
            }
        }
    }
}

/// A name, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Name;
        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        json.deserialize_str(Name)
    }
}

/// Methods of a visitor that passes over all but what it is made for.
macro_rules! passes_over {
    ($($method:ident($kind:ty)),+) => {
        $(fn $method<E: Error>(self, _: $kind) -> Result<(), E> { Ok(()) })+
    };
}

fn drain_map<'de, M: MapAccess<'de>>(mut map: M) -> Result<(), M::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_seq<'de, S: SeqAccess<'de>>(mut seq: S) -> Result<(), S::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// A string; anything else leaves none.
struct Text<'o, 'a>(&'o mut Option<Cow<'a, str>>);

impl<'de> DeserializeSeed<'de> for Text<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        *self.0 = None;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        *self.0 = Some(Cow::Borrowed(text));
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(Cow::Owned(text.to_owned()));
        Ok(())
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    passes_over!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64));
    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        drain_map(map)
    }
    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<(), S::Error> {
        drain_seq(seq)
    }
}

/// The string under `sha256Hash` in the object under this name.
struct Within<'o, 'a>(&'o mut Option<Cow<'a, str>>, &'static str);

impl<'de> DeserializeSeed<'de> for Within<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    passes_over!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "sha256Hash" if self.1.is_empty() => map.next_value_seed(Text(self.0))?,
                name if name == self.1 => map.next_value_seed(Within(self.0, ""))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<(), S::Error> {
        drain_seq(seq)
    }
}

/// Envelopes inside the outermost one.
enum Nested<'o, 'a> {
    One(&'o mut Envelope<'a>),
    List(&'o mut List<'a>),
}

impl<'de> DeserializeSeed<'de> for Nested<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    passes_over!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        match self {
            Nested::One(envelope) => members(map, envelope, false),
            Nested::List(_) => drain_map(map),
        }
    }
    fn visit_seq<S: SeqAccess<'de>>(self, seq: S) -> Result<(), S::Error> {
        match self {
            Nested::One(_) => drain_seq(seq),
            Nested::List(list) => elements(seq, list),
        }
    }
}

/// The texts at these paths (names of members, indexes of elements), each printable and bounded (where
/// it had to be cut, it ends in `…`). Strings, numbers and booleans are texts.
pub(super) fn texts_at(body: &[u8], paths: &[&[&str]]) -> Vec<Option<String>> {
    let mut found = vec![None; paths.len()];
    let seed = Seek { paths, active: (0..paths.len()).collect(), depth: 0, found: &mut found };
    // What was found before the body broke off is found.
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found
}

struct Seek<'o> {
    paths: &'o [&'o [&'o str]],
    /// Those that lead here.
    active: Vec<usize>,
    depth: usize,
    found: &'o mut Vec<Option<String>>,
}

impl Seek<'_> {
    fn text(self, text: &str) {
        for at in self.active {
            if self.paths.get(at).is_some_and(|p| p.len() == self.depth)
                && let Some(found) = self.found.get_mut(at)
            {
                *found = Some(words(text.as_bytes(), MAX_TEXT));
            }
        }
    }

    /// Those of the active paths that go on with this name.
    fn through(&self, name: &str) -> Vec<usize> {
        let goes = |at: &&usize| self.paths.get(**at).is_some_and(|p| p.get(self.depth) == Some(&name));
        self.active.iter().filter(goes).copied().collect()
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.text(if value { "true" } else { "false" });
        Ok(())
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.text(&value.to_string());
        Ok(())
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.text(&value.to_string());
        Ok(())
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.text(&value.to_string());
        Ok(())
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let active = self.through(&key);
            if active.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                let (paths, depth) = (self.paths, self.depth + 1);
                map.next_value_seed(Seek { paths, active, depth, found: &mut *self.found })?;
            }
        }
        Ok(())
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        let (paths, depth) = (self.paths, self.depth + 1);
        // Beyond the largest index a path has, there is nothing to find.
        let index = |at: &usize| paths.get(*at)?.get(self.depth)?.parse::<usize>().ok();
        let last = self.active.iter().filter_map(index).max();
        for i in 0..=last.unwrap_or_default() {
            let active = if last.is_some() { self.through(&i.to_string()) } else { Vec::new() };
            if seq.next_element_seed(Seek { paths, active, depth, found: &mut *self.found })?.is_none() {
                return Ok(());
            }
        }
        drain_seq(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Envelope<'_> {
        match read(body.as_bytes()).0 {
            Some(Body::One(envelope)) => *envelope,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn members_are_found_wherever_they_stand() {
        let e = one(r#"{"variables":{"query":"{x}","a":[{}]},"operationName":"Q","query":"{a}"}"#);
        assert_eq!(
            (e.query.as_deref(), e.operation_name.as_deref(), e.foreign),
            (Some("{a}"), Some("Q"), false)
        );
        let e = one(r#"{"query":"a","\u0071uery":"b\n","query2":1}"#);
        assert_eq!((e.query.as_deref(), e.foreign), (Some("b\n"), true), "the last one, escapes undone");
        assert!(one(r#"{"query":"a","query":{}}"#).query.is_none());
        let e = one(r#"{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ab"},"sha256Hash":"no"}}"#);
        assert_eq!(e.persisted.as_deref(), Some("ab"));
        let e = one(r#"{"extensions":["sha256Hash"],"defaults":7,"requests":{}}"#);
        assert!(e.persisted.is_none() && e.members.is_some_and(|m| m.total == 0));
    }

    #[test]
    fn lists_are_counted_whole_and_kept_in_part() {
        let many = format!("[{}]", vec![r#"{"method":"m"}"#; 1000].join(","));
        let (Some(Body::Many(list)), true) = read(many.as_bytes()) else { panic!() };
        assert_eq!((list.items.len(), list.total), (MAX_CALLS, 1000));
        let (Some(Body::Many(list)), false) = read(br#"[{"method":"a"},7,{"method":"b","par"#) else {
            panic!()
        };
        let methods: Vec<_> = list.items.iter().map(|e| e.method.as_deref()).collect();
        assert_eq!((methods, list.total), (vec![Some("a"), None, Some("b")], 3));
        let e = one(r#"{"requests":[{"requests":[{}]}]}"#);
        assert!(e.members.is_some_and(|m| m.items[0].members.is_none()), "not inside each other");
    }

    #[test]
    fn texts_by_path() {
        let paths: [&[&str]; 7] =
            [&["id"], &["data", "id"], &["a", "1", "x"], &["n"], &["b"], &["none"], &["data"]];
        let body =
            br#"{"id":"7","data":{"id":8,"x":{}},"a":[{"x":1},{"x":"y"},3],"n":-1.5,"b":true,"none":null}"#;
        let found = texts_at(body, &paths);
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, [Some("7"), Some("8"), Some("y"), Some("-1.5"), Some("true"), None, None]);
        assert_eq!(texts_at(br#"{"id":"7","rest":[1,2"#, &paths)[0].as_deref(), Some("7"), "broken off");
        assert_eq!(texts_at(b"[1]", &[&["id"]]), [None]);
        let long = format!("{{\"id\":\"{}\"}}", "\u{202e}x".repeat(5000));
        assert!(texts_at(long.as_bytes(), &[&["id"]])[0].as_ref().unwrap() == "…");
    }

    #[test]
    fn depth_is_bounded() {
        for open in ["[", "{\"requests\":[", "{\"query\":[", "{\"a\":"] {
            read(open.repeat(100_000).as_bytes());
            texts_at(open.repeat(100_000).as_bytes(), &[&["a", "a"], &["0"]]);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(body in "[\\[\\]{}:,0-9\"]{0,40}|(\\{\"(query|method|requests|id|extensions)\":){0,6}.{0,20}") {
            read(body.as_bytes());
            texts_at(body.as_bytes(), &[&["id"], &["query", "0", "id"]]);
        }
    }
}
