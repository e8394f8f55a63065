//! Sockets and threads: our own accept loops in front of Pingora's proxy.
//!
//! ```text
//! control thread: bind, reload, drain
//! worker thread (one runtime each): its own SO_REUSEPORT socket of every listener
//!   accept -> Connection -> TLS handshake -> Pingora
//! ```

mod connection;
mod listener;
mod worker;

pub(crate) use self::listener::Listeners;
pub(crate) use self::worker::Workers;
