//! OpenAPI documents as people write them: Swagger 2.0 and OpenAPI 3.0, 3.1, 3.2, JSON or YAML, in
//! one file or several.
//!
//! Promises: whatever can be used is used. A node of the wrong type is skipped with a warning that
//! names its place; a bad operation never loses the file. Nothing outside the document's directory is
//! read and nothing is fetched. Refuses only files in which no operation can be found at all: not
//! parseable, not UTF-8, not an OpenAPI document.
//!
//! ```text
//! tree     text → tree, without prose and examples
//! glance   whether a text's models matter, before it is parsed
//! files    the root file and what its $refs name
//! read     tree → operations
//! declared fields that an operation's schemas know, where they are wanted
//! marks    names marked as secret in an operation's schemas
//! locate   JSON pointer → line and column, for messages
//! scan     names of fields and what asks for credentials, for `sidelog check`
//! strict   openapiv3's opinion on 3.0 documents, for `sidelog check`
//! ```

mod declared;
mod files;
mod glance;
mod locate;
mod marks;
mod read;
mod scan;
mod servers;
mod strict;
mod tree;

pub use declared::{Declared, Fields, ShapeId};
pub use marks::SchemaMarks;
pub use scan::{Scan, scan};
pub use strict::strict_opinion;

use crate::sources::Sources;
use std::fmt;
use std::path::Path;

/// GitHub's extension: a path parameter that may contain slashes.
const MULTI_SEGMENT: &str = "x-multi-segment";

/// A document's operations and what identifies it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file's name, for messages.
    pub name: String,
    /// `2.0`, `3.0.3`, …; empty when the file does not say.
    pub version: String,
    /// `info.version`: the API's own.
    pub api_version: String,
    /// Path templates, including those whose operations were all skipped.
    pub paths: usize,
    /// Operations that could not be read; each has a warning.
    pub skipped: usize,
    /// References to files that could not be read; each has a warning.
    pub unread: usize,
    pub operations: Vec<Operation>,
}

/// One method on one path template. Its identity is method, template and document: `operationId` is
/// optional and may repeat.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    /// Upper case.
    pub method: String,
    /// The path as the document writes it.
    pub template: String,
    /// The template under its first base path.
    pub route: String,
    pub operation_id: Option<String>,
    pub summary: String,
    pub tags: Vec<String>,
    pub api_version: String,
    /// Base paths of its servers; may hold `{variables}`. Never empty; `` stands for `/`.
    pub bases: Vec<String>,
    pub path_params: Vec<PathParam>,
    /// What else must be in the request: `?beta=true` or `#Action=ListUsers` in the template.
    pub discriminators: Vec<Discriminator>,
    pub marks: SchemaMarks,
    /// What its schemas declare; only where [`load_noting`] was asked for them.
    pub fields: Option<Fields>,
    /// `x-audit-…` of the operation, its path item or the document's root; the nearest of each.
    pub extensions: Vec<(String, serde_json::Value)>,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

/// What a document says about a path parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathParam {
    pub name: String,
    pub kind: ParamKind,
    /// The value may contain slashes.
    pub multi_segment: bool,
    /// `pattern`, where it is what allows the slashes.
    pub pattern: Option<String>,
}

/// What values a path parameter takes; decides between operations that are the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamKind {
    Any,
    Integer,
    Number,
    Boolean,
    Uuid,
    Date,
    DateTime,
    OneOf(Vec<String>),
}

/// A condition beyond method and path, written into the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discriminator {
    /// A query parameter or header.
    pub key: String,
    /// None: the key alone is the condition.
    pub value: Option<String>,
}

