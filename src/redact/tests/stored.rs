//! What is stored is the JSON that serde_json would write, whatever stands in the texts.

use super::*;

/// Longer than two of the blocks an escaper works by.
const LONGEST: usize = 70;

fn assert_same(text: &str) {
    let mut event = event();
    event.request.body = text.into();
    event.flags = vec![text.into()];
    event.operation.path_params.0 = vec![(text.into(), text.into())];
    let expected = serde_json::to_string(&event).unwrap();
    let mut buffer = Vec::new();
    let stored = Redacted(event).store(&mut buffer).unwrap().bytes().to_vec();
    assert_eq!(String::from_utf8(stored).unwrap(), expected);
}

#[test]
fn every_character_is_escaped_as_json_wants_it_wherever_it_stands() {
    let escaped = (0..0x20).map(char::from).chain(['"', '\\', '/']);
    for c in escaped.chain(['\u{7f}', 'é', '\u{2028}', '\u{feff}', '😀', '\u{10ffff}']) {
        for before in 0..LONGEST / 2 {
            assert_same(&format!("{}{c}{}", "x".repeat(before), "y".repeat(LONGEST / 2 - before)));
        }
    }
    for length in 0..LONGEST {
        for c in ["x", "\"", "\u{1f}", "é"] {
            assert_same(&c.repeat(length));
        }
    }
}

proptest! {
    // Always the same cases.
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x51de_1065),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_stored_as_serde_json_writes_it(text in "(?s).{0,300}") {
        assert_same(&text);
    }
}
