//! XML: elements and attributes whose name means a secret, and values in any text.
//!
//! No entity but the five of XML and character references is known, a DOCTYPE is refused, nothing
//! is ever fetched. Comments and processing instructions are dropped: they may hold anything and
//! may split a text. The rest stays as sent; spans are named, not re-written.
//!
//! A name may stand beside its value, as in JSON: `<entry key="password">…`,
//! `<name>password</name><value>…`.

use super::body::Omit;
use super::tally::{Edits, MASK, Rule, Tally};
use super::text::Pass;
use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::{BytesStart, Event};
use std::ops::Range;

/// Elements inside each other.
const MAX_DEPTH: usize = 128;

pub(super) fn read(pass: &mut Pass<'_>, text: &str) -> Result<Edits, Omit> {
    let mut reader = Reader::from_str(text);
    let mut walk = Walk { pass, text, edits: Edits::default(), open: Vec::new(), run: None, next: None };
    loop {
        let start = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|_| Omit::Unparseable)?;
        let span = start..reader.buffer_position() as usize;
        match event {
            Event::Start(tag) => {
                let name_rule = walk.open_tag(&tag, &span)?;
                walk.enter(name_rule, span.end, &tag)?;
            }
            Event::Empty(tag) => {
                walk.open_tag(&tag, &span)?;
                walk.next = None;
            }
            Event::End(_) => walk.leave(span.start)?,
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => walk.characters(&event, span)?,
            Event::Comment(_) | Event::PI(_) => walk.edits.replace(span, "", Tally::default()),
            Event::Decl(declaration) => {
                let encoding = declaration.encoding().transpose().map_err(|_| Omit::Unparseable)?;
                if encoding.is_some_and(|e| !ascii_superset(&e)) {
                    return Err(Omit::Encoding);
                }
                // Nothing sensible stands in one; what looks like a secret takes it along.
                if let Some((_, tally)) = walk.text.get(span.clone()).and_then(|text| walk.pass.string(text))
                {
                    walk.edits.replace(span, "", tally);
                }
            }
            Event::DocType(_) => return Err(Omit::Unparseable),
            Event::Eof => break,
        }
    }
    walk.end_run();
    if walk.open.is_empty() { Ok(walk.edits) } else { Err(Omit::Unparseable) }
}

struct Open<'r> {
    /// The rule that hides its content, and where the content starts.
    hidden: Option<(&'r Rule, usize)>,
    /// Its text names its neighbour: `<name>`, `<key>`.
    names: bool,
}

/// Character data not interrupted by a tag, decoded.
struct Run {
    span: Range<usize>,
    text: String,
}

struct Walk<'t, 'p, 'r> {
    pass: &'p mut Pass<'r>,
    text: &'t str,
    edits: Edits,
    open: Vec<Open<'r>>,
    run: Option<Run>,
    /// The element before named a secret: this one holds it.
    next: Option<&'r Rule>,
}

impl<'r> Walk<'_, '_, 'r> {
    fn hidden(&self) -> bool {
        self.open.iter().any(|o| o.hidden.is_some())
    }

    /// Ends the text before a tag, then masks attributes. Returns the rule that hides the content.
    fn open_tag(&mut self, tag: &BytesStart<'_>, span: &Range<usize>) -> Result<Option<&'r Rule>, Omit> {
        self.end_run();
        let name = utf8(tag.name().into_inner())?;
        let mut rule = self.pass.name(name).or(self.next.take());
        let mut attributes = Vec::new();
        // Without the check for duplicates, which is quadratic: each is masked as it stands.
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| Omit::Unparseable)?;
            let name = utf8(attribute.key.into_inner())?.to_owned();
            let raw = utf8(&attribute.value)?.to_owned();
            let value = unescape(&raw).map_err(|_| Omit::Unparseable)?.into_owned();
            if matches!(name.to_ascii_lowercase().as_str(), "name" | "key" | "id" | "field" | "param") {
                rule = rule.or(self.pass.name(&value));
            }
            attributes.push((name, raw, value));
        }
        // A tag's text is short, and its attributes stand in it in order.
        let mut at = span.start + 1 + name.len();
        for (name, raw, value) in attributes {
            let from = self.attribute(at, span.end, &name, &raw)?;
            at = from + raw.len();
            let label = matches!(
                name.to_ascii_lowercase().as_str(),
                "name" | "key" | "id" | "field" | "param" | "type"
            ) || name.starts_with("xmlns");
            let by_name = self.pass.name(&name).or(rule.filter(|_| !label));
            if let Some(rule) = by_name {
                self.edits.replace(from..at, MASK, Tally::one(rule));
            } else if let Some((masked, tally)) = self.pass.string(&value) {
                self.edits.replace(from..at, escape(masked.as_str()).into_owned(), tally);
            }
        }
        Ok(rule)
    }

    /// Where the raw value of the next attribute begins.
    fn attribute(&self, from: usize, end: usize, name: &str, raw: &str) -> Result<usize, Omit> {
        let rest = self.text.get(from..end).ok_or(Omit::Unparseable)?;
        let name_at = rest.find(name).ok_or(Omit::Unparseable)? + name.len();
        let value = rest.get(name_at..).ok_or(Omit::Unparseable)?;
        let quote = value.find(['"', '\'']).ok_or(Omit::Unparseable)? + 1;
        if !value.get(quote..).is_some_and(|v| v.starts_with(raw)) {
            return Err(Omit::Unparseable);
        }
        Ok(from + name_at + quote)
    }

    fn enter(&mut self, rule: Option<&'r Rule>, content: usize, tag: &BytesStart<'_>) -> Result<(), Omit> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Omit::Unparseable);
        }
        let local = tag.local_name();
        let names = ["name", "key"].iter().any(|n| local.as_ref().eq_ignore_ascii_case(n.as_bytes()));
        self.open.push(Open { hidden: rule.map(|rule| (rule, content)), names });
        Ok(())
    }

    fn leave(&mut self, content_end: usize) -> Result<(), Omit> {
        let text = self.run.as_ref().map(|run| run.text.trim().to_owned());
        self.end_run();
        let open = self.open.pop().ok_or(Omit::Unparseable)?;
        if let Some((rule, start)) = open.hidden {
            self.edits.replace(start..content_end, MASK, Tally::one(rule));
        }
        self.next = text.filter(|_| open.names).and_then(|text| self.pass.name(&text));
        Ok(())
    }

    fn characters(&mut self, event: &Event<'_>, span: Range<usize>) -> Result<(), Omit> {
        let run = self.run.get_or_insert_with(|| Run { span: span.clone(), text: String::new() });
        run.span.end = span.end;
        match event {
            Event::Text(text) => run.text.push_str(utf8(text)?),
            Event::CData(data) => run.text.push_str(utf8(data)?),
            Event::GeneralRef(name) => {
                let reference = format!("&{};", utf8(name)?);
                run.text.push_str(&unescape(&reference).map_err(|_| Omit::Unparseable)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take()
            && !self.hidden()
            && let Some((masked, tally)) = self.pass.string(&run.text)
        {
            self.edits.replace(run.span, escape(masked.as_str()).into_owned(), tally);
        }
    }
}

/// Encodings in which the text, known to be UTF-8, means the same tags to everybody.
fn ascii_superset(encoding: &[u8]) -> bool {
    ["utf-8", "utf8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252"]
        .iter()
        .any(|known| encoding.eq_ignore_ascii_case(known.as_bytes()))
}

fn utf8(bytes: &[u8]) -> Result<&str, Omit> {
    std::str::from_utf8(bytes).map_err(|_| Omit::Unparseable)
}
