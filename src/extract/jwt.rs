//! JSON Web Tokens (RFC 7519): reads their claims and says whether the signature vouches for them.
//!
//! The service decides whether a token is good; this module tells what it says and how far that can
//! be believed. A token that fails any check still names an actor, as `unverified_jwt`, with the
//! reason.
//!
//! Promises:
//! - `verified` needs: an algorithm that the rule and the very key allow (`none` is never one), a
//!   signature checked by jsonwebtoken, `exp` and `nbf` against the clock at hand, cached or not, and
//!   `iss` and `aud` where the rule names them.
//! - A token is judged by the keys in force: what was remembered under other keys is read anew.
//! - The token itself is in no result and no cache.
//!
//! A token without `exp` does not expire. Tokens with `crit` header parameters are not verified.
//! Encrypted tokens (five parts) are not read.

use super::claims::{Object, identity};
use super::jwt_cache::Cache;
use super::key_store::KeyStore;
use super::keys::{KeySet, Signed, algorithm};
use super::{Error, Flags, flags, raise};
use crate::config::{self, Claims};
use crate::pseudonym::Pseudonyms;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use sidelog_event::{Actor, ActorSource};
use std::sync::Arc;

/// A longer token is not read.
const MAX_TOKEN: usize = 64 * 1024;

/// One `jwt` rule.
#[derive(Debug)]
pub(super) struct Verifier {
    keys: Arc<KeyStore>,
    /// Empty: those of the keys.
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway: f64,
    claims: Claims,
    cache: Cache<Known>,
}

/// What is remembered of a token.
#[derive(Debug, Clone)]
struct Known {
    actor: Actor<'static>,
    flags: Flags,
    times: Times,
    /// Of the keys that judged it.
    generation: u64,
}

/// Seconds since 1970; JSON numbers, so fractions are allowed.
#[derive(Debug, Clone, Copy)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Why a token is not verified, in the words of events.
pub(super) type Reason = &'static str;

impl Verifier {
    pub fn new(rule: usize, jwt: &config::JwtRule, warnings: &mut Vec<String>) -> Result<Verifier, Error> {
        let algorithms = jwt.algorithms.iter().map(|name| allowed(rule, name)).collect::<Result<_, _>>()?;
        let keys = KeyStore::new(&jwt.jwks, warnings)
            .map_err(|why| Error::Jwks { file: jwt.jwks.name().into_owned(), why })?;
        Ok(Verifier {
            keys: Arc::new(keys),
            algorithms,
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            leeway: jwt.leeway as f64,
            claims: jwt.claims.clone(),
            cache: Cache::new(),
        })
    }

    pub fn keys(&self) -> &Arc<KeyStore> {
        &self.keys
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
        let keys = self.keys.load();
        let key = Cache::<Known>::key(token);
        let holds = |k: &Known| k.generation == keys.generation && self.in_time(k.times, now).is_ok();
        if let Some(known) = self.cache.get(&key).filter(holds) {
            known.flags.iter().for_each(|flag| raise(flags, flag));
            return Some(known.actor);
        }
        let parsed = cut(token).and_then(|(signed, payload)| Ok((signed, object(&payload)?)));
        let (signed, claims) = match parsed {
            Ok(parsed) => parsed,
            Err(Shape::Other) => return None,
            Err(Shape::Broken) => {
                raise(flags, flags::TOKEN_MALFORMED);
                return None;
            }
        };
        let mut own = Flags::new();
        let mut actor = identity(&self.claims, &claims, &mut own);
        own.iter().for_each(|flag| raise(flags, flag));
        actor.credential = pseudonyms.fingerprint(token).into();
        let verdict = self.verify(&keys, &signed, &claims, now);
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
        if let Some(times) = verdict.ok().or(keys.is_empty().then_some(Times::ALWAYS)) {
            let generation = keys.generation;
            self.cache.put(key, Known { actor: actor.clone(), flags: own, times, generation });
        }
        Some(actor)
    }

    fn verify(&self, keys: &KeySet, signed: &Signed<'_>, claims: &Object, now: f64) -> Result<Times, Reason> {
        keys.verify(signed, &self.algorithms).inspect_err(|reason| {
            if *reason == "unknown_kid" {
                self.keys.tell_missing(signed);
            }
        })?;
        let times = Times::of(claims)?;
        self.in_time(times, now)?;
        let issuer = claims.get("iss").and_then(Value::as_str);
        if self.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err("wrong_issuer");
        }
        if !self.audience.is_empty() && !self.is_for_us(claims.get("aud")) {
            return Err("wrong_audience");
        }
        Ok(times)
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
}

