//! Roles against the real engine: what each may do, and nothing else.
//!
//! The embedded engine keeps no users made by SQL, so the same grants, policy and limits are given to
//! it in a users file; that the SQL for a server is well formed, its own parser says.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

mod common;

use common::{Served, login, query};
use sidelog::config::{Retention, Secret};
use sidelog::pseudonym::Pseudonyms;
use sidelog_consumer::access::{self, Access, ReadLimits};
use sidelog_consumer::archive::Archive;
use sidelog_consumer::erase::{EraseError, Erasure, Target};
use sidelog_consumer::migrate::{self, Place};
use sidelog_consumer::mutations::MutationError;
use sidelog_consumer::retention::{self, Expiry};
use sidelog_consumer::store::{Store, StoreError, StoreOptions};
use sidelog_consumer::transform::{self, EventRow, Origin, Parsed};
use sidelog_standalone::engine::Account;
use std::time::Duration;

const EVENTS: &str = include_str!("../../tests/data/sql/events.jsonl");
const LIMITS: ReadLimits =
    ReadLimits { rows: 1000, bytes: 1 << 20, time: Duration::from_secs(2), memory: 30 << 20 };

fn place(cluster: Option<&str>) -> Place {
    Place { database: "audit".into(), cluster: cluster.map(str::to_owned) }
}

fn account(user: &str) -> Account {
    Account { user: user.into(), password: format!("password of {user}") }
}

/// The users file that says what [`Access::statements`] says in SQL. Users `w`, `r`, `t`, `t2`, `a` have
/// one role each; `nobody_` has none.
fn users() -> String {
    let place = place(None);
    let access = Access::new(&place);
    let grants = |grants: &[String]| grants.iter().map(|g| format!("<query>{g}</query>")).collect::<String>();
    let roles: String = access
        .roles()
        .iter()
        .map(|r| format!("<{0}><grants>{1}</grants></{0}>", r.name, grants(&r.grants)))
        .collect();
    let settings: String = LIMITS.settings().iter().map(|(n, v)| format!("<{n}>{v}</{n}>")).collect();
    let bounds: String =
        LIMITS.settings().iter().map(|(n, v)| format!("<{n}><min>1</min><max>{v}</max></{n}>")).collect();
    let user = |name: &str, profile: &str, rest: String| {
        let Account { password, .. } = account(name);
        format!(
            "<{name}><password>{password}</password><networks><ip>127.0.0.1</ip></networks>\
             <profile>{profile}</profile><quota>default</quota>{rest}</{name}>"
        )
    };
    let role = |what: &str| format!("<grants><query>GRANT {}</query></grants>", access.role(what));
    let policies: String = access
        .policed()
        .iter()
        .map(|table| format!("<{table}><filter>{}</filter></{table}>", access.tenant_filter()))
        .collect();
    let definer = format!(
        "<{0}><no_password/><networks><ip>192.0.2.1</ip></networks><profile>default</profile>\
         <quota>default</quota><grants>{1}</grants><databases><audit>{policies}</audit></databases></{0}>",
        access.definer(),
        grants(&access.definer_grants()),
    );
    let users = [
        user("root", "default", "<access_management>1</access_management>".into()),
        user("w", "default", role("writer")),
        user("r", "reading", role("reader")),
        user("t", "reading", role("tenant")),
        user("t2", "reading", role("tenant")),
        user("a", "default", role("admin")),
        user("nobody_", "default", "<grants><query>GRANT SELECT ON nothing.*</query></grants>".into()),
        definer,
    ];
    format!(
        "<clickhouse><profiles><default/><reading><readonly>2</readonly>{settings}\
         <constraints>{bounds}</constraints></reading><nobody><max_query_size>1</max_query_size>\
         <constraints><max_query_size><const/></max_query_size></constraints></nobody></profiles>\
         <quotas><default/></quotas><roles>{roles}</roles>\
         <users><default><no_password/><networks><ip>127.0.0.1</ip></networks>\
         <profile>nobody</profile><quota>default</quota></default>{}</users></clickhouse>",
        users.concat()
    )
}

fn store(engine: &Served, user: &str) -> Store {
    let Account { user, password } = account(user);
    let password = Some(Secret(password));
    Store::new(&StoreOptions { url: engine.url.clone(), user, password, place: place(None) })
}

async fn insert(store: &Store, lines: impl Iterator<Item = &str>, token: &str) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for line in lines {
        let origin = Origin { topic: "audit.events", partition: 0, offset: 0 };
        if let Ok(Parsed::Event(row)) = transform::parse(line.as_bytes(), origin) {
            rows.push(row);
        }
    }
    store.insert::<EventRow<'static>>("events", token, &rows).await
}

/// What one cell of the matrix must give.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Yes,
    /// Not enough privileges, or read-only.
    No,
    /// Works, and shows nothing of other tenants.
    Own,
}
use Says::{No, Own, Yes};

