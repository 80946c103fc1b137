//! The sidecar beside its peers: every part of a run, in interleaved rounds.
//!
//! One core belongs to the subject alone, the other to everything else: load, service, Kafka. A subject is
//! started anew for each measurement, with an empty directory, and warmed up. What fails is noted and
//! leaves out that measurement; all others stand.

mod brokers;
mod latency;
mod memory;
mod run;
mod strict;
mod throughput;
mod withhold;

pub use run::Run;

use crate::document::Document;
use crate::figures::{Figures, Part, What};
use crate::machine::{Noise, Watch};
use crate::process::Process;
use crate::subject::{Ground, Running, Subject, name, nghttpd, nginx};
use brokers::Brokers;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

/// Before each measurement: connections are made, buffers are warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// How a run is made.
#[derive(Debug, Clone)]
pub struct Plan {
    pub duration: Duration,
    pub rounds: usize,
    /// Of wrk.
    pub connections: usize,
    pub parts: Vec<Part>,
    pub subjects: Vec<Subject>,
}

impl Plan {
    fn of(&self, part: Part) -> impl Iterator<Item = Subject> {
        Subject::of(part).iter().copied().filter(|s| self.subjects.contains(s))
    }

    fn has(&self, subject: Subject) -> bool {
        self.parts.iter().any(|part| self.of(*part).any(|s| s == subject))
    }
}

pub struct Bench<'a> {
    plan: Plan,
    document: Document,
    dir: &'a Path,
    runtime: tokio::runtime::Runtime,
    brokers: Brokers,
    http1: Option<(SocketAddr, Process)>,
    http2: Option<(SocketAddr, Process)>,
    pub figures: Figures,
    pub noise: Vec<Noise>,
    /// What could not be measured, or not as it should be.
    pub notes: Vec<String>,
}

impl<'a> Bench<'a> {
    /// Prepares what all parts need; what is missing is noted.
    pub fn prepare(mut plan: Plan, dir: &'a Path) -> Result<Bench<'a>, String> {
        let mut notes = Vec::new();
        plan.subjects.retain(|subject| match subject.missing() {
            Some(needs) => {
                notes.push(format!("{} left out: needs {needs}", subject.name()));
                false
            }
            None => true,
        });
        let made = dir.join("documents");
        std::fs::create_dir_all(&made).map_err(|e| format!("no directory for documents: {e}"))?;
        let document = Document::prepare(&made)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
        let old = plan.has(Subject::NginxKafka);
        let brokers = Brokers::start(&runtime, plan.has(Subject::Sidelog), old, &mut notes);
        let mut service = |wanted: bool, start: &dyn Fn() -> Result<(SocketAddr, Process), String>| {
            let started = wanted.then(start)?;
            started.map_err(|e| notes.push(format!("no service: {e}"))).ok()
        };
        let http2 = plan.parts.contains(&Part::Http2);
        let http2 = service(http2, &|| nghttpd::service(dir, document.target));
        let http1 = service(true, &|| nginx::service(dir));
        let (figures, noise) = (Figures::default(), Vec::new());
        Ok(Bench { plan, document, dir, runtime, brokers, http1, http2, figures, noise, notes })
    }

    pub fn document(&self) -> &Document {
        &self.document
    }

    /// One round of all parts.
    pub fn round(&mut self) {
        for part in self.plan.parts.clone() {
            let measured = match part {
                Part::Post | Part::Get | Part::Http2 => {
                    throughput::measure(self, part);
                    continue;
                }
                _ if !self.plan.subjects.contains(&Subject::Sidelog) => continue,
                Part::Latency => self.guarded(latency::measure),
                Part::Strict => self.guarded(strict::measure),
                Part::Memory => self.guarded(memory::measure),
                Part::Ready => self.guarded(ready),
            };
            if let Err(trouble) = measured {
                self.notes.push(format!("{}: {trouble}", part.name()));
            }
        }
    }

    /// What breaks within, even by a panic, is an error here.
    fn guarded<T>(&mut self, measure: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(|| measure(self))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            Err(said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned())
        })
    }

    /// A subject in a directory of its own, until both are dropped.
    fn start(&self, subject: Subject, http2: bool) -> Result<Stage, String> {
        self.stage(|ground| subject.start(ground), self.service(http2)?, http2)
    }

    /// Sidelog with more lines of configuration.
    fn sidelog(&self, service: SocketAddr, shipped: bool, more: &str) -> Result<Stage, String> {
        let start = |ground: &Ground<'_>| {
            let brokers = ground.brokers.filter(|_| shipped);
            crate::subject::sidelog::start(&Ground { brokers, ..*ground }, more)
        };
        self.stage(start, service, false)
    }

    fn stage(
        &self,
        start: impl Fn(&Ground<'_>) -> Result<Running, String>,
        service: SocketAddr,
        http2: bool,
    ) -> Result<Stage, String> {
        let dir = tempfile::tempdir_in(self.dir).map_err(|e| format!("no directory: {e}"))?;
        let ground = Ground {
            service,
            http2,
            dir: dir.path(),
            document: Some(&self.document),
            brokers: self.brokers.address(false),
            old_brokers: self.brokers.address(true),
        };
        Ok(Stage { running: start(&ground)?, dir })
    }

    fn service(&self, http2: bool) -> Result<SocketAddr, String> {
        let service = if http2 { &self.http2 } else { &self.http1 };
        service.as_ref().map(|(addr, _)| *addr).ok_or_else(|| "there is no service".to_owned())
    }

    /// Runs a measurement and notes what others did to the machine meanwhile.
    fn watched<T>(&mut self, measure: impl FnOnce(&mut Self) -> T) -> T {
        let watch = Watch::begin();
        let measured = measure(self);
        self.noise.push(watch.end());
        measured
    }

    /// A value of Sidelog's.
    fn own(&mut self, part: Part, what: What, value: f64) {
        self.figures.add(part, name::SIDELOG, what, value);
    }
}

/// A running subject and its directory: the process ends before its files go.
struct Stage {
    running: Running,
    dir: tempfile::TempDir,
}

/// From the start of the process to the line that it is ready.
fn ready(bench: &mut Bench<'_>) -> Result<(), String> {
    eprintln!("  {}", Part::Ready.name());
    let stage = bench.watched(|bench| bench.start(Subject::Sidelog, false))?;
    bench.own(Part::Ready, What::ReadyMillis, stage.running.ready_after.as_secs_f64() * 1e3);
    Ok(())
}
