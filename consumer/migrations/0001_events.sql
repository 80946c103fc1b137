-- One row per audited call. Consumers insert one table partition (month) at a time: see store.rs.
CREATE TABLE IF NOT EXISTS {database}.events{on_cluster}
(
    event_id UUID COMMENT 'UUIDv7, fixed when the request arrived' CODEC(ZSTD(1)),
    ts DateTime64(3, 'UTC') COMMENT 'when the request head was complete' CODEC(Delta(8), ZSTD(1)),
    stage Enum8('started' = 1, 'completed' = 2, 'orphaned' = 3) COMMENT 'orphaned: the sidecar died during the call',
    duration_us Nullable(UInt64) COMMENT 'to the last byte of the response; NULL: its end was not seen' CODEC(ZSTD(1)),
    service LowCardinality(String),

    tenant LowCardinality(String),
    actor_id LowCardinality(String),
    actor_name LowCardinality(String),
    actor_type LowCardinality(String),
    actor_roles Array(LowCardinality(String)),
    actor_source Enum8('verified_jwt' = 1, 'mtls' = 2, 'trusted_header' = 3, 'unverified_jwt' = 4, 'basic' = 5, 'api_key' = 6, 'anonymous' = 7) COMMENT 'where the identity comes from',
    actor_verified Bool,
    actor_unverified_reason LowCardinality(String),
    actor_credential String COMMENT 'keyed fingerprint of the credential' CODEC(ZSTD(1)),

    client_ip IPv6 COMMENT 'the address believed; :: when it is none' CODEC(ZSTD(1)),
    client_ip_source LowCardinality(String),
    peer_ip IPv6 CODEC(ZSTD(1)),
    forwarded String COMMENT 'the forwarding header, whole, believed or not' CODEC(ZSTD(1)),

    method LowCardinality(String),
    effective_method LowCardinality(String) COMMENT 'after a method override',
    http_version LowCardinality(String),
    scheme LowCardinality(String),
    host LowCardinality(String),
    path String CODEC(ZSTD(1)),
    query String COMMENT 'secrets masked' CODEC(ZSTD(1)),
    status UInt16 COMMENT '0: none was sent',
    user_agent LowCardinality(String),
    request_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),

    operation_match Enum8('matched' = 1, 'ambiguous' = 2, 'method_not_in_spec' = 3, 'unmatched' = 4),
    operation_id LowCardinality(String),
    route LowCardinality(String) COMMENT 'path template',
    summary LowCardinality(String),
    tags Array(LowCardinality(String)),
    api_version LowCardinality(String),
    alternatives Array(LowCardinality(String)) COMMENT 'other operations that fit equally',
    path_params Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    op Enum8('create' = 1, 'update' = 2, 'delete' = 3, 'read' = 4, 'other' = 5),
    resource_type LowCardinality(String),
    resource_id String CODEC(ZSTD(1)),

    outcome Enum8('success' = 1, 'denied' = 2, 'client_error' = 3, 'server_error' = 4, 'aborted' = 5, 'unknown' = 6),
    error LowCardinality(String),
    reason String COMMENT 'why the caller did it' CODEC(ZSTD(1)),

    request_content_type LowCardinality(String),
    request_bytes UInt64 CODEC(T64, ZSTD(1)),
    request_digest String CODEC(ZSTD(1)),
    request_body String COMMENT 'redacted' CODEC(ZSTD(3)),
    request_body_state LowCardinality(String),
    response_content_type LowCardinality(String),
    response_bytes UInt64 CODEC(T64, ZSTD(1)),
    response_digest String CODEC(ZSTD(1)),
    response_body String COMMENT 'redacted' CODEC(ZSTD(3)),
    response_body_state LowCardinality(String),
    redaction_count UInt32,
    redaction_rules Array(LowCardinality(String)),

    level Enum8('none' = 1, 'metadata' = 2, 'request' = 3, 'request_response' = 4),
    delivery Enum8('queued' = 1, 'written' = 2, 'strict' = 3),
    policy LowCardinality(String) COMMENT 'the rule that decided level and delivery',
    flags Array(LowCardinality(String)),
    message String COMMENT 'one readable line' CODEC(ZSTD(1)),

    producer UUID COMMENT 'the journal that shipped it; (producer, boot, seq) has no holes' CODEC(ZSTD(1)),
    boot UInt64 CODEC(T64, ZSTD(1)),
    seq UInt64 CODEC(Delta(8), ZSTD(1)),
    kafka_topic LowCardinality(String) COMMENT 'empty: read from a journal',
    kafka_partition Int32,
    kafka_offset Int64 CODEC(Delta(8), ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),

    INDEX ix_ts ts TYPE minmax GRANULARITY 1,
    INDEX ix_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_actor_id actor_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_client_ip client_ip TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_request_id request_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_resource_id resource_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_path_params mapValues(path_params) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_operation_id operation_id TYPE set(100) GRANULARITY 1,
    INDEX ix_status status TYPE minmax GRANULARITY 1,
    INDEX ix_message message TYPE text(tokenizer = 'splitByNonAlpha', preprocessor = lower(message))
)
ENGINE = {engine}
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, ts, event_id)
SETTINGS default_compression_codec = 'ZSTD(1)', {deduplication_window} = 1000
