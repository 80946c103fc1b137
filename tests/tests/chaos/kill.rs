//! SIGKILL at any moment, under load, on one directory.

use crate::origin::Origin;
use crate::sidecar::{Sidecar, Told, configure};
use crate::{Random, setting};
use harness::clients::{Load, Pace, Plan, percentile};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn no_executed_call_is_without_an_event_and_none_has_two() {
    let kills = setting("SIDELOG_KILLS", 50);
    let mut random = Random::new();
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(dir.path(), origin.address, "journal: {dir: journal, max_bytes: 4GiB}");
    let mut sidecar = Sidecar::start(dir.path()).await;
    let plan = Plan {
        clients: 8,
        pace: Pace::After(Duration::from_millis(8)),
        media_type: "text/plain",
        body: &[b'x'; 300],
        paths: &["/written/a", "/strict/a", "/written/b"],
    };
    let began = Instant::now();
    let load = Load::start(plan, sidecar.traffic);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(20 + random.below(500))).await;
        sidecar.process.kill().await;
        load.aim(None);
        sidecar = Sidecar::start(dir.path()).await;
        load.aim(Some(sidecar.traffic));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let took = began.elapsed();
    let answers = load.stop();
    let status = sidecar.process.stop(Duration::from_secs(60)).await;
    assert!(status.success(), "{status}");

    let (ledger, journal) = (origin.ledger(), dir.path().join("journal"));
    let told = Told::by(&journal);
    let missing: Vec<_> = ledger.keys().filter(|id| !told.ends.contains_key(*id)).collect();
    let twice: Vec<_> = told.ends.iter().filter(|(_, ends)| ends.len() > 1).collect();
    let orphans = told.ends.values().flatten().filter(|(stage, _)| stage == "orphaned").count();
    println!(
        "{kills} kills in {took:.1?}: {} calls answered (p99 {:.1?}), {} executed, {} events of which {orphans} orphaned; \
         executed without an event: {}; events twice: {}",
        answers.len(),
        percentile(&answers, 99.0),
        ledger.len(),
        told.ends.len(),
        missing.len(),
        twice.len(),
    );
    assert_eq!(missing.len(), 0, "executed and not recorded: {missing:?}");
    assert_eq!(twice.len(), 0, "{twice:?}");
    assert!(ledger.values().all(|times| *times == 1), "the sidecar repeated a call");
    // An answer that a client saw has its true end in the log.
    for answer in answers.iter().filter(|a| a.status == 200) {
        assert_eq!(told.ends[&answer.id], [("completed".to_owned(), Some(200))], "{answer:?}");
    }
    let seen = sidelog_journal::inspect(&journal).unwrap().recovery;
    assert_eq!((told.lost, seen.missing.len(), seen.corrupt_regions), (0, 0, 0), "{seen:?}");
    assert!(ledger.len() as u64 > 20 * kills && (orphans > 0 || kills < 20), "the test met no call");
}
