use super::*;

fn place(line: u32) -> Place {
    Place { file: "sidelog.yaml".into(), line, column: 1 }
}

fn audit() -> config::Audit {
    config::Audit {
        ignore: vec![],
        include_reads: vec![],
        rules: vec![],
        unmatched: Level::Metadata,
        level: Level::Request,
        delivery: Delivery::Written,
        refusals_per_second: 10,
        started_after: std::time::Duration::ZERO,
    }
}

fn ignoring(selectors: &[&str]) -> config::Audit {
    let path = |(i, s): (usize, &&str)| (Selector::Path((*s).into()), place(i as u32 + 1));
    config::Audit { ignore: selectors.iter().enumerate().map(path).collect(), ..audit() }
}

fn rule(line: u32) -> config::Rule {
    config::Rule {
        methods: vec![],
        paths: vec![],
        operations: vec![],
        tags: vec![],
        level: None,
        delivery: None,
        place: place(line),
    }
}

const TAGS: &[String] = &[];

fn call<'a>(method: &'a str, path: &'a str) -> Call<'a> {
    Call {
        method,
        path,
        normal_form: true,
        has_body: false,
        overridden: None,
        mutates: false,
        upgrade: false,
        operation: None,
        matched: MatchKind::Unmatched,
    }
}

fn on<'a>(method: &'a str, path: &'a str, route: &'a str, id: &'a str) -> Call<'a> {
    let template = route.strip_prefix("/api").unwrap_or(route);
    Call {
        operation: Some(OperationRef { route, template, operation_id: id, tags: TAGS }),
        matched: MatchKind::Matched,
        ..call(method, path)
    }
}

fn level(audit: &config::Audit, call: &Call<'_>) -> Level {
    Policy::new(audit).decide(call).level
}

fn text(audit: &config::Audit, call: &Call<'_>) -> String {
    Policy::new(audit).decide(call).rule.text().into_owned()
}

#[test]
fn safe_methods_are_exactly_four() {
    for safe in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert_eq!(level(&audit(), &call(safe, "/v1")), Level::None, "{safe}");
    }
    let mutating = "POST PUT PATCH DELETE get Get head post Delete PURGE LINK MKCOL PROPPATCH LOCK \
                    QUERY POSTX SEARCH CONNECT";
    for method in mutating.split_whitespace() {
        assert_eq!(level(&audit(), &call(method, "/v1")), Level::Metadata, "{method} unmatched");
        assert_eq!(level(&audit(), &on(method, "/v1", "/v1", "")), Level::Request, "{method}");
    }
}

#[test]
fn a_safe_method_with_a_body_or_an_override_is_mutating() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let body = Call { has_body: true, ..on(method, "/v1", "/v1", "") };
        assert_eq!(level(&audit(), &body), Level::Request);
        let overridden = Call { overridden: Some("DELETE"), ..on(method, "/v1", "/v1", "") };
        assert_eq!(level(&audit(), &overridden), Level::Request);
    }
}

#[test]
fn ignored_only_in_normal_form() {
    let audit = ignoring(&["/health*", "/health/**"]);
    for path in ["/health", "/healthz", "/health/live", "/health/"] {
        assert_eq!(level(&audit, &call("POST", path)), Level::None, "{path}");
    }
    assert_eq!(text(&audit, &call("POST", "/healthz")), "ignore sidelog.yaml:1");
    for path in [
        "/health/../v1/orders",
        "/health/%2e%2e/v1/orders",
        "/health%2f..%2fv1%2forders",
        "/health;/../v1/orders",
        "/health/.%2e/v1/orders",
        "//health/../v1/orders",
        "/health/./../v1/orders",
        "/health\\..\\v1\\orders",
    ] {
        let odd = Call { normal_form: false, ..call("POST", path) };
        assert_eq!(level(&audit, &odd), Level::Metadata, "{path}");
        assert_eq!(text(&audit, &odd), "default");
    }
}

#[test]
fn a_rule_of_level_none_is_no_way_round_either() {
    let none = config::Rule { paths: vec!["/health/**".into()], level: Some(Level::None), ..rule(7) };
    let audit = config::Audit { rules: vec![none], ..audit() };
    assert_eq!(level(&audit, &call("POST", "/health/x")), Level::None);
    let odd = Call { normal_form: false, ..call("POST", "/health/../v1/orders") };
    assert_eq!(level(&audit, &odd), Level::Metadata);
}

