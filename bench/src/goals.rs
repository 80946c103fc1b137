//! What the sidecar is to reach, as data: the report, the page and the verdict are made from this table.

use crate::figures::{Figures, Part, What};
use crate::subject::name;
use serde::{Deserialize, Serialize};

#[derive(Debug)]
pub struct Goal {
    /// For people.
    pub figure: &'static str,
    pub measure: Measure,
    pub bound: Bound,
}

#[derive(Debug, Clone, Copy)]
pub enum Measure {
    /// How many times as fast as a peer Sidelog is: by CPU of a request, and by requests a second.
    Times { part: Part, peer: &'static str },
    /// The CPU of a request as a share of the peer's.
    Share { part: Part, peer: &'static str },
    /// A figure as it is.
    Plain { part: Part, what: What },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    AtLeast(f64),
    MoreThan(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost, MoreThan};

pub const GOALS: [Goal; 19] = [
    times("audited POST ÷ bare pingora-proxy", Part::Post, name::BARE_PINGORA, AtLeast(3.5)),
    times("audited POST ÷ nginx that logs nothing", Part::Post, name::NGINX, AtLeast(0.9)),
    times("the same, in the end", Part::Post, name::NGINX, MoreThan(1.0)),
    times("audited POST ÷ nginx with a JSON body log", Part::Post, name::NGINX_LOG, AtLeast(1.5)),
    times("audited POST ÷ nginx + lua producing to Kafka", Part::Post, name::NGINX_KAFKA, AtLeast(1.5)),
    times("audited POST ÷ haproxy with a JSON body log", Part::Post, name::HAPROXY_LOG, AtLeast(2.0)),
    times("audited POST ÷ Envoy with lua body capture", Part::Post, name::ENVOY, AtLeast(6.0)),
    times("GET not audited ÷ nginx", Part::Get, name::NGINX, AtLeast(1.1)),
    share("HTTP/2: CPU of an audited POST ÷ haproxy without a log", name::HAPROXY, AtMost(1.0)),
    share("HTTP/2: CPU of an audited POST ÷ nginx grpc_pass", name::NGINX_GRPC, AtMost(0.4)),
    plain("added p50 at 1,000 requests/s, ms", Part::Latency, What::AddedP50Millis, AtMost(0.1)),
    plain("added p99 at 1,000 requests/s, ms", Part::Latency, What::AddedP99Millis, AtMost(0.5)),
    plain(
        "strict, 64 clients: requests ÷ the disk's own group commits",
        Part::Strict,
        What::ShareOfDisk,
        AtLeast(0.8),
    ),
    plain("RSS idle without mapped segments, MiB", Part::Memory, What::IdleMib, AtMost(12.0)),
    plain("RSS of an idle connection, KiB", Part::Memory, What::PerConnectionKib, AtMost(6.0)),
    plain("RSS with 1,000 bodies of 64 KiB in flight, MiB", Part::Memory, What::InFlightMib, AtMost(160.0)),
    plain("share of that given back 5 s after they ended", Part::Memory, What::GivenBack, AtLeast(0.9)),
    plain("ready with GitHub's document, ms", Part::Ready, What::ReadyMillis, AtMost(100.0)),
    plain("events of audited calls that reached Kafka", Part::Post, What::Delivered, AtLeast(1.0)),
];

const fn times(figure: &'static str, part: Part, peer: &'static str, bound: Bound) -> Goal {
    Goal { figure, measure: Measure::Times { part, peer }, bound }
}

const fn share(figure: &'static str, peer: &'static str, bound: Bound) -> Goal {
    Goal { figure, measure: Measure::Share { part: Part::Http2, peer }, bound }
}

const fn plain(figure: &'static str, part: Part, what: What, bound: Bound) -> Goal {
    Goal { figure, measure: Measure::Plain { part, what }, bound }
}

impl Bound {
    pub fn met(self, value: f64) -> bool {
        match self {
            AtLeast(bound) => value >= bound,
            MoreThan(bound) => value > bound,
            AtMost(bound) => value <= bound,
        }
    }

    pub fn text(self) -> String {
        match self {
            AtLeast(bound) => format!("≥ {bound}"),
            MoreThan(bound) => format!("> {bound}"),
            AtMost(bound) => format!("≤ {bound}"),
        }
    }
}

/// A value beside its goal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub value: f64,
    pub met: bool,
}

/// What became of a goal; nothing where a figure was not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub figure: String,
    pub goal: String,
    /// By CPU, where it is a ratio; that is what counts: the load's core may be the limit of requests.
    pub value: Option<Judged>,
    /// By requests a second, where it is a ratio.
    pub by_requests: Option<Judged>,
}

pub fn outcomes(figures: &Figures) -> Vec<Outcome> {
    GOALS.iter().map(|goal| goal.outcome(figures)).collect()
}

impl Goal {
    fn outcome(&self, figures: &Figures) -> Outcome {
        let (value, by_requests) = self.values(figures);
        let judged = |value: f64| Judged { value, met: self.bound.met(value) };
        Outcome {
            figure: self.figure.to_owned(),
            goal: self.bound.text(),
            value: value.map(judged),
            by_requests: by_requests.map(judged),
        }
    }

