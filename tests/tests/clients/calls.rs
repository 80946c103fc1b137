//! The same few calls by many HTTP clients: a read, a body of JSON, a long one of unknown length, a form
//! that the service denies, and a DELETE.

use crate::world::{EVERY_WAY, Place, Way, program, script, told};
use harness::{Process, deps, recorded};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(30);
const ORDER: &str = r#"{"item":"tea","n":1}"#;

/// The service that stands behind a client.
#[derive(Clone, Copy)]
enum Service {
    Http,
    Http2,
    Page,
}

/// A client: what it is called in paths, and what it calls itself.
struct Client {
    name: &'static str,
    agent: &'static str,
    service: Service,
    ways: &'static [Way],
    command: fn(&Path, &Path) -> Command,
}

/// As it agrees to with a server that offers HTTP/2; without TLS it has no way to.
const TLS: &[Way] = &[Way::Tls];

const fn http(name: &'static str, agent: &'static str, command: fn(&Path, &Path) -> Command) -> Client {
    Client { name, agent, service: Service::Http, ways: EVERY_WAY, command }
}

const CLIENTS: &[Client] = &[
    http("curl", "curl/", |ca, _| with(program("sh", &[], "curl.sh"), &["1"], ca)),
    Client {
        service: Service::Http2,
        ..http("curl-h2", "curl/", |ca, _| with(program("sh", &[], "curl.sh"), &["2"], ca))
    },
    http("requests", "python-requests/", |ca, _| python("requests", ca)),
    http("httpx", "python-httpx/", |ca, _| python("httpx", ca)),
    Client { service: Service::Http2, ..http("httpx-h2", "python-httpx/", |ca, _| python("httpx-h2", ca)) },
    http("aiohttp", "aiohttp/", |ca, _| python("aiohttp", ca)),
    http("fetch", "node", |ca, _| node("fetch.js", ca)),
    http("go", "Go-http-client/1.1", |ca, dir| with(Command::new(dir.join("go-client")), &["1"], ca)),
    Client {
        service: Service::Http2,
        ways: TLS,
        ..http("go-h2", "Go-http-client/2.0", |ca, dir| with(Command::new(dir.join("go-client")), &["2"], ca))
    },
    http("java", "Java-http-client/", |ca, _| java(ca)),
    Client { service: Service::Http2, ways: TLS, ..http("java-h2", "Java-http-client/", |ca, _| java(ca)) },
];

/// Clients with a conversation of their own.
const TALKERS: &[Client] = &[
    Client { service: Service::Page, ..http("ws", "", |ca, _| node("ws.js", ca)) },
    Client { service: Service::Page, ..http("chromium", "Chrome/", |ca, _| node("browse.js", ca)) },
];

fn with(mut command: Command, arguments: &[&str], ca: &Path) -> Command {
    command.args(arguments).arg(ca);
    command
}

fn python(client: &str, ca: &Path) -> Command {
    with(program("python3", &[], "calls.py"), &[client], ca)
}

fn node(file: &str, ca: &Path) -> Command {
    let mut command = program("node", &[], file);
    command.env("NODE_EXTRA_CA_CERTS", ca);
    command
}

fn java(ca: &Path) -> Command {
    // Short runs gain nothing from the optimising compiler.
    with(program("java", &["-Xshare:auto", "-XX:TieredStopAtLevel=1"], "Client.java"), &[], ca)
}

struct World {
    http: Place,
    http2: Place,
    page: Place,
    dir: tempfile::TempDir,
    _service: Process,
}

impl World {
    async fn start() -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut command = program("node", &[], "service.js");
        command.arg(script("page.html"));
        let service = Process::start("service", command, dir.path());
        let words = service.ready("service ready ", START).await;
        let upstream = |name: &str| format!("127.0.0.1:{}", words[name]);
        let http = Place::before(&upstream("http"), false).await;
        let http2 = Place::before(&upstream("http2"), true).await;
        let page = Place::before(&upstream("page"), false).await;
        World { http, http2, page, dir, _service: service }
    }

    fn place(&self, client: &Client) -> &Place {
        match client.service {
            Service::Http => &self.http,
            Service::Http2 => &self.http2,
            Service::Page => &self.page,
        }
    }

    /// What a client saw each way.
    async fn run(&self, client: &Client) -> Vec<(Way, Value)> {
        let place = self.place(client);
        let mut command = (client.command)(&place.ca(), self.dir.path());
        command.args(client.ways.iter().map(|way| format!("{}/{}", place.url(*way), client.name)));
        let seen = told(client.name, command, self.dir.path()).await;
        assert_eq!(seen.len(), client.ways.len(), "{}", client.name);
        client.ways.iter().copied().zip(seen).collect()
    }

    /// The events of its calls through a sidecar.
    async fn events(&self, client: &Client, way: Way, count: usize) -> Vec<Value> {
        self.place(client).events(way, &format!("/{}/", client.name), count).await
    }
}

/// Method, path, status and body of each call.
fn calls() -> [(&'static str, &'static str, u16, Vec<u8>); 5] {
    [
        ("GET", "orders/1", 200, vec![]),
        ("POST", "orders", 201, ORDER.into()),
        ("PUT", "orders/1/file", 200, vec![b's'; 300_000]),
        ("POST", "denied", 403, b"a=1&b=2".into()),
        ("DELETE", "orders/1", 204, vec![]),
    ]
}

