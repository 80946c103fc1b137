//! The shipper with a real journal and a real librdkafka against librdkafka's mock brokers.
//!
//! The mock checks no sequence numbers of producers without transactions: where a batch is refused, it
//! takes those in flight behind it, which a real broker refuses. So here the order after a refusal is
//! tested where nothing else is in flight (a producer's first record), and completeness elsewhere; the
//! end-to-end tests have a real broker for the rest.

use super::*;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Message, util::Timeout};
use serde_json::{Value, json};
use sidelog_event::Envelope;
use sidelog_journal::{Opened, Options, Storable};
use std::collections::BTreeSet;
use tempfile::TempDir;

const TOPIC: &str = "audit.events";
const PARTITIONS: i32 = 4;
const LONG: Duration = Duration::from_secs(60);
const FLUSH: Duration = Duration::from_secs(10);

type Cluster = MockCluster<'static, DefaultProducerContext>;

struct Raw(Uuid, Vec<u8>);

impl Storable for Raw {
    fn id(&self) -> Uuid {
        self.0
    }
    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

fn event(body: &str) -> Raw {
    let id = Uuid::now_v7();
    let message =
        json!({"bytes": body.len(), "body": body, "body_state": "complete", "content_type": "text/plain"});
    let event = json!({
        "event_id": id, "stage": "completed", "time": "2026-11-22T10:00:00Z", "service": "orders",
        "http": {"version": "1.1", "method": "POST", "effective_method": "POST", "scheme": "http", "path": "/v1/x"},
        "operation": {"match": "unmatched", "op": "other"},
        "actor": {"source": "anonymous", "verified": false},
        "client": {"ip": "10.0.0.1", "ip_source": "peer", "peer_ip": "10.0.0.1"},
        "outcome": "success", "request": message, "response": {"bytes": 0},
        "level": "request", "delivery": "written", "policy": "default",
    });
    Raw(id, event.to_string().into_bytes())
}

/// A broker, a journal, and what is needed to ship from one to the other.
struct World {
    cluster: Cluster,
    dir: TempDir,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    properties: Vec<(String, String)>,
}

impl World {
    fn new(properties: &[(&str, &str)]) -> World {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let journal = open(&dir);
        let properties = properties.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        World { cluster, dir, journal, metrics: Arc::default(), properties }
    }

    fn quick() -> World {
        World::new(&[("linger.ms", "5")])
    }

    fn start(&self) -> Shipper {
        self.start_flushing(FLUSH)
    }

    fn start_flushing(&self, flush: Duration) -> Shipper {
        let kafka = config::Kafka {
            brokers: vec![self.cluster.bootstrap_servers()],
            topic: TOPIC.into(),
            properties: self.properties.clone(),
        };
        Shipper::start(self.journal.clone(), kafka, self.metrics.clone(), flush).unwrap()
    }

    fn append(&self, count: usize) {
        for i in 0..count {
            // Faster than segments are made, on a busy machine.
            wait_until("the journal has room", || self.journal.has_room());
            self.journal.append(&event(&format!("body {i}"))).unwrap();
        }
    }

    fn pending(&self) -> u64 {
        self.journal.stats().pending
    }

    fn wait_shipped(&self) {
        wait_until("everything is shipped", || self.pending() == 0);
    }

    fn refuse(&self, times: usize, error: RDKafkaRespErr) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
    }

    fn failures(&self) -> String {
        let text = self.metrics.encode();
        text.lines().filter(|l| l.starts_with("sidelog_ship_failures_total{")).collect()
    }

    /// Everything in the topic, in its order, all in one partition.
    fn topic(&self) -> Vec<Value> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.partition.eof", "false")
            .create()
            .unwrap();
        let mut assignment = TopicPartitionList::new();
        let mut expected = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = consumer.fetch_watermarks(TOPIC, partition, LONG).unwrap();
            assert_eq!(low, 0, "the mock broker has thrown records away: the test sends too much");
            expected += usize::try_from(high).unwrap();
            assignment.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let (mut found, mut partitions) = (Vec::new(), BTreeSet::new());
        while found.len() < expected {
            let message = consumer.poll(Timeout::After(LONG)).expect("a message").unwrap();
            let payload = message.payload().unwrap();
            let envelope: Envelope<'_> = serde_json::from_slice(payload).unwrap();
            assert!(envelope.event.is_some() ^ envelope.loss.is_some());
            assert_eq!(message.key().unwrap(), envelope.producer.to_string().as_bytes());
            partitions.insert(message.partition());
            found.push(serde_json::from_slice(payload).unwrap());
        }
        assert!(partitions.len() <= 1, "one producer, one partition");
        found
    }

    /// What a consumer keeps that drops whatever is not above all it has seen: the sequence numbers.
    fn seen(&self) -> Vec<u64> {
        let mut mark = 0;
        let mut seqs: Vec<_> = self.topic().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
        seqs.retain(|seq| {
            let above = *seq > mark;
            mark = mark.max(*seq);
            above
        });
        seqs
    }
}

