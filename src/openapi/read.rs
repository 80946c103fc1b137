//! From a tree to operations.
//!
//! Reads paths, path items, operations, parameters and servers, following `$ref`s where real
//! documents use them: on path items, on operations, on parameters. Every node that cannot be read
//! is skipped with a warning; nothing here fails a document that has paths.

use super::declared::Builder;
use super::files::{At, Files};
use super::marks::{self, Collector, SchemaMarks};
use super::servers;
use super::tree::Node;
use super::{Discriminator, Document, LoadError, MULTI_SEGMENT, Operation, ParamKind, PathParam, Warning};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// Headers and form fields that tell operations apart although no document declares them
/// everywhere (AWS).
const KNOWN_DISCRIMINATORS: [&str; 2] = ["Action", "X-Amz-Target"];

pub(super) fn document(
    files: &Files,
    fields: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Document, LoadError> {
    let name = files.name(0).to_owned();
    let Some(root) = files.root().filter(|r| *r.node != Node::Null) else {
        return Err(LoadError::not_openapi(&name, "the file is empty", "write the document into it"));
    };
    let version = ["openapi", "swagger"].iter().find_map(|k| root.node.get(k)?.scalar());
    check_kind(&name, root.node, version, warnings)?;
    let version = match version.unwrap_or_default() {
        "2" => "2.0",
        v => v,
    };
    let known = version == "2.0" || version.starts_with('3');
    if !known && !version.is_empty() {
        let text = format!("version {version} is not known; read as OpenAPI 3");
        warnings.push(Warning::new(&name, "", text).mend("known are 2.0, 3.0, 3.1 and 3.2"));
    }
    let info = root.node.get("info");
    let mut reader = Reader {
        files,
        told: warnings.iter().map(|w| (w.file.clone(), w.pointer.clone())).collect(),
        warnings,
        api_version: info.and_then(|i| i.get("version")?.scalar()).unwrap_or_default().to_owned(),
        bases: match root.node.text_of("basePath") {
            Some(base) if version == "2.0" => vec![servers::legacy_base(base)],
            _ => servers::bases(root.node.get("servers")),
        },
        marks_matter: files.several() || marks::any(root.node),
        declared: fields.then(|| Builder::new(files)),
        skipped: Vec::new(),
        operations: Vec::new(),
    };
    if reader.bases.is_empty() {
        reader.bases.push(String::new());
    }
    let paths = reader.paths(&root)?;
    reader.count_skipped();
    let Reader { skipped, mut operations, api_version, declared, .. } = reader;
    if let Some(declared) = declared.map(|d| Arc::new(d.finish())) {
        operations.iter_mut().filter_map(|o| o.fields.as_mut()).for_each(|f| f.declared = declared.clone());
    }
    Ok(Document { name, version: version.to_owned(), api_version, paths, skipped: skipped.len(), operations })
}

/// Refuses what is something else, naming what it is.
fn check_kind(
    name: &str,
    root: &Node,
    version: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<(), LoadError> {
    const ASK: &str = "is this an OpenAPI document?";
    const BEGIN: &str = "a document begins with its version, as in `openapi: 3.1.0`";
    const NAME: &str = "name the OpenAPI document of the service";
    if !root.is_map() {
        let text = format!("the document is {}, not a map – {ASK}", root.kind());
        return Err(LoadError::not_openapi(name, text, BEGIN));
    }
    if version.is_some() {
        return Ok(());
    }
    if root.get("paths").is_some_and(Node::is_map) {
        let text = "no \"openapi\" or \"swagger\" key; read as OpenAPI 3 because it has paths";
        warnings.push(Warning::new(name, "", text).mend(BEGIN));
        return Ok(());
    }
    let other = [
        ("asyncapi", "this is an AsyncAPI document, which describes messages, not HTTP operations"),
        ("openrpc", "this is an OpenRPC document"),
        ("swaggerVersion", "this is Swagger 1.x"),
        ("arazzo", "this is an Arazzo document, which describes workflows"),
        ("overlay", "this is an overlay"),
        ("raml", "this is RAML"),
        ("log", "this looks like an HTTP archive (HAR)"),
    ];
    let hint = other.iter().find(|(key, _)| root.get(key).is_some());
    let postman = root.get("info").is_some_and(|i| i.get("_postman_id").is_some());
    let (text, help) = match hint {
        Some(("swaggerVersion" | "raml", text)) => (*text, "convert it to OpenAPI 3"),
        Some(("overlay", text)) => (*text, "apply it and name the result"),
        Some((_, text)) => (*text, NAME),
        None if postman => ("this is a Postman collection", "export it as OpenAPI"),
        None => (&*format!("no \"openapi\" or \"swagger\" key – {ASK}"), BEGIN),
    };
    Err(LoadError::not_openapi(name, text, help))
}

/// Said of references to nothing.
const DANGLING: &str = "define what it names, or correct it";

struct Reader<'a, 'w> {
    files: &'a Files,
    warnings: &'w mut Vec<Warning>,
    /// File and pointer of each reference that has its warning already.
    told: HashSet<(String, String)>,
    api_version: String,
    /// Of the root.
    bases: Vec<String>,
    /// False: no file holds a mark, so none is searched for.
    marks_matter: bool,
    /// Where declared fields are wanted.
    declared: Option<Builder<'a>>,
    /// Warnings (by index) of operations that were skipped.
    skipped: Vec<usize>,
    operations: Vec<Operation>,
}

/// What a path item hands down to its operations.
struct Item<'a> {
    template: &'a str,
    parameters: Vec<At<'a>>,
    bases: Option<Vec<String>>,
}

impl<'a> Reader<'a, '_> {
    fn warn(&mut self, at: &At<'_>, text: impl Into<String>, help: impl Into<String>) {
        self.warnings.push(Warning::new(self.files.name(at.file), &at.pointer, text).mend(help));
    }

    fn skip(&mut self, at: &At<'_>, text: impl Into<String>, help: &str) {
        self.skipped.push(self.warnings.len());
        self.warn(at, text, help);
    }

    /// Follows references; where they lead nowhere, warns and gives none.
    fn deref(&mut self, at: At<'a>) -> Option<At<'a>> {
        let (pointer, file) = (at.pointer.clone(), self.files.name(at.file).to_owned());
        match self.files.deref(at) {
            Ok(at) => Some(at),
            Err(reference) => {
                if self.told.insert((file.clone(), pointer.clone())) {
                    let warning = Warning::new(file, pointer, format!("$ref {reference} leads nowhere"));
                    self.warnings.push(warning.mend(DANGLING));
                }
                None
            }
        }
    }

    /// Adds "(1 of 288)" to each skipped operation's warning.
    fn count_skipped(&mut self) {
        let total = self.skipped.len() + self.operations.len();
        for (i, at) in self.skipped.iter().enumerate() {
            if let Some(warning) = self.warnings.get_mut(*at) {
                warning.text.push_str(&format!("; skipped ({} of {total})", i + 1));
            }
        }
    }

    /// Reads every path; says how many there are.
    fn paths(&mut self, root: &At<'a>) -> Result<usize, LoadError> {
        const SHAPE: &str = "paths are written `/orders/{id}: {get: {…}}`";
        let Some(paths) = root.get("paths").filter(|p| *p.node != Node::Null) else {
            self.warn(root, "no paths: every request will be unmatched", SHAPE);
            return Ok(0);
        };
        let Some(paths) = self.deref(paths) else { return Ok(0) };
        if !paths.node.is_map() {
            let file = self.files.name(paths.file).to_owned();
            let text = format!("paths is {}, not a map", paths.node.kind());
            let mut found = Warning::new(&file, &paths.pointer, "");
            super::locate::fill(std::slice::from_mut(&mut found), |name| {
                self.files.path(name).map(Path::to_path_buf)
            });
            let (line, column) = (found.line, found.column);
            return Err(LoadError::NotOpenApi { file, line, column, text, help: SHAPE });
        }
        let mut count = 0;
        for (template, item) in paths.node.entries() {
            if template.starts_with("x-") || &**template == "$ref" {
                continue;
            }
            count += 1;
            let at = paths.child(template, item);
            if !template.starts_with('/') {
                let text = "the path does not begin with a slash; read as if it did";
                self.warn(&at, text, format!("write `/{template}`"));
            }
            self.path_item(template, at);
        }
        Ok(count)
    }

    fn path_item(&mut self, template: &'a str, at: At<'a>) {
        // A `$ref` may stand beside operations of the item's own (3.1): both count.
        let referred = match at.node.text_of("$ref") {
            Some(_) => self.deref(at.clone()),
            None => None,
        };
        for at in [Some(at), referred].into_iter().flatten() {
            if !at.node.is_map() {
                let help = "a path item is a map of methods: `{get: {…}, post: {…}}`";
                self.skip(&at, format!("path item is {}", at.node.kind()), help);
                continue;
            }
            let own = servers::bases(at.node.get("servers"));
            let item =
                Item { template, parameters: self.parameters(&at), bases: (!own.is_empty()).then_some(own) };
            self.methods(&item, &at);
        }
    }

    fn methods(&mut self, item: &Item<'a>, at: &At<'a>) {
        for (key, node) in at.node.entries() {
            if METHODS.contains(&&**key) {
                self.operation(item, key, at.child(key, node));
            } else if METHODS.iter().any(|m| m.eq_ignore_ascii_case(key)) {
                let at = at.child(key, node);
                let help = format!("write `{}`", key.to_ascii_lowercase());
                self.warn(&at, "methods are written in lower case; read as one", help);
                self.operation(item, key, at);
            }
        }
        let more = at.get("additionalOperations");
        for (key, node) in more.iter().flat_map(|m| m.node.entries()) {
            if let Some(more) = &more {
                self.operation(item, key, more.child(key, node));
            }
        }
    }

    fn operation(&mut self, item: &Item<'a>, method: &str, at: At<'a>) {
        let place = at.clone();
        let Ok(at) = self.files.deref(at) else {
            let reference = place.node.text_of("$ref").unwrap_or_default();
            return self.skip(&place, format!("operation's $ref {reference} leads nowhere"), DANGLING);
        };
        if !at.node.is_map() {
            let help = "an operation is a map: `{operationId: createOrder, responses: {…}}`";
            return self.skip(&place, format!("operation is {}", at.node.kind()), help);
        }
        let parameters = self.merged_parameters(item, &at);
        let own = servers::bases(at.node.get("servers"));
        let bases = match (&item.bases, own.is_empty()) {
            (_, false) => own,
            (Some(bases), true) => bases.clone(),
            (None, true) => self.bases.clone(),
        };
        let text = |key| at.node.get(key).and_then(Node::scalar).map(str::to_owned);
        let slash = if item.template.starts_with('/') { "" } else { "/" };
        self.operations.push(Operation {
            method: method.to_ascii_uppercase(),
            template: item.template.to_owned(),
            route: format!("{}{slash}{}", bases.first().map_or("", String::as_str), item.template),
            operation_id: text("operationId").filter(|id| !id.is_empty()),
            summary: text("summary").unwrap_or_default(),
            tags: at
                .node
                .get("tags")
                .map_or(&[][..], Node::items)
                .iter()
                .filter_map(|t| t.scalar().map(str::to_owned))
                .collect(),
            api_version: self.api_version.clone(),
            bases,
            path_params: self.path_params(&parameters),
            discriminators: discriminators(item.template, &parameters),
            marks: self.marks(&parameters, &at),
            fields: self.declared.as_mut().map(|declared| declared.operation(&parameters, &at)),
            extensions: at
                .node
                .entries()
                .iter()
                .filter(|(k, _)| k.starts_with("x-audit-"))
                .map(|(k, v)| (k.to_string(), v.to_json()))
                .collect(),
        });
    }

    /// The parameters of a path item or operation, dereferenced.
    fn parameters(&mut self, at: &At<'a>) -> Vec<At<'a>> {
        let Some(list) = at.get("parameters") else { return Vec::new() };
        let Some(list) = self.deref(list) else { return Vec::new() };
        let mut out = Vec::new();
        if !matches!(list.node, Node::List(_) | Node::Null) {
            let text = format!("parameters is {}, not a list; skipped", list.node.kind());
            self.warn(&list, text, "write `[{name: id, in: path}]`");
        }
        for (i, node) in list.node.items().iter().enumerate() {
            let Some(at) = self.deref(list.child(&i.to_string(), node)) else { continue };
            match at.node.text_of("name") {
                Some(_) => out.push(at),
                None => self.warn(&at, "parameter without a name; skipped", "give it `name` and `in`"),
            }
        }
        out
    }

    /// The operation's parameters and those of its path item that it does not override.
    fn merged_parameters(&mut self, item: &Item<'a>, at: &At<'a>) -> Vec<At<'a>> {
        let mut out = self.parameters(at);
        let identity = |p: &At<'a>| (p.node.text_of("in"), p.node.text_of("name"));
        let own: Vec<_> = out.iter().map(identity).collect();
        out.extend(item.parameters.iter().filter(|p| !own.contains(&identity(p))).cloned());
        out
    }

    fn path_params(&self, parameters: &[At<'a>]) -> Vec<PathParam> {
        parameters
            .iter()
            .filter(|p| p.node.text_of("in") == Some("path"))
            .filter_map(|p| {
                // 2.0 keeps the schema's words on the parameter itself.
                let schema = p.get("schema").and_then(|s| self.files.deref(s).ok());
                let schema = schema.map_or(p.node, |s| s.node);
                let pattern = schema.text_of("pattern").filter(|p| spans_segments(p));
                let marked = [p.node, schema].iter().any(|n| n.get(MULTI_SEGMENT).is_some_and(Node::is_true));
                Some(PathParam {
                    name: p.node.text_of("name")?.to_owned(),
                    kind: param_kind(schema),
                    multi_segment: marked || pattern.is_some(),
                    pattern: if marked { None } else { pattern.map(str::to_owned) },
                })
            })
            .collect()
    }

    fn marks(&self, parameters: &[At<'a>], operation: &At<'a>) -> SchemaMarks {
        if !self.marks_matter {
            return SchemaMarks::default();
        }
        let mut collector = Collector::new(self.files);
        parameters.iter().for_each(|p| collector.parameter(p));
        if let Some(body) = operation.get("requestBody") {
            collector.request(body);
        }
        if let Some(responses) = operation.get("responses") {
            for (code, node) in responses.node.entries() {
                collector.response(responses.child(code, node));
            }
        }
        collector.finish()
    }
}

fn param_kind(schema: &Node) -> ParamKind {
    let values: Vec<_> =
        schema.get("enum").map_or(&[][..], Node::items).iter().filter_map(Node::scalar).collect();
    if !values.is_empty() {
        return ParamKind::OneOf(values.into_iter().map(str::to_owned).collect());
    }
    let kind = match schema.get("type") {
        Some(Node::Text(t)) => &**t,
        // 3.1: `[integer, null]`.
        Some(Node::List(types)) => {
            let mut real = types.iter().filter_map(Node::text).filter(|t| *t != "null");
            match (real.next(), real.next()) {
                (Some(one), None) => one,
                _ => "",
            }
        }
        _ => "",
    };
    match (kind, schema.text_of("format").unwrap_or_default()) {
        ("integer", _) => ParamKind::Integer,
        ("number", _) => ParamKind::Number,
        ("boolean", _) => ParamKind::Boolean,
        ("string" | "", "uuid") => ParamKind::Uuid,
        ("string" | "", "date") => ParamKind::Date,
        ("string" | "", "date-time") => ParamKind::DateTime,
        _ => ParamKind::Any,
    }
}

/// Whether a pattern asks for a slash, so that the value spans segments (grpc-gateway:
/// `projects/[^/]+`). A slash inside a character class only allows or forbids one.
fn spans_segments(pattern: &str) -> bool {
    let (mut in_class, mut escaped) = (false, false);
    for c in pattern.chars() {
        match c {
            '/' if !in_class => return true,
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '[' if !escaped => in_class = true,
            ']' if !escaped => in_class = false,
            _ => {}
        }
        escaped = false;
    }
    false
}

/// The conditions a template carries behind `?` or `#`.
///
/// `?k=v` always is one. `#k` and `#k=v` are when `k` is a declared query or header parameter or one
/// of AWS's; otherwise the text is only a label that makes keys unique, as Box writes it.
fn discriminators(template: &str, parameters: &[At<'_>]) -> Vec<Discriminator> {
    let Some(split) = super::suffix_start(template) else { return Vec::new() };
    let suffix = template.get(split..).unwrap_or_default();
    let (query, fragment) = match suffix.strip_prefix('?') {
        Some(rest) => rest.split_once('#').unwrap_or((rest, "")),
        None => ("", suffix.strip_prefix('#').unwrap_or_default()),
    };
    let declared = |key: &str| {
        KNOWN_DISCRIMINATORS.contains(&key)
            || parameters.iter().any(|p| {
                p.node.text_of("name") == Some(key)
                    && matches!(p.node.text_of("in"), Some("query" | "header"))
            })
    };
    let condition = |part: &str| {
        let (key, value) = part.split_once('=').map_or((part, None), |(k, v)| (k, Some(v)));
        let value = value.filter(|v| !(v.is_empty() || v.starts_with('{')));
        Discriminator { key: key.to_owned(), value: value.map(str::to_owned) }
    };
    let of = |text: &str| -> Vec<Discriminator> {
        text.split('&').filter(|p| !p.is_empty()).map(condition).collect()
    };
    let mut out = of(query);
    out.extend(of(fragment).into_iter().filter(|d| declared(&d.key)));
    out
}
