//! Which names mean a secret: JSON keys, form fields, query and path parameters, XML names.
//!
//! A name is compared as its letters and digits in lower case ("squashed"), with the word
//! boundaries remembered: separators, camelCase humps, letter-to-digit changes. So `client_secret`,
//! `clientSecret`, `CLIENT-SECRET` and `client.secret` are one name, `user[pin]` has the word
//! `pin`, and `spinning` has not. One pass of one automaton over the squashed name finds every
//! listed name; where it lies decides whether it counts. Time is linear in the name.

use super::automaton::Words;
use super::key_list::{ABOUT, DEFAULT, Fit, HOW_MANY, OTHER_WORDS, WHETHER};
use super::tally::Rule;
use crate::config::Redact;
use crate::openapi::{Fields, Operation};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

/// A `redact` section that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRedact {
    #[error("redact.{list}: {name:?} has no letters or digits, so it names no key; remove it")]
    Empty { list: &'static str, name: String },
    #[error("redact: {0:?} is both in `keys` and in `keep`; remove one of them")]
    Both(String),
    #[error("redact.keys: too many or too long names ({0}); list fewer")]
    TooLarge(String),
}

/// What stands between the names of a nested one, in forms, paths and namespaces.
const PARTS: [char; 5] = ['[', ']', '/', '.', ':'];

/// Longest rule name shown in events, bytes.
const MAX_RULE: usize = 64;

struct Entry {
    rule: Rule,
    fit: Fit,
    /// From the configuration: what the operator names is masked whatever surrounds it.
    named: bool,
}

/// By what a name means a secret: one of the rules' own, or of the operation's marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hit {
    None,
    Key(u32),
    Mark(u32),
}

/// Tells lists of names from others for as long as the process lives; 0 is none.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The names to mask.
pub(super) struct Keys {
    id: u64,
    find: Words,
    entries: Vec<Entry>,
    keep: HashSet<Box<[u8]>>,
}

/// Further names to mask, from the OpenAPI document (`writeOnly`, `format: password`, `x-sensitive`
/// and the like). Compared as whole names, or as the parts of one such as `user[pin]`.
#[derive(Debug, Clone, Default)]
pub struct SchemaMarks {
    /// 0: no name is marked.
    id: u64,
    names: HashMap<Box<[u8]>, u32>,
    rules: Vec<Rule>,
    whole_request: bool,
    whole_response: bool,
    /// What the operation's schemas declare, for `redact.unknown: mask`.
    fields: Option<Fields>,
}

impl SchemaMarks {
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let (mut squashed, mut marks) = (Squashed::default(), SchemaMarks::default());
        for name in names {
            squashed.set(name);
            if !squashed.text.is_empty() {
                marks.names.insert(squashed.text.as_slice().into(), marks.rules.len() as u32);
                marks.rules.push(rule("mark", name));
            }
        }
        if !marks.names.is_empty() {
            marks.id = next_id();
        }
        marks
    }

    /// A marked name; `squashed` is of the whole name, and is so again afterwards.
    fn hit(&self, name: &str, squashed: &mut Squashed) -> Hit {
        let marked = |squashed: &Squashed| self.names.get(squashed.text.as_slice()).map(|at| Hit::Mark(*at));
        if let Some(hit) = marked(squashed) {
            return hit;
        }
        // `user[pin]`, `/user/pin`, `user.pin`, `ns:pin`: a document names the parts.
        if !name.contains(PARTS) {
            return Hit::None;
        }
        let found = name.split(PARTS).find_map(|part| {
            squashed.set(part);
            marked(squashed)
        });
        squashed.set(name);
        found.unwrap_or(Hit::None)
    }

    /// Those of an operation, with what it declares where that is known.
    pub fn of(operation: &Operation) -> Self {
        let marks = &operation.marks;
        SchemaMarks {
            whole_request: marks.whole_request(),
            whole_response: marks.whole_response(),
            fields: operation.fields.clone(),
            ..SchemaMarks::new(marks.names())
        }
    }

    /// Tells these marked names from others.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// No name is marked.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn whole_request(&self) -> bool {
        self.whole_request
    }

    pub(super) fn whole_response(&self) -> bool {
        self.whole_response
    }

    pub(super) fn fields(&self) -> Option<&Fields> {
        self.fields.as_ref()
    }
}

