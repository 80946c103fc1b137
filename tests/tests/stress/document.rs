//! A large document: what is left of reading it.

use crate::origin::Origin;
use crate::sidecar::{Sidecar, configure};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// KiB that its operations may take, with what the allocator does not give back.
const MAY_TAKE: u64 = 8 << 10;

/// Ten megabytes: a thousand operations, each with parameters that nobody asks for later. One more path
/// overlaps with all of theirs, which is told with the line, so that the text is read twice.
fn document() -> String {
    let prose = "What this is, at length. ".repeat(4);
    let mut parameters = String::from(r#"{"name": "id", "in": "path", "schema": {"type": "string"}}"#);
    for n in 0..60 {
        let about = format!(r#""description": "{prose}", "schema": {{"type": "string"}}"#);
        write!(parameters, r#", {{"name": "filter_{n}", "in": "query", {about}}}"#).unwrap();
    }
    let mut paths = String::from(r#""/things/{any}/overlaps": {"post": {}}"#);
    for n in 0..1000 {
        let operation = format!(r#"{{"operationId": "operation-{n}", "parameters": [{parameters}]}}"#);
        write!(paths, r#", "/things/{n}/{{id}}": {{"post": {operation}}}"#).unwrap();
    }
    format!(r#"{{"openapi": "3.0.3", "info": {{"title": "t", "version": "1"}}, "paths": {{{paths}}}}}"#)
}

/// Resident once it is ready, as soon as it is below `most`, or after a while.
async fn settled(more: &str, text: Option<&str>, most: u64) -> u64 {
    let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
    if let Some(text) = text {
        std::fs::write(dir.path().join("openapi.json"), text).unwrap();
    }
    configure(dir.path(), origin.address(), &format!("journal: {{dir: journal, max_bytes: 64MiB}}\n{more}"));
    let sidecar = Sidecar::start(dir.path()).await;
    let until = Instant::now() + Duration::from_secs(5);
    while sidecar.resident() > most && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let resident = sidecar.resident();
    sidecar.stop().await;
    resident
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_large_document_leaves_little_behind() {
    let document = document();
    assert!(document.len() > 10 << 20);
    let without = settled("", None, 0).await;
    let with = settled("openapi: [openapi.json]", Some(&document), without + MAY_TAKE).await;
    println!("{} MiB of document: {without} KiB resident without, {with} KiB with", document.len() >> 20);
    assert!(with < without + MAY_TAKE, "{without} KiB without, {with} KiB with");
}