#[test]
fn doubt_raises_but_never_lowers() {
    let lower = config::Rule {
        paths: vec!["/a/**".into()],
        level: Some(Level::Metadata),
        delivery: Some(Delivery::Queued),
        ..rule(1)
    };
    let higher = config::Rule {
        paths: vec!["/b/**".into()],
        level: Some(Level::RequestResponse),
        delivery: Some(Delivery::Strict),
        ..rule(2)
    };
    let policy = Policy::new(&config::Audit { rules: vec![lower, higher], ..audit() });
    let got = |path, normal_form| {
        let d = policy.decide(&Call { normal_form, ..on("POST", path, "/x", "") });
        (d.level, d.delivery)
    };
    assert_eq!(got("/a/1", true), (Level::Metadata, Delivery::Queued));
    assert_eq!(got("/a/./1", false), (Level::Request, Delivery::Written));
    assert_eq!(got("/b/1", true), (Level::RequestResponse, Delivery::Strict));
    assert_eq!(got("/b/./1", false), (Level::RequestResponse, Delivery::Strict));
}

#[test]
fn an_ambiguous_operation_is_not_ignored() {
    let audit = config::Audit { ignore: vec![(Selector::Operation("ping".into()), place(3))], ..audit() };
    let sure = on("POST", "/ping", "/ping", "ping");
    assert_eq!(level(&audit, &sure), Level::None);
    assert_eq!(level(&audit, &Call { matched: MatchKind::Ambiguous, ..sure }), Level::Request);
    assert_eq!(level(&audit, &Call { overridden: Some("DELETE"), ..sure }), Level::Request);
    assert_eq!(level(&audit, &on("POST", "/ping", "/ping", "")), Level::Request, "no id, no match");
}

#[test]
fn an_override_does_not_hide_behind_a_method_rule() {
    let get = config::Rule { methods: vec!["GET".into()], level: Some(Level::None), ..rule(1) };
    let audit = config::Audit { rules: vec![get], ..audit() };
    let tunnelled = Call { overridden: Some("DELETE"), ..on("GET", "/v1", "/v1", "") };
    assert_eq!(level(&audit, &tunnelled), Level::Request);
    let reverse = Call { overridden: Some("GET"), ..on("POST", "/v1", "/v1", "") };
    assert_eq!(level(&audit, &reverse), Level::Request);
    let delete = config::Rule { methods: vec!["DELETE".into()], delivery: Some(Delivery::Strict), ..rule(1) };
    let audit = config::Audit { rules: vec![delete], ..self::audit() };
    assert_eq!(Policy::new(&audit).decide(&tunnelled).delivery, Delivery::Strict, "raised by either");
}

#[test]
fn a_template_stands_for_its_operation() {
    let audit = ignoring(&["/hooks/{hook}/trigger"]);
    assert_eq!(level(&audit, &on("POST", "/hooks/7/trigger", "/hooks/{id}/trigger", "")), Level::None);
    assert_eq!(
        level(&audit, &on("POST", "/api/hooks/7/trigger", "/api/hooks/{id}/trigger", "")),
        Level::None
    );
    assert_eq!(level(&audit, &call("POST", "/hooks/7/trigger")), Level::None, "no operation: by path");
    let other = on("POST", "/hooks/all/trigger", "/hooks/all/trigger", "");
    assert_eq!(level(&audit, &other), Level::Request, "a literal template is another operation");
    for path in ["/hooks//trigger", "/hooks/1/2/trigger", "/hooks/7/trigger/", "/hooks/7"] {
        assert_eq!(level(&audit, &call("POST", path)), Level::Metadata, "{path}");
    }
}

#[test]
fn globs() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("/a/*", &["/a/b"], &["/a", "/a/", "/a/b/c", "/b/a", "a/b"]),
        ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c"], &["/", "/ab", "/b/a"]),
        ("/**", &["/", "/a", "/a/b"], &["*"]),
        ("/**/z", &["/z", "/a/z", "/a/b/z", "/z/z"], &["/z/a", "/zz"]),
        ("/a/**/b/**/c", &["/a/b/c", "/a/x/b/y/y/c", "/a/b/b/c/c"], &["/a/c/b", "/a/b"]),
        ("/**/a/**/**/b", &["/a/b", "/x/a/a/y/b"], &["/b/a"]),
        ("/r-*.csv", &["/r-.csv", "/r-1.csv", "/r-a.b.csv"], &["/r.csv", "/r-1.csvx", "/r-/x.csv"]),
        ("/x**y", &["/xy", "/xzzy"], &["/x/y"]),
        ("/*a*b*", &["/ab", "/xaxbx"], &["/ba", "/a"]),
        ("/{id}:cancel", &["/7:cancel"], &["/7", "/7:cancelled"]),
        ("/a{b", &["/a{b"], &["/ab"]),
        ("/", &["/"], &["", "/a", "*"]),
        ("/v1/Orders", &["/v1/Orders"], &["/v1/orders", "/v1/Orders/", "/v1/Orders;x"]),
    ];
    for (selector, yes, no) in cases {
        let audit = ignoring(&[selector]);
        for path in *yes {
            assert_eq!(level(&audit, &call("POST", path)), Level::None, "{selector} {path}");
        }
        for path in *no {
            assert_eq!(level(&audit, &call("POST", path)), Level::Metadata, "{selector} {path}");
        }
    }
}

