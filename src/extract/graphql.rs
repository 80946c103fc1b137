//! GraphQL documents, read no deeper than an audit needs: which operations a text defines, their
//! kinds and names, and the fields at their roots.
//!
//! A tokenizer with a stack of nothing: brackets are counted, what lies below a root field is passed
//! over. Linear in the text, no recursion on it, bounded in what is kept.
//!
//! Promises: a document that a server executes is read as that server reads it: strings, block
//! strings and comments hide nothing, an alias shows the field behind it, fragments count as what
//! they spread. A text that is no executable document gives none.
//! Refuses: to validate. A document that a server would reject may be accepted here.

/// Operations and fragments remembered of one document, each.
const MAX_DEFINITIONS: usize = 100;
/// Root fields and spreads remembered of one definition.
const MAX_ROOTS: usize = 200;
/// Different fields named of one operation; more become `…`.
const MAX_FIELDS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Mutation,
    Subscription,
}

impl Kind {
    fn of(word: &str) -> Option<Kind> {
        match word {
            "query" => Some(Kind::Query),
            "mutation" => Some(Kind::Mutation),
            "subscription" => Some(Kind::Subscription),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Mutation => "mutation",
            Kind::Subscription => "subscription",
        }
    }
}

/// An executable document: at least one operation.
#[derive(Debug)]
pub(super) struct Document<'a> {
    operations: Vec<Operation<'a>>,
    fragments: Vec<(&'a str, Roots<'a>)>,
    /// Operations, remembered or not.
    total: u32,
    mutates: bool,
}

#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub kind: Kind,
    /// Empty for an anonymous one.
    name: &'a str,
    roots: Roots<'a>,
}

#[derive(Debug, Default)]
struct Roots<'a> {
    list: Vec<Root<'a>>,
    more: bool,
}

#[derive(Debug, Clone, Copy)]
enum Root<'a> {
    Field(&'a str),
    Spread(&'a str),
}

impl<'a> Roots<'a> {
    fn push(&mut self, root: Root<'a>) {
        if self.list.len() < MAX_ROOTS {
            self.list.push(root);
        } else {
            self.more = true;
        }
    }
}

/// Reads a document; `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Document<'_>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut document = Document { operations: vec![], fragments: vec![], total: 0, mutates: false };
    loop {
        match lexer.next()? {
            Token::End => break,
            // A description.
            Token::Value => {}
            Token::Punct(b'{') => {
                let roots = selection(&mut lexer)?;
                document.push(Operation { kind: Kind::Query, name: "", roots });
            }
            Token::Name("fragment") => {
                let Token::Name(name) = lexer.next()? else { return None };
                let roots = lexer.until_selection().and_then(|()| selection(&mut lexer))?;
                if document.fragments.len() < MAX_DEFINITIONS {
                    document.fragments.push((name, roots));
                }
            }
            Token::Name(word) => {
                let kind = Kind::of(word)?;
                let name = lexer.name().unwrap_or_default();
                let roots = lexer.until_selection().and_then(|()| selection(&mut lexer))?;
                document.push(Operation { kind, name, roots });
            }
            Token::Punct(_) | Token::Spread => return None,
        }
    }
    (document.total > 0).then_some(document)
}

impl<'a> Document<'a> {
    fn push(&mut self, operation: Operation<'a>) {
        self.total = self.total.saturating_add(1);
        self.mutates |= operation.kind == Kind::Mutation;
        if self.operations.len() < MAX_DEFINITIONS {
            self.operations.push(operation);
        }
    }

    /// Some operation is a mutation, executed or not.
    pub fn mutates(&self) -> bool {
        self.mutates
    }

    /// It has neither names nor the words that begin an operation: `{ viewer }`, and what else is
    /// written in braces.
    pub fn is_shorthand(&self) -> bool {
        let [only] = self.operations.as_slice() else { return false };
        only.name.is_empty() && only.kind == Kind::Query && self.fragments.is_empty()
    }

