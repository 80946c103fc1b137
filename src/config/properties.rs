//! Which librdkafka properties may be set. Refused is what would break a promise: an event lost, sent
//! out of order, or a password in a file.

use super::load::Check;
use super::tree::At;
use super::yaml::Scalar;
use std::collections::BTreeMap;

/// What becomes of a property.
enum Verdict {
    /// It breaks something: why.
    Refused(&'static str),
    /// It says what holds anyway.
    Needless,
    Fine,
}

pub(super) fn check(check: &mut Check<'_>, properties: &BTreeMap<String, At<Scalar>>) {
    for (name, value) in properties {
        match verdict(name, value.value.0.trim()) {
            Verdict::Refused(why) => {
                check.error(value.at, format!("`kafka.properties`: `{name}` must not be set like this"), why)
            }
            Verdict::Needless => check.warn(
                value.at,
                format!("`kafka.properties`: `{name}` is set to this by Sidelog"),
                "leave it out",
            ),
            Verdict::Fine => {}
        }
        if is_secret(name) && !value.from_env && !value.value.0.is_empty() {
            check.error(
                value.at,
                format!("`kafka.properties`: `{name}` is a secret, and this file is not the place for it"),
                "use a variable: \"${KAFKA_PASSWORD}\"",
            );
        }
    }
}

fn verdict(name: &str, value: &str) -> Verdict {
    let refused_unless =
        |harmless: bool, why| if harmless { Verdict::Needless } else { Verdict::Refused(why) };
    match name {
        "bootstrap.servers" | "metadata.broker.list" => Verdict::Refused("use `kafka.brokers`"),
        "enable.idempotence" => {
            refused_unless(value == "true", "without it, a retry can store an event twice or out of order")
        }
        "acks" | "request.required.acks" => refused_unless(
            matches!(value, "all" | "-1"),
            "an event leaves the journal when all replicas have it",
        ),
        "message.timeout.ms" | "delivery.timeout.ms" => refused_unless(
            value == "0",
            "the journal keeps events until they are delivered, however long that takes",
        ),
        "max.in.flight" | "max.in.flight.requests.per.connection" => {
            let fits = value.parse::<u32>().is_ok_and(|n| (1..=5).contains(&n));
            if fits { Verdict::Fine } else { Verdict::Refused("idempotence allows 1 to 5") }
        }
        "retries" | "message.send.max.retries" => {
            Verdict::Refused("events are retried until they are delivered")
        }
        "transactional.id" => Verdict::Refused("events are sent without transactions"),
        "enable.gapless.guarantee" => Verdict::Refused("the journal sees to it that there are no gaps"),
        "partitioner" if value == "random" => {
            Verdict::Refused("a producer's events must stay in one partition to keep their order")
        }
        _ if name.ends_with("_cb") || name == "opaque" => {
            Verdict::Refused("it is not a value but a callback")
        }
        _ => Verdict::Fine,
    }
}

/// Whether a property's value is never shown, and not to be typed into a file.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    const PARTS: &[&str] = &["password", "passphrase", "secret", "jaas", "private.key.pem"];
    // The names of files are no secrets themselves.
    let file = name.ends_with(".location") || name.ends_with(".file");
    let whole = matches!(name.as_str(), "ssl.key.pem" | "ssl_key" | "sasl.oauthbearer.config");
    !file && (whole || PARTS.iter().any(|p| name.contains(p)))
}
