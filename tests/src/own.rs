//! The project's own binaries, run as a user runs them: a YAML file, a line that says they are
//! ready, signals.

use crate::{Port, Process, Sql, deps, temp_dir, wait_until};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// The project's binary of that name, built beside the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/NAME-HASH → target/debug/NAME; a benchmark lies there itself.
    let beside = test.parent().unwrap();
    let path = if beside.ends_with("deps") { beside.parent().unwrap() } else { beside }.join(name);
    assert!(path.exists(), "{} is not built: run `make test`", path.display());
    path
}

fn command(name: &str, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary(name));
    command.current_dir(dir).args(args).env("SIDELOG_ENGINE_LIB", engine_library());
    command
}

fn engine_library() -> PathBuf {
    deps("engine/libchdb.so").canonicalize().unwrap()
}

/// Writes the configuration: `yaml`, with every listener on a port of the system's choice.
fn write_config(dir: &Path, yaml: &str) {
    let listen = "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}\n";
    std::fs::write(dir.join("sidelog.yaml"), format!("{listen}{yaml}")).unwrap();
}

fn word(words: &HashMap<String, String>, key: &str) -> String {
    words.get(key).unwrap_or_else(|| panic!("the ready line names no {key}: {words:?}")).clone()
}

/// `sidelog proxy`.
#[derive(Debug)]
pub struct Sidecar {
    pub process: Process,
    traffic: String,
    admin: String,
    local: String,
}

impl Sidecar {
    /// Starts in `dir` with this configuration (version and listeners are added); relative paths in
    /// it are relative to `dir`.
    pub async fn start(dir: &Path, yaml: &str) -> Sidecar {
        Sidecar::start_under(&[], dir, yaml).await
    }

    /// The same, started by another program, such as one that meddles with its system calls.
    pub async fn start_under(program: &[&str], dir: &Path, yaml: &str) -> Sidecar {
        write_config(dir, yaml);
        let run = ["proxy", "--config", "sidelog.yaml"];
        let command = match program {
            [] => command("sidelog", dir, &run),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary("sidelog")).args(run).current_dir(dir);
                command
            }
        };
        let process = Process::start("sidelog", command, dir);
        let words = process.ready("sidelog ready ", START).await;
        let [traffic, admin, local] = ["traffic", "admin", "local"].map(|key| word(&words, key));
        Sidecar { process, traffic, admin, local }
    }

    /// Where clients call.
    pub fn url(&self) -> String {
        format!("http://{}", self.traffic)
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub fn local_url(&self) -> String {
        format!("http://{}", self.local)
    }

    pub async fn metrics(&self) -> String {
        text(&format!("{}/metrics", self.admin_url())).await
    }

    pub async fn stop(&self) -> ExitStatus {
        self.process.stop(STOP).await
    }
}

/// `sidelog-consumer`.
#[derive(Debug)]
pub struct Consumer {
    pub process: Process,
    metrics: String,
}

impl Consumer {
    pub async fn start(dir: &Path, yaml: &str) -> Consumer {
        Consumer::start_with(&[], dir, yaml).await
    }

    /// The same, with more arguments.
    pub async fn start_with(arguments: &[&str], dir: &Path, yaml: &str) -> Consumer {
        write_config(dir, yaml);
        let args = ["--config", "sidelog.yaml", "--metrics-listen", "127.0.0.1:0"];
        let mut command = command("sidelog-consumer", dir, &args);
        command.args(arguments);
        let process = Process::start("sidelog-consumer", command, dir);
        let words = process.ready("sidelog-consumer ready ", START).await;
        Consumer { process, metrics: word(&words, "metrics") }
    }

    pub async fn metrics(&self) -> String {
        text(&format!("http://{}/metrics", self.metrics)).await
    }

    pub async fn stop(&self) -> ExitStatus {
        self.process.stop(STOP).await
    }
}

