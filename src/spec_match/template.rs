//! Path templates, segment by segment.

use super::path::canonical_literal;
use std::cmp::Ordering;

/// Path parameters of one template. Templates with more are refused with a warning.
pub const MAX_CAPTURES: usize = 32;

/// A segment of a template. The order of declaration is the order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(Box<[u8]>),
    /// Text and parameters: `{sha}.{ext}`, `key={key}`, `{id}:cancel`.
    Mixed(Pattern),
    Param,
    /// A parameter that spans one or more segments.
    Rest,
}

/// `lead {} between {} … tail`: one parameter more than there are texts between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    lead: Box<[u8]>,
    between: Vec<Box<[u8]>>,
    tail: Box<[u8]>,
}

/// Captures that need no memory of their own; hardly a path has more.
const INLINE: usize = 8;

/// Where captured values lie in the path.
#[derive(Debug, Clone, Default)]
pub struct Captures {
    len: usize,
    spans: [(u32, u32); INLINE],
    /// Those beyond [`INLINE`].
    more: Vec<(u32, u32)>,
}

impl Captures {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.more.truncate(self.len.saturating_sub(INLINE));
    }

    /// Templates that capture too much never get into a trie, so nothing is lost here.
    pub fn push(&mut self, start: usize, end: usize) {
        let span = (start as u32, end as u32);
        match self.spans.get_mut(self.len) {
            Some(slot) => *slot = span,
            None if self.len < MAX_CAPTURES => self.more.push(span),
            None => return,
        }
        self.len += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let spans = self.spans.iter().take(self.len).chain(&self.more);
        spans.map(|&(s, e)| (s as usize, e as usize))
    }

    /// Reverses the captures from one on.
    fn reverse(&mut self, from: usize) {
        let (mut low, mut high) = (from, self.len);
        while low + 1 < high {
            high -= 1;
            if let (Some(a), Some(b)) = (self.slot(low).copied(), self.slot(high).copied()) {
                self.slot(low).into_iter().for_each(|slot| *slot = b);
                self.slot(high).into_iter().for_each(|slot| *slot = a);
            }
            low += 1;
        }
    }

    fn slot(&mut self, at: usize) -> Option<&mut (u32, u32)> {
        match at.checked_sub(INLINE) {
            None => self.spans.get_mut(at),
            Some(beyond) => self.more.get_mut(beyond),
        }
    }
}

impl Pattern {
    /// Bytes of text: the more, the more specific.
    pub fn literal_len(&self) -> usize {
        self.lead.len() + self.tail.len() + self.between.iter().map(|b| b.len()).sum::<usize>()
    }

    /// Captures the parameters of a segment, each at least one byte, each as long as it can be,
    /// the first one first. `offset`: where the segment begins in the path.
    ///
    /// From the right, every text goes to the last place that leaves room: that gives each
    /// parameter, from the left, all it can have, without backtracking.
    pub fn capture(&self, segment: &[u8], offset: usize, out: &mut Captures) -> bool {
        let begin = self.lead.len();
        let Some(last) = segment.len().checked_sub(self.tail.len()).filter(|e| *e > begin) else {
            return false;
        };
        if !(segment.starts_with(&self.lead) && segment.ends_with(&self.tail)) {
            return false;
        }
        let from = out.len();
        // Ends of the parameters, from the last to the first, pushed in reverse.
        let mut end = last;
        for text in self.between.iter().rev() {
            let Some(at) = last_place(segment, text, begin + 1, end) else {
                out.truncate(from);
                return false;
            };
            out.push(offset + at + text.len(), offset + end);
            end = at;
        }
        out.push(offset + begin, offset + end);
        out.reverse(from);
        true
    }

    fn matches(&self, segment: &[u8]) -> bool {
        self.capture(segment, 0, &mut Captures::default())
    }

    /// The texts with a byte in place of each parameter that occurs in no canonical path: what
    /// matches this sample matches everything this pattern matches.
    fn sample(&self) -> Vec<u8> {
        let mut out = self.lead.to_vec();
        out.push(0);
        for text in &self.between {
            out.extend_from_slice(text);
            out.push(0);
        }
        out.extend_from_slice(&self.tail);
        out
    }

