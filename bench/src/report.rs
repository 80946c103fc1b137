//! A run as text: tables for the terminal, and the page `docs/benchmarks.md`. Both are made from the run
//! alone; the tables are Markdown, aligned so that they read well as they are.

use crate::figures::{Part, What, median};
use crate::goals::{Judged, Outcome, outcomes};
use crate::proxy::Run;
use crate::subject::name;
use std::path::PathBuf;

/// What a run says at its end.
pub fn text(run: &Run) -> String {
    format!("\n{}\n\n{}\n{}", how(run), tables(run), noise(run))
}

/// The page.
pub fn page(run: &Run) -> String {
    let machine = &run.machine;
    format!(
        "# Benchmarks\n\n\
         <!-- Made by `make bench-docs` from a run of `make bench-proxy`; not written by hand. -->\n\n\
         {}\n\n\
         | | |\n|---|---|\n| command | `{}` |\n| date | {} |\n| machine | {}, {} cores, {:.0} GiB; {}, {} |\n\
         | programs | {} |\n\n{}\n{}",
        how(run),
        run.command,
        run.date,
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.filesystem,
        run.versions.join("; "),
        tables(run),
        noise(run)
    )
}

fn how(run: &Run) -> String {
    format!(
        "Medians of {} interleaved rounds of {} s, ± half of what lies between lowest and highest; {} \
         connections. One core belongs to the subject alone, the other to load, service and Kafka. `sidelog` is \
         audited (`written`, document: {}, redaction, journal, shipping to Kafka; its CPU includes the \
         shipping of every event). Absolute figures of two runs are not comparable, ratios within one are; the \
         load's core is often the limit of requests/s, so CPU by request is the fairer figure. RSS is read from \
         `/proc/PID/smaps`, without the journal's mappings.",
        run.rounds, run.seconds, run.connections, run.document
    )
}

fn tables(run: &Run) -> String {
    let mut text = String::from("## Goals\n\n") + &goals(&outcomes(&run.figures));
    for part in Part::ALL {
        if !run.figures.subjects(part).is_empty() {
            text += &format!("\n## {}\n\n{}", part.title(), figures(run, part));
        }
    }
    if !run.notes.is_empty() {
        let mut notes = run.notes.clone();
        notes.dedup();
        text += "\n## Notes\n\n";
        notes.iter().for_each(|note| text += &format!("- {}\n", note.trim_end()));
    }
    text
}

fn goals(outcomes: &[Outcome]) -> String {
    let head = ["figure", "goal", "measured (ratios: by CPU)", "", "by requests/s", ""];
    let cells = |judged: Option<Judged>| match judged {
        Some(Judged { value, met }) => {
            [number(value), if met { "met".to_owned() } else { "**missed**".to_owned() }]
        }
        None => ["–".to_owned(), String::new()],
    };
    let rows = outcomes.iter().map(|o| {
        let [value, met] = cells(o.value);
        let [by_requests, met_too] = cells(o.by_requests);
        vec![o.figure.clone(), o.goal.clone(), value, met, by_requests, met_too]
    });
    table(&head, rows.collect())
}

/// The medians of a part; with ratios to Sidelog where there are peers.
fn figures(run: &Run, part: Part) -> String {
    let columns = run.figures.columns(part);
    let compared = columns.contains(&What::CpuMicros) && run.figures.subjects(part).len() > 1;
    let mut head = vec![""];
    head.extend(columns.iter().map(|c| c.title()));
    if compared {
        head.extend(["sidelog is × by CPU", "× by requests/s"]);
    }
    let rows = run.figures.subjects(part).into_iter().map(|subject| {
        let mut row = vec![subject.to_owned()];
        row.extend(columns.iter().map(|what| cell(run, part, subject, *what)));
        if compared {
            let of = |who: &str, what| run.figures.median(part, who, what).filter(|v| *v > 0.0);
            let ratio = |above: Option<f64>, below: Option<f64>| {
                above
                    .zip(below)
                    .map_or_else(|| "–".to_owned(), |(above, below)| format!("{:.2}", above / below))
            };
            row.push(ratio(of(subject, What::CpuMicros), of(name::SIDELOG, What::CpuMicros)));
            row.push(ratio(of(name::SIDELOG, What::RequestsPerSecond), of(subject, What::RequestsPerSecond)));
        }
        row
    });
    table(&head, rows.collect())
}

