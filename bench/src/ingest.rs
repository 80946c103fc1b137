//! The same events from one Kafka topic into the same table, by different ways.
//!
//! Each way begins with empty tables and is watched from the moment the first rows are there until
//! the last is: what joining a group costs is not measured, nor what merges do afterwards. Rounds are
//! interleaved, medians compared. Everything shares the machine: consumer, engine, broker.

pub mod recorder;
pub mod report;
pub mod topic;

use crate::events::Plan;
use crate::process::{all_cpu_seconds, cpu_seconds, load_average, peak_mib};
use harness::{Consumer, Engine, Kafka, Sql};
use recorder::{Insert, Recorder};
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::store::{Store, StoreOptions};
use std::time::{Duration, Instant};

const TOPIC: &str = "audit.events";
const KAFKA_ENGINE: &str = include_str!("../kafka_engine.sql");
/// Between two looks at the table.
const LOOK: Duration = Duration::from_millis(50);
/// Nothing takes longer than this for so many rows.
const PATIENCE: Duration = Duration::from_secs(300);
/// Every value of every row, but for when it was stored. Through text: a hash of a NULL is NULL.
const CHECKSUM: &str = "SELECT toInt64(bitAnd(sum(cityHash64(formatRow('TSV', * EXCEPT ingested_at))), \
     9223372036854775807)) FROM audit.events";

/// A way into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `sidelog-consumer`.
    Consumer,
    /// ClickHouse's Kafka engine with a materialized view, all settings as they come.
    KafkaEngine,
    /// The same with one reader per core and large blocks.
    KafkaEngineTuned,
    /// The consumer's own inserts, sent again by so many connections.
    Raw(usize),
}

pub const WAYS: [Way; 5] = [Way::Consumer, Way::KafkaEngine, Way::KafkaEngineTuned, Way::Raw(1), Way::Raw(2)];

