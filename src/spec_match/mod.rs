//! Which OpenAPI operation a request is.
//!
//! Input: loaded documents and, per request, method, target and headers. Output: [`Found`]. Pure, and
//! cheap enough to come before every decision: a match allocates nothing for a plain path.
//!
//! ```text
//! target ──path──► canonical path ──trie──► leaf ──conditions──► route ──rivals──► operation
//!           └────► liberal reading ──────────────────── the same ────────────────► other reading
//! ```
//!
//! Rules, in this order. A path is compared in canonical form, segment by segment: text before text
//! mixed with parameters before a whole parameter before a parameter over several segments. The first
//! path that has the method wins; conditions in the template (`?k=v`, `#Action=…`) decide next. What
//! the standard leaves open is **shown, not hidden**: operations that fit equally are all named, the
//! declared types of their parameters choose the one named first, and document order after that.
//!
//! Deliberately absent: no host matching, no case folding, no guess from bodies, and no limit on what
//! a document may contain short of [`template::MAX_CAPTURES`] parameters in one path. Why not a
//! router crate: `matchit` cannot hold two parameters in a segment, text on both sides of one, or
//! parameters over several segments in the middle of a path; 10 of 180 real documents have one
//! of these.

mod build;
mod conditions;
mod path;
mod template;
mod trie;

#[cfg(test)]
mod allocation_tests;
#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod tests;

pub use path::is_normal_form;

use crate::openapi::{Document, Operation};
use conditions::{Request, Standing};
use path::Oddities;
use regex::bytes::Regex;
use sidelog_event::MatchKind;
use std::borrow::Cow;
use template::{Captures, Segment};
use trie::{Leaf, Trie, method_key};

/// Operations named in `alternatives`, at most.
const MAX_ALTERNATIVES: usize = 32;

/// All documents, ready for matching. Immutable: a reload makes a new one.
#[derive(Debug)]
pub struct SpecMatcher {
    operations: Vec<Operation>,
    /// Tried in order: templates under their base paths, then bare ones.
    layers: Vec<Layer>,
    /// Each document without its operations, and where those end.
    documents: Vec<(Document, usize)>,
    summary: Vec<String>,
}

#[derive(Debug)]
struct Layer {
    trie: Trie,
    routes: Vec<Route>,
}

/// One way to write an operation's path: under one base, with or without parameters over several
/// segments.
#[derive(Debug)]
struct Route {
    operation: u32,
    segments: Box<[Segment]>,
    /// A name for each capture; none for variables of the base path.
    names: Box<[Option<Box<str>>]>,
    near: Neighbours,
    /// Patterns that captures must match for the route to count at all.
    guards: Box<[(usize, Regex)]>,
}

/// Routes with the same method that share paths with one.
#[derive(Debug, Default)]
struct Neighbours {
    /// Of other shape, and neither is more specific.
    rivals: Box<[u32]>,
    /// Less specific; kept only for a route that has equals or rivals.
    lesser: Box<[u32]>,
}

/// What a request is. `'s`: the matcher's; `'t`: the target's.
#[derive(Debug)]
pub struct Found<'s, 't> {
    pub kind: MatchKind,
    /// Set when matched or ambiguous, and for a HEAD that only GET is documented for (flag
    /// `head_as_get`).
    pub operation: Option<&'s Operation>,
    /// When the path is in a document and the method is not: an operation of that path.
    pub same_path: Option<&'s Operation>,
    /// When ambiguous, the others that fit: equally, or less specifically. In document order.
    pub alternatives: Vec<&'s Operation>,
    /// Oddities from a bounded set: `path_confusion`, `encoded_slash`, `head_as_get`, …
    pub flags: Vec<&'static str>,
    /// What a lenient server would take the request for, where that is another operation.
    pub other_reading: Option<&'s Operation>,
    target: path::Target<'t>,
    names: &'s [Option<Box<str>>],
    captures: Captures,
}

/// A path parameter of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Param<'s, 't> {
    pub name: &'s str,
    /// As sent; bytes that are not UTF-8 replaced.
    pub raw: Cow<'t, str>,
    pub decoded: Cow<'t, str>,
}

