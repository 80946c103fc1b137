//! The thinnest whole: one call, through everything, to one row.

use harness::{Canary, Chain, wait_until};
use serde_json::json;
use std::time::Duration;

/// client → sidecar → journal → Kafka → consumer → ClickHouse → SQL.
#[tokio::test]
async fn one_post_becomes_one_row() {
    let canary = Canary::new();
    let chain = Chain::start(&canary).await;

    let answer = reqwest::Client::new()
        .post(format!("{}/v1/secret/data/app/db", chain.sidecar.url()))
        .header("X-Vault-Token", chain.bao.token())
        .header("X-Request-Id", "thin-1")
        .json(&json!({"data": {"password": canary.secret("password")}}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    let sql = chain.sql();
    let count = async || sql.number("SELECT count() FROM audit.events").await;
    wait_until(Duration::from_secs(60), "the call has a row", async || count().await == 1).await;
    let row = sql.query("SELECT * FROM audit.events").await.remove(0);
    assert_eq!(row["service"], "openbao", "{row}");
    assert_eq!(row["method"], "POST", "{row}");
    assert_eq!(row["path"], "/v1/secret/data/app/db", "{row}");
    assert_eq!(row["route"], "/v1/secret/data/{path}", "{row}");
    assert_eq!(row["status"], 200, "{row}");
    assert_eq!(row["outcome"], "success", "{row}");
    assert_eq!(row["request_id"], "thin-1", "{row}");
    assert_eq!(canary.in_bytes(row.to_string().as_bytes()), [""; 0], "{row}");
}
