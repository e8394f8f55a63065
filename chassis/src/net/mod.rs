//! What goes over the network below HTTP.

pub mod proxy_protocol;
