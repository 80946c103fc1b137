//! The files of one document: the root and what its `$ref`s name, all inside one directory.
//!
//! Promises: nothing outside the root document's directory is opened, nothing is fetched from the
//! network, and the number and size of files are bounded. A reference that cannot be followed is a
//! warning; what it stood for is missing, the rest of the document is not.

use super::tree::{self, Detail, Node, push_token};
use super::{LoadError, Warning};
use crate::sources::Sources;
use percent_encoding::percent_decode_str;
use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

/// `$ref` to `$ref` to …: longer chains are circles.
const MAX_CHAIN: usize = 8;
const MAX_FILES: usize = 10_000;
/// Of all files together. The largest public document is 78 MB.
const MAX_BYTES: u64 = 256 << 20;

pub(super) struct File {
    /// For messages: relative to the root document's directory.
    pub name: String,
    pub tree: Node,
    /// Where its relative references start.
    dir: PathBuf,
    path: PathBuf,
}

pub(super) struct Files {
    files: Vec<File>,
    /// File of each path as written in a reference (joined, without `..`), so that the disk is
    /// asked once.
    known: HashMap<PathBuf, Option<usize>>,
    /// Network addresses that were refused, each with one warning.
    remote: HashSet<String>,
    root_dir: PathBuf,
    /// The same directory as the document was asked for: what is mounted there may change.
    asked_dir: PathBuf,
    bytes: u64,
    /// What was read, and what was looked for in vain.
    pub sources: Sources,
    /// All properties of schemas are wanted, not only those that can bear a mark.
    fields: bool,
    pub warnings: Vec<Warning>,
    /// References to files that are not there or cannot be read.
    pub unread: usize,
}

/// A node and where it stands.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub node: &'a Node,
    pub file: usize,
    pub pointer: String,
}

impl<'a> At<'a> {
    /// A child by key, where there is one.
    pub fn get(&self, key: &str) -> Option<At<'a>> {
        self.node.get(key).map(|node| self.child(key, node))
    }

    pub fn child(&self, token: &str, node: &'a Node) -> At<'a> {
        let mut pointer = self.pointer.clone();
        push_token(&mut pointer, token);
        At { node, file: self.file, pointer }
    }
}

