//! The sections about what comes before HTTP: TLS on both sides, PROXY headers, addresses told, upgrades.

use super::{Span, Texts, text, text_or_list};
use crate::config::tree::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The listener's certificate, and who may connect. Files are PEM, relative to this file, and read again
/// when they change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cert_file", "key_file"]))]
pub(in crate::config) struct Tls {
    /// The listener's certificate and those between it and its CA.
    #[schemars(example = &"tls.crt")]
    pub cert_file: At<String>,
    /// Its private key, not encrypted.
    #[schemars(example = &"tls.key")]
    pub key_file: At<String>,
    /// The CA that clients' certificates are verified against.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"clients-ca.crt")]
    pub client_ca_file: Option<At<String>>,
    /// Whether clients are asked for a certificate: `required` where `client_ca_file` is given, else
    /// `none`. One that is presented must be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"optional")]
    pub client_auth: Option<At<ClientAuth>>,
    /// How often the files are looked at; 0s: never.
    #[schemars(example = &"10s")]
    pub reload: At<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuth {
    /// No client is asked.
    None,
    /// A client may present one.
    Optional,
    /// Nobody connects without one.
    Required,
}

/// TLS to the service. Its certificate is always verified. Files are PEM, relative to this file, and read
/// again when they change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct UpstreamTls {
    /// The only CA that is believed; without it, those of this system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"service-ca.crt")]
    pub ca_file: Option<At<String>>,
    /// The name the service's certificate must have; without it, the host of `upstream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"orders.example.com")]
    pub sni: Option<At<String>>,
    /// The certificate Sidelog presents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"sidelog.crt")]
    pub client_cert_file: Option<At<String>>,
    /// Its private key, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"sidelog.key")]
    pub client_key_file: Option<At<String>>,
    /// How often the files are looked at; 0s: never.
    #[schemars(example = &"10s")]
    pub reload: At<Span>,
}

/// From whom a PROXY header must come. From anyone else one is malformed HTTP, and refused.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["from"]))]
pub(in crate::config) struct ProxyProtocol {
    /// Addresses and networks of the load balancers.
    #[schemars(schema_with = "text_or_list", extend("minItems" = 1, "examples" = [["10.0.0.0/8"]]))]
    pub from: Texts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Http2 {
    /// Where `upstream` is https://, it is asked when a client offers HTTP/2; elsewhere it does not.
    #[default]
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ForwardAddress {
    /// Not at all: requests pass byte for byte.
    #[default]
    None,
    /// One `X-Forwarded-For` line at the end of each request head.
    XForwardedFor,
    /// One `Forwarded` line (RFC 7239) at the end of each request head.
    Forwarded,
    /// A PROXY header of version 2 at the start of each connection.
    ProxyV2,
}

/// A protocol, or a protocol and where.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::config) enum Upgrade {
    Protocol(String),
    At(UpgradeAt),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["protocol", "paths"]))]
pub(in crate::config) struct UpgradeAt {
    /// The protocol's name.
    #[schemars(example = &"websocket")]
    pub protocol: String,
    /// Paths and globs where it may become a tunnel.
    #[schemars(extend("minItems" = 1, "examples" = [["/ws/**"]]))]
    pub paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherUpgrades {
    /// It passes without the offer, as plain HTTP/1.1.
    #[default]
    Withdraw,
    /// It passes as sent; a service that takes the offer up is cut off.
    Pass,
    /// It gets 400.
    Refuse,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            cert_file: text(""),
            key_file: text(""),
            client_ca_file: None,
            client_auth: None,
            reload: At::unset(Span("10s".into())),
        }
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        UpstreamTls {
            ca_file: None,
            sni: None,
            client_cert_file: None,
            client_key_file: None,
            reload: At::unset(Span("10s".into())),
        }
    }
}
