//! Retention against the real engine, on a clock of the test's own: exactly the due rows go, and come
//! back from the archive as they were.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{as_user, login, query, start};
use sidelog::config::{Retention, RetentionRule, Secret};
use sidelog::pseudonym::Pseudonyms;
use sidelog_consumer::archive::{Archive, ArchiveError};
use sidelog_consumer::erase::{Erasure, Found, Target};
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::retention::{self, Expiry, RetentionError};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, Origin, Parsed};
use sidelog_consumer::verify;
use sidelog_event::{Level, Position, RecordKind, stamp};
use sidelog_standalone::engine::Engine;
use std::time::Duration;
use uuid::Uuid;

const PRODUCER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0008);
const DAY: i64 = 86_400_000;
/// Five events a day for 200 days, from 2026-05-01T06:00Z.
const START: i64 = 1_777_615_200_000;
const EVENTS: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

struct Event {
    seq: u64,
    millis: i64,
    tenant: &'static str,
    service: &'static str,
    metadata: bool,
}

fn events() -> impl Iterator<Item = Event> {
    (1..=EVENTS).map(|seq| Event {
        seq,
        millis: START + (seq / 5) as i64 * DAY + seq as i64,
        tenant: ["acme", "globex"][seq as usize % 2],
        service: ["orders", "billing"][seq as usize / 2 % 2],
        metadata: seq.is_multiple_of(10),
    })
}

fn json(event: &Event) -> String {
    let Event { seq, millis, tenant, service, metadata } = *event;
    let time = jiff::Timestamp::from_millisecond(millis).unwrap();
    let (level, body, state) = match metadata {
        true => ("metadata", String::new(), "omitted:level"),
        false => {
            ("request", format!("{{\\\"n\\\":{seq},\\\"to\\\":\\\"canary-{}\\\"}}", seq % 7), "complete")
        }
    };
    format!(
        r#"{{"event_id":"{id}","stage":"completed","time":"{time}","duration_us":1,"service":"{service}",
        "http":{{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http","host":"h",
        "path":"/v1/x/{seq}","status":201,"grpc_status":3}},
        "operation":{{"match":"matched","id":"op","route":"/v1/x/{{id}}","tags":["a"],"path_params":{{"id":"{seq}"}},
        "op":"create","resource_type":"x","resource_id":"{seq}"}},
        "actor":{{"id":"u","tenant":"{tenant}","roles":["r"],"source":"verified_jwt","verified":true}},
        "client":{{"ip":"203.0.113.7","ip_source":"peer","peer_ip":"2001:db8::1"}},
        "outcome":"success","request":{{"bytes":20,"body":"{body}","body_state":"{state}"}},
        "response":{{"bytes":0,"body_state":"none"}},
        "level":"{level}","delivery":"written","policy":"default","message":"zoë created x {seq}"}}"#,
        id = Uuid::from_u128(u128::from(seq) + 1),
    )
}

fn sql(engine: &Engine, sql: &str) -> String {
    let (status, body) = as_user(engine, &engine.writer, sql);
    assert_eq!(status, 200, "{sql}: {body}");
    body
}

async fn filled(engine: &Engine) -> Store {
    let store = Store::new(&StoreOptions {
        url: engine.http_url.clone(),
        user: engine.writer.user.clone(),
        password: Some(Secret(engine.writer.password.clone())),
        place: Place { database: "audit".into(), cluster: None },
    });
    migrate::migrate(&store).await.unwrap();
    let texts: Vec<Vec<u8>> = events()
        .map(|event| {
            let mut text = Vec::new();
            let at = Position { producer: PRODUCER, boot: 1, seq: event.seq };
            stamp(&mut text, &at, RecordKind::Event, json(&event).as_bytes());
            text
        })
        .collect();
    let origin = Origin { topic: "", partition: 0, offset: 0 };
    let rows: Vec<EventRow<'_>> = texts
        .iter()
        .map(|text| match transform::parse(text, origin) {
            Ok(Parsed::Event(row)) => row,
            other => panic!("{other:?}"),
        })
        .collect();
    let month =
        |row: &EventRow<'_>| jiff::Timestamp::from_millisecond(row.ts).unwrap().strftime("%Y%m").to_string();
    for rows in rows.chunk_by(|a, b| month(a) == month(b)) {
        store.insert::<EventRow<'static>>("events", &month(&rows[0]), rows).await.unwrap();
    }
    store
}

