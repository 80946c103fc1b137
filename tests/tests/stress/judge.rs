//! Whether what the journal tells of a call is true: by the service's ledger first, and by what the
//! client saw where that proves something.

use crate::client::Seen;
use crate::origin::{Entry, Ledger};
use crate::plan::{Client, Plan, pattern};
use harness::recorded::digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Statuses that Sidelog itself may have answered, with the error that says so.
const OWN: [(u16, &str); 1] = [(502, "upstream_connect")];

/// All calls of a run, and how they ended. Prints, and panics where anything is not true.
pub fn judge(calls: &[(Plan, Seen)], ledger: &Ledger, events: &[Value]) {
    let mut told: HashMap<&str, Vec<&Value>> = HashMap::new();
    let (refused, events): (Vec<_>, Vec<_>) = events.iter().partition(|event| event["error"] == "refused");
    for event in &events {
        told.entry(event["http"]["request_id"].as_str().unwrap_or_default()).or_default().push(event);
    }
    let (mut faults, mut ends) = (Vec::new(), BTreeMap::<String, u32>::new());
    for (plan, seen) in calls {
        let of_it = told.remove(&*plan.id).unwrap_or_default();
        let entry = ledger.get(&plan.id);
        let found = match entry {
            Some(entry) => executed(plan, seen, entry, &of_it),
            None => not_executed(plan, seen, &of_it),
        };
        if let [event] = &of_it[..] {
            let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
            let made = if entry.is_some() { "executed" } else { "not executed" };
            let status = if event["http"]["status"].is_null() { "no status" } else { "status" };
            *ends
                .entry(format!("{made}, {}, {}, {status}", word(&event["outcome"]), word(&event["error"])))
                .or_default() += 1;
        }
        faults.extend(
            found.map(|fault| format!("{fault}\n  {plan:.0?}\n  {seen:.0?}\n  {entry:?}\n  {of_it:?}")),
        );
    }
    for event in &refused {
        let executed = calls.iter().any(|(plan, _)| is_of(event, plan) && ledger.contains_key(&plan.id));
        let is = (&event["http"]["status"], &event["outcome"], &event["flags"]);
        let (incomplete, late) = (json!(["head_incomplete"]), json!(["head_timeout"]));
        let fits = is == (&json!(400), &json!("client_error"), &incomplete);
        assert!(fits || is == (&json!(408), &json!("client_error"), &late), "{event}");
        assert!(!executed, "executed, and told as refused: {event}");
    }
    let late = refused.iter().filter(|event| event["http"]["status"] == 408).count();
    let dawdled = calls.iter().filter(|(plan, _)| plan.client == Client::Dawdles).count();
    assert_eq!(late, dawdled, "heads that took too long");
    println!(
        "{} calls, {} executed, {} events and {} refusals:",
        calls.len(),
        ledger.len(),
        events.len(),
        refused.len()
    );
    ends.iter().for_each(|(end, times)| println!("  {times:>6} {end}"));
    assert!(told.is_empty(), "events of calls that nobody made: {told:?}");
    assert!(faults.is_empty(), "{} of {} calls, such as {:.5000}", faults.len(), calls.len(), faults[0]);
}

/// A head that is not whole may say where it would have gone.
fn is_of(event: &Value, plan: &Plan) -> bool {
    let text = |name: &str| event["http"][name].as_str().unwrap_or_default().to_owned();
    format!("{}?{}", text("path"), text("query")) == plan.target
}

fn executed(plan: &Plan, seen: &Seen, entry: &Entry, events: &[&Value]) -> Option<String> {
    let [event] = events else { return Some(format!("executed, and {} events", events.len())) };
    let (http, status) = (&event["http"], event["http"]["status"].as_u64().map(|s| s as u16));
    let (outcome, error) = (&event["outcome"], event["error"].as_str());
    let target = match http["query"].as_str() {
        Some(query) => format!("{}?{query}", http["path"].as_str().unwrap()),
        None => http["path"].as_str().unwrap().to_owned(),
    };
    if entry.times != 1 {
        return Some(format!("executed {} times", entry.times));
    }
    let length = event["request"]["bytes"].as_u64().unwrap_or_default();
    let digest_told = event["request"]["digest"].as_str().unwrap_or_default();
    let is = (http["method"].as_str().unwrap(), &*target, length as usize);
    if is != (&entry.method, &entry.target, entry.length) || (length > 0 && digest_told != entry.digest) {
        return Some("another request".into());
    }
    if entry.digest != digest(&plan.body) {
        return Some("the body was changed on its way".into());
    }
    match (status, entry.said) {
        (Some(told), Some(said)) if told == said => {}
        (Some(told), _) => return Some(format!("status {told} is invented")),
        (None, _) if seen.status.is_some() => return Some("the client has seen a status".into()),
        (None, _) => {}
    }
    if let Some(answer) = &seen.answer {
        if !entry.whole || (answer.len(), &**answer) != (plan.length, &pattern(1, plan.length)) {
            return Some("the answer was changed on its way".into());
        }
        if seen.status != Some(plan.status) || status != seen.status || error.is_some() {
            return Some("the client has seen another end".into());
        }
        let told = event["response"]["digest"].as_str().unwrap_or_default();
        if !answer.is_empty() && told != digest(answer) {
            return Some("another answer".into());
        }
    } else if entry.whole && !seen.gave_up {
        return Some("the client did not get the answer".into());
    }
    let by_status = match status {
        Some(200..=399) => "success",
        Some(400..=499) => "client_error",
        Some(500..=599) => "server_error",
        _ => "unknown",
    };
    let fits = match error {
        None => entry.whole && outcome == by_status,
        Some("client_reset") => seen.gave_up && outcome == "aborted",
        Some("upstream_reset" | "upstream_closed") => !entry.whole && outcome == "server_error",
        Some(_) => false,
    };
    (!fits).then(|| format!("not how it ended: {outcome}, {error:?}"))
}

/// Of such a call there may be an event or not; if there is, it must not claim what did not happen.
fn not_executed(plan: &Plan, seen: &Seen, events: &[&Value]) -> Option<String> {
    if plan.client == Client::Dawdles {
        // Of its head the id had not come.
        return (!events.is_empty() || seen.status != Some(408)).then(|| "dawdled, and was answered".into());
    }
    let event = match events {
        [] if seen.status.is_some() => return Some("answered, and no event".into()),
        [] => return None,
        [event] => event,
        _ => return Some(format!("{} events", events.len())),
    };
    let status = event["http"]["status"].as_u64().map(|s| s as u16);
    let (outcome, error) = (&event["outcome"], event["error"].as_str().unwrap_or_default());
    let own = status.is_some_and(|status| OWN.contains(&(status, error)));
    if status.is_some() && !own {
        return Some(format!("not executed, and status {status:?}"));
    }
    if seen.status.is_some() && seen.status != status {
        return Some("the client has seen another status".into());
    }
    let fits = match error {
        "client_reset" => outcome == "aborted" && plan.client != Client::Reads,
        "upstream_reset" | "upstream_closed" | "upstream_connect" => outcome == "server_error",
        // A connection that dies before its first word looks like a service that speaks no HTTP/2.
        "upstream_malformed" => outcome == "server_error" && event["http"]["version"] == "2",
        _ => false,
    };
    (!fits).then(|| format!("not how it ended: {outcome}, {error:?}"))
}
