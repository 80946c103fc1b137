//! A real Kinto server: in memory, with its history of changes on.

use crate::{Port, Process, deps, temp_dir, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[derive(Debug)]
pub struct Kinto {
    process: Process,
    dir: tempfile::TempDir,
    port: Port,
}

impl Kinto {
    /// A server that answers. Any name and password of Basic authentication is a user of its own.
    pub async fn start() -> Kinto {
        let dir = temp_dir("kinto");
        let port = Port::reserve();
        let ini = dir.path().join("kinto.ini");
        std::fs::write(&ini, INI.replace("PORT", &port.number().to_string())).unwrap();
        let home = deps("kinto").canonicalize().unwrap();
        let mut command = Command::new("python3");
        command
            .arg(home.join("bin/kinto"))
            .args(["start", "--port", &port.number().to_string(), "--ini"])
            .arg(&ini)
            .current_dir(dir.path())
            .env("PYTHONPATH", home)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let process = Process::start("kinto", command, dir.path());
        let mut kinto = Kinto { process, dir, port };
        kinto.set_up().await;
        kinto
    }

    async fn set_up(&mut self) {
        let heartbeat = format!("{}/v1/__heartbeat__", self.url());
        wait_until(Duration::from_secs(60), "kinto answers", async || {
            self.process.must_run();
            reqwest::get(&heartbeat).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        let document = reqwest::get(format!("{}/v1/__api__", self.url())).await.unwrap();
        std::fs::write(self.openapi(), document.bytes().await.unwrap()).unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    /// The server's own description of its API: Swagger 2.0, base path `/v1`.
    pub fn openapi(&self) -> PathBuf {
        self.dir.path().join("openapi.json")
    }

    pub async fn stop(&self) {
        self.process.stop(Duration::from_secs(30)).await;
    }

    /// What Kinto calls the user: a digest over name and password.
    pub async fn user_id(&self, user: &str, password: &str) -> String {
        let root = self.get("", user, password).await;
        root["user"]["id"].as_str().unwrap().to_owned()
    }

    /// The changes made in a bucket, oldest first: `uri`, `action`, `user_id`, `target`.
    pub async fn history(&self, bucket: &str, user: &str, password: &str) -> Vec<Value> {
        let path = format!("buckets/{bucket}/history?_sort=last_modified");
        let answer = self.get(&path, user, password).await;
        answer["data"].as_array().unwrap().clone()
    }

    async fn get(&self, path: &str, user: &str, password: &str) -> Value {
        let call = reqwest::Client::new().get(format!("{}/v1/{path}", self.url()));
        call.basic_auth(user, Some(password)).send().await.unwrap().json().await.unwrap()
    }
}

const INI: &str = "\
[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = PORT
[app:main]
use = egg:kinto
kinto.userid_hmac_secret = not-a-secret
kinto.storage_backend = kinto.core.storage.memory
kinto.cache_backend = kinto.core.cache.memory
kinto.permission_backend = kinto.core.permission.memory
kinto.includes = kinto.plugins.history
kinto.bucket_create_principals = system.Authenticated
multiauth.policies = basicauth
";
