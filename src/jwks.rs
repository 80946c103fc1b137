//! Keeps the keys that verify tokens up to date, beside the traffic: one thread for each `jwt` rule
//! with keys.
//!
//! Promises:
//! - No call waits for a fetch. Until keys are there, tokens are recorded as unverified (`no_key`).
//! - A URL is asked again after `refresh`, and sooner when a token names a key that is not there, but
//!   never twice within `cooldown`, however many such tokens come. What failed is tried again after a
//!   second, then two, four … up to `cooldown`.
//! - Of an answer at most `max_bytes` are read, within `timeout` altogether. Redirects are followed on
//!   the very same scheme, host and port only.
//! - When anything fails, the last good keys stay. Each failure is counted, and told once until the
//!   outcome changes; without query strings, and without a word of what was received.
//! - A file is looked at every few seconds and compared by content, since a mounted ConfigMap is
//!   replaced by moving links. The threads end with the rules they serve.
//!
//! ureq fetches: it blocks, which is what a thread of its own may do, and brings neither a runtime nor
//! a TLS library beside rustls.

use crate::config::{self, Jwks, JwksUrl};
use crate::extract::{Extractor, KeyStore, Replaced};
use crate::metrics::Metrics;
use http::Uri;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, Error};

/// How often files are looked at, and the least time between two looks.
const FILE_REFRESH: Duration = Duration::from_secs(5);
const FILE_COOLDOWN: Duration = Duration::from_secs(1);
/// The first wait after a failure; it doubles up to the cooldown.
const RETRY: Duration = Duration::from_secs(1);
const MAX_REDIRECTS: usize = 3;
/// Of an answer.
const MAX_HEAD: usize = 16 << 10;

/// Starts the threads for an extractor's keys; a second call for the same one does nothing.
pub fn watch(extractor: &Extractor, metrics: &Arc<Metrics>) {
    for store in extractor.keys() {
        let pace = match store.source() {
            Jwks::None => continue,
            Jwks::File { .. } => Pace {
                first: FILE_REFRESH,
                refresh: FILE_REFRESH,
                cooldown: FILE_COOLDOWN,
                retry: FILE_REFRESH,
            },
            Jwks::Url(url) => {
                Pace { first: Duration::ZERO, refresh: url.refresh, cooldown: url.cooldown, retry: RETRY }
            }
        };
        start(store, pace, metrics);
    }
}

/// When documents are fetched.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// After the start.
    first: Duration,
    refresh: Duration,
    cooldown: Duration,
    /// After the first failure.
    retry: Duration,
}

fn start(store: &Arc<KeyStore>, pace: Pace, metrics: &Arc<Metrics>) {
    let Some(missing) = store.listen() else { return };
    let mut watcher =
        Watcher { store: Arc::downgrade(store), metrics: metrics.clone(), failures: 0, told: None };
    let thread = std::thread::Builder::new().name("jwks".into());
    if let Err(error) = thread.spawn(move || watcher.run(&missing, pace)) {
        tracing::error!(%error, keys = %store.source().name(), "no thread for keys: they stay as they are");
    }
}

struct Watcher {
    store: Weak<KeyStore>,
    metrics: Arc<Metrics>,
    /// In a row.
    failures: u32,
    /// The failure told last.
    told: Option<String>,
}

impl Watcher {
    /// Until the store is gone, which ends the channel.
    fn run(&mut self, missing: &Receiver<()>, pace: Pace) {
        let mut due = Instant::now() + pace.first;
        let mut rested = Instant::now();
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if missing.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            std::thread::sleep(rested.saturating_duration_since(Instant::now()));
            // What was missing until now, this fetch is for.
            if missing.try_recv() == Err(TryRecvError::Disconnected) || self.fetch().is_none() {
                return;
            }
            let pause = if self.failures == 0 {
                spread(pace.refresh)
            } else {
                let doubled = pace.retry.saturating_mul(1 << (self.failures - 1).min(16));
                doubled.min(pace.cooldown.max(pace.retry)).min(pace.refresh)
            };
            let now = Instant::now();
            due = now + pause;
            rested = now + pace.cooldown.min(pause);
        }
    }

    /// `None` when the store is gone.
    fn fetch(&mut self) -> Option<()> {
        let source = self.store.upgrade()?.source().clone();
        let text = match &source {
            Jwks::None => return None,
            Jwks::File { path, .. } => read(path),
            Jwks::Url(url) => get(url),
        };
        let store = self.store.upgrade()?;
        let invalid = |why| Failure { reason: "invalid", why };
        let keys = source.name();
        match text.and_then(|text| store.replace(&text).map_err(invalid)) {
            Ok(replaced) => {
                self.metrics.jwks_fetches.inc();
                if let Replaced::With { keys: count, warnings } = replaced {
                    tracing::info!(%keys, count, "keys that verify tokens are in force");
                    for warning in warnings {
                        tracing::warn!(%keys, "{warning}");
                    }
                } else if self.failures > 0 {
                    tracing::info!(%keys, "keys that verify tokens can be had again");
                }
                (self.failures, self.told) = (0, None);
            }
            Err(Failure { reason, why }) => {
                self.metrics.jwks_failure(reason);
                self.failures = self.failures.saturating_add(1);
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(%keys, reason, "no new keys: {why}; those in force stay");
                    self.told = Some(why);
                }
            }
        }
        Some(())
    }
}

