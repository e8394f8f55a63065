//! The mode `dr`: the kernel hands packets on by their hardware address, and endpoints answer clients directly.
//!
//! ```text
//! services --> plan: numbers, tables --> maps of the kernel <--> program (bpf/forward.bpf.c) --> endpoints
//!                ^                          ^
//!            neighbours                   pins: both outlive the process
//! ```
//!
//! No packet passes through this process. It says who is well, and reads what was counted.

mod config;

#[cfg(not(feature = "dr"))]
mod absent;
#[cfg(feature = "dr")]
mod error;
#[cfg(feature = "dr")]
mod forwarder;
#[cfg(feature = "dr")]
mod hash;
#[cfg(feature = "dr")]
mod layout;
#[cfg(feature = "dr")]
mod maps;
#[cfg(feature = "dr")]
mod metrics;
#[cfg(feature = "dr")]
mod neighbours;
#[cfg(feature = "dr")]
mod pins;
#[cfg(feature = "dr")]
mod plan;
#[cfg(feature = "dr")]
mod program;
#[cfg(feature = "dr")]
mod run;

#[cfg(not(feature = "dr"))]
pub use self::absent::{Dr, DrError, endpoint_of, flush};
pub use self::config::{Attach, DrOptions};
#[cfg(feature = "dr")]
pub use self::{
    error::DrError,
    hash::endpoint_of,
    maps::Counters,
    pins::flush,
    run::{Dr, EndpointStatus, Status},
};

/// Whether this binary was built with the mode.
pub const BUILT_IN: bool = cfg!(feature = "dr");
