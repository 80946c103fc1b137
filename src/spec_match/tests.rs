//! Rules of matching, each on the smallest document that shows it.

use super::path::canonical_literal;
use super::*;
use crate::config::BasePath;
use crate::openapi::{self, Document, ParamKind, PathParam, Warning};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

fn document(ops: &[(&str, &str, &str)]) -> Document {
    let operation = |(method, template, id): &(&str, &str, &str)| Operation {
        method: method.to_string(),
        template: template.to_string(),
        operation_id: Some(id.to_string()),
        bases: vec![String::new()],
        ..Operation::default()
    };
    Document {
        name: "api.yaml".into(),
        version: "3.0.3".into(),
        api_version: "1".into(),
        paths: ops.len(),
        skipped: 0,
        unread: 0,
        operations: ops.iter().map(operation).collect(),
    }
}

fn matcher(ops: &[(&str, &str, &str)]) -> SpecMatcher {
    SpecMatcher::new(vec![document(ops)], &BasePath::Auto).0
}

fn warnings(ops: &[(&str, &str, &str)]) -> Vec<String> {
    let (_, warnings) = SpecMatcher::new(vec![document(ops)], &BasePath::Auto);
    warnings.iter().map(Warning::to_string).collect()
}

fn yaml(text: &str) -> Document {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.yaml");
    std::fs::write(&path, text).unwrap();
    openapi::load(&path).unwrap().0
}

fn find<'s, 't>(matcher: &'s SpecMatcher, method: &str, target: &'t str) -> Found<'s, 't> {
    matcher.find(method, target.as_bytes(), &|_| None)
}

fn id(operation: Option<&Operation>) -> Option<&str> {
    operation.and_then(|o| o.operation_id.as_deref())
}

fn found<'s>(matcher: &'s SpecMatcher, method: &str, target: &str) -> Option<&'s str> {
    id(find(matcher, method, target).operation)
}

#[derive(Deserialize)]
struct MiniSpec {
    base: String,
    ops: Vec<(String, String, String)>,
    multi: Vec<String>,
}

#[derive(Deserialize)]
struct NormaliseCase {
    method: String,
    target: String,
    as_sent: Option<String>,
    normalised: Option<String>,
    flags: BTreeSet<String>,
    params: BTreeMap<String, String>,
}

fn mini_matcher(line: &str) -> SpecMatcher {
    #[derive(Deserialize)]
    struct First {
        mini_spec: MiniSpec,
    }
    let spec = serde_json::from_str::<First>(line).unwrap().mini_spec;
    let ops: Vec<_> = spec.ops.iter().map(|(m, t, i)| (m.as_str(), t.as_str(), i.as_str())).collect();
    let mut document = document(&ops);
    for operation in &mut document.operations {
        operation.path_params.extend(spec.multi.iter().map(|name| PathParam {
            name: name.clone(),
            kind: ParamKind::Any,
            multi_segment: true,
            pattern: None,
        }));
        if operation.template.contains('?') {
            operation.discriminators =
                vec![openapi::Discriminator { key: "mode".into(), value: Some("adv".into()) }];
        }
    }
    SpecMatcher::new(vec![document], &BasePath::Explicit(vec![spec.base])).0
}

/// The words of the case file for ours.
fn case_flag(word: &str) -> Option<String> {
    Some(
        match word {
            "encoded_slash" => "ENC_SLASH",
            "encoded_dot" => "ENC_DOT",
            "double_encoding" => "DOUBLE_ENC",
            "path_parameter" => "PATH_PARAM",
            "control_character" => "CONTROL",
            "bad_percent" => "BAD_PCT",
            "not_ascii" => "RAW_NON_ASCII",
            "long_path" => "TOO_LONG",
            // Not in the case file: conclusions, not oddities.
            "path_confusion" | "head_as_get" | "via_fallthrough" => return None,
            other => return Some(other.to_uppercase()),
        }
        .to_owned(),
    )
}

