//! The consumer against the real engine: tables, exactly once, gaps, dead letters.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{as_user, options};
use prometheus_client::registry::Registry;
use serde_json::Value;
use sidelog::config::Secret;
use sidelog_consumer::dedup::Bounds;
use sidelog_consumer::metrics::Metrics;
use sidelog_consumer::migrate::{self, MIGRATIONS, Place};
use sidelog_consumer::pipeline::{self, Options};
use sidelog_consumer::source::journal::JournalSource;
use sidelog_consumer::source::{Batch, Dead, Fetched, Lease, Limits, Source, SourceError};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, Origin, Parsed};
use sidelog_consumer::verify;
use sidelog_event::{Position, RecordKind, stamp};
use sidelog_standalone::engine::{Engine, EngineOptions};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use uuid::Uuid;

const READY: Duration = common::READY;
const OCTOBER: i64 = 1_790_899_200_000; // 2026-10-02T00:00:00Z
const DAY: i64 = 86_400_000;

fn engine(data: &Path) -> Engine {
    // A fixed port, so that it is the same after a kill.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Engine::start_ready(&EngineOptions { http_port: port, ..options(data) }, READY).unwrap()
}

fn store(engine: &Engine) -> Store {
    Store::new(&StoreOptions {
        url: engine.http_url.clone(),
        user: engine.writer.user.clone(),
        password: Some(Secret(engine.writer.password.clone())),
        place: Place { database: "audit".into(), cluster: None },
    })
}

fn sql(engine: &Engine, sql: &str) -> String {
    let (status, body) = as_user(engine, &engine.writer, sql);
    assert_eq!(status, 200, "{sql}: {body}");
    body
}

fn producer(n: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n)
}

fn event(at: &Position, millis: i64, stage: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap();
    let id = Uuid::from_u128(u128::from(at.seq) << 64 | at.producer.as_u128() & 0xffff_ffff);
    format!(
        r#"{{"event_id":"{id}","stage":"{stage}","time":"{time}","duration_us":1500,"service":"orders",
        "http":{{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http","host":"orders",
        "path":"/v1/orders/{seq}","query":"a=\"b\"","status":201,"user_agent":"curl","request_id":"r{seq}"}},
        "operation":{{"match":"matched","id":"createOrder","route":"/v1/orders/{{id}}","tags":["billing","x"],
        "path_params":{{"id":"{seq}"}},"op":"create","resource_type":"order","resource_id":"{seq}"}},
        "actor":{{"id":"alice","tenant":"acme","roles":["admin"],"source":"verified_jwt","verified":true}},
        "client":{{"ip":"203.0.113.7","ip_source":"peer","peer_ip":"2001:db8::1"}},
        "outcome":"success","request":{{"content_type":"application/json","bytes":20,"body":"{{\"amount\":{seq}}}",
        "body_state":"complete"}},"response":{{"bytes":0,"body_state":"none"}},
        "redactions":{{"count":1,"rules":["key:password"]}},
        "level":"request","delivery":"written","policy":"default","message":"alice created order {seq}"}}"#,
        seq = at.seq
    )
}

/// Millis of each record: a few months, not in order of seq.
fn millis(seq: u64) -> i64 {
    OCTOBER + (seq as i64 % 3) * 31 * DAY + seq as i64
}