fn rule(kind: &str, name: &str) -> Rule {
    let shown: String = name
        .chars()
        .filter(|c| !c.is_control())
        .scan(0, |n, c| {
            *n += c.len_utf8();
            (*n <= MAX_RULE).then_some(c)
        })
        .collect();
    Rule::from(format!("{kind}:{shown}"))
}

impl Keys {
    pub fn new(config: &Redact) -> Result<Self, BadRedact> {
        let mut squashed = Squashed::default();
        let mut squash = |list, name: &str| {
            squashed.set(name);
            if squashed.text.is_empty() {
                return Err(BadRedact::Empty { list, name: name.to_owned() });
            }
            Ok(squashed.text.clone())
        };
        let (mut patterns, mut entries) = (Vec::new(), Vec::new());
        let mut keep = HashSet::new();
        for name in &config.keep {
            keep.insert(squash("keep", name)?.into_boxed_slice());
        }
        for name in &config.keys {
            let pattern = squash("keys", name)?;
            if keep.contains(pattern.as_slice()) {
                return Err(BadRedact::Both(name.clone()));
            }
            patterns.push(pattern);
            entries.push(Entry { rule: rule("key", name), fit: Fit::Word, named: true });
        }
        for (fit, names) in DEFAULT {
            for name in *names {
                patterns.push(squash("keys", name)?);
                entries.push(Entry { rule: rule("key", name), fit: *fit, named: false });
            }
        }
        let find = Words::new(&patterns).map_err(BadRedact::TooLarge)?;
        Ok(Keys { id: next_id(), find, entries, keep })
    }

    /// Tells these rules from others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether this name means a secret, and by what. Leaves the squashed name in `squashed`.
    pub fn hit(&self, marks: &SchemaMarks, name: &str, squashed: &mut Squashed) -> Hit {
        // Most names hold no listed one: their words need not be told apart.
        let listed = self.listed_in(name, squashed);
        if listed {
            squashed.set(name);
        }
        if !self.keep.is_empty() && self.keep.contains(squashed.text.as_slice()) {
            return Hit::None;
        }
        match listed.then(|| self.listed(squashed)).flatten() {
            Some(entry) => Hit::Key(entry),
            None if marks.is_empty() => Hit::None,
            None => marks.hit(name, squashed),
        }
    }

    pub fn rule<'r>(&'r self, marks: &'r SchemaMarks, hit: Hit) -> Option<&'r Rule> {
        match hit {
            Hit::None => None,
            Hit::Key(at) => self.entries.get(at as usize).map(|entry| &entry.rule),
            Hit::Mark(at) => marks.rules.get(at as usize),
        }
    }

    /// Whether the operator keeps this name.
    pub fn keeps(&self, name: &str, squashed: &mut Squashed) -> bool {
        !self.keep.is_empty() && {
            squashed.set(name);
            self.keep.contains(squashed.text.as_slice())
        }
    }

    /// Whether a listed name may lie in this one: false is certain. Leaves an ASCII name squashed.
    pub fn listed_in(&self, name: &str, squashed: &mut Squashed) -> bool {
        !name.is_ascii() || {
            squashed.glance(name);
            self.find.any(&squashed.text)
        }
    }

    fn listed(&self, name: &Squashed) -> Option<u32> {
        let mut best: Option<(bool, usize, u32)> = None;
        self.find.each(&name.text, |word, start, end| {
            let Some(entry) = self.entries.get(word) else { return };
            // The operator's names first, then the longest.
            let rank = (entry.named, end - start);
            if best.is_none_or(|(named, len, _)| rank > (named, len))
                && name.fits(entry.fit, start, end)
                && (entry.named || !name.harmless(start, end))
            {
                best = Some((rank.0, rank.1, word as u32));
            }
        });
        best.map(|(_, _, entry)| entry)
    }
}

