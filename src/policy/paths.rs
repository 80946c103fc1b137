//! A list of path patterns, for what is allowed by path outside the rules.

use super::{Pattern, split};
use crate::rules::split_target;
use crate::spec_match::is_normal_form;

/// Paths and globs as in `audit.rules`; templates stand for paths of their form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(Vec<Pattern>);

impl Paths {
    pub fn new(patterns: &[String]) -> Paths {
        Paths(patterns.iter().map(|p| Pattern::new(p)).collect())
    }

    /// Whether a request target's path is one of these. A target that is not in normal form is none: the
    /// service may take it for another.
    pub fn contain_target(&self, target: &[u8]) -> bool {
        if target.first() != Some(&b'/') || !is_normal_form(target) {
            return false;
        }
        let Ok(path) = std::str::from_utf8(split_target(target).0) else { return false };
        let segments = split(path);
        self.0.iter().any(|pattern| pattern.matches(&segments, false))
    }
}
