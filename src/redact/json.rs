//! JSON, read as it stands: order, duplicates, white space and the text of numbers stay as sent.
//!
//! A strict reader of RFC 8259 over the text, not a tree: it names the spans to mask. It accepts
//! what serde_json accepts (a property test holds them together), numbers of any size, and nothing
//! else; lone surrogates are refused. Bounded: [`MAX_DEPTH`] levels; time linear but for sorting
//! the names of an object to find duplicates.
//!
//! Masked by name is the value under a name that means a secret, whatever its type. A name may
//! also stand beside its value: `{"name": "password", "value": …}`, a JSON Patch's
//! `{"path": "/password", "value": …}`, a pair `["password", …]`.

use super::cards;
use super::names::{self, Role, Verdict};
use super::place::{Place, UNDECLARED};
use super::scan::{MIN_BASE64, looks, stops};
use super::tally::{Edits, MASK, Rule, Tally};
use super::text::Pass;
use super::values::VALUES;
use std::borrow::Cow;
use std::ops::Range;

/// Levels of objects and arrays, as in serde_json.
pub(super) const MAX_DEPTH: usize = 127;

/// Longest first element of a pair taken for a name, bytes.
const MAX_PAIR_NAME: usize = 64;

/// The flag of an object that has a name twice: readers differ in which they take.
const DUPLICATE_KEYS: &str = "duplicate_keys";

/// Not JSON, or deeper than we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Whether a text may be a JSON object, array or string.
pub(super) fn begins(text: &str) -> bool {
    matches!(
        text.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']).as_bytes().first(),
        Some(b'{' | b'[' | b'"')
    )
}

/// Whether a text that is not JSON was meant to be: `{"`, `[{`, `["`, `[[`, `[1` …
pub(super) fn cut(text: &str) -> bool {
    let mut bytes = text.trim_start_matches('\u{feff}').bytes().filter(|b| !b.is_ascii_whitespace());
    match (bytes.next(), bytes.next()) {
        (Some(b'{'), second) => matches!(second, Some(b'"' | b'}') | None),
        (Some(b'['), second) => matches!(second, Some(b'{' | b'[' | b'"')),
        _ => false,
    }
}

/// One value and nothing after it.
#[cfg(test)]
pub(super) fn document(pass: &mut Pass<'_>, text: &str) -> Result<Edits, Broken> {
    let mut reader = Reader::new(pass, text);
    reader.space();
    reader.value(false, Place::Anywhere)?;
    reader.space();
    if reader.at == text.len() { Ok(reader.edits) } else { Err(Broken) }
}

/// One value or several, one after the other (NDJSON, RFC 7464 sequences).
pub(super) fn stream<'r>(pass: &mut Pass<'r>, text: &str, place: Place<'r>) -> Result<Edits, Broken> {
    let outer = pass.quiet;
    pass.quiet = !VALUES.possible(text.as_bytes()) && !cards::possible(text.as_bytes());
    let edits = sequence(pass, text, place);
    pass.quiet = outer;
    edits
}

fn sequence<'r>(pass: &mut Pass<'r>, text: &str, place: Place<'r>) -> Result<Edits, Broken> {
    let mut reader = Reader::new(pass, text);
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.gap();
    loop {
        reader.value(false, place)?;
        reader.gap();
        if reader.at == text.len() {
            return Ok(reader.edits);
        }
    }
}

/// What was read, where that matters to the container.
#[derive(Clone, Copy)]
enum Value {
    Text(Quoted),
    Null,
    Other,
}

/// A string: where it lies, without the quotes.
#[derive(Clone, Copy)]
struct Quoted {
    start: usize,
    end: usize,
    escaped: bool,
    /// Nothing in it begins JSON, base64 of JSON, an escape, or the value of a pair.
    dull: bool,
}

