//! A recording end of a wire: between the sidecar and a server, so that the bytes which reached any
//! server are known, whether or not it tells of them.
//!
//! Owns a listener in front of a server's port. Promises: bytes go on as they came, an end of one
//! direction ends that direction on the other side, a reset resets; all that passed is kept. Refuses
//! to know what the bytes mean.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long connections may take to end once nobody speaks any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// What passed on one connection, and whether each side has ended its direction.
#[derive(Debug, Clone, Default)]
pub struct Taped {
    pub to_server: Vec<u8>,
    pub from_server: Vec<u8>,
    /// The sidecar ended its direction, by FIN or RST.
    pub left: bool,
    /// The server did.
    pub server_left: bool,
}

#[derive(Default)]
struct Tapes {
    all: Mutex<Vec<Taped>>,
    changed: Condvar,
    stop: AtomicBool,
}

pub struct Tap {
    addr: SocketAddr,
    tapes: Arc<Tapes>,
}

impl Tap {
    pub fn before(port: u16) -> Tap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (addr, tapes) = (listener.local_addr().unwrap(), Arc::<Tapes>::default());
        let kept = Arc::clone(&tapes);
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if kept.stop.load(Ordering::SeqCst) {
                    return;
                }
                let tapes = Arc::clone(&kept);
                // No connection to the server is one that is dropped at once.
                if let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    record(near, far, tapes);
                }
            }
        });
        Tap { addr, tapes }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What passed on every connection, once all of them are over or patience is.
    pub fn finish(self) -> Vec<Taped> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = self.tapes.all.lock().unwrap();
        while all.iter().any(|taped| !taped.left || !taped.server_left) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            all = self.tapes.changed.wait_timeout(all, left).unwrap().0;
        }
        all.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.tapes.stop.store(true, Ordering::SeqCst);
        // A connection of our own wakes the listener.
        let _ = TcpStream::connect(self.addr);
    }
}

fn record(near: TcpStream, far: TcpStream, tapes: Arc<Tapes>) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let at = {
        let mut all = tapes.all.lock().unwrap();
        all.push(Taped::default());
        all.len() - 1
    };
    let (near, far) = (Arc::new(near), Arc::new(far));
    for up in [true, false] {
        let (from, to) = if up { (&near, &far) } else { (&far, &near) };
        let (from, to, tapes) = (Arc::clone(from), Arc::clone(to), Arc::clone(&tapes));
        std::thread::spawn(move || {
            let keep = |change: &dyn Fn(&mut Taped)| {
                change(&mut tapes.all.lock().unwrap()[at]);
                tapes.changed.notify_all();
            };
            copy(&from, &to, |bytes| {
                keep(&|taped| if up { &mut taped.to_server } else { &mut taped.from_server }.extend(bytes));
            });
            keep(&|taped| *if up { &mut taped.left } else { &mut taped.server_left } = true);
        });
    }
}

/// Until one side ends the direction; that end is passed on.
fn copy(mut from: &TcpStream, mut to: &TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                at_once(from);
                keep(bytes);
                // A receiver that is gone takes no more; its sender is to learn of it as a reset.
                if to.write_all(bytes).is_err() {
                    continue;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => {
                let _ = socket2::SockRef::from(to).set_linger(Some(Duration::ZERO));
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Acknowledges at once what has come: some servers write head and body apart, and wait for it.
pub fn at_once(stream: &TcpStream) {
    // A failure only costs time.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}
