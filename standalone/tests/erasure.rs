//! Erasure against the real engine: what is erased is in no file of it.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{as_user, login, query, start};
use sidelog::config::{Retention, Secret};
use sidelog::pseudonym::Pseudonyms;
use sidelog_consumer::archive::Archive;
use sidelog_consumer::erase::{EraseError, Erasure, Found, Target};
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::mutations::MutationError;
use sidelog_consumer::retention::{self, Expiry};
use sidelog_consumer::store::{Store, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, Origin, Parsed};
use sidelog_consumer::verify;
use sidelog_event::{Position, RecordKind, stamp};
use sidelog_standalone::engine::Engine;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use uuid::Uuid;

const PRODUCER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007);
const DAY: i64 = 86_400_000;
/// 2026-10-02T00:00:00Z and three months on: rows in four partitions.
const START: i64 = 1_790_899_200_000;
const SPAN: i64 = 90 * DAY;
const EVENTS: u64 = 4000;

/// Rows of one insert.
const CHUNK: u64 = 20_000;

/// Whom the tests forget. Nothing else in the events looks like it.
const ACTOR: &str = "canary-actor-5b1e";
const NAME: &str = "Kanarienvogel";
const SUBJECT: &str = "zoë.canary/77@example.com";
/// The subject as it stands in JSON of others, in paths and in forms.
const SPELLINGS: [&str; 5] = [
    SUBJECT,
    "Zo\\u00eb.Canary/77@example.com",
    "zoë.canary\\/77@example.com",
    "zo%C3%AB.canary%2F77%40example.com",
    "zo%c3%ab.canary%2f77@example.com",
];
const TENANT: &str = "canary-tenant-9d";