#[derive(Clone, Copy)]
enum What {
    Event,
    OpenCall,
    Loss(u64, u64),
    /// Told by a later boot.
    LossOf(u64, u64, u64),
    Junk(&'static str),
}

fn push(batch: &mut Batch, at: Position, what: What, offset: i64) {
    let time = millis(at.seq);
    batch.push_with(0, offset, time, |out| match what {
        What::Event => stamp(out, &at, RecordKind::Event, event(&at, time, "completed").as_bytes()),
        What::OpenCall => stamp(out, &at, RecordKind::Event, event(&at, time, "started").as_bytes()),
        What::LossOf(boot, first, last) => {
            let loss = format!(
                r#"{{"boot":{boot},"first":{first},"last":{last},"reason":"corrupt","time":"{}"}}"#,
                jiff::Timestamp::from_millisecond(time).unwrap()
            );
            stamp(out, &at, RecordKind::Loss, loss.as_bytes());
        }
        What::Loss(first, last) => {
            let time = jiff::Timestamp::from_millisecond(time).unwrap();
            let loss =
                format!(r#"{{"first":{first},"last":{last},"reason":"journal_full","time":"{time}"}}"#);
            stamp(out, &at, RecordKind::Loss, loss.as_bytes());
        }
        What::Junk(text) => out.extend_from_slice(text.as_bytes()),
    });
}

/// Records `seqs` of one producer's first boot, one in 50 an open call.
fn batch(producer: Uuid, seqs: impl IntoIterator<Item = u64>) -> Batch {
    let mut batch = Batch::new("audit.events", 1);
    for seq in seqs {
        let what = if seq % 50 == 0 { What::OpenCall } else { What::Event };
        push(&mut batch, Position { producer, boot: 1, seq }, what, seq as i64);
    }
    batch
}

/// Reasons and payloads.
type Letters = Vec<(String, Vec<u8>)>;

/// Hands over a list of batches.
struct List {
    batches: VecDeque<Batch>,
    committed: Arc<Mutex<Vec<String>>>,
    dead: Arc<Mutex<Letters>>,
}

impl Source for List {
    async fn fetch(&mut self) -> Result<Fetched, SourceError> {
        match self.batches.pop_front() {
            Some(mut batch) => {
                batch.more = !self.batches.is_empty();
                Ok(Fetched::Batch(batch))
            }
            None => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(Fetched::Idle)
            }
        }
    }
    fn commit(&mut self, batch: &Batch) {
        self.committed.lock().unwrap().push(batch.name());
    }
    async fn dead_letter(&mut self, _: &Batch, dead: &[Dead<'_>]) -> Result<(), SourceError> {
        let letters = dead.iter().map(|d| (d.reason.as_str().to_owned(), d.item.bytes.to_vec()));
        self.dead.lock().unwrap().extend(letters);
        Ok(())
    }
    fn lease(&self, _: &Batch) -> Lease {
        Lease::new(|| true)
    }
    async fn close(&mut self) {}
}

/// What is left of a consumer's life.
struct Life {
    metrics: String,
    dead: Letters,
}

/// It stores these batches and stops. With `gaps`, it has no patience with missing records, and goes
/// on until it has looked for them.
async fn live(store: &Store, batches: Vec<Batch>, gaps: bool) -> Life {
    // About three batches are one insert.
    let rows = 2 * batches.first().map_or(0, Batch::len) + 1;
    live_with(store, batches, gaps, Limits { rows, ..Options::default().insert }).await
}

async fn live_with(store: &Store, batches: Vec<Batch>, gaps: bool, insert: Limits) -> Life {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let (count, committed, dead) = (batches.len(), Arc::default(), Arc::default());
    let source = List { batches: batches.into(), committed: Arc::clone(&committed), dead: Arc::clone(&dead) };
    let bounds =
        Bounds { patience: Duration::from_millis(if gaps { 0 } else { 60_000 }), ..Bounds::default() };
    let options = Options { bounds, insert, ..Options::default() };
    let (stop, shutdown) = watch::channel(false);
    let run = tokio::spawn(pipeline::run(source, store.clone(), options, metrics, shutdown));
    let (mut done, mut since) = (0, Instant::now());
    while done < count {
        assert!(since.elapsed() < Duration::from_secs(120), "batch {done} is not stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = committed.lock().unwrap().len();
        if now > done {
            (done, since) = (now, Instant::now());
        }
    }
    if gaps {
        tokio::time::sleep(Duration::from_millis(6500)).await;
    }
    stop.send(true).unwrap();
    run.await.unwrap().unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let dead = std::mem::take(&mut *dead.lock().unwrap());
    Life { metrics: text, dead }
}

/// Count, distinct count, least and greatest seq over all tables.
fn stored(engine: &Engine) -> String {
    let all = ["events", "open_calls", "losses"]
        .map(|t| format!("SELECT producer, boot, seq FROM audit.{t} WHERE seq > 0"));
    sql(
        engine,
        &format!(
            "SELECT count(), uniqExact(producer, boot, seq), min(seq), max(seq) FROM ({})",
            all.join(" UNION ALL ")
        ),
    )
}

#[tokio::test]
async fn migrations_run_once_though_started_twice_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let stores = [store(&engine), store(&engine), store(&engine)];
    let (a, b, c) = tokio::join!(
        migrate::migrate(&stores[0]),
        migrate::migrate(&stores[1]),
        migrate::migrate(&stores[2])
    );
    for result in [a, b, c] {
        result.unwrap();
    }
    assert!(migrate::migrate(&stores[0]).await.unwrap().is_empty(), "nothing is left to do");
    assert_eq!(
        sql(&engine, "SELECT count(), uniqExact(version) FROM audit.migrations"),
        format!("{0}\t{0}", MIGRATIONS.len())
    );
    for table in ["events", "open_calls", "losses", "dead_letters"] {
        let made =
            format!("SELECT create_table_query FROM system.tables WHERE database='audit' AND name='{table}'");
        assert!(sql(&engine, &made).contains("non_replicated_deduplication_window = 1000"), "{table}");
    }
}

#[tokio::test]
async fn an_event_becomes_a_row_with_all_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    live(&store(&engine), vec![batch(producer(1), 1..=1)], false).await;
    let row = sql(
        &engine,
        "SELECT ts, stage, duration_us, service, tenant, actor_id, actor_roles, actor_source, actor_verified, \
         client_ip, peer_ip, method, path, query, status, operation_match, operation_id, route, tags, \
         path_params, op, resource_id, outcome, error, request_bytes, request_body, response_body_state, \
         redaction_count, redaction_rules, level, delivery, flags, message, boot, seq, kafka_topic, \
         kafka_partition, kafka_offset, ingested_at > '2020-01-01' FROM audit.events",
    );
    let expected = [
        "2026-11-02 00:00:00.001",
        "completed",
        "1500",
        "orders",
        "acme",
        "alice",
        "['admin']",
        "verified_jwt",
        "true",
        "::ffff:203.0.113.7",
        "2001:db8::1",
        "POST",
        "/v1/orders/1",
        "a=\"b\"",
        "201",
        "matched",
        "createOrder",
        "/v1/orders/{id}",
        "['billing','x']",
        "{'id':'1'}",
        "create",
        "1",
        "success",
        "",
        "20",
        "{\"amount\":1}",
        "none",
        "1",
        "['key:password']",
        "request",
        "written",
        "[]",
        "alice created order 1",
        "1",
        "1",
        "audit.events",
        "0",
        "1",
        "1",
    ];
    assert_eq!(row.split('\t').collect::<Vec<_>>(), expected);
    assert_eq!(sql(&engine, "SELECT count() FROM audit.events WHERE hasToken(lower(message), 'order')"), "1");
}

#[tokio::test]
async fn what_is_read_again_is_not_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    // Months and tables mixed; a replay within a life (the shipper rewinds).
    let life = live(&store, vec![batch(producer(1), 1..=700), batch(producer(1), 300..=1000)], false).await;
    assert_eq!(stored(&engine), "1000\t1000\t1\t1000");
    assert!(life.metrics.contains("sidelog_consumer_duplicates_total 401\n"), "{}", life.metrics);
    assert_eq!(sql(&engine, "SELECT count(), uniqExact(toYYYYMM(ts)) FROM audit.events"), "980\t3");
    assert_eq!(sql(&engine, "SELECT count() FROM audit.open_calls"), "20");
    // A new life knows nothing but the tables; batches are cut elsewhere; another producer joins in.
    let again =
        vec![batch(producer(1), 200..=450), batch(producer(2), 1..=10), batch(producer(1), 451..=1200)];
    let life = live(&store, again, false).await;
    assert!(life.metrics.contains("sidelog_consumer_duplicates_total 801\n"), "{}", life.metrics);
    assert_eq!(stored(&engine), "1210\t1210\t1\t1200");
}

