//! Real, lenient HTTP servers behind the sidecar: what they execute of the payloads is recorded.
//!
//! Each writes down what it executes, a line a call. Both come with what `make test` needs anyway.

use crate::cases::From;
use crate::fixture::{Fixture, of_peer, peer};
use crate::framing::{offer, raw_payloads};
use crate::group::Outcome;
use harness::Process;
use serde_json::Value;
use std::process::Command;
use std::time::Duration;

const PYTHON: &str = "
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def handle_any(self):
        try: length = int(self.headers.get('Content-Length') or 0)
        except ValueError: length = 0
        self.rfile.read(length)
        # self.path would have leading slashes collapsed.
        print(json.dumps({'method': self.command, 'target': self.requestline.split(' ')[1]}), flush=True)
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers()
        if self.command != 'HEAD': self.wfile.write(b'ok')
    def __getattr__(self, name):
        if name.startswith('do_'): return self.handle_any
        raise AttributeError(name)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print('ready port=%d' % server.server_port, flush=True)
server.serve_forever()
";

const NODE: &str = "
const server = require('http').createServer({insecureHTTPParser: true}, (request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    console.log(JSON.stringify({method: request.method, target: request.url}));
    response.end('ok');
  });
});
server.listen(0, '127.0.0.1', () => console.log('ready port=' + server.address().port));
";

pub fn others() -> Outcome {
    let mut faults = Vec::new();
    let mut told = Vec::new();
    for (name, program, script) in [("Python", "python3", PYTHON), ("Node.js", "node", NODE)] {
        let (executed, found) = behind(program, script);
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
        told.push(name);
        assert!(executed > 20, "{name} executed {executed} calls: nothing is compared");
    }
    let sent = raw_payloads().len();
    if faults.is_empty() {
        Ok(format!("{}: {sent} payloads each, 0 executed without an event", told.join(", ")))
    } else {
        Err(faults)
    }
}

/// How many calls one server executed of all payloads, and what is not recorded of them.
fn behind(program: &str, script: &str) -> (usize, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let flag = if program == "node" { "-e" } else { "-c" };
    let mut command = Command::new(program);
    command.arg(flag).arg(script);
    let server = Process::start("server", command, dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ready = runtime.block_on(server.ready("ready ", Duration::from_secs(60)));
    let port: u16 = ready["port"].parse().unwrap();
    let fixture = Fixture::before(([127, 0, 0, 1], port).into(), "");
    let payloads = raw_payloads();
    let (to, from) = (fixture.traffic(), peer(From::Stranger, 43, 0));
    payloads.iter().for_each(|raw| offer(to, from, raw));
    let events = fixture.stop();
    let line = |value: &Value, method: &str, target: &str| {
        format!("{} {}", word(value, method), word(value, target))
    };
    let executed: Vec<String> = server
        .said()
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .map(|call| line(&call, "method", "target"))
        .collect();
    let mut recorded: Vec<String> = of_peer(&events, from)
        .iter()
        .map(|event| {
            let query = event["http"]["query"].as_str().map(|q| format!("?{q}")).unwrap_or_default();
            format!("{}{query}", line(&event["http"], "method", "path"))
        })
        .collect();
    let mut faults = Vec::new();
    for call in &executed {
        match recorded.iter().position(|r| r == call) {
            Some(at) => drop(recorded.swap_remove(at)),
            None if ["GET ", "HEAD ", "OPTIONS "].iter().any(|safe| call.starts_with(safe)) => {}
            None => faults.push(format!("executed without an event: {call}")),
        }
    }
    (executed.len(), faults)
}

fn word<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}
