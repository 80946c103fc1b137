//! The load: what is sent again and again, by whom, and what they saw.

pub mod h2load;
pub mod wrk;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A POST of 1 KiB of JSON: audited at level `request`.
    Post,
    /// A GET: relayed, not audited.
    Get,
}

/// What the load saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub requests: f64,
    pub per_second: f64,
    pub errors: f64,
    /// Microseconds, as far as the program tells them.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub mean: Option<f64>,
}

/// An order as JSON, of exactly 1 KiB.
pub fn body() -> String {
    body_of(1024)
}

/// An order as JSON, of exactly so many bytes, at least 400.
pub fn body_of(bytes: usize) -> String {
    let mut body = String::from(
        "{\"customer\":\"c-10482\",\"currency\":\"EUR\",\"reason\":\"reorder\",\"contact\":{\"name\":\"Ada Example\",\
         \"street\":\"1 Sample Street\",\"city\":\"Sampleton\"},\"lines\":[",
    );
    let mut line = 0;
    while body.len() < bytes - 64 {
        body +=
            &format!("{{\"sku\":\"A-{line:04}\",\"quantity\":{},\"price\":{}.95}},", line % 7 + 1, line * 13);
        line += 1;
    }
    body.pop();
    body += "],\"note\":\"";
    body += &"x".repeat(bytes - 2 - body.len());
    body + "\"}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_its_length() {
        for bytes in [1024, 65536] {
            let body = body_of(bytes);
            assert_eq!(body.len(), bytes);
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        }
    }
}
