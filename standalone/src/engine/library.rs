//! Finding `libchdb`: named, fetched by `make`, or beside the executable.

use super::EngineError;
use std::env;
use std::path::{Path, PathBuf};

/// The npm package that carries the library for this machine.
const PACKAGE: &str = if cfg!(target_os = "macos") {
    if cfg!(target_arch = "aarch64") { "lib-darwin-arm64" } else { "lib-darwin-x64" }
} else if cfg!(target_arch = "aarch64") {
    "lib-linux-arm64-gnu"
} else {
    "lib-linux-x64-gnu"
};
/// The version everything here was tested with.
const VERSION: &str = "26.7.3-stable.1";
const NAMES: [&str; 2] = ["libchdb.so", "libchdb.dylib"];

/// `named`, else `SIDELOG_ENGINE_LIB`, else the places of [`candidates`].
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, EngineError> {
    let named = named.map(Path::to_path_buf).or_else(|| env::var_os("SIDELOG_ENGINE_LIB").map(PathBuf::from));
    let looked = match named {
        Some(path) => vec![path],
        None => candidates(),
    };
    // Absolute, because the child may be started with another working directory.
    match looked.iter().find(|p| p.is_file()).and_then(|p| std::fs::canonicalize(p).ok()) {
        Some(path) => Ok(path),
        None => Err(EngineError::NoLibrary {
            looked: looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "),
            fetch: format!("npm install --prefix .deps/engine @chdb/{PACKAGE}@{VERSION}"),
        }),
    }
}

fn candidates() -> Vec<PathBuf> {
    let fetched = Path::new(".deps/engine/node_modules/@chdb").join(PACKAGE);
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let places = std::iter::once(fetched).chain(beside);
    places.flat_map(|place| NAMES.map(|name| place.join(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_library_is_an_error_that_tells_the_command() {
        let error = find(Some(Path::new("/nowhere/libchdb.so"))).unwrap_err().to_string();
        assert!(error.contains("/nowhere/libchdb.so"), "{error}");
        assert!(error.contains("npm install --prefix .deps/engine @chdb/"), "{error}");
    }

    #[test]
    fn a_named_library_is_taken_and_made_absolute() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libchdb.so");
        std::fs::write(&path, b"").unwrap();
        assert!(find(Some(&path)).unwrap().is_absolute());
    }
}
