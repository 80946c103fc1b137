//! Kafka behind those who ship: the one of the tests, and an older one for a client whose messages Kafka 4
//! does not take any more.

use crate::subject::{nginx, sidelog};
use harness::Kafka;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::runtime::Runtime;

/// Both may be missing.
pub struct Brokers {
    new: Option<(Kafka, String)>,
    old: Option<(Kafka, String)>,
}

impl Brokers {
    /// What cannot be started is noted.
    pub fn start(runtime: &Runtime, new: bool, old: bool, notes: &mut Vec<String>) -> Brokers {
        let mut start = |wanted: bool, item: &'static str, topic: &str| {
            let started = wanted.then(|| {
                // The harness panics: a test could not go on without.
                catch_unwind(AssertUnwindSafe(|| {
                    runtime.block_on(async {
                        let kafka = Kafka::start_installed(item).await;
                        kafka.create_topic(topic, 2).await;
                        let address = kafka.bootstrap();
                        (kafka, address)
                    })
                }))
            })?;
            let noted =
                |_| notes.push(format!("no broker: scripts/deps.sh installs what is in .deps/{item}"));
            started.map_err(noted).ok()
        };
        let new = start(new, "kafka", sidelog::TOPIC);
        Brokers { new, old: start(old, "peers/kafka", nginx::TOPIC) }
    }

    pub fn address(&self, old: bool) -> Option<&str> {
        let broker = if old { &self.old } else { &self.new };
        broker.as_ref().map(|(_, address)| address.as_str())
    }

    /// Messages that a topic ever got.
    pub fn messages(&self, (old, topic): (bool, &str)) -> Option<f64> {
        let broker = if old { &self.old } else { &self.new };
        let (kafka, _) = broker.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| kafka.messages(topic) as f64)).ok()
    }
}