fn json(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// What the tables are filled with.
#[derive(Clone, Copy)]
struct Fill {
    events: u64,
    /// One in so many is the actor's.
    actor: u64,
}

/// One in 200 names the subject, one in 400 is the tenant's, one in 50 has no end.
fn event(seq: u64, of: Fill) -> String {
    let (actor, name) = if seq.is_multiple_of(of.actor) { (ACTOR, NAME) } else { ("someone", "Some One") };
    let tenant = if seq % 400 == 3 { TENANT } else { "acme" };
    let spelling = SPELLINGS[(seq / 200) as usize % SPELLINGS.len()];
    let subject = seq % 200 == 1;
    let body = if subject { format!(r#"{{"to":"{spelling}"}}"#) } else { format!(r#"{{"by":"{actor}"}}"#) };
    let id = if subject && seq % 400 == 1 { spelling.to_owned() } else { seq.to_string() };
    let time = jiff::Timestamp::from_millisecond(START + seq as i64 * SPAN / of.events as i64).unwrap();
    let stage = if seq.is_multiple_of(50) { "started" } else { "completed" };
    format!(
        r#"{{"event_id":"{event_id}","stage":"{stage}","time":"{time}","duration_us":1,"service":"orders",
        "http":{{"version":"1.1","method":"POST","effective_method":"POST","scheme":"http","host":"h",
        "path":{path},"status":201,"user_agent":"agent of {actor}","request_id":"r{seq}"}},
        "operation":{{"match":"matched","id":"op","route":"/v1/x/{{id}}","path_params":{{"id":{id}}},
        "op":"create","resource_type":"x","resource_id":{id}}},
        "actor":{{"id":"{actor}","name":"{name}","tenant":"{tenant}","roles":["r"],"source":"verified_jwt",
        "verified":true,"credential":"k:{actor}"}},
        "client":{{"ip":"203.0.113.7","ip_source":"peer","peer_ip":"2001:db8::1"}},
        "outcome":"success","request":{{"content_type":"application/json","bytes":20,"body":{body},
        "body_state":"complete"}},"response":{{"bytes":0,"body_state":"none"}},
        "level":"request","delivery":"written","policy":"default",
        "message":"{name} created x {seq} (success)"}}"#,
        event_id = Uuid::from_u128(u128::from(seq) + 1),
        path = json(&format!("/v1/x/{id}")),
        id = json(&id),
        body = json(&body),
    )
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

/// The tables with all their rows, not compressed, so that a search of the files finds what is there.
async fn fill(engine: &Engine, store: &Store, of: Fill) {
    migrate::migrate(store).await.unwrap();
    for table in ["events", "open_calls", "dead_letters"] {
        let columns = format!(
            "SELECT name, type FROM system.columns WHERE database = 'audit' AND table = '{table}' \
             AND type LIKE '%String%'"
        );
        let plain: Vec<String> = sql(engine, &columns)
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(name, kind)| format!("MODIFY COLUMN {name} {kind} CODEC(NONE)"))
            .collect();
        sql(engine, &format!("ALTER TABLE audit.{table} {}", plain.join(", ")));
    }
    for first in (1..=of.events).step_by(CHUNK as usize) {
        insert(store, of, first..=of.events.min(first + CHUNK - 1)).await;
    }
    let letters = format!(
        "INSERT INTO audit.dead_letters (reason, origin, payload) VALUES ('not_json', 'x', '{{\"a\":\"{ACTOR}\"'), \
         ('not_json', 'x', 'about {}'), ('not_json', 'x', 'about nobody')",
        SPELLINGS[3].to_uppercase()
    );
    sql(engine, &letters);
}

/// Puts events into their tables, month by month.
async fn insert(store: &Store, of: Fill, seqs: RangeInclusive<u64>) {
    let (mut events, mut open) = (Vec::new(), Vec::new());
    let texts: Vec<(u64, Vec<u8>)> = seqs
        .map(|seq| {
            let mut text = Vec::new();
            let at = Position { producer: PRODUCER, boot: 1, seq };
            stamp(&mut text, &at, RecordKind::Event, event(seq, of).as_bytes());
            (seq, text)
        })
        .collect();
    for (seq, text) in &texts {
        let origin = Origin { topic: "audit.events", partition: 0, offset: *seq as i64 - 1 };
        match transform::parse(text, origin).unwrap_or_else(|e| panic!("{e:?}")) {
            Parsed::Event(row) => events.push(row),
            Parsed::OpenCall(row) => open.push(row),
            Parsed::Loss(_) => unreachable!(),
        }
    }
    for (table, rows) in [("events", events), ("open_calls", open)] {
        for rows in rows.chunk_by(|a, b| calendar(a) == calendar(b)) {
            let token = format!("{table}-{}", rows[0].seq);
            store.insert::<EventRow<'static>>(table, &token, rows).await.unwrap();
        }
    }
}

fn calendar(row: &EventRow<'_>) -> String {
    jiff::Timestamp::from_millisecond(row.ts).unwrap().to_string().chars().take(7).collect()
}

/// Files of the directory in which one of the words stands, upper or lower case.
fn files_with(dir: &Path, words: &[&str]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.env("LC_ALL", "C").args(["-rliF"]).args(words.iter().flat_map(|word| ["-e", word])).arg(dir);
    let until = Instant::now() + Duration::from_secs(600);
    loop {
        let output = grep.output().unwrap();
        // A merge took files away, and what was in them may be where grep had been already.
        let moved = String::from_utf8_lossy(&output.stderr).contains("No such file or directory");
        if moved && Instant::now() < until {
            continue;
        }
        assert!(output.status.code().is_some_and(|code| code < 2), "{output:?}");
        return String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let store = store(&engine);
    fill(&engine, &store, Fill { events: EVENTS, actor: 100 }).await;
    let files = |words: &[&str]| files_with(dir.path(), words);
    let pseudonyms = Pseudonyms::new(b"a key of the test's");
    let patience = Duration::from_secs(60);
    let erasure = |target, anonymise| Erasure {
        store: &store,
        target,
        pseudonyms: &pseudonyms,
        anonymise,
        archive: None,
        patience,
    };

    // Delete: an actor.
    let actor = Target::Actor(ACTOR.into());
    let actors = erasure(&actor, false);
    assert!(files(&[ACTOR]).len() > 3, "the search finds what is there: {:?}", files(&[ACTOR]));
    let found = Found { open_calls: 40, dead_letters: 1, ..Found::default() };
    assert_eq!(actors.find().await.unwrap(), found);
    // An end in the middle: the server has no time to finish. The next run goes on.
    let hurried = Erasure { patience: Duration::ZERO, ..erasure(&actor, false) };
    let first = hurried.run().await;
    let receipt = actors.run().await.unwrap();
    match first {
        Err(EraseError::Mutation(MutationError::NotFinished { .. })) => {
            assert!(receipt.as_ref().unwrap().resumed)
        }
        Ok(Some(_)) => assert_eq!(receipt, None, "the server was quick"),
        other => panic!("{other:?}"),
    }
    assert_eq!(actors.run().await.unwrap(), None, "a second run finds nothing");
    assert_eq!(files(&[ACTOR, NAME]), Vec::<String>::new());

    // Anonymise: a subject, in every spelling and in everything that others did.
    let subject = Target::Subject(SUBJECT.into());
    let subjects = erasure(&subject, true);
    assert!(files(&SPELLINGS).len() > 3);
    assert_eq!(subjects.find().await.unwrap(), Found { events: 20, dead_letters: 1, ..Found::default() });
    let before = sql(&engine, "SELECT count(), uniqExact(event_id) FROM audit.events");
    let receipt = subjects.run().await.unwrap().unwrap();
    assert_eq!((receipt.records, receipt.dead_letters), (20, 1));
    assert_eq!(subjects.run().await.unwrap(), None);
    assert_eq!(files(&SPELLINGS), Vec::<String>::new());
    assert_eq!(sql(&engine, "SELECT count(), uniqExact(event_id) FROM audit.events"), before);
    let kept = format!(
        "SELECT count(), countIf(request_body = '{{\"to\":\"{0}\"}}'), countIf(resource_id = '{0}' AND path = '/v1/x/{0}' \
         AND path_params['id'] = '{0}'), uniqExact(actor_id), countIf(actor_name = 'Some One') \
         FROM audit.events WHERE arrayExists(f -> f LIKE 'anonymised:%', flags)",
        subjects.pseudonym()
    );
    assert_eq!(sql(&engine, &kept), "20\t20\t10\t1\t20");

    // Anonymise: an actor keeps what was done and not by whom.
    let other = Target::Actor("someone".into());
    let receipt = erasure(&other, true).run().await.unwrap().unwrap();
    assert_eq!(receipt.records, 3960);
    assert_eq!(files(&["someone", "Some One", "203.0.113.7"]), Vec::<String>::new());
    let kept = "SELECT count(), uniqExact(actor_id), any(actor_name), any(client_ip), any(request_body), \
                any(request_body_state), countIf(resource_type = 'x' AND op = 'create') FROM audit.events";
    assert_eq!(sql(&engine, kept), "3920\t1\t\t::\t\tomitted:erased\t3920");

    // Delete: a tenant, with the grants to read it.
    sidelog_consumer::access::allow(&store, TENANT, "anna", true).await.unwrap();
    let tenant = Target::Tenant(TENANT.into());
    assert_eq!(
        erasure(&tenant, false).find().await.unwrap(),
        Found { events: 10, grants: 1, ..Found::default() }
    );
    erasure(&tenant, false).run().await.unwrap().unwrap();
    assert_eq!(files(&[TENANT]), Vec::<String>::new());

    // Nothing is missing, what was read again is not stored again, and receipts say whom to those
    // only who have the key.
    let report = verify::verify(&store, None).await.unwrap();
    assert_eq!(
        (report.boots[0].records, report.boots[0].removed, report.missing()),
        (3950, 50, 0),
        "{report}"
    );
    let span = (START, START + 200 * 86_400_000);
    let known = store.stored(&[PRODUCER], span, START).await.unwrap();
    let known: Vec<_> = known.stored.iter().map(|r| (r.first, r.last)).collect();
    assert_eq!(known, [(1, EVENTS)]);
    let receipts =
        "SELECT what, anonymised, records, dead_letters FROM audit.erasures WHERE state = 'done' ORDER BY at";
    assert_eq!(
        sql(&engine, receipts),
        "actor\tfalse\t40\t1\nsubject\ttrue\t20\t1\nactor\ttrue\t3960\t0\ntenant\tfalse\t10\t0"
    );
    let mine = format!("SELECT count() FROM audit.erasures WHERE digest = '{}'", actors.digest());
    assert_ne!(sql(&engine, &mine), "0");
    assert!(actors.digest().starts_with("hmac-sha256-128:"));
    let asked = common::document("docs/erasure.md", |sql| {
        let (status, answer) = query(&engine.http_url, &login(&engine.reader), common::PRETTY, sql);
        assert_eq!(status, 200, "{sql}\n{answer}");
        answer
    });
    assert_eq!(asked, 2);
}

/// An actor with one event in 801, in the tables, in archived files and among dead letters.
/// `SIDELOG_ERASE_EVENTS`: how many events there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_among_many_is_in_no_file() {
    const ONE_IN: u64 = 801;
    let events = std::env::var("SIDELOG_ERASE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(40_050);
    let patience = Duration::from_secs(3600);
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let store = store(&engine);
    fill(&engine, &store, Fill { events, actor: ONE_IN }).await;
    assert!(files_with(dir.path(), &[ACTOR]).len() > 3);
    let archive = Archive::open(&dir.path().join("archive")).unwrap();
    let ten_days = Retention { days: 90, ..Retention::default() };
    let now = jiff::Timestamp::from_millisecond(START + SPAN + 10 * DAY).unwrap();
    let expiry = Expiry { store: &store, policy: &ten_days, now, archive: Some(&archive), patience };
    let files = expiry.run().await.unwrap().files;
    let archived: u64 = files.iter().map(|file| file.rows).sum();
    assert!(archived > events / 10 && archived < events / 8, "{archived} of {events}");

    let (pseudonyms, actor) = (Pseudonyms::new(b"a key of the test's"), Target::Actor(ACTOR.into()));
    let erasure = Erasure {
        store: &store,
        target: &actor,
        pseudonyms: &pseudonyms,
        anonymise: false,
        archive: Some(&archive),
        patience,
    };
    let begun = Instant::now();
    let receipt = erasure.run().await.unwrap().unwrap();
    println!("{events} events: {receipt:?} in {:.1?}", begun.elapsed());
    assert_eq!(receipt.records + receipt.archived, events / ONE_IN);
    assert!(receipt.archived > 0 && receipt.dead_letters == 1, "{receipt:?}");
    assert_eq!(erasure.run().await.unwrap(), None, "a second run finds nothing");
    assert_eq!(files_with(dir.path(), &[ACTOR, NAME]), Vec::<String>::new());

    // Archived files are compressed: what is in them is searched where it is not.
    for entry in archive.entries().unwrap() {
        retention::restore(&store, &archive, &entry, patience).await.unwrap();
    }
    assert_eq!(files_with(dir.path(), &[ACTOR, NAME]), Vec::<String>::new());
    let left = "SELECT (SELECT count() FROM audit.events) + (SELECT count() FROM audit.open_calls)";
    assert_eq!(sql(&engine, left), (events - events / ONE_IN).to_string());
}
