//! A decoded string, wherever it was found: is there a secret in it?
//!
//! In this order: JSON or percent-encoding inside the string is redacted as what it is; otherwise
//! values known by their look and `name=value` pairs are masked where they stand. [`Pass`] carries
//! what the readers of one event share.

use super::keys::{Keys, SchemaMarks, Squashed};
use super::tally::{Edits, Masked, Rule, Tally};
use super::values::{self, VALUES};
use super::{assign, cards, json};
use memchr::memchr;
use percent_encoding::percent_decode_str;
use std::sync::LazyLock;

/// How many encodings may lie inside each other (JSON in a string in JSON …). What is deeper is
/// masked whole.
const MAX_NEST: u8 = 3;

/// Shortest base64 worth opening.
const MIN_BASE64: usize = 16;

static TOO_DEEP: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:too_deep"));
static BROKEN_JSON: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:broken_json"));
static BASE64_JSON: LazyLock<Rule> = LazyLock::new(|| Rule::from("value:base64_json"));

/// One event's redaction.
pub(super) struct Pass<'r> {
    keys: &'r Keys,
    marks: &'r SchemaMarks,
    squashed: Squashed,
    nest: u8,
    /// The text being read, where nothing in it is escaped, is known to hold no value that a
    /// detector would strike on.
    pub quiet: bool,
    /// Some JSON object had a name twice.
    pub duplicate_keys: bool,
}

impl<'r> Pass<'r> {
    pub fn new(keys: &'r Keys, marks: &'r SchemaMarks) -> Self {
        Pass { keys, marks, squashed: Squashed::default(), nest: 0, quiet: false, duplicate_keys: false }
    }

    /// The rule by which this name means a secret.
    pub fn name(&mut self, name: &str) -> Option<&'r Rule> {
        self.keys.hit(self.marks, name, &mut self.squashed)
    }

    /// The name last given to [`Pass::name`], squashed.
    pub fn squashed(&self) -> &[u8] {
        self.squashed.as_bytes()
    }

    /// The string with its secrets masked, or `None` if there are none.
    pub fn string(&mut self, text: &str) -> Option<Masked> {
        let quiet = std::mem::take(&mut self.quiet);
        let masked = self.decoded(text);
        self.quiet = quiet;
        masked
    }

    /// As [`Pass::string`], for a part of the text `quiet` speaks of.
    pub fn plain_part(&mut self, text: &str) -> Option<Masked> {
        self.decoded(text)
    }

    fn decoded(&mut self, text: &str) -> Option<Masked> {
        if text.len() < 4 {
            return None;
        }
        if json::begins(text) {
            if self.nest >= MAX_NEST {
                return json::cut(text).then(|| whole("[redacted:too_deep]", &TOO_DEEP));
            }
            match self.nested(|pass| json::stream(pass, text)) {
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
        if text.len() < MIN_BASE64 || self.nest >= MAX_NEST || !begins.iter().any(|b| text.starts_with(b)) {
            return None;
        }
        let inside = String::from_utf8(values::base64(text.trim_end())?).ok()?;
        let edits = self.nested(|pass| json::stream(pass, &inside)).ok()?;
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
        assign::find(text, self.keys, self.marks, &mut self.squashed, &mut edits);
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