    /// False only if no segment can match both.
    fn overlaps(&self, other: &Pattern) -> bool {
        let both = |a: &[u8], b: &[u8]| a.iter().zip(b).all(|(x, y)| x == y);
        let both_ends = |a: &[u8], b: &[u8]| a.iter().rev().zip(b.iter().rev()).all(|(x, y)| x == y);
        both(&self.lead, &other.lead) && both_ends(&self.tail, &other.tail)
    }
}

/// The last place of a text that leaves a byte of parameter behind it, not before `begin`, and not
/// inside a percent triplet.
fn last_place(segment: &[u8], text: &[u8], begin: usize, end: usize) -> Option<usize> {
    let latest = end.checked_sub(text.len() + 1)?;
    let in_triplet = |at: usize| (1..=2).any(|back| at >= back && segment.get(at - back) == Some(&b'%'));
    (begin..=latest).rev().find(|&at| segment.get(at..at + text.len()) == Some(text) && !in_triplet(at))
}

impl Segment {
    /// Whether the segment of a path can be this one. Not for `Rest`.
    pub fn capture(&self, segment: &[u8], offset: usize, out: &mut Captures) -> bool {
        match self {
            Segment::Literal(text) => **text == *segment,
            Segment::Mixed(pattern) => pattern.capture(segment, offset, out),
            Segment::Param => {
                out.push(offset, offset + segment.len());
                !segment.is_empty()
            }
            Segment::Rest => false,
        }
    }

    /// Whether a literal text can be this segment too.
    pub fn overlaps_text(&self, text: &[u8]) -> bool {
        match self {
            Segment::Literal(own) => **own == *text,
            Segment::Mixed(pattern) => pattern.matches(text),
            Segment::Param | Segment::Rest => !text.is_empty(),
        }
    }

    /// False only if no segment of a path can be both.
    pub fn overlaps_pattern(&self, pattern: &Pattern) -> bool {
        match self {
            Segment::Literal(text) => pattern.matches(text),
            Segment::Mixed(own) => own.overlaps(pattern),
            Segment::Param | Segment::Rest => true,
        }
    }

    /// Whether a whole parameter can be this segment too.
    pub fn overlaps_param(&self) -> bool {
        !matches!(self, Segment::Literal(text) if text.is_empty())
    }

    /// Which of two overlapping segments is more specific (`Less`); none if neither is.
    pub fn specificity(&self, other: &Segment) -> Option<Ordering> {
        match (self, other) {
            (Segment::Mixed(a), Segment::Mixed(b)) => {
                match (b.matches(&a.sample()), a.matches(&b.sample())) {
                    (true, true) => Some(Ordering::Equal),
                    (true, false) => Some(Ordering::Less),
                    (false, true) => Some(Ordering::Greater),
                    (false, false) => None,
                }
            }
            _ => Some(self.rank().cmp(&other.rank())),
        }
    }

    /// How many values it captures.
    pub fn captures(&self) -> usize {
        match self {
            Segment::Literal(_) => 0,
            Segment::Mixed(pattern) => pattern.between.len() + 1,
            Segment::Param | Segment::Rest => 1,
        }
    }

    /// As text, for messages.
    pub fn show(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Segment::Literal(literal) => text(literal),
            Segment::Mixed(p) => {
                let between: String = p.between.iter().map(|b| format!("{}{{…}}", text(b))).collect();
                format!("{}{{…}}{between}{}", text(&p.lead), text(&p.tail))
            }
            Segment::Param | Segment::Rest => "{…}".to_owned(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Segment::Literal(_) => 0,
            Segment::Mixed(_) => 1,
            Segment::Param => 2,
            Segment::Rest => 3,
        }
    }
}

/// A path template: its segments and the names of its parameters, in order.
///
/// `multi` says which parameters span segments. They do so only where they are a segment of their
/// own.
pub fn parse(path: &str, multi: &dyn Fn(&str) -> bool) -> (Vec<Segment>, Vec<String>) {
    let mut names = Vec::new();
    let path = path.strip_prefix('/').unwrap_or(path);
    let segments = split_outside_braces(path).map(|text| segment(text, multi, &mut names)).collect();
    (segments, names)
}

fn split_outside_braces(path: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    path.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '/' && depth == 0
    })
}

