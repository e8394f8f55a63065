//! What every role stands on: configuration files, telemetry and life cycle. Knows no role.

pub mod config;
pub mod life;
pub mod net;
pub mod problem;
pub mod reference;
pub mod telemetry;
pub mod units;
