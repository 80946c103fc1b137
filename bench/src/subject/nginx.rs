//! nginx with one worker: the service behind all of HTTP/1.1, and four ways to stand before one.

use super::{Ground, Running, write};
use crate::process::{LOAD_CORE, Process, SUBJECT_CORE, free_address, installed};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What is kept of requests.
#[derive(Debug)]
pub enum Log<'a> {
    Off,
    Json,
    /// To these brokers, by the lua module.
    Kafka(&'a str),
}

/// Of [`Log::Kafka`].
pub const TOPIC: &str = "audit.nginx";

const MODULES: [&str; 2] =
    ["/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"];
const KAFKA_CLIENT: &str = "/usr/share/lua/5.1/nginx/kafka/producer.lua";

/// What a user would configure to keep bodies: escaped, and written in blocks.
const JSON_LOG: &str = "log_format audit escape=json '{\"time\":\"$time_iso8601\",\"peer\":\"$remote_addr\",\
    \"method\":\"$request_method\",\"path\":\"$request_uri\",\"host\":\"$host\",\"status\":$status,\
    \"duration\":$request_time,\"agent\":\"$http_user_agent\",\"body\":\"$request_body\"}';\n\
    access_log DIR/access.log audit buffer=64k flush=1s;";

/// The same by lua: the client queues messages and sends them from a timer. The queue is longer than by
/// default (50,000), so that less is thrown away.
const AUDIT_LUA: &str = "local json = require 'cjson.safe'
local producer = require 'nginx.kafka.producer'
local brokers = { { host = 'HOST', port = PORT } }
local M = {}
function M.log()
  local sender = producer:new(brokers, { producer_type = 'async', max_buffering = 200000 })
  local var = ngx.var
  local line = json.encode({
    time = ngx.now(), peer = var.remote_addr, method = var.request_method, path = var.request_uri,
    host = var.host, status = ngx.status, duration = tonumber(var.request_time),
    agent = var.http_user_agent, body = ngx.req.get_body_data(),
  })
  sender:send('TOPIC', nil, line)
end
return M
";

/// Whether nginx can have lua, and lua a Kafka client.
pub fn has_lua() -> bool {
    installed("nginx").is_some() && MODULES.iter().chain([&KAFKA_CLIENT]).all(|f| Path::new(f).exists())
}

/// A small fixed answer, on the load's core.
pub fn service(dir: &Path) -> Result<(SocketAddr, Process), String> {
    let addr = free_address();
    let server = format!(
        "access_log off;\nserver {{ listen {addr}; default_type application/json;\n\
         location / {{ return 200 '{{\"id\":\"o-1\",\"ok\":true}}'; }} }}"
    );
    let home = dir.join("service");
    std::fs::create_dir_all(&home).map_err(|e| format!("no directory for nginx: {e}"))?;
    let process = start(LOAD_CORE, addr, &home, "", &server)?;
    Ok((addr, process))
}

pub fn proxy(ground: &Ground<'_>, log: &Log<'_>) -> Result<Running, String> {
    let (mut modules, mut log_phase) = (String::new(), "");
    let access_log = match log {
        Log::Off => "access_log off;".to_owned(),
        Log::Json => JSON_LOG.replace("DIR", &ground.dir.display().to_string()),
        Log::Kafka(brokers) => {
            let (host, port) = brokers.split_once(':').ok_or("a broker without a port")?;
            let script = AUDIT_LUA.replace("HOST", host).replace("PORT", port).replace("TOPIC", TOPIC);
            write(&ground.dir.join("audit.lua"), &script)?;
            modules = MODULES.map(|m| format!("load_module {m};\n")).concat();
            log_phase = "lua_need_request_body on; log_by_lua_block { require('audit').log() }";
            format!("access_log off;\nlua_package_path '{}/?.lua;;';", ground.dir.display())
        }
    };
    let addr = free_address();
    let http = format!(
        "{access_log}\nupstream service {{ server {}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {addr}; client_body_buffer_size 64k;\n\
         location / {{ {log_phase} proxy_pass http://service; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_set_header Host $host; }} }}",
        ground.service
    );
    let process = start(SUBJECT_CORE, addr, ground.dir, &modules, &http)?;
    let mut running = Running::new(addr, Some(process));
    if matches!(log, Log::Kafka(_)) {
        // The client sends at least every second.
        running.flush = Duration::from_millis(2500);
    }
    Ok(running)
}

/// HTTP/2 without TLS on both sides.
pub fn grpc(ground: &Ground<'_>) -> Result<Running, String> {
    let addr = free_address();
    let http = format!(
        "access_log off;\nupstream service {{ server {}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {addr} http2; location / {{ grpc_pass grpc://service; }} }}",
        ground.service
    );
    let process = start(SUBJECT_CORE, addr, ground.dir, "", &http)?;
    Ok(Running::new(addr, Some(process)))
}

/// nginx with one worker and all its files in `home`.
fn start(core: usize, addr: SocketAddr, home: &Path, modules: &str, http: &str) -> Result<Process, String> {
    let dir = home.display();
    let temp: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().fold(String::new(), |mut t, k| {
            let _ = writeln!(t, "{k}_temp_path {dir}/{k};");
            t
        });
    // SAFETY: a plain system call.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let config = format!(
        "{modules}{user}\ndaemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n{temp}{http}\n}}\n"
    );
    let file = home.join("nginx.conf");
    write(&file, &config)?;
    let mut command = Command::new(installed("nginx").ok_or("nginx is not installed")?);
    command.arg("-c").arg(&file).arg("-e").arg(home.join("error.log")).stdout(Stdio::null());
    let mut process = Process::start(core, command, &home.join("nginx.log"))?;
    process.listening(addr)?;
    Ok(process)
}
