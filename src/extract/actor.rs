//! Who: the rules of `actor:` but for the inside of a JWT.
//!
//! Rules are tried in order; the first that yields an actor wins. A rule whose field is there but in
//! doubt ends the search: no later rule may speak for a call whose first credential is unclear. The
//! actor then is anonymous, with the reason and, where the field holds a credential, its fingerprint.

use super::certificate::{self, Names};
use super::fields::{self, Found};
use super::jwt::Verifier;
use super::key_store::KeyStore;
use super::text::{clean, trim};
use super::{Error, Flags, Peer, address, flags, raise};
use crate::config::{self, ActorRule};
use crate::head::Head;
use crate::pseudonym::Pseudonyms;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ipnet::IpNet;
use sidelog_event::{Actor, ActorSource};
use std::borrow::Cow;
use std::sync::Arc;

/// Characters of an id, a name, a tenant, a type or a role.
pub(super) const MAX_TEXT: usize = 256;
pub(super) const MAX_ROLES: usize = 32;
/// Fingerprints told of a repeated credential.
const MAX_CREDENTIALS: usize = 4;

/// Kinds of attribute in a distinguished name.
const MAX_ATTRIBUTE_TYPES: usize = 16;

const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a rule reads from.
pub(super) struct Call<'c, 'h> {
    pub head: &'c Head<'h>,
    pub peer: &'c Peer,
    /// By the index rules keep.
    pub found: &'c [Found<'h>],
    /// Seconds since 1970.
    pub now: u64,
}

/// A field name's place in [`Call::found`].
type Index = usize;

#[derive(Debug)]
pub(super) enum Rule {
    Jwt {
        header: Index,
        name: String,
        verifier: Box<Verifier>,
    },
    Header(HeaderRule),
    Mtls,
    Basic {
        header: Index,
    },
    ApiKey {
        header: Index,
        name: String,
    },
    /// The field's place; the cookie's name.
    Cookie {
        header: Index,
        name: String,
    },
    ForwardedCert(CertRule),
}

#[derive(Debug)]
pub(super) struct HeaderRule {
    id: Index,
    name: Option<Index>,
    kind: Option<Index>,
    tenant: Option<Index>,
    on_behalf_of: Option<Index>,
    /// Read from every field of the name, so by name too.
    roles: Option<(Index, String)>,
    trusted_from: Vec<IpNet>,
}

#[derive(Debug)]
pub(super) struct CertRule {
    header: Index,
    name: String,
    /// The field that tells whether the proxy found the certificate good.
    verify: Option<Index>,
    trusted_from: Vec<IpNet>,
}

