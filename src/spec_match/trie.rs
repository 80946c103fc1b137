//! A trie over template segments, searched with backtracking.
//!
//! At each segment the choices are tried in order of preference: equal text, text mixed with
//! parameters (most text first), a whole parameter, a parameter over several segments (shortest
//! first). The first leaf that has the method wins; a leaf without it is remembered and the search
//! goes on. Parameter names are not part of the trie, so two names for one place never collide.
//!
//! Bounds: a search takes at most [`MAX_STEPS`] steps, whatever the path.

use super::template::{Captures, Pattern, Segment};

/// Steps of one search. A path of GitHub's takes about ten; only parameters over several segments
/// can make it many more.
const MAX_STEPS: u32 = 4096;

type Id = u32;

#[derive(Debug, Default)]
struct Node {
    /// Sorted by [`Literal::key`].
    literals: Vec<Literal>,
    /// Most text first.
    mixed: Vec<(Pattern, Id)>,
    param: Option<Id>,
    rest: Option<Id>,
    /// Routes that end here, in document order.
    leaves: Vec<Leaf>,
}

/// A route at the end of a path. What decides against most of them lies here, side by side: a leaf has
/// one for each method, and only one of them is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    pub route: u32,
    /// [`method_key`] of its method.
    pub method: u32,
}

/// Differs for almost all methods that differ: enough to pass over a leaf, not to take it (FNV-1a).
pub fn method_key(method: &str) -> u32 {
    method.bytes().fold(0x811c_9dc5, |hash, b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[derive(Debug)]
struct Literal {
    /// The first eight bytes: decides almost every comparison without following a pointer.
    prefix: u64,
    text: Box<[u8]>,
    child: Id,
}

impl Literal {
    fn key(&self) -> (u64, &[u8]) {
        (self.prefix, &self.text)
    }
}

fn prefix(text: &[u8]) -> u64 {
    match text.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => text.iter().fold(0, |sum, b| (sum << 8) | u64::from(*b)) << (8 * (8 - text.len())).min(63),
    }
}

/// The end of the segment that a path goes on with, and its [`prefix`]. Segments are short: a call
/// of memchr costs more than two or three words looked at here.
fn segment_of(tail: &[u8]) -> (usize, u64) {
    let word = prefix(tail);
    if let Some(end) = slash_in(word) {
        return (end, word & u64::MAX.checked_shl(64 - 8 * end as u32).unwrap_or(0));
    }
    let mut at = 8;
    while let Some(next) = tail.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        if let Some(end) = slash_in(u64::from_be_bytes(*next)) {
            return (at + end, word);
        }
        at += 8;
    }
    let rest = tail.get(at..).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b'/').map_or(tail.len(), |end| at + end);
    (end, word)
}

/// Where in eight bytes the first slash is.
fn slash_in(word: u64) -> Option<usize> {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let differs = word ^ 0x2F2F_2F2F_2F2F_2F2F;
    // The highest bit of each byte that is a slash.
    let slashes = !(((differs & LOW) + LOW) | differs | LOW);
    (slashes != 0).then(|| slashes.leading_zeros() as usize / 8)
}

#[derive(Debug)]
pub struct Trie {
    nodes: Vec<Node>,
}

impl Node {
    /// Where a text is among the literals, or would be.
    fn place(&self, text: &[u8]) -> Result<usize, usize> {
        let wanted = (prefix(text), text);
        self.literals.binary_search_by(|l| l.key().cmp(&wanted))
    }

    /// The child for a text, whose [`prefix`] is known.
    fn literal(&self, text: &[u8], prefix: u64) -> Option<Id> {
        let first = self.literals.partition_point(|l| l.prefix < prefix);
        let literal = self.literals.get(first).filter(|l| l.prefix == prefix)?;
        // Of equal length, and all of it is in the prefix; or else the bytes decide.
        let same = literal.text.len() == text.len() && (text.len() <= 8 || *literal.text == *text);
        if same {
            return Some(literal.child);
        }
        let several = self.literals.get(first + 1).is_some_and(|l| l.prefix == prefix);
        several.then(|| self.place(text).ok()).flatten().and_then(|at| self.literals.get(at)).map(|l| l.child)
    }
}

/// How a search ended.
pub struct Search<H> {
    pub hit: Option<(H, Captures)>,
    pub exhausted: bool,
}

struct Walk<'w, F> {
    path: &'w [u8],
    captures: Captures,
    steps: u32,
    accept: F,
}

