//! gRPC over HTTP/2, as far as an audit needs it: which method, how it ended, how many messages.
//!
//! Messages are Protocol Buffers, which nobody can mask without their schema: of bodies only length
//! and digest are kept. Pure; a few bytes of state per direction.

use sidelog_event::Outcome;

/// Whether a content type is gRPC's own: `application/grpc`, with or without a codec. gRPC-Web is
/// not: its trailers and messages are in the body in another way.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

/// `pkg.Service/Method`.
pub fn method(path: &[u8]) -> String {
    String::from_utf8_lossy(path.strip_prefix(b"/").unwrap_or(path)).into_owned()
}

/// The code in `grpc-status`.
pub fn status(value: &[u8]) -> Option<u16> {
    let digits = !value.is_empty() && value.len() <= 3 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0')))
}

/// What a status code means: the server's fault only where no other caller would have fared better.
pub fn outcome(status: u16) -> Outcome {
    match status {
        0 => Outcome::Success,
        1 => Outcome::Aborted,
        // PERMISSION_DENIED, UNAUTHENTICATED
        7 | 16 => Outcome::Denied,
        // INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE,
        // UNIMPLEMENTED
        3 | 5 | 6 | 9..=12 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

/// Counts the messages of one direction: a flag, four bytes of length, the message.
#[derive(Debug, Default)]
pub struct Messages {
    prefix: [u8; 5],
    /// Bytes of the prefix that are there.
    have: usize,
    left: usize,
    count: u64,
}

impl Messages {
    pub fn push(&mut self, mut bytes: &[u8]) {
        loop {
            let (skipped, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= skipped.len();
            bytes = rest;
            if bytes.is_empty() {
                return;
            }
            let missing = self.prefix.len() - self.have;
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            for (place, byte) in self.prefix.iter_mut().skip(self.have).zip(more) {
                *place = *byte;
            }
            self.have += more.len();
            bytes = rest;
            if self.have < self.prefix.len() {
                return;
            }
            let [_, length @ ..] = self.prefix;
            (self.left, self.have) = (u32::from_be_bytes(length) as usize, 0);
            self.count += 1;
        }
    }

    /// Messages begun.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut stream = Vec::new();
        for size in [0usize, 1, 5, 300] {
            stream.push(0);
            stream.extend_from_slice(&(size as u32).to_be_bytes());
            stream.resize(stream.len() + size, 9);
        }
        for step in 1..stream.len() {
            let mut messages = Messages::default();
            stream.chunks(step).for_each(|chunk| messages.push(chunk));
            assert_eq!(messages.count(), 4, "{step}");
        }
        let mut messages = Messages::default();
        messages.push(&stream[..5]);
        messages.push(&stream[5..9]);
        assert_eq!(messages.count(), 1, "a prefix that is cut is no message");
    }

    #[test]
    fn content_types() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/GRPC;x=y"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["", "application/json", "application/grpc-web", "application/grpcx", "application/grp"] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn codes() {
        for (text, code) in
            [("0", Some(0)), ("16", Some(16)), ("", None), ("-1", None), ("1000", None), ("7 ", None)]
        {
            assert_eq!(status(text.as_bytes()), code, "{text}");
        }
        use Outcome::*;
        let outcomes: Vec<Outcome> = (0..=17).map(outcome).collect();
        let expected = [
            Success,
            Aborted,
            ServerError,
            ClientError,
            ServerError,
            ClientError,
            ClientError,
            Denied,
            ServerError,
            ClientError,
            ClientError,
            ClientError,
            ClientError,
            ServerError,
            ServerError,
            ServerError,
            Denied,
            ServerError,
        ];
        assert_eq!(outcomes, expected);
    }
}
