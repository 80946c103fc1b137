//! The load: wrk, and what it reports.

use crate::process::LOAD_CORE;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What is sent, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A POST of 1 KiB of JSON: audited at level `request`.
    Post,
    /// A GET: relayed, not audited.
    Get,
}

pub const LOADS: [Load; 2] = [Load::Post, Load::Get];

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Load::Post => "POST of 1 KiB JSON",
            Load::Get => "GET",
        }
    }

    /// Path of an operation in the generated OpenAPI document.
    const TARGET: &str = "/v1/tenants/t-17/resource150/items";

    fn script(self) -> String {
        let request = match self {
            Load::Get => "wrk.method = 'GET'\n".to_string(),
            Load::Post => format!(
                "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [[{}]]\n",
                body()
            ),
        };
        // wrk's own text rounds to three digits; the numbers themselves are in its summary.
        request
            + "function done(s, latency, _)\n\
               \x20 local e = s.errors\n\
               \x20 io.write(string.format('result %d %d %d %d %d\\n', s.requests, s.duration,\n\
               \x20   e.connect + e.read + e.write + e.status + e.timeout,\n\
               \x20   latency:percentile(50), latency:percentile(99)))\n\
               end\n"
    }

    /// Send it over so many connections for so long.
    pub fn run(self, to: SocketAddr, connections: usize, time: Duration, dir: &Path) -> Figures {
        let script = dir.join(format!("{self:?}.lua"));
        std::fs::write(&script, self.script()).unwrap();
        let output = Command::new("taskset")
            .args(["-c", LOAD_CORE, "wrk", "-t1"])
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", time.as_secs().max(1)))
            .arg("-s")
            .arg(script)
            .arg(format!("http://{to}{}", Load::TARGET))
            .output()
            .expect("wrk starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let result = text.lines().find_map(|l| l.strip_prefix("result "));
        let numbers: Vec<f64> = result
            .unwrap_or_else(|| panic!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect();
        let &[requests, micros, errors, p50, p99] = numbers.as_slice() else { panic!("wrk said: {text}") };
        Figures { requests, per_second: requests / (micros / 1e6), errors, p50, p99 }
    }
}

/// What wrk saw.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub requests: f64,
    pub per_second: f64,
    pub errors: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

/// An order as JSON, of exactly 1 KiB.
pub fn body() -> String {
    let mut body = String::from(
        "{\"customer\":\"c-10482\",\"currency\":\"EUR\",\"reason\":\"reorder\",\"contact\":{\"name\":\"Ada Example\",\
         \"street\":\"1 Sample Street\",\"city\":\"Sampleton\"},\"lines\":[",
    );
    let mut line = 0;
    while body.len() < 960 {
        body +=
            &format!("{{\"sku\":\"A-{line:04}\",\"quantity\":{},\"price\":{}.95}},", line % 7 + 1, line * 13);
        line += 1;
    }
    body.pop();
    body += "],\"note\":\"";
    body += &"x".repeat(1024 - 2 - body.len());
    body + "\"}"
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_body_is_a_kibibyte() {
        assert_eq!(super::body().len(), 1024);
    }
}
