-- Calls that were open for long, or whose intent was strict: same columns as events. The call's end,
-- if it was seen, is a row of events with the same event_id.
CREATE TABLE IF NOT EXISTS {database}.open_calls{on_cluster} AS {database}.events
ENGINE = {engine}
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, ts, event_id)
SETTINGS default_compression_codec = 'ZSTD(1)', {deduplication_window} = 1000
