//! Calls that one request carries: GraphQL operations, JSON-RPC methods, gRPC methods, the requests
//! of a REST batch.
//!
//! What is recognised, in this order:
//! - gRPC and gRPC-Web by their content type (`application/grpc…`); the call is the path.
//! - GraphQL over HTTP: `application/graphql`; JSON with a string `query` that reads as a GraphQL
//!   document, single or as an array; the part `operations` of a multipart request; `query` in a form
//!   or in the query string. Where the path ends in `graphql` or `gql`, persisted queries, too.
//!   `{ a }` without the word `query` counts only at such a path, or where the JSON object has no
//!   members but GraphQL's: other query languages use braces, too.
//! - JSON-RPC 2.0 (`jsonrpc` and `method`) and 1.0 (`method`, `params` and `id`), single or batch.
//! - REST batches: an array, or an array under `requests`, `batchRequests`, `compositeRequest` or
//!   `Operations`, of objects with a `method` and a `url`, `path` or `relative_url` (OData JSON and
//!   Microsoft Graph, Salesforce, SCIM, Kinto with its `defaults`); `multipart/mixed` with
//!   `application/http` parts (OData with change sets, Google). Not recognised: Elasticsearch's `_bulk`.
//!
//! A GET whose query string has a mutation is known before it is forwarded ([`mutates`]). A persisted
//! query says neither kind nor fields: by GET it counts as a read, as servers that allow it there
//! refuse mutations; by POST as any call.
//!
//! Promises: pure, linear in the body, bounded in what is kept; never fails. A body that broke off
//! tells what stood in it up to there ([`Calls::cut`]).
//! An ordinary JSON body is only searched for two words, not parsed; names written with needless
//! escapes (`"\u0071uery"`) are therefore seen only at paths that tell the protocol.

use super::graphql::{self, Kind};
use super::json::{self, Body, Envelope, List};
use super::multipart;
use super::text::{trim, words};
use crate::head::Head;
use memchr::memmem;
use sidelog_event::Op;
use std::borrow::Cow;
use std::sync::LazyLock;

/// Calls told of one request; all are counted.
pub(super) const MAX_CALLS: usize = 50;
/// Characters of each.
const MAX_CALL: usize = 256;
/// Multipart bodies inside each other: OData's change sets are one.
const MAX_NEST: u8 = 2;

pub const GRAPHQL: &str = "graphql";
pub const JSONRPC: &str = "jsonrpc";
pub const GRPC: &str = "grpc";
pub const BATCH: &str = "batch";

/// A request and its captured body.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub target: &'a [u8],
    pub host: &'a [u8],
    /// `Content-Type` as sent.
    pub media: &'a [u8],
    /// What was captured of the body; empty where it is compressed.
    pub body: &'a [u8],
    /// That was all of it.
    pub whole: bool,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    pub protocol: &'static str,
    /// The first few.
    pub list: Vec<Call>,
    pub total: u32,
    /// What all of them are, `other` where they differ.
    pub op: Op,
    /// The body broke off before its end: there may have been more.
    pub cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Named(String),
    /// Of a batch; the path as written, without query.
    Request {
        method: String,
        path: String,
    },
}

impl Calls {
    fn new(protocol: &'static str, op: Op) -> Calls {
        Calls { protocol, list: Vec::new(), total: 0, op, cut: false }
    }

    fn push(&mut self, call: Call) {
        self.total = self.total.saturating_add(1);
        if self.list.len() < MAX_CALLS {
            self.list.push(call);
        }
    }

    fn name(&mut self, text: &str) {
        self.push(Call::Named(words(text.as_bytes(), MAX_CALL)));
    }
}

/// What the head alone tells: a gRPC method, or a GraphQL document in the query string.
pub fn of_head(head: &Head<'_>) -> Option<Calls> {
    let media = essence(head.first("content-type").unwrap_or_default());
    if is_grpc(&media) {
        return Some(grpc(head.target()));
    }
    let (path, query) = split(head.target());
    if query.is_empty() { None } else { of_pairs(head.method(), path, query) }
}

