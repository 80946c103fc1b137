//! Everything that judges a call, built from a configuration: documents, policy, extraction,
//! redaction. Pure once built; `sidelog proxy`, `check` and `explain` share it.

use crate::config::{Config, Place, Problem, Severity, Unknown};
use crate::extract::{self, Extractor, Peer};
use crate::head::Head;
use crate::openapi::{self, LoadError};
use crate::policy::{Call, Decision, OperationRef, Policy};
use crate::pseudonym::Pseudonyms;
use crate::redact::{Redactor, SchemaMarks};
use crate::spec_match::{self, Found, SpecMatcher};
use sidelog_event as event;
use std::path::Path;

#[derive(Debug)]
pub struct Rules {
    pub specs: SpecMatcher,
    pub policy: Policy,
    pub extractor: Extractor,
    pub redactor: Redactor,
    /// Names that each operation's schemas mark as secret, by operation; the last is for none.
    marks: Vec<SchemaMarks>,
}

/// What is known of a call when its head is whole.
#[derive(Debug)]
pub struct Judged<'s, 't> {
    pub found: Found<'s, 't>,
    pub decision: Decision,
}

/// Who, from where, what: owned, for the length of a call.
#[derive(Debug)]
pub struct Facts {
    pub operation: event::Operation<'static>,
    /// For [`Rules::marks`].
    pub operation_index: Option<usize>,
    pub actor: event::Actor<'static>,
    pub client: event::Client<'static>,
}

impl Rules {
    /// Builds the rules. What is wrong with a document is a problem, never a reason not to start: a
    /// missing or broken document must not stop traffic. Fails only on what the configuration itself
    /// says (keys, algorithms).
    pub fn load(config: &Config, pseudonyms: &Pseudonyms) -> Result<(Rules, Vec<Problem>), Problem> {
        let mut problems = Vec::new();
        let mut documents = Vec::new();
        // Of a file that is not there, `config::load` has told, with its place.
        // Fields take memory: they are remembered only where they are asked for.
        let load = match config.redact.unknown {
            Unknown::Keep => openapi::load,
            Unknown::Mask => openapi::load_with_fields,
        };
        for path in config.openapi.iter().filter(|p| p.is_file()) {
            match load(path) {
                Ok((mut document, warnings)) => {
                    document.operations.iter_mut().for_each(|o| o.let_span(&config.multi_segment));
                    problems.extend(warnings.into_iter().map(|w| from_warning(path, w)));
                    // Two documents may have the same name in different directories.
                    document.name = path.display().to_string();
                    documents.push(document);
                }
                Err(error) => problems.push(from_load_error(path, &error)),
            }
        }
        let (specs, mut warnings) = SpecMatcher::new(documents, &config.base_path);
        for path in &config.openapi {
            let (own, others) = warnings.into_iter().partition(|w| *w.file == *path.display().to_string());
            warnings = others;
            problems.extend(locate(path, own));
        }
        // File by file and from top to bottom; what has no line comes last.
        problems.sort_by(|a, b| place_order(a).cmp(&place_order(b)));
        let extractor = Extractor::new(&config.actor, &config.client_ip, pseudonyms.clone())
            .map_err(|e| problem(Severity::Error, None, e.to_string()))?;
        problems.extend(extractor.warnings().iter().map(|w| problem(Severity::Warning, None, w.clone())));
        let redactor = Redactor::new(&config.redact, config.capture.max_decoded, pseudonyms.clone())
            .map_err(|e| problem(Severity::Error, None, e.to_string()))?;
        let mut marks: Vec<_> = specs.operations().iter().map(SchemaMarks::of).collect();
        marks.push(SchemaMarks::default());
        let rules = Rules { specs, policy: Policy::new(&config.audit), extractor, redactor, marks };
        Ok((rules, problems))
    }

    /// Which operation, and what is to be recorded of it.
    pub fn judge<'s, 't>(&'s self, head: &Head<'t>, has_body: bool, upgrade: bool) -> Judged<'s, 't> {
        let target = head.target();
        let found = self.specs.find(head.method(), target, &|name| head.first(name));
        let (path, _) = split_target(target);
        let decision = self.policy.decide(&Call {
            method: head.method(),
            path: &String::from_utf8_lossy(path),
            normal_form: spec_match::is_normal_form(target),
            has_body,
            overridden: extract::effective_method(head).as_deref(),
            upgrade,
            operation: found.operation.map(|o| OperationRef {
                route: &o.route,
                template: &o.template,
                operation_id: o.operation_id.as_deref().unwrap_or_default(),
                tags: &o.tags,
            }),
            matched: found.kind,
        });
        Judged { found, decision }
    }

