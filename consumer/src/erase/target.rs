//! Whom an erasure is about, and how that is said in SQL. Pure.
//!
//! The value itself never stands in the SQL but in query parameters: statements are kept by ClickHouse
//! (in its logs, and mutations in the table's own directory), parameters are not.

use std::net::IpAddr;
use uuid::Uuid;

/// Shorter values are in nearly every event.
pub const SHORTEST: usize = 3;

/// Columns that describe the service or the recording, never a person. All others are searched, those
/// too that come with a later version.
const IMPERSONAL: [&str; 24] = [
    "service",
    "actor_type",
    "actor_unverified_reason",
    "client_ip_source",
    "method",
    "effective_method",
    "http_version",
    "scheme",
    "operation_id",
    "route",
    "summary",
    "tags",
    "api_version",
    "alternatives",
    "resource_type",
    "protocol",
    "error",
    "request_content_type",
    "request_body_state",
    "response_content_type",
    "response_body_state",
    "redaction_rules",
    "policy",
    "kafka_topic",
];

/// Whose events.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    Tenant(String),
    /// Who acted, or was acted for.
    Actor(String),
    /// A text anywhere in the event.
    Subject(String),
}

/// Never the value.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

/// A column of `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
}

impl Target {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Actor(_) => "actor",
            Self::Subject(_) => "subject",
        }
    }

    pub fn value(&self) -> &str {
        match self {
            Self::Tenant(value) | Self::Actor(value) | Self::Subject(value) => value,
        }
    }

    /// The value in each spelling that it may have: in JSON, in a path, in a form.
    pub fn spellings(&self) -> Vec<String> {
        let value = self.value();
        let json = serde_json::to_string(value).unwrap_or_default();
        let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
        let ascii = json.chars().fold(String::new(), |mut text, c| {
            if c.is_ascii() {
                text.push(c);
            } else {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|u| text.push_str(&format!("\\u{u:04x}")));
            }
            text
        });
        let slashes = json.replace('/', "\\/");
        let percent = value.bytes().fold(String::new(), |mut text, b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                text.push(char::from(b));
            } else {
                text.push_str(&format!("%{b:02X}"));
            }
            text
        });
        let at_kept = percent.replace("%40", "@");
        let form = percent.replace("%20", "+");
        let mut all = vec![value.to_owned()];
        for spelling in [json, ascii, slashes, percent, at_kept, form] {
            if !all.contains(&spelling) {
                all.push(spelling);
            }
        }
        all
    }

    /// Parameters of the SQL made here.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let spellings = self.spellings();
        let mut escaped: Vec<String> = spellings.iter().map(|s| escape(s)).collect();
        // The longest first: a spelling may begin another.
        escaped.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let mut all = vec![
            ("value".into(), self.value().into()),
            ("pattern".into(), format!("(?i)(?:{})", escaped.join("|"))),
        ];
        all.extend(spellings.into_iter().enumerate().map(|(n, s)| (format!("s{n}"), s)));
        all
    }

    fn list(&self) -> String {
        let names: Vec<_> = (0..self.spellings().len()).map(|n| format!("{{s{n}:String}}")).collect();
        format!("[{}]", names.join(", "))
    }

    /// Whether a row is meant.
    pub fn condition(&self, columns: &[Column]) -> String {
        match self {
            Self::Tenant(_) => "(tenant = {value:String})".into(),
            Self::Actor(_) => "(actor_id = {value:String} OR actor_on_behalf_of = {value:String})".into(),
            Self::Subject(value) => {
                let list = self.list();
                let has = |text: &str| format!("multiSearchAnyCaseInsensitiveUTF8({text}, {list})");
                let terms = columns.iter().filter_map(|Column { name, kind }| match Shape::of(name, kind)? {
                    Shape::Text => Some(has(name)),
                    Shape::List => Some(format!("arrayExists(x -> {}, {name})", has("x"))),
                    Shape::Map => Some(format!("arrayExists(x -> {}, mapValues({name}))", has("x"))),
                    Shape::Address => {
                        value.parse::<IpAddr>().ok().map(|_| format!("{name} = toIPv6({{value:String}})"))
                    }
                    Shape::Id => value.parse::<Uuid>().ok().map(|_| format!("{name} = {{value:UUID}}")),
                });
                format!("({})", terms.collect::<Vec<_>>().join(" OR "))
            }
        }
    }

    /// Whether a text that nobody could read may be about it.
    pub fn in_text(&self, column: &str) -> String {
        match self {
            Self::Subject(_) => format!("multiSearchAnyCaseInsensitiveUTF8({column}, {})", self.list()),
            // A whole string of JSON: names of tenants and actors may be short.
            _ => format!("multiSearchAny({column}, arrayMap(s -> concat('\"', s, '\"'), {}))", self.list()),
        }
    }

    /// The columns of a row without the person, in order; `pseudonym` and `mark` are ours.
    pub fn anonymised(&self, columns: &[Column], pseudonym: &str, mark: &str) -> String {
        let by = "(actor_id = {value:String})";
        let replaced = |text: &str| format!("replaceRegexpAll({text}, {{pattern:String}}, '{pseudonym}')");
        // A short id would be found in words that are not about it.
        let search = self.value().len() >= SHORTEST;
        let actor = matches!(self, Self::Actor(_));
        let exprs = columns.iter().map(|Column { name, kind }| match name.as_str() {
            "flags" => format!("arrayPushBack(flags, '{mark}')"),
            "ingested_at" => "now64(3, 'UTC')".into(),
            "actor_id" | "actor_on_behalf_of" if actor => {
                format!("if({name} = {{value:String}}, '{pseudonym}', {name})")
            }
            "actor_name" | "actor_credential" | "forwarded" | "user_agent" | "request_id"
            | "idempotency_key"
                if actor =>
            {
                format!("if({by}, '', {name})")
            }
            "actor_roles" if actor => format!("if({by}, [], {name})"),
            "client_ip" | "peer_ip" if actor => format!("if({by}, toIPv6('::'), {name})"),
            // What the person wrote may be about the person in any word.
            "request_body" | "response_body" | "reason" if actor => format!("if({by}, '', {name})"),
            "request_body_state" | "response_body_state" if actor => {
                format!("if({by} AND {name} NOT IN ('', 'none'), 'omitted:erased', {name})")
            }
            "message" if actor => {
                let unnamed =
                    format!("if(actor_name = '', message, replaceAll(message, actor_name, '{pseudonym}'))");
                let unnamed = format!("if({by}, {unnamed}, message)");
                if search { replaced(&unnamed) } else { format!("if({by}, '', message)") }
            }
            _ if !search => name.clone(),
            _ => match Shape::of(name, kind) {
                Some(Shape::Text) => replaced(name),
                Some(Shape::List) => format!("arrayMap(x -> {}, {name})", replaced("x")),
                Some(Shape::Map) => format!("mapApply((k, v) -> (k, {}), {name})", replaced("v")),
                Some(Shape::Address) if self.value().parse::<IpAddr>().is_ok() => {
                    format!("if({name} = toIPv6({{value:String}}), toIPv6('::'), {name})")
                }
                _ => name.clone(),
            },
        });
        exprs.collect::<Vec<_>>().join(", ")
    }
}

