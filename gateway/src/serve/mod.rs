//! Sockets and threads: accept loops of our own.
//!
//! ```text
//! control thread: bind, reload, drain
//! worker thread (one runtime each): its own SO_REUSEPORT socket of every TCP listener
//!   accept -> limits -> client: PROXY header, TLS -> HTTP/1.1 (h1) or HTTP/2 (h2)
//! ```

mod client;
mod connected;
mod connection;
mod limit;
mod listener;
mod owing;
mod proxy_header;
mod refusals;
mod socket;
mod tls;
mod tls_stream;
mod transport;
mod worker;

pub(crate) use self::connected::Connected;
pub(crate) use self::limit::{Excess, ListenerCounts};
pub(crate) use self::listener::{Listeners, Plan};
pub(crate) use self::owing::{Debt, Owing};
pub(crate) use self::refusals::Refusals;
pub(crate) use self::socket::send_now;
pub(crate) use self::transport::{Transport, reset_on_close};
pub(crate) use self::worker::Workers;
