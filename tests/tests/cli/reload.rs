//! `sidelog proxy` while its files change: what takes effect, what stays, and what is said.
//!
//! Each test waits for what it expects to see; none waits for time to pass.

use crate::{command, listed};
use harness::{Process, wait_until};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const ONE: &str =
    "openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /orders/{id}: {delete: {operationId: one}}\n";

/// A service that answers every request with 204, one connection a thread.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|n| n > 0) {
                    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A sidecar, its files and what it says.
struct World {
    dir: tempfile::TempDir,
    process: Process,
    words: HashMap<String, String>,
    head: String,
}

impl World {
    /// With `files` in its directory and `more` in its configuration, looking every `interval`.
    async fn start(interval: &str, more: &str, files: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let head = format!(
            "service: s\nupstream: http://127.0.0.1:{}\nlisten: 127.0.0.1:0\n\
             admin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\njournal: {{dir: journal}}\n\
             reload: {{interval: {interval}}}\n",
            service()
        );
        std::fs::write(dir.path().join("sidelog.yaml"), format!("{head}{more}")).unwrap();
        let process = Process::start(
            "sidelog",
            command(dir.path(), &["proxy", "--config", "sidelog.yaml"]),
            dir.path(),
        );
        let words = process.ready("sidelog ready ", SOON).await;
        World { dir, process, words, head }
    }

    /// Exchanges a file as an editor does: whole.
    fn write(&self, name: &str, text: &str) {
        let part = self.dir.path().join("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, self.dir.path().join(name)).unwrap();
    }

    /// Exchanges the configuration, but for its first lines.
    fn configure(&self, more: &str) {
        self.write("sidelog.yaml", &format!("{}{more}", self.head));
    }

    async fn get(&self, listener: &str, path: &str) -> String {
        reqwest::get(format!("http://{}{path}", self.words[listener])).await.unwrap().text().await.unwrap()
    }

    async fn view(&self) -> Value {
        serde_json::from_str(&self.get("local", "/config").await).unwrap()
    }

    async fn version(&self) -> String {
        self.view().await["in_force"]["version"].as_str().unwrap().to_owned()
    }

    /// Waits until the metrics have this line.
    async fn counts(&self, line: &str) {
        let has = async || self.get("admin", "/metrics").await.lines().any(|l| l == line);
        wait_until(SOON, line, has).await;
    }

    async fn delete(&self, path: &str) {
        let call = reqwest::Client::new().delete(format!("http://{}{path}", self.words["traffic"]));
        assert_eq!(call.send().await.unwrap().status(), 204);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.process.logs()[1]).unwrap()
    }

    /// The events, each as JSON with what stands around it: without Kafka they stay in the journal.
    fn events(&self) -> Vec<String> {
        fn all(dir: &Path) -> Vec<u8> {
            let read = |p: &Path| if p.is_dir() { all(p) } else { std::fs::read(p).unwrap() };
            listed(dir).iter().flat_map(|path| read(path)).collect()
        }
        let journal = String::from_utf8_lossy(&all(&self.dir.path().join("journal"))).into_owned();
        let events = journal.split("{\"event_id\"").filter(|e| e.contains("\"stage\":\"completed\""));
        events.map(|e| e.split('\0').next().unwrap().to_owned()).collect()
    }

    /// The events of this operation.
    fn named(&self, id: &str) -> usize {
        self.events().iter().filter(|e| e.contains(&format!("\"id\":\"{id}\",\"route\""))).count()
    }
}

/// Makes calls over one connection after the other, each kept for several calls, until told to stop.
fn load(address: String, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut calls = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_nodelay(true).unwrap();
            for _ in 0..50 {
                stream.write_all(b"DELETE /orders/7 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                let mut answer = [0; 27];
                stream.read_exact(&mut answer).expect("an answer on the same connection");
                assert_eq!(&answer, b"HTTP/1.1 204 No Content\r\n\r\n");
                calls += 1;
            }
        }
        calls
    })
}

