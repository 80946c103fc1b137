//! Whom a client's certificate names, as a proxy that ended the TLS connection forwards it.
//!
//! Read in every form that proxies write, told apart by how the value begins:
//! - Envoy's `X-Forwarded-Client-Cert`: `By=…;Hash=…;Subject="…";URI=…`, one element for each proxy.
//!   The last is the nearest proxy's, the only one that is known to be trusted; the others are its
//!   clients' words.
//! - a certificate: PEM, URL-encoded (nginx's `$ssl_client_escaped_cert`) or not, base64 alone, or
//!   between colons (`Client-Cert`, RFC 9440)
//! - a subject alone: `CN=alice,O=Acme` (RFC 4514, nginx's `$ssl_client_s_dn`) or `/O=Acme/CN=alice`
//!
//! The actor's id is the first there is of: a SPIFFE URI, another URI, the common name, an e-mail
//! address, a DNS name, the whole subject. A SPIFFE URI names a workload: that is a `service`.

use super::text::trim;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Keys of Envoy's elements.
const ELEMENT_KEYS: [&str; 7] = ["by", "hash", "cert", "chain", "subject", "uri", "dns"];
const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The names in one certificate, as text of any bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names {
    uris: Vec<Vec<u8>>,
    /// The whole distinguished name.
    subject: Vec<u8>,
    common_name: Option<Vec<u8>>,
    emails: Vec<Vec<u8>>,
    dns: Vec<Vec<u8>>,
    /// SHA-256 of the certificate, in lower-case hex.
    pub hash: Option<String>,
}

impl Names {
    /// By the order above. `None`: it names nobody.
    pub fn id(&self) -> Option<&[u8]> {
        let spiffe = self.uris.iter().find(|uri| is_spiffe(uri));
        let (uri, email, dns) = (self.uris.first(), self.emails.first(), self.dns.first());
        let names = [spiffe, uri, self.common_name.as_ref(), email, dns, Some(&self.subject)];
        names.into_iter().flatten().map(Vec::as_slice).find(|name| !name.is_empty())
    }

    /// The common name, where it is not the id.
    pub fn name(&self) -> &[u8] {
        if self.uris.is_empty() { &[] } else { self.common_name.as_deref().unwrap_or_default() }
    }

    pub fn is_service(&self) -> bool {
        self.id().is_some_and(is_spiffe)
    }

    fn with_subject(&mut self, subject: Vec<u8>) {
        self.common_name = common_name(&subject);
        self.subject = subject;
    }
}

fn is_spiffe(uri: &[u8]) -> bool {
    uri.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"spiffe://"))
}

/// What a forwarding header says. `None`: it reads as none of the forms.
pub(super) fn read(value: &[u8]) -> Option<Names> {
    if is_element(value) {
        return last_element(value);
    }
    if let Some(rest) = value.strip_prefix(b":") {
        return decode(rest.split(|b| *b == b':').next()?);
    }
    if value.starts_with(b"-----") || value.starts_with(b"%2D") || value.starts_with(b"MII") {
        return encoded(value);
    }
    let is_name = value.iter().position(|b| *b == b'=').is_some_and(|at| at > 0);
    is_name.then(|| {
        let mut names = Names::default();
        names.with_subject(value.to_vec());
        names
    })
}

/// What a certificate says, by its DER.
pub(super) fn from_der(der: &[u8]) -> Option<Names> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let last_name = subject.iter_common_name().last();
    let mut names = Names {
        subject: subject.to_string().into_bytes(),
        common_name: last_name.and_then(|cn| cn.as_str().ok()).map(|cn| cn.as_bytes().to_vec()),
        hash: Some(Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect()),
        ..Names::default()
    };
    for name in certificate.subject_alternative_name().ok()?.iter().flat_map(|san| &san.value.general_names) {
        match name {
            GeneralName::URI(uri) => names.uris.push(uri.as_bytes().to_vec()),
            GeneralName::RFC822Name(email) => names.emails.push(email.as_bytes().to_vec()),
            GeneralName::DNSName(dns) => names.dns.push(dns.as_bytes().to_vec()),
            _ => {}
        }
    }
    Some(names)
}

/// PEM or bare base64, URL-encoded or not; of a chain the first, which is the client's.
fn encoded(value: &[u8]) -> Option<Names> {
    let text: Vec<u8> = percent_decode(value).collect();
    let Some(pem) = text.strip_prefix(PEM_BEGIN) else {
        return decode(text.split(|b| *b == b',').next()?);
    };
    decode(pem.get(..pem.windows(5).position(|w| w == b"-----")?)?)
}

fn decode(base64: &[u8]) -> Option<Names> {
    let compact: Vec<u8> = base64.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    from_der(&BASE64.decode(compact).ok()?)
}

