//! The shape of a configuration: which keys there are and of what type, checked against the JSON
//! Schema for the whole tree at once. What does not fit is reported and taken out; what remains
//! deserialises. Judges no text: addresses, paths and units are [`super::load`]'s.

use super::problem::{Pos, Problems, nearest, one_of, shown};
use super::tree::{Key, Kind, Node};
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::sync::LazyLock;

/// The JSON Schema of the configuration, nothing by reference.
pub(super) fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let mut schema = settings.into_generator().into_root_schema_for::<super::yaml::File>().to_value();
        tidy(&mut schema);
        schema
    });
    &SCHEMA
}

/// Takes out defaults that say nothing: those of keys that must be given, and those of whole sections,
/// whose keys have their own.
fn tidy(schema: &mut Value) {
    let required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties.iter_mut().filter_map(|(n, p)| Some((n, p.as_object_mut()?))) {
            let is_required = required.iter().any(|r| r.as_str() == Some(name));
            if is_required || property.get("default").is_some_and(Value::is_object) {
                property.remove("default");
            }
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(tidy),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// What is left of the document when everything that does not fit is taken out.
pub(super) fn check(document: Node, schema: &Value, problems: &mut Problems) -> Node {
    let document = match document.kind {
        // Nothing but comments, perhaps: the keys that must be there are named.
        Kind::Null => Node { at: Pos { line: 1, column: 1 }, kind: Kind::Map(Vec::new()), from_env: false },
        _ => document,
    };
    let start = document.at;
    let mut shape = Shape { root: schema, problems };
    let rest = shape.value("", start, document, schema);
    rest.unwrap_or(Node { at: start, kind: Kind::Map(Vec::new()), from_env: false })
}

/// Ends the path of a list's item; not shown.
const ITEM: &str = "[]";

struct Shape<'a> {
    root: &'a Value,
    problems: &'a mut Problems,
}

impl Shape<'_> {
    /// `path`: the dotted keys to this value, empty for the document. `label`: where its key stands.
    fn value(&mut self, path: &str, label: Pos, node: Node, schema: &Value) -> Option<Node> {
        let kinds = Kinds::of(schema);
        match node.kind {
            Kind::Failed => None,
            // `section:` with everything below commented out.
            Kind::Null if kinds.object.is_some() && !kinds.string => {
                self.value(path, label, Node { kind: Kind::Map(Vec::new()), ..node }, schema)
            }
            Kind::Null => None,
            Kind::Bool(_) if kinds.boolean => Some(node),
            Kind::Int(i, _) if kinds.integer || kinds.number => {
                self.in_range(path, node.at, i, schema).then_some(node)
            }
            Kind::Float(..) if kinds.number => Some(node),
            Kind::Text(ref text) => match kinds.accept(text, node.from_env) {
                Some(Kind::Int(i, _)) if !self.in_range(path, node.at, i, schema) => None,
                Some(kind) => Some(Node { kind, ..node }),
                None => {
                    self.wrong_text(path, &node, text, schema, &kinds);
                    None
                }
            },
            Kind::List(items) if kinds.array.is_some() => {
                let kind = self.list(path, node.at, items, schema, kinds.array?);
                Some(Node { kind: Kind::List(kind?), ..node })
            }
            Kind::Map(pairs) if kinds.object.is_some() => {
                let kind = Kind::Map(self.map(path, label, pairs, kinds.object?));
                Some(Node { kind, ..node })
            }
            _ => {
                self.wrong_kind(path, &node, schema, &kinds);
                None
            }
        }
    }

    fn list(
        &mut self,
        path: &str,
        at: Pos,
        items: Vec<Node>,
        schema: &Value,
        array: &Value,
    ) -> Option<Vec<Node>> {
        let least = [schema, array].iter().find_map(|s| s.get("minItems")).and_then(Value::as_u64);
        if items.is_empty() && least.is_some_and(|n| n > 0) {
            self.problems.error(at, format!("{} must not be empty", name_of(path)), ());
            return None;
        }
        let wanted = array.get("items").unwrap_or(&Value::Null);
        let mut kept = Vec::with_capacity(items.len());
        for item in items {
            if matches!(item.kind, Kind::Null) {
                self.problems.error(item.at, format!("an item of {} is empty", section(path)), ());
                continue;
            }
            let label = item.at;
            kept.extend(self.value(&format!("{path}{ITEM}"), label, item, wanted));
        }
        Some(kept)
    }

    fn map(&mut self, path: &str, label: Pos, pairs: Vec<(Key, Node)>, object: &Value) -> Vec<(Key, Node)> {
        let properties = object.get("properties").and_then(Value::as_object);
        let others = object.get("additionalProperties").filter(|s| s.is_object());
        let (mut seen, mut meant) = (Vec::<Key>::new(), Vec::<String>::new());
        let mut kept = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if let Some(first) = seen.iter().find(|k| k.name == key.name) {
                let (line, name) = (first.at.line, shown(&key.name));
                self.problems.error(
                    key.at,
                    format!("key {name} is given twice"),
                    format!("it stands on line {line} already"),
                );
                continue;
            }
            seen.push(key.clone());
            match properties.and_then(|p| p.get(&key.name)).or(others) {
                Some(schema) => {
                    let path = join(path, &key.name);
                    kept.extend(self.value(&path, key.at, value, schema).map(|v| (key, v)));
                }
                None => meant.push(self.unknown_key(path, &key, object).unwrap_or_default()),
            }
        }
        let present: Vec<&str> = seen.iter().map(|k| &k.name).chain(&meant).map(String::as_str).collect();
        self.missing_keys(path, label, &present, object);
        if meant.is_empty() {
            self.one_key(path, label, seen.len(), object);
        }
        kept
    }

    /// The key that was meant, if that can be guessed: it is not missing as well.
    fn unknown_key(&mut self, path: &str, key: &Key, object: &Value) -> Option<String> {
        let known = names(object);
        let meant = nearest(&key.name, known.iter().copied());
        let help = if let Some(near) = meant {
            format!("did you mean `{near}`?")
        } else if let Some(home) = home_of(&key.name, "", self.root) {
            format!("`{}` belongs in {}", key.name, section(&home))
        } else if known.is_empty() {
            "it takes no keys: write `{}`".to_string()
        } else {
            format!("known keys: {}", known.join(", "))
        };
        self.problems.error(key.at, format!("unknown key {}{}", shown(&key.name), within(path)), help);
        meant.map(str::to_string)
    }

    fn missing_keys(&mut self, path: &str, label: Pos, present: &[&str], object: &Value) {
        for name in object.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            if present.contains(&name) {
                continue;
            }
            let schema = object.get("properties").and_then(|p| p.get(name)).unwrap_or(&Value::Null);
            let example = example(schema).map(|e| format!("for example `{name}: {e}`"));
            self.problems.error(label, format!("missing key `{name}`{}", within(path)), example);
        }
    }

    /// Objects of which exactly one key is to be given.
    fn one_key(&mut self, path: &str, label: Pos, given: usize, object: &Value) {
        if object.get("maxProperties").and_then(Value::as_u64) != Some(1) || given == 1 {
            return;
        }
        let message = format!("{} has exactly one key; here are {given}", name_of(path));
        self.problems.error(label, message, format!("give one of {}", one_of(&names(object))));
    }

    fn in_range(&mut self, path: &str, at: Pos, number: i64, schema: &Value) -> bool {
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_some_and(|n| number < n) || most.is_some_and(|n| number > n) {
            let range = match (least, most) {
                (Some(least), Some(most)) if least == most => least.to_string(),
                (Some(least), Some(most)) => format!("between {least} and {most}"),
                (Some(least), None) => format!("at least {least}"),
                _ => format!("at most {}", most.unwrap_or_default()),
            };
            self.problems.error(at, format!("{} must be {range}", name_of(path)), ());
            return false;
        }
        true
    }

    fn wrong_text(&mut self, path: &str, node: &Node, text: &str, schema: &Value, kinds: &Kinds<'_>) {
        if kinds.words.is_empty() {
            return self.wrong_kind(path, node, schema, kinds);
        }
        let value = if node.from_env { "the variable's value".to_string() } else { shown(text) };
        let also = if kinds.array.is_some() { ", or a list" } else { "" };
        let help = match nearest(text, kinds.words.iter().copied()) {
            Some(near) if !node.from_env => format!("did you mean `{near}`?"),
            _ => format!("use {}{also}", one_of(&kinds.words)),
        };
        self.problems.error(node.at, format!("{value} is not a value of {}", section(path)), help);
    }

    fn wrong_kind(&mut self, path: &str, node: &Node, schema: &Value, kinds: &Kinds<'_>) {
        let message = format!("{} must be {}, not {}", name_of(path), kinds.wanted(schema), node.kind.name());
        let help = match &node.kind {
            Kind::Int(_, spelling) | Kind::Float(_, spelling) if kinds.string && !kinds.integer => {
                match example(schema) {
                    Some(example) => Some(format!("for example `{example}`")),
                    None => Some(format!("put it in quotes: \"{spelling}\"")),
                }
            }
            Kind::Text(word) if kinds.object.is_some_and(|o| names(o).contains(&word.as_str())) => {
                Some(format!("write `{word}: {{}}`"))
            }
            _ => example(schema).map(|e| format!("for example `{e}`")),
        };
        self.problems.error(node.at, message, help);
    }
}

