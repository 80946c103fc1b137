//! One `sidelog proxy` with a configuration of the test's own, and the events it left.

use harness::{Process, binary};
use sidelog_event::AuditEvent;
use sidelog_journal::{Journal, Kind, Options};
use std::collections::HashMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub dir: tempfile::TempDir,
    process: Option<Process>,
    words: HashMap<String, String>,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl World {
    /// A directory to put files into, before the sidecar starts.
    pub fn new() -> World {
        World { dir: tempfile::tempdir().unwrap(), process: None, words: HashMap::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `yaml`: without service, journal and admin; `listen` is added where it says none.
    pub fn start(mut self, yaml: &str) -> World {
        let listen = if yaml.contains("listen:") { "" } else { "listen: 127.0.0.1:0\n" };
        let own = "service: t\njournal: {dir: journal}\nadmin: {listen: 127.0.0.1:0, local: 127.0.0.1:0}\n";
        std::fs::write(self.path("sidelog.yaml"), format!("{own}{listen}{yaml}")).unwrap();
        let mut command = Command::new(binary("sidelog"));
        command.current_dir(self.dir.path()).args(["proxy", "--config", "sidelog.yaml"]);
        let process = Process::start("sidelog", command, self.dir.path());
        self.words = wait(process.ready("sidelog ready ", PATIENCE));
        self.process = Some(process);
        self
    }

    /// Where clients connect.
    pub fn traffic(&self) -> SocketAddr {
        self.words["traffic"].parse().unwrap()
    }

    /// As the ready line names it.
    pub fn listens(&self) -> &str {
        &self.words["traffic"]
    }

    /// The sum of a metric's series whose labels contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.words["admin"]).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        let mine =
            series.filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
        mine.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    pub fn until_metric(&self, name: &str, label: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name, label) < value {
            assert!(Instant::now() < deadline, "{name}{{{label}}} does not reach {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the sidecar and reads every event it left, in order.
    pub fn events(mut self) -> Vec<AuditEvent<'static>> {
        let process = self.process.take().unwrap();
        assert!(wait(process.stop(PATIENCE)).success());
        let journal = Journal::open(Options::new(self.dir.path().join("journal"))).unwrap().journal;
        let mut records = Vec::new();
        journal.reader().next(Duration::ZERO, usize::MAX, usize::MAX, &mut records);
        let data = records.into_iter().filter(|r| matches!(r.kind, Kind::Data | Kind::Open));
        data.map(|record| serde_json::from_slice(record.payload.leak()).unwrap()).collect()
    }

    /// The only event.
    pub fn event(self) -> AuditEvent<'static> {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }
}

/// A program's output; it must be there.
pub fn run(program: &str, dir: &Path, args: &[&str]) -> Output {
    let output = Command::new(program).current_dir(dir).args(args).output();
    output.unwrap_or_else(|e| panic!("{program} is needed here: {e}"))
}

/// curl with its output; the exit code must be 0.
pub fn curl(dir: &Path, args: &[&str]) -> String {
    let common = ["-sS", "--max-time", "20", "--noproxy", "*"];
    let output = run("curl", dir, &[&common[..], args].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A service over any kind of stream: answers every request of a connection, and gives back the bytes it
/// got before it answered the last.
pub fn serve<S: Read + Write>(stream: S, answer: &str) -> std::io::Result<Vec<u8>> {
    let (mut stream, mut all) = (BufReader::new(stream), Vec::new());
    loop {
        let (mut length, start) = (0, all.len());
        loop {
            let at = all.len();
            if stream.read_until(b'\n', &mut all)? == 0 {
                return Ok(all);
            }
            let line = String::from_utf8_lossy(&all[at..]).to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" && at > start {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        all.extend(body);
        stream.get_mut().write_all(answer.as_bytes())?;
        stream.get_mut().flush()?;
    }
}

/// One exchange over an open connection: sends, and reads until the answer ends so.
pub fn ask(stream: &mut (impl Read + Write), request: &[u8], until: &str) -> String {
    stream.write_all(request).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(until.as_bytes()) {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => got.push(byte[0]),
            end => panic!("{end:?} after {:?}", String::from_utf8_lossy(&got)),
        }
    }
    String::from_utf8(got).unwrap()
}
