//! The alphabet of HTTP/1.1 (RFC 9110 §5, RFC 9112): which bytes may stand where.

/// `tchar`, RFC 9110 §5.6.2, by byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        table[b] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        b += 1;
    }
    table
};

pub fn is_token_byte(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| is_token_byte(*b))
}

/// `field-content` and the white space around it: no CR, LF, NUL or other control byte.
pub fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..))
}

/// Cuts optional white space (space and tab only) from both ends.
pub fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `uri-host [ ":" port ]`, RFC 9110 §7.2, not empty, no userinfo.
pub fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let (address, after) = rest.split_at(end);
            let address = std::str::from_utf8(address).unwrap_or_default();
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match after {
                b"]" => return true,
                [b']', b':', port @ ..] => (&b"v6"[..], port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', value) {
            Some(colon) => {
                let (name, port) = value.split_at(colon);
                (name, port.get(1..).unwrap_or_default())
            }
            None => (value, &b""[..]),
        },
    };
    let name_ok = !name.is_empty()
        && name.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(
                    b,
                    b'-' | b'.'
                        | b'_'
                        | b'~'
                        | b'%'
                        | b'!'
                        | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b','
                        | b';'
                        | b'='
                )
        });
    name_ok && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in
            ["a", "a:80", "example.com", "10.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "my_svc", "a:"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", "a/health", "a b", "u@a", "a:8080x", "a:123456", "[::1", "[zz]", "[::1]x", ":80", "a#b",
            "a?b", "a\\b", "a:80:81",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn only_spaces_and_tabs_are_trimmed() {
        assert_eq!(trim_ows(b" \t a b\t"), b"a b");
        assert_eq!(trim_ows(b"\x0ba"), b"\x0ba");
        assert_eq!(trim_ows(b"  "), b"");
    }
}