/// A name's letters and digits in lower case, and where its words begin. Reused from name to name.
#[derive(Debug, Default)]
pub(super) struct Squashed {
    text: Vec<u8>,
    /// `edges[i]`: a word begins before byte `i`; one longer than `text`.
    edges: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Gap,
    Lower,
    Upper,
    Digit,
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Digit,
        _ if c.is_ascii() || !c.is_alphanumeric() => Class::Gap,
        _ if c.is_uppercase() => Class::Upper,
        _ => Class::Lower,
    }
}

/// ASCII letters and digits in lower case; 0 for what is left out.
const SQUASH: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

impl Squashed {
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// An ASCII name without its edges.
    fn glance(&mut self, name: &str) {
        self.text.clear();
        self.text.reserve(name.len());
        for byte in name.bytes() {
            let lower = SQUASH[usize::from(byte)];
            if lower != 0 {
                self.text.push(lower);
            }
        }
    }

    fn set(&mut self, name: &str) {
        self.text.clear();
        self.edges.clear();
        let (mut before, mut last) = (Class::Gap, Class::Gap);
        for c in name.chars() {
            let class = class(c);
            if class != Class::Gap {
                let hump = last != class && !(last == Class::Upper && class == Class::Lower);
                // The last capital of several begins the next word: API|Key.
                if class == Class::Lower
                    && last == Class::Upper
                    && before == Class::Upper
                    && let Some(edge) = self.edges.last_mut()
                {
                    *edge = true;
                }
                self.push(c, hump);
            }
            (before, last) = (last, class);
        }
        self.edges.push(true);
    }

    fn push(&mut self, c: char, edge: bool) {
        self.edges.push(edge);
        if c.is_ascii() {
            self.text.push(c.to_ascii_lowercase() as u8);
            return;
        }
        // Some services fold ſ to s when they look up a field, as Unicode's simple folding says.
        let from = self.text.len();
        let mut utf8 = [0; 4];
        for lower in c.to_lowercase() {
            let lower = if lower == 'ſ' { 's' } else { lower };
            self.text.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
        }
        for _ in from + 1..self.text.len() {
            self.edges.push(false);
        }
    }

    fn edge(&self, at: usize) -> bool {
        self.edges.get(at).copied().unwrap_or(false)
    }

    fn fits(&self, fit: Fit, start: usize, end: usize) -> bool {
        let whole = self.edge(start) && self.edge(end);
        match fit {
            Fit::Anywhere => true,
            Fit::Word => whole,
            Fit::Inside => whole || !(start + 1..end).any(|i| self.edge(i)),
            Fit::Last => {
                let rest = self.text.get(end..).unwrap_or_default();
                whole && rest.iter().all(u8::is_ascii_digit)
            }
        }
    }

    /// Whether what surrounds a listed name makes it another thing than a secret.
    fn harmless(&self, start: usize, end: usize) -> bool {
        let before = self.text.get(..start).unwrap_or_default();
        let found = self.text.get(start..end).unwrap_or_default();
        let after = self.text.get(end..).unwrap_or_default();
        let plural = after.strip_prefix(b"s").filter(|_| !self.edge(end));
        let tail = plural.unwrap_or(after);
        let is = |list: &[&str], word: &[u8]| list.iter().any(|w| w.as_bytes() == word);
        if ABOUT.binary_search_by(|w| w.as_bytes().cmp(tail)).is_ok() || tail.starts_with(b"expir") {
            return true;
        }
        if found == b"token" && plural.is_some() {
            let units = tail.is_empty() || tail.starts_with(b"detail") || tail.starts_with(b"tosample");
            return (units && is(HOW_MANY, before)) || tail.starts_with(b"per");
        }
        is(WHETHER, before)
            || (!self.edge(end)
                && OTHER_WORDS.iter().any(|(name, ends)| {
                    name.as_bytes() == found && ends.iter().any(|e| after.starts_with(e.as_bytes()))
                }))
    }
}