/// Up to a tenth sooner, so that many sidecars do not ask at once.
fn spread(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1000;
    time - time.mul_f64(random as f64 / 10_000.0)
}

/// Why there is no document.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    /// For the metric.
    reason: &'static str,
    why: String,
}

fn failure(reason: &'static str, why: impl Into<String>) -> Failure {
    Failure { reason, why: why.into() }
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = config::read_bounded(path).map_err(|why| failure("file", why))?;
    String::from_utf8(bytes).map_err(|_| failure("invalid", "it is not UTF-8"))
}

fn get(source: &JwksUrl) -> Result<String, Failure> {
    let mut uri: Uri = source.url.parse().map_err(|_| failure("invalid", "its URL cannot be read"))?;
    let agent = agent(source, &uri)?;
    let until = Instant::now() + source.timeout;
    for _ in 0..=MAX_REDIRECTS {
        let left = until.saturating_duration_since(Instant::now());
        let request = agent.get(&uri).config().timeout_global(Some(left)).build();
        let response = request.call().map_err(|e| told(&e))?;
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get("location").and_then(|v| v.to_str().ok());
            uri = target
                .and_then(|target| same_place(&uri, target))
                .ok_or_else(|| failure("redirect", "it redirects to another place, which is not followed"))?;
            continue;
        }
        if status != 200 {
            return Err(failure("status", format!("the answer has status {}", status.as_u16())));
        }
        let body: Body = response.into_body();
        let bytes = body.into_with_config().limit(source.max_bytes).read_to_vec().map_err(|e| told(&e))?;
        return String::from_utf8(bytes).map_err(|_| failure("invalid", "it is not UTF-8"));
    }
    Err(failure("redirect", "it redirects in circles"))
}

/// For one fetch: roots that were replaced meanwhile are the new ones.
fn agent(source: &JwksUrl, uri: &Uri) -> Result<Agent, Failure> {
    let mut builder = Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(0)
        .user_agent(concat!("sidelog/", env!("CARGO_PKG_VERSION")))
        .accept("application/jwk-set+json, application/json");
    // Proxies of the environment are for what is elsewhere.
    if uri.host().is_some_and(config::is_loopback) {
        builder = builder.proxy(None);
    }
    if uri.scheme_str() == Some("https") {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots(source)?))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        builder = builder.tls_config(tls.build());
    }
    Ok(builder.build().new_agent())
}

/// The authorities a server's certificate may be signed by.
fn roots(source: &JwksUrl) -> Result<Vec<Certificate<'static>>, Failure> {
    let owned = |der: &[u8]| Certificate::from_der(der).to_owned();
    if !source.authorities.is_empty() {
        return Ok(source.authorities.iter().map(|der| owned(der)).collect());
    }
    let roots = rustls_native_certs::load_native_certs().unwrap_or_default();
    if roots.is_empty() {
        return Err(failure("tls", "the system has no certificate authorities; name a `jwks_fetch.ca_file`"));
    }
    Ok(roots.iter().map(|der| owned(der)).collect())
}

/// Where a redirect leads, if that is the same scheme, host and port.
fn same_place(from: &Uri, target: &str) -> Option<Uri> {
    let target = target.split('#').next().unwrap_or_default();
    if target.starts_with('/') && !target.starts_with("//") {
        let (scheme, authority) = (from.scheme()?.clone(), from.authority()?.clone());
        return Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build().ok();
    }
    let to: Uri = target.parse().ok()?;
    let port =
        |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    let same = to.scheme() == from.scheme() && host(&to) == host(from) && port(&to) == port(from);
    (same && to.host().is_some()).then_some(to)
}

/// In words of our own: the library's may quote what was received.
fn told(error: &Error) -> Failure {
    match error {
        Error::Timeout(_) => failure("timeout", "it takes longer than `jwks_fetch.timeout`"),
        Error::HostNotFound => failure("connect", "its host has no address"),
        Error::Io(e) if e.kind() == std::io::ErrorKind::TimedOut => {
            failure("timeout", "it takes longer than `jwks_fetch.timeout`")
        }
        Error::Io(e) => match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => failure("tls", format!("TLS: {tls}")),
            None => failure("connect", e.kind().to_string()),
        },
        Error::ConnectionFailed | Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => {
            failure("connect", "no connection to it")
        }
        Error::Rustls(tls) => failure("tls", format!("TLS: {tls}")),
        Error::Tls(what) => failure("tls", format!("TLS: {what}")),
        Error::BodyExceedsLimit(_) => {
            failure("too_large", "the answer is longer than `jwks_fetch.max_bytes`")
        }
        Error::LargeResponseHeader(..) => failure("too_large", "the answer's head is too long"),
        _ => failure("invalid", "the answer is not HTTP as it should be"),
    }
}

#[cfg(test)]
mod tests;
