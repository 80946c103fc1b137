//! The shipper against a real broker, where librdkafka's mock one does not do: it checks sequence numbers
//! and the size of batches.

use harness::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::{Value, json};
use sidelog::config;
use sidelog::emit::Shipper;
use sidelog::metrics::Metrics;
use sidelog_journal::{Journal, Options, Storable};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const TOPIC: &str = "small.batches";
/// What the topic takes at most. A batch of twenty small records fits; one with a long record in it
/// does not, and neither does the long record alone.
const MAX_BATCH: usize = 20_000;
const LONG: usize = 30_000;
const MINUTE: Duration = Duration::from_secs(60);

struct Event(Uuid, Vec<u8>);

impl Storable for Event {
    fn id(&self) -> Uuid {
        self.0
    }
    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

fn event(length: usize) -> Event {
    let id = Uuid::new_v4();
    let request = json!({"bytes": length, "body": "x".repeat(length), "body_state": "complete"});
    let event = json!({
        "event_id": id, "stage": "completed", "time": "2026-11-22T10:00:00Z", "service": "orders",
        "http": {
            "version": "1.1", "method": "POST", "effective_method": "POST", "scheme": "http", "path": "/v1",
        },
        "operation": {"match": "unmatched", "op": "other"},
        "actor": {"source": "anonymous", "verified": false},
        "client": {"ip": "10.0.0.1", "ip_source": "peer", "peer_ip": "10.0.0.1"},
        "outcome": "success", "request": request, "response": {"bytes": 0},
        "level": "request", "delivery": "written", "policy": "default",
    });
    Event(id, event.to_string().into_bytes())
}

async fn create_topic(kafka: &Kafka) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap();
    let max = MAX_BATCH.to_string();
    let topic = NewTopic::new(TOPIC, 4, TopicReplication::Fixed(1)).set("max.message.bytes", &max);
    for result in admin.create_topics([&topic], &AdminOptions::new()).await.unwrap() {
        result.unwrap();
    }
}

/// In small batches, so that refusals hit while later records are on their way.
fn ship(journal: &Arc<Journal>, kafka: &Kafka) -> Shipper {
    let properties = [("linger.ms", "1"), ("compression.type", "none"), ("batch.num.messages", "20")];
    let kafka = config::Kafka {
        brokers: vec![kafka.bootstrap()],
        topic: TOPIC.into(),
        properties: properties.map(|(name, value)| (name.into(), value.into())).to_vec(),
    };
    Shipper::start(journal.clone(), kafka, Arc::new(Metrics::default()), Duration::from_secs(10)).unwrap()
}

/// A consumer that keeps a mark, and drops what is not above it, must lose nothing.
#[tokio::test]
async fn what_the_broker_refuses_loses_nothing_and_keeps_the_order() {
    let kafka = Kafka::start().await;
    create_topic(&kafka).await;
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(Options::new(dir.path())).unwrap().journal;
    let shipper = ship(&journal, &kafka);
    let mut long = Vec::new();
    for i in 1..=10_000u64 {
        let is_long = i % 2000 == 376;
        let seq = journal.append(&event(if is_long { LONG } else { 100 })).unwrap();
        long.extend(is_long.then_some(seq));
        if i % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let by = Instant::now() + MINUTE;
    while journal.stats().pending > 0 {
        assert!(Instant::now() < by, "not shipped in time: {}", journal.stats().pending);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::task::spawn_blocking(move || shipper.stop()).await.unwrap();

    let (mut seen, mut slim) = (Vec::new(), Vec::new());
    for message in kafka.read_all(TOPIC) {
        // The key stands before the value.
        let at = message.iter().position(|b| *b == b'{').unwrap();
        let envelope: Value = serde_json::from_slice(&message[at..]).unwrap();
        let seq = envelope["seq"].as_u64().unwrap();
        if seen.last().is_none_or(|mark| *mark < seq) {
            seen.push(seq);
            slim.extend((envelope["event"]["request"]["body_state"] == "omitted:too_large").then_some(seq));
        }
    }
    let missing: Vec<_> = (1..=10_000).filter(|seq| seen.binary_search(seq).is_err()).collect();
    assert!(missing.is_empty(), "behind the mark: {missing:?}");
    assert_eq!(slim, long, "these and no others are sent without their bodies");
}
