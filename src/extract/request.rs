//! What a request head says about the call itself: the method meant, identifiers, the user agent.
//!
//! All of it is the client's word. Bounded and printable, never judged.

use super::text::{clean, trim};
use crate::head::Head;
use std::borrow::Cow;

/// Fields by which frameworks let a client name another method.
const OVERRIDE_FIELDS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Query and form parameters that do the same.
const OVERRIDE_PARAMETERS: [&str; 2] = ["_method", "x-http-method-override"];
/// A parameter's value counts only when it is a method some framework routes, so that an API with a
/// parameter of that name for its own use does not have all its reads recorded.
const ROUTED_METHODS: [&str; 17] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "LINK", "UNLINK",
    "PURGE", "MERGE", "COPY", "MOVE", "LOCK", "UNLOCK",
];
const MAX_METHOD: usize = 32;
const MAX_USER_AGENT: usize = 512;
const MAX_REQUEST_ID: usize = 128;

/// The method a service that honours overrides would execute, in capitals, when it differs from the
/// request line's. By field (`X-HTTP-Method-Override`, …) or query parameter (`_method`). Of several
/// that differ, the first that is not a safe method.
pub fn effective_method<'h>(head: &Head<'h>) -> Option<Cow<'h, str>> {
    let mut found: Option<Cow<'h, str>> = None;
    let mut consider = |candidate: Cow<'h, str>| {
        let better = found.as_deref().is_none_or(|f| is_safe(f) && !is_safe(&candidate));
        if !candidate.is_empty() && candidate != head.method() && better {
            found = Some(candidate);
        }
    };
    for (name, value) in head.fields() {
        if OVERRIDE_FIELDS.iter().any(|f| f.eq_ignore_ascii_case(name)) {
            value.split(|b| *b == b',').map(|v| capitals(trim(v))).for_each(&mut consider);
        }
    }
    if let Some(at) = head.target().iter().position(|b| *b == b'?') {
        let query = head.target().get(at + 1..).unwrap_or_default();
        parameter_methods(query).for_each(&mut consider);
    }
    found
}

/// The same for a form body (`application/x-www-form-urlencoded`), once it was captured.
pub fn form_method<'b>(method: &str, body: &'b [u8]) -> Option<Cow<'b, str>> {
    parameter_methods(body).find(|m| m != method)
}

fn parameter_methods(encoded: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    encoded.split(|b| matches!(b, b'&' | b';')).filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let name = percent_encoding::percent_decode(name);
        let named = |p: &&str| name.clone().map(|b| b.to_ascii_lowercase()).eq(p.bytes());
        OVERRIDE_PARAMETERS.iter().find(|p| named(p))?;
        let value: Vec<u8> = percent_encoding::percent_decode(value).take(MAX_METHOD).collect();
        let method = capitals(trim(&value)).into_owned();
        ROUTED_METHODS.contains(&method.as_str()).then_some(Cow::Owned(method))
    })
}

fn capitals(value: &[u8]) -> Cow<'_, str> {
    let text = clean(value, MAX_METHOD).text;
    if text.bytes().any(|b| b.is_ascii_lowercase()) { text.to_ascii_uppercase().into() } else { text }
}

/// A method that only reads, by RFC 9110 §9.2.1.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// `X-Request-Id`, else `X-Correlation-Id`; empty when there is none.
pub fn request_id<'h>(head: &Head<'h>) -> Cow<'h, str> {
    let value = head.first("x-request-id").or_else(|| head.first("x-correlation-id"));
    clean(value.unwrap_or_default(), MAX_REQUEST_ID).text
}

/// `Idempotency-Key` (IETF httpapi draft; Stripe and others long before); empty when there is none.
pub fn idempotency_key<'h>(head: &Head<'h>) -> Cow<'h, str> {
    clean(head.first("idempotency-key").unwrap_or_default(), MAX_REQUEST_ID).text
}

pub fn user_agent<'h>(head: &Head<'h>) -> Cow<'h, str> {
    clean(head.first("user-agent").unwrap_or_default(), MAX_USER_AGENT).text
}

/// The trace id of a valid `traceparent` (W3C Trace Context §3.2); empty otherwise. A repeated field
/// is invalid, as there.
pub fn trace_id<'h>(head: &Head<'h>) -> &'h str {
    let mut values = head.all("traceparent");
    match (values.next(), values.next()) {
        (Some(value), None) => parse_traceparent(value).unwrap_or_default(),
        _ => "",
    }
}