#[test]
fn security_targets_are_read_as_agreed() {
    let text = include_str!("../../tests/data/openapi/normalise_cases.jsonl");
    let (first, rest) = text.split_once('\n').unwrap();
    let matcher = mini_matcher(first);
    let mut count = 0;
    for line in rest.lines() {
        let case: NormaliseCase = serde_json::from_str(line).unwrap();
        let shown: String = case.target.chars().take(80).collect();
        let got = find(&matcher, &case.method, &case.target);
        let as_sent = match got.kind {
            MatchKind::MethodNotInSpec => Some("PATH_ONLY"),
            _ => id(got.operation),
        };
        assert_eq!(as_sent, case.as_sent.as_deref(), "{shown}");
        let other = case.normalised.filter(|n| Some(n) != case.as_sent.as_ref());
        assert_eq!(id(got.other_reading), other.as_deref(), "{shown}");
        let flags: BTreeSet<_> = got.flags.iter().filter_map(|f| case_flag(f)).collect();
        assert_eq!(flags, case.flags, "{shown}");
        for param in got.params() {
            if let Some(want) = case.params.get(param.name) {
                let canonical = canonical_literal(&param.raw);
                assert_eq!(String::from_utf8(canonical).unwrap(), *want, "{shown}");
            }
        }
        let named: BTreeSet<_> = got.params().map(|p| p.name.to_owned()).collect();
        assert!(case.params.keys().all(|k| named.contains(k)), "{shown}: {named:?}");
        count += 1;
    }
    assert_eq!(count, 78);
}

#[test]
fn concrete_before_parameters_unless_the_method_is_elsewhere() {
    let m =
        matcher(&[("GET", "/users/{id}", "get"), ("PUT", "/users/{id}", "put"), ("GET", "/users/me", "me")]);
    assert_eq!(found(&m, "GET", "/users/me"), Some("me"));
    let put = find(&m, "PUT", "/users/me");
    assert_eq!((id(put.operation), &put.flags[..]), (Some("put"), &["via_fallthrough"][..]));
    let none = find(&m, "DELETE", "/users/me");
    assert_eq!((none.kind, none.operation.is_none()), (MatchKind::MethodNotInSpec, true));
    assert_eq!(none.route(), Some("/users/me"));
    assert_eq!(find(&m, "GET", "/user").kind, MatchKind::Unmatched);
    assert_eq!(find(&m, "get", "/users/me").kind, MatchKind::MethodNotInSpec, "methods have case");
}

#[test]
fn one_path_under_two_names_is_shown_as_ambiguous() {
    let ops = [("GET", "/field/{id}", "first"), ("GET", "/field/{fieldId}", "second")];
    let m = matcher(&ops);
    let got = find(&m, "GET", "/field/7");
    assert_eq!((got.kind, id(got.operation)), (MatchKind::Ambiguous, Some("first")));
    assert_eq!(got.alternatives.iter().map(|o| id(Some(o))).collect::<Vec<_>>(), [Some("second")]);
    let text = "GET /field/{id} and GET /field/{fieldId} are the same path; \
                requests count as the first and are marked ambiguous";
    assert_eq!(warnings(&ops), [format!("api.yaml /paths/~1field~1{{fieldId}}/get: {text}")]);
    let other = [("PUT", "/field/{id}", "first"), ("DELETE", "/field/{fieldId}", "second")];
    assert!(warnings(&other).is_empty());
}

#[test]
fn an_ambiguity_names_less_specific_operations_too_and_clarity_does_not() {
    let ops = [
        ("PUT", "/t/a/schema#add", "add"),
        ("PUT", "/t/a/schema#update", "update"),
        ("PUT", "/t/{key}/schema", "any"),
        ("PUT", "/t/b/schema", "clear"),
    ];
    let m = matcher(&ops);
    let contested = find(&m, "PUT", "/t/a/schema");
    assert_eq!((contested.kind, id(contested.operation)), (MatchKind::Ambiguous, Some("add")));
    let others: Vec<_> = contested.alternatives.iter().map(|o| id(Some(o)).unwrap()).collect();
    assert_eq!(others, ["update", "any"]);
    let clear = find(&m, "PUT", "/t/b/schema");
    assert_eq!((clear.kind, id(clear.operation)), (MatchKind::Matched, Some("clear")));
    assert!(clear.alternatives.is_empty());
}

#[test]
fn crossing_templates_are_ambiguous_only_where_they_cross() {
    let ops = [("GET", "/{index}/_settings", "settings"), ("GET", "/_inference/{id}", "inference")];
    let m = matcher(&ops);
    let got = find(&m, "GET", "/_inference/_settings");
    assert_eq!((got.kind, got.alternatives.len()), (MatchKind::Ambiguous, 1));
    assert_eq!(find(&m, "GET", "/_inference/x").kind, MatchKind::Matched);
    assert_eq!(find(&m, "GET", "/x/_settings").kind, MatchKind::Matched);
    let text = "api.yaml /paths/~1_inference~1{id}/get: GET /{index}/_settings and GET /_inference/{id} overlap at /_inference/_settings";
    assert_eq!(warnings(&ops), [text]);
}

