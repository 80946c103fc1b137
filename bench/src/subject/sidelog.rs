//! Sidelog as a user would run it: an OpenAPI document, redaction, a journal, and Kafka where there is one.

use super::{Ground, Running, write};
use crate::process::{Process, SUBJECT_CORE, sibling};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

pub const TOPIC: &str = "audit.events";

/// Room for all that a measurement makes: a full journal would make the work lighter.
const JOURNAL: &str = "16GiB";

/// With more lines of configuration.
pub fn start(ground: &Ground<'_>, more: &str) -> Result<Running, String> {
    let journal = ground.dir.join("journal");
    let kafka = ground.brokers.map(|b| format!("kafka: {{brokers: ['{b}'], topic: {TOPIC}}}\n"));
    let document = ground.document.map(|d| format!("openapi: ['{}']\n", d.file.display()));
    let config = format!(
        "version: 1\nservice: bench\nlisten: 127.0.0.1:0\nupstream: http://{}\n{}\
         journal: {{dir: '{}', max_bytes: {JOURNAL}}}\nadmin: {{listen: 127.0.0.1:0, local: 127.0.0.1:0}}\n{}{more}",
        ground.service,
        document.unwrap_or_default(),
        journal.display(),
        kafka.unwrap_or_default()
    );
    let file = ground.dir.join("sidelog.yaml");
    write(&file, &config)?;
    let mut command = Command::new(sibling("sidelog")?);
    command.arg("proxy").arg("--config").arg(&file).stdout(Stdio::piped());
    let began = Instant::now();
    let mut process = Process::start(SUBJECT_CORE, command, &ground.dir.join("sidelog.log"))?;
    let mut lines = BufReader::new(process.stdout().ok_or("no standard output")?).lines();
    let ready = lines.by_ref().map_while(Result::ok).find(|l| l.starts_with("sidelog ready "));
    let ready_after = began.elapsed();
    let ready = ready.ok_or_else(|| process.complaint("ended before it was ready"))?;
    std::thread::spawn(move || lines.for_each(drop));
    let address = |key: &str| -> Result<SocketAddr, String> {
        let mut words = ready.split_whitespace();
        let found = words.find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        found.ok_or_else(|| format!("no {key} address in {ready:?}"))
    };
    let (traffic, admin) = (address("traffic")?, address("admin")?);
    let mut running = Running::new(traffic, Some(process));
    running.admin = Some(admin);
    running.journal = Some(journal);
    running.ready_after = ready_after;
    running.ships = ground.brokers.is_some();
    Ok(running)
}
