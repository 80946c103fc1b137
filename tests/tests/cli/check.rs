//! `sidelog check`: everything that is wrong, where, and how to mend it.

use crate::{Ran, command, data, golden, listed, ran, sidelog};
use harness::Port;
use serde_json::Value;
use std::path::Path;

const BAD_CONFIG: i32 = 78;

fn errors(ran: &Ran) -> usize {
    ran.stderr.lines().filter(|line| !line.starts_with(' ') && line.contains("error: ")).count()
}

/// The text that `check` would print for the problems it gave as JSON.
fn as_text(json: &str) -> String {
    let report: Value = serde_json::from_str(json).unwrap();
    let mut text = String::new();
    for problem in report["problems"].as_array().unwrap() {
        if let Some(file) = problem["file"].as_str() {
            text.push_str(&format!("{file}:{}:{}: ", problem["line"], problem["column"]));
        }
        let of = |key: &str| problem[key].as_str().unwrap_or_else(|| panic!("no {key}: {problem}"));
        text.push_str(&format!("{}: {}\n", of("severity"), of("message")));
        if !problem["help"].is_null() {
            text.push_str(&format!("  help: {}\n", of("help")));
        }
    }
    text
}

/// Runs `check` in each of its forms; they must agree.
fn check(dir: &Path, config: &str, env: &[(&str, &str)]) -> Ran {
    let run = |more: &[&str]| {
        let mut command = command(dir, &["check", "--config", config]);
        ran(command.args(more).envs(env.iter().copied()).output().unwrap())
    };
    let text = run(&[]);
    let expected = if errors(&text) > 0 { BAD_CONFIG } else { 0 };
    assert_eq!(text.status, expected, "{text:?}");

    let json = run(&["--format", "json"]);
    assert_eq!((json.status, json.stderr.as_str()), (expected, ""), "JSON goes to stdout");
    assert_eq!(as_text(&json.stdout), text.stderr);

    assert_eq!(run(&["--json"]).stdout, json.stdout);

    let begins = |what: &str| text.stderr.lines().any(|l| !l.starts_with(' ') && l.contains(what));
    let expected = if begins("error: ") || begins("warning: ") { BAD_CONFIG } else { 0 };
    for strict in ["--deny-warnings", "--strict"] {
        let strict = run(&[strict]);
        assert_eq!((strict.status, &strict.stderr), (expected, &text.stderr));
    }
    text
}

/// Each directory has a configuration that is fine, but for the case in point, and its documents.
#[test]
fn documents_say_what_is_wrong_where_and_how_to_mend_it() {
    let dirs = listed(&data("cli/check"));
    assert!(dirs.len() >= 23, "{}", dirs.len());
    for dir in dirs {
        let ran = check(&dir, "sidelog.yaml", &[]);
        golden(&dir.join("check.stderr"), &ran.stderr);
        // Every problem: a place, and a line of help.
        let lines: Vec<&str> = ran.stderr.lines().collect();
        for pair in lines.chunks(2) {
            let [problem, help] = pair else { panic!("{}: {pair:?}", dir.display()) };
            let place: Vec<&str> = problem.splitn(4, ':').collect();
            assert!(place.len() == 4 && !place[0].contains(' '), "{problem}");
            assert!(place[1].parse::<u32>().is_ok() && place[2].parse::<u32>().is_ok(), "{problem}");
            assert!(help.starts_with("  help: "), "{problem}\n{help}");
        }
    }
}

/// The files and messages that the unit tests of the configuration use: the binary says the same.
#[test]
fn configurations_say_what_is_wrong_where_and_how_to_mend_it() {
    let dir = data("config/broken");
    let configs = listed(&dir).into_iter().filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    let mut count = 0;
    for path in configs {
        let name = path.file_name().unwrap().to_str().unwrap();
        let ran = check(&dir, name, &[("ADDRESS", "s3cret-value"), ("BIG", "100000")]);
        let expected = std::fs::read_to_string(path.with_extension("stderr")).unwrap();
        // Here the directory is the working directory; and a missing document is an error to `check`.
        let expected = expected.replace("DIR/", "").replace("warning: `openapi`: ", "error: `openapi`: ");
        assert_eq!(ran.stderr, expected, "{name}");
        assert_eq!((ran.status, ran.stdout.as_str()), (BAD_CONFIG, ""), "{name}");
        count += 1;
    }
    assert!(count >= 21, "{count}");
}

