//! The questions of `queries.sql`, each asked several times.
//!
//! A question begins with `-- name`. `{word}` stands for a value that is there, found beforehand by the
//! question `-- word:` before it.

use harness::Sql;
use std::collections::BTreeMap;
use std::time::Instant;

const QUESTIONS: &str = include_str!("../../queries.sql");
/// Milliseconds that no question may take (p95), but those whose name says `no index`.
pub const LIMIT: f64 = 250.0;

#[derive(Debug, serde::Serialize)]
pub struct Answered {
    pub name: String,
    pub rows: usize,
    pub p50: f64,
    pub p95: f64,
}

impl Answered {
    pub fn too_slow(&self) -> bool {
        self.p95 > LIMIT && !self.name.contains("no index")
    }
}

/// Asks them all, each `runs` times after once to warm up.
pub async fn ask(sql: &Sql, runs: usize) -> Vec<Answered> {
    let mut values: BTreeMap<&str, String> = BTreeMap::new();
    let mut answers = Vec::new();
    for (name, question) in questions() {
        let question =
            values.iter().fold(question.to_owned(), |q, (word, v)| q.replace(&format!("{{{word}}}"), v));
        if let Some(word) = name.strip_suffix(':') {
            let value = sql.text(&question).await.unwrap_or_else(|e| panic!("{name} {e}"));
            values.insert(word, value.trim().to_owned());
            continue;
        }
        let mut millis = Vec::with_capacity(runs);
        let mut rows = 0;
        for run in 0..=runs {
            let start = Instant::now();
            let answer = sql.text(&question).await.unwrap_or_else(|e| panic!("{name}: {e}"));
            if run > 0 {
                millis.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            rows = answer.lines().count();
        }
        assert!(rows > 0, "{name}: no answer to {question}");
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| {
            millis.get(((millis.len() - 1) as f64 * share).round() as usize).copied().unwrap_or(0.0)
        };
        answers.push(Answered { name: name.to_owned(), rows, p50: at(0.5), p95: at(0.95) });
    }
    answers
}

/// Name and text of each.
fn questions() -> impl Iterator<Item = (&'static str, &'static str)> {
    QUESTIONS.split("\n\n").filter_map(|part| {
        let (name, question) = part.trim().strip_prefix("-- ")?.split_once('\n')?;
        (!question.starts_with("--")).then(|| (name.trim(), question.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_22_questions_with_names_of_their_own() {
        let names: Vec<_> = questions().map(|q| q.0).filter(|n| !n.ends_with(':')).collect();
        assert_eq!(names.len(), 22, "{names:?}");
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 22);
    }
}
