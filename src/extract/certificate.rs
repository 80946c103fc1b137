//! Who a client's certificate says it is: the names in X.509 (RFC 5280), read from DER.
//!
//! The certificate has been verified before it comes here; this only reads its names. Own code, as the
//! library that verifies tells no e-mail address and no subject as text, and parsers that do bring a
//! dozen crates. Everything is a slice of the input; nothing is followed, nothing recurses.
//!
//! The identity is the first of: a SPIFFE id or else any URI, an e-mail address, a DNS name (all of the
//! subject alternative name, the first of its kind), the subject's common name.

use super::text::clean;
use super::{Flags, actor};
use crate::pseudonym::Pseudonyms;
use sidelog_event::{Actor, ActorSource};

/// Relative names of a subject that are shown.
const MAX_ATTRIBUTES: usize = 32;
/// Alternative names that are looked at.
const MAX_NAMES: usize = 256;

/// A verified certificate's names, made once per connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    id: String,
    name: String,
    credential: String,
    flags: Flags,
}

impl Certificate {
    /// `der`: the client's own certificate, verified. Names that cannot be read are left out; the
    /// fingerprint always tells which certificate it was.
    pub fn new(der: &[u8], pseudonyms: &Pseudonyms) -> Certificate {
        let mut flags = Flags::new();
        let credential = pseudonyms.fingerprint(der);
        let names = Names::read(der).unwrap_or_default();
        let id = names.identity().map(|id| actor::tell(id.as_bytes(), &mut flags));
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("certificate:{credential}"));
        let name = actor::tell(names.subject.as_bytes(), &mut flags);
        Certificate { id, name, credential, flags }
    }

    pub(super) fn actor(&self, flags: &mut Flags) -> Actor<'static> {
        self.flags.iter().for_each(|flag| super::raise(flags, flag));
        Actor {
            id: self.id.clone().into(),
            name: self.name.clone().into(),
            source: ActorSource::Mtls,
            verified: true,
            credential: self.credential.clone().into(),
            ..actor::anonymous()
        }
    }
}

/// The names of a certificate, as text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    uris: Vec<String>,
    emails: Vec<String>,
    dns: Vec<String>,
    common: Option<String>,
    /// `CN=alice,O=Acme`: in the certificate's order, separators in values escaped.
    subject: String,
}

impl Names {
    fn identity(&self) -> Option<&str> {
        let spiffe = self.uris.iter().find(|uri| uri.starts_with("spiffe://"));
        let names = spiffe.or(self.uris.first()).or(self.emails.first()).or(self.dns.first());
        names.or(self.common.as_ref()).map(String::as_str)
    }

    /// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer,
    /// validity, subject, subjectPublicKeyInfo, …, [3] extensions }, … }`
    fn read(der: &[u8]) -> Option<Names> {
        let mut names = Names::default();
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
            rest = element(rest, tag)?.1;
        }
        let (subject, rest) = element(rest, SEQUENCE)?;
        names.read_subject(subject);
        let mut rest = element(rest, SEQUENCE)?.1;
        while !rest.is_empty() {
            let (tag, value, after) = next(rest)?;
            if tag == EXTENSIONS {
                names.read_extensions(element(value, SEQUENCE)?.0)?;
            }
            rest = after;
        }
        Some(names)
    }

    /// `Name ::= SEQUENCE OF SET OF SEQUENCE { type OID, value ANY }`
    fn read_subject(&mut self, mut rest: &[u8]) {
        let mut parts = Vec::new();
        while let Some((set, after)) = element(rest, SET) {
            rest = after;
            let mut pairs = set;
            while let Some((pair, after)) = element(pairs, SEQUENCE) {
                pairs = after;
                let Some((kind, value)) = attribute(pair) else { continue };
                if kind == COMMON_NAME && self.common.is_none() {
                    self.common = Some(value.clone());
                }
                if parts.len() < MAX_ATTRIBUTES {
                    parts.push(format!("{}={}", short_name(kind), escape(&value)));
                }
            }
        }
        self.subject = parts.join(",");
    }

    /// `Extensions ::= SEQUENCE OF SEQUENCE { id OID, critical BOOLEAN DEFAULT FALSE, value OCTET STRING }`
    fn read_extensions(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (extension, after) = element(rest, SEQUENCE)?;
            rest = after;
            let (id, mut value) = element(extension, OID)?;
            if id != SUBJECT_ALT_NAME {
                continue;
            }
            if value.first() == Some(&BOOLEAN) {
                value = element(value, BOOLEAN)?.1;
            }
            let (octets, _) = element(value, OCTETS)?;
            self.read_alternatives(element(octets, SEQUENCE)?.0)?;
        }
        Some(())
    }

    fn read_alternatives(&mut self, mut rest: &[u8]) -> Option<()> {
        for _ in 0..MAX_NAMES {
            if rest.is_empty() {
                break;
            }
            let (tag, value, after) = next(rest)?;
            rest = after;
            let list = match tag {
                EMAIL => &mut self.emails,
                DNS => &mut self.dns,
                URI => &mut self.uris,
                _ => continue,
            };
            // IA5String.
            if let Some(text) = std::str::from_utf8(value).ok().filter(|t| t.is_ascii() && !t.is_empty()) {
                list.push(text.to_owned());
            }
        }
        Some(())
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const TELETEX: u8 = 0x14;
const IA5: u8 = 0x16;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;

const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// One element: tag, content, what follows. Definite lengths of at most four bytes, as DER has them.
fn next(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(len)?;
    Some((*tag, value, after))
}

/// Content and what follows, if the next element is of this tag.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    next(der).filter(|(found, ..)| *found == tag).map(|(_, value, after)| (value, after))
}

