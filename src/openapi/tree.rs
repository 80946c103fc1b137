//! A document as a tree, JSON or YAML by content, without the parts no reader here needs.
//!
//! Owns parsing and its bounds. Promises: whatever parses becomes a tree, however wrong its types;
//! numbers too large for a machine word, repeated keys, merge keys and custom tags are no errors.
//! Refuses: text that is not UTF-8, several YAML documents in one file, and nesting beyond what the
//! stack bears. Prose and examples are dropped while parsing: they are most of a large document.

use super::glance;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Nesting of YAML nodes; JSON has serde_json's own 128.
const MAX_YAML_DEPTH: usize = 100;
/// Events and nodes of a YAML document: the largest public ones have about two million.
const MAX_YAML_EVENTS: usize = 50_000_000;
const MAX_YAML_SCALARS: usize = 256 << 20;
/// Parsing a hundred levels takes more stack than a worker thread has, most of all in debug builds.
const STACK: usize = 64 << 20;

/// Runs something that parses on a stack deep enough for the bounds above.
pub(super) fn with_stack<T: Send>(f: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("openapi".into()).stack_size(STACK);
        let joined = thread.spawn_scoped(scope, f)?.join();
        Ok(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// A node. Maps keep their order and repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// As text: only words and versions are read from numbers.
    Number(Box<str>),
    Text(Box<str>),
    List(Vec<Node>),
    Map(Vec<(Box<str>, Node)>),
}

impl Node {
    /// The value of a key; the last one where a key is repeated, as JSON parsers do.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().rev().find(|(k, _)| &**k == key).map(|(_, v)| v)
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The text of a key.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::text)
    }

    /// A scalar as text: versions and enum values are often written without quotes.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Node::Text(t) | Node::Number(t) => Some(t),
            Node::Bool(true) => Some("true"),
            Node::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// `true`, also as a text, which some generators write, and YAML 1.1's `yes`.
    pub fn is_true(&self) -> bool {
        match self {
            Node::Bool(b) => *b,
            Node::Text(t) => ["true", "yes"].iter().any(|w| t.eq_ignore_ascii_case(w)),
            _ => false,
        }
    }

    pub fn items(&self) -> &[Node] {
        match self {
            Node::List(items) => items,
            _ => &[],
        }
    }

    pub fn entries(&self) -> &[(Box<str>, Node)] {
        match self {
            Node::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Node::Map(_))
    }

    /// What it is, for messages: "operation is a list".
    pub fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }

    /// As a JSON value, for extensions that pass through.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Node::Null => serde_json::Value::Null,
            Node::Bool(b) => (*b).into(),
            Node::Number(n) => serde_json::from_str(n).unwrap_or_else(|_| (**n).into()),
            Node::Text(t) => (**t).into(),
            Node::List(items) => items.iter().map(Node::to_json).collect(),
            Node::Map(entries) => entries.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect(),
        }
    }

    /// The node a JSON pointer names (RFC 6901), `` being the node itself.
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            node = match node {
                Node::Map(_) => node.get(&token)?,
                Node::List(items) => items.get(token.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }
}

/// Appends one token to a JSON pointer.
pub(super) fn push_token(pointer: &mut String, token: &str) {
    pointer.push('/');
    for c in token.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

/// How much of a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Its operations and, where marks stand in it, the models that can bear one.
    Operations,
    /// As `Operations`, for a file that others refer to: what they name in it is not known.
    Marks,
    /// All properties of all models.
    Fields,
}

/// What the keys of a map are.
#[derive(Clone, Copy, PartialEq)]
enum Keys {
    /// Words of the OpenAPI vocabulary: unread ones are dropped.
    Words,
    /// Names of the author's choice (paths, parameters): all are kept.
    Names,
    /// Names of properties: those that can bear no mark are dropped, which is most of a document.
    Properties,
    /// Not known, as at the root of a file that a `$ref` names: all are kept.
    Either,
}

