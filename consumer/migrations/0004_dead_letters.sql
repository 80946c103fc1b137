-- Records that could not be read, where there is no Kafka topic to put them (standalone).
CREATE TABLE IF NOT EXISTS {database}.dead_letters{on_cluster}
(
    ts DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    reason LowCardinality(String),
    origin String,
    payload String CODEC(ZSTD(3))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(ts)
ORDER BY (ts, origin)
SETTINGS {deduplication_window} = 1000