#[test]
fn crossing_templates_that_types_keep_apart_are_not_ambiguous() {
    let text = "openapi: 3.0.0\npaths:\n  /issues/comments/{id}: {get: {operationId: comment}}\n  \
                /issues/{n}/timeline:\n    get:\n      operationId: timeline\n      \
                parameters: [{name: n, in: path, schema: {type: integer}}]\n";
    let (m, warnings) = SpecMatcher::new(vec![yaml(text)], &BasePath::Auto);
    assert!(warnings.is_empty(), "{warnings:?}");
    let got = find(&m, "GET", "/issues/comments/timeline");
    assert_eq!((got.kind, id(got.operation)), (MatchKind::Matched, Some("comment")));
}

#[test]
fn declared_types_choose_between_equals() {
    let m = SpecMatcher::new(
        vec![yaml(
            "openapi: 3.0.0\npaths:\n  /a/{file}: {get: {operationId: byName}}\n  /a/{id}:\n    get:\n      \
             operationId: byId\n      parameters: [{name: id, in: path, schema: {type: string, format: uuid}}]\n",
        )],
        &BasePath::Auto,
    )
    .0;
    let uuid = find(&m, "GET", "/a/4f2e0f14-6a4b-4920-a919-159a0f14a1f5");
    assert_eq!((uuid.kind, id(uuid.operation)), (MatchKind::Ambiguous, Some("byId")));
    assert_eq!(uuid.params().next().unwrap().name, "id");
    assert_eq!(found(&m, "GET", "/a/report.pdf"), Some("byName"));
}

#[test]
fn conditions_in_templates_decide_and_labels_do_not() {
    let m = SpecMatcher::new(
        vec![yaml(
            "openapi: 3.0.0\npaths:\n  /r: {post: {operationId: plain}}\n  /r?beta=true: {post: {operationId: beta}}\n  \
             /f/{id}: {get: {operationId: get}}\n  /f/{id}#shared: {get: {operationId: shared}}\n  \
             /#Action=A: {get: {operationId: a}, post: {operationId: pa}}\n  \
             /#Action=B: {get: {operationId: b}, post: {operationId: pb}}\n",
        )],
        &BasePath::Auto,
    )
    .0;
    let kind = |method, target| {
        let got = find(&m, method, target);
        (got.kind, id(got.operation), got.alternatives.len())
    };
    assert_eq!(kind("POST", "/r?x=1"), (MatchKind::Matched, Some("plain"), 0));
    assert_eq!(kind("POST", "/r?beta=true"), (MatchKind::Matched, Some("beta"), 0));
    assert_eq!(kind("GET", "/f/1"), (MatchKind::Ambiguous, Some("get"), 1));
    assert_eq!(kind("GET", "/?Action=B&x=1"), (MatchKind::Matched, Some("b"), 0));
    assert_eq!(kind("GET", "/?Action=C"), (MatchKind::Unmatched, None, 0));
    assert_eq!(kind("POST", "/"), (MatchKind::Ambiguous, Some("pa"), 1), "the form is not read");
    assert_eq!(kind("DELETE", "/r"), (MatchKind::MethodNotInSpec, None, 0));
}

#[test]
fn head_and_preflights_are_marked() {
    let m = matcher(&[("GET", "/a/{x}", "get"), ("POST", "/a/{x}", "post")]);
    let head = find(&m, "HEAD", "/a/1");
    assert_eq!((head.kind, id(head.operation)), (MatchKind::MethodNotInSpec, Some("get")));
    assert_eq!(head.flags, ["head_as_get"]);
    assert_eq!(head.params().next().unwrap().decoded, "1");
    let preflight =
        |name: &str| ["origin", "access-control-request-method"].contains(&name).then_some(&b"x"[..]);
    assert_eq!(m.find("OPTIONS", b"/a/1", &preflight).flags, ["cors_preflight"]);
    assert!(m.find("OPTIONS", b"/a/1", &|_| None).flags.is_empty());
}