/// Offsets begin again with it; a token made of them alone was known already, and the rows were not stored.
#[tokio::test]
async fn a_topic_made_anew_is_stored_though_its_offsets_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let with_loss = |producer: Uuid, last: u64| {
        let mut batch = batch(producer, 1..=last);
        let at = Position { producer, boot: 1, seq: last + 3 };
        push(&mut batch, at, What::Loss(last + 1, last + 2), at.seq as i64);
        batch
    };
    live(&store, vec![with_loss(producer(1), 100)], false).await;
    live(&store, vec![with_loss(producer(2), 100)], false).await;
    assert_eq!(stored(&engine), "202\t202\t1\t103");
    // The same records at the same places are doubled by nothing.
    live(&store, vec![batch(producer(2), 1..=100)], false).await;
    assert_eq!(stored(&engine), "202\t202\t1\t103");
}

/// A batch's rows are of three months, some of them open calls.
#[tokio::test]
async fn batches_are_put_together_until_they_are_worth_an_insert() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let large = Limits { rows: 1 << 30, bytes: 1 << 30, age: Duration::from_secs(600) };
    // Ten batches of 150 rows each; how many inserts of each month and table they may become.
    let small = [
        ("rows", Limits { rows: 450, ..large }, 3..=4),
        // A row of these is some 500 bytes.
        ("bytes", Limits { bytes: 300_000, ..large }, 2..=5),
        ("age", Limits { age: Duration::ZERO, ..large }, 10..=10),
        ("all", large, 1..=1),
    ];
    for (at, (bound, limits, expected)) in small.into_iter().enumerate() {
        let from = at as u128;
        let batches = (0..10).map(|n| batch(producer(from), n * 150 + 1..=n * 150 + 150)).collect();
        let life = live_with(&store, batches, false, limits).await;
        let inserts =
            life.metrics.lines().find_map(|l| l.strip_prefix("sidelog_consumer_insert_seconds_count "));
        let inserts: usize = inserts.expect("inserts are counted").parse().unwrap();
        let expected = expected.start() * 6..=expected.end() * 6;
        assert!(expected.contains(&inserts), "{bound}: {inserts} inserts, not {expected:?}");
        assert_eq!(stored(&engine), format!("{0}\t{0}\t1\t1500", 1500 * (at + 1)), "{bound}");
    }
}

