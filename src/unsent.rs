//! How much may wait in the system's own buffer of a connection that is slow to take it.

use std::os::fd::AsFd;

/// A peer that does not read costs the system at most `most` bytes (`relay.max_unsent`) and its window, instead
/// of all of its buffer (megabytes, at a thousand connections gigabytes); the rest stays where it came from.
/// What is on its way is not counted, so that a fast peer, however far, gets as much at once as it would
/// without. A listener's connections inherit it. `TCP_NOTSENT_LOWAT`, tcp(7); a failure only means that more
/// may wait.
pub fn bound(socket: &impl AsFd, most: u32) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(most);
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, most);
}
