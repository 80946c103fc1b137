//! HTTP/1.1: wrk.

use super::{Request, Seen, body};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Sends a request again and again over so many connections for so long.
pub fn run(
    request: Request,
    to: SocketAddr,
    target: &str,
    connections: usize,
    time: Duration,
    dir: &Path,
) -> Result<Seen, String> {
    let file = dir.join(format!("{request:?}.lua"));
    std::fs::write(&file, script(request)).map_err(|e| format!("no script for wrk: {e}"))?;
    let output = Command::new("wrk")
        .arg("-t1")
        .arg(format!("-c{connections}"))
        .arg(format!("-d{}s", time.as_secs().max(1)))
        .arg("-s")
        .arg(file)
        .arg(format!("http://{to}{target}"))
        .output()
        .map_err(|e| format!("wrk does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).ok_or_else(|| format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn script(request: Request) -> String {
    let request = match request {
        Request::Get => "wrk.method = 'GET'\n".to_string(),
        Request::Post => format!(
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

/// The line that the script writes.
fn read(text: &str) -> Option<Seen> {
    let numbers = text.lines().find_map(|l| l.strip_prefix("result "))?;
    let numbers: Vec<f64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[requests, micros, errors, p50, p99] = numbers.as_slice() else { return None };
    (micros > 0.0).then(|| Seen {
        requests,
        per_second: requests / (micros / 1e6),
        errors,
        p50: Some(p50),
        p99: Some(p99),
        mean: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_line_is_read() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads\nresult 5000 2000000 3 410 1900\n";
        let seen = read(text).unwrap();
        assert_eq!((seen.requests, seen.per_second, seen.errors), (5000.0, 2500.0, 3.0));
        assert_eq!((seen.p50, seen.p99), (Some(410.0), Some(1900.0)));
    }

    #[test]
    fn what_is_not_a_result_is_none() {
        for text in ["", "unable to connect\n", "result 1 2 3\n", "result 1 0 0 0 0\n", "result a b c d e\n"]
        {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
