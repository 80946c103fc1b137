//! Base paths from `servers` and `basePath`.
//!
//! Only the path of a server counts: which host a request came in by says nothing about its
//! operation. Variables in the path stay wildcards (`/stores/{store_hash}/v3`), unless their default
//! is no single segment.

use super::tree::Node;

/// Servers read per operation.
const MAX_SERVERS: usize = 16;

/// The base paths of a list of servers, each once, in order; none for an absent or empty list.
pub(super) fn bases(servers: Option<&Node>) -> Vec<String> {
    let mut out = Vec::new();
    for server in servers.map_or(&[][..], Node::items).iter().take(MAX_SERVERS) {
        let Some(url) = server.text_of("url") else { continue };
        let base = base_path(url, server.get("variables"));
        if !out.contains(&base) {
            out.push(base);
        }
    }
    out
}

/// 2.0's `basePath`.
pub(super) fn legacy_base(base_path: &str) -> String {
    trim(base_path)
}

/// The path of a server's URL, without trailing slash.
fn base_path(url: &str, variables: Option<&Node>) -> String {
    let default = |name: &str| variables.and_then(|v| v.get(name)?.get("default")?.scalar());
    let mut url = url.trim().to_owned();
    // `{scheme}://…` needs no substitution, `{base_url}/v1` does: it hides where the path begins.
    if !url.contains("://")
        && let Some((name, rest)) = url.strip_prefix('{').and_then(|u| u.split_once('}'))
        && let Some(value) = default(name)
    {
        url = format!("{value}{rest}");
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|i| rest.get(i..)).unwrap_or_default(),
        None => url
            .strip_prefix("//")
            .map_or(url.as_str(), |rest| rest.find('/').and_then(|i| rest.get(i..)).unwrap_or_default()),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    trim(&substitute(path, default))
}

/// Puts in the defaults that are not exactly one segment: a wildcard would not match them.
fn substitute<'a>(path: &str, default: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        match default(name) {
            Some(value) if value.is_empty() || value.contains('/') => out.push_str(value),
            _ => {
                out.push('{');
                out.push_str(name);
                out.push('}');
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn trim(path: &str) -> String {
    let path = path.trim().trim_start_matches("./").trim_end_matches('/');
    let path = path.trim_start_matches('/');
    if path.is_empty() || path == "." { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_counts_and_variables_in_it_stay() {
        let tree = super::super::tree::parse(
            "host: {default: a.example}\nv: {default: v2}\nroot: {default: 'https://x.example/api'}\n\
             empty: {default: ''}\ndeep: {default: a/b}\n",
        )
        .unwrap();
        let base = |url| base_path(url, Some(&tree));
        assert_eq!(base("https://api.example.com"), "");
        assert_eq!(base("https://{host}/{v}/"), "/{v}");
        assert_eq!(base("{scheme}://{host}/api/v3"), "/api/v3");
        assert_eq!(base("{root}/v1"), "/api/v1");
        assert_eq!(base("/x{empty}/{deep}"), "/x/a/b");
        assert_eq!(base("v1/"), "/v1");
        assert_eq!(base("//host.example/v1?x=1"), "/v1");
        assert_eq!(base("/"), "");
        assert_eq!(base("{unknown}/v1"), "/{unknown}/v1");
        assert_eq!(legacy_base("/v2/"), "/v2");
    }

    #[test]
    fn each_base_once_and_bad_servers_skipped() {
        let tree = super::super::tree::parse("[{url: /a}, 7, {url: 'http://h/a'}, {url: /b}]").unwrap();
        assert_eq!(bases(Some(&tree)), ["/a", "/b"]);
        assert!(bases(None).is_empty());
    }
}
