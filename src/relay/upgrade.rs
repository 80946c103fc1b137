//! Which `Upgrade` offers may become a tunnel.
//!
//! An offer is the client's; a tunnel begins only when the service takes it up with a 101. So an offer
//! that is not allowed need not be refused: the request passes as any other, and a 101 to it is cut off
//! before a byte of the tunnel has passed. Java's `HttpClient` offers `h2c` with every first request.
//! No such client sends anything behind its offer before it is answered: who does is refused.
//!
//! An offer with a body is refused unless chosen otherwise ([`Others`]): llhttp ends such a request with
//! its head, and servers on it (uvicorn with httptools) read the body as the next request.

use super::parse::Refusal;
use crate::policy::Paths;

/// An offer that is not allowed, where that is a reason to refuse the request.
pub(super) const REFUSED: Refusal = Refusal { status: 400, reason: "upgrade" };
const WITH_BODY: Refusal = Refusal { status: 400, reason: "upgrade_with_body" };

/// What becomes of requests with an offer that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    Pass,
    /// Passes unless the request has a body.
    #[default]
    WithoutBody,
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

/// What a listener allows.
#[derive(Debug, Clone, Default)]
pub struct Upgrades {
    pub allowed: Vec<Upgrade>,
    /// Any other offer has no chance of a tunnel.
    pub others: Others,
}

impl Upgrades {
    /// Of the protocols offered (lower case), those that may become a tunnel. `able`: the version knows
    /// tunnels (not HTTP/1.0). A request with a body cannot be followed by one.
    pub fn judge(
        &self,
        mut offered: Vec<String>,
        target: &[u8],
        able: bool,
        body: bool,
    ) -> Result<Vec<String>, Refusal> {
        let all = offered.len();
        offered.retain(|protocol| able && !body && self.allows(protocol, target));
        match self.others {
            Others::Refuse if offered.len() < all => Err(REFUSED),
            Others::WithoutBody if body => Err(WITH_BODY),
            _ => Ok(offered),
        }
    }

    fn allows(&self, protocol: &str, target: &[u8]) -> bool {
        self.allowed.iter().any(|allowed| {
            allowed.protocol == protocol
                && allowed.paths.as_ref().is_none_or(|paths| paths.contain_target(target))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(upgrades: &Upgrades, offered: &[&str], target: &str) -> Vec<String> {
        let offered = offered.iter().map(|p| (*p).to_owned()).collect();
        upgrades.judge(offered, target.as_bytes(), true, false).unwrap()
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
        assert_eq!(everywhere.judge(vec!["websocket".into()], b"/", false, false), Ok(vec![]));
        assert_eq!(everywhere.judge(vec!["websocket".into()], b"/", true, true), Ok(vec![]));
    }

    #[test]
    fn other_offers_are_refused_where_that_is_asked_for() {
        let upgrades = Upgrades { allowed: vec!["websocket".into()], others: Others::Refuse };
        let refused = Err(REFUSED);
        assert_eq!(upgrades.judge(vec!["h2c".into()], b"/", true, false), refused);
        assert_eq!(upgrades.judge(vec!["websocket".into(), "h2c".into()], b"/", true, false), refused);
        assert_eq!(upgrades.judge(vec!["websocket".into()], b"/", true, true), refused);
        assert!(upgrades.judge(vec!["websocket".into()], b"/", true, false).is_ok());
    }
    /// Found by the garden: a body that a server took for the next request.
    #[test]
    fn an_offer_with_a_body_is_refused_by_default() {
        let upgrades = Upgrades { allowed: vec!["websocket".into()], ..Upgrades::default() };
        for offer in ["h2c", "websocket", ""] {
            assert_eq!(upgrades.judge(vec![offer.into()], b"/", true, true), Err(WITH_BODY), "{offer}");
            assert!(upgrades.judge(vec![offer.into()], b"/", true, false).is_ok(), "{offer}");
        }
    }
}
