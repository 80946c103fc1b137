//! The configuration as typed: every key, its type, its default and what it means. The JSON Schema
//! is derived from here, and the schema is what a file's shape is checked against ([`super::shape`]),
//! so what editors complete, what the reference says and what is accepted cannot differ.
//!
//! Refuses nothing by itself: text is judged in [`super::load`], where everything wrong is collected.

mod defaults;
mod edges;
mod retention;

pub(super) use edges::{ClientAuth, ForwardAddress, Http2, ProxyProtocol, Tls, Upgrade, UpstreamTls};

pub use edges::OtherUpgrades;
pub(super) use retention::Retention;

use super::tree::At;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use sidelog_event::{Delivery, Level};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) type Texts = Vec<At<String>>;

/// Sidelog's configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["service", "upstream"]))]
pub(super) struct File {
    /// Version of this format.
    #[schemars(range(min = 1, max = 1))]
    pub version: At<u32>,
    /// The service's name, in every event.
    #[schemars(example = &"orders")]
    pub service: At<String>,
    /// Address that clients connect to, or `unix:/path` of a socket file.
    #[schemars(example = &"0.0.0.0:15080")]
    pub listen: At<String>,
    /// The mode of the socket file of `listen: unix:/path`.
    #[schemars(example = &"0660")]
    pub listen_mode: At<Mode>,
    /// TLS for clients. Without it, `listen` speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<At<Tls>>,
    /// Load balancers that begin each connection with a PROXY header (version 1 or 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<At<ProxyProtocol>>,
    /// The service itself: `http://`, `https://` or `unix:/path`. One connection is opened to it for each
    /// client connection.
    #[schemars(example = &"http://127.0.0.1:8080")]
    pub upstream: At<String>,
    /// How the service is spoken to where `upstream` is https://.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<At<UpstreamTls>>,
    /// Whether the service speaks HTTP/2, and so what clients are offered in a TLS handshake. Clients
    /// without TLS just begin.
    #[schemars(example = &"on")]
    pub upstream_http2: At<Http2>,
    /// How the service is told the client's address.
    #[schemars(example = &"x_forwarded_for")]
    pub forward_address: At<ForwardAddress>,
    /// The address of this host that connections to the service come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"127.0.0.2")]
    pub source_address: Option<At<String>>,
    /// OpenAPI documents (2.0, 3.0, 3.1, 3.2) that name the operations; relative to this file.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["openapi.yaml"]]))]
    pub openapi: Texts,
    /// What stands before the documents' paths: `auto` (from their servers), `none`, or a list of
    /// prefixes such as `[/v1]`.
    #[schemars(schema_with = "base_path", example = &"auto")]
    #[serde(serialize_with = "one_alone")]
    pub base_path: Texts,
    /// Names of path parameters that may span slashes, for documents that cannot say so themselves
    /// (`x-multi-segment: true` at the parameter does): `[path]` lets `/secret/{path}` match
    /// `/secret/a/b`.
    #[schemars(schema_with = "text_or_list", example = &["path"])]
    pub multi_segment: Texts,
    pub audit: Audit,
    pub capture: Capture,
    /// Where the actor's identity is taken from; the first that yields one wins.
    pub actor: Vec<At<Actor>>,
    pub client_ip: ClientIp,
    pub reason: Reason,
    /// Readable lines in words of your own; they come before `x-audit-message` of documents.
    pub messages: Vec<At<MessageRule>>,
    pub redact: Redact,
    pub journal: Journal,
    /// Where events go. Without it, they stay in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<At<Kafka>>,
    pub clickhouse: ClickHouse,
    pub retention: Retention,
    pub admin: Admin,
    pub relay: Relay,
    pub standalone: Standalone,
    pub reload: Reload,
}

/// Which calls are recorded, and how much of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Audit {
    /// Calls that are never recorded: paths, templates and globs (`/v1/hooks/**`), or
    /// `operation: id`, or `tag: name`.
    pub ignore: Vec<At<Selector>>,
    /// Reads that are recorded all the same, written like `ignore`.
    pub include_reads: Vec<At<Selector>>,
    /// First match wins, before `ignore` and the defaults.
    pub rules: Vec<At<Rule>>,
    /// Level of a mutating call that matches no operation.
    #[schemars(example = &"metadata")]
    pub unmatched: At<Level>,
    /// Level of every other mutating call.
    #[schemars(example = &"request_response")]
    pub level: At<Level>,
    /// What must be on disk before a call is forwarded.
    #[schemars(example = &"queued")]
    pub delivery: At<Delivery>,
    /// A call that is open for longer is told of before it ends; `0s`: never.
    #[schemars(example = &"30s")]
    pub started_after: At<Span>,
    /// Refused requests recorded each second, at most; 0: they are only counted.
    #[schemars(range(max = 10_000), example = 10)]
    pub refusals_per_second: At<u32>,
}

