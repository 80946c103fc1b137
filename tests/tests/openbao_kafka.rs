//! The main promise, against services nobody here wrote: what OpenBao's own audit log says was
//! done is what `audit.events` says, call for call, through Kafka, whatever fails on the way; and
//! none of the secrets that went through is kept anywhere.

use harness::load::{self, Load, Sent, assert_same, expected, recorded, wait_for_rows};
use harness::{Canary, Chain, wait_until};
use std::time::Duration;

const CALLS: usize = 5000;
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openbao_and_sidelog_tell_the_same_though_kafka_and_the_consumer_fail() {
    let canary = Canary::new();
    let mut chain = Chain::start(&canary).await;
    let load = Load {
        url: chain.sidecar.url(),
        token: chain.bao.token().to_owned(),
        canary: canary.clone(),
        clients: 16,
        calls: CALLS,
        over: 40 * SECOND,
    };

    let (sent, ()) = tokio::join!(load.run(), fail_on_the_way(&mut chain));
    assert_eq!(sent.len(), CALLS);

    let expected = expected(&sent, &chain.bao.audited());
    assert_eq!(expected.len(), CALLS / load::KINDS * load::RECORDED_KINDS);
    let sql = chain.sql();
    wait_for_rows(&sql, expected.len()).await;
    assert_same(&expected, &recorded(&sql).await);
    // Nothing may come after: every message has been dealt with, and still it is the same.
    wait_until(60 * SECOND, "the consumer has read all", async || chain.lag() == 0).await;
    assert_same(&expected, &recorded(&sql).await);

    no_secret_is_kept(&canary, &sent, &chain).await;
}

/// The broker hangs, then dies and comes back after 20 s; the consumer dies and comes back.
async fn fail_on_the_way(chain: &mut Chain) {
    tokio::time::sleep(3 * SECOND).await;
    chain.kafka.pause();
    tokio::time::sleep(4 * SECOND).await;
    chain.kafka.resume();
    tokio::time::sleep(2 * SECOND).await;
    chain.kafka.kill().await;
    tokio::time::sleep(20 * SECOND).await;
    chain.kafka.restart().await;
    tokio::time::sleep(2 * SECOND).await;
    chain.replace_consumer().await;
}

async fn no_secret_is_kept(canary: &Canary, sent: &[Sent], chain: &Chain) {
    let stores = chain.stores();
    let stores: Vec<_> = stores.iter().map(|path| path.as_path()).collect();
    let told = chain.told().await;
    assert_eq!(canary.in_bytes(&told), [""; 0], "in messages, rows or metrics");
    assert_eq!(canary.in_files(&stores), [""; 0]);
    // Tokens that OpenBao invented and sent back; a few stand for all.
    let invented: Vec<_> = sent.iter().filter_map(|call| call.token.as_deref()).collect();
    assert_eq!(invented.len(), CALLS / load::KINDS);
    for token in invented.into_iter().step_by(50) {
        let token = Canary::of(token);
        assert_eq!(token.in_bytes(&told), [""; 0], "in messages, rows or metrics");
        assert_eq!(token.in_files(&stores), [""; 0]);
    }
}
