//! `sidelog schema`: the printed schemas are JSON Schema and hold for what they describe.
//!
//! [`Schema`] knows the keywords that the two schemas use and refuses any other, so that a rule it
//! does not check cannot go unnoticed.

use crate::{data, sidelog};
use serde_json::{Map, Value, json};
use std::path::Path;

struct Schema(Value);

/// Words that say nothing about which values are valid; `format` and `pattern` are left to others.
const ANNOTATIONS: [&str; 9] =
    ["$schema", "$defs", "title", "description", "default", "examples", "format", "pattern", "deprecated"];

impl Schema {
    fn printed(what: &str) -> Schema {
        let ran = sidelog(&data("cli"), &["schema", what]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
        Schema(serde_json::from_str(&ran.stdout).unwrap())
    }

    /// What is wrong with a value: JSON pointer and rule.
    fn faults(&self, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.0, value, "", &mut faults);
        faults
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults.is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let rules = match schema {
            Value::Object(rules) => rules,
            Value::Bool(true) => return,
            _ => return faults.push(format!("{at}: nothing is valid here")),
        };
        for (word, rule) in rules {
            let holds = match word.as_str() {
                "$ref" => {
                    let target = self.0.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap());
                    self.check(target.unwrap_or_else(|| panic!("{rule} leads nowhere")), value, at, faults);
                    true
                }
                "type" => is_type(rule, value),
                "const" => rule == value,
                "enum" => rule.as_array().unwrap().contains(value),
                "anyOf" => rule.as_array().unwrap().iter().any(|s| self.fits(s, value)),
                "oneOf" => rule.as_array().unwrap().iter().filter(|s| self.fits(s, value)).count() == 1,
                "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
                "minItems" => value.as_array().is_none_or(|l| l.len() as u64 >= rule.as_u64().unwrap()),
                "minProperties" => value.as_object().is_none_or(|m| m.len() as u64 >= rule.as_u64().unwrap()),
                "maxProperties" => value.as_object().is_none_or(|m| m.len() as u64 <= rule.as_u64().unwrap()),
                "required" => {
                    let keys = rule.as_array().unwrap().iter().map(|k| k.as_str().unwrap());
                    value.as_object().is_none_or(|map| keys.into_iter().all(|k| map.contains_key(k)))
                }
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}/{i}"), faults);
                    }
                    true
                }
                "properties" | "additionalProperties" => true,
                annotation if ANNOTATIONS.contains(&annotation) => true,
                other => panic!("this test does not know `{other}`"),
            };
            if !holds {
                faults.push(format!("{at}: {word} {rule}"));
            }
        }
        self.check_members(rules, value, at, faults);
    }

    fn check_members(&self, rules: &Map<String, Value>, value: &Value, at: &str, faults: &mut Vec<String>) {
        for (key, member) in value.as_object().into_iter().flatten() {
            let known = rules.get("properties").and_then(|p| p.get(key));
            if let Some(rule) = known.or(rules.get("additionalProperties")) {
                self.check(rule, member, &format!("{at}/{key}"), faults);
            }
        }
    }
}

fn is_type(rule: &Value, value: &Value) -> bool {
    let is = |word: &str| match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON: {other}"),
    };
    match rule {
        Value::Array(words) => words.iter().any(|w| is(w.as_str().unwrap())),
        word => is(word.as_str().unwrap()),
    }
}

fn event(name: &str) -> Value {
    let text = std::fs::read_to_string(data("../../event/tests/data").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn both_name_their_dialect() {
    for what in ["config", "event"] {
        let Schema(schema) = Schema::printed(what);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["type"], "object");
    }
}

#[test]
fn the_event_schema_holds_for_events_and_losses() {
    let schema = Schema::printed("event");
    for name in ["whole.json", "minimal.json", "loss.json"] {
        assert_eq!(schema.faults(&event(name)), [""; 0], "{name}");
    }
}

#[test]
fn the_event_schema_refuses_what_is_no_event() {
    let schema = Schema::printed("event");
    for (pointer, wrong) in [
        ("/seq", json!(-1)),
        ("/event/outcome", json!("fine")),
        ("/event/http/status", json!("200")),
        ("/event/operation/path_params", json!({"id": 7})),
        ("/event/actor", json!(null)),
    ] {
        let mut event = event("whole.json");
        *event.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.faults(&event).is_empty(), "{pointer}");
    }
    let mut event = event("minimal.json");
    event["event"].as_object_mut().unwrap().remove("service");
    assert!(!schema.faults(&event).is_empty(), "a member that must be there");
}

/// Every member that the schema knows stands in the golden event: a new one must be shown there.
#[test]
fn the_whole_event_has_every_member() {
    let Schema(schema) = Schema::printed("event");
    let event = event("whole.json");
    for (kind, at) in [
        ("AuditEvent", "/event"),
        ("Http", "/event/http"),
        ("Operation", "/event/operation"),
        ("Actor", "/event/actor"),
        ("Client", "/event/client"),
        ("Message", "/event/request"),
        ("Message", "/event/response"),
        ("Redactions", "/event/redactions"),
    ] {
        let known = schema["$defs"][kind]["properties"].as_object().unwrap();
        let shown = event.pointer(at).unwrap().as_object().unwrap();
        for key in known.keys() {
            assert!(shown.contains_key(key), "{at} lacks {key}");
        }
    }
}

#[test]
fn the_config_schema_holds_for_the_examples_and_refuses_the_broken() {
    let schema = Schema::printed("config");
    for name in ["full", "minimal", "kinto", "openbao"] {
        let config = yaml(&data("../../config").join(name).with_extension("yaml"));
        assert_eq!(schema.faults(&config), [""; 0], "{name}");
    }
    for name in ["01-unknown-keys", "02-wrong-types", "03-missing-keys", "04-words"] {
        let config = yaml(&data("config/broken").join(name).with_extension("yaml"));
        assert!(!schema.faults(&config).is_empty(), "{name}");
    }
}
