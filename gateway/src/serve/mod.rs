//! Sockets and threads: our own accept loops in front of Pingora's proxy.
//!
//! ```text
//! control thread: bind, reload, drain
//! worker thread (one runtime each): its own SO_REUSEPORT socket of every listener
//!   accept -> Connection -> TLS handshake -> HTTP/1.1: Pingora; HTTP/2: `h2`, Pingora a request
//! ```

mod connection;
mod h2;
mod h2_guard;
mod h2_meter;
mod listener;
mod worker;

pub(crate) use self::h2::metrics;
pub(crate) use self::listener::Listeners;
pub(crate) use self::worker::Workers;
