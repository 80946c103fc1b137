//! What was masked, and the masking itself: a list of edits over a text that is otherwise kept
//! byte for byte.
//!
//! Readers (JSON, form, XML, text) never write output; they name spans to replace. So everything
//! that is kept stays exactly as sent, a body without secrets is not copied at all, and a later
//! finding may cover an earlier one: where edits overlap, the outermost wins.

use sidelog_event::Redactions;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// The name of a rule as events show it: `key:password`, `value:jwt`, `mark:name`. Made from our
/// own lists, the configuration or the OpenAPI document, never from traffic.
pub(super) type Rule = Arc<str>;

/// What takes the place of a value masked because of its name.
pub(super) const MASK: &str = "[redacted]";

/// Rule names kept per event; `count` goes on.
const MAX_RULES: usize = 16;

/// How often and by which rules something was masked.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    count: u32,
    rules: Vec<Rule>,
}

impl Tally {
    pub fn one(rule: &Rule) -> Self {
        Tally { count: 1, rules: vec![rule.clone()] }
    }

    pub fn merge(&mut self, other: Tally) {
        self.count = self.count.saturating_add(other.count);
        for rule in other.rules {
            if self.rules.len() < MAX_RULES && !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
        }
    }

    /// Adds this to what an event already says.
    pub fn record(self, into: &mut Redactions<'_>) {
        into.count = into.count.saturating_add(self.count);
        for rule in self.rules {
            if into.rules.len() < MAX_RULES && !into.rules.iter().any(|r| **r == *rule) {
                into.rules.push(Cow::Owned(rule.to_string()));
            }
        }
        into.rules.sort_unstable();
    }
}

/// A text after masking, and the account of it.
pub(super) type Masked = (String, Tally);

#[derive(Debug)]
struct Edit {
    span: Range<usize>,
    text: Cow<'static, str>,
    tally: Tally,
}

/// Spans of a text to replace, in any order.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

impl Edits {
    pub fn replace(&mut self, span: Range<usize>, text: impl Into<Cow<'static, str>>, tally: Tally) {
        self.0.push(Edit { span, text: text.into(), tally });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The edited text; `None` if nothing changes. Where edits overlap, the one that starts first
    /// (the longer of two) is written and all that any of them covers goes.
    pub fn apply(mut self, input: &str) -> Option<Masked> {
        self.0.retain(|e| input.get(e.span.clone()) != Some(&*e.text));
        if self.0.is_empty() {
            return None;
        }
        self.0.sort_by(|a, b| a.span.start.cmp(&b.span.start).then(b.span.end.cmp(&a.span.end)));
        let mut out = String::with_capacity(input.len() + 16);
        let (mut done, mut tally) = (0, Tally::default());
        for edit in self.0 {
            if edit.span.start >= done {
                // A span off a character boundary cannot come from our readers; were there one,
                // the text before it is lost rather than a secret kept.
                out.push_str(input.get(done..edit.span.start).unwrap_or_default());
                out.push_str(&edit.text);
                tally.merge(edit.tally);
            }
            done = done.max(edit.span.end);
        }
        out.push_str(input.get(done..).unwrap_or_default());
        Some((out, tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(name: &str) -> Tally {
        Tally::one(&Rule::from(name))
    }

    #[test]
    fn the_outermost_of_overlapping_edits_wins() {
        let mut edits = Edits::default();
        edits.replace(4..6, "inner", tally("key:a"));
        edits.replace(2..8, "outer", tally("key:b"));
        edits.replace(7..9, "tail", tally("key:c"));
        let (text, tally) = edits.apply("0123456789").unwrap();
        assert_eq!(text, "01outer9");
        assert_eq!((tally.count, tally.rules.len()), (1, 1));
    }

    #[test]
    fn what_is_masked_already_is_no_edit() {
        let mut edits = Edits::default();
        edits.replace(1..11, MASK, tally("key:a"));
        assert!(edits.apply("=[redacted]").is_none());
    }

    #[test]
    fn rule_names_are_sorted_distinct_and_bounded() {
        let mut all = Tally::default();
        for i in (0..40).chain(0..40) {
            all.merge(tally(&format!("key:{i:02}")));
        }
        let mut redactions = Redactions::default();
        all.record(&mut redactions);
        assert_eq!((redactions.count, redactions.rules.len()), (80, MAX_RULES));
        assert!(redactions.rules.is_sorted());
    }
}
