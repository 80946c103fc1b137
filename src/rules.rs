//! Everything that judges a call, built from a configuration: documents, policy, extraction,
//! redaction. Pure once built; `sidelog proxy`, `check` and `explain` share it.

use crate::config::{self, Config, Place, Problem, Severity, Unknown};
use crate::extract::{self, Call as Inner, Calls, Extractor, Hints, Peer, Source, Template};
use crate::head::Head;
use crate::openapi::{self, Document, LoadError};
use crate::policy::{self, Call, Decision, OperationRef, Policy};
use crate::pseudonym::Pseudonyms;
use crate::redact::{Redactor, SchemaMarks};
use crate::sources::{Digest, Sources};
use crate::spec_match::{self, Found, SpecMatcher};
use sha2::{Digest as _, Sha256};
use sidelog_event as event;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Rules {
    pub specs: SpecMatcher,
    pub policy: Policy,
    pub extractor: Extractor,
    pub redactor: Redactor,
    /// What the documents' `x-audit-*` keys, and of reasons the configuration, say of each operation;
    /// the last is for none.
    hints: Vec<Hints>,
    /// Names that each operation's schemas mark as secret, by operation; the last is for none.
    marks: Vec<SchemaMarks>,
    /// Bytes of each body kept for the event.
    pub max_body: usize,
    /// Tells these rules from others: a digest of the configuration and of the documents in use.
    pub version: String,
    /// Documents, in the order of the configuration.
    documents: Vec<Known>,
}

/// The documents of a configuration: the part of its rules that takes time to read.
#[derive(Debug)]
pub struct Documents {
    specs: SpecMatcher,
    known: Vec<Known>,
    problems: Vec<Problem>,
}

/// A document of the configuration, as these rules use it.
#[derive(Debug, Clone)]
struct Known {
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
    /// The call may change something.
    pub mutating: bool,
    /// The method a service that honours overrides would execute, where it differs from the request's.
    pub overridden: Option<Cow<'t, str>>,
}

/// Who, from where, what: owned, for the length of a call.
#[derive(Debug)]
pub struct Facts {
    pub operation: event::Operation<'static>,
    pub operation_index: Option<usize>,
    /// For [`Rules::marks`]: the operation or, where the document does not know the method, another of the
    /// same path.
    pub marks_index: Option<usize>,
    pub actor: event::Actor<'static>,
    pub client: event::Client<'static>,
    /// As in [`Judged`].
    pub overridden: Option<String>,
    /// Why, as far as the head tells.
    pub reason: Option<String>,
}

impl Rules {
    /// Builds the rules. Fails only on what the configuration itself says (keys, algorithms).
    pub fn load(config: &Config, pseudonyms: &Pseudonyms) -> Result<(Rules, Vec<Problem>), Problem> {
        Rules::with(config, Documents::read(config), pseudonyms)
    }

    /// Builds new rules in the place of these. A document that can no longer be used stays in the
    /// version that these have of it.
    pub fn again(&self, config: &Config, pseudonyms: &Pseudonyms) -> Result<(Rules, Vec<Problem>), Problem> {
        Rules::with(config, Documents::read_after(config, Some(self)), pseudonyms)
    }

    /// As [`Rules::load`], with documents that have been read.
    pub fn with(
        config: &Config,
        documents: Documents,
        pseudonyms: &Pseudonyms,
    ) -> Result<(Rules, Vec<Problem>), Problem> {
        let Documents { specs, known, mut problems } = documents;
        let extractor = Extractor::new(&config.actor, &config.client_ip, pseudonyms.clone())
            .map_err(|e| problem(Severity::Error, None, e.to_string()))?;
        problems.extend(extractor.warnings().iter().map(|w| problem(Severity::Warning, None, w.clone())));
        let redactor = Redactor::new(&config.redact, config.capture.max_decoded, pseudonyms.clone())
            .map_err(|e| problem(Severity::Error, None, e.to_string()))?;
        let mut marks: Vec<_> = specs.operations().iter().map(SchemaMarks::of).collect();
        marks.push(SchemaMarks::default());
        let hints = specs.operations().iter().map(|o| Hints::read(&o.extensions).0);
        let hints = hints.chain([Hints::default()]).collect();
        let mut rules = Rules {
            specs,
            policy: Policy::new(&config.audit),
            extractor,
            redactor,
            hints,
            marks,
            max_body: config.capture.max_body,
            version: version(config, &known),
            documents: known,
        };
        rules.complete_hints(&reason_sources(&config.reason));
        problems.extend(rules.complete_messages(&config.messages));
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
        let unusable = |source: &&Known| source.kept || source.digest.is_none();
        self.documents.iter().filter(unusable).map(|source| (source.path.as_path(), source.kept))
    }

