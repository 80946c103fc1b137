//! How fast bodies are redacted, beside what parsing and writing the same JSON costs with serde_json.
//!
//! Rounds are interleaved, medians taken and the thread's own time counted, so that what else the
//! machine does falls on both or on neither.

use serde_json::Value;
use sidelog::config::Redact;
use sidelog::pseudonym::Pseudonyms;
use sidelog::redact::{RawBody, Redactor, SchemaMarks};
use std::hint::black_box;
use std::time::Duration;

/// Rounds of each; a round reads about this many bytes.
const ROUNDS: usize = 61;
const ROUND_BYTES: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let redactor = Redactor::new(&Redact::default(), 1 << 20, Pseudonyms::new(b"0123456789abcdef"))?;
    println!("{:28} {:>7} {:>20} {:>20} {:>6}", "body", "bytes", "redact", "serde_json", "ratio");
    for (name, body) in bodies()? {
        let times = (ROUND_BYTES / body.len()).max(1);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(time(times, || redact(&redactor, &body)));
            theirs.push(time(times, || parse_and_write(&body)));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        let shown = |t: Duration| format!("{:.2?} {:5.0} MB/s", t, body.len() as f64 / t.as_secs_f64() / 1e6);
        println!("{name:28} {:>7} {:>20} {:>20} {ratio:>5.2}x", body.len(), shown(ours), shown(theirs));
    }
    Ok(())
}

fn redact(redactor: &Redactor, body: &str) {
    let raw = RawBody {
        content_type: b"application/json",
        bytes: black_box(body).as_bytes(),
        total: body.len() as u64,
        complete: true,
        keep: true,
        ..RawBody::default()
    };
    let message = redactor.message_of(raw, &SchemaMarks::default());
    assert_eq!(message.body_state, "complete");
    black_box(message.body.len());
}

fn parse_and_write(body: &str) {
    let value = serde_json::from_slice::<Value>(black_box(body).as_bytes());
    black_box(
        value.and_then(|value| serde_json::to_string(&value)).map(|text| text.len()).unwrap_or_default(),
    );
}

fn time(times: usize, run: impl Fn()) -> Duration {
    let started = own_time();
    (0..times).for_each(|_| run());
    (own_time() - started) / times as u32
}

/// Processor time of this thread.
fn own_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is there to be written to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Orders of a shop, of about 1 KiB and 64 KiB: as they are, with a secret in each, and indented; and
/// one long text.
fn bodies() -> Result<Vec<(&'static str, String)>, serde_json::Error> {
    let order = |i: usize| {
        format!(
            r#"{{"id":"ord_{i}","customer":{{"first_name":"Ada","last_name":"Lovelace","email":"ada{i}@example.com","phone":"+44 20 7946 0958"}},"amount":{},"currency":"EUR","created_at":"2026-01-02T03:04:05Z","status":"open","lines":[{{"sku":"A-{i}","qty":2,"unit":"pcs","price":12.5}},{{"sku":"B-{i}","qty":1,"unit":"pcs","price":8.0}}],"callback":"https://shop.example.com/hooks/orders/{i}?v=2","note":"please ring twice, the bell is broken"}}"#,
            1000 + i
        )
    };
    let list = |n: usize| format!("[{}]", (0..n).map(order).collect::<Vec<_>>().join(","));
    let small = format!(r#"{{"page":1,"orders":{},"text":"{}"}}"#, list(2), "and a little more ".repeat(8));
    let large = list(155);
    let indented = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&list(104))?)?;
    let text = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor. ".repeat(819);
    Ok(vec![
        ("1 KiB", small.clone()),
        ("1 KiB, secrets", small.replace("\"note\":", "\"password\":")),
        ("64 KiB", large.clone()),
        ("64 KiB, secrets", large.replace("\"note\":", "\"password\":")),
        ("64 KiB, indented", indented),
        ("64 KiB, one text", format!(r#"{{"text":"{text}"}}"#)),
    ])
}
