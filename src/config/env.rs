//! Environment variables in values: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; `$${` is a
//! plain `${`. Keys are never expanded, and what a variable held is never shown.

use super::problem::{Problems, shown};
use super::tree::{Kind, Node};

/// Expands every text below `node`; a value that cannot be expanded becomes empty, so that the
/// checks after it stay silent.
pub(super) fn expand(node: &mut Node, env: &dyn Fn(&str) -> Option<String>, problems: &mut Problems) {
    match &mut node.kind {
        Kind::Text(text) if text.contains("${") => match expanded(text, env) {
            Ok((value, from_env)) => {
                *text = value;
                node.from_env = from_env;
            }
            Err((message, help)) => {
                problems.error(node.at, message, help);
                node.kind = Kind::Failed;
            }
        },
        Kind::List(items) => {
            for item in items {
                expand(item, env, problems);
                node.from_env |= item.from_env;
            }
        }
        Kind::Map(pairs) => {
            for (_, value) in pairs {
                expand(value, env, problems);
                node.from_env |= value.from_env;
            }
        }
        _ => {}
    }
}

type Failure = (String, &'static str);

/// The text, and whether a variable's value is part of it.
fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(String, bool), Failure> {
    const FORM: &str = "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$${` for a plain `${`";
    let (mut out, mut rest, mut from_env) = (String::with_capacity(text.len()), text, false);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let (inside, after) =
            after.split_once('}').ok_or_else(|| ("`${` without its `}`".to_string(), FORM))?;
        let (name, otherwise) = match inside.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err((format!("{} is not the name of a variable", shown(name)), FORM));
        }
        let value = env(name);
        let set = value.as_deref().is_some_and(|v| !v.is_empty());
        match (otherwise.map(|o| o.split_at_checked(1).unwrap_or(("", ""))), value) {
            (Some(("-", default)), _) if !set => out.push_str(default),
            (Some(("?", message)), _) if !set => {
                let why = if message.is_empty() { "it must be set" } else { message };
                return Err((format!("variable `{name}` is not set: {why}"), "set it, and start again"));
            }
            (None | Some(("-" | "?", _)), Some(value)) => {
                out.push_str(&value);
                from_env = true;
            }
            (None, None) => {
                return Err((
                    format!("variable `{name}` is not set"),
                    "set it, or give a default: `${NAME:-default}`",
                ));
            }
            _ => return Err((format!("`${{{name}:` is followed by neither `-` nor `?`"), FORM)),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok((out, from_env))
}

fn is_name(s: &str) -> bool {
    !s.is_empty()
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !s.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn expands() {
        for (text, value, from_env) in [
            ("${HOST}", "db", true),
            ("http://${HOST}:80/${HOST}", "http://db:80/db", true),
            ("${HOST:-x}", "db", true),
            ("${HOST:?needed}", "db", true),
            ("${NONE:-x}", "x", false),
            ("${NONE:-}", "", false),
            ("${EMPTY:-x}", "x", false),
            ("${EMPTY}", "", true),
            ("${NONE:-a:b}", "a:b", false),
            ("$${HOST}", "${HOST}", false),
            ("$HOST ~ $", "$HOST ~ $", false),
            ("a$${b}${HOST}", "a${b}db", true),
        ] {
            assert_eq!(expanded(text, &env), Ok((value.to_string(), from_env)), "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, message) in [
            ("${NONE}", "variable `NONE` is not set"),
            ("${NONE:?the host}", "variable `NONE` is not set: the host"),
            ("${EMPTY:?}", "variable `EMPTY` is not set: it must be set"),
            ("${HOST", "`${` without its `}`"),
            ("${}", "`` is not the name of a variable"),
            ("${A B}", "`A B` is not the name of a variable"),
            ("${1A}", "`1A` is not the name of a variable"),
            ("${HOST:x}", "`${HOST:` is followed by neither `-` nor `?`"),
            ("${HOST:}", "`${HOST:` is followed by neither `-` nor `?`"),
            ("${HOST:é}", "`${HOST:` is followed by neither `-` nor `?`"),
        ] {
            assert_eq!(expanded(text, &env).unwrap_err().0, message, "{text}");
        }
    }
}
