//! The embedded engine, for real: life cycle, accounts, data.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{READY, as_user, options, query, start};
use sidelog_standalone::engine::{Engine, EngineError, EngineOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn create_table(engine: &Engine, rows: usize) {
    for sql in [
        "CREATE DATABASE IF NOT EXISTS audit".to_owned(),
        "CREATE TABLE IF NOT EXISTS audit.t (n UInt64) ENGINE = MergeTree ORDER BY n".to_owned(),
        format!("INSERT INTO audit.t SELECT number FROM numbers({rows})"),
    ] {
        assert_eq!(as_user(engine, &engine.writer, &sql), (200, String::new()));
    }
}

fn gone_within(pid: u32, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while Path::new(&format!("/proc/{pid}")).exists() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn data_and_passwords_survive_a_restart_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let writer = engine.writer.clone();
    create_table(&engine, 1000);
    engine.stop().unwrap();

    let engine = start(dir.path());
    assert_eq!(engine.writer, writer);
    assert_eq!(as_user(&engine, &engine.reader, "SELECT sum(n) FROM audit.t").1, "499500");
    // SAFETY: the child of this test.
    unsafe { libc::kill(engine.pid() as i32, libc::SIGKILL) };
    assert!(gone_within(engine.pid(), Duration::from_secs(10)));
    // The process is gone a moment before its end is known here.
    let until = Instant::now() + Duration::from_secs(10);
    while engine.exited().is_none() {
        assert!(Instant::now() < until, "its end is never known");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(engine);

    let engine = start(dir.path());
    assert_eq!(as_user(&engine, &engine.reader, "SELECT count() FROM audit.t").1, "1000");
}

#[test]
fn the_reader_reads_the_audit_database_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    create_table(&engine, 3);
    assert_eq!(as_user(&engine, &engine.reader, "SELECT count() FROM audit.t"), (200, "3".into()));
    for refused in [
        "INSERT INTO audit.t VALUES (1)".to_owned(),
        "DROP TABLE audit.t".to_owned(),
        "ALTER TABLE audit.t DELETE WHERE 1".to_owned(),
        "CREATE TABLE audit.u (n UInt8) ENGINE = Memory".to_owned(),
        "SYSTEM SHUTDOWN".to_owned(),
        "SYSTEM STOP LISTEN HTTP".to_owned(),
        "SELECT * FROM system.users".to_owned(),
        "SET readonly = 0".to_owned(),
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString', 'l String')".to_owned(),
        "SELECT * FROM file('/etc/passwd', 'LineAsString', 'l String')".to_owned(),
    ] {
        let (status, body) = as_user(&engine, &engine.reader, &refused);
        assert_ne!(status, 200, "{refused}: {body}");
    }
    assert_eq!(as_user(&engine, &engine.reader, "SELECT count() FROM audit.t"), (200, "3".into()));
}

/// `file()` is open to every user of an embedded engine; see `engine/confine.rs`.
#[test]
#[cfg(target_os = "linux")]
fn the_engine_reads_no_files_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    if !engine.confined() {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    create_table(&engine, 3);
    let secret = dir.path().join("writer.password");
    let environment = format!("/proc/{}/environ", std::process::id());
    for refused in [
        format!("SELECT file('{}')", secret.display()),
        "SELECT file('/etc/passwd')".to_owned(),
        format!("SELECT file('{environment}')"),
        "INSERT INTO FUNCTION file('/tmp/x', 'LineAsString', 'l String') VALUES ('x')".to_owned(),
    ] {
        for account in [&engine.reader, &engine.writer] {
            let (status, body) = as_user(&engine, account, &refused);
            assert_ne!(status, 200, "{refused}: {body}");
        }
    }
}

#[test]
fn nobody_gets_in_without_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let sql = "SELECT currentUser()";
    let refuse = |headers: &str, target: &str| {
        let (status, body) = query(&engine.http_url, headers, target, sql);
        assert!(status >= 400 && !body.contains("default\n"), "{headers:?} {target}: {status} {body}");
    };
    refuse("", "/");
    refuse("", "/?user=default&password=");
    refuse("", "/?user=default&max_query_size=100000");
    refuse("", "/?user=default&profile=default");
    refuse("", "/?user=default&session_id=x&max_query_size=0");
    refuse("Authorization: Basic ZGVmYXVsdDo=\r\n", "/"); // default:
    refuse("X-ClickHouse-User: default\r\n", "/");
    refuse("X-ClickHouse-User: writer\r\nX-ClickHouse-Key: wrong\r\n", "/");
    refuse("X-ClickHouse-User: reader\r\n", "/");
}

#[test]
fn a_second_engine_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let error = Engine::start_ready(&options(dir.path()), READY).unwrap_err();
    assert!(matches!(error, EngineError::InUse(_)), "{error}");
    assert_eq!(as_user(&engine, &engine.writer, "SELECT 1"), (200, "1".into()));
}

#[test]
fn a_taken_port_is_told_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = EngineOptions { http_port: taken.local_addr().unwrap().port(), ..options(dir.path()) };
    match Engine::start(&options) {
        Err(EngineError::Port { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// A process that starts an engine and never stops it; [`an_engine_never_outlives_a_killed_parent`]
/// runs it as its own child.
#[test]
#[ignore = "helper process"]
fn helper_parent() {
    let data = std::env::var("SIDELOG_TEST_DATA").unwrap();
    let engine = start(Path::new(&data));
    std::fs::write(Path::new(&data).join("pid"), engine.pid().to_string()).unwrap();
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn an_engine_never_outlives_a_killed_parent() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    engine.stop().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "helper_parent"])
        .env("SIDELOG_TEST_DATA", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = dir.path().join("pid");
    let until = Instant::now() + READY;
    let pid: u32 = loop {
        if let Ok(pid) = std::fs::read_to_string(&file).unwrap_or_default().parse() {
            break pid;
        }
        assert!(Instant::now() < until, "the helper did not start an engine");
        std::thread::sleep(Duration::from_millis(20));
    };
    // Ctrl-C at a terminal goes to the foreground process group: the engine is not in it.
    // SAFETY: system calls on processes of this test.
    assert_eq!(unsafe { libc::getpgid(pid as i32) }, pid as i32);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(gone_within(pid, Duration::from_secs(20)), "engine {pid} is an orphan");
    // And its data directory is free again.
    drop(start(dir.path()));
}
