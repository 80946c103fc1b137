-- What one would set up instead of a consumer: ClickHouse reads the topic itself. One table over the
-- topic, whose JSON is parsed once, into tuples; one materialized view that fills audit.events.
-- It stores what comes twice twice, and knows neither losses, gaps, open calls nor dead letters.
CREATE TABLE audit.queue
(
    v UInt32, producer UUID, boot UInt64, seq UInt64,
    event Tuple(
        event_id UUID, stage String, time DateTime64(3, 'UTC'), duration_us Nullable(UInt64), service String,
        http Tuple(version String, method String, effective_method String, scheme String, host String, path String,
            query String, status UInt16, grpc_status Nullable(UInt16), user_agent String, request_id String,
            idempotency_key String, trace_id String),
        operation Tuple(`match` String, id String, route String, summary String, tags Array(String), api_version String,
            alternatives Array(String), path_params Map(String, String), op String, resource_type String,
            resource_id String, protocol String, calls Array(String), calls_total UInt32),
        actor Tuple(id String, name String, type String, tenant String, roles Array(String), source String,
            verified Bool, on_behalf_of String, unverified_reason String, credential String),
        client Tuple(ip String, ip_source String, peer_ip String, forwarded String),
        outcome String, error String, reason String,
        request Tuple(content_type String, bytes UInt64, messages Nullable(UInt64), digest String, body String, body_state String),
        response Tuple(content_type String, bytes UInt64, messages Nullable(UInt64), digest String, body String, body_state String),
        redactions Tuple(count UInt32, rules Array(String)),
        level String, delivery String, policy String, flags Array(String), message String)
)
ENGINE = Kafka
SETTINGS kafka_broker_list = '{brokers}', kafka_topic_list = '{topic}', kafka_group_name = '{group}',
    kafka_format = 'JSONEachRow', {tuning} date_time_input_format = 'best_effort';

CREATE MATERIALIZED VIEW audit.queue_to_events TO audit.events AS
SELECT
    event.event_id AS event_id, event.time AS ts, event.stage AS stage, event.duration_us AS duration_us,
    event.service AS service,
    event.actor.tenant AS tenant, event.actor.id AS actor_id, event.actor.name AS actor_name,
    event.actor.type AS actor_type, event.actor.roles AS actor_roles, event.actor.source AS actor_source,
    event.actor.verified AS actor_verified, event.actor.on_behalf_of AS actor_on_behalf_of,
    event.actor.unverified_reason AS actor_unverified_reason, event.actor.credential AS actor_credential,
    toIPv6OrDefault(event.client.ip) AS client_ip, event.client.ip_source AS client_ip_source,
    toIPv6OrDefault(event.client.peer_ip) AS peer_ip, event.client.forwarded AS forwarded,
    event.http.method AS method, event.http.effective_method AS effective_method, event.http.version AS http_version,
    event.http.scheme AS scheme, event.http.host AS host, event.http.path AS path, event.http.query AS query,
    event.http.status AS status, event.http.grpc_status AS grpc_status, event.http.user_agent AS user_agent,
    event.http.request_id AS request_id, event.http.idempotency_key AS idempotency_key, event.http.trace_id AS trace_id,
    event.operation.`match` AS operation_match, event.operation.id AS operation_id, event.operation.route AS route,
    event.operation.summary AS summary, event.operation.tags AS tags, event.operation.api_version AS api_version,
    event.operation.alternatives AS alternatives, event.operation.path_params AS path_params, event.operation.op AS op,
    event.operation.resource_type AS resource_type, event.operation.resource_id AS resource_id,
    event.operation.protocol AS protocol, event.operation.calls AS calls, event.operation.calls_total AS calls_total,
    event.outcome AS outcome, event.error AS error, event.reason AS reason,
    event.request.content_type AS request_content_type, event.request.bytes AS request_bytes,
    event.request.messages AS request_messages, event.request.digest AS request_digest,
    event.request.body AS request_body, event.request.body_state AS request_body_state,
    event.response.content_type AS response_content_type, event.response.bytes AS response_bytes,
    event.response.messages AS response_messages, event.response.digest AS response_digest,
    event.response.body AS response_body, event.response.body_state AS response_body_state,
    event.redactions.count AS redaction_count, event.redactions.rules AS redaction_rules,
    event.level AS level, event.delivery AS delivery, event.policy AS policy, event.flags AS flags,
    event.message AS message,
    producer, boot, seq, _topic AS kafka_topic, _partition AS kafka_partition, _offset AS kafka_offset
FROM audit.queue
WHERE event.stage != 'started'
