//! What is in use, and the task that replaces it when the files say something else.
//!
//! Contents are compared, not times or names: Kubernetes swaps a directory's link, others write a file
//! anew. A certificate and its key are often replaced one after the other, so a pair that does not fit
//! is left for the next look and told once.

use super::{Error, Listener, client};
use crate::config::{Tls, UpstreamTls};
use crate::metrics::Metrics;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_rustls::rustls::ClientConfig;

/// Files that make one side's TLS.
pub trait Material: Send + Sync + Clone + 'static {
    type Made: Send + Sync;

    fn make(&self) -> Result<Self::Made, Error>;
    fn paths(&self) -> Vec<PathBuf>;
    /// How often they are looked at; zero: never.
    fn every(&self) -> Duration;
}

impl Material for Tls {
    type Made = Listener;

    fn make(&self) -> Result<Listener, Error> {
        Listener::new(self)
    }

    fn paths(&self) -> Vec<PathBuf> {
        [&self.cert_file, &self.key_file].into_iter().chain(&self.client_ca_file).cloned().collect()
    }

    fn every(&self) -> Duration {
        self.reload
    }
}

impl Material for UpstreamTls {
    type Made = ClientConfig;

    fn make(&self) -> Result<ClientConfig, Error> {
        client(self)
    }

    fn paths(&self) -> Vec<PathBuf> {
        let files = [&self.ca_file, &self.client_cert_file, &self.client_key_file];
        files.into_iter().flatten().cloned().collect()
    }

    fn every(&self) -> Duration {
        self.reload
    }
}

/// The configuration in use. Read once per connection.
#[derive(Debug)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T: Send + Sync + 'static> Live<T> {
    /// Fails where the files cannot be used now. The task ends when nobody holds the result any more.
    pub fn start<M: Material<Made = T>>(material: M, metrics: Arc<Metrics>) -> Result<Arc<Live<T>>, Error> {
        // Looked at before they are used: a change between the two is then seen.
        let seen = fingerprint(&material.paths());
        let live = Arc::new(Live(RwLock::new(Arc::new(material.make()?))));
        if !material.every().is_zero() {
            tokio::spawn(watch(Arc::downgrade(&live), material, seen, metrics));
        }
        Ok(live)
    }

    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }
}

async fn watch<T: Send + Sync + 'static, M: Material<Made = T>>(
    live: Weak<Live<T>>,
    material: M,
    mut seen: [u8; 32],
    metrics: Arc<Metrics>,
) {
    loop {
        tokio::time::sleep(material.every()).await;
        let files = material.clone();
        let before = seen;
        let look = tokio::task::spawn_blocking(move || {
            let now = fingerprint(&files.paths());
            (now, (now != before).then(|| files.make()))
        });
        // A look that panicked has been told by the panic hook; the next one may go well.
        let Ok((now, made)) = look.await else { continue };
        let Some(live) = live.upgrade() else { return };
        seen = now;
        match made {
            None => {}
            Some(Ok(made)) => {
                *live.0.write() = Arc::new(made);
                metrics.tls_reloads.inc();
                tracing::info!("certificates were replaced");
            }
            Some(Err(error)) => {
                metrics.tls_reload_failures.inc();
                tracing::error!(%error, "changed certificates cannot be used; the old ones stay");
            }
        }
    }
}

/// Of all contents, a file that cannot be read included.
fn fingerprint(paths: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for path in paths {
        let content: Result<[u8; 32], _> = read_hash(path);
        hash.update(content.unwrap_or_default());
    }
    hash.finalize().into()
}

fn read_hash(path: &Path) -> std::io::Result<[u8; 32]> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(8 << 20).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).into())
}
