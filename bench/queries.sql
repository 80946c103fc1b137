-- What people ask, for `make bench-store`. A name that ends in a colon finds a value for the questions
-- after it, which name it in braces; the others are measured.

-- tenant:
SELECT tenant FROM audit.events GROUP BY tenant ORDER BY count() DESC LIMIT 1 OFFSET 3

-- now:
SELECT max(ts) FROM audit.events

-- actor:
SELECT actor_id FROM audit.events WHERE tenant = '{tenant}' GROUP BY actor_id ORDER BY count() DESC LIMIT 1

-- rare_actor:
SELECT actor_id FROM audit.events GROUP BY actor_id ORDER BY count(), actor_id LIMIT 1

-- resource:
SELECT resource_id FROM audit.events WHERE tenant = '{tenant}' AND resource_type = 'pet' AND resource_id != '' GROUP BY resource_id ORDER BY count() DESC, resource_id LIMIT 1

-- ip:
SELECT replaceOne(toString(client_ip), '::ffff:', '') FROM audit.events WHERE actor_id = '{actor}' LIMIT 1

-- rare_ip:
SELECT replaceOne(toString(client_ip), '::ffff:', '') FROM audit.events GROUP BY client_ip ORDER BY count(), client_ip LIMIT 1

-- event_id:
SELECT event_id FROM audit.events WHERE ts < toDateTime64('{now}', 3, 'UTC') - INTERVAL 40 DAY ORDER BY ts DESC LIMIT 1

-- request_id:
SELECT request_id FROM audit.events WHERE request_id != '' AND ts < toDateTime64('{now}', 3, 'UTC') - INTERVAL 30 DAY ORDER BY ts DESC LIMIT 1

-- trace_id:
SELECT trace_id FROM audit.events WHERE trace_id != '' AND ts < toDateTime64('{now}', 3, 'UTC') - INTERVAL 20 DAY ORDER BY ts DESC LIMIT 1

-- credential:
SELECT actor_credential FROM audit.events WHERE tenant = '{tenant}' AND ts < toDateTime64('{now}', 3, 'UTC') - INTERVAL 10 DAY ORDER BY ts DESC LIMIT 1

-- place:
SELECT ts FROM audit.events WHERE tenant = '{tenant}' ORDER BY ts DESC LIMIT 1 OFFSET 950

-- latest 50 of a tenant
SELECT * FROM audit.activity WHERE tenant = '{tenant}' ORDER BY at DESC LIMIT 50

-- latest 50 of a tenant, 24 hours
SELECT * FROM audit.activity WHERE tenant = '{tenant}' AND at > toDateTime64('{now}', 3, 'UTC') - INTERVAL 1 DAY ORDER BY at DESC LIMIT 50

-- page 20 of a tenant
SELECT * FROM audit.activity WHERE tenant = '{tenant}' AND at < '{place}' ORDER BY at DESC, event_id DESC LIMIT 50

-- what one token did, a tenant
SELECT ts, message, status FROM audit.events WHERE tenant = '{tenant}' AND actor_credential = '{credential}' ORDER BY ts DESC LIMIT 50

-- a busy actor of a tenant
SELECT ts, message, status FROM audit.events WHERE tenant = '{tenant}' AND actor_id = '{actor}' ORDER BY ts DESC LIMIT 50

-- a rare actor, all tenants
SELECT ts, message, status FROM audit.events WHERE actor_id = '{rare_actor}' ORDER BY ts DESC LIMIT 50

-- an operation of a tenant
SELECT ts, message, status FROM audit.events WHERE tenant = '{tenant}' AND operation_id = 'deletePet' ORDER BY ts DESC LIMIT 50

-- a resource of a tenant
SELECT at, op, who, outcome, sent FROM audit.resource_history WHERE tenant = '{tenant}' AND resource_type = 'pet' AND resource_id = '{resource}' ORDER BY at DESC LIMIT 50

-- a resource, all tenants
SELECT at, op, who, outcome, sent FROM audit.resource_history WHERE resource_type = 'pet' AND resource_id = '{resource}' ORDER BY at DESC LIMIT 50

-- an address of a tenant
SELECT ts, message, status FROM audit.events WHERE tenant = '{tenant}' AND client_ip = toIPv6('{ip}') ORDER BY ts DESC LIMIT 50

-- a rare address, all tenants
SELECT ts, message, status FROM audit.events WHERE client_ip = toIPv6('{rare_ip}') ORDER BY ts DESC LIMIT 50

-- a path parameter, all tenants
SELECT ts, message, status FROM audit.events WHERE has(mapValues(path_params), '{resource}') ORDER BY ts DESC LIMIT 50

-- calls by hour, a tenant, 90 days
SELECT toStartOfHour(ts) AS hour, count(), countIf(outcome != 'success') FROM audit.events WHERE tenant = '{tenant}' GROUP BY hour ORDER BY hour

-- calls by hour, all tenants, 7 days
SELECT toStartOfHour(ts) AS hour, count(), countIf(outcome != 'success') FROM audit.events WHERE ts > toDateTime64('{now}', 3, 'UTC') - INTERVAL 7 DAY GROUP BY hour ORDER BY hour

-- top actors of a tenant, 30 days
SELECT actor_id, count() AS calls FROM audit.events WHERE tenant = '{tenant}' AND ts > toDateTime64('{now}', 3, 'UTC') - INTERVAL 30 DAY GROUP BY actor_id ORDER BY calls DESC LIMIT 20

-- denied calls of a tenant
SELECT who, known_by, method, path, status, count() AS times, max(at) AS last FROM audit.activity WHERE tenant = '{tenant}' AND outcome = 'denied' AND at > toDateTime64('{now}', 3, 'UTC') - INTERVAL 7 DAY GROUP BY who, known_by, method, path, status ORDER BY times DESC LIMIT 50

-- server errors, all tenants, 24 hours
SELECT ts, tenant, message, status FROM audit.events WHERE status >= 500 AND ts > toDateTime64('{now}', 3, 'UTC') - INTERVAL 1 DAY ORDER BY ts DESC LIMIT 50

-- by event id
SELECT * FROM audit.events WHERE event_id = '{event_id}'

-- by request id
SELECT ts, message, status FROM audit.events WHERE request_id = '{request_id}'

-- by trace id
SELECT ts, service, message FROM audit.events WHERE trace_id = '{trace_id}' ORDER BY ts

-- a word of the message, a tenant
SELECT ts, message FROM audit.events WHERE tenant = '{tenant}' AND hasAllTokens(message, 'deleted') ORDER BY ts DESC LIMIT 50

-- text in bodies, a tenant, 7 days (no index)
SELECT ts, message FROM audit.events WHERE tenant = '{tenant}' AND ts > toDateTime64('{now}', 3, 'UTC') - INTERVAL 7 DAY AND positionCaseInsensitive(request_body, 'quality check') > 0 ORDER BY ts DESC LIMIT 50
