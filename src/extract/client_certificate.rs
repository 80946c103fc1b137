//! Who a client is by the certificate it presented in the TLS handshake.
//!
//! The certificate has been verified before it comes here. Its names are read, and one of them chosen, as
//! those of a forwarded certificate are ([`super::certificate`]): the same certificate is the same actor,
//! with the same fingerprint, on whichever side of a proxy it was presented.

use super::certificate::{self, Names};
use super::{Flags, actor};
use crate::pseudonym::Pseudonyms;
use sha2::{Digest, Sha256};
use sidelog_event::{Actor, ActorSource};

/// What a verified certificate says, made once per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    id: String,
    name: String,
    kind: &'static str,
    credential: String,
    flags: Flags,
}

impl Certificate {
    /// `der`: the client's own certificate, verified. Names that cannot be read are left out; the
    /// fingerprint always tells which certificate it was.
    pub fn new(der: &[u8], pseudonyms: &Pseudonyms) -> Certificate {
        let mut flags = Flags::new();
        let hash: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
        let credential = pseudonyms.fingerprint(hash.as_bytes());
        let names = certificate::from_der(der).unwrap_or_default();
        let id = names.id().map(|id| actor::tell(id, &mut flags)).filter(|id| !id.is_empty());
        let name = actor::tell(names.subject(), &mut flags);
        let kind = if Names::is_service(&names) { "service" } else { "" };
        Certificate { id: id.unwrap_or_else(|| format!("cert:{credential}")), name, kind, credential, flags }
    }

    pub(super) fn actor(&self, flags: &mut Flags) -> Actor<'static> {
        self.flags.iter().for_each(|flag| super::raise(flags, flag));
        Actor {
            id: self.id.clone().into(),
            name: self.name.clone().into(),
            kind: self.kind.into(),
            source: ActorSource::Mtls,
            verified: true,
            credential: self.credential.clone().into(),
            ..actor::anonymous()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::flags;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new(b"0123456789abcdef")
    }

    fn issue(subject: &[(DnType, &str)], names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn email(text: &str) -> SanType {
        SanType::Rfc822Name(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn id(subject: &[(DnType, &str)], names: Vec<SanType>) -> String {
        Certificate::new(&issue(subject, names), &pseudonyms()).id
    }

    #[test]
    fn the_most_telling_name_is_the_identity() {
        let cn = [(DnType::CommonName, "alice"), (DnType::OrganizationName, "Acme, Inc.")];
        let spiffe = || uri("spiffe://example.org/ns/prod/sa/billing");
        let other = || uri("https://example.org/alice");
        assert_eq!(
            id(&cn, vec![dns("a.example"), email("a@example.org"), other(), spiffe()]),
            "spiffe://example.org/ns/prod/sa/billing"
        );
        let names = vec![dns("a.example"), email("a@example.org"), other()];
        assert_eq!(id(&cn, names), "https://example.org/alice");
        assert_eq!(id(&cn, vec![dns("a.example"), email("a@example.org")]), "alice");
        assert_eq!(id(&[], vec![dns("a.example"), email("a@example.org")]), "a@example.org");
        assert_eq!(id(&[], vec![dns("a.example"), dns("b.example")]), "a.example");
        let nobody = id(&[], vec![]);
        assert!(nobody.starts_with("cert:") && nobody.len() == 38, "{nobody}");
    }

    #[test]
    fn the_subject_is_the_name_and_the_fingerprint_the_credential() {
        let cn = [(DnType::CommonName, "alice"), (DnType::OrganizationName, "Acme")];
        let der = issue(&cn, vec![uri("spiffe://a/b")]);
        let certificate = Certificate::new(&der, &pseudonyms());
        let mut flags = Flags::new();
        let actor = certificate.actor(&mut flags);
        assert_eq!((&*actor.id, &*actor.kind), ("spiffe://a/b", "service"));
        assert!(actor.name.contains("CN=alice") && actor.name.contains("O=Acme"), "{}", actor.name);
        assert_eq!((actor.source, actor.verified), (ActorSource::Mtls, true));
        assert_eq!(actor.credential, Certificate::new(&der, &pseudonyms()).credential);
        assert_eq!(actor.credential.len(), 33);
        assert!(flags.is_empty());
        let odd = issue(&[(DnType::CommonName, "al\nice\u{202e}")], vec![]);
        let odd = Certificate::new(&odd, &pseudonyms());
        assert!(!odd.id.contains('\n') && odd.flags.contains(&flags::ACTOR_ESCAPED), "{odd:?}");
    }

    proptest! {
        /// Any bytes, and any damage to a certificate: no panic, texts bounded.
        #[test]
        fn damaged_certificates_never_panic(
            at in 0usize..2000, byte: u8, junk in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            static DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
                issue(&[(DnType::CommonName, "alice")], vec![uri("spiffe://a/b"), dns("a.example")])
            });
            let mut der = DER.clone();
            let at = at % der.len();
            der[at] = byte;
            for input in [der.as_slice(), &der[..at], &junk] {
                let certificate = Certificate::new(input, &pseudonyms());
                prop_assert!(!certificate.id.is_empty() && certificate.id.chars().count() <= 300);
            }
        }
    }
}
