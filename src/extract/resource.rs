//! What: the resource a call is about, what it asks to do with it, how that ended, and one readable
//! line that says so.
//!
//! The resource is read off the template, never guessed from names in bodies:
//! - A template that ends in a parameter is about that one: type = the nearest literal segment before
//!   it, id = the parameter's value. `DELETE /v1/users/{id}` → delete, `users`, `7`.
//! - A last word in the plural, or any last word where no parameter comes before, is a collection: it
//!   is the type, there is no id, POST creates in it. `POST /repos/{repo}/issues` → create, `issues`.
//! - Any other last word is an action on, or a part of, what the parameter before it names.
//!   `POST /orders/{id}/cancel` → other, `orders`, `7`; `PUT` or `DELETE /orders/{id}/coupon` → update,
//!   `orders`, `7`: to change a part is to change the whole, never to delete it.
//! - A last word that names an action ([`super::verb`]), or what follows a colon (`/orders:batchDelete`,
//!   `/orders/{id}:cancel`), is no thing: the type is what it acts on, and a POST does what the verb
//!   says. `POST /orders/search` → read, `orders`; `POST /orders/{id}/delete` → delete, `orders`, `7`;
//!   with an object of its own (`/orders/{id}/deleteItem`) it changes a part: update.
//!
//! What was created is told by the answer: see [`super::created`].
//!
//! The type is the literal segment unchanged (`users`, not `user`): it is what one searches for, and
//! English plurals cannot be undone by rule. Only the readable line drops a plain final `s`. Segments
//! that only name a version (`v1`) or `api` are never a type.

use super::text::clean;
use super::verb::{Verb, verb};
use sidelog_event::{Actor, ActorSource, Http, Op, Operation, Outcome, Params};
use std::borrow::Cow;

/// Characters of a resource id.
pub(super) const MAX_ID: usize = 256;
/// Characters of each part of the readable line; the line has at most five of them.
const MAX_PART: usize = 128;

/// What a call is about. An id that had to be cut is marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource<'a> {
    pub op: Op,
    /// Empty when it cannot be told.
    pub kind: Cow<'a, str>,
    /// Empty for a collection.
    pub id: Cow<'a, str>,
}

/// `method`: the effective one. `route`: the operation's template, `None` when the call matched none:
/// then nothing but the method tells, and a POST may be anything.
pub fn resource<'a>(method: &str, route: Option<&'a str>, params: &'a Params<'a>) -> Resource<'a> {
    let plain = match method {
        "GET" | "HEAD" => Op::Read,
        "PUT" | "PATCH" => Op::Update,
        "DELETE" => Op::Delete,
        _ => Op::Other,
    };
    let nothing = |op| Resource { op, kind: "".into(), id: "".into() };
    let Some(route) = route else { return nothing(plain) };
    let shape = Shape::of(route);
    let post = method == "POST";
    let named = |op| Resource {
        op,
        kind: shape.noun.unwrap_or_default().into(),
        id: shape.parameter.and_then(|name| params.get(name)).map(bounded).unwrap_or_default(),
    };
    match shape.tail {
        Tail::Parameter => named(if post { Op::Update } else { plain }),
        Tail::Collection(name) => {
            Resource { kind: name.into(), ..nothing(if post { Op::Create } else { plain }) }
        }
        Tail::Action(name, verb) => {
            let op = if post { verb.map_or(Op::Other, |v| v.op) } else { plain };
            Resource { kind: name.into(), ..nothing(op) }
        }
        Tail::Part(verb) => named(match (plain, verb) {
            (Op::Delete, _) => Op::Update,
            (Op::Other, Some(verb)) if post => on_part(verb),
            _ => plain,
        }),
        Tail::Nothing => nothing(if post { Op::Create } else { plain }),
    }
}

/// What a POST to `/orders/{id}/VERB` does to the order.
fn on_part(verb: Verb) -> Op {
    match verb.op {
        Op::Read | Op::Other => verb.op,
        Op::Update | Op::Delete if verb.bare => verb.op,
        Op::Create if verb.bare => Op::Other,
        Op::Create | Op::Update | Op::Delete => Op::Update,
    }
}

/// Whether a template names one thing, which PUT may then create.
pub fn names_one(route: &str) -> bool {
    matches!(Shape::of(route).tail, Tail::Parameter)
}