/// What head and body tell.
pub fn of_call(asked: &Asked<'_>) -> Option<Calls> {
    let media = essence(asked.media);
    if is_grpc(&media) {
        return Some(grpc(asked.target));
    }
    let (path, query) = split(asked.target);
    let found = match &*media {
        _ if asked.body.is_empty() => None,
        b"application/graphql" => document(asked, &String::from_utf8_lossy(asked.body)),
        b"multipart/form-data" => upload(asked),
        b"application/x-www-form-urlencoded" => of_pairs(asked.method, path, asked.body),
        media if media.starts_with(b"multipart/") => {
            let mut batch = Calls::new(BATCH, Op::Other);
            parts(asked, asked.media, asked.body, MAX_NEST, &mut batch);
            settle_batch(batch, asked.target)
        }
        _ => of_json(asked),
    };
    let found = found.map(|calls| Calls { cut: calls.cut || !asked.whole, ..calls });
    // A body that tells nothing, at a place where each one should: it broke off.
    let silent = || {
        let unread = !asked.body.is_empty() && !asked.whole && is_graphql(path);
        unread.then(|| Calls { cut: true, ..Calls::new(GRAPHQL, Op::Other) })
    };
    found
        .or_else(|| if query.is_empty() { None } else { of_pairs(asked.method, path, query) })
        .or_else(silent)
}

/// Whether a query string holds a GraphQL mutation, or what a server might read as one.
pub fn mutates(target: &[u8]) -> bool {
    let (_, query) = split(target);
    !query.is_empty()
        && pairs(query).filter(|(name, _)| decode(name) == "query").any(|(_, value)| {
            let text = decode(value);
            match graphql::parse(&text) {
                Some(document) => document.mutates(),
                None => text.contains("mutation") && text.contains('{'),
            }
        })
}

/// gRPC's code as it stands in `grpc-status`.
pub fn grpc_status(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(trim(value)).ok().filter(|v| v.len() <= 3 && !v.starts_with('+'))?.parse().ok()
}

/// The code in the trailers of a gRPC-Web answer, which are its body's last frame.
pub fn grpc_web_status(media: &[u8], body: &[u8]) -> Option<u16> {
    let media = essence(media);
    if !media.starts_with(b"application/grpc-web") {
        return None;
    }
    let decoded;
    let mut rest = body;
    if media.starts_with(b"application/grpc-web-text") {
        decoded = base64_chunks(body);
        rest = &decoded;
    }
    // One flag byte, four of length.
    while let [flag, a, b, c, d, frame @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let content = frame.get(..length)?;
        // 0x80: trailers; 0x01: compressed.
        if *flag == 0x80 {
            return content.split(|b| *b == b'\n').find_map(|line| {
                let at = memchr::memchr(b':', line)?;
                let (name, value) = (line.get(..at)?, line.get(at + 1..)?.trim_ascii());
                name.trim_ascii().eq_ignore_ascii_case(b"grpc-status").then(|| grpc_status(value)).flatten()
            });
        }
        rest = frame.get(length..)?;
    }
    None
}

/// Base64 that may be padded in the middle, where one write ended.
fn base64_chunks(body: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let groups: Vec<u8> = body.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    for group in groups.chunks_exact(4) {
        if base64::engine::general_purpose::STANDARD.decode_vec(group, &mut out).is_err() {
            break;
        }
    }
    out
}

fn is_grpc(media: &[u8]) -> bool {
    media.starts_with(b"application/grpc") && matches!(media.get(16), None | Some(b'+' | b'-' | b';'))
}

fn grpc(target: &[u8]) -> Calls {
    let (path, _) = split(target);
    let mut calls = Calls::new(GRPC, Op::Other);
    calls.name(&String::from_utf8_lossy(path.strip_prefix(b"/").unwrap_or(path)));
    calls
}