    /// The operation of this name, or the only one. Where that does not decide, a server executes
    /// none: all are told.
    pub fn executed(&self, name: Option<&str>) -> &[Operation<'a>] {
        let wanted = name.filter(|n| !n.is_empty());
        let at = wanted.and_then(|n| self.operations.iter().position(|o| o.name == n));
        at.and_then(|at| self.operations.get(at..=at)).unwrap_or(&self.operations)
    }

    /// `mutation DeleteWorkflow: deleteWorkflow, audit ×2`.
    pub fn tell(&self, operation: &Operation<'a>) -> String {
        let mut text = operation.kind.word().to_owned();
        if !operation.name.is_empty() {
            text.push(' ');
            text.push_str(operation.name);
        }
        let (fields, more) = self.fields(&operation.roots);
        for (i, (name, count)) in fields.iter().enumerate() {
            text.push_str(if i == 0 { ": " } else { ", " });
            text.push_str(name);
            if *count > 1 {
                text.push_str(&format!(" ×{count}"));
            }
        }
        if more {
            text.push_str(", …");
        }
        text
    }

    /// Root fields in the order of the text, each with how often it stands there. A fragment is
    /// looked into once, so that fragments that spread each other cost no more than their length.
    fn fields(&self, roots: &Roots<'a>) -> (Vec<(&'a str, u32)>, bool) {
        let mut fields: Vec<(&str, u32)> = Vec::new();
        let mut entered = vec![false; self.fragments.len()];
        let mut more = roots.more;
        let mut stack = vec![roots.list.iter()];
        while let Some(level) = stack.last_mut() {
            let name = match level.next() {
                None => {
                    stack.pop();
                    continue;
                }
                Some(Root::Field(name)) => *name,
                Some(Root::Spread(name)) => {
                    let at = self.fragments.iter().position(|(n, _)| n == name);
                    if let Some((at, (_, inside))) = at.and_then(|at| Some((at, self.fragments.get(at)?)))
                        && !std::mem::replace(&mut entered[at], true)
                    {
                        more |= inside.more;
                        stack.push(inside.list.iter());
                    }
                    continue;
                }
            };
            if let Some((_, count)) = fields.iter_mut().find(|(n, _)| *n == name) {
                *count += 1;
            } else if fields.len() < MAX_FIELDS {
                fields.push((name, 1));
            } else {
                more = true;
            }
        }
        (fields, more)
    }
}

/// The roots of a selection set whose `{` was read.
fn selection<'a>(lexer: &mut Lexer<'a>) -> Option<Roots<'a>> {
    /// What a `{` would belong to.
    #[derive(PartialEq)]
    enum Before {
        Nothing,
        Field,
        Inline,
    }
    let (mut roots, mut depth, mut before) = (Roots::default(), 1_u32, Before::Nothing);
    while depth > 0 {
        match lexer.next()? {
            Token::Name(name) => {
                let field = if lexer.punct(b':') { lexer.name()? } else { name };
                roots.push(Root::Field(field));
                before = Before::Field;
            }
            Token::Spread => match lexer.name() {
                Some("on") => {
                    lexer.name()?;
                    before = Before::Inline;
                }
                Some(name) => {
                    roots.push(Root::Spread(name));
                    before = Before::Nothing;
                }
                None => before = Before::Inline,
            },
            Token::Punct(b'@') => drop(lexer.name()?),
            Token::Punct(b'(') => lexer.skip_group()?,
            Token::Punct(b'{') if before == Before::Field => {
                lexer.skip_group()?;
                before = Before::Nothing;
            }
            Token::Punct(b'{') if before == Before::Inline => {
                depth += 1;
                before = Before::Nothing;
            }
            Token::Punct(b'}') => {
                depth -= 1;
                before = Before::Nothing;
            }
            Token::Punct(_) | Token::Value | Token::End => return None,
        }
    }
    Some(roots)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Punct(u8),
    /// `...`
    Spread,
    /// A string or number.
    Value,
    End,
}

