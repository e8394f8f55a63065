//! `tidegate-bench`: Tidegate beside nginx, HAProxy, Caddy and bare Pingora, under the same load.
//!
//! ```text
//! suite -> cases -> stage: peers and what stands behind them start, each alone on its port, all answer the same
//!   -> rounds in turn: load drives (closed or open loop), /proc says what each proxy used
//!   -> medians, spread, ratios -> terminal, JSON, Markdown, SVG
//! ```
//!
//! It never says more than it has measured: what was the limit, and how far rounds are apart, is
//! part of every row.

mod command_line;
mod error;
mod figure;
mod goal;
mod interrupt;
mod load;
mod machine;
mod origin;
mod parts;
mod peer;
mod policy;
mod report;
mod stage;
mod suite;

use std::process::ExitCode;

use clap::Parser;

use crate::command_line::{CommandLine, Role};
use crate::error::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    let done = match &command_line.role {
        None => command_line.run(),
        Some(Role::Origin(arguments)) => {
            origin::serve(arguments).map_err(Error::machine("the origin"))
        }
        Some(Role::Launch(launch)) => {
            let source = launch.exec();
            Err(Error::machine("a program")(source))
        }
        Some(Role::Pingora(bare)) => peer::serve_bare_pingora(bare)
            .map_err(|error| Error::Load(format!("bare Pingora: {error}"))),
        Some(Role::Parts(arguments)) => {
            parts::serve(arguments).map_err(|error| Error::Load(format!("the parts: {error}")))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