    fn values(&self, figures: &Figures) -> (Option<f64>, Option<f64>) {
        // Above by below.
        let ratio = |part, what, above: &str, below: &str| {
            let (above, below) = (figures.median(part, above, what)?, figures.median(part, below, what)?);
            (below > 0.0).then_some(above / below)
        };
        let own = name::SIDELOG;
        match self.measure {
            Measure::Times { part, peer } => {
                (ratio(part, What::CpuMicros, peer, own), ratio(part, What::RequestsPerSecond, own, peer))
            }
            Measure::Share { part, peer } => (ratio(part, What::CpuMicros, own, peer), None),
            Measure::Plain { part, what } => (figures.median(part, own, what), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu: [f64; 2], rate: [f64; 2]) -> Figures {
        let mut figures = Figures::default();
        for (subject, at) in [(name::SIDELOG, 0), (name::NGINX, 1)] {
            figures.add(Part::Post, subject, What::CpuMicros, cpu[at]);
            figures.add(Part::Post, subject, What::RequestsPerSecond, rate[at]);
        }
        figures
    }

    fn outcome(figures: &Figures, figure: &str) -> Outcome {
        outcomes(figures).into_iter().find(|o| o.figure.contains(figure)).unwrap()
    }

    #[test]
    fn half_the_cpu_is_twice_as_fast() {
        let outcome = outcome(&figures([5.0, 10.0], [80.0, 100.0]), "nginx that logs nothing");
        assert_eq!(outcome.goal, "≥ 0.9");
        assert_eq!(outcome.value, Some(Judged { value: 2.0, met: true }));
        assert_eq!(outcome.by_requests, Some(Judged { value: 0.8, met: false }));
    }

    #[test]
    fn as_good_is_not_better() {
        let figures = figures([10.0, 10.0], [100.0, 100.0]);
        assert!(outcome(&figures, "nginx that logs nothing").value.is_some_and(|v| v.met));
        assert!(outcome(&figures, "in the end").value.is_some_and(|v| !v.met));
    }

    #[test]
    fn a_share_of_the_peers_cpu_is_judged_by_cpu_alone() {
        let mut figures = Figures::default();
        figures.add(Part::Http2, name::SIDELOG, What::CpuMicros, 6.0);
        figures.add(Part::Http2, name::HAPROXY, What::CpuMicros, 4.0);
        let outcome = outcome(&figures, "haproxy without a log");
        assert_eq!(outcome.value, Some(Judged { value: 1.5, met: false }));
        assert_eq!(outcome.by_requests, None);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let mut figures = Figures::default();
        assert!(outcomes(&figures).iter().all(|o| o.value.is_none() && o.by_requests.is_none()));
        figures.add(Part::Ready, name::SIDELOG, What::ReadyMillis, 99.0);
        assert_eq!(outcomes(&figures).iter().filter(|o| o.value.is_some_and(|v| v.met)).count(), 1);
    }
}
