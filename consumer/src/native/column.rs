//! One column of a block: what kind it is, and its values so far.

use super::{Misfit, Wire, refuse, text};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::Serialize;
use serde::ser::{Impossible, SerializeSeq, SerializeTuple, Serializer};
use std::hash::BuildHasher;
use std::ops::Range;

/// `LowCardinality` in the Native format: its version; the words are in the block, all of them new.
const WORDS_VERSION: u64 = 1;
const WORDS_FLAGS: u64 = 1 << 9 | 1 << 10;

/// A column's values.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    /// As the table has it.
    kind: String,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// Values of so many bytes; a row may give them in pieces.
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    Text(Vec<u8>),
    Words(Words),
    Optional {
        width: usize,
        nulls: Vec<u8>,
        bytes: Vec<u8>,
    },
    /// Texts of all lists, and where each list ends.
    List {
        ends: Vec<u64>,
        texts: Vec<u8>,
    },
    Pairs {
        ends: Vec<u64>,
        names: Vec<u8>,
        values: Vec<u8>,
    },
}

/// Texts that repeat, each kept once.
#[derive(Debug, Default)]
struct Words {
    hasher: RandomState,
    /// Numbers of the words, found by what these say.
    numbers: HashTable<u32>,
    /// In order, each with its length before it.
    texts: Vec<u8>,
    /// Where in `texts` each word stands.
    places: Vec<Range<usize>>,
    rows: Vec<u32>,
}

impl Words {
    fn push(&mut self, word: &[u8]) {
        // The next is often the same.
        if let Some(last) = self.rows.last().copied()
            && said(&self.texts, &self.places, last) == word
        {
            return self.rows.push(last);
        }
        let number = self.number(word);
        self.rows.push(number);
    }

    fn number(&mut self, word: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(word);
        let known = self.numbers.find(hash, |number| said(&self.texts, &self.places, *number) == word);
        known.copied().unwrap_or_else(|| self.learn(hash, word))
    }

    fn learn(&mut self, hash: u64, word: &[u8]) -> u32 {
        let number = self.places.len() as u32;
        text(&mut self.texts, word);
        self.places.push(self.texts.len() - word.len()..self.texts.len());
        let (hasher, texts, places) = (&self.hasher, &self.texts, &self.places);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(said(texts, places, *number)));
        number
    }

    fn append(&mut self, other: Words) {
        let numbers: Vec<u32> = (0..other.places.len())
            .map(|n| self.number(said(&other.texts, &other.places, n as u32)))
            .collect();
        self.rows.extend(other.rows.iter().map(|n| numbers.get(*n as usize).copied().unwrap_or_default()));
    }

    fn finish(self, out: &mut Wire) {
        let words = self.places.len();
        let width: u64 = if words <= 1 << 8 {
            0
        } else if words <= 1 << 16 {
            1
        } else {
            2
        };
        for number in [WORDS_VERSION, WORDS_FLAGS | width, words as u64] {
            out.open.extend_from_slice(&number.to_le_bytes());
        }
        out.add(self.texts);
        out.open.extend_from_slice(&(self.rows.len() as u64).to_le_bytes());
        let rows = self.rows.iter();
        out.add(match width {
            0 => rows.map(|n| *n as u8).collect(),
            1 => rows.flat_map(|n| (*n as u16).to_le_bytes()).collect(),
            _ => rows.flat_map(|n| n.to_le_bytes()).collect(),
        });
    }
}

/// The word of that number.
fn said<'t>(texts: &'t [u8], places: &[Range<usize>], number: u32) -> &'t [u8] {
    places.get(number as usize).and_then(|place| texts.get(place.clone())).unwrap_or_default()
}

/// Where lists end that come behind those.
fn extend_ends(ends: &mut Vec<u64>, more: &[u64]) {
    let base = ends.last().copied().unwrap_or_default();
    ends.extend(more.iter().map(|end| base + end));
}

impl Data {
    fn of(kind: &str) -> Option<Self> {
        let inner = |name: &str| kind.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let is_text = |kind: &str| matches!(kind, "String" | "LowCardinality(String)");
        Some(match kind {
            "String" => Self::Text(Vec::new()),
            "LowCardinality(String)" => Self::Words(Words::default()),
            "Map(String, String)" | "Map(LowCardinality(String), String)" => {
                Self::Pairs { ends: Vec::new(), names: Vec::new(), values: Vec::new() }
            }
            _ if inner("Array").is_some_and(is_text) => Self::List { ends: Vec::new(), texts: Vec::new() },
            _ => match inner("Nullable") {
                Some(inner) => Self::Optional { width: width(inner)?, nulls: Vec::new(), bytes: Vec::new() },
                None => Self::Fixed { width: width(kind)?, bytes: Vec::new() },
            },
        })
    }
}

