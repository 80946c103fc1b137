//! Header lists of HTTP/2 read as message heads (RFC 9113 §8).
//!
//! Requests are read as strictly as those of HTTP/1.1, and for the same reason: they go on as they
//! are, and a service may turn them into HTTP/1.1, a URL or a CGI environment. Answers are the
//! service's own word to its client; of them only the status is needed.

use super::hpack::List;
use crate::head::{HTTP_2, HeadIndex, Span};
use crate::relay::framing::{Framer, is_trailer_name};
use crate::relay::grammar::{is_field_value, is_host, is_token, trim_ows};
use crate::relay::parse::{self, HeadLimits, Refusal, RequestFraming};
use crate::relay::{Offer, Upgrades};

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Not HTTP/2: its stream is reset (RFC 9113 §8.1.1).
    Malformed(&'static str),
    /// Well formed, and not wanted here: it is answered.
    Unwanted(Refusal),
}

impl Flaw {
    pub fn refusal(self) -> Refusal {
        match self {
            Flaw::Malformed(reason) => Refusal { status: 400, reason },
            Flaw::Unwanted(refusal) => refusal,
        }
    }
}

use Flaw::Malformed;

const fn unwanted(status: u16, reason: &'static str) -> Flaw {
    Flaw::Unwanted(Refusal { status, reason })
}

/// What the relay needs of a request beside its head.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub framing: RequestFraming,
    /// What DATA must add up to.
    pub length: Option<u64>,
}

/// Pseudo-fields and the fields that say what a message is, by their place in the list.
#[derive(Default)]
struct Marks {
    method: Option<usize>,
    path: Option<usize>,
    scheme: Option<usize>,
    authority: Option<usize>,
    protocol: Option<usize>,
    host: Option<usize>,
    length: Option<u64>,
    /// How many pseudo-fields there are; they come first.
    pseudo: usize,
}

/// Reads a request's list into `index`, whose spans lie in `list.bytes`. `:authority` is shown as
/// `host`, the field it stands for.
pub fn request(
    list: &mut List,
    index: &mut HeadIndex,
    end: bool,
    limits: HeadLimits,
    upgrades: &Upgrades,
) -> Result<Request, Flaw> {
    if list.fields.len() > limits.max_fields {
        return Err(unwanted(431, "too_many_fields"));
    }
    if list.bytes.len() > limits.max_bytes {
        return Err(unwanted(431, "head_too_large"));
    }
    let mut marks = Marks::default();
    for (at, (name, value)) in list.iter().enumerate() {
        if !is_field_value(value) || trim_ows(value).len() != value.len() {
            return Err(Malformed("bad_field_value"));
        }
        match name.strip_prefix(b":") {
            Some(pseudo) => marks.note_pseudo(at, pseudo)?,
            None => marks.note(at, name, value)?,
        }
    }
    let framing = marks.judge(list, end, upgrades)?;
    marks.fill(list, index);
    Ok(Request { framing, length: marks.length })
}

impl Marks {
    fn note_pseudo(&mut self, at: usize, name: &[u8]) -> Result<(), Flaw> {
        let place = match name {
            b"method" => &mut self.method,
            b"path" => &mut self.path,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"protocol" => &mut self.protocol,
            _ => return Err(Malformed("pseudo_field")),
        };
        if place.replace(at).is_some() || at != self.pseudo {
            return Err(Malformed("pseudo_field"));
        }
        self.pseudo += 1;
        Ok(())
    }