#[tokio::test]
async fn an_insert_cut_between_months_and_tables_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    live(&store, vec![batch(producer(1), 1..=600)], false).await;
    // What a consumer leaves that dies after the first month: the others are missing.
    sql(&engine, "ALTER TABLE audit.events DROP PARTITION 202611");
    sql(&engine, "TRUNCATE TABLE audit.open_calls");
    live(&store, vec![batch(producer(1), 1..=400), batch(producer(1), 401..=600)], false).await;
    assert_eq!(stored(&engine), "600\t600\t1\t600");
}

/// Damage found at a start: the boot after tells what the one before has lost.
#[tokio::test]
async fn a_loss_of_an_earlier_boot_is_no_gap_and_its_record_is_known_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let all = || {
        let mut all = batch(producer(1), (1..=20).filter(|n| !(5..=6).contains(n)));
        let told = |seq| Position { producer: producer(1), boot: 2, seq };
        push(&mut all, told(1), What::LossOf(1, 5, 6), 201);
        push(&mut all, told(2), What::Event, 202);
        all
    };
    for _ in 0..2 {
        let life = live(&store, vec![all()], true).await;
        assert!(life.metrics.contains("sidelog_consumer_gap_records_total 0\n"), "{}", life.metrics);
        let losses = "SELECT boot, first, last, reason, told_boot, seq FROM audit.losses";
        assert_eq!(sql(&engine, losses), "1\t5\t6\tcorrupt\t2\t1");
        assert_eq!(sql(&engine, "SELECT count() FROM audit.events WHERE boot = 2"), "1");
    }
}

