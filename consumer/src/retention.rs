//! `sidelog-consumer retention`: removes what has expired, after it was archived where that is asked for;
//! and `restore`, which brings archived rows back.
//!
//! Promises: only rows that are due go, all of them; what is to be archived is in a file, whole and
//! listed, before its rows go; where every row of a part is due, the part is dropped and nothing is
//! rewritten; run again after any end, it goes on (a month may then be in two files; restoring both
//! doubles nothing). An event is due at midnight UTC after its days are over.
//!
//! The places of expired rows go to `removed`, as long as later records of the same journal are kept:
//! they are no gaps. Losses stay as long as anything may, for the same reason.

use crate::archive::{Archive, ArchiveError, Entry, count_sql};
use crate::mutations::{self, MutationError};
use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::Deserialize;
use sidelog::config::{Retention, RetentionRule};
use std::time::Duration;
use uuid::Uuid;

const TABLES: [&str; 2] = ["events", "open_calls"];
const DAY: i64 = 86_400_000;
const PLACE: &str = "(producer, boot, seq)";

#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mutation(#[from] MutationError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("rows of {0} changed while they were archived; run the same command again")]
    Changed(u32),
}

/// What is due in one month of a table.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct Due {
    pub table: String,
    /// `202610`.
    pub month: u32,
    pub rows: u64,
    pub expired: u64,
    /// Rows that stay and lose their bodies.
    pub bodies: u64,
}

impl std::fmt::Display for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, month, rows, expired, bodies } = self;
        write!(f, "{table} {month}: {expired} of {rows} rows expire, {bodies} lose their bodies")
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Done {
    pub due: Vec<Due>,
    pub files: Vec<Entry>,
    /// Parts that went as a whole.
    pub dropped_parts: u64,
    pub dead_letters: u64,
    pub losses: u64,
}

/// The rules at a moment.
#[derive(Debug)]
pub struct Expiry<'a> {
    pub store: &'a Store,
    pub policy: &'a Retention,
    pub now: jiff::Timestamp,
    pub archive: Option<&'a Archive>,
    pub patience: Duration,
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn matches(rule: &RetentionRule) -> String {
    let list = |column: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| format!("{column} IN ({})", values.join(", ")))
    };
    let texts = |values: &[String]| values.iter().map(|v| literal(v)).collect();
    let levels = rule.levels.iter().map(|l| literal(l.as_str())).collect();
    let terms =
        [list("tenant", texts(&rule.tenants)), list("service", texts(&rule.services)), list("level", levels)];
    terms.into_iter().flatten().collect::<Vec<_>>().join(" AND ")
}

