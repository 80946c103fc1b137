//! Redaction: what makes an event fit to be stored, and the type that proves it was done.
//!
//! Owns [`Redacted`], which only [`Redactor`] can make, and [`StoredEvent`], which only a
//! `Redacted` event can become; the journal takes nothing else. Pure: no I/O, no clock; the only
//! state is each thread's bounded memory of names that were judged (`names`).
//!
//! Promises: a value under a name that means a secret is masked whatever its type; a value that
//! looks like a secret is masked wherever it stands; a body that cannot be read whole and for
//! certain is kept as length and keyed digest only. Time and memory are linear in what is given.
//! Refuses to guess: truncated, undecodable, unparseable or unknown bodies are never kept in part,
//! and what a panic interrupts is not kept at all.
//!
//! It raises these `flags`: `duplicate_keys` (a JSON object has a name twice), `encoding_false` (a
//! body is not what its `Content-Encoding` says, or damaged, cut or followed by more),
//! `encoding_stacked` (codings over codings), `encoding_unknown`, `body_too_large_decoded` (larger
//! than `capture.max_decoded`), `redaction_failed` (a defect of ours; that part was left out).
//!
//! The parts: `keys` (names, with `key_list`, `automaton` and `names`), `values` (with
//! `beginnings`), `cards`, `assign` (secrets in text),
//! `text` (one decoded string), `scan` (eight bytes at a time), `json`, `form`, `xml`, `multipart`,
//! `path` (readers), `body` (which reader), `decode` (`Content-Encoding`), `tally` (edits and the
//! account of them), `guard` (panics).
//!
//! Nothing else can make a proof:
//! ```compile_fail,E0423
//! let forged = sidelog::redact::Redacted("password".to_string());
//! ```
//! ```compile_fail,E0451
//! let forged = sidelog::redact::StoredEvent { id: uuid::Uuid::nil(), bytes: b"{}" };
//! ```

mod assign;
mod automaton;
mod beginnings;
mod body;
mod cards;
mod decode;
mod form;
mod guard;
mod json;
mod key_list;
mod keys;
mod multipart;
mod names;
mod path;
mod place;
mod scan;
mod tally;
mod text;
mod values;
mod xml;

#[cfg(test)]
mod tests;

pub use body::RawBody;
pub use decode::TOO_LARGE as TOO_LARGE_DECODED;
pub use keys::{BadRedact, SchemaMarks};

use crate::config;
use crate::extract::{self, Template};
use crate::pseudonym::{self, Pseudonyms};
use place::Place;
use sidelog_event::{AuditEvent, Message};
use sidelog_journal::Storable;
use std::borrow::Cow;
use std::cell::RefCell;
use tally::{Edits, MASK, Tally};
use text::Pass;
use uuid::Uuid;

thread_local! {
    /// Texts of an event, to be looked at together.
    static TOGETHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Proof that nothing secret is inside, as far as the rules of this module know secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted<T>(T);

impl<T> std::ops::Deref for Redacted<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Redacted<AuditEvent<'_>> {
    /// Writes the event's JSON over `buffer`, which is reused from call to call.
    pub fn store<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<StoredEvent<'b>, sonic_rs::Error> {
        buffer.clear();
        sonic_rs::to_writer(&mut *buffer, &self.0)?;
        Ok(StoredEvent { id: self.0.event_id, bytes: buffer })
    }
}

impl Redacted<AuditEvent<'_>> {
    /// Writes the readable line. Only now, of members that are redacted: a line made of raw ones may
    /// hold a secret in part or encoded, as no rule knows it again. `template`: in whose words.
    pub fn tell(&mut self, template: Option<&Template>) {
        let event = &mut self.0;
        let line = match template {
            Some(template) => template.line(event),
            None => extract::message(&event.actor, &event.operation, &event.http, event.outcome),
        };
        event.message = line.into();
    }

    /// Leaves the bodies out; their sizes and digests stay.
    pub fn drop_bodies(&mut self) {
        for message in [&mut self.0.request, &mut self.0.response] {
            if !message.body.is_empty() {
                message.body = Cow::Borrowed("");
                message.body_state = Cow::Borrowed("omitted:too_large");
            }
        }
    }

    /// Leaves out what an intent can do without, where it does not fit its slot, and cuts what is
    /// longer than `max` characters.
    pub fn shorten(&mut self, max: usize) {
        let AuditEvent { service, http, operation, actor, client, reason, policy, flags, redactions, .. } =
            &mut self.0;
        for text in [&mut http.query, &mut http.user_agent, &mut operation.summary, &mut client.forwarded] {
            *text = Cow::Borrowed("");
        }
        operation.tags.clear();
        operation.alternatives.clear();
        operation.calls.truncate(1);
        operation.path_params.0.clear();
        actor.roles.clear();
        redactions.rules.clear();
        flags.truncate(4);
        let members = [
            service,
            policy,
            &mut http.method,
            &mut http.effective_method,
            &mut http.host,
            &mut http.path,
            &mut http.request_id,
            &mut http.idempotency_key,
            &mut operation.id,
            &mut operation.route,
            &mut operation.api_version,
            &mut operation.resource_type,
            &mut operation.resource_id,
            &mut operation.protocol,
            &mut actor.id,
            &mut actor.name,
            &mut actor.kind,
            &mut actor.tenant,
            &mut actor.on_behalf_of,
        ];
        for text in members.into_iter().chain(&mut operation.calls).chain(reason) {
            if let Some((cut, _)) = text.char_indices().nth(max) {
                *text = Cow::Owned(text.get(..cut).unwrap_or_default().to_owned());
            }
        }
        let messages = [&mut self.0.request, &mut self.0.response];
        messages.into_iter().for_each(|m| m.content_type = Cow::Borrowed(""));
    }
}