impl Default for Trie {
    fn default() -> Self {
        Trie { nodes: vec![Node::default()] }
    }
}

impl Trie {
    fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    /// Adds a route. Ids are given by the caller, ascending.
    pub fn insert(&mut self, segments: &[Segment], leaf: Leaf) {
        let mut at: Id = 0;
        for segment in segments {
            let fresh = self.nodes.len() as Id;
            let Some(node) = self.nodes.get_mut(at as usize) else { return };
            let child = match segment {
                Segment::Literal(text) => match node.place(text) {
                    Ok(i) => node.literals.get(i).map_or(fresh, |l| l.child),
                    Err(i) => {
                        let literal = Literal { prefix: prefix(text), text: text.clone(), child: fresh };
                        node.literals.insert(i, literal);
                        fresh
                    }
                },
                Segment::Mixed(pattern) => match node.mixed.iter().find(|(p, _)| p == pattern) {
                    Some((_, id)) => *id,
                    None => {
                        let len = pattern.literal_len();
                        let i = node.mixed.partition_point(|(p, _)| p.literal_len() >= len);
                        node.mixed.insert(i, (pattern.clone(), fresh));
                        fresh
                    }
                },
                Segment::Param => *node.param.get_or_insert(fresh),
                Segment::Rest => *node.rest.get_or_insert(fresh),
            };
            if child == fresh {
                self.nodes.push(Node::default());
            }
            at = child;
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.leaves.push(leaf);
        }
    }

    /// Searches for the routes of a canonical path. `accept` gets the routes of each leaf reached
    /// and what the path's parameters captured, and says what it takes, if anything.
    pub fn search<H>(
        &self,
        path: &[u8],
        mut accept: impl FnMut(&[Leaf], &Captures) -> Option<H>,
    ) -> Search<H> {
        let mut hit = None;
        let accept = |leaves: &[Leaf], captures: &Captures| {
            hit = accept(leaves, captures);
            hit.is_some()
        };
        let mut walk = Walk { path, captures: Captures::default(), steps: 0, accept };
        if path.first() == Some(&b'/') {
            self.walk(0, 1, &mut walk);
        }
        let Walk { captures, steps, .. } = walk;
        Search { hit: hit.map(|h| (h, captures)), exhausted: steps > MAX_STEPS }
    }