    fn note(&mut self, at: usize, name: &[u8], value: &[u8]) -> Result<(), Flaw> {
        if !is_lower_token(name) {
            return Err(Malformed("bad_field_name"));
        }
        match name {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                return Err(Malformed("connection_field"));
            }
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => return Err(Malformed("connection_field")),
            b"host" if self.host.replace(at).is_some() => return Err(unwanted(400, "bad_host")),
            b"content-length" => {
                let length = parse::request_length(value).map_err(|r| Malformed(r.reason))?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed("content_length"));
                }
            }
            _ if name.contains(&b'_') && parse::folds_into_framing(name) => {
                return Err(unwanted(400, "underscore_field"));
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 §8.3.1, RFC 8441, and the rules of `parse.rs` for targets and hosts.
    fn judge(&self, list: &List, end: bool, upgrades: &Upgrades) -> Result<RequestFraming, Flaw> {
        let value = |at: Option<usize>| at.and_then(|at| list.iter().nth(at)).map(|(_, v)| v);
        let method = value(self.method).filter(|m| is_token(m)).ok_or(Malformed("pseudo_field"))?;
        let upgrade = match (method, value(self.protocol)) {
            (b"CONNECT", Some(protocol)) => {
                let target = value(self.path).unwrap_or_default();
                Some(allowed_upgrade(protocol, target, end, upgrades)?)
            }
            // RFC 9113 §8.5: an authority, and nothing else.
            (b"CONNECT", None) => {
                let sound = self.authority.is_some() && self.scheme.is_none() && self.path.is_none();
                return Err(if sound { unwanted(405, "connect") } else { Malformed("pseudo_field") });
            }
            (_, Some(_)) => return Err(Malformed("pseudo_field")),
            (_, None) => None,
        };
        let scheme = value(self.scheme).ok_or(Malformed("pseudo_field"))?;
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(unwanted(400, "scheme"));
        }
        let path = value(self.path).filter(|p| !p.is_empty()).ok_or(Malformed("pseudo_field"))?;
        let rooted = path.first() == Some(&b'/') || (path == b"*" && method == b"OPTIONS");
        if !rooted || !parse::is_target(path) {
            return Err(unwanted(400, "bad_target"));
        }
        let (authority, host) = (value(self.authority), value(self.host));
        let differ = authority.zip(host).is_some_and(|(a, h)| !a.eq_ignore_ascii_case(h));
        if differ || !authority.or(host).is_some_and(is_host) {
            return Err(unwanted(400, "bad_host"));
        }
        let body = match (end, self.length) {
            (true, Some(1..)) => return Err(Malformed("content_length")),
            (true, _) => Framer::Done,
            (false, Some(n)) => Framer::sized(n),
            (false, None) => Framer::UntilClose,
        };
        Ok(RequestFraming { body, head_method: method == b"HEAD", upgrade })
    }

    fn fill(&self, list: &mut List, index: &mut HeadIndex) {
        let value = |at: Option<usize>| {
            at.and_then(|at| list.fields.get(at)).map_or(0..0, |(_, value)| value.clone())
        };
        start(list, index);
        index.method = value(self.method);
        index.target = value(self.path);
        index.scheme = value(self.scheme);
        if self.host.is_none() {
            let name = list.bytes.len() as u32..list.bytes.len() as u32 + 4;
            index.fields.push((name, value(self.authority)));
            list.bytes.extend_from_slice(b"host");
        }
        index.fields.extend_from_slice(list.fields.get(self.pseudo..).unwrap_or_default());
        index.len = list.bytes.len();
    }
}

fn start(list: &List, index: &mut HeadIndex) {
    let nothing: Span = 0..0;
    index.len = list.bytes.len();
    index.minor = HTTP_2;
    index.status = 0;
    (index.method, index.target, index.scheme) = (nothing.clone(), nothing.clone(), nothing);
    index.fields.clear();
}

fn is_lower_token(name: &[u8]) -> bool {
    is_token(name) && !name.iter().any(u8::is_ascii_uppercase)
}

/// HTTP/2 asks for a tunnel with its method, which cannot be withdrawn: one that is not allowed is refused.
fn allowed_upgrade(protocol: &[u8], target: &[u8], end: bool, upgrades: &Upgrades) -> Result<Offer, Flaw> {
    let protocol = String::from_utf8_lossy(protocol).to_ascii_lowercase();
    if end || !upgrades.allows(&protocol, target) {
        return Err(unwanted(400, "upgrade"));
    }
    Ok(Offer { allowed: vec![protocol], withdrawn: false })
}

/// Reads the trailers of a request into `index`. They must not say anything that belongs in a head.
pub fn request_trailers(list: &List, index: &mut HeadIndex, limits: HeadLimits) -> Result<(), Flaw> {
    let safe = |(name, value): (&[u8], &[u8])| {
        is_lower_token(name)
            && is_field_value(value)
            && trim_ows(value).len() == value.len()
            && is_trailer_name(name)
    };
    let bounded = list.fields.len() <= limits.max_fields && list.bytes.len() <= limits.max_bytes;
    if !bounded || !list.iter().all(safe) {
        return Err(Malformed("trailer"));
    }
    fields(list, index);
    Ok(())
}

/// Reads an answer's head into `index`. `None`: it has no status.
pub fn response(list: &List, index: &mut HeadIndex) -> Option<u16> {
    fields(list, index);
    let status = list.iter().find(|(name, _)| *name == b":status")?.1;
    let [a @ b'1'..=b'9', b, c] = status else { return None };
    let digit = |d: &u8| d.is_ascii_digit().then(|| u16::from(d - b'0'));
    index.status = digit(a)? * 100 + digit(b)? * 10 + digit(c)?;
    Some(index.status)
}

