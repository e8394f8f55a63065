//! From `main` to a role's own code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::StartError;
use crate::net::Inherited;

/// Runs a role on a control runtime of its own, with the sockets that systemd has passed, and prints why it could not
/// start. To be called before there is a second thread.
pub fn run(role: impl AsyncFnOnce(Inherited) -> Result<(), StartError>) -> ExitCode {
    let systemd = Inherited::from_systemd();
    let mut runtime = Builder::new_multi_thread();
    run_on(runtime.thread_name("control"), role(systemd))
}

/// Runs a role on a runtime of this kind, and prints why it could not start.
pub fn run_on<E: Display + From<io::Error>>(
    runtime: &mut Builder,
    role: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    let outcome = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(role),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
