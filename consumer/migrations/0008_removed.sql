-- Places of records whose rows were removed on purpose, and nothing else of them: what is named here is
-- no gap, and is not stored again when it is read again.
CREATE TABLE IF NOT EXISTS {database}.removed{on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'as the row had it' CODEC(Delta(8), ZSTD(1)),
    producer UUID CODEC(ZSTD(1)),
    boot UInt64 CODEC(T64, ZSTD(1)),
    seq UInt64 CODEC(Delta(8), ZSTD(1)),
    why Enum8('erased' = 1, 'anonymised' = 2, 'expired' = 3) COMMENT 'anonymised: the row is still there, without the person',
    by UUID COMMENT 'the erasure or the expiry' CODEC(ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(ts)
ORDER BY (producer, boot, seq)
SETTINGS {deduplication_window} = 1000;

-- What was erased, when and by whom; whose it was, only as a keyed digest.
CREATE TABLE IF NOT EXISTS {database}.erasures{on_cluster}
(
    id UUID,
    at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    state Enum8('begun' = 1, 'done' = 2),
    what Enum8('tenant' = 1, 'actor' = 2, 'subject' = 3),
    digest String COMMENT 'keyed with redact.pseudonym_key_file',
    anonymised Bool COMMENT 'false: deleted',
    records UInt64 COMMENT 'rows of events and open_calls',
    dead_letters UInt64,
    archived UInt64 COMMENT 'rows of archive files',
    by String DEFAULT currentUser()
)
ENGINE = {engine}
ORDER BY (id, state)
SETTINGS {deduplication_window} = 1000;

-- As in 0006, but that what was removed on purpose is not missing.
CREATE OR REPLACE VIEW {database}.gaps{on_cluster} SQL SECURITY INVOKER AS
SELECT producer, boot, reach + 1 AS first, toUInt64(next - 1) AS last, toUInt64(next - reach - 1) AS records, since, ts AS until
FROM
(
    SELECT
        producer, boot, start AS next, ts,
        max(end) OVER before AS reach,
        max(ts) OVER before AS since
    FROM
    (
        SELECT producer, boot, seq AS start, seq AS end, ts FROM {database}.events
        UNION ALL SELECT producer, boot, seq, seq, ts FROM {database}.open_calls
        UNION ALL SELECT producer, boot, seq, seq, ts FROM {database}.removed WHERE why != 'anonymised'
        UNION ALL SELECT producer, boot, seq, seq, ts FROM {database}.losses WHERE seq > 0
        UNION ALL SELECT producer, boot, first, last, ts FROM {database}.losses
    )
    WINDOW before AS (PARTITION BY producer, boot ORDER BY start, end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
WHERE reach > 0 AND next > reach + 1;

CREATE OR REPLACE VIEW {database}.completeness{on_cluster} SQL SECURITY INVOKER AS
SELECT
    producer,
    boot,
    any(told.service) AS service,
    min(start) AS first_seq,
    max(end) AS last_seq,
    countIf(kind = 'stored') AS records,
    countIf(kind = 'removed') AS removed,
    toUInt64(sumIf(greatest(end, reach) - greatest(start - 1, reach), kind = 'lost')) AS known_lost,
    toUInt64(sumIf(start - reach - 1, reach > 0 AND start > reach + 1)) AS missing,
    if(missing = 0, last_seq, minIf(reach, reach > 0 AND start > reach + 1)) AS complete_to_seq,
    if(missing = 0, max(ts), minIf(since, reach > 0 AND start > reach + 1)) AS complete_until
FROM
(
    SELECT
        producer, boot, service, start, end, ts, kind,
        max(end) OVER before AS reach,
        max(ts) OVER before AS since
    FROM
    (
        SELECT producer, boot, service, seq AS start, seq AS end, ts, 'stored' AS kind FROM {database}.events
        UNION ALL SELECT producer, boot, service, seq, seq, ts, 'stored' FROM {database}.open_calls
        UNION ALL SELECT producer, boot, '', seq, seq, ts, 'removed' FROM {database}.removed WHERE why != 'anonymised'
        UNION ALL SELECT producer, boot, '', seq, seq, ts, 'stored' FROM {database}.losses WHERE seq > 0
        UNION ALL SELECT producer, boot, '', first, last, ts, 'lost' FROM {database}.losses
    )
    WINDOW before AS (PARTITION BY producer, boot ORDER BY start, end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS told
GROUP BY producer, boot
