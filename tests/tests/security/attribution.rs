//! By whom and from where: an identity is worth what vouches for it, and no more.
//!
//! One configuration reads every source: tokens with keys, tokens without, a header that trusted
//! proxies set, Basic, and a chain of forwarding proxies.

use crate::fixture::{Fixture, PROXIES};
use crate::group::{InCode, Outcome};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

pub const IN_CODE: &[InCode] = &[(78, cookies_and_certificates)];

const ISSUER: &str = "https://issuer.example/";
/// Signs what is signed well: a symmetric key serves where only the reading is tested.
const SHARED_KEY: &[u8] = b"a symmetric key of thirty-two by";
/// The public half of a key whose other half nobody has.
const MODULUS: &str = "3PqAwRkLC6x1xr79y6BvlqnWWuFmLJff6cuneujm_Yan0URYI_3zX7d82EaLFwUXPuu4Aqr0D39Yeu81YNj3NqB\
    -XSLHEQQhLJ0agmaJfV2-azr0teuA5wUmFwFgI3pRgkVymyL21G3I389bM67DtuuThpdnwIjUyeUe5G4J835N6hu0OnJpECGLHfwZxPPNJoj6\
    FIbPsKFfZbmUgYiqLF8hbScvuwarGfDEjGhUC7w21sxxQutRJs8vtEaRrQ8atiFE8QcrksayLDD5RZWUHBaAzZraHxVDF2d8KopWG_Bj6DcZI\
    GVleF690iOCT_P002_zbG2v-SSFCM1qU2QV0w";

pub fn start() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let keys = json!({"keys": [
        {"kty": "oct", "kid": "shared", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SHARED_KEY)},
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": MODULUS, "e": "AQAB"},
    ]});
    std::fs::write(dir.path().join("keys.json"), keys.to_string()).unwrap();
    let yaml = format!(
        "actor:
  - jwt: {{header: Authorization, jwks_file: keys.json, issuer: '{ISSUER}', audience: [orders]}}
  - jwt: {{header: X-Token}}
  - header: {{id: X-User, trusted_from: [{PROXIES}]}}
  - basic: {{}}
client_ip: {{header: X-Forwarded-For, trusted_proxies: [{PROXIES}]}}
"
    );
    let mut fixture = Fixture::start_in(dir, &yaml);
    let secret = fixture.canary.secret("token");
    fixture.words.extend(tokens(&secret));
    let basic = STANDARD.encode(format!("u:{}", fixture.canary.secret("basic")));
    fixture.words.push(("BASIC".into(), basic));
    fixture
}

/// One token for each thing that can be wrong. Each carries a secret, so that a piece of it is found.
fn tokens(secret: &str) -> Vec<(String, String)> {
    let good = json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "exp": 4_000_000_000_u64, "secret": secret,
    });
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let shared = json!({"alg": "HS256", "kid": "shared"});
    let sign = |claims: &Value| token(&shared, claims, SHARED_KEY);
    let named = |kid: &str| json!({"alg": "HS256", "kid": kid});
    let admin = but("sub", "admin".into());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{MODULUS}\n-----END PUBLIC KEY-----\n");
    let unsigned = |header: &Value| {
        let signed = token(header, &admin, SHARED_KEY);
        format!("{}.", signed.rsplit_once('.').unwrap().0)
    };
    [
        ("JWT_GOOD", sign(&good)),
        ("JWT_NONE", unsigned(&json!({"alg": "none"}))),
        ("JWT_STRIPPED", unsigned(&shared)),
        ("JWT_EXPIRED", sign(&but("exp", 1_000_000_000.into()))),
        ("JWT_EARLY", sign(&but("nbf", 3_900_000_000_u64.into()))),
        ("JWT_AUDIENCE", sign(&but("aud", "billing".into()))),
        ("JWT_ISSUER", sign(&but("iss", "https://evil.example/".into()))),
        ("JWT_FORGED", token(&shared, &admin, b"another key of the same length..")),
        ("JWT_KID", token(&named("unheard-of"), &admin, SHARED_KEY)),
        ("JWT_CONFUSED", token(&named("rsa"), &admin, &URL_SAFE_NO_PAD.decode(MODULUS).unwrap())),
        ("JWT_CONFUSED_PEM", token(&named("rsa"), &admin, pem.as_bytes())),
    ]
    .map(|(name, token)| (name.to_owned(), token))
    .into()
}

/// RFC 7515, HMAC with SHA-256 whatever the header says.
pub fn token(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A session's cookie is a fingerprint of it, a certificate its subject.
fn cookies_and_certificates() -> Outcome {
    Err(vec!["not supported".into()])
}
