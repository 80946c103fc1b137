//! Who a token's claims name.
//!
//! Where the token says that somebody acts for its subject (`act`, RFC 8693 §4.1), that somebody is the
//! actor and the subject is whom the call is made on behalf of; of nested `act`s the outermost acts
//! now. Roles and tenant are the token's: they are what is acted with.
//!
//! The kind of actor is what the configured claim says; without one, `service` where the token itself
//! says that a client got it for itself: `gty: client-credentials` (Auth0), `idtyp: app` (Entra ID), or
//! a `client_id` that is the subject (RFC 9068 §2.2). It is never guessed otherwise.

use super::actor::{MAX_ROLES, anonymous, roles, tell};
use super::{Flags, flags, raise};
use crate::config::Claims;
use serde_json::{Map, Value};
use sidelog_event::Actor;
use std::borrow::Cow;

pub(super) type Object = Map<String, Value>;

/// All but source, verdict and credential.
pub(super) fn identity(names: &Claims, claims: &Object, flags: &mut Flags) -> Actor<'static> {
    let subject = text(claims, &names.id, flags);
    let kind = names.kind.as_deref().map(|name| text(claims, name, flags)).unwrap_or_default();
    let actor = Actor {
        tenant: names.tenant.as_deref().map(|name| text(claims, name, flags)).unwrap_or_default(),
        roles: names.roles.as_deref().map(|name| role_list(claims, name, flags)).unwrap_or_default(),
        ..anonymous()
    };
    match claim(claims, &names.act) {
        // A text is the acting party itself, as where `act` is `impersonator.id`.
        Some(Value::String(id)) if !id.is_empty() => {
            Actor { id: tell(id.as_bytes(), flags).into(), on_behalf_of: subject, ..actor }
        }
        Some(Value::Object(acting)) => {
            let id = [names.id.as_str(), "sub", "client_id"]
                .iter()
                .map(|name| text(acting, name, flags))
                .find(|id| !id.is_empty())
                .unwrap_or_default();
            if id.is_empty() {
                raise(flags, flags::ACTOR_UNNAMED);
            }
            let kind = names.kind.as_deref().map(|name| text(acting, name, flags)).unwrap_or_default();
            let kind = if kind.is_empty() { evident_kind(acting) } else { kind };
            Actor { id, name: text(acting, &names.name, flags), kind, on_behalf_of: subject, ..actor }
        }
        _ => {
            let kind = if kind.is_empty() { evident_kind(claims) } else { kind };
            Actor { id: subject, name: text(claims, &names.name, flags), kind, ..actor }
        }
    }
}

/// `service` where the token says so beyond doubt.
fn evident_kind(claims: &Object) -> Cow<'static, str> {
    let is = |name: &str, values: &[&str]| {
        claims.get(name).and_then(Value::as_str).is_some_and(|value| values.contains(&value))
    };
    let own = claims.get("client_id").is_some_and(|id| id.is_string() && claims.get("sub") == Some(id));
    let service = is("gty", &["client-credentials", "client_credentials"]) || is("idtyp", &["app"]) || own;
    if service { "service".into() } else { "".into() }
}

fn text(claims: &Object, name: &str, flags: &mut Flags) -> Cow<'static, str> {
    match claim(claims, name) {
        Some(Value::String(text)) => tell(text.as_bytes(), flags).into(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => tell(value.to_string().as_bytes(), flags).into(),
        _ => "".into(),
    }
}

/// A list of strings, or one string with spaces or commas between (`scope`).
fn role_list(claims: &Object, name: &str, flags: &mut Flags) -> Vec<Cow<'static, str>> {
    match claim(claims, name) {
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str).take(MAX_ROLES + 1);
            roles(texts.map(str::as_bytes), flags)
        }
        Some(Value::String(text)) => roles(text.split([' ', ',']).map(str::as_bytes), flags),
        _ => Vec::new(),
    }
}