/// The type's object identifier and the value as text.
fn attribute(pair: &[u8]) -> Option<(&[u8], String)> {
    let (kind, value) = element(pair, OID)?;
    let (tag, bytes, _) = next(value)?;
    let text = match tag {
        UTF8 => std::str::from_utf8(bytes).ok()?.to_owned(),
        PRINTABLE | IA5 if bytes.is_ascii() => std::str::from_utf8(bytes).ok()?.to_owned(),
        TELETEX => bytes.iter().map(|b| char::from(*b)).collect(),
        BMP => {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
            String::from_utf16(&units).ok()?
        }
        _ => return None,
    };
    Some((kind, text))
}

/// RFC 4514 §3; others by their last number, which is enough to tell them apart here.
fn short_name(oid: &[u8]) -> String {
    let known = match oid {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x05] => "SERIALNUMBER",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "E",
        _ => return dotted(oid),
    };
    known.to_owned()
}

/// `2.5.4.12`; at most 16 numbers.
fn dotted(oid: &[u8]) -> String {
    let (mut numbers, mut n) = (Vec::new(), 0u64);
    for byte in oid.iter().take(64) {
        n = n << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (n / 40).min(2);
                numbers.push(first.to_string());
                n -= first * 40;
            }
            numbers.push(n.to_string());
            n = 0;
        }
    }
    numbers.truncate(16);
    numbers.join(".")
}

/// RFC 4514 §2.4: what would read as the end of the value.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in clean(value.as_bytes(), actor::MAX_TEXT).text.chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
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
        assert_eq!(id(&cn, vec![dns("a.example"), email("a@example.org")]), "a@example.org");
        assert_eq!(id(&cn, vec![dns("a.example"), dns("b.example")]), "a.example");
        assert_eq!(id(&cn, vec![SanType::IpAddress("10.0.0.1".parse().unwrap())]), "alice");
        let nobody = id(&[], vec![]);
        assert!(nobody.starts_with("certificate:") && nobody.len() > 40, "{nobody}");
    }

    #[test]
    fn the_subject_is_the_name_and_the_fingerprint_the_credential() {
        let der = issue(
            &[
                (DnType::CommonName, "alice"),
                (DnType::OrganizationName, "Acme, Inc."),
                (DnType::CustomDnType(vec![2, 5, 4, 12]), "boss"),
            ],
            vec![],
        );
        let certificate = Certificate::new(&der, &pseudonyms());
        let mut flags = Flags::new();
        let actor = certificate.actor(&mut flags);
        assert_eq!((&*actor.id, &*actor.name), ("alice", "CN=alice,O=Acme\\, Inc.,2.5.4.12=boss"));
        assert_eq!((actor.source, actor.verified), (ActorSource::Mtls, true));
        assert_eq!(actor.credential, pseudonyms().fingerprint(&der));
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
