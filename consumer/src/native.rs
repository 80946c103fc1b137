//! Rows as one block of ClickHouse's Native format: column by column, as the server keeps them.
//!
//! The server takes such a block with much less work than the same rows one after the other, above all
//! for `LowCardinality` columns, whose words are sent once with a number for each row. The rows are
//! whatever serde can tell as a struct whose fields are called as the columns; what the columns are, the
//! server is asked ([`Schema`]).
//!
//! Refuses: fields without a column, and values of another size or kind than the column's. It cannot
//! see that two columns of one size were exchanged; the fields' names stand for that.

mod column;

use bytes::Bytes;
use column::Column;
use serde::Serialize;
use serde::ser::{Impossible, SerializeStruct, Serializer};
use std::collections::HashMap;
use std::sync::Arc;

/// From so many bytes on, a piece is sent from where it lies.
const LARGE: usize = 64 << 10;

/// Names and types of a table's columns, as the server tells them.
#[derive(Debug, Clone, Default)]
pub struct Schema(HashMap<String, String>);

impl Schema {
    pub fn new(columns: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(columns.into_iter().collect())
    }
}

/// Why rows do not fit their table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Misfit {
    #[error("the table has no column {0}")]
    NoColumn(&'static str),
    #[error("column {0} is {1}, which is not what a row holds there")]
    Type(String, String),
    #[error("{0}")]
    Other(String),
}

impl serde::ser::Error for Misfit {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self::Other(what.to_string())
    }
}

/// Rows, column by column.
#[derive(Debug)]
pub struct Block {
    schema: Arc<Schema>,
    /// In the order of the row's fields; made with the first row.
    columns: Vec<Column>,
    rows: usize,
}

impl Block {
    pub fn new(schema: &Arc<Schema>) -> Self {
        Self { schema: Arc::clone(schema), columns: Vec::new(), rows: 0 }
    }

    /// Adds a row; all rows of a block are of one type. After an error the block is of no use.
    pub fn push(&mut self, row: &impl Serialize) -> Result<(), Misfit> {
        row.serialize(Rows(self))?;
        self.rows += 1;
        // Sizes are a matter of the row's type, so one row shows them.
        if self.rows == 1 { self.check() } else { Ok(()) }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What it takes in memory, without what its vectors have in reserve.
    pub fn byte_len(&self) -> usize {
        self.columns.iter().map(Column::byte_len).sum()
    }

    /// Whether every column has a value for every row.
    pub fn check(&self) -> Result<(), Misfit> {
        match self.columns.iter().find(|column| !column.holds(self.rows)) {
            Some(column) => Err(column.misfit()),
            None => Ok(()),
        }
    }

    /// Whether the other one's rows have the same columns.
    pub fn is_like(&self, other: &Block) -> bool {
        self.columns.len() == other.columns.len()
            && self.columns.iter().zip(&other.columns).all(|(a, b)| a.is_like(b))
    }

    /// Adds the other one's rows, which must have the same columns ([`Block::is_like`]).
    pub fn append(&mut self, other: Block) {
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.append(more);
        }
        self.rows += other.rows;
    }

    /// The columns' names, as an INSERT lists them.
    pub fn names(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|c| format!("`{}`", c.name())).collect();
        names.join(",")
    }

    /// The block's bytes, to be sent one piece after the other. No byte of a large column is copied.
    /// Only of a block that was checked.
    pub fn finish(self) -> Vec<Bytes> {
        let mut out = Wire::default();
        varint(&mut out.open, self.columns.len() as u64);
        varint(&mut out.open, self.rows as u64);
        for column in self.columns {
            column.finish(&mut out);
        }
        out.close();
        out.pieces
    }
}

/// Bytes on their way out.
#[derive(Debug, Default)]
struct Wire {
    pieces: Vec<Bytes>,
    /// What follows the last of them, as long as it is little.
    open: Vec<u8>,
}

impl Wire {
    fn add(&mut self, bytes: Vec<u8>) {
        if bytes.len() < LARGE {
            return self.open.extend_from_slice(&bytes);
        }
        self.close();
        self.pieces.push(bytes.into());
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(std::mem::take(&mut self.open).into());
        }
    }
}

/// LEB128.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Its length, then the text.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a row: a struct and nothing else.
struct Rows<'b>(&'b mut Block);

/// Takes the fields of one row.
struct Fields<'b> {
    block: &'b mut Block,
    at: usize,
}

