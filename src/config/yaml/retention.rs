//! The section about how long events are kept.

use super::{Texts, text_or_list};
use crate::config::tree::At;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sidelog_event::Level;

/// When events expire. `sidelog-consumer retention` removes what has.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Retention {
    /// Days that an event is kept; 0: for ever.
    #[schemars(range(max = 36_500), example = 400)]
    pub days: At<u32>,
    /// Days that its bodies are kept; 0: as long as the event.
    #[schemars(range(max = 36_500), example = 90)]
    pub body_days: At<u32>,
    /// First match wins over these.
    pub rules: Vec<At<RetentionRule>>,
    /// A directory: events are put there as Parquet files before they are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"/var/lib/sidelog-archive")]
    pub archive: Option<At<String>>,
}

/// Events that are kept for another time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["match"]))]
pub(in crate::config) struct RetentionRule {
    /// Every kind that is given must fit; within a kind, one is enough.
    #[serde(rename = "match")]
    #[schemars(example = serde_json::json!({"tenants": ["acme"]}))]
    pub matches: At<RetentionMatch>,
    /// Days; `retention.days` where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 36_500), example = 3650)]
    pub days: Option<At<u32>>,
    /// Days; `retention.body_days` where this is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 36_500), example = 400)]
    pub body_days: Option<At<u32>>,
}

/// At least one kind is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RetentionMatch {
    /// Tenants.
    #[schemars(schema_with = "text_or_list")]
    pub tenants: Texts,
    /// Services.
    #[schemars(schema_with = "text_or_list")]
    pub services: Texts,
    /// Levels that the events were recorded at.
    pub levels: Vec<At<Level>>,
}
