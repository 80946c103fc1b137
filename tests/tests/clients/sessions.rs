//! Clients with a service of their own: gRPC, a kernel of Jupyter, OpenBao's command line.

use crate::world::{EVERY_WAY, Place, Way, output, program, told};
use harness::{Bao, Canary, Port, Process, deps, wait_until};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(60);

const SIDECARS: [Way; 2] = [Way::Plain, Way::Tls];

fn method_path_status(event: &Value) -> Value {
    let http = &event["http"];
    // How a tunnel ends is for its two ends to say: Jupyter at times resets it.
    assert!(event["error"].is_null() || http["status"] == 101, "{event:#}");
    json!([http["method"], http["path"], http["status"]])
}

/// Unary calls and the three kinds of streams.
#[tokio::test]
async fn grpc() {
    let dir = tempfile::tempdir().unwrap();
    let peer = |arguments: &[&str]| {
        let mut command = program("python3", &[], "../h2/grpc_peer.py");
        command.args(arguments).env("PYTHONPATH", deps("grpc").canonicalize().unwrap());
        command
    };
    let service = Process::start("grpc", peer(&["server"]), dir.path());
    let words = service.ready("grpc ready ", START).await;
    let place = Place::before(&format!("127.0.0.1:{}", words["port"]), true).await;
    let direct = told("client", peer(&["client", &place.address(Way::Direct)]), dir.path()).await;
    assert_eq!(direct[0][6], json!("a+b+c"), "the test of the test: a stream arrives");
    for way in SIDECARS {
        let mut command = peer(&["client", &place.address(way)]);
        if way == Way::Tls {
            command.arg(place.ca());
        }
        assert_eq!(told("client", command, dir.path()).await, direct, "{}", way.name());
        let events = place.events(way, "/", 10).await;
        let told = events.iter().map(|event| {
            let counts = [&event["request"]["messages"], &event["response"]["messages"]];
            json!([event["operation"]["calls"][0], event["http"]["grpc_status"], counts])
        });
        let streams: Vec<Value> = told.filter(|told| told[0] != "pkg.Echo/Unary" && told[1] == 0).collect();
        let expected = [
            json!(["pkg.Echo/Collect", 0, [3, 1]]),
            json!(["pkg.Echo/Spread", 0, [1, 5]]),
            json!(["pkg.Echo/Talk", 0, [2, 2]]),
        ];
        assert_eq!((events.len(), &streams[..]), (10, &expected[..]), "{}", way.name());
        println!("{:<9} {:<5} the same as direct; 10 calls, 10 events", "grpcio", way.name());
    }
}

/// jupyter_server's own client for the kernels of another server: `1 + 1` over a WebSocket.
#[tokio::test]
async fn a_kernel_of_jupyter() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::reserve();
    let mut command = program("python3", &[], "jupyter.py");
    command.arg(port.number().to_string()).current_dir(dir.path()).env("HOME", dir.path());
    let service = Process::start("jupyter", command, dir.path());
    let address = format!("127.0.0.1:{}", port.number());
    let answers = format!("http://{address}/api");
    wait_until(START, "jupyter answers", async || {
        service.must_run();
        reqwest::get(&answers).await.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let place = Place::before(&address, false).await;
    let mut client = program("python3", &[], "kernel.py");
    client.args(EVERY_WAY.iter().map(|way| place.url(*way)));
    client.env("SSL_CERT_FILE", place.ca()).env("HOME", dir.path());
    let seen = told("kernel", client, dir.path()).await;
    assert_eq!(seen, vec![json!(["said\n", "2"]); 3]);
    for way in SIDECARS {
        let events = place.events(way, "/api/kernels", 3).await;
        let mut told: Vec<Value> = events.iter().map(method_path_status).collect();
        // The tunnel ends when both sides have closed, which may be after the kernel has ended.
        told.sort_by_key(|event| event.to_string());
        let kernel = told[0][1].as_str().unwrap().to_owned();
        let expected = [
            json!(["DELETE", kernel, 204]),
            json!(["GET", format!("{kernel}/channels"), 101]),
            json!(["POST", "/api/kernels", 201]),
        ];
        assert_eq!(told, expected, "{}", way.name());
        let tunnel = events.iter().find(|event| event["http"]["status"] == 101).unwrap();
        assert_eq!(tunnel["flags"], json!(["tunnel"]));
        println!("{:<9} {:<5} the same as direct; 2 calls, 1 tunnel, 3 events", "jupyter", way.name());
    }
}

/// Writes a secret and reads it.
#[tokio::test]
async fn the_command_line_of_openbao() {
    let canary = Canary::new();
    let bao = Bao::start(&canary).await;
    let place = Place::before(&bao.url().replace("http://", ""), false).await;
    let dir = tempfile::tempdir().unwrap();
    for way in EVERY_WAY {
        let command = |arguments: &[&str]| {
            let mut command = Command::new(deps("openbao/openbao"));
            command
                .args(arguments)
                .env("BAO_ADDR", place.url(*way))
                .env("BAO_TOKEN", bao.token())
                .env("BAO_CACERT", place.ca())
                .env("HOME", dir.path())
                .env("no_proxy", "*");
            command
        };
        let (name, secret) = (format!("app/{}", way.name()), canary.secret(way.name()));
        let password = format!("password={secret}");
        output("put", command(&["kv", "put", "-mount=secret", &name, &password]), dir.path()).await;
        let get = command(&["kv", "get", "-mount=secret", "-field=password", &name]);
        assert_eq!(output("get", get, dir.path()).await.trim_end(), secret, "{}", way.name());
        if *way == Way::Direct {
            continue;
        }
        let events = place.events(*way, "/", 1).await;
        let told: Vec<Value> = events.iter().map(method_path_status).collect();
        assert_eq!(told, [json!(["PUT", format!("/v1/secret/data/{name}"), 200])]);
        let request = &events[0]["request"];
        let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        assert_eq!(request["body_state"], "complete");
        assert!(
            body["data"]["password"].is_string()
                && canary.in_bytes(events[0].to_string().as_bytes()).is_empty(),
            "{request}"
        );
        println!("{:<9} {:<5} the same as direct; 1 write, 1 read, 1 event", "bao", way.name());
    }
}
