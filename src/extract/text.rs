//! Bytes from the wire as bounded, printable text.
//!
//! Promises: the result is valid UTF-8, has no control characters and none that reorder or break a
//! line, and is no longer than asked for. What was replaced or cut is told, never silent.

use std::borrow::Cow;

/// Bytes made presentable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clean<'a> {
    pub text: Cow<'a, str>,
    /// Something was written as `\xHH` or `\u{H}`.
    pub escaped: bool,
    pub truncated: bool,
}

/// Bytes that are not UTF-8 become `\xHH`; control, bidirectional and line-separating characters
/// `\u{H}`. At most `max` characters.
pub fn clean(bytes: &[u8], max: usize) -> Clean<'_> {
    if bytes.len() <= max && bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
        let text = String::from_utf8_lossy(bytes);
        return Clean { text, escaped: false, truncated: false };
    }
    let mut out = Bounded { text: String::new(), left: max, truncated: false };
    let mut escaped = false;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_disruptive(c) {
                escaped = true;
                out.push(&c.escape_unicode().to_string());
            } else {
                out.push(c.encode_utf8(&mut [0; 4]));
            }
        }
        for byte in chunk.invalid() {
            escaped = true;
            out.push(&format!("\\x{byte:02x}"));
        }
        if out.truncated {
            break;
        }
    }
    Clean { text: Cow::Owned(out.text), escaped, truncated: out.truncated }
}

/// As [`clean`], but what must be cut is cut at a space: half a secret is one that no rule knows again.
pub fn words(bytes: &[u8], max: usize) -> String {
    let clean = clean(bytes, max);
    if !clean.truncated {
        return clean.text.into_owned();
    }
    let whole = clean.text.rsplit_once(char::is_whitespace).map_or("", |(words, _)| words.trim_end());
    if whole.is_empty() { "…".to_owned() } else { format!("{whole} …") }
}

/// Text that takes whole pieces only, up to a number of characters.
struct Bounded {
    text: String,
    left: usize,
    truncated: bool,
}

impl Bounded {
    fn push(&mut self, piece: &str) {
        let needed = piece.chars().count();
        if self.truncated || needed > self.left {
            self.truncated = true;
            return;
        }
        self.left -= needed;
        self.text.push_str(piece);
    }
}

/// Ends a line, moves the cursor or turns the reading direction: a log line could be forged with it.
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Spaces and tabs cut at both ends.
pub fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = bytes.iter().position(|b| !blank(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_borrowed_and_kept() {
        for text in ["", "alice", "<script>alert(1)</script>", "a b~"] {
            let clean = clean(text.as_bytes(), 256);
            assert!(matches!(clean.text, Cow::Borrowed(t) if t == text));
            assert!(!clean.escaped && !clean.truncated);
        }
        assert_eq!(clean("Zoë 🙂".as_bytes(), 5).text, "Zoë 🙂");
    }

    #[test]
    fn what_would_disrupt_a_line_is_escaped() {
        let cases: &[(&[u8], &str)] = &[
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"a\r\nb", "a\\u{d}\\u{a}b"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            ("a\u{202e}b\u{2028}".as_bytes(), "a\\u{202e}b\\u{2028}"),
            (b"\x00\x7f", "\\u{0}\\u{7f}"),
        ];
        for (bytes, text) in cases {
            let clean = clean(bytes, 256);
            assert_eq!((clean.text.as_ref(), clean.escaped), (*text, true));
        }
    }

    #[test]
    fn cut_between_words() {
        assert_eq!(words(b"as asked", 8), "as asked");
        assert_eq!(words(b"as asked by", 7), "as …");
        assert_eq!(words(b"secretsecret", 9), "…");
        assert_eq!(words(b" secretsecret", 9), "…");
    }

    #[test]
    fn cut_at_whole_characters() {
        let long = clean(&[b'u'; 9000], 256);
        assert_eq!((long.text.len(), long.truncated), (256, true));
        let wide = clean("ééé".as_bytes(), 2);
        assert_eq!((wide.text.as_ref(), wide.truncated), ("éé", true));
        assert_eq!(clean(b"ab\xff", 4).text, "ab", "no half of an escape");
    }
}
