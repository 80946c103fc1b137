//! Files on disk, and handshakes in memory.

use super::*;
use crate::metrics::Metrics;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Pki {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca"), ca.pem()).unwrap();
        Pki { dir, ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `NAME.crt` and `NAME.key` for a host.
    fn issue(&self, name: &str, host: &str, purpose: ExtendedKeyUsagePurpose) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn listener(&self, client_auth: ClientAuth) -> Tls {
        Tls {
            cert_file: self.path("server.crt"),
            key_file: self.path("server.key"),
            client_ca_file: (client_auth != ClientAuth::None).then(|| self.path("ca")),
            client_auth,
            reload: Duration::from_millis(10),
        }
    }

    fn dialler(&self, own: bool) -> UpstreamTls {
        UpstreamTls {
            ca_file: Some(self.path("ca")),
            sni: None,
            client_cert_file: own.then(|| self.path("client.crt")),
            client_key_file: own.then(|| self.path("client.key")),
            reload: Duration::ZERO,
        }
    }
}

/// Both ends' words on one handshake: the client's failure, the certificates the server saw.
async fn shake(server: Arc<ServerConfig>, client: ClientConfig, name: &str) -> Result<usize, String> {
    let (near, far) = tokio::io::duplex(16 << 10);
    let accept = tokio::spawn(TlsAcceptor::from(server).accept(far));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let near = connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, near).await;
    let near = near.map_err(|e| e.to_string())?;
    let far = accept.await.unwrap().map_err(|e| e.to_string())?;
    assert_eq!(near.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(far.get_ref().1.peer_certificates().unwrap_or_default().len())
}

#[tokio::test]
async fn certificates_are_verified_on_both_sides() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.issue("server", "orders.test", ExtendedKeyUsagePurpose::ServerAuth);
    for pki in [&pki, &other] {
        pki.issue("client", "alice.test", ExtendedKeyUsagePurpose::ClientAuth);
    }
    let http1 = Some(Protocol::Http1);
    let listen = |auth| Listener::new(&pki.listener(auth)).unwrap().offering(http1);
    let dial = |own| client(&pki.dialler(own)).unwrap();
    assert_eq!(shake(listen(ClientAuth::None), dial(true), "orders.test").await, Ok(0));
    assert_eq!(shake(listen(ClientAuth::Optional), dial(false), "orders.test").await, Ok(0));
    assert_eq!(shake(listen(ClientAuth::Optional), dial(true), "orders.test").await, Ok(1));
    assert_eq!(shake(listen(ClientAuth::Required), dial(true), "orders.test").await, Ok(1));
    assert!(shake(listen(ClientAuth::Required), dial(false), "orders.test").await.is_err());
    let foreign = UpstreamTls { ca_file: Some(pki.path("ca")), ..other.dialler(true) };
    assert!(shake(listen(ClientAuth::Optional), client(&foreign).unwrap(), "orders.test").await.is_err());
    let wrong_name = shake(listen(ClientAuth::None), dial(false), "billing.test").await;
    assert!(wrong_name.unwrap_err().contains("not valid for name"));
    let wrong_ca = client(&other.dialler(false)).unwrap();
    let refused = shake(listen(ClientAuth::None), wrong_ca, "orders.test").await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[test]
fn files_that_cannot_be_used_say_which_and_why() {
    let pki = Pki::new();
    pki.issue("server", "orders.test", ExtendedKeyUsagePurpose::ServerAuth);
    pki.issue("other", "orders.test", ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::write(pki.path("text"), "no PEM").unwrap();
    let good = pki.listener(ClientAuth::Required);
    assert!(server(&good).is_ok());
    let told = |tls: Tls| {
        let error = server(&tls).unwrap_err();
        (error.file.unwrap().0, error.why)
    };
    let why = |part, why: &str| (part, why.to_owned());
    let at = |name: &str| pki.path(name);
    assert_eq!(
        told(Tls { cert_file: at("text"), ..good.clone() }),
        why(Part::Certificate, "there is no certificate in it (PEM)")
    );
    assert_eq!(
        told(Tls { cert_file: at("absent"), ..good.clone() }),
        why(Part::Certificate, "there is no such file")
    );
    assert_eq!(
        told(Tls { key_file: at("server.crt"), ..good.clone() }),
        why(Part::Key, "there is no private key in it (PEM, not encrypted)")
    );
    assert_eq!(
        told(Tls { key_file: at("other.key"), ..good.clone() }),
        why(Part::Key, "it is not the key of the certificate")
    );
    assert_eq!(
        told(Tls { client_ca_file: Some(at("text")), ..good }),
        why(Part::ClientCa, "there is no certificate in it (PEM)")
    );
}

#[tokio::test]
async fn changed_files_are_taken_when_they_fit() {
    let pki = Pki::new();
    pki.issue("server", "orders.test", ExtendedKeyUsagePurpose::ServerAuth);
    let metrics = Arc::new(Metrics::default());
    let live = Live::start(pki.listener(ClientAuth::None), metrics.clone()).unwrap();
    let shaken = async |name: &str| {
        shake(live.get().offering(Some(Protocol::Http1)), client(&pki.dialler(false)).unwrap(), name).await
    };
    assert!(shaken("orders.test").await.is_ok());
    // The certificate first, its key later, as two writes do.
    pki.issue("next", "billing.test", ExtendedKeyUsagePurpose::ServerAuth);
    let replace = |part: &str| {
        std::fs::rename(pki.path(&format!("next.{part}")), pki.path(&format!("server.{part}"))).unwrap();
    };
    let until = async |met: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if met() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing was noticed");
    };
    replace("crt");
    until(&|| metrics.tls_reload_failures.get() == 1).await;
    assert!(shaken("orders.test").await.is_ok(), "the pair in use stays");
    replace("key");
    until(&|| metrics.tls_reloads.get() == 1).await;
    assert!(shaken("billing.test").await.is_ok() && shaken("orders.test").await.is_err());
    assert_eq!(metrics.tls_reload_failures.get(), 1, "told once");
    assert!(Path::new(&pki.path("server.crt")).exists());
}
