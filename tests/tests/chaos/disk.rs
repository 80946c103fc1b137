//! A disk that is full, fails, is slow, or is taken away.
//!
//! Full: a small file system of memory, mounted in a namespace of the sidecar's own. Failing and slow:
//! `strace` answers system calls in the kernel's stead. Where a machine allows neither, the test says so.

use crate::origin::Origin;
use crate::sidecar::{Sidecar, Told, configure, inside, sidelog};
use harness::binary;
use harness::clients::{Answer, Load, Pace, Plan, percentile};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PLAN: Plan = Plan {
    clients: 4,
    pace: Pace::After(Duration::from_millis(1)),
    media_type: "text/plain",
    body: &[b'x'; 8000],
    paths: &["/written/a"],
};

/// Whether the command works here.
fn works(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = quiet.is_ok_and(|status| status.success());
    if !works {
        println!("left out: `{program}` does not work here");
    }
    works
}

/// The sidecar on a file system of `mib` MiB mounted at `dir/journal`.
async fn on_a_small_disk(dir: &Path, mib: u32) -> Sidecar {
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=\"$1\"m tmpfs journal && exec \"$2\" proxy --config sidelog.yaml";
    command
        .args(["-Urm", "sh", "-c", script, "sh", &mib.to_string()])
        .arg(binary("sidelog"))
        .current_dir(dir);
    Sidecar::of(command, dir).await
}

