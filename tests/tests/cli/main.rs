//! The command line: the real binary, as a person or a script runs it.
//!
//! | here | what |
//! |---|---|
//! | `check` | broken configurations and documents: what is said, where, and the exit status |
//! | `proxy` | what stops it from starting (a configuration) and what does not (a document) |
//! | `reload` | files that change while it runs |
//! | `explain` | one request for people, many as JSON lines |
//! | `corpus` | every public document and request of the corpus through `explain --stdin` |
//! | `journal` | what a journal directory holds, and how it is mended |
//! | `schema` | the printed schemas hold for what they describe |
//!
//! Golden files lie in `tests/data/cli`; `UPDATE_GOLDEN=1` writes them anew.

mod check;
mod corpus;
mod explain;
mod journal;
mod proxy;
mod reload;
mod schema;

use harness::binary;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `sidelog` with these arguments, in `dir`, so that messages hold no path of this machine.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary("sidelog"));
    command.current_dir(dir).args(args).env_remove("RUST_LOG");
    command
}

/// What a run of `sidelog` left.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

fn sidelog(dir: &Path, args: &[&str]) -> Ran {
    ran(command(dir, args).output().unwrap())
}

fn ran(output: Output) -> Ran {
    Ran {
        status: output.status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn data(path: &str) -> PathBuf {
    // As cargo says now: worktrees may share a target directory.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("data").join(path)
}

/// The directories or files of a directory, by name.
fn listed(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

#[track_caller]
fn golden(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs: UPDATE_GOLDEN=1 writes it anew", path.display());
}
