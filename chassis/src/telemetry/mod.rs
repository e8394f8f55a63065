//! What a role tells about itself: logs, metrics and its pressure.
//!
//! Rule of the hot path: a counter is a cell of the thread that counts
//! ([`Cells`]), summed when somebody scrapes; a log line goes to a bounded
//! queue ([`LineLog`]) and is dropped, and counted, when the queue is full.

mod cells;
mod family;
mod histogram;
mod line_budget;
mod line_log;
mod log;
mod pressure;
mod sampled_log;

pub use self::cells::Cells;
pub use self::family::{counter, family, gauge, labelled};
pub use self::histogram::{BOUNDS_SECONDS, DurationBuckets};
pub use self::line_budget::may_log;
pub use self::line_log::{LineLog, LineTarget};
pub use self::log::{LogConfig, LogFormat};
pub use self::pressure::{Pressure, PressureReport};
pub use self::sampled_log::{SampledLog, SampledLogConfig};
