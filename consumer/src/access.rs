//! Who may do what in SQL: four roles, limits for readers, and tenants that see only their own.
//!
//! Owns: the statements that make them, and the table `tenant_readers`. Promises: all statements may
//! run any number of times. Refuses: to give a tenant's readers any right on the tables themselves.
//!
//! A row policy alone is not enough for those: `mergeTreeIndex()` and its like ask for the right to
//! read the columns and know nothing of policies, so they tell of every tenant there is. A view's
//! `WHERE` alone is not enough either: a reader's own condition may be evaluated before it, and tell by
//! an error what it saw. So both: a tenant's readers may read only views (database `…_tenant`) that run
//! with the rights of a user who cannot log in, and the row policy is that user's. ClickHouse applies a
//! policy before every other condition, and `currentUser()` is still whoever asks.

use crate::migrate::Place;
use crate::store::{Store, StoreError};
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Tables whose rows belong to a tenant.
const OF_TENANTS: [&str; 2] = ["events", "open_calls"];
/// What a tenant's readers may read: those tables, and views of nothing else.
const TENANT_VIEWS: [&str; 6] =
    ["events", "open_calls", "activity", "resource_history", "ocsf_api_activity", "otel_logs"];
/// What readers of everything may read. Not `dead_letters`: nobody knows what is in them.
const READABLE: [&str; 12] = [
    "events",
    "open_calls",
    "losses",
    "removed",
    "erasures",
    "tenant_readers",
    "activity",
    "resource_history",
    "gaps",
    "completeness",
    "ocsf_api_activity",
    "otel_logs",
];
/// What the consumer writes; it must read them too, to know what is stored.
const WRITABLE: [&str; 4] = ["events", "open_calls", "losses", "dead_letters"];
/// The admin looks here before and after it deletes.
const ADMIN_SYSTEM: [&str; 7] =
    ["tables", "columns", "parts", "mutations", "processes", "disks", "data_skipping_indices"];

/// What one question of a reader may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    pub rows: u64,
    pub bytes: u64,
    pub time: Duration,
    pub memory: u64,
}

impl From<&sidelog::config::ReadLimits> for ReadLimits {
    fn from(limits: &sidelog::config::ReadLimits) -> Self {
        let sidelog::config::ReadLimits { max_rows, max_bytes, max_time, max_memory } = *limits;
        Self { rows: max_rows, bytes: max_bytes, time: max_time, memory: max_memory }
    }
}

impl ReadLimits {
    /// ClickHouse's settings. Readers may choose less, never more, and not 0, which means no limit.
    pub fn settings(&self) -> [(&'static str, u64); 4] {
        [
            ("max_result_rows", self.rows),
            ("max_result_bytes", self.bytes),
            ("max_execution_time", self.time.as_secs().max(1)),
            ("max_memory_usage", self.memory),
        ]
    }
}

/// A role and what it is granted, without the `TO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub grants: Vec<String>,
}

/// The names of everything for one database.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    place: &'a Place,
}

impl<'a> Access<'a> {
    pub fn new(place: &'a Place) -> Self {
        Self { place }
    }

    /// `audit_writer` and so on; the database's name comes first, since roles belong to the server.
    pub fn role(&self, what: &str) -> String {
        format!("{}_{what}", self.place.database)
    }

    /// The user whose rights the tenants' views have. It has no way to log in.
    pub fn definer(&self) -> String {
        self.role("tenant_views")
    }

    /// Where those views are.
    pub fn tenant_database(&self) -> String {
        self.role("tenant")
    }

    /// Which rows the tenants' views show.
    pub fn tenant_filter(&self) -> String {
        format!(
            "tenant IN (SELECT tenant FROM `{}`.tenant_readers WHERE user = currentUser() \
             GROUP BY tenant HAVING argMax(may, at))",
            self.place.database
        )
    }

    /// Tables with the policy.
    pub fn policed(&self) -> [&'static str; 2] {
        OF_TENANTS
    }