/// `sidelog-standalone`: sidecar, journal, consumer and ClickHouse in one.
#[derive(Debug)]
pub struct Standalone {
    pub process: Process,
    traffic: String,
    pub sql: Sql,
}

impl Standalone {
    /// Starts in `dir` with this configuration, to which the place of the data (`data/`) and the
    /// port for SQL are added.
    pub async fn start(dir: &Path, yaml: &str) -> Standalone {
        // Held only until the line is written: the server is told the number and listens on it.
        let port = Port::reserve();
        let own = format!("standalone: {{data: data, http_port: {}}}\n", port.number());
        write_config(dir, &format!("{yaml}{own}"));
        let command = command("sidelog-standalone", dir, &["--config", "sidelog.yaml"]);
        let process = Process::start("sidelog-standalone", command, dir);
        let words = process.ready("sidelog-standalone ready ", START).await;
        let password = std::fs::read_to_string(dir.join("data/reader.password")).unwrap();
        let sql = Sql::new(&word(&words, "sql"), &word(&words, "user"), password.trim());
        Standalone { process, traffic: word(&words, "traffic"), sql }
    }

    /// Where clients call.
    pub fn url(&self) -> String {
        format!("http://{}", self.traffic)
    }
}

/// ClickHouse alone, as standalone runs it, but with accounts of the test's own making:
/// `sidelog-standalone engine`.
#[derive(Debug)]
pub struct Engine {
    process: Process,
    dir: tempfile::TempDir,
    port: Port,
}

impl Engine {
    /// A new, empty ClickHouse that answers.
    pub async fn start() -> Engine {
        let dir = temp_dir("engine");
        std::fs::write(dir.path().join("users.xml"), USERS).unwrap();
        std::fs::write(dir.path().join("writer.password"), "writer's").unwrap();
        let port = Port::reserve();
        let process = Engine::run(dir.path(), &port);
        let mut engine = Engine { process, dir, port };
        engine.answers().await;
        engine
    }

    fn run(dir: &Path, port: &Port) -> Process {
        let port = port.number().to_string();
        let args = ["engine", "--data", "data", "--users", "users.xml", "--http-port", &port, "--lib"];
        let mut command = command("sidelog-standalone", dir, &args);
        command.arg(engine_library());
        Process::start("engine", command, dir)
    }

    async fn answers(&mut self) {
        let ping = format!("{}/ping", self.url());
        wait_until(START, "the engine answers", async || {
            self.process.must_run();
            reqwest::get(&ping).await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The line of a configuration that names it.
    pub fn config(&self) -> String {
        let password = self.dir.path().join("writer.password");
        format!("clickhouse: {{url: '{}', user: writer, password_file: {password:?}}}\n", self.url())
    }

    /// Asks as the user who may only read.
    pub fn sql(&self) -> Sql {
        Sql::new(&self.url(), "reader", "reader's")
    }

    /// Asks as the user who may do everything.
    pub fn writer(&self) -> Sql {
        Sql::new(&self.url(), "writer", "writer's")
    }

    /// Ends it without a word (SIGKILL).
    pub async fn kill(&self) {
        self.process.kill().await;
    }

    /// Starts it again on the same port and data, ending it first if need be.
    pub async fn restart(&mut self) {
        self.process.kill().await;
        self.process = Engine::run(self.dir.path(), &self.port);
        self.answers().await;
    }
}

/// `default` is the account of the embedded session itself.
const USERS: &str = "<clickhouse>
  <profiles><default/><reader><readonly>2</readonly></reader></profiles>
  <quotas><default/></quotas>
  <users>
    <default><no_password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile></default>
    <writer><password>writer's</password><networks><ip>127.0.0.1</ip></networks></writer>
    <reader>
      <password>reader's</password><networks><ip>127.0.0.1</ip></networks><profile>reader</profile>
    </reader>
  </users>
</clickhouse>
";

async fn text(url: &str) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}