/// A path, template or glob, or one of `operation`, `tag` and `path`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Selector {
    Path(String),
    By(SelectorBy),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct SelectorBy {
    /// An `operationId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// A tag of operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A path, template or glob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One rule: what it matches, and what then holds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["match"]))]
pub(super) struct Rule {
    /// Every kind that is given must fit; within a kind, one is enough.
    #[serde(rename = "match")]
    #[schemars(example = serde_json::json!({"methods": ["POST"], "paths": ["/v1/payments/**"]}))]
    pub matches: At<Match>,
    /// How much is recorded; `audit.level` where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<At<Level>>,
    /// What must be on disk first; `audit.delivery` where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<At<Delivery>>,
}

/// At least one kind is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Match {
    /// HTTP methods.
    #[schemars(schema_with = "text_or_list")]
    pub methods: Texts,
    /// Paths, templates and globs.
    #[schemars(schema_with = "text_or_list")]
    pub paths: Texts,
    /// `operationId`s.
    #[schemars(schema_with = "text_or_list")]
    pub operations: Texts,
    /// Tags of operations.
    #[schemars(schema_with = "text_or_list")]
    pub tags: Texts,
}

/// What is kept of bodies.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Capture {
    /// Bytes of each body kept for the event, at most 16MiB. Traffic is never cut.
    #[schemars(example = &"64KiB")]
    pub max_body: At<Size>,
    /// Bytes of a compressed body after decompression, at most 64MiB. Of larger ones only length and
    /// digest are kept, and decompression stops there.
    #[schemars(example = &"1MiB")]
    pub max_decoded: At<Size>,
}

/// One source of the actor's identity.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct Actor {
    /// A JSON Web Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<At<Jwt>>,
    /// Headers set by a proxy that is trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<At<Header>>,
    /// The client's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtls: Option<At<Empty>>,
    /// The user name of HTTP Basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<At<Empty>>,
    /// An API key, recorded as a keyed fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<At<ApiKey>>,
    /// A session cookie, recorded as a keyed fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<At<Cookie>>,
    /// The client's certificate, as a proxy that ended the TLS connection forwards it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_cert: Option<At<ForwardedCert>>,
}

/// Takes no keys: `{}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Empty {}

/// A JSON Web Token: verified where a JWKS is given, otherwise marked as unverified.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Jwt {
    /// The request header with the token; `Bearer` before it is fine.
    #[schemars(example = &"Authorization")]
    pub header: At<String>,
    /// The issuer's public keys (a JWKS document); relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"keys.json")]
    pub jwks_file: Option<At<String>>,
    /// Where the issuer publishes its keys, instead of a file. Until they are fetched, tokens are
    /// not verified (`no_key`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://login.example.com/.well-known/jwks.json")]
    pub jwks_url: Option<At<String>>,
    pub jwks_fetch: JwksFetch,
    /// The `iss` a token must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"https://login.example.com/")]
    pub issuer: Option<At<String>>,
    /// The `aud` of which a token must have one.
    #[schemars(schema_with = "text_or_list")]
    pub audience: Texts,
    /// Accepted algorithms; empty: those that fit the keys.
    pub algorithms: Vec<At<Algorithm>>,
    /// Clock skew that is allowed.
    #[schemars(example = &"30s")]
    pub leeway: At<Span>,
    pub claims: Claims,
}

/// How keys are fetched from `jwks_url`, beside the traffic. The last good ones stay when it fails.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct JwksFetch {
    /// How often; at least 10s.
    #[schemars(example = &"10m")]
    pub refresh: At<Span>,
    /// The least time between two fetches, however many tokens name unknown keys; at least 1s.
    #[schemars(example = &"30s")]
    pub cooldown: At<Span>,
    /// For one fetch as a whole; at least 100ms.
    #[schemars(example = &"5s")]
    pub timeout: At<Span>,
    /// A longer answer is not read; 1KiB to 16MiB.
    #[schemars(example = &"256KiB")]
    pub max_bytes: At<Size>,
    /// PEM file with the authorities that may have signed the server's certificate, instead of the
    /// system's; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"ca.pem")]
    pub ca_file: Option<At<String>>,
}