    /// What the event says beside the bytes, and the oddities.
    pub fn facts(&self, head: &Head<'_>, peer: &Peer, judged: &Judged<'_, '_>) -> (Facts, Vec<&'static str>) {
        let (actor, actor_flags) = self.extractor.actor(head, peer);
        let (client, client_flags) = self.extractor.client(head, peer);
        let mut flags = judged.found.flags.clone();
        flags.extend(actor_flags.into_iter().chain(client_flags));
        let operation_index = judged.found.operation.and_then(|o| self.specs.index_of(o));
        (Facts { operation: operation(head, &judged.found), operation_index, actor, client }, flags)
    }

    pub fn marks(&self, operation: Option<usize>) -> &SchemaMarks {
        let none = self.marks.len() - 1;
        &self.marks[operation.unwrap_or(none).min(none)]
    }
}

/// The operation as the event tells it.
fn operation(head: &Head<'_>, found: &Found<'_, '_>) -> event::Operation<'static> {
    let params = event::Params(
        found.params().map(|p| (p.name.to_owned().into(), p.decoded.into_owned().into())).collect(),
    );
    let method = extract::effective_method(head).unwrap_or(head.method().into());
    let resource = extract::resource(&method, found.route(), &params);
    let (op, kind, id) = (resource.op, resource.kind.into_owned(), resource.id.into_owned());
    let told = found.operation;
    event::Operation {
        matched: found.kind,
        id: told.and_then(|o| o.operation_id.clone()).unwrap_or_default().into(),
        route: found.route().unwrap_or_default().to_owned().into(),
        summary: told.map(|o| o.summary.clone()).unwrap_or_default().into(),
        tags: told.map(|o| o.tags.iter().map(|t| t.clone().into()).collect()).unwrap_or_default(),
        api_version: told.map(|o| o.api_version.clone()).unwrap_or_default().into(),
        alternatives: found
            .alternatives
            .iter()
            .chain(found.other_reading.iter())
            .map(|o| format!("{} {}", o.method, o.route).into())
            .collect(),
        path_params: params,
        op,
        resource_type: kind.into(),
        resource_id: id.into(),
        protocol: "".into(),
        calls: Vec::new(),
        calls_total: 0,
    }
}

fn problem(severity: Severity, place: Option<Place>, message: String) -> Problem {
    Problem { place, message, help: None, severity }
}

fn place_order(problem: &Problem) -> (bool, Option<(&str, u32, u32)>) {
    let place = problem.place.as_ref().map(|p| (p.file.as_str(), p.line, p.column));
    (place.is_none(), place)
}

fn locate(path: &Path, mut warnings: Vec<openapi::Warning>) -> Vec<Problem> {
    if !warnings.is_empty() {
        openapi::locate(path, &mut warnings);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // These name the operations; a pointer besides would say it twice.
    let named = |w| openapi::Warning { file: name.to_string(), pointer: String::new(), ..w };
    warnings.into_iter().map(|w| from_warning(path, named(w))).collect()
}

/// A file as the user would name it: documents name files relative to their own directory.
fn shown_file(document: &Path, file: &str) -> String {
    document.with_file_name(file).display().to_string()
}

/// What was found in a document, or in a file it refers to.
pub fn from_warning(document: &Path, warning: openapi::Warning) -> Problem {
    let openapi::Warning { file, pointer, line, column, text, help } = warning;
    let file = shown_file(document, &file);
    let message = if pointer.is_empty() { text } else { format!("{pointer}: {text}") };
    let (place, message) = match line {
        Some(line) => (Some(Place { file, line, column: column.unwrap_or(1) }), message),
        None => (None, format!("{file}: {message}")),
    };
    Problem { place, message, help, severity: Severity::Warning }
}

fn from_load_error(document: &Path, error: &LoadError) -> Problem {
    let (place, message) = match error {
        LoadError::Syntax { file, line, column, text, .. }
        | LoadError::NotOpenApi { file, line, column, text, .. } => {
            // About the whole file where there is no line.
            let (line, column) = (line.unwrap_or(1), column.unwrap_or(1));
            (Some(Place { file: shown_file(document, file), line, column }), text.clone())
        }
        LoadError::Read { source, .. } => {
            (None, format!("cannot read {}: {}", document.display(), source.kind()))
        }
        LoadError::TooLarge { limit_mib, .. } => (
            None,
            format!("{} and the files it refers to are larger than {limit_mib}MiB", document.display()),
        ),
    };
    let help = format!("{}; until then, calls are recorded without operations", error.help());
    Problem { place, message, help: Some(help), severity: Severity::Error }
}

/// Path (or absolute-form up to the query) and query without `?`. A fragment stays where it stands.
pub fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}
