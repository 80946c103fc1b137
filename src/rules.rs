//! Everything that judges a call, built from a configuration: documents, policy, extraction,
//! redaction. Pure once built; `sidelog proxy`, `check` and `explain` share it.

use crate::config::{self, Config, Place, Problem, Severity, Unknown};
use crate::extract::{self, Extractor};
use crate::head::Head;
use crate::openapi::{self, Document, LoadError};
use crate::policy::{Call, Decision, OperationRef, Policy};
use crate::pseudonym::Pseudonyms;
use crate::redact::{Redactor, SchemaMarks};
use crate::sources::{Digest, Sources};
use crate::spec_match::{self, Found, SpecMatcher};
use sha2::{Digest as _, Sha256};
use sidelog_event as event;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Rules {
    pub specs: SpecMatcher,
    pub policy: Policy,
    pub extractor: Extractor,
    pub redactor: Redactor,
    /// Names that each operation's schemas mark as secret, by operation; the last is for none.
    marks: Vec<SchemaMarks>,
    /// Bytes of each body kept for the event.
    pub max_body: usize,
    /// Tells these rules from others: a digest of the configuration and of the documents in use.
    pub version: String,
    /// Documents, in the order of the configuration.
    documents: Vec<Source>,
}

/// A document of the configuration, as these rules use it.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    /// Of the version in use; none where it could never be read.
    digest: Option<Digest>,
    /// The files on disk when they were last read, which may be of a broken version that is not used.
    files: Sources,
    /// An older version is in use.
    kept: bool,
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
        Rules::build(config, pseudonyms, None)
    }

    /// Builds new rules in the place of these. A document that can no longer be used stays in the
    /// version that these have of it.
    pub fn again(&self, config: &Config, pseudonyms: &Pseudonyms) -> Result<(Rules, Vec<Problem>), Problem> {
        Rules::build(config, pseudonyms, Some(self))
    }

    fn build(
        config: &Config,
        pseudonyms: &Pseudonyms,
        before: Option<&Rules>,
    ) -> Result<(Rules, Vec<Problem>), Problem> {
        let mut problems = Vec::new();
        let mut documents = Vec::new();
        let mut sources = Vec::new();
        // Fields take memory: they are remembered only where they are asked for.
        let fields = config.redact.unknown == Unknown::Mask;
        for path in &config.openapi {
            let (source, document) = Source::read(path, fields, before, &mut problems);
            if let Some(mut document) = document {
                document.operations.iter_mut().for_each(|o| o.let_span(&config.multi_segment));
                documents.push(document);
            }
            sources.push(source);
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
        let rules = Rules {
            specs,
            policy: Policy::new(&config.audit),
            extractor,
            redactor,
            marks,
            max_body: config.capture.max_body,
            version: version(config, &sources),
            documents: sources,
        };
        Ok((rules, problems))
    }

    /// Every file of the documents, as it was when it was last read.
    pub fn sources(&self) -> Sources {
        let mut all = Sources::default();
        self.documents.iter().for_each(|source| all.extend(source.files.clone()));
        all
    }

    /// Each document with its files.
    pub fn document_files(&self) -> impl Iterator<Item = (&Path, &Sources)> {
        self.documents.iter().map(|source| (source.path.as_path(), &source.files))
    }

    /// Documents that cannot be used as they are on disk, and whether an older version of each is in use.
    pub fn unusable(&self) -> impl Iterator<Item = (&Path, bool)> {
        let unusable = |source: &&Source| source.kept || source.digest.is_none();
        self.documents.iter().filter(unusable).map(|source| (source.path.as_path(), source.kept))
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
    pub fn facts(
        &self,
        head: &Head<'_>,
        peer: IpAddr,
        judged: &Judged<'_, '_>,
    ) -> (Facts, Vec<&'static str>) {
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

impl Source {
    /// Reads a document, or takes the version in use before of one that cannot be used. What is wrong
    /// with it is added to the problems; of one that is not there, `config::load` has told, with its
    /// place.
    fn read(
        path: &Path,
        fields: bool,
        before: Option<&Rules>,
        problems: &mut Vec<Problem>,
    ) -> (Source, Option<Document>) {
        let mut source =
            Source { path: path.to_owned(), digest: None, files: Sources::default(), kept: false };
        let loaded = path.is_file().then(|| openapi::load_noting(path, fields, &mut source.files));
        if source.files.is_empty() {
            source.files.look(path);
        }
        match loaded {
            Some(Ok((mut document, warnings))) => {
                problems.extend(warnings.into_iter().map(|w| from_warning(path, w)));
                // What was whole before shall not lose operations to a slip in a file beside it.
                if let Some(kept) = source.keep(before).filter(|kept| kept.unread < document.unread) {
                    let text = "files it refers to cannot be read; the version read before stays in use";
                    let message = format!("{}: {text}", path.display());
                    problems.push(problem(Severity::Error, None, message));
                    return (source, Some(kept));
                }
                source.kept = false;
                // Two documents may have the same name in different directories.
                document.name = path.display().to_string();
                source.digest = Some(source.files.digest());
                (source, Some(document))
            }
            Some(Err(error)) => {
                let kept = source.keep(before);
                problems.push(from_load_error(path, &error, kept.is_some()));
                (source, kept)
            }
            None => {
                let kept = source.keep(before);
                if kept.is_some() {
                    let message = format!("{} is gone; the version read before stays in use", path.display());
                    let help = "put it back, or take it out of `openapi`".to_owned();
                    problems.push(Problem { help: Some(help), ..problem(Severity::Error, None, message) });
                }
                (source, kept)
            }
        }
    }

    /// The document as it was in use before, where it was.
    fn keep(&mut self, before: Option<&Rules>) -> Option<Document> {
        let before = before?;
        let document = before.specs.document(&self.path.display().to_string())?;
        let older = before.documents.iter().find(|source| source.path == self.path)?;
        (self.digest, self.kept) = (older.digest, true);
        Some(document)
    }
}

/// Of the configuration as it is in force, of the files it was read from, and of the documents in use.
fn version(config: &Config, documents: &[Source]) -> String {
    let mut hash = Sha256::new();
    hash.update(config::effective(config).to_string());
    hash.update(config.sources.digest());
    for source in documents {
        hash.update(source.path.as_os_str().as_encoded_bytes());
        hash.update(source.digest.unwrap_or_default());
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
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

fn from_load_error(document: &Path, error: &LoadError, kept: bool) -> Problem {
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
    let meanwhile =
        if kept { "the version read before stays in use" } else { "calls are recorded without operations" };
    let help = format!("{}; until then, {meanwhile}", error.help());
    Problem { place, message, help: Some(help), severity: Severity::Error }
}

/// Path (or absolute-form up to the query) and query without `?`. A fragment stays where it stands.
pub fn split_target(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}
