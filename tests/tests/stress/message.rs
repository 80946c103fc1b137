//! Messages of HTTP/1.1, as both ends of these tests write and read them: plain, and only those.

/// A head that is whole.
#[derive(Debug)]
pub struct Head {
    /// The first line.
    pub line: String,
    fields: Vec<(String, String)>,
    /// Bytes of it.
    pub len: usize,
}

impl Head {
    /// The head at the front, once it is whole.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let len = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8(bytes[..len].to_vec()).unwrap();
        let mut lines = text.lines();
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Some(Head { line, fields, len })
    }

    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The second word of the first line: a target, or a status.
    pub fn word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn status(&self) -> u16 {
        self.word().parse().unwrap()
    }

    /// The body, and the bytes it takes, once it is whole; of what follows the head.
    pub fn body(&self, mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
        if self.field("transfer-encoding") != "chunked" {
            let length = self.field("content-length").parse().unwrap_or(0);
            return rest.get(..length).map(|body| (body.to_vec(), length));
        }
        let (mut body, all) = (Vec::new(), rest.len());
        loop {
            let line = memchr::memmem::find(rest, b"\r\n")?;
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            let chunk = rest.get(line + 2..line + 2 + length + 2)?;
            body.extend_from_slice(&chunk[..length]);
            rest = &rest[line + 2 + length + 2..];
            if length == 0 {
                return Some((body, all - rest.len()));
            }
        }
    }
}

/// A message: the first lines without those that frame it, and the body framed so.
pub fn write(lines: &str, body: &[u8], chunked: bool) -> Vec<u8> {
    if !chunked {
        let head = format!("{lines}Content-Length: {}\r\n\r\n", body.len());
        return [head.as_bytes(), body].concat();
    }
    let mut all = format!("{lines}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(3000) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}

#[test]
fn what_is_written_is_read() {
    for (body, chunked) in [(&b""[..], false), (b"", true), (&[b'x'; 7000], false), (&[b'y'; 7000], true)] {
        let all = write("HTTP/1.1 204 None\r\nA: b\r\n", body, chunked);
        for n in 0..all.len() {
            let head = Head::read(&all[..n]);
            assert!(head.is_none_or(|head| head.body(&all[head.len..n]).is_none()), "{n}");
        }
        let head = Head::read(&all).unwrap();
        assert_eq!((head.status(), head.field("a")), (204, "b"));
        assert_eq!(head.body(&all[head.len..]).unwrap(), (body.to_vec(), all.len() - head.len));
    }
}
