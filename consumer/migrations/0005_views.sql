-- What people read. Each view runs with the rights of whoever asks (row policies hold), and adds
-- nothing to what is stored. Columns are described one by one in docs/sql.md.

-- Who did what, where, when, how it ended, in one line each.
CREATE VIEW IF NOT EXISTS {database}.activity{on_cluster} SQL SECURITY INVOKER AS
SELECT
    ts AS at,
    tenant,
    service,
    multiIf(actor_name != '', actor_name, actor_id != '', actor_id, 'anonymous') AS who,
    actor_on_behalf_of AS on_behalf_of,
    actor_source AS known_by,
    actor_verified AS verified,
    message AS what,
    op,
    resource_type,
    resource_id,
    effective_method AS method,
    path,
    if(operation_id != '', operation_id, if(route != '', concat(effective_method, ' ', route), '')) AS operation,
    replaceOne(toString(client_ip), '::ffff:', '') AS from_ip,
    outcome,
    if(status = 0, NULL, status) AS status,
    error,
    reason,
    duration_us / 1000 AS duration_ms,
    flags,
    request_id,
    trace_id,
    event_id
FROM {database}.events;

-- Every change of a thing, to be filtered by type and id and ordered by `at`.
CREATE VIEW IF NOT EXISTS {database}.resource_history{on_cluster} SQL SECURITY INVOKER AS
SELECT
    resource_type,
    resource_id,
    ts AS at,
    tenant,
    service,
    op,
    outcome,
    outcome = 'success' AS took_effect,
    multiIf(actor_name != '', actor_name, actor_id != '', actor_id, 'anonymous') AS who,
    actor_id,
    actor_on_behalf_of AS on_behalf_of,
    reason,
    request_body AS sent,
    request_body_state AS sent_state,
    message AS what,
    event_id
FROM {database}.events
WHERE resource_type != '' AND op != 'read';

-- OCSF 1.8.0, API Activity (class 6003). `FORMAT JSONEachRow` gives one OCSF event a line.
CREATE VIEW IF NOT EXISTS {database}.ocsf_api_activity{on_cluster} SQL SECURITY INVOKER AS
SELECT
    6 AS category_uid,
    'Application Activity' AS category_name,
    6003 AS class_uid,
    'API Activity' AS class_name,
    transform(toString(op), ['create', 'read', 'update', 'delete'], [1, 2, 3, 4], 99) AS activity_id,
    transform(toString(op), ['create', 'read', 'update', 'delete'], ['Create', 'Read', 'Update', 'Delete'], 'Other') AS activity_name,
    600300 + activity_id AS type_uid,
    concat('API Activity: ', activity_name) AS type_name,
    toUnixTimestamp64Milli(ts) AS time,
    toUnixTimestamp64Milli(ts) AS start_time,
    if(duration_us IS NULL, NULL, toUnixTimestamp64Milli(ts) + intDiv(duration_us, 1000)) AS end_time,
    intDiv(duration_us, 1000) AS duration,
    multiIf(outcome = 'denied', 2, outcome IN ('server_error', 'aborted'), 2, 1) AS severity_id,
    if(severity_id = 1, 'Informational', 'Low') AS severity,
    multiIf(outcome = 'success', 1, outcome = 'unknown', 0, 2) AS status_id,
    multiIf(outcome = 'success', 'Success', outcome = 'unknown', 'Unknown', 'Failure') AS status,
    if(events.status = 0, NULL, toString(events.status)) AS status_code,
    if(error != '', error, toString(outcome)) AS status_detail,
    events.message AS message,
    CAST(((actor_id, actor_name, transform(actor_type, ['user', 'admin', 'system', 'service'], [1, 2, 3, 4], if(actor_type = '', 0, 99)), actor_type, tenant, arrayMap(role -> CAST(tuple(role), 'Tuple(name String)'), actor_roles), actor_credential), service),
        'Tuple(user Tuple(uid String, name String, type_id UInt8, type String, domain String, groups Array(Tuple(name String)), credential_uid String), app_name String)') AS actor,
    CAST((if(operation_id != '', operation_id, concat(effective_method, ' ', if(route != '', route, path))), tuple(service), api_version, tuple(toString(event_id)), (events.status, if(error = '', NULL, error))),
        'Tuple(operation String, service Tuple(name String), version String, request Tuple(uid String), response Tuple(code UInt16, error Nullable(String)))') AS api,
    CAST((effective_method, http_version, user_agent, tuple(host, path, query, scheme), request_bytes, forwarded),
        'Tuple(http_method String, version String, user_agent String, url Tuple(hostname String, path String, query_string String, scheme String), body_length UInt64, x_forwarded_for String)') AS http_request,
    CAST((events.status, response_bytes), 'Tuple(code UInt16, body_length UInt64)') AS http_response,
    CAST(tuple(replaceOne(toString(client_ip), '::ffff:', '')), 'Tuple(ip String)') AS src_endpoint,
    CAST((service, host), 'Tuple(svc_name String, hostname String)') AS dst_endpoint,
    if(resource_type = '', [], [CAST((resource_type, resource_id), 'Tuple(type String, uid String)')]) AS resources,
    CAST(('1.8.0', toString(event_id), tenant, trace_id, toString(seq), toUnixTimestamp64Milli(ingested_at), ('Sidelog', 'Sidelog')),
        'Tuple(version String, uid String, tenant_uid String, correlation_uid String, sequence String, logged_time Int64, product Tuple(name String, vendor_name String))') AS metadata,
    CAST((toString(actor_source), actor_verified, actor_on_behalf_of, reason, flags, request_body, request_body_state, toString(producer), boot),
        'Tuple(actor_source String, actor_verified Bool, on_behalf_of String, reason String, flags Array(String), request_body String, request_body_state String, producer String, boot UInt64)') AS unmapped