/// Bytes of one value.
fn width(kind: &str) -> Option<usize> {
    let name = kind.split('(').next().unwrap_or_default();
    Some(match name {
        "Bool" | "Int8" | "UInt8" | "Enum8" => 1,
        "Int16" | "UInt16" => 2,
        "Int32" | "UInt32" | "IPv4" => 4,
        "Int64" | "UInt64" | "DateTime64" => 8,
        "UUID" | "IPv6" => 16,
        _ => return None,
    })
}

impl Column {
    pub fn new(name: &str, kind: &str) -> Result<Self, Misfit> {
        let misfit = || Misfit::Type(name.to_owned(), kind.to_owned());
        Ok(Self { name: name.to_owned(), kind: kind.to_owned(), data: Data::of(kind).ok_or_else(misfit)? })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name, type and values; the server casts lists and pairs of plain texts to the table's words.
    pub fn finish(self, out: &mut Wire) {
        text(&mut out.open, self.name.as_bytes());
        let kind = match &self.data {
            Data::List { .. } => "Array(String)",
            Data::Pairs { .. } => "Map(String, String)",
            _ => &self.kind,
        };
        text(&mut out.open, kind.as_bytes());
        let all = |ends: Vec<u64>| ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        match self.data {
            Data::Fixed { bytes, .. } | Data::Text(bytes) => out.add(bytes),
            Data::Words(words) => words.finish(out),
            Data::Optional { nulls, bytes, .. } => {
                out.add(nulls);
                out.add(bytes);
            }
            Data::List { ends, texts } => {
                out.add(all(ends));
                out.add(texts);
            }
            Data::Pairs { ends, names, values } => {
                out.add(all(ends));
                out.add(names);
                out.add(values);
            }
        }
    }

    pub fn is_like(&self, other: &Self) -> bool {
        (&self.name, &self.kind) == (&other.name, &other.kind)
    }

    /// Adds the values of a column that is like this one.
    pub fn append(&mut self, other: Self) {
        match (&mut self.data, other.data) {
            (Data::Fixed { bytes, .. }, Data::Fixed { bytes: more, .. })
            | (Data::Text(bytes), Data::Text(more)) => {
                bytes.extend(more);
            }
            (Data::Words(words), Data::Words(more)) => words.append(more),
            (Data::Optional { nulls, bytes, .. }, Data::Optional { nulls: more_nulls, bytes: more, .. }) => {
                nulls.extend(more_nulls);
                bytes.extend(more);
            }
            (Data::List { ends, texts }, Data::List { ends: more_ends, texts: more }) => {
                extend_ends(ends, &more_ends);
                texts.extend(more);
            }
            (
                Data::Pairs { ends, names, values },
                Data::Pairs { ends: more_ends, names: more_names, values: more },
            ) => {
                extend_ends(ends, &more_ends);
                names.extend(more_names);
                values.extend(more);
            }
            // Of one kind are of one form: see `Data::of`.
            _ => {}
        }
    }

    /// Bytes of its values.
    pub fn byte_len(&self) -> usize {
        match &self.data {
            Data::Fixed { bytes, .. } | Data::Text(bytes) => bytes.len(),
            Data::Words(words) => words.texts.len() + size_of_val(&*words.places) + size_of_val(&*words.rows),
            Data::Optional { nulls, bytes, .. } => nulls.len() + bytes.len(),
            Data::List { ends, texts } => size_of_val(&**ends) + texts.len(),
            Data::Pairs { ends, names, values } => size_of_val(&**ends) + names.len() + values.len(),
        }
    }

    /// Whether it has a value for each of so many rows, as far as that can be told.
    pub fn holds(&self, rows: usize) -> bool {
        match &self.data {
            Data::Fixed { width, bytes } => bytes.len() == rows * width,
            Data::Text(_) => true,
            Data::Words(words) => words.rows.len() == rows,
            Data::Optional { width, nulls, bytes } => nulls.len() == rows && bytes.len() == rows * width,
            Data::List { ends, .. } | Data::Pairs { ends, .. } => ends.len() == rows,
        }
    }

    pub fn misfit(&self) -> Misfit {
        Misfit::Type(self.name.clone(), self.kind.clone())
    }

    fn fixed(&mut self, value: &[u8]) -> Result<(), Misfit> {
        match &mut self.data {
            Data::Fixed { bytes, .. } => bytes.extend_from_slice(value),
            Data::Optional { width, nulls, bytes } if *width == value.len() => {
                nulls.push(0);
                bytes.extend_from_slice(value);
            }
            _ => return Err(self.misfit()),
        }
        Ok(())
    }

    fn bytes(&mut self, value: &[u8]) -> Result<(), Misfit> {
        match &mut self.data {
            Data::Text(texts) => text(texts, value),
            Data::Words(words) => words.push(value),
            _ => return Err(self.misfit()),
        }
        Ok(())
    }
}

macro_rules! fixed {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(fn $method(self, value: $kind) -> Result<(), Misfit> { self.fixed(&value.to_le_bytes()) })*
    };
}