#[tokio::test]
async fn a_gap_is_recorded_once_and_losses_explain_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let mut first = batch(producer(1), (1..=100).filter(|n| !(40..=49).contains(n)));
    // 101..=109 were lost, and 110 says so; 111 is missing, and comes late.
    push(&mut first, Position { producer: producer(1), boot: 1, seq: 110 }, What::Loss(101, 109), 110);
    let late = batch(producer(1), [112]);
    let filled = batch(producer(1), [111]);
    // A producer that begins in the middle; a boot that begins at its beginning.
    let second = batch(producer(2), 21..=30);
    let life = live(&store, vec![first, late, second, filled], true).await;
    let gaps = "SELECT first, last, seq FROM audit.losses WHERE reason = 'gap' ORDER BY first";
    assert_eq!(sql(&engine, gaps), "1\t20\t0\n40\t49\t0");
    assert!(life.metrics.contains("sidelog_consumer_gap_records_total 30\n"), "{}", life.metrics);
    assert!(life.metrics.contains(r#"lost_records_total{reason="journal_full"} 9"#), "{}", life.metrics);
    // Another life reads it all again: nothing is new, no gap is told twice. One that was told and
    // then came is stored.
    let mut again = batch(producer(1), (30..=100).filter(|n| !(41..=49).contains(n)));
    push(&mut again, Position { producer: producer(1), boot: 1, seq: 110 }, What::Loss(101, 109), 110);
    let life = live(&store, vec![again, batch(producer(2), 25..=31)], true).await;
    assert_eq!(sql(&engine, gaps), "1\t20\t0\n40\t49\t0");
    assert!(life.metrics.contains("sidelog_consumer_late_records_total 1\n"), "{}", life.metrics);
    assert_eq!(sql(&engine, "SELECT count() FROM audit.losses WHERE reason = 'journal_full'"), "1");
    assert_eq!(sql(&engine, "SELECT count() FROM audit.events WHERE seq = 40"), "1");
}

#[tokio::test]
async fn a_forgotten_or_quiet_producer_is_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    live(&store, vec![batch(producer(1), [1, 2, 3])], false).await;
    // Record 4 comes in another month than all that is stored, to a consumer that knows nothing.
    let mut next = Batch::new("audit.events", 1);
    let at = Position { producer: producer(1), boot: 1, seq: 4 };
    let time = OCTOBER + 150 * DAY;
    next.push_with(0, 4, time, |out| {
        stamp(out, &at, RecordKind::Event, event(&at, time, "completed").as_bytes())
    });
    let life = live(&store, vec![next], true).await;
    assert!(life.metrics.contains("sidelog_consumer_gaps_total 0\n"), "{}", life.metrics);
    assert_eq!(stored(&engine), "4\t4\t1\t4");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let mut mixed = batch(producer(1), 1..=5);
    push(&mut mixed, Position { producer: producer(1), boot: 1, seq: 6 }, What::Junk("{\"hello\""), 6);
    let other = r#"{"v":2,"producer":"01900000-0000-7000-8000-000000000001","boot":1,"seq":7,"new":{}}"#;
    push(&mut mixed, Position { producer: producer(1), boot: 1, seq: 7 }, What::Junk(other), 7);
    push(&mut mixed, Position { producer: producer(1), boot: 1, seq: 8 }, What::Event, 8);
    let life = live(&store, vec![mixed], false).await;
    assert_eq!(
        life.dead,
        [("not_json".to_owned(), b"{\"hello\"".to_vec()), ("version".into(), other.as_bytes().to_vec())]
    );
    assert_eq!(stored(&engine), "6\t6\t1\t8");
    // Where the place is known, the loss is named.
    assert_eq!(sql(&engine, "SELECT first, last, reason, seq FROM audit.losses"), "7\t7\tdead_letter\t0");
}

