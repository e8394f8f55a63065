//! `tidegate l4 flush`: takes out of the kernel what a process has left there.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::load;

use crate::config::Config;
use crate::dr;

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
    let folder = &config.dr.pins;
    match dr::flush(folder) {
        Ok(true) => println!(
            "mode dr: {} is removed, nothing is forwarded",
            folder.display()
        ),
        Ok(false) => println!("mode dr: there is nothing at {}", folder.display()),
        Err(error) => {
            eprintln!("mode dr: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
