//! A TCP port that stays ours.

use std::net::SocketAddr;

/// A port of 127.0.0.1 chosen by the operating system, held while this lives, for services that
/// must be told their port before they start and get it back after a restart.
///
/// Held by a socket that is bound but never listens: nobody else is given the port, connections to
/// it are refused, and the service, which sets `SO_REUSEADDR` as servers do, can listen on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _socket: tokio::net::TcpSocket,
}

impl Port {
    pub fn reserve() -> Port {
        Port::bind(0).unwrap()
    }

    /// Two neighbours, for a service that takes the next one unasked.
    pub fn reserve_pair() -> (Port, Port) {
        (0..100)
            .find_map(|_| {
                let first = Port::reserve();
                let second = Port::bind(first.number.checked_add(1)?).ok()?;
                Some((first, second))
            })
            .unwrap()
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    fn bind(port: u16) -> std::io::Result<Port> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        Ok(Port { number: socket.local_addr()?.port(), _socket: socket })
    }
}
