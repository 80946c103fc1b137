//! The way from Kafka to ClickHouse: consumers that are killed, a group that never rests, a
//! ClickHouse that is away. The yardstick is what was written to Kafka, or the service's ledger.

use crate::feed::{Fed, Feed, ROWS};
use crate::origin::Origin;
use crate::phases::{Phases, steady};
use crate::sidecar::{Sidecar, configure, resident, sum};
use crate::wire::{Mode, Wire};
use crate::{Random, setting};
use harness::clients::Load;
use harness::{Consumer, Engine, Kafka, wait_until};
use std::collections::HashMap;
use std::time::{Duration, Instant};

const TOPIC: &str = "audit.events";
const GROUP: &str = "sidelog-consumer";
/// For the backlog of a long run to go on a busy machine.
const DRAIN: Duration = Duration::from_secs(600);
/// How long a member of the group stays, and how long it stays away.
const STAY: Duration = Duration::from_millis(2500);

/// Kafka, ClickHouse, and a place for consumers between them.
struct Rear {
    kafka: Kafka,
    engine: Engine,
    dir: tempfile::TempDir,
}

impl Rear {
    async fn start() -> Rear {
        let (kafka, engine) = tokio::join!(Kafka::start(), Engine::start());
        kafka.create_topic(TOPIC, 4).await;
        Rear { kafka, engine, dir: tempfile::tempdir().unwrap() }
    }

    /// A consumer that stores to `clickhouse` (a line of YAML) and whose files lie apart from those of
    /// others. Its batches are small, so that it is nearly always in the middle of one; a killed
    /// member is missed soon, so that the next one need not wait for long.
    async fn consumer(&self, name: &str, clickhouse: &str) -> Consumer {
        let yaml = format!(
            "service: chaos\nupstream: http://127.0.0.1:1\nkafka:\n  brokers: ['{}']\n  \
             properties: {{session.timeout.ms: '1500', heartbeat.interval.ms: '300'}}\n{clickhouse}",
            self.kafka.bootstrap()
        );
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Consumer::start_with(&["--batch-age-ms", "100"], &dir, &yaml).await
    }

    /// A consumer that has begun to store.
    async fn busy_consumer(&self, name: &str) -> Consumer {
        let consumer = self.consumer(name, &self.engine.config()).await;
        reads(&consumer).await;
        consumer
    }

    async fn drained(&self) {
        wait_until(DRAIN, "the consumer has stored all", async || self.kafka.lag(TOPIC, GROUP) == 0).await;
    }

    /// Compares the tables with what was fed, row by row; prints and asserts.
    async fn holds_exactly(&self, fed: &Fed) {
        let rows = self.engine.sql().text(&format!("{ROWS} FORMAT TabSeparated")).await.unwrap();
        let stored = counted(&rows);
        let missing: Vec<_> = fed.rows.iter().filter(|row| !stored.contains_key(row.as_str())).collect();
        let doubled: Vec<_> = stored.iter().filter(|(_, times)| **times > 1).collect();
        let strange: Vec<_> = stored.keys().filter(|row| !fed.rows.contains(**row)).collect();
        let told = self.engine.sql().number("SELECT count() FROM audit.losses").await;
        println!(
            "{} records, and {} of them once more; lost {}, duplicates {}, {told} losses told",
            fed.rows.len(),
            fed.again,
            missing.len(),
            doubled.len(),
        );
        assert!(missing.is_empty(), "lost, such as {:?}", &missing[..missing.len().min(5)]);
        assert!(doubled.is_empty(), "doubled, such as {:?}", &doubled[..doubled.len().min(5)]);
        assert!(strange.is_empty(), "nobody sent {:?}", &strange[..strange.len().min(5)]);
        assert_eq!(told, 0, "a false alarm");
    }
}

/// How often each line is there.
fn counted(lines: &str) -> HashMap<&str, u32> {
    let mut times = HashMap::new();
    lines.lines().for_each(|line| *times.entry(line).or_default() += 1);
    times
}

