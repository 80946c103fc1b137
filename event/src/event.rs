//! One call, as the sidecar tells it. Optional members are left out of the JSON when empty.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use uuid::Uuid;

/// Text that borrows from the JSON where that has no escapes. `Cow` by itself always copies; serde
/// borrows for fields declared as `Cow<'a, str>`, spelled just so, and not inside `Option` or `Vec`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn option<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Ok(Option::<Text<'de>>::deserialize(d)?.map(|Text(text)| text))
}

fn list<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<Cow<'de, str>>, D::Error> {
    Ok(Vec::<Text<'de>>::deserialize(d)?.into_iter().map(|Text(text)| text).collect())
}

fn text(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

fn texts<'a>(texts: &'a [Cow<'_, str>]) -> Vec<Cow<'a, str>> {
    texts.iter().map(|each| text(each)).collect()
}

/// Declares a closed set of words: serde names, `as_str` and `ALL` from one list.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word used in JSON, in the table and in configuration.
            pub const fn as_str(self) -> &'static str { match self { $($name::$variant => $word),+ } }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.as_str()) }
        }
    };
}

words! {
    /// How far the call had come when the record was written.
    Stage {
        /// Still open; the row of `audit.open_calls`, never of `audit.events`.
        Started = "started",
        Completed = "completed",
        /// The sidecar died during the call; its true end is not known.
        Orphaned = "orphaned",
    }
}
words! {
    /// How the call ended, from the response status and from how the connection ended.
    Outcome {
        /// 1xx (101), 2xx, 3xx.
        Success = "success",
        /// 401, 403, 407.
        Denied = "denied",
        /// Other 4xx.
        ClientError = "client_error",
        /// 5xx, or the service could not be reached, or it broke off.
        ServerError = "server_error",
        /// The client went away before the answer was complete.
        Aborted = "aborted",
        Unknown = "unknown",
    }
}
words! {
    /// What kind of change the call asks for.
    Op { Create = "create", Update = "update", Delete = "delete", Read = "read", Other = "other" }
}
words! {
    /// How the request was matched to an OpenAPI operation.
    MatchKind {
        Matched = "matched",
        /// Several operations fit equally; the first is named, `alternatives` has the rest.
        Ambiguous = "ambiguous",
        /// The path is in the document, the method is not.
        MethodNotInSpec = "method_not_in_spec",
        Unmatched = "unmatched",
    }
}
words! {
    /// Where the actor's identity comes from.
    ActorSource {
        VerifiedJwt = "verified_jwt",
        Mtls = "mtls",
        TrustedHeader = "trusted_header",
        UnverifiedJwt = "unverified_jwt",
        Basic = "basic",
        ApiKey = "api_key",
        /// A session cookie: a keyed fingerprint, no name.
        Cookie = "cookie",
        /// A client certificate that a proxy on the way has checked and told of (XFCC, RFC 9440).
        ForwardedCert = "forwarded_cert",
        Anonymous = "anonymous",
    }
}
words! {
    /// How much of a call is recorded; the words of Kubernetes audit policies.
    Level { None = "none", Metadata = "metadata", Request = "request", RequestResponse = "request_response" }
}
words! {
    /// What must be on disk before the request is forwarded.
    Delivery {
        /// Nothing.
        Queued = "queued",
        /// An intent that survives kill -9.
        Written = "written",
        /// An intent with the captured body, fdatasync'ed.
        Strict = "strict",
    }
}