impl<'s, 't> Found<'s, 't> {
    /// The path parameters, in template order.
    pub fn params(&self) -> impl Iterator<Item = Param<'s, 't>> {
        self.names.iter().zip(self.captures.iter()).filter_map(|(name, (start, end))| {
            let raw = self.target.as_sent(start, end)?;
            Some(Param {
                name: name.as_deref()?,
                raw: String::from_utf8_lossy(raw),
                decoded: percent_encoding::percent_decode(raw).decode_utf8_lossy(),
            })
        })
    }

    /// The path template with its base, also when only the path is known.
    pub fn route(&self) -> Option<&'s str> {
        self.operation.or(self.same_path).map(|o| o.route.as_str())
    }
}

/// The result of one search through all layers.
#[derive(Default)]
struct Look<'s> {
    operation: Option<&'s Operation>,
    same_path: Option<&'s Operation>,
    alternatives: Vec<&'s Operation>,
    names: &'s [Option<Box<str>>],
    captures: Captures,
    fell_through: bool,
    exhausted: bool,
}

/// What a leaf offers: a route, and others of the same shape that fit as well.
struct Offer {
    route: u32,
    equals: Vec<u32>,
    standing: Standing,
}

impl Layer {
    /// Whether a route whose template fits holds for the path: parameters over several segments may
    /// have a pattern.
    fn is_for(&self, route: u32, path: &[u8], captures: &Captures) -> bool {
        let route = self.routes.get(route as usize);
        route.is_some_and(|r| r.guards.is_empty() || r.guarded(path, captures))
    }
}