fn rule(tenants: &[&str], services: &[&str], levels: &[Level], days: u32, body_days: u32) -> RetentionRule {
    let own = |texts: &[&str]| texts.iter().map(|t| t.to_string()).collect();
    RetentionRule { tenants: own(tenants), services: own(services), levels: levels.to_vec(), days, body_days }
}

fn policy() -> Retention {
    Retention {
        days: 100,
        body_days: 30,
        rules: vec![
            rule(&["globex", "o'neill"], &["billing"], &[], 150, 0),
            rule(&[], &[], &[Level::Metadata], 0, 0),
        ],
        archive: None,
    }
}

/// Whether the event stays, and its body: the policy said once more.
fn stays(event: &Event, midnight: i64) -> (bool, bool) {
    let (days, body_days) = match event {
        Event { tenant: "globex", service: "billing", .. } => (150, 0),
        Event { metadata: true, .. } => (0, 0),
        _ => (100, 30),
    };
    let kept = |days: i64| days == 0 || event.millis >= midnight - days * DAY;
    (kept(days), kept(body_days) && !event.metadata)
}

const DIGEST: &str =
    "SELECT count(), groupBitXor(sipHash64(formatRowNoNewline('JSONEachRow', *))) FROM audit.events";

const MUTATIONS: &str = "SELECT count() FROM system.mutations WHERE table = 'events'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_what_is_due_goes_and_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let store = filled(&engine).await;
    let archive = Archive::open(&dir.path().join("archive")).unwrap();
    let at = |time: &str| time.parse::<jiff::Timestamp>().unwrap();
    let policy = policy();
    let expiry =
        |now, policy| Expiry { store: &store, policy, now, archive: Some(&archive), patience: PATIENCE };

    // Nothing is due yet; to look changes nothing.
    assert_eq!(expiry(at("2026-05-30T00:00:00Z"), &policy).find().await.unwrap(), []);
    let whole = sql(&engine, DIGEST);

    let now = at("2026-11-18T12:00:00Z");
    let midnight = at("2026-11-18T00:00:00Z").as_millisecond();
    let model: Vec<(Event, (bool, bool))> = events()
        .map(|e| {
            let s = stays(&e, midnight);
            (e, s)
        })
        .collect();
    let list = |keep: &dyn Fn(&(bool, bool)) -> bool| {
        let seqs = model.iter().filter(|(_, s)| keep(s)).map(|(e, _)| e.seq.to_string());
        seqs.collect::<Vec<_>>().join(",")
    };
    let (kept, with_body) = (list(&|s| s.0), list(&|s| s.0 && s.1));
    let expired = list(&|s| !s.0);
    let of_expired = format!("{DIGEST} WHERE seq IN ({expired})");
    let before = sql(&engine, &of_expired);
    let expiry_now = expiry(now, &policy);
    let due = expiry_now.find().await.unwrap();
    assert_eq!(due.iter().map(|d| d.expired).sum::<u64>(), expired.split(',').count() as u64);
    assert_eq!(sql(&engine, DIGEST), whole);

    let done = expiry_now.run().await.unwrap();
    assert_eq!(done.due, due);
    let seqs = |condition: &str| {
        sql(
            &engine,
            &format!(
                "SELECT arrayStringConcat(arraySort(groupArray(seq)), ',') FROM audit.events WHERE {condition}"
            ),
        )
    };
    assert_eq!(seqs("1"), kept);
    assert_eq!(seqs("request_body != ''"), with_body);
    assert_eq!(seqs("request_body_state = 'omitted:expired'"), {
        list(&|s| s.0 && !s.1)
            .split(',')
            .filter(|seq| seq.parse::<u64>().unwrap() % 10 != 0)
            .collect::<Vec<_>>()
            .join(",")
    });
    assert_eq!(expiry_now.find().await.unwrap(), [], "a second run finds nothing");
    let report = verify::verify(&store, None).await.unwrap();
    assert_eq!(report.missing(), 0, "what has expired is not missing: {report}");
    let entries = archive.entries().unwrap();
    assert_eq!(entries, done.files);
    assert_eq!(entries.iter().map(|e| e.rows).sum::<u64>(), expired.split(',').count() as u64);

    // Back again, and once more does nothing.
    for entry in &entries {
        assert_eq!(retention::restore(&store, &archive, entry, PATIENCE).await.unwrap(), entry.rows);
        assert_eq!(retention::restore(&store, &archive, entry, PATIENCE).await.unwrap(), 0);
    }
    assert_eq!(sql(&engine, &of_expired), before, "the same rows, column by column");
    let report = verify::verify(&store, None).await.unwrap();
    assert_eq!(
        (report.boots[0].records, report.boots[0].removed, report.missing()),
        (EVENTS, 0, 0),
        "{report}"
    );

    an_erasure_reaches_the_archive(&engine, &store, &archive).await;
    a_damaged_file_changes_nothing(&engine, &store, &archive, dir.path()).await;

    // When all is due, parts go as they are.
    let all = Retention { days: 1, ..Retention::default() };
    let unarchived = Expiry { archive: None, ..expiry(at("2027-06-01T00:00:00Z"), &all) };
    let mutations = sql(&engine, MUTATIONS);
    let done = unarchived.run().await.unwrap();
    assert!(done.dropped_parts >= 7, "{done:?}");
    assert_eq!(sql(&engine, "SELECT count() FROM audit.events"), "0");
    assert_eq!(sql(&engine, MUTATIONS), mutations, "nothing was rewritten");
    assert_eq!(
        sql(&engine, "SELECT count() FROM audit.removed WHERE why = 'expired'"),
        "0",
        "nothing is left to explain"
    );
}

