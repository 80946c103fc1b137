//! The keys of a JWKS document (RFC 7517) that can verify signatures, and the choice among them.
//!
//! Promises:
//! - A key is used only with algorithms of its own kind, size and, where it names one, of its name: an
//!   RSA key never checks an HMAC.
//! - Keys that vouch for nothing are left out, each with a warning that says why and shows nothing of
//!   the key: short ones, RSA moduli of the ROCA flaw, exponents that sign nothing, shared secrets that
//!   stand in one document with public keys or come from a URL, and different keys of one name.
//!
//! Refuses: curves and key types that no algorithm of ours uses.

use super::jwt::Reason;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

pub(super) const ALGORITHM_NAMES: &str =
    "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384, HS512";

/// Keys of one JWKS that are used.
const MAX_KEYS: usize = 256;
/// Keys tried for one token that does not name its key.
const MAX_TRIES: usize = 8;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// An HMAC needs a secret as long as its hash (RFC 7518 §3.2).
const HMAC: &[(Algorithm, usize)] = &[(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];

/// Where a document is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    File,
    /// What a URL serves is public: no shared secret is taken from it.
    Url,
}

/// The usable keys of one document.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    /// Which one after the other; what was remembered under another number is read anew.
    pub generation: u64,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    /// Of the key's parts, to tell a key that is listed twice from two of one name.
    material: Vec<u8>,
    kty: String,
}

impl Key {
    fn is_shared(&self) -> bool {
        self.kty == "oct"
    }
}

/// A token's part that a signature covers, and the signature.
#[derive(Debug)]
pub(super) struct Signed<'t> {
    /// The JOSE header.
    pub header: Map<String, Value>,
    /// `header.payload`, as sent.
    pub message: &'t str,
    pub signature: &'t str,
}

impl KeySet {
    /// Fails, saying why, on what is no JWKS at all.
    pub fn parse(text: &str, origin: Origin, warnings: &mut Vec<String>) -> Result<KeySet, String> {
        // Neither the text nor the parser's words, which may quote it, may get into a message.
        let document: Value = serde_json::from_str(text)
            .map_err(|e| format!("it is not JSON (line {}, column {})", e.line(), e.column()))?;
        let list = match document.get("keys") {
            Some(Value::Array(list)) => list.as_slice(),
            _ if document.get("kty").is_some() => std::slice::from_ref(&document),
            _ => return Err("it has no list `keys`".into()),
        };
        let (mut set, mut unread) = (KeySet::default(), Vec::new());
        for (i, jwk) in list.iter().enumerate() {
            if is_for_something_else(jwk) {
                continue;
            }
            let mut warn = |what: &str| {
                let kid = member(jwk, "kid").map(|kid| format!(" ({})", quoted(kid))).unwrap_or_default();
                warnings.push(format!("key {}{kid} {what}", i + 1));
            };
            if set.keys.len() == MAX_KEYS {
                warn(&format!("and those after it are not used: the limit is {MAX_KEYS} keys"));
                break;
            }
            if jwk.get("d").is_some() {
                warn("is a private key; publish and configure only the public part");
            }
            match read_key(jwk) {
                Ok(key) if key.is_shared() && origin == Origin::Url => {
                    warn("is not used: a shared secret does not belong behind a URL");
                }
                Ok(key) => set.keys.push(key),
                Err(why) => {
                    warn(&format!("is not used: {why}"));
                    unread.push((member(jwk, "kid"), member(jwk, "kty")));
                }
            }
        }
        set.part_secrets(warnings);
        set.part_namesakes(&unread, warnings);
        Ok(set)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whoever may read the public keys of a document could sign with the secret beside them.
    fn part_secrets(&mut self, warnings: &mut Vec<String>) {
        let secrets = self.keys.iter().filter(|k| k.is_shared()).count();
        if secrets > 0 && secrets < self.keys.len() {
            warnings.push("shared secrets beside public keys are not used; keep them in a file apart".into());
            self.keys.retain(|key| !key.is_shared());
        }
    }

    /// Of two keys that a token's `kid` and `alg` cannot tell apart, none can be meant. `unread`: name
    /// and type of those left out.
    fn part_namesakes(&mut self, unread: &[(Option<&str>, Option<&str>)], warnings: &mut Vec<String>) {
        let alike =
            |a: &Key, b: &Key| a.kid == b.kid && a.algorithms.iter().any(|x| b.algorithms.contains(x));
        let is_unclear = |key: &Key| {
            let named = (key.kid.as_deref(), Some(key.kty.as_str()));
            let other = self.keys.iter().any(|other| alike(key, other) && key.material != other.material);
            key.kid.is_some() && (other || unread.contains(&named))
        };
        let unclear: Vec<bool> = self.keys.iter().map(is_unclear).collect();
        if unclear.contains(&true) {
            warnings.push("different keys with one `kid` are not used: which is meant cannot be told".into());
            let mut unclear = unclear.into_iter();
            self.keys.retain(|_| !unclear.next().unwrap_or(false));
        }
    }

    /// Whether one of the keys signed this, with an algorithm that `allowed` has (empty: any that fits
    /// the key).
    pub fn verify(&self, signed: &Signed<'_>, allowed: &[Algorithm]) -> Result<(), Reason> {
        let header = |name: &str| signed.header.get(name);
        let name = header("alg").and_then(Value::as_str).unwrap_or_default();
        if name.eq_ignore_ascii_case("none") {
            return Err("alg_none");
        }
        // We understand none of them (RFC 7515 §4.1.11).
        if header("crit").is_some() {
            return Err("malformed");
        }
        if self.keys.is_empty() {
            return Err("no_key");
        }
        let algorithm = algorithm(name).ok_or("alg_not_allowed")?;
        if !allowed.is_empty() && !allowed.contains(&algorithm) {
            return Err("alg_not_allowed");
        }
        let candidates = self.candidates(header("kid").and_then(Value::as_str), algorithm)?;
        let is_by = |key: &&Key| {
            let message = signed.message.as_bytes();
            jsonwebtoken::crypto::verify(signed.signature, message, &key.key, algorithm).unwrap_or(false)
        };
        candidates.into_iter().take(MAX_TRIES).any(|key| is_by(&key)).then_some(()).ok_or("bad_signature")
    }

    /// The keys of that name; without one in the token, all. A JWKS may leave `kid` out: a token that
    /// names a key is then checked with those without a name.
    fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, Reason> {
        let mut candidates: Vec<&Key> =
            self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).collect();
        if candidates.is_empty() {
            candidates = self.keys.iter().filter(|key| key.kid.is_none()).collect();
        }
        if candidates.is_empty() {
            return Err("unknown_kid");
        }
        candidates.retain(|key| key.algorithms.contains(&algorithm));
        if candidates.is_empty() { Err("alg_not_allowed") } else { Ok(candidates) }
    }
}

pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    // RFC 9864 names the only EdDSA curve we have.
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    name.parse().ok()
}

fn is_for_something_else(jwk: &Value) -> bool {
    let operations = jwk.get("key_ops").and_then(Value::as_array);
    let verifies = |ops: &Vec<Value>| ops.iter().any(|op| op == "verify");
    member(jwk, "use").is_some_and(|u| u != "sig") || operations.is_some_and(|ops| !verifies(ops))
}

fn member<'v>(jwk: &'v Value, name: &str) -> Option<&'v str> {
    jwk.get(name).and_then(Value::as_str)
}

fn read_key(jwk: &Value) -> Result<Key, String> {
    let bytes = |name: &str| -> Result<Vec<u8>, String> {
        let text = member(jwk, name).ok_or_else(|| format!("`{name}` is missing"))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("`{name}` is not base64url without padding"))
    };
    let sized = |name: &str, size: usize| -> Result<Vec<u8>, String> {
        let bytes = bytes(name)?;
        let wrong = format!("`{name}` has {} bytes, not {size}", bytes.len());
        (bytes.len() == size).then_some(bytes).ok_or(wrong)
    };
    let (kty, crv) = (member(jwk, "kty"), member(jwk, "crv"));
    let (fits, key, material) = match (kty, crv) {
        (Some("RSA"), _) => {
            let (n, e) = (unsigned(bytes("n")?), unsigned(bytes("e")?));
            check_rsa(&n, &e)?;
            (RSA.to_vec(), DecodingKey::from_rsa_raw_components(&n, &e), [n, e].concat())
        }
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            let (size, fits) = if curve == "P-256" { (32, Algorithm::ES256) } else { (48, Algorithm::ES384) };
            let point = [vec![4], sized("x", size)?, sized("y", size)?].concat();
            (vec![fits], DecodingKey::from_ec_der(&point), point)
        }
        (Some("OKP"), Some("Ed25519")) => {
            let x = sized("x", 32)?;
            (vec![Algorithm::EdDSA], DecodingKey::from_ed_der(&x), x)
        }
        (Some("oct"), _) => {
            let secret = bytes("k")?;
            let fits: Vec<_> = HMAC.iter().filter(|(_, n)| secret.len() >= *n).map(|(a, _)| *a).collect();
            if fits.is_empty() {
                return Err("a shared secret under 32 bytes can be guessed (RFC 7518 §3.2)".into());
            }
            (fits, DecodingKey::from_secret(&secret), secret)
        }
        (Some("EC" | "OKP"), curve) => {
            return Err(format!("curve {} is not supported", quoted(curve.unwrap_or_default())));
        }
        (kty, _) => return Err(format!("key type {} is not supported", quoted(kty.unwrap_or_default()))),
    };
    let algorithms = match member(jwk, "alg") {
        None => fits,
        Some(name) => match algorithm(name).filter(|a| fits.contains(a)) {
            Some(one) => vec![one],
            None => {
                return Err(format!("algorithm {} does not fit the key or is not supported", quoted(name)));
            }
        },
    };
    let kid = member(jwk, "kid").map(str::to_owned);
    Ok(Key { kid, algorithms, key, material, kty: kty.unwrap_or_default().to_owned() })
}

/// A short piece of the document, in quotes.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

/// A big-endian number without leading zeros, as the RSA check wants it.
fn unsigned(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|b| *b == 0).collect()
}

fn check_rsa(n: &[u8], e: &[u8]) -> Result<(), String> {
    if !(256..=1024).contains(&n.len()) {
        return Err(format!("an RSA modulus has 2048 to 8192 bits, this one {}", n.len() * 8));
    }
    // With 1 every text is its own signature.
    if matches!(e, [] | [1]) || e.last().is_some_and(|b| b % 2 == 0) {
        return Err("its exponent signs nothing".into());
    }
    if has_roca(n) {
        return Err("it was made by a chip with the ROCA flaw: others can compute its private key".into());
    }
    Ok(())
}

/// Moduli of the flawed generator (CVE-2017-15361) are powers of 65537 modulo every small prime; those
/// of others are so by a chance of about one in 10^8.
fn has_roca(n: &[u8]) -> bool {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
        103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];
    PRIMES.iter().all(|p| {
        let rest = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % p);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65_537 % p));
        powers.take(*p as usize).any(|power| power == rest)
    })
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