#[test]
fn places_are_openable_from_where_the_command_was_given() {
    let ran = sidelog(&data("cli"), &["check", "--config", "check/yaml-tab/sidelog.yaml"]);
    assert!(ran.stderr.starts_with("check/yaml-tab/openapi.yaml:4:2: error: "), "{}", ran.stderr);
}

#[test]
fn two_documents_of_one_name_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let odd = std::fs::read_to_string(data("cli/check/odd/openapi.yaml")).unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        std::fs::write(dir.path().join(name).join("openapi.yaml"), &odd).unwrap();
    }
    let config = "service: s\nupstream: http://127.0.0.1:1\nopenapi: [a/openapi.yaml, b/openapi.yaml]\n";
    std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
    let ran = sidelog(dir.path(), &["check", "--config", "sidelog.yaml"]);
    assert!(ran.stderr.contains("a/openapi.yaml:9:10: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("b/openapi.yaml:6:11: "), "{}", ran.stderr);
}

#[test]
fn a_sound_configuration_is_summed_up() {
    let ran = sidelog(&data("cli/check/sound"), &["check", "--config", "sidelog.yaml", "--deny-warnings"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "sidelog.yaml: 2 operations in 1 document; 0 errors, 0 warnings\n");
}

#[test]
fn a_missing_configuration_is_a_bad_configuration() {
    let ran = sidelog(&data("cli"), &["check", "--config", "absent.yaml"]);
    assert_eq!(ran.status, BAD_CONFIG);
    assert_eq!(
        ran.stderr,
        "error: cannot read `absent.yaml`: there is no such file\n  help: name a configuration with --config FILE\n"
    );
}

#[test]
fn what_cannot_be_understood_is_a_usage_error() {
    for args in [&["check"][..], &["chekc", "--config", "x"], &["check", "--config", "x", "--format", "xml"]]
    {
        let ran = sidelog(&data("cli"), args);
        assert_eq!((ran.status, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains("--help"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn online_also_connects() {
    let dir = tempfile::tempdir().unwrap();
    let closed = Port::reserve();
    let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = |upstream: u16, broker: u16| {
        format!(
            "service: s\nupstream: http://127.0.0.1:{upstream}\nkafka: {{brokers: [\"127.0.0.1:{broker}\"]}}\njournal: {{dir: journal}}\n"
        )
    };
    let (open, closed) = (open.local_addr().unwrap().port(), closed.number());
    let run = |config: &str, more: &[&str]| {
        std::fs::write(dir.path().join("sidelog.yaml"), config).unwrap();
        ran(command(dir.path(), &["check", "--config", "sidelog.yaml"]).args(more).output().unwrap())
    };
    assert_eq!(run(&config(closed, closed), &[]).status, 0, "no connection unless asked for");
    // Whoever listens there is no Kafka.
    let broken = run(&config(open, open), &["--online"]);
    assert_eq!((broken.status, errors(&broken)), (BAD_CONFIG, 1), "{broken:?}");
    assert!(broken.stderr.contains("error: kafka does not tell of the topic `audit.events`: "), "{broken:?}");
    let broken = run(&config(open, closed), &["--online"]);
    assert_eq!((broken.status, errors(&broken)), (BAD_CONFIG, 1), "{broken:?}");
    let told = format!("error: cannot reach kafka at 127.0.0.1:{closed}: ");
    assert!(broken.stderr.contains(&told), "{}", broken.stderr);
    let kept = config(open, open).lines().take(2).collect::<Vec<_>>().join("\n");
    let sound = run(&format!("{kept}\njournal: {{dir: journal}}\n"), &["--online"]);
    assert_eq!((sound.status, errors(&sound)), (0, 0), "{sound:?}");
    assert_eq!(listed(dir.path()).len(), 1, "nothing but the configuration");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let broken = run(&format!("{kept}\njournal: {{dir: file/journal}}\n"), &["--online"]);
    assert!(broken.stderr.contains("error: the journal cannot be written in "), "{}", broken.stderr);
}
