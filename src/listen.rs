//! Where connections come in: sockets, bound by ourselves so that port 0 works and the address is known,
//! and handed to pingora.

use crate::auditor::StartError;
use crate::config::Listen;
use crate::unsent;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::TcpKeepalive;
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// An address that is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Tcp(address) => address.fmt(f),
            Bound::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Listeners while they are being brought up.
pub struct Listeners {
    pub services: Vec<JoinHandle<()>>,
    pub stopping: ShutdownWatch,
    /// `relay.max_unsent`.
    pub max_unsent: u32,
}

impl Listeners {
    /// For clients of the service: every byte as it comes.
    pub fn traffic<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        listen: &Listen,
        app: A,
    ) -> Result<Bound, StartError> {
        const WHAT: &str = "traffic";
        match listen {
            Listen::Tcp(address) => {
                let bound = self.tcp(*address, app, WHAT, L4BufferSettings::unbuffered())?;
                Ok(Bound::Tcp(bound))
            }
            Listen::Unix { path, mode } => {
                let failed = |source| StartError::Listen {
                    what: WHAT,
                    address: format!("unix:{}", path.display()),
                    source,
                };
                let listener = bind_unix(path, *mode).map_err(failed)?;
                let name = path.to_string_lossy().into_owned();
                let endpoint = ListenerConfig::uds(name.as_str())
                    .permissions(Permissions::from_mode(*mode))
                    .l4_buffer(L4BufferSettings::unbuffered());
                self.start(WHAT, app, &name, listener.into(), endpoint);
                Ok(Bound::Unix(path.clone()))
            }
        }
    }

    /// For operators.
    pub fn admin<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        address: SocketAddr,
        app: A,
    ) -> Result<SocketAddr, StartError> {
        self.tcp(address, app, "admin", L4BufferSettings::default())
    }

    fn tcp<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        address: SocketAddr,
        app: A,
        what: &'static str,
        buffers: L4BufferSettings,
    ) -> Result<SocketAddr, StartError> {
        let failed = |source| StartError::Listen { what, address: address.to_string(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        unsent::bound(&listener, self.max_unsent);
        let bound = listener.local_addr().map_err(failed)?;
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(120),
            interval: Duration::from_secs(30),
            count: 4,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        let name = bound.to_string();
        let endpoint = ListenerConfig::tcp(name.as_str()).tcp_socket_options(options).l4_buffer(buffers);
        self.start(what, app, &name, listener.into(), endpoint);
        Ok(bound)
    }

    fn start<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        what: &'static str,
        app: A,
        name: &str,
        listener: OwnedFd,
        endpoint: ListenerConfig,
    ) {
        let mut fds = Fds::new();
        // pingora owns the socket from here on and closes it when the service ends.
        fds.add(name.to_owned(), listener.into_raw_fd());
        let mut service = Service::new(what.into(), app);
        service.add_listener(endpoint);
        let stopping = self.stopping.clone();
        let fds = Arc::new(parking_lot::Mutex::new(fds));
        self.services.push(tokio::spawn(async move { service.start_service(Some(fds), stopping, 1).await }));
    }
}

/// Binds a socket file. One that a dead process left is removed; one on which somebody answers, and any
/// file that is no socket, is not.
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sock");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let first = bind_unix(&path, 0o600).unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        drop(bind_unix(&path, 0o666).unwrap());
        assert_eq!(mode(), 0o666);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
