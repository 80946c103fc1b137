//! docs/sql.md: every question in it is asked of the real engine, as the reader, and answered as shown.
//!
//! `UPDATE_GOLDEN=1` writes the answers anew.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{PRETTY, document, login, query, root, start};
use sidelog::config::Secret;
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, LossRow, Origin, Parsed};
use sidelog_standalone::engine::Engine;

/// What two companies did on two days.
const EVENTS: &str = include_str!("../../tests/data/sql/events.jsonl");
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
            Parsed::Event(row) => events.push(row),
            Parsed::OpenCall(row) => open.push(row),
            Parsed::Loss(row) => losses.push(row),
        }
    }
    store.insert::<EventRow<'static>>("events", "a", &events).await.unwrap();
    store.insert::<EventRow<'static>>("open_calls", "b", &open).await.unwrap();
    store.insert::<LossRow<'static>>("losses", "c", &losses).await.unwrap();
}

/// The answer to a question, as the document shows it.
fn ask(engine: &Engine, sql: &str) -> String {
    let (status, answer) = query(&engine.http_url, &login(&engine.reader), PRETTY, sql);
    assert_eq!(status, 200, "{sql}\n{answer}");
    answer
}

#[tokio::test]
async fn every_question_of_the_document_is_answered_as_shown() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    fill(&engine).await;
    let asked = document("docs/sql.md", |sql| ask(&engine, sql));
    assert!(asked >= 15, "only {asked} questions");
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