impl Way {
    pub fn name(self) -> String {
        match self {
            Way::Consumer => "sidelog-consumer".into(),
            Way::KafkaEngine => "kafka engine".into(),
            Way::KafkaEngineTuned => "kafka engine, tuned".into(),
            Way::Raw(connections) => format!("raw insert × {connections}"),
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Sample {
    pub way: String,
    pub rows_per_second: f64,
    /// CPU by row, microseconds: of the consumer, the engine, the broker.
    pub consumer_micros: f64,
    pub engine_micros: f64,
    pub broker_micros: f64,
    /// The most that the consumer had resident, MiB.
    pub consumer_peak_mib: f64,
    pub load_average: f64,
    /// Cores that others used meanwhile.
    pub others: f64,
    /// Of all rows; the same for all ways, or one of them stores something else.
    pub checksum: i64,
}

/// Broker, full topic and engine.
pub struct Bench {
    plan: Plan,
    kafka: Kafka,
    engine: Engine,
    sql: Sql,
    rounds: usize,
    /// What the consumer sends.
    inserts: Vec<Insert>,
}

impl Bench {
    /// Starts all, fills the topic, and records what a consumer sends.
    pub async fn start(plan: Plan, partitions: i32) -> Bench {
        let kafka = Kafka::start().await;
        kafka.create_topic(TOPIC, partitions).await;
        let brokers = kafka.bootstrap();
        tokio::task::spawn_blocking(move || topic::fill(&brokers, TOPIC, plan)).await.unwrap();
        let engine = Engine::start().await;
        let sql = engine.writer();
        Bench { plan, kafka, engine, sql, rounds: 0, inserts: Vec::new() }
    }

    /// The database as a consumer finds it at its first start.
    async fn empty(&self) {
        self.sql.text("DROP DATABASE IF EXISTS audit SYNC").await.unwrap();
        let store = Store::new(&StoreOptions {
            url: self.engine.url(),
            user: "writer".into(),
            password: Some(sidelog::config::Secret("writer's".into())),
            place: Place { database: "audit".into(), cluster: None },
        });
        migrate::migrate(&store).await.unwrap();
    }

    pub async fn measure(&mut self, way: Way) -> Sample {
        if self.inserts.is_empty() && matches!(way, Way::Raw(_)) {
            self.record().await;
        }
        self.rounds += 1;
        self.empty().await;
        match way {
            Way::Consumer => self.consumer().await,
            Way::KafkaEngine => self.kafka_engine(way, "").await,
            Way::KafkaEngineTuned => self.kafka_engine(way, &tuning()).await,
            Way::Raw(connections) => self.raw(way, connections).await,
        }
    }

    async fn start_consumer(&self, engine: &str) -> (Consumer, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "service: bench\nupstream: http://127.0.0.1:9\n{}\
             kafka: {{brokers: ['{}'], topic: {TOPIC}, properties: {{group.id: bench-{}}}}}\n",
            self.engine.config().replace(&self.engine.url(), engine),
            self.kafka.bootstrap(),
            self.rounds
        );
        (Consumer::start(dir.path(), &config).await, dir)
    }

    async fn record(&mut self) {
        self.rounds += 1;
        self.empty().await;
        let recorder = Recorder::start(self.engine.url()).await;
        let (consumer, _dir) = self.start_consumer(&format!("http://{}", recorder.address)).await;
        self.watch("recording".into(), 0).await;
        consumer.stop().await;
        self.inserts = recorder.inserts();
    }

    async fn consumer(&self) -> Sample {
        let (consumer, _dir) = self.start_consumer(&self.engine.url()).await;
        let sample = self.watch(Way::Consumer.name(), consumer.process.id()).await;
        consumer.stop().await;
        sample
    }

    async fn kafka_engine(&self, way: Way, tuning: &str) -> Sample {
        let sql = KAFKA_ENGINE
            .replace("{brokers}", &self.kafka.bootstrap())
            .replace("{topic}", TOPIC)
            .replace("{group}", &format!("engine-{}", self.rounds))
            .replace("{tuning}", tuning);
        for statement in sql.split(";\n") {
            self.sql.text(statement).await.unwrap();
        }
        let sample = self.watch(way.name(), 0).await;
        self.sql.text("DROP TABLE audit.queue_to_events SYNC").await.unwrap();
        self.sql.text("DROP TABLE audit.queue SYNC").await.unwrap();
        sample
    }

    async fn raw(&self, way: Way, connections: usize) -> Sample {
        let (url, inserts) = (self.engine.url(), self.inserts.clone());
        let sender = tokio::spawn(async move { recorder::replay(&url, &inserts, connections).await });
        let sample = self.watch(way.name(), 0).await;
        sender.await.unwrap();
        sample
    }

    async fn rows(&self) -> u64 {
        self.sql.number("SELECT count() FROM audit.events").await as u64
    }

    /// From the first rows to the last. `consumer`: its process, 0 if there is none.
    async fn watch(&self, way: String, consumer: u32) -> Sample {
        let until = Instant::now() + PATIENCE;
        let mut first = 0;
        while first == 0 {
            assert!(Instant::now() < until, "{way}: no rows came");
            tokio::time::sleep(LOOK).await;
            first = self.rows().await;
        }
        let pids = [consumer, self.engine.id(), self.kafka.id()];
        let used = || pids.map(|pid| if pid == 0 { 0.0 } else { cpu_seconds(pid) });
        let (start, before, all_before) = (Instant::now(), used(), all_cpu_seconds());
        let mut last = first;
        while last < self.plan.events {
            assert!(Instant::now() < until + PATIENCE, "{way}: {last} rows of {} came", self.plan.events);
            tokio::time::sleep(LOOK).await;
            last = self.rows().await;
        }
        let (seconds, after, all_after) = (start.elapsed().as_secs_f64(), used(), all_cpu_seconds());
        assert_eq!(last, self.plan.events, "{way}: rows came twice");
        let cpu: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let rows = (last - first) as f64;
        let micros = |at: usize| cpu.get(at).copied().unwrap_or(0.0) * 1e6 / rows;
        let others = (all_after - all_before - cpu.iter().sum::<f64>()) / seconds;
        let checksum = self.sql.number(CHECKSUM).await;
        Sample {
            way,
            rows_per_second: rows / seconds,
            consumer_micros: micros(0),
            engine_micros: micros(1),
            broker_micros: micros(2),
            consumer_peak_mib: if consumer == 0 { 0.0 } else { peak_mib(consumer) },
            load_average: load_average(),
            others: others.max(0.0),
            checksum,
        }
    }
}

fn tuning() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("kafka_num_consumers = {cores}, kafka_thread_per_consumer = 1, kafka_max_block_size = 1048576,")
}