/// How a template ends.
#[derive(Clone, Copy)]
enum Tail<'a> {
    Parameter,
    Collection(&'a str),
    /// An action on a collection.
    Action(&'a str, Option<Verb>),
    /// A part of, or an action on, what the last parameter names.
    Part(Option<Verb>),
    Nothing,
}

struct Shape<'a> {
    /// The nearest literal segment before the last parameter.
    noun: Option<&'a str>,
    /// Name of the last parameter.
    parameter: Option<&'a str>,
    tail: Tail<'a>,
}

impl<'a> Shape<'a> {
    fn of(route: &'a str) -> Shape<'a> {
        let (mut literal, mut noun, mut parameter) = (None, None, None);
        let mut tail = Tail::Nothing;
        for segment in route.split('/').filter(|s| !s.is_empty()) {
            if let Some((name, after)) = last_parameter(segment) {
                noun = literal;
                parameter = Some(name);
                // `{id}:cancel` is an action on what {id} names; `{id}.json` is that itself.
                let action = after.strip_prefix(':');
                tail = action.map_or(Tail::Parameter, |action| Tail::Part(verb(action)));
            } else if !is_prefix(segment) {
                tail = Self::after_literal(segment, parameter.is_some(), tail);
                literal = Some(segment);
            }
        }
        Shape { noun, parameter, tail }
    }

    /// The tail when a literal segment comes next. `below`: some parameter came before.
    fn after_literal(segment: &'a str, below: bool, tail: Tail<'a>) -> Tail<'a> {
        if let Some((name, action)) = segment.split_once(':') {
            return Tail::Action(name, verb(action));
        }
        match (verb(segment), tail) {
            (None, _) if below && !is_plural(segment) => Tail::Part(None),
            (None, _) => Tail::Collection(segment),
            (verb, Tail::Collection(name) | Tail::Action(name, _)) => Tail::Action(name, verb),
            (verb, Tail::Nothing) => Tail::Action("", verb),
            (verb, Tail::Parameter | Tail::Part(_)) => Tail::Part(verb),
        }
    }
}

/// Name of the last `{parameter}` of a segment and what follows it.
fn last_parameter(segment: &str) -> Option<(&str, &str)> {
    segment.rsplit_once('{')?.1.split_once('}')
}

/// `api`, `rest`, `v1`, `v2beta1`: says which interface, not what.
fn is_prefix(segment: &str) -> bool {
    let version = |rest: &str| {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        digits.len() < rest.len()
            && (digits.is_empty() || digits.starts_with("alpha") || digits.starts_with("beta"))
    };
    matches!(segment, "api" | "apis" | "rest") || segment.strip_prefix('v').is_some_and(version)
}

/// As far as the last letters tell: `items` is, `status` and `access` are not.
fn is_plural(word: &str) -> bool {
    word.len() > 3 && word.ends_with('s') && !["ss", "us", "is"].iter().any(|e| word.ends_with(e))
}

/// `users` → `user`; words whose singular needs more than dropping the `s` stay.
pub(super) fn singular(word: &str) -> &str {
    let irregular = ["ies", "ses", "xes", "zes", "ches", "shes", "oes", "ves", "news"];
    if is_plural(word) && !irregular.iter().any(|e| word.ends_with(e)) {
        word.strip_suffix('s').unwrap_or(word)
    } else {
        word
    }
}

fn bounded(id: &str) -> Cow<'_, str> {
    let clean = clean(id.as_bytes(), MAX_ID);
    if clean.truncated { format!("{}…", clean.text).into() } else { clean.text }
}

/// How the call ended. `status`: what the client was sent, if anything. `error`: the event's `error`.
///
/// What broke between the parties weighs more than a status: a 200 whose body broke off is no success.
/// A shutdown or a timeout of ours says nothing about the service, so there the status speaks.
pub fn outcome(status: Option<u16>, error: Option<&str>) -> Outcome {
    match error {
        Some("client_reset") => return Outcome::Aborted,
        Some("request_malformed") => return Outcome::ClientError,
        Some(upstream) if upstream.starts_with("upstream_") => return Outcome::ServerError,
        _ => {}
    }
    match status {
        Some(101 | 200..=399) => Outcome::Success,
        Some(401 | 403 | 407) => Outcome::Denied,
        Some(400..=499) => Outcome::ClientError,
        Some(500..=599) => Outcome::ServerError,
        _ => Outcome::Unknown,
    }
}

