//! A request target as matching reads it: canonical path, query, oddities.
//!
//! Only for matching: what is forwarded and what is logged are the bytes as sent. The canonical form
//! changes nothing a conforming server could tell apart (RFC 3986 §6.2.2): unreserved characters
//! decoded, hex digits in upper case, illegal bytes encoded. What servers do disagree on (`//`, dot
//! segments, encoded slashes, `;`, `\`, double encoding, trailing slashes) stays as sent, is noted,
//! and is read a second time by [`liberal`], as the most lenient server would.

use std::borrow::Cow;

/// Longer paths are marked; they match all the same.
const LONG_PATH: usize = 8 << 10;

/// Oddities of a target, a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oddities(u32);

macro_rules! oddities {
    ($($name:ident = $bit:literal $word:literal),+ $(,)?) => {
        impl Oddities {
            $(pub const $name: Oddities = Oddities(1 << $bit);)+
            const WORDS: &[(Oddities, &'static str)] = &[$((Oddities::$name, $word)),+];
        }
    };
}

oddities! {
    ABSOLUTE_FORM = 0 "absolute_form",
    NOT_ORIGIN_FORM = 1 "not_origin_form",
    FRAGMENT = 2 "fragment",
    TOO_LONG = 3 "long_path",
    EMPTY_SEGMENT = 4 "empty_segment",
    DOT_SEGMENT = 5 "dot_segment",
    TRAILING_SLASH = 6 "trailing_slash",
    ENCODED_SLASH = 7 "encoded_slash",
    ENCODED_DOT = 8 "encoded_dot",
    DOUBLE_ENCODING = 9 "double_encoding",
    PATH_PARAMETER = 10 "path_parameter",
    BACKSLASH = 11 "backslash",
    CONTROL = 12 "control_character",
    BAD_PERCENT = 13 "bad_percent",
    BAD_UTF8 = 14 "bad_utf8",
    NOT_ASCII = 15 "not_ascii",
    ILLEGAL = 16 "illegal_character",
    // Harmless, so not shown; but no normal form.
    NEEDLESS_ENCODING = 17 "",
}

impl Oddities {
    /// What servers read differently.
    const CONTESTED: Oddities = Oddities(
        Self::EMPTY_SEGMENT.0
            | Self::DOT_SEGMENT.0
            | Self::TRAILING_SLASH.0
            | Self::ENCODED_SLASH.0
            | Self::DOUBLE_ENCODING.0
            | Self::PATH_PARAMETER.0
            | Self::BACKSLASH.0,
    );

    fn add(&mut self, other: Oddities) {
        self.0 |= other.0;
    }

    pub fn has(self, other: Oddities) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a lenient server may read another path than a strict one.
    pub fn contested(self) -> bool {
        self.has(Self::CONTESTED)
    }

    /// Whether all that servers may disagree on is the slash at the end.
    pub fn only_trailing_slash(self) -> bool {
        self.0 & Self::CONTESTED.0 == Self::TRAILING_SLASH.0
    }

    /// The words for events, from a bounded set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        // Almost no target has any.
        let words = if self.0 == 0 { &[][..] } else { Self::WORDS };
        words.iter().filter(move |(o, w)| self.has(*o) && !w.is_empty()).map(|(_, w)| *w)
    }

    /// Every word there is.
    pub fn all_words() -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().map(|(_, w)| *w).filter(|w| !w.is_empty())
    }

    fn any_but(self, allowed: Oddities) -> bool {
        self.0 & !allowed.0 != 0
    }
}

/// A target taken apart.
#[derive(Debug)]
pub struct Target<'t> {
    /// Canonical; empty when the target has no path.
    pub path: Cow<'t, [u8]>,
    /// The path as sent.
    pub sent: &'t [u8],
    /// As sent, without `?`.
    pub query: &'t [u8],
    pub oddities: Oddities,
}

impl<'t> Target<'t> {
    /// The bytes as sent that a range of the canonical path was made of.
    pub fn as_sent(&self, start: usize, end: usize) -> Option<&'t [u8]> {
        if matches!(self.path, Cow::Borrowed(_)) {
            return self.sent.get(start..end);
        }
        let (mut from, mut canonical, mut sent) = (None, 0, 0);
        while canonical < end {
            if canonical == start {
                from = Some(sent);
            }
            let (here, length) = unit(self.sent.get(sent..)?)?;
            sent += here;
            canonical += length;
        }
        self.sent.get(from?..sent)
    }
}

