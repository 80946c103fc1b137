//! pingora-proxy with default filters, doing nothing: `src/bin/bare_pingora.rs`.

use super::{Ground, Running};
use crate::process::{Process, SUBJECT_CORE, free_address, sibling};
use std::process::{Command, Stdio};

pub fn start(ground: &Ground<'_>) -> Result<Running, String> {
    let addr = free_address();
    let mut command = Command::new(sibling("bare_pingora")?);
    command.args([addr.to_string(), ground.service.to_string()]).stdout(Stdio::null());
    let mut process = Process::start(SUBJECT_CORE, command, &ground.dir.join("pingora.log"))?;
    process.listening(addr)?;
    Ok(Running::new(addr, Some(process)))
}