    /// Adds the places of the configuration, and takes out those under names that mean a secret: what
    /// stands there is no reason and no id.
    fn complete_hints(&mut self, configured: &[Source]) {
        let mut hints = std::mem::take(&mut self.hints);
        for (at, hint) in hints.iter_mut().enumerate() {
            hint.reason.extend_from_slice(configured);
            hint.reason.retain(|source| !self.is_secret(source.names(), Some(at)));
            hint.id = hint.id.take().filter(|source| !self.is_secret(source.names(), Some(at)));
        }
        self.hints = hints;
    }

    /// The configuration's readable lines, which come before the documents'.
    fn complete_messages(&mut self, configured: &[config::Message]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let warn = |place: &Place, text: String, help: &str| Problem {
            help: Some(help.to_owned()),
            ..problem(Severity::Warning, Some(place.clone()), format!("`messages`: {text}"))
        };
        for config::Message { operations, text, place } in configured {
            // `config::load` has told of texts that are none.
            let Ok(template) = Template::parse(text) else { continue };
            for name in operations {
                let mut found = false;
                for (operation, hints) in self.specs.operations().iter().zip(&mut self.hints) {
                    let is = |path: &str| *name == format!("{} {path}", operation.method);
                    if operation.operation_id.as_ref() == Some(name)
                        || is(&operation.route)
                        || is(&operation.template)
                    {
                        found = true;
                        let told = stranger(&template, operation);
                        let help = format!("its path is {}", operation.template);
                        problems.extend(told.map(|told| warn(place, format!("{name}: {told}"), &help)));
                        hints.message = Some(template.clone());
                    }
                }
                if !found && !self.specs.operations().is_empty() {
                    let help = "give an `operationId`, or method and path as the document writes them";
                    problems.push(warn(place, format!("no document has an operation {name}"), help));
                }
            }
        }
        problems
    }

    /// The readable line of an operation's calls, where someone has written one.
    pub fn template(&self, operation: Option<usize>) -> Option<&Template> {
        self.hints_of(operation).message.as_ref()
    }

    /// Which operation, and what is to be recorded of it.
    pub fn judge<'s, 't>(&'s self, head: &Head<'t>, has_body: bool, upgrade: bool) -> Judged<'s, 't> {
        let target = head.target();
        let found = self.specs.find(head.method(), target, &|name| head.first(name));
        let (path, _) = split_target(target);
        let (path, overridden) = (String::from_utf8_lossy(path), extract::effective_method(head));
        let call = Call {
            method: head.method(),
            path: &path,
            normal_form: spec_match::is_normal_form(target),
            has_body,
            overridden: overridden.as_deref(),
            mutates: extract::mutates(target),
            upgrade,
            operation: found.operation.map(|o| OperationRef {
                route: &o.route,
                template: &o.template,
                operation_id: o.operation_id.as_deref().unwrap_or_default(),
                tags: &o.tags,
            }),
            matched: found.kind,
        };
        let (decision, mutating) = (self.policy.decide(&call), !policy::is_safe(&call));
        Judged { found, decision, mutating, overridden }
    }

    /// What the event says beside the bytes, and the oddities.
    pub fn facts(&self, head: &Head<'_>, peer: &Peer, judged: &Judged<'_, '_>) -> (Facts, Vec<&'static str>) {
        let (actor, actor_flags) = self.extractor.actor(head, peer);
        let (client, client_flags) = self.extractor.client(head, peer);
        let mut flags = judged.found.flags.clone();
        flags.extend(actor_flags.into_iter().chain(client_flags));
        let operation_index = judged.found.operation.and_then(|o| self.specs.index_of(o));
        // A path keeps its parameters, and their names may mean secrets, whatever the method.
        let other = (judged.found.operation.is_none() && judged.found.route().is_some())
            .then(|| self.find_any(head.method(), head.target()))
            .filter(|other| other.route() == judged.found.route());
        let read = other.as_ref().unwrap_or(&judged.found);
        let marks_index = read.operation.and_then(|o| self.specs.index_of(o));
        let overridden = judged.overridden.as_deref();
        let method = overridden.unwrap_or(head.method());
        let mut operation = operation(method, &judged.found, params(read));
        if let Some(calls) = extract::of_head(head) {
            self.carry(&mut operation, calls);
        }
        self.hint(operation_index, &mut operation);
        let mut reasons = self.reasons(operation_index).iter();
        let reason = reasons.find_map(|s| s.in_head(head, &operation.path_params));
        let overridden = overridden.map(str::to_owned);
        (Facts { operation, operation_index, marks_index, actor, client, overridden, reason }, flags)
    }

