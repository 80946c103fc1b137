//! Certificates, keys and roots from PEM files.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as Pem, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use tokio_rustls::rustls;

/// Bytes of one PEM file.
const MAX_FILE: u64 = 4 << 20;

/// Which of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Certificate,
    Key,
    ClientCa,
    Ca,
    ClientCertificate,
    ClientKey,
}

impl Part {
    /// Its key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Part::Certificate => "tls.cert_file",
            Part::Key => "tls.key_file",
            Part::ClientCa => "tls.client_ca_file",
            Part::Ca => "upstream_tls.ca_file",
            Part::ClientCertificate => "upstream_tls.client_cert_file",
            Part::ClientKey => "upstream_tls.client_key_file",
        }
    }
}

/// Why TLS cannot be spoken with these files.
#[derive(Debug, thiserror::Error)]
#[error("{}{why}", .file.as_ref().map(|(part, path)| format!("`{}`: {}: ", part.key(), path.display())).unwrap_or_default())]
pub struct Error {
    /// None: it is about the system's own certificates.
    pub file: Option<(Part, PathBuf)>,
    pub why: String,
}

impl Error {
    pub(super) fn new(part: Part, path: &Path, why: impl Into<String>) -> Error {
        Error { file: Some((part, path.to_owned())), why: why.into() }
    }

    pub(super) fn system(why: impl Into<String>) -> Error {
        Error { file: None, why: why.into() }
    }
}

/// A chain, the end's own certificate first.
pub(super) fn certificates(part: Part, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path).map_err(|why| Error::new(part, path, why))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(Pem::NoItemsFound) => Err(Error::new(part, path, "there is no certificate in it (PEM)")),
        Err(_) => Err(Error::new(part, path, "it is not PEM")),
    }
}

pub(super) fn private_key(part: Part, path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path).map_err(|why| Error::new(part, path, why))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let why = match error {
            Pem::NoItemsFound => "there is no private key in it (PEM, not encrypted)",
            _ => "it is not PEM",
        };
        Error::new(part, path, why)
    })
}

pub(super) fn roots(part: Part, path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(part, path)? {
        store
            .add(certificate)
            .map_err(|_| Error::new(part, path, "a certificate in it cannot be used as a CA"))?;
    }
    Ok(store)
}

/// What this machine trusts.
pub(super) fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs().unwrap_or_default();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(found);
    if added == 0 {
        let why = "this system has no CA certificates; name the service's CA with `upstream_tls.ca_file`";
        return Err(Error::system(why));
    }
    Ok(store)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let why = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(why)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() as u64 > MAX_FILE { Err("it is larger than 4MiB".to_owned()) } else { Ok(bytes) }
}