/// What the service answers a call: what it received.
fn answer(client: &Client, (method, path, status, body): &(&str, &str, u16, Vec<u8>)) -> Value {
    let sha256: String = Sha256::digest(body).iter().map(|b| format!("{b:02x}")).collect();
    let path = format!("/{}/{path}", client.name);
    let seen = json!({"method": method, "path": path, "bytes": body.len(), "sha256": sha256});
    json!([status, if *status == 204 { Value::Null } else { seen }])
}

/// What the event of a call must say.
fn event(client: &Client, way: Way, (method, path, status, body): &(&str, &str, u16, Vec<u8>)) -> Value {
    let version = if matches!(client.service, Service::Http2) { "2" } else { "1.1" };
    // It offers to upgrade with each first request, but not where a handshake has told what is spoken.
    let offers = client.name == "java" && way == Way::Plain;
    let kept = |body: &[u8]| match body {
        [b'{' | b'a', ..] => String::from_utf8(body.to_vec()).unwrap().into(),
        _ => Value::Null,
    };
    json!({
        "method": method, "path": format!("/{}/{path}", client.name), "status": status, "version": version,
        "bytes": body.len(),
        "digest": if body.is_empty() { Value::Null } else { recorded::digest(body).into() },
        "body": kept(body),
        "flags": if offers { json!(["upgrade_withdrawn"]) } else { Value::Null },
        "error": Value::Null, "agent": true,
    })
}

/// The same of an event.
fn of(event: &Value, client: &Client) -> Value {
    let (http, request) = (&event["http"], &event["request"]);
    let agent = http["user_agent"].as_str().unwrap_or_default();
    json!({
        "method": http["method"], "path": http["path"], "status": http["status"], "version": http["version"],
        "bytes": request["bytes"], "digest": request["digest"], "body": request["body"],
        "flags": event["flags"], "error": event["error"], "agent": agent.contains(client.agent),
    })
}

async fn sees_and_says_the_same(world: &World, client: &Client) {
    let calls = calls();
    let expected: Value = calls.iter().map(|call| answer(client, call)).collect();
    for (way, seen) in world.run(client).await {
        assert_eq!(seen, expected, "{} {}", client.name, way.name());
    }
    for way in client.ways.iter().copied().filter(|way| *way != Way::Direct) {
        let events = world.events(client, way, calls.len() - 1).await;
        let told: Vec<Value> = events.iter().map(|e| of(e, client)).collect();
        let expected: Vec<Value> = calls.iter().skip(1).map(|call| event(client, way, call)).collect();
        assert_eq!(told, expected, "{} {}", client.name, way.name());
        println!(
            "{:<9} {:<5} the same as direct; {} calls, {} events",
            client.name,
            way.name(),
            calls.len(),
            events.len()
        );
    }
}

/// A tunnel that was opened and properly closed.
fn is_tunnel(event: &Value, path: &str) -> bool {
    let http = &event["http"];
    (&http["path"], &http["status"], &event["flags"], &event["error"])
        == (&json!(path), &json!(101), &json!(["tunnel"]), &Value::Null)
}

async fn talks_through_websockets(world: &World, client: &Client) {
    let expected = json!([[false, 5, true], [false, 400_000, true], [true, 3, true], [4001, "enough"]]);
    for (way, seen) in world.run(client).await {
        assert_eq!(seen, expected, "{}", way.name());
        if way != Way::Direct {
            let events = world.events(client, way, 1).await;
            assert!(events.len() == 1 && is_tunnel(&events[0], "/ws/ws"), "{events:#?}");
            println!("{:<9} {:<5} the same as direct; 1 tunnel, 1 event", client.name, way.name());
        }
    }
}

async fn shows_a_page(world: &World, client: &Client) {
    let post = ("POST", "orders", 201, ORDER.into());
    let sent = json!([["0", "event 0"], ["1", "event 1"], ["2", "event 2"]]);
    for (way, seen) in world.run(client).await {
        assert_eq!(seen, json!([answer(client, &post), sent, [5, 100_000, 1000, true]]), "{}", way.name());
        if way != Way::Direct {
            let events = world.events(client, way, 2).await;
            let (tunnels, calls): (Vec<&Value>, Vec<&Value>) =
                events.iter().partition(|event| is_tunnel(event, "/chromium/ws"));
            let calls: Vec<Value> = calls.into_iter().map(|call| of(call, client)).collect();
            assert_eq!((tunnels.len(), calls), (1, vec![event(client, way, &post)]), "{events:#?}");
            println!("{:<9} {:<5} the same as direct; 1 call, 1 tunnel, 2 events", client.name, way.name());
        }
    }
}

#[tokio::test]
async fn http_clients() {
    let world = World::start().await;
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(world.dir.path().join("go-client")).arg(script("client.go"));
    assert!(go.status().expect("Go is needed here").success(), "go build");
    for client in CLIENTS {
        sees_and_says_the_same(&world, client).await;
    }
}

#[tokio::test]
async fn websockets_and_pages() {
    let world = World::start().await;
    let [ws, chromium] = TALKERS else { unreachable!() };
    talks_through_websockets(&world, ws).await;
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert!(deps("clients/chromium").exists());
        shows_a_page(&world, chromium).await;
    } else {
        println!("left out: Chromium, for which there is no package for this system");
    }
}