    /// The four roles.
    pub fn roles(&self) -> Vec<Role> {
        let role = |what: &str, grants| Role { name: self.role(what), grants };
        let (db, tenant) = (&self.place.database, self.tenant_database());
        let select = |tables: &[&str]| tables.iter().map(|t| format!("GRANT SELECT ON `{db}`.{t}")).collect();
        let mut writer: Vec<String> =
            WRITABLE.iter().map(|t| format!("GRANT SELECT, INSERT ON `{db}`.{t}")).collect();
        writer.extend(["migrations", "removed"].map(|t| format!("GRANT SELECT ON `{db}`.{t}")));
        writer.extend(["processes", "tables"].map(|t| format!("GRANT SELECT ON system.{t}")));
        if self.place.cluster.is_some() {
            writer.push(format!("GRANT SYSTEM SYNC REPLICA ON `{db}`.*"));
        }
        let rights = "GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE";
        let mut admin = vec![
            format!("{rights} ON `{db}`.*"),
            format!("{rights} ON `{tenant}`.*"),
            format!("GRANT SYSTEM SYNC REPLICA ON `{db}`.*"),
            format!("GRANT SET DEFINER ON `{}`", self.definer()),
            // Migrations make tables.
            "GRANT TABLE ENGINE ON MergeTree".to_owned(),
            "GRANT TABLE ENGINE ON ReplicatedMergeTree".to_owned(),
        ];
        admin.extend(ADMIN_SYSTEM.map(|t| format!("GRANT SELECT ON system.{t}")));
        vec![
            role("writer", writer),
            role("reader", select(&READABLE)),
            role("tenant", vec![format!("GRANT SELECT ON `{tenant}`.*")]),
            role("admin", admin),
        ]
    }

    /// What the views' user may read.
    pub fn definer_grants(&self) -> Vec<String> {
        let views = TENANT_VIEWS.iter().chain(&["tenant_readers"]);
        views.map(|t| format!("GRANT SELECT ON `{}`.{t}", self.place.database)).collect()
    }

    fn on_cluster(&self) -> String {
        let cluster = self.place.cluster.as_ref();
        cluster.map(|name| format!(" ON CLUSTER '{name}'")).unwrap_or_default()
    }

    /// The views of tenants; their user must exist.
    pub fn views(&self) -> Vec<String> {
        let (db, tenant, definer) = (&self.place.database, self.tenant_database(), self.definer());
        let on = self.on_cluster();
        let database = format!("CREATE DATABASE IF NOT EXISTS `{tenant}`{on}");
        let view = |name: &&str| {
            format!(
                "CREATE OR REPLACE VIEW `{tenant}`.{name}{on} DEFINER = `{definer}` SQL SECURITY DEFINER \
                 AS SELECT * FROM `{db}`.{name}"
            )
        };
        std::iter::once(database).chain(TENANT_VIEWS.iter().map(view)).collect()
    }

    /// Everything, in order. Needs a user who may manage access.
    pub fn statements(&self, limits: &ReadLimits) -> Vec<String> {
        let (on, definer) = (self.on_cluster(), self.definer());
        let mut all = Vec::new();
        for role in self.roles() {
            all.push(format!("CREATE ROLE IF NOT EXISTS `{}`{on}", role.name));
        }
        all.push(format!("CREATE USER IF NOT EXISTS `{definer}`{on} IDENTIFIED WITH no_password HOST NONE"));
        for grant in self.definer_grants() {
            all.push(format!("{} TO `{definer}`", self.grant(&grant)));
        }
        for role in self.roles() {
            all.extend(role.grants.iter().map(|g| format!("{} TO `{}`", self.grant(g), role.name)));
        }
        let others = ["reader", "tenant"].map(|what| format!("`{}`", self.role(what))).join(", ");
        let handed = self.grant(&format!("GRANT {others}"));
        all.push(format!("{handed} TO `{}` WITH ADMIN OPTION", self.role("admin")));
        let profile = self.role("reading");
        all.push(format!("CREATE SETTINGS PROFILE IF NOT EXISTS `{profile}`{on}"));
        let limits = limits.settings().map(|(name, most)| format!("{name} = {most} MIN 1 MAX {most}"));
        all.push(format!(
            "ALTER SETTINGS PROFILE `{profile}`{on} SETTINGS readonly = 2 CONST, {} TO {others}",
            limits.join(", ")
        ));
        for table in OF_TENANTS {
            let table = format!("`{}`.{table}", self.place.database);
            let policy = |name: &str, filter: &str, to: String| {
                format!("CREATE ROW POLICY OR REPLACE `{name}`{on} ON {table} USING {filter} TO {to}")
            };
            // Everyone else sees all rows of what they may read, whatever the server's default is: a
            // consumer that does not see what is stored would store it again.
            all.push(policy(&self.role("all"), "1", format!("ALL EXCEPT `{definer}`")));
            all.push(policy(&self.role("tenants"), &self.tenant_filter(), format!("`{definer}`")));
        }
        all.extend(self.views());
        all
    }

