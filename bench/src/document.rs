//! The OpenAPI documents of the measurements: GitHub's, from the corpus beside the project, or a generated one
//! of about as many operations where the corpus is not there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// GitHub's, in the corpus.
pub const GITHUB: &str = "github__api.github.com.json";

/// The corpus of real documents, unpacked.
#[derive(Debug)]
pub struct Corpus {
    files: PathBuf,
    /// `corpus.tsv`: a row for each document.
    table: String,
}

impl Corpus {
    /// Unpacked into `temp`; None: it is not there.
    pub fn unpack(temp: &Path) -> Option<Corpus> {
        let home = project().join("../shared/openapi");
        let archive = home.join("specs.tar.xz");
        let table = std::fs::read_to_string(home.join("corpus.tsv")).ok()?;
        let done = Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(temp).status().ok()?;
        done.success().then(|| Corpus { files: temp.to_owned(), table })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Name and number of operations of every document.
    pub fn documents(&self) -> impl Iterator<Item = (&str, usize)> {
        self.table.lines().skip(1).filter_map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            Some((*cells.first()?, cells.get(4)?.parse().ok()?))
        })
    }
}

/// What the sidecar is given to match.
#[derive(Debug)]
pub struct Document {
    pub file: PathBuf,
    /// For people.
    pub name: &'static str,
    /// The path of a POST that creates something, and of a GET that lists it.
    pub target: &'static str,
}

impl Document {
    /// GitHub's, or the generated one, in `dir`.
    pub fn prepare(dir: &Path) -> Result<Document, String> {
        if let Some(corpus) = Corpus::unpack(dir) {
            let file = corpus.file(GITHUB);
            if file.exists() {
                return Ok(Document { file, name: "GitHub's", target: "/repos/acme/site/issues" });
            }
        }
        Document::generate(dir)
    }

    /// The generated one, in `dir`.
    pub fn generate(dir: &Path) -> Result<Document, String> {
        let file = dir.join("generated.yaml");
        std::fs::write(&file, generated()).map_err(|e| format!("cannot write a document: {e}"))?;
        Ok(Document {
            file,
            name: "a generated one of 1,200 operations (no corpus)",
            target: GENERATED_TARGET,
        })
    }
}

/// Of an operation in the generated document.
pub const GENERATED_TARGET: &str = "/v1/tenants/t-17/resource150/items";

/// A document of 1,200 operations: 300 resources of a tenant, four operations each.
pub fn generated() -> String {
    let mut text = String::from("openapi: 3.0.3\ninfo: {title: bench, version: '1'}\npaths:\n");
    for i in 0..300 {
        let operation = |verb: &str, name: &str| {
            format!(
                "    {verb}: {{operationId: {name}{i}, tags: [resource{i}], responses: {{'200': {{description: ok}}}}}}\n"
            )
        };
        let _ = writeln!(text, "  /v1/tenants/{{tenantId}}/resource{i}/items:");
        text += &operation("get", "list");
        text += &operation("post", "create");
        let _ = writeln!(text, "  /v1/tenants/{{tenantId}}/resource{i}/items/{{itemId}}:");
        text += &operation("put", "replace");
        text += &operation("delete", "remove");
    }
    text
}

/// The project's directory: where cargo or `bench/run.sh` says that it is now, not where it was built.
pub fn project() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(package).join("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_document_has_1200_operations() {
        assert_eq!(generated().matches("operationId").count(), 1200);
    }

    #[test]
    fn rows_of_the_corpus_tell_operations() {
        let table = "file\topenapi\tbytes\tpaths\toperations\na.json\t3.0.0\t1\t2\t3\nbroken\n".to_owned();
        let corpus = Corpus { files: PathBuf::from("/c"), table };
        assert_eq!(corpus.documents().collect::<Vec<_>>(), [("a.json", 3)]);
        assert_eq!(corpus.file("a.json"), Path::new("/c/a.json"));
    }
}
