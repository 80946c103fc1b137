//! haproxy, one thread: without a log, or with one of JSON lines that hold the request's body. Lines go to
//! standard output, a file here, as haproxy's own image has them.

use super::{Ground, Running, write};
use crate::process::{Process, SUBJECT_CORE, free_address, installed};
use std::fs::File;
use std::process::Command;

/// `len`: lines are cut at 1,024 bytes otherwise.
const LOG: &str = "log stdout len 8192 format raw local0";

const LOGGED: &str = r#"    log global
    option http-buffer-request
    capture request header Host len 128
    capture request header User-Agent len 256
    http-request set-var(txn.body) req.body
    log-format '{"time":"%t","peer":"%ci","method":"%HM","path":"%HU","host":"%[capture.req.hdr(0),json(utf8s)]","status":%ST,"duration":%Ta,"agent":"%[capture.req.hdr(1),json(utf8s)]","body":"%[var(txn.body),json(utf8s)]"}'
"#;

pub fn start(ground: &Ground<'_>, logged: bool) -> Result<Running, String> {
    let addr = free_address();
    let proto = if ground.http2 { " proto h2" } else { "" };
    let (global, frontend) = if logged { (LOG, LOGGED) } else { ("", "") };
    let config = format!(
        "global\n    nbthread 1\n    maxconn 4096\n    {global}\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 600s\n    timeout server 600s\n    \
         http-reuse always\n\
         frontend clients\n    bind {addr}{proto}\n{frontend}    default_backend service\n\
         backend service\n    server one {}{proto}\n",
        ground.service
    );
    let file = ground.dir.join("haproxy.cfg");
    write(&file, &config)?;
    let out =
        File::create(ground.dir.join("haproxy.json")).map_err(|e| format!("no log for haproxy: {e}"))?;
    let mut command = Command::new(installed("haproxy").ok_or("haproxy is not installed")?);
    command.arg("-db").arg("-f").arg(&file).stdout(out);
    let mut process = Process::start(SUBJECT_CORE, command, &ground.dir.join("haproxy.log"))?;
    process.listening(addr)?;
    Ok(Running::new(addr, Some(process)))
}
