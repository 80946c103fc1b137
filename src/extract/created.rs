//! The id of what a call created, as the answer tells it.
//!
//! In this order:
//! - `Location` (RFC 9110 §10.2.2): where its path is one of the document's (`/v1/orders/{id}`), the
//!   caller matches it; otherwise its last segment, if it points to the same host and stands below
//!   the path that was posted to.
//! - a member of the JSON answer, the first of `id`, `data.id`, `ONE.id`, `ONEId`, `ONE_id`, `uuid`,
//!   `_id`, `metadata.name`, where `ONE` is the resource type's singular (`order` of `orders`).
//!
//! Texts and numbers are ids; what is too long for one is none.

use super::json;
use super::resource::{MAX_ID, singular};
use super::text::clean;
use std::borrow::Cow;

/// Where a `Location` leads, if it can be followed without knowing more than the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place<'l> {
    /// Without query and fragment.
    pub path: Cow<'l, [u8]>,
    /// It does not lead to another host than the request was sent to.
    pub same_host: bool,
}

/// Resolves a `Location` against the request's host and path.
pub fn location<'l>(value: &'l [u8], host: &[u8], path: &[u8]) -> Option<Place<'l>> {
    let end = value.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(value.len());
    let value = value.get(..end)?.trim_ascii();
    let after = [&b"https://"[..], b"http://", b"//"].into_iter().find_map(|prefix| {
        let (start, rest) = value.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    });
    let place = if let Some(rest) = after {
        let slash = memchr::memchr(b'/', rest)?;
        let (authority, path) = rest.split_at_checked(slash)?;
        Place { path: Cow::Borrowed(path), same_host: authority.eq_ignore_ascii_case(host) }
    } else if value.starts_with(b"/") {
        Place { path: Cow::Borrowed(value), same_host: true }
    } else {
        // Relative: the last segment of the request's path gives way (RFC 3986 §5.2.3).
        let first = value.split(|b| *b == b'/').next()?;
        if first.is_empty() || first.contains(&b':') {
            return None;
        }
        let base = path.get(..=memchr::memrchr(b'/', path)?)?;
        Place { path: Cow::Owned([base, value].concat()), same_host: true }
    };
    let dots = place.path.split(|b| *b == b'/').any(|s| matches!(s, b"." | b".."));
    (!dots).then_some(place)
}

/// The segment by which a place is below the path that was posted to, decoded.
pub fn child(place: &Place<'_>, path: &[u8]) -> Option<String> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let below = place.path.strip_prefix(path)?.strip_prefix(b"/")?;
    let name = below.strip_suffix(b"/").unwrap_or(below);
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode(name).into();
    let plain = place.same_host && !name.contains(&b'/');
    fit(&clean(&decoded, MAX_ID + 1).text).filter(|_| plain)
}

/// The id in a JSON answer, with the name it stands under. `kind`: the resource's type.
pub fn in_body(kind: &str, body: &[u8]) -> Option<(String, String)> {
    let one = singular(kind);
    let (camel, snake) = (format!("{one}Id"), format!("{one}_id"));
    let mut places: Vec<&[&str]> = vec![&["id"], &["data", "id"]];
    let (wrapped, camel, snake) = ([one, "id"], [camel.as_str()], [snake.as_str()]);
    if !one.is_empty() {
        places.extend([&wrapped[..], &camel, &snake]);
    }
    places.extend([&["uuid"][..], &["_id"], &["metadata", "name"]]);
    let found = json::texts_at(body, &places);
    let first = found.into_iter().zip(&places).find_map(|(text, place)| Some((fit(&text?)?, *place)))?;
    Some((first.1.last()?.to_string(), first.0))
}

/// What can be an id: not empty, not cut, no sentence.
pub fn fit(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.chars().count() <= MAX_ID && !text.ends_with('…');
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(value: &str) -> Option<(String, bool)> {
        let place = location(value.as_bytes(), b"api.example:8080", b"/v1/orders")?;
        Some((String::from_utf8(place.path.into_owned()).unwrap(), place.same_host))
    }

    #[test]
    fn locations() {
        for (value, path, same_host) in [
            ("/v1/orders/7", "/v1/orders/7", true),
            ("/v1/orders/7?x=1#y", "/v1/orders/7", true),
            ("http://api.example:8080/v1/orders/7", "/v1/orders/7", true),
            ("HTTPS://API.example:8080/v1/orders/7", "/v1/orders/7", true),
            ("//other.example/v1/orders/7", "/v1/orders/7", false),
            ("orders/7", "/v1/orders/7", true),
            ("7", "/v1/7", true),
        ] {
            assert_eq!(leads(value), Some((path.to_owned(), same_host)), "{value}");
        }
        for none in ["", "urn:x:7", "mailto:a@b", "../7", "/v1/./7", "http://api.example", "?x"] {
            assert_eq!(leads(none), None, "{none}");
        }
    }

    #[test]
    fn the_segment_below() {
        let of = |value: &str, path: &str| {
            child(&location(value.as_bytes(), b"a", path.as_bytes()).unwrap(), path.as_bytes())
        };
        assert_eq!(of("/v1/orders/7", "/v1/orders").as_deref(), Some("7"));
        assert_eq!(of("/v1/orders/a%20b/", "/v1/orders/").as_deref(), Some("a b"));
        for (value, path) in [
            ("/v1/orders/7/x", "/v1/orders"),
            ("/v1/orders", "/v1/orders"),
            ("/v1/orders/", "/v1/orders"),
            ("/v2/orders/7", "/v1/orders"),
            ("//b/v1/orders/7", "/v1/orders"),
        ] {
            assert_eq!(of(value, path), None, "{value}");
        }
    }

    #[test]
    fn ids_in_bodies() {
        let of = |body: &str| in_body("orders", body.as_bytes()).map(|(name, id)| format!("{name}={id}"));
        for (body, found) in [
            (r#"{"order_id":"o","id":"i"}"#, "id=i"),
            (r#"{"data":{"type":"orders","id":9}}"#, "id=9"),
            (r#"{"order":{"id":"w"}}"#, "id=w"),
            (r#"{"orderId":"c","uuid":"u"}"#, "orderId=c"),
            (r#"{"order_id":"s"}"#, "order_id=s"),
            (r#"{"uuid":"u","metadata":{"name":"n"}}"#, "uuid=u"),
            (r#"{"kind":"Pod","metadata":{"name":"n"}}"#, "name=n"),
            (r#"{"id":"i","rest":["#, "id=i"),
            (r#"{"id":null,"uuid":"u"}"#, "uuid=u"),
        ] {
            assert_eq!(of(body).as_deref(), Some(found), "{body}");
        }
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(MAX_ID + 1));
        for none in ["", "[]", r#"{"id":{}}"#, r#"{"id":""}"#, r#"{"name":"n"}"#, &long] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(in_body("", br#"{"Id":"x","_id":"y"}"#), Some(("_id".into(), "y".into())));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(value in "(https?:)?/{0,2}[a-z./%?#:é]{0,20}", path in "/?[a-z/]{0,8}") {
            if let Some(place) = location(value.as_bytes(), b"a", path.as_bytes()) {
                child(&place, path.as_bytes());
            }
            in_body(&path, value.as_bytes());
        }
    }
}
