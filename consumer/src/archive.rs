//! Rows as Parquet files in a directory, and back.
//!
//! Owns: the files `TABLE-YYYYMM-ID.parquet` and `manifest.jsonl`, a line for each. Promises: a file is in
//! the manifest only when it is whole on the disk; its line has the number of rows, a digest of their
//! content computed by ClickHouse, and the file's SHA-256, and [`Archive::load`] checks all three.
//! Parquet is ClickHouse's own: any tool reads it. Refuses: other layouts, and files that are not listed.

use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const MANIFEST: &str = "manifest.jsonl";
/// Bytes sent to ClickHouse at a time.
const CHUNK: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} line {line} is not a line of a manifest")]
    Manifest { path: PathBuf, line: usize },
    #[error("{0} is not what the manifest says: {1}")]
    Damaged(PathBuf, &'static str),
}

/// A line of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub file: String,
    pub table: String,
    /// `202610`.
    pub month: u32,
    pub rows: u64,
    /// XOR over the rows of a hash of their columns, in this order.
    pub digest: String,
    pub columns: Vec<String>,
    pub sha256: String,
    pub bytes: u64,
    pub created: jiff::Timestamp,
}

/// A directory of such files.
#[derive(Debug, Clone)]
pub struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// Makes the directory if it is absent.
    pub fn open(dir: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(dir).map_err(|source| file("cannot make", dir, source))?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// The manifest. A last line that was cut short belongs to a file that never counted.
    pub fn entries(&self) -> Result<Vec<Entry>, ArchiveError> {
        let path = self.dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(file("cannot read", &path, source)),
        };
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().enumerate().filter(|(_, line)| !line.is_empty());
        let read = |(n, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|_| ArchiveError::Manifest { path: path.clone(), line: n + 1 })
        };
        lines.map(read).collect()
    }

    /// Writes the rows of `select` (all columns of `table`) to a file, and its line.
    pub async fn export(
        &self,
        table: &str,
        month: u32,
        select: clickhouse::query::Query,
        counted: (u64, String),
        columns: Vec<String>,
    ) -> Result<Entry, ArchiveError> {
        let entry = self.write(table, month, select, counted, columns).await?;
        let mut entries = self.entries()?;
        entries.push(entry.clone());
        self.list(&entries)?;
        Ok(entry)
    }

    async fn write(
        &self,
        table: &str,
        month: u32,
        select: clickhouse::query::Query,
        (rows, digest): (u64, String),
        columns: Vec<String>,
    ) -> Result<Entry, ArchiveError> {
        let name = format!("{table}-{month}-{}.parquet", Uuid::now_v7().simple());
        let part = self.dir.join(format!("{name}.part"));
        let mut out = File::create(&part).map_err(|source| file("cannot write", &part, source))?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let mut cursor = select.fetch_bytes("Parquet").map_err(StoreError::from)?;
        while let Some(chunk) = cursor.next().await.map_err(StoreError::from)? {
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            out.write_all(&chunk).map_err(|source| file("cannot write", &part, source))?;
        }
        out.sync_all().map_err(|source| file("cannot write", &part, source))?;
        let path = self.dir.join(&name);
        fs::rename(&part, &path).map_err(|source| file("cannot name", &path, source))?;
        let sha256 = hex(&hash.finalize());
        let created = jiff::Timestamp::now();
        Ok(Entry { file: name, table: table.into(), month, rows, digest, columns, sha256, bytes, created })
    }

    /// Puts a new list in the place of the old one, at once.
    fn list(&self, entries: &[Entry]) -> Result<(), ArchiveError> {
        let (path, part) = (self.dir.join(MANIFEST), self.dir.join("manifest.part"));
        let told = |source| file("cannot write", &part, source);
        let mut out = File::create(&part).map_err(told)?;
        for entry in entries {
            // Text, numbers and a time always serialise.
            let line = serde_json::to_string(entry).unwrap_or_default();
            writeln!(out, "{line}").map_err(told)?;
        }
        out.sync_all().map_err(told)?;
        fs::rename(&part, &path).map_err(|source| file("cannot name", &path, source))?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| file("cannot sync", &self.dir, source))
    }

    /// Puts another file in an entry's place, or none; the old one is gone when this returns.
    pub async fn replace(
        &self,
        old: &Entry,
        new: Option<(clickhouse::query::Query, (u64, String))>,
    ) -> Result<(), ArchiveError> {
        let new = match new {
            Some((select, counted)) => {
                Some(self.write(&old.table, old.month, select, counted, old.columns.clone()).await?)
            }
            None => None,
        };
        let mut entries = self.entries()?;
        entries.retain(|entry| entry.file != old.file);
        entries.extend(new);
        self.list(&entries)?;
        let path = self.dir.join(&old.file);
        fs::remove_file(&path).map_err(|source| file("cannot remove", &path, source))
    }

    /// Removes files of ours that no line names: what a kill left behind.
    pub fn sweep(&self) -> Result<(), ArchiveError> {
        let listed: Vec<String> = self.entries()?.into_iter().map(|entry| entry.file).collect();
        let files = fs::read_dir(&self.dir).map_err(|source| file("cannot read", &self.dir, source))?;
        for path in files.flatten().map(|file| file.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ours = ["events-", "open_calls-"].iter().any(|table| name.starts_with(table));
            let ours = ours && (name.ends_with(".parquet") || name.ends_with(".parquet.part"));
            if ours && !listed.contains(&name) {
                fs::remove_file(&path).map_err(|source| file("cannot remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Reads a file into an empty table, and checks that it is what was written.
    pub async fn load(&self, store: &Store, entry: &Entry, into: &str) -> Result<(), ArchiveError> {
        let path = self.dir.join(&entry.file);
        let told = |source| file("cannot read", &path, source);
        let mut input = File::open(&path).map_err(told)?;
        let sql = format!("INSERT INTO {into} ({}) FORMAT Parquet", entry.columns.join(", "));
        let mut insert = store
            .client()
            .insert_formatted_with(sql)
            .with_setting("async_insert", "0")
            .with_setting("max_partitions_per_insert_block", "0");
        let mut hash = Sha256::new();
        loop {
            let mut chunk = vec![0; CHUNK];
            let n = input.read(&mut chunk).map_err(told)?;
            if n == 0 {
                break;
            }
            chunk.truncate(n);
            hash.update(&chunk);
            insert.send(chunk.into()).await.map_err(StoreError::from)?;
        }
        if hex(&hash.finalize()) != entry.sha256 {
            // Not ended: nothing of it is stored.
            return Err(ArchiveError::Damaged(path, "SHA-256"));
        }
        insert.end().await.map_err(StoreError::from)?;
        let counted: (u64, String) = store.one(&count_sql(into, "1", &entry.columns)).await?;
        match counted == (entry.rows, entry.digest.clone()) {
            true => Ok(()),
            false => Err(ArchiveError::Damaged(path, "rows or their digest")),
        }
    }
}

/// The question for the number of rows and the digest of their content.
pub fn count_sql(table: &str, condition: &str, columns: &[String]) -> String {
    format!(
        "SELECT count(), toString(groupBitXor(sipHash64(formatRowNoNewline('JSONEachRow', {})))) \
         FROM {table} WHERE {condition}",
        columns.join(", ")
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |text, byte| format!("{text}{byte:02x}"))
}

fn file(what: &'static str, path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::File { what, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(file: &str) -> Entry {
        Entry {
            file: file.into(),
            table: "events".into(),
            month: 202610,
            rows: 1,
            digest: "2".into(),
            columns: vec!["ts".into()],
            sha256: "3".into(),
            bytes: 4,
            created: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_manifest_is_read_as_written_and_a_cut_line_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(&dir.path().join("a/b")).unwrap();
        assert_eq!(archive.entries().unwrap(), []);
        archive.list(&[entry("x"), entry("y")]).unwrap();
        assert_eq!(archive.entries().unwrap(), [entry("x"), entry("y")]);
        let path = dir.path().join("a/b").join(MANIFEST);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"file\":\"z");
        fs::write(&path, &text).unwrap();
        assert_eq!(archive.entries().unwrap().len(), 2);
        fs::write(&path, "no\n").unwrap();
        assert!(matches!(archive.entries(), Err(ArchiveError::Manifest { line: 1, .. })));
    }

    #[test]
    fn what_no_line_names_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(dir.path()).unwrap();
        archive.list(&[entry("events-202610-1.parquet")]).unwrap();
        for name in [
            "events-202610-1.parquet",
            "events-202610-2.parquet",
            "open_calls-202610-3.parquet.part",
            "mine.parquet",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        archive.sweep().unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["events-202610-1.parquet", MANIFEST, "mine.parquet"]);
    }
}