/// Question, and what the users w, r, t, nobody_ and a get.
const MATRIX: &[(&str, [Says; 5])] = &[
    // The log itself.
    ("SELECT * FROM audit.events", [Yes, Yes, No, No, Yes]),
    ("SELECT * FROM audit.activity", [No, Yes, No, No, Yes]),
    ("SELECT * FROM audit.completeness", [No, Yes, No, No, Yes]),
    ("SELECT * FROM audit.dead_letters", [Yes, No, No, No, Yes]),
    ("SELECT * FROM audit.tenant_readers", [No, Yes, No, No, Yes]),
    ("SELECT * FROM audit_tenant.events", [No, No, Own, No, Yes]),
    ("SELECT * FROM audit_tenant.open_calls", [No, No, Own, No, Yes]),
    ("SELECT * FROM audit_tenant.activity", [No, No, Own, No, Yes]),
    ("SELECT * FROM audit_tenant.resource_history", [No, No, Own, No, Yes]),
    ("SELECT * FROM audit_tenant.ocsf_api_activity", [No, No, Own, No, Yes]),
    ("SELECT * FROM audit_tenant.otel_logs", [No, No, Own, No, Yes]),
    // Ways around a condition.
    ("SELECT count() FROM audit_tenant.events WHERE throwIf(tenant = 'globex') = 0", [No, No, Own, No, Yes]),
    ("SELECT count() FROM audit_tenant.events PREWHERE throwIf(tenant = 'globex') = 0", [No, No, No, No, No]),
    ("SELECT tenant FROM audit_tenant.events GROUP BY tenant WITH TOTALS", [No, No, Own, No, Yes]),
    ("SELECT min(tenant), max(tenant), count() FROM audit_tenant.events", [No, No, Own, No, Yes]),
    ("SELECT tenant, actor_id FROM merge('audit', '^events$')", [Yes, Yes, No, No, Yes]),
    ("SELECT tenant FROM merge('audit_tenant', '^events$')", [No, No, Own, No, Yes]),
    ("SELECT * FROM mergeTreeIndex('audit', 'events')", [Yes, Yes, No, No, Yes]),
    ("SELECT part_name FROM mergeTreeIndex('audit', 'events')", [Yes, Yes, No, No, Yes]),
    ("SELECT * FROM mergeTreeIndex('audit_tenant', 'events')", [No, No, No, No, No]),
    ("SELECT * FROM mergeTreeAnalyzeIndexes('audit', 'events', tenant = 'globex')", [Yes, Yes, No, No, Yes]),
    ("SELECT * FROM mergeTreeTextIndex('audit', 'events', 'ix_message')", [Yes, Yes, No, No, Yes]),
    ("SELECT * FROM loop('audit', 'events') LIMIT 1", [No, No, No, No, Yes]),
    ("SELECT * FROM view(SELECT tenant FROM audit_tenant.events)", [No, No, Own, No, Yes]),
    (
        "SELECT * FROM viewIfPermitted(SELECT reason FROM audit.events ELSE null('reason String'))",
        [Yes, Yes, Own, Own, Yes],
    ),
    // Elsewhere.
    ("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString', 'l String')", [No, No, No, No, No]),
    ("SELECT * FROM file('x', 'LineAsString', 'l String')", [No, No, No, No, No]),
    ("INSERT INTO FUNCTION file('x', 'LineAsString', 'l String') VALUES ('x')", [No, No, No, No, No]),
    (
        "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'LineAsString', 'l String') VALUES ('x')",
        [No, No, No, No, No],
    ),
    ("SELECT * FROM s3('http://127.0.0.1:1/bucket/x', 'k', 's', 'CSV', 'l String')", [No, No, No, No, No]),
    ("SELECT * FROM remote('127.0.0.1', 'audit', 'events')", [No, No, No, No, No]),
    ("SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')", [No, No, No, No, No]),
    ("SELECT * FROM executable('x', 'TSV', 'a String')", [No, No, No, No, No]),
    // Writing and changing.
    (
        "INSERT INTO audit.losses (producer, boot, first, last) VALUES (generateUUIDv4(), 1, 1, 1)",
        [Yes, No, No, No, Yes],
    ),
    (
        "INSERT INTO audit.tenant_readers (user, tenant, may) VALUES ('x', 'globex', true)",
        [No, No, No, No, Yes],
    ),
    ("INSERT INTO audit_tenant.events (tenant) VALUES ('x')", [No, No, No, No, No]),
    ("ALTER TABLE audit.events DELETE WHERE 0", [No, No, No, No, Yes]),
    ("ALTER TABLE audit.events UPDATE reason = '' WHERE 0", [No, No, No, No, Yes]),
    ("DELETE FROM audit.events WHERE 0", [No, No, No, No, Yes]),
    ("ALTER TABLE audit.events ADD COLUMN x UInt8", [No, No, No, No, Yes]),
    ("ALTER TABLE audit.events DROP COLUMN x", [No, No, No, No, Yes]),
    ("TRUNCATE TABLE audit.dead_letters", [No, No, No, No, Yes]),
    ("OPTIMIZE TABLE audit.losses", [No, No, No, No, Yes]),
    ("CREATE TABLE audit.mine (n UInt8) ENGINE = MergeTree ORDER BY n", [No, No, No, No, Yes]),
    ("DROP TABLE audit.losses_of_old", [No, No, No, No, Yes]),
    ("CREATE VIEW audit.my_view AS SELECT 1", [No, No, No, No, Yes]),
    ("CREATE TEMPORARY TABLE mine (n UInt8)", [No, No, No, No, No]),
    ("CREATE DATABASE mine", [No, No, No, No, No]),
    ("ALTER TABLE audit.losses FREEZE", [No, No, No, No, Yes]),
    ("BACKUP TABLE audit.events TO File('x')", [No, No, No, No, No]),
    // The server.
    ("SELECT * FROM system.parts", [No, No, No, No, Yes]),
    ("SELECT * FROM system.parts_columns", [No, No, No, No, No]),
    ("SELECT * FROM system.mutations", [No, No, No, No, Yes]),
    ("SELECT * FROM system.processes", [Yes, No, No, No, Yes]),
    ("SELECT * FROM system.users", [No, No, No, No, No]),
    ("SELECT * FROM system.row_policies", [No, No, No, No, No]),
    ("SELECT * FROM system.asynchronous_inserts", [No, No, No, No, No]),
    ("SELECT * FROM system.query_cache", [No, No, No, No, No]),
    ("SYSTEM STOP MERGES audit.events", [No, No, No, No, No]),
    ("SYSTEM DROP MARK CACHE", [No, No, No, No, No]),
    ("SYSTEM SHUTDOWN", [No, No, No, No, No]),
    ("KILL QUERY WHERE user = 'root'", [Yes, No, No, No, Yes]),
    ("CREATE USER x", [No, No, No, No, No]),
    ("CREATE ROW POLICY x ON audit.events USING 1 TO t", [No, No, No, No, No]),
    ("GRANT SELECT ON audit.* TO t", [No, No, No, No, No]),
    ("EXECUTE AS root SELECT 1", [No, No, No, No, No]),
    // Limits.
    ("SET readonly = 0", [Yes, No, No, Yes, Yes]),
    ("SELECT 1 SETTINGS max_memory_usage = 0", [Yes, No, No, Yes, Yes]),
    ("SELECT 1 SETTINGS max_result_rows = 100000000", [Yes, No, No, Yes, Yes]),
    ("SELECT 1 SETTINGS max_result_rows = 10", [Yes, Yes, Yes, Yes, Yes]),
    ("SELECT number FROM numbers(1001)", [Yes, No, No, Yes, Yes]),
    ("SELECT repeat(toString(number), 4000) FROM numbers(900)", [Yes, No, No, Yes, Yes]),
    ("SELECT length(groupArray(number)) FROM numbers(5000000)", [Yes, No, No, Yes, Yes]),
];

