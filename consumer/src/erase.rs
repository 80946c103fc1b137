//! `sidelog-consumer erase`: forgets a tenant, an actor, or whatever a text stands in.
//!
//! Promises: when it returns, no active or old part of the tables holds what was erased; a receipt in
//! `erasures` says what was done, and names whom only by a keyed digest; the places of the removed
//! records stay in `removed`, so that they are no gaps and are not stored again; run again after any
//! end, it goes on, and run once more it finds nothing. The value is in no statement, since ClickHouse
//! keeps those.
//!
//! In steps, each of which may be done again: *mark* the places of all rows that are meant; where they
//! are to stay without the person, insert such *copies*; *delete* the marked rows by place; *wait*
//! until the mutations are done and the parts they replaced are gone; *receipt*. What the consumer
//! stores meanwhile is looked for again at the end.
//!
//! Refuses: what lies elsewhere. Kafka keeps records until its retention ends, sidecars until they have
//! shipped, and backups are their owner's: docs/erasure.md says what to do about each.

mod target;

pub use target::{Column, SHORTEST, Target};

use crate::archive::{Archive, ArchiveError, Entry, count_sql};
use crate::mutations::{self, MutationError};
use crate::retention;
use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::Serialize;
use sidelog::pseudonym::Pseudonyms;
use std::time::Duration;
use uuid::Uuid;

/// Where the rows of an archive file are looked at.
const SCRATCH: &str = "erasing";
/// Tables with events.
const TABLES: [&str; 2] = ["events", "open_calls"];
/// Looks at what came meanwhile, at most.
const ROUNDS: usize = 5;
/// Hashes named in one statement.
const TERMS: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Mutation(#[from] MutationError),
    #[error("new events of it keep coming: {0} more; stop what produces them and run the same command again")]
    StillComing(u64),
}

/// What there is of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    pub events: u64,
    pub open_calls: u64,
    pub dead_letters: u64,
    /// Grants to read the tenant.
    pub grants: u64,
    /// Rows of archive files.
    pub archived: u64,
}

impl Found {
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, open_calls, dead_letters, grants, archived } = self;
        write!(
            f,
            "{events} events, {open_calls} open calls, {dead_letters} dead letters, {archived} archived rows"
        )?;
        if *grants > 0 { write!(f, ", {grants} grants") } else { Ok(()) }
    }
}

/// The receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub id: Uuid,
    pub records: u64,
    pub dead_letters: u64,
    pub archived: u64,
    /// An earlier run had begun it.
    pub resumed: bool,
}

/// One erasure.
#[derive(Debug)]
pub struct Erasure<'a> {
    pub store: &'a Store,
    pub target: &'a Target,
    pub pseudonyms: &'a Pseudonyms,
    /// Keep the rows, without the person.
    pub anonymise: bool,
    /// Files are rewritten too.
    pub archive: Option<&'a Archive>,
    /// For mutations to be done, and for old parts to go.
    pub patience: Duration,
}

#[derive(Debug, Row, Serialize)]
struct ErasureRow<'a> {
    #[serde(with = "clickhouse::serde::uuid")]
    id: Uuid,
    state: i8,
    what: i8,
    digest: &'a str,
    anonymised: bool,
    records: u64,
    dead_letters: u64,
    archived: u64,
}

const BEGUN: i8 = 1;
const DONE: i8 = 2;

