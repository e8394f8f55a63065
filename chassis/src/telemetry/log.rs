//! Events of the program itself (not of requests): pretty on a terminal, JSON otherwise.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{Diagnostic, Located, nearest};

/// How the program logs its own events, to standard error.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The least level that is logged: `error`, `warn`, `info`, `debug`, `trace`, or `off`;
    /// or a filter such as `"info,tidegate_gateway=debug"`.
    pub level: Located<String>,
    /// `auto` is `pretty` on a terminal and `json` otherwise.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: Located::nowhere("info".into()),
            format: LogFormat::default(),
        }
    }
}

impl LogConfig {
    /// Finds mistakes in the filter.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn validate(&self) -> Result<(), Diagnostic> {
        self.filter().map(drop)
    }

    /// Starts logging; a second call in one process changes nothing.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn start(&self) -> Result<(), Diagnostic> {
        let pretty = match self.format {
            LogFormat::Pretty => true,
            LogFormat::Json => false,
            LogFormat::Auto => std::io::stderr().is_terminal(),
        };
        let registry = tracing_subscriber::registry().with(self.filter()?);
        let layer = fmt::layer().with_writer(std::io::stderr);
        let _ = match pretty {
            true => registry.with(layer.with_target(false).compact()).try_init(),
            false => registry.with(layer.json().flatten_event(true)).try_init(),
        };
        Ok(())
    }

    fn filter(&self) -> Result<EnvFilter, Diagnostic> {
        self.refuse_words()?;
        // Pingora logs through the `log` crate and calls a client that goes away an error; rustls
        // warns of each alert that a client sends.
        let filter = format!(
            "pingora_core=off,pingora_proxy=off,notify=warn,rustls=error,{}",
            *self.level
        );
        EnvFilter::builder().parse(filter).map_err(|error| {
            self.level
                .wrong(format!("not a log filter: {error}"))
                .help("write `info`, or for example `info,tidegate_gateway=debug`")
        })
    }

    /// Refuses a word that is no level. To a filter it is a target, and nothing but that target would be logged.
    fn refuse_words(&self) -> Result<(), Diagnostic> {
        if self.level.trim().is_empty() {
            return Err(self.level.wrong("no level").help(LEVELS));
        }
        if self.level.contains('[') {
            return Ok(()); // fields of spans have commas of their own
        }
        let parts = self.level.split(',').map(str::trim);
        let mut words = parts.filter(|part| !part.is_empty() && !part.contains('='));
        match words.find(|word| word.parse::<LevelFilter>().is_err()) {
            None => Ok(()),
            Some(word) => {
                let near = nearest(&word.to_lowercase(), &NAMES);
                let near = near.map(|near| format!("did you mean `{near}`?"));
                let wrong = self.level.wrong(format!("`{word}` is not a level"));
                Err(wrong.help(near.unwrap_or_else(|| LEVELS.to_owned())))
            }
        }
    }
}

const NAMES: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const LEVELS: &str = "write `error`, `warn`, `info`, `debug`, `trace` or `off`; \
     or a level for one target as well: `info,tidegate_gateway=debug`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_words() {
        let help = |level: &str| {
            let level = Located::nowhere(level.to_owned());
            let config = LogConfig {
                level,
                ..LogConfig::default()
            };
            config.validate().err().and_then(|wrong| wrong.help)
        };
        for sound in [
            "info",
            "WARN",
            "off",
            "info,tidegate_gateway=debug",
            "tidegate_gateway=debug, warn",
            "info,tidegate_gateway[request{id=1}]=trace",
        ] {
            assert_eq!(help(sound), None, "{sound}");
        }
        for (wrong, advice) in [
            ("loud", "tidegate_gateway=debug"),
            ("", "tidegate_gateway=debug"),
            ("warning", "`warn`"),
            ("info,debg", "`debug`"),
            ("info,tidegate_gateway=loud", "`info`"),
        ] {
            let help = help(wrong).unwrap_or_default();
            assert!(help.contains(advice), "{wrong}: {help}");
        }
    }
}
