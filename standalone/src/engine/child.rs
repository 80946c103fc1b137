//! The child process: opens the library and serves until its stdin closes or its parent is gone.
//!
//! The library's entry takes the arguments of `clickhouse local`; `argv[0]` must be `clickhouse`.
//! The last query reads stdin to its end and so keeps the process serving.

use super::confine::{UNCONFINED, confine};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The data directory belongs to another engine.
pub const EXIT_IN_USE: i32 = 75;
/// The library could not be opened, or the engine failed.
const EXIT_FAILED: i32 = 70;

/// An engine whose parent was killed needs a moment to stop.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long an engine may take to stop once its parent is gone and stdin is closed.
const ORPHAN_LIMIT: Duration = Duration::from_secs(15);

/// The arguments of `sidelog-standalone engine`.
#[derive(Debug, Clone, clap::Args)]
pub struct ChildArgs {
    /// Directory of the tables.
    #[arg(long)]
    pub data: PathBuf,
    /// Port of 127.0.0.1 to serve HTTP on.
    #[arg(long)]
    pub http_port: u16,
    /// Path of libchdb.
    #[arg(long)]
    pub lib: PathBuf,
    /// A ClickHouse users file.
    #[arg(long)]
    pub users: PathBuf,
    /// Process id of the parent; the child ends soon after it.
    #[arg(long, hide = true)]
    pub parent: Option<u32>,
}

/// Serves; returns the exit code.
pub fn run(args: &ChildArgs) -> i32 {
    match serve(args) {
        Ok(()) => 0,
        Err(Failure::InUse) => {
            eprintln!("another engine uses {}", args.data.display());
            EXIT_IN_USE
        }
        Err(Failure::Other(text)) => {
            eprintln!("{text}");
            EXIT_FAILED
        }
    }
}

enum Failure {
    InUse,
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(format!("cannot prepare the data directory: {error}"))
    }
}

fn serve(args: &ChildArgs) -> Result<(), Failure> {
    fs::create_dir_all(args.data.join("clickhouse"))?;
    // Absolute: the engine resolves relative paths against its own directories.
    let data = fs::canonicalize(&args.data)?;
    let users = fs::canonicalize(&args.users)?;
    let lock = File::create(data.join("lock"))?;
    take_lock(&lock)?;
    if let Some(parent) = args.parent {
        watch_parent(parent)?;
    }
    let config = data.join("config.xml");
    fs::write(&config, render_config(&data, &users, args.http_port))?;
    let limit = || {
        let confined = confine(&data.join("clickhouse"), &[&users, &config])?;
        if !confined {
            eprintln!("{UNCONFINED}");
        }
        Ok(())
    };
    run_engine(&args.lib, &arguments(&data, &config), limit).map_err(Failure::Other)
    // `lock` is released with the process.
}

fn take_lock(lock: &File) -> Result<(), Failure> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::Error(error)) => return Err(error.into()),
            Err(fs::TryLockError::WouldBlock) if Instant::now() > until => return Err(Failure::InUse),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A belt beside the pipe: when the parent is gone and the engine does not come to its end, end it.
/// (Not PR_SET_PDEATHSIG: that fires when the parent's *thread* ends, leaves the engine no time to
/// stop in order, and is Linux only.)
fn watch_parent(parent: u32) -> io::Result<()> {
    let watch = move || {
        // SAFETY: a system call without arguments that cannot fail.
        while unsafe { libc::getppid() } as u32 == parent {
            std::thread::sleep(Duration::from_millis(500));
        }
        std::thread::sleep(ORPHAN_LIMIT);
        // SAFETY: ends the process at once, without running the engine's destructors.
        unsafe { libc::_exit(EXIT_FAILED) }
    };
    std::thread::Builder::new().name("parent-watch".into()).spawn(watch).map(drop)
}

/// Old parts are removed soon, not after half a minute: an erasure waits for that.
fn render_config(data: &Path, users: &Path, port: u16) -> String {
    let xml = |path: &Path| {
        path.display().to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    };
    let log = data.join("clickhouse/engine.log");
    format!(
        r#"<clickhouse>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <users_config>{}</users_config>
  <timezone>UTC</timezone>
  <merge_tree>
    <cleanup_delay_period>2</cleanup_delay_period>
    <max_cleanup_delay_period>2</max_cleanup_delay_period>
    <cleanup_delay_period_random_add>0</cleanup_delay_period_random_add>
  </merge_tree>
  <logger><level>warning</level><log>{}</log><size>10M</size><count>2</count></logger>
</clickhouse>
"#,
        xml(users),
        xml(&log),
    )
}

fn arguments(data: &Path, config: &Path) -> Vec<String> {
    let query = "SYSTEM START LISTEN HTTP; SELECT * FROM table FORMAT Null; SYSTEM STOP LISTEN HTTP";
    let data = data.join("clickhouse").display().to_string();
    let config = config.display().to_string();
    // `max_query_size` lifts the bound that keeps `default` out over HTTP; see users.rs.
    let list = [
        "clickhouse",
        "--path",
        &data,
        "--config-file",
        &config,
        "--max_query_size",
        "262144",
        // Heeded only here, and at `trace` the log would hold every question.
        "--log-level",
        "warning",
        "--structure",
        "l String",
        "--input-format",
        "LineAsString",
        "--query",
        query,
    ];
    list.map(str::to_owned).to_vec()
}

type Run = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

/// `limit` runs between the opening of the library and its start.
fn run_engine(
    library: &Path,
    arguments: &[String],
    limit: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let strings: Vec<CString> = arguments
        .iter()
        .map(|a| CString::new(a.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| "a path contains a NUL byte".to_owned())?;
    let mut pointers: Vec<*mut c_char> = strings.iter().map(|s| s.as_ptr().cast_mut()).collect();
    let count = pointers.len() as c_int;
    pointers.push(std::ptr::null_mut());
    let told = |e: libloading::Error| format!("cannot use the engine library {}: {e}", library.display());
    // SAFETY: the library's initialisers run here, in a process made for it. The signatures are
    // those of the library's C header. It reads `argv` only during the call, during which `strings`
    // and `pointers` live. The result stays valid: it is never destroyed, nor is the library
    // unloaded (its threads may still run), since the process ends right after.
    unsafe {
        let library = std::mem::ManuallyDrop::new(libloading::Library::new(library).map_err(told)?);
        let run: libloading::Symbol<Run> = library.get(b"chdb_query_cmdline\0").map_err(told)?;
        let error_of: libloading::Symbol<ResultError> = library.get(b"chdb_result_error\0").map_err(told)?;
        limit()?;
        let result = run(count, pointers.as_mut_ptr());
        if result.is_null() {
            return Err("the engine ended without a result".into());
        }
        let error = error_of(result);
        if error.is_null() { Ok(()) } else { Err(CStr::from_ptr(error).to_string_lossy().into_owned()) }
    }
}
