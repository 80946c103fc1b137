//! Every text of an event passes the redactor, also those that a later version of the contract adds.

use super::*;
use serde_json::Value;

/// The contract's golden file has every member.
const WHOLE: &str = include_str!("../../../event/tests/data/whole.json");
const SECRET: &str = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";

/// Paths to every string below `value`.
fn strings(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(path.to_owned()),
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                strings(item, &format!("{path}/{at}"), found);
            }
        }
        Value::Object(members) => {
            for (name, item) in members {
                strings(item, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn no_member_is_passed_over() {
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    let event = whole["event"].clone();
    let mut paths = Vec::new();
    strings(&event, "", &mut paths);
    let mut free = 0;
    // The redactor itself writes what it did.
    for path in paths.iter().filter(|p| !p.starts_with("/redactions")) {
        let mut with_secret = event.clone();
        *with_secret.pointer_mut(path).unwrap() = SECRET.into();
        let json = with_secret.to_string();
        // Words of closed sets, identifiers and times cannot hold it.
        let Ok(read) = serde_json::from_str::<AuditEvent<'_>>(&json) else { continue };
        free += 1;
        let redactor = redactor();
        let whole =
            redactor.redact(read.clone(), RawBody::default(), RawBody::default(), &SchemaMarks::default());
        for redacted in [whole, redactor.recover(read)] {
            let mut buffer = Vec::new();
            redacted.store(&mut buffer).unwrap();
            assert!(!String::from_utf8_lossy(&buffer).contains(SECRET), "{path} is stored as it is");
        }
    }
    assert!(free > 40, "only {free} of {} members were tried", paths.len());
}
