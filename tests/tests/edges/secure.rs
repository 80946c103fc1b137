//! TLS: what clients see of it, who they are by their certificates, and TLS to the service.

use crate::world::{World, ask, curl, run, serve};
use crate::{OK, POST};
use harness::Pki;
use harness::origin::{Origin, Step};
use rcgen::SanType;
use sidelog_event::{ActorSource, Outcome};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

const TLS: &str = "tls: {cert_file: server.crt, key_file: server.key";

/// A sidecar that speaks TLS, its CA, and one origin behind it that answers everything.
fn secure(more: &str) -> (World, Pki, Origin) {
    let world = World::new();
    let pki = Pki::new(world.dir.path(), "own");
    pki.issue_server("server");
    let spiffe = SanType::URI("spiffe://test/ns/a/sa/alice".try_into().unwrap());
    pki.issue("alice", "Alice", vec![SanType::DnsName("alice.test".try_into().unwrap()), spiffe]);
    let origin = Origin::start().unwrap();
    origin.play(vec![Step::Answer(OK.into())]);
    let world = world.start(&format!("upstream: http://{}\n{more}", origin.addr()));
    (world, pki, origin)
}

fn url(world: &World) -> String {
    format!("https://{}/v1/orders", world.traffic())
}

#[test]
fn curl_speaks_tls_and_the_service_sees_the_same_bytes() {
    let (world, pki, origin) = secure(&format!("{TLS}}}\n"));
    let ca = pki.ca_file();
    let args = ["--cacert", ca.to_str().unwrap(), "-d", "a=1", "-H", "Host: a", "-A", "x", &url(&world)];
    assert_eq!(curl(world.dir.path(), &args), "ok");
    let seen = origin.finished().remove(0).received;
    let expected = "POST /v1/orders HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nAccept: */*\r\nContent-Length: 3\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n\r\na=1";
    assert_eq!(String::from_utf8(seen).unwrap(), expected);
    // Plain HTTP on a TLS listener is no request.
    let refused = run("curl", world.dir.path(), &["-sS", &url(&world).replace("https", "http")]);
    assert!(!refused.status.success());
    world.until_metric("sidelog_refused_total", "tls_handshake", 1.0);
    let events = world.events();
    assert_eq!((&*events[0].http.scheme, events[0].outcome), ("https", Outcome::Success));
    assert_eq!((&events[1].flags[..], events[1].http.status), (&["tls_handshake".into()][..], None));
}