/// Rows of a whole life, in batches of uneven size.
fn life_of(producer: Uuid, from: u64, to: u64, size: u64) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut next = from;
    while next <= to {
        let last = (next + size + next % 97).min(to);
        batches.push(batch(producer, next..=last));
        next = last + 1;
    }
    batches
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_engine_in_the_middle_of_inserts_loses_and_doubles_nothing() {
    const LAST: u64 = 40_000;
    // `SIDELOG_ENGINE_KILLS`: more of them, and as many more inserts of fewer rows, each batch of
    // which is one for each of three months and two tables.
    let kills = std::env::var("SIDELOG_ENGINE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6u64);
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let port = engine.http_url.rsplit(':').next().unwrap().parse().unwrap();
    let (store, data) = (store(&engine), dir.path().to_owned());
    migrate::migrate(&store).await.unwrap();
    let killer = tokio::task::spawn_blocking(move || {
        // One record in 50 is an open call.
        let (mut engine, mut before, all) = (engine, 0, LAST - LAST / 50);
        for round in 0..kills {
            // While rows come in; what of an insert it meets, chance decides.
            let rows = || sql(&engine, "SELECT count() FROM audit.events").parse::<u64>().unwrap();
            let until = Instant::now() + READY;
            while rows() == before && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            before = rows();
            if before == all {
                return (engine, round);
            }
            std::thread::sleep(Duration::from_millis(round % 6 * 3));
            // SAFETY: the child of this test.
            unsafe { libc::kill(engine.pid() as i32, libc::SIGKILL) };
            while engine.exited().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            engine =
                Engine::start_ready(&EngineOptions { http_port: port, ..options(&data) }, READY).unwrap();
        }
        (engine, kills)
    });
    let first = live(&store, life_of(producer(1), 1, LAST, 4200 / kills.max(1)), false).await;
    let (engine, kills) = killer.await.unwrap();
    let retries = first.metrics.lines().find_map(|l| l.split_once(r#"retries_total{reason="insert"} "#));
    let (_, retries) = retries.expect("no insert met a kill");
    println!("{kills} kills of the engine; inserts tried again: {retries}");
    assert_eq!(stored(&engine), format!("{LAST}\t{LAST}\t1\t{LAST}"));
    assert_eq!(sql(&engine, "SELECT uniqExact(toYYYYMM(ts)) FROM audit.events"), "3");
    // Then a consumer that must read a good part again.
    live(&store, life_of(producer(1), LAST / 2, LAST + 500, 900), false).await;
    let all = LAST + 500;
    assert_eq!(stored(&engine), format!("{all}\t{all}\t1\t{all}"));
}

/// Blocks of columns against the library's own encoder, row by row.
#[tokio::test]
async fn every_column_holds_what_another_encoder_puts_there() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    migrate::migrate(&store).await.unwrap();
    sql(&engine, "CREATE TABLE audit.other AS audit.events");
    let records: Vec<_> = (1..=3000).map(varied).collect();
    let origin = Origin { topic: "audit.events", partition: 3, offset: 4 };
    let rows: Vec<EventRow<'_>> = records
        .iter()
        .map(|record| match transform::parse(record, origin) {
            Ok(Parsed::Event(row)) => row,
            other => panic!("{other:?}"),
        })
        .collect();
    store.insert::<EventRow<'static>>("events", "once", &rows).await.unwrap();
    let client = clickhouse::Client::default()
        .with_url(&engine.http_url)
        .with_user(&engine.writer.user)
        .with_password(&engine.writer.password)
        .with_database("audit");
    let mut insert = client.insert::<EventRow<'static>>("other").await.unwrap();
    for row in &rows {
        insert.write(row).await.unwrap();
    }
    insert.end().await.unwrap();
    let columns = sql(
        &engine,
        "SELECT name FROM system.columns WHERE database = 'audit' AND table = 'events' AND name != 'ingested_at'",
    );
    assert!(columns.lines().count() > 60, "{columns}");
    for column in columns.lines() {
        let differ = format!(
            "SELECT count() FROM audit.events AS a FULL JOIN audit.other AS b USING (event_id) \
             WHERE formatRow('JSONCompactEachRow', a.`{column}`) != formatRow('JSONCompactEachRow', b.`{column}`)"
        );
        assert_eq!(sql(&engine, &differ), "0", "{column}");
    }
    assert_eq!(sql(&engine, "SELECT count() FROM audit.other"), "3000");
}

/// Members that [`event`] leaves out.
const MORE: &str = r#"{"error":"x","reason":"x","flags":["x"],
    "http":{"grpc_status":3,"idempotency_key":"x","trace_id":"x"},
    "operation":{"summary":"x","api_version":"x","alternatives":["x"],"protocol":"x","calls":["x"],"calls_total":7},
    "actor":{"name":"x","type":"x","on_behalf_of":"x","unverified_reason":"x","credential":"x"},
    "client":{"forwarded":"x"},"request":{"digest":"x","messages":3},
    "response":{"content_type":"x","digest":"x","body":"x","messages":3}}"#;

/// An event whose members are now this, now that, and often empty, each in a rhythm of its own.
fn varied(seq: u64) -> Vec<u8> {
    let at = Position { producer: producer(1), boot: 1, seq };
    let mut event: Value = serde_json::from_str(&event(&at, OCTOBER + seq as i64, "completed")).unwrap();
    let more: Value = serde_json::from_str(MORE).unwrap();
    for (part, members) in more.as_object().unwrap() {
        match (event.get_mut(part).and_then(Value::as_object_mut), members.as_object()) {
            (Some(known), Some(members)) => known.extend(members.clone()),
            _ => event[part] = members.clone(),
        }
    }
    vary(&mut event, &mut seq.clone());
    if seq.is_multiple_of(5) {
        event["duration_us"] = Value::Null;
    }
    let mut out = Vec::new();
    stamp(&mut out, &at, RecordKind::Event, event.to_string().as_bytes());
    out
}

/// Changes texts that may hold anything, and lists of them.
fn vary(value: &mut Value, salt: &mut u64) {
    const WORDS: [&str; 6] = ["", "", "one", "two", "ünï\u{0}cödé \u{1f600}", "a\tb\n'\"\\"];
    const FIXED: [&str; 13] = [
        "event_id",
        "stage",
        "time",
        "match",
        "op",
        "source",
        "ip",
        "peer_ip",
        "outcome",
        "level",
        "delivery",
        "body_state",
        "ip_source",
    ];
    *salt = salt.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let dice = *salt >> 33;
    match value {
        Value::String(text) => {
            *text = match dice % 8 {
                6 => format!("word {}", dice / 8 % 700),
                7 => format!("word {dice}"),
                n => WORDS[n as usize].to_owned(),
            }
        }
        Value::Array(items) => {
            items.resize((dice % 4) as usize, Value::String(String::new()));
            items.iter_mut().for_each(|item| vary(item, salt));
        }
        Value::Object(members) => {
            members.iter_mut().filter(|(k, _)| !FIXED.contains(&k.as_str())).for_each(|(_, v)| vary(v, salt))
        }
        Value::Number(_) => *value = (dice % 600).into(),
        Value::Bool(_) => *value = dice.is_multiple_of(2).into(),
        Value::Null => {}
    }
}

#[tokio::test]
async fn verify_tells_what_is_missing_and_what_is_known_to_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let (whole, holed) = (producer(1), producer(2));
    let mut batches = vec![batch(whole, 1..=100), batch(holed, 1..=10)];
    let mut told = Batch::new("audit.events", 1);
    push(&mut told, Position { producer: holed, boot: 1, seq: 16 }, What::Loss(11, 15), 16);
    batches.push(told);
    batches.push(batch(holed, 17..=20));
    live(&store, batches, false).await;
    let report = verify::verify(&store, None).await.unwrap();
    let boot = |n: usize| {
        let b = &report.boots[n];
        (b.first_seq, b.last_seq, b.records, b.known_lost)
    };
    assert_eq!((boot(0), boot(1)), ((1, 100, 100, 0), (1, 20, 15, 5)));
    assert_eq!((report.missing(), report.gaps.len()), (0, 0));
    // Somebody deletes rows.
    let delete = "ALTER TABLE audit.events DELETE WHERE seq IN (7, 8, 90) \
                  AND producer = '01900000-0000-7000-8000-000000000001' SETTINGS mutations_sync = 2";
    sql(&engine, delete);
    let report = verify::verify(&store, Some(whole)).await.unwrap();
    let gaps: Vec<_> = report.gaps.iter().map(|g| (g.producer, g.boot, g.first, g.last)).collect();
    assert_eq!(gaps, [(whole, 1, 7, 8), (whole, 1, 90, 90)]);
    assert_eq!((report.boots.len(), report.missing()), (1, 3));
    assert!(report.to_string().contains("not complete: 0 known lost, 3 missing; 0 doubled"), "{report}");
    // Somebody inserts a row again.
    let again = "INSERT INTO audit.events SELECT * FROM audit.events WHERE seq = 5 \
                 AND producer = '01900000-0000-7000-8000-000000000002'";
    sql(&engine, again);
    let report = verify::verify(&store, Some(holed)).await.unwrap();
    assert_eq!((report.missing(), report.doubled(), report.is_sound()), (0, 1, false));
    assert!(report.to_string().contains("none missing; 1 doubled"), "{report}");
}