/// Words without which a JSON body has no call in it.
static QUERY: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\"query\""));
/// `"method"`, and `"_method"` for [`other_method`].
static METHOD: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("method\""));

/// Whether a JSON body is worth reading: one of the words is there, or the path tells.
fn worth_reading(path: &[u8], body: &[u8]) -> bool {
    let begins = body.iter().find(|b| !b.is_ascii_whitespace());
    matches!(begins, Some(b'{' | b'['))
        && (QUERY.find(body).is_some() || METHOD.find(body).is_some() || is_graphql(path) || is_batch(path))
}

fn of_json(asked: &Asked<'_>) -> Option<Calls> {
    let (path, _) = split(asked.target);
    if !worth_reading(path, asked.body) {
        return None;
    }
    let (body, whole) = json::read(asked.body);
    let found = match &body? {
        Body::One(one) => of_one(asked, one),
        Body::Many(list) => of_list(asked, list),
    };
    found.map(|calls| Calls { cut: calls.cut || !whole, ..calls })
}

/// The method a JSON body names (`_method`), which Laravel executes instead of POST.
pub fn other_method(body: &[u8]) -> Option<String> {
    METHOD.find(body)?;
    match json::read(body).0 {
        Some(Body::One(one)) => one.other_method.map(Cow::into_owned),
        _ => None,
    }
}

fn of_one(asked: &Asked<'_>, one: &Envelope<'_>) -> Option<Calls> {
    let mut calls = Calls::new(GRAPHQL, Op::Read);
    if add_graphql(asked, one, &mut calls) {
        return Some(calls);
    }
    if let Some(members) = &one.members
        && let Some(batch) = batch(asked, members, one.defaults.as_deref())
    {
        return Some(batch);
    }
    let method = rpc_method(one)?;
    let mut calls = Calls::new(JSONRPC, Op::Other);
    calls.name(method);
    Some(calls)
}

/// An array: what its first element is decides for all.
fn of_list(asked: &Asked<'_>, list: &List<'_>) -> Option<Calls> {
    let first = list.items.first()?;
    let mut calls = Calls::new(GRAPHQL, Op::Read);
    if add_graphql(asked, first, &mut calls) {
        for one in list.items.iter().skip(1) {
            add_graphql(asked, one, &mut calls);
        }
        calls.total = list.total.max(calls.total);
        // Unseen ones may be anything.
        if list.total as usize > list.items.len() {
            calls.op = Op::Other;
        }
        return Some(calls);
    }
    if rpc_method(first).is_none() {
        return batch(asked, list, None);
    }
    let mut calls = Calls::new(JSONRPC, Op::Other);
    list.items.iter().filter_map(rpc_method).for_each(|method| calls.name(method));
    calls.total = list.total;
    Some(calls)
}

fn rpc_method<'e>(one: &'e Envelope<'_>) -> Option<&'e str> {
    let named = one.jsonrpc || (one.params && one.id && one.url.is_none());
    one.method.as_deref().filter(|_| named)
}

/// Adds a GraphQL request's operations; `false`: it is none.
fn add_graphql(asked: &Asked<'_>, one: &Envelope<'_>, calls: &mut Calls) -> bool {
    let here = is_graphql(split(asked.target).0);
    let name = one.operation_name.as_deref().filter(|n| !n.is_empty());
    if let Some(query) = one.query.as_deref() {
        return match graphql::parse(query) {
            Some(document) if here || !one.foreign || !document.is_shorthand() => {
                add_document(&document, name, calls);
                true
            }
            _ => false,
        };
    }
    if !here || one.foreign || (one.persisted.is_none() && name.is_none()) {
        return false;
    }
    add_persisted(asked.method, name, one.persisted.as_deref(), calls);
    true
}

