//! `tidegate l4 flush`: takes out of the kernel what a process has left there.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::load;

use crate::config::Config;
use crate::dr::{self, DrOptions};
use crate::nat::{self, NatConfig};

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
    let mut code = ExitCode::SUCCESS;
    for (mode, removed) in [("nat", rules(&config.nat)), ("dr", program(&config.dr))] {
        match removed {
            Ok(what) => println!("mode {mode}: {what}"),
            Err(error) => {
                eprintln!("mode {mode}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn rules(config: &NatConfig) -> Result<String, String> {
    let table = &config.table;
    match nat::flush(config) {
        Ok(true) => Ok(format!(
            "the table {table} is removed, nothing is forwarded"
        )),
        Ok(false) => Ok(format!("there is no table {table} of ours")),
        Err(error) => Err(error.to_string()),
    }
}

fn program(options: &DrOptions) -> Result<String, String> {
    if !dr::BUILT_IN {
        return Ok("this binary was built without it".into());
    }
    let pins = options.pins.display();
    match dr::flush(&options.pins) {
        Ok(true) => Ok(format!("{pins} is removed, nothing is forwarded")),
        Ok(false) => Ok(format!("there is nothing at {pins}")),
        Err(error) => Err(error.to_string()),
    }
}
