//! Events of the program itself (not of requests): pretty on a terminal, JSON otherwise.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{Diagnostic, Located};

/// How the program logs its own events, to standard error.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The least level that is logged: `error`, `warn`, `info`, `debug`, `trace`,
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
}
