//! A server's ledger, the journal and the answers, held against each other.
//!
//! Every message has a number, and all that comes of it has that number in its target: `/m/N` the
//! message, `/s/N` a request hidden in it, `/p/N` the probe behind it.

use crate::origins::Call;
use harness::recorded;
use serde_json::Value;
use std::collections::HashMap;

/// What the client of message `n` received.
pub struct Seen {
    pub n: usize,
    pub received: Vec<u8>,
    /// Neither an answer to the probe nor an end of the connection came, until it said that no more
    /// would follow.
    pub waiting: bool,
}

impl Seen {
    pub fn probe_answered(&self) -> bool {
        self.marks().contains(&format!("p/{}", self.n))
    }

    /// Of the executed calls it was told of, in that order.
    fn marks(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.received);
        let mark = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("x-mark").then(|| value.to_owned())
        };
        text.split("\r\n").filter_map(mark).collect()
    }
}

/// Whether a final answer has begun: its head is complete.
pub fn has_answer(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    let whole = text.rsplit_once("\r\n\r\n").map_or("", |(heads, _)| heads);
    !whole.is_empty() && whole.split("\r\n\r\n").any(|head| !head.starts_with("HTTP/1.1 1"))
}

/// Everything that is wrong, with the number of the message it is about.
pub fn faults(ledger: &[Call], events: &[Value], seen: &[Seen]) -> Vec<(Option<usize>, String)> {
    let mut calls: HashMap<Option<usize>, Vec<&Call>> = HashMap::new();
    ledger.iter().for_each(|call| calls.entry(number(&call.target)).or_default().push(call));
    let mut told: HashMap<Option<usize>, Vec<&Value>> = HashMap::new();
    // A refused request never became a call.
    for event in events.iter().filter(|event| event["error"] != "refused") {
        told.entry(number(&target(event))).or_default().push(event);
    }
    let mut numbers: Vec<_> = calls.keys().chain(told.keys()).copied().collect();
    numbers.sort();
    numbers.dedup();
    let mut faults = Vec::new();
    for n in numbers {
        let calls = calls.get(&n).map_or(&[][..], Vec::as_slice);
        let told = told.get(&n).map_or(&[][..], Vec::as_slice);
        faults.extend(recorded_truly(calls, told).into_iter().map(|fault| (n, fault)));
    }
    for seen in seen {
        let calls = calls.get(&Some(seen.n)).map_or(&[][..], Vec::as_slice);
        let told = told.get(&Some(seen.n)).map_or(&[][..], Vec::as_slice);
        let found = answered_in_order(calls, seen).into_iter().chain(probe_swallowed(calls, told, seen));
        faults.extend(found.map(|fault| (Some(seen.n), fault)));
    }
    faults
}