impl Rule {
    /// `number`: of the rule, from 1, for messages. Adds the fields it reads to `names`.
    pub fn new(
        number: usize,
        rule: &ActorRule,
        names: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Rule, Error> {
        let mut index = |name: &str| {
            let name = name.to_ascii_lowercase();
            names.iter().position(|n| *n == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        Ok(match rule {
            ActorRule::Jwt(jwt) => Rule::Jwt {
                header: index(&jwt.header),
                name: jwt.header.to_ascii_lowercase(),
                verifier: Box::new(Verifier::new(number, jwt, warnings)?),
            },
            ActorRule::Header(header) => Rule::Header(HeaderRule::new(header, index)),
            ActorRule::Mtls => Rule::Mtls,
            ActorRule::Basic => Rule::Basic { header: index("authorization") },
            ActorRule::ApiKey { header } => {
                Rule::ApiKey { header: index(header), name: header.to_ascii_lowercase() }
            }
            ActorRule::Cookie { name } => Rule::Cookie { header: index("cookie"), name: name.clone() },
            ActorRule::ForwardedCert(rule) => Rule::ForwardedCert(CertRule {
                header: index(&rule.header),
                name: rule.header.to_ascii_lowercase(),
                verify: rule.verify_header.as_deref().map(index),
                trusted_from: networks(&rule.trusted_from),
            }),
        })
    }

    pub fn read(
        &self,
        call: &Call<'_, '_>,
        pseudonyms: &Pseudonyms,
        flags: &mut Flags,
    ) -> Option<Actor<'static>> {
        match self {
            Rule::Header(rule) => rule.read(call, flags),
            Rule::Mtls => call.peer.certificate.as_ref().map(|certificate| certificate.actor(flags)),
            Rule::ForwardedCert(rule) => rule.read(call, pseudonyms, flags),
            Rule::Jwt { header, name, verifier } => {
                let found = call.found.get(*header)?;
                let value = found.present()?;
                let bearer = after_scheme(value, "bearer");
                let token = if name == "authorization" { bearer? } else { bearer.unwrap_or(value) };
                let doubt = doubt(found, token, call.head.all(name), pseudonyms, flags);
                doubt.or_else(|| verifier.read(token, call.now, pseudonyms, flags))
            }
            Rule::Basic { header } => {
                let found = call.found.get(*header)?;
                let token = after_scheme(found.present()?, "basic")?;
                let doubt = doubt(found, token, call.head.all("authorization"), pseudonyms, flags);
                doubt.or_else(|| basic(token, pseudonyms, flags))
            }
            Rule::ApiKey { header, name } => {
                let found = call.found.get(*header)?;
                let key = credential(found.present()?);
                let doubt = doubt(found, b"", call.head.all(name), pseudonyms, flags);
                doubt.or_else(|| Some(unchecked(ActorSource::ApiKey, pseudonyms.fingerprint(key))))
            }
            Rule::Cookie { header, name } => {
                let field = call.found.get(*header).filter(|field| field.value.is_some())?;
                let found = fields::cookie(call.head, name, field);
                if found.lookalike {
                    raise(flags, flags::ACTOR_LOOKALIKE);
                }
                let value = found.present()?;
                let doubt = doubt(&found, b"", fields::cookies(call.head, name), pseudonyms, flags);
                doubt.or_else(|| Some(unchecked(ActorSource::Cookie, pseudonyms.fingerprint(value))))
            }
        }
    }

    /// The keys of a rule that verifies.
    pub fn keys(&self) -> Option<&Arc<KeyStore>> {
        match self {
            Rule::Jwt { verifier, .. } => Some(verifier.keys()),
            _ => None,
        }
    }
}

impl CertRule {
    fn read(
        &self,
        call: &Call<'_, '_>,
        pseudonyms: &Pseudonyms,
        flags: &mut Flags,
    ) -> Option<Actor<'static>> {
        let found = call.found.get(self.header)?;
        let value = found.present()?;
        if !is_trusted(&self.trusted_from, call, flags) {
            return None;
        }
        if let Some(doubt) = doubt(found, b"", call.head.all(&self.name), pseudonyms, flags) {
            return Some(doubt);
        }
        let Some(names) = certificate::read(value) else {
            raise(flags, flags::CERTIFICATE_MALFORMED);
            return Some(unclear("malformed", pseudonyms.fingerprint(value)));
        };
        let verified = self.is_good(call);
        // By its hash, so that a certificate has one fingerprint in whichever form it comes.
        let identity = names.hash.as_deref().map_or(value, str::as_bytes);
        let credential = pseudonyms.fingerprint(identity);
        Some(Actor {
            kind: if names.is_service() { "service".into() } else { "".into() },
            name: tell(names.name(), flags).into(),
            verified,
            unverified_reason: if verified { "".into() } else { "certificate_not_verified".into() },
            ..named(&names, credential, flags)
        })
    }

    /// `SUCCESS` is nginx's and Apache's word, `0` HAProxy's. Without such a field the proxy lets no
    /// other certificate through.
    fn is_good(&self, call: &Call<'_, '_>) -> bool {
        let Some(found) = self.verify.and_then(|i| call.found.get(i)) else { return self.verify.is_none() };
        let says = found.value.is_some_and(|v| v.eq_ignore_ascii_case(b"SUCCESS") || v == b"0");
        says && !found.differing && !found.nominated
    }
}

/// By the certificate's name; without one, by its fingerprint.
fn named(names: &Names, credential: String, flags: &mut Flags) -> Actor<'static> {
    let id = names.id().map_or_else(|| format!("cert:{credential}"), |id| tell(id, flags));
    Actor { id: id.into(), source: ActorSource::ForwardedCert, credential: credential.into(), ..anonymous() }
}

impl HeaderRule {
    fn new(rule: &config::HeaderRule, mut index: impl FnMut(&str) -> Index) -> HeaderRule {
        HeaderRule {
            id: index(&rule.id),
            name: rule.name.as_deref().map(&mut index),
            kind: rule.kind.as_deref().map(&mut index),
            tenant: rule.tenant.as_deref().map(&mut index),
            on_behalf_of: rule.on_behalf_of.as_deref().map(&mut index),
            roles: rule.roles.as_deref().map(|name| (index(name), name.to_owned())),
            trusted_from: networks(&rule.trusted_from),
        }
    }

