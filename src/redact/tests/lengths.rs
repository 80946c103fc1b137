//! Strings are read in words and blocks: what stands in them is found wherever it stands.

use super::*;

/// Longer than two blocks and a word.
const LONGEST: usize = 80;

/// A text with `what` at a place, in a body of one member; what follows differs in length, too.
fn body(at: usize, what: &str, after: usize) -> String {
    format!(r#"{{"note":"{}{what}{}"}}"#, "x".repeat(at), "y".repeat(after))
}

#[test]
fn pairs_and_values_are_masked_at_every_place() {
    let redactor = redactor();
    for (at, after) in (0..LONGEST).flat_map(|at| [0, 1, 7, 31, 33].map(|after| (at, after))) {
        for what in [
            " password=CANARYx7Qz ",
            " pin%3DCANARYx7Qz%20",
            " ghp_CANARYx7QzCANARYx7QzCANARYx7QzCANARYx7Qz ",
            " hvs.CANARYx7QzCANARYx7QzCANARYx7Qz ",
        ] {
            let body = body(at, what, after);
            let seen = see(&redactor, raw("application/json", body.as_bytes()));
            assert_eq!((seen.state.as_str(), seen.body.contains("CANARY")), ("complete", false), "{body}");
        }
    }
}

#[test]
fn strings_end_where_they_end() {
    let redactor = redactor();
    let state = |text: &str| see(&redactor, raw("application/json", text.as_bytes())).state;
    for at in 0..LONGEST {
        for (what, want) in [
            ("", "complete"),
            (r#"\""#, "complete"),
            (r"\u00e4", "complete"),
            ("ä", "complete"),
            ("\u{7f}", "complete"),
            ("\u{1}", "omitted:unparseable"),
            ("\n", "omitted:unparseable"),
            (r"\x", "omitted:unparseable"),
            (r#"""#, "omitted:unparseable"),
            (r#"","password":"CANARYx7Qz"#, "complete"),
        ] {
            for after in [1, 40] {
                let body = body(at, what, after);
                assert_eq!(state(&body), want, "{body}");
                assert_eq!(
                    want == "complete",
                    serde_json::from_str::<serde_json::Value>(&body).is_ok(),
                    "{body}"
                );
                assert!(!see(&redactor, raw("application/json", body.as_bytes())).body.contains("CANARY"));
            }
        }
    }
}