#[test]
fn openssl_agrees_on_the_protocol() {
    let (world, pki, _origin) = secure(&format!("{TLS}}}\n"));
    let ca = pki.ca_file();
    let to = world.traffic().to_string();
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let args = ["s_client", "-connect", &to, "-CAfile", ca.to_str().unwrap(), "-alpn", "h2,http/1.1"];
        let output =
            run("openssl", world.dir.path(), &[&args[..], &[version, "-verify_return_error"]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("ALPN protocol: http/1.1") && said.contains(named), "{said}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    let old = run("openssl", world.dir.path(), &["s_client", "-connect", &to, "-tls1_1"]);
    assert!(!String::from_utf8_lossy(&old.stdout).contains("Cipher is ECDHE"));
}

#[test]
fn a_verified_certificate_names_the_actor() {
    let mtls = format!("{TLS}, client_ca_file: own-ca.pem, client_auth: optional}}\nactor: [mtls: {{}}]\n");
    let (world, pki, origin) = secure(&mtls);
    let ca = pki.ca_file();
    let base = ["--cacert", ca.to_str().unwrap(), "-d", "a=1"];
    let address = url(&world);
    let own = [&base[..], &["--cert", "alice.crt", "--key", "alice.key", &address]].concat();
    assert_eq!(curl(world.dir.path(), &own), "ok");
    origin.finished();
    let nobody = [&base[..], &[address.as_str()]].concat();
    assert_eq!(curl(world.dir.path(), &nobody), "ok");
    origin.finished();

    // One of another CA that calls itself the same.
    let stranger = Pki::new(world.dir.path(), "other");
    stranger.issue("mallory", "Alice", vec![SanType::URI("spiffe://test/ns/a/sa/alice".try_into().unwrap())]);
    let forged = [&base[..], &["--cert", "mallory.crt", "--key", "mallory.key", &address]].concat();
    assert!(!run("curl", world.dir.path(), &forged).status.success());
    world.until_metric("sidelog_refused_total", "client_certificate", 1.0);

    let events = world.events();
    assert_eq!(events.len(), 3, "{events:#?}");
    let alice = &events[0].actor;
    assert_eq!((&*alice.id, &*alice.name), ("spiffe://test/ns/a/sa/alice", "CN=Alice"));
    assert_eq!((alice.source, alice.verified), (ActorSource::Mtls, true));
    assert_eq!(alice.credential.split(':').map(str::len).collect::<Vec<_>>(), [8, 24]);
    assert_eq!(events[1].actor.source, ActorSource::Anonymous);
    assert_eq!(events[2].actor.source, ActorSource::Anonymous);
    assert_eq!(
        (&events[2].flags[..], events[2].outcome),
        (&["client_certificate".into()][..], Outcome::ClientError)
    );
}

#[test]
fn python_presents_a_certificate_where_one_is_required() {
    const SCRIPT: &str = r#"
import sys, ssl, http.client
host, port = sys.argv[1].split(":")
context = ssl.create_default_context(cafile="own-ca.pem")
if sys.argv[2] == "own":
    context.load_cert_chain("alice.crt", "alice.key")
connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
for i in range(3):
    connection.request("POST", "/v1/orders", body=b"abc")
    response = connection.getresponse()
    print(response.status, response.read().decode())
"#;
    let mtls = format!("{TLS}, client_ca_file: own-ca.pem}}\nactor: [mtls: {{}}]\n");
    let (world, _pki, _origin) = secure(&mtls);
    let to = world.traffic().to_string();
    let python = |who: &str| run("python3", world.dir.path(), &["-c", SCRIPT, &to, who]);
    let own = python("own");
    assert_eq!(String::from_utf8_lossy(&own.stdout), "200 ok\n".repeat(3), "{own:?}");
    assert!(!python("nobody").status.success());
    world.until_metric("sidelog_refused_total", "client_certificate", 1.0);
    let events = world.events();
    let verified = events.iter().filter(|e| e.actor.verified && e.actor.source == ActorSource::Mtls).count();
    assert_eq!((events.len(), verified), (4, 3));
}

#[test]
fn a_replaced_certificate_is_served_without_a_restart() {
    let (world, pki, _origin) = secure(&format!("{TLS}, reload: 20ms}}\n"));
    let next = Pki::new(world.dir.path(), "next");
    next.issue_server("fresh");
    for ending in ["crt", "key"] {
        std::fs::rename(world.path(&format!("fresh.{ending}")), world.path(&format!("server.{ending}")))
            .unwrap();
    }
    world.until_metric("sidelog_tls_reloads_total", "", 1.0);
    let (old, new) = (pki.ca_file(), next.ca_file());
    let ask = |ca: &std::path::Path| {
        run("curl", world.dir.path(), &["-sS", "--cacert", ca.to_str().unwrap(), &url(&world)])
            .status
            .success()
    };
    assert!(ask(&new) && !ask(&old));
}

/// A service that speaks TLS, for one connection; what it was sent, or that the handshake failed.
fn tls_service(listener: TcpListener, tls: Arc<ServerConfig>) -> std::thread::JoinHandle<Option<Vec<u8>>> {
    std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), OK).ok()
    })
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn the_service_is_spoken_to_over_tls_with_a_certificate_of_our_own() {
    let world = World::new();
    let pki = Pki::new(world.dir.path(), "own");
    pki.issue_server("service");
    pki.issue("sidelog", "sidelog", vec![]);
    let (listener, port) = listen();
    let service = tls_service(listener, pki.service("service", true));
    let world = world.start(&format!(
        "upstream: https://127.0.0.1:{port}\nupstream_tls: {{ca_file: own-ca.pem, sni: orders.test, \
         client_cert_file: sidelog.crt, client_key_file: sidelog.key}}\n"
    ));
    let mut client = TcpStream::connect(world.traffic()).unwrap();
    assert_eq!(ask(&mut client, POST.as_bytes(), "ok"), OK);
    assert_eq!(ask(&mut client, POST.as_bytes(), "ok"), OK);
    drop(client);
    assert_eq!(service.join().unwrap().unwrap(), POST.repeat(2).into_bytes());
    assert_eq!(world.events().len(), 2);
}

#[test]
fn a_service_that_is_not_who_it_should_be_is_never_spoken_to() {
    for (sni, ca) in [("billing.test", "own"), ("orders.test", "other")] {
        let world = World::new();
        let pki = Pki::new(world.dir.path(), "own");
        Pki::new(world.dir.path(), "other");
        pki.issue_server("service");
        let (listener, port) = listen();
        let service = tls_service(listener, pki.service("service", false));
        let world = world.start(&format!(
            "upstream: https://127.0.0.1:{port}\nupstream_tls: {{ca_file: {ca}-ca.pem, sni: {sni}}}\n"
        ));
        let mut client = TcpStream::connect(world.traffic()).unwrap();
        let answer = ask(&mut client, POST.as_bytes(), "\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(service.join().unwrap(), None, "{sni} {ca}");
        let event = world.event();
        assert_eq!((event.error.as_deref(), event.http.status), (Some("upstream_tls"), Some(502)));
        assert_eq!(event.outcome, Outcome::ServerError);
    }
}