    fn read(&self, call: &Call<'_, '_>, flags: &mut Flags) -> Option<Actor<'static>> {
        let found = call.found.get(self.id)?;
        let value = found.present()?;
        if !is_trusted(&self.trusted_from, call, flags) {
            return None;
        }
        let id = if found.differing { None } else { single(value) };
        if found.nominated {
            raise(flags, flags::ACTOR_HEADER_REMOVED);
            return Some(unclear("header_removed", String::new()));
        }
        let Some(id) = id else {
            raise(flags, flags::ACTOR_AMBIGUOUS);
            return Some(unclear("ambiguous", String::new()));
        };
        Some(Actor {
            id: tell(id, flags).into(),
            name: self.attribute(call, self.name, Some, flags).into(),
            kind: self.attribute(call, self.kind, single, flags).into(),
            tenant: self.attribute(call, self.tenant, single, flags).into(),
            on_behalf_of: self.attribute(call, self.on_behalf_of, single, flags).into(),
            roles: self.roles(call, flags),
            source: ActorSource::TrustedHeader,
            verified: true,
            ..anonymous()
        })
    }

    fn roles(&self, call: &Call<'_, '_>, flags: &mut Flags) -> Vec<Cow<'static, str>> {
        let Some((index, name)) = &self.roles else { return Vec::new() };
        if call.found.get(*index).is_some_and(|found| found.nominated) {
            raise(flags, flags::ACTOR_HEADER_REMOVED);
            return Vec::new();
        }
        roles(call.head.all(name).flat_map(|v| v.split(|b| matches!(b, b',' | b' '))), flags)
    }

    /// A name may have a comma; a tenant in a list of several is none.
    fn attribute<'h>(
        &self,
        call: &Call<'_, 'h>,
        index: Option<Index>,
        one: impl Fn(&'h [u8]) -> Option<&'h [u8]>,
        flags: &mut Flags,
    ) -> String {
        let Some(found) = index.and_then(|i| call.found.get(i)) else { return String::new() };
        let Some(value) = found.present() else { return String::new() };
        if found.nominated {
            raise(flags, flags::ACTOR_HEADER_REMOVED);
            return String::new();
        }
        match one(value).filter(|_| !found.differing) {
            Some(value) => tell(value, flags),
            None => {
                raise(flags, flags::ACTOR_AMBIGUOUS);
                String::new()
            }
        }
    }
}

pub fn anonymous() -> Actor<'static> {
    Actor {
        id: "".into(),
        name: "".into(),
        kind: "".into(),
        tenant: "".into(),
        roles: Vec::new(),
        source: ActorSource::Anonymous,
        verified: false,
        on_behalf_of: "".into(),
        unverified_reason: "".into(),
        credential: "".into(),
    }
}

fn unclear(reason: &'static str, credential: String) -> Actor<'static> {
    Actor { unverified_reason: reason.into(), credential: credential.into(), ..anonymous() }
}

/// An actor without a name when the credential's field is removed on the way, repeated with other
/// values, or a list. `token`: what may not have a comma; `values`: all that were sent.
fn doubt<'h>(
    found: &Found<'_>,
    token: &[u8],
    values: impl Iterator<Item = &'h [u8]>,
    pseudonyms: &Pseudonyms,
    flags: &mut Flags,
) -> Option<Actor<'static>> {
    let (flag, reason) = if found.differing || token.contains(&b',') {
        (flags::ACTOR_AMBIGUOUS, "ambiguous")
    } else if found.nominated {
        (flags::ACTOR_HEADER_REMOVED, "header_removed")
    } else {
        return None;
    };
    raise(flags, flag);
    let mut credentials: Vec<String> = Vec::new();
    for value in values.filter(|v| !v.is_empty()) {
        let fingerprint = pseudonyms.fingerprint(credential(value));
        if !credentials.contains(&fingerprint) && credentials.len() < MAX_CREDENTIALS {
            credentials.push(fingerprint);
        }
    }
    Some(unclear(reason, credentials.join(",")))
}

/// Whether the peer is one whose headers are believed.
fn is_trusted(networks: &[IpNet], call: &Call<'_, '_>, flags: &mut Flags) -> bool {
    let trusted = call.peer.ip.is_some_and(|ip| networks.iter().any(|net| net.contains(&ip)));
    if !trusted {
        raise(flags, flags::ACTOR_HEADER_UNTRUSTED);
    }
    trusted
}

fn networks(networks: &[IpNet]) -> Vec<IpNet> {
    networks.iter().copied().map(address::canonical_net).collect()
}

/// RFC 7617. The password is decoded, never kept.
fn basic(token: &[u8], pseudonyms: &Pseudonyms, flags: &mut Flags) -> Option<Actor<'static>> {
    let decoded = BASIC.decode(token).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some(Actor {
        id: tell(decoded.get(..colon)?, flags).into(),
        source: ActorSource::Basic,
        credential: pseudonyms.fingerprint(token).into(),
        unverified_reason: "password_not_checked".into(),
        ..anonymous()
    })
}

/// A credential that names nobody: whoever holds it is known by its fingerprint.
fn unchecked(source: ActorSource, fingerprint: String) -> Actor<'static> {
    let reason = match source {
        ActorSource::Cookie => "cookie_not_checked",
        _ => "key_not_checked",
    };
    Actor {
        // Not `cookie:`, what stands after which is always masked.
        id: format!("key:{fingerprint}").into(),
        source,
        credential: fingerprint.into(),
        unverified_reason: reason.into(),
        ..anonymous()
    }
}