FROM {database}.events AS events;

-- OpenTelemetry logs, with the columns that the collector's ClickHouse exporter writes; attributes by
-- the semantic conventions for HTTP.
CREATE VIEW IF NOT EXISTS {database}.otel_logs{on_cluster} SQL SECURITY INVOKER AS
SELECT
    CAST(ts, 'DateTime64(9, \'UTC\')') AS Timestamp,
    trace_id AS TraceId,
    '' AS SpanId,
    0 AS TraceFlags,
    if(outcome IN ('success', 'unknown'), 'INFO', if(outcome IN ('server_error', 'aborted'), 'ERROR', 'WARN')) AS SeverityText,
    transform(SeverityText, ['INFO', 'WARN', 'ERROR'], [9, 13, 17], 9) AS SeverityNumber,
    service AS ServiceName,
    message AS Body,
    CAST(map('service.name', service), 'Map(LowCardinality(String), String)') AS ResourceAttributes,
    'sidelog' AS ScopeName,
    '' AS ScopeVersion,
    CAST(map(), 'Map(LowCardinality(String), String)') AS ScopeAttributes,
    CAST(mapFilter((name, value) -> value != '', map(
        'http.request.method', effective_method,
        'http.request.method_original', if(method = effective_method, '', method),
        'http.request.body.size', toString(request_bytes),
        'http.response.status_code', if(status = 0, '', toString(status)),
        'http.response.body.size', toString(response_bytes),
        'http.route', route,
        'network.protocol.version', http_version,
        'network.peer.address', replaceOne(toString(peer_ip), '::ffff:', ''),
        'client.address', replaceOne(toString(client_ip), '::ffff:', ''),
        'server.address', host,
        'url.scheme', scheme,
        'url.path', path,
        'url.query', query,
        'user_agent.original', user_agent,
        'rpc.grpc.status_code', ifNull(toString(grpc_status), ''),
        'error.type', error,
        'user.id', actor_id,
        'user.name', actor_name,
        'user.roles', arrayStringConcat(actor_roles, ','),
        'sidelog.actor.source', toString(actor_source),
        'sidelog.actor.verified', if(actor_verified, 'true', 'false'),
        'sidelog.actor.on_behalf_of', actor_on_behalf_of,
        'sidelog.tenant', tenant,
        'sidelog.operation.id', operation_id,
        'sidelog.op', toString(op),
        'sidelog.resource.type', resource_type,
        'sidelog.resource.id', resource_id,
        'sidelog.outcome', toString(outcome),
        'sidelog.reason', reason,
        'sidelog.request.body', request_body,
        'sidelog.request.id', request_id,
        'sidelog.event.id', toString(event_id))), 'Map(LowCardinality(String), String)') AS LogAttributes,
    'sidelog.audit' AS EventName
FROM {database}.events
