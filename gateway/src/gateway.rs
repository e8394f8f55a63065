//! A gateway: the kinds of plugins that it knows, and what can be done with its configuration.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use chassis::config::{Loaded, Report, load};
use chassis::life::RoleArgs;
use plugins::{BUILTIN, Registration};
use tokio::runtime::Handle;

use crate::compile::Compiler;
use crate::config::Config;
use crate::role;
use crate::state::State;
use crate::tls;

/// A gateway that knows the built-in plugins and those of its [`Builder`].
#[derive(Clone, Debug)]
pub struct Gateway {
    registrations: Vec<Registration>,
}

/// Builds a [`Gateway`] with plugins of one's own.
#[derive(Clone, Debug)]
pub struct Builder(Gateway);

impl Gateway {
    /// Begins with the built-in plugins.
    pub fn builder() -> Builder {
        Builder(Self {
            registrations: BUILTIN.to_vec(),
        })
    }

    /// Runs the role until it is told to stop.
    pub fn main(self, args: &RoleArgs) -> ExitCode {
        role::run(self, args)
    }

    /// Runs the role with the arguments of the process: `--config FILE`, `--ready-file FILE`,
    /// and `--check` to judge the configuration and end.
    pub fn command_line(self) -> ExitCode {
        #[derive(clap::Parser)]
        struct CommandLine {
            #[command(flatten)]
            role: RoleArgs,
            /// Judge the configuration and end: 0, or 1 with the place of every mistake.
            #[arg(long)]
            check: bool,
        }
        let CommandLine { role, check } = clap::Parser::parse();
        if !check {
            return self.main(&role);
        }
        match self.check(&role.config) {
            Ok(warnings) => {
                for warning in warnings {
                    eprintln!("warning: {warning}");
                }
                ExitCode::SUCCESS
            }
            Err(report) => {
                eprint!("{report}");
                ExitCode::FAILURE
            }
        }
    }

    /// Judges a configuration file without starting anything. What is sound today but needs
    /// somebody to look at it, such as a certificate that expires soon, is returned.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn check(&self, file: &Path) -> Result<Vec<String>, Report> {
        let loaded = load::<Config>(file)?;
        let (state, _) = self.compile(loaded, None, None)?;
        let warnings = tls::warnings(&state, SystemTime::now());
        Ok(warnings.iter().map(ToString::to_string).collect())
    }

    /// Loads and compiles; the files are part of both outcomes.
    pub(crate) fn compile(
        &self,
        loaded: Loaded<Config>,
        previous: Option<&State>,
        runtime: Option<&Handle>,
    ) -> Result<(State, Loaded<Config>), Report> {
        let compiler = Compiler {
            registrations: &self.registrations,
            sources: &loaded.sources,
            previous,
            runtime,
        };
        match compiler.compile(&loaded.config) {
            Ok(state) => Ok((state, loaded)),
            Err(mistakes) => Err(loaded.report(mistakes)),
        }
    }

    pub(crate) fn registrations(&self) -> &[Registration] {
        &self.registrations
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl Builder {
    /// Adds a kind of plugin.
    #[must_use]
    pub fn plugin(mut self, registration: Registration) -> Self {
        self.0.registrations.push(registration);
        self
    }

    /// The gateway.
    pub fn build(self) -> Gateway {
        self.0
    }
}
