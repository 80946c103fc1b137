//! Which names of an operation its document marks as secret.
//!
//! Looks at parameters, request bodies and responses, through `$ref`s, for `writeOnly: true`,
//! `format: password` and the vendors' marks. Errs on the side of masking: a name marked anywhere in
//! the operation is marked everywhere in it. Bounded in depth and in nodes.

use super::declared::media_schemas;
use super::files::{At, Files};
use super::tree::Node;
use std::collections::{BTreeSet, HashSet};

/// Extensions that mark a schema or parameter when they are neither `false` nor null.
pub(super) const MARK_WORDS: [&str; 5] =
    ["x-sensitive", "x-sensitive-data", "x-ms-secret", "x-pii", "x-secret"];

/// Schemas within schemas.
const MAX_DEPTH: usize = 32;
/// Schemas looked at per operation: beyond, marks deep inside huge models are not read.
const MAX_SCHEMAS: usize = 20_000;

/// Names an operation's document marks as secret: JSON keys, query, path and header parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaMarks {
    names: Box<[Box<str>]>,
    whole_request: bool,
    whole_response: bool,
}

impl SchemaMarks {
    /// Whether a name is marked, in whatever case it is written.
    pub fn contains(&self, name: &str) -> bool {
        let lower = |b: u8| b.to_ascii_lowercase();
        let found = self.names.binary_search_by(|n| n.bytes().cmp(name.bytes().map(lower)));
        found.is_ok()
    }

    pub fn is_empty(&self) -> bool {
        *self == SchemaMarks::default()
    }

    /// The request's body is marked as a whole, not a name in it.
    pub fn whole_request(&self) -> bool {
        self.whole_request
    }

    pub fn whole_response(&self) -> bool {
        self.whole_response
    }

    /// The names, in lower case, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| &**n)
    }
}

/// Collects the marks of one operation.
pub(super) struct Collector<'a> {
    files: &'a Files,
    names: BTreeSet<Box<str>>,
    whole_request: bool,
    whole_response: bool,
    seen: HashSet<*const Node>,
}

impl<'a> Collector<'a> {
    pub fn new(files: &'a Files) -> Self {
        Collector {
            files,
            names: BTreeSet::new(),
            whole_request: false,
            whole_response: false,
            seen: HashSet::new(),
        }
    }

    pub fn finish(self) -> SchemaMarks {
        let Collector { names, whole_request, whole_response, .. } = self;
        SchemaMarks { names: names.into_iter().collect(), whole_request, whole_response }
    }

    /// A parameter, already dereferenced; 2.0 keeps the schema's words on the parameter itself.
    pub fn parameter(&mut self, at: &At<'a>) {
        let schemas: Vec<_> = at.get("schema").into_iter().chain(media_schemas(at)).collect();
        if is_marked(at.node) || schemas.iter().any(|s| self.marked(s, 0)) {
            match (at.node.text_of("in"), at.node.text_of("name")) {
                (Some("body"), _) => self.whole_request = true,
                (_, Some(name)) => self.mark(name),
                _ => {}
            }
        }
        for schema in &schemas {
            self.schema(schema, 0);
        }
    }

    pub fn request(&mut self, at: At<'a>) {
        self.whole_request |= self.body(at);
    }

    pub fn response(&mut self, at: At<'a>) {
        self.whole_response |= self.body(at);
    }

    /// A request body or response with `content` (3.x), or a 2.0 response with `schema`. Says whether
    /// it is marked as a whole.
    fn body(&mut self, at: At<'a>) -> bool {
        let Ok(at) = self.files.deref(at) else { return false };
        let mut whole = is_marked(at.node);
        for schema in at.get("schema").into_iter().chain(media_schemas(&at)) {
            whole |= self.marked(&schema, 0);
            self.schema(&schema, 0);
        }
        whole
    }

    fn mark(&mut self, name: &str) {
        self.names.insert(name.to_ascii_lowercase().into());
    }

    /// Visits a schema's properties.
    fn schema(&mut self, at: &At<'a>, depth: usize) {
        let Ok(at) = self.files.deref(at.clone()) else { return };
        if depth > MAX_DEPTH || self.seen.len() >= MAX_SCHEMAS || !self.seen.insert(at.node) {
            return;
        }
        for (key, value) in at.node.entries() {
            match &**key {
                "properties" | "patternProperties" => {
                    for (name, property) in value.entries() {
                        let property = At { node: property, file: at.file, pointer: String::new() };
                        if self.marked(&property, 0) {
                            self.mark(name);
                        }
                        self.schema(&property, depth + 1);
                    }
                }
                "items"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains" => {
                    self.schema(&At { node: value, file: at.file, pointer: String::new() }, depth + 1);
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    for part in value.items() {
                        self.schema(&At { node: part, file: at.file, pointer: String::new() }, depth + 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a schema as a whole is marked: itself, what it refers to, its parts or its items.
    fn marked(&self, at: &At<'a>, depth: usize) -> bool {
        if is_marked(at.node) {
            return true;
        }
        let Ok(at) = self.files.deref(at.clone()) else { return false };
        if is_marked(at.node) {
            return true;
        }
        if depth >= 4 {
            return false;
        }
        let part = |node| self.marked(&At { node, file: at.file, pointer: String::new() }, depth + 1);
        ["allOf", "anyOf", "oneOf"]
            .iter()
            .filter_map(|k| at.node.get(k))
            .flat_map(Node::items)
            .chain(at.node.get("items"))
            .chain(at.node.get("additionalProperties"))
            .any(part)
    }
}

fn is_marked(node: &Node) -> bool {
    node.entries().iter().any(|(key, value)| match &**key {
        "writeOnly" => value.is_true(),
        "format" => value.text() == Some("password"),
        word if MARK_WORDS.contains(&word) => match value {
            Node::Null | Node::Bool(false) => false,
            Node::Text(t) => !t.eq_ignore_ascii_case("false"),
            _ => true,
        },
        _ => false,
    })
}

/// Whether a tree can bear a mark: its own, or through a reference.
pub(super) fn fertile(node: &Node) -> bool {
    match node {
        Node::Map(entries) => is_marked(node) || entries.iter().any(|(k, v)| &**k == "$ref" || fertile(v)),
        Node::List(items) => items.iter().any(fertile),
        _ => false,
    }
}

/// Whether any mark stands in a tree, so that documents without pay nothing.
pub(super) fn any(node: &Node) -> bool {
    match node {
        Node::Map(entries) => is_marked(node) || entries.iter().any(|(_, v)| any(v)),
        Node::List(items) => items.iter().any(any),
        _ => false,
    }
}
