//! What is wrong with a configuration, told to the person who wrote it.

use super::Place;
use std::fmt;
use std::path::Path;

/// A line and column, both from 1; 0 where nothing was typed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pos {
    pub line: u32,
    pub column: u32,
}

impl Pos {
    pub fn is_unset(self) -> bool {
        self.line == 0
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// There is no configuration while this stands.
    Error,
    /// The configuration works; this is probably not what was meant.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// None when it is not about a place in a file (a command-line option, a file that is missing).
    pub place: Option<Place>,
    /// What is wrong. Never holds a value that came from a variable or a secret file.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    pub severity: Severity,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        write!(f, "{}: {}", self.severity.as_str(), self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Collects problems while the checks go on.
#[derive(Debug)]
pub(super) struct Problems {
    file: String,
    list: Vec<(Pos, Problem)>,
}

impl Problems {
    pub fn new(file: &str) -> Self {
        Problems { file: file.to_string(), list: Vec::new() }
    }

    pub fn place(&self, at: Pos) -> Place {
        Place { file: self.file.clone(), line: at.line, column: at.column }
    }

    pub fn error(&mut self, at: Pos, message: impl Into<String>, help: impl Into<Help>) {
        self.add(Severity::Error, at, message, help);
    }

    pub fn warn(&mut self, at: Pos, message: impl Into<String>, help: impl Into<Help>) {
        self.add(Severity::Warning, at, message, help);
    }

    pub fn add(&mut self, severity: Severity, at: Pos, message: impl Into<String>, help: impl Into<Help>) {
        let place = (!at.is_unset()).then(|| self.place(at));
        self.list.push((at, Problem { place, message: message.into(), help: help.into().0, severity }));
    }

    /// `Ok(warnings)` where nothing is an error, otherwise everything; in file order.
    pub fn finish(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        self.list.sort_by_key(|(at, _)| *at);
        let list: Vec<Problem> = self.list.into_iter().map(|(_, p)| p).collect();
        if list.iter().any(|p| p.severity == Severity::Error) { Err(list) } else { Ok(list) }
    }
}

/// An optional help line; `()` is none.
pub(super) struct Help(Option<String>);

impl From<()> for Help {
    fn from((): ()) -> Self {
        Help(None)
    }
}
impl From<&str> for Help {
    fn from(s: &str) -> Self {
        Help(Some(s.to_string()))
    }
}
impl From<String> for Help {
    fn from(s: String) -> Self {
        Help(Some(s))
    }
}
impl From<Option<String>> for Help {
    fn from(s: Option<String>) -> Self {
        Help(s)
    }
}

/// The word of `known` that was probably meant by `typed`.
pub(super) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, words have little more than their length in common.
    const ALIKE: f64 = 0.65;
    let plain = |s: &str| s.to_ascii_lowercase().replace('-', "_");
    let typed = plain(typed);
    // In a short word one slip is a large share; in words of one or two letters, it is another word.
    let slip = |word: &str| typed.len() > 2 && strsim::damerau_levenshtein(&typed, word) <= 1;
    let likeness = |word: &str| match slip(word) {
        true => 1.0,
        false => strsim::normalized_damerau_levenshtein(&typed, word),
    };
    known
        .into_iter()
        .map(|word| (word, likeness(&plain(word))))
        .filter(|(_, alike)| *alike >= ALIKE)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(word, _)| word)
}

/// "`a`, `b` or `c`".
pub(super) fn one_of<S: AsRef<str>>(words: &[S]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{}`", w.as_ref())).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// A value as messages show it: one line, bounded, in backticks.
pub(super) fn shown(value: &str) -> String {
    shown_up_to(60, value)
}

/// A path as messages show it: whole, for its end is what tells it from others.
pub(super) fn shown_path(path: &Path) -> String {
    shown_up_to(4096, &path.to_string_lossy())
}

fn shown_up_to(max: usize, value: &str) -> String {
    let mut text: String = value.chars().take(max).flat_map(char::escape_debug).collect();
    text = text.replace("\\\"", "\"").replace("\\'", "'");
    if value.chars().count() > max {
        text.push('…');
    }
    format!("`{text}`")
}
