//! From documents to a matcher: routes, layers, rivals, and what is worth a warning.

use super::conditions::{self, exclusive};
use super::template::{self, MAX_CAPTURES, Segment};
use super::trie::{Leaf, Trie, method_key};
use super::{Layer, Neighbours, Route, SpecMatcher};
use crate::config::BasePath;
use crate::openapi::{Document, Operation, Warning, suffix_start};
use regex::bytes::{Regex, RegexBuilder};
use std::cmp::Ordering;
use std::collections::HashSet;

/// Overlapping routes looked at per route; far beyond any real document.
const MAX_OVERLAPS: usize = 100_000;
/// Rivals kept per route.
const MAX_RIVALS: usize = 64;
/// Warnings about overlaps per document; the rest is counted.
const MAX_WARNINGS: usize = 20;
/// Size of a compiled `pattern`.
const MAX_REGEX: usize = 1 << 20;

impl SpecMatcher {
    /// A matcher of all documents together, and what in them will make requests ambiguous.
    pub fn new(documents: Vec<Document>, base: &BasePath) -> (SpecMatcher, Vec<Warning>) {
        let mut warnings = Vec::new();
        let mut operations = Vec::new();
        // Name and end, in `operations`, of each document, for messages.
        let mut ends = Vec::new();
        let mut heads = Vec::new();
        for mut document in documents {
            operations.append(&mut document.operations);
            ends.push((document.name.clone(), operations.len()));
            heads.push(document);
        }
        let mut based = Builder::default();
        let mut bare = Builder::default();
        for (i, operation) in operations.iter_mut().enumerate() {
            let bases = bases_of(operation, base);
            for b in &bases {
                if let Err(text) = based.add(i as u32, operation, b) {
                    let text = format!("{operation} {text}");
                    warnings.push(Warning::of_operation(document_of(&ends, i), operation, text));
                    break;
                }
            }
            if *base == BasePath::Auto && !bases.iter().any(String::is_empty) {
                // The same template was refused above if it is refused here.
                let _ = bare.add(i as u32, operation, "");
            }
            let first = bases.first().map_or("", String::as_str);
            operation.route = format!("{first}{}{}", slash(&operation.template), operation.template);
        }
        let mut contested = HashSet::new();
        let mut layers = Vec::new();
        for builder in [based, bare].into_iter().filter(|b| !b.routes.is_empty()) {
            let (layer, pairs) = builder.finish(&operations);
            if layers.is_empty() {
                warn_of(&pairs, &operations, &ends, &mut warnings);
                contested.extend(pairs.iter().flat_map(|p| [p.a, p.b]));
            }
            layers.push(layer);
        }
        let summary = summary(&heads, &ends, &operations, &contested);
        let documents = heads.into_iter().zip(ends).map(|(head, (_, end))| (head, end)).collect();
        (SpecMatcher { operations, layers, documents, summary }, warnings)
    }
}

fn slash(template: &str) -> &'static str {
    if template.starts_with('/') { "" } else { "/" }
}

fn bases_of(operation: &Operation, base: &BasePath) -> Vec<String> {
    let mut bases: Vec<String> = match base {
        BasePath::Auto => operation.bases.clone(),
        BasePath::None => Vec::new(),
        BasePath::Explicit(list) => list.iter().map(|b| explicit(b)).collect(),
    };
    if bases.is_empty() {
        bases.push(String::new());
    }
    bases
}

fn explicit(base: &str) -> String {
    let base = base.trim_matches('/');
    if base.is_empty() { String::new() } else { format!("/{base}") }
}

fn document_of(ends: &[(String, usize)], operation: usize) -> &str {
    ends.iter().find(|(_, end)| operation < *end).map_or("", |(name, _)| name.as_str())
}

#[derive(Default)]
struct Builder {
    trie: Trie,
    routes: Vec<Route>,
}

/// Two operations that some request fits equally.
struct Pair {
    a: u32,
    b: u32,
    /// A path both have, where their templates differ in shape.
    example: Option<String>,
}