    /// Where a call's reason may stand, the document's word before the configuration's.
    pub fn reasons(&self, operation: Option<usize>) -> &[Source] {
        &self.hints_of(operation).reason
    }

    /// Where the id of what a call is about stands, if the document says.
    pub fn id_source(&self, operation: Option<usize>) -> Option<&Source> {
        self.hints_of(operation).id.as_ref()
    }

    /// Whether one of these names means a secret.
    pub fn is_secret<'n>(&self, names: impl IntoIterator<Item = &'n str>, operation: Option<usize>) -> bool {
        let marks = self.marks(operation);
        names.into_iter().any(|name| self.redactor.rule_of(name, marks).is_some())
    }

    fn hints_of(&self, operation: Option<usize>) -> &Hints {
        let none = self.hints.len() - 1;
        &self.hints[operation.unwrap_or(none).min(none)]
    }

    /// What the document says in so many words comes before what can be read off a template.
    pub fn hint(&self, index: Option<usize>, operation: &mut event::Operation<'_>) {
        let hints = self.hints_of(index);
        if let Some(op) = hints.op {
            operation.op = op;
        }
        if let Some(kind) = &hints.kind {
            operation.resource_type = kind.clone().into();
        }
    }

    /// Tells the calls inside a call. Paths of batches are shown as the outer one is: secrets masked.
    pub fn carry(&self, operation: &mut event::Operation<'_>, calls: Calls) {
        if operation.resource_id.is_empty() {
            // `/graphql` is no collection of graphql.
            operation.resource_type = "".into();
        }
        operation.op = calls.op;
        operation.protocol = calls.protocol.into();
        operation.calls_total = calls.total;
        let text = |call| match call {
            Inner::Named(name) => name,
            Inner::Request { method, path } => format!("{method} {}", self.inner_path(&method, &path)),
        };
        operation.calls = calls.list.into_iter().map(|call| text(call).into()).collect();
    }

    fn inner_path(&self, method: &str, path: &str) -> String {
        let slash = if path.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{path}");
        let found = self.find_any(method, target.as_bytes());
        let index = found.operation.and_then(|o| self.specs.index_of(o));
        let mut shown = path.to_owned();
        for param in found.params().filter(|p| !p.raw.is_empty() && self.is_secret([p.name], index)) {
            shown = shown.replace(&*param.raw, "[redacted]");
        }
        extract::clean(self.redactor.path(shown.as_bytes()).as_bytes(), MAX_INNER_PATH).text.into_owned()
    }

    /// The operation of a path, of this method or, for the path parameters, of another.
    fn find_any<'t>(&self, method: &str, target: &'t [u8]) -> Found<'_, 't> {
        let find = |method: &str| self.specs.find(method, target, &|_| None);
        let others = ["GET", "PUT", "PATCH", "DELETE", "POST"];
        let mut all = others.iter().map(|m| find(m));
        let own = find(method);
        if own.operation.is_some() { own } else { all.find(|f| f.operation.is_some()).unwrap_or(own) }
    }

    /// The one thing a path names by the documents: its type, and its id unless that is a secret.
    /// `/v1/orders/7` → `orders`, `7`.
    pub fn item(&self, path: &[u8]) -> Option<(String, Option<String>)> {
        let found = self.find_any("GET", path);
        let route = found.operation.map(|o| o.route.as_str()).filter(|route| extract::names_one(route))?;
        let index = found.operation.and_then(|o| self.specs.index_of(o));
        let params = params(&found);
        let secret = self.is_secret([&*params.0.last()?.0], index);
        let resource = extract::resource("GET", Some(route), &params);
        let id = extract::created::fit(&resource.id).filter(|_| !secret);
        Some((resource.kind.into_owned(), id))
    }

    pub fn marks(&self, operation: Option<usize>) -> &SchemaMarks {
        let none = self.marks.len() - 1;
        &self.marks[operation.unwrap_or(none).min(none)]
    }
}

