//! nghttpd, the service behind all of HTTP/2: a small file, on the load's core.

use crate::process::{LOAD_CORE, Process, free_address, installed};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Answers `target`, whatever the method, once the request is complete.
pub fn service(dir: &Path, target: &str) -> Result<(SocketAddr, Process), String> {
    let addr = free_address();
    let root = dir.join("h2");
    let file = root.join(target.trim_start_matches('/'));
    let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| std::fs::write(&file, "{\"id\":\"o-1\",\"ok\":true}"))
        .map_err(|e| format!("no file for nghttpd: {e}"))?;
    let mut command = Command::new(installed("nghttpd").ok_or("nghttpd is not installed")?);
    command.args(["--no-tls", "-a", "127.0.0.1", "-n", "1", "-m", "1000", "-d"]).arg(&root);
    command.arg(addr.port().to_string()).stdout(Stdio::null());
    let mut process = Process::start(LOAD_CORE, command, &dir.join("nghttpd.log"))?;
    process.listening(addr)?;
    Ok((addr, process))
}