fn open(dir: &TempDir) -> Arc<Journal> {
    let options = Options {
        max_bytes: 32 << 20,
        segment_bytes: 256 << 10,
        max_open_calls: 16,
        ..Options::new(dir.path())
    };
    let Opened { journal, .. } = Journal::open(options).unwrap();
    journal
}

#[track_caller]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let by = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < by, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn numbers(to: u64) -> Vec<u64> {
    (1..=to).collect()
}

#[test]
fn ships_while_records_arrive_each_once_and_in_order_and_frees_the_journal() {
    let world = World::new(&[]);
    let shipper = world.start();
    for _ in 0..50 {
        world.append(100);
        std::thread::sleep(Duration::from_millis(10));
    }
    world.wait_shipped();
    wait_until("segments are trimmed", || world.journal.stats().segments <= 2);
    shipper.stop();
    let topic = world.topic();
    let at: Vec<_> =
        topic.iter().map(|m| (m["boot"].as_u64().unwrap(), m["seq"].as_u64().unwrap())).collect();
    assert_eq!(at, numbers(5000).into_iter().map(|seq| (1, seq)).collect::<Vec<_>>());
    assert!(topic.iter().all(|m| m["producer"] == json!(world.journal.producer())));
    assert_eq!(topic[4999]["event"]["request"]["body"], "body 99");
    assert_eq!(world.metrics.shipped.get(), 5000);
    assert_eq!(world.failures(), "");
}

