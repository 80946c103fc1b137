//! ClickHouse: inserts that are retried without doubling, and questions about what is stored.
//!
//! Promises: one insert touches one table partition (month) only, so it is there whole or not at
//! all, and carries a deduplication token, so that after an uncertain end (a cut connection, a
//! time-out) the same rows may be sent again. A block over several partitions is not atomic: when the
//! server dies between them, the replay under the same token is swallowed and rows are lost.

use crate::dedup::{Answer, Hole, Range};
use crate::migrate::Place;
use crate::native::{Block, Misfit, Schema};
use crate::ranges::RangeSet;
use bytes::Bytes;
use clickhouse::{Client, Compression, Row, RowOwned, RowRead, RowWrite};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// For one chunk of rows to get into the socket.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// For the server to say that the rows are stored.
const END_TIMEOUT: Duration = Duration::from_secs(120);
/// Larger than any batch: the rows of one insert stay one block.
const MAX_BLOCK_ROWS: &str = "1048576";
/// Bytes of an insert handed to its connection at once; each piece is compressed by itself.
const PIECE: usize = 1 << 20;
/// Terms of one question, to keep it well below `max_query_size`.
const TERMS: usize = 500;
/// How long [`Store::settle`] waits for inserts of a consumer that is gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Every number of a producer, whichever table its record went to. What was removed on purpose counts as
/// stored: it must not come back.
const POSITIONS: &str = "SELECT producer, boot, seq FROM events WHERE {where} \
     UNION ALL SELECT producer, boot, seq FROM open_calls WHERE {where} \
     UNION ALL SELECT producer, boot, seq FROM removed WHERE {where} \
     UNION ALL SELECT producer, boot, seq \
       FROM (SELECT ts, producer, told_boot AS boot, seq FROM losses WHERE seq > 0) WHERE {where}";

/// How to reach the server.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub url: String,
    pub user: String,
    pub password: Option<sidelog::config::Secret>,
    pub place: Place,
}

impl From<&sidelog::config::ClickHouse> for StoreOptions {
    fn from(config: &sidelog::config::ClickHouse) -> Self {
        Self {
            url: config.url.clone(),
            user: config.user.clone(),
            password: config.password.clone(),
            place: Place { database: config.database.clone(), cluster: config.cluster.clone() },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("ClickHouse: {}", brief(.0))]
    ClickHouse(#[from] clickhouse::error::Error),
    #[error("ClickHouse did not answer within {0:?}")]
    Timeout(Duration),
    #[error(
        "table {0} is not what this version stores: {1}; `sidelog-consumer migrate` brings it up to date"
    )]
    Schema(&'static str, Misfit),
}

/// Characters of a server's message that are passed on: the beginning says what is wrong, and what
/// follows may quote data.
const MESSAGE: usize = 200;

fn brief(error: &clickhouse::error::Error) -> String {
    let mut text = error.to_string();
    // "client error (Connect)" alone helps nobody: the innermost cause does.
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    if let Some(cause) = cause {
        text = format!("{text}: {cause}");
    }
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MESSAGE).collect()
}

impl StoreError {
    /// A word for metrics; bounded.
    pub fn kind(&self) -> &'static str {
        use clickhouse::error::Error;
        match self {
            Self::Timeout(_) | Self::ClickHouse(Error::TimedOut) => "timeout",
            Self::ClickHouse(Error::Network(_)) => "network",
            Self::ClickHouse(Error::BadResponse(_)) => "refused",
            Self::Schema(..)
            | Self::ClickHouse(Error::SchemaMismatch(_) | Error::InvalidColumnsHeader(_)) => "schema",
            Self::ClickHouse(_) => "other",
        }
    }
}

/// A connection pool to one server (or a cluster behind one address).
#[derive(Clone)]
pub struct Store {
    client: Client,
    unbound: Client,
    place: Place,
    /// Of tables that were inserted into.
    schemas: Arc<Mutex<HashMap<&'static str, Arc<Schema>>>>,
}

/// Rows ready to be sent, as often as need be.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub table: &'static str,
    pub rows: usize,
    columns: String,
    pieces: Vec<Bytes>,
}

impl Encoded {
    /// What such a block, which was checked, is in bytes.
    pub fn of(table: &'static str, block: Block) -> Self {
        Self { table, rows: block.rows(), columns: block.names(), pieces: block.finish() }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.place).finish_non_exhaustive()
    }
}

#[derive(Debug, Row, Deserialize)]
struct RangeRow {
    #[serde(with = "clickhouse::serde::uuid")]
    producer: Uuid,
    boot: u64,
    first: u64,
    last: u64,
}

impl From<RangeRow> for Range {
    fn from(row: RangeRow) -> Self {
        Self { producer: row.producer, boot: row.boot, first: row.first, last: row.last }
    }
}

