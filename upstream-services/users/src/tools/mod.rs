//! `tidegate store`: what an operator wants to know of the data, and a data set to try things with.

mod seed;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use chassis::config::Report;
use store::{Store, Time};

use crate::{Config, Error, role, schema};

pub use seed::SeedArgs;

/// What to do with the data of the user services.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StoreCommand {
    /// Print where the data is, how its servers do, how many rows each table has, and when it will have too many.
    ///
    /// Each server is asked by itself, and no table is made or changed. The exit status is 0 when all is well, and 1 when a server is not, or
    /// something could not be shown.
    Status(StatusArgs),
    /// Fill an empty data set with users, to try things with.
    Seed(SeedArgs),
}

/// The arguments of `tidegate store status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// The configuration file of the user services.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// Why a tool has not done its work.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error(transparent)]
    Config(#[from] Report),
    #[error(transparent)]
    Service(#[from] Error),
    #[error("there are users already: only an empty data set is filled")]
    NotEmpty,
    #[error("the user services run on this data: stop them first, or fill another folder")]
    InUse,
    #[error("there is no data in {}", .0.display())]
    NoData(PathBuf),
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<store::Error> for ToolError {
    fn from(error: store::Error) -> Self {
        Self::Service(error.into())
    }
}

/// Does it.
pub fn main(command: &StoreCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match command {
                StoreCommand::Status(args) => status::print(args).await,
                StoreCommand::Seed(args) => seed::fill(args).await.map(|()| ExitCode::SUCCESS),
            }
        }),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Opens the data of a configuration.
async fn open(file: &std::path::Path) -> Result<(Config, Store), ToolError> {
    let config = role::service_of(file)?;
    let store = Store::open(&config.data.options(), &schema::SCHEMA, Time::now()).await?;
    Ok((config, store))
}