impl Keys {
    fn keep(self, key: &str) -> bool {
        if self != Keys::Words {
            return true;
        }
        match key {
            "description" | "example" | "examples" | "externalDocs" | "title" | "callbacks" | "links"
            | "security" | "securitySchemes" | "discriminator" | "xml" | "required" | "maxLength"
            | "minLength" | "maximum" | "minimum" | "maxItems" | "minItems" | "nullable" | "deprecated"
            | "uniqueItems" | "explode" | "style" => false,
            _ => !key.starts_with("x-") || kept_extension(key),
        }
    }

    /// As `keep`, where models matter as little as what is in them.
    fn keep_bare(self, key: &str) -> bool {
        let model = matches!(
            key,
            "properties"
                | "items"
                | "allOf"
                | "anyOf"
                | "oneOf"
                | "additionalProperties"
                | "requestBody"
                | "requestBodies"
                | "responses"
                | "headers"
        );
        match self {
            Keys::Words => !model && self.keep(key),
            Keys::Either => !key.starts_with("x-") || kept_extension(key),
            Keys::Names | Keys::Properties => true,
        }
    }

    /// What the keys of a value are.
    fn below(self, key: &str) -> Keys {
        if matches!(self, Keys::Names | Keys::Properties) {
            return Keys::Words;
        }
        match key {
            "properties" | "patternProperties" => Keys::Properties,
            "paths"
            | "dependentSchemas"
            | "$defs"
            | "definitions"
            | "schemas"
            | "parameters"
            | "requestBodies"
            | "responses"
            | "headers"
            | "pathItems"
            | "content"
            | "variables"
            | "additionalOperations" => Keys::Names,
            _ => Keys::Words,
        }
    }
}

fn kept_extension(key: &str) -> bool {
    key.starts_with("x-audit-") || key == super::MULTI_SEGMENT || super::marks::MARK_WORDS.contains(&key)
}

/// What of the models is kept.
#[derive(Clone, Copy, PartialEq)]
enum Models {
    None,
    /// Of the properties those that can bear a mark.
    Fertile,
    All,
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Seed {
    keys: Keys,
    models: Models,
}

impl Seed {
    fn root(models: Models) -> Self {
        Seed { keys: Keys::Either, models }
    }

    fn keep(self, key: &str) -> bool {
        if self.models == Models::None { self.keys.keep_bare(key) } else { self.keys.keep(key) }
    }

    fn below(self, key: &str) -> Seed {
        Seed { keys: self.keys.below(key), ..self }
    }
}

/// A YAML document's tree, with all models or only with what can bear a mark.
struct Tree<const ALL: bool>(Node);

impl<'de, const ALL: bool> Deserialize<'de> for Tree<ALL> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Seed::root(if ALL { Models::All } else { Models::Fertile }).deserialize(d).map(Tree)
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Node, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Number(v.to_string().into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Number(v.to_string().into()))
    }
    fn visit_i128<E>(self, v: i128) -> Result<Node, E> {
        Ok(Node::Number(v.to_string().into()))
    }
    fn visit_u128<E>(self, v: u128) -> Result<Node, E> {
        Ok(Node::Number(v.to_string().into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Number(v.to_string().into()))
    }
    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Text(v.into()))
    }
    fn visit_string<E>(self, v: String) -> Result<Node, E> {
        Ok(Node::Text(v.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        let seed = Seed { keys: Keys::Words, ..self };
        while let Some(item) = seq.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        let fertile_only = self.keys == Keys::Properties && self.models == Models::Fertile;
        while let Some(key) = map.next_key_seed(KeySeed(self))? {
            let Some((key, seed)) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value_seed(seed)?;
            if !fertile_only || super::marks::fertile(&value) {
                entries.push((key, value));
            }
        }
        Ok(Node::Map(entries))
    }
}

/// A key as text, whatever scalar it is: `200:` and `on:` are keys too.
pub(super) struct Key(pub Box<str>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(KeyText(|key: &str| Key(key.into())))
    }
}

/// Makes something of a key without owning it.
struct KeyText<F>(F);

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for KeyText<F> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<T, E> {
        Ok((self.0)(key))
    }
}

