//! How much may wait in the system's own buffer of a connection that is slow to take it.

use std::os::fd::AsRawFd;

/// Bytes written and not yet sent. What is on its way is not counted, so that a fast peer, however far, gets
/// as much at once as it would without.
const MOST: libc::c_int = 128 << 10;

/// A peer that does not read costs the system at most this, and its window, instead of all of its buffer
/// (megabytes, at a thousand connections gigabytes); the rest stays where it came from. A listener's
/// connections inherit it. `TCP_NOTSENT_LOWAT`, tcp(7).
pub fn bound(socket: &impl AsRawFd) {
    // SAFETY: the descriptor is open for as long as `socket`, and the option's value is an `int` of the
    // size given. A failure only means that more may wait.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            std::ptr::from_ref(&MOST).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket.as_raw_fd(), MOST);
}
