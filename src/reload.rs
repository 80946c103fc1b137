//! Changes of the configuration and of its documents, put in force while calls go on.
//!
//! Owns the thread that looks at the files, and [`Standing`], which tells operators what is in force.
//! Files are compared by content, again and again: watches of the file system miss what Kubernetes
//! does when it mounts a changed ConfigMap (a symbolic link three steps away is exchanged).
//!
//! Promises: a call keeps the rules it began with; no connection and no event is lost. What is wrong
//! with the new files is logged once per change, with its place, and what was in force stays: all of
//! it when the configuration is wrong, a document's older version when that document is. What cannot
//! change at run time is named and left as it was.
//! Refuses: to touch the relay's threads. Reading, hashing and compiling happen on a thread of its own.

use crate::auditor::Auditor;
use crate::config::{self, Audit, Config, Problem, Redact, Severity};
use crate::rules::Rules;
use crate::sources::Sources;
use crate::tide;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Sections that change at run time; of `redact` all but the key, of `audit` all but
/// `started_after` and `refusals_per_second`.
const HOT: [&str; 10] = [
    "openapi",
    "base_path",
    "multi_segment",
    "audit",
    "capture",
    "actor",
    "client_ip",
    "reason",
    "messages",
    "reload",
];
/// Files that change again within this time are still being written.
const SETTLE: Duration = Duration::from_millis(50);
/// How often that is waited for: a file that never comes to rest is read all the same.
const SETTLES: u32 = 20;

/// Where the configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// None: it was made of the command line; only its documents can change.
    pub path: Option<PathBuf>,
    /// Looks a variable up.
    pub env: fn(&str) -> Option<String>,
    /// What the program makes of a configuration before it uses it.
    pub adapt: fn(&mut Config),
}

/// Looks for changes until it is dropped.
#[derive(Debug)]
pub struct Reloader {
    hangups: tokio::task::JoinHandle<()>,
    /// The thread ends when nobody can wake it any more.
    _wake: SyncSender<()>,
}

impl Reloader {
    /// `config`: the one that the auditor was started with. Must be called inside a tokio runtime.
    pub fn start(auditor: &Arc<Auditor>, config: Config, origin: Origin) -> io::Result<Reloader> {
        let (wake, woken) = mpsc::sync_channel(1);
        let mut hangup = signal(SignalKind::hangup())?;
        let watch = Watch::new(auditor, config, origin);
        std::thread::Builder::new().name("reload".into()).spawn(move || watch.run(&woken))?;
        let waker = wake.clone();
        let hangups = tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // Full: it is about to look anyway.
                let _ = waker.try_send(());
            }
        });
        Ok(Reloader { hangups, _wake: wake })
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.hangups.abort();
    }
}

struct Watch {
    auditor: Weak<Auditor>,
    origin: Origin,
    /// In force.
    config: Config,
    /// The files as they were when they were last read.
    seen: Sources,
    /// The configuration could not be read, so what it is made of is not known: try again.
    retry: bool,
    /// What was last said to be wrong.
    told: Vec<Problem>,
    /// Keys last said to need a restart.
    restart: Vec<String>,
}

/// How an attempt ended.
struct Applied {
    problems: Vec<Problem>,
    complete: bool,
}

impl Watch {
    fn new(auditor: &Arc<Auditor>, config: Config, origin: Origin) -> Watch {
        let mut seen = config.sources.clone();
        seen.extend(auditor.rules().sources());
        let auditor = Arc::downgrade(auditor);
        Watch { auditor, origin, config, seen, retry: false, told: Vec::new(), restart: Vec::new() }
    }

    fn run(mut self, woken: &Receiver<()>) {
        while let Some(asked) = wait(woken, self.config.reload.interval) {
            let Some(auditor) = self.auditor.upgrade() else { return };
            if asked || self.retry || self.seen.again() != self.seen {
                self.settle();
                self.reload(&auditor, asked);
                tide::give_back();
            }
        }
    }

