//! Connections that say nothing: what each costs, and that it is given back.

use crate::message::Head;
use crate::origin::Origin;
use crate::sidecar::{Sidecar, configure};
use harness::setting;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes per connection; what waits is somewhat larger in a build that is not optimised.
fn may_take() -> u64 {
    if std::env::var_os("SIDELOG_BINARY").is_some() { 6 << 10 } else { 7 << 10 }
}

/// Files beside those of connections.
const OTHER_FILES: u64 = 300;

/// As many files as are allowed, for this process and those that it starts; how many that is.
fn raise_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or fill the structure given.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur
}

/// A connection; after a call that was answered, if so wanted.
async fn connect(to: SocketAddr, used: bool) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    if used {
        stream.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
        let mut bytes = Vec::new();
        while Head::read(&bytes).is_none() {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
    }
    stream
}

async fn open(sidecar: &Sidecar, n: usize, used: bool) -> Vec<TcpStream> {
    let mut all = Vec::new();
    while all.len() < n {
        let mut some = tokio::task::JoinSet::new();
        for _ in 0..100.min(n - all.len()) {
            some.spawn(connect(sidecar.traffic, used));
        }
        all.extend(some.join_all().await);
    }
    all
}

/// Waits until it has so many connections, and what it has freed is back.
async fn settled(sidecar: &Sidecar, connections: usize) -> u64 {
    let until = Instant::now() + Duration::from_secs(30);
    while sidecar.metric("sidelog_connections_open") != connections as f64 {
        assert!(Instant::now() < until, "not {connections} connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Memory is given back half a second after many have ended.
    tokio::time::sleep(Duration::from_millis(1000)).await;
    sidecar.resident()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_take_little_memory_and_give_it_back() {
    let files = raise_files();
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    configure(
        dir.path(),
        origin.address(),
        "journal: {dir: journal, max_bytes: 64MiB}\nrelay: {head_timeout: 10m}",
    );
    let sidecar = Sidecar::start(dir.path()).await;
    // One that is used has two ends here, and two at the sidecar.
    let wanted = setting("SIDELOG_IDLE", 2000);
    let most = ((files - OTHER_FILES) / 2).min(wanted) as usize;
    if (most as u64) < wanted {
        println!("{most} used connections are as many as {files} files allow");
    }
    drop(open(&sidecar, 200, true).await);
    let start = settled(&sidecar, 0).await;
    for (what, used, n) in [("used", true, most), ("fresh", false, wanted as usize)] {
        let before = settled(&sidecar, 0).await;
        let held = open(&sidecar, n, used).await;
        let after = settled(&sidecar, n).await;
        let each = (after.saturating_sub(before) << 10) / n as u64;
        drop(held);
        let left = settled(&sidecar, 0).await;
        println!(
            "{n} {what} connections: {each} bytes each; {before} KiB before, {after} KiB, {left} KiB afterwards"
        );
        assert!(each < may_take(), "{what}: {each} bytes each");
    }
    let end = settled(&sidecar, 0).await;
    assert!(
        end < start + may_take() * wanted / 4096 + 2048,
        "{start} KiB at the start, {end} KiB at the end"
    );
    // They work.
    drop(open(&sidecar, 1, true).await);
    sidecar.stop().await;
}
