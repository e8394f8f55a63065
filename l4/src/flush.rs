//! `tidegate l4 flush`: takes out of the kernel what a process has left there.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::compile::compile;
use crate::{dr, nat};

/// The arguments of `tidegate l4 flush`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FlushArgs {
    /// The configuration file of the process that was.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Removes what the kernel was told, by whichever process.
pub(crate) fn main(args: &FlushArgs) -> ExitCode {
    let compiled = match compile(&args.config, None, Instant::now()) {
        Ok(compiled) => compiled,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    let mut outcome = |mode, removed: Result<(), String>| {
        if let Err(error) = removed {
            eprintln!("mode {mode}: {error}");
            code = ExitCode::FAILURE;
        }
    };
    let rules = nat::remove(&compiled.state.nat);
    outcome("nat", rules.map_err(|error| error.to_string()));
    if dr::BUILT_IN {
        let program = dr::flush(&compiled.loaded.config.dr.pins);
        outcome("dr", program.map(drop).map_err(|error| error.to_string()));
    }
    code
}
