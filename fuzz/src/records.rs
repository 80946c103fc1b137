//! The consumer's parser: any bytes may lie in a topic.

use crate::Target;
use sidelog_consumer::transform::{self, Origin, Parsed};

pub const RECORD: Target = Target {
    name: "record",
    run: record,
    seeds: &[
        include_bytes!("../../event/tests/data/whole.json"),
        include_bytes!("../../event/tests/data/minimal.json"),
        include_bytes!("../../event/tests/data/loss.json"),
    ],
};

fn record(data: &[u8]) {
    let origin = Origin { topic: "audit.events", partition: 0, offset: 1 };
    match transform::parse(data, origin) {
        Ok(parsed) => {
            let at = parsed.position();
            assert!(at.boot > 0 && at.seq > 0 && !at.producer.is_nil());
            if let Parsed::Loss(loss) = &parsed {
                assert!(loss.first > 0 && loss.first <= loss.last);
            }
        }
        Err(dead) => assert!(!dead.reason.as_str().is_empty()),
    }
}