fn parse_traceparent(value: &[u8]) -> Option<&str> {
    let mut parts = std::str::from_utf8(value).ok()?.split('-');
    let [version, trace, parent, flags] = std::array::from_fn(|_| parts.next());
    let hex = |part: Option<&'_ str>, len: usize| {
        part.is_some_and(|p| p.len() == len && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let shaped = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let extended = parts.next().is_some();
    let zero = |part: Option<&str>| part.is_none_or(|p| p.bytes().all(|b| b == b'0'));
    let valid = shaped && version != Some("ff") && !zero(trace) && !zero(parent);
    (valid && (!extended || version != Some("00"))).then_some(trace).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::tests::head;

    fn effective(method: &str, target: &str, fields: &[(&str, &str)]) -> Option<String> {
        let (raw, index) = head(method, target, fields);
        effective_method(&Head { raw: &raw, index: &index }).map(Cow::into_owned)
    }

    #[test]
    fn overrides_by_field() {
        let by = |name, value| effective("POST", "/v1", &[(name, value)]);
        assert_eq!(by("X-HTTP-Method-Override", "DELETE").as_deref(), Some("DELETE"));
        assert_eq!(by("x-http-method", "delete").as_deref(), Some("DELETE"));
        assert_eq!(by("X-Method-Override", " Patch ").as_deref(), Some("PATCH"));
        assert_eq!(by("X-HTTP-Method-Override", "POST"), None, "no change");
        assert_eq!(by("X-HTTP-Method-Override", "post"), None, "no change");
        assert_eq!(by("X-HTTP-Method-Override", ""), None);
        assert_eq!(by("X-HTTP-Method-Override", "b a d").as_deref(), Some("B A D"), "odd is not none");
        let get = effective("GET", "/v1", &[("X-HTTP-Method-Override", "DELETE")]);
        assert_eq!(get.as_deref(), Some("DELETE"));
    }

    #[test]
    fn the_mutating_one_of_several_overrides() {
        let two = [("X-HTTP-Method", "HEAD"), ("X-HTTP-Method-Override", "GET, DELETE")];
        assert_eq!(effective("GET", "/v1", &two).as_deref(), Some("DELETE"));
        let one = [("X-HTTP-Method", "GET"), ("X-HTTP-Method", "GET")];
        assert_eq!(effective("GET", "/v1", &one), None);
    }

    #[test]
    fn overrides_by_parameter() {
        let of = |target| effective("GET", target, &[]);
        assert_eq!(of("/v1/orders?_method=DELETE").as_deref(), Some("DELETE"));
        assert_eq!(of("/v1?a=1&%5Fmethod=%64elete").as_deref(), Some("DELETE"));
        assert_eq!(of("/v1?a=1;_METHOD=PUT").as_deref(), Some("PUT"));
        assert_eq!(of("/v1?_method=getUsers"), None, "the API's own parameter");
        assert_eq!(of("/v1?method=DELETE"), None);
        assert_eq!(of("/v1?_method=GET"), None);
        assert_eq!(of("/_method=DELETE"), None);
        assert_eq!(form_method("POST", b"a=b&_method=DELETE").as_deref(), Some("DELETE"));
        assert_eq!(form_method("POST", b"_method=POST"), None);
        assert_eq!(form_method("POST", b"\xff&&=;_method"), None);
    }

    #[test]
    fn identifiers() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |value: &str| {
            let (raw, index) = head("GET", "/", &[("traceparent", value)]);
            trace_id(&Head { raw: &raw, index: &index }).to_owned()
        };
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")), trace);
        assert_eq!(of(&format!("01-{trace}-00f067aa0ba902b7-01-more")), trace, "a later version");
        for bad in [
            format!("00-{trace}-00f067aa0ba902b7-01-more"),
            format!("ff-{trace}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            format!("00-{trace}"),
            String::new(),
        ] {
            assert_eq!(of(&bad), "", "{bad}");
        }
        let good = format!("00-{trace}-00f067aa0ba902b7-01");
        let (raw, index) = head("GET", "/", &[("traceparent", &good), ("traceparent", &good)]);
        assert_eq!(trace_id(&Head { raw: &raw, index: &index }), "");

        let long = "x".repeat(9000);
        let (raw, index) =
            head("GET", "/", &[("X-Correlation-Id", "c"), ("X-Request-Id", "r"), ("User-Agent", &long)]);
        let head = Head { raw: &raw, index: &index };
        assert_eq!(request_id(&head), "r");
        assert_eq!(user_agent(&head).len(), MAX_USER_AGENT);
    }
}
