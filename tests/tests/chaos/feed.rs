//! Producers without sidecars: valid records, written straight to Kafka, and a list of them.
//!
//! It is quicker than calls through a sidecar, and it does on purpose what a sidecar does seldom: its
//! records' times are spread over three months, so that one batch is many inserts, and it goes back
//! and sends the last records again, as a sidecar does that was not told of their delivery.

use harness::Kafka;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sidelog_event::{Position, RecordKind, stamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

const PRODUCERS: u128 = 6;
/// Of each producer, each [`TICK`].
const RECORDS: u64 = 20;
const TICK: Duration = Duration::from_millis(100);
/// One round in so many goes back by [`REWIND`] records first.
const REWIND_EVERY: u64 = 10;
const REWIND: u64 = 30;
/// One record in so many is the beginning of a call.
const OPEN_EVERY: u64 = 50;

pub struct Feed {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Fed>,
}

/// What Kafka has acknowledged.
#[derive(Debug, Default)]
pub struct Fed {
    /// Producer, boot, seq, stage and path, as [`ROWS`] tells them.
    pub rows: BTreeSet<String>,
    /// Messages that came on top: the same once more.
    pub again: usize,
}

/// Asks for all rows as [`Fed::rows`] names them.
pub const ROWS: &str = "SELECT producer, boot, seq, stage, path FROM audit.events \
     UNION ALL SELECT producer, boot, seq, stage, path FROM audit.open_calls";

impl Feed {
    pub fn start(kafka: &Kafka, topic: &'static str) -> Feed {
        let (producer, stop) = (kafka.producer(), Arc::new(AtomicBool::new(false)));
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let (mut fed, mut ticks, mut next) = (Fed::default(), tokio::time::interval(TICK), 1);
            for round in 1.. {
                ticks.tick().await;
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let from = if round % REWIND_EVERY == 0 { next - REWIND } else { next };
                send(&producer, topic, from..next + RECORDS, &mut fed).await;
                next += RECORDS;
            }
            fed
        });
        Feed { stop, task }
    }

    /// Ends it: all that was sent.
    pub async fn stop(self) -> Fed {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn send(producer: &FutureProducer, topic: &str, seqs: std::ops::Range<u64>, fed: &mut Fed) {
    let mut reports = Vec::new();
    for seq in seqs {
        for who in 1..=PRODUCERS {
            let at = Position { producer: Uuid::from_u128(who << 100 | who), boot: 1, seq };
            let stage = if seq % OPEN_EVERY == 0 { "started" } else { "completed" };
            let mut message = Vec::new();
            stamp(&mut message, &at, RecordKind::Event, event(&at, stage).as_bytes());
            let key = at.producer.to_string();
            let record = FutureRecord::to(topic).key(&key).payload(&message);
            let report = producer.send_result(record).map_err(|(error, _)| error).unwrap();
            reports.push((report, format!("{}\t1\t{seq}\t{stage}\t/v1/orders/{seq}", at.producer)));
        }
    }
    for (report, row) in reports {
        report.await.unwrap().unwrap();
        fed.again += usize::from(!fed.rows.insert(row));
    }
}

fn event(at: &Position, stage: &str) -> String {
    let id = Uuid::from_u128(u128::from(at.seq) << 64 | at.producer.as_u128() >> 100);
    let seq = at.seq;
    // Neighbours are a month apart.
    let (month, seconds) = (10 + seq % 3, seq / 1000);
    let (hour, minute, second, millis) = (seconds / 3600, seconds / 60 % 60, seconds % 60, seq % 1000);
    format!(
        r#"{{"event_id":"{id}","stage":"{stage}","time":"2026-{month}-15T{hour:02}:{minute:02}:{second:02}.{millis:03}Z",
        "duration_us":1500,"service":"orders",
        "http":{{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http","host":"orders",
        "path":"/v1/orders/{seq}","status":201,"request_id":"r{seq}"}},
        "operation":{{"match":"matched","id":"createOrder","route":"/v1/orders/{{id}}","op":"create"}},
        "actor":{{"id":"alice","tenant":"acme","roles":["admin"],"source":"verified_jwt","verified":true}},
        "client":{{"ip":"203.0.113.7","ip_source":"peer","peer_ip":"203.0.113.7"}},
        "outcome":"success","request":{{"content_type":"application/json","bytes":20,"body":"{{\"amount\":{seq}}}",
        "body_state":"complete"}},"response":{{"bytes":0,"body_state":"none"}},
        "level":"request","delivery":"written","policy":"default","message":"alice created order {seq}"}}"#
    )
}