/// What a schema accepts, its alternatives taken together.
#[derive(Default)]
struct Kinds<'a> {
    string: bool,
    integer: bool,
    number: bool,
    boolean: bool,
    array: Option<&'a Value>,
    object: Option<&'a Value>,
    /// The only texts accepted, where `string` is not set.
    words: Vec<&'a str>,
}

impl<'a> Kinds<'a> {
    fn of(schema: &'a Value) -> Self {
        let mut kinds = Kinds::default();
        kinds.add(schema);
        kinds
    }

    fn add(&mut self, schema: &'a Value) {
        for name in ["anyOf", "oneOf"] {
            schema.get(name).and_then(Value::as_array).into_iter().flatten().for_each(|s| self.add(s));
        }
        let list = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let words = list.chain(schema.get("const")).filter_map(Value::as_str).collect::<Vec<_>>();
        if !words.is_empty() {
            return self.words.extend(words);
        }
        let one = schema.get("type").into_iter();
        for kind in one.flat_map(|t| t.as_array().cloned().unwrap_or_else(|| vec![t.clone()])) {
            match kind.as_str() {
                Some("string") => self.string = true,
                Some("integer") => self.integer = true,
                Some("number") => self.number = true,
                Some("boolean") => self.boolean = true,
                Some("array") => self.array = Some(schema),
                Some("object") => self.object = Some(schema),
                _ => {}
            }
        }
    }