/// One audited call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEvent<'a> {
    /// UUIDv7, fixed when the request head was complete; the same in every stage.
    pub event_id: Uuid,
    pub stage: Stage,
    /// When the request head was complete.
    pub time: Timestamp,
    /// From then to the last byte of the response, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// `service` of the configuration.
    #[serde(borrow)]
    pub service: Cow<'a, str>,

    #[serde(borrow)]
    pub http: Http<'a>,
    #[serde(borrow)]
    pub operation: Operation<'a>,
    #[serde(borrow)]
    pub actor: Actor<'a>,
    #[serde(borrow)]
    pub client: Client<'a>,

    pub outcome: Outcome,
    /// What went wrong between the parties, a bounded set: `upstream_connect`, `upstream_tls`,
    /// `upstream_reset`, `upstream_closed`, `upstream_malformed`, `upstream_upgrade` (nobody asked for it),
    /// `client_reset`, `request_malformed`, `refused` (by Sidelog; `flags` tell why), `timeout`, `shutdown`.
    #[serde(borrow, default, deserialize_with = "option", skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
    /// Why the caller did it, where a header or body field tells.
    #[serde(borrow, default, deserialize_with = "option", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,

    #[serde(borrow)]
    pub request: Message<'a>,
    #[serde(borrow)]
    pub response: Message<'a>,
    #[serde(borrow, default, skip_serializing_if = "Redactions::is_empty")]
    pub redactions: Redactions<'a>,

    pub level: Level,
    pub delivery: Delivery,
    /// What decided level and delivery: `default`, or `FILE:LINE` of the rule.
    #[serde(borrow)]
    pub policy: Cow<'a, str>,
    /// Oddities worth a look, from a bounded set (`early_response`, `path_confusion`, …).
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Cow<'a, str>>,
    /// One readable line: "alice deleted secret app/db (success)".
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub message: Cow<'a, str>,
}

/// The request line and what identifies the exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Http<'a> {
    /// `1.0`, `1.1` or `2`.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// With an override header or form field, what the service executes; otherwise `method`.
    #[serde(borrow)]
    pub effective_method: Cow<'a, str>,
    #[serde(borrow)]
    pub scheme: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub host: Cow<'a, str>,
    /// As sent (bytes that are not UTF-8 percent-encoded), without the query; secrets masked.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// As sent, without the `?`; secrets masked.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub query: Cow<'a, str>,
    /// Absent when no status was sent to the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// gRPC's own status, from the trailers (or the head of an answer without a body).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u16>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub user_agent: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub request_id: Cow<'a, str>,
    /// `Idempotency-Key`: the same in every try of one intention.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub idempotency_key: Cow<'a, str>,
    /// The trace id of `traceparent` (W3C Trace Context), 32 hex digits.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub trace_id: Cow<'a, str>,
}

/// What the call means to the service, from its OpenAPI document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation<'a> {
    #[serde(rename = "match")]
    pub matched: MatchKind,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub id: Cow<'a, str>,
    /// The path template with its base path: `/v1/secrets/{name}`.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub route: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub summary: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub api_version: Cow<'a, str>,
    /// `METHOD /template` of the others that fit equally.
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Cow<'a, str>>,
    /// Name and decoded value, in template order; secrets masked.
    #[serde(borrow, default, skip_serializing_if = "Params::is_empty")]
    pub path_params: Params<'a>,
    pub op: Op,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub resource_type: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub resource_id: Cow<'a, str>,
    /// What the call carries further calls in: `graphql`, `jsonrpc`, `grpc`, `batch`.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub protocol: Cow<'a, str>,
    /// Those calls, in order, the first few: `mutation Remove: deleteWorkflow`, `eth_send`,
    /// `pkg.Service/Method`, `DELETE /orders/7`.
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Cow<'a, str>>,
    /// How many there were, also those left out of `calls`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub calls_total: u32,
}

impl Operation<'_> {
    /// The same, with texts that borrow from this one.
    pub fn borrowed(&self) -> Operation<'_> {
        Operation {
            matched: self.matched,
            id: text(&self.id),
            route: text(&self.route),
            summary: text(&self.summary),
            tags: texts(&self.tags),
            api_version: text(&self.api_version),
            alternatives: texts(&self.alternatives),
            path_params: Params(self.path_params.0.iter().map(|(n, v)| (text(n), text(v))).collect()),
            op: self.op,
            resource_type: text(&self.resource_type),
            resource_id: text(&self.resource_id),
            protocol: text(&self.protocol),
            calls: texts(&self.calls),
            calls_total: self.calls_total,
        }
    }
}