    fn grant(&self, grant: &str) -> String {
        grant.replacen("GRANT", &format!("GRANT{}", self.on_cluster()), 1)
    }

    /// Lets a user use the tenants' views.
    pub fn join(&self, user: &str) -> String {
        let user = user.replace('\\', "\\\\").replace('`', "\\`");
        format!("{} TO `{user}`", self.grant(&format!("GRANT `{}`", self.role("tenant"))))
    }
}

/// Makes roles, limits, policies and views, or brings them up to date.
pub async fn set_up(store: &Store, limits: &ReadLimits) -> Result<(), StoreError> {
    for statement in Access::new(store.place()).statements(limits) {
        store.execute(&statement).await?;
    }
    Ok(())
}

#[derive(Debug, Row, Serialize, Deserialize)]
struct Permission<'a> {
    user: &'a str,
    tenant: &'a str,
    may: bool,
}

/// From now on, this user sees this tenant's rows, or no longer does.
pub async fn allow(store: &Store, tenant: &str, user: &str, may: bool) -> Result<(), StoreError> {
    store.append::<Permission<'static>>("tenant_readers", &[Permission { user, tenant, may }]).await
}

/// The tenants whose rows a user sees.
pub async fn tenants_of(store: &Store, user: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT tenant FROM tenant_readers WHERE user = ? GROUP BY tenant HAVING argMax(may, at) \
               ORDER BY tenant";
    Ok(store.client().query(sql).bind(user).fetch_all().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ReadLimits =
        ReadLimits { rows: 10, bytes: 20, time: Duration::from_millis(500), memory: 40 };

    fn place(cluster: Option<&str>) -> Place {
        Place { database: "audit".into(), cluster: cluster.map(str::to_owned) }
    }

    #[test]
    fn every_statement_names_the_cluster_where_there_is_one() {
        let (alone, cluster) = (place(None), place(Some("main")));
        let one = Access::new(&alone).statements(&LIMITS);
        let many = Access::new(&cluster).statements(&LIMITS);
        assert!(one.iter().all(|s| !s.contains("CLUSTER")));
        for statement in &many {
            assert_eq!(statement.matches("ON CLUSTER 'main'").count(), 1, "{statement}");
        }
        // One grant more: replicas are waited for.
        assert_eq!(many.len(), one.len() + 1);
    }

    #[test]
    fn a_tenants_reader_has_no_right_on_a_table_and_nobody_but_the_admin_changes_one() {
        let place = place(None);
        for role in Access::new(&place).roles() {
            let all = role.grants.join("\n");
            match role.name.as_str() {
                "audit_tenant" => assert_eq!(all, "GRANT SELECT ON `audit_tenant`.*"),
                "audit_admin" => assert!(all.contains("ALTER")),
                _ => assert!(!all.contains("ALTER") && !all.contains("DROP") && !all.contains(".*"), "{all}"),
            }
        }
    }

    #[test]
    fn a_readers_limit_is_never_none() {
        for (name, most) in LIMITS.settings() {
            assert!(most > 0, "{name}");
        }
    }

    #[test]
    fn a_users_name_cannot_leave_its_quotes() {
        let place = place(None);
        assert_eq!(Access::new(&place).join("o`; DROP \\"), r"GRANT `audit_tenant` TO `o\`; DROP \\`");
    }
}