/// A redacted event as JSON, ready for the journal.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent<'b> {
    id: Uuid,
    bytes: &'b [u8],
}

impl Storable for StoredEvent<'_> {
    fn id(&self) -> Uuid {
        self.id
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

/// The rules of one configuration.
pub struct Redactor {
    keys: keys::Keys,
    pseudonyms: Pseudonyms,
    /// Bytes of a body when decoded.
    max_decoded: usize,
    /// `redact.unknown: mask`.
    mask_unknown: bool,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// `max_decoded`: bytes of a body with its `Content-Encoding` removed, beyond which it is left
    /// out.
    pub fn new(
        config: &config::Redact,
        max_decoded: usize,
        pseudonyms: Pseudonyms,
    ) -> Result<Self, BadRedact> {
        // Compile the detectors now, not during the first call.
        std::sync::LazyLock::force(&values::VALUES);
        guard::install();
        let mask_unknown = config.unknown == config::Unknown::Mask;
        Ok(Redactor { keys: keys::Keys::new(config)?, pseudonyms, max_decoded, mask_unknown })
    }

    /// The only way to a redacted event. `event` holds raw text and empty bodies; `request` and
    /// `response` are what was captured. `marks`: names the operation's schema calls secret.
    pub fn redact<'a>(
        &self,
        mut event: AuditEvent<'a>,
        request: RawBody<'a>,
        response: RawBody<'a>,
        marks: &SchemaMarks,
    ) -> Redacted<AuditEvent<'a>> {
        let mut pass = self.pass(marks);
        let mut tally = Tally::default();
        self.request(&mut pass, &mut event.request, request, marks, &mut tally);
        let place = match marks.whole_response() {
            true => Place::Marked,
            false => pass.place(|fields| fields.response),
        };
        self.message(&mut pass, &mut event.response, response, place, &mut tally);
        self.members(&mut pass, &mut event, &mut tally);
        tally.record(&mut event.redactions);
        for flag in pass.flags() {
            if !event.flags.iter().any(|f| f == flag) {
                event.flags.push(Cow::Borrowed(flag));
            }
        }
        Redacted(event)
    }

    /// A request alone: what an event would say of it.
    pub fn message_of<'a>(&self, request: RawBody<'a>, marks: &SchemaMarks) -> Redacted<Message<'a>> {
        let mut message = Message::default();
        self.request(&mut self.pass(marks), &mut message, request, marks, &mut Tally::default());
        Redacted(message)
    }

    fn pass<'r>(&'r self, marks: &'r SchemaMarks) -> Pass<'r> {
        Pass::new(&self.keys, marks).masking_unknown(self.mask_unknown)
    }

    fn request<'a, 'r>(
        &self,
        pass: &mut Pass<'r>,
        message: &mut Message<'a>,
        raw: RawBody<'a>,
        marks: &'r SchemaMarks,
        tally: &mut Tally,
    ) {
        let place = match marks.whole_request() {
            true => Place::Marked,
            false => pass.place(|fields| fields.request),
        };
        self.message(pass, message, raw, place, tally);
    }

    /// An event that was redacted before and read back from disk (an open call of a process that
    /// died). Its members are redacted again, which changes nothing in them; bodies, which cannot
    /// be proven to have been redacted, are dropped.
    pub fn recover<'a>(&self, mut event: AuditEvent<'a>) -> Redacted<AuditEvent<'a>> {
        let marks = SchemaMarks::default();
        let mut pass = Pass::new(&self.keys, &marks);
        let mut tally = Tally::default();
        for message in [&mut event.request, &mut event.response] {
            if !std::mem::take(&mut message.body).is_empty() {
                message.body_state = "omitted:level".into();
            }
            digest_only(&mut message.digest);
            member(&mut pass, &mut message.content_type, &mut tally);
            member(&mut pass, &mut message.body_state, &mut tally);
        }
        self.members(&mut pass, &mut event, &mut tally);
        tally.record(&mut event.redactions);
        Redacted(event)
    }

    /// A target's path as an event shows it; `raw` as sent, without the query.
    pub fn path(&self, raw: &[u8]) -> String {
        let marks = SchemaMarks::default();
        let path = path::printable(raw);
        let edits = path::read(&mut Pass::new(&self.keys, &marks), &path, &[]);
        edits.apply(&path).map_or_else(|| path.into_owned(), |(text, _)| text)
    }

    /// A query as an event shows it; `raw` as sent, without the `?`.
    pub fn query(&self, raw: &[u8], marks: &SchemaMarks) -> String {
        let query = path::printable(raw);
        let mut pass = self.pass(marks);
        let place = pass.place(|fields| fields.query);
        let edits = form::read(&mut pass, &query, place);
        edits.apply(&query).map_or_else(|| query.into_owned(), |(text, _)| text)
    }

    /// The rule by which a name means a secret, as events show it (`key:password`).
    pub fn rule_of(&self, name: &str, marks: &SchemaMarks) -> Option<String> {
        Pass::new(&self.keys, marks).name(name).map(|rule| rule.to_string())
    }

    /// Everything of an event but its messages; all of it goes if that fails.
    fn members(&self, pass: &mut Pass<'_>, event: &mut AuditEvent<'_>, tally: &mut Tally) {
        if guard::guarded(|| self.each_member(pass, event, tally)).is_none() {
            pass.failed();
            event.operation.path_params.0.clear();
            event.http.path = "".into();
            event.http.query = "".into();
            event.actor.credential = "".into();
            texts(event).for_each(|text| *text = "".into());
        }
    }

    fn each_member(&self, pass: &mut Pass<'_>, event: &mut AuditEvent<'_>, tally: &mut Tally) {
        pass.quiet = is_quiet(event);
        let (secrets, changed) = path_params(pass, &mut event.operation.path_params.0, tally);
        if changed {
            same_resource(event);
        }
        if !(pass.quiet && secrets.is_empty() && path::is_dull(&event.http.path)) {
            let path = path::read(pass, &event.http.path, &secrets);
            apply(path, &mut event.http.path, tally);
        }
        if !event.http.query.is_empty() {
            let place = pass.place(|fields| fields.query);
            let query = form::read(pass, &event.http.query, place);
            apply(query, &mut event.http.query, tally);
        }
        for text in [&mut event.operation.resource_id, &mut event.message] {
            scrub(text, &secrets);
        }
        self.credential(&mut event.actor.credential);
        for text in texts(event) {
            member(pass, text, tally);
        }
        pass.quiet = false;
    }

    /// A message's media type and body; neither is kept if that fails.
    fn message<'a, 'r>(
        &self,
        pass: &mut Pass<'r>,
        message: &mut Message<'a>,
        raw: RawBody<'a>,
        place: Place<'r>,
        tally: &mut Tally,
    ) {
        message.bytes = raw.total;
        message.digest = raw.digest.clone().unwrap_or_default().into();
        digest_only(&mut message.digest);
        if message.content_type.is_empty() {
            message.content_type = String::from_utf8_lossy(raw.content_type);
        }
        let kept = guard::guarded(|| {
            member(pass, &mut message.content_type, tally);
            body::keep(pass, &raw, place, self.max_decoded)
        });
        match kept {
            Some(kept) => {
                tally.merge(kept.tally);
                message.body = kept.text;
                message.body_state = kept.state.into();
            }
            None => {
                pass.failed();
                message.content_type = "".into();
                message.body = "".into();
                message.body_state = "omitted:failed".into();
            }
        }
    }

    /// What is no keyed fingerprint becomes one.
    fn credential(&self, credential: &mut Cow<'_, str>) {
        let fingerprint = pseudonym::is_fingerprint(credential);
        if !credential.is_empty() && !fingerprint {
            *credential = Cow::Owned(self.pseudonyms.fingerprint(credential.as_bytes()));
        }
    }
}