impl SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        if self.block.rows == 0 {
            let kind = self.block.schema.0.get(name).ok_or(Misfit::NoColumn(name))?;
            self.block.columns.push(Column::new(name, kind)?);
        }
        let column = self.block.columns.get_mut(self.at).ok_or(Misfit::NoColumn(name))?;
        self.at += 1;
        value.serialize(column)
    }

    fn end(self) -> Result<(), Misfit> {
        Ok(())
    }
}

/// Methods of a [`Serializer`] for what cannot stand there.
macro_rules! refuse {
    ($($method:ident($($kind:ty),*) -> $ok:ty),* $(,)?) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$ok, Misfit> { Err(self.misfit()) })*
    };
}
use refuse;

impl Rows<'_> {
    fn misfit(&self) -> Misfit {
        Misfit::Other("a row is a struct".into())
    }
}

impl<'b> Serializer for Rows<'b> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Impossible<(), Misfit>;
    type SerializeTuple = Impossible<(), Misfit>;
    type SerializeTupleStruct = Impossible<(), Misfit>;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Impossible<(), Misfit>;
    type SerializeStruct = Fields<'b>;
    type SerializeStructVariant = Impossible<(), Misfit>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Misfit> {
        Ok(Fields { block: self.0, at: 0 })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Misfit> {
        Err(self.misfit())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, row: &T) -> Result<(), Misfit> {
        row.serialize(self)
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
        serialize_str(&str) -> (), serialize_bytes(&[u8]) -> (), serialize_none() -> (), serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_seq(Option<usize>) -> Self::SerializeSeq,
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(columns: &[(&str, &str)]) -> Arc<Schema> {
        Arc::new(Schema::new(columns.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()))))
    }

    fn bytes(block: Block) -> Vec<u8> {
        block.check().unwrap();
        block.finish().concat()
    }

    #[derive(Serialize)]
    struct Row {
        number: u32,
        text: &'static str,
        word: &'static str,
        maybe: Option<u16>,
        list: Vec<&'static str>,
        pairs: Vec<(&'static str, &'static str)>,
        halves: (u64, u64),
    }

    const COLUMNS: [(&str, &str); 7] = [
        ("number", "UInt32"),
        ("text", "String"),
        ("word", "LowCardinality(String)"),
        ("maybe", "Nullable(UInt16)"),
        ("list", "Array(LowCardinality(String))"),
        ("pairs", "Map(LowCardinality(String), String)"),
        ("halves", "UUID"),
    ];

    fn row(number: u32, word: &'static str) -> Row {
        let pairs = vec![("k", "v")];
        Row {
            number,
            text: "ab",
            word,
            maybe: (number == 1).then_some(7),
            list: vec![word, "z"],
            pairs,
            halves: (1, 2),
        }
    }

    #[test]
    fn a_block_as_the_format_has_it() {
        let schema = schema(&COLUMNS);
        let mut block = Block::new(&schema);
        for row in [row(1, "x"), row(2, "y"), row(3, "x")] {
            block.push(&row).unwrap();
        }
        assert_eq!(block.names(), "`number`,`text`,`word`,`maybe`,`list`,`pairs`,`halves`");
        let mut expected = vec![7, 3];
        let mut column = |name: &str, kind: &str, bytes: &[u8]| {
            text(&mut expected, name.as_bytes());
            text(&mut expected, kind.as_bytes());
            expected.extend_from_slice(bytes);
        };
        column("number", "UInt32", b"\x01\0\0\0\x02\0\0\0\x03\0\0\0");
        column("text", "String", b"\x02ab\x02ab\x02ab");
        let words = [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &[0, 6, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            b"\x01x\x01y",
        ];
        let rows = [&[3, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, 0]];
        column("word", "LowCardinality(String)", &[words.concat(), rows.concat()].concat());
        column("maybe", "Nullable(UInt16)", b"\0\x01\x01\x07\0\0\0\0\0");
        let ends: Vec<u8> = [2u64, 4, 6].iter().flat_map(|n| n.to_le_bytes()).collect();
        column("list", "Array(String)", &[&ends[..], b"\x01x\x01z\x01y\x01z\x01x\x01z"].concat());
        let ends: Vec<u8> = [1u64, 2, 3].iter().flat_map(|n| n.to_le_bytes()).collect();
        column("pairs", "Map(String, String)", &[&ends[..], b"\x01k\x01k\x01k\x01v\x01v\x01v"].concat());
        let uuid: Vec<u8> = [1u64, 2].iter().flat_map(|n| n.to_le_bytes()).collect();
        column("halves", "UUID", &uuid.repeat(3));
        assert_eq!(bytes(block), expected);
    }

    /// An empty word once got the number of the row before, where that was a word met before.
    #[test]
    fn an_empty_word_is_a_word_of_its_own() {
        #[derive(Serialize)]
        struct One {
            word: &'static str,
        }
        let schema = schema(&COLUMNS);
        let mut block = Block::new(&schema);
        for word in ["x", "y", "x", "", "x", "x", "", "", "y"] {
            block.push(&One { word }).unwrap();
        }
        let bytes = bytes(block);
        assert_eq!(bytes.split_at(bytes.len() - 9).1, [0, 1, 0, 2, 0, 0, 2, 2, 1]);
    }

    #[test]
    fn many_words_take_wider_numbers() {
        #[derive(Serialize)]
        struct One {
            word: String,
        }
        for (words, width) in [(256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let schema = schema(&COLUMNS);
            let mut block = Block::new(&schema);
            for word in 0..words {
                block.push(&One { word: format!("{word:05}") }).unwrap();
            }
            let head = 2 + usize::from(words > 127) + usize::from(words > 16_383) + 5 + 23 + 24;
            assert_eq!(bytes(block).len(), head + words * 6 + 8 + words * width, "{words}");
        }
    }

    #[test]
    fn rows_of_two_blocks_are_as_rows_of_one() {
        let schema = schema(&COLUMNS);
        let words = ["", "x", "y", "x", "z", "y", "", "w", "x"];
        for cut in 0..=words.len() {
            let (mut whole, mut first, mut second) =
                (Block::new(&schema), Block::new(&schema), Block::new(&schema));
            for (at, word) in words.iter().enumerate() {
                let row = row(at as u32, word);
                whole.push(&row).unwrap();
                if at < cut { &mut first } else { &mut second }.push(&row).unwrap();
            }
            assert_eq!(first.is_like(&second), (1..words.len()).contains(&cut));
            if first.is_like(&second) {
                let both = first.byte_len() + second.byte_len();
                assert!((whole.byte_len()..=both).contains(&whole.byte_len()) && whole.byte_len() > 9 * 40);
                first.append(second);
                assert_eq!((first.byte_len(), first.rows()), (whole.byte_len(), 9));
                assert_eq!(bytes(first), bytes(whole));
            }
        }
    }

    #[test]
    fn blocks_of_other_columns_are_told_apart() {
        #[derive(Serialize)]
        struct One {
            word: &'static str,
        }
        let block = |kind: &str| {
            let mut block = Block::new(&schema(&[("word", kind)]));
            block.push(&One { word: "x" }).unwrap();
            block
        };
        assert!(block("String").is_like(&block("String")));
        assert!(!block("String").is_like(&block("LowCardinality(String)")));
        assert!(!block("String").is_like(&Block::new(&schema(&[]))));
    }

    #[test]
    fn what_is_large_is_a_piece_of_its_own() {
        #[derive(Serialize)]
        struct One {
            number: u32,
            text: String,
        }
        let schema = schema(&COLUMNS);
        let mut block = Block::new(&schema);
        let texts = ["x".repeat(LARGE), "y".to_owned()];
        for text in texts.clone() {
            block.push(&One { number: 7, text }).unwrap();
        }
        let pieces = block.finish();
        let head = b"\x02\x02\x06number\x06UInt32\x07\0\0\0\x07\0\0\0\x04text\x06String";
        let column = [b"\x80\x80\x04", texts[0].as_bytes(), b"\x01y"].concat();
        assert_eq!(pieces, [Bytes::from(head.to_vec()), Bytes::from(column)]);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        for (at, wrong) in [
            (0, "UInt64"),
            (1, "UInt64"),
            (2, "UUID"),
            (3, "UInt16"),
            (4, "String"),
            (5, "Array(String)"),
            (6, "IPv4"),
        ] {
            let mut columns = COLUMNS;
            columns[at].1 = wrong;
            let schema = schema(&columns);
            let mut block = Block::new(&schema);
            let misfit = block.push(&row(1, "x")).unwrap_err();
            assert_eq!(misfit, Misfit::Type(columns[at].0.to_owned(), wrong.to_owned()));
        }
        let schema = schema(&COLUMNS[1..]);
        assert_eq!(Block::new(&schema).push(&row(1, "x")), Err(Misfit::NoColumn("number")));
        let odd = self::schema(&[("number", "Tuple(a UInt32)")]);
        assert!(Block::new(&odd).push(&row(1, "x")).is_err());
    }
}