/// Names and values in order; a JSON object of strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Params<'_> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_ref())
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(n, v)| (n, v)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Params<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Params<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut params = Vec::new();
                while let Some((Text(n), Text(v))) = map.next_entry()? {
                    params.push((n, v));
                }
                Ok(Params(params))
            }
        }
        d.deserialize_map(Visitor)
    }
}

impl JsonSchema for Params<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Params".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<std::collections::BTreeMap<String, String>>()
    }
}

/// Who, with the provenance of the claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Actor<'a> {
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub name: Cow<'a, str>,
    /// `user`, `service`, or what a claim says.
    #[serde(rename = "type", borrow, default, skip_serializing_if = "str_is_empty")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub tenant: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Cow<'a, str>>,
    pub source: ActorSource,
    pub verified: bool,
    /// Whom the actor acts for, where the credential tells both (RFC 8693 `act`).
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub on_behalf_of: Cow<'a, str>,
    /// Why it is not verified: `no_key`, `expired`, `bad_signature`, …
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub unverified_reason: Cow<'a, str>,
    /// Keyed fingerprint of the credential: the same credential gives the same text under one
    /// pseudonym key; it cannot be turned back.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub credential: Cow<'a, str>,
}

impl Actor<'_> {
    /// The same, with texts that borrow from this one.
    pub fn borrowed(&self) -> Actor<'_> {
        Actor {
            id: text(&self.id),
            name: text(&self.name),
            kind: text(&self.kind),
            tenant: text(&self.tenant),
            roles: texts(&self.roles),
            source: self.source,
            verified: self.verified,
            on_behalf_of: text(&self.on_behalf_of),
            unverified_reason: text(&self.unverified_reason),
            credential: text(&self.credential),
        }
    }
}

/// From where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Client<'a> {
    /// The address believed: the peer, or the rightmost hop that is not a trusted proxy.
    #[serde(borrow)]
    pub ip: Cow<'a, str>,
    /// `peer`, or the header it was taken from (`x-forwarded-for`, …).
    #[serde(borrow)]
    pub ip_source: Cow<'a, str>,
    /// Address of the TCP peer.
    #[serde(borrow)]
    pub peer_ip: Cow<'a, str>,
    /// What the forwarding header claimed, whole, believed or not.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub forwarded: Cow<'a, str>,
}

impl Client<'_> {
    /// The same, with texts that borrow from this one.
    pub fn borrowed(&self) -> Client<'_> {
        Client {
            ip: text(&self.ip),
            ip_source: text(&self.ip_source),
            peer_ip: text(&self.peer_ip),
            forwarded: text(&self.forwarded),
        }
    }
}

/// A request or response body and what was kept of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message<'a> {
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub content_type: Cow<'a, str>,
    /// Bytes of the body on the wire, without chunk framing.
    pub bytes: u64,
    /// Messages in a stream of them (gRPC, WebSocket).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// `hmac-sha256-128:KEYID:HEX` over those bytes, the first 128 bits of the HMAC. Absent for an empty body or a low level.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub digest: Cow<'a, str>,
    /// The redacted text.
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub body: Cow<'a, str>,
    /// `none` (no body), `complete`, `aborted` (the message itself ended early, nothing of it is kept), or
    /// `omitted:WHY`: `level`, `marked` (by the OpenAPI document), `truncated` (longer than the bound),
    /// `encoding`, `type`, `unparseable`, `undeclared`, `too_large` (for the journal or Kafka), `failed` (a
    /// defect of ours).
    #[serde(borrow, default, skip_serializing_if = "str_is_empty")]
    pub body_state: Cow<'a, str>,
}

/// What was masked before the event was stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Redactions<'a> {
    pub count: u32,
    /// Names of the rules that struck, sorted, each once: `key:password`, `value:jwt`, …
    #[serde(borrow, default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Cow<'a, str>>,
}

impl Redactions<'_> {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn str_is_empty(s: &str) -> bool {
    s.is_empty()
}