#[derive(Debug, Row, Deserialize)]
struct TopRow {
    #[serde(with = "clickhouse::serde::uuid")]
    producer: Uuid,
    boot: u64,
    top: u64,
}

impl Store {
    pub fn new(options: &StoreOptions) -> Self {
        let mut unbound = Client::default().with_url(&options.url).with_user(&options.user);
        if let Some(password) = &options.password {
            unbound = unbound.with_password(&password.0);
        }
        unbound = unbound.with_product_info("sidelog-consumer", env!("CARGO_PKG_VERSION"));
        if is_local(&options.url) {
            // What leaves no machine is not worth the work.
            unbound = unbound.with_compression(Compression::None);
        }
        let client = unbound.clone().with_database(&options.place.database);
        Self { client, unbound, place: options.place.clone(), schemas: Arc::default() }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Not tied to the database, which may not exist yet.
    pub(crate) fn unbound(&self) -> &Client {
        &self.unbound
    }

    /// Runs a statement that returns nothing.
    pub async fn execute(&self, sql: &str) -> Result<(), StoreError> {
        limited(self.unbound.query_raw(sql).execute()).await
    }

    /// Makes a block of rows; nothing is sent but the question what the table's columns are, once.
    pub async fn encode<T: Serialize>(&self, table: &'static str, rows: &[T]) -> Result<Encoded, StoreError> {
        let schema = self.schema(table).await?;
        let mut block = Block::new(&schema);
        for row in rows {
            block.push(row).map_err(|misfit| StoreError::Schema(table, misfit))?;
        }
        block.check().map_err(|misfit| StoreError::Schema(table, misfit))?;
        Ok(Encoded::of(table, block))
    }

    /// Stores rows of one table partition; again with the same token and rows: nothing happens.
    pub async fn send(&self, token: &str, rows: &Encoded) -> Result<(), StoreError> {
        let Encoded { table, columns, pieces, .. } = rows;
        let mut insert = self
            .client
            .insert_formatted_with(format!("INSERT INTO {table}({columns}) FORMAT Native"))
            .with_setting("insert_deduplicate", "1")
            .with_setting("insert_deduplication_token", token)
            .with_setting("async_insert", "0")
            // Not by accident either: the server refuses rows of a second partition.
            .with_setting("max_partitions_per_insert_block", "1")
            .with_setting("throw_on_max_partitions_per_insert_block", "1")
            .with_setting("max_insert_block_size", MAX_BLOCK_ROWS)
            .with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT));
        for piece in pieces {
            for start in (0..piece.len()).step_by(PIECE) {
                insert.send(piece.slice(start..piece.len().min(start + PIECE))).await?;
            }
        }
        Ok(insert.end().await?)
    }

    /// Both in one.
    pub async fn insert<T>(
        &self,
        table: &'static str,
        token: &str,
        rows: &[T::Value<'_>],
    ) -> Result<(), StoreError>
    where
        T: Row + RowWrite,
    {
        let rows = self.encode(table, rows).await?;
        self.send(token, &rows).await
    }

    /// The columns of a table, asked once.
    pub(crate) async fn schema(&self, table: &'static str) -> Result<Arc<Schema>, StoreError> {
        let known = || self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = known().get(table) {
            return Ok(Arc::clone(schema));
        }
        #[derive(Row, Deserialize)]
        struct Column {
            name: String,
            kind: String,
        }
        let sql = format!(
            "SELECT name, type AS kind FROM system.columns WHERE database = currentDatabase() AND table = '{table}'"
        );
        let columns: Vec<Column> = self.rows(&sql).await?;
        let schema = Arc::new(Schema::new(columns.into_iter().map(|c| (c.name, c.kind))));
        known().insert(table, Arc::clone(&schema));
        Ok(schema)
    }

    /// Adds rows for which a second time does no harm.
    pub(crate) async fn append<T>(&self, table: &str, rows: &[T::Value<'_>]) -> Result<(), StoreError>
    where
        T: Row + RowWrite,
    {
        let mut insert = self.client.insert::<T>(table).await?;
        for row in rows {
            insert.write(row).await?;
        }
        Ok(insert.end().await?)
    }

    /// Forgets what is known of the tables' columns: after an error, they may have changed.
    pub async fn forget_columns(&self) {
        self.client.clear_cached_metadata().await;
        self.schemas.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until the inserts that run now are over. A consumer that was killed may have left one,
    /// and its rows must be seen before anyone asks what is stored.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let running =
            "SELECT query_id FROM system.processes WHERE user = currentUser() AND query_kind = 'Insert'";
        let mut wait: Vec<String> = match self.rows(running).await {
            Ok(ids) => ids,
            Err(StoreError::ClickHouse(clickhouse::error::Error::BadResponse(text)))
                if text.contains("497") =>
            {
                tracing::warn!(
                    "the user may not read system.processes: grant it, so that a killed consumer's last insert is waited for"
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let until = tokio::time::Instant::now() + SETTLE_LIMIT;
        while !wait.is_empty() && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now: Vec<String> = self.rows(running).await?;
            wait.retain(|id| now.contains(id));
        }
        if self.place.cluster.is_some() {
            // The replica asked must know what the others took.
            for table in ["events", "open_calls", "losses"] {
                self.execute(&format!("SYSTEM SYNC REPLICA `{}`.{table} LIGHTWEIGHT", self.place.database))
                    .await?;
            }
        }
        Ok(())
    }

    /// What the tables hold of these producers with times in `span`.
    pub async fn stored(
        &self,
        producers: &[Uuid],
        span: (i64, i64),
        about: i64,
    ) -> Result<Answer, StoreError> {
        let mut answer = Answer { span, about, producers: producers.to_vec(), ..Answer::default() };
        for some in producers.chunks(TERMS) {
            let list: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
            let condition = format!(
                "ts BETWEEN fromUnixTimestamp64Milli({}) AND fromUnixTimestamp64Milli({}) AND producer IN ({})",
                span.0,
                span.1,
                list.join(",")
            );
            answer.stored.extend(self.islands(&condition).await?);
            let covered = format!("SELECT producer, boot, first, last FROM losses WHERE {condition}");
            answer.covered.extend(self.rows::<RangeRow>(&covered).await?.into_iter().map(Range::from));
        }
        Ok(answer)
    }

    /// For holes with a known beginning: which of their numbers are stored after all.
    pub async fn inside(&self, holes: &[Hole]) -> Result<BTreeMap<(Uuid, u64), RangeSet>, StoreError> {
        let mut found: BTreeMap<(Uuid, u64), RangeSet> = BTreeMap::new();
        for some in holes.chunks(TERMS) {
            let condition = any_of(some, |text, r| {
                let _ = write!(text, "seq BETWEEN {} AND {}", r.first, r.last);
            });
            for range in self.islands(&condition).await? {
                found.entry((range.producer, range.boot)).or_default().insert(range.first, range.last);
            }
        }
        Ok(found)
    }

    /// For holes without one: the greatest number stored in each.
    pub async fn below(&self, holes: &[Hole]) -> Result<BTreeMap<(Uuid, u64), u64>, StoreError> {
        let mut found = BTreeMap::new();
        for some in holes.chunks(TERMS) {
            let condition = any_of(some, |text, r| {
                let _ = write!(text, "seq <= {}", r.last);
            });
            let sql = format!(
                "SELECT producer, boot, max(seq) AS top FROM ({}) GROUP BY producer, boot",
                POSITIONS.replace("{where}", &condition)
            );
            let rows: Vec<TopRow> = self.rows(&sql).await?;
            found.extend(rows.into_iter().map(|row| ((row.producer, row.boot), row.top)));
        }
        Ok(found)
    }

    async fn islands(&self, condition: &str) -> Result<Vec<Range>, StoreError> {
        let sql = format!(
            "SELECT producer, boot, min(seq) AS first, max(seq) AS last FROM (\
               SELECT producer, boot, seq, \
                 seq - row_number() OVER (PARTITION BY producer, boot ORDER BY seq) AS island \
               FROM (SELECT DISTINCT producer, boot, seq FROM ({}))) \
             GROUP BY producer, boot, island",
            POSITIONS.replace("{where}", condition)
        );
        Ok(self.rows::<RangeRow>(&sql).await?.into_iter().map(Range::from).collect())
    }

    /// The one row of such a question.
    pub(crate) async fn one<T: RowOwned + RowRead>(&self, sql: &str) -> Result<T, StoreError> {
        limited(self.client.query_raw(sql).fetch_one()).await
    }

    /// All rows of a question. Only for SQL of our own writing: nothing in it may come from outside.
    pub(crate) async fn rows<T: RowOwned + RowRead>(&self, sql: &str) -> Result<Vec<T>, StoreError> {
        limited(self.client.query_raw(sql).fetch_all()).await
    }
}

async fn limited<T>(
    work: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(END_TIMEOUT, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Timeout(END_TIMEOUT)),
    }
}

/// Whether the server is on this machine.
fn is_local(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn any_of(holes: &[Hole], term: impl Fn(&mut String, &Range)) -> String {
    let mut text = String::new();
    for hole in holes {
        let range = &hole.range;
        let or = if text.is_empty() { "" } else { " OR " };
        let _ = write!(text, "{or}(producer = '{}' AND boot = {} AND ", range.producer, range.boot);
        term(&mut text, range);
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_this_machine_is_local() {
        for url in
            ["http://localhost:8123", "http://127.0.0.1:8123/", "http://[::1]:8123", "http://localhost"]
        {
            assert!(is_local(url), "{url}");
        }
        for url in
            ["http://clickhouse:8123", "https://10.0.0.1", "http://127.0.0.1.example.com", "http://[fe80::1]"]
        {
            assert!(!is_local(url), "{url}");
        }
    }
}
