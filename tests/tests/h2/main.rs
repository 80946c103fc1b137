//! HTTP/2 and gRPC between peers nobody here wrote: what they see and say is the same with a sidecar
//! between them, and each call is in the journal.

#![allow(clippy::unwrap_used, reason = "in tests a broken assumption shall end the test, with its place")]

mod peers;
mod storm;
mod strict;

use peers::{World, client, grpc_client, start_client};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The one event that fits.
fn event<'e>(events: &'e [Value], method: &str, path: &str) -> &'e Value {
    let fits = |e: &&Value| e["http"]["method"] == method && e["http"]["path"] == path;
    let found: Vec<&Value> = events.iter().filter(fits).collect();
    assert_eq!(found.len(), 1, "{method} {path}");
    found[0]
}

#[tokio::test]
async fn node_sees_and_says_the_same() {
    let world = World::of_node().await;
    let direct = client(&world.direct, "mixed");
    let through = client(&world.through(), "mixed");
    assert_eq!(direct, through);
    assert_eq!(direct["pushes"], json!(["/pushed"]), "the test of the test: a push arrives");
    assert_eq!(direct["results"].as_array().unwrap().len(), 11);
    let events = world.events();
    let mut paths: Vec<&str> = events.iter().map(|e| e["http"]["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    let mutating = ["/broken", "/denied", "/hang", "/v1/orders", "/v1/trailed", "/v1/upload"];
    assert_eq!(paths, mutating, "each mutating call once, and no read");
    let order = event(&events, "POST", "/v1/orders");
    assert_eq!(order["http"]["version"], "2");
    assert_eq!(
        (&order["http"]["host"], &order["http"]["scheme"]),
        (&json!("orders.example"), &json!("http"))
    );
    let body = order["request"]["body"].as_str().unwrap();
    assert!(body.contains("\"n\":1") && !body.contains("hunter2"), "{body}");
    assert_eq!(event(&events, "POST", "/v1/upload")["request"]["bytes"], 3_000_000);
    assert_eq!(event(&events, "DELETE", "/denied")["outcome"], "denied");
    let broken = event(&events, "POST", "/broken");
    assert_eq!((&broken["outcome"], &broken["error"]), (&json!("server_error"), &json!("upstream_reset")));
    let hang = event(&events, "POST", "/hang");
    assert_eq!((&hang["outcome"], &hang["error"]), (&json!("aborted"), &json!("client_reset")));
}

#[tokio::test]
async fn two_hundred_streams_at_once_are_two_hundred_events() {
    let world = World::of_node().await;
    assert_eq!(client(&world.direct, "parallel"), client(&world.through(), "parallel"));
    let events = world.events();
    assert_eq!(events.len(), 200);
    for n in 0..200 {
        let event = event(&events, "POST", &format!("/v1/items/{n}"));
        assert_eq!(event["request"]["bytes"], format!("body {n}").len());
        assert_eq!(event["outcome"], "success");
    }
    let metrics = world.sidecar.metrics().await;
    assert!(metrics.contains("sidelog_http2_connections_total 1\n"), "{metrics}");
    assert!(metrics.contains("sidelog_open_calls 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_refused_stream_dies_alone() {
    let world = World::of_node().await;
    // Before, refused, after; status, reset code, whether there was a body.
    let seen = client(&world.through(), "refused");
    assert_eq!(seen, json!([[200, 0, true], [400, 0, false], [200, 0, true]]));
    assert_eq!(world.events().len(), 2);
    let metrics = world.sidecar.metrics().await;
    assert!(metrics.contains("sidelog_refused_total{reason=\"bad_target\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn tunnels_and_early_answers() {
    let world = World::of_node().await;
    assert_eq!(client(&world.direct, "tunnel"), json!(["ping", "ping"]));
    assert_eq!(client(&world.through(), "tunnel"), json!(["ping", 400]), "only what the list allows");
    assert_eq!(client(&world.through(), "early"), json!([413, "too much"]));
    let events = world.events();
    let tunnel = event(&events, "CONNECT", "/ws");
    assert!(tunnel["flags"].as_array().unwrap().contains(&json!("tunnel")));
    assert_eq!((&tunnel["request"]["bytes"], &tunnel["response"]["bytes"]), (&json!(4), &json!(4)));
    let early = event(&events, "POST", "/early");
    assert!(early["flags"].as_array().unwrap().contains(&json!("early_response")));
}

#[tokio::test]
async fn a_stream_in_flight_ends_well_after_sigterm() {
    let world = World::of_node().await;
    let logs = tempfile::tempdir().unwrap();
    let slow = start_client(&world.through(), "slow", logs.path());
    slow.ready("started", Duration::from_secs(20)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(world.sidecar.stop().await.success());
    assert!(slow.end(Duration::from_secs(20)).await.success());
    let (_, seen) = slow.said().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&seen).unwrap(), json!([200, "late"]));
    assert_eq!(event(&world.events(), "POST", "/slow")["outcome"], "success");
}

#[tokio::test]
async fn grpc_is_understood_and_not_touched() {
    let world = World::of_grpc().await;
    let direct = grpc_client(&world.direct);
    let through = grpc_client(&world.through());
    assert_eq!(direct, through);
    assert_eq!(direct[0], json!(["echo hello", "OK", [["x-trailer", "end"]]]));
    let events = world.events();
    let told: Vec<Value> = events
        .iter()
        .map(|e| {
            assert_eq!((&e["operation"]["protocol"], &e["http"]["version"]), (&json!("grpc"), &json!("2")));
            assert!(e["request"]["body"].is_null(), "what cannot be masked is not kept");
            json!([
                e["operation"]["calls"][0],
                e["http"]["grpc_status"],
                e["outcome"],
                e["request"]["messages"],
                e["response"]["messages"]
            ])
        })
        .collect();
    // Whose clock strikes first, the client's (a reset) or the server's (a status), is open.
    let mut told = told;
    let late = told.remove(5);
    let (by_client, by_server) = (json!([null, "aborted"]), json!([4, "server_error"]));
    assert!([by_client, by_server].contains(&json!([late[1], late[2]])), "{late}");
    let expected = json!([
        ["pkg.Echo/Unary", 0, "success", 1, 1],
        ["pkg.Echo/Unary", 0, "success", 1, 1],
        ["pkg.Echo/Unary", 0, "success", 1, 1],
        ["pkg.Echo/Unary", 5, "client_error", 1, 0],
        ["pkg.Echo/Unary", 7, "denied", 1, 0],
        ["pkg.Echo/Collect", 0, "success", 3, 1],
        ["pkg.Echo/Spread", 0, "success", 1, 5],
        ["pkg.Echo/Talk", 0, "success", 2, 2],
        ["pkg.Echo/Nothing", 12, "client_error", 1, 0],
    ]);
    // A message may still be on its way when the answer ends the call.
    told.iter_mut().zip(expected.as_array().unwrap()).for_each(|(t, e)| {
        if t[1] == 12 {
            t[3] = e[3].clone();
        }
    });
    assert_eq!(Value::Array(told), expected);
}

/// Twenty clients that ask for five megabytes each, allow any amount, and read nothing.
#[tokio::test]
async fn slow_readers_do_not_make_it_grow() {
    const MAY_GROW_KIB: u64 = 20 * 256;
    let world = World::of_node().await;
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.sidecar.process.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    client(&world.through(), "mixed");
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(world.through()).await.unwrap();
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE, the connection's window, and GET /download.
        said.extend_from_slice(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff");
        said.extend_from_slice(b"\0\0\x04\x08\0\0\0\0\0\x7f\xfe\0\0");
        said.extend_from_slice(b"\0\0\x10\x01\x05\0\0\0\x01\x82\x86\x01\x01a\x04\x09/download");
        stream.write_all(&said).await.unwrap();
        held.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = resident().saturating_sub(before);
    let metrics = world.sidecar.metrics().await;
    assert!(metrics.contains("sidelog_connections_open 20\n"), "{metrics}");
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more than {before}");
    // They were fed, and can still have it all.
    let (mut last, mut all) = (held.pop().unwrap(), 0);
    while all < 5_000_000 {
        all += last.read(&mut vec![0; 1 << 16]).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_of_http_1_closes_the_connection() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = origin.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = origin.accept().await {
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    let (sidecar, dir) = World::before(&address).await;
    let url = sidecar.url();
    let seen = tokio::task::spawn_blocking(move || client(url.strip_prefix("http://").unwrap(), "closed"));
    let seen = seen.await.unwrap();
    const HTTP_1_1_REQUIRED: u32 = 13;
    assert!(seen["codes"].as_array().unwrap().contains(&json!(HTTP_1_1_REQUIRED)), "{seen}");
    let metrics = sidecar.metrics().await;
    assert!(metrics.contains("sidelog_upstream_not_http2_total 1\n"), "{metrics}");
    let events = peers::events(dir.path());
    assert_eq!(event(&events, "POST", "/a")["error"], "upstream_malformed");
}