/// What a byte in a string asks for.
const STOP: u8 = 1;
const LOOK: u8 = 2;
const LOOK_FIRST: u8 = 4;
/// May begin base64 of JSON.
const LOOK_LONG: u8 = 8;

const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = match byte as u8 {
            0..0x20 | b'"' | b'\\' => STOP,
            b'=' | b':' | b'%' => LOOK,
            b'{' | b'[' | b' ' | 0x80.. => LOOK_FIRST,
            b'e' | b'W' => LOOK_LONG,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// The length of the 32-byte blocks a text begins with that have nothing to stop at or to look at.
/// Written so that a compiler makes a block a few vector instructions.
fn plain_blocks(bytes: &[u8]) -> usize {
    let odd =
        |b: &u8| (*b < 0x20) | (*b == b'"') | (*b == b'\\') | (*b == b'=') | (*b == b':') | (*b == b'%');
    let (blocks, _) = bytes.as_chunks::<32>();
    let plain = |block: &&[u8; 32]| !block.iter().fold(false, |any, b| any | odd(b));
    32 * blocks.iter().take_while(plain).count()
}

struct Seen {
    hash: u64,
    name: Quoted,
}

struct Reader<'t, 'p, 'r> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    depth: usize,
    pass: &'p mut Pass<'r>,
    edits: Edits,
    /// Names of the objects that are open.
    seen: Vec<Seen>,
}

