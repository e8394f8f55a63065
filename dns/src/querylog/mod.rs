//! Which queries came, and what became of them: one of so many, a JSON object a line.
//!
//! ```text
//! thread: every nth outcome -> a line in its own buffer -> LineLog's bounded queue -> file
//! ```

mod line;

pub(crate) use self::line::Event;