fn segment(text: &str, multi: &dyn Fn(&str) -> bool, names: &mut Vec<String>) -> Segment {
    let mut texts: Vec<Box<[u8]>> = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        literal.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            // A brace that never closes is text.
            literal.push('{');
            rest = after;
            continue;
        };
        texts.push(canonical_literal(&std::mem::take(&mut literal)).into());
        names.push(name.to_owned());
        rest = tail;
    }
    literal.push_str(rest);
    let tail: Box<[u8]> = canonical_literal(&literal).into();
    let mut texts = texts.into_iter();
    let Some(lead) = texts.next() else { return Segment::Literal(tail) };
    let between: Vec<_> = texts.collect();
    if !(lead.is_empty() && between.is_empty() && tail.is_empty()) {
        return Segment::Mixed(Pattern { lead, between, tail });
    }
    match names.last() {
        Some(name) if multi(name) => Segment::Rest,
        _ => Segment::Param,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Segment {
        parse(text, &|_| false).0.remove(0)
    }

    fn captures(template: &str, segment: &str) -> Option<Vec<String>> {
        let mut out = Captures::default();
        one(template)
            .capture(segment.as_bytes(), 0, &mut out)
            .then(|| out.iter().map(|(s, e)| segment.get(s..e).unwrap().to_owned()).collect())
    }

    #[test]
    fn captures_are_greedy_and_never_empty() {
        let some = |v: &[&str]| Some(v.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(captures("{a}.{b}", "a.tar.gz"), some(&["a.tar", "gz"]));
        assert_eq!(captures("{a}...{b}", "x...y...z"), some(&["x...y", "z"]));
        assert_eq!(captures("{a}.{b}.{c}", "1.2.3.4"), some(&["1.2", "3", "4"]));
        assert_eq!(captures("{a},{b}", ",x"), None);
        assert_eq!(captures("{a},{b}", "x,"), None);
        assert_eq!(captures("{n}.json", ".json"), None);
        assert_eq!(captures("f(a='{a}')", "f(a='1')"), some(&["1"]));
        assert_eq!(captures("{a}{b}", "xyz"), some(&["xy", "z"]));
        assert_eq!(captures("{a}{b}", "x"), None);
        assert_eq!(captures("ab{x}bc", "abc"), None);
        assert_eq!(captures("{a}2{b}", "x%2Fy"), None, "never cuts a percent triplet");
    }

    #[test]
    fn many_captures_are_kept_in_order() {
        let names: Vec<String> = (0..MAX_CAPTURES).map(|i| format!("{{p{i}}}")).collect();
        let values: Vec<String> = (0..MAX_CAPTURES).map(|i| format!("v{i}")).collect();
        for n in [1, INLINE, INLINE + 1, INLINE + 2, MAX_CAPTURES] {
            let (template, segment) =
                (format!("x{}", names[..n].join("-")), format!("x{}", values[..n].join("-")));
            assert_eq!(captures(&template, &segment).unwrap(), values[..n]);
        }
        let mut out = Captures::default();
        (0..MAX_CAPTURES + 1).for_each(|i| out.push(i, i + 1));
        assert_eq!(out.iter().last(), Some((MAX_CAPTURES - 1, MAX_CAPTURES)));
        out.truncate(INLINE + 1);
        out.push(7, 9);
        assert_eq!((out.len(), out.iter().last()), (INLINE + 2, Some((7, 9))));
    }

    #[test]
    fn braces_hold_slashes_and_unclosed_ones_are_text() {
        assert_eq!(parse("/v1/{name=a/*}/x", &|_| false).0.len(), 3);
        assert_eq!(one("{x"), Segment::Literal(b"%7Bx"[..].into()));
    }

    #[test]
    fn patterns_are_compared_by_what_they_match() {
        let cmp = |a, b| one(a).specificity(&one(b));
        assert_eq!(cmp("x", "{a}"), Some(Ordering::Less));
        assert_eq!(cmp("{a}", "{b}.json"), Some(Ordering::Greater));
        assert_eq!(cmp("{a}.json", "{a}.{b}"), Some(Ordering::Less));
        assert_eq!(cmp("{a}.{b}", "{c}.{d}"), Some(Ordering::Equal));
        assert_eq!(cmp("key={a}", "{b}.json"), None);
        let Segment::Mixed(key) = one("key={a}") else { panic!() };
        assert!(one("{b}.json").overlaps_pattern(&key));
        assert!(!one("id={b}").overlaps_pattern(&key));
        assert!(one("{b}").overlaps_text(b"x") && !one("{b}").overlaps_text(b""));
        assert!(!one("").overlaps_param());
    }
}