fn add_document(document: &graphql::Document<'_>, name: Option<&str>, calls: &mut Calls) {
    for operation in document.executed(name) {
        if operation.kind == Kind::Mutation {
            calls.op = Op::Other;
        }
        calls.name(&document.tell(operation));
    }
}

fn add_persisted(method: &str, name: Option<&str>, hash: Option<&str>, calls: &mut Calls) {
    if !super::is_safe(method) {
        calls.op = Op::Other;
    }
    // So much of the hash tells it from others and looks like no secret.
    let hash: String = hash.unwrap_or_default().chars().take(12).collect();
    calls.name(&format!("persisted {}", name.unwrap_or(&hash)));
}

fn document(asked: &Asked<'_>, text: &str) -> Option<Calls> {
    let mut calls = Calls::new(GRAPHQL, Op::Read);
    let (_, query) = split(asked.target);
    let name = pairs(query).find(|(name, _)| decode(name) == "operationName").map(|(_, v)| decode(v));
    add_document(&graphql::parse(text)?, name.as_deref(), &mut calls);
    Some(calls)
}

/// GraphQL in the pairs of a query string or form.
fn of_pairs(method: &str, path: &[u8], encoded: &[u8]) -> Option<Calls> {
    let (mut queries, mut name, mut extensions) = (Vec::new(), None, None);
    for (key, value) in pairs(encoded) {
        match &*decode(key) {
            "query" if queries.len() < MAX_CALLS => queries.push(decode(value)),
            "operationName" => name = Some(decode(value)),
            "extensions" => extensions = Some(decode(value)),
            _ => {}
        }
    }
    let mut calls = Calls::new(GRAPHQL, Op::Read);
    for document in queries.iter().filter_map(|text| graphql::parse(text)) {
        if is_graphql(path) || !document.is_shorthand() {
            add_document(&document, name.as_deref(), &mut calls);
        }
    }
    if calls.total == 0 && is_graphql(path) && queries.is_empty() && (name.is_some() || extensions.is_some())
    {
        let found = json::texts_at(
            extensions.as_deref().unwrap_or_default().as_bytes(),
            &[&["persistedQuery", "sha256Hash"]],
        );
        let hash = found.into_iter().next().flatten();
        add_persisted(method, name.as_deref(), hash.as_deref(), &mut calls);
    }
    (calls.total > 0).then_some(calls)
}

/// The GraphQL multipart request: `operations` is the JSON body, the other parts are files.
fn upload(asked: &Asked<'_>) -> Option<Calls> {
    let mut parts = multipart::parts(asked.media, asked.body).take(MAX_CALLS);
    let operations = parts.find(|part| part.name() == Some(b"operations"))?;
    // Nothing but GraphQL is sent so.
    of_json(&Asked { body: operations.content, ..*asked }).filter(|calls| calls.protocol == GRAPHQL)
}

/// Members of a REST batch; `None` where one is no request to this service.
fn batch(asked: &Asked<'_>, list: &List<'_>, defaults: Option<&Envelope<'_>>) -> Option<Calls> {
    let mut calls = Calls::new(BATCH, Op::Other);
    let or_default = |own: &Option<Cow<'_, str>>, of: fn(&Envelope<'_>) -> Option<String>| {
        own.as_deref().map(str::to_owned).or_else(|| defaults.and_then(of))
    };
    for one in &list.items {
        let method = or_default(&one.method, |d| d.method.as_deref().map(str::to_owned));
        // Kinto executes GET where no method is given.
        let method = method.or_else(|| is_batch(split(asked.target).0).then(|| "GET".to_owned()))?;
        let url = or_default(&one.url, |d| d.url.as_deref().map(str::to_owned))?;
        calls.push(request(asked, &method, &url)?);
    }
    calls.total = list.total;
    settle_batch(calls, asked.target)
}