impl Builder {
    /// Adds an operation under a base path: once with every parameter in one segment, and once more
    /// with those that may span several. Thus paths that stay in one segment are judged by the
    /// ordinary rules.
    fn add(&mut self, id: u32, operation: &Operation, base: &str) -> Result<(), String> {
        let template = &operation.template;
        let path = suffix_start(template).and_then(|end| template.get(..end)).unwrap_or(template);
        let (mut segments, base_names) = match base {
            "" => (Vec::new(), Vec::new()),
            base => template::parse(base, &|_| false),
        };
        let (own, names) = template::parse(path, &|_| false);
        let base_len = segments.len();
        segments.extend(own);
        let names: Box<[Option<Box<str>>]> =
            base_names.iter().map(|_| None).chain(names.into_iter().map(|n| Some(n.into()))).collect();
        if names.len() > MAX_CAPTURES {
            return Err(format!("has more than {MAX_CAPTURES} parameters in its path; skipped"));
        }
        let method = method_key(&operation.method);
        self.push(id, method, segments.clone(), names.clone(), Box::default());
        let (rest, _) = template::parse(path, &|name| spans(operation, name));
        if rest.contains(&Segment::Rest) {
            segments.truncate(base_len);
            segments.extend(rest);
            if let Some(guards) = guards(operation, &names) {
                self.push(id, method, segments, names, guards);
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        operation: u32,
        method: u32,
        segments: Vec<Segment>,
        names: Box<[Option<Box<str>>]>,
        guards: Box<[(usize, Regex)]>,
    ) {
        self.trie.insert(&segments, Leaf { route: self.routes.len() as u32, method });
        self.routes.push(Route {
            operation,
            segments: segments.into(),
            names,
            near: Neighbours::default(),
            guards,
        });
    }

    /// Finds for every route those that share paths with it.
    fn finish(mut self, operations: &[Operation]) -> (Layer, Vec<Pair>) {
        let mut pairs = Vec::new();
        for i in 0..self.routes.len() {
            let near = self.routes.get(i).and_then(|route| self.near(route, operations, &mut pairs));
            if let (Some(route), Some(near)) = (self.routes.get_mut(i), near) {
                route.near = near;
            }
        }
        (Layer { trie: self.trie, routes: self.routes }, pairs)
    }

    /// The neighbours of one route. None if it spans segments.
    fn near(&self, route: &Route, operations: &[Operation], pairs: &mut Vec<Pair>) -> Option<Neighbours> {
        let operation = operations.get(route.operation as usize)?;
        if route.segments.contains(&Segment::Rest) {
            return None;
        }
        let (mut rivals, mut lesser, mut contested) = (Vec::new(), Vec::new(), false);
        for id in self.trie.overlapping(&route.segments, MAX_OVERLAPS) {
            let Some(other) = self.routes.get(id as usize) else { continue };
            let Some(its) = operations.get(other.operation as usize) else { continue };
            if other.operation == route.operation
                || its.method != operation.method
                || exclusive(operation, its)
            {
                continue;
            }
            let order = specificity(&route.segments, &other.segments);
            match order {
                None if excluded_by_type(operation, route, its, other) => continue,
                None if rivals.len() < MAX_RIVALS => rivals.push(id),
                Some(Ordering::Less) if lesser.len() < MAX_RIVALS => lesser.push(id),
                _ => {}
            }
            let open = matches!(order, None | Some(Ordering::Equal));
            contested |= open;
            let equal = open && its.discriminators.len() == operation.discriminators.len();
            if equal && route.operation < other.operation {
                let example = order.is_none().then(|| example(&route.segments, &other.segments));
                pairs.push(Pair { a: route.operation, b: other.operation, example });
            }
        }
        rivals.sort_unstable();
        lesser.retain(|_| contested);
        Some(Neighbours { rivals: rivals.into(), lesser: lesser.into() })
    }
}

/// Whether a parameter may span segments: by the document's word, or by a name in the style of
/// RFC 6570 or of API gateways (`{+path}`, `{proxy+}`, `{path*}`).
fn spans(operation: &Operation, name: &str) -> bool {
    name.starts_with('+')
        || name.ends_with(['+', '*'])
        || operation.path_params.iter().any(|p| p.multi_segment && p.name == name)
}

/// The patterns that let parameters span segments. None if one does not compile (look-ahead, say):
/// unguarded, the parameter would swallow every path.
fn guards(operation: &Operation, names: &[Option<Box<str>>]) -> Option<Box<[(usize, Regex)]>> {
    let mut out = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let param = operation.path_params.iter().find(|p| Some(p.name.as_str()) == name.as_deref());
        if let Some(pattern) = param.and_then(|p| p.pattern.as_deref()) {
            let whole = format!("^(?:{pattern})$");
            out.push((i, RegexBuilder::new(&whole).size_limit(MAX_REGEX).build().ok()?));
        }
    }
    Some(out.into())
}

/// Which of two overlapping paths is more specific: in one segment more, in none less.
fn specificity(a: &[Segment], b: &[Segment]) -> Option<Ordering> {
    a.iter().zip(b).try_fold(Ordering::Equal, |sum, (x, y)| match (sum, x.specificity(y)?) {
        (Ordering::Equal, order) => Some(order),
        (sum, order) if order == Ordering::Equal || order == sum => Some(sum),
        _ => None,
    })
}

/// Whether a declared type keeps two overlapping paths apart: where one has a text, the other wants
/// a number, say.
fn excluded_by_type(a: &Operation, x: &Route, b: &Operation, y: &Route) -> bool {
    let refuses = |operation: &Operation, route: &Route, other: &Route| {
        let mut names = route.names.iter();
        route.segments.iter().zip(&other.segments).any(|(segment, text)| match (segment, text) {
            (Segment::Param, Segment::Literal(text)) => {
                let name = names.next().and_then(|n| n.as_deref());
                name.is_some_and(|n| conditions::refuses(operation, n, text))
            }
            (segment, _) => {
                let skipped = segment.captures();
                names.by_ref().take(skipped).count() < skipped
            }
        })
    };
    refuses(a, x, y) || refuses(b, y, x)
}

/// A path that both templates have.
fn example(a: &[Segment], b: &[Segment]) -> String {
    let mut out = String::new();
    for (x, y) in a.iter().zip(b) {
        out.push('/');
        let narrow = if y.specificity(x) == Some(Ordering::Less) { y } else { x };
        out.push_str(&narrow.show());
    }
    out
}

fn warn_of(pairs: &[Pair], operations: &[Operation], ends: &[(String, usize)], out: &mut Vec<Warning>) {
    let mut seen = HashSet::new();
    let mut shown: Vec<usize> = vec![0; ends.len()];
    for pair in pairs.iter().filter(|p| seen.insert((p.a, p.b))) {
        let (Some(a), Some(b)) = (operations.get(pair.a as usize), operations.get(pair.b as usize)) else {
            continue;
        };
        let document = ends.iter().position(|(_, end)| (pair.a as usize) < *end).unwrap_or_default();
        let Some(count) = shown.get_mut(document) else { continue };
        *count += 1;
        if *count > MAX_WARNINGS {
            continue;
        }
        let (text, help) = match &pair.example {
            Some(example) => (
                format!("{a} and {b} overlap at {example}"),
                "such requests are marked ambiguous; declared types of the parameters choose which is named first",
            ),
            None => (
                format!(
                    "{a} and {b} are the same path; requests count as the first and are marked ambiguous"
                ),
                "leave one out, or declare types of their parameters, which choose the one named first",
            ),
        };
        out.push(Warning::of_operation(document_of(ends, pair.b as usize), b, text).mend(help));
    }
    for (count, (name, _)) in shown.iter().zip(ends) {
        if let Some(more @ 1..) = count.checked_sub(MAX_WARNINGS) {
            out.push(Warning::of_file(name, format!("{more} more pairs of operations overlap")));
        }
    }
}

fn most_common_base(operations: &[Operation]) -> &str {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for base in operations.iter().filter_map(|o| o.route.strip_suffix(&o.template)) {
        match counts.iter_mut().find(|(b, _)| *b == base) {
            Some((_, count)) => *count += 1,
            None => counts.push((base, 1)),
        }
    }
    counts.iter().rev().max_by_key(|(_, count)| count).map_or("", |(base, _)| base)
}

fn summary(
    documents: &[Document],
    ends: &[(String, usize)],
    operations: &[Operation],
    contested: &HashSet<u32>,
) -> Vec<String> {
    let mut start = 0;
    let mut lines = Vec::new();
    for (document, (_, end)) in documents.iter().zip(ends) {
        let own = operations.get(start..*end).unwrap_or_default();
        let ambiguous = contested.iter().filter(|o| (start..*end).contains(&(**o as usize))).count();
        let base = most_common_base(own);
        lines.push(format!(
            "loaded {} ({}): {} paths, {} operations, {} skipped, {ambiguous} ambiguous, base \"{}\"",
            document.name,
            document.version,
            document.paths,
            own.len(),
            document.skipped,
            if base.is_empty() { "/" } else { base },
        ));
        start = *end;
    }
    lines
}
