//! A broker that is not there, resets connections, or accepts and never answers.

use crate::origin::Origin;
use crate::phases::{Phases, steady};
use crate::setting;
use crate::sidecar::{Sidecar, Told, configure};
use harness::Kafka;
use harness::clients::Load;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOPIC: &str = "audit.events";

/// Stands at the broker's address while that is away.
struct Impostor {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Impostor {
    /// `answers`: not at all, with a reset; otherwise it keeps the connection and says nothing.
    fn start(address: &str, resets: bool) -> Impostor {
        let listener = listen(address);
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !until.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) if resets => reset(&stream),
                    Ok((stream, _)) => held.push(stream),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Impostor { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// Connections of the broker that was there may still linger.
fn listen(address: &str) -> TcpListener {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < until, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn reset(stream: &std::net::TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn events(kafka: &Kafka) -> Told {
    let mut told = Told::default();
    for message in kafka.read_all(TOPIC) {
        let json = message.iter().position(|b| *b == b'{').map_or(&[][..], |at| &message[at..]);
        let mut values = serde_json::Deserializer::from_slice(json).into_iter::<serde_json::Value>();
        let envelope = values.next().unwrap().unwrap();
        if envelope["event"].is_object() && envelope["event"]["stage"] != "started" {
            told.event(&envelope["event"]);
        }
        told.lost += u64::from(envelope["loss"].is_object());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kafka_is_not_noticed_by_traffic_and_costs_no_event() {
    let seconds = Duration::from_secs(setting("SIDELOG_OUTAGE_SECONDS", 3));
    let mut kafka = Kafka::start().await;
    kafka.create_topic(TOPIC, 2).await;
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    let address = kafka.bootstrap();
    configure(
        dir.path(),
        origin.address,
        // Room for the longest outage that is tried: three minutes of a thousand calls a second.
        &format!("journal: {{dir: journal, max_bytes: 4GiB}}\nkafka: {{brokers: ['{address}']}}"),
    );
    let sidecar = Sidecar::start(dir.path()).await;
    let load = Load::start(steady(), sidecar.traffic);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut phases = Phases::begin("kafka", "quiet");
    tokio::time::sleep(seconds).await;
    phases.end(sidecar.resident());
    kafka.kill().await;
    phases.next("refuses");
    tokio::time::sleep(seconds).await;
    phases.end(sidecar.resident());
    for (name, resets) in [("resets", true), ("hangs", false)] {
        let impostor = Impostor::start(&address, resets);
        phases.next(name);
        tokio::time::sleep(seconds).await;
        phases.end(sidecar.resident());
        impostor.end();
    }
    kafka.restart().await;
    phases.unnoticed(&load.stop());

    let recovered = Instant::now();
    while sidecar.metric("sidelog_journal_pending_records") > 0.0 {
        assert!(recovered.elapsed() < Duration::from_secs(90), "not shipped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = events(&kafka);
    let ledger = origin.ledger();
    let missing = ledger.keys().filter(|id| !told.ends.contains_key(*id)).count();
    let twice = told.ends.values().filter(|ends| ends.len() > 1).count();
    println!(
        "kafka back: backlog gone after {:.1?}; {} executed, {missing} missing, {twice} sent twice, {} losses",
        recovered.elapsed(),
        ledger.len(),
        told.lost
    );
    // What was in flight may be sent twice; the consumer knows it by its position.
    assert_eq!((missing, told.lost), (0, 0));
}
