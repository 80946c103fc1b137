//! Millions of events in the real table: bytes on disk, and how long questions take.
//!
//! The rows go the consumer's own way (parsed, told apart, inserted month by month), without Kafka.

pub mod load;
pub mod questions;

use harness::{Engine, Sql};
use std::time::{Duration, Instant};

/// How long merges may take until bytes are counted.
const SETTLE: Duration = Duration::from_secs(600);

/// What a table costs.
#[derive(Debug, serde::Serialize)]
pub struct Size {
    pub rows: u64,
    pub parts: u64,
    /// By row: all files; columns; indexes.
    pub bytes_per_row: f64,
    pub columns: f64,
    pub indexes: f64,
    /// Bytes by row of the columns that cost most.
    pub largest: Vec<(String, f64)>,
}

/// Of `audit.events`, once nothing is being merged.
pub async fn size(sql: &Sql) -> Size {
    let until = Instant::now() + SETTLE;
    while sql.number("SELECT count() FROM system.merges WHERE database = 'audit'").await > 0 {
        assert!(Instant::now() < until, "merges do not end");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let parts = "FROM system.parts WHERE active AND database = 'audit' AND table = 'events'";
    let of = async |what: &str| sql.number(&format!("SELECT toInt64({what}) {parts}")).await as f64;
    let rows = of("sum(rows)").await;
    let largest = sql
        .query(
            "SELECT name, data_compressed_bytes AS bytes FROM system.columns \
             WHERE database = 'audit' AND table = 'events' ORDER BY bytes DESC LIMIT 20",
        )
        .await;
    let name = |row: &serde_json::Value| row["name"].as_str().unwrap_or_default().to_owned();
    // ClickHouse may write 64-bit numbers as text.
    let bytes = |row: &serde_json::Value| row["bytes"].to_string().trim_matches('"').parse().unwrap_or(0.0);
    Size {
        rows: rows as u64,
        parts: of("count()").await as u64,
        bytes_per_row: of("sum(bytes_on_disk)").await / rows,
        columns: of("sum(data_compressed_bytes)").await / rows,
        indexes: of("sum(secondary_indices_compressed_bytes)").await / rows,
        largest: largest.iter().map(|row| (name(row), bytes(row) / rows)).collect(),
    }
}

/// As a person who may only read, with what helps a question asked twice turned off.
pub fn reader(engine: &Engine) -> Sql {
    let url = format!("{}/?use_query_condition_cache=0&use_query_cache=0", engine.url());
    Sql::new(&url, "reader", "reader's")
}
