//! How much of a call is recorded, and what must be on disk before it goes on.
//!
//! Owns the rules of `audit:`, compiled once. A decision is pure: no regular
//! expressions, and time linear in the path.
//!
//! The order: `rules` (first match wins), then `ignore`, then the defaults (mutating calls are
//! recorded, safe reads are not unless `include_reads` names them). Within one rule, the kinds of
//! condition (methods, paths, operations, tags) must all hold; within a kind, one entry is enough.
//! A rule that sets only a delivery leaves the level to what follows, and the other way round.
//!
//! Promises:
//! - Nothing escapes by spelling. A match that rests on doubtful ground (a path that is not in normal
//!   form, an ambiguous operation, a method that a header overrides) may only raise what is recorded,
//!   never lower it: `ignore` and `level: none` need a match beyond doubt.
//! - A method is safe only when it is exactly GET, HEAD, OPTIONS or TRACE, without a body and without
//!   an override. Everything else is mutating, unknown methods included.
//! - A call that asks for an upgrade opens a tunnel through which anything may be done: its opening
//!   is recorded at `metadata`, although the method is GET.
//!
//! Path selectors: literal segments; `*` one segment or a part of one; `**` any number of segments,
//! none included; `{x}` one segment. A selector with braces is an OpenAPI template: where the call
//! was matched to an operation, it stands for that template (whatever the parameters' names) and not
//! for others whose paths look alike; where not, it is compared with the path. Selectors without
//! braces are compared with the path as sent, then with the template.

mod paths;

pub use paths::Paths;

use crate::config::{self, Place, Selector};
use sidelog_event::{Delivery, Level, MatchKind};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What is known of a call when its head is complete.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub method: &'a str,
    /// As sent, without the query.
    pub path: &'a str,
    /// The target is its own normal form: no `//`, no dot segments, no needless percent-encoding.
    pub normal_form: bool,
    pub has_body: bool,
    /// The method by override, when it differs from `method` (`extract::effective_method`).
    pub overridden: Option<&'a str>,
    /// Asks to leave HTTP (`Upgrade: websocket`).
    pub upgrade: bool,
    pub operation: Option<OperationRef<'a>>,
    pub matched: MatchKind,
}

/// The operation a call was matched to.
#[derive(Debug, Clone, Copy)]
pub struct OperationRef<'a> {
    /// Template with its base path, as in events: `/v1/orders/{id}`.
    pub route: &'a str,
    /// Template as in the document: `/orders/{id}`.
    pub template: &'a str,
    /// Empty when the document gives none.
    pub operation_id: &'a str,
    pub tags: &'a [String],
}

/// What to do with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub level: Level,
    pub delivery: Delivery,
    pub rule: RuleRef,
}

impl Decision {
    pub fn recorded(&self) -> bool {
        self.level != Level::None
    }
}

/// What decided. Its text is the event's `policy`: `default`, `rule audit.yaml:12`, …
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleRef {
    Default,
    Ignore(Arc<str>),
    Include(Arc<str>),
    Rule(Arc<str>),
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleRef::Default => f.write_str("default"),
            RuleRef::Ignore(at) => write!(f, "ignore {at}"),
            RuleRef::Include(at) => write!(f, "include {at}"),
            RuleRef::Rule(at) => write!(f, "rule {at}"),
        }
    }
}

impl RuleRef {
    /// The text of the event's `policy` field.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            RuleRef::Default => Cow::Borrowed("default"),
            other => Cow::Owned(other.to_string()),
        }
    }
}

/// The compiled `audit:` section.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    ignore: Vec<(Want, Arc<str>)>,
    include_reads: Vec<(Want, Arc<str>)>,
    unmatched: Level,
    level: Level,
    delivery: Delivery,
    /// Some reads are recorded: then one whose target is oddly spelled is, too, or the spelling
    /// would be a way round.
    guards_reads: bool,
    has_paths: bool,
}

#[derive(Debug)]
struct Rule {
    methods: Vec<String>,
    paths: Vec<Pattern>,
    operations: Vec<String>,
    tags: Vec<String>,
    level: Option<Level>,
    delivery: Option<Delivery>,
    place: Arc<str>,
}

#[derive(Debug)]
enum Want {
    Path(Pattern),
    Operation(String),
    Tag(String),
}

/// What a match rests on.
#[derive(Debug, Clone, Copy, Default)]
struct Hit {
    method: bool,
    path: bool,
    operation: bool,
}

impl Hit {
    /// May what was matched differ from what the service executes?
    fn doubtful(self, call: &Call<'_>) -> bool {
        let path = (self.path || self.operation) && !call.normal_form;
        let operation = self.operation && call.matched == MatchKind::Ambiguous;
        let method = (self.method || self.operation) && call.overridden.is_some();
        path || operation || method
    }