fn cell(run: &Run, part: Part, subject: &str, what: What) -> String {
    let Some(figure) = run.figures.get(part, subject, what) else { return "–".to_owned() };
    let value = median(figure.values.clone()).unwrap_or_default();
    let spread = figure.spread().map_or(String::new(), |s| format!(" ±{:.0} %", s * 100.0));
    format!("{value:.*}{spread}", what.digits())
}

fn noise(run: &Run) -> String {
    let of = |value: &dyn Fn(&crate::machine::Noise) -> f64| {
        median(run.noise.iter().map(value).collect()).unwrap_or_default()
    };
    let said = format!(
        "Other processes used {:.2} cores (median), the host withheld {:.2}.\n",
        of(&|n| n.others),
        of(&|n| n.steal)
    );
    match run.noisy() {
        Some(why) => format!("{said}\n**TOO NOISY TO JUDGE**: {why}.\n"),
        None => said,
    }
}

fn number(value: f64) -> String {
    if value.abs() >= 10.0 { format!("{value:.1}") } else { format!("{value:.2}") }
}

/// A table in Markdown, its columns aligned.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let width = |at: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            // Names to the left, figures to the right.
            if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths
        .iter()
        .enumerate()
        .map(|(at, width)| if at == 0 { "-".repeat(width + 2) } else { "-".repeat(width + 1) + ":" });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    line(&head) + &rule + &rows.iter().map(line).collect::<String>()
}

/// A file beside the binaries.
pub fn file(name: &str) -> PathBuf {
    let dir = std::env::current_exe().unwrap().parent().unwrap().join("figures");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Noise;

    fn run() -> Run {
        let mut run = Run { date: "2026-01-02 03:04 UTC".into(), rounds: 2, seconds: 5, ..Run::default() };
        run.command = "make bench-proxy".into();
        run.document = "GitHub's".into();
        for (subject, cpu, rate) in [(name::NGINX, 12.0, 50_000.0), (name::SIDELOG, 10.0, 60_000.0)] {
            for factor in [0.9, 1.1] {
                run.figures.add(Part::Post, subject, What::CpuMicros, cpu * factor);
                run.figures.add(Part::Post, subject, What::RequestsPerSecond, rate * factor);
            }
        }
        run.figures.add(Part::Ready, name::SIDELOG, What::ReadyMillis, 120.0);
        run.noise = vec![Noise { others: 0.05, steal: 0.0 }; 10];
        run.notes = vec!["envoy-lua left out".into(), "envoy-lua left out".into()];
        run
    }

    #[test]
    fn the_page_tells_goals_figures_and_how_they_came_about() {
        let page = page(&run());
        let goal = page.lines().find(|l| l.contains("nginx that logs nothing")).unwrap();
        let cells: Vec<&str> = goal.split('|').map(str::trim).collect();
        assert_eq!(cells[2..7], ["≥ 0.9", "1.20", "met", "1.20", "met"]);
        assert!(page.lines().any(|l| l.contains("ready with") && l.contains("**missed**")), "{page}");
        let own = page.lines().find(|l| l.starts_with("| sidelog")).unwrap();
        assert!(own.contains("60000 ±10 %") && own.contains("1.00"), "{own}");
        assert!(page.contains("## HTTP/1.1, POST of 1 KiB JSON") && !page.contains("## Memory"));
        assert!(page.contains("`make bench-proxy`") && page.contains("2026-01-02"));
        assert_eq!(page.matches("envoy-lua left out").count(), 1);
        assert!(!page.contains("TOO NOISY"));
    }

    #[test]
    fn a_noisy_run_says_so() {
        let mut run = run();
        run.noise = vec![Noise { others: 1.0, steal: 0.0 }; 3];
        assert!(page(&run).contains("TOO NOISY TO JUDGE"));
        assert!(text(&run).contains("3 of 3"));
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "–".into()]];
        assert_eq!(
            table(&["", "µs"], rows),
            "|      |  µs |\n|------|----:|\n| a    |   1 |\n| long |   – |\n"
        );
    }
}
