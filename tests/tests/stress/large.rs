//! Bodies of any size, both ways and framed both ways, beside connections that stay open.

use crate::message::Head;
use crate::sidecar::{Sidecar, configure};
use harness::recorded::{self, Digest};
use harness::setting;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const MIB: u64 = 1 << 20;
const BLOCK: usize = 48 << 10;
/// From here on memory must not grow.
const WARM: u64 = 10 * MIB;
const MAY_GROW_KIB: u64 = 4 << 10;
/// Event streams, and as many calls whose answer is long in coming.
const OPEN: usize = 20;

/// Sends a body of so many bytes; its digest.
async fn send(stream: &mut TcpStream, length: u64, chunked: bool) -> String {
    let (mut digest, mut left, mut n) = (Digest::new(), length, 0_u64);
    let mut block = vec![0; BLOCK];
    while left > 0 {
        let part = &mut block[..BLOCK.min(left as usize)];
        // No two blocks are alike.
        part.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u64 * 31 + n * 7) as u8);
        part[..8].copy_from_slice(&n.to_be_bytes());
        digest.update(part);
        if chunked {
            stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.unwrap();
        }
        stream.write_all(part).await.unwrap();
        if chunked {
            stream.write_all(b"\r\n").await.unwrap();
        }
        (left, n) = (left - part.len() as u64, n + 1);
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    }
    digest.finish()
}

/// Takes one, `bytes` of which are here; its length and digest. `seen`: how much of it has come.
async fn take(
    stream: &mut TcpStream,
    mut bytes: Vec<u8>,
    length: Option<u64>,
    seen: &AtomicU64,
) -> (u64, String) {
    let (mut digest, mut total) = (Digest::new(), 0);
    // Bytes of the chunk still to come, and the line break behind it.
    let (mut left, mut line) = (length.unwrap_or(0), length.is_none());
    let mut first = true;
    loop {
        while !bytes.is_empty() {
            if line {
                let skip = if first { 0 } else { 2 };
                let Some(end) = bytes.get(skip..).and_then(|rest| memchr::memmem::find(rest, b"\r\n")) else {
                    break;
                };
                left =
                    u64::from_str_radix(std::str::from_utf8(&bytes[skip..skip + end]).unwrap(), 16).unwrap();
                bytes.drain(..skip + end + 2);
                (line, first) = (false, false);
                if left == 0 {
                    return (total, digest.finish());
                }
                continue;
            }
            let n = bytes.len().min(left as usize);
            digest.update(&bytes[..n]);
            bytes.drain(..n);
            (left, total) = (left - n as u64, total + n as u64);
            seen.store(total, Ordering::Relaxed);
            line = left == 0 && length.is_none();
        }
        if left == 0 && length.is_some() {
            return (total, digest.finish());
        }
        bytes.reserve(BLOCK);
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "cut off after {total}");
    }
}

async fn head(stream: &mut TcpStream) -> (Head, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = Head::read(&bytes) {
            let rest = bytes.split_off(head.len);
            return (head, rest);
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
}

fn length(head: &Head) -> Option<u64> {
    head.field("content-length").parse().ok()
}

/// Says the digest of what it gets, or sends what it is asked for; `/open` until `over`.
async fn serve(mut stream: TcpStream, mut over: watch::Receiver<bool>) {
    let (head, rest) = head(&mut stream).await;
    let framing = |chunked: bool, n: u64| match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {n}"),
    };
    match head.word().split('/').collect::<Vec<_>>()[..] {
        ["", "up"] => {
            let (_, digest) = take(&mut stream, rest, length(&head), &AtomicU64::new(0)).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{digest}", digest.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        ["", "down", n, chunked] => {
            let (n, chunked) = (n.parse().unwrap(), chunked == "chunked");
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing(chunked, n)).as_bytes())
                .await
                .unwrap();
            send(&mut stream, n, chunked).await;
        }
        ["", "stream"] => {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut n = 0;
            while !*over.borrow() {
                let event = format!("data: {n}\n\n");
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                stream.write_all(chunk.as_bytes()).await.unwrap();
                n += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        _ => {
            over.wait_for(|over| *over).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await.unwrap();
        }
    }
}

