//! One `sidelog proxy` process for wire tests: journal only, in a directory of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the process may take to listen, and to drain.
const START: Duration = Duration::from_secs(20);

pub struct Sidecar {
    child: Child,
    dir: tempfile::TempDir,
    pub traffic: SocketAddr,
    pub admin: SocketAddr,
}

impl Sidecar {
    /// Start one in front of `upstream` and wait until it listens.
    pub fn start(upstream: SocketAddr) -> Sidecar {
        let binary = binary();
        assert!(binary.exists(), "{} is not there: run `cargo build -p sidelog` first", binary.display());
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("sidelog.yaml");
        std::fs::write(&config, yaml(upstream, &dir.path().join("journal"))).unwrap();
        let stderr = std::fs::File::create(dir.path().join("stderr")).unwrap();
        let mut command = Command::new(&binary);
        command.args(["proxy", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        // SAFETY: prctl is a plain system call, allowed between fork and exec. The thread that
        // spawns is the test's own, so the process ends with the test even if that is killed.
        unsafe { command.pre_exec(|| libc_result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))) };
        let mut child = command.spawn().unwrap();
        let ready = ready_line(&mut child, dir.path());
        let word = |key: &str| -> SocketAddr {
            let found = ready.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
            found.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no {key} address in {ready:?}"))
        };
        let (traffic, admin) = (word("traffic"), word("admin"));
        Sidecar { child, dir, traffic, admin }
    }

    /// The sum of the series of a metric; with labels, each series by its labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.series(name).iter().map(|(_, value)| value).sum()
    }

    /// The labels (as written) and value of each series of a metric.
    pub fn series(&self, name: &str) -> Vec<(String, f64)> {
        let text = self.get("/metrics");
        let mut all = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            if metric == name {
                all.push((labels.trim_end_matches('}').to_string(), value.parse().unwrap()));
            }
        }
        all
    }

    /// Wait until a metric has reached a value; the value it has then.
    pub fn metric_reaching(&self, name: &str, value: f64) -> f64 {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let now = self.metric(name);
            if now >= value || Instant::now() > deadline {
                return now;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "GET {path} on the admin address: {head}");
        body.to_string()
    }

    /// The most memory the process has had resident so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Wait until no new connection is taken.
    pub fn wait_refusing(&self) {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.traffic).is_ok() {
            assert!(Instant::now() < deadline, "connections are still taken after SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Wait for the process to end by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process still runs.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("sidelog's stderr:\n{}", stderr_tail(self.dir.path()));
        }
    }
}

/// The process under test, built into the same target directory as this test.
fn binary() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().and_then(Path::parent).unwrap().join("sidelog")
}

fn libc_result(code: libc::c_int) -> std::io::Result<()> {
    if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

fn yaml(upstream: SocketAddr, journal: &Path) -> String {
    format!(
        "version: 1\nservice: t\nlisten: 127.0.0.1:0\nupstream: http://{upstream}\n\
         journal: {{dir: {}}}\nadmin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n\
         audit: {{refusals_per_second: 0}}\n",
        journal.display()
    )
}

fn ready_line(child: &mut Child, dir: &Path) -> String {
    let (send, ready) = std::sync::mpsc::sync_channel(1);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        let line = lines.by_ref().map_while(Result::ok).find(|l| l.starts_with("sidelog ready "));
        let _ = send.send(line);
        // Read on, so that the process never waits for this pipe.
        lines.for_each(drop);
    });
    match ready.recv_timeout(START) {
        Ok(Some(line)) => line,
        other => {
            let _ = child.kill();
            panic!("sidelog is not ready ({other:?}); its stderr:\n{}", stderr_tail(dir));
        }
    }
}

fn stderr_tail(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
}