#[derive(Debug, Clone, Copy)]
struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// `None`: a byte that begins no token, or a string without end.
    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_ignored();
        let rest = self.rest();
        let start = self.at;
        let span = |ok: fn(u8) -> bool| rest.iter().position(|b| !ok(*b)).unwrap_or(rest.len());
        match rest.first() {
            None => Some(Token::End),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                self.at += span(|b| b.is_ascii_alphanumeric() || b == b'_');
                self.text.get(start..self.at).map(Token::Name)
            }
            Some(b'0'..=b'9' | b'-') => {
                self.at += span(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'));
                Some(Token::Value)
            }
            Some(b'"') => {
                self.at += string(rest)?;
                Some(Token::Value)
            }
            Some(b'.') => {
                self.at += 3;
                rest.starts_with(b"...").then_some(Token::Spread)
            }
            Some(punct) if b"!$&():=@[]{|}".contains(punct) => {
                self.at += 1;
                Some(Token::Punct(*punct))
            }
            Some(_) => None,
        }
    }

    /// White space, commas, byte order marks and comments.
    fn skip_ignored(&mut self) {
        loop {
            match self.rest() {
                [b' ' | b'\t' | b'\r' | b'\n' | b',', ..] => self.at += 1,
                [0xef, 0xbb, 0xbf, ..] => self.at += 3,
                [b'#', after @ ..] => {
                    let line = after.iter().position(|b| matches!(b, b'\r' | b'\n'));
                    self.at += 1 + line.unwrap_or(after.len());
                }
                _ => return,
            }
        }
    }

    /// The next token if it is a name.
    fn name(&mut self) -> Option<&'a str> {
        let mut ahead = *self;
        let Some(Token::Name(name)) = ahead.next() else { return None };
        *self = ahead;
        Some(name)
    }

    fn punct(&mut self, wanted: u8) -> bool {
        let mut ahead = *self;
        let found = ahead.next() == Some(Token::Punct(wanted));
        if found {
            *self = ahead;
        }
        found
    }

    /// Passes over variables, types and directives up to the `{` of a selection set.
    fn until_selection(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                Token::Punct(b'{') => return Some(()),
                Token::Punct(b'(') => self.skip_group()?,
                Token::Punct(b'@') | Token::Name(_) => {}
                _ => return None,
            }
        }
    }

    /// Passes over what a bracket encloses, after the bracket was read.
    fn skip_group(&mut self) -> Option<()> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next()? {
                Token::Punct(b'(' | b'[' | b'{') => depth = depth.checked_add(1)?,
                Token::Punct(b')' | b']' | b'}') => depth -= 1,
                Token::End => return None,
                _ => {}
            }
        }
        Some(())
    }
}

