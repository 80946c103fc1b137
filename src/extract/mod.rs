//! Who, from where, what: everything an event says about a call beyond its bytes, with the provenance
//! of each claim.
//!
//! Owns the rules of `actor:` and `client_ip:`, compiled once; the keys of JWKS documents; the reading
//! of identifiers, of overridden methods, of resources and outcomes. Pure: no I/O, no runtime; the only
//! state is a bounded memory of tokens already read, and the keys, which others replace.
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
pub mod calls;
mod certificate;
mod claims;
mod client_certificate;
pub mod created;
mod fields;
mod graphql;
mod json;
mod jwt;
mod jwt_cache;
#[cfg(test)]
pub(crate) mod jwt_vectors;
mod key_store;
mod keys;
mod multipart;
mod peer;
mod request;
mod resource;
mod source;
mod template;
mod text;
mod verb;

pub use actor::anonymous;
pub use address::canonical_net;
pub use calls::{Asked, Call, Calls, grpc_status, grpc_web_status, mutates, of_call, of_head, other_method};
pub use client_certificate::Certificate;
pub use key_store::{KeyStore, Replaced};
pub use peer::Peer;
pub use request::{
    effective_method, form_method, idempotency_key, is_safe, request_id, trace_id, user_agent,
};
pub use resource::{Resource, grpc_outcome, message, names_one, outcome, resource};
pub use source::{Hints, Source, method_in_body};
pub use template::Template;
pub use text::{Clean, clean};

