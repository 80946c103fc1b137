//! The whole row: client → sidecar → journal → Kafka → consumer → ClickHouse, in front of OpenBao.

use crate::{Bao, Canary, Consumer, Engine, Kafka, Sidecar, Sql, load, temp_dir, wait_until};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TOPIC: &str = "audit.events";

#[derive(Debug)]
pub struct Chain {
    pub bao: Bao,
    pub kafka: Kafka,
    pub engine: Engine,
    pub sidecar: Sidecar,
    pub consumer: Consumer,
    dir: tempfile::TempDir,
    yaml: String,
}

impl Chain {
    /// Everything up, nothing called yet. The configuration is [`load::CONFIG`].
    pub async fn start(canary: &Canary) -> Chain {
        let (bao, kafka, engine) = tokio::join!(Bao::start(canary), Kafka::start(), Engine::start());
        kafka.create_topic(TOPIC, 4).await;
        let dir = temp_dir("chain");
        std::fs::copy(bao.openapi(), dir.path().join("openapi.json")).unwrap();
        let yaml = format!(
            "service: openbao\nupstream: {}\njournal: {{dir: journal}}\nkafka: {{brokers: ['{}']}}\n{}{}",
            bao.url(),
            kafka.bootstrap(),
            engine.config(),
            load::CONFIG,
        );
        let sidecar = Sidecar::start(dir.path(), &yaml).await;
        let consumer = Consumer::start(dir.path(), &yaml).await;
        // It is ready when it runs; the tables come when ClickHouse answers it.
        wait_until(Duration::from_secs(30), "the consumer makes the tables", async || {
            consumer.process.must_run();
            engine.sql().try_query("SELECT count() FROM audit.dead_letters").await.is_ok()
        })
        .await;
        Chain { bao, kafka, engine, sidecar, consumer, dir, yaml }
    }

    pub fn sql(&self) -> Sql {
        self.engine.sql()
    }

    /// Ends the consumer without a word and starts another.
    pub async fn replace_consumer(&mut self) {
        self.consumer.process.kill().await;
        self.consumer = Consumer::start(self.dir.path(), &self.yaml).await;
    }

    /// Ends the sidecar without a word and starts another on the same journal.
    pub async fn replace_sidecar(&mut self) {
        self.sidecar.process.kill().await;
        self.sidecar = Sidecar::start(self.dir.path(), &self.yaml).await;
    }

    /// Every directory in which something of a call could have been left: the journal and the
    /// output of our own processes, Kafka's log, ClickHouse's data.
    pub fn stores(&self) -> [PathBuf; 3] {
        [self.dir.path().to_owned(), self.kafka.log_dir(), self.engine.data_dir()]
    }

    /// What the stores hold that a look into the files would not show, because it is compressed
    /// there: every message and every row; and what the processes tell about themselves.
    pub async fn told(&self) -> Vec<u8> {
        let mut told = self.kafka.read_all(TOPIC).join(&b'\n');
        told.extend(self.sql().dump("audit").await.into_bytes());
        told.extend(self.sidecar.metrics().await.into_bytes());
        told.extend(self.consumer.metrics().await.into_bytes());
        told
    }

    /// Messages in Kafka that the consumer has not dealt with.
    pub fn lag(&self) -> i64 {
        self.kafka.lag(TOPIC, "sidelog-consumer")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