    /// `pos`: where the next segment begins; beyond the end when there is none.
    /// Says whether a leaf was accepted; its captures are then in `walk`.
    fn walk<F>(&self, id: Id, pos: usize, walk: &mut Walk<'_, F>) -> bool
    where
        F: FnMut(&[Leaf], &Captures) -> bool,
    {
        walk.steps += 1;
        if walk.steps > MAX_STEPS {
            return false;
        }
        let Some(node) = self.node(id) else { return false };
        let path = walk.path;
        let Some(tail) = path.get(pos..) else { return leaf(node, walk) };
        let (end, prefix) = segment_of(tail);
        let Some(segment) = tail.get(..end) else { return false };
        let next = pos + end + 1;
        if let Some(child) = node.literal(segment, prefix)
            && self.walk(child, next, walk)
        {
            return true;
        }
        let mark = walk.captures.len();
        for (pattern, child) in &node.mixed {
            if pattern.capture(segment, pos, &mut walk.captures) && self.walk(*child, next, walk) {
                return true;
            }
            walk.captures.truncate(mark);
        }
        if let Some(child) = node.param
            && !segment.is_empty()
        {
            walk.captures.push(pos, pos + end);
            if self.walk(child, next, walk) {
                return true;
            }
            walk.captures.truncate(mark);
        }
        let Some(child) = node.rest.filter(|_| !segment.is_empty()) else { return false };
        let mut stop = pos + end;
        loop {
            // Empty segments may lie within a value, never at its ends: that is a trailing slash.
            if path.get(stop - 1) != Some(&b'/') {
                walk.captures.push(pos, stop);
                if self.walk(child, stop + 1, walk) {
                    return true;
                }
                walk.captures.truncate(mark);
            }
            let Some(more) = path.get(stop + 1..).filter(|_| walk.steps <= MAX_STEPS) else { return false };
            stop += 1 + memchr::memchr(b'/', more).unwrap_or(more.len());
        }
    }

    /// The routes whose templates some path can share with these segments. At most `limit`.
    pub fn overlapping(&self, segments: &[Segment], limit: usize) -> Vec<u32> {
        let mut out = Vec::new();
        let mut stack = vec![(0, 0)];
        while let Some((id, depth)) = stack.pop() {
            let Some(node) = self.node(id) else { continue };
            let Some(segment) = segments.get(depth) else {
                out.extend(node.leaves.iter().map(|leaf| leaf.route));
                if out.len() >= limit {
                    break;
                }
                continue;
            };
            let below = |id: &Id| (*id, depth + 1);
            if let Segment::Literal(text) = segment {
                stack.extend(node.literal(text, prefix(text)).iter().map(below));
            } else {
                let fits = node.literals.iter().filter(|l| segment.overlaps_text(&l.text));
                stack.extend(fits.map(|l| below(&l.child)));
            }
            let fits = node.mixed.iter().filter(|(p, _)| segment.overlaps_pattern(p));
            stack.extend(fits.map(|(_, id)| below(id)));
            if segment.overlaps_param() {
                stack.extend(node.param.iter().map(below));
            }
        }
        out
    }
}

fn leaf<F>(node: &Node, walk: &mut Walk<'_, F>) -> bool
where
    F: FnMut(&[Leaf], &Captures) -> bool,
{
    !node.leaves.is_empty() && (walk.accept)(&node.leaves, &walk.captures)
}

#[cfg(test)]
mod tests {
    use super::super::template::parse;
    use super::*;

    fn trie(templates: &[&str]) -> Trie {
        let mut trie = Trie::default();
        for (i, t) in templates.iter().enumerate() {
            trie.insert(&parse(t, &|name| name.ends_with('+')).0, Leaf { route: i as u32, method: 0 });
        }
        trie
    }

    fn find(trie: &Trie, path: &str) -> Option<u32> {
        trie.search(path.as_bytes(), |r, _| r.first().copied()).hit.map(|(r, _)| r.route)
    }

    #[test]
    fn preference_is_text_mixed_parameter_rest() {
        let t = trie(&["/{r+}", "/{a}", "/{a}.json", "/x{a}.json", "/x.json", "/", "/d/"]);
        for (path, want) in [
            ("/x.json", Some(4)),
            ("/xy.json", Some(3)),
            ("/y.json", Some(2)),
            ("/y", Some(1)),
            ("/y/z", Some(0)),
            ("/", Some(5)),
            ("/d/", Some(6)),
            ("/d", Some(1)),
            ("", None),
        ] {
            assert_eq!(find(&t, path), want, "{path}");
        }
    }

    #[test]
    fn backtracks_out_of_dead_ends_and_over_several_segments() {
        let t = trie(&["/a/{x}/c", "/{y}/b/d", "/b/{r+}/p", "/b/{r+}"]);
        assert_eq!(find(&t, "/a/b/d"), Some(1));
        assert_eq!(find(&t, "/b/1/2/3/p"), Some(2));
        assert_eq!(find(&t, "/b/1/2/3/q"), Some(3));
        assert_eq!(find(&t, "/b/1//3"), Some(3));
        assert_eq!(find(&t, "/b/1/2/"), None);
        assert_eq!(find(&t, "/b//2"), None);
    }

    #[test]
    fn segments_are_told_apart_whatever_their_length() {
        let texts =
            ["", "a", "./", "/", "a/b", "1234567", "1234567/", "12345678", "12345678/9", "123456789/x"];
        for text in texts.iter().flat_map(|t| [t.to_string(), format!("{t}/tail")]) {
            let end = text.find('/').unwrap_or(text.len());
            assert_eq!(segment_of(text.as_bytes()), (end, prefix(&text.as_bytes()[..end])), "{text}");
        }
        let t = trie(&["/microsoft.graph.a", "/microsoft.graph.b", "/microsoft", "/microsof", "/micro"]);
        for (path, want) in [
            ("/microsoft.graph.a", Some(0)),
            ("/microsoft.graph.b", Some(1)),
            ("/microsoft", Some(2)),
            ("/microsof", Some(3)),
            ("/micro", Some(4)),
            ("/microsoft.graph.c", None),
            ("/microsoft.", None),
            ("/micr", None),
        ] {
            assert_eq!(find(&t, path), want, "{path}");
        }
    }

    #[test]
    fn long_paths_end_the_search_not_the_process() {
        let t = trie(&["/{a+}/x/{b+}/y/{c+}/z"]);
        let path = "/x/y".repeat(20_000);
        let search = t.search(path.as_bytes(), |r, _| r.first().copied());
        assert!(search.hit.is_none() && search.exhausted);
    }
}
