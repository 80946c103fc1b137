//! A child process that never outlives its test.
//!
//! Three ties, because tests end in many ways: `Drop` kills the child's process group; the kernel
//! kills the child when this process dies (`PR_SET_PDEATHSIG`); its output goes to files, so that
//! nobody has to keep reading for the child to go on.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How many of its last lines a process shows when its test fails.
const TAIL: usize = 60;

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Where its own words begin in `stdout`; before that stands what an earlier run said.
    said_before: usize,
}

impl Process {
    /// Starts `command`; its output goes to `NAME.out` and `NAME.err` in `logs`, appended, so that
    /// a restart keeps what was said before.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Process {
        let file = |ending| logs.join(format!("{name}.{ending}"));
        let (stdout, stderr) = (file("out"), file("err"));
        let open = |path: &Path| std::fs::File::options().create(true).append(true).open(path).unwrap();
        // Standard input is a pipe that stays open as long as this value: some children end with it.
        command.stdin(Stdio::piped()).stdout(open(&stdout)).stderr(open(&stderr)).process_group(0);
        let said_before = std::fs::metadata(&stdout).unwrap().len() as usize;
        let child = spawn(command).unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Process { name: name.to_owned(), child, stdout, stderr, said_before }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Both output files: standard output and standard error.
    pub fn logs(&self) -> [&Path; 2] {
        [&self.stdout, &self.stderr]
    }

    /// Waits for a line on standard output that starts with `prefix`, and returns its `key=value`
    /// words. Panics when the process ends instead, or takes longer than `within`.
    pub async fn ready(&self, prefix: &str, within: Duration) -> HashMap<String, String> {
        let deadline = Instant::now() + within;
        loop {
            let said = self.said();
            let complete = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(rest) = complete.lines().find_map(|line| line.strip_prefix(prefix)) {
                let words = rest.split_whitespace().filter_map(|word| word.split_once('='));
                return words.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            }
            self.must_run();
            assert!(Instant::now() < deadline, "{} did not say {prefix:?} within {within:?}", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has written to standard output.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.stdout).unwrap();
        String::from_utf8_lossy(bytes.get(self.said_before..).unwrap_or_default()).into_owned()
    }

    /// Panics when the process has ended.
    pub fn must_run(&self) {
        if let Some(status) = self.ended() {
            panic!("{} ended unasked: {status}", self.name);
        }
    }

    /// How it ended, if it has. It is waited for only when this value is dropped: until then
    /// nobody else is given its number, so that a signal never meets a stranger.
    fn ended(&self) -> Option<ExitStatus> {
        // SAFETY: all zeros is a valid siginfo_t; waitid writes nothing else.
        let (done, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            (libc::waitid(libc::P_PID, self.child.id(), &mut info, how), info)
        };
        assert_eq!(done, 0, "{}: {}", self.name, io::Error::last_os_error());
        // SAFETY: waitid has filled the fields of a child's end, or left the number 0.
        let (id, status) = unsafe { (info.si_pid(), info.si_status()) };
        let raw = if info.si_code == libc::CLD_EXITED { status << 8 } else { status };
        (id != 0).then(|| ExitStatus::from_raw(raw))
    }

    /// Sends `signal` to the process alone.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: plain system call, no memory involved.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Sends `signal` to the process and all it started, as a terminal does on Ctrl-C.
    pub fn signal_group(&self, signal: libc::c_int) {
        // SAFETY: plain system call, no memory involved.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), signal) };
    }

    /// Halts it: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal_group(libc::SIGSTOP);
    }

    pub fn resume(&self) {
        self.signal_group(libc::SIGCONT);
    }

    /// Waits for the end.
    pub async fn end(&self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} did not end within {within:?}", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    pub async fn stop(&self, within: Duration) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.end(within).await
    }

    /// Ends it without a word (SIGKILL): it alone, so that what it started must cope.
    pub async fn kill(&self) -> ExitStatus {
        self.signal(libc::SIGKILL);
        self.end(Duration::from_secs(10)).await
    }

    fn print_tail(&self) {
        for path in self.logs() {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
            let skip = text.lines().count().saturating_sub(TAIL);
            for line in text.lines().skip(skip) {
                eprintln!("{} | {line}", path.file_name().unwrap_or_default().to_string_lossy());
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_tail();
        }
        self.signal_group(libc::SIGKILL);
        let _ = self.child.wait();
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Spawns from a thread that lives as long as this process: `PR_SET_PDEATHSIG` looks at the
/// *thread* that made the child, and threads of tests and runtimes come and go.
fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, queue) = sync_channel::<Order>(1);
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                let die_with_parent = || {
                    // SAFETY: prctl is a plain system call, allowed between fork and exec.
                    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                        0 => Ok(()),
                        _ => Err(io::Error::last_os_error()),
                    }
                };
                // SAFETY: the closure allocates nothing and takes no lock.
                unsafe { command.pre_exec(die_with_parent) };
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = sync_channel(1);
    spawner.send((command, reply)).unwrap();
    answer.recv().unwrap()
}

/// All processes that descend from `ancestor` now, as `(id, start time)`: the pair names a process
/// even after the id is given to another.
pub fn descendants(ancestor: u32) -> Vec<(u32, u64)> {
    let all: Vec<(u32, u32, u64)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| stat(id).map(|(parent, started)| (id, parent, started)))
        .collect();
    let mut found: Vec<(u32, u64)> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (id, _, started) in all.iter().filter(|(_, p, _)| *p == parent) {
            found.push((*id, *started));
            parents.push(*id);
        }
    }
    found
}

/// Whether the process is still there; a zombie is not.
pub fn is_alive((id, started): (u32, u64)) -> bool {
    stat(id).is_some_and(|(_, s)| s == started)
}

/// Parent and start time of a process that has not ended.
fn stat(id: u32) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it are plain.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if *state == "Z" {
        return None;
    }
    Some((parent.parse().ok()?, started.parse().ok()?))
}
