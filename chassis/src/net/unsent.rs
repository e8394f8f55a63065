//! What a peer has not taken yet.

use std::os::fd::{AsRawFd, BorrowedFd};

/// How many bytes of a connected socket's output the peer's kernel has not acknowledged; 0 when that is unknown.
#[expect(
    unsafe_code,
    reason = "no crate of ours knows TIOCOUTQ (SIOCOUTQ of tcp(7))"
)]
pub fn unsent(socket: BorrowedFd<'_>) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes one int.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match outcome {
        0 => usize::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}