async fn reads(consumer: &Consumer) {
    wait_until(Duration::from_secs(60), "the consumer reads", async || {
        consumer.process.must_run();
        sum(&consumer.metrics().await, "sidelog_consumer_records_total") > 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_again_and_again_loses_and_doubles_nothing() {
    let kills = setting("SIDELOG_CONSUMER_KILLS", 3);
    let mut random = Random::new();
    let rear = Rear::start().await;
    let (feed, began, mut recognised) = (Feed::start(&rear.kafka, TOPIC), Instant::now(), 0.0);
    for _ in 0..kills {
        let consumer = rear.busy_consumer("consumer").await;
        tokio::time::sleep(Duration::from_millis(random.below(600))).await;
        recognised += sum(&consumer.metrics().await, "sidelog_consumer_duplicates_total");
        consumer.process.kill().await;
    }
    let fed = feed.stop().await;
    let took = began.elapsed();
    let last = rear.busy_consumer("consumer").await;
    rear.drained().await;
    recognised += sum(&last.metrics().await, "sidelog_consumer_duplicates_total");
    println!(
        "consumer killed {kills} times in {took:.1?}; at least {recognised} records recognised as stored"
    );
    rear.holds_exactly(&fed).await;
    assert!(last.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_whose_members_come_and_go_loses_and_doubles_nothing() {
    let seconds = Duration::from_secs(setting("SIDELOG_REBALANCE_SECONDS", 15));
    let rear = Rear::start().await;
    let feed = Feed::start(&rear.kafka, TOPIC);
    let stays = rear.busy_consumer("stays").await;
    let (began, mut visits) = (Instant::now(), 0);
    while began.elapsed() < seconds {
        let visitor = rear.busy_consumer("visitor").await;
        visits += 1;
        tokio::time::sleep(STAY).await;
        // Most take their leave, some drop dead.
        if visits % 3 == 0 {
            visitor.process.kill().await;
        } else {
            assert!(visitor.stop().await.success());
        }
        tokio::time::sleep(STAY).await;
    }
    let took = began.elapsed();
    let fed = feed.stop().await;
    rear.drained().await;
    let metrics = stays.metrics().await;
    let moves = sum(&metrics, "sidelog_consumer_assignments_total");
    println!("{visits} visits in {took:.1?}: partitions moved {moves} times at the consumer that stayed");
    rear.holds_exactly(&fed).await;
    // Taken away and given back by each visit at least; a leave may fall together with the next visit.
    assert!(moves >= f64::from(2 * visits), "{visits} visits moved no partitions: {moves}");
    assert!(stays.stop().await.success());
}

/// A halted process does not know that its partitions have another owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_halted_past_its_session_stores_nothing_twice() {
    let rear = Rear::start().await;
    let feed = Feed::start(&rear.kafka, TOPIC);
    let halted = rear.busy_consumer("halted").await;
    let other = rear.busy_consumer("other").await;
    for _ in 0..setting("SIDELOG_HALTS", 3) {
        halted.process.pause();
        // The session and a rebalance, and then some of what was in work.
        tokio::time::sleep(Duration::from_secs(4)).await;
        halted.process.resume();
        tokio::time::sleep(STAY).await;
    }
    let fed = feed.stop().await;
    rear.drained().await;
    let abandoned = sum(&halted.metrics().await, "sidelog_consumer_abandoned_batches_total");
    println!("batches abandoned by the one that was halted: {abandoned}");
    rear.holds_exactly(&fed).await;
    assert!(halted.stop().await.success() && other.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_clickhouse_is_not_noticed_by_traffic_and_costs_no_row() {
    let seconds = Duration::from_secs(setting("SIDELOG_OUTAGE_SECONDS", 2));
    let mut rear = Rear::start().await;
    let mut wire = Wire::to(rear.engine.url().trim_start_matches("http://").parse().unwrap()).await;
    let clickhouse = rear.engine.config().replace(&rear.engine.url(), &format!("http://{}", wire.address()));
    let consumer = rear.consumer("consumer", &clickhouse).await;
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let kafka = format!("journal: {{dir: journal}}\nkafka: {{brokers: ['{}']}}", rear.kafka.bootstrap());
    configure(dir.path(), origin.address, &kafka);
    let sidecar = Sidecar::start(dir.path()).await;
    let load = Load::start(steady(), sidecar.traffic);
    reads(&consumer).await;

    let mut phases = Phases::begin("clickhouse", "quiet");
    let mut sizes = Vec::new();
    for mode in [Mode::Pass, Mode::Refuse, Mode::Hang] {
        match mode {
            Mode::Pass => {}
            Mode::Refuse => phases.next("refuses"),
            Mode::Hang => phases.next("hangs"),
        }
        if mode != Mode::Pass {
            wire.turn(mode).await;
        }
        tokio::time::sleep(seconds).await;
        phases.end(sidecar.resident());
        sizes.push(resident(&consumer.process));
    }
    // It comes back for a moment, and dies.
    wire.turn(Mode::Pass).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    rear.engine.kill().await;
    phases.next("killed");
    tokio::time::sleep(seconds).await;
    phases.end(sidecar.resident());
    sizes.push(resident(&consumer.process));
    let back = Instant::now();
    rear.engine.restart().await;
    phases.unnoticed(&load.stop());

    wait_until(DRAIN, "all is shipped", async || sidecar.metric("sidelog_journal_pending_records") == 0.0)
        .await;
    rear.drained().await;
    let (back, ledger) = (back.elapsed(), origin.ledger());
    let sql = rear.engine.sql();
    let rows = sql.text("SELECT request_id FROM audit.events FORMAT TabSeparated").await.unwrap();
    let times = counted(&rows);
    let missing = ledger.keys().filter(|id| !times.contains_key(id.as_str())).count();
    let doubled = times.values().filter(|times| **times > 1).count();
    println!(
        "clickhouse back: all stored after {back:.1?}; {} executed, {missing} missing, {doubled} doubled; \
         the consumer had {sizes:?} MiB resident",
        ledger.len()
    );
    assert_eq!((missing, doubled, times.len()), (0, 0, ledger.len()));
    assert_eq!(sql.number("SELECT count() FROM audit.losses").await, 0, "a false alarm");
    // Both batches that it may hold, and what the client library fetches ahead.
    assert!(sizes.iter().all(|size| *size <= sizes[0] + 64), "the backlog is in memory: {sizes:?} MiB");
}
