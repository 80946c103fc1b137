//! An engine of the test's own, and SQL over HTTP.

#![allow(dead_code)] // each test file uses its part

use sidelog_standalone::engine::{Account, Engine, EngineOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const READY: Duration = Duration::from_secs(60);

/// The engine's library, where `scripts/deps.sh` put it. Without it nothing here would be tested.
fn library() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let vendor = PathBuf::from(package).join("../.deps/engine/node_modules/@chdb");
    let packages = std::fs::read_dir(&vendor).into_iter().flatten().flatten();
    let mut files = packages.flat_map(|p| ["libchdb.so", "libchdb.dylib"].map(|name| p.path().join(name)));
    files
        .find(|file| file.is_file())
        .expect("the engine is not installed: run `make test`, or scripts/deps.sh engine")
}

pub fn options(data: &Path) -> EngineOptions {
    EngineOptions {
        library: Some(library()),
        executable: Some(env!("CARGO_BIN_EXE_sidelog-standalone").into()),
        ..EngineOptions::new(data)
    }
}

pub fn start(data: &Path) -> Engine {
    Engine::start_ready(&options(data), READY).unwrap()
}

/// Status and body of one query.
pub fn query(url: &str, headers: &str, target: &str, sql: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!("POST {target} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n{sql}", sql.len());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.trim().to_owned())
}

pub fn login(account: &Account) -> String {
    format!("X-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\n", account.user, account.password)
}

pub fn as_user(engine: &Engine, account: &Account, sql: &str) -> (u16, String) {
    query(&engine.http_url, &login(account), "/", sql)
}

/// An engine with a users file of the test's own: `sidelog-standalone engine`, as by hand.
pub struct Served {
    pub url: String,
    child: std::process::Child,
}

impl Served {
    pub fn start(data: &Path, users: &str) -> Self {
        let file = data.join("users.xml");
        std::fs::write(&file, users).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sidelog-standalone"))
            .args(["engine", "--http-port", &port.to_string(), "--data"])
            .arg(data)
            .arg("--lib")
            .arg(library())
            .arg("--users")
            .arg(file)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let until = std::time::Instant::now() + READY;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the engine has ended");
            assert!(std::time::Instant::now() < until, "the engine does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { url, child }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// As a person would see it in a terminal, without colours.
pub const PRETTY: &str = "/?default_format=PrettyCompactMonoBlock&output_format_pretty_color=0\
    &output_format_pretty_row_numbers=0&output_format_pretty_max_value_width=400";

/// A file of the repository.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs every ```sql block that a ```text block follows, and puts the answers there.
fn answered(text: &str, mut ask: impl FnMut(&str) -> String) -> (String, usize) {
    let (mut out, mut asked) = (String::new(), 0);
    let mut parts = text.split("```sql\n");
    out.push_str(parts.next().unwrap());
    for part in parts {
        let (sql, after) = part.split_once("```\n").expect("the block ends");
        out.push_str(&format!("```sql\n{sql}```\n"));
        let answer = ask(sql);
        asked += 1;
        match after.strip_prefix("```text\n") {
            Some(shown) => {
                let (_, rest) = shown.split_once("```\n").expect("the block ends");
                out.push_str(&format!("```text\n{answer}\n```\n{rest}"));
            }
            None => out.push_str(after),
        }
    }
    (out, asked)
}

/// Runs a document's questions and compares the answers. Returns how many there were.
pub fn document(file: &str, ask: impl FnMut(&str) -> String) -> usize {
    let path = root(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (fresh, asked) = answered(&text, ask);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    for (shown, real) in text.lines().zip(fresh.lines()) {
        assert_eq!(shown, real, "{file} differs: UPDATE_GOLDEN=1 writes it anew");
    }
    assert_eq!(text.lines().count(), fresh.lines().count());
    asked
}
