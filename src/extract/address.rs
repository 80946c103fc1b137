//! From where: the client's address, and whose word it is.
//!
//! A forwarding header is believed only when the TCP peer is a trusted proxy; then the client is the
//! rightmost address that is not one, since everything to its left was written by strangers. With
//! nothing but trusted addresses, it is the leftmost. Any other header, and any header from another
//! peer, is kept as a claim and believed in nothing.
//!
//! The peer is the socket's, or the one a PROXY header told; a Unix socket's has no address, and `unix`
//! stands in its place.
//!
//! Promises: the result is always a valid address, or `unix`. A chain that does not read as addresses up to the
//! one looked for is not believed at all: the peer is reported, with the flag
//! [`flags::FORWARDED_MALFORMED`]. IPv4-mapped IPv6 addresses are written as IPv4.

use super::text::{clean, trim};
use super::{Flags, Peer, flags};
use crate::config;
use crate::head::Head;
use ipnet::{IpNet, Ipv4Net};
use sidelog_event::Client;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hops looked at; a longer chain of trusted proxies is malformed.
const MAX_HOPS: usize = 64;
/// Characters of the claim kept: the last ones, nearest to us.
const MAX_CLAIM: usize = 512;
/// Recorded as claims when no header is configured or the configured one is absent.
const WELL_KNOWN: [&str; 6] =
    ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip", "x-client-ip"];

#[derive(Debug)]
pub(super) struct ClientRule {
    /// In lower case.
    header: Option<String>,
    trusted: Vec<IpNet>,
}

impl ClientRule {
    pub fn new(config: &config::ClientIp) -> ClientRule {
        ClientRule {
            header: config.header.as_deref().map(str::to_ascii_lowercase),
            trusted: config.trusted_proxies.iter().copied().map(canonical_net).collect(),
        }
    }

    pub fn client(&self, head: &Head<'_>, peer: &Peer) -> (Client<'static>, Flags) {
        let mut flags = Flags::new();
        let trusted = peer.ip.is_some_and(|ip| self.is_trusted(ip));
        let values: Vec<&[u8]> = match &self.header {
            Some(name) => head.all(name).filter(|v| !v.is_empty()).collect(),
            None => Vec::new(),
        };
        let mut client = None;
        if let (Some(name), false, true) = (&self.header, values.is_empty(), trusted) {
            let nominated = super::fields::is_nominated(head, name);
            client = if nominated { None } else { self.walk(name == "forwarded", &values) };
            if client.is_none() {
                flags.push(flags::FORWARDED_MALFORMED);
            }
        }
        let claim = if values.is_empty() { other_claims(head) } else { values.join(&b", "[..]) };
        let (forwarded, shortened) = last_part(&claim);
        if shortened {
            flags.push(flags::FORWARDED_TRUNCATED);
        }
        let source = match (&client, &self.header) {
            (Some(_), Some(name)) => name.clone().into(),
            _ => peer.source().into(),
        };
        let peer_ip = peer.address();
        let ip = client.map_or_else(|| peer_ip.clone(), |ip| ip.to_string());
        let client =
            Client { ip: ip.into(), ip_source: source, peer_ip: peer_ip.into(), forwarded: forwarded.into() };
        (client, flags)
    }

    fn is_trusted(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }

    /// From the right to the first address that is not a trusted proxy's.
    fn walk(&self, is_forwarded: bool, values: &[&[u8]]) -> Option<IpAddr> {
        let mut last = None;
        let mut hops = 0;
        for value in values.iter().rev() {
            for element in (Unquoted { rest: Some(value), separator: b',', quotes: is_forwarded }) {
                if trim(element).is_empty() {
                    continue;
                }
                hops += 1;
                if hops > MAX_HOPS {
                    return None;
                }
                let ip = if is_forwarded { forwarded_for(element)? } else { parse_node(element)? };
                if !self.is_trusted(ip) {
                    return Some(ip);
                }
                last = Some(ip);
            }
        }
        last
    }
}

/// A list's elements from right to left, not cut inside quotes. Right to left, because only the right
/// end was written by trusted proxies: an odd quote in a stranger's part cannot swallow theirs.
struct Unquoted<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
    quotes: bool,
}

