//! `sidelog proxy`: a broken configuration stops it before it does anything; a document never does.

use crate::{command, data, listed, ran, sidelog};
use harness::{Port, Process};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

const LISTEN: &str = "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}\n";

#[test]
fn a_broken_configuration_is_told_as_check_tells_it_and_nothing_starts() {
    for name in ["01-unknown-keys.yaml", "03-missing-keys.yaml", "16-not-yaml.yaml", "absent.yaml"] {
        let dir = data("config/broken");
        let proxy = sidelog(&dir, &["proxy", "--config", name]);
        let check = sidelog(&dir, &["check", "--config", name]);
        assert_eq!((proxy.status, proxy.stdout.as_str()), (78, ""), "{name}");
        assert_eq!(proxy.stderr, check.stderr, "{name}");
    }
}

#[tokio::test]
async fn a_broken_configuration_opens_neither_port_nor_journal() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::reserve().number();
    let config = format!(
        "service: s\nupstream: http://127.0.0.1:1\nlisten: 127.0.0.1:{port}\njournal: {{dir: journal}}\nadmim: {{}}\n"
    );
    std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
    let mut child = command(dir.path(), &["proxy", "--config", "sidelog.yaml"]);
    let child = child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    while child.try_wait().unwrap().is_none() {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listens");
        std::thread::sleep(Duration::from_millis(1));
    }
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stdout.as_str()), (78, ""));
    assert!(ran.stderr.contains("help: did you mean `admin`?"), "{}", ran.stderr);
    assert_eq!(listed(dir.path()).len(), 1, "nothing but the configuration");
}

/// A service that answers every request on a connection with 204.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|n| n > 0) {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        }
    });
    port
}

async fn start(dir: &Path) -> (Process, HashMap<String, String>) {
    let process = Process::start("sidelog", command(dir, &["proxy", "--config", "sidelog.yaml"]), dir);
    let words = process.ready("sidelog ready ", Duration::from_secs(60)).await;
    (process, words)
}

/// Documents of every brokenness, one that is missing and one that is sound.
#[tokio::test]
async fn no_document_stops_traffic_and_each_is_complained_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut documents = Vec::new();
    for case in listed(&data("cli/check")) {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        for document in listed(&case).iter().filter(|p| !p.ends_with("sidelog.yaml")) {
            let copy = format!("{name}-{}", document.file_name().unwrap().to_str().unwrap());
            if document.extension().is_some_and(|e| e != "stderr") {
                std::fs::copy(document, dir.path().join(&copy)).unwrap();
                documents.push(copy);
            }
        }
    }
    documents.push("absent.yaml".to_owned());
    assert!(documents.len() > 15, "{documents:?}");
    let config = format!(
        "service: s\nupstream: http://127.0.0.1:{}\n{LISTEN}journal: {{dir: journal}}\nopenapi: {documents:?}\n",
        service()
    );
    std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
    let (process, words) = start(dir.path()).await;

    let answer = reqwest::Client::new().delete(format!("http://{}/orders/7", words["traffic"]));
    assert_eq!(answer.send().await.unwrap().status(), 204);
    let ready = reqwest::get(format!("http://{}/readyz", words["admin"])).await.unwrap();
    assert_eq!(ready.status(), 200);
    assert!(process.stop(Duration::from_secs(30)).await.success());

    let log = std::fs::read_to_string(process.logs()[1]).unwrap();
    let sound = ["sound", "words", "base-path", "fields-openapi", "paths", "unrecorded", "upstream"];
    for document in documents.iter().filter(|d| !sound.iter().any(|name| d.starts_with(name))) {
        // Strictness is an opinion for `check`, no problem of the sidecar's.
        let told = log.lines().any(|l| l.contains(document.as_str()) && !l.contains("loaded "));
        assert!(told || document.starts_with("strict"), "{document} is not complained of:\n{log}");
    }
    assert!(log.contains("loaded sound-openapi.yaml (3.1.0): 1 paths, 2 operations"), "{log}");
}

/// The call of the sound document is recorded under its operation although others are broken.
#[tokio::test]
async fn broken_documents_do_not_spoil_sound_ones() {
    let dir = tempfile::tempdir().unwrap();
    for case in ["sound/openapi.yaml", "html/openapi.html"] {
        let name = case.rsplit('/').next().unwrap();
        std::fs::copy(data("cli/check").join(case), dir.path().join(name)).unwrap();
    }
    let config = format!(
        "service: s\nupstream: http://127.0.0.1:{}\n{LISTEN}journal: {{dir: journal}}\nopenapi: [openapi.html, openapi.yaml]\n",
        service()
    );
    std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
    let (process, words) = start(dir.path()).await;
    let call = reqwest::Client::new().delete(format!("http://{}/orders/7", words["traffic"]));
    assert_eq!(call.send().await.unwrap().status(), 204);
    assert!(process.stop(Duration::from_secs(30)).await.success());
    // Without Kafka the event stays in the journal, as JSON in frames.
    let journal = read_all(&dir.path().join("journal"));
    assert!(memchr::memmem::find(&journal, b"\"deleteOrder\"").is_some(), "no event names the operation");
}

fn read_all(dir: &Path) -> Vec<u8> {
    let read = |path: &Path| if path.is_dir() { read_all(path) } else { std::fs::read(path).unwrap() };
    listed(dir).iter().flat_map(|path| read(path)).collect()
}
