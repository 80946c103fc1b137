//! Between a consumer and the engine: passes everything on and keeps the inserts, so that they can be
//! sent again as they were, without a consumer. What the engine makes of that is the limit.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// An insert as it went over the wire.
#[derive(Clone)]
pub struct Insert {
    /// With the statement and its settings.
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

pub struct Recorder {
    pub address: SocketAddr,
    inserts: Arc<Mutex<Vec<Insert>>>,
}

impl Recorder {
    /// In front of the engine at `url`.
    pub async fn start(url: String) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inserts: Arc<Mutex<Vec<Insert>>> = Arc::default();
        let kept = Arc::clone(&inserts);
        tokio::spawn(async move {
            let (url, client) = (Arc::new(url), reqwest::Client::new());
            while let Ok((stream, _)) = listener.accept().await {
                let (url, client, kept) = (Arc::clone(&url), client.clone(), Arc::clone(&kept));
                let service = service_fn(move |request| {
                    let (url, client, kept) = (Arc::clone(&url), client.clone(), Arc::clone(&kept));
                    async move { Ok::<_, Infallible>(pass(&url, &client, &kept, request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Recorder { address, inserts }
    }

    /// What went into `events`.
    pub fn inserts(&self) -> Vec<Insert> {
        let inserts = self.inserts.lock().unwrap();
        inserts.iter().filter(|i| i.target.contains("INSERT+INTO+events")).cloned().collect()
    }
}

async fn pass(
    url: &str,
    client: &reqwest::Client,
    kept: &Mutex<Vec<Insert>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head.uri.to_string();
    let mut headers = head.headers;
    for own in ["host", "connection", "transfer-encoding", "content-length", "expect"] {
        headers.remove(own);
    }
    let body = body.collect().await.unwrap().to_bytes();
    let insert = Insert { target, headers, body };
    let answer = send(url, client, &insert).await;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(n, _)| n.as_str().starts_with("x-clickhouse")) {
        response = response.header(name, value);
    }
    let text = answer.bytes().await.unwrap();
    if insert.target.contains("INSERT") {
        kept.lock().unwrap().push(insert);
    }
    response.body(Full::new(text)).unwrap()
}

async fn send(url: &str, client: &reqwest::Client, insert: &Insert) -> reqwest::Response {
    let request = client.post(format!("{url}{}", insert.target)).headers(insert.headers.clone());
    request.body(insert.body.clone()).send().await.unwrap()
}

/// Sends the inserts again, over so many connections, as fast as they are taken.
pub async fn replay(url: &str, inserts: &[Insert], connections: usize) {
    let (next, inserts, url) = (Arc::new(AtomicUsize::new(0)), Arc::new(inserts.to_vec()), url.to_owned());
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (next, inserts, url) = (Arc::clone(&next), Arc::clone(&inserts), url.clone());
        tasks.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            while let Some(insert) = inserts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = send(&url, &client, insert).await;
                let status = answer.status();
                assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}
