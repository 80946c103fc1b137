//! `/healthz`, `/readyz` and `/metrics`.
//!
//! Alive means that this answers: an outage of ClickHouse or Kafka is waited out, and a restart would
//! not help. Ready means that records flow.

use crate::metrics::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Connections at once.
const CONNECTIONS: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// One connection, from its first byte to its last.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Answers on `listener` until dropped.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>, metrics: Arc<Metrics>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (registry, metrics) = (Arc::clone(&registry), Arc::clone(&metrics));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &registry, &metrics);
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is its own affair.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(slot);
        });
    }
}

fn answer(method: &Method, path: &str, registry: &Registry, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, body) = if !matches!(*method, Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".to_owned())
    } else {
        match path {
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".into()),
            "/readyz" if metrics.is_ready() => (StatusCode::OK, TEXT, "ready\n".into()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, metrics.waiting_for()),
            "/metrics" => {
                let mut text = String::new();
                match prometheus_client::encoding::text::encode(&mut text, registry) {
                    Ok(()) => (StatusCode::OK, OPENMETRICS, text),
                    Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, "cannot write metrics\n".into()),
                }
            }
            _ => (StatusCode::NOT_FOUND, TEXT, "not found; try /healthz, /readyz or /metrics\n".into()),
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_both_ends_answer() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let status = |path| answer(&Method::GET, path, &registry, &metrics).status();
        assert_eq!(status("/healthz"), StatusCode::OK);
        assert_eq!(status("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(metrics.waiting_for(), "waiting for ClickHouse and the source\n");
        metrics.set_started();
        metrics.store_up.set(1);
        assert_eq!(metrics.waiting_for(), "waiting for the source\n");
        metrics.source_up.set(1);
        assert_eq!(status("/readyz"), StatusCode::OK);
        metrics.store_up.set(0);
        assert_eq!(status("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status("/nothing"), StatusCode::NOT_FOUND);
        assert_eq!(answer(&Method::POST, "/metrics", &registry, &metrics).status(), 405);
    }

    #[test]
    fn every_metric_is_ours_and_explained() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.retry("insert");
        metrics.stored("events", 3);
        metrics.lost("a word nobody agreed on", 2);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("sidelog_consumer_"), "{line}");
        }
        assert!(text.contains(r#"sidelog_consumer_lost_records_total{reason="other"} 2"#), "{text}");
        assert!(text.contains(r#"sidelog_consumer_dead_letters_total{reason="not_json"} 0"#), "{text}");
        assert!(text.contains(r#"sidelog_consumer_rows_total{table="events"} 3"#), "{text}");
    }
}
