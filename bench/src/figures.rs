//! What was measured: one value a round, of what, of whom, in which part of the run.

use serde::{Deserialize, Serialize};

/// A part of a run; all parts are measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Post,
    Get,
    Http2,
    Latency,
    Strict,
    Memory,
    Ready,
}

impl Part {
    pub const ALL: [Part; 7] =
        [Part::Post, Part::Get, Part::Http2, Part::Latency, Part::Strict, Part::Memory, Part::Ready];

    /// As `PARTS` names it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Post => "post",
            Part::Get => "get",
            Part::Http2 => "http2",
            Part::Latency => "latency",
            Part::Strict => "strict",
            Part::Memory => "memory",
            Part::Ready => "ready",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Part::Post => "HTTP/1.1, POST of 1 KiB JSON",
            Part::Get => "HTTP/1.1, GET",
            Part::Http2 => "HTTP/2 (h2c on both sides, 8 connections × 8 streams), POST of 1 KiB JSON",
            Part::Latency => "Latency at 1,000 requests a second (8 clients, POST of 1 KiB JSON)",
            Part::Strict => "`delivery: strict`, POST of 1 KiB JSON, beside what the disk itself can do",
            Part::Memory => "Memory, without the journal's mapped segments",
            Part::Ready => "Start",
        }
    }
}

/// What a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    RequestsPerSecond,
    CpuMicros,
    P50Micros,
    P99Micros,
    MeanMicros,
    ResidentMib,
    /// Of the events of all audited calls, those that the broker got.
    Delivered,
    AddedP50Millis,
    AddedP99Millis,
    BytesPerCall,
    DiskPerSecond,
    ShareOfDisk,
    IdleMib,
    IdleAnonymousMib,
    PerConnectionKib,
    InFlightMib,
    AfterwardsMib,
    /// Of what bodies in flight took.
    GivenBack,
    ReadyMillis,
}

impl What {
    /// The head of a column.
    pub fn title(self) -> &'static str {
        match self {
            What::RequestsPerSecond => "requests/s",
            What::CpuMicros => "CPU µs/request",
            What::P50Micros => "p50 µs",
            What::P99Micros => "p99 µs",
            What::MeanMicros => "mean µs",
            What::ResidentMib => "RSS MiB",
            What::Delivered => "events delivered",
            What::AddedP50Millis => "added p50 ms",
            What::AddedP99Millis => "added p99 ms",
            What::BytesPerCall => "journal bytes/call",
            What::DiskPerSecond => "disk, records/s",
            What::ShareOfDisk => "requests ÷ disk",
            What::IdleMib => "idle MiB",
            What::IdleAnonymousMib => "of it no file's",
            What::PerConnectionKib => "KiB/idle connection",
            What::InFlightMib => "1,000 × 64 KiB in flight, MiB",
            What::AfterwardsMib => "5 s afterwards, MiB",
            What::GivenBack => "share given back",
            What::ReadyMillis => "ready after ms",
        }
    }

    /// Digits behind the point.
    pub fn digits(self) -> usize {
        match self {
            What::RequestsPerSecond
            | What::P50Micros
            | What::P99Micros
            | What::MeanMicros
            | What::BytesPerCall
            | What::DiskPerSecond
            | What::ReadyMillis => 0,
            What::AddedP50Millis | What::AddedP99Millis => 3,
            What::ShareOfDisk | What::Delivered | What::GivenBack => 2,
            _ => 1,
        }
    }
}

/// The values of all rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub part: Part,
    pub subject: String,
    pub what: What,
    pub values: Vec<f64>,
}

impl Figure {
    /// Half of what lies between the lowest and the highest, by the median.
    pub fn spread(&self) -> Option<f64> {
        let low = self.values.iter().copied().min_by(f64::total_cmp)?;
        let high = self.values.iter().copied().max_by(f64::total_cmp)?;
        let middle = median(self.values.clone()).filter(|m| *m > 0.0)?;
        (self.values.len() > 1).then_some((high - low) / 2.0 / middle)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// One more value of a round.
    pub fn add(&mut self, part: Part, subject: &str, what: What, value: f64) {
        let of = |f: &&mut Figure| f.part == part && f.subject == subject && f.what == what;
        match self.0.iter_mut().find(of) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure { part, subject: subject.to_owned(), what, values: vec![value] }),
        }
    }

    pub fn get(&self, part: Part, subject: &str, what: What) -> Option<&Figure> {
        self.0.iter().find(|f| f.part == part && f.subject == subject && f.what == what)
    }

    pub fn median(&self, part: Part, subject: &str, what: What) -> Option<f64> {
        median(self.get(part, subject, what)?.values.clone())
    }

    /// Who was measured in a part, in the order of the first round.
    pub fn subjects(&self, part: Part) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for figure in self.0.iter().filter(|f| f.part == part) {
            if !found.contains(&figure.subject.as_str()) {
                found.push(&figure.subject);
            }
        }
        found
    }

    /// What was measured in a part.
    pub fn columns(&self, part: Part) -> Vec<What> {
        let mut found: Vec<What> = self.0.iter().filter(|f| f.part == part).map(|f| f.what).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The middle value, or the mean of the two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn values_of_rounds_come_together() {
        let mut figures = Figures::default();
        for (cpu, rate) in [(10.0, 90.0), (14.0, 110.0), (11.0, 100.0)] {
            figures.add(Part::Post, "nginx", What::CpuMicros, cpu);
            figures.add(Part::Post, "nginx", What::RequestsPerSecond, rate);
        }
        figures.add(Part::Get, "haproxy", What::CpuMicros, 7.0);
        assert_eq!(figures.median(Part::Post, "nginx", What::CpuMicros), Some(11.0));
        assert_eq!(figures.median(Part::Get, "nginx", What::CpuMicros), None);
        assert_eq!(figures.subjects(Part::Post), ["nginx"]);
        assert_eq!(figures.columns(Part::Post), [What::RequestsPerSecond, What::CpuMicros]);
        let rate = figures.get(Part::Post, "nginx", What::RequestsPerSecond);
        assert_eq!(rate.and_then(Figure::spread), Some(0.1));
        // One round has no spread.
        assert_eq!(figures.get(Part::Get, "haproxy", What::CpuMicros).and_then(Figure::spread), None);
    }
}
