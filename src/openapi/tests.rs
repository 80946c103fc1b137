//! Loading, rule by rule, from files as people write them.

use super::*;

fn load_files(files: &[(&str, &str)]) -> Result<(Document, Vec<Warning>), LoadError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    load(&dir.path().join(files[0].0))
}

fn load_text(text: &str) -> (Document, Vec<Warning>) {
    load_files(&[("openapi.yaml", text)]).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openapi.yaml");
    std::fs::write(&path, bytes).unwrap();
    load(&path).unwrap_err().to_string()
}

fn ids(document: &Document) -> Vec<&str> {
    document.operations.iter().filter_map(|o| o.operation_id.as_deref()).collect()
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

#[test]
fn reads_what_an_event_needs() {
    let (document, warnings) = load_text(
        "openapi: 3.1\ninfo: {title: t, version: 2024-01-01}\nservers: [{url: 'https://h/v1'}]\npaths:\n  \
         /secrets/{name}:\n    put:\n      operationId: putSecret\n      summary: Write a secret\n      \
         tags: [secrets, 7]\n      x-audit-resource: secret\n      x-other: 1\n",
    );
    assert!(warnings.is_empty(), "{:?}", texts(&warnings));
    assert_eq!((&*document.version, &*document.api_version), ("3.1", "2024-01-01"));
    let operation = &document.operations[0];
    assert_eq!((&*operation.method, &*operation.route), ("PUT", "/v1/secrets/{name}"));
    assert_eq!(
        (&*operation.summary, &operation.tags[..]),
        ("Write a secret", &["secrets".into(), "7".into()][..])
    );
    assert_eq!(operation.extensions, [("x-audit-resource".to_owned(), "secret".into())]);
    assert_eq!(operation.to_string(), "PUT /secrets/{name}");
}

#[test]
fn audit_keys_are_handed_down() {
    let (document, _) = load_text(
        "openapi: 3.1.0\nx-audit-reason: why\npaths:\n  /a:\n    x-audit-resource: as\n    get: {x-audit-reason: [a.b]}\n    \
         put: {x-audit-resource: own}\n  /b:\n    get: {}\n",
    );
    let keys = |at: usize| -> Vec<String> {
        document.operations[at].extensions.iter().map(|(k, v)| format!("{k}={v}")).collect()
    };
    assert_eq!(keys(0), [r#"x-audit-reason=["a.b"]"#, r#"x-audit-resource="as""#]);
    assert_eq!(keys(1), [r#"x-audit-resource="own""#, r#"x-audit-reason="why""#]);
    assert_eq!(keys(2), [r#"x-audit-reason="why""#]);
}

#[test]
fn every_version_loads() {
    for (head, version, base) in [
        ("swagger: 2.0\nbasePath: /v2/\n", "2.0", "/v2"),
        ("swagger: '2.0'\n", "2.0", ""),
        ("openapi: 3.0.3\n", "3.0.3", ""),
        ("openapi: 3.2.0\nservers: [{url: /x}]\n", "3.2.0", "/x"),
    ] {
        let (document, _) = load_text(&format!("{head}paths: {{/a: {{get: {{operationId: a}}}}}}\n"));
        assert_eq!((&*document.version, &*document.operations[0].bases[0]), (version, base));
    }
    let (document, _) = load_text(
        "openapi: 3.2.0\npaths: {/a: {query: {operationId: q}, additionalOperations: {LINK: {operationId: l}}}}\n",
    );
    assert_eq!(ids(&document), ["q", "l"]);
    assert_eq!(document.operations[1].method, "LINK");
}

#[test]
fn a_bad_node_costs_only_itself() {
    let (document, warnings) = load_text(
        "openapi: 3.0.0\npaths:\n  /users:\n    get: null\n    post: {operationId: post, parameters: 7, tags: x}\n  \
         /none: null\n  /list: [1]\n  users/x: {GET: {operationId: get}}\n  x-note: {get: {operationId: no}}\n",
    );
    assert_eq!(ids(&document), ["post", "get"]);
    assert_eq!((document.paths, document.skipped), (4, 3));
    assert_eq!(document.operations[1].route, "/users/x");
    let texts = texts(&warnings);
    for want in [
        "openapi.yaml:4:10 /paths/~1users/get: operation is null; skipped (1 of 5)",
        "openapi.yaml:5:43 /paths/~1users/post/parameters: parameters is a number, not a list; skipped",
        "openapi.yaml:6:10 /paths/~1none: path item is null; skipped (2 of 5)",
        "openapi.yaml:7:10 /paths/~1list: path item is a list; skipped (3 of 5)",
    ] {
        assert!(texts.iter().any(|t| t == want), "{want}\n{texts:#?}");
    }
    assert_eq!(texts.len(), 6, "{texts:#?}");
}

#[test]
fn references_are_followed_where_documents_use_them() {
    let (document, warnings) = load_files(&[
        (
            "api.yaml",
            "openapi: 3.1.0\npaths:\n  /a: {$ref: 'paths/a.yaml'}\n  /b/{id}:\n    parameters: [{$ref: '#/components/parameters/Id'}]\n    \
             get: {$ref: 'paths/ops.yaml#/getB'}\n  /c: {$ref: '#/components/pathItems/C', put: {operationId: putC}}\n  \
             /d: {get: {$ref: gone.yaml}}\ncomponents:\n  parameters: {Id: {name: id, in: path, schema: {type: integer}}}\n  \
             pathItems: {C: {get: {operationId: getC}}}\n",
        ),
        ("paths/a.yaml", "get: {operationId: getA}\n"),
        ("paths/ops.yaml", "getB: {operationId: getB}\n"),
    ])
    .unwrap();
    assert_eq!(ids(&document), ["getA", "getB", "putC", "getC"]);
    let param =
        PathParam { name: "id".into(), kind: ParamKind::Integer, multi_segment: false, pattern: None };
    assert_eq!(document.operations[1].path_params, [param]);
    let texts = texts(&warnings);
    assert!(texts.iter().any(|t| t.contains("$ref gone.yaml cannot be read")), "{texts:#?}");
    assert!(
        texts.contains(
            &"api.yaml:8:13 /paths/~1d/get: operation's $ref gone.yaml leads nowhere; skipped (1 of 5)"
                .into()
        ),
        "{texts:#?}"
    );
}

#[test]
fn servers_of_operation_before_path_before_root() {
    let (document, _) = load_text(
        "openapi: 3.0.0\nservers: [{url: /root}]\npaths:\n  /a:\n    servers: [{url: /path}]\n    \
         get: {servers: [{url: /op}, {url: /op2}]}\n    put: {}\n  /b: {get: {}}\n",
    );
    let bases: Vec<_> = document.operations.iter().map(|o| o.bases.join(" ")).collect();
    assert_eq!(bases, ["/op /op2", "/path", "/root"]);
}

#[test]
fn path_parameters_keep_what_tells_them_apart() {
    let (document, _) = load_text(
        "swagger: '2.0'\npaths:\n  /{a}/{b}/{c}/{d}:\n    parameters: [{name: a, in: path, type: integer}, {name: b, in: path, type: string, enum: [x, 1]}]\n    \
         get:\n      parameters:\n        - {name: a, in: path, type: string, format: uuid}\n        \
         - {name: c, in: path, type: string, x-multi-segment: true}\n        - {name: d, in: path, pattern: 'a/[^/]+'}\n",
    );
    let params = &document.operations[0].path_params;
    let of = |name: &str| params.iter().find(|p| p.name == name).unwrap();
    assert_eq!(of("a").kind, ParamKind::Uuid, "the operation's own wins");
    assert_eq!(of("b").kind, ParamKind::OneOf(vec!["x".into(), "1".into()]));
    assert!(of("c").multi_segment && of("c").pattern.is_none());
    assert!(of("d").multi_segment && of("d").pattern.is_some());
    assert!(!of("b").multi_segment);
}

#[test]
fn marks_are_found_through_references_lists_and_parts() {
    let (document, _) = load_text(
        "openapi: 3.0.0\npaths:\n  /a:\n    post:\n      parameters:\n        - {name: X-Key, in: header, x-secret: true}\n        \
         - {name: plain, in: query, schema: {type: string, x-pii: false}}\n      \
         requestBody: {$ref: '#/components/requestBodies/B'}\n      \
         responses: {200: {content: {application/json: {schema: {properties: {Token: {x-sensitive: yes}}}}}}}\n  \
         /b: {get: {}}\n\
         components:\n  requestBodies: {B: {content: {application/json: {schema: {$ref: '#/components/schemas/S'}}}}}\n  \
         schemas:\n    S:\n      allOf:\n        - {$ref: '#/components/schemas/S'}\n        - properties:\n            \
         passPhrase: {type: string, format: password}\n            keys: {type: array, items: {$ref: '#/components/schemas/K'}}\n            \
         deep: {properties: {pin: {writeOnly: true}, name: {type: string}}}\n    K: {type: string, x-ms-secret: true}\n",
    );
    let marks = &document.operations[0].marks;
    assert_eq!(marks.names().collect::<Vec<_>>(), ["keys", "passphrase", "pin", "token", "x-key"]);
    assert!(marks.contains("PASSPHRASE") && marks.contains("x-KEY") && !marks.contains("name"));
    assert!(document.operations[1].marks.is_empty());
}

#[test]
fn marks_of_2_0_bodies_and_forms() {
    let (document, _) = load_text(
        "swagger: '2.0'\npaths: {/a: {post: {parameters: [{name: body, in: body, schema: {$ref: '#/definitions/D'}}, \
         {name: pw, in: formData, type: string, format: password}]}}}\n\
         definitions: {D: {properties: {secret: {type: string, writeOnly: true}}}}\n",
    );
    assert_eq!(document.operations[0].marks.names().collect::<Vec<_>>(), ["pw", "secret"]);
}

/// Path, query and header parameters; every word; a map whose values are marked; a body as a whole.
#[test]
fn marks_wherever_a_document_puts_them() {
    let words = ["writeOnly: true", "format: password", "x-sensitive: true", "x-sensitive-data: [pii]"];
    let more = ["x-ms-secret: true", "x-pii: {level: high}", "x-secret: yes"];
    for word in words.iter().chain(&more) {
        let (document, _) = load_text(&format!(
            "openapi: 3.1.0\npaths:\n  /a/{{p}}:\n    parameters:\n      - {{name: p, in: path, schema: {{{word}}}}}\n    \
             post:\n      parameters:\n        - {{name: q, in: query, schema: {{$ref: '#/components/schemas/S'}}}}\n        \
             - {{name: h, in: header, content: {{text/plain: {{schema: {{{word}}}}}}}}}\n      \
             requestBody: {{content: {{application/json: {{schema: {{properties: {{env: {{additionalProperties: {{{word}}}}}}}}}}}}}}}\n      \
             responses: {{200: {{content: {{application/json: {{schema: {{$ref: '#/components/schemas/S'}}}}}}}}}}\n\
             components: {{schemas: {{S: {{allOf: [{{type: string, {word}}}]}}}}}}\n"
        ));
        let marks = &document.operations[0].marks;
        assert_eq!(marks.names().collect::<Vec<_>>(), ["env", "h", "p", "q"], "{word}");
        assert_eq!((marks.whole_request(), marks.whole_response()), (false, true), "{word}");
    }
}

#[test]
fn conditions_are_read_from_templates() {
    let (document, _) = load_text(
        "openapi: 3.0.0\npaths:\n  /r?beta=true: {get: {}}\n  /{b}#acl: {get: {parameters: [{name: acl, in: query}]}}\n  \
         /f#label: {get: {}}\n  /#X-Amz-Target=S.List: {post: {}}\n  '/x{?}': {get: {}}\n",
    );
    let of: Vec<_> = document
        .operations
        .iter()
        .map(|o| o.discriminators.iter().map(|d| (d.key.as_str(), d.value.as_deref())).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        of,
        [
            vec![("beta", Some("true"))],
            vec![("acl", None)],
            vec![],
            vec![("X-Amz-Target", Some("S.List"))],
            vec![]
        ]
    );
}

#[test]
fn other_things_are_named() {
    let cases: [(&[u8], &str); 9] = [
        (b"a: 1", "openapi.yaml: no \"openapi\" or \"swagger\" key \u{2013} is this an OpenAPI document?"),
        (b"asyncapi: 3.0.0", "AsyncAPI"),
        (b"<!doctype html>", "HTML"),
        (b"\xFF\xFEo\0", "UTF-16"),
        (b"openapi: 3.0.0\n---\nopenapi: 3.0.0\n", "several YAML documents"),
        (b"[1]", "the document is a list"),
        (b"", "the file is empty"),
        (b"{\"info\": {\"_postman_id\": 1}}", "Postman"),
        (b"openapi: 3.0.0\npaths:\n  /a: [", "openapi.yaml:3:"),
    ];
    for (bytes, want) in cases {
        let got = refusal(bytes);
        assert!(got.contains(want) && got.starts_with("openapi.yaml"), "{want}: {got}");
    }
    assert!(
        load(Path::new("/nonexistent/x.yaml")).unwrap_err().to_string().contains("x.yaml: cannot be read")
    );
}

#[test]
fn a_document_without_version_is_used_if_it_has_paths() {
    let (document, warnings) = load_text("paths: {/a: {get: {operationId: a}}}");
    assert_eq!(ids(&document), ["a"]);
    assert!(texts(&warnings)[0].contains("no \"openapi\" or \"swagger\" key"));
    let (document, warnings) = load_text("openapi: 3.1.0\nwebhooks: {}");
    assert_eq!((document.operations.len(), warnings.len()), (0, 1));
}

#[test]
fn json_with_a_byte_order_mark_loads() {
    let text = "\u{FEFF}{\"openapi\": \"3.0.0\", \"paths\": {\"/a\": {\"get\": null}}}";
    let (_, warnings) = load_text(text);
    assert_eq!(texts(&warnings), ["openapi.yaml:1:46 /paths/~1a/get: operation is null; skipped (1 of 1)"]);
}
