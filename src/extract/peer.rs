//! The other end of a client's connection, as far as it is known before a request.

use super::Certificate;
use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;
use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// In canonical form. None: a Unix socket, whose peers have no address.
    pub ip: Option<IpAddr>,
    /// The address was told by a PROXY header from a peer that is believed.
    pub proxied: bool,
    pub tls: bool,
    /// What the client proved to be.
    pub certificate: Option<Arc<Certificate>>,
}

impl Peer {
    /// `client.peer_ip` of the event.
    pub fn address(&self) -> String {
        self.ip.map_or_else(|| "unix".to_owned(), |ip| ip.to_string())
    }

    /// `client.ip_source` of the event, where no header tells another address.
    pub fn source(&self) -> &'static str {
        match (self.proxied, self.ip) {
            (true, _) => "proxy_protocol",
            (false, Some(_)) => "peer",
            (false, None) => "unix",
        }
    }

    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl From<IpAddr> for Peer {
    fn from(ip: IpAddr) -> Peer {
        Peer { ip: Some(ip.to_canonical()), ..Peer::default() }
    }
}

impl FromStr for Peer {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Peer, AddrParseError> {
        text.parse::<IpAddr>().map(Peer::from)
    }
}
