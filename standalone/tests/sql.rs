//! docs/sql.md: every question in it is asked of the real engine, as the reader, and answered as shown.
//!
//! `UPDATE_GOLDEN=1` writes the answers anew.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{login, query, start};
use sidelog::config::Secret;
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, LossRow, Origin, Parsed};
use sidelog_standalone::engine::Engine;
use std::path::{Path, PathBuf};

/// What two companies did on two days.
const EVENTS: &str = include_str!("../../tests/data/sql/events.jsonl");
/// As a person would see it in a terminal, without colours.
const FORMAT: &str = "/?default_format=PrettyCompactMonoBlock&output_format_pretty_color=0\
    &output_format_pretty_row_numbers=0&output_format_pretty_max_value_width=400";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

async fn fill(engine: &Engine) {
    let store = Store::new(&StoreOptions {
        url: engine.http_url.clone(),
        user: engine.writer.user.clone(),
        password: Some(Secret(engine.writer.password.clone())),
        place: Place { database: "audit".into(), cluster: None },
    });
    migrate::migrate(&store).await.unwrap();
    let (mut events, mut open, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for (line, offset) in EVENTS.lines().zip(0..) {
        let origin = Origin { topic: "audit.events", partition: 0, offset };
        match transform::parse(line.as_bytes(), origin).unwrap_or_else(|e| panic!("line {offset}: {e:?}")) {
            Parsed::Event(row) => events.push(*row),
            Parsed::OpenCall(row) => open.push(*row),
            Parsed::Loss(row) => losses.push(row),
        }
    }
    store.insert::<EventRow<'static>>("events", "a", &events).await.unwrap();
    store.insert::<EventRow<'static>>("open_calls", "b", &open).await.unwrap();
    store.insert::<LossRow<'static>>("losses", "c", &losses).await.unwrap();
}

/// The answer to a question, as the document shows it.
fn ask(engine: &Engine, sql: &str) -> String {
    let (status, answer) = query(&engine.http_url, &login(&engine.reader), FORMAT, sql);
    assert_eq!(status, 200, "{sql}\n{answer}");
    answer
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

#[tokio::test]
async fn every_question_of_the_document_is_answered_as_shown() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    fill(&engine).await;
    let path = root("docs/sql.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (fresh, asked) = answered(&text, |sql| ask(&engine, sql));
    assert!(asked >= 15, "only {asked} questions");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    for (shown, real) in text.lines().zip(fresh.lines()) {
        assert_eq!(shown, real, "docs/sql.md differs: UPDATE_GOLDEN=1 writes it anew");
    }
    assert_eq!(text.lines().count(), fresh.lines().count());
}

/// Every column of every view is described in the document.
#[tokio::test]
async fn every_column_of_the_views_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    fill(&engine).await;
    let text = std::fs::read_to_string(root("docs/sql.md")).unwrap();
    for view in ["activity", "resource_history", "completeness", "gaps", "ocsf_api_activity", "otel_logs"] {
        let columns = format!(
            "SELECT arrayStringConcat(groupArray(name), ',') FROM (SELECT name FROM system.columns \
             WHERE database = 'audit' AND table = '{view}' ORDER BY position) FORMAT TSVRaw"
        );
        let columns = ask(&engine, &columns);
        let heading = format!("### `audit.{view}`\n");
        let (_, section) = text.split_once(&heading).unwrap_or_else(|| panic!("no section on {view}"));
        let section = section.split("\n### ").next().unwrap();
        assert!(columns.contains(','), "{view}: {columns}");
        for column in columns.split(',') {
            assert!(section.contains(&format!("`{column}`")), "{view}.{column} is not described");
        }
    }
}

/// One line of JSON is one OCSF event: the members that class 6003 requires, nested as there.
#[tokio::test]
async fn ocsf_events_have_what_the_class_requires() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    fill(&engine).await;
    let lines = ask(&engine, "SELECT * FROM audit.ocsf_api_activity FORMAT JSONEachRow");
    assert_eq!(
        lines.lines().count(),
        EVENTS.lines().filter(|l| l.contains("\"event\"") && !l.contains("\"started\"")).count()
    );
    for line in lines.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        for member in [
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/type_uid",
            "/severity_id",
            "/status_id",
            "/time",
            "/metadata/version",
            "/metadata/product/name",
            "/actor/user/uid",
            "/api/operation",
            "/api/service/name",
            "/src_endpoint/ip",
            "/http_request/http_method",
            "/http_request/url/path",
        ] {
            assert!(event.pointer(member).is_some_and(|v| !v.is_null()), "{member} in {line}");
        }
        assert_eq!(event["class_uid"], 6003);
        let activity = event["activity_id"].as_u64().unwrap();
        assert!(matches!(activity, 1..=4 | 99));
        assert_eq!(event["type_uid"].as_u64().unwrap(), 600_300 + activity);
    }
}
