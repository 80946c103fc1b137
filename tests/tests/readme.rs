//! The README's first screen says what is so: its configuration loads, its question is the one the
//! demo asks, its commands and files exist. And docs/transparency.md names tests that exist.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The text of the first block of this language.
fn block(text: &str, language: &str) -> String {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_configuration_loads() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = block(&readme(), "yaml");
    assert!(yaml.lines().count() <= 12, "twelve lines, not more");
    std::fs::write(dir.path().join("sidelog.yaml"), yaml).unwrap();
    let document = "openapi: 3.0.3\ninfo: {title: orders, version: '1'}\npaths: {}\n";
    std::fs::write(dir.path().join("openapi.yaml"), document).unwrap();
    let binary = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("sidelog");
    assert!(binary.exists(), "run `make test`");
    let check =
        Command::new(binary).arg("check").arg("--config").arg(dir.path().join("sidelog.yaml")).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn the_question_is_the_one_the_demo_asks() {
    let demo = std::fs::read_to_string(root().join("scripts/demo.sh")).unwrap();
    assert!(demo.contains(block(&readme(), "sql").trim()));
}

#[test]
fn what_it_points_to_exists() {
    let text = readme();
    let links = text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0);
    let shown = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| ["tests/", "src/", "journal/"].iter().any(|dir| word.starts_with(dir)));
    let mut seen = 0;
    for path in links.chain(shown) {
        assert!(root().join(path).exists(), "{path}");
        seen += 1;
    }
    assert!(seen > 8, "the README has lost its links");
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    for command in text.lines().filter_map(|line| line.strip_prefix("$ make ")) {
        assert!(makefile.contains(&format!("\n{command}:")), "make {command}");
    }
}

#[test]
fn every_line_on_transparency_names_its_test() {
    let page = std::fs::read_to_string(root().join("docs/transparency.md")).unwrap();
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(lines.len() > 30, "the page has lost its tables");
    let mut ids: Vec<&str> = lines.iter().map(|line| line.split('`').nth(1).unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|two| two[0] != two[1]), "an id is there twice: {ids:?}");
    for line in lines {
        let words: Vec<&str> =
            line.split('`').filter_map(|word| word.split_once("::").map(|_| word)).collect();
        assert!(!words.is_empty(), "no test is named: {line}");
        for (path, name) in words.iter().map(|word| word.split_once("::").unwrap()) {
            let source = std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(source.contains(&format!("fn {name}()")), "{path} has no test {name}");
        }
    }
}