/// Codes of ClickHouse that mean that the test asks wrongly: syntax, names that there are not.
const NONSENSE: [&str; 5] = ["62", "46", "47", "60", "81"];

fn ask(engine: &Served, user: &str, sql: &str) -> (u16, String) {
    query(&engine.url, &login(&account(user)), "/", sql)
}

#[tokio::test]
async fn each_role_may_do_what_it_should_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Served::start(dir.path(), &users());
    let root = store(&engine, "root");
    migrate::migrate(&root).await.unwrap();
    for statement in Access::new(root.place()).views() {
        root.execute(&statement).await.unwrap();
    }
    // The writer's rights are enough to store, though not to make the tables.
    insert(&store(&engine, "w"), EVENTS.lines(), "x").await.unwrap();
    access::allow(&root, "acme", "t", true).await.unwrap();
    root.execute("CREATE TABLE audit.losses_of_old AS audit.losses").await.unwrap();

    let users = ["w", "r", "t", "nobody_", "a"];
    let mut wrong = Vec::new();
    for (sql, cells) in MATRIX {
        for (user, says) in users.iter().zip(cells) {
            let (status, answer) = ask(&engine, user, sql);
            let sense = NONSENSE.iter().all(|code| !answer.starts_with(&format!("Code: {code}.")));
            let right = match says {
                Yes => status == 200,
                No => status != 200 && sense && !answer.contains("globex"),
                Own => status == 200 && !answer.contains("globex"),
            };
            if !right {
                wrong.push(format!("{user}: {sql}\n  {says:?}, but {status} {:.200}", answer));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));

    // What a user may see changes at once, and each sees its own.
    let seen = |user| ask(&engine, user, "SELECT DISTINCT tenant FROM audit_tenant.activity ORDER BY tenant");
    assert_eq!((seen("t").1.as_str(), seen("t2").1.as_str()), ("acme", ""), "nothing without a grant");
    access::allow(&root, "globex", "t", true).await.unwrap();
    access::allow(&root, "globex", "t2", true).await.unwrap();
    assert_eq!((seen("t").1.as_str(), seen("t2").1.as_str()), ("acme\nglobex", "globex"));
    access::allow(&root, "acme", "t", false).await.unwrap();
    assert_eq!(seen("t").1, "globex");
    assert_eq!(access::tenants_of(&root, "t").await.unwrap(), ["globex"]);
    access::allow(&root, "globex", "t", false).await.unwrap();
    assert_eq!(seen("t"), (200, String::new()));

    the_document_shows_what_is_so(&engine, &root).await;
    no_system_table_tells_of_others(&engine);
    the_sql_for_a_server_is_well_formed(&engine);
    the_condition_on_the_tenant_uses_the_primary_key(&engine);
    the_admin_may_do_what_its_commands_do(&store(&engine, "a")).await;
}

