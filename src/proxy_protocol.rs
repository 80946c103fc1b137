//! The PROXY protocol, versions 1 and 2: who the client is, told by a load balancer before the first
//! byte of the connection; and the same told to the service.
//!
//! Reading is strict and bounded: a header is exactly what the specification allows, or the connection is
//! refused. Nothing past the header is read. Only a listener that was told from whom to expect headers
//! reads any; there is no guessing whether one is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What starts a header of version 2, and cannot start anything else.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// The longest header of version 2 after its first 16 bytes: addresses and what else is told (TLVs).
const MAX_REST: usize = 2048;

/// Who the client is, by the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Addresses {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// The sender speaks for itself (a health check), or does not know.
    Nothing,
    /// The client came by a Unix socket.
    Unix,
}

/// Why there is no header to go by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the connection ended before its PROXY header")]
    Io(#[from] io::Error),
    #[error("no valid PROXY header")]
    Malformed,
}

/// Reads the header, and not a byte more.
pub async fn read<R: AsyncRead + Unpin>(from: &mut R) -> Result<Told, Error> {
    let mut start = [0; 12];
    from.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_binary(from).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Error::Malformed);
    }
    // Byte by byte: what follows the line is not ours. A line is short, and once per connection.
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE || line.contains(&b'\n') {
            return Err(Error::Malformed);
        }
        line.push(from.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    text(&line).ok_or(Error::Malformed)
}

/// `PROXY TCP4 192.0.2.7 10.0.0.1 56324 443`
fn text(line: &[u8]) -> Option<Told> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Told::Nothing);
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, client, server, client_port, server_port] = words.as_slice() else { return None };
    let address = |text: &str| -> Option<IpAddr> {
        match *family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    Some(Told::Addresses {
        client: SocketAddr::new(address(client)?, port(client_port)?),
        server: SocketAddr::new(address(server)?, port(server_port)?),
    })
}

/// Decimal, without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

async fn read_binary<R: AsyncRead + Unpin>(from: &mut R) -> Result<Told, Error> {
    let mut fixed = [0; 4];
    from.read_exact(&mut fixed).await?;
    let [version_command, family, len @ ..] = fixed;
    let len = usize::from(u16::from_be_bytes(len));
    if version_command >> 4 != 2 || len > MAX_REST {
        return Err(Error::Malformed);
    }
    let mut rest = vec![0; len];
    from.read_exact(&mut rest).await?;
    match version_command & 0x0f {
        // LOCAL: whatever the addresses say.
        0 => Ok(Told::Nothing),
        1 => binary(family, &rest).ok_or(Error::Malformed),
        _ => Err(Error::Malformed),
    }
}

/// Addresses of the families of a stream; what follows them must be well-formed TLVs.
fn binary(family: u8, rest: &[u8]) -> Option<Told> {
    let size = match family {
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        0x00 => return Some(Told::Nothing),
        _ => return None,
    };
    let (addresses, mut tlvs) = rest.split_at_checked(size)?;
    while let [_, high, low, after @ ..] = tlvs {
        tlvs = after.get(usize::from(u16::from_be_bytes([*high, *low]))..)?;
    }
    if !tlvs.is_empty() {
        return None;
    }
    let ports = |at: usize| Some(u16::from_be_bytes(addresses.get(at..at + 2)?.try_into().ok()?));
    let (client, server): (IpAddr, IpAddr) = match family {
        0x11 => (four(addresses, 0)?.into(), four(addresses, 4)?.into()),
        0x21 => (sixteen(addresses, 0)?.into(), sixteen(addresses, 16)?.into()),
        _ => return Some(Told::Unix),
    };
    let at = size - 4;
    Some(Told::Addresses {
        client: SocketAddr::new(client, ports(at)?),
        server: SocketAddr::new(server, ports(at + 2)?),
    })
}

