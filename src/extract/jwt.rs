//! JSON Web Tokens (RFC 7519): reads their claims and says whether the signature vouches for them.
//!
//! The service decides whether a token is good; this module tells what it says and how far that can
//! be believed. A token that fails any check still names an actor, as `unverified_jwt`, with the
//! reason.
//!
//! Promises:
//! - `verified` needs: an algorithm that the rule and the very key allow (so an RSA key never checks
//!   an HMAC, and `none` is never one), a signature checked by jsonwebtoken, `exp` and `nbf` against
//!   the clock at hand, cached or not, and `iss` and `aud` where the rule names them.
//! - The token itself is in no result and no cache.
//!
//! A token without `exp` does not expire. Tokens with `crit` header parameters are not verified: we
//! understand none (RFC 7515 §4.1.11). Encrypted tokens (five parts) are not read.

use super::actor::{MAX_ROLES, anonymous, roles, tell};
use super::jwt_cache::Cache;
use super::{Error, Flags, flags, raise};
use crate::config::{self, Claims};
use crate::pseudonym::Pseudonyms;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use sidelog_event::{Actor, ActorSource};
use std::borrow::Cow;

pub(super) const ALGORITHM_NAMES: &str =
    "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, HS256, HS384, HS512";

/// A longer token is not read.
const MAX_TOKEN: usize = 64 * 1024;
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
const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// One `jwt` rule.
#[derive(Debug)]
pub(super) struct Verifier {
    keys: Vec<Key>,
    /// Empty: those of the keys.
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway: f64,
    claims: Claims,
    cache: Cache<Known>,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// What is remembered of a token.
#[derive(Debug, Clone)]
struct Known {
    actor: Actor<'static>,
    flags: Flags,
    times: Times,
}

/// Seconds since 1970; JSON numbers, so fractions are allowed.
#[derive(Debug, Clone, Copy)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// A token cut at its dots and decoded.
struct Token<'t> {
    /// `header.claims`, what is signed.
    message: &'t str,
    signature: &'t str,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

type Reason = &'static str;

impl Verifier {
    pub fn new(rule: usize, jwt: &config::JwtRule, warnings: &mut Vec<String>) -> Result<Verifier, Error> {
        let algorithms = jwt.algorithms.iter().map(|name| allowed(rule, name)).collect::<Result<_, _>>()?;
        let mut keys = Vec::new();
        if let Some((path, text)) = &jwt.jwks {
            let file = path.display().to_string();
            keys = read_keys(&file, text, warnings)?;
            if keys.is_empty() {
                warnings.push(format!("{file}: no usable key; every token is recorded as unverified"));
            }
        }
        Ok(Verifier {
            keys,
            algorithms,
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            leeway: jwt.leeway as f64,
            claims: jwt.claims.clone(),
            cache: Cache::new(),
        })
    }

    /// `None` when the text is no JWT. `now`: seconds since 1970.
    pub fn read(
        &self,
        token: &[u8],
        now: u64,
        pseudonyms: &Pseudonyms,
        flags: &mut Flags,
    ) -> Option<Actor<'static>> {
        let now = now as f64;
        let key = Cache::<Known>::key(token);
        if let Some(known) = self.cache.get(&key).filter(|known| self.in_time(known.times, now).is_ok()) {
            known.flags.iter().for_each(|flag| raise(flags, flag));
            return Some(known.actor);
        }
        let parsed = match parse(token) {
            Ok(parsed) => parsed,
            Err(Shape::Other) => return None,
            Err(Shape::Broken) => {
                raise(flags, flags::TOKEN_MALFORMED);
                return None;
            }
        };
        let mut own = Flags::new();
        let mut actor = self.identity(&parsed.claims, &mut own);
        own.iter().for_each(|flag| raise(flags, flag));
        actor.credential = pseudonyms.fingerprint(token).into();
        let verdict = self.verify(&parsed, now);
        match verdict {
            Ok(_) => {
                actor.source = ActorSource::VerifiedJwt;
                actor.verified = true;
            }
            Err(reason) => {
                actor.source = ActorSource::UnverifiedJwt;
                actor.unverified_reason = reason.into();
            }
        }
        // With keys, only what they vouch for is remembered, or forged tokens could push that out.
        // Without, time changes nothing about a token.
        if let Some(times) = verdict.ok().or(self.keys.is_empty().then_some(Times::ALWAYS)) {
            self.cache.put(key, Known { actor: actor.clone(), flags: own, times });
        }
        Some(actor)
    }

