//! The embedded engine: real ClickHouse, run from `libchdb` in a child process of this executable.
//!
//! Owns: finding the library, the two accounts (`writer`, `reader`) and their password files, the
//! child's life. Promises: the engine listens on 127.0.0.1 only; data survives restarts; the child
//! never outlives its parent, not even one that was killed (it serves until the pipe at its stdin
//! closes, and looks for its parent besides); a signal from the terminal does not reach it, so the
//! parent can flush first; on Linux it can touch no files but its own ([`confine`]). Refuses: a second engine on the same data directory.
//!
//! By hand, for tests or to look into a data directory (ends with Ctrl-D):
//! ```text
//! sidelog-standalone engine --data DIR --http-port 18123 --lib PATH/libchdb.so --users FILE.xml
//! ```
//! `FILE.xml` is a ClickHouse users file; [`Engine::start`] writes one to `DIR/users.xml`.
//!
//! Layout of the data directory: `clickhouse/` (tables, `engine.log`), `users.xml`, `config.xml`,
//! `lock`, `writer.password`, `reader.password` (both mode 0600).

pub mod child;
mod confine;
mod library;
mod users;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

pub use users::Account;

/// How long [`Engine::stop`] waits before it kills.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports tried when the system chooses one and another process takes it first.
const PORT_ATTEMPTS: usize = 5;

/// What to start.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Made if absent, mode 0700.
    pub data: PathBuf,
    /// 0: the system chooses.
    pub http_port: u16,
    /// `libchdb.so`; None: looked for (see [`EngineError::NoLibrary`]).
    pub library: Option<PathBuf>,
    /// The executable with the `engine` subcommand; None: this one.
    pub executable: Option<PathBuf>,
    /// The database that `reader` may read.
    pub database: String,
}

impl EngineOptions {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), http_port: 0, library: None, executable: None, database: "audit".into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "the engine library is not here (looked at {looked}); fetch it with `{fetch}`, \
         or name it with SIDELOG_ENGINE_LIB"
    )]
    NoLibrary { looked: String, fetch: String },
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("port {port} of 127.0.0.1 is not free ({source}); choose another with standalone.http_port")]
    Port { port: u16, source: io::Error },
    #[error("the database name {0:?} is not usable: letters, digits and _ only")]
    Database(String),
    #[error("the engine process did not start: {0}")]
    Spawn(io::Error),
    #[error("another engine uses the data directory {0}; stop it or choose another with --data")]
    InUse(PathBuf),
    #[error("the engine stopped ({status}): {output}")]
    Stopped { status: ExitStatus, output: String },
    #[error("the engine did not answer within {0:?}; see {1}")]
    NotReady(Duration, PathBuf),
}

/// A running engine. Dropping it stops it.
#[derive(Debug)]
pub struct Engine {
    /// `http://127.0.0.1:PORT`.
    pub http_url: String,
    /// May do everything; for the consumer.
    pub writer: Account,
    /// May only read the audit database.
    pub reader: Account,
    address: SocketAddr,
    data: PathBuf,
    pid: u32,
    stdin: Option<ChildStdin>,
    exit: Arc<Exit>,
}

/// Set once by the thread that waits for the child.
#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Exit {
    fn set(&self, status: ExitStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.changed.notify_all();
    }

    /// Waits up to `limit` for the child's end.
    fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, _) = self
            .changed
            .wait_timeout_while(status, limit, |s| s.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }
}

impl Engine {
    /// Starts the child; [`Engine::wait_ready`] tells when it answers.
    pub fn start(options: &EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { library, .. } = options;
        let library = library::find(library.as_deref())?;
        let executable = match &options.executable {
            Some(path) => path.clone(),
            None => std::env::current_exe().map_err(EngineError::Spawn)?,
        };
        make_private_dir(&options.data)?;
        let data = fs::canonicalize(&options.data).map_err(|source| EngineError::File {
            what: "cannot resolve",
            path: options.data.clone(),
            source,
        })?;
        let writer = Account::load_or_create(&data, "writer")?;
        let reader = Account::load_or_create(&data, "reader")?;
        let users = data.join("users.xml");
        write_private(&users, &users::render(&writer, &reader, &options.database)?)?;

        let port = free_port(options.http_port)?;
        let mut command = Command::new(executable);
        command
            .arg("engine")
            .arg("--data")
            .arg(&data)
            .args(["--http-port", &port.to_string(), "--parent", &std::process::id().to_string(), "--lib"])
            .arg(&library)
            .arg("--users")
            .arg(&users)
            .env_clear()
            .stdin(Stdio::piped())
            // Its own group: Ctrl-C at the terminal is for the parent, which flushes first.
            .process_group(0);
        let output = create_private(&output_path(&data))?;
        let errors =
            output.try_clone().map_err(|source| file_error("cannot open", &output_path(&data), source))?;
        command.stdout(output).stderr(errors);

        let (pid, stdin, exit) = spawn(command)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let http_url = format!("http://{address}");
        Ok(Self { http_url, writer, reader, address, data, pid, stdin: Some(stdin), exit })
    }