/// Every text of an event but its messages, and what has a form of its own: path, query, path
/// parameters, credential.
fn texts<'e, 'a>(event: &'e mut AuditEvent<'a>) -> impl Iterator<Item = &'e mut Cow<'a, str>> {
    let AuditEvent { http, operation, actor, client, error, reason, flags, .. } = event;
    let members = [
        &mut event.service,
        &mut http.version,
        &mut http.method,
        &mut http.effective_method,
        &mut http.scheme,
        &mut http.host,
        &mut http.user_agent,
        &mut http.request_id,
        &mut http.idempotency_key,
        &mut http.trace_id,
        &mut operation.id,
        &mut operation.route,
        &mut operation.summary,
        &mut operation.api_version,
        &mut operation.resource_type,
        &mut operation.resource_id,
        &mut operation.protocol,
        &mut actor.id,
        &mut actor.name,
        &mut actor.kind,
        &mut actor.tenant,
        &mut actor.on_behalf_of,
        &mut actor.unverified_reason,
        &mut client.ip,
        &mut client.ip_source,
        &mut client.peer_ip,
        &mut client.forwarded,
        &mut event.policy,
        &mut event.message,
    ];
    let lists =
        [&mut operation.tags, &mut operation.alternatives, &mut operation.calls, &mut actor.roles, flags];
    members.into_iter().chain(error).chain(reason).chain(lists.into_iter().flatten())
}