/// Reads a key that is kept, and how to read its value: most keys are not.
struct KeySeed(Seed);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<(Box<str>, Seed)>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        let seed = self.0;
        d.deserialize_str(KeyText(|key: &str| seed.keep(key).then(|| (key.into(), seed.below(key)))))
    }
}

/// Why a text is no tree.
#[derive(Debug)]
pub(super) struct Fault {
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub text: String,
    /// How to mend it.
    pub help: &'static str,
}

/// Whether a text is meant as JSON: YAML can begin with `{` too, so a failure is tried as YAML.
fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The tree of a text.
#[cfg(test)]
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    parse_lenient(text, Detail::Marks).map(|(node, _)| node)
}

/// The tree of a text; and, of one that was meant as JSON and is only YAML, what a reader of JSON
/// says.
pub(super) fn parse_lenient(text: &str, detail: Detail) -> Result<(Node, Option<Fault>), Fault> {
    let models = if detail == Detail::Fields { Models::All } else { Models::Fertile };
    if !looks_like_json(text) {
        return parse_yaml(text, models).map(|node| (node, None));
    }
    let models_of_json = match detail {
        Detail::Operations if glance::unmarked(text) => Models::None,
        _ => models,
    };
    let error = match parse_json(text, models_of_json) {
        Ok(node) => return Ok((node, None)),
        Err(error) => error,
    };
    let fault = Fault {
        line: u32::try_from(error.line()).ok(),
        column: u32::try_from(error.column()).ok(),
        text: format!("this is not JSON: {}", without_position(&error.to_string())),
        help: "look for a missing or superfluous comma, quote or bracket just before",
    };
    match parse_yaml(text, models) {
        Ok(node) => Ok((node, Some(fault))),
        Err(_) => Err(fault),
    }
}

fn parse_json(text: &str, models: Models) -> serde_json::Result<Node> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let node = Seed::root(models).deserialize(&mut reader)?;
    reader.end().map(|()| node)
}

fn parse_yaml(text: &str, models: Models) -> Result<Node, Fault> {
    let read = match models {
        Models::All => serde_saphyr::from_str_with_options(text, yaml_options()).map(|Tree::<true>(t)| t),
        _ => serde_saphyr::from_str_with_options(text, yaml_options()).map(|Tree::<false>(t)| t),
    };
    read.map_err(|e| {
        let several = matches!(e.without_snippet(), serde_saphyr::Error::MultipleDocuments { .. });
        let message = without_position(&e.without_snippet().to_string());
        let (text, help) = match message.contains("tab") {
            _ if several => ("several YAML documents in one file".into(), SPLIT),
            true => (format!("this is not YAML: {message}"), "indent with spaces"),
            false => {
                (format!("this is not YAML: {message}"), "look for wrong indentation or a missing quote")
            }
        };
        Fault {
            line: e.location().and_then(|l| u32::try_from(l.line()).ok()),
            column: e.location().and_then(|l| u32::try_from(l.column()).ok()),
            text,
            help,
        }
    })
}

const SPLIT: &str = "keep one in each file, without a `---` line in between, and list the files";

/// Budgets fit for real documents: the defaults are for small configuration files.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            enforce_alias_anchor_ratio: false,
            max_events: MAX_YAML_EVENTS,
            max_nodes: MAX_YAML_EVENTS,
            max_depth: MAX_YAML_DEPTH,
            max_total_scalar_bytes: MAX_YAML_SCALARS,
        },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
        emit_comments: false,
        ignore_binary_tag_for_string: true,
        // YAML 1.2: a parameter named `n` is no `false`.
        strict_booleans: true,
        with_snippet: false,
    }
}

/// The first line of a parser's message without its own "at line 3 column 4".
pub(super) fn without_position(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let cut = line.split_once(" at line ").map_or(line, |(text, _)| text);
    cut.trim_end_matches([',', ':', ' ']).to_owned()
}

