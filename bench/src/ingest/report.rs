//! Medians of all rounds as a table and as JSON.

use super::{Sample, WAYS};
use crate::figures::median;
use crate::report::file;

/// Cores that others may use before a figure is called noisy.
const QUIET: f64 = 0.2;

/// The medians of one way.
#[derive(Debug, serde::Serialize)]
struct Row {
    way: String,
    rows_per_second: f64,
    to_kafka_engine: Option<f64>,
    to_raw_insert: Option<f64>,
    consumer_micros: f64,
    engine_micros: f64,
    broker_micros: f64,
    consumer_peak_mib: f64,
}

/// Prints the table and writes the file; returns whether all ways stored the same.
pub fn tell(samples: &[Sample], events: u64) -> bool {
    let rows = rows(samples);
    println!(
        "\n| {:<20} | {:>7} | {:>14} | {:>12} | {:>19} | {:>9} | {:>9} | {:>8} |",
        "", "rows/s", "÷ kafka engine", "÷ raw insert", "CPU µs/row consumer", "engine", "broker", "RSS MiB"
    );
    println!("|{}|", [22, 9, 16, 14, 21, 11, 11, 10].map(|n| "-".repeat(n)).join("|"));
    for row in &rows {
        let ratio = |r: Option<f64>| r.map_or_else(|| "–".into(), |r| format!("{r:.2}"));
        println!(
            "| {:<20} | {:>7.0} | {:>14} | {:>12} | {:>19.1} | {:>9.1} | {:>9.1} | {:>8.0} |",
            row.way,
            row.rows_per_second,
            ratio(row.to_kafka_engine),
            ratio(row.to_raw_insert),
            row.consumer_micros,
            row.engine_micros,
            row.broker_micros,
            row.consumer_peak_mib
        );
    }
    let noise = median(samples.iter().map(|s| s.others).collect()).unwrap_or(0.0);
    let load = samples.iter().map(|s| s.load_average).fold(0.0, f64::max);
    let noisy = samples.iter().filter(|s| s.others > QUIET).count();
    println!("\nother processes used {noise:.2} cores (median); load average up to {load:.1}");
    if noisy > 0 {
        println!(
            "TOO NOISY: in {noisy} of {} measurements others used more than {QUIET} cores",
            samples.len()
        );
    }
    let same = samples.windows(2).all(|pair| matches!(pair, [a, b] if a.checksum == b.checksum));
    if !same {
        println!("NOT THE SAME ROWS: the checksums differ");
    }
    let file = file("consumer.json");
    let document = serde_json::json!({ "events": events, "medians": rows, "samples": samples });
    std::fs::write(&file, serde_json::to_string_pretty(&document).unwrap()).unwrap();
    println!("{}", file.display());
    same
}

fn rows(samples: &[Sample]) -> Vec<Row> {
    let of = |way: &str, value: &dyn Fn(&Sample) -> f64| {
        median(samples.iter().filter(|s| s.way == way).map(value).collect())
    };
    let speed = |way: &str| of(way, &|s| s.rows_per_second);
    let best = |word: &str| {
        let ways = WAYS.iter().map(|w| w.name()).filter(|name| name.starts_with(word));
        ways.filter_map(|name| speed(&name)).max_by(f64::total_cmp)
    };
    let (kafka_engine, raw) = (best("kafka engine"), best("raw insert"));
    let row = |way: String| {
        let rows_per_second = speed(&way)?;
        Some(Row {
            rows_per_second,
            to_kafka_engine: kafka_engine.map(|k| rows_per_second / k),
            to_raw_insert: raw.map(|r| rows_per_second / r),
            consumer_micros: of(&way, &|s| s.consumer_micros)?,
            engine_micros: of(&way, &|s| s.engine_micros)?,
            broker_micros: of(&way, &|s| s.broker_micros)?,
            consumer_peak_mib: of(&way, &|s| s.consumer_peak_mib)?,
            way,
        })
    };
    WAYS.iter().filter_map(|way| row(way.name())).collect()
}
