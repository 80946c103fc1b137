//! Where in a call a text stands, as documents and configuration write it, and what a document's
//! `x-audit-*` keys say of an operation.
//!
//! | written | meaning |
//! |---|---|
//! | `change.comment` | that member of the JSON body; of a form, the field of that name |
//! | `$request.body#/change/comment` | the same, as an OpenAPI runtime expression |
//! | `$request.header.NAME`, `$request.query.NAME`, `$request.path.NAME` | a header, a parameter |
//! | `$response.body#/id` | a member of the answer; for `x-audit-resource-id` only |
//!
//! | key | meaning |
//! |---|---|
//! | `x-audit-reason` | where the caller says why; one place or a list |
//! | `x-audit-op` | `create`, `update`, `delete`, `read` or `other`, whatever method and path say |
//! | `x-audit-resource` | the type of the resource |
//! | `x-audit-resource-id` | where its id stands |
//! | `x-audit-message` | the readable line: see [`super::template`] |
//!
//! Each may stand at an operation, at its path, or at the document's root for all operations.

use super::Template;
use super::calls::{decode, essence, parameter};
use super::json;
use super::text::{clean, words};
use crate::head::Head;
use serde_json::Value;
use sidelog_event::{Op, Params};

/// Names a path may have.
const MAX_STEPS: usize = 8;

/// Makes a place of a name.
type Make = fn(String) -> Source;
const NAMED: [(&str, Make); 3] = [
    ("$request.header.", Source::Header),
    ("$request.query.", Source::Query),
    ("$request.path.", Source::Path),
];

/// A place in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Header(String),
    Query(String),
    Path(String),
    Body(Vec<String>),
    Answer(Vec<String>),
}

impl Source {
    /// Reads one as written; an error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Source, String> {
        let bad = |why: &str| Err(format!("`{}` {why}", clean(text.as_bytes(), 80).text));
        for (prefix, make) in NAMED {
            match text.strip_prefix(prefix) {
                Some("") => return bad("names nothing"),
                Some(name) => return Ok(make(name.to_owned())),
                None => {}
            }
        }
        let pointer = |rest: &str| -> Vec<String> {
            rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
        };
        let (steps, answer) = if let Some(rest) = text.strip_prefix("$request.body#/") {
            (pointer(rest), false)
        } else if let Some(rest) = text.strip_prefix("$response.body#/") {
            (pointer(rest), true)
        } else if text.starts_with('$') {
            return bad("is not one of $request.body#/…, .header.…, .query.…, .path.…, $response.body#/…");
        } else {
            (text.split('.').map(str::to_owned).collect(), false)
        };
        if steps.len() > MAX_STEPS || steps.iter().any(String::is_empty) {
            return bad("is no path to a member, such as `change.comment`");
        }
        Ok(if answer { Source::Answer(steps) } else { Source::Body(steps) })
    }

    /// The names under which the text stands: where one of them means a secret, the text is one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Source::Header(name) | Source::Query(name) | Source::Path(name) => (Some(name), &[][..]),
            Source::Body(steps) | Source::Answer(steps) => (None, &steps[..]),
        };
        one.into_iter().chain(many).map(String::as_str)
    }

    /// The text, if it stands in the head.
    pub fn in_head(&self, head: &Head<'_>, params: &Params<'_>) -> Option<String> {
        let (_, query) = crate::rules::split_target(head.target());
        let text = match self {
            Source::Header(name) => words(head.first(name)?, json::MAX_TEXT),
            Source::Query(name) => words(parameter(query, name)?.as_bytes(), json::MAX_TEXT),
            Source::Path(name) => words(params.get(name)?.as_bytes(), json::MAX_TEXT),
            Source::Body(_) | Source::Answer(_) => return None,
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }

    /// The text, if it stands in this body. `steps` are those of a [`Source::Body`] or
    /// [`Source::Answer`].
    pub fn in_body(steps: &[String], media: &[u8], body: &[u8]) -> Option<String> {
        if body.is_empty() {
            return None;
        }
        let text = if &*essence(media) == b"application/x-www-form-urlencoded" {
            words(parameter(body, &steps.join("."))?.as_bytes(), json::MAX_TEXT)
        } else {
            let path: Vec<&str> = steps.iter().map(String::as_str).collect();
            json::texts_at(body, &[&path]).pop().flatten()?
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

/// As an OpenAPI runtime expression.
impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Header(name) => write!(f, "$request.header.{name}"),
            Source::Query(name) => write!(f, "$request.query.{name}"),
            Source::Path(name) => write!(f, "$request.path.{name}"),
            Source::Body(steps) => write!(f, "$request.body#/{}", steps.join("/")),
            Source::Answer(steps) => write!(f, "$response.body#/{}", steps.join("/")),
        }
    }
}