impl Files {
    /// Reads the root document and every file it needs; `fields`: with all properties of schemas.
    pub fn read(path: &Path, fields: bool, sources: &mut Sources) -> Result<Files, LoadError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let unreadable = |source| LoadError::Read { file: name.clone(), source };
        let root_dir = parent.canonicalize().map_err(unreadable)?;
        let real = path.canonicalize().map_err(unreadable)?;
        let mut files = Files {
            files: Vec::new(),
            known: HashMap::new(),
            remote: HashSet::new(),
            root_dir: root_dir.clone(),
            asked_dir: path.parent().unwrap_or(Path::new("")).to_owned(),
            bytes: 0,
            sources: Sources::default(),
            fields,
            warnings: Vec::new(),
            unread: 0,
        };
        let tree = files.parse_file(&real, &name, path);
        sources.extend(std::mem::take(&mut files.sources));
        let tree = tree?;
        files.known.insert(root_dir.join(&name), Some(0));
        files.files.push(File { name, tree, dir: root_dir, path: real });
        files.follow_all();
        sources.extend(std::mem::take(&mut files.sources));
        Ok(files)
    }

    /// `asked`: the way that leads here, for whoever looks for changes.
    fn parse_file(&mut self, path: &Path, name: &str, asked: &Path) -> Result<Node, LoadError> {
        let unreadable = |source| LoadError::Read { file: name.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if !meta.is_file() {
            return Err(LoadError::not_openapi(name, "not a regular file", "name the document itself"));
        }
        self.bytes = self.bytes.saturating_add(meta.len());
        if self.bytes > MAX_BYTES {
            self.sources.look(asked);
            return Err(LoadError::TooLarge { file: name.to_owned(), limit_mib: MAX_BYTES >> 20 });
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        self.sources.read(asked, &bytes);
        let fault = |f: tree::Fault| LoadError::Syntax {
            file: name.to_owned(),
            line: f.line,
            column: f.column,
            text: f.text,
            help: f.help,
        };
        let text = tree::decode(&bytes).map_err(fault)?;
        if text.trim_start().starts_with('<') {
            let text = "this is HTML or XML, not an OpenAPI document";
            let help = "what was saved is a page, perhaps of a login or an error; fetch the document again";
            return Err(LoadError::not_openapi(name, text, help));
        }
        let detail = match self.fields {
            true => Detail::Fields,
            false if self.files.is_empty() => Detail::Operations,
            false => Detail::Marks,
        };
        let (node, complaint) = tree::parse_lenient(text, detail).map_err(fault)?;
        // YAML may be written with braces; in a file of this name it is a slip.
        if let Some(fault) = complaint.filter(|_| name.ends_with(".json")) {
            let mut warning = Warning::new(name, "", format!("{}; read as YAML all the same", fault.text));
            (warning.line, warning.column) = (fault.line, fault.column);
            self.warnings.push(warning.mend("other programs will refuse this file: mend it"));
        }
        Ok(node)
    }

    /// Opens the files that references name, breadth first.
    fn follow_all(&mut self) {
        let mut next = 0;
        while let Some(file) = self.files.get(next) {
            let mut wanted = Vec::new();
            collect(&file.tree, &mut String::new(), &mut wanted);
            for (pointer, reference) in wanted {
                if let Err((text, help)) = self.open(next, &reference) {
                    let file = self.files.get(next).map_or_else(String::new, |f| f.name.clone());
                    let warning = Warning::new(file, pointer, format!("$ref {reference} {text}"));
                    self.warnings.push(warning.mend(help));
                    self.unread += 1;
                }
            }
            next += 1;
        }
    }

    /// Opens the file of one reference, unless it is open already. The error: what is wrong with it
    /// and how to mend it.
    fn open(&mut self, from: usize, reference: &str) -> Result<(), (String, &'static str)> {
        const INSIDE: &str = "keep a copy beside the document and refer to that";
        let outside = || ("leaves the directory of the document; refused".to_owned(), INSIDE);
        let Some(wanted) = self.lexical(from, reference) else {
            let address = reference.split('#').next().unwrap_or_default();
            if !self.remote.insert(address.to_owned()) {
                return Ok(());
            }
            return Err(("leaves the machine; nothing is fetched".into(), INSIDE));
        };
        if self.known.contains_key(&wanted) {
            return Ok(());
        }
        self.known.insert(wanted.clone(), None);
        if self.files.len() >= MAX_FILES {
            let text = format!("is one file too many; at most {MAX_FILES} are read");
            return Err((text, "bundle the document into one file"));
        }
        // Checked before and after symbolic links are followed, so that a refused path says
        // nothing about whether it exists.
        let Ok(inside) = wanted.strip_prefix(&self.root_dir) else { return Err(outside()) };
        let asked = self.asked_dir.join(inside);
        let real = wanted.canonicalize().map_err(|e| {
            self.sources.look(&asked);
            let text = format!("cannot be read: {}", super::why(&e));
            (text, "a reference is relative to the file it stands in")
        })?;
        if !real.starts_with(&self.root_dir) {
            return Err(outside());
        }
        if let Some(same) = self.files.iter().position(|f| f.path == real) {
            self.known.insert(wanted, Some(same));
            self.sources.look(&asked);
            return Ok(());
        }
        let name = wanted.strip_prefix(&self.root_dir).unwrap_or(&wanted).display().to_string();
        let tree =
            self.parse_file(&real, &name, &asked).map_err(|e| (format!("cannot be used: {e}"), e.help()))?;
        let dir = wanted.parent().unwrap_or(&self.root_dir).to_path_buf();
        self.known.insert(wanted, Some(self.files.len()));
        self.files.push(File { name, tree, dir, path: real });
        Ok(())
    }

    /// The path a reference names, without `.` and `..`; none when it names a network address.
    fn lexical(&self, from: usize, reference: &str) -> Option<PathBuf> {
        let path = reference.split('#').next().unwrap_or_default();
        if path.contains("://") || path.starts_with("//") {
            return None;
        }
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let mut out = self.files.get(from)?.dir.clone();
        for part in Path::new(&*decoded).components() {
            match part {
                Component::Normal(p) => out.push(p),
                Component::ParentDir => {
                    out.pop();
                }
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => out = PathBuf::from("/"),
            }
        }
        Some(out)
    }

    pub fn root(&self) -> Option<At<'_>> {
        self.files.first().map(|f| At { node: &f.tree, file: 0, pointer: String::new() })
    }

    /// Whether references led to more files than the root.
    pub fn several(&self) -> bool {
        self.files.len() > 1
    }

    pub fn name(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |f| f.name.as_str())
    }

    pub fn path(&self, name: &str) -> Option<&Path> {
        self.files.iter().find(|f| f.name == name).map(|f| f.path.as_path())
    }

    /// The node a reference names.
    fn target(&self, from: usize, reference: &str) -> Option<At<'_>> {
        let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let file = if path.is_empty() { from } else { (*self.known.get(&self.lexical(from, path)?)?)? };
        let pointer = percent_decode_str(fragment).decode_utf8_lossy().into_owned();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return None;
        }
        let node = self.files.get(file)?.tree.at(&pointer)?;
        Some(At { node, file, pointer })
    }

    /// The node itself, or where its chain of `$ref`s ends. The error is the reference that leads
    /// nowhere.
    pub fn deref<'a>(&'a self, at: At<'a>) -> Result<At<'a>, String> {
        let mut at = at;
        for _ in 0..MAX_CHAIN {
            let Some(reference) = at.node.text_of("$ref") else { return Ok(at) };
            at = self.target(at.file, reference).ok_or_else(|| reference.to_owned())?;
        }
        Err(at.node.text_of("$ref").unwrap_or_default().to_owned())
    }
}