async fn an_erasure_reaches_the_archive(engine: &Engine, store: &Store, archive: &Archive) {
    let pseudonyms = Pseudonyms::new(b"a key of the test's");
    let erasure = |target, anonymise| Erasure {
        store,
        target,
        pseudonyms: &pseudonyms,
        anonymise,
        archive: Some(archive),
        patience: PATIENCE,
    };
    let archived = archive.entries().unwrap();
    let (one, other) = (Target::Subject("canary-1".into()), Target::Subject("canary-2".into()));
    let found = erasure(&one, false).find().await.unwrap();
    assert!(found.archived > 20 && found.events > found.archived, "{found}");
    let receipt = erasure(&one, false).run().await.unwrap().unwrap();
    assert_eq!((receipt.archived, receipt.records), (found.archived, found.events));
    let found_other = erasure(&other, true).find().await.unwrap();
    erasure(&other, true).run().await.unwrap().unwrap();
    for target in [&one, &other] {
        assert_eq!(erasure(target, false).find().await.unwrap(), Found::default());
    }
    let rows = |entries: &[sidelog_consumer::archive::Entry]| entries.iter().map(|e| e.rows).sum::<u64>();
    assert_eq!(rows(&archive.entries().unwrap()), rows(&archived) - found.archived, "anonymised rows stay");
    assert!(found_other.archived > 20);
    assert_eq!(
        sql(
            engine,
            "SELECT count() FROM system.tables WHERE database = 'audit' AND name IN ('erasing', 'restoring')"
        ),
        "0"
    );
    // What is erased does not come back from an older copy.
    let entry = archive.entries().unwrap().swap_remove(0);
    assert_eq!(retention::restore(store, archive, &entry, PATIENCE).await.unwrap(), 0);
    let shown = common::document("docs/retention.md", |sql| {
        let (status, answer) = query(&engine.http_url, &login(&engine.reader), common::PRETTY, sql);
        assert_eq!(status, 200, "{sql}\n{answer}");
        answer
    });
    assert_eq!(shown, 1);
}

async fn a_damaged_file_changes_nothing(
    engine: &Engine,
    store: &Store,
    archive: &Archive,
    dir: &std::path::Path,
) {
    let before = sql(engine, DIGEST);
    let entry = archive.entries().unwrap().swap_remove(0);
    let path = dir.join("archive").join(&entry.file);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = retention::restore(store, archive, &entry, PATIENCE).await.unwrap_err();
    assert!(
        matches!(error, RetentionError::Archive(ArchiveError::Damaged(..) | ArchiveError::Store(_))),
        "{error}"
    );
    assert_eq!(sql(engine, DIGEST), before);
}