/// What a document's `x-audit-*` keys say of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    pub reason: Vec<Source>,
    pub op: Option<Op>,
    pub kind: Option<String>,
    pub id: Option<Source>,
    pub message: Option<Template>,
}

impl Hints {
    /// Reads an operation's keys; what cannot be read is left out and told, one sentence each.
    pub fn read(extensions: &[(String, Value)]) -> (Hints, Vec<String>) {
        let (mut hints, mut problems) = (Hints::default(), Vec::new());
        for (key, value) in extensions {
            let told = match key.as_str() {
                "x-audit-reason" => sources(value).map(|reason| hints.reason = reason),
                "x-audit-op" => op(value).map(|op| hints.op = Some(op)),
                "x-audit-resource" => text(value).map(|kind| hints.kind = Some(kind.to_owned())),
                "x-audit-resource-id" => {
                    text(value).and_then(Source::parse).map(|source| hints.id = Some(source))
                }
                "x-audit-message" => {
                    text(value).and_then(Template::parse).map(|line| hints.message = Some(line))
                }
                _ => Err("is not known; there are x-audit-reason, -op, -resource, -resource-id and -message"
                    .into()),
            };
            if let Err(why) = told {
                problems.push(format!("{key}: {why}"));
            }
        }
        (hints, problems)
    }
}

fn text(value: &Value) -> Result<&str, String> {
    let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= json::MAX_TEXT);
    text.ok_or_else(|| "is not a text".to_owned())
}

fn sources(value: &Value) -> Result<Vec<Source>, String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |value| match Source::parse(text(value)?)? {
        Source::Answer(_) => Err("the answer does not tell why".to_owned()),
        source => Ok(source),
    };
    list.iter().take(MAX_STEPS).map(read).collect()
}

fn op(value: &Value) -> Result<Op, String> {
    let word = text(value)?;
    let known = Op::ALL.iter().find(|op| op.as_str() == word);
    known.copied().ok_or_else(|| "is none of create, update, delete, read, other".to_owned())
}

