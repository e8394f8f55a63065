//! What roles need of the network below their protocols: listening sockets (where they are bound,
//! whom they are inherited from, to whom they go) and the PROXY protocol.
//!
//! ```text
//! systemd (LISTEN_FDS) --+
//!                        +--> Inherited --claim by address or name--+
//! predecessor (handover) +                                          +--> Bound --> one or more a worker
//!                                   bind anew what nobody gave us --+
//! ```
//!
//! A [`Bound`] keeps its sockets for as long as the listener is wanted; workers
//! get duplicates. So options can be changed, and sockets handed over, while
//! workers accept. This module must know no role and accept no connection.

mod address;
mod bind;
mod client_network;
mod datagram;
mod datagram_options;
mod descriptors;
pub mod handover;
mod inherited;
mod networks;
mod options;
pub mod proxy_protocol;
mod socket_file;
mod systemd;
mod unsent;

pub use self::address::{Address, overlap, reaches, validate_socket_path};
pub use self::bind::{Bound, Listener, bind};
pub use self::client_network::client_network;
pub use self::datagram::{BoundDatagram, bind_datagram};
pub use self::datagram_options::{receive_merged, tell_asked_address, travel_whole};
pub use self::descriptors::{
    descriptor_limit, is_exhaustion, open_descriptors, raise_descriptor_limit, room_for_clients,
};
pub use self::inherited::{Inherited, InheritedSocket, Source};
pub use self::networks::Networks;
pub use self::options::{FileMode, ListenOptions, TcpConfig, may_be_transparent};
pub use self::unsent::unsent;
