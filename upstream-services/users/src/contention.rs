//! Changes of the same profile at once: whoever was slower looks again, a little later.

use std::time::Duration;

use crate::Error;

/// The turns that something has which reports [`Error::Contended`] when others were faster: for about a second.
#[derive(Debug, Default)]
pub(crate) struct Turns(u32);

impl Turns {
    /// Waits for the next turn; [`Error::Contended`] after the last.
    pub(crate) async fn next(&mut self) -> Result<(), Error> {
        let Self(turn) = self;
        if *turn >= TRIES {
            return Err(Error::Contended);
        }
        if *turn > 0 {
            // By lot, so that those who meet do not meet again.
            let most = STEP * 2_u32.pow((*turn).min(DOUBLINGS));
            tokio::time::sleep(most.mul_f64(rand::random())).await;
        }
        *turn += 1;
        Ok(())
    }
}

/// How often something is tried: with the pauses in between, half of their most on average, for about a second.
const TRIES: u32 = 14;
/// The pause before the second turn is up to two of it.
const STEP: Duration = Duration::from_millis(5);
/// How often that doubles.
const DOUBLINGS: u32 = 5;
