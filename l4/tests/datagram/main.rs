//! Datagrams through a listener's threads, on loopback.

mod plain;
mod quic;
mod site;