/// Something that was skipped or looks wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub file: String,
    /// JSON pointer into the file; empty for the whole file.
    pub pointer: String,
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub text: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Warning {
    fn new(file: impl Into<String>, pointer: impl Into<String>, text: impl Into<String>) -> Self {
        let (file, pointer, text) = (file.into(), pointer.into(), text.into());
        Warning { file, pointer, line: None, column: None, text, help: None }
    }

    /// A warning about a document as a whole.
    pub(crate) fn of_file(file: &str, text: impl Into<String>) -> Self {
        Warning::new(file, "", text)
    }

    /// A warning about a node of a file.
    pub(crate) fn of_node(file: &str, pointer: &str, text: impl Into<String>) -> Self {
        Warning::new(file, pointer, text)
    }

    /// A warning about an operation, where the document itself (not a file it refers to) has it.
    pub(crate) fn of_operation(file: &str, operation: &Operation, text: impl Into<String>) -> Self {
        Warning::new(file, operation.pointer(), text)
    }

    pub(crate) fn mend(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.file, self.line, self.column)?;
        if !self.pointer.is_empty() {
            write!(f, " {}", self.pointer)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Why a file gives no document at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{file}: cannot be read: {}", why(source))]
    Read { file: String, source: std::io::Error },
    #[error("{file}: with the files it refers to, larger than {limit_mib} MiB")]
    TooLarge { file: String, limit_mib: u64 },
    #[error("{}: {text}", Place(file, *line, *column))]
    Syntax { file: String, line: Option<u32>, column: Option<u32>, text: String, help: &'static str },
    #[error("{}: {text}", Place(file, *line, *column))]
    NotOpenApi { file: String, line: Option<u32>, column: Option<u32>, text: String, help: &'static str },
}

impl LoadError {
    fn not_openapi(file: &str, text: impl Into<String>, help: &'static str) -> Self {
        LoadError::NotOpenApi { file: file.to_owned(), line: None, column: None, text: text.into(), help }
    }

    /// How to mend it.
    pub fn help(&self) -> &'static str {
        match self {
            LoadError::Read { .. } => "name a file that this user may read",
            LoadError::TooLarge { .. } => "give only the documents of this service",
            LoadError::Syntax { help, .. } | LoadError::NotOpenApi { help, .. } => help,
        }
    }
}

/// Without the system's error number.
fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    }
}

impl Operation {
    /// Where the document has it, unless it is in a file that it refers to.
    pub fn pointer(&self) -> String {
        let mut pointer = String::from("/paths");
        tree::push_token(&mut pointer, &self.template);
        tree::push_token(&mut pointer, &self.method.to_ascii_lowercase());
        pointer
    }

    /// Lets the path parameters of these names span slashes, as if the document marked them.
    pub fn let_span(&mut self, names: &[String]) {
        for name in names.iter().filter(|n| self.template.contains(&format!("{{{n}}}"))) {
            match self.path_params.iter_mut().find(|p| p.name == *name) {
                Some(param) => param.multi_segment = true,
                None => self.path_params.push(PathParam {
                    name: name.clone(),
                    kind: ParamKind::Any,
                    multi_segment: true,
                    pattern: None,
                }),
            }
        }
    }
}

struct Place<'a>(&'a str, Option<u32>, Option<u32>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, self.0, self.1, self.2)
    }
}

fn write_place(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: Option<u32>,
    column: Option<u32>,
) -> fmt::Result {
    f.write_str(file)?;
    if let Some(line) = line {
        write!(f, ":{line}")?;
        if let Some(column) = column {
            write!(f, ":{column}")?;
        }
    }
    Ok(())
}

/// Where a template's path ends and its conditions (`?…`, `#…`) begin, outside of braces.
pub(crate) fn suffix_start(template: &str) -> Option<usize> {
    let mut depth = 0_u32;
    template.char_indices().find_map(|(i, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '?' | '#' if depth == 0 => return Some(i),
            _ => {}
        }
        None
    })
}

/// Loads a document with the files it refers to.
pub fn load(path: &Path) -> Result<(Document, Vec<Warning>), LoadError> {
    load_noting(path, false, &mut Sources::default())
}

/// As [`load`]; the operations remember which fields their schemas declare.
pub fn load_with_fields(path: &Path) -> Result<(Document, Vec<Warning>), LoadError> {
    load_noting(path, true, &mut Sources::default())
}

/// As [`load`]. `fields`: the operations remember which fields their schemas declare. `sources` gets
/// every file that was read or looked for, also where this fails.
pub fn load_noting(
    path: &Path,
    fields: bool,
    sources: &mut Sources,
) -> Result<(Document, Vec<Warning>), LoadError> {
    let loaded = tree::with_stack(|| {
        let mut files = files::Files::read(path, fields, sources)?;
        let mut warnings = std::mem::take(&mut files.warnings);
        let document = read::document(&files, fields, &mut warnings)?;
        locate::fill(&mut warnings, |name| files.path(name).map(Path::to_path_buf));
        Ok((document, warnings))
    });
    loaded.unwrap_or_else(|source| Err(LoadError::Read { file: path.display().to_string(), source }))
}

/// Fills in where in a document's own file warnings stand that were found after loading.
pub fn locate(path: &Path, warnings: &mut [Warning]) {
    // Without the thread there are no lines and columns, nothing worse.
    let _ = tree::with_stack(|| locate::fill(warnings, |_| Some(path.to_path_buf())));
}

#[cfg(test)]
mod tests;