#[test]
fn base_paths_are_tried_before_none() {
    let text = "openapi: 3.0.0\nservers: [{url: 'https://h/stores/{hash}/v3'}]\n\
                paths: {'/orders/{id}': {get: {operationId: get}}}\n";
    let with = |base| SpecMatcher::new(vec![yaml(text)], &base).0;
    let auto = with(BasePath::Auto);
    let got = find(&auto, "GET", "/stores/abc/v3/orders/7");
    assert_eq!(got.route(), Some("/stores/{hash}/v3/orders/{id}"));
    let params: Vec<_> = got.params().map(|p| (p.name, p.raw.into_owned())).collect();
    assert_eq!(params, [("id", "7".to_owned())], "variables of the base are no parameters");
    assert_eq!(found(&auto, "GET", "/orders/7"), Some("get"));
    let none = with(BasePath::None);
    assert_eq!(found(&none, "GET", "/stores/abc/v3/orders/7"), None);
    assert_eq!(find(&none, "GET", "/orders/7").route(), Some("/orders/{id}"));
    let explicit = with(BasePath::Explicit(vec!["/x/".into()]));
    assert_eq!(found(&explicit, "GET", "/x/orders/7"), Some("get"));
    assert_eq!(found(&explicit, "GET", "/orders/7"), None);
}

#[test]
fn documents_share_a_matcher_and_keep_their_identity() {
    let mut second = document(&[("GET", "/b", "b"), ("GET", "/a", "other")]);
    second.name = "second.yaml".into();
    let first = document(&[("GET", "/a", "a")]);
    let (m, _) = SpecMatcher::new(vec![first, second], &BasePath::Auto);
    assert_eq!(found(&m, "GET", "/b"), Some("b"));
    let both = find(&m, "GET", "/a");
    assert_eq!((both.kind, id(both.operation)), (MatchKind::Ambiguous, Some("a")));
    assert_eq!(m.operations().len(), 3);
    assert_eq!(
        m.summary(),
        [
            "loaded api.yaml (3.0.3): 1 paths, 1 operations, 0 skipped, 1 ambiguous, base \"/\"",
            "loaded second.yaml (3.0.3): 2 paths, 2 operations, 0 skipped, 1 ambiguous, base \"/\"",
        ]
    );
}

#[test]
fn patterns_with_slashes_span_segments_and_bound_them() {
    let text = "swagger: '2.0'\npaths:\n  '/v1/{name}':\n    get:\n      operationId: note\n      parameters:\n        \
                - {name: name, in: path, type: string, pattern: 'projects/[^/]+/notes/[^/]+'}\n";
    let m = SpecMatcher::new(vec![yaml(text)], &BasePath::Auto).0;
    assert_eq!(found(&m, "GET", "/v1/projects/p/notes/n"), Some("note"));
    assert_eq!(found(&m, "GET", "/v1/projects/p/other/n"), None);
}

#[test]
fn another_reading_is_named_beside_the_one_as_sent() {
    let m = matcher(&[("GET", "/users/{id}", "user"), ("GET", "/admin/users", "admin")]);
    let got = find(&m, "GET", "/users/..%2fadmin%2fusers");
    assert_eq!((id(got.operation), id(got.other_reading)), (Some("user"), Some("admin")));
    assert!(got.flags.contains(&"path_confusion"), "{:?}", got.flags);
    let param = got.params().next().unwrap();
    assert_eq!((&*param.raw, &*param.decoded), ("..%2fadmin%2fusers", "../admin/users"));
    let slash = find(&m, "GET", "/admin/users/");
    assert_eq!((slash.kind, id(slash.other_reading)), (MatchKind::Unmatched, Some("admin")));
    assert_eq!(slash.flags, ["trailing_slash"]);
}

#[test]
fn too_many_parameters_cost_the_operation_only() {
    let long: String = (0..40).map(|i| format!("/{{p{i}}}")).collect();
    let ops = [("GET", long.as_str(), "long"), ("GET", "/a", "a")];
    assert!(warnings(&ops).iter().any(|w| w.contains("more than 32 parameters")));
    assert_eq!(found(&matcher(&ops), "GET", "/a"), Some("a"));
}

#[test]
fn every_flag_is_a_known_word() {
    let words: BTreeSet<_> = flag_words().collect();
    let m = matcher(&[("GET", "/users/{id}", "user")]);
    for target in ["//users/a", "/users/%2e%2e", "/users/a;b\\%25zz%0a", "http://h/users/1#x", "*"] {
        for flag in find(&m, "HEAD", target).flags {
            assert!(words.contains(flag), "{flag}");
        }
    }
}