/// Takes a target apart.
pub fn read(target: &[u8]) -> Target<'_> {
    let mut oddities = Oddities::default();
    let end = memchr::memchr2(b'?', b'#', target).unwrap_or(target.len());
    let (sent, rest) = target.split_at_checked(end).unwrap_or((target, &[]));
    let fragment = memchr::memchr(b'#', rest);
    if fragment.is_some() {
        oddities.add(Oddities::FRAGMENT);
    }
    let query = rest.get(..fragment.unwrap_or(rest.len())).unwrap_or_default();
    let query = query.strip_prefix(b"?").unwrap_or_default();
    let sent = match origin_form(sent, &mut oddities) {
        Some(path) => path,
        None => return Target { path: Cow::Borrowed(&[]), sent: &[], query, oddities },
    };
    if sent.len() > LONG_PATH {
        oddities.add(Oddities::TOO_LONG);
    }
    let path = canonical_path(sent, &mut oddities);
    Target { path, sent, query, oddities }
}

/// True if the path of a target is in normal form: nothing in it that two servers could read
/// differently, nothing encoded without need, nothing illegal. A slash at the end is allowed.
pub fn is_normal_form(target: &[u8]) -> bool {
    !read(target).oddities.any_but(Oddities::TRAILING_SLASH)
}

/// The path of an origin-form or absolute-form target; none for `*` and authorities.
fn origin_form<'t>(target: &'t [u8], oddities: &mut Oddities) -> Option<&'t [u8]> {
    if target.first() == Some(&b'/') {
        return Some(target);
    }
    let scheme = memchr::memmem::find(target, b"://").filter(|at| {
        let name = target.get(..*at).unwrap_or_default();
        !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
    });
    let Some(at) = scheme else {
        oddities.add(Oddities::NOT_ORIGIN_FORM);
        return None;
    };
    oddities.add(Oddities::ABSOLUTE_FORM);
    let rest = target.get(at + 3..).unwrap_or_default();
    match memchr::memchr(b'/', rest) {
        Some(slash) => rest.get(slash..),
        None => Some(b"/"),
    }
}

const PLAIN: u8 = 1;
const UNRESERVED: u8 = 2;

/// What each byte is in a path: `PLAIN` bytes stand for themselves and raise no question by
/// themselves.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        if c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~') {
            table[b] = PLAIN | UNRESERVED;
        } else if matches!(
            c,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        ) {
            table[b] = PLAIN;
        }
        b += 1;
    }
    table
};

fn class(b: u8) -> u8 {
    CLASS.get(usize::from(b)).copied().unwrap_or_default()
}

/// Whether all bytes are plain and neither `//` nor `/.` is among them, which are looked at more
/// closely.
fn is_plain(path: &[u8]) -> bool {
    let Some(last) = path.last_chunk::<17>() else {
        let pairs = path.iter().zip(path.iter().skip(1).chain([&0]));
        return pairs.fold(true, |plain, (b, next)| plain & !is_odd(*b, *next));
    };
    let mut rest = path;
    while let Some(bytes) = rest.first_chunk::<17>() {
        if any_odd(bytes) {
            return false;
        }
        rest = rest.get(16..).unwrap_or_default();
    }
    !any_odd(last) && !is_odd(last[16], 0)
}

/// Of sixteen bytes, with the one that follows. Written so that a compiler makes it a few vector
/// instructions.
fn any_odd(bytes: &[u8; 17]) -> bool {
    let mut odd = false;
    for i in 0..16 {
        odd |= is_odd(bytes[i], bytes[i + 1]);
    }
    odd
}

/// Whether a byte is not `PLAIN`, or is a slash that another or a dot follows.
fn is_odd(b: u8, next: u8) -> bool {
    let within = |first: u8, last: u8| b.wrapping_sub(first) <= last - first;
    let plain = within(b'&', b':')
        | within(b'@', b'Z')
        | within(b'a', b'z')
        | (b == b'!')
        | (b == b'$')
        | (b == b'=')
        | (b == b'_')
        | (b == b'~');
    !plain | ((b == b'/') & ((next == b'/') | (next == b'.')))
}

