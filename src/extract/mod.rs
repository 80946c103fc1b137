//! Who, from where, what: everything an event says about a call beyond its bytes, with the provenance
//! of each claim.
//!
//! Owns the rules of `actor:` and `client_ip:`, compiled once; the keys of JWKS files; the reading of
//! identifiers, of overridden methods, of resources and outcomes. Pure: no I/O, no runtime; the only
//! state is a bounded memory of tokens already read.
//!
//! Promises:
//! - An identity is `verified` only when a signature or a trusted peer vouches for it. Whatever leaves
//!   room for doubt (a repeated field, one that `Connection` removes, a broken chain of proxies) ends
//!   as less than it claims to be, with a flag; never silently as the first value.
//! - No credential leaves this module: only a keyed fingerprint.
//! - Every text is bounded and printable ([`text::clean`]). Redaction still comes after.
//!
//! Refuses: to reject a request. The service decides; this module tells.

mod actor;
mod address;
mod certificate;
mod fields;
mod jwt;
mod jwt_cache;
mod peer;
mod request;
mod resource;
mod text;

pub use actor::anonymous;
pub use address::canonical_net;
pub use certificate::Certificate;
pub use peer::Peer;
pub use request::{effective_method, form_method, is_safe, request_id, trace_id, user_agent};
pub use resource::{Resource, message, outcome, resource};
pub use text::{Clean, clean};

use crate::config;
use crate::head::Head;
use crate::pseudonym::Pseudonyms;
use address::ClientRule;
use sidelog_event::{Actor, Client};
use std::time::{SystemTime, UNIX_EPOCH};

/// Oddities, in the words of [`flags`], each at most once.
pub type Flags = Vec<&'static str>;

/// The flags this module sets.
pub mod flags {
    /// The field that names the actor is repeated or lists different values: nobody is named.
    pub const ACTOR_AMBIGUOUS: &str = "actor_ambiguous";
    /// `Connection` has the field that names the actor removed: the service may not have seen it.
    pub const ACTOR_HEADER_REMOVED: &str = "actor_header_removed";
    /// A field is there whose name a service may take for the actor's (`X_User` for `X-User`).
    pub const ACTOR_LOOKALIKE: &str = "actor_lookalike";
    /// The peer is not one whose actor header is believed.
    pub const ACTOR_HEADER_UNTRUSTED: &str = "actor_header_untrusted";
    /// Bytes that are not printable text were escaped.
    pub const ACTOR_ESCAPED: &str = "actor_escaped";
    pub const ACTOR_TRUNCATED: &str = "actor_truncated";
    /// In the form of a JWT, but it cannot be read as one.
    pub const TOKEN_MALFORMED: &str = "token_malformed";
    /// The chain of a trusted proxy does not read as addresses: the peer is reported.
    pub const FORWARDED_MALFORMED: &str = "forwarded_malformed";
    pub const FORWARDED_TRUNCATED: &str = "forwarded_truncated";
    /// Every flag of this module.
    pub const ALL: &[&str] = &[
        ACTOR_AMBIGUOUS,
        ACTOR_HEADER_REMOVED,
        ACTOR_LOOKALIKE,
        ACTOR_HEADER_UNTRUSTED,
        ACTOR_ESCAPED,
        ACTOR_TRUNCATED,
        TOKEN_MALFORMED,
        FORWARDED_MALFORMED,
        FORWARDED_TRUNCATED,
    ];
}

fn raise(flags: &mut Flags, flag: &'static str) {
    if !flags.contains(&flag) {
        flags.push(flag);
    }
}

/// Why the actor rules cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("{file}: not a JWKS: {why}; give a JSON object with a list `keys` (RFC 7517)")]
    Jwks { file: String, why: String },
    #[error("actor rule {rule}: algorithm `{name}` is {why}; use one of {}", jwt::ALGORITHM_NAMES)]
    Algorithm { rule: usize, name: String, why: &'static str },
}

/// The compiled `actor:` and `client_ip:` sections.
#[derive(Debug)]
pub struct Extractor {
    rules: Vec<actor::Rule>,
    /// Every field a rule reads for an identity, in lower case, each once.
    names: Vec<String>,
    client: ClientRule,
    pseudonyms: Pseudonyms,
    warnings: Vec<String>,
}

impl Extractor {
    /// Fails on a JWKS that is none and on algorithms that must not be; what can be used without
    /// loss of honesty is used, and told in [`Extractor::warnings`].
    pub fn new(
        rules: &[config::ActorRule],
        client: &config::ClientIp,
        pseudonyms: Pseudonyms,
    ) -> Result<Extractor, Error> {
        let (mut names, mut warnings) = (Vec::new(), Vec::new());
        let rules = rules
            .iter()
            .enumerate()
            .map(|(i, rule)| actor::Rule::new(i + 1, rule, &mut names, &mut warnings))
            .collect::<Result<_, _>>()?;
        Ok(Extractor { rules, names, client: ClientRule::new(client), pseudonyms, warnings })
    }

    /// Keys that cannot be used and the like, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The first rule that yields an actor; `anonymous` when none does.
    pub fn actor(&self, head: &Head<'_>, peer: &Peer) -> (Actor<'static>, Flags) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.actor_at(head, peer, now)
    }

    /// `now`: seconds since 1970.
    fn actor_at(&self, head: &Head<'_>, peer: &Peer, now: u64) -> (Actor<'static>, Flags) {
        let mut flags = Flags::new();
        if self.rules.is_empty() {
            return (actor::anonymous(), flags);
        }
        let found = fields::scan(head, &self.names);
        if found.iter().any(|f| f.lookalike) {
            raise(&mut flags, flags::ACTOR_LOOKALIKE);
        }
        let call = actor::Call { head, peer, found: &found, now };
        let actor = self.rules.iter().find_map(|rule| rule.read(&call, &self.pseudonyms, &mut flags));
        (actor.unwrap_or_else(actor::anonymous), flags)
    }

    pub fn client(&self, head: &Head<'_>, peer: &Peer) -> (Client<'static>, Flags) {
        self.client.client(head, peer)
    }
}

/// Time this thread spent on a processor (Linux), for the tests that print figures: other processes
/// do not count.
#[cfg(test)]
pub(crate) fn cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ActorRule, Claims, JwtRule};
    use crate::head::HeadIndex;

    pub fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> (Vec<u8>, HeadIndex) {
        let owned: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        HeadIndex::synthesize(method, target, &owned)
    }

    pub fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(b"0123456789abcdef")
    }

    pub fn rules(rules: &[ActorRule]) -> Extractor {
        Extractor::new(rules, &config::ClientIp::default(), pseudonyms()).unwrap()
    }

    /// On `Authorization`, with nothing to verify by.
    pub fn jwt() -> JwtRule {
        JwtRule {
            header: "Authorization".into(),
            jwks: None,
            issuer: None,
            audience: vec![],
            algorithms: vec![],
            leeway: 0,
            claims: Claims {
                id: "sub".into(),
                name: "name".into(),
                tenant: Some("org_id".into()),
                roles: Some("realm_access.roles".into()),
                kind: Some("https://x.example/kind".into()),
            },
        }
    }

    pub fn jwt_rule() -> ActorRule {
        ActorRule::Jwt(jwt())
    }

    #[test]
    fn every_flag_is_listed_once() {
        let mut all = flags::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), flags::ALL.len());
    }
}