impl Times {
    const ALWAYS: Times = Times { exp: None, nbf: None };

    /// `exp` or `nbf` that is no number is a token we cannot judge.
    fn of(claims: &Object) -> Result<Times, Reason> {
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or("malformed"),
        };
        Ok(Times { exp: time("exp")?, nbf: time("nbf")? })
    }
}

/// Why a text is no JWT.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Not three parts: an opaque token, an encrypted one.
    Other,
    /// Three parts that do not decode.
    Broken,
}

/// A JWS in compact form (RFC 7515 §7.1): what is signed, and the payload decoded.
pub(super) fn cut(token: &[u8]) -> Result<(Signed<'_>, Vec<u8>), Shape> {
    if token.len() > MAX_TOKEN {
        return Err(Shape::Broken);
    }
    let token = std::str::from_utf8(token).map_err(|_| Shape::Other)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Shape::Other)?;
    let (header, payload) = message.split_once('.').ok_or(Shape::Other)?;
    if payload.contains('.') {
        return Err(Shape::Other);
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Shape::Broken);
    let header = object(&decode(header)?)?;
    if !header.get("alg").is_some_and(Value::is_string) {
        return Err(Shape::Broken);
    }
    Ok((Signed { header, message, signature }, decode(payload)?))
}

fn object(json: &[u8]) -> Result<Object, Shape> {
    serde_json::from_slice(json).map_err(|_| Shape::Broken)
}

fn allowed(rule: usize, name: &str) -> Result<Algorithm, Error> {
    let why = if name.eq_ignore_ascii_case("none") { "no signature at all" } else { "not known" };
    algorithm(name).ok_or_else(|| Error::Algorithm { rule, name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::Extractor;
    use crate::extract::Replaced;
    use crate::extract::jwt_vectors as vectors;
    use crate::extract::tests::{head, jwt, pseudonyms, rules};
    use crate::head::Head;
    use config::{ActorRule, Jwks, JwtRule};
    use jsonwebtoken::EncodingKey;
    use serde_json::json;
    use std::path::PathBuf;

    const NOW: u64 = 1_500_000_000;
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn with(jwks: &str) -> JwtRule {
        JwtRule { jwks: Jwks::File { path: PathBuf::from("keys.json"), text: jwks.into() }, ..jwt() }
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
                on_behalf_of: "".into(),
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

    #[test]
    fn what_was_remembered_ends_with_the_keys_that_vouched_for_it() {
        let extractor = extractor(known());
        let reason = || read_by(&extractor, vectors::RS256, NOW).0.unverified_reason.into_owned();
        assert_eq!(reason(), "");
        let keys = extractor.keys().next().unwrap();
        let all: Value = serde_json::from_str(vectors::JWKS).unwrap();
        let others = json!({"keys": [all["keys"][1], all["keys"][2]]}).to_string();
        assert_eq!(keys.replace(&others), Ok(Replaced::With { keys: 2, warnings: vec![] }));
        assert_eq!(reason(), "unknown_kid", "the key was withdrawn");
        assert_eq!(keys.replace(&others), Ok(Replaced::Same));
        for bad in ["", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}"] {
            assert!(keys.replace(bad).is_err(), "{bad}");
        }
        assert_eq!(
            read_by(&extractor, vectors::ES256, NOW).0.unverified_reason,
            "",
            "the last good ones stay"
        );
    }

    #[test]
    fn a_token_of_an_unknown_key_leaves_word_once() {
        let extractor = extractor(known());
        let told = extractor.keys().next().unwrap().listen().unwrap();
        read_by(&extractor, vectors::RS256, NOW);
        assert!(told.try_recv().is_err(), "nothing is missing");
        for i in 0..3 {
            let token = unsigned_token(&json!({"alg": "RS256", "kid": i.to_string()}), &json!({})) + ".x";
            assert_eq!(read_by(&extractor, &token, NOW).0.unverified_reason, "unknown_kid");
        }
        assert!(told.try_recv().is_ok() && told.try_recv().is_err(), "once");
        drop(extractor);
        assert!(told.recv().is_err(), "who listens learns that the rule is gone");
    }

    #[test]
    fn a_delegated_token_names_who_acts() {
        let claims = json!({"sub": "alice", "act": {"sub": "desk"}});
        let token = hs256(&json!({"alg": "HS256"}), &claims, SECRET);
        let (actor, _) = read(secret(), &token, NOW);
        assert_eq!((actor.id.as_ref(), actor.on_behalf_of.as_ref(), actor.verified), ("desk", "alice", true));
    }
}