/// The canonical form of a path. Borrows when it is that already, as almost every path is.
fn canonical_path<'t>(sent: &'t [u8], oddities: &mut Oddities) -> Cow<'t, [u8]> {
    let plain = is_plain(sent);
    let path = if plain { Cow::Borrowed(sent) } else { Cow::Owned(encode(sent, oddities)) };
    if !plain {
        note_segments(&path, oddities);
    }
    if path.len() > 1 && path.ends_with(b"/") && !path.ends_with(b"//") {
        oddities.add(Oddities::TRAILING_SLASH);
    }
    path
}

/// The canonical form of text from a document: templates are canonical too.
pub fn canonical_literal(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    if bytes.iter().all(|b| class(*b) & PLAIN != 0) {
        return bytes.to_vec();
    }
    encode(bytes, &mut Oddities::default())
}

fn encode(sent: &[u8], oddities: &mut Oddities) -> Vec<u8> {
    let mut out = Vec::with_capacity(sent.len() + 16);
    let mut high = false;
    let mut rest = sent;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if b == b'%' {
            let Some(value) = hex_pair(after) else {
                oddities.add(Oddities::BAD_PERCENT);
                push_encoded(&mut out, b'%');
                continue;
            };
            rest = after.get(2..).unwrap_or_default();
            high |= value >= 0x80;
            note_encoded(value, rest, oddities);
            if class(value) & UNRESERVED != 0 {
                out.push(value);
            } else {
                push_encoded(&mut out, value);
            }
        } else if class(b) & PLAIN != 0 {
            out.push(b);
        } else if b == b';' {
            oddities.add(Oddities::PATH_PARAMETER);
            out.push(b);
        } else {
            oddities.add(match b {
                b'\\' => Oddities::BACKSLASH,
                0..=0x1F | 0x7F => Oddities::CONTROL,
                0x80.. => Oddities::NOT_ASCII,
                _ => Oddities::ILLEGAL,
            });
            high |= b >= 0x80;
            push_encoded(&mut out, b);
        }
    }
    if high && percent_encoding::percent_decode(&out).decode_utf8().is_err() {
        oddities.add(Oddities::BAD_UTF8);
    }
    out
}

/// Length of the first character of a path, as sent and in canonical form.
fn unit(sent: &[u8]) -> Option<(usize, usize)> {
    let (&first, after) = sent.split_first()?;
    Some(match (first, hex_pair(after)) {
        (b'%', Some(value)) if class(value) & UNRESERVED != 0 => (3, 1),
        (b'%', Some(_)) => (3, 3),
        (b, _) if b == b';' || class(b) & PLAIN != 0 => (1, 1),
        _ => (1, 3),
    })
}

fn note_encoded(value: u8, after: &[u8], oddities: &mut Oddities) {
    match value {
        b'/' => oddities.add(Oddities::ENCODED_SLASH),
        b'\\' => {
            oddities.add(Oddities::ENCODED_SLASH);
            oddities.add(Oddities::BACKSLASH);
        }
        b'%' if hex_pair(after).is_some() => oddities.add(Oddities::DOUBLE_ENCODING),
        b'.' => oddities.add(Oddities::ENCODED_DOT),
        0..=0x1F | 0x7F => oddities.add(Oddities::CONTROL),
        v if class(v) & UNRESERVED != 0 => oddities.add(Oddities::NEEDLESS_ENCODING),
        _ => {}
    }
}

fn note_segments(path: &[u8], oddities: &mut Oddities) {
    let mut segments = path.split(|b| *b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && (segments.peek().is_some() || path.ends_with(b"//")) {
            oddities.add(Oddities::EMPTY_SEGMENT);
        }
        if matches!(without_parameters(segment), b"." | b"..") {
            oddities.add(Oddities::DOT_SEGMENT);
        }
    }
}