/// A record of the journal.
struct Stored(Uuid, Vec<u8>);

impl sidelog_journal::Storable for Stored {
    fn id(&self) -> Uuid {
        self.0
    }
    fn bytes(&self) -> &[u8] {
        &self.1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_read_to_its_end_and_committed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    let opened =
        sidelog_journal::Journal::open(sidelog_journal::Options::new(dir.path().join("journal"))).unwrap();
    let journal = opened.journal;
    let append = |n: u64, text: Option<&str>| {
        let at = Position { producer: journal.producer(), boot: journal.boot(), seq: n };
        let json = text.map_or_else(|| event(&at, millis(n), "completed"), str::to_owned);
        journal.append(&Stored(Uuid::from_u128(u128::from(n)), json.into_bytes())).unwrap();
    };
    (1..=300).for_each(|n| append(n, None));
    append(301, Some("{\"not\":\"an event\"}"));
    (302..=310).for_each(|n| append(n, None));
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let limits = Limits { rows: 128, age: Duration::from_millis(50), ..Limits::default() };
    let source = JournalSource::new(Arc::clone(&journal), store.clone(), limits);
    let (stop, shutdown) = watch::channel(false);
    let run = tokio::spawn(pipeline::run(source, store, Options::default(), metrics, shutdown));
    let until = Instant::now() + Duration::from_secs(60);
    while journal.stats().pending > 0 {
        assert!(Instant::now() < until, "the journal was not read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).unwrap();
    run.await.unwrap().unwrap();
    assert_eq!(stored(&engine), "309\t309\t1\t310");
    assert_eq!(
        sql(&engine, "SELECT reason, position(payload, 'not') > 0 FROM audit.dead_letters"),
        "not_an_envelope\t1"
    );
    assert_eq!(sql(&engine, "SELECT first, reason FROM audit.losses"), "301\tdead_letter");
}

/// Seconds of CPU that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|f| f.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// `cargo test --release -p sidelog-standalone --test consumer -- --ignored --nocapture speed`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path());
    let store = store(&engine);
    live(&store, vec![batch(producer(9), 1..=100)], false).await;
    for size in [1_000u64, 10_000, 50_000] {
        let id = producer(u128::from(size));
        let total = size * 6;
        let batches: Vec<_> = (0..6)
            .map(|n| {
                let mut batch = Batch::new("audit.events", 1);
                for seq in n * size + 1..=(n + 1) * size {
                    let at = Position { producer: id, boot: 1, seq };
                    let time = OCTOBER + seq as i64;
                    batch.push_with(0, seq as i64, time, |out| {
                        stamp(out, &at, RecordKind::Event, event(&at, time, "completed").as_bytes());
                    });
                }
                batch
            })
            .collect();
        let bytes: usize = batches.iter().map(Batch::byte_len).sum();
        let (start, ours, engines) = (Instant::now(), cpu(std::process::id()), cpu(engine.pid()));
        live(&store, batches, false).await;
        let took = start.elapsed().as_secs_f64();
        let per_row = |before: f64, pid| (cpu(pid) - before) * 1e6 / total as f64;
        let (ours, engines) = (per_row(ours, std::process::id()), per_row(engines, engine.pid()));
        println!("CPU per row: {ours:.1} µs here, {engines:.1} µs in the engine");
        println!(
            "batches of {size}: {:.0} rows/s ({:.0} B each)",
            total as f64 / took,
            bytes as f64 / total as f64
        );
    }
}