#[test]
fn brokers_that_go_away_and_come_back_cost_nothing() {
    let world = World::new(&[]);
    let shipper = world.start();
    world.append(500);
    world.wait_shipped();
    world.cluster.broker_down(-1).unwrap();
    for _ in 0..25 {
        world.append(20);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(world.pending() > 0);
    world.cluster.broker_up(-1).unwrap();
    world.append(500);
    world.wait_shipped();
    shipper.stop();
    assert_eq!(world.seen(), numbers(1500));
}

#[test]
fn refusals_of_every_kind_lose_nothing_and_keep_the_order() {
    use RDKafkaRespErr::*;
    let refusals = [
        (2, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (2, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED),
        (2, RD_KAFKA_RESP_ERR_INVALID_RECORD),
        (1, RD_KAFKA_RESP_ERR_UNKNOWN),
        (2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        (2, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND),
        (2, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR),
        (1, RD_KAFKA_RESP_ERR__TRANSPORT),
    ];
    let world = World::quick();
    for (times, error) in refusals {
        world.append(250);
        world.refuse(times, error);
        let shipper = world.start();
        wait_until(&format!("shipped in spite of {error:?}"), || world.pending() == 0);
        shipper.stop();
        world.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    }
    assert_eq!(world.seen(), numbers(250 * refusals.len() as u64));
    assert!(world.failures().contains("delivery"), "{}", world.failures());
}

#[test]
fn refusals_in_mid_stream_lose_nothing() {
    use RDKafkaRespErr::*;
    let errors = [
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    ];
    refused_in_mid_stream(&[("linger.ms", "0"), ("batch.num.messages", "10")], &errors);
}

/// One request at a time: where several are in flight, a broker takes none of them after a refused one, and
/// librdkafka relies on that (an acknowledged batch acknowledges those before it). The mock checks no
/// sequence numbers of producers without transactions and would take it.
#[test]
fn a_refusal_that_is_tried_again_loses_nothing() {
    let one = ("max.in.flight.requests.per.connection", "1");
    let properties = [("linger.ms", "0"), ("batch.num.messages", "10"), one];
    refused_in_mid_stream(&properties, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
}

#[track_caller]
fn refused_in_mid_stream(properties: &[(&str, &str)], errors: &[RDKafkaRespErr]) {
    let world = World::new(properties);
    world.cluster.broker_round_trip_time(-1, Duration::from_millis(5)).unwrap();
    let shipper = world.start();
    for error in errors.iter().copied() {
        world.append(100);
        world.refuse(2, error);
        world.append(100);
        world.wait_shipped();
    }
    shipper.stop();
    let all: BTreeSet<_> = world.topic().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!(all, numbers(200 * errors.len() as u64).into_iter().collect());
}

#[test]
fn a_broken_connection_setup_delays_only() {
    use RDKafkaApiKey::{InitProducerId, Metadata};
    let world = World::quick();
    for key in [InitProducerId, Metadata] {
        world.cluster.request_errors(key, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 3]);
    }
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    world.cluster.request_errors(InitProducerId, &[refused; 2]);
    let shipper = world.start();
    world.append(100);
    world.wait_shipped();
    shipper.stop();
    assert_eq!(world.seen(), numbers(100));
}

#[test]
fn a_producer_that_failed_for_good_is_replaced() {
    let world = World::quick();
    let shipper = world.start();
    world.append(500);
    world.wait_shipped();
    for _ in 0..3 {
        world.refuse(1, RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        world.append(500);
        world.wait_shipped();
    }
    shipper.stop();
    let all: BTreeSet<_> = world.topic().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!(all, numbers(2000).into_iter().collect());
    assert_ne!(world.failures(), "", "the error never struck");
}

#[test]
fn what_the_client_may_not_send_goes_without_bodies_or_as_a_loss() {
    let world = World::new(&[("message.max.bytes", "4000")]);
    world.append(3);
    world.journal.append(&event(&"x".repeat(5000))).unwrap();
    world.append(3);
    // No bodies to leave out.
    let mut long: Value = serde_json::from_slice(&event("").1).unwrap();
    long["http"]["path"] = "/".repeat(5000).into();
    world.journal.append(&Raw(Uuid::now_v7(), long.to_string().into_bytes())).unwrap();
    world.append(3);
    let shipper = world.start();
    world.wait_shipped();
    shipper.stop();
    let topic = world.topic();
    assert_eq!(world.seen(), numbers(11));
    assert_eq!(topic.len(), 11);
    let slim = &topic[3]["event"]["request"];
    assert_eq!((&slim["body"], &slim["body_state"]), (&Value::Null, &json!("omitted:too_large")));
    assert_eq!(slim["bytes"], 5000);
    assert_eq!(topic[2]["event"]["request"]["body"], "body 2");
    let loss = &topic[7]["loss"];
    assert_eq!(
        (&loss["first"], &loss["last"], &loss["reason"]),
        (&json!(8), &json!(8), &json!("record_too_large"))
    );
    assert_eq!(world.metrics.slimmed.get(), 2);
    assert!(world.metrics.encode().contains("sidelog_lost_events_total{reason=\"record_too_large\"} 1"));
}

#[test]
fn what_the_broker_finds_too_large_goes_without_bodies_or_as_a_loss() {
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    let world = World::quick();
    let shipper = world.start();
    for times in [1, 2] {
        world.append(10);
        world.wait_shipped();
        world.refuse(times, too_large);
        world.append(1);
        world.wait_shipped();
    }
    shipper.stop();
    let topic = world.topic();
    assert_eq!(world.seen(), numbers(22));
    assert_eq!(topic[10]["event"]["request"]["body_state"], "omitted:too_large");
    assert_eq!(topic[21]["loss"]["first"], 22);
    assert_eq!(world.metrics.slimmed.get(), 2);
    let whole = topic.iter().filter(|m| m["event"]["request"]["body"].is_string()).count();
    assert_eq!(whole, 20);
}

/// The broker's bound is for a batch: a batch that is too large says nothing about its records.
#[test]
fn a_batch_too_large_is_sent_in_smaller_ones() {
    let world = World::new(&[("linger.ms", "300")]);
    let shipper = world.start();
    world.append(1);
    world.wait_shipped();
    world.refuse(1, RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    world.append(400);
    world.wait_shipped();
    shipper.stop();
    let topic = world.topic();
    let all: BTreeSet<_> = topic.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!(all, numbers(401).into_iter().collect());
    assert!(topic.iter().all(|m| m["event"]["request"]["body"].is_string()));
    assert_eq!(world.metrics.slimmed.get(), 0);
    assert!(world.failures().contains("too_large"), "{}", world.failures());
}

#[test]
fn stops_in_time_without_a_broker_and_ships_the_rest_at_the_next_start() {
    let mut world = World::new(&[]);
    world.cluster.broker_down(-1).unwrap();
    world.append(1000);
    let shipper = world.start_flushing(Duration::from_millis(500));
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    shipper.stop();
    // Half a second to flush, and half of one for the client to go.
    assert!(began.elapsed() < Duration::from_millis(2000), "{:?}", began.elapsed());
    assert_eq!(world.pending(), 1000);
    world.journal.close();
    world.journal = open(&world.dir);
    world.append(10);
    world.cluster.broker_up(-1).unwrap();
    let shipper = world.start();
    world.wait_shipped();
    shipper.stop();
    let at: Vec<_> =
        world.topic().iter().map(|m| (m["boot"].as_u64().unwrap(), m["seq"].as_u64().unwrap())).collect();
    let expected = numbers(1000).into_iter().map(|s| (1, s)).chain(numbers(10).into_iter().map(|s| (2, s)));
    assert_eq!(at, expected.collect::<Vec<_>>());
}

#[test]
fn a_stop_ships_what_is_left() {
    let world = World::new(&[("linger.ms", "1000")]);
    let shipper = world.start();
    world.append(300);
    shipper.stop();
    assert_eq!(world.pending(), 0);
    assert_eq!(world.seen(), numbers(300));
}

#[test]
fn losses_are_shipped_in_their_place() {
    let world = World::new(&[]);
    let shipper = world.start();
    world.append(2);
    for _ in 0..3 {
        world.journal.append(&event(&"x".repeat(1 << 20))).unwrap_err();
    }
    world.append(2);
    world.wait_shipped();
    shipper.stop();
    let topic = world.topic();
    let seqs: Vec<_> = topic.iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 6, 7, 8]);
    let loss = &topic[2]["loss"];
    assert_eq!(
        (&loss["first"], &loss["last"], &loss["reason"]),
        (&json!(3), &json!(5), &json!("record_too_large"))
    );
    assert!(loss["time"].as_str().unwrap().starts_with("20"));
}

#[test]
fn without_a_broker_memory_is_bounded_and_the_rest_waits_in_the_journal() {
    let world = World::new(&[("queue.buffering.max.messages", "100"), ("linger.ms", "5")]);
    let shipper = world.start_flushing(Duration::from_millis(200));
    world.append(1);
    world.wait_shipped();
    world.cluster.broker_down(-1).unwrap();
    world.append(3000);
    wait_until("librdkafka's queue is full", || shipper.window.len() >= 99);
    for _ in 0..30 {
        assert!(shipper.window.len() <= 101, "{}", shipper.window.len());
        std::thread::sleep(Duration::from_millis(10));
    }
    // Told to stop while it waits for room.
    let began = Instant::now();
    shipper.stop();
    assert!(began.elapsed() < Duration::from_millis(2000), "{:?}", began.elapsed());
    assert_eq!(world.pending(), 3000);

    world.cluster.broker_up(-1).unwrap();
    let shipper = world.start();
    world.wait_shipped();
    shipper.stop();
    assert_eq!(world.seen(), numbers(3001));
}

#[test]
fn a_shipper_that_pauses_after_failures_stops_at_once() {
    let world = World::quick();
    world.refuse(1000, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    world.append(10);
    let shipper = world.start();
    wait_until("several failures", || world.metrics.encode().contains("reason=\"delivery\"} 3"));
    let began = Instant::now();
    shipper.stop();
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(world.pending(), 10);
}

#[test]
fn a_dropped_shipper_lets_go_of_the_journal() {
    let world = World::new(&[]);
    world.append(10);
    drop(world.start());
    assert_eq!(Arc::strong_count(&world.journal), 1);
}

#[test]
fn a_topic_that_may_not_be_used_at_first_costs_nothing() {
    let world = World::quick();
    world.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let shipper = world.start();
    world.append(200);
    wait_until("a failure", || !world.failures().is_empty());
    world.append(200);
    world.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    world.wait_shipped();
    shipper.stop();
    assert_eq!(world.seen(), numbers(400));
}

#[test]
fn a_window_moves_only_without_holes_and_takes_nothing_after_a_failure() {
    let world = World::new(&[]);
    world.append(4);
    let mut records = Vec::new();
    world.journal.reader().next(LONG, 4, 1 << 20, &mut records);
    let window = Window::default();
    let opaques: Vec<_> = records.iter().take(3).map(|r| window.push(r, 1).unwrap()).collect();
    window.report(opaques[1], Ok(()));
    assert_eq!(window.take_done(), None);
    window.report(opaques[0], Ok(()));
    assert_eq!(window.take_done(), Some(((1, 2), records[1].mark)));
    window.report(opaques[2], Err(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(window.push(&records[3], 1), None);
    assert_eq!(window.too_large(), Some(window::TooLarge { at: (1, 3), bytes: 1, records: 1 }));
    window.clear();
    // News of before the rewind does not touch what is under way now.
    let again = window.push(&records[2], 1).unwrap();
    window.report(opaques[2], Ok(()));
    assert_eq!((window.take_done(), window.len()), (None, 1));
    window.report(again, Ok(()));
    assert_eq!(window.take_done(), Some(((1, 3), records[2].mark)));
}

#[test]
fn the_promises_stand_whatever_the_properties_say() {
    let kafka = config::Kafka {
        brokers: vec!["a:1".into(), "b:2".into()],
        topic: TOPIC.into(),
        properties: vec![
            ("acks".into(), "0".into()),
            ("linger.ms".into(), "7".into()),
            ("batch.size".into(), "9".into()),
            ("compression.type".into(), "zstd".into()),
        ],
    };
    let config = client::config(&kafka, client::batch_bytes(&kafka));
    for (name, value) in
        [("acks", "all"), ("linger.ms", "7"), ("batch.size", "9"), ("bootstrap.servers", "a:1,b:2")]
    {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
    // Two names of one property would be applied in no order.
    assert_eq!((config.get("compression.type"), config.get("compression.codec")), (Some("zstd"), None));
}
