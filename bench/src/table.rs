//! Medians of the rounds, side by side.

use crate::load::{Figures, Load};
use crate::subject::{SUBJECTS, Subject};

/// One measurement.
pub struct Sample {
    pub subject: Subject,
    pub load: Load,
    pub figures: Figures,
    /// CPU of the subject by request, microseconds; None: there is no proxy.
    pub cpu_micros: Option<f64>,
    /// Resident memory, MiB: all, and what is no file's.
    pub resident: Option<(f64, f64)>,
}

/// The medians of one subject under one load.
struct Row {
    subject: Subject,
    per_second: f64,
    p50: f64,
    p99: f64,
    cpu: Option<f64>,
    resident: Option<(f64, f64)>,
}

/// The table of one load.
pub fn print(load: Load, samples: &[Sample]) {
    let rows: Vec<Row> = SUBJECTS.iter().filter_map(|s| row(*s, load, samples)).collect();
    let reference = |of: Subject| rows.iter().find(|r| r.subject == of);
    let (bare, log) = (reference(Subject::BarePingora), reference(Subject::NginxLog));
    println!("\n{}", load.name());
    println!(
        "| {:<15}| {:>9} | {:>6} | {:>10} | {:>7} | {:>9} | {:>9} | {:>7} | {:>7} | {:>8} | {:>8} |",
        "",
        "req/s",
        "× bare",
        "× json log",
        "CPU µs",
        "of bare",
        "of log",
        "p50 µs",
        "p99 µs",
        "RSS MiB",
        "anon MiB"
    );
    println!(
        "|{}|",
        ["-".repeat(16)]
            .into_iter()
            .chain([11, 8, 12, 9, 11, 11, 9, 9, 10, 10].map(|n| "-".repeat(n)))
            .collect::<Vec<_>>()
            .join("|")
    );
    for row in &rows {
        let times = |other: Option<&Row>| other.map(|o| row.per_second / o.per_second);
        let share = |other: Option<&Row>| Some(row.cpu? / other?.cpu?);
        println!(
            "| {:<15}| {:>9.0} | {:>6} | {:>10} | {:>7} | {:>9} | {:>9} | {:>7.0} | {:>7.0} | {:>8} | {:>8} |",
            row.subject.name(),
            row.per_second,
            show(times(bare), 2),
            show(times(log), 2),
            show(row.cpu, 1),
            show(share(bare), 2),
            show(share(log), 2),
            row.p50,
            row.p99,
            show(row.resident.map(|r| r.0), 1),
            show(row.resident.map(|r| r.1), 1),
        );
    }
}

fn row(subject: Subject, load: Load, samples: &[Sample]) -> Option<Row> {
    let own: Vec<&Sample> = samples.iter().filter(|s| s.subject == subject && s.load == load).collect();
    let of = |value: &dyn Fn(&Sample) -> Option<f64>| median(own.iter().filter_map(|s| value(s)).collect());
    Some(Row {
        subject,
        per_second: of(&|s| Some(s.figures.per_second))?,
        p50: of(&|s| Some(s.figures.p50))?,
        p99: of(&|s| Some(s.figures.p99))?,
        cpu: of(&|s| s.cpu_micros),
        resident: of(&|s| Some(s.resident?.0)).zip(of(&|s| Some(s.resident?.1))),
    })
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".into(), |v| format!("{v:.digits$}"))
}

/// The middle value, or the mean of the two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