impl SpecMatcher {
    /// What a request is. `header` gives the first field of a name (any case).
    pub fn find<'s, 't, 'h>(
        &'s self,
        method: &str,
        target: &'t [u8],
        header: &dyn Fn(&str) -> Option<&'h [u8]>,
    ) -> Found<'s, 't> {
        let target = path::read(target);
        let mut flags: Vec<&'static str> = target.oddities.words().collect();
        let request = Request { method, path: &target.path, query: target.query, header };
        let (look, kind) = self.look_with_head(&request, &mut flags);
        let other_reading = self.read_liberally(&request, &target, look.operation, &mut flags);
        Found {
            kind,
            operation: look.operation,
            same_path: look.same_path,
            alternatives: look.alternatives,
            flags,
            other_reading,
            names: look.names,
            captures: look.captures,
            target,
        }
    }

    /// Every operation, document after document.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Where one of [`SpecMatcher::operations`] stands among them.
    pub fn index_of(&self, operation: &Operation) -> Option<usize> {
        let first = self.operations.as_ptr() as usize;
        let at = std::ptr::from_ref(operation) as usize;
        let index = at.checked_sub(first)? / size_of::<Operation>();
        (index < self.operations.len()).then_some(index)
    }

    /// The name of the document that an operation stands in.
    pub fn document_of(&self, operation: &Operation) -> Option<&str> {
        let index = self.index_of(operation)?;
        self.documents.iter().find(|(_, end)| index < *end).map(|(document, _)| document.name.as_str())
    }

    /// A document of this matcher, as it was given.
    pub fn document(&self, name: &str) -> Option<Document> {
        let at = self.documents.iter().position(|(document, _)| document.name == name)?;
        let begin =
            at.checked_sub(1).and_then(|before| self.documents.get(before)).map_or(0, |(_, end)| *end);
        let (head, end) = self.documents.get(at)?;
        Some(Document { operations: self.operations.get(begin..*end)?.to_vec(), ..head.clone() })
    }

    /// One line per document for the start-up log.
    pub fn summary(&self) -> &[String] {
        &self.summary
    }

    /// Searches; for a HEAD without operation of its own, searches for GET.
    fn look_with_head<'s>(
        &'s self,
        request: &Request<'_, '_>,
        flags: &mut Vec<&'static str>,
    ) -> (Look<'s>, MatchKind) {
        let look = self.look(request);
        if look.exhausted {
            flags.push("match_gave_up");
        }
        if look.operation.is_some() {
            if look.fell_through {
                flags.push("via_fallthrough");
            }
            let ambiguous = !look.alternatives.is_empty();
            return (look, if ambiguous { MatchKind::Ambiguous } else { MatchKind::Matched });
        }
        if request.method == "HEAD" {
            let get = self.look(&Request { method: "GET", ..*request });
            if get.operation.is_some() {
                flags.push("head_as_get");
                return (get, MatchKind::MethodNotInSpec);
            }
        }
        if request.method == "OPTIONS"
            && (request.header)("origin").is_some()
            && (request.header)("access-control-request-method").is_some()
        {
            flags.push("cors_preflight");
        }
        let known = look.same_path.is_some();
        (look, if known { MatchKind::MethodNotInSpec } else { MatchKind::Unmatched })
    }

    /// The operation that a lenient server would read, where that is another one.
    fn read_liberally<'s>(
        &'s self,
        request: &Request<'_, '_>,
        target: &path::Target<'_>,
        sent: Option<&'s Operation>,
        flags: &mut Vec<&'static str>,
    ) -> Option<&'s Operation> {
        if !target.oddities.contested() {
            return None;
        }
        let path = path::liberal(target)?;
        let (look, _) = self.look_with_head(&Request { path: &path, ..*request }, &mut Vec::new());
        let other = look.operation.filter(|o| sent.is_none_or(|s| !std::ptr::eq(s, *o)))?;
        // A slash too many at the end is seldom meant to confuse.
        if sent.is_some() || !target.oddities.only_trailing_slash() {
            flags.push("path_confusion");
        }
        Some(other)
    }

    fn look(&self, request: &Request<'_, '_>) -> Look<'_> {
        let mut known = Look::default();
        for layer in &self.layers {
            let look = self.look_in(layer, request);
            if look.operation.is_some() {
                return Look { exhausted: look.exhausted || known.exhausted, ..look };
            }
            known.exhausted |= look.exhausted;
            known.same_path = known.same_path.or(look.same_path);
            if known.same_path.is_some() {
                break;
            }
        }
        known
    }

    fn look_in<'s>(&'s self, layer: &'s Layer, request: &Request<'_, '_>) -> Look<'s> {
        // The method was there, its conditions were not: not "method not in spec".
        let mut refused = false;
        // The first leaf that is for this path, but has nothing for this request.
        let mut passed = None;
        let method = method_key(request.method);
        let search = layer.trie.search(request.path, |leaves, captures| {
            let named = leaves.iter().filter(|leaf| leaf.method == method);
            let offer = self.offer(layer, named, captures, request, &mut refused);
            if offer.is_none() && passed.is_none() {
                let mut routes = leaves.iter().map(|leaf| leaf.route);
                passed = routes.find(|id| layer.is_for(*id, request.path, captures));
            }
            offer
        });
        let passed = passed.filter(|_| !refused).and_then(|r| self.operation_of(layer, r));
        let mut look = Look { same_path: passed, exhausted: search.exhausted, ..Look::default() };
        let Some((offer, captures)) = search.hit else { return look };
        look.fell_through = passed.is_some();
        look.same_path = None;
        let Some(route) = layer.routes.get(offer.route as usize) else { return look };
        if offer.equals.is_empty() && route.near.rivals.is_empty() {
            look.operation = self.operations.get(route.operation as usize);
            look.names = &route.names;
            look.captures = captures;
            return look;
        }
        self.settle(layer, request, &offer, captures, &mut look);
        look
    }

    fn operation_of<'s>(&'s self, layer: &'s Layer, route: u32) -> Option<&'s Operation> {
        self.operations.get(layer.routes.get(route as usize)?.operation as usize)
    }

    /// What a leaf has for the request: the routes with its method whose conditions hold best.
    fn offer<'l>(
        &self,
        layer: &Layer,
        leaves: impl Iterator<Item = &'l Leaf>,
        captures: &Captures,
        request: &Request<'_, '_>,
        refused: &mut bool,
    ) -> Option<Offer> {
        let mut best: Option<Offer> = None;
        for &Leaf { route: id, .. } in leaves {
            let Some(route) = layer.routes.get(id as usize) else { continue };
            let Some(operation) = self.operations.get(route.operation as usize) else { continue };
            if operation.method != request.method {
                continue;
            }
            let guarded = route.guards.is_empty() || route.guarded(request.path, captures);
            let Some(standing) = request.standing(operation).filter(|_| guarded) else {
                *refused = true;
                continue;
            };
            match &mut best {
                Some(offer) if offer.standing > standing => {}
                Some(offer) if offer.standing == standing => offer.equals.push(id),
                _ => best = Some(Offer { route: id, equals: Vec::new(), standing }),
            }
        }
        best
    }

    /// Chooses between operations that fit equally and names the others.
    fn settle<'s>(
        &'s self,
        layer: &'s Layer,
        request: &Request<'_, '_>,
        offer: &Offer,
        captures: Captures,
        look: &mut Look<'s>,
    ) {
        let Some(first) = layer.routes.get(offer.route as usize) else { return };
        let mut best: Option<((bool, usize), &Route, Captures)> = None;
        let mut all: Vec<u32> = Vec::new();
        let same = [offer.route].into_iter().chain(offer.equals.iter().copied());
        for (id, rival) in same.map(|r| (r, false)).chain(first.near.rivals.iter().map(|r| (*r, true))) {
            let Some(route) = layer.routes.get(id as usize) else { continue };
            let Some(operation) = self.operations.get(route.operation as usize) else { continue };
            let mut own = Captures::default();
            if !rival {
                own.clone_from(&captures);
            } else if !route.captures(request.path, &mut own)
                || request.standing(operation) != Some(offer.standing)
            {
                continue;
            }
            let fit = conditions::fit(operation, &route.names, &own, request.path);
            if best.as_ref().is_none_or(|(f, ..)| *f < fit) {
                best = Some((fit, route, own));
            }
            if !all.contains(&route.operation) {
                all.push(route.operation);
            }
        }
        let Some((_, route, captures)) = best else { return };
        if all.len() > 1 {
            self.add_lesser(layer, request, first, &mut all);
        }
        all.retain(|o| *o != route.operation);
        all.sort_unstable();
        all.truncate(MAX_ALTERNATIVES);
        look.operation = self.operations.get(route.operation as usize);
        look.alternatives = all.iter().filter_map(|o| self.operations.get(*o as usize)).collect();
        look.names = &route.names;
        look.captures = captures;
    }

    /// What a less specific operation was meant for may hide behind an ambiguity: it is named too.
    fn add_lesser(&self, layer: &Layer, request: &Request<'_, '_>, first: &Route, all: &mut Vec<u32>) {
        for route in first.near.lesser.iter().filter_map(|id| layer.routes.get(*id as usize)) {
            let Some(operation) = self.operations.get(route.operation as usize) else { continue };
            if !all.contains(&route.operation)
                && route.captures(request.path, &mut Captures::default())
                && request.standing(operation).is_some()
            {
                all.push(route.operation);
            }
        }
    }
}

impl Route {
    fn guarded(&self, path: &[u8], captures: &Captures) -> bool {
        self.guards.iter().all(|(i, pattern)| {
            let value = captures.iter().nth(*i).and_then(|(s, e)| path.get(s..e));
            value.is_some_and(|v| pattern.is_match(&conditions::decoded(v)))
        })
    }

    /// Whether a path is one of this route's. Not for routes over several segments.
    fn captures(&self, path: &[u8], out: &mut Captures) -> bool {
        let mut pos = 1;
        for segment in &self.segments {
            let Some(tail) = path.get(pos..) else { return false };
            let end = memchr::memchr(b'/', tail).unwrap_or(tail.len());
            if !tail.get(..end).is_some_and(|s| segment.capture(s, pos, out)) {
                return false;
            }
            pos += end + 1;
        }
        pos == path.len() + 1
    }
}

/// Words that [`Found::flags`] can hold, for documentation and metrics.
pub fn flag_words() -> impl Iterator<Item = &'static str> {
    Oddities::all_words().chain([
        "via_fallthrough",
        "head_as_get",
        "cors_preflight",
        "path_confusion",
        "match_gave_up",
    ])
}
