//! Sizes and durations as people write them: `64KiB`, `500ms`. Whole numbers only.

use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    // Kubernetes quantities.
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
];

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 60 * 60 * 1000)];

/// Bytes: `4096`, `64KiB`, `64KB`.
pub(super) fn size(text: &str) -> Result<u64, &'static str> {
    let help = "a whole number of bytes, or one with a unit: `64KiB`, `256MiB`, `64KB`";
    let (number, unit) = split(text).ok_or(help)?;
    if unit.is_empty() {
        return Ok(number);
    }
    let (_, factor) = SIZES.iter().find(|(u, _)| u.eq_ignore_ascii_case(unit)).ok_or(help)?;
    number.checked_mul(*factor).ok_or("that is more than any machine has")
}

/// `500ms`, `30s`, `2m`, `1h`. A unit is needed: a bare number could mean seconds or milliseconds.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let help = "a whole number with a unit: `500ms`, `30s`, `2m`, `1h`";
    let (number, unit) = split(text).ok_or(help)?;
    let (_, factor) = DURATIONS.iter().find(|(u, _)| *u == unit).ok_or(help)?;
    number.checked_mul(*factor).map(Duration::from_millis).ok_or("that is longer than anything runs")
}

/// A size the way it would be written.
pub(super) fn show_size(bytes: u64) -> String {
    let exact = SIZES.iter().filter(|(u, f)| u.ends_with("iB") && bytes >= *f && bytes.is_multiple_of(*f));
    match exact.max_by_key(|(_, f)| *f) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// A duration the way it would be written.
pub(super) fn show_duration(d: Duration) -> String {
    let ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let exact = DURATIONS.iter().filter(|(_, f)| ms >= *f && ms.is_multiple_of(*f));
    match exact.max_by_key(|(_, f)| *f) {
        Some((unit, factor)) => format!("{}{unit}", ms / factor),
        None => format!("{ms}ms"),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("64kib", 65536),
            ("64KB", 64000),
            ("256MiB", 256 << 20),
            ("256Mi", 256 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "-1", "1.5MiB", "64 K", "64KiBs", "99999999999999999999", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "30", "s", "30 seconds", "-1s", "1.5s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_as_written() {
        assert_eq!(show_size(65536), "64KiB");
        assert_eq!(show_size(65537), "65537");
        assert_eq!(show_size(1 << 30), "1GiB");
        assert_eq!(show_size(0), "0");
        assert_eq!(show_duration(Duration::from_secs(60)), "1m");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show_duration(Duration::ZERO), "0ms");
    }
}