/// Every field that is not a pseudo-field.
pub fn fields(list: &List, index: &mut HeadIndex) {
    start(list, index);
    for (field, (name, _)) in list.fields.iter().zip(list.iter()) {
        if !name.starts_with(b":") {
            index.fields.push(field.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;

    const LIMITS: HeadLimits = HeadLimits { max_bytes: 1000, max_fields: 10 };

    fn list(fields: &[(&str, &str)]) -> List {
        let mut list = List::default();
        for (name, value) in fields {
            let start = list.bytes.len() as u32;
            list.bytes.extend_from_slice(name.as_bytes());
            let middle = list.bytes.len() as u32;
            list.bytes.extend_from_slice(value.as_bytes());
            list.fields.push((start..middle, middle..list.bytes.len() as u32));
        }
        list
    }

    fn ask(fields: &[(&str, &str)], end: bool) -> Result<(List, HeadIndex, Request), Flaw> {
        let (mut list, mut index) = (list(fields), HeadIndex::default());
        let request = request(
            &mut list,
            &mut index,
            end,
            LIMITS,
            &Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() },
        )?;
        Ok((list, index, request))
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":path", "/a?b"), (":authority", "h:80")];

    fn with<'a>(change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = GET.to_vec();
        for (name, value) in change {
            match all.iter_mut().find(|(n, _)| n == name) {
                Some(field) => field.1 = value,
                None => all.push((name, value)),
            }
        }
        all
    }

    #[test]
    fn a_head_is_shown_as_that_of_http_1() {
        let (list, index, request) = ask(&with(&[("x-a", "1"), ("cookie", "b=c")]), true).unwrap();
        let head = Head { raw: &list.bytes, index: &index };
        assert_eq!((head.method(), head.target(), head.version()), ("GET", &b"/a?b"[..], "2"));
        assert_eq!(head.scheme(), "http");
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [("host", &b"h:80"[..]), ("x-a", b"1"), ("cookie", b"b=c")]);
        assert_eq!(request.framing, RequestFraming { body: Framer::Done, head_method: false, upgrade: None });
        let (list, index, _) = ask(&with(&[("host", "H:80")]), true).unwrap();
        assert_eq!(Head { raw: &list.bytes, index: &index }.all("host").collect::<Vec<_>>(), [b"H:80"]);
    }

    #[test]
    fn a_body_is_announced_by_the_missing_end() {
        let body =
            |fields: &[(&str, &str)]| ask(&with(fields), false).map(|(_, _, r)| (r.framing.body, r.length));
        assert_eq!(body(&[("content-length", "3")]), Ok((Framer::Sized(3), Some(3))));
        assert_eq!(body(&[("content-length", "0")]), Ok((Framer::Done, Some(0))));
        assert_eq!(body(&[]), Ok((Framer::UntilClose, None)));
        assert!(ask(&with(&[("content-length", "0")]), true).is_ok());
    }

    #[test]
    fn malformed_requests() {
        let long = "a".repeat(1000);
        let many: Vec<_> = GET.into_iter().chain([("x", "y"); 7]).collect();
        let cases: &[(Vec<(&str, &str)>, Flaw)] = &[
            (with(&[(":method", "")]), Malformed("pseudo_field")),
            (with(&[(":method", "G T")]), Malformed("pseudo_field")),
            (GET[1..].to_vec(), Malformed("pseudo_field")),
            (vec![GET[0], GET[2], GET[3]], Malformed("pseudo_field")),
            (vec![GET[0], GET[1], GET[3]], Malformed("pseudo_field")),
            (GET[..3].to_vec(), unwanted(400, "bad_host")),
            ([&GET[..], &GET[..1]].concat(), Malformed("pseudo_field")),
            ([&GET[..], &[(":unknown", "1")]].concat(), Malformed("pseudo_field")),
            ([&GET[..], &[(":status", "200")]].concat(), Malformed("pseudo_field")),
            ([&[("x", "y")], &GET[..]].concat(), Malformed("pseudo_field")),
            (with(&[("X-A", "1")]), Malformed("bad_field_name")),
            (with(&[("x a", "1")]), Malformed("bad_field_name")),
            (with(&[("", "1")]), Malformed("bad_field_name")),
            (with(&[("x:", "1")]), Malformed("bad_field_name")),
            (with(&[("x\r", "1")]), Malformed("bad_field_name")),
            (with(&[("x", "a\r\nb: c")]), Malformed("bad_field_value")),
            (with(&[("x", "a\0")]), Malformed("bad_field_value")),
            (with(&[("x", "a\n")]), Malformed("bad_field_value")),
            (with(&[("x", " a")]), Malformed("bad_field_value")),
            (with(&[("x", "a\t")]), Malformed("bad_field_value")),
            (with(&[(":path", "/a\r\nb")]), Malformed("bad_field_value")),
            (with(&[("connection", "close")]), Malformed("connection_field")),
            (with(&[("transfer-encoding", "chunked")]), Malformed("connection_field")),
            (with(&[("upgrade", "h2c")]), Malformed("connection_field")),
            (with(&[("keep-alive", "1")]), Malformed("connection_field")),
            (with(&[("proxy-connection", "x")]), Malformed("connection_field")),
            (with(&[("te", "gzip")]), Malformed("connection_field")),
            (with(&[("content-length", "3")]), Malformed("content_length")),
            (with(&[("content-length", "+0")]), Malformed("content_length")),
            ([&GET[..], &[("content-length", "0"); 2]].concat(), Malformed("content_length")),
            (with(&[("content_length", "3")]), unwanted(400, "underscore_field")),
            (with(&[(":path", "")]), Malformed("pseudo_field")),
            (with(&[(":path", "a")]), unwanted(400, "bad_target")),
            (with(&[(":path", "*")]), unwanted(400, "bad_target")),
            (with(&[(":path", "http://h/")]), unwanted(400, "bad_target")),
            (with(&[(":path", "/a b")]), unwanted(400, "bad_target")),
            (with(&[(":path", "/a#b")]), unwanted(400, "bad_target")),
            (with(&[(":scheme", "http://evil/?")]), unwanted(400, "scheme")),
            (with(&[(":authority", "")]), unwanted(400, "bad_host")),
            (with(&[(":authority", "u@h")]), unwanted(400, "bad_host")),
            (with(&[("host", "other")]), unwanted(400, "bad_host")),
            ([&GET[..], &[("host", "h:80"); 2]].concat(), unwanted(400, "bad_host")),
            (vec![(":method", "CONNECT"), GET[3]], unwanted(405, "connect")),
            (with(&[(":method", "CONNECT")]), Malformed("pseudo_field")),
            (vec![(":method", "CONNECT")], Malformed("pseudo_field")),
            (with(&[(":protocol", "websocket")]), Malformed("pseudo_field")),
            (with(&[("x", &long)]), unwanted(431, "head_too_large")),
            (many, unwanted(431, "too_many_fields")),
        ];
        for (fields, flaw) in cases {
            assert_eq!(ask(fields, true).map(|_| ()), Err(*flaw), "{fields:?}");
        }
        for fine in [
            with(&[("te", "trailers")]),
            with(&[(":scheme", "HTTPS")]),
            with(&[(":method", "OPTIONS"), (":path", "*")]),
            vec![GET[0], GET[1], GET[2], ("host", "h")],
        ] {
            assert!(ask(&fine, true).is_ok(), "{fine:?}");
        }
    }

    #[test]
    fn extended_connect_by_the_list() {
        let ask = |protocol, end| {
            let fields = [
                (":method", "CONNECT"),
                (":protocol", protocol),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "h"),
            ];
            ask(&fields, end).map(|(_, _, r)| r.framing.upgrade)
        };
        assert_eq!(
            ask("WebSocket", false),
            Ok(Some(Offer { allowed: vec!["websocket".into()], withdrawn: false }))
        );
        assert_eq!(ask("connect-udp", false), Err(unwanted(400, "upgrade")));
        assert_eq!(ask("websocket", true), Err(unwanted(400, "upgrade")));
    }

    #[test]
    fn trailers_say_nothing_of_a_head() {
        let trailers =
            |fields: &[(&str, &str)]| request_trailers(&list(fields), &mut HeadIndex::default(), LIMITS);
        assert_eq!(trailers(&[("grpc-status", "0"), ("x-checksum", "1")]), Ok(()));
        for bad in [
            (":path", "/"),
            ("content-length", "3"),
            ("host", "a"),
            ("X", "1"),
            ("x", "a\n"),
            ("te", "trailers"),
        ] {
            assert_eq!(trailers(&[bad]), Err(Malformed("trailer")), "{bad:?}");
        }
    }

    #[test]
    fn answers_need_a_status() {
        let status = |s| response(&list(&[(":status", s), ("x", "y")]), &mut HeadIndex::default());
        assert_eq!(status("204"), Some(204));
        for bad in ["", "20", "2000", "0200", "2x0", "099"] {
            assert_eq!(status(bad), None, "{bad}");
        }
        assert_eq!(response(&list(&[]), &mut HeadIndex::default()), None);
    }
}