impl<'c> Serializer for &'c mut Column {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = List<'c>;
    type SerializeTuple = Pieces<'c>;
    type SerializeTupleStruct = Impossible<(), Misfit>;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Impossible<(), Misfit>;
    type SerializeStruct = Impossible<(), Misfit>;
    type SerializeStructVariant = Impossible<(), Misfit>;

    // Ids and addresses are bytes, not texts.
    fn is_human_readable(&self) -> bool {
        false
    }

    fixed! {
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
    }

    fn serialize_bool(self, value: bool) -> Result<(), Misfit> {
        self.fixed(&[value.into()])
    }
    fn serialize_str(self, value: &str) -> Result<(), Misfit> {
        self.bytes(value.as_bytes())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), Misfit> {
        self.bytes(value)
    }
    fn serialize_none(self) -> Result<(), Misfit> {
        match &mut self.data {
            Data::Optional { width, nulls, bytes } => {
                nulls.push(1);
                bytes.resize(bytes.len() + *width, 0);
                Ok(())
            }
            _ => Err(self.misfit()),
        }
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Misfit> {
        match self.data {
            Data::Optional { .. } => value.serialize(self),
            _ => Err(self.misfit()),
        }
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Misfit> {
        Err(self.misfit())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Misfit> {
        match self.data {
            Data::List { .. } | Data::Pairs { .. } => Ok(List { column: self, count: 0 }),
            _ => Err(self.misfit()),
        }
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Misfit> {
        match self.data {
            Data::Fixed { .. } => Ok(Pieces(self)),
            _ => Err(self.misfit()),
        }
    }

    refuse! {
        serialize_f32(f32) -> (), serialize_f64(f64) -> (), serialize_char(char) -> (), serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
        serialize_struct(&'static str, usize) -> Self::SerializeStruct,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
    }
}

/// A value given in pieces: the halves of a UUID, the bytes of an address.
pub(super) struct Pieces<'c>(&'c mut Column);

impl SerializeTuple for Pieces<'_> {
    type Ok = ();
    type Error = Misfit;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        value.serialize(&mut *self.0)
    }
    fn end(self) -> Result<(), Misfit> {
        Ok(())
    }
}

/// The elements of one row's list.
pub(super) struct List<'c> {
    column: &'c mut Column,
    count: u64,
}

impl SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.count += 1;
        value.serialize(Element { column: self.column, at: 0 })
    }

    fn end(self) -> Result<(), Misfit> {
        match &mut self.column.data {
            Data::List { ends, .. } | Data::Pairs { ends, .. } => {
                ends.push(ends.last().unwrap_or(&0) + self.count);
                Ok(())
            }
            _ => Err(self.column.misfit()),
        }
    }
}

/// One element: a text, or a pair of them.
pub(super) struct Element<'c> {
    column: &'c mut Column,
    /// In a pair.
    at: usize,
}

impl Element<'_> {
    fn misfit(&self) -> Misfit {
        self.column.misfit()
    }
}

impl Serializer for Element<'_> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Impossible<(), Misfit>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), Misfit>;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Impossible<(), Misfit>;
    type SerializeStruct = Impossible<(), Misfit>;
    type SerializeStructVariant = Impossible<(), Misfit>;

    fn serialize_str(self, value: &str) -> Result<(), Misfit> {
        match (&mut self.column.data, self.at) {
            (Data::List { texts, .. }, _) => text(texts, value.as_bytes()),
            (Data::Pairs { names, .. }, 1) => text(names, value.as_bytes()),
            (Data::Pairs { values, .. }, 2) => text(values, value.as_bytes()),
            _ => return Err(self.column.misfit()),
        }
        Ok(())
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, Misfit> {
        match self.column.data {
            Data::Pairs { .. } => Ok(self),
            _ => Err(self.misfit()),
        }
    }
    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Misfit> {
        Err(self.misfit())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Misfit> {
        Err(self.misfit())
    }

    refuse! {
        serialize_bool(bool) -> (), serialize_i8(i8) -> (), serialize_i16(i16) -> (), serialize_i32(i32) -> (),
        serialize_i64(i64) -> (), serialize_u8(u8) -> (), serialize_u16(u16) -> (), serialize_u32(u32) -> (),
        serialize_u64(u64) -> (), serialize_f32(f32) -> (), serialize_f64(f64) -> (), serialize_char(char) -> (),
        serialize_bytes(&[u8]) -> (), serialize_none() -> (), serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_seq(Option<usize>) -> Self::SerializeSeq,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
        serialize_struct(&'static str, usize) -> Self::SerializeStruct,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
    }
}

impl SerializeTuple for Element<'_> {
    type Ok = ();
    type Error = Misfit;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        self.at += 1;
        value.serialize(Element { column: self.column, at: self.at })
    }
    fn end(self) -> Result<(), Misfit> {
        if self.at == 2 { Ok(()) } else { Err(self.misfit()) }
    }
}
