//! The harness itself: each real service starts, answers, stops and starts again.
//!
//! When one of these fails, the fault is in the set-up, not in Sidelog.

use harness::load::{self, Load};
use harness::{Bao, Canary, Engine, Kafka, Kinto, Port, Process, descendants, is_alive, wait_until};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::process::Command;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

async fn produce(kafka: &Kafka, topic: &str, count: usize) {
    let mut config = rdkafka::config::ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap()).set("compression.codec", "zstd").set("linger.ms", "5");
    let producer: FutureProducer = config.create().unwrap();
    for i in 0..count {
        let value = format!("value {i}");
        let record = FutureRecord::to(topic).key("key").payload(&value);
        producer.send(record, 30 * SECOND).await.unwrap();
    }
}

#[tokio::test]
async fn kafka_keeps_its_messages_when_killed_and_when_stopped() {
    let mut kafka = Kafka::start().await;
    kafka.create_topic("t", 4).await;
    produce(&kafka, "t", 3).await;
    let address = kafka.bootstrap();

    kafka.kill().await;
    assert!(tokio::net::TcpStream::connect(&address).await.is_err(), "the broker is gone");
    kafka.restart().await;
    assert_eq!(kafka.bootstrap(), address);
    produce(&kafka, "t", 2).await;
    kafka.restart().await;

    let messages = kafka.read_all("t");
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[0], b"key value 0");
    assert_eq!(kafka.lag("t", "nobody"), 5);
    assert!(kafka.log_dir().join("t-0").is_dir());
}

#[tokio::test]
async fn a_paused_broker_answers_when_resumed() {
    let kafka = Kafka::start().await;
    kafka.create_topic("t", 1).await;
    let mut config = rdkafka::config::ClientConfig::new();
    let producer: FutureProducer = config.set("bootstrap.servers", kafka.bootstrap()).create().unwrap();
    kafka.pause();
    let began = std::time::Instant::now();
    let resume = async {
        tokio::time::sleep(2 * SECOND).await;
        kafka.resume();
    };
    let record = FutureRecord::to("t").key("key").payload("value");
    let (sent, ()) = tokio::join!(producer.send(record, 60 * SECOND), resume);
    sent.unwrap();
    assert!(began.elapsed() >= 2 * SECOND, "a paused broker must not answer");
    assert_eq!(kafka.read_all("t"), [b"key value"]);
}

#[tokio::test]
async fn openbao_writes_down_calls_and_refusals_with_their_nonce() {
    let canary = Canary::new();
    let bao = Bao::start(&canary).await;
    let call = |token: &str, nonce: &'static str| {
        let call = reqwest::Client::new().post(format!("{}/v1/secret/data/app/db", bao.url()));
        call.header("X-Vault-Token", token)
            .header("X-Request-Id", nonce)
            .body(r#"{"data": {"password": "x"}}"#)
            .send()
    };
    assert_eq!(call(bao.token(), "n-1").await.unwrap().status(), 200);
    assert_eq!(call("unknown", "n-2").await.unwrap().status(), 403);

    let audited = bao.audited();
    let told: Vec<_> = audited.iter().map(|(n, c)| (n.as_str(), c.path.as_str(), c.outcome)).collect();
    assert_eq!(
        told,
        [("n-1", "/v1/secret/data/app/db", "success"), ("n-2", "/v1/secret/data/app/db", "denied")]
    );

    let document = std::fs::read_to_string(bao.openapi()).unwrap();
    assert!(document.contains("/secret/data/{path}") && document.contains("/kv/{path}"));
    let url = bao.url();
    bao.stop().await;
    assert!(reqwest::get(url).await.is_err());
    Bao::start(&canary).await;
}

/// The yardstick of the tests with OpenBao: the whole load, past Sidelog.
#[tokio::test]
async fn openbao_writes_down_every_call_of_the_load() {
    let canary = Canary::new();
    let bao = Bao::start(&canary).await;
    let (url, token) = (bao.url(), bao.token().to_owned());
    let load = Load { url, token, canary, clients: 16, calls: 20 * load::KINDS, over: Duration::ZERO };
    let sent = load.run().await;
    let expected = load::expected(&sent, &bao.audited());
    assert_eq!(expected.len(), 20 * load::RECORDED_KINDS);
    let outcomes = ["success", "denied", "client_error"];
    let count = |outcome: &str| expected.values().filter(|seen| seen.outcome == outcome).count();
    assert_eq!(outcomes.map(count), [20 * 13, 20 * 2, 20 * 2]);
}

#[tokio::test]
async fn kinto_keeps_a_history_by_user() {
    let kinto = Kinto::start().await;
    let bucket = format!("{}/v1/buckets/b", kinto.url());
    let answer = reqwest::Client::new().put(bucket).basic_auth("alice", Some("pw")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let history = kinto.history("b", "alice", "pw").await;
    assert_eq!(history.len(), 1);
    assert_eq!(history[0]["action"], "create");
    assert_eq!(history[0]["user_id"], kinto.user_id("alice", "pw").await);
    assert!(std::fs::read_to_string(kinto.openapi()).unwrap().contains("\"swagger\""));
    kinto.stop().await;
    Kinto::start().await;
}

#[tokio::test]
async fn clickhouse_keeps_its_rows_when_killed() {
    let mut engine = Engine::start().await;
    let writer = engine.writer();
    writer.text("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n").await.unwrap();
    writer.text("INSERT INTO t VALUES (1), (2)").await.unwrap();
    engine.kill().await;
    assert!(writer.text("SELECT 1").await.is_err(), "the engine is gone");
    engine.restart().await;
    assert_eq!(engine.sql().query("SELECT n FROM t ORDER BY n").await[1]["n"], 2);
    assert!(engine.sql().text("INSERT INTO t VALUES (3)").await.is_err(), "reader may only read");
}

#[tokio::test]
async fn what_a_test_starts_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", "sleep 1000 & echo up pid=$!; wait"]);
    let process = Process::start("shell", shell, dir.path());
    let words = process.ready("up ", 10 * SECOND).await;
    let family = descendants(std::process::id());
    let sleeper = *family.iter().find(|(id, _)| id.to_string() == words["pid"]).unwrap();
    assert!(is_alive(sleeper));
    drop(process);
    wait_until(10 * SECOND, "the grandchild is gone", async || !is_alive(sleeper)).await;
}

#[tokio::test]
async fn a_reserved_port_refuses_until_its_service_listens() {
    let port = Port::reserve();
    let address = ("127.0.0.1", port.number());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let listener = std::net::TcpListener::bind(address).unwrap();
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(listener);
    // A process that another test is just starting holds a copy of the socket until it runs its program.
    let until = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < until, "it still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
