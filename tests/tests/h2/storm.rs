//! Floods.
//!
//! Rapid resets (CVE-2023-44487): streams that are opened and given up at once, ten thousand of them, or as
//! many as `SIDELOG_RESETS` says. Client and origin are made of frames here: libraries would defend themselves.

use super::peers::{World, events};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const CONTINUATION: u8 = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const ENHANCE_YOUR_CALM: u8 = 11;
/// Memory that is the sidecar's own: the journal's mapped files are not.
const MAY_GROW_KIB: u64 = 8 << 10;

fn resets() -> usize {
    std::env::var("SIDELOG_RESETS").map_or(10_000, |n| n.parse().unwrap())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame's kind, flags and payload; `None` at the end.
fn next(from: &mut impl Read) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    from.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    from.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], payload))
}

/// An origin that answers no call and keeps the path of each.
fn origin() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ledger = Arc::new(Mutex::new(Vec::new()));
    let heard = ledger.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let ledger = ledger.clone();
            std::thread::spawn(move || serve(&stream.unwrap(), &ledger));
        }
    });
    (address, heard)
}

fn serve(mut stream: &TcpStream, ledger: &Mutex<Vec<String>>) {
    let mut from = std::io::BufReader::new(stream);
    if from.read_exact(&mut [0; PREFACE.len()]).is_err() {
        return;
    }
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
    while let Some((kind, flags, payload)) = next(&mut from) {
        match kind {
            HEADERS => {
                // Two indexed fields, then the path as a literal.
                let length = usize::from(payload[3]);
                ledger.lock().unwrap().push(String::from_utf8(payload[4..4 + length].to_vec()).unwrap());
            }
            SETTINGS | PING if flags & ACK == 0 => _ = stream.write_all(&frame(kind, ACK, 0, &payload)),
            _ => {}
        }
    }
}

/// Opens a stream with a POST and resets it, `n` times.
fn storm(address: &str, name: &str, n: usize) -> Result<(), u8> {
    let mut said = Vec::new();
    for at in 0..n {
        let path = format!("/storm/{name}/{at}");
        // :method POST, :scheme http; :path and :authority as literals.
        let block = [b"\x83\x86\x04", &[path.len() as u8][..], path.as_bytes(), b"\x01\x01a"].concat();
        let id = 2 * at as u32 + 1;
        said.extend(frame(HEADERS, 5, id, &block));
        said.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }
    flood(address, &said)
}

/// Says this, and then asks whether all of it has arrived. Whether it had, or else the code of the GOAWAY.
fn flood(address: &str, frames: &[u8]) -> Result<(), u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let said = [PREFACE, &frame(SETTINGS, 0, 0, b""), frames, &frame(PING, 0, 0, b"all here")].concat();
    let mut to = stream.try_clone().unwrap();
    // It may end before all is said.
    let writer = std::thread::spawn(move || to.write_all(&said));
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let result = loop {
        match next(&mut stream) {
            Some((PING, ACK, _)) => break Ok(()),
            Some((GOAWAY, _, payload)) => break Err(payload[7]),
            Some(_) => {}
            None => panic!("neither all of it nor a GOAWAY"),
        }
    };
    drop(stream.shutdown(std::net::Shutdown::Both));
    let _ = writer.join().unwrap();
    result
}

