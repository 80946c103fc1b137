//! The JSON of version 1, as golden files: what other programs have learnt to read and write.
//!
//! A change that breaks one of these needs a new version number (see the crate's documentation);
//! one that adds a member adds it to `whole.json`.

#![allow(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use serde::Deserialize;
use serde_json::Value;
use sidelog_event::{AuditEvent, Envelope, Loss, Position, RecordKind, VERSION, stamp};
use std::borrow::Cow;

const WHOLE: &str = include_str!("data/whole.json");
const MINIMAL: &str = include_str!("data/minimal.json");
const LOSS: &str = include_str!("data/loss.json");
const ALL: [(&str, &str); 3] = [("whole", WHOLE), ("minimal", MINIMAL), ("loss", LOSS)];

fn read(text: &str) -> Envelope<'_> {
    serde_json::from_str(text).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_is_read_is_written_again() {
    for (name, text) in ALL {
        let envelope = read(text);
        assert_eq!(envelope.v, VERSION, "{name}");
        assert_eq!(serde_json::to_value(&envelope).unwrap(), json(text), "{name}");
        // Readers that look at the tree first (`v`) go on from there.
        let tree = json(text);
        let from_tree = Envelope::deserialize(&tree).unwrap();
        assert_eq!(serde_json::to_value(&from_tree).unwrap(), tree, "{name}");
    }
}

/// Readers that stream rely on it: the position before what stands there, names before values that
/// depend on them.
#[test]
fn members_are_written_in_the_order_of_the_golden_files() {
    for (name, text) in ALL {
        let compact: String = serde_json::to_string(&read(text)).unwrap();
        let mut rest = compact.as_str();
        for line in text.lines() {
            let Some((key, _)) = line.trim().split_once("\":") else { continue };
            let key = format!("{}\":", key.trim_start_matches('{'));
            let (_, after) = rest.split_once(&key).unwrap_or_else(|| panic!("{name}: {key} is out of order"));
            rest = after;
        }
    }
}

#[test]
fn the_minimal_event_writes_nothing_that_is_empty() {
    let envelope = read(MINIMAL);
    let event = envelope.event.as_ref().unwrap();
    assert!(event.flags.is_empty() && event.redactions.is_empty() && event.operation.path_params.is_empty());
    assert_eq!((event.duration_us, event.http.status, &event.error), (None, None, &None));
    let written = serde_json::to_string(&envelope).unwrap();
    for nothing in ["null", "\"\"", "[]", "{}"] {
        assert!(!written.contains(nothing), "{nothing} in {written}");
    }
}

#[expect(clippy::ptr_arg, reason = "whether it is borrowed is the question")]
fn is_borrowed(text: &Cow<'_, str>) -> bool {
    matches!(text, Cow::Borrowed(_))
}

/// The consumer reads many events a second: text without escapes is not copied.
#[test]
fn plain_text_is_borrowed() {
    let envelope = read(WHOLE);
    let event = envelope.event.unwrap();
    let (http, operation, actor) = (&event.http, &event.operation, &event.actor);
    for text in [
        &event.service,
        &event.policy,
        &event.message,
        event.error.as_ref().unwrap(),
        event.reason.as_ref().unwrap(),
        &event.flags[0],
        &event.redactions.rules[0],
        &event.response.body,
        &event.request.digest,
        &http.path,
        &http.trace_id,
        &operation.route,
        &operation.tags[1],
        &operation.alternatives[0],
        &operation.path_params.0[0].0,
        &operation.path_params.0[0].1,
        &actor.id,
        &actor.roles[0],
        &event.client.forwarded,
    ] {
        assert!(is_borrowed(text), "{text} was copied");
    }
    assert!(!is_borrowed(&http.user_agent), "text with escapes has to be unescaped into a copy");
    assert_eq!(http.user_agent, "curl/8.5.0 \"quoted\" \\ and ünïcode");
    let envelope = read(LOSS);
    assert!(is_borrowed(&envelope.loss.unwrap().reason));
}

#[test]
fn path_parameters_keep_their_order() {
    let envelope = read(WHOLE);
    let params = envelope.event.unwrap().operation.path_params;
    let names: Vec<&str> = params.0.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["shop", "id"]);
    assert_eq!((params.get("id"), params.get("none")), (Some("7"), None));
}

/// The journal keeps the inner JSON and the position apart; joined, they are the envelope.
#[test]
fn a_stamped_record_is_the_serialised_envelope() {
    for (name, text) in ALL {
        let envelope = read(text);
        let (kind, record) = match (&envelope.event, &envelope.loss) {
            (Some(event), None) => (RecordKind::Event, serde_json::to_vec(event).unwrap()),
            (None, Some(loss)) => (RecordKind::Loss, serde_json::to_vec(loss).unwrap()),
            _ => panic!("{name} holds both or neither"),
        };
        let mut stamped = b"before".to_vec();
        stamp(&mut stamped, &envelope.position(), kind, &record);
        let whole = [b"before", serde_json::to_vec(&envelope).unwrap().as_slice()].concat();
        assert_eq!(String::from_utf8(stamped).unwrap(), String::from_utf8(whole).unwrap(), "{name}");
    }
}

/// A reader of this version accepts what later writers add.
#[test]
fn unknown_members_are_ignored_everywhere() {
    fn add(value: &mut Value) {
        match value {
            // Its members are the parameters' names.
            Value::Object(map) if map.contains_key("shop") => {}
            Value::Object(map) => {
                map.values_mut().for_each(add);
                map.insert("later".into(), serde_json::json!({"any": ["thing", 1, null]}));
            }
            Value::Array(items) => items.iter_mut().for_each(add),
            _ => {}
        }
    }
    for (name, text) in ALL {
        let mut value = json(text);
        add(&mut value);
        let text_of_tomorrow = value.to_string();
        assert_eq!(serde_json::to_value(read(&text_of_tomorrow)).unwrap(), json(text), "{name}");
    }
}

#[test]
fn what_must_be_there_is_missed_and_words_are_closed_sets() {
    for member in ["event_id", "stage", "time", "service", "http", "operation", "actor", "outcome", "policy"]
    {
        let mut value = json(MINIMAL)["event"].take();
        value.as_object_mut().unwrap().remove(member);
        let error = serde_json::from_str::<AuditEvent<'_>>(&value.to_string()).unwrap_err();
        assert!(error.to_string().contains(member), "{error}");
    }
    for (member, word) in [("stage", "done"), ("outcome", "ok"), ("level", "all"), ("delivery", "sent")] {
        let mut value = json(MINIMAL)["event"].take();
        value[member] = word.into();
        assert!(serde_json::from_str::<AuditEvent<'_>>(&value.to_string()).is_err(), "{member}: {word}");
    }
    let mut value = json(LOSS)["loss"].take();
    value["first"] = (-1).into();
    assert!(serde_json::from_str::<Loss<'_>>(&value.to_string()).is_err());
}

#[test]
fn the_position_is_that_of_the_envelope() {
    let envelope = read(LOSS);
    let Position { producer, boot, seq } = envelope.position();
    assert_eq!((producer, boot, seq), (envelope.producer, 3, 947));
}