impl Documents {
    /// Reads the documents. What is wrong with one is a problem, never a reason not to start: a missing or
    /// broken document must not stop traffic.
    pub fn read(config: &Config) -> Documents {
        Documents::read_after(config, None)
    }

    fn read_after(config: &Config, before: Option<&Rules>) -> Documents {
        let mut problems = Vec::new();
        let mut documents = Vec::new();
        let mut known = Vec::new();
        // Fields take memory: they are remembered only where they are asked for.
        let fields = config.redact.unknown == Unknown::Mask;
        for path in &config.openapi {
            let (source, document) = Known::read(path, fields, before, &mut problems);
            if let Some(mut document) = document {
                document.operations.iter_mut().for_each(|o| o.let_span(&config.multi_segment));
                documents.push(document);
            }
            known.push(source);
        }
        let (specs, mut warnings) = SpecMatcher::new(documents, &config.base_path);
        for path in &config.openapi {
            let (own, others) = warnings.into_iter().partition(|w| *w.file == *path.display().to_string());
            warnings = others;
            problems.extend(locate(path, own));
        }
        // File by file and from top to bottom; what has no line comes last.
        problems.sort_by(|a, b| place_order(a).cmp(&place_order(b)));
        Documents { specs, known, problems }
    }
}

impl Known {
    /// Reads a document, or takes the version in use before of one that cannot be used. What is wrong
    /// with it is added to the problems; of one that is not there, `config::load` has told, with its
    /// place.
    fn read(
        path: &Path,
        fields: bool,
        before: Option<&Rules>,
        problems: &mut Vec<Problem>,
    ) -> (Known, Option<Document>) {
        let mut source =
            Known { path: path.to_owned(), digest: None, files: Sources::default(), kept: false };
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
                problems.extend(locate(path, odd_hints(&document)));
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
fn version(config: &Config, documents: &[Known]) -> String {
    let mut hash = Sha256::new();
    hash.update(config::effective(config).to_string());
    hash.update(config.sources.digest());
    for source in documents {
        hash.update(source.path.as_os_str().as_encoded_bytes());
        hash.update(source.digest.unwrap_or_default());
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Characters of a path inside a batch.
const MAX_INNER_PATH: usize = 256;

fn reason_sources(reason: &config::Reason) -> Vec<Source> {
    let headers = reason.header.iter().cloned().map(Source::Header);
    let queries = reason.query.iter().cloned().map(Source::Query);
    // `config::load` has told of paths that are none.
    let bodies = reason.body.iter().filter_map(|path| Source::parse(path).ok());
    headers.chain(queries).chain(bodies).collect()
}

/// `x-audit-*` keys that cannot be read, each once: one at the root is every operation's.
fn odd_hints(document: &openapi::Document) -> Vec<openapi::Warning> {
    let mut told = Vec::new();
    let mut warnings = Vec::new();
    for operation in &document.operations {
        let (hints, mut texts) = Hints::read(&operation.extensions);
        let odd = hints.message.and_then(|message| stranger(&message, operation));
        texts.extend(odd.map(|odd| format!("x-audit-message: {odd}")));
        for text in texts {
            if !told.contains(&text) {
                let warning = openapi::Warning::of_operation(&document.name, operation, text.clone());
                warnings.push(warning.mend("see the table of x-audit keys in the documentation"));
                told.push(text);
            }
        }
    }
    warnings
}

/// A path parameter that a readable line names and the operation has not.
fn stranger(template: &Template, operation: &openapi::Operation) -> Option<String> {
    let known = |name: &str| operation.template.contains(&format!("{{{name}}}"));
    let name = template.path_params().find(|name| !known(name))?;
    Some(format!("`{{path.{name}}}` is no parameter of the path"))
}

fn params(found: &Found<'_, '_>) -> event::Params<'static> {
    let params = found.params().map(|p| (p.name.to_owned().into(), p.decoded.into_owned().into()));
    event::Params(params.collect())
}

/// The operation as the event tells it. `method`: the effective one.
fn operation(
    method: &str,
    found: &Found<'_, '_>,
    params: event::Params<'static>,
) -> event::Operation<'static> {
    let resource = extract::resource(method, found.route(), &params);
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
