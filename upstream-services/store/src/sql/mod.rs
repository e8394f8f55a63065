//! SQL, whichever database is below: SQLite in this process, or MariaDB or MySQL elsewhere.
//!
//! A [`Statement`] is text that the program wrote, with values that may come from anywhere and
//! reach the database as bound values only. What the databases disagree about is in the modules
//! below; the SQL of the store and of its users keeps to what all of them understand.

pub(crate) mod dialect;
mod health;
pub(crate) mod mysql;
pub(crate) mod named_lock;
mod on;
mod pool;
pub(crate) mod sqlite;
mod statement;
mod value;

pub(crate) use health::Health;
pub use on::On;
pub(crate) use on::Terms;
pub(crate) use pool::Pool;
pub use pool::{Connection, Transaction};
pub use statement::{Row, Statement, sql};
pub use value::Value;
pub(crate) use value::Values;
