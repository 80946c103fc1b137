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

/// Texts such as members have, plain, secret and nearly secret.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(SECRET.to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("41111111".to_owned()),
        Just("bearer".to_owned()),
        Just("eyJwYXNzd29yZCI6IkNBTkFSWXg3UXoifQ==".to_owned()),
        Just("%7B%22password%22%3A1%7D".to_owned()),
        Just("hvs.CAESIJ1".to_owned()),
        Just("postgres://bob:".to_owned()),
        "[a-z]{1,12}",
        "[ =:@%{}\"\\[;/.A-Z0-9-]{1,6}",
        "(password|pin|token)[=:] ?[a-z]{1,8}",
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    /// The texts are asked together whether a detector may strike; the answer is to be the same for each.
    #[test]
    fn members_together_are_masked_like_each_alone(all in prop::collection::vec(text(), 6)) {
        let marks = SchemaMarks::default();
        let redactor = redactor();
        let alone = |text: &str| {
            let masked = Pass::new(&redactor.keys, &marks).string(text);
            masked.map_or_else(|| text.to_owned(), |(text, _)| text)
        };
        let path_alone = |text: &str| {
            let edits = path::read(&mut Pass::new(&redactor.keys, &marks), text, &[]);
            edits.apply(text).map_or_else(|| text.to_owned(), |(text, _)| text)
        };
        let mut event = event();
        let path = format!("/{}", all[0]);
        event.http.path = Cow::Borrowed(&path);
        event.http.user_agent = Cow::Borrowed(&all[1]);
        event.http.request_id = Cow::Borrowed(&all[2]);
        event.operation.path_params.0.push(("id".into(), Cow::Borrowed(&all[3])));
        event.actor.roles.push(Cow::Borrowed(&all[4]));
        event.client.forwarded = Cow::Borrowed(&all[5]);
        let none = || RawBody { complete: true, ..RawBody::default() };
        let redacted = redactor.redact(event, none(), none(), &marks);
        prop_assert_eq!(&*redacted.http.path, path_alone(&path));
        prop_assert_eq!(&*redacted.http.user_agent, alone(&all[1]));
        prop_assert_eq!(&*redacted.http.request_id, alone(&all[2]));
        prop_assert_eq!(&*redacted.operation.path_params.0[0].1, alone(&all[3]));
        prop_assert_eq!(&*redacted.actor.roles[0], alone(&all[4]));
        prop_assert_eq!(&*redacted.client.forwarded, alone(&all[5]));
    }
}