enum Shape {
    Text,
    List,
    Map,
    Address,
    Id,
}

impl Shape {
    /// None: nothing to be found in it.
    fn of(name: &str, kind: &str) -> Option<Self> {
        if IMPERSONAL.contains(&name) {
            return None;
        }
        match kind {
            "String" | "LowCardinality(String)" => Some(Self::Text),
            "Array(String)" | "Array(LowCardinality(String))" => Some(Self::List),
            "IPv6" => Some(Self::Address),
            "UUID" if name == "event_id" => Some(Self::Id),
            kind if kind.starts_with("Map(") && kind.ends_with("String)") => Some(Self::Map),
            _ => None,
        }
    }
}

/// As RE2 takes it literally.
fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len() + 8), |mut out, c| {
        if c.is_ascii_punctuation() && c != '_' {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(value: &str) -> Target {
        Target::Subject(value.into())
    }

    #[test]
    fn a_value_is_looked_for_in_every_spelling() {
        let has = |value: &str, spelling: &str| subject(value).spellings().contains(&spelling.to_owned());
        assert_eq!(subject("anna").spellings(), ["anna"]);
        assert!(has("anna@x.de", "anna%40x.de"));
        assert!(has("Zoë Ä", "Zo\\u00eb \\u00c4") && has("Zoë Ä", "Zo%C3%AB+%C3%84"));
        assert!(has("a\"b", "a\\\"b") && has("a/b", "a\\/b") && has("a/b", "a%2Fb"));
        assert!(has("\u{1f600}xx", "\\ud83d\\ude00xx"));
    }

    #[test]
    fn the_value_is_in_the_parameters_and_never_in_the_sql() {
        let columns = ["String", "Array(String)", "Map(LowCardinality(String), String)", "IPv6", "UUID"]
            .map(|kind| Column { name: "event_id".into(), kind: kind.into() });
        for target in [subject("secret"), Target::Actor("secret".into()), Target::Tenant("secret".into())] {
            let sql =
                [target.condition(&columns), target.in_text("x"), target.anonymised(&columns, "P", "m")];
            assert!(!sql.concat().contains("secret"), "{sql:?}");
            assert!(target.parameters().iter().any(|(name, value)| name == "value" && value == "secret"));
            assert!(!format!("{target:?}").contains("secret"));
        }
    }

    #[test]
    fn a_column_of_tomorrow_is_searched() {
        let new = Column { name: "shoe_size".into(), kind: "LowCardinality(String)".into() };
        assert!(subject("anna").condition(&[new]).contains("shoe_size"));
    }

    #[test]
    fn the_pattern_is_literal() {
        let parameters = subject("a.b|c@d").parameters();
        let (_, pattern) = parameters.iter().find(|(name, _)| name == "pattern").unwrap();
        assert_eq!(pattern, r"(?i)(?:a\.b\%7Cc\%40d|a\.b\%7Cc\@d|a\.b\|c\@d)");
    }
}
