//! Which fields the schemas of operations declare, compactly: for `redact.unknown: mask`.
//!
//! A document's schemas become a graph of *shapes*: the fields of an object and the shape under
//! each, the shape of an array's items and of further members, and whether a plain value may stand
//! there. What `$ref`, `allOf`, `anyOf`, `oneOf` and `if` bring together at one place is one shape,
//! found by the set of its schemas, so circles close and operations share what they share.
//! Bounded: what is beyond [`MAX_SHAPES`] is declared by nobody, and so is what cannot be read:
//! values are masked rather than kept.
//!
//! `additionalProperties` declares further members where it has a schema that says something; `true`
//! or `{}` declares nothing. So do `patternProperties`, whatever the name.

use super::files::{At, Files};
use super::tree::Node;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Shapes of one document.
const MAX_SHAPES: usize = 200_000;

/// Schemas that make one shape.
const MAX_PARTS: usize = 256;

/// A shape in its document's [`Declared`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShapeId(u32);

impl ShapeId {
    /// Declares no value of any kind.
    pub const NOTHING: ShapeId = ShapeId(0);
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// By name.
    fields: Box<[(Box<str>, ShapeId)]>,
    /// Of members that are none of these.
    rest: ShapeId,
    items: ShapeId,
    /// A string, number or boolean may stand here.
    scalar: bool,
}

/// The shapes of one document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Declared(Box<[Shape]>);

impl Declared {
    fn shape(&self, id: ShapeId) -> Option<&Shape> {
        self.0.get(id.0 as usize)
    }

    /// The shape under a name, where it is declared.
    pub fn field(&self, id: ShapeId, name: &str) -> Option<ShapeId> {
        let shape = self.shape(id)?;
        match shape.fields.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(at) => shape.fields.get(at).map(|(_, id)| *id),
            Err(_) => Some(shape.rest).filter(|rest| *rest != ShapeId::NOTHING),
        }
    }

    /// The shape of an array's items.
    pub fn items(&self, id: ShapeId) -> ShapeId {
        self.shape(id).map_or(ShapeId::NOTHING, |s| s.items)
    }

    /// Whether a string, number or boolean may stand here.
    pub fn scalar(&self, id: ShapeId) -> bool {
        self.shape(id).is_some_and(|s| s.scalar)
    }
}

/// What one operation declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    pub declared: Arc<Declared>,
    pub request: ShapeId,
    /// Of any status.
    pub response: ShapeId,
    /// The query parameters are its fields.
    pub query: ShapeId,
}

/// Makes the shapes of one document.
pub(super) struct Builder<'a> {
    files: &'a Files,
    /// By the addresses of the schemas, sorted.
    known: HashMap<Vec<*const Node>, ShapeId>,
    shapes: Vec<Shape>,
    /// Shapes that have an id and wait for their content.
    waiting: Vec<(ShapeId, Vec<At<'a>>)>,
}

impl<'a> Builder<'a> {
    pub fn new(files: &'a Files) -> Self {
        let nothing = Shape::default();
        Builder { files, known: HashMap::new(), shapes: vec![nothing], waiting: Vec::new() }
    }

    pub fn finish(self) -> Declared {
        Declared(self.shapes.into())
    }

