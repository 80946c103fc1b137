//! TLS on both sides: what rustls is given, read from files, and read again when they change.
//!
//! Promises: the service's certificate is always verified, against the pinned CA or the system's; a
//! client's certificate that is presented is always verified against `tls.client_ca_file`, or the
//! handshake fails. Files that changed and do not fit each other leave what is in use as it is.
//! Never: says a key's bytes anywhere.

mod files;
mod live;

pub use files::{Error, Part};
pub use live::{Live, Material};

use crate::config::{ClientAuth, Tls, UpstreamTls};
use crate::relay::Protocol;
use files::{certificates, private_key, roots};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::sync::{Arc, LazyLock};
use tokio_rustls::rustls;

/// aws-lc, which verifies tokens as well. Named, so that no other crate's choice matters.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

/// What a listener does in a handshake, by what it may agree to.
#[derive(Debug)]
pub struct Listener {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
    either: Arc<ServerConfig>,
}

impl Listener {
    pub fn new(tls: &Tls) -> Result<Listener, Error> {
        let config = server(tls)?;
        let offering = |protocols: &[Protocol]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|p| p.alpn().to_vec()).collect();
            Arc::new(config)
        };
        Ok(Listener {
            http1: offering(&[Protocol::Http1]),
            http2: offering(&[Protocol::Http2]),
            either: offering(&[Protocol::Http2, Protocol::Http1]),
        })
    }

    /// `only`: what the service speaks; `None`: both will do, HTTP/2 rather.
    pub fn offering(&self, only: Option<Protocol>) -> Arc<ServerConfig> {
        match only {
            Some(Protocol::Http1) => self.http1.clone(),
            Some(Protocol::Http2) => self.http2.clone(),
            None => self.either.clone(),
        }
    }
}

/// Certificate, key and verifier of a listener.
pub fn server(tls: &Tls) -> Result<ServerConfig, Error> {
    let certificate = certificates(Part::Certificate, &tls.cert_file)?;
    let key = private_key(Part::Key, &tls.key_file)?;
    let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(Part::Certificate, &tls.cert_file, e.to_string()))?;
    let builder = match &tls.client_ca_file {
        Some(ca) if tls.client_auth != ClientAuth::None => {
            builder.with_client_cert_verifier(client_verifier(tls, ca)?)
        }
        _ => builder.with_no_client_auth(),
    };
    builder.with_single_cert(certificate, key).map_err(|e| Error::new(Part::Key, &tls.key_file, misfit(&e)))
}

fn client_verifier(tls: &Tls, ca: &std::path::Path) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let roots = Arc::new(roots(Part::ClientCa, ca)?);
    let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, PROVIDER.clone());
    if tls.client_auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    verifier.build().map_err(|e| Error::new(Part::ClientCa, ca, e.to_string()))
}

/// What is done in a handshake with the service. Its protocol is chosen for each connection.
pub fn client(tls: &UpstreamTls) -> Result<ClientConfig, Error> {
    let roots = match &tls.ca_file {
        Some(ca) => roots(Part::Ca, ca)?,
        None => files::system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::system(e.to_string()))?
        .with_root_certificates(roots);
    let config = match (&tls.client_cert_file, &tls.client_key_file) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(
                certificates(Part::ClientCertificate, cert)?,
                private_key(Part::ClientKey, key)?,
            )
            .map_err(|e| Error::new(Part::ClientKey, key, misfit(&e)))?,
        _ => builder.with_no_client_auth(),
    };
    Ok(config)
}

/// The library's word for a key of another certificate is not everybody's.
fn misfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "it is not the key of the certificate".into(),
        rustls::Error::InvalidCertificate(why) => format!("the certificate cannot be used: {why}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
