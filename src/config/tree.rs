//! A YAML document as a tree in which every key and value knows its position.
//!
//! Parsing is serde-saphyr's; this module owns only the tree and the way from it to typed structs.
//! The tree exists so that checks can go on after the first mistake: what is wrong is reported and
//! taken out, and what is left still becomes a typed value with positions ([`At`]).

use super::problem::Pos;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, Serialize};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Pos,
    pub kind: Kind,
    /// Part of the value comes from an environment variable: it may be a secret and is never shown.
    pub from_env: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// With its spelling in the file.
    Int(i64, String),
    Float(f64, String),
    Text(String),
    List(Vec<Node>),
    /// In file order, repeated keys included.
    Map(Vec<(Key, Node)>),
    /// Was reported already; never reaches a typed struct.
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Key {
    pub name: String,
    pub at: Pos,
}

impl Kind {
    /// The word users know this kind by.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Null | Kind::Failed => "empty",
            Kind::Bool(_) => "true or false",
            Kind::Int(..) => "a number",
            Kind::Float(..) => "a decimal number",
            Kind::Text(_) => "text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Nesting a configuration may have; the deepest key of the schema is at 6.
const MAX_DEPTH: usize = 32;
/// Nodes of a document, aliases replayed.
const MAX_NODES: usize = 100_000;

/// The tree of one YAML document, or why it is not YAML and where.
pub(super) fn parse(text: &str) -> Result<Node, (String, Pos)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let at = e.location().map(pos).unwrap_or_default();
        (reason(&e), at)
    })?;
    Ok(node(raw, text))
}

/// Without the position, which is told apart from it.
fn reason(e: &serde_saphyr::Error) -> String {
    match e.without_snippet() {
        serde_saphyr::Error::MultipleDocuments { .. } => "there is a second document (`---`)".to_string(),
        e => {
            let text = e.to_string();
            text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_string())
        }
    }
}

fn pos(l: Location) -> Pos {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: small(l.line()), column: small(l.column()) }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let spelling = |location: Location| {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        text.get(start..end).map(|s| s.trim().to_string())
    };
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Bool(b) => Kind::Bool(b),
        Raw::Int(i) => Kind::Int(i, spelling(raw.defined).unwrap_or_else(|| i.to_string())),
        Raw::Float(f) => Kind::Float(f, spelling(raw.defined).unwrap_or_else(|| f.to_string())),
        Raw::Text(s) => Kind::Text(s),
        Raw::List(items) => Kind::List(items.into_iter().map(|i| node(i, text)).collect()),
        Raw::Map(pairs) => Kind::Map(
            pairs
                .into_iter()
                .map(|(k, v)| (Key { at: pos(k.referenced), name: k.value }, node(v, text)))
                .collect(),
        ),
    };
    Node { at: pos(raw.referenced), kind, from_env: false }
}

/// What the parser hands over, before spellings are looked up.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Raw, D::Error> {
                Raw::deserialize(d)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
                Ok(Raw::Int(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
                Ok(i64::try_from(v).map_or(Raw::Float(v as f64), Raw::Int))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
                Ok(Raw::Float(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
                Ok(Raw::Text(v.to_string()))
            }
            fn visit_string<E>(self, v: String) -> Result<Raw, E> {
                Ok(Raw::Text(v))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Raw::Map(pairs))
            }
        }
        d.deserialize_any(RawVisitor)
    }
}

/// A typed value with its position. A default has position 0 ([`Pos::is_unset`]).
#[derive(Debug, Clone, Default)]
pub(super) struct At<T> {
    pub value: T,
    pub at: Pos,
    /// See [`Node::from_env`].
    pub from_env: bool,
}

impl<T> At<T> {
    /// A value nobody typed.
    pub fn unset(value: impl Into<T>) -> Self {
        At { value: value.into(), at: Pos::default(), from_env: false }
    }
    pub fn is_unset(&self) -> bool {
        self.at.is_unset()
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
}

/// The name under which [`At`] asks [`Node`] for a value with its position.
const AT: &str = "sidelog::config::At";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AtVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AtVisitor<T> {
            type Value = At<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its position")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<At<T>, A::Error> {
                let mut next = || seq.next_element::<u32>().map(Option::unwrap_or_default);
                let (line, column, from_env) = (next()?, next()?, next()? != 0);
                let value =
                    seq.next_element()?.ok_or_else(|| A::Error::custom("position without a value"))?;
                Ok(At { value, at: Pos { line, column }, from_env })
            }
        }
        d.deserialize_newtype_struct(AT, AtVisitor(PhantomData))
    }
}

/// Serde's plain error: the shape was checked before, so it says what this crate got wrong.
pub(super) type Error = serde::de::value::Error;

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Null | Kind::Failed => visitor.visit_unit(),
            Kind::Bool(b) => visitor.visit_bool(*b),
            Kind::Int(i, _) => visitor.visit_i64(*i),
            Kind::Float(f, _) => visitor.visit_f64(*f),
            Kind::Text(s) => visitor.visit_borrowed_str(s),
            Kind::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter())),
            Kind::Map(pairs) => {
                visitor.visit_map(MapDeserializer::new(pairs.iter().map(|(k, v)| (k.name.as_str(), v))))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            Kind::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// Where a list is wanted, a value alone is a list of one; the schema says where that may be.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            Kind::List(_) => self.deserialize_any(visitor),
            _ => visitor.visit_seq(SeqDeserializer::new(std::iter::once(self))),
        }
    }

    /// Where text is wanted, a number or boolean is its spelling; the schema says where that may be.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Int(_, spelling) | Kind::Float(_, spelling) => visitor.visit_borrowed_str(spelling),
            Kind::Bool(b) => visitor.visit_str(if *b { "true" } else { "false" }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == AT {
            visitor.visit_seq(AtSeq { node: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Text(word) => visitor.visit_enum(Word(word)),
            other => Err(Error::custom(format_args!("a word expected, not {}", other.name()))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// `[line, column, from_env, value]`.
struct AtSeq<'de> {
    node: &'de Node,
    next: u8,
}

impl<'de> SeqAccess<'de> for AtSeq<'de> {
    type Error = Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let number = |n: u32| IntoDeserializer::<Error>::into_deserializer(n);
        self.next += 1;
        match self.next {
            1 => seed.deserialize(number(self.node.at.line)).map(Some),
            2 => seed.deserialize(number(self.node.at.column)).map(Some),
            3 => seed.deserialize(number(u32::from(self.node.from_env))).map(Some),
            4 => seed.deserialize(self.node).map(Some),
            _ => Ok(None),
        }
    }
}

/// A unit variant's name.
struct Word<'de>(&'de str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Error;
    type Variant = Self;
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name = IntoDeserializer::<Error>::into_deserializer(self.0);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Error> {
        Err(Error::custom("a word expected"))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a word expected"))
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a word expected"))
    }
}