    fn verify(&self, token: &Token<'_>, now: f64) -> Result<Times, Reason> {
        let name = token.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        if name.eq_ignore_ascii_case("none") {
            return Err("alg_none");
        }
        if token.header.contains_key("crit") {
            return Err("malformed");
        }
        if self.keys.is_empty() {
            return Err("no_key");
        }
        self.verify_signature(token, name)?;
        let times = Times::of(&token.claims)?;
        self.in_time(times, now)?;
        let issuer = token.claims.get("iss").and_then(Value::as_str);
        if self.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err("wrong_issuer");
        }
        if !self.audience.is_empty() && !self.is_for_us(token.claims.get("aud")) {
            return Err("wrong_audience");
        }
        Ok(times)
    }

    fn verify_signature(&self, token: &Token<'_>, name: &str) -> Result<(), Reason> {
        let algorithm = algorithm(name).ok_or("alg_not_allowed")?;
        if !self.algorithms.is_empty() && !self.algorithms.contains(&algorithm) {
            return Err("alg_not_allowed");
        }
        let kid = token.header.get("kid").and_then(Value::as_str);
        let named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        // A JWKS may leave `kid` out; a token that names a key is then checked with those.
        let nameless = |key: &&Key| key.kid.is_none();
        let mut candidates: Vec<&Key> = self.keys.iter().filter(named).collect();
        if candidates.is_empty() {
            candidates = self.keys.iter().filter(nameless).collect();
        }
        if candidates.is_empty() {
            return Err("unknown_kid");
        }
        candidates.retain(|key| key.algorithms.contains(&algorithm));
        if candidates.is_empty() {
            return Err("alg_not_allowed");
        }
        let signed = |key: &&Key| {
            let checked =
                jsonwebtoken::crypto::verify(token.signature, token.message.as_bytes(), &key.key, algorithm);
            checked.unwrap_or(false)
        };
        candidates.iter().take(MAX_TRIES).any(signed).then_some(()).ok_or("bad_signature")
    }

    fn in_time(&self, times: Times, now: f64) -> Result<(), Reason> {
        if times.exp.is_some_and(|exp| now >= exp + self.leeway) {
            return Err("expired");
        }
        if times.nbf.is_some_and(|nbf| now + self.leeway < nbf) {
            return Err("not_yet_valid");
        }
        Ok(())
    }

    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let ours = |value: &Value| value.as_str().is_some_and(|a| self.audience.iter().any(|o| o == a));
        match audience {
            Some(Value::Array(list)) => list.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        }
    }

    fn identity(&self, claims: &Map<String, Value>, flags: &mut Flags) -> Actor<'static> {
        let names = &self.claims;
        let mut text = |name: Option<&str>| -> Cow<'static, str> {
            match name.and_then(|name| claim(claims, name)) {
                Some(Value::String(text)) => tell(text.as_bytes(), flags).into(),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                    tell(value.to_string().as_bytes(), flags).into()
                }
                _ => "".into(),
            }
        };
        Actor {
            id: text(Some(&names.id)),
            name: text(Some(&names.name)),
            kind: text(names.kind.as_deref()),
            tenant: text(names.tenant.as_deref()),
            roles: self.roles(claims, flags),
            ..anonymous()
        }
    }

    /// A list of strings, or one string with spaces or commas between (`scope`).
    fn roles(&self, claims: &Map<String, Value>, flags: &mut Flags) -> Vec<Cow<'static, str>> {
        match self.claims.roles.as_deref().and_then(|name| claim(claims, name)) {
            Some(Value::Array(list)) => {
                let texts = list.iter().filter_map(Value::as_str).take(MAX_ROLES + 1);
                roles(texts.map(str::as_bytes), flags)
            }
            Some(Value::String(text)) => roles(text.split([' ', ',']).map(str::as_bytes), flags),
            _ => Vec::new(),
        }
    }
}

impl Times {
    const ALWAYS: Times = Times { exp: None, nbf: None };