    /// Waits until nobody writes: half a configuration may be a valid one.
    fn settle(&self) {
        let mut before = self.seen.again();
        for _ in 0..SETTLES {
            std::thread::sleep(SETTLE);
            let now = self.seen.again();
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn reload(&mut self, auditor: &Auditor, asked: bool) {
        let attempt = self.attempt(auditor);
        let (problems, applied, complete) = match attempt {
            Ok(Applied { problems, complete }) => (problems, true, complete),
            Err(problems) => (problems, false, false),
        };
        // A configuration that is still as wrong as it was is not told again.
        if !applied && !asked && problems == self.told {
            return;
        }
        for problem in &problems {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
                Severity::Note => tracing::info!("{problem}"),
            }
        }
        let metrics = auditor.metrics();
        metrics.reload(match (applied, complete) {
            (true, true) => "success",
            (true, false) => "partial",
            (false, _) => "failure",
        });
        metrics.reload_success.set(i64::from(complete));
        if applied {
            let rules = auditor.rules();
            tracing::info!(version = rules.version, "configuration in force");
            rules.specs.summary().iter().for_each(|line| tracing::info!("{line}"));
            auditor.standing().applied(&self.config, &rules);
        } else {
            tracing::error!("the configuration stays as it was before: the new one cannot be used");
        }
        auditor.standing().tried(&problems, !complete, &self.restart);
        self.told = problems;
    }

    /// Reads everything anew and puts it in force; the error: why all stays as it was.
    fn attempt(&mut self, auditor: &Auditor) -> Result<Applied, Vec<Problem>> {
        self.retry = true;
        let (fresh, mut problems) = match &self.origin.path {
            Some(path) => config::load(path, &self.origin.env)?,
            None => (self.config.clone(), Vec::new()),
        };
        let mut fresh = fresh;
        (self.origin.adapt)(&mut fresh);
        self.retry = false;
        self.tell_restart(needs_restart(&self.config, &fresh));
        let merged = merged(&self.config, fresh);
        let before = auditor.rules();
        self.seen = merged.sources.clone();
        self.seen.extend(before.sources());
        let (rules, found) = before.again(&merged, auditor.pseudonyms()).map_err(|p| vec![p])?;
        self.seen = merged.sources.clone();
        self.seen.extend(rules.sources());
        if rules.unusable().all(|(_, kept)| kept) {
            // That a document is not there is said better by the rules, which have an older version.
            problems.retain(|p| !p.message.starts_with("`openapi`: "));
        }
        problems.extend(found);
        let complete = rules.unusable().next().is_none();
        auditor.replace_rules(rules);
        self.config = merged;
        Ok(Applied { problems, complete })
    }

    fn tell_restart(&mut self, keys: Vec<String>) {
        if !keys.is_empty() && keys != self.restart {
            let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            tracing::warn!("{}: this change needs a restart; until then it is ignored", names.join(", "));
        }
        self.restart = keys;
    }
}

/// Whether somebody asked; none when nobody can any more.
fn wait(woken: &Receiver<()>, interval: Duration) -> Option<bool> {
    if interval.is_zero() {
        return woken.recv().ok().map(|()| true);
    }
    match woken.recv_timeout(interval) {
        Ok(()) => Some(true),
        Err(RecvTimeoutError::Timeout) => Some(false),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

/// The old configuration with what may change taken from the new one.
fn merged(old: &Config, new: Config) -> Config {
    let pseudonym_key_file = old.redact.pseudonym_key_file.clone();
    Config {
        openapi: new.openapi,
        base_path: new.base_path,
        multi_segment: new.multi_segment,
        audit: Audit {
            started_after: old.audit.started_after,
            refusals_per_second: old.audit.refusals_per_second,
            ..new.audit
        },
        capture: new.capture,
        actor: new.actor,
        client_ip: new.client_ip,
        reason: new.reason,
        messages: new.messages,
        redact: Redact { pseudonym_key_file, ..new.redact },
        reload: new.reload,
        sources: new.sources,
        ..old.clone()
    }
}

/// The keys that differ and cannot change at run time.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    differences("", &config::effective(old), &config::effective(new), &mut keys);
    keys.retain(|key| {
        let section = key.split('.').next().unwrap_or_default();
        // Read once, by what watches open calls and by what counts refusals.
        key == "audit.started_after"
            || key == "audit.refusals_per_second"
            || !(HOT.contains(&section) || key == "redact.keys" || key == "redact.keep")
    });
    let properties = |config: &Config| config.kafka.as_ref().map(|kafka| kafka.properties.clone());
    let key_file = |config: &Config| {
        config.redact.pseudonym_key_file.as_ref().and_then(|path| config.sources.get(path).copied())
    };
    // What the comparison above does not see, because it is secret.
    for (changed, key) in [
        (properties(old) != properties(new), "kafka.properties"),
        (old.clickhouse.password != new.clickhouse.password, "clickhouse.password_file"),
        (key_file(old) != key_file(new), "redact.pseudonym_key_file"),
    ] {
        if changed && !keys.iter().any(|k| k.starts_with(key) || key.starts_with(&format!("{k}."))) {
            keys.push(key.to_owned());
        }
    }
    keys
}

/// The keys, dotted, under which two objects differ.
fn differences(key: &str, a: &Value, b: &Value, out: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        if a != b {
            out.push(key.to_owned());
        }
        return;
    };
    let added = b.keys().filter(|name| !a.contains_key(*name));
    for name in a.keys().chain(added) {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        differences(&key, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), out);
    }
}

