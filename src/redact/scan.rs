//! Eight bytes at a time: which of them need a closer look.

/// Shortest base64 worth opening.
pub(super) const MIN_BASE64: usize = 16;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes of `word` that are `byte`; what lies above the lowest mark may be marked wrongly.
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * u64::from(byte));
    differs.wrapping_sub(ONES) & !differs & HIGHS
}

/// As [`equal`], for what ends a run in a JSON string: a quote, a backslash, a control character.
pub(super) fn stops(word: u64) -> u64 {
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    control | equal(word, b'"') | equal(word, b'\\')
}

/// As [`equal`], for what separates a name from a value, and the sign of percent-encoding.
pub(super) fn looks(word: u64) -> u64 {
    equal(word, b'=') | equal(word, b':') | equal(word, b'%')
}

/// Whether nothing in a text begins JSON or base64 of JSON, is percent-encoded, or separates a name from a
/// value: then nothing but a value known by its look can be secret in it.
pub(super) fn dull(text: &str) -> bool {
    let bytes = text.as_bytes();
    let begins = match bytes.first() {
        None => return true,
        Some(b'e' | b'W') => bytes.len() >= MIN_BASE64,
        Some(b'{' | b'[' | b'"' | 0..=b' ' | 0x80..) => true,
        Some(_) => false,
    };
    let (words, rest) = bytes.as_chunks::<8>();
    !begins
        && words.iter().all(|word| looks(u64::from_le_bytes(*word)) == 0)
        && !rest.iter().any(|byte| matches!(byte, b'=' | b':' | b'%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dull_texts_and_others() {
        for text in ["", "orders", "/v1/orders/7", "event", "eyJhbGciOi", "curl/8.5.0", "a [b]", "12345678"] {
            assert!(dull(text), "{text}");
        }
        let long = ["eyJwYXNzd29yZCI6", "W3sicGFzc3dvcmQi"];
        let inside = ["password=x", "password: x", "a%3Db", "1234567=", "12345678:9", "123456789%41"];
        let first = ["{}", "[1]", "\"a\"", " {}", "\t[]", "\u{feff}{}", "é"];
        for text in long.into_iter().chain(inside).chain(first) {
            assert!(!dull(text), "{text}");
        }
    }
}
