//! The command line, without a server.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::path::Path;
use std::process::{Command, Output};

fn consumer(dir: &Path, yaml: &str, args: &[&str]) -> Output {
    let config = dir.join("sidelog.yaml");
    std::fs::write(&config, format!("service: s\nupstream: http://127.0.0.1:1\n{yaml}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidelog-consumer"));
    let (name, rest) = args.split_first().unwrap();
    command.arg(name).arg("--config").arg(config).args(rest).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn access_shows_its_plan_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "clickhouse: {database: log, cluster: main, readers: {max_rows: 7, max_time: 5s}}\n";
    let output = consumer(dir.path(), yaml, &["access", "--plan"]);
    let plan = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(plan.contains("CREATE ROLE IF NOT EXISTS `log_tenant` ON CLUSTER 'main';"), "{plan}");
    assert!(
        plan.contains("max_result_rows = 7 MIN 1 MAX 7, ") && plan.contains("max_execution_time = 5 MIN 1")
    );
}

#[test]
fn a_server_that_is_away_is_named_with_the_user() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("password"), "a secret\n").unwrap();
    let yaml = "clickhouse: {url: 'http://127.0.0.1:1'}\n";
    let password = dir.path().join("password");
    let args = ["grant", "--tenant", "acme", "--user", "anna", "--as", "root", "--password-file"];
    let args: Vec<&str> = args.into_iter().chain([password.to_str().unwrap()]).collect();
    let output = consumer(dir.path(), yaml, &args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69));
    assert!(message.contains("(at http://127.0.0.1:1, as root)") && !message.contains("secret"), "{message}");
}

#[test]
fn limits_that_would_mean_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "clickhouse:\n  readers: {max_rows: 0, max_bytes: 0, max_time: 0s}\n";
    let output = consumer(dir.path(), yaml, &["access", "--plan"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    for place in ["sidelog.yaml:4:23", "sidelog.yaml:4:37", "sidelog.yaml:4:50"] {
        assert!(message.contains(place), "{message}");
    }
}
