//! An engine of the test's own, and SQL over HTTP.

#![allow(dead_code)] // each test file uses its part

use sidelog_standalone::engine::{Account, Engine, EngineError, EngineOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

pub const READY: Duration = Duration::from_secs(60);

pub fn options(data: &Path) -> EngineOptions {
    EngineOptions {
        executable: Some(env!("CARGO_BIN_EXE_sidelog-standalone").into()),
        ..EngineOptions::new(data)
    }
}

/// None where the library is absent.
pub fn start(data: &Path) -> Option<Engine> {
    match Engine::start_ready(&options(data), READY) {
        Ok(engine) => Some(engine),
        Err(error @ EngineError::NoLibrary { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
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