fn is_element(value: &[u8]) -> bool {
    let key = value.iter().position(|b| *b == b'=').and_then(|at| value.get(..at)).map(trim);
    key.is_some_and(|key| ELEMENT_KEYS.iter().any(|k| key.eq_ignore_ascii_case(k.as_bytes())))
}

/// Of Envoy's list. `None` where any element does not read: then its end cannot be told either.
fn last_element(value: &[u8]) -> Option<Names> {
    let mut names = Names::default();
    let mut pairs = 0;
    for (pair, ends_element) in (Pairs { rest: Some(value) }) {
        let pair = trim(pair?);
        if !pair.is_empty() {
            take_pair(&mut names, pair)?;
            pairs += 1;
        }
        match ends_element {
            End::Pair => {}
            End::Element | End::List if pairs == 0 => return None,
            End::Element => (names, pairs) = (Names::default(), 0),
            End::List => {}
        }
    }
    Some(names)
}

fn take_pair(names: &mut Names, pair: &[u8]) -> Option<()> {
    let at = pair.iter().position(|b| *b == b'=')?;
    let key = trim(pair.get(..at)?).to_ascii_lowercase();
    let value = unquote(trim(pair.get(at + 1..)?));
    if value.is_empty() {
        return Some(());
    }
    match key.as_slice() {
        b"hash" => names.hash = std::str::from_utf8(&value).ok().map(str::to_ascii_lowercase),
        b"subject" => names.with_subject(value),
        b"uri" => names.uris.push(value),
        b"dns" => names.dns.push(value),
        // Whole, it says everything; what stands beside it is taken from it by the proxy.
        b"cert" => {
            let certificate = encoded(&value)?;
            *names = Names { hash: certificate.hash.clone().or(names.hash.take()), ..certificate };
        }
        _ => {}
    }
    Some(())
}

/// What comes after a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Pair,
    Element,
    List,
}

/// Pairs of a list of elements, not cut inside quotes. A pair whose quotes do not end is `None`.
struct Pairs<'v> {
    rest: Option<&'v [u8]>,
}

impl<'v> Iterator for Pairs<'v> {
    type Item = (Option<&'v [u8]>, End);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b';' | b',' if !quoted => {
                    self.rest = text.get(at + 1..);
                    return Some((text.get(..at), if *byte == b';' { End::Pair } else { End::Element }));
                }
                _ => {}
            }
        }
        Some((if quoted { None } else { Some(text) }, End::List))
    }
}

/// Without quotes around it and the backslashes that guard quotes within.
fn unquote(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")) else {
        return value.to_vec();
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        // A backslash before anything else belongs to the distinguished name.
        if byte == b'\\' && bytes.peek() == Some(&b'"') {
            text.extend(bytes.next());
        } else {
            text.push(byte);
        }
    }
    text
}

/// The most specific one: the first as RFC 4514 writes them, the last between slashes.
fn common_name(subject: &[u8]) -> Option<Vec<u8>> {
    if let Some(rest) = subject.strip_prefix(b"/") {
        let mut parts = rest.rsplit(|b| *b == b'/').filter_map(attribute);
        return parts.find(|(kind, _)| is_common_name(kind)).map(|(_, value)| value.to_vec());
    }
    let (mut quoted, mut escaped, mut begin) = (false, false, 0);
    for at in 0..=subject.len() {
        let ends = match subject.get(at) {
            None => true,
            Some(_) if escaped => {
                escaped = false;
                false
            }
            Some(b'\\') => {
                escaped = true;
                false
            }
            Some(b'"') => {
                quoted = !quoted;
                false
            }
            Some(b',' | b'+' | b';') => !quoted,
            Some(_) => false,
        };
        if ends {
            let (kind, value) = attribute(subject.get(begin..at)?).unwrap_or_default();
            if is_common_name(kind) && !value.is_empty() {
                return Some(unescape(value));
            }
            begin = at + 1;
        }
    }
    None
}

fn attribute(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|b| *b == b'=')?;
    Some((trim(part.get(..at)?), trim(part.get(at + 1..)?)))
}

fn is_common_name(kind: &[u8]) -> bool {
    [&b"CN"[..], b"commonName", b"2.5.4.3"].iter().any(|k| kind.eq_ignore_ascii_case(k))
}

/// RFC 4514 §2.4: `\,` is a comma, `\C3` a byte; older writers put quotes around a value.
fn unescape(value: &[u8]) -> Vec<u8> {
    let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    let hex = |at: usize| value.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut text, mut at) = (Vec::with_capacity(value.len()), 0);
    while let Some(&byte) = value.get(at) {
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'\\', Some(high), Some(low)) => {
                text.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'\\', ..) => {
                text.extend(value.get(at + 1));
                at += 2;
            }
            _ => {
                text.push(byte);
                at += 1;
            }
        }
    }
    text
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
pub(super) mod tests;
