//! `/healthz`, `/readyz` and `/metrics` for the pod; `/config` for this host only.
//!
//! Liveness and readiness never depend on Kafka or ClickHouse: an outage behind the journal must not
//! take the service in front of it away.

use crate::auditor::Auditor;
use crate::metrics;
use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of the two admin listeners answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Pod,
    Local,
}

#[derive(Debug)]
pub struct Admin {
    pub scope: Scope,
    pub auditor: Arc<Auditor>,
    /// Set when the sidecar drains; it is then no longer ready.
    pub draining: Arc<AtomicBool>,
}

impl Admin {
    fn answer(&self, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        match path {
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".into()),
            "/readyz" if self.draining.load(Ordering::Relaxed) => {
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".into())
            }
            // Stale rules are no reason to take the service away.
            "/readyz" if self.auditor.standing().is_stale() => {
                (StatusCode::OK, TEXT, "ready; the configuration in force is stale, see /config\n".into())
            }
            "/readyz" => (StatusCode::OK, TEXT, "ready\n".into()),
            "/metrics" => (StatusCode::OK, metrics::CONTENT_TYPE, self.auditor.scrape()),
            "/config" if self.scope == Scope::Local => {
                (StatusCode::OK, "application/json", self.auditor.standing().as_json().to_string())
            }
            _ => (StatusCode::NOT_FOUND, TEXT, "not found; try /healthz, /readyz or /metrics\n".into()),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let (status, kind, body) = match request.method {
            http::Method::GET | http::Method::HEAD => self.answer(request.uri.path()),
            _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "GET only\n".into()),
        };
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, length);
        response
    }
}
