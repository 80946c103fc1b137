//! A decoded string, wherever it was found: is there a secret in it?
//!
//! In this order: JSON or percent-encoding inside the string is redacted as what it is; otherwise
//! values known by their look and `name=value` pairs are masked where they stand. [`Pass`] carries
//! what the readers of one event share.

use super::keys::{Keys, SchemaMarks, Squashed};
use super::names::{self, Judged, Known, Verdict};
use super::place::Place;
use super::tally::{Edits, Masked, Rule, Tally};
use super::values::{self, VALUES};
use super::{assign, cards, json, scan};
use crate::openapi::{Fields, ShapeId};
use memchr::memchr;
use percent_encoding::percent_decode_str;
use std::sync::LazyLock;

/// How many encodings may lie inside each other (JSON in a string in JSON …). What is deeper is
/// masked whole.
const MAX_NEST: u8 = 3;

static TOO_DEEP: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:too_deep"));
static BROKEN_JSON: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:broken_json"));
static BASE64_JSON: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:base64_json"));

/// One event's redaction.
pub(super) struct Pass<'r> {
    keys: &'r Keys,
    marks: &'r SchemaMarks,
    squashed: Squashed,
    judged: Judged,
    nest: u8,
    /// Only what is declared is kept.
    mask_unknown: bool,
    /// The text or texts being read, where nothing in them is escaped, are known to hold no value that
    /// a detector would strike on.
    pub quiet: bool,
    /// What the event's `flags` are to tell.
    flags: Vec<&'static str>,
}

impl<'r> Pass<'r> {
    pub fn new(keys: &'r Keys, marks: &'r SchemaMarks) -> Self {
        Pass {
            keys,
            marks,
            squashed: Squashed::default(),
            judged: Judged::of(keys.id()),
            nest: 0,
            mask_unknown: false,
            quiet: false,
            flags: Vec::new(),
        }
    }

    /// As [`Pass::new`], with `redact.unknown: mask`.
    pub fn masking_unknown(mut self, mask: bool) -> Self {
        self.mask_unknown = mask;
        self
    }

