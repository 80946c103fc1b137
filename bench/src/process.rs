//! Child processes on a core of their own: what they cost, and that they end.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The core of the subject.
pub const SUBJECT_CORE: &str = "0";
/// The core of the load and of the service behind.
pub const LOAD_CORE: &str = "1";

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);

pub struct Process {
    child: Child,
}

impl Process {
    /// Start a program on one core. It gets SIGTERM when this process ends, however it ends.
    pub fn start(core: &str, program: &str, args: &[&str], stdout: Stdio) -> Process {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program]).args(args).stdin(Stdio::null()).stdout(stdout);
        let tie = || match unsafe {
            // SAFETY: a plain system call, allowed between fork and exec.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM)
        } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: the closure only makes a system call; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(tie) };
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
        Process { child }
    }

    pub fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("its standard output is a pipe, taken once")
    }

    /// Wait until it takes connections.
    pub fn listening(&mut self, addr: SocketAddr) {
        let deadline = Instant::now() + START;
        while TcpStream::connect(addr).is_err() {
            assert!(self.child.try_wait().unwrap().is_none(), "a process ended before it listened on {addr}");
            assert!(Instant::now() < deadline, "nothing listens on {addr}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Seconds of CPU it and its children have used, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        self.family().into_iter().map(cpu_seconds).sum()
    }

    /// Resident memory of it and its children, in MiB: all of it, and what is no file's.
    pub fn resident_mib(&self) -> (f64, f64) {
        let sum = |key: &str| -> f64 {
            self.family().into_iter().map(|pid| status_kib(pid, key)).sum::<u64>() as f64 / 1024.0
        };
        (sum("VmRSS:"), sum("RssAnon:"))
    }

    /// The process and its children.
    fn family(&self) -> Vec<u32> {
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
    ticks(pid) as f64 / ticks_per_second()
}

/// Seconds of CPU that all processes together have used.
pub fn all_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy: u64 =
        fields.iter().enumerate().filter(|(at, _)| ![3, 4].contains(at)).take(6).map(|(_, f)| f).sum();
    busy as f64 / ticks_per_second()
}

/// The most memory a process had resident, MiB.
pub fn peak_mib(pid: u32) -> f64 {
    status_kib(pid, "VmHWM:") as f64 / 1024.0
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

/// `utime` + `stime` of a process: fields 14 and 15 of its stat, counted behind the name.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum()
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("");
    value.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// Binds this process, and what it starts from now on, to a core.
pub fn stay_on(core: usize) {
    // SAFETY: a set of cores is plain data, and zero is an empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours; the call reads as many bytes as it has.
    let failed = unsafe {
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(failed, 0, "cannot stay on core {core}");
}

/// An address nobody listens on, for programs that cannot choose one themselves.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
