//! A real OpenBao server: development mode (in memory, unsealed), with its own audit log on.

use crate::{Canary, Port, Process, deps, temp_dir, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The header by which a call is known again in the audit log, where it stands in clear.
pub const NONCE: &str = "x-request-id";

#[derive(Debug)]
pub struct Bao {
    process: Process,
    dir: tempfile::TempDir,
    address: String,
    token: String,
    _ports: (Port, Port),
}

/// A call as OpenBao's audit log tells it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditedCall {
    /// `create`, `update`, `patch`, `delete`, `read`, `list`.
    pub operation: String,
    /// Decoded, with `/v1/` in front, without a slash at the end.
    pub path: String,
    /// `success`, `denied` or `client_error`.
    pub outcome: &'static str,
}

impl Bao {
    /// A server that answers, with key-value engines at `secret/` (version 2) and `kv/` (version
    /// 1), and its OpenAPI document saved. The root token is a secret of `canary`.
    pub async fn start(canary: &Canary) -> Bao {
        let dir = temp_dir("openbao");
        // It takes the next port too, for its cluster.
        let ports = Port::reserve_pair();
        let address = format!("127.0.0.1:{}", ports.0.number());
        let token = canary.secret("root");
        let config = dir.path().join("openbao.hcl");
        let audit = dir.path().join("audit.log");
        let device = format!("audit \"file\" \"file\" {{ options = {{ file_path = {audit:?} }} }}\n");
        std::fs::write(&config, device).unwrap();

        let mut command = Command::new(deps("openbao").join("openbao"));
        command
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id", &token])
            .args(["-dev-listen-address", &address, "-config"])
            .arg(&config)
            .env("HOME", dir.path());
        let process = Process::start("openbao", command, dir.path());
        let mut bao = Bao { process, dir, address, token, _ports: ports };
        bao.set_up().await;
        bao
    }

    async fn set_up(&mut self) {
        let http = reqwest::Client::new();
        let health = format!("{}/v1/sys/health", self.url());
        wait_until(Duration::from_secs(60), "openbao answers", async || {
            self.process.must_run();
            http.get(&health).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        self.admin("POST", &format!("sys/config/auditing/request-headers/{NONCE}"), json!({"hmac": false}))
            .await;
        self.admin("POST", "sys/mounts/kv", json!({"type": "kv"})).await;
        let document = self.admin("GET", "sys/internal/specs/openapi", Value::Null).await;
        std::fs::write(self.openapi(), document).unwrap();
    }

    /// A call past Sidelog, as root, that must succeed.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> String {
        let mut call = reqwest::Client::new()
            .request(method.parse().unwrap(), format!("{}/v1/{path}", self.url()))
            .header("X-Vault-Token", &self.token);
        if !body.is_null() {
            call = call.json(&body);
        }
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
        answer.text().await.unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The server's own description of its API (3.0.2, no `servers`: the base path is `/v1`; `{path}` spans
    /// slashes, which it does not say).
    pub fn openapi(&self) -> PathBuf {
        self.dir.path().join("openapi.json")
    }

    /// Ends the server; nothing is kept but the audit log.
    pub async fn stop(&self) {
        self.process.stop(Duration::from_secs(30)).await;
    }

    /// Every call in the audit log that carried a nonce. OpenBao writes a call down before it
    /// answers, so a call that was answered is here.
    pub fn audited(&self) -> BTreeMap<String, AuditedCall> {
        let log = std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap();
        let mut calls = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for line in log.lines() {
            let entry: Value = serde_json::from_str(line).unwrap();
            let request = &entry["request"];
            let Some(nonce) = request["headers"][NONCE][0].as_str() else { continue };
            // Request and response are tied by OpenBao's own id.
            let id = request["id"].as_str().unwrap().to_owned();
            match entry["type"].as_str() {
                Some("request") => drop(asked.insert(id, nonce.to_owned())),
                Some("response") => {
                    assert_eq!(asked.remove(&id).as_deref(), Some(nonce), "answer without a request: {line}");
                    let twice = calls.insert(nonce.to_owned(), audited_call(&entry));
                    assert!(twice.is_none(), "the nonce {nonce} came twice");
                }
                _ => panic!("neither request nor response: {line}"),
            }
        }
        assert!(asked.is_empty(), "requests without an answer: {asked:?}");
        calls
    }
}

fn audited_call(entry: &Value) -> AuditedCall {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let outcome = match entry["error"].as_str() {
        None => "success",
        Some(error) if error.contains("permission denied") => "denied",
        Some(_) => "client_error",
    };
    let path = format!("/v1/{}", entry["request"]["path"].as_str().unwrap().trim_end_matches('/'));
    AuditedCall { operation: text(&entry["request"]["operation"]), path, outcome }
}