impl Expiry<'_> {
    /// Rows before this moment have been kept for so many days. None: for ever.
    fn before(&self, days: u32) -> Option<String> {
        let midnight = self.now.as_millisecond().div_euclid(DAY) - i64::from(days);
        (days > 0).then(|| format!("ts < fromUnixTimestamp64Milli({}, 'UTC')", midnight * DAY))
    }

    /// Whether a row is due by the days that `of` takes from a rule.
    fn due(&self, of: impl Fn(u32, u32) -> u32) -> String {
        let term = |days| self.before(days).unwrap_or_else(|| "0".into());
        let Retention { days, body_days, rules, .. } = self.policy;
        if rules.is_empty() {
            return term(of(*days, *body_days));
        }
        let rules = rules.iter().map(|r| format!("{}, {}", matches(r), term(of(r.days, r.body_days))));
        format!("multiIf({}, {})", rules.collect::<Vec<_>>().join(", "), term(of(*days, *body_days)))
    }

    fn expired(&self) -> String {
        self.due(|days, _| days)
    }

    fn bodies(&self) -> String {
        let due = self.due(|_, body_days| body_days);
        format!("({due}) AND (request_body != '' OR response_body != '')")
    }

    /// What would go now. Changes nothing.
    pub async fn find(&self) -> Result<Vec<Due>, RetentionError> {
        let mut all = Vec::new();
        for table in TABLES {
            let sql = format!(
                "SELECT '{table}' AS table, toYYYYMM(ts) AS month, count() AS rows, countIf({expired}) AS expired, \
                 countIf(NOT ({expired}) AND {bodies}) AS bodies FROM {table} GROUP BY month \
                 HAVING expired > 0 OR bodies > 0 ORDER BY month",
                expired = self.expired(),
                bodies = self.bodies(),
            );
            all.extend(self.store.rows::<Due>(&sql).await?);
        }
        Ok(all)
    }

    /// Does it.
    pub async fn run(&self) -> Result<Done, RetentionError> {
        let id = Uuid::now_v7();
        // An erasure that is under way must not change rows while they are archived.
        mutations::done(self.store, self.patience).await?;
        // What arrives from now on is for the next run: it could be removed without being archived.
        let fence: i64 = self.store.one("SELECT toUnixTimestamp64Milli(now64(3))").await?;
        let mut done = Done { due: self.find().await?, ..Done::default() };
        if let Some(archive) = self.archive {
            archive.sweep()?;
        }
        for due in &done.due.clone() {
            let month = format!("toYYYYMM(ts) = {}", due.month);
            if due.expired > 0 {
                let rows = format!(
                    "{month} AND ({}) AND ingested_at < fromUnixTimestamp64Milli({fence}, 'UTC')",
                    self.expired()
                );
                if let Some(archive) = self.archive {
                    done.files.extend(self.put_away(archive, due, &rows).await?);
                }
                self.mark(id, &due.table, &rows).await?;
                done.dropped_parts += self.drop_parts(id, &due.table, &month).await?;
                let rest = format!("{month} AND {}", self.marked(id));
                if self.count(&format!("{} WHERE {rest}", due.table)).await? > 0 {
                    mutations::change(self.store, &due.table, &format!("DELETE WHERE {rest}")).await?;
                }
            }
            if due.bodies > 0 {
                let state = |side: &str| {
                    format!("{side}_body_state = if({side}_body = '', {side}_body_state, 'omitted:expired')")
                };
                let command = format!(
                    "UPDATE {}, {}, request_body = '', response_body = '' WHERE {month} AND {}",
                    state("request"),
                    state("response"),
                    self.bodies()
                );
                mutations::change(self.store, &due.table, &command).await?;
            }
        }
        self.others(&mut done).await?;
        mutations::done(self.store, self.patience).await?;
        self.thin_out().await?;
        Ok(done)
    }

    /// Writes rows to a file, but not those that an earlier run has put away.
    async fn put_away(
        &self,
        archive: &Archive,
        due: &Due,
        rows: &str,
    ) -> Result<Option<Entry>, RetentionError> {
        let fresh = format!(
            "{rows} AND {PLACE} NOT IN (SELECT producer, boot, seq FROM removed WHERE why = 'expired')"
        );
        let columns = columns(self.store, &due.table).await?;
        let count = count_sql(&due.table, &fresh, &columns);
        let counted: (u64, String) = self.store.one(&count).await?;
        if counted.0 == 0 {
            return Ok(None);
        }
        let select = format!(
            "SELECT {} FROM {} WHERE {fresh} ORDER BY tenant, ts, event_id",
            columns.join(", "),
            due.table
        );
        let select = self.store.client().query_raw(&select);
        let entry = archive.export(&due.table, due.month, select, counted.clone(), columns).await?;
        // An erasure beside this: the file may hold what is to be forgotten.
        if self.store.one::<(u64, String)>(&count).await? != counted {
            archive.replace(&entry, None).await?;
            return Err(RetentionError::Changed(due.month));
        }
        Ok(Some(entry))
    }

    async fn mark(&self, id: Uuid, table: &str, rows: &str) -> Result<(), RetentionError> {
        let sql = format!(
            "INSERT INTO {}.removed (ts, producer, boot, seq, why, by) \
             SELECT ts, producer, boot, seq, 'expired', '{id}' FROM {0}.{table} WHERE {rows}",
            self.database()
        );
        Ok(self.store.execute(&sql).await?)
    }

    fn database(&self) -> String {
        format!("`{}`", self.store.place().database)
    }

    fn marked(&self, id: Uuid) -> String {
        format!("{PLACE} IN (SELECT producer, boot, seq FROM {}.removed WHERE by = '{id}')", self.database())
    }

    /// Drops the parts in which every row is marked.
    async fn drop_parts(&self, id: Uuid, table: &str, month: &str) -> Result<u64, RetentionError> {
        let sql = format!(
            "SELECT _part FROM {table} WHERE {month} GROUP BY _part HAVING count() = countIf({})",
            self.marked(id)
        );
        let parts: Vec<String> = self.store.rows(&sql).await?;
        let mut dropped = 0;
        for part in parts {
            let sql = format!("ALTER TABLE {}.{table} DROP PART {}", self.database(), literal(&part));
            match self.store.execute(&sql).await {
                Ok(()) => dropped += 1,
                // It was merged with another meanwhile: its rows are deleted as others are.
                Err(StoreError::ClickHouse(clickhouse::error::Error::BadResponse(text)))
                    if text.contains("NO_SUCH_DATA_PART") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(dropped)
    }

    /// Dead letters expire as other events; losses, when nothing can be left that they explain.
    async fn others(&self, done: &mut Done) -> Result<(), RetentionError> {
        let rules = self.policy.rules.iter().map(|r| r.days).chain([self.policy.days]);
        let longest = rules.map(|days| if days == 0 { u32::MAX } else { days }).max().unwrap_or(u32::MAX);
        let longest = if longest == u32::MAX { 0 } else { longest };
        for (table, days, count) in [
            ("dead_letters", self.policy.days, &mut done.dead_letters),
            ("losses", longest, &mut done.losses),
        ] {
            let Some(before) = self.before(days) else { continue };
            *count = self.count(&format!("{table} WHERE {before}")).await?;
            if *count > 0 {
                mutations::change(self.store, table, &format!("DELETE WHERE {before}")).await?;
            }
        }
        Ok(())
    }

    /// Forgets places before the first record of a boot that is still there: nothing is missing there.
    async fn thin_out(&self) -> Result<(), RetentionError> {
        let database = self.database();
        let first = TABLES
            .map(|table| format!("SELECT producer, boot, seq FROM {database}.{table}"))
            .join(" UNION ALL ");
        let needless = format!(
            "SELECT r.producer, r.boot, r.seq FROM {database}.removed AS r LEFT JOIN \
             (SELECT producer, boot, min(seq) AS first FROM ({first}) GROUP BY producer, boot) AS kept \
             ON r.producer = kept.producer AND r.boot = kept.boot \
             WHERE r.why = 'expired' AND (kept.first = 0 OR r.seq < kept.first)"
        );
        let found: u64 = self.store.one(&format!("SELECT count() FROM ({needless})")).await?;
        if found > 0 {
            let command = format!("DELETE WHERE why = 'expired' AND {PLACE} IN ({needless})");
            mutations::change(self.store, "removed", &command).await?;
            mutations::done(self.store, self.patience).await?;
        }
        Ok(())
    }

    async fn count(&self, of: &str) -> Result<u64, RetentionError> {
        Ok(self.store.one(&format!("SELECT count() FROM {of}")).await?)
    }
}

/// The columns of a table, in order.
pub(crate) async fn columns(store: &Store, table: &str) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT name FROM system.columns WHERE database = '{}' AND table = '{table}' \
         AND default_kind NOT IN ('ALIAS', 'MATERIALIZED') ORDER BY position",
        store.place().database
    );
    store.rows(&sql).await
}

