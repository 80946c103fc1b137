//! Which `Upgrade` offers may become a tunnel, and what becomes of the others.
//!
//! An offer is the client's, and for the next hop only (RFC 9110 §7.6.1, §7.8). One that is not allowed is
//! withdrawn: the service never reads of it, so it can neither take it up nor, as servers on llhttp do, end
//! the request with its head and take the body for the next one. What remains is plain HTTP/1.1, every
//! other byte as sent. Java's `HttpClient` offers `h2c` with the first request of each connection.
//!
//! An offer that passes all the same ([`Others::Pass`]) becomes no tunnel: a 101 to it is cut off, and bytes
//! right behind it are refused with it. Clients that mean it wait for the answer.

use super::parse::{Refusal, RequestFraming};
use crate::head::Head;
use crate::policy::Paths;

/// An offer that is not allowed, where that is a reason to refuse the request.
pub(super) const REFUSED: Refusal = Refusal { status: 400, reason: "upgrade" };

/// What becomes of offers that are not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    #[default]
    Withdraw,
    Pass,
    Refuse,
}

/// One protocol that may become a tunnel.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Lower case.
    pub protocol: String,
    /// Where. `None`: everywhere.
    pub paths: Option<Paths>,
}

impl From<&str> for Upgrade {
    fn from(protocol: &str) -> Upgrade {
        Upgrade { protocol: protocol.to_ascii_lowercase(), paths: None }
    }
}

/// What was found in the `Upgrade` fields of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// The protocols (lower case) that may become a tunnel.
    pub allowed: Vec<String>,
    /// All others are cut out of the head.
    pub withdrawn: bool,
}

/// What a listener allows.
#[derive(Debug, Clone, Default)]
pub struct Upgrades {
    pub allowed: Vec<Upgrade>,
    /// Any other offer has no chance of a tunnel.
    pub others: Others,
}

impl Upgrades {
    /// What becomes of the protocols offered (lower case). `able`: this request may be followed by a
    /// tunnel; one of HTTP/1.0, or with a body, may not.
    pub fn judge(&self, mut offered: Vec<String>, target: &[u8], able: bool) -> Result<Offer, Refusal> {
        offered.retain(|protocol| !protocol.is_empty());
        let all = offered.len();
        offered.retain(|protocol| able && self.allows(protocol, target));
        let others = offered.is_empty() || offered.len() < all;
        match self.others {
            Others::Refuse if others => Err(REFUSED),
            with => Ok(Offer { allowed: offered, withdrawn: others && with == Others::Withdraw }),
        }
    }

    pub fn allows(&self, protocol: &str, target: &[u8]) -> bool {
        self.allowed.iter().any(|allowed| {
            allowed.protocol == protocol
                && allowed.paths.as_ref().is_none_or(|paths| paths.contain_target(target))
        })
    }
}