use crate::config;
use crate::head::Head;
use crate::pseudonym::Pseudonyms;
use address::ClientRule;
use sidelog_event::{Actor, Client};
use std::sync::Arc;
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
    /// A token says that somebody acts for its subject, but not who.
    pub const ACTOR_UNNAMED: &str = "actor_unnamed";
    /// A forwarded certificate does not read as one.
    pub const CERTIFICATE_MALFORMED: &str = "certificate_malformed";
    /// In the form of a JWT, but it cannot be read as one.
    pub const TOKEN_MALFORMED: &str = "token_malformed";
    /// The chain of a trusted proxy does not read as addresses: the peer is reported.
    pub const FORWARDED_MALFORMED: &str = "forwarded_malformed";
    pub const FORWARDED_TRUNCATED: &str = "forwarded_truncated";
    /// The body broke off before all calls inside it were read: `calls_total` is what was seen.
    pub const CALLS_TRUNCATED: &str = "calls_truncated";
    /// Every flag of this module.
    pub const ALL: &[&str] = &[
        ACTOR_AMBIGUOUS,
        ACTOR_HEADER_REMOVED,
        ACTOR_LOOKALIKE,
        ACTOR_HEADER_UNTRUSTED,
        ACTOR_ESCAPED,
        ACTOR_TRUNCATED,
        ACTOR_UNNAMED,
        CERTIFICATE_MALFORMED,
        TOKEN_MALFORMED,
        FORWARDED_MALFORMED,
        FORWARDED_TRUNCATED,
        CALLS_TRUNCATED,
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
    #[error("actor rule {rule}: algorithm `{name}` is {why}; use one of {}", keys::ALGORITHM_NAMES)]
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

    /// The keys of every rule that verifies tokens, in the order of the rules.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyStore>> {
        self.rules.iter().filter_map(actor::Rule::keys)
    }

    /// Begins with the keys that a former configuration had of the same sources, so that a new one
    /// does not know nobody until they are fetched again.
    pub fn adopt_keys(&self, former: &Extractor) {
        for keys in self.keys() {
            if let Some(same) = former.keys().find(|other| other.source().same_place(keys.source())) {
                keys.adopt(same);
            }
        }
    }

    /// The first rule that yields an actor; `anonymous` when none does.
    pub fn actor(&self, head: &Head<'_>, peer: &Peer) -> (Actor<'static>, Flags) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.actor_at(head, peer, now)
    }

    /// `now`: seconds since 1970.
    pub(crate) fn actor_at(&self, head: &Head<'_>, peer: &Peer, now: u64) -> (Actor<'static>, Flags) {
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
pub(crate) mod tests {
    use super::*;
    use crate::config::{ActorRule, Claims, Jwks, JwtRule};
    use crate::head::HeadIndex;
    use sidelog_event::ActorSource;

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
            jwks: Jwks::None,
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
                act: "act".into(),
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

    /// Not a benchmark, figures: `cargo test --release -- --ignored --nocapture cost`.
    #[test]
    #[ignore = "prints figures"]
    fn cost_of_a_call() {
        use crate::config::{ForwardedCertRule, HeaderRule};
        const PEER: &str = "10.0.0.1";
        let trusted_from = || vec!["10.0.0.0/8".parse().unwrap()];
        let time = |name: &str, rule: ActorRule, field: (&str, &str), source: ActorSource| {
            let extractor = rules(&[rule]);
            let fields = [
                ("Host", "orders.example"),
                ("User-Agent", "curl/8"),
                ("Accept", "*/*"),
                ("Content-Type", "application/json"),
                ("Content-Length", "1024"),
                ("Connection", "keep-alive"),
                ("X-Request-Id", "abc"),
                field,
                ("X-Forwarded-For", "7.7.7.7"),
            ];
            let (raw, index) = head("POST", "/v1/orders", &fields);
            let head = Head { raw: &raw, index: &index };
            let (peer, rounds) = (PEER.parse().unwrap(), 50_000);
            assert_eq!(extractor.actor_at(&head, &peer, 1_500_000_000).0.source, source, "{name}");
            let begun = cpu_nanos();
            for _ in 0..rounds {
                std::hint::black_box(extractor.actor_at(std::hint::black_box(&head), &peer, 1_500_000_000));
            }
            println!("{name}: {} ns", (cpu_nanos() - begun) / rounds);
        };
        let known = || {
            let jwks = Jwks::File { path: "keys.json".into(), text: jwt_vectors::JWKS.into() };
            ActorRule::Jwt(JwtRule { jwks, ..jwt() })
        };
        let token = |name: &str, rule: ActorRule, token: &str, source: ActorSource| {
            time(name, rule, ("Authorization", &format!("Bearer {token}")), source);
        };
        let other =
            |token: &str, signature: &str| format!("{}.{signature}", token.rsplit_once('.').unwrap().0);
        token("JWT, remembered", known(), jwt_vectors::RS256, ActorSource::VerifiedJwt);
        token("JWT, no keys, remembered", jwt_rule(), jwt_vectors::RS256, ActorSource::UnverifiedJwt);
        let bad = other(jwt_vectors::RS256, &"A".repeat(342));
        token("JWT, bad RS256 signature", known(), &bad, ActorSource::UnverifiedJwt);
        let bad = other(jwt_vectors::ES256, &("QUFB".repeat(21) + "QQ"));
        token("JWT, bad ES256 signature", known(), &bad, ActorSource::UnverifiedJwt);
        token("no JWT", known(), "opaque", ActorSource::Anonymous);
        let header = ActorRule::Header(HeaderRule {
            id: "X-User".into(),
            name: Some("X-Name".into()),
            kind: Some("X-Type".into()),
            on_behalf_of: Some("X-For".into()),
            tenant: Some("X-Tenant".into()),
            roles: Some("X-Roles".into()),
            trusted_from: trusted_from(),
        });
        time("trusted header", header, ("X-User", "u1"), ActorSource::TrustedHeader);
        time("basic", ActorRule::Basic, ("Authorization", "Basic dTpw"), ActorSource::Basic);
        let key = ActorRule::ApiKey { header: "X-Api-Key".into() };
        time("API key", key, ("X-Api-Key", "0123456789abcdef"), ActorSource::ApiKey);
        let cookie = ActorRule::Cookie { name: "sid".into() };
        time("cookie", cookie, ("Cookie", "a=b; theme=dark; sid=0123456789abcdef"), ActorSource::Cookie);
        let cert = || {
            ActorRule::ForwardedCert(ForwardedCertRule {
                header: "X-Client-Cert".into(),
                verify_header: None,
                trusted_from: trusted_from(),
            })
        };
        let element = "By=spiffe://a;Hash=0473baca;Subject=\"/O=Acme/CN=orders\";URI=spiffe://b/orders";
        time("certificate, Envoy's element", cert(), ("X-Client-Cert", element), ActorSource::ForwardedCert);
        let der = format!(":{}:", super::certificate::tests::WORKLOAD);
        time("certificate, whole", cert(), ("X-Client-Cert", &der), ActorSource::ForwardedCert);
        time("certificate, subject", cert(), ("X-Client-Cert", "CN=a,O=Acme"), ActorSource::ForwardedCert);
    }
}