    /// Where a message or the query stands in the operation's schemas.
    pub fn place(&self, of: impl FnOnce(&Fields) -> ShapeId) -> Place<'r> {
        match self.marks.fields() {
            _ if !self.mask_unknown => Place::Anywhere,
            Some(fields) => Place::At(&fields.declared, of(fields)),
            None => Place::Nowhere,
        }
    }

    /// The place a declared name leads to; what an operator keeps needs no declaration.
    pub fn below(&mut self, place: Option<Place<'r>>, name: &str) -> Option<Place<'r>> {
        place.or_else(|| self.keys.keeps(name, &mut self.squashed).then_some(Place::Anywhere))
    }

    /// The rule by which this name means a secret.
    pub fn name(&mut self, name: &str) -> Option<&'r Rule> {
        self.verdict(name, names::hash(name.as_bytes())).rule
    }

    /// Notes something odd.
    pub fn flag(&mut self, flag: &'static str) {
        if !self.has(flag) {
            self.flags.push(flag);
        }
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// After a panic: what it may have left in between is set right, and the event tells.
    pub fn failed(&mut self) {
        (self.nest, self.quiet) = (0, false);
        self.flag("redaction_failed");
    }

    pub fn flags(&self) -> &[&'static str] {
        &self.flags
    }

    /// What a name means; `hash` is [`names::hash`] of it.
    pub fn verdict(&mut self, name: &str, hash: u64) -> Verdict<'r> {
        let known = self.judged.get(self.marks.id(), name.as_bytes(), hash).unwrap_or_else(|| {
            let hit = self.keys.hit(self.marks, name, &mut self.squashed);
            let known = Known { hit, role: names::role(self.squashed.as_bytes()) };
            self.judged.put(self.marks.id(), name.as_bytes(), hash, known);
            known
        });
        Verdict { rule: self.keys.rule(self.marks, known.hit), role: known.role }
    }

    /// Whether a name or a part of it may mean a secret: false is certain.
    pub fn may_mean(&mut self, name: &str) -> bool {
        !self.marks.is_empty() || self.keys.listed_in(name, &mut self.squashed)
    }

    /// What a name means, and the name squashed.
    pub fn squashed(&mut self, name: &str) -> (Verdict<'r>, &[u8]) {
        let hit = self.keys.hit(self.marks, name, &mut self.squashed);
        let squashed = self.squashed.as_bytes();
        (Verdict { rule: self.keys.rule(self.marks, hit), role: names::role(squashed) }, squashed)
    }

    /// The string with its secrets masked, or `None` if there are none.
    pub fn string(&mut self, text: &str) -> Option<Masked> {
        let quiet = std::mem::take(&mut self.quiet);
        let masked = self.decoded(text);
        self.quiet = quiet;
        masked
    }

    /// As [`Pass::string`], for a part of the text `quiet` speaks of, or one of the texts.
    pub fn plain_part(&mut self, text: &str) -> Option<Masked> {
        self.decoded(text)
    }

    fn decoded(&mut self, text: &str) -> Option<Masked> {
        #[cfg(test)]
        assert!(!text.contains(super::tests::FAIL_POINT), "in {text:?}");
        if text.len() < 4 || (self.quiet && scan::dull(text)) {
            return None;
        }
        if json::begins(text) {
            if self.nest >= MAX_NEST {
                return json::cut(text).then(|| whole("[redacted:too_deep]", &TOO_DEEP));
            }
            match self.nested(|pass| json::stream(pass, text, Place::Anywhere)) {
                Ok(edits) => return edits.apply(text),
                Err(_) if json::cut(text) => return Some(whole("[redacted:broken_json]", &BROKEN_JSON)),
                Err(_) => {}
            }
        }
        self.base64_json(text).or_else(|| self.percent_encoded(text)).or_else(|| self.scan(text))
    }

    /// Reads one level further in, where nothing is known to be quiet.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let quiet = std::mem::take(&mut self.quiet);
        self.nest += 1;
        let result = read(self);
        self.nest -= 1;
        self.quiet = quiet;
        result
    }

    /// Base64 of a JSON object or array that has something to hide.
    fn base64_json(&mut self, text: &str) -> Option<Masked> {
        // `{"`, `{` and white space, `[{`, `["`
        let begins = ["eyI", "eyJ", "eyA", "ewo", "ew0", "W3s", "Wyj", "WyI", "Wwo", "W1"];
        if text.len() < scan::MIN_BASE64
            || self.nest >= MAX_NEST
            || !begins.iter().any(|b| text.starts_with(b))
        {
            return None;
        }
        let inside = String::from_utf8(values::base64(text.trim_end())?).ok()?;
        let edits = self.nested(|pass| json::stream(pass, &inside, Place::Anywhere)).ok()?;
        edits.apply(&inside).map(|_| whole("[redacted:base64_json]", &BASE64_JSON))
    }

    /// Percent-encoded text that has something to hide; what is kept of it comes back decoded.
    fn percent_encoded(&mut self, text: &str) -> Option<Masked> {
        let first = memchr(b'%', text.as_bytes())?;
        let hex = text.as_bytes().get(first + 1..first + 3)?;
        if !hex.iter().all(u8::is_ascii_hexdigit) || self.nest >= MAX_NEST {
            return None;
        }
        let inside = percent_decode_str(text).decode_utf8_lossy();
        self.nested(|pass| pass.decoded(&inside))
    }

    fn scan(&mut self, text: &str) -> Option<Masked> {
        let mut edits = Edits::default();
        if !self.quiet {
            VALUES.find(text, &mut edits);
            cards::find(text, &mut edits);
        }
        assign::find(text, self, &mut edits);
        if edits.is_empty() { None } else { edits.apply(text) }
    }
}

fn whole(mask: &str, rule: &Rule) -> Masked {
    (mask.to_owned(), Tally::one(rule))
}

/// A plain-text body: lines that hold JSON (event streams, logs) as JSON, the rest as strings.
pub(super) fn body(pass: &mut Pass<'_>, text: &str) -> Edits {
    let mut edits = Edits::default();
    if let Some((masked, tally)) = pass.string(text) {
        edits.replace(0..text.len(), masked, tally);
        return edits;
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        let value = content.strip_prefix("data:").map_or(content, str::trim_start);
        if json::begins(value)
            && let Some((masked, tally)) = pass.string(value)
        {
            let from = start + content.len() - value.len();
            edits.replace(from..start + content.len(), masked, tally);
        }
        start += line.len();
    }
    edits
}
