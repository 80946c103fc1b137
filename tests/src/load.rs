//! Many mixed calls to OpenBao by many clients at once, and what must be recorded of them.
//!
//! The yardstick is OpenBao's own audit log, not what the clients believe.

use crate::bao::NONCE;
use crate::{AuditedCall, Canary, Sql, wait_until};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The part of Sidelog's configuration that this load and [`expected`] rely on.
pub const CONFIG: &str = "\
openapi: [openapi.json]
base_path: [/v1]
multi_segment: [path]
audit:
  ignore:
    - /v1/sys/capabilities-self
  include_reads:
    - /v1/secret/subkeys/**
  rules:
    - match: {paths: [/v1/auth/token/create]}
      level: request_response
actor:
  - api_key: {header: X-Vault-Token}
redact: {keys: [data]}
";

/// Kinds of call, made in turn; [`Load::calls`] should be a multiple.
pub const KINDS: usize = 20;
/// How many of them must be recorded: all but `?list=true`, a plain read and the ignored path.
pub const RECORDED_KINDS: usize = 17;

/// Who calls and where.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where the calls go: `http://host:port`.
    pub url: String,
    /// OpenBao's root token.
    pub token: String,
    pub canary: Canary,
    pub clients: usize,
    pub calls: usize,
    /// The time over which the calls are spread.
    pub over: Duration,
}

/// A call as its client saw it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub nonce: String,
    pub method: Method,
    pub status: u16,
    pub took: Duration,
    /// A token made by this call: a secret the service invented.
    pub token: Option<String>,
}

/// What two records of one call must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `write`, `patch`, `delete`, `read`, `list`: OpenBao does not tell POST from PUT.
    pub kind: &'static str,
    /// Decoded, without a slash at the end.
    pub path: String,
    pub outcome: String,
}

impl Load {
    /// Makes all calls; `clients` of them at a time. Panics when a call gets no answer.
    pub async fn run(&self) -> Vec<Sent> {
        self.write_seed().await;
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..self.clients {
            let (load, next) = (self.clone(), next.clone());
            clients.spawn(async move {
                let http = Client::new();
                let mut sent = Vec::new();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= load.calls {
                        return sent;
                    }
                    tokio::time::sleep_until(began + load.over.mul_f64(i as f64 / load.calls as f64)).await;
                    sent.push(load.call(&http, i).await);
                }
            });
        }
        clients.join_all().await.into_iter().flatten().collect()
    }

    /// Secrets that some kinds of call need to find, in whatever order the calls are made: of a
    /// read that finds nothing OpenBao's audit log says nothing.
    async fn write_seed(&self) {
        let body = json!({"data": {"password": self.canary.secret("seed")}});
        for path in ["secret/data/seed", "secret/data/shared/seed"] {
            let call = self.request(&Client::new(), Method::POST, path).json(&body);
            assert!(call.send().await.unwrap().status().is_success());
        }
    }

    async fn call(&self, http: &Client, i: usize) -> Sent {
        let nonce = uuid::Uuid::new_v4().to_string();
        let request = self.nth(http, i).header(NONCE, &nonce).build().unwrap();
        let (method, began) = (request.method().clone(), Instant::now());
        let answer = http.execute(request).await.unwrap_or_else(|e| panic!("call {i}: {e:?}"));
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap_or_else(|e| panic!("call {i}: {e:?}"));
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = body["auth"]["client_token"].as_str().map(str::to_owned);
        Sent { nonce, method, status, took: began.elapsed(), token }
    }

    /// The `i`th call: its kind is `i` modulo [`KINDS`].
    fn nth(&self, http: &Client, i: usize) -> RequestBuilder {
        let secret = |what: &str| self.canary.secret(&format!("{what}{i}"));
        let version_2 =
            || json!({"data": {"password": secret("password"), "deep": [{"note": secret("note")}]}});
        let ask = |method, path: &str| self.request(http, method, path);
        let list = Method::from_bytes(b"LIST").unwrap();
        match i % KINDS {
            0..=2 => ask(Method::POST, &format!("secret/data/app-{i}/db")).json(&version_2()),
            3 | 4 => ask(Method::PUT, &format!("secret/data/shared/{}", i % 7)).json(&version_2()),
            5 => ask(Method::PATCH, "secret/data/seed")
                .header("Content-Type", "application/merge-patch+json")
                .body(version_2().to_string()),
            6 => ask(Method::DELETE, &format!("secret/data/app-{i}/db")),
            7 => ask(Method::DELETE, &format!("secret/metadata/app-{}/db", i - 7)),
            8 => ask(Method::POST, &format!("kv/team%20a/{i}?token={}", secret("query")))
                .json(&json!({"password": secret("password")})),
            9 => ask(Method::DELETE, &format!("kv/team%20a/{}", i - 1)),
            // Denied: an unknown token, and none at all.
            10 => self
                .bare(http, Method::POST, &format!("secret/data/app-{i}/db"))
                .header("X-Vault-Token", secret("stolen"))
                .json(&version_2()),
            11 => self.bare(http, Method::PUT, &format!("secret/data/app-{i}/db")).json(&version_2()),
            // Refused: written meanwhile, and no such engine.
            12 => ask(Method::POST, "secret/data/seed")
                .json(&json!({"options": {"cas": 0}, "data": {"password": secret("password")}})),
            13 => ask(Method::POST, &format!("nothing/here/{i}")).json(&version_2()),
            14 => self
                .bare(http, Method::POST, "auth/token/create")
                .bearer_auth(&self.token)
                .json(&json!({"policies": ["default"], "ttl": "1h"})),
            15 => ask(list, "secret/metadata/shared"),
            16 => ask(Method::GET, "secret/metadata/shared?list=true"),
            17 => ask(Method::GET, "secret/data/seed"),
            18 => ask(Method::GET, "secret/subkeys/seed"),
            _ => ask(Method::POST, "sys/capabilities-self")
                .json(&json!({"paths": [format!("secret/data/{i}")]})),
        }
    }

    fn request(&self, http: &Client, method: Method, path: &str) -> RequestBuilder {
        self.bare(http, method, path).header("X-Vault-Token", &self.token)
    }

    fn bare(&self, http: &Client, method: Method, path: &str) -> RequestBuilder {
        http.request(method, format!("{}/v1/{path}", self.url))
    }
}

/// What must be in `audit.events` of these calls, by nonce: what OpenBao wrote down, less what
/// [`CONFIG`] leaves out.
pub fn expected(sent: &[Sent], audited: &BTreeMap<String, AuditedCall>) -> BTreeMap<String, Seen> {
    let mut expected = BTreeMap::new();
    for call in sent {
        let own = audited.get(&call.nonce).unwrap_or_else(|| panic!("openbao did not write down {call:?}"));
        assert_eq!(own.outcome, outcome(call.status), "{own:?}, {call:?}");
        let recorded = match own.operation.as_str() {
            // LIST is a method of OpenBao's own: not known to be safe, so recorded. GET with
            // `?list=true` is a read.
            "list" => call.method.as_str() == "LIST",
            "read" => own.path.starts_with("/v1/secret/subkeys/"),
            _ => own.path != "/v1/sys/capabilities-self",
        };
        if recorded {
            let seen =
                Seen { kind: kind(&own.operation), path: own.path.clone(), outcome: own.outcome.to_owned() };
            expected.insert(call.nonce.clone(), seen);
        }
    }
    expected
}

/// What is in `audit.events`, by nonce. Panics when a call has two rows, or when Sidelog says itself
/// that it lost something.
pub async fn recorded(sql: &Sql) -> BTreeMap<String, Seen> {
    let losses = sql.query("SELECT * FROM audit.losses").await;
    assert!(losses.is_empty(), "told as lost: {losses:?}");
    let rows = sql.query("SELECT request_id, method, path, status, outcome FROM audit.events").await;
    let mut recorded = BTreeMap::new();
    for row in rows {
        let nonce = row["request_id"].as_str().unwrap();
        if nonce.is_empty() {
            continue;
        }
        let path = row["path"].as_str().unwrap();
        let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
        assert_eq!(row["outcome"], outcome(row["status"].as_u64().unwrap() as u16), "{row}");
        let seen = Seen {
            kind: kind(row["method"].as_str().unwrap()),
            path: path.trim_end_matches('/').to_owned(),
            outcome: row["outcome"].as_str().unwrap().to_owned(),
        };
        assert!(recorded.insert(nonce.to_owned(), seen).is_none(), "two rows for one call: {row}");
    }
    recorded
}

/// Waits until so many calls have a row. More are a fault for [`assert_same`] to name.
pub async fn wait_for_rows(sql: &Sql, rows: usize) {
    let count = async || sql.number("SELECT count() FROM audit.events WHERE request_id != ''").await;
    let within = Duration::from_secs(120);
    wait_until(within, "all calls have a row", async || count().await >= rows as i64).await;
}

/// Panics, with a few examples, unless both say the same.
pub fn assert_same(expected: &BTreeMap<String, Seen>, recorded: &BTreeMap<String, Seen>) {
    let differ = |from: &BTreeMap<String, Seen>, to: &BTreeMap<String, Seen>| {
        let only: Vec<_> = from.iter().filter(|(nonce, seen)| to.get(*nonce) != Some(seen)).collect();
        format!("{}: {:#?}", only.len(), only.iter().take(5).collect::<Vec<_>>())
    };
    assert!(
        expected == recorded,
        "openbao's audit log and audit.events differ.\nonly openbao {}\nonly sidelog {}",
        differ(expected, recorded),
        differ(recorded, expected)
    );
}

fn kind(method_or_operation: &str) -> &'static str {
    match method_or_operation {
        "POST" | "PUT" | "create" | "update" => "write",
        "PATCH" | "patch" => "patch",
        "DELETE" | "delete" => "delete",
        "GET" | "read" => "read",
        "LIST" | "list" => "list",
        other => panic!("no such kind of call: {other}"),
    }
}

fn outcome(status: u16) -> &'static str {
    match status {
        401 | 403 => "denied",
        400..=499 => "client_error",
        500.. => "server_error",
        _ => "success",
    }
}