impl<'t, 'p, 'r> Reader<'t, 'p, 'r> {
    fn new(pass: &'p mut Pass<'r>, text: &'t str) -> Self {
        Reader {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            pass,
            edits: Edits::default(),
            seen: Vec::new(),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Between values of a sequence; 0x1E is RFC 7464's separator.
    fn gap(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n' | 0x1E)) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek() != Some(byte) {
            return Err(Broken);
        }
        self.at += 1;
        Ok(())
    }

    /// One value. `hidden`: it will be masked whole, so it is only checked.
    fn value(&mut self, hidden: bool, place: Place<'r>) -> Result<Value, Broken> {
        let start = self.at;
        let value = match self.peek().ok_or(Broken)? {
            b'{' => return self.object(hidden, place),
            b'[' => return self.array(hidden, place),
            b'"' => {
                let quoted = self.quoted()?;
                if !hidden {
                    self.mask_in(&quoted);
                }
                Value::Text(quoted)
            }
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => return self.word(b"null").map(|_| Value::Null),
            _ => self.number(hidden)?,
        };
        if !(hidden || place.scalar()) {
            self.edits.replace(start..self.at, quoted_mask(), Tally::one(&UNDECLARED));
        }
        Ok(value)
    }

    fn word(&mut self, word: &[u8]) -> Result<Value, Broken> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(Broken);
        }
        self.at += word.len();
        Ok(Value::Other)
    }

    fn enter(&mut self) -> Result<(), Broken> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Broken) } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<Value, Broken> {
        self.at += 1;
        self.depth -= 1;
        Ok(Value::Other)
    }

    fn object(&mut self, hidden: bool, place: Place<'r>) -> Result<Value, Broken> {
        self.enter()?;
        let mine = self.seen.len();
        let mut beside = Beside::default();
        self.space();
        if self.peek() == Some(b'}') {
            return self.leave();
        }
        loop {
            self.member(hidden, place, &mut beside)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(Broken),
            }
            self.space();
        }
        if let Some(rule) = beside.rule {
            for span in beside.values {
                self.edits.replace(span, quoted_mask(), Tally::one(rule));
            }
        }
        self.duplicates(mine);
        self.leave()
    }

    fn member(&mut self, hidden: bool, place: Place<'r>, beside: &mut Beside<'r>) -> Result<(), Broken> {
        let name = self.quoted()?;
        self.space();
        self.expect(b':')?;
        self.space();
        let start = self.at;
        if hidden {
            return self.value(true, place).map(|_| ());
        }
        let text = decode(self.text, &name);
        let hash = names::hash(text.as_bytes());
        let Verdict { rule, role } = self.pass.verdict(&text, hash);
        self.seen.push(Seen { hash, name });
        self.mask_in(&name);
        let Some(place) = self.pass.below(place.field(&text), &text) else {
            self.value(true, place)?;
            self.edits.replace(start..self.at, quoted_mask(), Tally::one(rule.unwrap_or(&UNDECLARED)));
            return Ok(());
        };
        let value = self.value(rule.is_some(), place)?;
        let span = start..self.at;
        match (rule, role, value) {
            // Nothing to hide, and worth knowing.
            (Some(_), _, Value::Null) => {}
            (Some(rule), ..) => self.edits.replace(span, quoted_mask(), Tally::one(rule)),
            (None, Role::Name, Value::Text(text)) => {
                beside.rule = beside.rule.or(self.pass.name(&decode(self.text, &text)));
            }
            (None, Role::Value, Value::Text(_) | Value::Other) => beside.values.push(span),
            _ => {}
        }
        Ok(())
    }

    /// Notes it if two names of the object that ends are the same.
    fn duplicates(&mut self, mine: usize) {
        if !self.pass.has(DUPLICATE_KEYS)
            && let Some(names) = self.seen.get_mut(mine..)
            && names::may_repeat(names.iter().map(|s| s.hash))
        {
            let text = self.text;
            names.sort_unstable_by(|a, b| {
                a.hash.cmp(&b.hash).then_with(|| decode(text, &a.name).cmp(&decode(text, &b.name)))
            });
            let twice = names.windows(2).any(|pair| match pair {
                [a, b] => a.hash == b.hash && decode(text, &a.name) == decode(text, &b.name),
                _ => false,
            });
            if twice {
                self.pass.flag(DUPLICATE_KEYS);
            }
        }
        self.seen.truncate(mine);
    }

    fn array(&mut self, hidden: bool, place: Place<'r>) -> Result<Value, Broken> {
        self.enter()?;
        self.space();
        if self.peek() == Some(b']') {
            return self.leave();
        }
        let items = place.items();
        let (mut count, mut first, mut second) = (0usize, None, 0..0);
        loop {
            let start = self.at;
            let value = self.value(hidden, items)?;
            match (count, value) {
                (0, Value::Text(text)) if !hidden && text.end - text.start <= MAX_PAIR_NAME => {
                    first = self.pass.name(&decode(self.text, &text));
                }
                (1, Value::Text(_) | Value::Other) => second = start..self.at,
                _ => {}
            }
            count += 1;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(Broken),
            }
            self.space();
        }
        if let (2, Some(rule), false) = (count, first, second.is_empty()) {
            self.edits.replace(second, quoted_mask(), Tally::one(rule));
        }
        self.leave()
    }

    /// Past a string; on its opening quote. Eight bytes at a time, but close to the end of the text.
    fn quoted(&mut self) -> Result<Quoted, Broken> {
        self.expect(b'"')?;
        let (bytes, start) = (self.bytes, self.at);
        let first = bytes.get(start).map_or(0, |b| CLASS[usize::from(*b)]);
        let (mut at, mut escaped, mut look) = (start, false, 0);
        loop {
            if let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
                let word = u64::from_le_bytes(*eight);
                let stop = stops(word);
                if stop == 0 {
                    look |= looks(word);
                    at += 8;
                    // A long text: nothing of interest is in most of it.
                    if (at - start).is_multiple_of(32) {
                        at += plain_blocks(bytes.get(at..).unwrap_or_default());
                    }
                    continue;
                }
                // Only what lies before the first stop is of this string.
                look |= looks(word) & (stop ^ (stop - 1));
                at += (stop.trailing_zeros() / 8) as usize;
            }
            let byte = *bytes.get(at).ok_or(Broken)?;
            at += 1;
            match CLASS[usize::from(byte)] {
                STOP if byte == b'"' => {
                    self.at = at;
                    let end = at - 1;
                    let begins = match first {
                        LOOK_LONG => end - start >= MIN_BASE64,
                        _ => first & LOOK_FIRST != 0,
                    };
                    return Ok(Quoted { start, end, escaped, dull: !escaped && !begins && look == 0 });
                }
                STOP if byte == b'\\' => {
                    escaped = true;
                    let (_, len) = escape(bytes.get(at..).unwrap_or_default()).ok_or(Broken)?;
                    at += len;
                }
                STOP => return Err(Broken),
                class => look |= u64::from(class & LOOK),
            }
        }
    }

    /// RFC 8259 §6.
    fn number(&mut self, hidden: bool) -> Result<Value, Broken> {
        let start = self.at;
        let minus = usize::from(self.peek() == Some(b'-'));
        self.at += minus;
        let whole = self.at..self.at + self.digits();
        if whole.is_empty() || (whole.len() > 1 && self.bytes.get(whole.start) == Some(&b'0')) {
            return Err(Broken);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(Broken);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(Broken);
            }
        }
        if !hidden && whole.len() >= 13 {
            self.mask_card(whole, start);
        }
        Ok(Value::Other)
    }

    fn digits(&mut self) -> usize {
        let run =
            self.bytes.get(self.at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += run;
        run
    }

    fn mask_card(&mut self, whole: Range<usize>, start: usize) {
        let mut found = Edits::default();
        cards::find(self.text.get(whole).unwrap_or_default(), &mut found);
        if !found.is_empty() {
            self.edits.replace(start..self.at, format!("\"{}\"", cards::CARD_MASK), cards::tally());
        }
    }

    /// Masks what a name or a string value holds.
    fn mask_in(&mut self, quoted: &Quoted) {
        if quoted.dull && self.pass.quiet {
            return;
        }
        let text = decode(self.text, quoted);
        let masked = if quoted.escaped { self.pass.string(&text) } else { self.pass.plain_part(&text) };
        if let Some((text, tally)) = masked {
            let json = serde_json::to_string(&text).unwrap_or_else(|_| quoted_mask().into_owned());
            self.edits.replace(quoted.start - 1..quoted.end + 1, json, tally);
        }
    }
}