#[test]
fn globs_fit_templates_too() {
    let audit = ignoring(&["/pets/**"]);
    assert_eq!(level(&audit, &on("POST", "/api/pets/7", "/api/pets/{id}", "")), Level::None);
    let literal = ignoring(&["/pets/me"]);
    assert_eq!(level(&literal, &on("POST", "/pets/me", "/pets/{id}", "")), Level::None);
    assert_eq!(level(&literal, &on("POST", "/pets/you", "/pets/{id}", "")), Level::Request);
}

/// The worst of shapes over the longest of heads.
#[test]
fn matching_is_linear_in_the_path() {
    let path = "/a".repeat(128 * 1024);
    let audit = ignoring(&["/**/a/a/a/a/a/a/a/b", "/**/*a*a*a*b", "/**/b/**/b"]);
    let begun = std::time::Instant::now();
    assert_eq!(level(&audit, &call("POST", &path)), Level::Metadata);
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn reads_by_selector() {
    let audit = config::Audit {
        include_reads: vec![
            (Selector::Operation("downloadReport".into()), place(4)),
            (Selector::Path("/v1/exports/**".into()), place(5)),
            (Selector::Tag("billing".into()), place(6)),
        ],
        ..audit()
    };
    let tags = ["billing".to_string()];
    let tagged = OperationRef { route: "/b", template: "/b", operation_id: "", tags: &tags };
    let billing = Call { operation: Some(tagged), matched: MatchKind::Matched, ..call("GET", "/b") };
    for (call, by) in [
        (on("GET", "/r/1", "/r/{id}", "downloadReport"), "include sidelog.yaml:4"),
        (call("HEAD", "/v1/exports/7"), "include sidelog.yaml:5"),
        (billing, "include sidelog.yaml:6"),
    ] {
        assert_eq!(level(&audit, &call), Level::Request);
        assert_eq!(text(&audit, &call), by);
    }
    assert_eq!(level(&audit, &call("GET", "/v1/orders")), Level::None);
    let odd = Call { normal_form: false, ..call("GET", "//v1//exports/7") };
    assert_eq!(level(&audit, &odd), Level::Metadata, "no way round by spelling");
    assert_eq!(level(&self::audit(), &odd), Level::None, "where no reads are recorded, none is");
}

#[test]
fn first_rule_wins_before_ignore_and_keeps_what_it_does_not_set() {
    let strict = config::Rule {
        methods: vec!["POST".into()],
        paths: vec!["/pay/**".into()],
        delivery: Some(Delivery::Strict),
        ..rule(10)
    };
    let all = config::Rule { paths: vec!["/pay/**".into()], level: Some(Level::RequestResponse), ..rule(11) };
    let mut audit = ignoring(&["/pay/ping", "/pay/loud"]);
    let loud = config::Rule { paths: vec!["/pay/loud".into()], level: Some(Level::Metadata), ..rule(9) };
    audit.rules = vec![loud, strict, all];
    let policy = Policy::new(&audit);
    let got = |method, path| {
        let d = policy.decide(&on(method, path, "/x", ""));
        (d.level, d.delivery, d.rule.to_string())
    };
    let at = |line: u32| format!("rule sidelog.yaml:{line}");
    assert_eq!(got("POST", "/pay/1"), (Level::Request, Delivery::Strict, at(10)));
    assert_eq!(got("PUT", "/pay/1"), (Level::RequestResponse, Delivery::Written, at(11)));
    assert_eq!(got("GET", "/pay/1"), (Level::RequestResponse, Delivery::Written, at(11)));
    assert_eq!(got("POST", "/pay/loud"), (Level::Metadata, Delivery::Written, at(9)));
    let ignored = got("POST", "/pay/ping");
    assert_eq!((ignored.0, ignored.2.as_str()), (Level::None, "ignore sidelog.yaml:1"));
    assert_eq!(got("POST", "/other"), (Level::Request, Delivery::Written, "default".into()));
}

#[test]
fn kinds_of_condition_all_hold() {
    let both = config::Rule {
        tags: vec!["billing".into()],
        operations: vec!["pay".into(), "refund".into()],
        level: Some(Level::RequestResponse),
        ..rule(1)
    };
    let audit = config::Audit { rules: vec![both], ..audit() };
    let tags = ["x".to_string(), "billing".to_string()];
    let with = |operation_id, tags| Call {
        operation: Some(OperationRef { route: "/p", template: "/p", operation_id, tags }),
        matched: MatchKind::Matched,
        ..call("POST", "/p")
    };
    assert_eq!(level(&audit, &with("refund", &tags)), Level::RequestResponse);
    assert_eq!(level(&audit, &with("refund", TAGS)), Level::Request);
    assert_eq!(level(&audit, &with("other", &tags)), Level::Request);
    assert_eq!(level(&audit, &call("POST", "/p")), Level::Metadata);
}

#[test]
fn a_mutation_by_get_is_no_read() {
    let get = call("GET", "/graphql");
    let mutation = Call { mutates: true, ..get };
    assert_eq!(level(&audit(), &get), Level::None);
    assert_eq!(level(&audit(), &mutation), Level::Metadata);
    assert_eq!(level(&ignoring(&["/graphql"]), &mutation), Level::None, "the path is beyond doubt");
    let reads = config::Rule { methods: vec!["GET".into()], level: Some(Level::None), ..rule(1) };
    let audit = config::Audit { rules: vec![reads], ..audit() };
    assert_eq!(level(&audit, &mutation), Level::Metadata, "a rule for GET does not mean it");
}

#[test]
fn a_tunnel_is_recorded_at_its_opening() {
    let upgrade = Call { upgrade: true, ..call("GET", "/ws") };
    assert_eq!(level(&audit(), &upgrade), Level::Metadata);
    assert_eq!(level(&ignoring(&["/ws"]), &upgrade), Level::None);
    assert_eq!(level(&config::Audit { level: Level::None, ..audit() }, &upgrade), Level::None);
}

#[test]
fn a_known_path_with_an_unknown_method_counts_as_unmatched() {
    let call = Call { matched: MatchKind::MethodNotInSpec, ..call("DELETE", "/v1/orders") };
    assert_eq!(level(&audit(), &call), Level::Metadata);
}

#[test]
fn shadowed_rules_are_found() {
    let paths = |line, path: &str| config::Rule { paths: vec![path.into()], ..rule(line) };
    let post = |line, path: &str| config::Rule { methods: vec!["POST".into()], ..paths(line, path) };
    let lines = |rules: &[config::Rule]| -> Vec<(u32, u32)> {
        unreachable_rules(rules).iter().map(|(a, b)| (a.line, b.line)).collect()
    };
    assert_eq!(lines(&[paths(1, "/a/**"), post(2, "/a/b"), paths(3, "/ab")]), [(2, 1)]);
    assert_eq!(lines(&[post(1, "/a/**"), paths(2, "/a/b")]), []);
    assert_eq!(lines(&[paths(1, "/a/{x}"), paths(2, "/a/{y}"), paths(3, "/a/*")]), [(2, 1)]);
    assert_eq!(lines(&[rule(1), post(2, "/z")]), [(2, 1)], "a rule without conditions takes all");
    assert_eq!(lines(&[paths(1, "/a"), rule(2)]), []);
}

/// Not a benchmark, a figure: `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "prints a figure"]
fn cost_of_a_decision() {
    let mut audit = ignoring(&["/health*", "/metrics", "/v1/webhooks/configs/{id}/trigger"]);
    audit.rules = (0..10)
        .map(|i| config::Rule { paths: vec![format!("/v1/p{i}/**")], level: Some(Level::Request), ..rule(i) })
        .collect();
    let policy = Policy::new(&audit);
    let call = on("POST", "/v1/orders/7/items", "/v1/orders/{id}/items", "createItem");
    let begun = crate::extract::cpu_nanos();
    for _ in 0..1_000_000 {
        std::hint::black_box(policy.decide(std::hint::black_box(&call)));
    }
    println!("policy: {} ns a decision", (crate::extract::cpu_nanos() - begun) / 1_000_000);
}
