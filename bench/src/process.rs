//! Child processes on a core of their own: what they cost, and that they end.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The core of the subject.
pub const SUBJECT_CORE: usize = 0;
/// The core of the load and of the service behind.
pub const LOAD_CORE: usize = 1;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    /// What it says on standard error.
    log: PathBuf,
}

impl Process {
    /// Start a command on one core, its standard error in the file `log`. It gets SIGTERM when this process
    /// ends, however it ends.
    pub fn start(core: usize, mut command: Command, log: &Path) -> Result<Process, String> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let errors = File::create(log).map_err(|e| format!("{name}: no file for its errors: {e}"))?;
        command.stdin(Stdio::null()).stderr(errors);
        let cores = only(core);
        let tie = move || {
            // SAFETY: plain system calls, allowed between fork and exec.
            let done = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM)
                    | libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores)
            };
            if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(tie) };
        let child = command.spawn().map_err(|e| format!("cannot start {name}: {e}"))?;
        Ok(Process { child, name, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, where that is a pipe; once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Wait until it takes connections.
    pub fn listening(&mut self, addr: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(addr).is_err() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(self.complaint("ended before it listened"));
            }
            if Instant::now() > deadline {
                return Err(self.complaint("does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What is wrong with it, and the last it said.
    pub fn complaint(&self, what: &str) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{} {what}: {}", self.name, last.join(" / "))
    }

    /// Seconds of CPU it and its children have used, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        self.family().into_iter().map(cpu_seconds).sum()
    }

    /// The process and its children.
    pub fn family(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|c| c.parse().ok())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Seconds of CPU a process has used, user and system.
pub fn cpu_seconds(pid: u32) -> f64 {
    ticks(pid, 2) as f64 / ticks_per_second()
}

/// The same with what its children had used that have ended.
pub fn cpu_seconds_with_dead(pid: u32) -> f64 {
    ticks(pid, 4) as f64 / ticks_per_second()
}

/// Seconds of CPU that all processes together have used.
pub fn all_cpu_seconds() -> f64 {
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    [0, 1, 2, 5, 6, 7].map(machine_seconds).iter().sum()
}

/// A field of the first line of /proc/stat, summed over all cores, in seconds.
pub fn machine_seconds(field: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let word = stat.lines().next().unwrap_or("").split_whitespace().nth(field + 1);
    word.and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0) / ticks_per_second()
}

/// The most memory a process had resident, MiB.
pub fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("");
    value.split_whitespace().next().and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Load average over a minute.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads a constant.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// The first of `utime`, `stime`, `cutime`, `cstime` of a process: fields 14 to 17 of its stat, counted
/// behind the name.
fn ticks(pid: u32, fields: usize) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(fields).filter_map(|f| f.parse::<u64>().ok()).sum()
}

/// Binds this process, and what it starts from now on, to a core.
pub fn stay_on(core: usize) {
    let set = only(core);
    // SAFETY: the set is ours; the call reads as many bytes as it has.
    let failed = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    assert_eq!(failed, 0, "cannot stay on core {core}");
}

fn only(core: usize) -> libc::cpu_set_t {
    // SAFETY: a set of cores is plain data, and zero is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours; a core beyond its size is left out.
    unsafe { libc::CPU_SET(core, &mut set) };
    set
}

/// As many files as are allowed, for this process and those that it starts.
pub fn raise_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or fill the structure given.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// An address nobody listens on, for programs that cannot choose one themselves.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A program built beside this one.
pub fn sibling(name: &str) -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|e| e.to_string())?.with_file_name(name);
    if path.exists() { Ok(path) } else { Err(format!("{name} is not built beside this program")) }
}

/// A program of the system, as a shell with the usual path would find it.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// CPU time of this thread: what else the machine does costs only its share of the caches.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills a struct of its own type.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
