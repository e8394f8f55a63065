//! Sockets and threads: our own accept loops in front of Pingora's proxy.
//!
//! ```text
//! control thread: bind, reload, drain
//! worker thread (one runtime each): its own SO_REUSEPORT socket of every TCP listener
//!   accept -> limits -> Connection -> TLS handshake -> Pingora
//! ```

mod connection;
mod limit;
mod listener;
mod socket;
mod worker;

pub(crate) use self::limit::{ListenerCounts, Refusal};
pub(crate) use self::listener::{Listeners, Plan};
pub(crate) use self::worker::Workers;