    fn and(self, other: Hit) -> Hit {
        Hit {
            method: self.method || other.method,
            path: self.path || other.path,
            operation: self.operation || other.operation,
        }
    }
}

/// A call with its path and templates cut into segments, once for all selectors.
struct Target<'a> {
    call: &'a Call<'a>,
    /// Empty when the path does not start with `/` (`*` of OPTIONS): no path selector fits it.
    path: Vec<&'a str>,
    route: Vec<&'a str>,
    /// Empty when the document's template is the route.
    template: Vec<&'a str>,
}

impl<'a> Target<'a> {
    /// `cut`: some selector will look at segments.
    fn new(call: &'a Call<'a>, cut: bool) -> Target<'a> {
        let mut target = Target { call, path: Vec::new(), route: Vec::new(), template: Vec::new() };
        if cut {
            target.path = split(call.path);
            if let Some(operation) = &call.operation {
                target.route = split(operation.route);
                if operation.template != operation.route {
                    target.template = split(operation.template);
                }
            }
        }
        target
    }
}

impl Policy {
    pub fn new(audit: &config::Audit) -> Policy {
        let compile = |list: &[(Selector, Place)]| -> Vec<(Want, Arc<str>)> {
            list.iter().map(|(selector, place)| (Want::new(selector), place_text(place))).collect()
        };
        let rules: Vec<Rule> = audit.rules.iter().map(Rule::new).collect();
        let (ignore, include_reads) = (compile(&audit.ignore), compile(&audit.include_reads));
        let mut selectors = ignore.iter().chain(&include_reads);
        Policy {
            guards_reads: !include_reads.is_empty() || rules.iter().any(Rule::records_reads),
            has_paths: selectors.any(|(want, _)| matches!(want, Want::Path(_)))
                || rules.iter().any(|rule| !rule.paths.is_empty()),
            rules,
            ignore,
            include_reads,
            unmatched: audit.unmatched,
            level: audit.level,
            delivery: audit.delivery,
        }
    }

    pub fn decide(&self, call: &Call<'_>) -> Decision {
        let target = Target::new(call, self.has_paths);
        let hit = self.rules.iter().find_map(|rule| Some((rule, rule.hit(&target)?)));
        let otherwise = || self.without_rules(&target);
        match hit {
            None => otherwise(),
            Some((rule, hit)) => rule.apply(hit.doubtful(call), otherwise),
        }
    }

    /// `ignore`, `include_reads` and the defaults.
    fn without_rules(&self, target: &Target<'_>) -> Decision {
        let call = target.call;
        let decision = |level, rule| Decision { level, delivery: self.delivery, rule };
        for (want, place) in &self.ignore {
            if want.hit(target).is_some_and(|hit| !hit.doubtful(call)) {
                return decision(Level::None, RuleRef::Ignore(place.clone()));
            }
        }
        let level = if call.operation.is_some() { self.level } else { self.unmatched };
        if !is_safe(call) {
            return decision(level, RuleRef::Default);
        }
        for (want, place) in &self.include_reads {
            if want.hit(target).is_some() {
                return decision(self.level, RuleRef::Include(place.clone()));
            }
        }
        if self.guards_reads && !call.normal_form {
            return decision(level, RuleRef::Default);
        }
        let tunnel = call.upgrade && self.level != Level::None;
        decision(if tunnel { Level::Metadata } else { Level::None }, RuleRef::Default)
    }
}

/// Exactly a safe method, with nothing that makes it something else.
fn is_safe(call: &Call<'_>) -> bool {
    matches!(call.method, "GET" | "HEAD" | "OPTIONS" | "TRACE") && !call.has_body && call.overridden.is_none()
}

impl Rule {
    fn new(rule: &config::Rule) -> Rule {
        Rule {
            methods: rule.methods.clone(),
            paths: rule.paths.iter().map(|p| Pattern::new(p)).collect(),
            operations: rule.operations.clone(),
            tags: rule.tags.clone(),
            level: rule.level,
            delivery: rule.delivery,
            place: place_text(&rule.place),
        }
    }

    /// All kinds of condition hold; an absent kind holds always.
    fn hit(&self, target: &Target<'_>) -> Option<Hit> {
        let call = target.call;
        let mut hit = Hit::default();
        if !self.methods.is_empty() {
            // Either method may be the one executed; `doubtful` sees to it that nothing is lowered.
            let named = |m: &str| self.methods.iter().any(|method| method == m);
            if !named(call.method) && !call.overridden.is_some_and(named) {
                return None;
            }
            hit.method = true;
        }
        if !self.paths.is_empty() {
            hit = hit.and(self.paths.iter().find_map(|p| p.hit(target))?);
        }
        if !self.operations.is_empty() {
            hit = hit.and(self.operations.iter().find_map(|id| hit_operation(id, call))?);
        }
        if !self.tags.is_empty() {
            hit = hit.and(self.tags.iter().find_map(|tag| hit_tag(tag, call))?);
        }
        Some(hit)
    }