/// The credentials after an authentication scheme (RFC 9110 §11.4), any case of its name.
fn after_scheme<'h>(value: &'h [u8], scheme: &str) -> Option<&'h [u8]> {
    let (name, rest) = (value.get(..scheme.len())?, value.get(scheme.len()..)?);
    let spaced = matches!(rest.first(), Some(b' ' | b'\t'));
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && spaced).then(|| trim(rest))
}

/// A credential without its scheme, so that it has the same fingerprint whichever rule reads it.
fn credential(value: &[u8]) -> &[u8] {
    after_scheme(value, "bearer").or_else(|| after_scheme(value, "basic")).unwrap_or(value)
}

/// The one value of a field that may be a list: all elements equal, or commas that belong to a
/// distinguished name (`CN=alice,O=Acme`).
fn single(value: &[u8]) -> Option<&[u8]> {
    if !value.contains(&b',') || is_distinguished_name(value) {
        return Some(value);
    }
    let mut parts = value.split(|b| *b == b',').map(trim);
    let first = parts.next()?;
    (parts.all(|p| p == first) && !first.is_empty()).then_some(first)
}

/// Every part is `type=value`, of two types or more, and none returns after another: `OU=a,OU=b,O=c`
/// is one name, `CN=a,O=c,CN=b,O=c` is two in a list.
fn is_distinguished_name(value: &[u8]) -> bool {
    let mut kinds: Vec<&[u8]> = Vec::new();
    for part in value.split(|b| *b == b',') {
        let Some(at) = part.iter().position(|b| *b == b'=') else { return false };
        let kind = trim(part.get(..at).unwrap_or_default());
        if kind.is_empty() || !kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'.') {
            return false;
        }
        if kinds.last().is_some_and(|last| last.eq_ignore_ascii_case(kind)) {
            continue;
        }
        if kinds.len() == MAX_ATTRIBUTE_TYPES || kinds.iter().any(|k| k.eq_ignore_ascii_case(kind)) {
            return false;
        }
        kinds.push(kind);
    }
    kinds.len() > 1
}

/// Bounded and printable; what was changed is flagged.
pub(super) fn tell(value: &[u8], flags: &mut Flags) -> String {
    let clean = clean(value, MAX_TEXT);
    if clean.escaped {
        raise(flags, flags::ACTOR_ESCAPED);
    }
    if clean.truncated {
        raise(flags, flags::ACTOR_TRUNCATED);
    }
    clean.text.into_owned()
}