/// The text of a file's bytes: UTF-8, with or without a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    const SAVE: &str = "save the file as UTF-8";
    let fault = |line, text: &str| Fault { line, column: None, text: text.into(), help: SAVE };
    if matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, ..] | [_, 0, ..]) {
        return Err(fault(None, "the file is UTF-16 or UTF-32"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| {
        let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let text = before.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        let column = 1 + String::from_utf8_lossy(text).chars().count();
        let (line, column) = (u32::try_from(line).ok(), u32::try_from(column).ok());
        Fault { column, ..fault(line, "a byte that is not UTF-8") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_give_the_same_tree() {
        let json = parse(r#"{"openapi":"3.0.0","paths":{"/a":{"get":{"x-audit-op":1}}}}"#).unwrap();
        let yaml = parse("openapi: '3.0.0'\npaths:\n  /a:\n    get:\n      x-audit-op: 1\n").unwrap();
        assert_eq!(json, yaml);
    }

    #[test]
    fn words_no_one_reads_are_dropped_but_never_names() {
        let n = parse("paths:\n  /a:\n    description: long\n    x-big: [1]\n").unwrap();
        assert_eq!(n.at("/paths/~1a"), Some(&Node::Map(vec![])));
        let n = parse("a: {parameters: {description: {in: path}, x-y: {}}}").unwrap();
        assert!(n.at("/a/parameters/description/in").is_some());
        assert!(n.at("/a/parameters/x-y").is_some());
    }

    #[test]
    fn properties_stay_if_they_can_bear_a_mark() {
        let n = parse(
            "a: {properties: {title: {writeOnly: true}, ref: {$ref: x}, plain: {type: string}, \
             deep: {items: {properties: {b: {type: string}}}}, pin: {items: {x-pii: 1}}}}",
        )
        .unwrap();
        let names: Vec<_> = n.at("/a/properties").unwrap().entries().iter().map(|(k, _)| &**k).collect();
        assert_eq!(names, ["title", "ref", "pin"]);
    }

    #[test]
    fn huge_numbers_merge_keys_and_repeated_keys_parse() {
        let n = parse("a: 123456789012345678901234567890\nb: &b {c: 1}\nd: {<<: *b, e: 2}\nd: 3\n").unwrap();
        assert_eq!(n.entries().len(), 4);
        let d = &n.entries()[2].1;
        assert_eq!(d.get("c").and_then(Node::scalar), Some("1"));
        assert_eq!(n.get("d").and_then(Node::scalar), Some("3"));
        let n = parse("[n, yes, true]").unwrap();
        assert_eq!(n.items().iter().map(Node::text).collect::<Vec<_>>(), [Some("n"), Some("yes"), None]);
        assert!(n.items()[1].is_true() && n.items()[2].is_true());
    }

    #[test]
    fn many_aliases_of_one_anchor_are_no_bomb() {
        let mut text = String::from("a: &a {x: 1}\nlist:\n");
        (0..500).for_each(|_| text.push_str("  - *a\n"));
        assert_eq!(parse(&text).unwrap().get("list").unwrap().items().len(), 500);
    }

    #[test]
    fn faults_say_where() {
        let f = parse("{\"a\": 1,\n \"b\": ]}").unwrap_err();
        assert_eq!((f.line, f.text.contains("line")), (Some(2), false), "{f:?}");
        let f = parse("a: 1\nb: [\n").unwrap_err();
        assert!(f.line.is_some(), "{f:?}");
        let f = parse("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(f.text.contains("several YAML documents"), "{f:?}");
    }

    #[test]
    fn bytes_become_text() {
        assert_eq!(decode(b"\xEF\xBB\xBFa: 1").unwrap(), "a: 1");
        assert!(decode(b"\xFF\xFEa\0").unwrap_err().text.contains("UTF-16"));
        assert_eq!(decode(b"a\nb\n\xFF").unwrap_err().line, Some(3));
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        for text in ["[".repeat(100_000) + &"]".repeat(100_000), "{\"a\":".repeat(100_000)] {
            assert!(with_stack(|| parse(&text).is_err()).unwrap());
        }
        let fits = "[".repeat(90) + &"]".repeat(90);
        assert!(with_stack(|| parse(&fits).is_ok()).unwrap());
    }
}
