//! `tidegate l4 flush`: takes out of the kernel what a process has left there.

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::load;
use chassis::life::AdminClient;
use serde_json::Value;

use crate::config::Config;
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
    let config = match load::<Config>(&args.config) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::FAILURE;
        }
    };
    let table = &config.nat.table;
    let mut code = ExitCode::SUCCESS;
    let removed = match nat::is_there(&config.nat) {
        // It would load its rules again.
        Ok(true) if runs(&config) => {
            let admin = *config.admin.address;
            eprintln!(
                "mode nat: a balancer answers at {admin}: end it, then the table {table} can go"
            );
            return ExitCode::FAILURE;
        }
        Ok(_) => nat::flush(&config.nat),
        Err(error) => Err(error),
    };
    match removed {
        Ok(true) => println!("mode nat: the table {table} is removed, nothing is forwarded"),
        Ok(false) => println!("mode nat: there is no table {table} of ours"),
        Err(error) => {
            eprintln!("mode nat: {error}");
            code = ExitCode::FAILURE;
        }
    }
    if dr::BUILT_IN {
        let pins = config.dr.pins.display();
        match dr::flush(&config.dr.pins) {
            Ok(true) => println!("mode dr: what was in {pins} is removed, nothing is forwarded"),
            Ok(false) => println!("mode dr: there is nothing in {pins}"),
            Err(error) => {
                eprintln!("mode dr: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Whether a balancer answers where this configuration says.
fn runs(config: &Config) -> bool {
    let client = AdminClient::new(None, &config.admin);
    let answered = client.ask(async |client| client.get::<Value>("/l4/state").await);
    // Who wants another token answers, too.
    answered.map_or(true, |answer| answer.is_some())
}