fn without_parameters(segment: &[u8]) -> &[u8] {
    segment.split(|b| *b == b';').next().unwrap_or_default()
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |i: usize| char::from(*bytes.get(i)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn push_encoded(out: &mut Vec<u8>, b: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |v: u8| DIGITS.get(usize::from(v)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[b'%', digit(b >> 4), digit(b & 15)]);
}

/// The path as the most lenient server reads it: decoded twice, `\` as `/`, `;…` dropped, dot and
/// empty segments resolved. Canonical; none when that is the path as sent.
pub fn liberal(target: &Target<'_>) -> Option<Vec<u8>> {
    let mut decoded = decode(target.sent);
    if decoded.contains(&b'%') {
        decoded = decode(&decoded);
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|b| matches!(b, b'/' | b'\\')) {
        match without_parameters(segment) {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            s => segments.push(s),
        }
    }
    let mut out = Vec::with_capacity(decoded.len() + 1);
    for segment in segments {
        out.push(b'/');
        // A decoded `?` or `%` is data again.
        for &b in segment {
            if class(b) & PLAIN != 0 { out.push(b) } else { push_encoded(&mut out, b) }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    (out != *target.path).then_some(out)
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(target: &str) -> String {
        String::from_utf8(read(target.as_bytes()).path.into_owned()).unwrap()
    }

    #[test]
    fn canonical_form_keeps_meaning() {
        for (sent, want) in [
            ("/a/b", "/a/b"),
            ("/%6De/%7e", "/me/~"),
            ("/a%2fb", "/a%2Fb"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/100%", "/100%25"),
            ("/{x}", "/%7Bx%7D"),
            ("/a?b=/../c", "/a"),
            ("/a#b?c", "/a"),
            ("http://h.example/x", "/x"),
            ("http://h.example", "/"),
            ("*", ""),
            ("host:443", ""),
        ] {
            assert_eq!(canonical(sent), want, "{sent}");
        }
    }

    #[test]
    fn plain_bytes_are_those_of_the_table_wherever_they_stand() {
        for b in 0..=255 {
            assert_eq!(is_odd(b, 0), class(b) & PLAIN == 0, "{b}");
        }
        for len in 1..70 {
            let mut path = vec![b'a'; len];
            assert!(is_plain(&path), "{len}");
            for at in 0..len {
                path[at] = b' ';
                assert!(!is_plain(&path), "{at} of {len}");
                path[at] = b'/';
                assert!(is_plain(&path), "{at} of {len}");
                if let Some(next) = path.get_mut(at + 1) {
                    *next = if at % 2 == 0 { b'/' } else { b'.' };
                    assert!(!is_plain(&path), "{at} of {len}");
                    path[at + 1] = b'a';
                }
                path[at] = b'a';
            }
        }
    }

    #[test]
    fn plain_paths_are_borrowed() {
        assert!(matches!(read(b"/repos/a.b/c@d:e/f,g").path, Cow::Borrowed(_)));
    }

    #[test]
    fn ranges_lead_back_to_what_was_sent() {
        let target = read("/%2e%2ehid/%zz/caf\u{e9}/;a%2fb".as_bytes());
        assert_eq!(&*target.path, b"/..hid/%25zz/caf%C3%A9/;a%2Fb");
        assert_eq!(target.as_sent(1, 6), Some(&b"%2e%2ehid"[..]));
        assert_eq!(target.as_sent(7, 12), Some(&b"%zz"[..]));
        assert_eq!(target.as_sent(13, 22), Some("caf\u{e9}".as_bytes()));
        assert_eq!(target.as_sent(23, 29), Some(&b";a%2fb"[..]));
    }

    #[test]
    fn queries_are_kept_as_sent() {
        assert_eq!(read(b"/a?x=%2F#f").query, b"x=%2F");
        assert_eq!(read(b"/a#f?x").query, b"");
    }

    #[test]
    fn normal_form_has_no_second_reading() {
        for ok in ["/a/b", "/a%20b", "/caf%c3%a9", "/a/", "/a?x=//..%2f", "/.well-known/x"] {
            assert!(is_normal_form(ok.as_bytes()), "{ok}");
        }
        for odd in [
            "//a",
            "/a/../b",
            "/a/./b",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;b",
            "/%2e%2e/a",
            "/%61",
            "/a%",
            "/a%252f",
            "http://h/a",
            "*",
            "/a\u{e9}",
            "/a%00",
            "/a#b",
            "/a b",
            "/%ff",
            "/a/..",
            "",
        ] {
            assert!(!is_normal_form(odd.as_bytes()), "{odd}");
        }
    }

    #[test]
    fn liberal_reading_resolves_everything() {
        for (sent, want) in [
            ("/a/%252e%252e%252fb", Some("/b")),
            ("/a/..;x/b//c/", Some("/b/c")),
            ("/a\\b", Some("/a/b")),
            ("/../..", Some("/")),
            ("/a/b", None),
            ("/a%3Fb;c", Some("/a%3Fb")),
        ] {
            let got = liberal(&read(sent.as_bytes())).map(|p| String::from_utf8(p).unwrap());
            assert_eq!(got.as_deref(), want, "{sent}");
        }
    }
}
