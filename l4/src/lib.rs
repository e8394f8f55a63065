//! The L4 balancer: takes a site's connections and hands each to the right cluster, by the name in its first
//! bytes or by address and port.

pub mod balance;
pub mod dr;
pub mod forward;
pub mod relay;
pub mod sniff;