    /// Starts, and waits until it answers. With port 0, tries again when the port chosen by the
    /// system was taken by another process in between.
    pub fn start_ready(options: &EngineOptions, limit: Duration) -> Result<Self, EngineError> {
        let attempts = if options.http_port == 0 { PORT_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            let engine = Self::start(options)?;
            match engine.wait_ready(limit) {
                Ok(()) => return Ok(engine),
                Err(EngineError::Stopped { output, .. })
                    if attempt < attempts && output.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Waits until the engine answers a query of `writer`; tells why when it ended instead.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), EngineError> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit.wait(Duration::from_millis(20)) {
                return Err(self.stopped(status));
            }
            if users::answers(self.address, &self.writer) {
                if !self.confined() {
                    tracing::warn!(
                        "this system cannot confine the engine: SQL of user reader can read every file \
                         that this process can read"
                    );
                }
                return Ok(());
            }
            if Instant::now() > until {
                return Err(EngineError::NotReady(limit, output_path(&self.data)));
            }
        }
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the kernel keeps the engine to its own files.
    pub fn confined(&self) -> bool {
        let output = fs::read_to_string(output_path(&self.data)).unwrap_or_default();
        !output.contains(confine::UNCONFINED)
    }

    /// How the child ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.exit.wait(Duration::ZERO)
    }

    /// Stops it in order: running queries are cancelled, what was acknowledged is on disk.
    pub fn stop(mut self) -> Result<(), EngineError> {
        match self.end() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.stopped(status)),
            None => Err(EngineError::NotReady(STOP_TIMEOUT, output_path(&self.data))),
        }
    }

    fn end(&mut self) -> Option<ExitStatus> {
        self.stdin = None;
        if let Some(status) = self.exit.wait(STOP_TIMEOUT) {
            return Some(status);
        }
        tracing::warn!(pid = self.pid, "the engine does not stop; killing it");
        // SAFETY: plain system call; the child is not reaped before `exit` is set, so the pid is its.
        unsafe { libc::kill(self.pid as libc::pid_t, libc::SIGKILL) };
        self.exit.wait(STOP_TIMEOUT)
    }

    fn stopped(&self, status: ExitStatus) -> EngineError {
        if status.code() == Some(child::EXIT_IN_USE) {
            return EngineError::InUse(self.data.clone());
        }
        let output = fs::read_to_string(output_path(&self.data)).unwrap_or_default();
        let output =
            output.lines().filter(|l| !l.starts_with("Logging ")).take(5).collect::<Vec<_>>().join("; ");
        EngineError::Stopped { status, output }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.stdin.is_some() {
            self.end();
        }
    }
}

/// Starts the child on a thread of its own that then waits for its end.
fn spawn(mut command: Command) -> Result<(u32, ChildStdin, Arc<Exit>), EngineError> {
    let exit = Arc::new(Exit::default());
    let (send, receive) = mpsc::sync_channel(1);
    let shared = Arc::clone(&exit);
    let keep = move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let _ = send.send(Err(error));
                return;
            }
        };
        let stdin = child.stdin.take().ok_or_else(|| io::Error::other("the engine has no stdin"));
        let _ = send.send(stdin.map(|stdin| (child.id(), stdin)));
        match child.wait() {
            Ok(status) => shared.set(status),
            Err(error) => tracing::error!(%error, "cannot wait for the engine"),
        }
    };
    std::thread::Builder::new().name("engine".into()).spawn(keep).map_err(EngineError::Spawn)?;
    let (pid, stdin) = receive
        .recv()
        .map_err(|_| EngineError::Spawn(io::Error::other("the engine's thread ended")))?
        .map_err(EngineError::Spawn)?;
    Ok((pid, stdin, exit))
}

/// The port asked for, if free; any free one for 0.
fn free_port(port: u16) -> Result<u16, EngineError> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map_err(|source| EngineError::Port { port, source })?;
    probe.local_addr().map(|a| a.port()).map_err(|source| EngineError::Port { port, source })
}

fn output_path(data: &Path) -> PathBuf {
    data.join("engine.out")
}

fn file_error(what: &'static str, path: &Path, source: io::Error) -> EngineError {
    EngineError::File { what, path: path.to_path_buf(), source }
}

fn make_private_dir(path: &Path) -> Result<(), EngineError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| file_error("cannot make the directory", path, e))
}

fn create_private(path: &Path) -> Result<fs::File, EngineError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| file_error("cannot write", path, e))
}

fn write_private(path: &Path, text: &str) -> Result<(), EngineError> {
    use std::io::Write;
    create_private(path)?.write_all(text.as_bytes()).map_err(|e| file_error("cannot write", path, e))
}