    /// The text as this schema takes it. A variable may stand for a number or boolean.
    fn accept(&self, text: &str, from_env: bool) -> Option<Kind> {
        if self.string || self.words.contains(&text) {
            return Some(Kind::Text(text.to_string()));
        }
        match text.trim().parse::<i64>() {
            Ok(number) if from_env && self.integer => Some(Kind::Int(number, text.trim().to_string())),
            _ if from_env && self.boolean => text.trim().parse().ok().map(Kind::Bool),
            _ => None,
        }
    }

    fn wanted(&self, schema: &Value) -> String {
        let mut kinds: Vec<String> = Vec::new();
        if self.string {
            kinds.push("text".to_string());
        }
        if !self.words.is_empty() {
            kinds.push(one_of(&self.words));
        }
        if self.integer || self.number {
            kinds.push("a whole number".to_string());
        }
        if self.boolean {
            kinds.push("true or false".to_string());
        }
        if self.array.is_some() {
            kinds.push("a list".to_string());
        }
        if self.object.is_some() {
            kinds.push("a mapping".to_string());
        }
        match kinds.is_empty() {
            true => format!("something else ({schema})"),
            false => kinds.join(" or "),
        }
    }
}

/// The first example of a key's schema, as one would type it.
fn example(schema: &Value) -> Option<String> {
    fn flow(value: &Value) -> String {
        match value {
            Value::String(s) => s.clone(),
            Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
            Value::Object(o) => {
                let pairs: Vec<String> = o.iter().map(|(k, v)| format!("{k}: {}", flow(v))).collect();
                format!("{{{}}}", pairs.join(", "))
            }
            other => other.to_string(),
        }
    }
    schema.get("examples").and_then(Value::as_array).and_then(|e| e.first()).map(flow)
}

fn names(object: &Value) -> Vec<&str> {
    let properties = object.get("properties").and_then(Value::as_object);
    properties.map(|p| p.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The one section that has a key of this name, where there is just one.
fn home_of(name: &str, path: &str, schema: &Value) -> Option<String> {
    fn collect(name: &str, path: &str, schema: &Value, homes: &mut Vec<String>) {
        let kinds = Kinds::of(schema);
        if let Some(items) = kinds.array.and_then(|a| a.get("items")) {
            collect(name, path, items, homes);
        }
        let Some(properties) = kinds.object.and_then(|o| o.get("properties")).and_then(Value::as_object)
        else {
            return;
        };
        if properties.contains_key(name) {
            homes.push(path.to_string());
        }
        properties.iter().for_each(|(key, s)| collect(name, &join(path, key), s, homes));
    }
    let mut homes = Vec::new();
    collect(name, path, schema, &mut homes);
    match homes.as_slice() {
        [home] => Some(home.clone()),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

fn name_of(path: &str) -> String {
    match path.strip_suffix(ITEM) {
        Some(_) => format!("an item of {}", section(path)),
        None if path.is_empty() => "the document".to_string(),
        None => section(path),
    }
}

fn section(path: &str) -> String {
    if path.is_empty() { "the top level".to_string() } else { format!("`{}`", path.replace(ITEM, "")) }
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in {}", section(path)) }
}
