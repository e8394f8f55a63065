//! Which queries came, and what became of them: one of so many, a JSON object a line.
//!
//! ```text
//! thread: every nth outcome -> a line in its own buffer -> LineLog's bounded queue -> file
//! ```

mod config;
mod line;

use std::sync::Arc;

use chassis::config::{Diagnostic, Place, Sources};
use chassis::telemetry::{LineLog, LineTarget};

use crate::config::Config;

pub use self::config::QueryLogConfig;
pub(crate) use self::line::Event;

/// The log of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct QueryLog {
    target: LineTarget,
    place: Place,
    sample: u32,
    /// None until it is opened: a configuration that is only checked writes nothing.
    log: Option<Arc<LineLog>>,
    /// Lines that logs before this one have dropped.
    dropped: u64,
}

impl QueryLog {
    /// Judges a configuration; mistakes are added to those that are known.
    pub(crate) fn compile(
        config: &Config,
        sources: &Sources,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let config = config.query_log.as_ref()?;
        if *config.sample == 0 {
            mistakes.push(
                config
                    .sample
                    .wrong("1 logs every query, 100 one of a hundred"),
            );
        }
        let file = config.file.as_ref();
        Some(Self {
            target: file.map_or(LineTarget::Stdout, |file| {
                LineTarget::File(sources.resolve(file, file.place()))
            }),
            place: file.map_or_else(|| config.sample.place(), |file| file.place()),
            sample: *config.sample,
            log: None,
            dropped: 0,
        })
    }

    /// Opens it, or goes on with the one before.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn open(&mut self, before: Option<&Self>) -> Result<(), Diagnostic> {
        self.dropped = before.map_or(0, |before| before.dropped);
        let same = before.filter(|before| before.target == self.target);
        if let Some(log) = same.and_then(|before| before.log.clone()) {
            log.reopen();
            self.log = Some(log);
            return Ok(());
        }
        self.dropped = before.map_or(0, Self::dropped);
        let opened = LineLog::open(self.target.clone());
        let log = opened.map_err(|error| {
            Diagnostic::new(self.place, format!("cannot open the query log: {error}"))
        })?;
        self.log = Some(log);
        Ok(())
    }

    /// Lines that were not written, since the start of the process.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.log.as_ref().map_or(0, |log| log.dropped())
    }

    /// Logs an event, if it is its turn. `count` counts those of the thread.
    pub(crate) fn turn(&self, count: &mut u32, event: impl FnOnce(&mut Vec<u8>)) {
        *count += 1;
        if *count < self.sample {
            return;
        }
        *count = 0;
        if let Some(log) = &self.log {
            log.line(event);
        }
    }
}