/// A rule edited under load takes effect; no connection breaks, and each call has its event.
#[tokio::test]
async fn an_edited_rule_takes_effect_under_load() {
    let rule =
        |level: &str| format!("audit: {{rules: [{{match: {{methods: [DELETE]}}, level: {level}}}]}}\n");
    let world = World::start("20ms", &rule("request"), &[]).await;
    let before = world.version().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2).map(|_| load(world.words["traffic"].clone(), stop.clone())).collect();
    for (i, level) in ["metadata", "request", "metadata"].into_iter().enumerate() {
        world.configure(&rule(level));
        world.counts(&format!("sidelog_reload_total{{result=\"success\"}} {}", i + 1)).await;
    }
    world.delete("/last").await;
    stop.store(true, Ordering::Relaxed);
    let calls: usize = clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>() + 1;
    world.counts(&format!("sidelog_events_total {calls}")).await;
    assert_ne!(world.version().await, before);
    assert!(world.process.stop(SOON).await.success());
    let events = world.events();
    assert_eq!(events.len(), calls);
    let last = events.iter().find(|e| e.contains("\"path\":\"/last\"")).unwrap();
    assert!(last.contains("\"level\":\"metadata\"") && last.contains("rule sidelog.yaml:7"), "{last}");
    let before = events.iter().any(|e| e.contains("\"level\":\"request\""));
    assert!(before, "calls of before were recorded by the rule of before");
}

#[tokio::test]
async fn a_broken_edit_keeps_what_was_and_is_told_once() {
    let ignore = "audit: {ignore: [/ignored]}\n";
    let world = World::start("20ms", ignore, &[]).await;
    let before = world.version().await;
    assert_eq!(world.get("admin", "/readyz").await, "ready\n");
    world.configure("audit: {ignroe: [/ignored]}\n");
    world.counts("sidelog_reload_total{result=\"failure\"} 1").await;
    world.counts("sidelog_config_last_reload_success 0").await;
    assert!(world.get("admin", "/readyz").await.contains("stale"));
    let view = world.view().await;
    assert_eq!(view["audit"]["ignore"][0], "/ignored");
    assert_eq!((&view["in_force"]["version"], &view["in_force"]["stale"]), (&before.into(), &true.into()));
    let problem = view["in_force"]["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("sidelog.yaml:7:9: error: unknown key"), "{problem}");
    // Another broken edit: had the first been told at every look, it would be there often by now.
    world.configure("audit: {ignore: 7}\n");
    world.counts("sidelog_reload_total{result=\"failure\"} 2").await;
    assert_eq!(world.log().matches("unknown key `ignroe`").count(), 1, "{}", world.log());

    world.configure(ignore);
    world.counts("sidelog_config_last_reload_success 1").await;
    assert_eq!(world.get("admin", "/readyz").await, "ready\n");
    assert_eq!(world.view().await["in_force"]["problems"], Value::Array(vec![]));
}

#[tokio::test]
async fn what_cannot_change_at_run_time_is_told_and_ignored() {
    let world = World::start("20ms", "", &[]).await;
    let text = format!("{}audit: {{ignore: [/x]}}\n", world.head.replace("dir: journal", "dir: elsewhere"));
    world.write("sidelog.yaml", &text);
    world.counts("sidelog_reload_total{result=\"success\"} 1").await;
    let view = world.view().await;
    assert_eq!((&view["journal"]["dir"], &view["audit"]["ignore"][0]), (&"journal".into(), &"/x".into()));
    assert_eq!(view["in_force"]["needs_restart"], serde_json::json!(["journal.dir"]));
    assert!(world.log().contains("`journal.dir`: this change needs a restart"), "{}", world.log());
    assert!(!world.dir.path().join("elsewhere").exists());
}

/// As the kubelet does it: `..data` is a link to a directory, and is exchanged as a whole.
#[tokio::test]
async fn a_config_map_that_is_exchanged_is_noticed() {
    let refers =
        "openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /orders/{id}: {$ref: item.yaml}\n";
    let item = |id: &str| format!("delete: {{operationId: {id}}}\n");
    let world = World::start("20ms", "openapi: mounted/openapi.yaml\n", &[]).await;
    let mount = world.dir.path().join("mounted");
    for (version, id) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir_all(mount.join(version)).unwrap();
        std::fs::write(mount.join(version).join("openapi.yaml"), refers).unwrap();
        std::fs::write(mount.join(version).join("item.yaml"), item(id)).unwrap();
    }
    for name in ["openapi.yaml", "item.yaml"] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
    symlink("..1", mount.join("..data")).unwrap();
    world.counts("sidelog_reload_total{result=\"success\"} 1").await;
    world.delete("/orders/1").await;

    symlink("..2", mount.join("..new")).unwrap();
    std::fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
    std::fs::remove_dir_all(mount.join("..1")).unwrap();
    // Only the file that the document refers to is another one.
    world.counts("sidelog_reload_total{result=\"success\"} 2").await;
    world.delete("/orders/2").await;

    std::fs::write(mount.join("..2/item.yaml"), "delete: {").unwrap();
    world.counts("sidelog_reload_total{result=\"partial\"} 1").await;
    assert!(world.log().contains("openapi.yaml: files it refers to cannot be read"), "{}", world.log());
    assert!(world.log().contains(" 1 operations, 0 skipped"), "{}", world.log());
    world.delete("/orders/3").await;
    assert_eq!((world.named("one"), world.named("two")), (1, 2));
}