    /// The shapes of an operation, whose parameters are dereferenced. The graph itself is filled in
    /// when all operations are known.
    pub fn operation(&mut self, parameters: &[At<'a>], at: &At<'a>) -> Fields {
        let (mut query, mut form, mut body) = (Vec::new(), Vec::new(), Vec::new());
        for parameter in parameters {
            let Some(name) = parameter.node.text_of("name") else { continue };
            match parameter.node.text_of("in") {
                Some("query") => query.push((name, schemas(parameter))),
                Some("formData") => form.push((name, schemas(parameter))),
                Some("body") => body.extend(parameter.get("schema")),
                _ => {}
            }
        }
        let request = at.get("requestBody").and_then(|b| self.files.deref(b).ok());
        body.extend(request.iter().flat_map(media_schemas));
        let mut answers = Vec::new();
        if let Some(responses) = at.get("responses") {
            for (code, node) in responses.node.entries() {
                let Ok(response) = self.files.deref(responses.child(code, node)) else { continue };
                answers.extend(response.get("schema").into_iter().chain(media_schemas(&response)));
            }
        }
        let request = if form.is_empty() { self.id(body) } else { self.record(form) };
        let (response, query) = (self.id(answers), self.record(query));
        while let Some((id, parts)) = self.waiting.pop() {
            let shape = self.shape(&parts);
            if let Some(place) = self.shapes.get_mut(id.0 as usize) {
                *place = shape;
            }
        }
        Fields { declared: Arc::default(), request, response, query }
    }

    /// The shape of parameters by name.
    fn record(&mut self, parameters: Vec<(&'a str, Vec<At<'a>>)>) -> ShapeId {
        if parameters.is_empty() {
            return ShapeId::NOTHING;
        }
        let fields = parameters.into_iter().collect::<BTreeMap<_, _>>();
        let shape = Shape { fields: self.fields(fields), ..Shape::default() };
        self.add(shape)
    }

    fn add(&mut self, shape: Shape) -> ShapeId {
        match u32::try_from(self.shapes.len()) {
            Ok(id) if self.shapes.len() < MAX_SHAPES => {
                self.shapes.push(shape);
                ShapeId(id)
            }
            _ => ShapeId::NOTHING,
        }
    }

    fn fields(&mut self, fields: BTreeMap<&'a str, Vec<At<'a>>>) -> Box<[(Box<str>, ShapeId)]> {
        fields.into_iter().map(|(name, parts)| (name.into(), self.id(parts))).collect()
    }

    /// The id of what these schemas together declare; its content may come later.
    fn id(&mut self, parts: Vec<At<'a>>) -> ShapeId {
        let parts = self.together(parts);
        if parts.is_empty() {
            return ShapeId::NOTHING;
        }
        let mut key: Vec<*const Node> = parts.iter().map(|p| std::ptr::from_ref(p.node)).collect();
        key.sort_unstable();
        if let Some(id) = self.known.get(&key) {
            return *id;
        }
        let id = self.add(Shape::default());
        if id != ShapeId::NOTHING {
            self.known.insert(key, id);
            self.waiting.push((id, parts));
        }
        id
    }

    /// The schemas with those they refer to and are composed of.
    fn together(&self, mut waiting: Vec<At<'a>>) -> Vec<At<'a>> {
        let (mut parts, mut seen) = (Vec::new(), HashSet::new());
        while let Some(at) = waiting.pop() {
            if parts.len() >= MAX_PARTS || !seen.insert(std::ptr::from_ref(at.node)) {
                continue;
            }
            if at.node.get("$ref").is_some() {
                waiting.extend(self.files.deref(at.clone()).ok());
                // Alone it says nothing of its own, and would make a shape per place.
                if at.node.entries().len() == 1 {
                    continue;
                }
            }
            for word in ["allOf", "anyOf", "oneOf"] {
                let list = at.node.get(word).map_or(&[][..], Node::items);
                waiting.extend(list.iter().map(|node| within(&at, node)));
            }
            for word in ["if", "then", "else"] {
                waiting.extend(at.node.get(word).map(|node| within(&at, node)));
            }
            parts.push(at);
        }
        parts
    }

    fn shape(&mut self, parts: &[At<'a>]) -> Shape {
        let mut fields: BTreeMap<&str, Vec<At<'a>>> = BTreeMap::new();
        let (mut rest, mut items) = (Vec::new(), Vec::new());
        for at in parts {
            for (name, node) in at.node.get("properties").map_or(&[][..], Node::entries) {
                fields.entry(name).or_default().push(within(at, node));
            }
            let patterns = at.node.get("patternProperties").map_or(&[][..], Node::entries);
            let further = at.node.get("additionalProperties");
            let further = further.into_iter().chain(patterns.iter().map(|(_, node)| node));
            rest.extend(further.filter(|node| says(node)).map(|node| within(at, node)));
            let listed = at.node.get("prefixItems").map_or(&[][..], Node::items).iter();
            // Before 2020-12 `items` may be a list.
            let item = at.node.get("items").into_iter();
            let each =
                item.flat_map(|i| if let Node::List(all) = i { &all[..] } else { std::slice::from_ref(i) });
            items.extend(listed.chain(each).filter(|node| says(node)).map(|node| within(at, node)));
        }
        Shape {
            fields: self.fields(fields),
            rest: self.id(rest),
            items: self.id(items),
            scalar: parts.iter().any(|at| scalar(at.node)),
        }
    }
}

fn within<'a>(at: &At<'a>, node: &'a Node) -> At<'a> {
    At { node, file: at.file, pointer: String::new() }
}

/// A parameter's schemas; 2.0 keeps the schema's words on the parameter itself.
fn schemas<'a>(parameter: &At<'a>) -> Vec<At<'a>> {
    let own: Vec<_> = parameter.get("schema").into_iter().chain(media_schemas(parameter)).collect();
    if own.is_empty() { vec![parameter.clone()] } else { own }
}

/// The schemas of `content: {media: {schema}}`.
pub(super) fn media_schemas<'a>(at: &At<'a>) -> Vec<At<'a>> {
    let media = at.node.get("content").map_or(&[][..], Node::entries);
    media.iter().filter_map(|(_, m)| m.get("schema")).map(|node| within(at, node)).collect()
}

/// Whether a schema is more than `true` or `{}`.
fn says(node: &Node) -> bool {
    !node.entries().is_empty()
}

