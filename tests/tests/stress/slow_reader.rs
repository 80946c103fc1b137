//! A client that takes nothing of its answer: what the system buffers for it.

use crate::sidecar::{Sidecar, configure};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// `relay.max_unsent`, and what a client's window may have taken besides.
const MAY_WAIT: u64 = MAX_UNSENT + (256 << 10);
const MAX_UNSENT: u64 = 64 << 10;
/// More than the system's largest buffers would take.
const ANSWER: usize = 64 << 20;

/// Answers one call with `ANSWER` bytes, as fast as they are taken.
fn serve(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 1024];
    assert!(stream.read(&mut head).unwrap() > 0);
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {ANSWER}\r\n\r\n").unwrap();
    let block = vec![b'x'; 1 << 20];
    // It ends when the sidecar does.
    for _ in 0..ANSWER / block.len() {
        if stream.write_all(&block).is_err() {
            return;
        }
    }
}

/// Bytes in the sending queue of a connection from one port to another: `tx_queue` of `/proc/net/tcp`.
fn queued(from: u16, to: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let connection = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let mut ends = || fields.next().is_some_and(|f| f.ends_with(&format!(":{from:04X}")));
        ends() && fields.next().is_some_and(|f| f.ends_with(&format!(":{to:04X}")))
    };
    let line = table.lines().find(connection).unwrap();
    let queues = line.split_whitespace().nth(4).unwrap();
    u64::from_str_radix(queues.split(':').next().unwrap(), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_not_buffered_for() {
    let (dir, listener) = (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let more = format!("journal: {{dir: journal, max_bytes: 64MiB}}\nrelay: {{max_unsent: {MAX_UNSENT}}}");
    configure(dir.path(), listener.local_addr().unwrap(), &more);
    std::thread::spawn(move || serve(&listener));
    let sidecar = Sidecar::start(dir.path()).await;
    let mut client = TcpStream::connect(sidecar.traffic).unwrap();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let look = || queued(sidecar.traffic.port(), client.local_addr().unwrap().port());
    // Until something waits, and nothing more has come for a second.
    let (mut most, mut since, until) = (0, Instant::now(), Instant::now() + Duration::from_secs(30));
    while (most == 0 || since.elapsed() < Duration::from_secs(1)) && Instant::now() < until {
        let now = look();
        if now > most {
            (most, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} KiB wait in the system for a client that does not read", most >> 10);
    assert!(most > 0 && most < MAY_WAIT, "{most} bytes");
    sidecar.process.kill().await;
}
