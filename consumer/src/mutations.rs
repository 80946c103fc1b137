//! Waiting until ClickHouse has rewritten what was changed, and removed what it replaced.

use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the server's progress.
const LOOK: Duration = Duration::from_millis(200);
/// Tables that are changed after rows were inserted.
const TABLES: &str = "('events', 'open_calls', 'losses', 'dead_letters', 'tenant_readers', 'removed')";
/// Those that say something about people.
const PERSONAL: &str = "('events', 'open_calls', 'dead_letters', 'tenant_readers')";

#[derive(Debug, thiserror::Error)]
pub enum MutationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("ClickHouse cannot change {table}: {why}; mend that and run the same command again")]
    Failed { table: String, why: String },
    #[error("{what} not finished after {after:?}; run the same command again to go on waiting")]
    NotFinished { what: String, after: Duration },
}

#[derive(Debug, Row, Deserialize)]
struct Mutation {
    table: String,
    why: String,
}

/// Changes a table; the server goes on with it whatever becomes of the connection.
pub(crate) async fn change(store: &Store, table: &str, command: &str) -> Result<(), StoreError> {
    let database = &store.place().database;
    let settings = "mutations_sync = 0, allow_nondeterministic_mutations = 1";
    store.execute(&format!("ALTER TABLE `{database}`.{table} {command} SETTINGS {settings}")).await
}

fn not_finished(what: &str, after: Duration) -> MutationError {
    MutationError::NotFinished { what: what.into(), after }
}

/// Until all that was changed is rewritten. What was replaced is on the disk for a while longer.
pub(crate) async fn done(store: &Store, patience: Duration) -> Result<(), MutationError> {
    let until = Instant::now() + patience;
    let database = &store.place().database;
    loop {
        let sql = format!(
            "SELECT table, substring(latest_fail_reason, 1, 200) AS why FROM system.mutations \
             WHERE database = '{database}' AND table IN {TABLES} AND NOT is_done AND NOT is_killed"
        );
        let left: Vec<Mutation> = store.rows(&sql).await?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(match left.into_iter().find(|m| !m.why.is_empty()) {
                Some(Mutation { table, why }) => MutationError::Failed { table, why },
                None => not_finished("the change is", patience),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Until, besides, the parts that were replaced are gone from the disk.
pub(crate) async fn gone(store: &Store, patience: Duration) -> Result<(), MutationError> {
    let until = Instant::now() + patience;
    done(store, patience).await?;
    let database = &store.place().database;
    // Those there are now: merges make new ones all the time, of rows that are meant to stay.
    let old = format!(
        "SELECT concat(table, '/', name) FROM system.parts WHERE database = '{database}' AND table IN {PERSONAL} \
         AND NOT active"
    );
    let mut wait: Vec<String> = store.rows(&old).await?;
    while !wait.is_empty() {
        if Instant::now() > until {
            return Err(not_finished(
                &format!("the removal of old parts ({}) is", wait.join(", ")),
                patience,
            ));
        }
        tokio::time::sleep(LOOK).await;
        let now: Vec<String> = store.rows(&old).await?;
        wait.retain(|name| now.contains(name));
    }
    Ok(())
}
