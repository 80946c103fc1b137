//! The same promise on one machine with nothing installed: `sidelog-standalone` in front of
//! OpenBao. And its life: what it keeps over a restart, and that it leaves nothing running.

use harness::load::{self, Load, assert_same, expected, recorded, wait_for_rows};
use harness::{Bao, Canary, Standalone, descendants, is_alive, wait_until};
use std::time::Duration;

const CALLS: usize = 5000;
const SECOND: Duration = Duration::from_secs(1);

struct Site {
    bao: Bao,
    dir: tempfile::TempDir,
    yaml: String,
}

impl Site {
    async fn new(canary: &Canary) -> Site {
        let bao = Bao::start(canary).await;
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(bao.openapi(), dir.path().join("openapi.json")).unwrap();
        let yaml = format!("service: openbao\nupstream: {}\n{}", bao.url(), load::CONFIG);
        Site { bao, dir, yaml }
    }

    async fn start(&self) -> Standalone {
        Standalone::start(self.dir.path(), &self.yaml).await
    }

    async fn load(&self, standalone: &Standalone, canary: &Canary, calls: usize) -> Vec<load::Sent> {
        let load = Load {
            url: standalone.url(),
            token: self.bao.token().to_owned(),
            canary: canary.clone(),
            clients: 16,
            calls,
            over: Duration::ZERO,
        };
        load.run().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openbao_and_sidelog_tell_the_same_also_after_a_restart() {
    let canary = Canary::new();
    let site = Site::new(&canary).await;
    let standalone = site.start().await;
    let mut sent = site.load(&standalone, &canary, CALLS).await;
    let first = expected(&sent, &site.bao.audited());
    assert_eq!(first.len(), CALLS / load::KINDS * load::RECORDED_KINDS);
    wait_for_rows(&standalone.sql, first.len()).await;
    assert_same(&first, &recorded(&standalone.sql).await);

    assert!(standalone.process.stop(60 * SECOND).await.success());
    let standalone = site.start().await;
    assert_same(&first, &recorded(&standalone.sql).await);

    sent.extend(site.load(&standalone, &canary, load::KINDS).await);
    let both = expected(&sent, &site.bao.audited());
    wait_for_rows(&standalone.sql, both.len()).await;
    assert_same(&both, &recorded(&standalone.sql).await);

    let rows = standalone.sql.dump("audit").await;
    assert_eq!(canary.in_bytes(rows.as_bytes()), [""; 0], "in rows");
    assert!(standalone.process.stop(60 * SECOND).await.success());
    assert_eq!(canary.in_files(&[site.dir.path()]), [""; 0]);
}

/// The engine must not outlive its parent, and what was in the journal then is in the table later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_leaves_no_process_and_loses_no_answered_call() {
    let canary = Canary::new();
    let site = Site::new(&canary).await;
    let standalone = site.start().await;
    let sent = site.load(&standalone, &canary, 40 * load::KINDS).await;
    let children = descendants(standalone.process.id());
    assert!(!children.is_empty(), "the engine runs in a process of its own");
    standalone.process.kill().await;
    let expected = expected(&sent, &site.bao.audited());
    wait_until(10 * SECOND, "the engine ends with its parent", async || {
        !children.iter().any(|child| is_alive(*child))
    })
    .await;

    let standalone = site.start().await;
    wait_for_rows(&standalone.sql, expected.len()).await;
    assert_same(&expected, &recorded(&standalone.sql).await);
}

/// Ctrl-C reaches every process of the terminal's group at once.
#[tokio::test]
async fn ctrl_c_ends_all_and_is_no_failure() {
    let canary = Canary::new();
    let site = Site::new(&canary).await;
    let standalone = site.start().await;
    let sent = site.load(&standalone, &canary, load::KINDS).await;
    let children = descendants(standalone.process.id());
    assert!(!children.is_empty(), "the engine runs in a process of its own");

    standalone.process.signal_group(libc::SIGINT);
    let status = standalone.process.end(60 * SECOND).await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!children.iter().any(|child| is_alive(*child)), "the engine is gone before its parent");

    // And what was called just before is there.
    let expected = expected(&sent, &site.bao.audited());
    let standalone = site.start().await;
    wait_for_rows(&standalone.sql, expected.len()).await;
    assert_same(&expected, &recorded(&standalone.sql).await);
}