/// What is in force, for `/config` and `/readyz`.
#[derive(Debug)]
pub struct Standing(Mutex<State>);

#[derive(Debug)]
struct State {
    config: Value,
    version: String,
    since: Timestamp,
    documents: Vec<String>,
    /// Something on disk is not in force and does not only wait for a restart.
    stale: bool,
    problems: Vec<String>,
    restart: Vec<String>,
}

impl Standing {
    pub fn new(config: &Config, rules: &Rules) -> Standing {
        Standing(Mutex::new(State {
            config: config::effective(config),
            version: rules.version.clone(),
            since: Timestamp::now(),
            documents: rules.specs.summary().to_vec(),
            stale: rules.unusable().next().is_some(),
            problems: Vec::new(),
            restart: Vec::new(),
        }))
    }

    fn applied(&self, config: &Config, rules: &Rules) {
        let mut state = self.0.lock();
        if state.version != rules.version {
            state.since = Timestamp::now();
        }
        state.config = config::effective(config);
        state.version.clone_from(&rules.version);
        state.documents = rules.specs.summary().to_vec();
    }

    /// The problems of the last attempt, start included.
    pub fn tried(&self, problems: &[Problem], stale: bool, restart: &[String]) {
        let mut state = self.0.lock();
        state.problems = problems.iter().map(Problem::to_string).collect();
        state.stale = stale;
        state.restart = restart.to_vec();
    }

    pub fn is_stale(&self) -> bool {
        self.0.lock().stale
    }

    /// The configuration in force, without secrets, and under `in_force` how it came to be.
    pub fn as_json(&self) -> Value {
        let state = self.0.lock();
        let mut view = state.config.clone();
        if let Value::Object(view) = &mut view {
            let State { version, since, documents, stale, problems, restart, .. } = &*state;
            let told = json!({
                "version": version,
                "since": since,
                "stale": stale,
                "documents": documents,
                "problems": problems,
                "needs_restart": restart,
            });
            view.insert("in_force".into(), told);
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(text: &str, dir: &Path) -> Config {
        let path = dir.join("sidelog.yaml");
        std::fs::write(&path, format!("service: s\nupstream: http://127.0.0.1:1\n{text}")).unwrap();
        config::load(&path, &|_| None).unwrap().0
    }

    #[test]
    fn what_cannot_change_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "0123456789abcdef").unwrap();
        let old = config("redact: {pseudonym_key_file: key}\n", dir.path());
        assert_eq!(needs_restart(&old, &old), [""; 0]);
        std::fs::write(dir.path().join("key"), "0123456789abcdeX").unwrap();
        let new = config(
            "listen: 127.0.0.1:9\njournal: {dir: elsewhere}\nkafka: {brokers: ['b:1']}\n\
             redact: {pseudonym_key_file: key, keys: [iban]}\naudit: {ignore: [/x], refusals_per_second: 1}\nreload: {interval: 1s}\n",
            dir.path(),
        );
        let mut keys = needs_restart(&old, &new);
        keys.sort();
        assert_eq!(
            keys,
            ["audit.refusals_per_second", "journal.dir", "kafka", "listen", "redact.pseudonym_key_file"]
        );

        let both = merged(&old, new);
        assert_eq!(
            (both.listen, &both.journal.dir, both.kafka.is_none()),
            (old.listen, &old.journal.dir, true)
        );
        assert_eq!((both.redact.keys.len(), both.audit.ignore.len()), (1, 1));
        assert_eq!(both.audit.refusals_per_second, old.audit.refusals_per_second);
        assert_eq!(both.reload.interval, Duration::from_secs(1));
    }

    #[test]
    fn secrets_that_change_are_noticed_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("password"), "one").unwrap();
        let text = "clickhouse: {password_file: password}\n";
        let old = config(text, dir.path());
        std::fs::write(dir.path().join("password"), "two").unwrap();
        assert_eq!(needs_restart(&old, &config(text, dir.path())), ["clickhouse.password_file"]);
    }
}
