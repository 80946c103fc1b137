//! Another service, another description (Swagger 2.0), another kind of credential (Basic): what
//! Kinto's own history says was changed, and by whom, is what `audit.events` says.

use harness::load::wait_for_rows;
use harness::{Canary, Kinto, Sql, Standalone};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BUCKETS: usize = 10;

/// User, action and URI of a change; sorted, a change made twice stands twice.
type Change = (String, String, String);

#[tokio::test]
async fn kinto_and_sidelog_tell_the_same_changes_by_the_same_users() {
    let canary = Canary::new();
    let kinto = Kinto::start().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(kinto.openapi(), dir.path().join("openapi.json")).unwrap();
    let yaml = format!(
        "service: kinto\nupstream: {}\nopenapi: [openapi.json]\nactor: [{{basic: {{}}}}]\n",
        kinto.url()
    );
    let standalone = Standalone::start(dir.path(), &yaml).await;

    let mut caller = Caller { http: Client::new(), url: standalone.url(), canary: canary.clone(), calls: 0 };
    let mut users = BTreeMap::new();
    let mut history = Vec::new();
    for n in 0..BUCKETS {
        let (owner, stranger) = (format!("owner{n}"), format!("stranger{n}"));
        change_everything(&mut caller, n, &owner, &stranger).await;
        let password = canary.secret(&owner);
        users.insert(kinto.user_id(&owner, &password).await, owner.clone());
        history.extend(kinto.history(&format!("b{n}"), &owner, &password).await);
    }
    wait_for_rows(&standalone.sql, caller.calls).await;

    let mut history: Vec<Change> = history.iter().map(|entry| told_by_kinto(entry, &users)).collect();
    let mut rows = told_by_sidelog(&standalone.sql).await;
    history.sort();
    rows.sort();
    assert_eq!(history.len(), BUCKETS * 8);
    assert_eq!(history, rows);

    let denied =
        "SELECT actor_id, method, route FROM audit.events WHERE outcome = 'denied' ORDER BY actor_id";
    let denied = standalone.sql.query(denied).await;
    assert_eq!(denied.len(), BUCKETS);
    assert_eq!(
        denied[0],
        json!({"actor_id": "stranger0", "method": "DELETE",
               "route": "/v1/buckets/{bucket_id}/collections/{collection_id}/records/{id}"})
    );
    let odd = "SELECT count() FROM audit.events WHERE actor_source != 'basic' OR route = ''";
    assert_eq!(standalone.sql.number(odd).await, 0);
    let rows = standalone.sql.dump("audit").await;
    assert_eq!(canary.in_bytes(rows.as_bytes()), [""; 0], "passwords in rows");
    assert_eq!(canary.in_files(&[dir.path()]), [""; 0], "passwords in files");
}

struct Caller {
    http: Client,
    url: String,
    canary: Canary,
    /// Calls made that must have a row.
    calls: usize,
}

impl Caller {
    async fn call(&mut self, user: &str, method: &str, path: &str, body: Value, status: u16) {
        let url = format!("{}/v1/buckets/{path}", self.url);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.calls += usize::from(method != Method::GET);
        let mut call = self.http.request(method, url);
        call = call.basic_auth(user, Some(self.canary.secret(user)));
        call = call.header("X-Request-Id", format!("kinto-{}", self.calls));
        if !body.is_null() {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}: {}", answer.text().await.unwrap());
    }
}

/// Eight changes, a refused one, and a read.
async fn change_everything(caller: &mut Caller, n: usize, owner: &str, stranger: &str) {
    let collection = format!("b{n}/collections/c");
    let data = |value: Value| json!({"data": value});
    caller.call(owner, "PUT", &format!("b{n}"), json!({}), 201).await;
    caller.call(owner, "POST", &format!("b{n}/collections"), data(json!({"id": "c"})), 201).await;
    caller.call(owner, "PATCH", &collection, data(json!({"colour": n})), 200).await;
    let records = format!("{collection}/records");
    caller.call(owner, "POST", &records, data(json!({"id": "r", "note": "first"})), 201).await;
    caller.call(owner, "PUT", &format!("{records}/s"), data(json!({"note": "first"})), 201).await;
    caller.call(owner, "PUT", &format!("{records}/s"), data(json!({"note": "second"})), 200).await;
    caller.call(stranger, "DELETE", &format!("{records}/r"), Value::Null, 403).await;
    caller.call(owner, "GET", &format!("{records}/r"), Value::Null, 200).await;
    caller.call(owner, "DELETE", &format!("{records}/r"), Value::Null, 200).await;
    caller.call(owner, "PUT", &format!("b{n}/groups/g"), data(json!({"members": ["x"]})), 201).await;
}

fn told_by_kinto(entry: &Value, users: &BTreeMap<String, String>) -> Change {
    let text = |key: &str| entry[key].as_str().unwrap().to_owned();
    (users[&text("user_id")].clone(), text("action"), format!("/v1{}", text("uri")))
}

async fn told_by_sidelog(sql: &Sql) -> Vec<Change> {
    let rows =
        "SELECT actor_id, method, path, status, request_body FROM audit.events WHERE outcome = 'success'";
    let change = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let (mut path, created) = (text("path"), row["status"] == 201);
        let action = match text("method").as_str() {
            "DELETE" => "delete",
            "PUT" | "POST" if created => "create",
            _ => "update",
        };
        if row["method"] == "POST" {
            // Kinto names what was made; the call names where, and what in its body.
            let body: Value = serde_json::from_str(&text("request_body")).unwrap();
            path = format!("{path}/{}", body["data"]["id"].as_str().unwrap());
        }
        (text("actor_id"), action.to_owned(), path)
    };
    sql.query(rows).await.iter().map(change).collect()
}
