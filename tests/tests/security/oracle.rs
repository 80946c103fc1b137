//! What must hold of a payload: of any, and of this one.
//!
//! Of any: the service received a beginning of what was sent and nothing else; each call it executed
//! has exactly one event that says of it what the ledger says (method, target, body, address), but
//! for plain reads, which have none; no event tells of a complete call that was not executed.
//!
//! Of this one: the answers, the reason of a refusal, the calls, the events and their members.
//! A member's path is dotted (`http.method`). It must equal what is given; `null`: it is not there;
//! an object asks something else: `{"has": text}`, `{"lacks": text}`, `{"length": n}`.

use crate::cases::{Payload, Words, filled};
use crate::fixture::Seen;
use harness::origin::{End, Request, came_through};
pub use harness::recorded::digest as keyed_digest;
use serde_json::{Map, Value};

/// Everything that is wrong with what came of a payload.
pub fn faults(payload: &Payload, words: &Words, seen: &Seen, events: &[&Value]) -> Vec<String> {
    let mut faults = if payload.ignored { Vec::new() } else { truth(seen, events) };
    let answers = answers(&seen.received);
    if answers != payload.answers {
        faults.push(format!("the client got {answers:?} instead of {:?}", payload.answers));
    }
    let reasons: Vec<&str> = payload.refused.as_deref().into_iter().collect();
    if seen.refused != reasons {
        faults.push(format!("counted as refused: {:?} instead of {reasons:?}", seen.refused));
    }
    if payload.refused.is_some() && seen.end != End::Eof {
        faults.push(format!("a refusal that ends in {:?}", seen.end));
    }
    let executed: Vec<String> = seen.ledger.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    let wanted: Vec<String> = payload.executed.iter().map(|call| filled(call, words)).collect();
    if executed != wanted {
        faults.push(format!("executed {executed:?} instead of {wanted:?}"));
    }
    if events.len() != payload.events.len() {
        faults.push(format!("{} events instead of {}: {events:#?}", events.len(), payload.events.len()));
        return faults;
    }
    for (event, wanted) in events.iter().zip(&payload.events) {
        faults.extend(members(event, wanted));
    }
    faults
}

/// An event of a refusal tells of one that was counted, and of nothing the service saw.
pub fn refusals(seen: &Seen, events: &[&Value]) -> Vec<String> {
    let mut counted = seen.refused.clone();
    let mut faults = Vec::new();
    for event in events {
        match counted.iter().position(|reason| event["flags"][0] == reason.as_str()) {
            Some(at) => _ = counted.remove(at),
            None => {
                faults.push(format!("recorded as refused: {}, counted {:?}", event["flags"], seen.refused))
            }
        }
    }
    faults
}

/// What holds of any payload.
pub fn truth(seen: &Seen, events: &[&Value]) -> Vec<String> {
    let mut faults = Vec::new();
    if !came_through(&seen.raw, &seen.forwarded) {
        faults.push(format!("the service received other bytes: {:?}", shown(&seen.forwarded)));
    }
    faults.extend(ledger_and_events(&seen.ledger, events));
    for event in events {
        if event["client"]["peer_ip"] != seen.peer.to_string() {
            faults.push(format!("the peer was {}: {}", seen.peer, event["client"]));
        }
    }
    faults
}

