//! Which endpoint a connection gets.

mod maglev;

pub use self::maglev::{Maglev, stable_hash};
