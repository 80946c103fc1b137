//! Made-up events through the consumer's pipeline, from memory instead of Kafka.

use crate::events::{Events, Plan};
use prometheus_client::registry::Registry;
use sidelog_consumer::metrics::Metrics;
use sidelog_consumer::pipeline::{self, Options};
use sidelog_consumer::source::{Batch, Dead, Fetched, Lease, Limits, Source, SourceError};
use sidelog_consumer::store::Store;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use tokio::sync::watch;

const PARTITIONS: u64 = 4;

/// Loads all of `plan` into an empty database.
pub async fn load(store: Store, plan: Plan) {
    let (done, shutdown) = watch::channel(false);
    let source = Made { batches: make(plan), done };
    let metrics = Arc::new(Metrics::register(&mut Registry::default()));
    pipeline::run(source, store, Options::default(), metrics, shutdown).await.unwrap();
}

/// A thread that makes one batch ahead.
fn make(plan: Plan) -> Receiver<Batch> {
    let (send, receive) = sync_channel(1);
    std::thread::spawn(move || {
        let (mut events, limits, mut record) = (Events::new(plan), Limits::default(), Vec::new());
        let (mut batch, mut offset) = (Batch::new("audit.events", 1), 0);
        while let Some(made) = events.next(&mut record) {
            let partition = (made.at.producer.as_u128() as u64 % PARTITIONS) as i32;
            batch.push(&record, partition, offset, made.millis);
            offset += 1;
            record.clear();
            if batch.is_full(&limits) {
                let mut full = std::mem::replace(&mut batch, Batch::new("audit.events", 1));
                full.more = true;
                if send.send(full).is_err() {
                    return;
                }
            }
        }
        let _ = send.send(batch);
    });
    receive
}

struct Made {
    batches: Receiver<Batch>,
    done: watch::Sender<bool>,
}

impl Source for Made {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        // Waits seldom: the thread is ahead.
        match self.batches.recv() {
            Ok(batch) => Ok(Fetched::Batch(batch)),
            Err(_) => {
                let _ = self.done.send(true);
                Ok(Fetched::Idle)
            }
        }
    }

    fn commit(&mut self, _: &Batch) {}

    async fn dead_letter(&mut self, _: &Batch, dead: &[Dead<'_>]) -> Result<(), SourceError> {
        panic!("{} made-up events cannot be read: {:?}", dead.len(), dead.first().map(|d| d.reason));
    }

    fn lease(&self, _: &Batch) -> Lease {
        Lease::new(|| true)
    }

    async fn close(&mut self) {}
}