/// Without waiting for old parts to go.
async fn the_admin_may_do_what_its_commands_do(admin: &Store) {
    let pseudonyms = Pseudonyms::new(b"a key of the test's");
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let target = Target::Actor("mallory".into());
    let erasure = Erasure {
        store: admin,
        target: &target,
        pseudonyms: &pseudonyms,
        anonymise: false,
        archive: Some(&archive),
        patience: Duration::ZERO,
    };
    match erasure.run().await {
        Ok(Some(_)) | Err(EraseError::Mutation(MutationError::NotFinished { .. })) => {}
        other => panic!("{other:?}"),
    }
    let policy = Retention { days: 1, ..Retention::default() };
    let (now, patience) = ("2027-01-01T00:00:00Z".parse().unwrap(), Duration::from_secs(60));
    let expiry = Expiry { store: admin, policy: &policy, now, archive: Some(&archive), patience };
    let done = expiry.run().await.unwrap();
    assert_eq!((done.files.len(), done.dropped_parts > 0), (1, true), "{done:?}");
    let restored = retention::restore(admin, &archive, &done.files[0], patience).await.unwrap();
    assert_eq!(restored, done.files[0].rows);
}

async fn the_document_shows_what_is_so(engine: &Served, root: &Store) {
    root.execute("TRUNCATE TABLE audit.tenant_readers").await.unwrap();
    for (tenant, user, may) in [("acme", "ben", true), ("globex", "t2", true), ("acme", "ben", false)] {
        access::allow(root, tenant, user, may).await.unwrap();
    }
    let asked = common::document("docs/permissions.md", |sql| {
        let user = if sql.contains("audit_tenant.") { "t2" } else { "r" };
        let (status, answer) = query(&engine.url, &login(&account(user)), common::PRETTY, sql);
        assert_eq!(status, 200, "{sql}\n{answer}");
        answer.replace("│ t2   │", "│ dora │")
    });
    assert_eq!(asked, 2);
}

/// Whatever system tables a tenant's reader may read: there is no word of other tenants in them.
fn no_system_table_tells_of_others(engine: &Served) {
    let (_, tables) = ask(engine, "root", "SELECT name FROM system.tables WHERE database = 'system'");
    let mut read = 0;
    for table in tables.lines() {
        // Endless, by nature.
        if ["numbers", "numbers_mt", "zeros", "zeros_mt", "primes"].contains(&table) {
            continue;
        }
        let (status, answer) = ask(engine, "t2", &format!("SELECT * FROM system.{table} LIMIT 1000"));
        read += usize::from(status == 200);
        assert!(!answer.contains("initech") && !answer.contains("acme"), "system.{table}: {answer}");
    }
    assert!(tables.lines().count() > 80 && read > 3, "{read} of {tables}");
}

fn the_sql_for_a_server_is_well_formed(engine: &Served) {
    for place in [place(None), place(Some("main"))] {
        let access = Access::new(&place);
        let all = access.statements(&LIMITS).into_iter().chain([access.join("anna")]);
        for statement in all {
            let (status, answer) = ask(engine, "root", &format!("EXPLAIN AST {statement}"));
            assert_eq!(status, 200, "{statement}\n{answer}");
        }
    }
}

fn the_condition_on_the_tenant_uses_the_primary_key(engine: &Served) {
    let sql = "EXPLAIN indexes = 1 SELECT count() FROM audit_tenant.activity WHERE at > '2026-01-01'";
    let (_, plan) = ask(engine, "t2", sql);
    assert!(plan.contains("Row level filter") && plan.contains("(tenant in "), "{plan}");
}