    /// `exp` or `nbf` that is no number is a token we cannot judge.
    fn of(claims: &Map<String, Value>) -> Result<Times, Reason> {
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or("malformed"),
        };
        Ok(Times { exp: time("exp")?, nbf: time("nbf")? })
    }
}

/// Why a text is no JWT.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// Not three parts: an opaque token, an encrypted one.
    Other,
    /// Three parts that do not decode.
    Broken,
}

fn parse(token: &[u8]) -> Result<Token<'_>, Shape> {
    if token.len() > MAX_TOKEN {
        return Err(Shape::Broken);
    }
    let token = std::str::from_utf8(token).map_err(|_| Shape::Other)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Shape::Other)?;
    let (header, claims) = message.split_once('.').ok_or(Shape::Other)?;
    if claims.contains('.') {
        return Err(Shape::Other);
    }
    let object = |part: &str| -> Option<Map<String, Value>> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let header =
        object(header).filter(|h| h.get("alg").is_some_and(Value::is_string)).ok_or(Shape::Broken)?;
    let claims = object(claims).ok_or(Shape::Broken)?;
    Ok(Token { message, signature, header, claims })
}

/// A claim by its whole name, else by the parts between its dots: names may have dots of their own
/// (`https://example.com/roles`).
fn claim<'v>(claims: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    claims.get(name).or_else(|| {
        name.match_indices('.').find_map(|(at, _)| {
            let (outer, inner) = (name.get(..at)?, name.get(at + 1..)?);
            claim(claims.get(outer)?.as_object()?, inner)
        })
    })
}

fn algorithm(name: &str) -> Option<Algorithm> {
    // RFC 9864 names the only EdDSA curve we have.
    let name = if name == "Ed25519" { "EdDSA" } else { name };
    name.parse().ok()
}

fn allowed(rule: usize, name: &str) -> Result<Algorithm, Error> {
    let why = if name.eq_ignore_ascii_case("none") { "no signature at all" } else { "not known" };
    algorithm(name).ok_or_else(|| Error::Algorithm { rule, name: name.to_owned(), why })
}

/// The keys of a JWKS that can verify signatures; for each other one a warning that says why, but for
/// those meant for encryption.
fn read_keys(file: &str, text: &str, warnings: &mut Vec<String>) -> Result<Vec<Key>, Error> {
    let error = |why: String| Error::Jwks { file: file.to_owned(), why };
    let document: Value = serde_json::from_str(text).map_err(|e| error(e.to_string()))?;
    let list = match document.get("keys") {
        Some(Value::Array(list)) => list.as_slice(),
        _ if document.get("kty").is_some() => std::slice::from_ref(&document),
        _ => return Err(error("it has no list `keys`".into())),
    };
    let mut keys = Vec::new();
    for (i, jwk) in list.iter().enumerate() {
        if is_for_something_else(jwk) {
            continue;
        }
        let mut warn = |what: &str| {
            let kid = member(jwk, "kid").map(|kid| format!(" ({kid:?})")).unwrap_or_default();
            warnings.push(format!("{file}: key {}{kid} {what}", i + 1));
        };
        if keys.len() == MAX_KEYS {
            warn(&format!("and those after it are not used: the limit is {MAX_KEYS} keys"));
            break;
        }
        if jwk.get("d").is_some() {
            warn("is a private key; publish and configure only the public part");
        }
        match read_key(jwk) {
            Ok(key) => keys.push(key),
            Err(why) => warn(&format!("is not used: {why}")),
        }
    }
    Ok(keys)
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
    let (fits, key): (&[Algorithm], DecodingKey) = match (member(jwk, "kty"), member(jwk, "crv")) {
        (Some("RSA"), _) => {
            let (n, e) = (unsigned(bytes("n")?), unsigned(bytes("e")?));
            if !(256..=1024).contains(&n.len()) {
                return Err(format!("an RSA modulus has 2048 to 8192 bits, this one {}", n.len() * 8));
            }
            (RSA, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            let (size, fits): (_, &[Algorithm]) =
                if curve == "P-256" { (32, &[Algorithm::ES256]) } else { (48, &[Algorithm::ES384]) };
            let point = [vec![4], sized("x", size)?, sized("y", size)?].concat();
            (fits, DecodingKey::from_ec_der(&point))
        }
        (Some("OKP"), Some("Ed25519")) => (&[Algorithm::EdDSA], DecodingKey::from_ed_der(&sized("x", 32)?)),
        (Some("oct"), _) => {
            let secret = bytes("k")?;
            if secret.len() < 32 {
                return Err("a shared secret under 32 bytes can be guessed (RFC 7518 §3.2)".into());
            }
            (HMAC, DecodingKey::from_secret(&secret))
        }
        (Some("EC" | "OKP"), curve) => return Err(format!("curve {curve:?} is not supported")),
        (kty, _) => return Err(format!("key type {kty:?} is not supported")),
    };
    let algorithms = match member(jwk, "alg") {
        None => fits.to_vec(),
        Some(name) => match algorithm(name).filter(|a| fits.contains(a)) {
            Some(one) => vec![one],
            None => return Err(format!("algorithm {name:?} does not fit the key or is not supported")),
        },
    };
    Ok(Key { kid: member(jwk, "kid").map(str::to_owned), algorithms, key })
}

/// A big-endian number without leading zeros, as the RSA check wants it.
fn unsigned(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|b| *b == 0).collect()
}

