//! A topic full of events, as the sidecar's shipper would have sent them: the same key, the same
//! settings of librdkafka.

use crate::events::{Events, Plan};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

const FLUSH: Duration = Duration::from_secs(120);

/// Sends all of `plan`; returns when the broker has them.
pub fn fill(brokers: &str, topic: &str, plan: Plan) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "50")
        .set("compression.codec", "lz4")
        .set("batch.size", "262144")
        .set("queue.buffering.max.messages", "20000")
        .set("queue.buffering.max.kbytes", "32768")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create()
        .unwrap();
    let (mut events, mut message) = (Events::new(plan), Vec::new());
    while let Some(made) = events.next(&mut message) {
        let key = made.at.producer.to_string();
        let mut record = BaseRecord::to(topic).key(&key).payload(&message);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            record = back;
            producer.poll(Duration::from_millis(10));
        }
        producer.poll(Duration::ZERO);
        message.clear();
    }
    producer.flush(FLUSH).unwrap();
}
