use super::*;
use crate::head::HeadIndex;

const JSON: &str = "application/json";

fn ask(target: &str, media: &str, body: &str) -> Option<Calls> {
    of_call(&Asked {
        method: "POST",
        target: target.as_bytes(),
        host: b"api.example",
        media: media.as_bytes(),
        body: body.as_bytes(),
        whole: true,
    })
}

/// Protocol, calls as text, how many, what they are.
fn told(calls: Option<Calls>) -> (&'static str, Vec<String>, u32, Op) {
    let Some(calls) = calls else { return ("", vec![], 0, Op::Other) };
    let text = |call| match call {
        Call::Named(name) => name,
        Call::Request { method, path } => format!("{method} {path}"),
    };
    (calls.protocol, calls.list.into_iter().map(text).collect(), calls.total, calls.op)
}

#[track_caller]
fn is(calls: Option<Calls>, protocol: &'static str, texts: &[&str], op: Op) {
    let (found, list, total, its) = told(calls);
    assert_eq!((found, &list[..], total, its), (protocol, &to_vec(texts)[..], texts.len() as u32, op));
}

fn to_vec(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn graphql_over_http() {
    let query = r#"{"query":"query Q { me { id } }","variables":{}}"#;
    let mutation = r#"{"operationName":"Del","query":"mutation Del { deleteWorkflow(id: 1) { ok } audit }"}"#;
    is(ask("/graphql", JSON, query), GRAPHQL, &["query Q: me"], Op::Read);
    is(ask("/graphql", JSON, mutation), GRAPHQL, &["mutation Del: deleteWorkflow, audit"], Op::Other);
    is(ask("/api", "text/plain", mutation), GRAPHQL, &["mutation Del: deleteWorkflow, audit"], Op::Other);
    let batch = format!("[{query},{mutation},{query}]");
    let texts = ["query Q: me", "mutation Del: deleteWorkflow, audit", "query Q: me"];
    is(ask("/graphql", JSON, &batch), GRAPHQL, &texts, Op::Other);
    is(ask("/graphql", "application/graphql; charset=utf-8", "{ a }"), GRAPHQL, &["query: a"], Op::Read);
    let two = "query A {a} mutation B {b}";
    is(ask("/graphql?operationName=A", "application/graphql", two), GRAPHQL, &["query A: a"], Op::Read);
    let form = "operationName=B&query=mutation+B+%7B+b%28s%3A%22%26%22%29%7D";
    is(ask("/graphql", "application/x-www-form-urlencoded", form), GRAPHQL, &["mutation B: b"], Op::Other);
    let upload = format!(
        "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{mutation}\r\n\
         --x\r\nContent-Disposition: form-data; name=\"0\"; filename=a\r\n\r\nbytes\r\n--x--"
    );
    let texts = ["mutation Del: deleteWorkflow, audit"];
    is(ask("/graphql", "multipart/form-data; boundary=x", &upload), GRAPHQL, &texts, Op::Other);
    // The query in the URL of a POST.
    is(ask("/graphql?query=mutation%7Bx%7D", JSON, "{}"), GRAPHQL, &["mutation: x"], Op::Other);
}

#[test]
fn persisted_queries_only_where_the_path_tells() {
    let by_hash = r#"{"operationName":"Q","extensions":{"persistedQuery":{"version":1,"sha256Hash":"0123456789abcdef"}}}"#;
    is(ask("/graphql", JSON, by_hash), GRAPHQL, &["persisted Q"], Op::Other);
    is(ask("/x", JSON, by_hash), "", &[], Op::Other);
    let nameless = by_hash.replace("\"operationName\":\"Q\",", "");
    is(ask("/graphql", JSON, &nameless), GRAPHQL, &["persisted 0123456789ab"], Op::Other);
    let get = of_pairs(
        "GET",
        b"/graphql",
        b"extensions=%7B%22persistedQuery%22:%7B%22sha256Hash%22:%22ab%22%7D%7D",
    );
    is(get, GRAPHQL, &["persisted ab"], Op::Read);
}

#[test]
fn other_queries_are_not_graphql() {
    for body in [
        r#"{"query":{"match":{"title":"x"}}}"#,
        r#"{"query":"status:open"}"#,
        r#"{"query":"{a TO b}","from":0}"#,
        r#"{"query":"SELECT { x }"}"#,
        r#"{"search":"\"query\""}"#,
        r#"{"query":"#,
        "\"query\"",
        "query method\"",
        "",
    ] {
        is(ask("/search", JSON, body), "", &[], Op::Other);
    }
    is(ask("/search", JSON, r#"{"query":"{a TO b}"}"#), GRAPHQL, &["query: a, TO, b"], Op::Read);
}

#[test]
fn json_rpc() {
    let one = r#"{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":["0x"],"id":1}"#;
    is(ask("/", JSON, one), JSONRPC, &["eth_sendRawTransaction"], Op::Other);
    is(ask("/", JSON, r#"{"method":"stop","params":[],"id":null}"#), JSONRPC, &["stop"], Op::Other);
    let batch =
        format!(r#"[{one},{{"jsonrpc":"2.0","method":"b"}},{{"jsonrpc":"2.0","method":"c","id":3}}]"#);
    is(ask("/rpc", JSON, &batch), JSONRPC, &["eth_sendRawTransaction", "b", "c"], Op::Other);
    is(ask("/", JSON, r#"{"method":"card","amount":3}"#), "", &[], Op::Other);
    is(ask("/", JSON, r#"{"jsonrpc":"2.0","method":7}"#), "", &[], Op::Other);
    let long = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "m".repeat(9000));
    is(ask("/", JSON, &long), JSONRPC, &["…"], Op::Other);
}

#[test]
fn rest_batches_in_json() {
    let graph = r#"{"requests":[{"id":"1","method":"DELETE","url":"/users/7?token=s"},{"id":"2","method":"delete","url":"https://api.example/groups/8"}]}"#;
    is(ask("/v1.0/$batch", JSON, graph), BATCH, &["DELETE /users/7", "DELETE /groups/8"], Op::Delete);
    let list = r#"[{"method":"POST","path":"/a"},{"method":"GET","path":"b#c"}]"#;
    is(ask("/x", JSON, list), BATCH, &["POST /a", "GET b"], Op::Other);
    let kinto = r#"{"defaults":{"method":"PUT","path":"/b/1"},"requests":[{"body":{}},{"path":"/b/2"},{"method":"GET"}]}"#;
    is(ask("/v1/batch", JSON, kinto), BATCH, &["PUT /b/1", "PUT /b/2", "GET /b/1"], Op::Other);
    is(ask("/v1/batch", JSON, r#"{"requests":[{"path":"/b"}]}"#), BATCH, &["GET /b"], Op::Read);
    let scim =
        r#"{"schemas":["urn:…:BulkRequest"],"Operations":[{"method":"POST","path":"/Users","data":{}}]}"#;
    is(ask("/Bulk", JSON, scim), BATCH, &["POST /Users"], Op::Other);
    for (path, none) in [
        ("/v1/batch", r#"{"requests":[{"insertText":{}}]}"#),
        ("/queue", r#"{"requests":[{"method":"GET","url":"https://elsewhere.example/"}]}"#),
        ("/Users/1", r#"{"Operations":[{"op":"replace","path":"active","value":false}]}"#),
        ("/v1/batch", r#"{"requests":[]}"#),
        ("/x", r#"[{"method":"not a token","path":"/a"}]"#),
    ] {
        is(ask(path, JSON, none), "", &[], Op::Other);
    }
    let stored = r#"[{"method":"GET","url":"/a"}]"#;
    is(ask("/bookmarks", JSON, stored), BATCH, &["GET /a"], Op::Other);
}

#[test]
fn rest_batches_in_multipart() {
    let http = |line: &str| {
        format!("--b\r\nContent-Type: application/http\r\n\r\n{line} HTTP/1.1\r\nHost: x\r\n\r\n{{}}\r\n")
    };
    let google = format!("{}{}--b--", http("DELETE /v1/a/1?key=s"), http("DELETE /v1/a/2"));
    is(
        ask("/batch", "multipart/mixed; boundary=b", &google),
        BATCH,
        &["DELETE /v1/a/1", "DELETE /v1/a/2"],
        Op::Delete,
    );
    let odata = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\n\
                 PATCH Orders(7) HTTP/1.1\r\n\r\n{}\r\n--c--\r\n--b\r\nContent-Type: application/http\r\n\r\nGET Orders HTTP/1.1\r\n\r\n--b--";
    is(
        ask("/odata/$batch", "Multipart/Mixed;boundary=b", odata),
        BATCH,
        &["PATCH Orders(7)", "GET Orders"],
        Op::Other,
    );
    is(
        ask("/x", "multipart/related; boundary=b", "--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--"),
        "",
        &[],
        Op::Other,
    );
}

#[test]
fn grpc_by_content_type() {
    for media in
        ["application/grpc", "application/grpc+proto", "Application/GRPC-Web-Text", "application/grpc;x=y"]
    {
        is(ask("/pkg.v1.Orders/Delete", media, ""), GRPC, &["pkg.v1.Orders/Delete"], Op::Other);
    }
    is(ask("/a/b", "application/grpcish", "x"), "", &[], Op::Other);
}

#[test]
fn all_are_counted_a_few_are_told() {
    let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"m"}"#; 1000].join(","));
    let calls = ask("/", JSON, &many).unwrap();
    assert_eq!((calls.list.len(), calls.total, calls.cut), (MAX_CALLS, 1000, false));
    let reads = format!("[{}]", vec![r#"{"query":"query{a}"}"#; 60].join(","));
    assert_eq!(ask("/graphql", JSON, &reads).unwrap().op, Op::Other, "the unseen ones may be mutations");
}

#[test]
fn a_body_that_breaks_off_tells_what_it_told() {
    let cut = |target: &str, body: &str| {
        let asked = Asked {
            method: "POST",
            target: target.as_bytes(),
            host: b"a",
            media: b"application/json",
            body: body.as_bytes(),
            whole: false,
        };
        of_call(&asked).map(|c| (c.protocol, c.list.len(), c.cut))
    };
    assert_eq!(
        cut("/", r#"[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","meth"#),
        Some((JSONRPC, 1, true))
    );
    assert_eq!(cut("/graphql", r#"{"variables":{"file":"AAAA"#), Some((GRAPHQL, 0, true)));
    assert_eq!(cut("/x", r#"{"variables":{"file":"AAAA"#), None);
    assert_eq!(
        cut("/graphql", r#"{"query":"mutation{a}","variables":{"file":"AAAA"#),
        Some((GRAPHQL, 1, true))
    );
}

#[test]
fn mutations_in_a_query_string() {
    for (target, mutating) in [
        ("/graphql?query=mutation%7Ba%7D", true),
        ("/graphql?a=1&%71uery=%6Dutation+X%7Ba%7D", true),
        ("/x?query=query+A%7Ba%7Dmutation+B%7Bb%7D&operationName=A", true),
        ("/x?query=%7Ba%7D&query=mutation%7Ba%7D", true),
        ("/x?query=mutation{a(x:", true),
        ("/graphql?query=%7Bmutation%7D", false),
        ("/graphql?query=query%20%23mutation%0A%7Ba%7D", false),
        ("/search?query=mutation", false),
        ("/search?q=mutation%7Ba%7D", false),
        ("/graphql", false),
    ] {
        assert_eq!(mutates(target.as_bytes()), mutating, "{target}");
    }
    let (raw, index) = HeadIndex::synthesize("GET", "/graphql?query=%7Ba%7D", &[]);
    is(of_head(&Head { raw: &raw, index: &index }), GRAPHQL, &["query: a"], Op::Read);
    let (raw, index) = HeadIndex::synthesize("GET", "/x?query=%7Ba%7D", &[]);
    is(of_head(&Head { raw: &raw, index: &index }), "", &[], Op::Other);
}

#[test]
fn grpc_codes() {
    assert_eq!(grpc_status(b" 7"), Some(7));
    for none in [&b"+7"[..], b"-1", b"", b"7000000", b"x", b"\xff"] {
        assert_eq!(grpc_status(none), None);
    }
    let frame = |flag: u8, content: &str| {
        let mut frame = vec![flag];
        frame.extend((content.len() as u32).to_be_bytes());
        frame.extend(content.bytes());
        frame
    };
    let web = [frame(0, "message"), frame(0x80, "Grpc-Message: no\r\ngrpc-status: 16\r\n")].concat();
    assert_eq!(grpc_web_status(b"application/grpc-web+proto", &web), Some(16));
    assert_eq!(grpc_web_status(b"application/grpc+proto", &web), None);
    assert_eq!(grpc_web_status(b"application/grpc-web", &web[..web.len() - 1]), None, "cut");
    assert_eq!(grpc_web_status(b"application/grpc-web", &frame(0, "x")), None);
    use base64::Engine as _;
    let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let (first, second) = web.split_at(8);
    let padded = format!("{}{}", text(first), text(second));
    assert_eq!(grpc_web_status(b"application/grpc-web-text", padded.as_bytes()), Some(16));
}

#[test]
fn a_method_named_in_json() {
    assert_eq!(other_method(br#"{"a":1,"_method":"PUT"}"#).as_deref(), Some("PUT"));
    assert_eq!(other_method(br#"{"a":{"_method":"PUT"}}"#), None);
    assert_eq!(other_method(b"{}"), None);
}

proptest::proptest! {
    #[test]
    fn never_panics(
        target in "/[a-z$]{0,6}(/graphql|/batch)?(\\?(query=|operationName=|extensions=|[%&=+a-f0-9{}]){0,8})?",
        media in "(application/(json|grpc-web(-text)?|graphql)|multipart/(mixed|form-data); boundary=b|application/x-www-form-urlencoded|.{0,10})",
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        text in "(\\{|\\[|\\}|\\]|\"(query|method|_method|requests|url|jsonrpc)\"|:|,|\"\\{ ?a ?\\}\"|1|--b|\\r\\n|Content-Type: (application/http|multipart/mixed; boundary=b)){0,30}",
    ) {
        for body in [&body[..], text.as_bytes()] {
            let asked = Asked { method: "POST", target: target.as_bytes(), host: b"", media: media.as_bytes(), body, whole: true };
            if let Some(calls) = of_call(&asked) {
                proptest::prop_assert!(calls.list.len() <= MAX_CALLS && calls.total as usize >= calls.list.len());
            }
            mutates(target.as_bytes());
            grpc_web_status(media.as_bytes(), body);
            other_method(body);
        }
    }
}

/// `cargo test -p sidelog --release --lib calls::tests::cost -- --ignored --nocapture`
#[test]
#[ignore = "prints figures"]
fn cost() {
    let plain = format!(
        r#"{{"name":"An order","items":[{}]}}"#,
        [r#"{"sku":"A-1","count":2,"note":"as usual"}"#; 6].join(",")
    );
    let large = format!(
        r#"{{"name":"An order","items":[{}]}}"#,
        [r#"{"sku":"A-1","count":2,"note":"as usual"}"#; 24].join(",")
    );
    let graphql = r#"{"operationName":"Del","variables":{"id":"7"},"query":"mutation Del($id: ID!) { deleteWorkflow(id: $id) { ok errors { message } } audit { id } }"}"#;
    let rpc = r#"{"jsonrpc":"2.0","method":"eth_getBalance","params":["0xc94770007dda54cF92009BB0dE2b9eB8","latest"],"id":1}"#;
    let fifty = format!("[{}]", [rpc; 50].join(","));
    for (name, target, body) in [
        ("ordinary JSON, 0.3 KiB", "/v1/orders", plain.as_str()),
        ("ordinary JSON, 1 KiB", "/v1/orders", large.as_str()),
        ("GraphQL", "/graphql", graphql),
        ("JSON-RPC", "/", rpc),
        ("JSON-RPC, 50", "/", fifty.as_str()),
    ] {
        let rounds = 200_000 / (1 + body.len() as u64 / 1000);
        let start = crate::extract::cpu_nanos();
        for _ in 0..rounds {
            std::hint::black_box(ask(std::hint::black_box(target), JSON, std::hint::black_box(body)));
        }
        let each = (crate::extract::cpu_nanos() - start) / rounds;
        println!("{name:<24} {:>6} bytes {each:>7} ns", body.len());
    }
}
