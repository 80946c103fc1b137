-- How far the log is complete. Each record of a producer has a number without holes per boot, so what is
-- missing can be computed from what is there. Both views read the numbers of every record: name a
-- producer where there are many.

-- Numbers that are neither stored nor named by a loss. None before the first number that is there:
-- those have expired, or their loss was recorded when they did not come.
CREATE VIEW IF NOT EXISTS {database}.gaps{on_cluster} SQL SECURITY INVOKER AS
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
        UNION ALL SELECT producer, boot, seq, seq, ts FROM {database}.losses WHERE seq > 0
        UNION ALL SELECT producer, boot, first, last, ts FROM {database}.losses
    )
    WINDOW before AS (PARTITION BY producer, boot ORDER BY start, end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
WHERE reach > 0 AND next > reach + 1;

-- One row per producer and boot: complete up to when, how many are known to be lost, how many are
-- missing without a reason.
CREATE VIEW IF NOT EXISTS {database}.completeness{on_cluster} SQL SECURITY INVOKER AS
SELECT
    producer,
    boot,
    any(told.service) AS service,
    min(start) AS first_seq,
    max(end) AS last_seq,
    countIf(NOT lost) AS records,
    toUInt64(sumIf(greatest(end, reach) - greatest(start - 1, reach), lost)) AS known_lost,
    toUInt64(sumIf(start - reach - 1, reach > 0 AND start > reach + 1)) AS missing,
    if(missing = 0, last_seq, minIf(reach, reach > 0 AND start > reach + 1)) AS complete_to_seq,
    if(missing = 0, max(ts), minIf(since, reach > 0 AND start > reach + 1)) AS complete_until
FROM
(
    SELECT
        producer, boot, service, start, end, ts, lost,
        max(end) OVER before AS reach,
        max(ts) OVER before AS since
    FROM
    (
        SELECT producer, boot, service, seq AS start, seq AS end, ts, false AS lost FROM {database}.events
        UNION ALL SELECT producer, boot, service, seq, seq, ts, false FROM {database}.open_calls
        UNION ALL SELECT producer, boot, '', seq, seq, ts, false FROM {database}.losses WHERE seq > 0
        UNION ALL SELECT producer, boot, '', first, last, ts, true FROM {database}.losses
    )
    WINDOW before AS (PARTITION BY producer, boot ORDER BY start, end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) AS told
GROUP BY producer, boot
