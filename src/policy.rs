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
//!   an override, and without a GraphQL mutation in its query string. Everything else is mutating,
//!   unknown methods included.
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
use crate::openapi::Operation;
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
    /// Its query string carries a GraphQL mutation (`extract::mutates`).
    pub mutates: bool,
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
        let method = (self.method || self.operation) && (call.overridden.is_some() || call.mutates);
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
pub fn is_safe(call: &Call<'_>) -> bool {
    matches!(call.method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
        && !call.has_body
        && call.overridden.is_none()
        && !call.mutates
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
        self.walk(segments, |want, segment| want.matches(segment, is_template))
    }

    /// Whether some path of this template is one of this selector's.
    fn may_match(&self, template: &str) -> bool {
        let segments = split(template);
        let any = |segment: &str| segment.contains('{');
        !segments.is_empty()
            && self.walk(&segments, |want, segment| any(segment) || want.matches(segment, false))
    }

    fn walk(&self, segments: &[&str], fits: impl Fn(&Segment, &str) -> bool) -> bool {
        let (mut s, mut p) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while let Some(segment) = segments.get(s) {
            match self.segments.get(p) {
                Some(Segment::Deep) => {
                    retry = Some((s, p + 1));
                    p += 1;
                    continue;
                }
                Some(want) if fits(want, segment) => {
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

/// Whether a path selector can select calls of an operation at all.
pub fn selects(selector: &str, operation: &Operation) -> bool {
    let pattern = Pattern::new(selector);
    // What a parameter over several segments stands for can be anything below it.
    let spans = operation.path_params.iter().filter(|p| p.multi_segment);
    let cut = spans.filter_map(|p| operation.route.find(&format!("{{{}}}", p.name))).min();
    if let Some(before) = cut.and_then(|at| operation.route.get(..at)) {
        let literal = pattern.segments.iter().take_while(|s| matches!(s, Segment::Literal(_))).count();
        let own: Vec<&str> = split(before);
        let common = literal.min(own.len().saturating_sub(1));
        return own
            .iter()
            .zip(&pattern.segments)
            .take(common)
            .all(|(text, s)| s.matches(text, false) || text.contains('{'));
    }
    pattern.may_match(&operation.route) || pattern.may_match(&operation.template)
}

/// What the policy makes of an ordinary call of an operation.
pub fn of_operation(policy: &Policy, operation: &Operation) -> Decision {
    policy.decide(&Call {
        method: &operation.method,
        path: &operation.route,
        normal_form: true,
        has_body: false,
        overridden: None,
        mutates: false,
        upgrade: false,
        operation: Some(OperationRef {
            route: &operation.route,
            template: &operation.template,
            operation_id: operation.operation_id.as_deref().unwrap_or_default(),
            tags: &operation.tags,
        }),
        matched: MatchKind::Matched,
    })
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
mod tests;
