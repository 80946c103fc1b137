-- Ranges of sequence numbers without events, each with its reason.
CREATE TABLE IF NOT EXISTS {database}.losses{on_cluster}
(
    ts DateTime64(3, 'UTC') COMMENT 'when it was lost, or when the consumer saw the record after it' CODEC(Delta(8), ZSTD(1)),
    producer UUID,
    boot UInt64,
    first UInt64,
    last UInt64,
    reason LowCardinality(String) COMMENT 'told by the producer, or: gap (never arrived), dead_letter (arrived, not readable)',
    seq UInt64 COMMENT 'place of the record that told it; 0: found by the consumer',
    told_boot UInt64 COMMENT 'boot of that record: a later one, where damage was found at a start',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(ts)
ORDER BY (producer, boot, first)
SETTINGS {deduplication_window} = 1000
