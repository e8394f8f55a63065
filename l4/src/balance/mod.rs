//! Which endpoint a connection gets.
//!
//! ```text
//! weight, health, slow start --> shares --> Table (turns, or a Maglev table) --> pick(hash, tried) --> endpoint
//! ```

mod cluster;
mod endpoint;
mod maglev;

pub use self::cluster::{Cluster, Flow, Scheduler};
pub use self::endpoint::{Counted, Endpoint, EndpointCounts, HEAVIEST, Lease};
pub use self::maglev::{Maglev, stable_hash};