#[tokio::test]
async fn documents_appear_change_break_and_go() {
    let world = World::start("20ms", "openapi: openapi.yaml\n", &[]).await;
    world.delete("/orders/0").await;
    assert!(world.get("admin", "/readyz").await.contains("stale"), "the document is not there");
    world.write("openapi.yaml", ONE);
    world.counts("sidelog_reload_total{result=\"success\"} 1").await;
    world.delete("/orders/1").await;
    assert!(world.log().contains("loaded openapi.yaml (3.1.0): 1 paths, 1 operations"), "{}", world.log());

    world.write("openapi.yaml", &ONE.replace("one", "two"));
    world.counts("sidelog_reload_total{result=\"success\"} 2").await;
    world.delete("/orders/2").await;

    world.write("openapi.yaml", "openapi: 3.1.0\npaths: [\n");
    world.counts("sidelog_reload_total{result=\"partial\"} 1").await;
    world.delete("/orders/3").await;
    assert!(world.log().contains("openapi.yaml:2:8: error: "), "{}", world.log());
    assert!(world.log().contains("the version read before stays in use"), "{}", world.log());

    // The rules change all the same.
    world.configure("openapi: openapi.yaml\naudit: {ignore: [/ignored]}\n");
    world.counts("sidelog_reload_total{result=\"partial\"} 2").await;
    assert_eq!(world.view().await["audit"]["ignore"][0], "/ignored");
    std::fs::remove_file(world.dir.path().join("openapi.yaml")).unwrap();
    world.counts("sidelog_reload_total{result=\"partial\"} 3").await;
    world.delete("/orders/4").await;
    assert!(world.log().contains("openapi.yaml is gone; the version read before stays"), "{}", world.log());

    assert_eq!((world.named("one"), world.named("two")), (1, 3));
}

/// The others stay as they were: nobody looks but when asked.
#[tokio::test]
async fn a_hangup_is_a_request_to_look_at_once() {
    let world = World::start("0s", "", &[("unused", "")]).await;
    world.configure("audit: {ignore: [/x]}\n");
    world.process.signal(1);
    world.counts("sidelog_reload_total{result=\"success\"} 1").await;
    assert_eq!(world.view().await["audit"]["ignore"][0], "/x");
    assert!(world.process.stop(SOON).await.success());
}

/// Keys are files of the configuration like any other.
#[tokio::test]
async fn a_key_document_that_is_exchanged_is_read_again() {
    let empty = "{\"keys\": []}";
    let config = "actor: [{jwt: {jwks_file: keys.json}}]\n";
    let world = World::start("20ms", config, &[("keys.json", empty)]).await;
    let before = world.version().await;
    world.write("keys.json", "{\"keys\": [ ]}");
    world.counts("sidelog_reload_total{result=\"success\"} 1").await;
    assert_ne!(world.version().await, before);
    world.write("keys.json", "{\"keys\": 7}");
    world.counts("sidelog_reload_total{result=\"failure\"} 1").await;
}
