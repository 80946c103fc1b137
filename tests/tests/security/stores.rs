//! Every store there is: the bodies of the redaction group go through sidecar, journal, Kafka, consumer
//! and ClickHouse, some of them on a way where each of these fails; then every file, message, row,
//! line of a log and metric is searched.

use crate::cases::{self, From, Group};
use crate::fixture::{Fixture, peer};
use crate::group::Outcome;
use crate::redaction::{self, CONFIG, DOCUMENT};
use harness::origin::Step;
use harness::{Consumer, Engine, Kafka, wait_until};
use std::sync::OnceLock;
use std::time::Duration;

const TOPIC: &str = "audit.events";
const MINUTE: Duration = Duration::from_secs(60);

/// Large enough for an event that Kafka refuses.
const LARGE: usize = 1_500_000;

pub fn every_store() -> Outcome {
    ran().0.clone()
}

pub fn error_paths() -> Outcome {
    ran().1.clone()
}

fn ran() -> &'static (Outcome, Outcome) {
    static RAN: OnceLock<(Outcome, Outcome)> = OnceLock::new();
    RAN.get_or_init(run)
}

/// The row of services, and a canary that goes in at its head.
struct Row {
    fixture: Fixture,
    kafka: Kafka,
    engine: Engine,
    consumer: Consumer,
    consumer_dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Row {
    fn start() -> Row {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let (kafka, engine) = runtime.block_on(async {
            let (kafka, engine) = tokio::join!(Kafka::start(), Engine::start());
            kafka.create_topic(TOPIC, 1).await;
            (kafka, engine)
        });
        let queue = format!("kafka: {{brokers: ['{}']}}\n{}", kafka.bootstrap(), engine.config());
        let yaml = format!("{CONFIG}capture: {{max_body: 2MiB}}\n{queue}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("openapi.yaml"), DOCUMENT).unwrap();
        let fixture = redaction::equip(Fixture::start_in(dir, &yaml));
        let consumer_dir = tempfile::tempdir().unwrap();
        let own = format!("service: orders\nupstream: http://{}\n{queue}", fixture.origin.addr());
        let consumer = runtime.block_on(Consumer::start(consumer_dir.path(), &own));
        Row { fixture, kafka, engine, consumer, consumer_dir, runtime }
    }

    /// Waits until so many calls have a row.
    fn wait_for_rows(&self, rows: usize) {
        let sql = self.engine.sql();
        let count = async || sql.try_query("SELECT count() AS n FROM audit.events").await;
        self.runtime.block_on(wait_until(MINUTE, "every call has a row", async || {
            self.consumer.process.must_run();
            count().await.is_ok_and(|answer| answer[0]["n"].to_string().trim_matches('"') == rows.to_string())
        }));
    }

    /// Everything that any of them keeps or says, searched for the canary.
    fn hits(&self) -> Vec<String> {
        let canary = &self.fixture.canary;
        let mut told = self.kafka.read_all(TOPIC).join(&b'\n');
        self.runtime.block_on(async {
            told.extend(self.engine.sql().dump("audit").await.into_bytes());
            told.extend(self.consumer.metrics().await.into_bytes());
            // What ClickHouse writes down of its own work.
            let logs = "SELECT name FROM system.tables WHERE database = 'system' AND name LIKE '%_log'";
            for table in self.engine.writer().query(logs).await {
                let rows =
                    format!("SELECT * FROM system.{} FORMAT JSONEachRow", table["name"].as_str().unwrap());
                told.extend(self.engine.writer().text(&rows).await.unwrap().into_bytes());
            }
        });
        told.extend(self.fixture.told());
        let mut hits: Vec<String> =
            canary.in_bytes(&told).into_iter().map(|h| format!("messages, rows or metrics ({h})")).collect();
        let engine = self.engine.data_dir();
        let kafka = self.kafka.log_dir();
        hits.extend(canary.in_files(&[self.fixture.dir(), self.consumer_dir.path(), &kafka, &engine]));
        hits
    }
}

fn run() -> (Outcome, Outcome) {
    let mut row = Row::start();
    let mut sent = 0;
    for case in cases::of(Group::Redaction) {
        for (index, payload) in case.payloads.iter().enumerate() {
            row.fixture.send(case.id, index, payload);
            sent += 1;
        }
    }
    row.wait_for_rows(sent);
    let every = row.hits();
    let messages = row.kafka.read_all(TOPIC).join(&b'\n');
    let shown = |what: &str| memchr::memmem::find(&messages, what.as_bytes()).is_some();
    assert!(shown("[redacted") && shown("/v1/people"), "nothing of the bodies arrived: nothing was searched");
    let failing = fail(&mut row, sent);
    let outcome = |hits: Vec<String>, said: String| if hits.is_empty() { Ok(said) } else { Err(hits) };
    (
        outcome(
            every,
            format!(
                "{sent} calls, 0 hits in journal, Kafka, ClickHouse and its logs, outputs, metrics; plain, Base64, hex, percent, reversed"
            ),
        ),
        outcome(failing, "0 hits there either; every call has its row".into()),
    )
}

/// Bodies that no reader can read, while ClickHouse is away and Kafka refuses the size.
fn fail(row: &mut Row, before: usize) -> Vec<String> {
    row.runtime.block_on(row.engine.kill());
    let secret = row.fixture.canary.secret("broken");
    let deep = format!("{}\"{secret}\"{}", "[".repeat(3000), "]".repeat(3000));
    let large = format!("{{\"a\":\"{}\",\"b\":\"{secret}\",\"password\":\"{secret}\"}}", "x".repeat(LARGE));
    let bodies: [(&str, Vec<u8>); 7] = [
        ("application/json", format!("{{\"a\":{{\"password\":\"{secret}").into_bytes()),
        ("application/json", [b"{\"password\":\"\xff\xfe", secret.as_bytes(), b"\"}"].concat()),
        ("application/json", deep.into_bytes()),
        ("application/xml", format!("<a><password>{secret}</a>").into_bytes()),
        ("multipart/form-data", format!("--x\r\n\r\npassword={secret}").into_bytes()),
        ("application/x-www-form-urlencoded", format!("password=%zz{secret}&%").into_bytes()),
        ("application/json", large.replace(&format!("\"b\":\"{secret}\","), "").into_bytes()),
    ];
    for (index, (media, body)) in bodies.iter().enumerate() {
        let head = format!(
            "POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let raw = [head.as_bytes(), body].concat();
        let script = vec![Step::Answer(row.fixture.answer.clone())];
        let seen = row.fixture.send_raw(peer(From::Stranger, 95, index), raw, script);
        assert_eq!(seen.ledger.len(), 1, "{media}: not executed");
    }
    let told = |row: &Row| String::from_utf8(row.fixture.told()).unwrap();
    row.runtime.block_on(wait_until(MINUTE, "kafka refuses an event for its size", async || {
        !row.fixture.sidecar.metrics().await.contains("\nsidelog_slimmed_records_total 0\n")
    }));
    assert!(told(row).contains("\nsidelog_slimmed_records_total 1\n"));
    row.runtime.block_on(wait_until(MINUTE, "the consumer meets no clickhouse", async || {
        row.consumer.metrics().await.contains("\nsidelog_consumer_retries_total{")
    }));
    row.runtime.block_on(row.engine.restart());
    row.wait_for_rows(before + bodies.len());
    row.hits()
}