fn own_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How many events each path has.
fn told(dir: &std::path::Path) -> HashMap<String, usize> {
    let mut told = HashMap::new();
    for event in events(dir) {
        assert_eq!((&event["error"], &event["outcome"]), (&"client_reset".into(), &"aborted".into()));
        *told.entry(event["http"]["path"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_given_up_at_once_has_its_event_and_memory_stays() {
    let (address, ledger) = origin();
    let (sidecar, dir) = World::before_with(&address, "relay: {max_resets: 0}").await;
    let through = sidecar.url().strip_prefix("http://").unwrap().to_owned();
    storm(&through, "warm", 1000).unwrap();
    let before = own_memory(sidecar.process.id());
    let n = resets();
    storm(&through, "one", n).unwrap();
    let grown = own_memory(sidecar.process.id()).saturating_sub(before);
    println!("{n} resets: {grown} KiB more than {before}");
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more than {before}");
    let heard: HashSet<String> = ledger.lock().unwrap().iter().cloned().collect();
    assert_eq!((heard.len(), ledger.lock().unwrap().len()), (n + 1000, n + 1000));
    let told = told(dir.path());
    assert!(heard.iter().all(|path| told.get(path) == Some(&1)), "a call without an event, or with two");
    assert_eq!(told.len(), heard.len());
    let metrics = sidecar.metrics().await;
    assert!(metrics.contains("sidelog_open_calls 0\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_ends_its_connection_and_what_it_reached_is_told() {
    const AT_ONCE: usize = 10;
    let (address, ledger) = origin();
    // Ten seconds' worth of resets may come at once: 200.
    let (sidecar, dir) = World::before_with(&address, "relay: {max_resets: 20}").await;
    let through = sidecar.url().strip_prefix("http://").unwrap().to_owned();
    let n = resets() / AT_ONCE;
    let storms: Vec<_> = (0..AT_ONCE)
        .map(|name| {
            let through = through.clone();
            std::thread::spawn(move || storm(&through, &name.to_string(), n))
        })
        .collect();
    for storm in storms {
        assert_eq!(storm.join().unwrap(), Err(ENHANCE_YOUR_CALM));
    }
    let heard = ledger.lock().unwrap().clone();
    assert!(heard.len() < n * AT_ONCE / 2, "{} of {} reached the service", heard.len(), n * AT_ONCE);
    let told = told(dir.path());
    assert!(heard.iter().all(|path| told.get(path) == Some(&1)), "a call without an event, or with two");
    // Those of the last frames may have an event without having reached it.
    assert!(told.len() < n * AT_ONCE / 2, "{}", told.len());
    let metrics = sidecar.metrics().await;
    let ended = format!("sidelog_refused_total{{reason=\"h2_flood\"}} {AT_ONCE}\n");
    assert!(metrics.contains(&ended) && metrics.contains("sidelog_open_calls 0\n"), "{metrics}");
}

/// Header blocks without an end (CVE-2024-27316), and one that unfolds to 48 MB.
#[tokio::test(flavor = "multi_thread")]
async fn header_blocks_are_bounded() {
    let (address, ledger) = origin();
    let (sidecar, _dir) = World::before_with(&address, "").await;
    let through = sidecar.url().strip_prefix("http://").unwrap().to_owned();
    storm(&through, "warm", 100).unwrap();
    let before = own_memory(sidecar.process.id());
    let continued = |part: &[u8], n| {
        let parts = (0..n).flat_map(|_| frame(CONTINUATION, 0, 1, part));
        frame(HEADERS, 1, 1, b"\x83\x86").into_iter().chain(parts).collect::<Vec<u8>>()
    };
    // A field of 4,000 bytes goes into the table, and is then named 12,000 times.
    let field = [b"\x40\x01k\x7f\xa1\x1e", &[b'v'; 4000][..]].concat();
    let bomb = [&b"\x83\x86\x84\x01\x01a"[..], &field, &[0xbe; 12_000]].concat();
    let floods = [
        ("empty", continued(b"", 100_000)),
        ("of fields", continued(&[0x83; 1000], 10_000)),
        ("large", continued(&[b'x'; 16_000], 500)),
        ("bomb", frame(HEADERS, 5, 1, &bomb)),
    ];
    for (name, frames) in floods {
        assert_eq!(flood(&through, &frames), Err(ENHANCE_YOUR_CALM), "{name}");
    }
    let grown = own_memory(sidecar.process.id()).saturating_sub(before);
    assert!(grown < MAY_GROW_KIB, "{grown} KiB more than {before}");
    assert_eq!(ledger.lock().unwrap().len(), 100, "none of it has reached the service");
    let metrics = sidecar.metrics().await;
    assert!(metrics.contains("sidelog_refused_total{reason=\"h2_flood\"} 4\n"), "{metrics}");
}