/// Whether no detector would strike on path, path parameters and [`texts`], as long as nothing in them
/// is encoded. Asked of all at once: a look at each costs several times as much, and hardly any has
/// something to hide.
fn is_quiet(event: &mut AuditEvent<'_>) -> bool {
    TOGETHER.with_borrow_mut(|all| {
        all.clear();
        let mut add = |text: &str| {
            all.extend_from_slice(text.as_bytes());
            // No detector's value goes on over it.
            all.push(b'\n');
        };
        add(&event.http.path);
        event.operation.path_params.0.iter().for_each(|(_, value)| add(value));
        texts(event).for_each(|text| add(text));
        !values::VALUES.possible(all) && !cards::possible(all)
    })
}

/// What is no keyed digest is dropped.
fn digest_only(digest: &mut Cow<'_, str>) {
    if !pseudonym::is_digest(digest) {
        *digest = Cow::Borrowed("");
    }
}

/// Masks a string member, one of those that `pass.quiet` speaks of if it is set.
fn member(pass: &mut Pass<'_>, text: &mut Cow<'_, str>, tally: &mut Tally) {
    if let Some((masked, found)) = pass.plain_part(text) {
        *text = Cow::Owned(masked);
        tally.merge(found);
    }
}

fn apply(edits: Edits, text: &mut Cow<'_, str>, tally: &mut Tally) {
    if let Some((masked, found)) = edits.apply(text) {
        *text = Cow::Owned(masked);
        tally.merge(found);
    }
}

/// Masks path parameters. Returns the values that were masked by name, since the path and the resource
/// repeat them, and whether anything was masked.
fn path_params(
    pass: &mut Pass<'_>,
    params: &mut [(Cow<'_, str>, Cow<'_, str>)],
    tally: &mut Tally,
) -> (Vec<(String, Tally)>, bool) {
    let (mut secrets, mut changed) = (Vec::new(), false);
    for (name, value) in params {
        match pass.name(name) {
            Some(rule) if **value != *MASK && !value.is_empty() => {
                let secret = std::mem::replace(value, Cow::Borrowed(MASK)).into_owned();
                tally.merge(Tally::one(rule));
                secrets.push((secret, Tally::one(rule)));
                changed = true;
            }
            Some(_) => {}
            None => {
                let before = value.clone();
                member(pass, value, tally);
                changed |= before != *value;
            }
        }
    }
    (secrets, changed)
}

/// Takes the resource's id from the masked parameters: it is one of them, but bounded and made
/// printable, so that no rule need know it again.
fn same_resource(event: &mut AuditEvent<'_>) {
    let operation = &mut event.operation;
    let route = (!operation.route.is_empty()).then_some(&*operation.route);
    let again = extract::resource(&event.http.effective_method, route, &operation.path_params);
    // An id that is in no parameter is the answer's.
    if again.kind == operation.resource_type && !again.id.is_empty() && !operation.resource_id.is_empty() {
        let id = again.id.into_owned();
        operation.resource_id = id.into();
    }
}

/// Removes known secrets from a text made of the event's other members.
fn scrub(text: &mut Cow<'_, str>, secrets: &[(String, Tally)]) {
    for (secret, _) in secrets {
        if text.contains(secret.as_str()) {
            *text = Cow::Owned(text.replace(secret.as_str(), MASK));
        }
    }
}
