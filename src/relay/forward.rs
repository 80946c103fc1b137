//! The one field Sidelog may add to a request: where it came from, for a service that must know and
//! sees only a loopback peer. Off unless `forward_address` asks for it.
//!
//! One whole field line goes between the last field and the empty line; every other byte stays as it
//! is. What the client wrote under the same name stays before it, so a reader that believes the last
//! address (or the right end of the list, which is the same) believes the relay. A request that could
//! make the service drop or overlook the line is refused.

use super::parse::Refusal;
use crate::head::Head;
use std::net::IpAddr;

/// The field to add to each request of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    name: &'static str,
    value: String,
    line: String,
    /// As HTTP/2 spells it.
    lower: String,
}

impl Forward {
    /// `client`: none where it has no address (a Unix socket). The line is written all the same: without
    /// it the service would believe whatever the client wrote.
    pub fn x_forwarded_for(client: Option<IpAddr>) -> Forward {
        let value = client.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string());
        Forward::new("X-Forwarded-For", &value)
    }

    /// RFC 7239.
    pub fn forwarded(client: Option<IpAddr>) -> Forward {
        let value = match client.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => format!("for={ip}"),
            Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\""),
            None => "for=unknown".to_owned(),
        };
        Forward::new("Forwarded", &value)
    }

    fn new(name: &'static str, value: &str) -> Forward {
        let line = format!("{name}: {value}\r\n");
        Forward { name, value: value.to_owned(), line, lower: name.to_ascii_lowercase() }
    }

    /// Name and value, for HTTP/2.
    pub fn field(&self) -> (&[u8], &[u8]) {
        (self.lower.as_bytes(), self.value.as_bytes())
    }

    pub fn line(&self) -> &[u8] {
        self.line.as_bytes()
    }

    /// A field that a CGI-style service folds into this one would stand beside it; one that `Connection`
    /// names may be dropped by the service.
    pub fn check(&self, head: &Head<'_>) -> Result<(), Refusal> {
        let folds = |name: &str| {
            name.contains('_')
                && name.len() == self.name.len()
                && name
                    .bytes()
                    .zip(self.name.bytes())
                    .all(|(a, b)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-'))
        };
        if head.fields().any(|(name, _)| folds(name)) {
            return Err(Refusal { status: 400, reason: "underscore_field" });
        }
        let nominated = head
            .all("connection")
            .flat_map(|value| value.split(|b| *b == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(self.name.as_bytes()));
        if nominated {
            return Err(Refusal { status: 400, reason: "forwarding_nominated" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadIndex;

    #[test]
    fn the_line_names_the_client() {
        let line = |forward: Forward| String::from_utf8(forward.line().to_vec()).unwrap();
        let (v4, v6) = ("192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mapped = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(line(Forward::x_forwarded_for(Some(v4))), "X-Forwarded-For: 192.0.2.7\r\n");
        assert_eq!(line(Forward::x_forwarded_for(Some(mapped))), "X-Forwarded-For: 192.0.2.7\r\n");
        assert_eq!(line(Forward::x_forwarded_for(Some(v6))), "X-Forwarded-For: 2001:db8::1\r\n");
        assert_eq!(line(Forward::x_forwarded_for(None)), "X-Forwarded-For: unknown\r\n");
        assert_eq!(line(Forward::forwarded(Some(v4))), "Forwarded: for=192.0.2.7\r\n");
        assert_eq!(line(Forward::forwarded(Some(v6))), "Forwarded: for=\"[2001:db8::1]\"\r\n");
        assert_eq!(line(Forward::forwarded(None)), "Forwarded: for=unknown\r\n");
    }

    #[test]
    fn what_could_hide_the_line_is_refused() {
        let check = |name: &str, value: &str| {
            let fields = [(name.to_owned(), value.to_owned())];
            let (raw, index) = HeadIndex::synthesize("GET", "/", &fields);
            Forward::x_forwarded_for(None).check(&Head { raw: &raw, index: &index }).err().map(|r| r.reason)
        };
        assert_eq!(check("X_Forwarded_For", "6.6.6.6"), Some("underscore_field"));
        assert_eq!(check("x-forwarded_for", "6.6.6.6"), Some("underscore_field"));
        assert_eq!(check("Connection", "close, X-Forwarded-For"), Some("forwarding_nominated"));
        assert_eq!(check("X-Forwarded-For", "6.6.6.6"), None);
        assert_eq!(check("Connection", "keep-alive"), None);
        assert_eq!(check("X_Forwarded_Foo", "a"), None);
    }
}
