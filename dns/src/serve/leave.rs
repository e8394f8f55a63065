//! The end of a connection, such that the client gets what was sent to it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How long is waited for the client to end its direction too.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Ends our direction, then reads and drops what still comes, for a while.
///
/// Were the socket closed with something unread in it, the kernel would send a reset, which can take answers away that the
/// client has not read yet (RFC 7766, 6.2.4, wants its queries to be sent again; for that it must see an orderly end).
pub(super) async fn take_leave(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let leave = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut dropped = [0; 4096];
        while matches!(stream.read(&mut dropped).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(LINGER, leave).await;
}
