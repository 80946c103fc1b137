//! What is agreed on in a handshake follows what the service speaks: HTTP/2 from end to end, or not at all.

use crate::world::{World, curl, run};
use bytes::Bytes;
use harness::Pki;
use sidelog_event::{AuditEvent, Outcome};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

const TLS: &str = "tls: {cert_file: server.crt, key_file: server.key}\n";

/// A service that speaks what it agreed to, or what it is told to; each connection leaves a word of what
/// was spoken, and each request of HTTP/2 the address it was told.
struct Service {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    /// `tls`: none: HTTP/2 by prior knowledge.
    fn start(tls: Option<ServerConfig>) -> Service {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notes, tls) = (seen.clone(), tls.map(|tls| TlsAcceptor::from(Arc::new(tls))));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (notes, tls) = (notes.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return http2(stream, &notes).await };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                    let agreed = String::from_utf8(agreed.unwrap_or_default()).unwrap();
                    notes.lock().unwrap().push(agreed.clone());
                    if agreed == "h2" { http2(stream, &notes).await } else { http1(stream).await }
                });
            }
        });
        Service { port, seen, _runtime: runtime }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\na=1") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    stream.write_all(crate::OK.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // Until the client has gone.
    let _ = stream.read_u8().await;
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin, notes: &Mutex<Vec<String>>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let told = request.headers().get("x-forwarded-for");
        notes.lock().unwrap().push(told.map_or("nothing", |told| told.to_str().unwrap()).to_owned());
        // Answered when all of it is here: else the rest of the request is reset, and curl complains.
        tokio::spawn(async move {
            let mut request = request.into_body();
            while let Some(Ok(part)) = request.data().await {
                let _ = request.flow_control().release_capacity(part.len());
            }
            let mut body = answer.send_response(http::Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"ok"), true).unwrap();
        });
    }
}

/// A sidecar that speaks TLS, before a service of the given protocols.
fn world(service_speaks: &[&str], more: &str) -> (World, Pki, Service) {
    let world = World::new();
    let pki = Pki::new(world.dir.path(), "own");
    pki.issue_server("server");
    pki.issue_server("service");
    let mut tls = Arc::unwrap_or_clone(pki.service("service", false));
    tls.alpn_protocols = service_speaks.iter().map(|p| p.as_bytes().to_vec()).collect();
    let service = Service::start(Some(tls));
    let upstream =
        format!("upstream: https://127.0.0.1:{}\nupstream_tls: {{ca_file: own-ca.pem}}\n", service.port);
    (world.start(&format!("{upstream}{TLS}{more}")), pki, service)
}

/// What curl got and over which protocol, when it would speak this one.
fn ask(world: &World, version: &str) -> String {
    call(world, version, &["-d", "a=1"])
}

fn call(world: &World, version: &str, what: &[&str]) -> String {
    let address = format!("https://{}/v1/orders", world.traffic());
    let ca = world.path("own-ca.pem");
    let args = [version, "--cacert", ca.to_str().unwrap(), "-w", " %{http_code} %{http_version}", &address];
    curl(world.dir.path(), &[&args[..], what].concat())
}

fn told(event: &AuditEvent<'_>) -> (String, String, Outcome) {
    (event.http.version.to_string(), event.http.scheme.to_string(), event.outcome)
}

#[test]
fn the_clients_choice_is_the_services() {
    let (world, _pki, service) = world(&["h2", "http/1.1"], "forward_address: x_forwarded_for\n");
    assert_eq!(ask(&world, "--http2"), "ok 200 2");
    assert_eq!(ask(&world, "--http1.1"), "ok 200 1.1");
    // One connection each, although the service was asked first.
    assert_eq!(service.seen(), ["h2", "127.0.0.1", "http/1.1"]);
    let events = world.events();
    let told: Vec<_> = events.iter().map(told).collect();
    let wanted = |version: &str| (version.to_owned(), "https".to_owned(), Outcome::Success);
    assert_eq!(told, [wanted("2"), wanted("1.1")]);
}

#[test]
fn a_client_is_not_offered_what_the_service_does_not_speak() {
    // One that says nothing of protocols speaks HTTP/1.1 as well.
    for speaks in [&["http/1.1"][..], &[]] {
        let (world, _pki, service) = world(speaks, "");
        assert_eq!(ask(&world, "--http2"), "ok 200 1.1");
        assert_eq!(service.seen(), [speaks.first().copied().unwrap_or_default()]);
        assert_eq!(world.metric("sidelog_upstream_not_http2_total", ""), 0.0);
    }
    let (world, _pki, service) = world(&["h2", "http/1.1"], "upstream_http2: off\n");
    assert_eq!(ask(&world, "--http2"), "ok 200 1.1");
    assert_eq!(service.seen(), ["http/1.1"]);
}

/// Told so, and it is not so: the client learns that it should have spoken HTTP/1.1, and curl does then.
#[test]
fn a_service_that_does_not_keep_its_word_is_noticed() {
    let (world, _pki, _service) = world(&["http/1.1"], "upstream_http2: on\n");
    let address = format!("https://{}/v1/orders", world.traffic());
    run("curl", world.dir.path(), &["-sS", "--http2", "--cacert", "own-ca.pem", "-d", "a=1", &address]);
    world.until_metric("sidelog_upstream_not_http2_total", "", 1.0);
}

#[test]
fn a_service_without_tls_speaks_http2_where_it_is_said_so() {
    let service = Service::start(None);
    let world = World::new();
    Pki::new(world.dir.path(), "own").issue_server("server");
    let yaml = format!("upstream: http://127.0.0.1:{}\nupstream_http2: on\n{TLS}", service.port);
    let world = world.start(&yaml);
    assert_eq!(ask(&world, "--http2"), "ok 200 2");
    assert_eq!(service.seen(), ["nothing"]);
}

#[test]
fn a_service_that_is_away_is_a_502_in_either() {
    let world = World::new();
    Pki::new(world.dir.path(), "own").issue_server("server");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = format!("upstream: https://{closed}\nupstream_tls: {{ca_file: own-ca.pem}}\n");
    let world = world.start(&format!("{upstream}{TLS}"));
    assert_eq!(call(&world, "--http2", &["-X", "DELETE"]), " 502 2");
    assert_eq!(call(&world, "--http1.1", &["-X", "DELETE"]), " 502 1.1");
    let events = world.events();
    let errors: Vec<_> = events.iter().map(|event| event.error.as_deref()).collect();
    assert_eq!(errors, [Some("upstream_connect"); 2]);
}