/// Length of the string or block string at the start.
fn string(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\"\"\"") {
        let mut at = 3;
        loop {
            at += memchr::memmem::find(bytes.get(at..)?, b"\"\"\"")?;
            if bytes.get(at.checked_sub(1)?) != Some(&b'\\') {
                return Some(at + 3);
            }
            // `\"""` is text.
            at += 3;
        }
    }
    let mut at = 1;
    loop {
        at += bytes.get(at..)?.iter().position(|b| matches!(b, b'"' | b'\\' | b'\n' | b'\r'))?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, name: Option<&str>) -> Vec<String> {
        let Some(document) = parse(text) else { return vec!["none".into()] };
        document.executed(name).iter().map(|o| document.tell(o)).collect()
    }

    #[test]
    fn operations_and_their_root_fields() {
        for (text, told_as) in [
            ("{ viewer { login } }", "query: viewer"),
            ("query { a b: c(x: {y: 1}) { d } }", "query: a, c"),
            (
                "mutation DeleteWorkflow($id: ID! = \"}\") @x(a: [{b: 1}]) { deleteWorkflow(id: $id) { ok } audit }",
                "mutation DeleteWorkflow: deleteWorkflow, audit",
            ),
            ("subscription S{x}", "subscription S: x"),
            ("\u{feff}# mutation {x}\nquery,Q,{,a,}", "query Q: a"),
            ("mutation { a: del(id: 1) b: del(id: 2) c: add }", "mutation: del ×2, add"),
            (
                "mutation { ...F } fragment F on Mutation { ...G x } fragment G on M { y ...F }",
                "mutation: y, x",
            ),
            (
                "mutation { ... on Mutation @skip(if: false) { a { b } ... { c } } ...@d{e} f }",
                "mutation: a, c, e, f",
            ),
            ("mutation { x(s: \"\"\"} \\\"\"\" { \"quoted\" \"\"\") y }", "mutation: x, y"),
            ("mutation { x(s: \"\\\"}\") # }\n y }", "mutation: x, y"),
            ("{ on fragment: query mutation }", "query: on, query, mutation"),
            ("\"described\" query A { a }", "query A: a"),
            ("query A { ...Missing }", "query A"),
            ("mutation{x @include(if: $a) {y} z}", "mutation: x, z"),
        ] {
            assert_eq!(told(text, None), [told_as], "{text}");
        }
    }

    #[test]
    fn the_named_operation_is_the_one_executed() {
        let text = "query A { a } mutation B { b }";
        assert_eq!(told(text, Some("B")), ["mutation B: b"]);
        assert_eq!(told(text, Some("A")), ["query A: a"]);
        assert_eq!(told(text, None), ["query A: a", "mutation B: b"], "a server refuses: all are told");
        assert_eq!(told(text, Some("C")).len(), 2);
        assert!(parse(text).unwrap().mutates());
        assert!(!parse("query A { mutation }").unwrap().mutates());
    }

    #[test]
    fn other_texts_are_no_documents() {
        for text in [
            "",
            "#",
            "status:open AND author:me",
            "SELECT * FROM users",
            "mutation",
            "mutation X",
            "mutation { a",
            "mutation { a } }",
            "query { a(b: \"x }",
            "type Query { a: Int }",
            "fragment F on X { a }",
            "{ a: }",
            "{ ... }x",
            "{ a ..b }",
            "{\"a\": 1}",
            "query é { a }",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let many: String = (0..500).map(|i| format!("f{i} ")).collect();
        let told = told(&format!("mutation {{ {many} }}"), None).remove(0);
        assert!(told.ends_with(", …") && told.matches(", ").count() == MAX_FIELDS, "{told}");
        let many: String = (0..5000).map(|i| format!("query Q{i} {{ a }} ")).collect();
        let document = parse(&many).unwrap();
        assert_eq!((document.operations.len(), document.total), (MAX_DEFINITIONS, 5000));
        assert!(parse(&format!("{many} mutation {{ x }}")).unwrap().mutates(), "also beyond the bound");
    }

    #[test]
    fn deep_and_entangled_documents_cost_their_length() {
        let deep = format!("{{ a{} }}", "{b".repeat(200_000) + &"}".repeat(200_000));
        assert_eq!(told(&deep, None), ["query: a"]);
        assert!(parse(&"{...".repeat(200_000)).is_none());
        // Each fragment spreads the next one a hundred times: 100^90 fields if one followed them all.
        let spreads = |i: usize| format!("...F{i} ").repeat(100);
        let tangle: String =
            (0..90).map(|i| format!("fragment F{i} on M {{ x{i} {} }} ", spreads(i + 1))).collect();
        let told = told(&format!("mutation {{ ...F0 }} {tangle}"), None).remove(0);
        assert!(told.starts_with("mutation: x0, x1, x2"), "{told}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[ \\n\"\\\\{}()\\[\\]:.@$#!=|&,a-c0-9é\u{feff}-]{0,60}|.{0,40}") {
            if let Some(document) = parse(&text) {
                for operation in document.executed(Some("a")) {
                    document.tell(operation);
                }
            }
        }
    }
}
