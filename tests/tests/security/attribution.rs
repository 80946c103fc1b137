//! By whom and from where: an identity is worth what vouches for it, and no more.
//!
//! One configuration reads every source: tokens with keys, tokens without, a header that trusted
//! proxies set, Basic, and a chain of forwarding proxies.

use crate::cases::From;
use crate::fixture::{Fixture, OK, PROXIES, of_peer, peer};
use crate::group::{InCode, Outcome};
use crate::oracle::{self, keyed_digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::origin::Step;
use hmac::{Hmac, KeyInit, Mac};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use sha2::Sha256;
use std::process::Command;

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

/// A session's cookie is a fingerprint of it; a certificate its subject, presented to us or vouched for
/// by a proxy, and from anyone else nothing.
fn cookies_and_certificates() -> Outcome {
    let mut faults = Vec::new();
    faults.extend(cookie());
    faults.extend(forwarded_certificate());
    faults.extend(client_certificate());
    if faults.is_empty() {
        Ok("by cookie: a fingerprint; by certificate: its subject, `verified=true`; from a stranger: nobody"
            .into())
    } else {
        Err(faults)
    }
}

/// The members of the one event of a call with this line.
fn told(
    fixture: &Fixture,
    from: From,
    line: &str,
    wanted: Value,
) -> impl FnOnce(&[Value]) -> Vec<String> + use<> {
    let index = if from == From::Proxy { 21 } else { 20 };
    let raw = format!("POST /v1/orders HTTP/1.1\r\nHost: a\r\n{line}\r\nContent-Length: 3\r\n\r\nabc");
    let seen = fixture.send_raw(peer(from, 78, index), raw.into_bytes(), vec![Step::Answer(OK.into())]);
    let secrets = fixture.canary.clone();
    move |events| {
        let own = of_peer(events, seen.peer);
        let [event] = own[..] else { return vec![format!("{} events instead of one", own.len())] };
        let mut faults = oracle::members(event, wanted.as_object().unwrap());
        let hits = secrets.in_bytes(event.to_string().as_bytes());
        faults.extend(hits.into_iter().map(|hit| format!("a secret ({hit}) in {event}")));
        faults
    }
}

fn cookie() -> Vec<String> {
    let fixture = Fixture::start("actor: [{cookie: {name: sid}}]\n");
    let secret = fixture.canary.secret("session");
    let id = keyed_digest(secret.as_bytes()).split(':').nth(1).unwrap().to_owned();
    let wanted = json!({
        "actor.source": "cookie", "actor.verified": false, "actor.credential": {"has": format!("{id}:")},
    });
    let check = told(&fixture, From::Stranger, &format!("Cookie: theme=dark; sid={secret}"), wanted);
    check(&fixture.stop())
}

fn forwarded_certificate() -> Vec<String> {
    let rule = format!("{{header: X-SSL-Client-DN, trusted_from: [{PROXIES}]}}");
    let fixture = Fixture::start(&format!("actor: [{{forwarded_cert: {rule}}}]\n"));
    let line = "X-SSL-Client-DN: CN=alice,O=Acme";
    let alice = json!({"actor.id": "alice", "actor.source": "forwarded_cert", "actor.verified": true});
    let nobody = json!({"actor.id": null, "actor.source": "anonymous", "actor.verified": false});
    let trusted = told(&fixture, From::Proxy, line, alice);
    let stranger = told(&fixture, From::Stranger, line, nobody);
    let events = fixture.stop();
    [trusted(&events), stranger(&events)].concat()
}

/// curl presents a certificate of the CA that the listener believes.
fn client_certificate() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
    let issue = |name: &str, alternative: &str| {
        let mut params = CertificateParams::new([alternative.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    issue("server", "127.0.0.1");
    issue("alice", "alice.test");
    let tls = "tls: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.pem}\n";
    let fixture = Fixture::start_in(dir, &format!("{tls}actor: [{{mtls: {{}}}}]\n"));
    fixture.origin.play(vec![Step::Answer(OK.into())]);
    let from = peer(From::Stranger, 78, 30);
    let output = Command::new("curl")
        .current_dir(fixture.dir())
        .args(["-sS", "--cacert", "ca.pem", "--cert", "alice.crt", "--key", "alice.key", "-d", "abc"])
        .args(["--interface", &from.to_string(), &format!("https://{}/v1/orders", fixture.traffic())])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"ok", "{}", String::from_utf8_lossy(&output.stderr));
    let events = fixture.stop();
    let own = of_peer(&events, from);
    let [event] = own[..] else { return vec![format!("{} events instead of one", own.len())] };
    let wanted = json!({"actor.id": "alice", "actor.source": "mtls", "actor.verified": true});
    oracle::members(event, wanted.as_object().unwrap())
}
