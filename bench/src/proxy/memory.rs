//! Memory: of an idle sidecar, of connections that say nothing, of many bodies at once, and what is left of
//! that. Read as [`crate::resident`] says.

use super::withhold::Withholding;
use super::{Bench, Stage};
use crate::figures::{Part, What};
use crate::load::{body, body_of};
use crate::subject::{Ground, sidelog};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const IDLE: usize = 2000;
/// Connections that come and go before: what they leave is not what one costs.
const BEFORE: usize = 200;
const IN_FLIGHT: usize = 1000;
const BODY: usize = 64 << 10;
/// Memory is given back half a second after many connections have ended.
const SETTLE: Duration = Duration::from_secs(1);
const AFTERWARDS: Duration = Duration::from_secs(5);
const UNREAD: &str = "its memory cannot be read";
const PATIENCE: Duration = Duration::from_secs(60);
/// At once, so that no backlog of a listener overflows.
const AT_ONCE: usize = 100;

pub fn measure(bench: &mut Bench<'_>) -> Result<(), String> {
    eprintln!("  {}", Part::Memory.name());
    let service = bench.service(false)?;
    idle(bench, service)?;
    in_flight(bench)?;
    without_document(bench, service)
}

/// How much of it the document's operations are.
fn without_document(bench: &mut Bench<'_>, service: SocketAddr) -> Result<(), String> {
    let start = |ground: &Ground<'_>| sidelog::start(&Ground { document: None, ..*ground }, "");
    let stage = bench.stage(start, service, false)?;
    std::thread::sleep(SETTLE);
    let idle = stage.running.resident().ok_or(UNREAD)?;
    let subject = "sidelog without a document";
    bench.figures.add(Part::Memory, subject, What::IdleMib, idle.all);
    bench.figures.add(Part::Memory, subject, What::IdleAnonymousMib, idle.anonymous);
    Ok(())
}

fn idle(bench: &mut Bench<'_>, service: SocketAddr) -> Result<(), String> {
    let stage = bench.sidelog(service, true, "")?;
    std::thread::sleep(SETTLE);
    let idle = stage.running.resident().ok_or(UNREAD)?;
    let request: Arc<[u8]> = request(bench.document.target, &body()).into();
    let to = stage.running.addr;
    let each = bench.runtime.block_on(async {
        drop(connections(to, BEFORE, &request).await?);
        tokio::time::sleep(SETTLE).await;
        let before = resident(&stage)?;
        let held = connections(to, IDLE, &request).await?;
        tokio::time::sleep(SETTLE).await;
        let after = resident(&stage)?;
        drop(held);
        Ok::<_, String>((after - before) * 1024.0 / IDLE as f64)
    })?;
    bench.own(Part::Memory, What::IdleMib, idle.all);
    bench.own(Part::Memory, What::IdleAnonymousMib, idle.anonymous);
    bench.own(Part::Memory, What::PerConnectionKib, each);
    Ok(())
}

fn in_flight(bench: &mut Bench<'_>) -> Result<(), String> {
    let service = bench.runtime.block_on(Withholding::start(BODY)).map_err(|e| format!("no service: {e}"))?;
    let stage = bench.sidelog(service.addr, true, "")?;
    let request: Arc<[u8]> = request(bench.document.target, &body_of(BODY)).into();
    let to = stage.running.addr;
    std::thread::sleep(SETTLE);
    let before = resident(&stage)?;
    let (most, left) = bench.runtime.block_on(async {
        let mut calls = JoinSet::new();
        for n in 0..IN_FLIGHT {
            let request = Arc::clone(&request);
            calls.spawn(async move { call(to, &request).await.map(drop) });
            if n % AT_ONCE == AT_ONCE - 1 {
                arrived(&service, n + 1 - AT_ONCE / 2).await?;
            }
        }
        arrived(&service, IN_FLIGHT).await?;
        tokio::time::sleep(SETTLE).await;
        let most = resident(&stage)?;
        service.release();
        while let Some(done) = calls.join_next().await {
            done.map_err(|e| e.to_string())?.map_err(|e| format!("a call failed: {e}"))?;
        }
        tokio::time::sleep(AFTERWARDS).await;
        Ok::<_, String>((most, resident(&stage)?))
    })?;
    bench.own(Part::Memory, What::InFlightMib, most);
    bench.own(Part::Memory, What::AfterwardsMib, left);
    bench.own(Part::Memory, What::GivenBack, (most - left) / (most - before));
    Ok(())
}

/// Wait until the service has so many requests.
async fn arrived(service: &Withholding, requests: usize) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while service.received() < requests {
        if Instant::now() > deadline {
            return Err(format!("{} of {requests} requests reached the service", service.received()));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn resident(stage: &Stage) -> Result<f64, String> {
    let mib = stage.running.resident().map(|r| r.all).filter(|mib| *mib > 0.0);
    mib.ok_or_else(|| UNREAD.to_owned())
}

fn request(target: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// So many connections, each after one call.
async fn connections(to: SocketAddr, n: usize, request: &Arc<[u8]>) -> Result<Vec<TcpStream>, String> {
    let mut all = Vec::new();
    while all.len() < n {
        let mut some = JoinSet::new();
        for _ in 0..AT_ONCE.min(n - all.len()) {
            let request = Arc::clone(request);
            some.spawn(async move { call(to, &request).await });
        }
        while let Some(done) = some.join_next().await {
            all.push(done.map_err(|e| e.to_string())?.map_err(|e| format!("a call failed: {e}"))?);
        }
    }
    Ok(all)
}

/// One call, answered with 2xx.
async fn call(to: SocketAddr, request: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 20") {
        Ok(stream)
    } else {
        Err(std::io::Error::other("not answered 2xx"))
    }
}