/// Signature algorithms of RFC 7518 and 8037. There is no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(clippy::upper_case_acronyms)]
pub(super) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// The claims that hold the actor; nested ones by dots (`realm_access.roles`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Claims {
    /// Who it is; unique and lasting.
    pub id: At<String>,
    /// A readable name.
    pub name: At<String>,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"org_id")]
    pub tenant: Option<At<String>>,
    /// A list of roles, or text with spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"realm_access.roles")]
    pub roles: Option<At<String>>,
    /// What kind of actor it is (user, service, …). Without it, `service` where the token is evidently
    /// a client's own: `gty: client-credentials`, `idtyp: app`, or `client_id` equal to `sub`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"typ")]
    pub kind: Option<At<String>>,
    /// Who acts for the token's subject (RFC 8693), an object with `sub`, or text. Where it is there,
    /// it is the actor, and the subject is whom the call is made on behalf of.
    #[schemars(example = &"act")]
    pub act: At<String>,
}

/// Headers set by a proxy. Believed only from the peers named in `trusted_from`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["id", "trusted_from"]))]
pub(super) struct Header {
    /// The header with the actor's id.
    #[schemars(example = &"X-User-Id")]
    pub id: At<String>,
    /// The header with a readable name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-User-Name")]
    pub name: Option<At<String>>,
    /// The header with the kind of actor (user, service, …).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-User-Type")]
    pub kind: Option<At<String>>,
    /// The header with whom the actor acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-On-Behalf-Of")]
    pub on_behalf_of: Option<At<String>>,
    /// The header with the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-Tenant")]
    pub tenant: Option<At<String>>,
    /// The header with roles, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-Roles")]
    pub roles: Option<At<String>>,
    /// Addresses and networks whose word is taken.
    #[schemars(schema_with = "text_or_list", extend("minItems" = 1, "examples" = [["10.0.0.0/8"]]))]
    pub trusted_from: Texts,
}

/// An API key in a header.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiKey {
    /// The header with the key.
    #[schemars(example = &"X-Api-Key")]
    pub header: At<String>,
}

/// A session cookie.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct Cookie {
    /// Its name; upper and lower case matter.
    #[schemars(example = &"sid")]
    pub name: At<String>,
}

/// A header with the client's certificate or its subject. Believed only from the peers named in
/// `trusted_from`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["trusted_from"]))]
pub(super) struct ForwardedCert {
    /// The header: Envoy's elements, a certificate (PEM, URL-encoded or not; base64), or a
    /// distinguished name.
    #[schemars(example = &"X-SSL-Client-Cert")]
    pub header: At<String>,
    /// The header that says whether the certificate is good (`SUCCESS` or `0`), for proxies that pass
    /// others on too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-SSL-Client-Verify")]
    pub verify_header: Option<At<String>>,
    /// Addresses and networks whose word is taken.
    #[schemars(schema_with = "text_or_list", extend("minItems" = 1, "examples" = [["10.0.0.0/8"]]))]
    pub trusted_from: Texts,
}

/// Where the client's address is taken from. Without it, the peer is the client.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClientIp {
    /// `X-Forwarded-For`, `Forwarded` or `X-Real-IP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"X-Forwarded-For")]
    pub header: Option<At<String>>,
    /// Proxies whose word is taken; the client is the last address that is none of them.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["10.0.0.0/8"]]))]
    pub trusted_proxies: Texts,
}

/// Where callers say why they do something; the first that is there counts. A document's
/// `x-audit-reason` comes before these; what the head says, before what the body says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reason {
    /// Headers.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["X-Audit-Reason"]]))]
    pub header: Texts,
    /// Query parameters.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["reason"]]))]
    pub query: Texts,
    /// Members of JSON bodies, nested ones by dots, or fields of forms. Only what `capture.max_body`
    /// keeps is looked at.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["change.comment"]]))]
    pub body: Texts,
}

/// What the readable line of some operations says.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["operations", "text"]))]
pub(super) struct MessageRule {
    /// `operationId`s, or method and template: `POST /v1/workflows/{id}/start`.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["startWorkflow"]]))]
    pub operations: Texts,
    /// With `{actor}`, `{path.NAME}`, `{query.NAME}`, `{body.MEMBER}` and other members of the event in
    /// their places; at most 300 characters.
    #[schemars(example = &"{actor} started workflow {path.id}")]
    pub text: At<String>,
}