/// What a batch does, where all its members do the same. Reads are believed only at a batch's path:
/// elsewhere, a list of requests may be what is to be stored.
fn settle_batch(mut calls: Calls, target: &[u8]) -> Option<Calls> {
    let op = |call: &Call| match call {
        Call::Request { method, .. } => match method.as_str() {
            "GET" | "HEAD" if is_batch(split(target).0) => Op::Read,
            "PUT" | "PATCH" => Op::Update,
            "DELETE" => Op::Delete,
            _ => Op::Other,
        },
        Call::Named(_) => Op::Other,
    };
    let first = op(calls.list.first()?);
    let seen = calls.total as usize == calls.list.len();
    calls.op = if seen && calls.list.iter().all(|c| op(c) == first) { first } else { Op::Other };
    Some(calls)
}

/// A member of a batch, if its address is this service.
fn request(asked: &Asked<'_>, method: &str, url: &str) -> Option<Call> {
    let token = |b: u8| b.is_ascii_alphabetic() || b == b'-';
    if method.is_empty() || method.len() > 32 || !method.bytes().all(token) {
        return None;
    }
    let url = url.trim();
    let path = match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end)?;
            authority.as_bytes().eq_ignore_ascii_case(asked.host).then_some(path)?
        }
        _ => url,
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path = path.get(..end)?.to_owned();
    Some(Call::Request { method: method.to_ascii_uppercase(), path })
}

/// The `application/http` parts of a multipart body.
fn parts(asked: &Asked<'_>, media: &[u8], body: &[u8], nest: u8, calls: &mut Calls) {
    if nest == 0 {
        return;
    }
    for part in multipart::parts(media, body) {
        let media = part.field("content-type").unwrap_or_default();
        let kind = essence(media);
        if kind.starts_with(b"multipart/") {
            parts(asked, media, part.content, nest - 1, calls);
        } else if &*kind == b"application/http"
            && let Some(call) = request_line(asked, part.content)
        {
            calls.push(call);
        }
    }
}

fn request_line(asked: &Asked<'_>, content: &[u8]) -> Option<Call> {
    let line = content.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty())?;
    let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let method = std::str::from_utf8(words.next()?).ok()?;
    request(asked, method, &String::from_utf8_lossy(words.next()?))
}

/// A media type without parameters, in lower case.
pub(super) fn essence(media: &[u8]) -> Cow<'_, [u8]> {
    let end = memchr::memchr(b';', media).unwrap_or(media.len());
    let essence = media.get(..end).unwrap_or_default().trim_ascii();
    if essence.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(essence.to_ascii_lowercase())
    } else {
        Cow::Borrowed(essence)
    }
}

fn split(target: &[u8]) -> (&[u8], &[u8]) {
    crate::rules::split_target(target)
}

fn is_graphql(path: &[u8]) -> bool {
    let last = last(path);
    ["graphql", "gql"].iter().any(|word| last.eq_ignore_ascii_case(word.as_bytes()))
}

fn is_batch(path: &[u8]) -> bool {
    let last = last(path);
    ["batch", "$batch", "bulk"].iter().any(|word| last.eq_ignore_ascii_case(word.as_bytes()))
}

/// The last segment that is not empty.
fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').find(|s| !s.is_empty()).unwrap_or_default()
}

fn pairs(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    encoded.split(|b| *b == b'&').map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[][..]),
    })
}

/// Form decoding: `+` is a space.
pub(super) fn decode(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|b| matches!(b, b'+' | b'%')) {
        return String::from_utf8_lossy(raw);
    }
    let spaced: Vec<u8> = raw.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    Cow::Owned(percent_encoding::percent_decode(&spaced).decode_utf8_lossy().into_owned())
}

/// The first parameter of this name in a query string or form.
pub(super) fn parameter<'q>(encoded: &'q [u8], name: &str) -> Option<Cow<'q, str>> {
    pairs(encoded).find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

#[cfg(test)]
mod tests;
