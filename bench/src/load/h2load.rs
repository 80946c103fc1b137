//! HTTP/2 without TLS: h2load.

use super::{Seen, body};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONNECTIONS: usize = 8;
/// Of each connection.
const STREAMS: usize = 8;

/// POSTs again and again for so long.
pub fn run(to: SocketAddr, target: &str, time: Duration, dir: &Path) -> Result<Seen, String> {
    let file = dir.join("h2load.body");
    std::fs::write(&file, body()).map_err(|e| format!("no body for h2load: {e}"))?;
    let output = Command::new("h2load")
        .args(["-t1", "-H", "content-type: application/json"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-m{STREAMS}"))
        .arg(format!("-D{}", time.as_secs().max(1)))
        .arg("-d")
        .arg(file)
        .arg(format!("http://{to}{target}"))
        .output()
        .map_err(|e| format!("h2load does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).ok_or_else(|| format!("h2load said: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Its summary. The last requests are cut off by the end of the time, and are no errors; it tells of the
/// time of requests the mean, and no percentiles.
fn read(text: &str) -> Option<Seen> {
    let line = |key: &str| text.lines().find_map(|l| l.trim_start().strip_prefix(key));
    let per_second = line("finished in ")?.split(", ").find_map(|part| part.strip_suffix(" req/s"))?;
    let count = |of: &str| -> Option<f64> {
        let counts = line("requests: ")?.split(", ");
        counts.into_iter().find_map(|part| part.strip_suffix(of)?.trim().parse().ok())
    };
    let good: f64 = line("status codes: ")?.split(", ").next()?.strip_suffix(" 2xx")?.parse().ok()?;
    let requests = count("done")?;
    let failed = count("errored")? + count("timeout")? + (requests - good).max(0.0);
    let mean = line("time for request:").and_then(|l| micros(l.split_whitespace().nth(2)?));
    (requests > 0.0).then_some(())?;
    Some(Seen { requests, per_second: per_second.parse().ok()?, errors: failed, p50: None, p99: None, mean })
}

/// `382us`, `1.24ms`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\
finished in 5.01s, 152340.20 req/s, 5.20MB/s
requests: 761701 total, 761765 started, 761701 done, 761701 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 761701 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 26.15MB (27421260) total, 7.26MB (7617010) headers (space savings 90.00%), 10.90MB (11425515) data
                     min         max         mean         sd        +/- sd
time for request:      102us      9.12ms       382us       210us    88.11%
time for connect:       90us       200us       150us        30us    62.50%
";

    #[test]
    fn the_summary_is_read() {
        let seen = read(SUMMARY).unwrap();
        assert_eq!((seen.requests, seen.per_second, seen.errors), (761_701.0, 152_340.2, 0.0));
        assert_eq!(seen.mean, Some(382.0));
    }

    #[test]
    fn statuses_but_2xx_are_errors() {
        let bad = SUMMARY.replace("761701 2xx, 0 3xx, 0 4xx", "761700 2xx, 0 3xx, 1 4xx");
        assert_eq!(read(&bad).unwrap().errors, 1.0);
    }

    #[test]
    fn nothing_done_is_no_result() {
        assert!(read("").is_none());
        assert!(read(&SUMMARY.replace("761701 done", "0 done")).is_none());
    }

    #[test]
    fn times_have_units() {
        assert_eq!(micros("382us"), Some(382.0));
        assert_eq!(micros("1.5ms"), Some(1500.0));
        assert_eq!(micros("2.00s"), Some(2e6));
        assert_eq!(micros("soon"), None);
    }
}