/// What is masked, besides what always is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redact {
    /// More names (of JSON keys, form fields, parameters and headers) whose values are masked.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["iban"]]))]
    pub keys: Texts,
    /// Names that are not masked for their name; values that look like secrets still are.
    #[schemars(schema_with = "text_or_list", extend("examples" = [["token_type"]]))]
    pub keep: Texts,
    /// What becomes of fields and query parameters that the OpenAPI document does not declare.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"mask")]
    pub unknown: Option<At<Unknown>>,
    /// The key of keyed digests, at least 16 bytes; relative to this file. Without it a random one
    /// is made in the journal directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/run/secrets/redact.key")]
    pub pseudonym_key_file: Option<At<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unknown {
    /// Their values are kept, unless they are masked for another reason.
    #[default]
    Keep,
    /// Their values are masked, all of them where no operation matches; their names stay.
    Mask,
}

/// The queue on disk between traffic and Kafka.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Journal {
    /// Its directory, which must outlive the process.
    #[schemars(example = &"/var/lib/sidelog")]
    pub dir: At<String>,
    /// Bytes it may take on disk, at least 4MiB.
    #[schemars(example = &"256MiB")]
    pub max_bytes: At<Size>,
    /// What happens when it is full.
    #[schemars(example = &"refuse")]
    pub on_full: At<OnFull>,
    /// Audited calls in flight at once.
    #[schemars(range(min = 1, max = 1_048_576), example = 4096)]
    pub max_open_calls: At<u32>,
    /// How long a `strict` call may wait for the disk before it is refused.
    #[schemars(example = &"2s")]
    pub sync_timeout: At<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnFull {
    /// Traffic goes on; the loss is counted and recorded.
    #[default]
    Drop,
    /// Mutating calls that would be audited get 503.
    Refuse,
}

/// The brokers that events are shipped to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["brokers"]))]
pub(super) struct Kafka {
    /// `host:port` of some brokers; they tell the others.
    #[schemars(schema_with = "text_or_list", extend("minItems" = 1, "examples" = [["kafka:9092"]]))]
    pub brokers: Texts,
    /// The topic of events.
    #[schemars(example = &"audit.events")]
    pub topic: At<String>,
    /// More librdkafka properties. Passwords only by variable.
    #[schemars(example = serde_json::json!({"security.protocol": "ssl"}))]
    pub properties: BTreeMap<String, At<Scalar>>,
}

/// Where the consumer stores events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ClickHouse {
    /// Its HTTP interface.
    #[schemars(example = &"http://clickhouse:8123")]
    pub url: At<String>,
    /// The database with the table `events`.
    #[schemars(example = &"audit")]
    pub database: At<String>,
    /// The user who inserts.
    #[schemars(example = &"writer")]
    pub user: At<String>,
    /// A file with the user's password; relative to this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/run/secrets/clickhouse")]
    pub password_file: Option<At<String>>,
    /// Its cluster: tables are then replicated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"main")]
    pub cluster: Option<At<String>>,
    pub readers: Readers,
}

/// What one question may cost those who read (`sidelog-consumer access`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Readers {
    /// Rows of an answer.
    #[schemars(range(min = 1), example = 1_000_000)]
    pub max_rows: At<u64>,
    /// Bytes of an answer.
    #[schemars(example = &"1GiB")]
    pub max_bytes: At<Size>,
    /// How long it may take, at least 1s.
    #[schemars(example = &"60s")]
    pub max_time: At<Span>,
    /// Memory of the server that it may take.
    #[schemars(example = &"2GiB")]
    pub max_memory: At<Size>,
}

/// Addresses for operators.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// For probes and metrics: `/healthz`, `/readyz`, `/metrics`.
    #[schemars(example = &"0.0.0.0:15090")]
    pub listen: At<String>,
    /// For this host only: `/config`, `/tap`, `/drain`, `/explain`.
    #[schemars(example = &"127.0.0.1:15091")]
    pub local: At<String>,
}

