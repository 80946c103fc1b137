//! A wire between two programs that can be cut, and that can go deaf.

use harness::Port;
use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens.
    Refuse,
    /// Accepted, and what is sent arrives and takes effect; no answer ever comes back. Worse than an
    /// end that does nothing: the sender cannot know.
    Hang,
}

/// Leads from a port of its own to another address.
pub struct Wire {
    port: Port,
    to: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Wire {
    pub async fn to(to: SocketAddr) -> Wire {
        let mut wire = Wire { port: Port::reserve(), to, task: None };
        wire.turn(Mode::Pass).await;
        wire
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.number()))
    }

    /// Cuts all connections there are; new ones meet `mode`.
    pub async fn turn(&mut self, mode: Mode) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        if mode == Mode::Refuse {
            return;
        }
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address()).unwrap();
        let (listener, to) = (socket.listen(128).unwrap(), self.to);
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task, and its connections with it.
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(carry(near, to, mode));
            }
        }));
    }
}

/// One connection, until either end is gone.
async fn carry(mut near: TcpStream, to: SocketAddr, mode: Mode) {
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    if mode == Mode::Pass {
        let _ = copy_bidirectional(&mut near, &mut far).await;
        return;
    }
    let ((mut requests, _kept), (mut answers, mut onward)) = (near.split(), far.split());
    let mut nowhere = tokio::io::sink();
    let there = tokio::io::copy(&mut requests, &mut onward);
    let back = tokio::io::copy(&mut answers, &mut nowhere);
    let _ = tokio::join!(there, back);
}