/// An empty table like `events`, for rows of a file.
pub(crate) async fn scratch(store: &Store, name: &str, like: &str) -> Result<(), StoreError> {
    let database = &store.place().database;
    store.execute(&format!("DROP TABLE IF EXISTS `{database}`.{name} SYNC")).await?;
    let sql = format!(
        "CREATE TABLE `{database}`.{name} AS `{database}`.{like} ENGINE = MergeTree ORDER BY (tenant, ts, event_id)"
    );
    store.execute(&sql).await
}

pub(crate) async fn drop_scratch(store: &Store, name: &str) -> Result<(), StoreError> {
    store.execute(&format!("DROP TABLE IF EXISTS `{}`.{name} SYNC", store.place().database)).await
}

/// Brings the rows of a file back, but those that are there, and those that were erased. Returns how many.
pub async fn restore(
    store: &Store,
    archive: &Archive,
    entry: &Entry,
    patience: Duration,
) -> Result<u64, RetentionError> {
    const SCRATCH: &str = "restoring";
    scratch(store, SCRATCH, &entry.table).await?;
    let loaded = archive.load(store, entry, SCRATCH).await;
    if let Err(error) = loaded {
        drop_scratch(store, SCRATCH).await?;
        return Err(error.into());
    }
    let database = format!("`{}`", store.place().database);
    let (table, month, columns) = (&entry.table, entry.month, entry.columns.join(", "));
    let wanted = format!(
        "{PLACE} NOT IN (SELECT producer, boot, seq FROM {database}.{table} WHERE toYYYYMM(ts) = {month}) AND {PLACE} \
         NOT IN (SELECT producer, boot, seq FROM {database}.removed WHERE why = 'erased')"
    );
    let rows: u64 = store.one(&format!("SELECT count() FROM {SCRATCH} WHERE {wanted}")).await?;
    let sql = format!(
        "INSERT INTO {database}.{table} ({columns}) SELECT {columns} FROM {database}.{SCRATCH} WHERE {wanted}"
    );
    store.execute(&sql).await?;
    drop_scratch(store, SCRATCH).await?;
    let back = format!(
        "DELETE WHERE why = 'expired' AND {PLACE} IN \
         (SELECT producer, boot, seq FROM {database}.{table} WHERE toYYYYMM(ts) = {month})"
    );
    mutations::change(store, "removed", &back).await?;
    mutations::done(store, patience).await?;
    Ok(rows)
}