/// Each executed call has its event, in order, and each complete event its call.
pub fn ledger_and_events(ledger: &[Request], events: &[&Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut events = events.iter().filter(|event| is_whole(event)).peekable();
    for request in ledger {
        match events.peek() {
            Some(event) if event["http"]["method"] == request.method && same_target(event, request) => {
                faults.extend(told_truly(events.next().unwrap(), request));
            }
            _ if is_plain_read(request) => {}
            _ => faults.push(format!("executed without an event: {} {}", request.method, request.target)),
        }
    }
    faults.extend(events.map(|event| format!("an event of a call that was not executed: {}", event["http"])));
    faults
}

/// The call was complete: what the service had of it, it had whole.
fn is_whole(event: &Value) -> bool {
    event["error"].is_null() && event["request"]["body_state"] != "aborted"
}

/// What an event says of a call, where it says anything else than the ledger.
fn told_truly(event: &Value, request: &Request) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, told: &Value, was: Value| {
        if *told != was {
            faults.push(format!("the event's {what} is {told}, the service saw {was}"));
        }
    };
    same("length", &event["request"]["bytes"], request.body.len().into());
    let digest = if request.body.is_empty() { Value::Null } else { keyed_digest(&request.body).into() };
    same("digest", &event["request"]["digest"], digest);
    same("host", &event["http"]["host"], request.field("host").map_or(Value::Null, Into::into));
    if event["level"] == "none" {
        faults.push("recorded at level none".into());
    }
    faults
}

/// Whether path and query are those of the request. What is masked cannot be compared; the rest can.
fn same_target(event: &Value, request: &Request) -> bool {
    let path = event["http"]["path"].as_str().unwrap_or_default();
    let target = match event["http"]["query"].as_str() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let raw: String = target.bytes().map(char::from).collect();
    let was = request.target.strip_suffix('?').unwrap_or(&request.target);
    raw == was || event["redactions"]["count"].as_u64() > Some(0)
}

/// The only calls that need no event: a safe method in its exact spelling, without a body, an
/// override or the wish for a tunnel.
pub fn is_plain_read(request: &Request) -> bool {
    let overridden = ["x-http-method-override", "x-http-method", "x-method-override", "upgrade"];
    ["GET", "HEAD", "OPTIONS", "TRACE"].contains(&request.method.as_str())
        && request.body.is_empty()
        && !overridden.iter().any(|name| request.field(name).is_some())
        && !request.target.contains("_method=")
}

/// What is wrong with the members of an event.
pub fn members(event: &Value, wanted: &Map<String, Value>) -> Vec<String> {
    let check = |(path, want): (&String, &Value)| {
        let is = path.split('.').fold(event, |value, name| value.get(name).unwrap_or(&Value::Null));
        (!fits(is, want)).then(|| format!("{path} is {is}, not {want}"))
    };
    wanted.iter().filter_map(check).collect()
}

fn fits(is: &Value, want: &Value) -> bool {
    let Some(asked) = want.as_object() else { return is == want };
    let text = is.as_str().unwrap_or_default();
    let has = |what: &Value| text.contains(what.as_str().expect("a text"));
    asked.iter().all(|(how, what)| match (how.as_str(), what) {
        ("has", Value::Array(all)) => all.iter().all(has),
        ("has", one) => has(one),
        ("lacks", Value::Array(all)) => is.is_string() && !all.iter().any(has),
        ("lacks", one) => is.is_string() && !has(one),
        ("length", Value::Number(n)) => n.as_u64() == Some(text.chars().count() as u64),
        _ => panic!("no such question to a member: {want}"),
    })
}

/// The statuses in a stream of responses, interim ones left out. The origin's answer to HEAD has no
/// body, and says so with a length all the same, as the RFC has it: a length that runs past the
/// end is none.
pub fn answers(mut stream: &[u8]) -> Vec<u16> {
    let mut all = Vec::new();
    while let Some(at) = memchr::memmem::find(stream, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(stream.get(..at).unwrap_or_default()).to_ascii_lowercase();
        let Some(status) = head.strip_prefix("http/1.1 ").and_then(|s| s.get(..3)?.parse().ok()) else {
            break;
        };
        let length = head.split("\r\n").find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
        let rest = stream.get(at + 4..).unwrap_or_default();
        let body = length.unwrap_or(0usize);
        let no_body = (100..200).contains(&status) || rest.starts_with(b"HTTP/1.1 ");
        stream = rest.get(if no_body { 0 } else { body.min(rest.len()) }..).unwrap_or_default();
        if !(100..200).contains(&status) || status == 101 {
            all.push(status);
        }
    }
    all
}

pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..bytes.len().min(200)).unwrap_or_default());
    text.into_owned()
}

/// The test of the test: each thing that an event may say wrongly, or not say, is noticed.
#[cfg(test)]
mod tests {
    use super::*;
    use harness::origin::requests;
    use serde_json::json;

    const RAW: &[u8] = b"POST /v1/orders?a=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";

    fn seen(raw: &[u8]) -> Seen {
        Seen {
            raw: raw.to_vec(),
            peer: [127, 1, 2, 3].into(),
            received: Vec::new(),
            end: End::Eof,
            ledger: requests(raw).0,
            forwarded: raw.to_vec(),
            refused: Vec::new(),
        }
    }

    fn event() -> Value {
        json!({
            "http": {"method": "POST", "path": "/v1/orders", "query": "a=1", "host": "a", "status": 200},
            "client": {"peer_ip": "127.1.2.3"}, "level": "request",
            "request": {"bytes": 3, "digest": keyed_digest(b"abc"), "body_state": "complete"},
        })
    }

    #[test]
    fn a_true_event_of_each_call_holds() {
        assert_eq!(truth(&seen(RAW), &[&event()]), [""; 0]);
        assert_eq!(truth(&seen(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), &[]), [""; 0]);
    }

    #[test]
    fn a_missing_or_second_event_is_noticed() {
        assert_eq!(truth(&seen(RAW), &[]), ["executed without an event: POST /v1/orders?a=1"]);
        assert_eq!(truth(&seen(RAW), &[&event(), &event()]).len(), 1);
        let odd_reads: [&[u8]; 4] = [
            b"get /x HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            b"GET /x HTTP/1.1\r\nHost: a\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
            b"GET /x?_method=DELETE HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for raw in odd_reads {
            assert_eq!(truth(&seen(raw), &[]).len(), 1, "{}", shown(raw));
        }
    }

    #[test]
    fn a_false_member_is_noticed() {
        let false_members = [
            ("/http/method", json!("PUT")),
            ("/http/path", json!("/v1/order")),
            ("/http/query", json!("a=2")),
            ("/http/host", json!("b")),
            ("/request/bytes", json!(4)),
            ("/request/digest", json!(keyed_digest(b"abd"))),
            ("/client/peer_ip", json!("127.0.0.1")),
        ];
        for (member, value) in false_members {
            let mut event = event();
            *event.pointer_mut(member).unwrap() = value;
            assert!(!truth(&seen(RAW), &[&event]).is_empty(), "{member}");
        }
        let mut changed = seen(RAW);
        changed.forwarded[30] ^= 1;
        assert!(!truth(&changed, &[&event()]).is_empty(), "a byte changed on the way");
    }

    #[test]
    fn a_member_answers_questions() {
        let event = json!({"a": {"b": "text"}, "n": [1]});
        let ask = |wanted: Value| members(&event, wanted.as_object().unwrap()).len();
        assert_eq!(ask(json!({"a.b": "text", "a.c": null, "n": [1], "a.b.c": null})), 0);
        assert_eq!(ask(json!({"a.b": {"has": ["te", "xt"], "lacks": "y", "length": 4}})), 0);
        for wrong in
            [json!("tex"), json!(null), json!({"has": "y"}), json!({"lacks": "x"}), json!({"length": 3})]
        {
            assert_eq!(ask(json!({ "a.b": wrong })), 1);
        }
        assert_eq!(ask(json!({"a.c": {"lacks": "x"}})), 1, "what is not there lacks nothing");
    }

    #[test]
    fn answers_are_read_one_after_the_other() {
        let stream = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 400 B\r\n\r\n";
        assert_eq!(answers(stream), [200, 400]);
        assert_eq!(answers(b""), [0; 0]);
    }
}