/// Every reference to another file, with its place.
fn collect(node: &Node, pointer: &mut String, out: &mut Vec<(String, String)>) {
    let len = pointer.len();
    match node {
        Node::Map(entries) => {
            // Extensions of the document as a whole refer to whatever they like.
            for (key, value) in entries.iter().filter(|(k, _)| !(len == 0 && k.starts_with("x-"))) {
                match value {
                    Node::Text(t) if &**key == "$ref" && !t.starts_with('#') && !t.is_empty() => {
                        out.push((pointer.clone(), t.to_string()));
                    }
                    Node::Map(_) | Node::List(_) => {
                        push_token(pointer, key);
                        collect(value, pointer, out);
                        pointer.truncate(len);
                    }
                    _ => {}
                }
            }
        }
        Node::List(items) => {
            for (i, item) in items.iter().enumerate() {
                push_token(pointer, &i.to_string());
                collect(item, pointer, out);
                pointer.truncate(len);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn references_cross_files_and_escape_nothing() {
        let outer = tempfile::tempdir().unwrap();
        write(outer.path(), "secret.yml", "a: 1");
        let dir = outer.path().join("spec");
        let root = write(
            &dir,
            "api.yaml",
            "a: {$ref: 'more/b.yaml#/x~1y'}\nb: {$ref: ../secret.yml}\nc: {$ref: /etc/passwd}\n\
             d: {$ref: 'https://example.com/x.yaml#/1'}\n\
             d2: {$ref: 'https://example.com/x.yaml#/2'}\nx-docs: {$ref: intro.md}\ne: {$ref: none.yaml}\nf: {$ref: link.yml}\n",
        );
        write(&dir, "more/b.yaml", "x/y: {$ref: '../api.yaml#/g'}");
        std::os::unix::fs::symlink(outer.path().join("secret.yml"), dir.join("link.yml")).unwrap();
        let files = Files::read(&root, false, &mut Sources::default()).unwrap();
        let texts: Vec<_> = files.warnings.iter().map(|w| (w.pointer.as_str(), w.text.as_str())).collect();
        assert_eq!(texts.len(), 5, "{texts:?}");
        for (pointer, want) in [
            ("/b", "leaves the directory"),
            ("/c", "leaves the directory"),
            ("/d", "fetched"),
            ("/e", "cannot be read"),
            ("/f", "leaves the directory"),
        ] {
            assert!(texts.iter().any(|(p, t)| *p == pointer && t.contains(want)), "{pointer}: {texts:?}");
        }
        let broken = files.deref(files.root().unwrap().get("a").unwrap());
        assert_eq!(broken.map(|_| ()).unwrap_err(), "../api.yaml#/g");
    }

    #[test]
    fn circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = write(dir.path(), "a.yaml", "x: {$ref: '#/y'}\ny: {$ref: '#/x'}\n");
        let files = Files::read(&root, false, &mut Sources::default()).unwrap();
        assert!(files.deref(files.root().unwrap().get("x").unwrap()).is_err());
    }

    #[test]
    fn mounted_config_maps_are_inside() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "..2024/a.yaml", "x: {$ref: 'b.yaml'}");
        write(dir.path(), "..2024/b.yaml", "y: 1");
        for name in ["a.yaml", "b.yaml"] {
            std::os::unix::fs::symlink(format!("..2024/{name}"), dir.path().join(name)).unwrap();
        }
        let files = Files::read(&dir.path().join("a.yaml"), false, &mut Sources::default()).unwrap();
        assert!(files.warnings.is_empty(), "{:?}", files.warnings);
        assert!(files.deref(files.root().unwrap().get("x").unwrap()).unwrap().node.get("y").is_some());
    }
}
