//! The messages of a gRPC call, counted as they go by. (Which method, and how it ended:
//! `extract::calls`.)
//!
//! Messages are Protocol Buffers, which nobody can mask without their schema: of bodies only length
//! and digest are kept. Pure; a few bytes of state per direction.

/// Whether a content type is gRPC's own: `application/grpc`, with or without a codec. gRPC-Web is
/// not: its trailers and messages are in the body in another way.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    content_type.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
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
}