/// Bounds of the byte relay.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Relay {
    /// Bytes of a request head, 1KiB to 256KiB. (A response head may have 1MiB.)
    #[schemars(example = &"64KiB")]
    pub max_head: At<Size>,
    /// Fields of a head.
    #[schemars(range(min = 1, max = 4096), example = 1000)]
    pub max_fields: At<u32>,
    /// How long a client may take to send a head once it began.
    #[schemars(example = &"60s")]
    pub head_timeout: At<Span>,
    /// How long calls in flight may go on after SIGTERM.
    #[schemars(example = &"25s")]
    pub drain_timeout: At<Span>,
    /// Connections at once; 0: as many as the process may have files.
    #[schemars(range(max = 10_000_000), example = 0)]
    pub max_connections: At<u32>,
    /// HTTP/2 streams open at once on one connection.
    #[schemars(range(min = 1, max = 100_000), example = 1000)]
    pub max_streams: At<u32>,
    /// HTTP/2 streams a client may abandon unanswered per second, averaged over ten; more end its
    /// connection. 0: any number.
    #[schemars(range(max = 1_000_000), example = 200)]
    pub max_resets: At<u32>,
    /// How long the body of a strict call over HTTP/2 is waited for before the service hears of the call,
    /// at most 60s. New streams of the same connection wait as long.
    #[schemars(example = &"1s")]
    pub strict_patience: At<Span>,
    /// Bytes of one HTTP/2 connection that wait for the disk, 64KiB to 64MiB.
    #[schemars(example = &"1MiB")]
    pub strict_held: At<Size>,
    /// Bytes of one connection that may wait in the system for a peer that does not take them, 16KiB to
    /// 64MiB.
    #[schemars(example = &"128KiB")]
    pub max_unsent: At<Size>,
    /// How long a connection may stand still when one side has finished and only the other holds it
    /// open; 0s: for ever.
    #[schemars(example = &"5m")]
    pub stall_timeout: At<Span>,
    /// How long a client may go on sending after its connection was closed.
    #[schemars(example = &"2s")]
    pub close_timeout: At<Span>,
    /// `Upgrade` protocols that may become a tunnel: names, or names with paths.
    #[schemars(schema_with = "upgrades", extend("examples" = [["websocket"]]))]
    pub upgrades: Vec<At<Upgrade>>,
    /// What becomes of a request that offers another upgrade.
    #[schemars(example = &"refuse")]
    pub other_upgrades: At<OtherUpgrades>,
    /// Worker threads; 0: one per core.
    #[schemars(range(max = 1024), example = 0)]
    pub threads: At<u32>,
}

/// Everything in one process: only `sidelog-standalone` reads this.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Standalone {
    /// The directory of the embedded ClickHouse.
    #[schemars(example = &"./sidelog-data")]
    pub data: At<String>,
    /// The port of its HTTP interface; 0: any free one.
    #[schemars(example = 18123)]
    pub http_port: At<u16>,
}

/// Changes of this file and of the documents take effect while calls go on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reload {
    /// How often their contents are looked at; `0s`: only on SIGHUP.
    #[schemars(example = &"5s")]
    pub interval: At<Span>,
}

fn text(s: &str) -> At<String> {
    At::unset(s)
}

/// Text that may be typed as something else in YAML, kept as it is spelled.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
            fn inline_schema() -> bool {
                true
            }
        }
    };
}

spelled! {
    /// Bytes: `4096`, `64KiB`.
    Size, { "type": ["string", "integer"], "pattern": "^[0-9]+ ?([KMGT]i?B|[KMG]i|B)?$", "minimum": 0 }
}
spelled! {
    /// A duration: `500ms`, `30s`, `2m`, `1h`.
    Span, { "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h)$" }
}
spelled! {
    /// A file's mode: `0660`.
    Mode, { "type": ["string", "number"], "pattern": "^0?[0-7]{3}$" }
}
spelled! {
    /// A property's value.
    Scalar, { "type": ["string", "number", "boolean"] }
}

fn text_or_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
}

fn upgrades(generator: &mut SchemaGenerator) -> Schema {
    let list = generator.subschema_for::<Vec<Upgrade>>();
    json_schema!({ "anyOf": [{ "type": "string" }, list] })
}

fn base_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "enum": ["auto", "none"] },
        { "type": "array", "items": { "type": "string", "pattern": "^/" }, "minItems": 1 },
    ] })
}

fn one_alone<S: Serializer>(list: &Texts, s: S) -> Result<S::Ok, S::Error> {
    match list.as_slice() {
        [one] => one.serialize(s),
        many => many.serialize(s),
    }
}
