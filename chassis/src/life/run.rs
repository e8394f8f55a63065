//! From `main` to a role's own code.

use std::process::ExitCode;

use super::StartError;
use crate::net::Inherited;

/// Runs a role on a control runtime of its own, with the sockets that systemd has passed, and prints why it could not
/// start. To be called before there is a second thread.
pub fn run(role: impl AsyncFnOnce(Inherited) -> Result<(), StartError>) -> ExitCode {
    let systemd = Inherited::from_systemd();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(role(systemd)),
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