/// The head as it goes on, if something of its offer is withdrawn: without the protocols that are not
/// allowed, without `HTTP2-Settings`, without the options of `Connection` that belong to what is gone, and
/// without a field of which nothing is left.
pub fn without_offer(head: &Head<'_>, asked: &RequestFraming) -> Option<Vec<u8>> {
    let Offer { allowed, .. } = asked.upgrade.as_ref().filter(|offer| offer.withdrawn)?;
    let is = |option: &[u8], name: &str| option.eq_ignore_ascii_case(name.as_bytes());
    let may = |option: &[u8]| allowed.iter().any(|protocol| is(option, protocol));
    let mut kept = Vec::with_capacity(head.raw.len());
    let mut from = 0;
    for ((name, value), (name_at, value_at)) in head.fields().zip(&head.index.fields) {
        let stays = |option: &[u8]| match name.len() {
            7 if name.eq_ignore_ascii_case("upgrade") => may(option),
            10 if name.eq_ignore_ascii_case("connection") => {
                !is(option, "http2-settings") && (!allowed.is_empty() || !is(option, "upgrade"))
            }
            14 => !name.eq_ignore_ascii_case("http2-settings"),
            _ => true,
        };
        let options = value.split(|b| *b == b',');
        let (all, left) = (options.clone().count(), options.filter(|o| stays(o.trim_ascii())));
        let left: Vec<&[u8]> = left.collect();
        if left.len() == all {
            continue;
        }
        let left = left.join(&b',');
        let (start, end) = (value_at.start as usize, value_at.end as usize);
        if left.trim_ascii().is_empty() {
            kept.extend_from_slice(head.raw.get(from..name_at.start as usize)?);
            from = end + memchr::memchr(b'\n', head.raw.get(end..)?)? + 1;
        } else {
            kept.extend_from_slice(head.raw.get(from..start)?);
            kept.extend_from_slice(left.trim_ascii_start());
            from = end;
        }
    }
    kept.extend_from_slice(head.raw.get(from..)?);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::head::HeadIndex;
    use crate::relay::parse;

    fn judge(upgrades: &Upgrades, offered: &[&str], target: &str) -> Vec<String> {
        let offered = offered.iter().map(|p| (*p).to_owned()).collect();
        upgrades.judge(offered, target.as_bytes(), true).unwrap().allowed
    }

    #[test]
    fn only_what_is_allowed_there_may_become_a_tunnel() {
        let paths = Paths::new(&["/ws/**".to_owned(), "/live/{room}".to_owned()]);
        let narrow = Upgrade { protocol: "websocket".into(), paths: Some(paths) };
        let upgrades = Upgrades { allowed: vec![narrow], others: Others::Pass };
        let may = |target| !judge(&upgrades, &["websocket"], target).is_empty();
        assert!(may("/ws/a/b?x=1") && may("/live/7") && may("/ws"));
        for elsewhere in ["/", "/wss", "/live/7/8", "/ws/../admin", "/ws//a", "/ws/%2e%2e/admin", "*"] {
            assert!(!may(elsewhere), "{elsewhere}");
        }
        let everywhere = Upgrades { allowed: vec!["WebSocket".into()], others: Others::Pass };
        assert_eq!(judge(&everywhere, &["h2c", "websocket"], "/"), ["websocket"]);
        assert_eq!(judge(&everywhere, &["h2c"], "/"), [""; 0]);
        assert_eq!(everywhere.judge(vec!["websocket".into()], b"/", false), Ok(Offer::default()));
    }

    #[test]
    fn other_offers_are_refused_where_that_is_asked_for() {
        let upgrades = Upgrades { allowed: vec!["websocket".into()], others: Others::Refuse };
        let judge = |offered: &str, able| {
            upgrades.judge(offered.split(',').map(str::to_owned).collect(), b"/", able).map(|o| o.withdrawn)
        };
        for other in ["h2c", "websocket,h2c", ""] {
            assert_eq!(judge(other, true), Err(REFUSED), "{other:?}");
        }
        assert_eq!((judge("websocket", false), judge("websocket,", true)), (Err(REFUSED), Ok(false)));
    }

    /// The fields of a request to `/ws` as they go on.
    fn withdrawn(line: &str, fields: &str) -> String {
        let paths = Some(Paths::new(&["/ws".to_owned()]));
        let websocket = Upgrade { protocol: "websocket".into(), paths };
        let upgrades = Upgrades { allowed: vec![websocket, "foo".into()], ..Upgrades::default() };
        let raw = format!("{line}\r\nHost: a\r\n{fields}X-Last: 1, upgrade,\r\n\r\n");
        let mut index = HeadIndex::default();
        let asked = parse::request(raw.as_bytes(), &mut index, &upgrades).unwrap();
        let kept = without_offer(&Head { raw: raw.as_bytes(), index: &index }, &asked);
        let kept = String::from_utf8(kept.unwrap_or_else(|| raw.clone().into_bytes())).unwrap();
        // What goes on is read as though the client had sent it, and leaves nothing to withdraw.
        let again = parse::request(kept.as_bytes(), &mut index, &upgrades).unwrap();
        assert!(!again.is_withdrawn() && again.body == asked.body, "{kept}");
        assert_eq!(again.may_switch(), asked.may_switch(), "{kept}");
        let kept = kept.strip_prefix(line).and_then(|k| k.strip_prefix("\r\nHost: a\r\n")).unwrap();
        kept.strip_suffix("X-Last: 1, upgrade,\r\n\r\n").unwrap().to_owned()
    }

    #[test]
    fn what_is_not_allowed_of_an_offer_is_cut_out() {
        const WS: &str = "GET /ws HTTP/1.1";
        for (fields, kept) in [
            ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n", ""),
            ("Upgrade: h2c\r\nConnection: close, Upgrade\r\n", "Connection: close\r\n"),
            ("connection:UPGRADE ,  close\r\nuPGRADE: H2C\r\n", "connection:close\r\n"),
            (
                "Connection:  keep-alive , http2-settings,te \r\nUpgrade: h2c\r\nTE: trailers\r\n",
                "Connection:  keep-alive ,te \r\nTE: trailers\r\n",
            ),
            (
                "Connection: close\r\nUpgrade: h2c\r\nConnection: upgrade,\r\nUpgrade: bar, h2c\r\n",
                "Connection: close\r\n",
            ),
            ("Upgrade: h2c\r\n", ""),
            ("Connection: Upgrade\r\nUpgrade: \r\n", ""),
            // Of several, what is allowed stays.
            (
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: A\r\n",
                "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            ),
            (
                "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: x, Foo, WebSocket\r\n",
                "Connection: Upgrade\r\nUpgrade: Foo, WebSocket\r\n",
            ),
        ] {
            assert_eq!(withdrawn(WS, fields), kept, "{fields}");
        }
        let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let with_body = [websocket, "Content-Length: 3\r\n"].concat();
        assert_eq!(withdrawn(WS, websocket), websocket);
        assert_eq!(withdrawn("GET /elsewhere HTTP/1.1", websocket), "");
        assert_eq!(withdrawn("GET /ws HTTP/1.0", websocket), "");
        assert_eq!(withdrawn("POST /ws HTTP/1.1", &with_body), "Content-Length: 3\r\n");
        for untouched in ["", "Connection: Upgrade\r\n", "HTTP2-Settings: A\r\n", "Upgrade: websocket,\r\n"] {
            assert_eq!(withdrawn(WS, untouched), untouched);
        }
    }
}
