//! What every role stands on: configuration files, telemetry, life cycle and health checks. Knows no role.

pub mod config;
pub mod files;
pub mod health;
pub mod life;
pub mod net;
pub mod problem;
pub mod reference;
pub mod telemetry;
pub mod tls;
pub mod turns;
pub mod units;
