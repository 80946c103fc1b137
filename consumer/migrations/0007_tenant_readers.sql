-- Who may read which tenant, and who could at any time before: rows are only added, the newest counts.
CREATE TABLE IF NOT EXISTS {database}.tenant_readers{on_cluster}
(
    user String COMMENT 'of ClickHouse',
    tenant String,
    may Bool COMMENT 'false: no longer',
    at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'),
    by String DEFAULT currentUser()
)
ENGINE = {engine}
ORDER BY (user, tenant, at)
SETTINGS {deduplication_window} = 1000