/// How a gRPC call ended, by the code in `grpc-status`.
pub fn grpc_outcome(code: u16) -> Outcome {
    match code {
        0 => Outcome::Success,
        // Cancelled, usually by the caller.
        1 => Outcome::Aborted,
        // Permission denied, unauthenticated.
        7 | 16 => Outcome::Denied,
        // Invalid argument, not found, already exists, failed precondition, aborted, out of range,
        // unimplemented.
        3 | 5 | 6 | 9 | 10 | 11 | 12 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

/// One readable line: `alice deleted secret app/db (success)`, `bob (unverified) tried to create user
/// (denied)`, `anonymous called POST /v1/orders/7/cancel on order 7 (success)`, `alice called mutation
/// DeleteUser: deleteUser and 2 more (success)`.
///
/// Made of what the event already has, so call it after redaction. Bounded, and free of characters
/// that would break or turn a line.
pub fn message(actor: &Actor<'_>, operation: &Operation<'_>, http: &Http<'_>, outcome: Outcome) -> String {
    let part = |text: &str| clean(text.as_bytes(), MAX_PART).text.into_owned();
    let mut line = who(actor);
    let done = matches!(outcome, Outcome::Success);
    let op = if operation.calls.is_empty() { operation.op } else { Op::Other };
    let (past, attempt) = match op {
        Op::Create => ("created", "create"),
        Op::Update => ("updated", "update"),
        Op::Delete => ("deleted", "delete"),
        Op::Read => ("read", "read"),
        Op::Other => ("called", "call"),
    };
    line.push_str(if done { " " } else { " tried to " });
    line.push_str(if done { past } else { attempt });
    let kind = singular(&operation.resource_type);
    if let Some(first) = operation.calls.first() {
        line.push_str(&format!(" {}", part(first)));
        if operation.calls_total > 1 {
            line.push_str(&format!(" and {} more", operation.calls_total - 1));
        }
    } else if op == Op::Other || kind.is_empty() {
        line.push_str(&format!(" {} {}", part(&http.effective_method), part(&http.path)));
    }
    if !kind.is_empty() {
        line.push_str(if operation.op == Op::Other { " on " } else { " " });
        line.push_str(&part(kind));
    }
    if !operation.resource_id.is_empty() {
        line.push(' ');
        line.push_str(&part(&operation.resource_id));
    }
    line.push_str(&format!(" ({outcome})"));
    line
}

/// The actor as the readable line names them.
pub(super) fn who(actor: &Actor<'_>) -> String {
    let name = [&actor.id, &actor.name].into_iter().find(|text| !text.is_empty());
    let text = match (name, actor.source) {
        (Some(name), _) => clean(name.as_bytes(), MAX_PART).text.into_owned(),
        (None, ActorSource::Anonymous) => return "anonymous".into(),
        (None, source) => format!("someone by {source}"),
    };
    if actor.verified { text } else { format!("{text} (unverified)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sidelog_event::MatchKind;

    fn read(method: &str, route: &str, last: &str) -> (Op, String, String) {
        let mut names: Vec<&str> =
            route.split('{').skip(1).filter_map(|s| s.split_once('}')).map(|p| p.0).collect();
        let id = names.pop();
        let mut all: Vec<_> = names.into_iter().map(|n| (n.into(), "x".into())).collect();
        all.extend(id.map(|n| (n.into(), last.into())));
        let params = Params(all);
        let got = resource(method, Some(route), &params);
        (got.op, got.kind.into_owned(), got.id.into_owned())
    }

    #[test]
    fn resources() {
        use Op::*;
        for (method, route, op, kind, id) in [
            ("POST", "/v1/users", Create, "users", ""),
            ("GET", "/v1/users", Read, "users", ""),
            ("DELETE", "/v1/users", Delete, "users", ""),
            ("GET", "/v1/users/{id}", Read, "users", "7"),
            ("HEAD", "/v1/users/{id}", Read, "users", "7"),
            ("PUT", "/v1/users/{id}", Update, "users", "7"),
            ("PATCH", "/v1/users/{id}", Update, "users", "7"),
            ("POST", "/v1/users/{id}", Update, "users", "7"),
            ("DELETE", "/v1/users/{id}", Delete, "users", "7"),
            ("PURGE", "/v1/users/{id}", Other, "users", "7"),
            ("POST", "/orders/{id}/cancel", Other, "orders", "7"),
            ("PUT", "/orders/{id}/status", Update, "orders", "7"),
            ("DELETE", "/orders/{id}/coupon", Update, "orders", "7"),
            ("POST", "/v2/orders/{id}:cancel", Other, "orders", "7"),
            ("GET", "/reports/{id}.json", Read, "reports", "7"),
            ("POST", "/repos/{owner}/{repo}/issues", Create, "issues", ""),
            ("DELETE", "/repos/{owner}/{repo}", Delete, "repos", "7"),
            ("PATCH", "/repos/{owner}/{repo}/issues/{n}", Update, "issues", "7"),
            ("POST", "/pet/{petId}/uploadImage", Other, "pet", "7"),
            ("POST", "/v1/orders/search", Read, "orders", ""),
            ("GET", "/pets/findByStatus", Read, "pets", ""),
            ("POST", "/user/createWithList", Create, "user", ""),
            ("POST", "/v1/orders:batchDelete", Delete, "orders", ""),
            ("POST", "/projects/{p}/topics:purge", Delete, "topics", ""),
            ("POST", "/projects/{p}/topics:watch", Other, "topics", ""),
            ("POST", "/projects/{p}/topics/add", Create, "topics", ""),
            ("POST", "/orders/{id}/delete", Delete, "orders", "7"),
            ("POST", "/orders/{id}:undelete", Other, "orders", "7"),
            ("POST", "/orders/{id}/deleteItem", Update, "orders", "7"),
            ("POST", "/orders/{id}/create", Other, "orders", "7"),
            ("DELETE", "/orders/{id}/delete", Update, "orders", "7"),
            ("POST", "/repos/{r}/issues/comment", Other, "repos", "7"),
            ("POST", "/login", Other, "", ""),
            ("POST", "/deleteUser", Delete, "", ""),
            ("DELETE", "/users/search", Delete, "users", ""),
            ("POST", "/pet", Create, "pet", ""),
            ("DELETE", "/v1/{tenant}", Delete, "", "7"),
            ("POST", "/", Create, "", ""),
            ("PUT", "/a/{}/b{", Update, "a", "7"),
        ] {
            assert_eq!(read(method, route, "7"), (op, kind.into(), id.into()), "{method} {route}");
        }
    }

    #[test]
    fn without_an_operation_only_the_method_tells() {
        let params = Params::default();
        for (method, op) in [
            ("POST", Op::Other),
            ("PUT", Op::Update),
            ("DELETE", Op::Delete),
            ("GET", Op::Read),
            ("get", Op::Other),
        ] {
            let got = resource(method, None, &params);
            assert_eq!((got.op, got.kind.as_ref(), got.id.as_ref()), (op, "", ""));
        }
    }

    #[test]
    fn ids_are_bounded() {
        let (_, _, id) = read("GET", "/u/{id}", &"x".repeat(5000));
        assert_eq!(id.chars().count(), MAX_ID + 1);
        assert!(id.ends_with('…'));
    }

    #[test]
    fn outcomes() {
        use Outcome::*;
        for (status, error, expected) in [
            (Some(200), None, Success),
            (Some(101), None, Success),
            (Some(304), None, Success),
            (Some(401), None, Denied),
            (Some(403), None, Denied),
            (Some(407), None, Denied),
            (Some(404), None, ClientError),
            (Some(500), None, ServerError),
            (Some(100), None, Unknown),
            (Some(999), None, Unknown),
            (None, None, Unknown),
            (Some(200), Some("client_reset"), Aborted),
            (None, Some("client_reset"), Aborted),
            (Some(502), Some("upstream_connect"), ServerError),
            (Some(200), Some("upstream_reset"), ServerError),
            (None, Some("upstream_malformed"), ServerError),
            (Some(400), Some("request_malformed"), ClientError),
            (None, Some("request_malformed"), ClientError),
            (Some(408), Some("timeout"), ClientError),
            (None, Some("timeout"), Unknown),
            (None, Some("shutdown"), Unknown),
            (Some(200), Some("shutdown"), Success),
        ] {
            assert_eq!(outcome(status, error), expected, "{status:?} {error:?}");
        }
    }

    fn operation(op: Op, kind: &'static str, id: &'static str) -> Operation<'static> {
        Operation {
            matched: MatchKind::Matched,
            id: "".into(),
            route: "".into(),
            summary: "".into(),
            tags: vec![],
            api_version: "".into(),
            alternatives: vec![],
            path_params: Params::default(),
            op,
            resource_type: kind.into(),
            resource_id: id.into(),
            protocol: "".into(),
            calls: vec![],
            calls_total: 0,
        }
    }

    fn http(method: &'static str, path: &'static str) -> Http<'static> {
        Http {
            version: "1.1".into(),
            method: method.into(),
            effective_method: method.into(),
            scheme: "http".into(),
            host: "".into(),
            path: path.into(),
            query: "".into(),
            status: None,
            grpc_status: None,
            user_agent: "".into(),
            request_id: "".into(),
            idempotency_key: "".into(),
            trace_id: "".into(),
        }
    }

    fn actor(id: &str, source: ActorSource, verified: bool) -> Actor<'static> {
        Actor { id: id.to_owned().into(), source, verified, ..crate::extract::actor::anonymous() }
    }

    #[test]
    fn messages() {
        let alice = actor("alice", ActorSource::VerifiedJwt, true);
        let bob = actor("bob", ActorSource::UnverifiedJwt, false);
        let line = |actor: &Actor<'_>, op, kind, id, outcome| {
            message(actor, &operation(op, kind, id), &http("POST", "/v1/x"), outcome)
        };
        let secret = line(&alice, Op::Delete, "secrets", "app/db", Outcome::Success);
        assert_eq!(secret, "alice deleted secret app/db (success)");
        let denied = line(&bob, Op::Create, "users", "", Outcome::Denied);
        assert_eq!(denied, "bob (unverified) tried to create user (denied)");
        let anonymous = actor("", ActorSource::Anonymous, false);
        let unmatched = line(&anonymous, Op::Other, "", "", Outcome::Success);
        assert_eq!(unmatched, "anonymous called POST /v1/x (success)");
        let action = line(&alice, Op::Other, "orders", "7", Outcome::ServerError);
        assert_eq!(action, "alice tried to call POST /v1/x on order 7 (server_error)");
        let nameless = actor("", ActorSource::UnverifiedJwt, false);
        let put = line(&nameless, Op::Update, "policies", "p", Outcome::Success);
        assert_eq!(put, "someone by unverified_jwt (unverified) updated policies p (success)");
    }

    #[test]
    fn a_message_tells_the_calls_inside() {
        let alice = actor("alice", ActorSource::VerifiedJwt, true);
        let mut operation = operation(Op::Other, "", "");
        operation.calls = vec!["mutation: deleteUser".into()];
        operation.calls_total = 1;
        let line =
            |operation: &Operation<'_>, outcome| message(&alice, operation, &http("POST", "/g"), outcome);
        assert_eq!(line(&operation, Outcome::Success), "alice called mutation: deleteUser (success)");
        operation.calls_total = 3;
        let failed = line(&operation, Outcome::Denied);
        assert_eq!(failed, "alice tried to call mutation: deleteUser and 2 more (denied)");
    }

    #[test]
    fn grpc_outcomes() {
        let codes =
            |wanted: Outcome| (0..18).filter(move |c| grpc_outcome(*c) == wanted).collect::<Vec<u16>>();
        assert_eq!(codes(Outcome::Success), [0]);
        assert_eq!(codes(Outcome::Aborted), [1]);
        assert_eq!(codes(Outcome::Denied), [7, 16]);
        assert_eq!(codes(Outcome::ClientError), [3, 5, 6, 9, 10, 11, 12]);
        assert_eq!(codes(Outcome::ServerError), [2, 4, 8, 13, 14, 15, 17]);
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        let forged = actor("a\n2026 root deleted all\u{202e}", ActorSource::VerifiedJwt, true);
        let line = message(&forged, &operation(Op::Read, "x", ""), &http("GET", "/"), Outcome::Success);
        assert!(!line.contains('\n') && !line.contains('\u{202e}'), "{line}");
        let long = actor(&"a".repeat(100_000), ActorSource::VerifiedJwt, true);
        let line = message(&long, &operation(Op::Read, "x", ""), &http("GET", "/"), Outcome::Success);
        assert!(line.chars().count() < 6 * MAX_PART, "{}", line.len());
    }

    #[test]
    fn plain_plurals_only() {
        for (word, one) in [
            ("users", "user"),
            ("secrets", "secret"),
            ("status", "status"),
            ("access", "access"),
            ("policies", "policies"),
            ("addresses", "addresses"),
            ("analysis", "analysis"),
            ("bus", "bus"),
            ("pet", "pet"),
        ] {
            assert_eq!(singular(word), one);
        }
    }
}