/// A connection that stays open: how many bytes came, all in order.
async fn stay(to: SocketAddr, line: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream
        .write_all(format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let (head, mut bytes) = head(&mut stream).await;
    loop {
        if let Some((body, _)) = head.body(&bytes) {
            return body;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
}

/// One transfer; the digest, as whoever got the body computed it, and the sender too.
async fn transfer(to: SocketAddr, up: bool, chunked: bool, n: u64, seen: &AtomicU64) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let framing =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {n}") };
    let (framed, nothing) = (if chunked { "chunked" } else { "sized" }, "Content-Length: 0".to_owned());
    let line = if up { "/up".to_owned() } else { format!("/down/{n}/{framed}") };
    let framing = if up { framing } else { nothing };
    stream
        .write_all(format!("POST {line} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    if up {
        let sent = send(&mut stream, n, chunked).await;
        let (head, rest) = head(&mut stream).await;
        let (_, said) = (length(&head), rest);
        let mut said = said;
        while (said.len() as u64) < length(&head).unwrap() {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0);
        }
        assert_eq!(String::from_utf8(said).unwrap(), sent, "what the service got is not what was sent");
        return sent;
    }
    let (head, rest) = head(&mut stream).await;
    let (total, digest) = take(&mut stream, rest, length(&head), seen).await;
    assert_eq!(total, n);
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_pass_in_constant_memory() {
    let size = setting("SIDELOG_MIB", 64) * MIB + 12_345;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = listener.local_addr().unwrap();
    let (finish, over) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, over.clone()));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    configure(dir.path(), origin, "journal: {dir: journal}\naudit: {level: request_response}");
    let sidecar = Sidecar::start(dir.path()).await;
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..OPEN {
        open.spawn(stay(sidecar.traffic, "GET /stream"));
        open.spawn(stay(sidecar.traffic, "POST /poll"));
    }
    let mut digests = Vec::new();
    for (up, chunked) in [(true, false), (true, true), (false, false), (false, true)] {
        // Small first, so that what is allocated once is there.
        let seen = Arc::new(AtomicU64::new(0));
        transfer(sidecar.traffic, up, chunked, WARM, &seen).await;
        let (before, began, mut most) = (sidecar.resident(), Instant::now(), 0);
        let task = tokio::spawn({
            let (to, seen) = (sidecar.traffic, seen.clone());
            async move { transfer(to, up, chunked, size, &seen).await }
        });
        while !task.is_finished() {
            most = most.max(sidecar.resident());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        digests.push(task.await.unwrap());
        let grown = most.saturating_sub(before);
        println!(
            "{} MiB {}, {}: {before} KiB resident after the first 10 MiB, at most {grown} KiB more; {:.1?}",
            size / MIB,
            if up { "up" } else { "down" },
            if chunked { "chunked" } else { "with a length" },
            began.elapsed()
        );
        assert!(grown < MAY_GROW_KIB, "memory grew by {grown} KiB");
    }
    finish.send(true).unwrap();
    let (mut streams, mut late) = (0, 0);
    for body in open.join_all().await {
        if body == b"late" {
            late += 1;
            continue;
        }
        let text = String::from_utf8(body).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        let in_order = events.iter().enumerate().all(|(n, event)| *event == format!("data: {n}"));
        assert!(in_order && events.len() > 5, "{events:?}");
        streams += 1;
    }
    assert_eq!((streams, late), (OPEN, OPEN));
    sidecar.stop().await;
    let events = recorded::events(&dir.path().join("journal"));
    let large = |side: &str| -> Vec<String> {
        let of_it = events.iter().filter(|event| event[side]["bytes"] == size);
        of_it.map(|event| event[side]["digest"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!([large("request"), large("response")].concat(), digests, "the digest of the whole body");
    assert_eq!(events.iter().filter(|event| event["http"]["path"] == "/poll").count(), OPEN);
}
