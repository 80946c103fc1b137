-- As in 0008, and that no number is there twice.
CREATE OR REPLACE VIEW {database}.completeness{on_cluster} SQL SECURITY INVOKER AS
SELECT
    producer,
    boot,
    any(told.service) AS service,
    min(start) AS first_seq,
    max(end) AS last_seq,
    countIf(kind = 'stored') AS records,
    toUInt64(records - uniqExactIf(start, kind = 'stored')) AS doubled,
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