impl Erasure<'_> {
    /// Counts, changes nothing.
    pub async fn find(&self) -> Result<Found, EraseError> {
        Ok(Found { archived: self.in_archive(None).await?, ..self.find_in_tables().await? })
    }

    async fn find_in_tables(&self) -> Result<Found, EraseError> {
        let columns = self.columns().await?;
        let condition = self.target.condition(&columns);
        let mut found = Found {
            events: self.count(&format!("events WHERE {condition}")).await?,
            open_calls: self.count(&format!("open_calls WHERE {condition}")).await?,
            dead_letters: self
                .count(&format!("dead_letters WHERE {}", self.target.in_text("payload")))
                .await?,
            ..Found::default()
        };
        if matches!(self.target, Target::Tenant(_)) {
            found.grants = self.count("tenant_readers WHERE tenant = {value:String}").await?;
        }
        Ok(found)
    }

    /// Does it. None: there was nothing to do.
    pub async fn run(&self) -> Result<Option<Receipt>, EraseError> {
        let mut found = self.find().await?;
        let begun = self.unfinished().await?;
        if found.is_nothing() && begun.is_none() {
            return Ok(None);
        }
        let resumed = begun.is_some();
        let id = begun.unwrap_or_else(Uuid::now_v7);
        self.note(id, BEGUN, &found).await?;
        // Before the tables: until it is done, a second run finds rows and so this erasure again.
        let archived = self.in_archive(Some(id)).await?;
        let mut dead_letters = 0;
        for round in 1.. {
            dead_letters += found.dead_letters;
            self.remove(id).await?;
            found = self.find_in_tables().await?;
            if found.is_nothing() {
                break;
            }
            if round == ROUNDS {
                return Err(EraseError::StillComing(found.events + found.open_calls + found.dead_letters));
            }
        }
        let records = self.count(&format!("removed WHERE by = '{id}'")).await?;
        // What an earlier run had found, it may have removed.
        let told = format!("SELECT max(dead_letters), max(archived) FROM erasures WHERE id = '{id}'");
        let (told_letters, told_archived): (u64, u64) = self.store.one(&told).await?;
        let (dead_letters, archived) = (dead_letters.max(told_letters), archived.max(told_archived));
        let all = Found { events: records, dead_letters, archived, ..Found::default() };
        self.note(id, DONE, &all).await?;
        Ok(Some(Receipt { id, records, dead_letters, archived, resumed }))
    }

    /// Counts the rows of archive files that are meant. With an erasure's id, rewrites those files.
    async fn in_archive(&self, id: Option<Uuid>) -> Result<u64, EraseError> {
        let Some(archive) = self.archive else { return Ok(0) };
        if id.is_some() {
            archive.sweep()?;
        }
        let mut found = 0;
        for entry in archive.entries()?.iter().filter(|entry| TABLES.contains(&entry.table.as_str())) {
            retention::scratch(self.store, SCRATCH, &entry.table).await?;
            let result = self.in_file(archive, entry, id).await;
            retention::drop_scratch(self.store, SCRATCH).await?;
            found += result?;
        }
        Ok(found)
    }

    async fn in_file(&self, archive: &Archive, entry: &Entry, id: Option<Uuid>) -> Result<u64, EraseError> {
        archive.load(self.store, entry, SCRATCH).await?;
        let columns = self.columns().await?;
        let condition = self.target.condition(&columns);
        let found = self.count(&format!("{SCRATCH} WHERE {condition}")).await?;
        let Some(id) = id.filter(|_| found > 0) else { return Ok(found) };
        if self.anonymise {
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            let values = self.target.anonymised(&columns, &self.pseudonym(), &mark_of(id));
            let sql = format!(
                "INSERT INTO {SCRATCH} ({}) SELECT {values} FROM {SCRATCH} WHERE {condition}",
                names.join(", ")
            );
            let asked = self.ask(&sql).with_setting("max_partitions_per_insert_block", "0");
            asked.execute().await.map_err(StoreError::from)?;
        }
        let rest = format!("NOT {condition}");
        let counted = self.ask(&count_sql(SCRATCH, &rest, &entry.columns));
        let counted: (u64, String) = counted.fetch_one().await.map_err(StoreError::from)?;
        let select = format!(
            "SELECT {} FROM {SCRATCH} WHERE {rest} ORDER BY tenant, ts, event_id",
            entry.columns.join(", ")
        );
        let new = (counted.0 > 0).then(|| (self.ask(&select), counted));
        archive.replace(entry, new).await?;
        Ok(found)
    }

    async fn remove(&self, id: Uuid) -> Result<(), EraseError> {
        let columns = self.columns().await?;
        self.mark(id, &columns).await?;
        if self.anonymise {
            self.copy(id, &columns).await?;
        }
        let database = &self.store.place().database;
        let marked = format!(
            "(producer, boot, seq) IN (SELECT producer, boot, seq FROM `{database}`.removed WHERE by = '{id}')"
        );
        let kept =
            if self.anonymise { format!(" AND NOT has(flags, '{}')", mark_of(id)) } else { String::new() };
        for table in TABLES {
            self.delete(table, &format!("{marked}{kept}")).await?;
        }
        self.delete_by_hash("dead_letters", "payload", &self.target.in_text("payload")).await?;
        if matches!(self.target, Target::Tenant(_)) {
            self.delete_by_hash("tenant_readers", "tenant", "tenant = {value:String}").await?;
        }
        Ok(mutations::gone(self.store, self.patience).await?)
    }

    /// Notes the places of all rows that are meant.
    async fn mark(&self, id: Uuid, columns: &[Column]) -> Result<(), EraseError> {
        let condition = self.target.condition(columns);
        let why = if self.anonymise { "anonymised" } else { "erased" };
        let rows = TABLES
            .map(|table| format!("SELECT ts, producer, boot, seq FROM {table} WHERE {condition}"))
            .join(" UNION ALL ");
        let sql = format!(
            "INSERT INTO removed (ts, producer, boot, seq, why, by) \
             SELECT ts, producer, boot, seq, '{why}', '{id}' FROM ({rows}) WHERE (producer, boot, seq) NOT IN \
             (SELECT producer, boot, seq FROM removed WHERE by = '{id}')"
        );
        Ok(self
            .ask(&sql)
            .with_setting("max_partitions_per_insert_block", "0")
            .execute()
            .await
            .map_err(StoreError::from)?)
    }

    /// Inserts the marked rows again, without the person.
    async fn copy(&self, id: Uuid, columns: &[Column]) -> Result<(), EraseError> {
        let pseudonym = self.pseudonym();
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        let mark = mark_of(id);
        let values = self.target.anonymised(columns, &pseudonym, &mark);
        let marked = format!("SELECT producer, boot, seq FROM removed WHERE by = '{id}'");
        for table in TABLES {
            let sql = format!(
                "INSERT INTO {table} ({}) SELECT {values} FROM {table} WHERE (producer, boot, seq) IN ({marked}) \
                 AND NOT has(flags, '{mark}') AND (producer, boot, seq) NOT IN \
                 (SELECT producer, boot, seq FROM {table} WHERE has(flags, '{mark}'))",
                names.join(", ")
            );
            let asked = self.ask(&sql).with_setting("max_partitions_per_insert_block", "0");
            asked.execute().await.map_err(StoreError::from)?;
        }
        Ok(())
    }

    async fn delete(&self, table: &str, condition: &str) -> Result<(), EraseError> {
        Ok(mutations::change(self.store, table, &format!("DELETE WHERE {condition}")).await?)
    }

    /// For tables without places: the rows are named by a hash of what they hold.
    async fn delete_by_hash(&self, table: &str, column: &str, condition: &str) -> Result<(), EraseError> {
        let sql = format!("SELECT DISTINCT hex(sipHash128({column})) FROM {table} WHERE {condition}");
        let hashes: Vec<String> = self.ask(&sql).fetch_all().await.map_err(StoreError::from)?;
        for some in hashes.chunks(TERMS) {
            let list: Vec<String> = some.iter().map(|hash| format!("'{hash}'")).collect();
            self.delete(table, &format!("hex(sipHash128({column})) IN ({})", list.join(", "))).await?;
        }
        Ok(())
    }

    /// An erasure of the same that was begun and not ended.
    async fn unfinished(&self) -> Result<Option<Uuid>, EraseError> {
        let sql = format!(
            "SELECT toString(id) FROM erasures WHERE what = '{}' AND digest = '{}' AND anonymised = {} \
             GROUP BY id HAVING max(state) = 'begun' ORDER BY max(at) DESC LIMIT 1",
            self.target.kind(),
            self.digest(),
            self.anonymise
        );
        let ids: Vec<String> = self.store.rows(&sql).await?;
        Ok(ids.first().and_then(|id| id.parse().ok()))
    }

    async fn note(&self, id: Uuid, state: i8, found: &Found) -> Result<(), EraseError> {
        let what = match self.target {
            Target::Tenant(_) => 1,
            Target::Actor(_) => 2,
            Target::Subject(_) => 3,
        };
        let Found { dead_letters, archived, .. } = *found;
        let (digest, anonymised, records) = (&self.digest(), self.anonymise, found.events + found.open_calls);
        let row = ErasureRow { id, state, what, digest, anonymised, records, dead_letters, archived };
        Ok(self.store.append::<ErasureRow<'static>>("erasures", &[row]).await?)
    }

    /// What stands in the receipt for the value.
    pub fn digest(&self) -> String {
        let mut digester = self.pseudonyms.digester();
        digester.update(b"erasure\0");
        digester.update(self.target.kind().as_bytes());
        digester.update(b"\0");
        digester.update(self.target.value().as_bytes());
        digester.finish()
    }

    /// What stands in rows for the person: the same for the same value, so that it can be seen that it
    /// was one person; without the key nobody can say who.
    pub fn pseudonym(&self) -> String {
        format!("erased:{}", self.pseudonyms.fingerprint(self.target.value().as_bytes()))
    }

    async fn columns(&self) -> Result<Vec<Column>, EraseError> {
        let sql = format!(
            "SELECT name, type FROM system.columns WHERE database = '{}' AND table = 'events' \
             AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position",
            self.store.place().database
        );
        let columns: Vec<(String, String)> = self.store.rows(&sql).await?;
        Ok(columns.into_iter().map(|(name, kind)| Column { name, kind }).collect())
    }

    async fn count(&self, of: &str) -> Result<u64, EraseError> {
        let asked = self.ask(&format!("SELECT count() FROM {of}"));
        Ok(asked.fetch_one().await.map_err(StoreError::from)?)
    }

    /// A question with the target's parameters. It is not to be logged.
    fn ask(&self, sql: &str) -> clickhouse::query::Query {
        let query = self.store.client().query_raw(sql).with_setting("log_queries", "0");
        self.target.parameters().into_iter().fold(query, |query, (name, value)| query.param(&name, value))
    }
}

/// The flag of rows that were anonymised.
fn mark_of(id: Uuid) -> String {
    format!("anonymised:{}", id.simple())
}