    /// `otherwise`: what the call would get without any rule.
    fn apply(&self, doubtful: bool, otherwise: impl FnOnce() -> Decision) -> Decision {
        let rule = RuleRef::Rule(self.place.clone());
        if let (Some(level), Some(delivery), false) = (self.level, self.delivery, doubtful) {
            return Decision { level, delivery, rule };
        }
        let base = otherwise();
        let level = match self.level {
            Some(level) if !doubtful || level as u8 > base.level as u8 => level,
            _ => base.level,
        };
        let delivery = match self.delivery {
            Some(delivery) if !doubtful || delivery as u8 > base.delivery as u8 => delivery,
            _ => base.delivery,
        };
        // A rule that only sets a delivery has no say in a call that is not recorded.
        let rule = if level == Level::None && self.level.is_none() { base.rule } else { rule };
        Decision { level, delivery, rule }
    }

    fn records_reads(&self) -> bool {
        let selective = !(self.paths.is_empty() && self.operations.is_empty() && self.tags.is_empty());
        let reads = self.methods.is_empty()
            || self.methods.iter().any(|m| matches!(m.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE"));
        selective && reads && self.level.is_some_and(|level| level != Level::None)
    }
}

impl Want {
    fn new(selector: &Selector) -> Want {
        match selector {
            Selector::Path(path) => Want::Path(Pattern::new(path)),
            Selector::Operation(id) => Want::Operation(id.clone()),
            Selector::Tag(tag) => Want::Tag(tag.clone()),
        }
    }

    fn hit(&self, target: &Target<'_>) -> Option<Hit> {
        match self {
            Want::Path(pattern) => pattern.hit(target),
            Want::Operation(id) => hit_operation(id, target.call),
            Want::Tag(tag) => hit_tag(tag, target.call),
        }
    }
}

fn hit_operation(id: &str, call: &Call<'_>) -> Option<Hit> {
    let operation = call.operation?;
    let hit = !operation.operation_id.is_empty() && operation.operation_id == id;
    hit.then_some(Hit { operation: true, ..Hit::default() })
}

fn hit_tag(tag: &str, call: &Call<'_>) -> Option<Hit> {
    let hit = call.operation?.tags.iter().any(|t| t == tag);
    hit.then_some(Hit { operation: true, ..Hit::default() })
}

fn place_text(place: &Place) -> Arc<str> {
    format!("{}:{}", place.file, place.line).into()
}

/// The segments after the leading slash; empty for anything that has none.
fn split(path: &str) -> Vec<&str> {
    path.strip_prefix('/').map(|rest| rest.split('/').collect()).unwrap_or_default()
}

/// A path selector.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    /// It has braces: an OpenAPI template.
    template: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*` or `{x}`: any one segment that is not empty.
    Any {
        parameter: bool,
    },
    /// `report-*.csv`, `{id}:cancel`: the literal pieces around the wildcards, at least two.
    Pieces {
        pieces: Vec<String>,
        parameter: bool,
    },
    /// `**`
    Deep,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let mut segments: Vec<Segment> = split(text).into_iter().map(Segment::new).collect();
        segments.dedup_by(|a, b| *a == Segment::Deep && *b == Segment::Deep);
        let template = segments.iter().any(|segment| {
            matches!(segment, Segment::Any { parameter: true } | Segment::Pieces { parameter: true, .. })
        });
        Pattern { segments, template }
    }

    fn hit(&self, target: &Target<'_>) -> Option<Hit> {
        let by_path = !self.template || target.call.operation.is_none();
        let fits =
            |segments: &[&str], is_template| !segments.is_empty() && self.matches(segments, is_template);
        if by_path && fits(&target.path, false) {
            return Some(Hit { path: true, ..Hit::default() });
        }
        let by_template = fits(&target.route, true) || fits(&target.template, true);
        by_template.then_some(Hit { operation: true, ..Hit::default() })
    }

    /// Goes back only to the last `**`, so the work is at most segments × pattern length.
    fn matches(&self, segments: &[&str], is_template: bool) -> bool {
        let (mut s, mut p) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while let Some(segment) = segments.get(s) {
            match self.segments.get(p) {
                Some(Segment::Deep) => {
                    retry = Some((s, p + 1));
                    p += 1;
                    continue;
                }
                Some(want) if want.matches(segment, is_template) => {
                    s += 1;
                    p += 1;
                    continue;
                }
                _ => {}
            }
            let Some((from, after)) = retry else { return false };
            retry = Some((from + 1, after));
            (s, p) = (from + 1, after);
        }
        self.segments.get(p..).is_some_and(|rest| rest.iter().all(|want| *want == Segment::Deep))
    }

    /// Everything `other` matches, this one matches, as far as their shape tells.
    fn covers(&self, other: &Pattern) -> bool {
        if self == other {
            return true;
        }
        match self.segments.split_last() {
            Some((Segment::Deep, prefix)) if !self.template => {
                let literal = |s: &Segment| matches!(s, Segment::Literal(_));
                prefix.iter().all(literal) && other.segments.starts_with(prefix)
            }
            _ => false,
        }
    }
}

impl Segment {
    fn new(text: &str) -> Segment {
        if text == "**" {
            return Segment::Deep;
        }
        let (pieces, parameter) = cut(text);
        match pieces.as_slice() {
            [only] => Segment::Literal(only.clone()),
            [before, after] if before.is_empty() && after.is_empty() => Segment::Any { parameter },
            _ => Segment::Pieces { pieces, parameter },
        }
    }

    fn matches(&self, segment: &str, is_template: bool) -> bool {
        // `{x}` of a selector is a parameter of a template, never one of its literal segments.
        let fits = |parameter: bool| !(parameter && is_template) || segment.contains('{');
        match self {
            Segment::Literal(text) => text == segment,
            Segment::Any { parameter } => !segment.is_empty() && fits(*parameter),
            Segment::Pieces { pieces, parameter } => fits(*parameter) && pieces_match(pieces, segment),
            Segment::Deep => true,
        }
    }
}

/// Cuts a segment at its wildcards. `a*b` → `["a", "b"]`; `{x}` → `["", ""]`. A brace without its
/// partner is literal.
fn cut(text: &str) -> (Vec<String>, bool) {
    let (mut pieces, mut piece, mut parameter) = (Vec::new(), String::new(), false);
    let mut rest = text.chars();
    let mut last = None;
    while let Some(c) = rest.next() {
        let braces = if c == '{' { rest.as_str().split_once('}') } else { None };
        if let Some((_, after)) = braces {
            rest = after.chars();
            parameter = true;
            pieces.push(std::mem::take(&mut piece));
        } else if c != '*' {
            piece.push(c);
        } else if last != Some('*') {
            pieces.push(std::mem::take(&mut piece));
        }
        last = Some(c);
    }
    pieces.push(piece);
    (pieces, parameter)
}

/// The first piece is a prefix, the last a suffix, those between follow in order.
fn pieces_match(pieces: &[String], segment: &str) -> bool {
    let [first, middle @ .., last] = pieces else { return false };
    let Some(mut rest) = segment.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

/// Rules that no call can reach, each with the earlier rule that takes all its calls. Finds what can
/// be told from their shape: equal lists, and paths below an earlier `/…/**`.
pub fn unreachable_rules(rules: &[config::Rule]) -> Vec<(&Place, &Place)> {
    let compiled: Vec<Rule> = rules.iter().map(Rule::new).collect();
    let mut found = Vec::new();
    for (i, later) in compiled.iter().enumerate() {
        let by = compiled.iter().take(i).position(|earlier| earlier.takes_all_of(later));
        if let (Some(by), Some(rule)) = (by.and_then(|by| rules.get(by)), rules.get(i)) {
            found.push((&rule.place, &by.place));
        }
    }
    found
}

impl Rule {
    fn takes_all_of(&self, later: &Rule) -> bool {
        fn wider(mine: &[String], theirs: &[String]) -> bool {
            mine.is_empty() || (!theirs.is_empty() && theirs.iter().all(|t| mine.contains(t)))
        }
        let covered = |p: &Pattern| self.paths.iter().any(|mine| mine.covers(p));
        let paths = self.paths.is_empty() || (!later.paths.is_empty() && later.paths.iter().all(covered));
        paths
            && wider(&self.methods, &later.methods)
            && wider(&self.operations, &later.operations)
            && wider(&self.tags, &later.tags)
    }
}

#[cfg(test)]
mod tests {
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
        let delete =
            config::Rule { methods: vec!["DELETE".into()], delivery: Some(Delivery::Strict), ..rule(1) };
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
        let all =
            config::Rule { paths: vec!["/pay/**".into()], level: Some(Level::RequestResponse), ..rule(11) };
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
            .map(|i| config::Rule {
                paths: vec![format!("/v1/p{i}/**")],
                level: Some(Level::Request),
                ..rule(i)
            })
            .collect();
        let policy = Policy::new(&audit);
        let call = on("POST", "/v1/orders/7/items", "/v1/orders/{id}/items", "createItem");
        let begun = crate::extract::cpu_nanos();
        for _ in 0..1_000_000 {
            std::hint::black_box(policy.decide(std::hint::black_box(&call)));
        }
        println!("policy: {} ns a decision", (crate::extract::cpu_nanos() - begun) / 1_000_000);
    }
}