#[cfg(test)]
#[path = "jwt_vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::Extractor;
    use crate::extract::tests::{head, jwt, pseudonyms, rules};
    use crate::head::Head;
    use config::{ActorRule, JwtRule};
    use jsonwebtoken::EncodingKey;
    use serde_json::json;
    use std::path::PathBuf;

    const NOW: u64 = 1_500_000_000;
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn with(jwks: &str) -> JwtRule {
        JwtRule { jwks: Some((PathBuf::from("keys.json"), jwks.into())), ..jwt() }
    }

    fn known() -> JwtRule {
        with(vectors::JWKS)
    }

    fn secret() -> JwtRule {
        let k = URL_SAFE_NO_PAD.encode(SECRET);
        with(&json!({"keys": [{"kty": "oct", "kid": "s", "k": k}]}).to_string())
    }

    fn extractor(rule: JwtRule) -> Extractor {
        rules(&[ActorRule::Jwt(rule)])
    }

    fn read_by(extractor: &Extractor, token: &str, now: u64) -> (Actor<'static>, Flags) {
        let (raw, index) = head("POST", "/", &[("Authorization", &format!("Bearer {token}"))]);
        extractor.actor_at(&Head { raw: &raw, index: &index }, &"192.0.2.1".parse().unwrap(), now)
    }

    fn read(rule: JwtRule, token: &str, now: u64) -> (Actor<'static>, Flags) {
        read_by(&extractor(rule), token, now)
    }

    /// `""` when verified, else the reason.
    fn verdict(rule: JwtRule, token: &str, now: u64) -> String {
        let (actor, _) = read(rule, token, now);
        let source = if actor.verified { ActorSource::VerifiedJwt } else { ActorSource::UnverifiedJwt };
        assert_eq!(actor.source, source, "{actor:?}");
        assert_eq!(actor.verified, actor.unverified_reason.is_empty());
        actor.unverified_reason.into_owned()
    }

    fn unsigned_token(header: &Value, claims: &Value) -> String {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        format!("{}.{}", part(header), part(claims))
    }

    fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
        let message = unsigned_token(header, claims);
        let key = EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn every_kind_of_key_verifies() {
        for token in [vectors::RS256, vectors::PS256, vectors::ES256, vectors::ES384, vectors::EDDSA] {
            let (actor, flags) = read(known(), token, NOW);
            let expected = Actor {
                id: "alice".into(),
                name: "Alice A.".into(),
                kind: "user".into(),
                tenant: "acme".into(),
                roles: vec!["admin".into(), "dev".into()],
                source: ActorSource::VerifiedJwt,
                verified: true,
                unverified_reason: "".into(),
                credential: pseudonyms().fingerprint(token.as_bytes()).into(),
            };
            assert_eq!((actor, flags), (expected, vec![]));
        }
        let token = hs256(&json!({"alg": "HS256", "kid": "s"}), &json!({"sub": "bob"}), SECRET);
        assert_eq!(verdict(secret(), &token, NOW), "", "and without `exp` it does not expire");
    }

    #[test]
    fn no_part_of_a_token_is_in_the_result() {
        let (actor, _) = read(known(), vectors::RS256, NOW);
        let all = format!("{actor:?}");
        assert!(vectors::RS256.split('.').all(|part| !all.contains(part)));
    }

    #[test]
    fn without_keys_nothing_is_verified() {
        assert_eq!(verdict(jwt(), vectors::RS256, NOW), "no_key");
        assert_eq!(verdict(with("{\"keys\":[]}"), vectors::RS256, NOW), "no_key");
        assert_eq!(read(jwt(), vectors::RS256, NOW).0.id, "alice", "but told");
    }

    #[test]
    fn alg_none_in_every_spelling() {
        for none in ["none", "None", "NONE", "nOnE"] {
            let token = unsigned_token(&json!({"alg": none}), &json!({"sub": "admin"})) + ".";
            for rule in [jwt(), known()] {
                let (actor, _) = read(rule, &token, NOW);
                assert_eq!((actor.id.as_ref(), actor.verified), ("admin", false));
                assert_eq!(
                    (actor.source, actor.unverified_reason.as_ref()),
                    (ActorSource::UnverifiedJwt, "alg_none")
                );
            }
        }
    }

    #[test]
    fn a_stripped_or_changed_signature() {
        let (message, signature) = vectors::RS256.rsplit_once('.').unwrap();
        assert_eq!(verdict(known(), &format!("{message}."), NOW), "bad_signature");
        let other = if signature.starts_with('A') { 'B' } else { 'A' };
        let changed = format!("{message}.{other}{}", signature.get(1..).unwrap());
        assert_eq!(verdict(known(), &changed, NOW), "bad_signature");
        assert_eq!(verdict(known(), &format!("{message}.!!"), NOW), "bad_signature");
        let claims = unsigned_token(&json!({"alg": "RS256", "kid": "rsa"}), &json!({"sub": "admin"}));
        assert_eq!(verdict(known(), &format!("{claims}.{signature}"), NOW), "bad_signature");
    }

    /// The public key's bytes, in the forms an attacker may have them, as an HMAC secret.
    #[test]
    fn an_rsa_key_never_checks_an_hmac() {
        let jwks: Value = serde_json::from_str(vectors::JWKS).unwrap();
        let n = jwks["keys"][0]["n"].as_str().unwrap();
        for secret in [URL_SAFE_NO_PAD.decode(n).unwrap(), n.as_bytes().to_vec(), vectors::JWKS.into()] {
            for header in [json!({"alg": "HS256", "kid": "rsa"}), json!({"alg": "HS256"})] {
                let token = hs256(&header, &json!({"sub": "admin"}), &secret);
                assert_eq!(verdict(known(), &token, NOW), "alg_not_allowed");
            }
        }
    }

    #[test]
    fn only_algorithms_of_the_rule_and_of_the_key() {
        let only = |names: &[&str]| JwtRule {
            algorithms: names.iter().map(|n| (*n).to_owned()).collect(),
            ..known()
        };
        assert_eq!(verdict(only(&["ES256"]), vectors::RS256, NOW), "alg_not_allowed");
        assert_eq!(verdict(only(&["ES256", "RS256"]), vectors::RS256, NOW), "");
        let message =
            |alg: &str, kid: &str| unsigned_token(&json!({"alg": alg, "kid": kid}), &json!({})) + ".x";
        for (alg, kid) in
            [("ES256", "p384"), ("ES384", "p256"), ("RS256", "ed"), ("ES512", "p256"), ("X", "rsa")]
        {
            assert_eq!(verdict(known(), &message(alg, kid), NOW), "alg_not_allowed", "{alg} {kid}");
        }
    }

    #[test]
    fn keys_are_chosen_by_kid() {
        let claims = json!({"sub": "bob"});
        let token = |header: Value| hs256(&header, &claims, SECRET);
        assert_eq!(verdict(secret(), &token(json!({"alg": "HS256", "kid": "t"})), NOW), "unknown_kid");
        assert_eq!(verdict(secret(), &token(json!({"alg": "HS256"})), NOW), "", "no kid: those that fit");
        let nameless = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}).to_string();
        let named = token(json!({"alg": "HS256", "kid": "t"}));
        assert_eq!(verdict(with(&nameless), &named, NOW), "", "a key without kid, as a lone JWK");
    }

    #[test]
    fn times_issuer_and_audience() {
        let rule = |leeway| JwtRule { leeway, ..known() };
        let at = |rule, now| verdict(rule, vectors::ES256, now);
        assert_eq!(at(rule(0), 999_999_999), "not_yet_valid");
        assert_eq!(at(rule(0), 1_000_000_000), "");
        assert_eq!(at(rule(60), 999_999_940), "");
        assert_eq!(at(rule(0), 1_999_999_999), "");
        assert_eq!(at(rule(0), 2_000_000_000), "expired");
        assert_eq!(at(rule(60), 2_000_000_059), "");
        assert_eq!(at(rule(60), 2_000_000_060), "expired");
        let issued = |issuer: &str| JwtRule { issuer: Some(issuer.into()), ..known() };
        assert_eq!(at(issued("https://issuer.example"), NOW), "");
        assert_eq!(at(issued("https://issuer.example/"), NOW), "wrong_issuer");
        let audience =
            |a: &[&str]| JwtRule { audience: a.iter().map(|a| (*a).to_owned()).collect(), ..known() };
        assert_eq!(at(audience(&["x", "billing"]), NOW), "");
        assert_eq!(at(audience(&["x"]), NOW), "wrong_audience");
    }

    #[test]
    fn claims_that_are_missing_or_odd() {
        let signed = |claims: Value| hs256(&json!({"alg": "HS256"}), &claims, SECRET);
        let strict = || JwtRule { issuer: Some("i".into()), audience: vec!["a".into()], ..secret() };
        for (claims, reason) in [
            (json!({"aud": "a"}), "wrong_issuer"),
            (json!({"iss": ["i"], "aud": "a"}), "wrong_issuer"),
            (json!({"iss": "i"}), "wrong_audience"),
            (json!({"iss": "i", "aud": 1}), "wrong_audience"),
            (json!({"iss": "i", "aud": "a"}), ""),
            (json!({"iss": "i", "aud": "a", "exp": "2000000000"}), "malformed"),
            (json!({"iss": "i", "aud": "a", "nbf": {}}), "malformed"),
            (json!({"iss": "i", "aud": "a", "exp": 1500000000.5}), ""),
            (json!({"iss": "i", "aud": "a", "exp": -1}), "expired"),
            (json!({"iss": "i", "aud": "a", "exp": 0}), "expired"),
        ] {
            assert_eq!(verdict(strict(), &signed(claims.clone()), NOW), reason, "{claims}");
        }
        let crit = hs256(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &json!({}), SECRET);
        assert_eq!(verdict(secret(), &crit, NOW), "malformed");
    }

    #[test]
    fn a_remembered_token_still_expires() {
        let extractor = extractor(known());
        let reason = |now| read_by(&extractor, vectors::RS256, now).0.unverified_reason.into_owned();
        assert_eq!(reason(NOW), "");
        let Some(crate::extract::actor::Rule::Jwt { verifier, .. }) = extractor.rules.first() else {
            panic!()
        };
        let key = Cache::<Known>::key(vectors::RS256.as_bytes());
        assert!(verifier.cache.get(&key).is_some(), "it is remembered");
        assert_eq!(reason(1_999_999_999), "");
        assert_eq!(reason(2_000_000_000), "expired");
        assert_eq!(reason(999_999_999), "not_yet_valid");
        assert_eq!(reason(NOW), "");
    }

    #[test]
    fn without_keys_what_is_remembered_stays_unverified() {
        let extractor = extractor(jwt());
        for now in [NOW, NOW, 2_000_000_000] {
            let (actor, _) = read_by(&extractor, vectors::RS256, now);
            assert_eq!((actor.id.as_ref(), actor.verified), ("alice", false));
            assert_eq!(actor.unverified_reason, "no_key");
        }
    }

    #[test]
    fn a_failed_token_is_not_remembered() {
        let extractor = extractor(known());
        let token = format!("{}.", vectors::RS256.rsplit_once('.').unwrap().0);
        for _ in 0..2 {
            assert_eq!(read_by(&extractor, &token, NOW).0.unverified_reason, "bad_signature");
        }
        let Some(crate::extract::actor::Rule::Jwt { verifier, .. }) = extractor.rules.first() else {
            panic!()
        };
        assert!(verifier.cache.get(&Cache::<Known>::key(token.as_bytes())).is_none());
    }

    #[test]
    fn a_remembered_token_keeps_its_flags() {
        let extractor = extractor(secret());
        let token = hs256(&json!({"alg": "HS256"}), &json!({"sub": "x".repeat(9000)}), SECRET);
        for _ in 0..2 {
            let (actor, flags) = read_by(&extractor, &token, NOW);
            assert_eq!((actor.id.len(), flags), (256, vec![flags::ACTOR_TRUNCATED]));
        }
    }

    #[test]
    fn what_is_no_jwt_is_left_to_the_next_rule() {
        for (token, flagged) in [
            ("opaque", false),
            ("a.b", false),
            ("a.b.c.d.e", false),
            ("!.!.!", true),
            ("e30.e30.x", true),
            ("W10.W10.x", true),
            ("..", true),
        ] {
            let given = [ActorRule::Jwt(jwt()), ActorRule::ApiKey { header: "Authorization".into() }];
            let (actor, flags) = read_by(&rules(&given), token, NOW);
            assert_eq!(actor.source, ActorSource::ApiKey, "{token}");
            assert_eq!(flags.contains(&flags::TOKEN_MALFORMED), flagged, "{token}");
        }
        let long = format!("a.{}.c", "b".repeat(MAX_TOKEN));
        assert_eq!(read(jwt(), &long, NOW).0.source, ActorSource::Anonymous);
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let deep =
            format!("{}.{}.x", URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}"), URL_SAFE_NO_PAD.encode(deep));
        assert_eq!(read(jwt(), &deep, NOW).1, [flags::TOKEN_MALFORMED]);
    }

    #[test]
    fn two_tokens_are_nobody() {
        let (raw, index) =
            head("POST", "/", &[("Authorization", "Bearer a.b.c"), ("Authorization", "Bearer d.e.f")]);
        let given = [ActorRule::Jwt(known()), ActorRule::Basic];
        let peer = "192.0.2.1".parse().unwrap();
        let (actor, flags) = rules(&given).actor_at(&Head { raw: &raw, index: &index }, &peer, NOW);
        assert_eq!((actor.source, flags), (ActorSource::Anonymous, vec![flags::ACTOR_AMBIGUOUS]));
        let (actor, flags) = read(known(), &format!("{0}, Bearer {0}", vectors::RS256), NOW);
        assert_eq!((actor.source, flags), (ActorSource::Anonymous, vec![flags::ACTOR_AMBIGUOUS]));
    }

    #[test]
    fn from_another_header_with_or_without_a_scheme() {
        let given = [ActorRule::Jwt(JwtRule { header: "X-Jwt".into(), ..known() })];
        for value in [vectors::ES256.to_owned(), format!("bearer {}", vectors::ES256)] {
            let (raw, index) = head("GET", "/", &[("x-jwt", &value)]);
            let peer = "192.0.2.1".parse().unwrap();
            let (actor, _) = rules(&given).actor_at(&Head { raw: &raw, index: &index }, &peer, NOW);
            assert!(actor.verified);
        }
    }

    #[test]
    fn claims_by_dotted_names() {
        let claims = json!({"a": {"b": {"c": 1}}, "a.b": {"d": 2}, "x.y": 3});
        let claims = claims.as_object().unwrap();
        let of = |name| claim(claims, name).and_then(Value::as_i64);
        assert_eq!((of("a.b.c"), of("a.b.d"), of("x.y")), (Some(1), Some(2), Some(3)));
        assert_eq!((of("a.c"), of(""), of("."), of("a.b.c.d")), (None, None, None, None));
    }

    #[test]
    fn roles_in_every_form() {
        let rule = || JwtRule { claims: Claims { roles: Some("r".into()), ..jwt().claims }, ..jwt() };
        let roles = |claims: Value| {
            let token = unsigned_token(&json!({"alg": "RS256"}), &claims) + ".x";
            read(rule(), &token, NOW).0.roles.join("|")
        };
        assert_eq!(roles(json!({"r": ["a", 1, "b c"]})), "a|b c");
        assert_eq!(roles(json!({"r": "a b,c"})), "a|b|c");
        assert_eq!(roles(json!({"r": 5})), "");
        let many: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        assert_eq!(roles(json!({"r": many})).split('|').count(), MAX_ROLES);
    }

    #[test]
    fn unusable_keys_are_told_and_passed_over() {
        let good = &serde_json::from_str::<Value>(vectors::JWKS).unwrap()["keys"][3];
        let short = URL_SAFE_NO_PAD.encode(b"short");
        let jwks = json!({"keys": [
            {"kty": "EC", "crv": "P-521", "kid": "big", "x": "", "y": ""},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
            {"kty": "oct", "k": short},
            {"kty": "RSA", "use": "enc"},
            {"kty": "OKP", "crv": "Ed25519", "x": "not base64!"},
            {"kty": "RSA", "alg": "HS256", "n": vectors::RS256.replace('.', "")},
            7,
            good,
        ]});
        let rule = with(&jwks.to_string());
        let extractor = extractor(rule.clone());
        let warnings = extractor.warnings().join("\n");
        assert_eq!(extractor.warnings().len(), 6, "{warnings}");
        assert!(warnings.contains("keys.json: key 1 (\"big\") is not used: curve"), "{warnings}");
        assert!(!warnings.contains(&short), "{warnings}");
        assert_eq!(verdict(rule, vectors::EDDSA, NOW), "");
        let none = self::extractor(with("{\"keys\":[]}"));
        assert!(none.warnings().join("").contains("no usable key"));
    }

    #[test]
    fn what_is_no_jwks_and_what_must_not_be_allowed_is_refused() {
        let new = |rule| {
            Extractor::new(&[ActorRule::Jwt(rule)], &config::ClientIp::default(), pseudonyms())
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        for bad in ["", "[]", "{}", "{\"keys\":{}}", "-----BEGIN PUBLIC KEY-----"] {
            assert!(new(with(bad)).starts_with("keys.json: not a JWKS: "), "{bad}");
        }
        for bad in ["none", "None", "RS1", ""] {
            let message = new(JwtRule { algorithms: vec![bad.into()], ..known() });
            assert!(message.starts_with("actor rule 1: algorithm"), "{message}");
        }
    }

    /// Not a benchmark, figures: `cargo test --release -- --ignored --nocapture cost`.
    #[test]
    #[ignore = "prints figures"]
    fn cost_of_a_call() {
        let time = |name: &str, rule: JwtRule, token: &str| {
            let extractor = extractor(rule);
            let (raw, index) = head(
                "POST",
                "/v1/orders",
                &[
                    ("Host", "orders.example"),
                    ("User-Agent", "curl/8"),
                    ("Accept", "*/*"),
                    ("Content-Type", "application/json"),
                    ("Content-Length", "1024"),
                    ("Connection", "keep-alive"),
                    ("X-Request-Id", "abc"),
                    ("Authorization", &format!("Bearer {token}")),
                    ("X-Forwarded-For", "7.7.7.7"),
                ],
            );
            let head = Head { raw: &raw, index: &index };
            let peer = "192.0.2.1".parse().unwrap();
            let begun = crate::extract::cpu_nanos();
            for _ in 0..50_000 {
                std::hint::black_box(extractor.actor_at(std::hint::black_box(&head), &peer, NOW));
            }
            println!("{name}: {} ns", (crate::extract::cpu_nanos() - begun) / 50_000);
        };
        let stripped = |t: &str| format!("{}.AAAA", t.rsplit_once('.').unwrap().0);
        time("remembered", known(), vectors::RS256);
        time("no keys", jwt(), vectors::RS256);
        time("bad RS256 signature of a wrong length", known(), &stripped(vectors::RS256));
        let full = format!("{}.{}", stripped(vectors::RS256).rsplit_once('.').unwrap().0, "A".repeat(342));
        time("bad RS256 signature", known(), &full);
        let full =
            format!("{}.{}", stripped(vectors::ES256).rsplit_once('.').unwrap().0, "QUFB".repeat(21) + "QQ");
        time("bad ES256 signature", known(), &full);
        time("no token", known(), "opaque");
    }
}
