//! The JSON somebody sends: fields by operation, values from what people write.

use super::random::Random;
use super::world::Call;
use std::fmt::Write;

/// Bounds of a body.
const LEAST: usize = 300;
const MOST: usize = 640;

const WORDS: [&str; 64] = [
    "order",
    "customer",
    "delivery",
    "invoice",
    "nightly",
    "export",
    "review",
    "pending",
    "approved",
    "rejected",
    "shipment",
    "warehouse",
    "priority",
    "standard",
    "express",
    "weekly",
    "report",
    "account",
    "update",
    "contract",
    "renewal",
    "support",
    "request",
    "change",
    "schedule",
    "maintenance",
    "window",
    "region",
    "north",
    "south",
    "east",
    "west",
    "primary",
    "secondary",
    "backup",
    "restore",
    "archive",
    "draft",
    "final",
    "version",
    "internal",
    "public",
    "private",
    "partner",
    "supplier",
    "purchase",
    "return",
    "refund",
    "discount",
    "campaign",
    "summer",
    "winter",
    "spring",
    "autumn",
    "quality",
    "check",
    "passed",
    "failed",
    "retry",
    "batch",
    "import",
    "sync",
    "legacy",
    "service",
];
const FIELDS: [&str; 16] = [
    "description",
    "note",
    "comment",
    "title",
    "category",
    "status",
    "owner",
    "region",
    "channel",
    "priority",
    "label",
    "reference",
    "group",
    "stage",
    "source",
    "kind",
];

pub struct Body<'r, 'c> {
    pub random: &'r mut Random,
    pub call: &'c Call<'c>,
}

impl Body<'_, '_> {
    pub fn text(mut self) -> String {
        let bound = LEAST + self.random.below((MOST - LEAST) as u64) as usize;
        let mut out = String::with_capacity(MOST + 64);
        let operation = self.call.operation.operation_id.as_deref().unwrap_or("call");
        // Writing to a String cannot fail.
        let _ = write!(out, r#"{{"type":"{operation}","name":"{} {}""#, self.word(), self.word());
        let _ = write!(
            out,
            r#","contact":"{}@example.com""#,
            self.call.person.id.replace("spiffe://", "").replace('/', ".")
        );
        if self.random.one_in(5) {
            out.push_str(r#","password":"[redacted]""#);
        }
        // An operation's fields come in one order.
        let mut field = operation.len();
        while out.len() + 90 < bound {
            field += 1;
            let name = FIELDS[field % FIELDS.len()];
            match field % 5 {
                0 => drop(write!(out, r#","{name}_id":{}"#, self.random.below(1_000_000))),
                1 => drop(write!(
                    out,
                    r#","{name}_at":"2026-{:02}-{:02}T{:02}:00:00Z""#,
                    8 + self.random.below(3),
                    1 + self.random.below(28),
                    self.random.below(24)
                )),
                2 => drop(write!(
                    out,
                    r#","{name}":{{"amount":{}.{:02},"currency":"EUR"}}"#,
                    self.random.below(2000),
                    self.random.below(100)
                )),
                3 => drop(write!(out, r#","{name}":["{}","{}"]"#, self.word(), self.word())),
                _ => self.sentence(&mut out, name),
            }
        }
        for number in 1.. {
            if out.len() >= LEAST {
                break;
            }
            self.sentence(&mut out, &format!("remark_{number}"));
        }
        out.push('}');
        out
    }

    fn sentence(&mut self, out: &mut String, name: &str) {
        let _ = write!(out, r#","{name}":"{}"#, self.word());
        for _ in 0..2 + self.random.below(6) {
            let _ = write!(out, " {}", self.word());
        }
        out.push('"');
    }

    fn word(&mut self) -> &'static str {
        WORDS[self.random.skewed(WORDS.len() as u64) as usize]
    }
}
