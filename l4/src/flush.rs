//! `tidegate l4 flush`: takes out of the kernel what a process has left there.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::load;

use crate::config::Config;
use crate::nat;

/// The arguments of `tidegate l4 flush`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FlushArgs {
    /// The configuration file of the process that was.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn main(args: &FlushArgs) -> ExitCode {
    let config = match load::<Config>(&args.config) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::FAILURE;
        }
    };
    let table = &config.nat.table;
    match nat::flush(&config.nat) {
        Ok(true) => println!("mode nat: the table {table} is removed, nothing is forwarded"),
        Ok(false) => println!("mode nat: there is no table {table} of ours"),
        Err(error) => {
            eprintln!("mode nat: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
