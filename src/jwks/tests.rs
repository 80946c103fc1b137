//! Against real servers on this machine, over TCP and TLS.

use super::*;
use crate::config::{ActorRule, JwtRule};
use crate::extract::jwt_vectors as vectors;
use crate::extract::tests::{head, jwt, rules};
use crate::head::Head;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW: u64 = 1_500_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every connection with what it was told last.
struct Server {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Into<Vec<u8>>) -> Server {
        Server::with(answer, talk)
    }

    /// Over TLS; with it, the certificates of its authority and of itself.
    fn secure(answer: impl Into<Vec<u8>>) -> (Server, Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let itself = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
        let chain = vec![itself.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let server = Server::with(answer, move |stream, answer| {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::StreamOwned::new(session, stream);
            talk(&mut tls, answer)?;
            tls.conn.send_close_notify();
            tls.flush()
        });
        (server, authority.der().to_vec(), itself.der().to_vec())
    }

    fn with<T>(answer: impl Into<Vec<u8>>, talk: T) -> Server
    where
        T: Fn(std::net::TcpStream, &[u8]) -> std::io::Result<()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(answer.into())),
            asked: Arc::default(),
        };
        let (answer, asked) = (server.answer.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                asked.fetch_add(1, Ordering::SeqCst);
                let answer = answer.lock().unwrap().clone();
                // A client that gives up in the middle is what some tests are about.
                let _ = talk(stream, &answer);
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    fn tell(&self, answer: impl Into<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer.into();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Reads a request's head; an empty answer is none at all, until the client gives up.
fn talk(mut stream: impl Read + Write, answer: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    if answer.is_empty() {
        return stream.read(&mut byte).map(|_| ());
    }
    stream.write_all(answer)?;
    stream.flush()
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn source(url: impl Into<String>) -> JwksUrl {
    JwksUrl {
        url: url.into(),
        refresh: Duration::from_secs(3600),
        cooldown: Duration::from_millis(1),
        timeout: Duration::from_secs(10),
        max_bytes: 64 << 10,
        ca_file: None,
        authorities: vec![],
    }
}

/// An extractor with one rule, and what the watcher counts.
fn watched(source: JwksUrl) -> (Extractor, Arc<Metrics>) {
    let (extractor, metrics) = (extractor(url_of(source)), Arc::new(Metrics::default()));
    watch(&extractor, &metrics);
    (extractor, metrics)
}

fn extractor(jwks: Jwks) -> Extractor {
    rules(&[ActorRule::Jwt(JwtRule { jwks, ..jwt() })])
}

fn url_of(source: JwksUrl) -> Jwks {
    Jwks::Url(Box::new(source))
}

/// A watcher without its thread.
fn watcher(extractor: &Extractor) -> Watcher {
    let store = Arc::downgrade(extractor.keys().next().unwrap());
    Watcher { store, metrics: Arc::default(), failures: 0, told: None }
}

/// `""` when verified, else the reason.
fn verdict(extractor: &Extractor, token: &str) -> String {
    let (raw, index) = head("POST", "/", &[("Authorization", &format!("Bearer {token}"))]);
    let peer = "192.0.2.1".parse().unwrap();
    let (actor, _) = extractor.actor_at(&Head { raw: &raw, index: &index }, peer, NOW);
    assert_eq!(actor.verified, actor.unverified_reason.is_empty());
    actor.unverified_reason.into_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Some of the vectors' keys, by their place.
fn keys(places: &[usize]) -> String {
    let all: Value = serde_json::from_str(vectors::JWKS).unwrap();
    let some: Vec<&Value> = places.iter().map(|i| &all["keys"][*i]).collect();
    json!({ "keys": some }).to_string()
}

fn token_of(kid: &str) -> String {
    use base64::Engine;
    let part = |v: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v.to_string());
    format!("{}.{}.AAAA", part(json!({"alg": "RS256", "kid": kid})), part(json!({"sub": "mallory"})))
}

#[test]
fn until_keys_are_there_nothing_is_verified_and_nobody_waits() {
    let server = Server::start("");
    let (extractor, _) = watched(JwksUrl { timeout: Duration::from_millis(200), ..source(server.url()) });
    until("the server is asked", || server.asked() > 0);
    let begun = Instant::now();
    assert_eq!(verdict(&extractor, vectors::ES256), "no_key");
    assert!(begun.elapsed() < Duration::from_secs(1));
    server.tell(answer(&keys(&[1])));
    until("it is tried again", || verdict(&extractor, vectors::ES256).is_empty());
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it() {
    let server = Server::start(answer(&keys(&[1])));
    let (extractor, metrics) = watched(source(server.url()));
    until("first keys", || verdict(&extractor, vectors::ES256).is_empty());
    assert_eq!(server.asked(), 1);
    server.tell(answer(&keys(&[1, 2])));
    assert_eq!(verdict(&extractor, vectors::ES384), "unknown_kid");
    until("the new key", || verdict(&extractor, vectors::ES384).is_empty());
    assert_eq!(verdict(&extractor, vectors::ES256), "");
    assert!(metrics.jwks_fetches.get() >= 2);
}

#[test]
fn a_key_is_withdrawn_at_the_next_refresh() {
    let server = Server::start(answer(&keys(&[1, 2])));
    let (extractor, _) = watched(JwksUrl { refresh: Duration::from_millis(20), ..source(server.url()) });
    until("first keys", || verdict(&extractor, vectors::ES384).is_empty());
    server.tell(answer(&keys(&[1])));
    until("it is gone", || verdict(&extractor, vectors::ES384) == "unknown_kid");
    assert_eq!(verdict(&extractor, vectors::ES256), "");
}

#[test]
fn a_thousand_unknown_keys_are_one_fetch_for_each_cooldown() {
    let server = Server::start(answer(&keys(&[1])));
    let cooldown = Duration::from_millis(200);
    let (extractor, _) = watched(JwksUrl { cooldown, ..source(server.url()) });
    until("first keys", || verdict(&extractor, vectors::ES256).is_empty());
    let begun = Instant::now();
    for i in 0..1000 {
        assert_eq!(verdict(&extractor, &token_of(&format!("random-{i}"))), "unknown_kid");
    }
    until("one for all", || server.asked() == 2);
    std::thread::sleep(cooldown / 2);
    // At its begin, and then at most once for each cooldown that has passed.
    let most = 2 + begun.elapsed().as_millis() / cooldown.as_millis();
    assert!(server.asked() as u128 <= most, "{} fetches, at most {most}", server.asked());
}

#[test]
fn answers_that_are_none() {
    let elsewhere = Server::start(answer(&keys(&[1])));
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"k".to_owned();
    for (what, text, reason) in [
        ("huge", answer(&" ".repeat(70_000)), "too_large"),
        ("huge without a length", format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(70_000)), "too_large"),
        ("a huge head", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(40_000)), "too_large"),
        ("an error", "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nCANARY".into(), "status"),
        ("nothing new", "HTTP/1.1 304 Not Modified\r\n\r\n".into(), "redirect"),
        ("another host", redirect(&elsewhere.url()), "redirect"),
        ("another scheme", redirect("https://127.0.0.1/"), "redirect"),
        ("a host without a scheme", redirect("//127.0.0.1/keys"), "redirect"),
        ("circles", redirect("/keys"), "redirect"),
        ("not HTTP", "CANARY\r\n\r\n".into(), "invalid"),
        ("cut short", endless, "connect"),
        ("nothing", "\r\n".into(), "connect"),
        ("silence", String::new(), "timeout"),
    ] {
        let server = Server::start(text);
        let source = JwksUrl { timeout: Duration::from_millis(300), ..source(server.url()) };
        let failure = get(&source).expect_err(what);
        assert_eq!(failure.reason, reason, "{what}: {failure:?}");
        assert!(!failure.why.contains("CANARY"), "{failure:?}");
        assert!(server.asked() <= MAX_REDIRECTS + 1, "{what}: {}", server.asked());
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect to it was not followed");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(get(&source(format!("http://{nobody}/"))).unwrap_err().reason, "connect");
    let bytes = [&b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"[..], b"\xff"].concat();
    assert_eq!(get(&source(Server::start(bytes).url())).unwrap_err().reason, "invalid");
}

#[test]
fn an_answer_that_drips_ends_at_the_time_out() {
    let server = Server::with("", |mut stream, _| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(b" ")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let failure = get(&JwksUrl { timeout: Duration::from_millis(200), ..source(server.url()) }).unwrap_err();
    assert_eq!(failure.reason, "timeout", "{failure:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_redirect_on_the_same_host_is_followed() {
    let from: Uri = "https://a.example/x?y".parse().unwrap();
    let to = |target: &str| same_place(&from, target).map(|uri| uri.to_string());
    assert_eq!(to("/z?q"), Some("https://a.example/z?q".into()));
    assert_eq!(to("https://A.example:443/z#f"), Some("https://A.example:443/z".into()));
    for other in
        ["http://a.example/z", "https://b.example/z", "https://a.example:444/z", "//b.example/z", "z", ""]
    {
        assert_eq!(to(other), None, "{other}");
    }
    let last = Arc::new(Mutex::new(false));
    let server = Server::with("", move |stream, _| {
        let mut followed = last.lock().unwrap();
        let text = if *followed {
            answer(vectors::JWKS)
        } else {
            "HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .into()
        };
        *followed = true;
        talk(stream, text.as_bytes())
    });
    assert_eq!(get(&source(server.url())).unwrap(), vectors::JWKS);
}

#[test]
fn the_last_good_keys_stay_when_anything_fails() {
    let server = Server::start(answer(&keys(&[1])));
    let url = format!("{}?secret=CANARY", server.url());
    let extractor = extractor(url_of(JwksUrl { timeout: Duration::from_millis(300), ..source(url) }));
    let mut watcher = watcher(&extractor);
    watcher.fetch().unwrap();
    assert_eq!((verdict(&extractor, vectors::ES256).as_str(), watcher.failures), ("", 0));
    let bad = [
        "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
        answer("<html>"),
        answer("[]"),
        answer("{\"keys\":[]}"),
        answer(&" ".repeat(70_000)),
    ];
    for (i, text) in bad.iter().enumerate() {
        server.tell(text.as_bytes());
        watcher.fetch().unwrap();
        assert_eq!(watcher.failures as usize, i + 1);
        assert!(!watcher.told.as_ref().unwrap().contains("CANARY"));
        assert_eq!(verdict(&extractor, vectors::ES256), "", "{text:.40}");
    }
    let text = watcher.metrics.encode();
    for line in [
        "sidelog_jwks_fetches_total 1",
        "{reason=\"status\"} 1",
        "{reason=\"invalid\"} 3",
        "{reason=\"too_large\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    server.tell(answer(&keys(&[1, 2])));
    watcher.fetch().unwrap();
    assert_eq!((verdict(&extractor, vectors::ES384).as_str(), watcher.failures), ("", 0));
}

#[test]
fn a_failing_server_is_asked_less_and_less() {
    let server = Server::start("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let (extractor, metrics) =
        watched(JwksUrl { cooldown: Duration::from_secs(3600), ..source(server.url()) });
    until("asked", || server.asked() == 1);
    for i in 0..100 {
        assert_eq!(verdict(&extractor, &token_of(&i.to_string())), "no_key");
    }
    until("asked again after a second", || server.asked() == 2);
    until("counted", || metrics.encode().contains("sidelog_jwks_failures_total{reason=\"status\"} 2"));
}

#[test]
fn over_tls_only_from_an_authority_that_is_trusted() {
    let (server, authority, itself) = Server::secure(answer(vectors::JWKS));
    let url = format!("https://localhost:{}/keys", server.address.port());
    let trusting = JwksUrl { authorities: vec![authority], ..source(&url) };
    assert_eq!(get(&trusting).unwrap(), vectors::JWKS);
    // Its certificate is for this address too, but for no other name.
    let by_address = format!("https://{}/keys", server.address);
    assert_eq!(get(&JwksUrl { url: by_address, ..trusting }).unwrap(), vectors::JWKS);
    let stranger = get(&JwksUrl { authorities: vec![itself], ..source(&url) }).unwrap_err();
    assert_eq!(stranger.reason, "tls", "{stranger:?}");
    assert_eq!(get(&source(&url)).unwrap_err().reason, "tls", "the system does not know it");
}

#[test]
fn a_file_is_read_again_when_its_content_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let extractor = extractor(Jwks::File { path: path.clone(), text: keys(&[1]) });
    let metrics = Arc::new(Metrics::default());
    let often = Duration::from_millis(5);
    let pace = Pace { first: often, refresh: often, cooldown: often, retry: often };
    start(extractor.keys().next().unwrap(), pace, &metrics);
    assert_eq!(verdict(&extractor, vectors::ES384), "unknown_kid");
    until("a missing file is counted", || metrics.encode().contains("{reason=\"file\"}"));
    std::fs::write(&path, "{\"keys\": [").unwrap();
    until("half a file is counted", || metrics.encode().contains("{reason=\"invalid\"}"));
    assert_eq!(verdict(&extractor, vectors::ES256), "");
    // As a ConfigMap does it: by another file in its place.
    std::fs::write(dir.path().join("new"), keys(&[1, 2])).unwrap();
    std::fs::rename(dir.path().join("new"), &path).unwrap();
    until("the new key", || verdict(&extractor, vectors::ES384).is_empty());
}

#[test]
fn threads_end_with_the_rules_they_serve() {
    let server = Server::start(answer(&keys(&[1])));
    let (extractor, metrics) = watched(source(server.url()));
    watch(&extractor, &metrics);
    until("first keys", || verdict(&extractor, vectors::ES256).is_empty());
    assert_eq!(server.asked(), 1, "a second call starts no second thread");
    drop(extractor);
    until("the thread lets go", || Arc::strong_count(&metrics) == 1);
}

#[test]
fn a_new_configuration_begins_with_the_keys_of_the_former() {
    let source = source("http://127.0.0.1:1/keys");
    let former = extractor(url_of(source.clone()));
    former.keys().next().unwrap().replace(&keys(&[1])).unwrap();
    let same = extractor(url_of(JwksUrl { refresh: Duration::ZERO, ..source.clone() }));
    same.adopt_keys(&former);
    assert_eq!(verdict(&same, vectors::ES256), "");
    let other = extractor(url_of(JwksUrl { url: "http://127.0.0.1:2/keys".into(), ..source }));
    other.adopt_keys(&former);
    assert_eq!(verdict(&other, vectors::ES256), "no_key");
}
