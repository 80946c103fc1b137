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
