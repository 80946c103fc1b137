//! Parts of `multipart/*` bodies, for what they ask for; nothing here is stored.
//!
//! Lenient where services are: a part counts although the body broke off after its head, lines may
//! end in LF alone. Linear, no recursion.

use super::text::trim;
use memchr::memmem;

/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;
/// Bytes of a part's head that are looked at.
const MAX_HEAD: usize = 4096;

/// A part: the fields before the empty line, and what comes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'b> {
    head: &'b [u8],
    pub content: &'b [u8],
}

impl<'b> Part<'b> {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.head.split(|b| *b == b'\n').find_map(|line| {
            let at = memchr::memchr(b':', line)?;
            let (found, value) = (line.get(..at)?, line.get(at + 1..)?);
            trim(found).eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// The form field it holds.
    pub fn name(&self) -> Option<&'b [u8]> {
        parameter(self.field("content-disposition")?, "name")
    }
}

/// The parts of a body of this `Content-Type`.
pub(super) fn parts<'b>(media: &[u8], body: &'b [u8]) -> impl Iterator<Item = Part<'b>> + use<'b> {
    let boundary = parameter(media, "boundary").filter(|b| (1..=MAX_BOUNDARY).contains(&b.len()));
    let mut delimiter = b"--".to_vec();
    delimiter.extend_from_slice(boundary.unwrap_or_default());
    let mut rest = boundary.and_then(|_| body.get(find(body, &delimiter)? + delimiter.len()..));
    std::iter::from_fn(move || {
        let after = rest.take()?;
        // `--boundary--` ends the body.
        if after.starts_with(b"--") {
            return None;
        }
        let end = find(after, &delimiter);
        rest = end.and_then(|end| after.get(end + delimiter.len()..));
        let part = after.get(..end.unwrap_or(after.len()))?;
        // What follows the boundary on its line is padding.
        let line = memchr::memchr(b'\n', part)?;
        Some(split(part.get(line + 1..)?))
    })
}

/// Where the delimiter begins a line.
fn find(body: &[u8], delimiter: &[u8]) -> Option<usize> {
    memmem::find_iter(body, delimiter)
        .find(|at| at.checked_sub(1).is_none_or(|before| body.get(before) == Some(&b'\n')))
}

fn split(part: &[u8]) -> Part<'_> {
    let crlf = memmem::find(part, b"\r\n\r\n").map(|at| (at, at + 4));
    let lf = memmem::find(part, b"\n\n").map(|at| (at, at + 2));
    let (end, start) = match (crlf, lf) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b).unwrap_or((part.len(), part.len())),
    };
    let head = part.get(..end.min(MAX_HEAD)).unwrap_or_default();
    Part { head, content: part.get(start..).unwrap_or_default() }
}

/// The value of `; name=value` or `; name="value"`.
fn parameter<'v>(value: &'v [u8], name: &str) -> Option<&'v [u8]> {
    value.split(|b| *b == b';').skip(1).find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        let (found, value) = (trim(pair.get(..at)?), pair.get(at + 1..)?.trim_ascii());
        let plain = value.strip_prefix(b"\"").map(|v| v.strip_suffix(b"\"").unwrap_or(v));
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| plain.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'b>(media: &str, body: &'b str) -> Vec<(Option<&'b [u8]>, &'b [u8])> {
        parts(media.as_bytes(), body.as_bytes()).map(|p| (p.name(), p.content)).collect()
    }

    #[test]
    fn parts_and_their_names() {
        let body = "preamble --b\r\n--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nPUT\r\n\
                    --b \r\ncontent-disposition: form-data; filename=x; name=f\r\nX: 1\r\n\r\ncontent\r\n--b--\r\nepilogue\r\n--b\r\n\r\nz";
        let found = read("multipart/form-data; boundary=\"b\"", body);
        let expected: [(_, &[u8]); 2] =
            [(Some(&b"_method"[..]), b"PUT\r\n"), (Some(&b"f"[..]), b"content\r\n")];
        assert_eq!(found, expected);
        assert_eq!(
            read("multipart/mixed; boundary=b", "--b\n\nx\n--b\nA: 1\n\ny").len(),
            2,
            "no end, LF only"
        );
        assert!(read("multipart/mixed", "--b\r\n\r\nx").is_empty());
        assert!(read("multipart/mixed; boundary=", "--\r\n\r\nx").is_empty());
        assert!(read("multipart/mixed; boundary=b", "").is_empty());
    }

    #[test]
    fn many_boundaries_cost_their_length() {
        let body = "--b\r\n".repeat(100_000);
        assert_eq!(read("multipart/mixed; boundary=b", &body).len(), 100_000);
        let body = "x--b".repeat(100_000);
        assert!(read("multipart/mixed; boundary=b", &body).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(media in ".{0,20}(; ?boundary=\"?b?\"?)?", body in "(--b|--|\\r\\n|\\n|:|name=|;|x){0,40}") {
            for part in parts(media.as_bytes(), body.as_bytes()) {
                part.name();
            }
        }
    }
}