impl<'a> Iterator for Unquoted<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut quoted = false;
        for (i, &byte) in rest.iter().enumerate().rev() {
            if byte == b'"' && self.quotes {
                let before = rest.get(..i).unwrap_or_default();
                let slashes = before.iter().rev().take_while(|b| **b == b'\\').count();
                quoted ^= slashes % 2 == 0;
            } else if byte == self.separator && !quoted {
                self.rest = rest.get(..i);
                return rest.get(i + 1..);
            }
        }
        self.rest = None;
        Some(rest)
    }
}

/// The address of one element of `Forwarded` (RFC 7239 §4). An element without exactly one `for`, or
/// with anything that is not `name=value`, tells nothing.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    for pair in (Unquoted { rest: Some(element), separator: b';', quotes: true }) {
        let pair = trim(pair);
        if pair.is_empty() {
            continue;
        }
        let at = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
            return None;
        }
    }
    parse_node(node?)
}

/// An address with all that proxies put around it: quotes, brackets, a port, a zone. `unknown` and
/// obfuscated names (`_hidden`) are not addresses.
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(trim(node)).ok()?;
    let text = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => text,
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']')?;
        let port = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return if port { parse_v6(ip) } else { None };
    }
    if let Some((ip, port)) = text.split_once(':').filter(|(_, port)| !port.contains(':')) {
        return if is_port(port) { ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4) } else { None };
    }
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4).or_else(|| parse_v6(text))
}

fn parse_v6(text: &str) -> Option<IpAddr> {
    let ip = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((ip, _zone)) => ip,
        None => text,
    };
    ip.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical())
}