/// A claim by its whole name, else by the parts between its dots: names may have dots of their own
/// (`https://example.com/roles`).
fn claim<'v>(claims: &'v Object, name: &str) -> Option<&'v Value> {
    claims.get(name).or_else(|| {
        name.match_indices('.').find_map(|(at, _)| {
            let (outer, inner) = (name.get(..at)?, name.get(at + 1..)?);
            claim(claims.get(outer)?.as_object()?, inner)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::tests::jwt;
    use serde_json::json;

    fn of(names: &Claims, claims: Value) -> (Actor<'static>, Flags) {
        let mut flags = Flags::new();
        let actor = identity(names, claims.as_object().unwrap(), &mut flags);
        (actor, flags)
    }

    fn names() -> Claims {
        Claims { kind: Some("kind".into()), roles: Some("r".into()), ..jwt().claims }
    }

    #[test]
    fn claims_by_dotted_names() {
        let claims = json!({"a": {"b": {"c": 1}}, "a.b": {"d": 2}, "x.y": 3});
        let claims = claims.as_object().unwrap();
        let of = |name| claim(claims, name).and_then(Value::as_i64);
        assert_eq!((of("a.b.c"), of("a.b.d"), of("x.y")), (Some(1), Some(2), Some(3)));
        assert_eq!((of("a.c"), of(""), of("."), of("a.b.c.d")), (None, None, None, None));
    }

    #[test]
    fn roles_in_every_form() {
        let roles = |claims: Value| of(&names(), claims).0.roles.join("|");
        assert_eq!(roles(json!({"r": ["a", 1, "b c"]})), "a|b c");
        assert_eq!(roles(json!({"r": "a b,c"})), "a|b|c");
        assert_eq!(roles(json!({"r": 5})), "");
        let many: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        assert_eq!(roles(json!({"r": many})).split('|').count(), MAX_ROLES);
    }

    #[test]
    fn who_acts_is_the_actor_and_the_subject_is_whom_it_is_for() {
        let claims = json!({
            "sub": "alice", "name": "Alice", "org_id": "acme", "r": ["admin"], "kind": "user",
            "act": {"sub": "desk-7", "name": "Service desk", "act": {"sub": "former"}}
        });
        let (actor, flags) = of(&names(), claims);
        let expected = Actor {
            id: "desk-7".into(),
            name: "Service desk".into(),
            tenant: "acme".into(),
            roles: vec!["admin".into()],
            on_behalf_of: "alice".into(),
            ..anonymous()
        };
        assert_eq!((actor, flags), (expected, vec![]), "the outermost acts, and is no `user` by its subject");
        let (plain, _) = of(&names(), json!({"sub": "alice", "may_act": {"sub": "x"}, "act": null}));
        assert_eq!((plain.id.as_ref(), plain.on_behalf_of.as_ref()), ("alice", ""));
    }

    #[test]
    fn an_acting_party_in_other_forms() {
        let who = |names: &Claims, claims: Value| {
            let (actor, flags) = of(names, claims);
            (actor.id.into_owned(), actor.on_behalf_of.into_owned(), flags)
        };
        let told =
            |id: &str, of: &str, flags: &[&'static str]| (id.to_owned(), of.to_owned(), flags.to_vec());
        let client = json!({"sub": "alice", "act": {"client_id": "c1"}});
        assert_eq!(who(&names(), client), told("c1", "alice", &[]));
        let unnamed = json!({"sub": "alice", "act": {"iss": "x"}});
        assert_eq!(who(&names(), unnamed), told("", "alice", &[flags::ACTOR_UNNAMED]));
        let keycloak = Claims { act: "impersonator.id".into(), ..names() };
        let token = json!({"sub": "alice", "impersonator": {"id": "root"}});
        assert_eq!(who(&keycloak, token), told("root", "alice", &[]));
    }

    #[test]
    fn a_service_is_one_only_where_the_token_says_so() {
        let kind = |claims: Value| of(&names(), claims).0.kind.into_owned();
        assert_eq!(kind(json!({"sub": "a", "gty": "client-credentials"})), "service");
        assert_eq!(kind(json!({"sub": "a", "idtyp": "app"})), "service");
        assert_eq!(kind(json!({"sub": "a", "client_id": "a"})), "service");
        assert_eq!(kind(json!({"sub": "a", "client_id": "a", "kind": "robot"})), "robot");
        assert_eq!(kind(json!({"sub": "a", "act": {"sub": "b", "client_id": "b"}})), "service");
        for other in [
            json!({"sub": "a"}),
            json!({"sub": "a", "client_id": "b", "azp": "a"}),
            json!({"sub": "a", "gty": "password"}),
            json!({"sub": "a", "gty": ["client-credentials"]}),
            json!({"client_id": null}),
            json!({"sub": 1, "client_id": 1}),
            json!({"sub": "a", "client_id": "a", "act": {"sub": "b"}}),
        ] {
            assert_eq!(kind(other.clone()), "", "{other}");
        }
    }
}