fn four(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

fn sixteen(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(octets.into())
}

/// A header of version 2 for the service. Without both addresses (Unix sockets) it tells nothing, which
/// is still a header: a service that expects one gets one.
pub fn write(client: Option<SocketAddr>, server: Option<SocketAddr>) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let (Some(client), Some(server)) = (client, server) else {
        out.extend_from_slice(&[0x20, 0x00, 0, 0]);
        return out;
    };
    out.push(0x21);
    match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0, 36]);
            out.extend_from_slice(&as_v6(from).octets());
            out.extend_from_slice(&as_v6(to).octets());
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&server.port().to_be_bytes());
    out
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is told, and how many bytes were left alone. None: refused.
    fn told(bytes: &[u8]) -> Option<(Told, usize)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let told = runtime.block_on(read(&mut rest)).ok()?;
        Some((told, rest.len()))
    }

    fn addresses(client: &str, server: &str) -> Told {
        Told::Addresses { client: client.parse().unwrap(), server: server.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    #[test]
    fn lines_of_version_1() {
        let line = |text: &str| told(format!("{text}\r\nGET / HTTP/1.1\r\n").as_bytes());
        assert_eq!(
            line("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443"),
            Some((addresses("192.0.2.7:56324", "10.0.0.1:443"), 16))
        );
        assert_eq!(
            line("PROXY TCP6 2001:db8::1 ::1 1 65535"),
            Some((addresses("[2001:db8::1]:1", "[::1]:65535"), 16))
        );
        assert_eq!(line("PROXY UNKNOWN"), Some((Told::Nothing, 16)));
        assert_eq!(line("PROXY UNKNOWN ff:: ff:: 1 2"), Some((Told::Nothing, 16)));
        for bad in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324",
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 1",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 2",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 65536",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 2",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 2",
            "PROXY TCP4 2001:db8::1 ::1 1 2",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 2",
            "PROXY TCP4 192.0.2.777 10.0.0.1 1 2",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 2",
            "PROXY UNKNOWNX",
            "proxy TCP4 192.0.2.7 10.0.0.1 1 2",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\nX",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(line(bad), None, "{bad}");
        }
        assert_eq!(line(&format!("PROXY UNKNOWN {}", "a".repeat(91))), Some((Told::Nothing, 16)));
        assert_eq!(line(&format!("PROXY UNKNOWN {}", "a".repeat(92))), None);
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        let head = addresses("192.0.2.7:56324", "10.0.0.1:443");
        let after = |mut bytes: Vec<u8>| {
            bytes.extend_from_slice(b"next");
            told(&bytes)
        };
        assert_eq!(after(v2(0x21, 0x11, &four)), Some((head, 4)));
        let with_tlvs = [&four[..], &[4, 0, 2, 1, 2], &[3, 0, 0]].concat();
        assert_eq!(after(v2(0x21, 0x11, &with_tlvs)), Some((head, 4)));
        assert_eq!(after(v2(0x20, 0x00, &[])), Some((Told::Nothing, 4)));
        assert_eq!(after(v2(0x20, 0x11, &four)), Some((Told::Nothing, 4)));
        assert_eq!(after(v2(0x21, 0x00, b"whatever")), Some((Told::Nothing, 4)));
        assert_eq!(after(v2(0x21, 0x31, &[0; 216])), Some((Told::Unix, 4)));
        for (command, family, rest) in [
            (0x11, 0x11, &four[..]),
            (0x22, 0x11, &four),
            (0x21, 0x12, &four),
            (0x21, 0x41, &four),
            (0x21, 0x11, &four[..11]),
            (0x21, 0x21, &four),
            (0x21, 0x11, &[&four[..], &[4, 0]].concat()),
            (0x21, 0x11, &[&four[..], &[4, 0, 9, 1]].concat()),
            (0x21, 0x11, &[0; 3000]),
        ] {
            assert_eq!(after(v2(command, family, rest)), None, "{command:x} {family:x} {}", rest.len());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (client, server) in [
            ("192.0.2.7:56324", "10.0.0.1:443"),
            ("[2001:db8::1]:1", "[::1]:2"),
            ("[2001:db8::1]:1", "[::ffff:10.0.0.1]:2"),
        ] {
            let (client, server) = (client.parse().unwrap(), server.parse().unwrap());
            let header = write(Some(client), Some(server));
            assert_eq!(told(&header), Some((Told::Addresses { client, server }, 0)));
        }
        assert_eq!(told(&write(None, None)), Some((Told::Nothing, 0)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300), signed: bool, line: bool,
        ) {
            let start: &[u8] = if signed { &SIGNATURE } else if line { b"PROXY TCP4 " } else { b"" };
            let _ = told(&[start, &bytes].concat());
        }
    }
}
