//! Answers before the answer (1xx): an upstream may give some, and not go on for ever.

use pingora_core::{Error, ErrorType, Result};

/// How many there were before the answer to one request.
#[derive(Debug, Default)]
pub(crate) struct Interims(u32);

/// More than this are no information.
const MOST: u32 = 32;

impl Interims {
    /// Counts one.
    ///
    /// # Errors
    /// When it is one too many.
    pub(crate) fn count(&mut self) -> Result<()> {
        self.0 += 1;
        match self.0 > MOST {
            true => {
                let what = "too many answers of 1xx";
                Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up())
            }
            false => Ok(()),
        }
    }
}