/// RFC 7239 §6: digits, or `_` and a made-up name.
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
        None => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`, as addresses are compared in their IPv4 form.
pub fn canonical_net(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6.addr().to_ipv4_mapped().map(|ip| (ip, v6.prefix_len())),
        _ => None,
    };
    mapped.and_then(|(ip, len)| Ipv4Net::new(ip, len - 96).ok()).map_or(net, IpNet::V4)
}

/// `name: value; name: value` of every well-known forwarding field.
fn other_claims(head: &Head<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in head.fields() {
        let Some(known) = WELL_KNOWN.iter().find(|k| k.eq_ignore_ascii_case(name)) else { continue };
        if !out.is_empty() {
            out.extend_from_slice(b"; ");
        }
        out.extend_from_slice(known.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
    }
    out
}

fn last_part(claim: &[u8]) -> (String, bool) {
    let from = claim.len().saturating_sub(MAX_CLAIM);
    let part = clean(claim.get(from..).unwrap_or_default(), MAX_CLAIM);
    (part.text.into_owned(), from > 0 || part.truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::tests::head;
    use crate::head::HeadIndex;
    use proptest::prelude::*;

    fn rule(header: Option<&str>) -> ClientRule {
        let nets = ["10.0.0.0/8", "fd00::/8"].iter().map(|n| n.parse().unwrap()).collect();
        ClientRule::new(&config::ClientIp { header: header.map(str::to_owned), trusted_proxies: nets })
    }

    fn client(header: Option<&str>, peer: &str, fields: &[(&str, &str)]) -> (Client<'static>, Flags) {
        let (raw, index) = head("POST", "/", fields);
        rule(header).client(&Head { raw: &raw, index: &index }, &peer.parse().unwrap())
    }

    /// Address, its source and whether the chain was malformed, for a trusted peer.
    fn believed(header: &str, values: &[&str]) -> (String, String, bool) {
        let fields: Vec<_> = values.iter().map(|v| (header, *v)).collect();
        let (client, flags) = client(Some(header), "10.0.0.1", &fields);
        (client.ip.into(), client.ip_source.into(), flags.contains(&flags::FORWARDED_MALFORMED))
    }

    #[test]
    fn an_untrusted_peer_is_the_client_and_its_claims_are_kept_apart() {
        for (name, value) in [
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("Forwarded", "for=6.6.6.6"),
            ("True-Client-IP", "6.6.6.6"),
            ("X-Forwarded-For", "6.6.6.6, 127.0.0.1"),
        ] {
            for configured in [None, Some("X-Forwarded-For"), Some(name)] {
                let (client, flags) = client(configured, "7.7.7.7", &[(name, value)]);
                assert_eq!((client.ip.as_ref(), client.ip_source.as_ref()), ("7.7.7.7", "peer"));
                assert_eq!(client.peer_ip, "7.7.7.7");
                assert!(client.forwarded.ends_with(value), "{}", client.forwarded);
                assert!(flags.is_empty());
            }
        }
    }

    #[test]
    fn another_header_than_the_configured_is_never_believed() {
        let fields = [("X-Real-IP", "6.6.6.6"), ("Forwarded", "for=6.6.6.7")];
        let (client, flags) = client(Some("X-Forwarded-For"), "10.0.0.1", &fields);
        assert_eq!((client.ip.as_ref(), client.ip_source.as_ref()), ("10.0.0.1", "peer"));
        assert_eq!(client.forwarded, "x-real-ip: 6.6.6.6; forwarded: for=6.6.6.7");
        assert!(flags.is_empty());
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy() {
        let xff = "x-forwarded-for";
        for (values, ip) in [
            (vec!["6.6.6.6, 7.7.7.7"], "7.7.7.7"),
            (vec!["6.6.6.6,7.7.7.7, 10.2.3.4"], "7.7.7.7"),
            (vec!["6.6.6.6", "7.7.7.7", "10.1.1.1"], "7.7.7.7"),
            (vec!["garbage, 7.7.7.7"], "7.7.7.7"),
            (vec!["7.7.7.7:4711"], "7.7.7.7"),
            (vec!["7.7.7.7,, ,"], "7.7.7.7"),
            (vec!["[2001:db8::1]:443"], "2001:db8::1"),
            (vec!["[2001:db8::1]"], "2001:db8::1"),
            (vec!["2001:DB8:0::1"], "2001:db8::1"),
            (vec!["fe80::1%eth0"], "fe80::1"),
            (vec!["\"7.7.7.7\""], "7.7.7.7"),
            (vec!["::ffff:7.7.7.7"], "7.7.7.7"),
            (vec!["7.7.7.7, ::ffff:10.0.0.9"], "7.7.7.7"),
            (vec!["10.0.0.5, 10.0.0.6"], "10.0.0.5"),
            (vec!["7.7.7.7, fd00::1"], "7.7.7.7"),
        ] {
            assert_eq!(believed(xff, &values), (ip.into(), xff.into(), false), "{values:?}");
        }
        assert_eq!(believed("X-Real-IP", &["7.7.7.7"]), ("7.7.7.7".into(), "x-real-ip".into(), false));
    }

    #[test]
    fn what_is_no_address_is_the_peer_with_a_flag() {
        for value in [
            "garbage",
            "unknown",
            "_hidden",
            "7.7.7.7, garbage",
            "garbage, 10.0.0.2",
            "7.7.7.7.7",
            "07.7.7.7",
            "7.7.7",
            "0x7.7.7.7",
            "134744072",
            "7.7.7.7:",
            "7.7.7.7:99999",
            "7.7.7.7:x",
            "[7.7.7.7]",
            "[::1",
            "::1]",
            "[::1]x",
            "fe80::1%",
            "\"7.7.7.7",
            "for=7.7.7.7",
            "7.7.7.7 8.8.8.8",
            "localhost",
            "::ffff:7.7.7.7.7",
        ] {
            assert_eq!(
                believed("x-forwarded-for", &[value]),
                ("10.0.0.1".into(), "peer".into(), true),
                "{value}"
            );
        }
        let long = ["10.0.0.2"; MAX_HOPS + 1].join(",");
        assert!(believed("x-forwarded-for", &[&long]).2, "too many hops");
    }

    #[test]
    fn forwarded_elements() {
        for (values, ip) in [
            (vec!["for=6.6.6.6, for=7.7.7.7"], "7.7.7.7"),
            (vec!["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (vec!["for=7.7.7.7;proto=http;by=203.0.113.43"], "7.7.7.7"),
            (vec!["proto=https ; for=\"7.7.7.7:_p0rt\"; by=\"a,b;c\""], "7.7.7.7"),
            (vec!["for=6.6.6.6", "for=7.7.7.7, for=10.0.0.3"], "7.7.7.7"),
            (vec!["for=unknown, for=7.7.7.7"], "7.7.7.7"),
            // A stranger's open quote does not swallow what the proxy wrote after it.
            (vec!["for=\"6.6.6.6, for=7.7.7.7"], "7.7.7.7"),
            (vec!["for=6.6.6.6;x=\"\\\\, for=7.7.7.7"], "7.7.7.7"),
            (vec!["for=6.6.6.6;x=\", for=7.7.7.7;by=\"10.0.0.1\""], "7.7.7.7"),
        ] {
            assert_eq!(believed("forwarded", &values), (ip.into(), "forwarded".into(), false), "{values:?}");
        }
        for value in [
            "for=unknown",
            "for=_secret",
            "for=\"_secret\"",
            "for=7.7.7.7;for=8.8.8.8",
            "proto=https",
            "7.7.7.7",
            "for=",
            "for",
            "for=7.7.7.7, proto=http",
            "for=\"7.7.7.7",
            "for=7.7.7.7;garbage",
        ] {
            assert_eq!(believed("forwarded", &[value]), ("10.0.0.1".into(), "peer".into(), true), "{value}");
        }
    }

    #[test]
    fn a_header_that_connection_removes_is_not_believed() {
        let fields = [("X-Forwarded-For", "6.6.6.6"), ("Connection", "close, x-forwarded-for")];
        let (client, flags) = client(Some("X-Forwarded-For"), "10.0.0.1", &fields);
        assert_eq!((client.ip.as_ref(), flags), ("10.0.0.1", vec![flags::FORWARDED_MALFORMED]));
    }

    #[test]
    fn mapped_addresses_and_nets_are_ipv4() {
        let (client, _) =
            client(Some("x-forwarded-for"), "::ffff:10.0.0.1", &[("x-forwarded-for", "7.7.7.7")]);
        assert_eq!((client.peer_ip.as_ref(), client.ip.as_ref()), ("10.0.0.1", "7.7.7.7"));
        let mapped: IpNet = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(canonical_net(mapped), "10.0.0.0/8".parse::<IpNet>().unwrap());
        let plain: IpNet = "2001:db8::/32".parse().unwrap();
        assert_eq!(canonical_net(plain), plain);
    }

    #[test]
    fn claims_are_bounded_from_the_far_end() {
        let long = format!("{}, 7.7.7.7", "6.6.6.6, ".repeat(500));
        let (client, flags) = client(Some("x-forwarded-for"), "10.0.0.1", &[("X-Forwarded-For", &long)]);
        assert_eq!((client.ip.as_ref(), flags), ("7.7.7.7", vec![flags::FORWARDED_TRUNCATED]));
        assert!(client.forwarded.len() <= MAX_CLAIM && client.forwarded.ends_with("6.6.6.6, , 7.7.7.7"));
    }

    proptest! {
        /// Whatever the bytes: no panic, an address that parses, a bounded claim.
        #[test]
        fn any_bytes_give_an_address(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
            spice in prop::collection::vec("[0-9a-f:.,;=\"\\\\\\[\\]% _forFOR]{0,60}", 0..4),
            forwarded: bool,
        ) {
            let name = if forwarded { "forwarded" } else { "x-forwarded-for" };
            let (mut raw, mut index) = (Vec::new(), HeadIndex::default());
            let mut put = |bytes: &[u8]| {
                let start = raw.len() as u32;
                raw.extend_from_slice(bytes);
                start..raw.len() as u32
            };
            for value in values.iter().map(Vec::as_slice).chain(spice.iter().map(String::as_bytes)) {
                index.fields.push((put(name.as_bytes()), put(value)));
            }
            let head = Head { raw: &raw, index: &index };
            let (client, flags) = rule(Some(name)).client(&head, &"10.0.0.1".parse().unwrap());
            prop_assert!(client.ip.parse::<IpAddr>().is_ok(), "{}", client.ip);
            prop_assert!(client.forwarded.chars().count() <= MAX_CLAIM);
            if client.ip_source == "peer" {
                prop_assert_eq!(&client.ip, "10.0.0.1");
            }
            if flags.contains(&flags::FORWARDED_MALFORMED) {
                prop_assert_eq!(&client.ip_source, "peer");
            }
        }
    }
}