fn quoted_mask() -> Cow<'static, str> {
    const QUOTED: &str = "\"[redacted]\"";
    debug_assert_eq!(QUOTED.trim_matches('"'), MASK);
    Cow::Borrowed(QUOTED)
}

/// A name and its value as neighbours in one object.
#[derive(Default)]
struct Beside<'r> {
    rule: Option<&'r Rule>,
    values: Vec<Range<usize>>,
}

/// A string's meaning. It was read before, so its escapes are right.
fn decode<'t>(text: &'t str, quoted: &Quoted) -> Cow<'t, str> {
    let raw = text.get(quoted.start..quoted.end).unwrap_or_default();
    if !quoted.escaped {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let Some((c, len)) = escape(after.as_bytes()) else { break };
        out.push(c);
        rest = after.get(len..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The character an escape stands for and its length, without the backslash.
fn escape(after: &[u8]) -> Option<(char, usize)> {
    let c = match after.first()? {
        b'u' => return unicode(after),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        c @ (b'"' | b'\\' | b'/') => *c as char,
        _ => return None,
    };
    Some((c, 1))
}

/// `uXXXX`, or both halves of a surrogate pair.
fn unicode(after: &[u8]) -> Option<(char, usize)> {
    let first = hex4(after.get(1..5)?)?;
    if !(0xD800..0xE000).contains(&first) {
        return char::from_u32(first).map(|c| (c, 5));
    }
    let second = after.get(5..7).filter(|u| u == b"\\u").and_then(|_| hex4(after.get(7..11)?))?;
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).map(|c| (c, 11))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, d| Some(n << 4 | (*d as char).to_digit(16)?))
}
