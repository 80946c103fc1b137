//! Clients, service and network that break off at any moment.

use crate::client::{Connection, Seen};
use crate::judge::judge;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::sidecar::{Sidecar, configure};
use harness::{Random, recorded, setting};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENTS: usize = 16;

/// Calls that are still to be made.
pub type Queue = Arc<Mutex<VecDeque<Plan>>>;

pub fn plans(calls: u64) -> Queue {
    let mut random = Random::new();
    Arc::new(Mutex::new((0..calls).map(|n| Plan::dice(n, &mut random)).collect()))
}

/// The service is away for a moment, now and then, until `done`.
pub async fn come_and_go(mut origin: Origin, done: &AtomicBool) -> Origin {
    while !done.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(120)).await;
        origin.leave().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        origin.arrive();
    }
    origin
}

#[tokio::test(flavor = "multi_thread")]
async fn every_executed_call_has_one_true_event() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(
        dir.path(),
        origin.address(),
        "journal: {dir: journal, max_bytes: 1GiB}\nrelay: {head_timeout: 1s}\n\
         audit: {refusals_per_second: 10000}",
    );
    let sidecar = Sidecar::start(dir.path()).await;
    let queue = plans(setting("SIDELOG_CALLS", 1000));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (queue, to) = (queue.clone(), sidecar.traffic);
        clients.spawn(async move {
            let (mut connection, mut seen) = (Connection::to(to), Vec::<(Plan, Seen)>::new());
            loop {
                let Some(plan) = queue.lock().unwrap().pop_front() else { return seen };
                let end = connection.call(&plan).await;
                seen.push((plan, end));
            }
        });
    }
    let done = Arc::new(AtomicBool::new(false));
    let moody = tokio::spawn({
        let done = done.clone();
        async move { come_and_go(origin, &done).await }
    });
    let calls: Vec<(Plan, Seen)> = clients.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Relaxed);
    let origin = moody.await.unwrap();
    sidecar.stop().await;
    let ledger = origin.book.read();
    judge(&calls, &ledger, &recorded::events(&dir.path().join("journal")));
    assert!(ledger.len() > calls.len() / 2, "the test met no call");
}