pub(super) fn roles<'a>(values: impl Iterator<Item = &'a [u8]>, flags: &mut Flags) -> Vec<Cow<'static, str>> {
    let mut values = values.map(trim).filter(|v| !v.is_empty());
    let roles = values.by_ref().take(MAX_ROLES).map(|v| tell(v, flags).into()).collect();
    if values.next().is_some() {
        raise(flags, flags::ACTOR_TRUNCATED);
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::Extractor;
    use crate::extract::tests::{head, rules};
    use proptest::prelude::*;

    const PEER: &str = "10.0.0.1";
    const STRANGER: &str = "192.0.2.1";

    fn header_rule() -> ActorRule {
        ActorRule::Header(config::HeaderRule {
            id: "X-User".into(),
            name: Some("X-Name".into()),
            kind: Some("X-Type".into()),
            on_behalf_of: Some("X-For".into()),
            tenant: Some("X-Tenant".into()),
            roles: Some("X-Roles".into()),
            trusted_from: vec!["10.0.0.0/8".parse().unwrap()],
        })
    }

    fn api_key_rule(header: &str) -> ActorRule {
        ActorRule::ApiKey { header: header.into() }
    }

    fn read(given: &[ActorRule], peer: &str, fields: &[(&str, &str)]) -> (Actor<'static>, Flags) {
        let (raw, index) = head("POST", "/v1/orders", fields);
        rules(given).actor(&Head { raw: &raw, index: &index }, &peer.parse().unwrap())
    }

    fn header(peer: &str, fields: &[(&str, &str)]) -> (Actor<'static>, Flags) {
        read(&[header_rule()], peer, fields)
    }

    #[test]
    fn a_trusted_header_names_the_actor() {
        let fields = [
            ("X-User", "u1"),
            ("x-name", "Doe, Jane"),
            ("X-Type", "user"),
            ("X-For", "u2"),
            ("X-Tenant", "acme"),
            ("X-Roles", "a, b"),
            ("X-Roles", "c"),
        ];
        let (actor, flags) = header(PEER, &fields);
        let expected = Actor {
            id: "u1".into(),
            name: "Doe, Jane".into(),
            kind: "user".into(),
            on_behalf_of: "u2".into(),
            tenant: "acme".into(),
            roles: vec!["a".into(), "b".into(), "c".into()],
            source: ActorSource::TrustedHeader,
            verified: true,
            ..anonymous()
        };
        assert_eq!((actor, flags), (expected, vec![]));
        assert_eq!(header("::ffff:10.0.0.1", &fields).0.id, "u1", "a mapped peer is the same peer");
    }

    #[test]
    fn a_header_from_a_stranger_names_nobody() {
        let (actor, flags) = header(STRANGER, &[("X-User", "admin")]);
        assert_eq!((actor, flags), (anonymous(), vec![flags::ACTOR_HEADER_UNTRUSTED]));
        assert_eq!(header(STRANGER, &[]), (anonymous(), vec![]));
        let (next, flags) = read(
            &[header_rule(), ActorRule::Basic],
            STRANGER,
            &[("X-User", "admin"), ("Authorization", "Basic dTpw")],
        );
        assert_eq!((next.id.as_ref(), flags), ("u", vec![flags::ACTOR_HEADER_UNTRUSTED]));
    }

    #[test]
    fn repeated_or_listed_actors_are_nobody() {
        for fields in [
            &[("X-User", "u1"), ("x-user", "u2")][..],
            &[("X-User", "u1, u2")],
            &[("X-User", ""), ("X-User", "u2")],
            &[("X-User", "u1"), ("X-User", "u1"), ("X-User", "u2")],
            &[("X-User", ",")],
        ] {
            let (actor, flags) = header(PEER, fields);
            assert_eq!(flags, [flags::ACTOR_AMBIGUOUS], "{fields:?}");
            assert_eq!(actor, Actor { unverified_reason: "ambiguous".into(), ..anonymous() });
        }
        for same in [&[("X-User", "u1"), ("X-User", "u1")][..], &[("X-User", "u1, u1")]] {
            assert_eq!((header(PEER, same).0.id.as_ref(), header(PEER, same).1), ("u1", vec![]));
        }
    }

    #[test]
    fn an_ambiguous_attribute_is_left_out() {
        let (actor, flags) = header(PEER, &[("X-User", "u1"), ("X-Tenant", "a, b"), ("X-Name", "N")]);
        assert_eq!((actor.id.as_ref(), actor.tenant.as_ref(), actor.name.as_ref()), ("u1", "", "N"));
        assert_eq!(flags, [flags::ACTOR_AMBIGUOUS]);
    }

    #[test]
    fn attributes_in_doubt_are_left_out_whichever_they_are() {
        for name in ["X-Type", "X-For", "X-Tenant"] {
            let (actor, flags) = header(PEER, &[("X-User", "u1"), (name, "a"), (name, "b")]);
            let expected =
                Actor { id: "u1".into(), source: ActorSource::TrustedHeader, verified: true, ..anonymous() };
            assert_eq!((actor, flags), (expected.clone(), vec![flags::ACTOR_AMBIGUOUS]), "{name}");
            let (actor, flags) = header(PEER, &[("X-User", "u1"), (name, "a"), ("Connection", name)]);
            assert_eq!((actor, flags), (expected, vec![flags::ACTOR_HEADER_REMOVED]), "{name}");
        }
        let (actor, flags) = header(PEER, &[("X-User", "u1"), ("X-Roles", "a"), ("Connection", "x-roles")]);
        assert_eq!((actor.roles.len(), flags), (0, vec![flags::ACTOR_HEADER_REMOVED]));
    }

    #[test]
    fn a_cookie_is_its_fingerprint() {
        let rule = [ActorRule::Cookie { name: "sid".into() }];
        let of = |fields: &[(&str, &str)]| read(&rule, STRANGER, fields);
        let (a, flags) = of(&[("Cookie", "theme=dark; sid=CANARY; x")]);
        assert_eq!(
            (a.id.as_ref(), a.source),
            (format!("key:{}", a.credential).as_str(), ActorSource::Cookie)
        );
        assert_eq!((a.verified, a.unverified_reason.as_ref(), flags), (false, "cookie_not_checked", vec![]));
        assert!(!format!("{a:?}").contains("CANARY"));
        for same in [
            &[("cookie", "sid=CANARY")][..],
            &[("Cookie", "sid=CANARY; sid=CANARY")],
            &[("Cookie", "a=b"), ("Cookie", "sid=CANARY")],
        ] {
            assert_eq!(of(same), (a.clone(), vec![]), "{same:?}");
        }
        for none in ["sid", "sid=", "asid=x", "a=sid=x", ""] {
            assert_eq!(of(&[("Cookie", none)]), (anonymous(), vec![]), "{none}");
        }
        assert_eq!(of(&[("Cookie", "SID=x")]), (anonymous(), vec![flags::ACTOR_LOOKALIKE]));
    }

    /// Redaction comes after, and may take what stands behind a telling word for a secret.
    #[test]
    fn ids_made_of_fingerprints_survive_redaction() {
        let redactor = crate::redact::Redactor::new(
            &config::Redact::default(),
            1024,
            crate::extract::tests::pseudonyms(),
        );
        let redactor = redactor.unwrap();
        for (rule, field) in [
            (ActorRule::Cookie { name: "sid".into() }, ("Cookie", "sid=x")),
            (api_key_rule("X-Api-Key"), ("X-Api-Key", "x")),
            (cert_rule(None), ("X-Cert", "By=spiffe://x;Hash=ab12")),
        ] {
            let (actor, _) = read(&[rule], PEER, &[field]);
            assert_eq!(redactor.path(actor.id.as_bytes()), actor.id);
            assert!(actor.id.ends_with(actor.credential.as_ref()));
        }
    }

    #[test]
    fn a_cookie_in_doubt_is_nobody() {
        let rule = [ActorRule::Cookie { name: "sid".into() }, ActorRule::Basic];
        for fields in [
            &[("Cookie", "sid=CANARY; sid=OTHER"), ("Authorization", "Basic dTpw")][..],
            &[("Cookie", "sid=CANARY"), ("Cookie", "sid=OTHER")],
            &[("Cookie", "sid=; sid=OTHER")],
        ] {
            let (actor, flags) = read(&rule, STRANGER, fields);
            assert_eq!(
                (actor.id.as_ref(), actor.unverified_reason.as_ref()),
                ("", "ambiguous"),
                "{fields:?}"
            );
            assert_eq!(flags, [flags::ACTOR_AMBIGUOUS]);
            assert!(!actor.credential.is_empty() && !format!("{actor:?}").contains("CANARY"));
        }
        let (actor, flags) = read(&rule, STRANGER, &[("Cookie", "sid=x"), ("Connection", "Cookie")]);
        assert_eq!((actor.id.as_ref(), flags), ("", vec![flags::ACTOR_HEADER_REMOVED]));
    }

    fn cert_rule(verify: Option<&str>) -> ActorRule {
        ActorRule::ForwardedCert(config::ForwardedCertRule {
            header: "X-Cert".into(),
            verify_header: verify.map(str::to_owned),
            trusted_from: vec!["10.0.0.0/8".parse().unwrap()],
        })
    }

    #[test]
    fn a_forwarded_certificate_names_the_actor() {
        let of = |peer, fields: &[(&str, &str)]| read(&[cert_rule(None)], peer, fields);
        let element = r#"Hash=AB12;Subject="CN=orders,O=Acme";URI=spiffe://prod/orders"#;
        let (actor, flags) = of(PEER, &[("X-Cert", element)]);
        let expected = Actor {
            id: "spiffe://prod/orders".into(),
            name: "orders".into(),
            kind: "service".into(),
            source: ActorSource::ForwardedCert,
            verified: true,
            credential: crate::extract::tests::pseudonyms().fingerprint(b"ab12").into(),
            ..anonymous()
        };
        assert_eq!((actor, flags), (expected, vec![]));
        let (actor, flags) = of(STRANGER, &[("X-Cert", element)]);
        assert_eq!((actor, flags), (anonymous(), vec![flags::ACTOR_HEADER_UNTRUSTED]));
        let (actor, _) = of(PEER, &[("X-Cert", "By=spiffe://x;Hash=ab12")]);
        assert_eq!(
            (actor.id.as_ref(), actor.verified),
            (format!("cert:{}", actor.credential).as_str(), true)
        );
        assert_eq!(of(PEER, &[("X-Cert", "")]), (anonymous(), vec![]));
    }

    #[test]
    fn a_forwarded_certificate_in_doubt_is_nobody() {
        let of = |fields: &[(&str, &str)]| {
            let (actor, flags) = read(&[cert_rule(None), ActorRule::Basic], PEER, fields);
            assert!(actor.id.is_empty() && !actor.verified && !actor.credential.is_empty(), "{actor:?}");
            (actor.unverified_reason.into_owned(), flags)
        };
        let basic = ("Authorization", "Basic dTpw");
        let told = |reason: &str, flag| (reason.to_owned(), vec![flag]);
        let two = [("X-Cert", "URI=a"), ("x-cert", "URI=b"), basic];
        assert_eq!(of(&two), told("ambiguous", flags::ACTOR_AMBIGUOUS));
        let removed = [("X-Cert", "URI=a"), ("Connection", "x-cert"), basic];
        assert_eq!(of(&removed), told("header_removed", flags::ACTOR_HEADER_REMOVED));
        assert_eq!(of(&[("X-Cert", "alice"), basic]), told("malformed", flags::CERTIFICATE_MALFORMED));
    }

    #[test]
    fn a_certificate_that_the_proxy_found_bad_is_not_verified() {
        let of = |fields: &[(&str, &str)]| {
            let all = [&[("X-Cert", "CN=alice,O=Acme")], fields].concat();
            let (actor, _) = read(&[cert_rule(Some("X-Verify"))], PEER, &all);
            assert_eq!((actor.id.as_ref(), actor.source), ("alice", ActorSource::ForwardedCert));
            assert_eq!(actor.unverified_reason == "certificate_not_verified", !actor.verified);
            actor.verified
        };
        assert!(of(&[("X-Verify", "SUCCESS")]) && of(&[("x-verify", "0")]));
        assert!(!of(&[]) && !of(&[("X-Verify", "FAILED:expired")]) && !of(&[("X-Verify", "10")]));
        assert!(!of(&[("X-Verify", "SUCCESS"), ("X-Verify", "NONE")]));
        assert!(!of(&[("X-Verify", "SUCCESS"), ("Connection", "x-verify")]));
    }

    #[test]
    fn a_distinguished_name_is_one_actor() {
        for one in ["CN=alice,O=Acme", "cn=alice, ou=a, ou=b, o=c", "UID=a,CN=Users,DC=corp,DC=example"] {
            let (actor, flags) = header(PEER, &[("X-User", one)]);
            assert_eq!((actor.id.as_ref(), flags), (one, vec![]));
        }
        for two in ["CN=a,O=c,CN=b,O=c", "uid=u1, uid=u2", "CN=alice,bob", "=a,O=b"] {
            assert_eq!(header(PEER, &[("X-User", two)]).1, [flags::ACTOR_AMBIGUOUS], "{two}");
        }
    }

    #[test]
    fn a_header_that_connection_removes_names_nobody() {
        let (actor, flags) = header(PEER, &[("X-User", "u1"), ("Connection", "close, x-user")]);
        assert_eq!(flags, [flags::ACTOR_HEADER_REMOVED]);
        assert_eq!((actor.id.as_ref(), actor.unverified_reason.as_ref()), ("", "header_removed"));

        let fields = [("Authorization", "Basic dTpw"), ("Connection", "Authorization")];
        let (actor, flags) = read(&[ActorRule::Basic], PEER, &fields);
        assert_eq!(
            (actor.id.as_ref(), actor.source, flags),
            ("", ActorSource::Anonymous, vec![flags::ACTOR_HEADER_REMOVED])
        );
        let plain = read(&[ActorRule::Basic], PEER, &fields[..1]).0;
        assert_eq!(actor.credential, plain.credential, "still the same credential");
        assert!(read(&[ActorRule::Basic], PEER, &[("Connection", "Authorization")]).1.is_empty());
    }

    #[test]
    fn a_lookalike_is_not_the_actor() {
        for name in ["X_User", "x.user", "x_USER"] {
            let (actor, flags) = header(PEER, &[(name, "admin")]);
            assert_eq!((actor, flags), (anonymous(), vec![flags::ACTOR_LOOKALIKE]), "{name}");
        }
        let (actor, flags) = header(PEER, &[("X-User", "u1"), ("X_User", "admin")]);
        assert_eq!((actor.id.as_ref(), flags), ("u1", vec![flags::ACTOR_LOOKALIKE]));
        assert!(header(PEER, &[("XUser", "admin")]).1.is_empty());
    }

    #[test]
    fn odd_bytes_and_long_values() {
        let long = "u".repeat(9000);
        let (actor, flags) = header(PEER, &[("X-User", &long)]);
        assert_eq!((actor.id.len(), flags), (MAX_TEXT, vec![flags::ACTOR_TRUNCATED]));
        let (actor, flags) = header(PEER, &[("X-User", "<script>alert(1)</script>")]);
        assert_eq!((actor.id.as_ref(), flags), ("<script>alert(1)</script>", vec![]));
        let (mut raw, index) = head("POST", "/", &[("X-User", "QZ")]);
        let at = raw.windows(2).position(|w| w == b"QZ").unwrap();
        raw[at..at + 2].copy_from_slice(b"\xff\xfe");
        let (actor, flags) =
            rules(&[header_rule()]).actor(&Head { raw: &raw, index: &index }, &PEER.parse().unwrap());
        assert_eq!((actor.id.as_ref(), flags), ("\\xff\\xfe", vec![flags::ACTOR_ESCAPED]));
        let many = "r,".repeat(100);
        let (actor, flags) = header(PEER, &[("X-User", "u"), ("X-Roles", &many)]);
        assert_eq!((actor.roles.len(), flags), (MAX_ROLES, vec![flags::ACTOR_TRUNCATED]));
    }

    #[test]
    fn basic_names_the_user_and_keeps_no_password() {
        // u:CANARY
        for value in ["Basic dTpDQU5BUlk=", "basic   dTpDQU5BUlk", "BASIC\tdTpDQU5BUlk="] {
            let (actor, flags) = read(&[ActorRule::Basic], STRANGER, &[("Authorization", value)]);
            assert_eq!((actor.id.as_ref(), actor.source, actor.verified), ("u", ActorSource::Basic, false));
            assert!(flags.is_empty());
            assert!(!actor.credential.is_empty());
            let all = format!("{actor:?}");
            assert!(!all.contains("CANARY") && !all.contains("dTpD"), "{all}");
        }
        for none in ["Basic !!!", "Basic", "Basic dQ==", "Bearer dTpw", "Basicx dTpw", ""] {
            let (actor, _) = read(&[ActorRule::Basic], STRANGER, &[("Authorization", none)]);
            assert_eq!(actor, anonymous(), "{none}");
        }
        let two = [("Authorization", "Basic dTpw"), ("Authorization", "Basic dTpx")];
        let (actor, flags) = read(&[ActorRule::Basic], STRANGER, &two);
        assert_eq!((actor.source, flags), (ActorSource::Anonymous, vec![flags::ACTOR_AMBIGUOUS]));
        assert_eq!(actor.credential.split(',').count(), 2, "a fingerprint each");
    }

    #[test]
    fn an_api_key_is_its_fingerprint() {
        let (a, _) = read(&[api_key_rule("X-Api-Key")], STRANGER, &[("x-api-key", "CANARY")]);
        assert_eq!(
            (a.id.as_ref(), a.source),
            (format!("key:{}", a.credential).as_str(), ActorSource::ApiKey)
        );
        assert!(!a.verified && !format!("{a:?}").contains("CANARY"));
        let (b, _) = read(&[api_key_rule("X-Api-Key")], STRANGER, &[("x-api-key", "OTHER")]);
        assert_ne!(a.id, b.id);
        let (bearer, _) =
            read(&[api_key_rule("Authorization")], STRANGER, &[("Authorization", "Bearer CANARY")]);
        assert_eq!(bearer.credential, a.credential, "the scheme is no part of the key");
        assert_eq!(read(&[api_key_rule("X-Api-Key")], STRANGER, &[("X-Api-Key", "")]).0, anonymous());
    }

    #[test]
    fn the_first_rule_that_yields_wins() {
        let given = [header_rule(), ActorRule::Basic, api_key_rule("X-Api-Key")];
        let all = [("X-Api-Key", "k"), ("Authorization", "Basic dTpw"), ("X-User", "u1")];
        let source = |peer, n: usize| read(&given, peer, &all[..n]).0.source;
        assert_eq!(source(PEER, 3), ActorSource::TrustedHeader);
        assert_eq!(source(STRANGER, 3), ActorSource::Basic);
        assert_eq!(source(PEER, 2), ActorSource::Basic);
        assert_eq!(source(PEER, 1), ActorSource::ApiKey);
        assert_eq!(source(PEER, 0), ActorSource::Anonymous);
        assert_eq!(read(&[], PEER, &all).0, anonymous());
    }

    proptest! {
        /// Whatever the bytes of the fields: no panic, all texts bounded, nothing verified by them.
        #[test]
        fn any_bytes_are_told_in_bounds(
            values in prop::collection::vec((0usize..7, prop::collection::vec(any::<u8>(), 0..600)), 0..6),
            scheme in prop::sample::select(vec!["", "Bearer ", "Basic "]),
        ) {
            let names = ["X-User", "X_User", "Authorization", "Connection", "X-Cert", "Cookie", "X-Api-Key"];
            let (mut raw, mut index) = (Vec::new(), crate::head::HeadIndex::default());
            let mut put = |bytes: &[u8]| {
                let start = raw.len() as u32;
                raw.extend_from_slice(bytes);
                start..raw.len() as u32
            };
            for (name, value) in &values {
                let value = [scheme.as_bytes(), value].concat();
                index.fields.push((put(names[*name].as_bytes()), put(&value)));
            }
            let given = [
                header_rule(),
                cert_rule(None),
                crate::extract::tests::jwt_rule(),
                ActorRule::Basic,
                ActorRule::Cookie { name: "a".into() },
                api_key_rule("X-Api-Key"),
            ];
            let extractor: Extractor = rules(&given);
            let head = Head { raw: &raw, index: &index };
            let (actor, _) = extractor.actor(&head, &STRANGER.parse().unwrap());
            prop_assert!(!actor.verified);
            prop_assert!(actor.id.chars().count() <= MAX_TEXT);
            prop_assert!(!actor.id.chars().any(char::is_control));
        }
    }
}
