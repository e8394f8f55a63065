//! A log of lines of what happened, one of so many, as roles configure it.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{LineLog, LineTarget};
use crate::config::{Diagnostic, Located, Place, Sources};

/// A log of what happened, a JSON object a line. Lines are dropped, and counted, rather than holding up what they tell of
/// when the disk does not keep up.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampledLogConfig {
    /// A file to append to; standard output when it is not set. SIGHUP opens it anew.
    pub file: Option<Located<PathBuf>>,
    /// One of so many is logged, of each thread; 1 logs all.
    pub sample: Located<u32>,
}

impl Default for SampledLogConfig {
    fn default() -> Self {
        Self {
            file: None,
            sample: Located::nowhere(1),
        }
    }
}

/// The log of a configuration.
#[derive(Clone, Debug)]
pub struct SampledLog {
    target: LineTarget,
    place: Place,
    sample: u32,
    /// None until it is opened: a configuration that is only checked writes nothing.
    log: Option<Arc<LineLog>>,
    /// Lines that logs before this one have dropped.
    dropped: u64,
}

impl SampledLog {
    /// Judges a configuration; mistakes are added to those that are known.
    pub fn compile(
        config: &Option<SampledLogConfig>,
        sources: &Sources,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let config = config.as_ref()?;
        if *config.sample == 0 {
            mistakes.push(config.sample.wrong("1 logs all, 100 one of a hundred"));
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
    pub fn open(&mut self, before: Option<&Self>) -> Result<(), Diagnostic> {
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
            Diagnostic::new(self.place, format!("cannot open the log: {error}"))
        })?;
        self.log = Some(log);
        Ok(())
    }

    /// Lines that were not written, since the start of the process.
    pub fn dropped(&self) -> u64 {
        self.dropped + self.log.as_ref().map_or(0, |log| log.dropped())
    }

    /// Logs a line, if it is its turn. `count` counts those of the thread.
    pub fn turn(&self, count: &mut u32, line: impl FnOnce(&mut Vec<u8>)) {
        *count += 1;
        if *count < self.sample {
            return;
        }
        *count = 0;
        if let Some(log) = &self.log {
            log.line(line);
        }
    }
}