/// What a journal in use tells, and how many numbers it shows as missing: those of losses not written down
/// yet. One that is written down between the two looks would be seen by neither: then both are taken again.
fn account(journal: &Path) -> (Told, u64) {
    let missing = || {
        let missing = sidelog_journal::inspect(journal).unwrap().recovery.missing;
        missing.iter().map(|m| m.last - m.first + 1).sum::<u64>()
    };
    loop {
        let (before, told, after) = (missing(), Told::by(journal), missing());
        if before == after {
            return (told, after);
        }
    }
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|a| a.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_traffic_alone_and_the_losses_are_counted_to_the_event() {
    if !works("unshare", &["-Urm", "true"]) {
        return;
    }
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    configure(dir.path(), origin.address, "journal: {dir: journal, max_bytes: 64MiB}");
    let sidecar = on_a_small_disk(dir.path(), 20).await;
    let load = Load::start(PLAN, sidecar.traffic);
    let until = Instant::now() + Duration::from_secs(60);
    while sidecar.metric("sidelog_lost_events_total") < 50.0 {
        assert!(Instant::now() < until, "the disk is never full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers = load.stop();
    assert_eq!(statuses(&answers, 200), answers.len(), "traffic noticed");
    assert_eq!(origin.ledger().len(), answers.len());
    let (kept, lost) = (sidecar.metric("sidelog_events_total"), sidecar.metric("sidelog_lost_events_total"));
    assert_eq!(kept + lost, answers.len() as f64, "every call is kept or counted as lost");
    assert!(sidecar.metric("sidelog_journal_io_errors") > 0.0, "no alarm");
    // What the log itself says: its records, and which numbers are missing.
    let (told, missing) = account(&inside(sidecar.process.id(), &dir.path().join("journal")));
    assert_eq!((told.ends.len() as f64, (told.lost + missing) as f64), (kept, lost));
    println!("full disk: {} calls, all answered, {kept} kept, {lost} lost and counted", answers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_calls_are_refused_if_so_chosen_and_never_executed() {
    if !works("unshare", &["-Urm", "true"]) {
        return;
    }
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    std::fs::create_dir(dir.path().join("journal")).unwrap();
    configure(dir.path(), origin.address, "journal: {dir: journal, max_bytes: 64MiB, on_full: refuse}");
    let sidecar = on_a_small_disk(dir.path(), 20).await;
    let load = Load::start(PLAN, sidecar.traffic);
    let until = Instant::now() + Duration::from_secs(60);
    while sidecar.metric("sidelog_refused_total") < 50.0 {
        assert!(Instant::now() < until, "nothing is ever refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers = load.stop();
    let ledger = origin.ledger();
    let (passed, refused) = (statuses(&answers, 200), statuses(&answers, 503));
    assert_eq!((passed + refused, ledger.len()), (answers.len(), passed), "refused calls were executed");
    assert_eq!(sidecar.metric("sidelog_refused_total"), refused as f64);
    assert_eq!(
        sidecar.metric("sidelog_lost_events_total"),
        0.0,
        "room was promised to every call that passed"
    );
    for answer in answers.iter().filter(|a| a.status == 503) {
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["reason"], "journal_full");
    }
    println!("full disk, on_full: refuse: {passed} calls passed, {refused} refused and not executed, 0 lost");
}

/// The sidecar with `inject` done to its msync calls.
async fn under_strace(dir: &Path, inject: &str) -> Sidecar {
    let mut command = Command::new("strace");
    let inject = format!("inject=msync:{inject}");
    command.args(["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=msync", "-e", &inject]);
    command.arg(binary("sidelog")).args(["proxy", "--config", "sidelog.yaml"]).current_dir(dir);
    Sidecar::of(command, dir).await
}

fn strace_works() -> bool {
    works("strace", &["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=msync", "true"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_refuses_strict_calls_only() {
    if !strace_works() {
        return;
    }
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(dir.path(), origin.address, "journal: {dir: journal}");
    let sidecar = under_strace(dir.path(), "error=EIO").await;
    let plan = Plan {
        paths: &["/written/a", "/strict/a"],
        body: &[b'x'; 100],
        pace: Pace::After(Duration::from_millis(20)),
        ..PLAN
    };
    let load = Load::start(plan, sidecar.traffic);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let answers = load.stop();
    let (passed, refused) = (statuses(&answers, 200), statuses(&answers, 503));
    assert!(passed > 10 && refused > 10 && passed + refused == answers.len(), "{passed} {refused}");
    let ledger = origin.ledger();
    let executed = answers.iter().filter(|a| a.status == 503 && ledger.contains_key(&a.id)).count();
    assert_eq!((executed, ledger.len()), (0, passed));
    assert_eq!(sidecar.metric("sidelog_refused_total"), refused as f64);
    assert!(sidecar.metric("sidelog_journal_sync_failures") > 0.0, "no alarm");
    println!(
        "fdatasync fails: {passed} `written` calls passed, {refused} `strict` calls refused and not executed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_delays_strict_calls_only() {
    if !strace_works() {
        return;
    }
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(dir.path(), origin.address, "journal: {dir: journal, sync_timeout: 20s}");
    let sidecar = under_strace(dir.path(), "delay_enter=2000000").await;
    let plan = |path| Plan {
        paths: path,
        body: &[b'x'; 100],
        pace: Pace::After(Duration::from_millis(10)),
        clients: 2,
        ..PLAN
    };
    let strict = Load::start(plan(&["/strict/a"]), sidecar.traffic);
    let written = Load::start(plan(&["/written/a"]), sidecar.traffic);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let written = written.stop();
    let strict = strict.stop();
    assert!(!strict.is_empty() && strict.iter().all(|a| a.status == 200), "{strict:?}");
    let least = strict.iter().map(|a| a.took).min().unwrap();
    assert!(least > Duration::from_millis(500), "{least:?}: not waited for");
    let median = percentile(&written, 50.0);
    assert!(median < Duration::from_millis(500), "{median:?}: the others wait too");
    let p99 = percentile(&written, 99.0);
    println!(
        "fdatasync takes 2 s: `strict` calls {least:.1?} and more, `written` calls median {median:.1?}, p99 {p99:.1?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_directory_taken_away_is_noticed_and_made_again() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(dir.path(), origin.address, "journal: {dir: journal}");
    let sidecar = Sidecar::start(dir.path()).await;
    let load = Load::start(
        Plan { pace: Pace::After(Duration::from_millis(10)), body: &[b'x'; 100], ..PLAN },
        sidecar.traffic,
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let journal = dir.path().join("journal");
    // While the sidecar makes files, a removal may have to be tried again.
    let until = Instant::now() + Duration::from_secs(10);
    while std::fs::remove_dir_all(&journal).is_err() && Instant::now() < until {}
    let removed = Instant::now();
    while sidecar.metric("sidelog_journal_reopened") < 1.0 {
        assert!(removed.elapsed() < Duration::from_secs(3), "not noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let noticed = removed.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answers = load.stop();
    assert_eq!(statuses(&answers, 200), answers.len(), "traffic noticed");
    let since: Vec<_> = answers.iter().filter(|a| a.began > removed + noticed).collect();
    let told = Told::by(&journal);
    assert!(!since.is_empty() && since.iter().all(|a| told.ends.contains_key(&a.id)));
    let log = std::fs::read_to_string(sidecar.process.logs()[1]).unwrap();
    assert!(log.to_lowercase().contains("removed"), "{log}");
    let stat = sidelog(&["journal", "stat", "--json", "--dir"]).arg(&journal).output().unwrap();
    let stat: serde_json::Value = serde_json::from_slice(&stat.stdout).unwrap();
    assert_eq!((&stat["in_use"], stat["producer"].is_string()), (&true.into(), true), "{stat}");
    println!(
        "journal directory removed: noticed and made again after {noticed:.1?}, all {} calls answered",
        answers.len()
    );
}
