//! The tables: numbered SQL files, applied in order, forward only.
//!
//! Each statement may run any number of times (`IF NOT EXISTS`), so consumers may start together; the
//! table `migrations` says what was done, and when.

use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::{Deserialize, Serialize};

/// One file of `migrations/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    pub version: u32,
    pub name: &'static str,
    sql: &'static str,
}

macro_rules! migrations {
    ($(($version:literal, $name:literal)),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../migrations/", $name, ".sql")),
        }),+]
    };
}

/// All of them, oldest first.
pub const MIGRATIONS: &[Migration] = migrations![
    (1, "0001_events"),
    (2, "0002_open_calls"),
    (3, "0003_losses"),
    (4, "0004_dead_letters"),
    (5, "0005_views"),
    (6, "0006_completeness"),
    (7, "0007_tenant_readers"),
    (8, "0008_removed"),
    (9, "0009_doubled"),
    (10, "0010_compact_parts"),
];

const BOOTSTRAP: &str = "
CREATE DATABASE IF NOT EXISTS {database}{on_cluster};
CREATE TABLE IF NOT EXISTS {database}.migrations{on_cluster}
(
    version UInt32,
    name String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {engine}
ORDER BY version
SETTINGS {deduplication_window} = 1000
";

/// Where the tables are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub database: String,
    /// Set: replicated tables, made on every node of the cluster.
    pub cluster: Option<String>,
}

impl Place {
    fn fill(&self, sql: &str) -> Vec<String> {
        let (on_cluster, engine, window) = match &self.cluster {
            Some(cluster) => {
                let name = cluster.replace('\\', "\\\\").replace('\'', "\\'");
                (format!(" ON CLUSTER '{name}'"), "ReplicatedMergeTree", "replicated_deduplication_window")
            }
            None => (String::new(), "MergeTree", "non_replicated_deduplication_window"),
        };
        let sql = sql
            .replace("{database}", &format!("`{}`", self.database.replace('`', "")))
            .replace("{on_cluster}", &on_cluster)
            .replace("{engine}", engine)
            .replace("{deduplication_window}", window);
        sql.split(";\n").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }
}

impl Migration {
    /// Its statements, ready to run.
    pub fn statements(&self, place: &Place) -> Vec<String> {
        place.fill(self.sql)
    }
}

#[derive(Debug, Row, Serialize, Deserialize)]
struct Applied {
    version: u32,
    name: String,
}

/// What has not been applied yet.
pub async fn pending(store: &Store) -> Result<Vec<Migration>, StoreError> {
    let place = store.place();
    let exists = "SELECT count() FROM system.tables WHERE database = ? AND name = 'migrations'";
    let tables: u64 = store.unbound().query(exists).bind(&place.database).fetch_one().await?;
    if tables == 0 {
        return Ok(MIGRATIONS.to_vec());
    }
    let applied: Vec<u32> = store.client().query("SELECT version FROM migrations").fetch_all().await?;
    Ok(MIGRATIONS.iter().filter(|m| !applied.contains(&m.version)).copied().collect())
}

/// Brings the tables up to date; returns what was applied.
pub async fn migrate(store: &Store) -> Result<Vec<Migration>, StoreError> {
    let pending = pending(store).await?;
    if pending.is_empty() {
        return Ok(pending);
    }
    let place = store.place();
    for statement in place.fill(BOOTSTRAP) {
        store.execute(&statement).await?;
    }
    for migration in &pending {
        for statement in migration.statements(place) {
            store.execute(&statement).await?;
        }
        // The token keeps two consumers that start together from recording it twice.
        let token = format!("migration-{}", migration.version);
        let applied = Applied { version: migration.version, name: migration.name.to_owned() };
        store.insert::<Applied>("migrations", &token, &[applied]).await?;
        tracing::info!(version = migration.version, name = migration.name, "applied a migration");
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelog_event::{ActorSource, Delivery, Level, MatchKind, Op, Outcome, Stage};

    #[test]
    fn versions_count_up_and_names_begin_with_them() {
        for (migration, version) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, version);
            assert!(migration.name.starts_with(&format!("{version:04}_")), "{}", migration.name);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
        assert_eq!(files, MIGRATIONS.len(), "a file in migrations/ is not in the list");
    }

    #[test]
    fn every_statement_can_run_twice_and_leaves_no_placeholder() {
        let alone = Place { database: "audit".into(), cluster: None };
        let cluster = Place { database: "audit".into(), cluster: Some("o'brien".into()) };
        for migration in MIGRATIONS {
            for statement in migration.statements(&alone) {
                let again = ["IF NOT EXISTS", "CREATE OR REPLACE VIEW", "MODIFY SETTING"];
                assert!(again.iter().any(|words| statement.contains(words)), "{statement}");
                assert!(!statement.contains('{') && !statement.contains("Replicated"), "{statement}");
            }
            for statement in migration.statements(&cluster) {
                assert!(statement.contains(r"ON CLUSTER 'o\'brien'"), "{statement}");
                let table = statement.contains("CREATE TABLE");
                assert_eq!(statement.contains("= ReplicatedMergeTree"), table, "{statement}");
                assert_eq!(statement.contains(" replicated_deduplication_window"), table, "{statement}");
            }
        }
    }

    /// Rows carry enumerations as numbers: the columns must count the words as `ALL` does.
    #[test]
    fn enumerations_are_those_of_the_event() {
        fn column<T: Copy>(name: &str, all: &[T], word: fn(T) -> &'static str) -> String {
            let words: Vec<_> = all.iter().zip(1..).map(|(w, n)| format!("'{}' = {n}", word(*w))).collect();
            format!("    {name} Enum8({})", words.join(", "))
        }
        for expected in [
            column("stage", Stage::ALL, Stage::as_str),
            column("actor_source", ActorSource::ALL, ActorSource::as_str),
            column("operation_match", MatchKind::ALL, MatchKind::as_str),
            column("op", Op::ALL, Op::as_str),
            column("outcome", Outcome::ALL, Outcome::as_str),
            column("level", Level::ALL, Level::as_str),
            column("delivery", Delivery::ALL, Delivery::as_str),
        ] {
            assert!(MIGRATIONS[0].sql.contains(&expected), "0001_events.sql lacks: {expected}");
        }
    }
}