/// The methods that a body names instead of the request line's, by field of a form (Rails, Laravel,
/// Symfony) or member of a JSON object (Laravel).
pub fn method_in_body(method: &str, media: &[u8], body: &[u8]) -> Option<String> {
    let named = match &*essence(media) {
        b"application/x-www-form-urlencoded" => {
            return super::form_method(method, body).map(|m| m.into_owned());
        }
        // The others are honoured for POST only.
        _ if method != "POST" => return None,
        b"multipart/form-data" => super::multipart::parts(media, body)
            .take(1000)
            .find(|part| part.name().is_some_and(|name| name.eq_ignore_ascii_case(b"_method")))
            .map(|part| decode(part.content.trim_ascii()).into_owned()),
        media if media.ends_with(b"json") => super::other_method(body),
        _ => None,
    }?;
    super::request::routed(&named).filter(|named| named != method)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::tests::head;
    use serde_json::json;

    fn body(steps: &[&str]) -> Source {
        Source::Body(steps.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn places_as_written() {
        assert_eq!(Source::parse("change.comment"), Ok(body(&["change", "comment"])));
        assert_eq!(Source::parse("$request.body#/a~1b/c~0d"), Ok(body(&["a/b", "c~d"])));
        assert_eq!(Source::parse("$request.header.X-Why"), Ok(Source::Header("X-Why".into())));
        assert_eq!(Source::parse("$request.query.why"), Ok(Source::Query("why".into())));
        assert_eq!(Source::parse("$response.body#/id"), Ok(Source::Answer(vec!["id".into()])));
        for bad in [
            "",
            ".",
            "a..b",
            "$request.header.",
            "$request.body#/",
            "$url",
            "$request.body",
            "a.b.c.d.e.f.g.h.i",
        ] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_from_their_places() {
        let (raw, index) = head("POST", "/x?why=be+cause&empty=", &[("X-Why", " asked\u{202e} ")]);
        let head = Head { raw: &raw, index: &index };
        let params = Params(vec![("id".into(), "7".into())]);
        let of = |text: &str| Source::parse(text).unwrap().in_head(&head, &params);
        assert_eq!(of("$request.header.x-why").as_deref(), Some("asked\\u{202e}"));
        assert_eq!(of("$request.query.why").as_deref(), Some("be cause"));
        assert_eq!(of("$request.path.id").as_deref(), Some("7"));
        assert_eq!(of("$request.query.empty"), None);
        assert_eq!(of("why"), None);
        let steps = ["a".to_owned(), "b".to_owned()];
        let read = |media: &str, body: &str| Source::in_body(&steps, media.as_bytes(), body.as_bytes());
        assert_eq!(read("application/json", r#"{"a":{"b":"x"}}"#).as_deref(), Some("x"));
        assert_eq!(read("", r#"{"a":{"b":" "}}"#), None);
        assert_eq!(read("application/x-www-form-urlencoded", "c=1&a.b=y+z").as_deref(), Some("y z"));
        assert_eq!(read("application/json", ""), None);
    }

    #[test]
    fn hints_of_documents() {
        let of = |key: &str, value: Value| Hints::read(&[(key.to_owned(), value)]);
        let (hints, problems) = of("x-audit-reason", json!(["a.b", "$request.header.X"]));
        assert_eq!((hints.reason.len(), problems.len()), (2, 0));
        assert_eq!(of("x-audit-op", json!("delete")).0.op, Some(Op::Delete));
        assert_eq!(of("x-audit-resource", json!("secrets")).0.kind.as_deref(), Some("secrets"));
        assert!(of("x-audit-resource-id", json!("$response.body#/id")).0.id.is_some());
        for (key, value) in [
            ("x-audit-op", json!("destroy")),
            ("x-audit-op", json!(1)),
            ("x-audit-reason", json!("$response.body#/x")),
            ("x-audit-reason", json!([1])),
            ("x-audit-resource", json!({})),
            ("x-audit-resourse", json!("x")),
            ("x-audit-message", json!("{actor} did {body.}")),
        ] {
            let (hints, problems) = of(key, value);
            assert_eq!((hints, problems.len()), (Hints::default(), 1), "{key}: {problems:?}");
            assert!(problems[0].starts_with(key), "{problems:?}");
        }
    }

    #[test]
    fn methods_in_bodies() {
        let of = |media: &str, body: &str| method_in_body("POST", media.as_bytes(), body.as_bytes());
        let form = "application/x-www-form-urlencoded";
        assert_eq!(of(form, "a=1&_method=delete").as_deref(), Some("DELETE"));
        assert_eq!(of("application/json", r#"{"_method":"put"}"#).as_deref(), Some("PUT"));
        assert_eq!(of("application/json", r#"{"_method":"card"}"#), None);
        assert_eq!(of("application/json", r#"{"_method":"POST"}"#), None);
        assert_eq!(of("text/plain", r#"{"_method":"put"}"#), None);
        let part = "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPATCH\r\n--b--";
        assert_eq!(of("multipart/form-data; boundary=b", part).as_deref(), Some("PATCH"));
        assert_eq!(method_in_body("PUT", b"application/json", br#"{"_method":"DELETE"}"#), None);
    }
}