/// Whether a schema, its references and parts aside, is one of plain values.
fn scalar(node: &Node) -> bool {
    let plain = |name: &str| !matches!(name, "object" | "array" | "null");
    match node.get("type") {
        Some(Node::Text(name)) => plain(name),
        Some(Node::List(names)) => names.iter().filter_map(Node::text).any(plain),
        _ => {
            const OTHER: [&str; 12] = [
                "$ref",
                "allOf",
                "anyOf",
                "oneOf",
                "if",
                "then",
                "else",
                "properties",
                "patternProperties",
                "additionalProperties",
                "items",
                "prefixItems",
            ];
            node.is_map() && !OTHER.iter().any(|word| node.get(word).is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::load_with_fields;

    const DOCUMENT: &str = r##"
openapi: 3.1.0
paths:
  /orders:
    post:
      parameters:
        - {name: dry_run, in: query, schema: {type: boolean}}
        - {name: filter, in: query, style: deepObject, schema: {properties: {status: {type: string}}}}
        - {name: X-Trace, in: header, schema: {type: string}}
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}
      responses:
        200: {content: {application/json: {schema: {type: array, items: {$ref: '#/components/schemas/Order'}}}}}
        default: {$ref: '#/components/responses/Error'}
  /free: {post: {requestBody: {content: {application/json: {schema: {type: object}}}}}}
components:
  responses: {Error: {content: {application/json: {schema: {properties: {error: {type: string}}}}}}}
  schemas:
    Order:
      allOf:
        - {$ref: '#/components/schemas/Base'}
        - properties:
            note: {type: [string, 'null']}
            next: {$ref: '#/components/schemas/Order'}
            pay: {oneOf: [{properties: {card: {type: string}}}, {properties: {iban: {}}}, {type: string}]}
            meta: {type: object}
            labels: {type: object, additionalProperties: {type: string}}
            any: {additionalProperties: true}
            tags: {type: array, items: {type: string}}
            pair: {prefixItems: [{type: string}, {properties: {x: {type: integer}}}]}
    Base: {type: object, properties: {id: {type: string}}}
"##;

    fn load(text: &str) -> Vec<Fields> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("openapi.yaml");
        std::fs::write(&path, text).unwrap();
        let (document, _) = load_with_fields(&path).unwrap();
        document.operations.into_iter().map(|o| o.fields.unwrap()).collect()
    }

    /// Whether a plain value is declared at a path; `[]` is an item.
    fn declares(fields: &Fields, root: ShapeId, path: &str) -> bool {
        let graph = &fields.declared;
        let end = path.split('.').try_fold(root, |at, step| match step {
            "[]" => Some(graph.items(at)),
            name => graph.field(at, name),
        });
        end.is_some_and(|id| graph.scalar(id))
    }

    #[test]
    fn what_schemas_declare() {
        let all = load(DOCUMENT);
        let order = &all[0];
        for (path, want) in [
            ("id", true),
            ("note", true),
            ("next.next.next.note", true),
            ("next", false),
            ("pay", true),
            ("pay.card", true),
            ("pay.iban", true),
            ("pay.pin", false),
            ("meta", false),
            ("meta.x", false),
            ("labels.whatever", true),
            ("labels", false),
            ("any.x", false),
            ("tags.[]", true),
            ("tags", false),
            ("pair.[]", true),
            ("pair.[].x", true),
            ("ID", false),
            ("error", false),
        ] {
            assert_eq!(declares(order, order.request, path), want, "{path}");
        }
        for (path, want) in [("[].id", true), ("error", true), ("id", false)] {
            assert_eq!(declares(order, order.response, path), want, "{path}");
        }
        for (path, want) in
            [("dry_run", true), ("filter.status", true), ("filter", false), ("X-Trace", false)]
        {
            assert_eq!(declares(order, order.query, path), want, "{path}");
        }
        assert!(!declares(&all[1], all[1].request, "a"));
        assert_eq!((all[1].response, all[1].query), (ShapeId::NOTHING, ShapeId::NOTHING));
    }

    #[test]
    fn swagger_2_bodies_and_forms() {
        let all = load(
            "swagger: '2.0'\npaths:\n  /a: {post: {parameters: [{name: b, in: body, schema: {$ref: '#/definitions/D'}}]}}\n  \
             /f: {post: {parameters: [{name: user, in: formData, type: string}, {name: q, in: query, type: array, items: {type: string}}]}}\n\
             definitions: {D: {properties: {x: {type: integer}}}}\n",
        );
        assert!(declares(&all[0], all[0].request, "x") && !declares(&all[0], all[0].request, "y"));
        assert!(declares(&all[1], all[1].request, "user") && !declares(&all[1], all[1].request, "q"));
        assert!(declares(&all[1], all[1].query, "q.[]"));
    }

    /// A shape per schema, however many operations use it.
    #[test]
    fn operations_share_shapes() {
        let one = load(DOCUMENT)[0].declared.0.len();
        let twice = DOCUMENT.replace("  /free:", "  /again: {post: {requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Order'}}}}}}\n  /free:");
        assert_eq!(load(&twice)[0].declared.0.len(), one);
    }
}