/// Each executed call has one event that says so, each answered event its call.
fn recorded_truly(calls: &[&Call], events: &[&Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut left = events.to_vec();
    // Of two events alike, the answered one is that of the executed call, and one of an absolute target
    // is a path's only where no other is.
    left.sort_by_key(|event| (event["http"]["status"] != 200, target(event).contains("://")));
    for call in calls {
        if let Some(at) = left.iter().position(|event| same_request(event, call) && same_body(event, call)) {
            left.remove(at);
        } else if let Some(at) = left.iter().position(|event| same_request(event, call)) {
            let event = left.remove(at);
            let body = call.body.escape_ascii();
            faults.push(format!("executed with the body \"{body}\", the event says {}", event["request"]));
        } else {
            let others: Vec<String> = left.iter().map(|event| event["http"].to_string()).collect();
            faults.push(format!(
                "executed without an event: {} {}; events {others:?}",
                call.method, call.target
            ));
        }
    }
    let answered = left.iter().filter(|event| event["http"]["status"] == 200);
    faults
        .extend(answered.map(|event| format!("an event of a call that was not executed: {}", event["http"])));
    faults
}

/// A client is told of its own calls, in the order in which they were executed.
fn answered_in_order(calls: &[&Call], seen: &Seen) -> Option<String> {
    let marks = seen.marks();
    let mut executed = calls.iter().filter_map(|call| mark(&call.target));
    let in_order = marks
        .iter()
        .filter(|mark| number(&format!("/{mark}")).is_some())
        .all(|mark| executed.any(|e| e == *mark));
    (!in_order).then(|| {
        let targets: Vec<&str> = calls.iter().map(|call| call.target.as_str()).collect();
        format!("answered as {marks:?}, executed {targets:?}")
    })
}

/// The sidecar read the probe as a request, the server as a part of something that it waits for the
/// rest of: they disagree about where a message ends.
fn probe_swallowed(calls: &[&Call], events: &[&Value], seen: &Seen) -> Option<String> {
    let probe = format!("/p/{}", seen.n);
    let recorded = events.iter().any(|event| target(event) == probe);
    let executed = calls.iter().any(|call| call.target == probe);
    (seen.waiting && recorded && !executed).then(|| "the probe was swallowed".to_owned())
}

fn same_request(event: &Value, call: &Call) -> bool {
    let said = target(event);
    // Some servers give their applications the path of an absolute target, or drop an empty query.
    let path = said.split_once("://").and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    event["http"]["method"] == call.method.as_str()
        && [Some(said.as_str()), path].contains(&Some(call.target.strip_suffix('?').unwrap_or(&call.target)))
}

fn same_body(event: &Value, call: &Call) -> bool {
    // Some servers answer before they have the body. Where the rest never came, the event says so, and
    // no more can have been executed than it counted.
    let bytes = event["request"]["bytes"].as_u64().unwrap_or_default();
    if event["request"]["body_state"] == "aborted" && call.body.len() as u64 <= bytes {
        return true;
    }
    let digest = if call.body.is_empty() { Value::Null } else { recorded::digest(&call.body).into() };
    event["request"]["bytes"] == call.body.len() && event["request"]["digest"] == digest
}

/// Path and query as they were recorded, a char a byte.
fn target(event: &Value) -> String {
    let path = event["http"]["path"].as_str().unwrap_or_default();
    let text = match event["http"]["query"].as_str() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.bytes().map(char::from).collect()
}

/// `m/N`, `s/N` or `p/N` behind a slash in a target.
fn mark(target: &str) -> Option<&str> {
    let marked = |at: usize| {
        let rest = target.get(at + 1..)?;
        let digits = rest.bytes().skip(2).take_while(u8::is_ascii_digit).count();
        let is_mark = ["m/", "s/", "p/"].iter().any(|kind| rest.starts_with(kind)) && digits > 0;
        is_mark.then(|| rest.get(..2 + digits))?
    };
    target.match_indices('/').find_map(|(at, _)| marked(at))
}

fn number(target: &str) -> Option<usize> {
    mark(target)?.split_once('/')?.1.parse().ok()
}

/// The test of the test: what is recorded wrongly, or not at all, is noticed.
#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(target: &str, body: &[u8]) -> Call {
        Call { method: "POST".into(), target: target.into(), body: body.into() }
    }

    fn event(path: &str, body: &[u8]) -> Value {
        json!({"http": {"method": "POST", "path": path, "status": 200},
            "request": {"bytes": body.len(), "digest": recorded::digest(body)}})
    }

    fn seen(marks: &[&str]) -> Seen {
        let answer =
            |mark: &&str| format!("HTTP/1.1 200 OK\r\nX-Mark: {mark}\r\nContent-Length: 2\r\n\r\nok");
        Seen { n: 7, received: marks.iter().map(answer).collect::<String>().into(), waiting: false }
    }

    #[test]
    fn what_agrees_holds() {
        let ledger = [call("/m/7", b"abc"), call("/p/7", b"probe")];
        let events = [event("/m/7", b"abc"), event("/p/7", b"probe")];
        assert_eq!(faults(&ledger, &events, &[seen(&["m/7", "p/7"])]), []);
        assert!(seen(&["m/7", "p/7"]).probe_answered());
    }

    #[test]
    fn a_smuggled_call_is_noticed() {
        let ledger = [call("/m/7", b""), call("/s/7", b"z"), call("/p/7", b"probe")];
        let events = [event("/m/7", b"abc"), event("/p/7", b"probe")];
        let found = faults(&ledger, &events, &[seen(&["m/7", "s/7"])]);
        assert_eq!(found.len(), 2, "another body, and a call without an event: {found:?}");
        let found = faults(&ledger, &events, &[seen(&["p/7", "s/7"])]);
        assert_eq!(found.len(), 3, "answered out of order too: {found:?}");
    }

    #[test]
    fn a_swallowed_probe_is_noticed() {
        let (ledger, events) = ([call("/m/7", b"abc")], [event("/m/7", b"abc"), event("/p/7", b"probe")]);
        let mut events = events;
        *events[1].pointer_mut("/http/status").unwrap() = Value::Null;
        let mut seen = seen(&["m/7"]);
        assert_eq!(faults(&ledger, &events, std::slice::from_ref(&seen)), [], "the server closed");
        seen.waiting = true;
        assert_eq!(faults(&ledger, &events, &[seen]).len(), 1);
    }

    #[test]
    fn an_event_of_nothing_and_a_strangers_answer_are_noticed() {
        let events = [event("/m/7", b"abc")];
        assert_eq!(faults(&[], &events, &[]).len(), 1);
        assert_eq!(faults(&[call("/m/7", b"abc")], &events, &[seen(&["m/8"])]).len(), 1);
        let mut other = events.clone();
        *other[0].pointer_mut("/http/method").unwrap() = "GET".into();
        assert_eq!(faults(&[call("/m/7", b"abc")], &other, &[]).len(), 2);
    }

    #[test]
    fn an_interim_answer_is_none() {
        assert!(!has_answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
        assert!(has_answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"));
        assert!(!has_answer(b""));
    }
}
