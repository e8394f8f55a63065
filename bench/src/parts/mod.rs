//! The plain cost of what user services are made of: a bare axum handler, and behind it one look into Redis,
//! one statement of SQLite or one hash of argon2id. This program itself, with a hidden subcommand.
//!
//! It has the API of the user services as far as the suite `users` speaks it, so that both are filled and
//! driven by the same requests. It verifies no token, checks no field, counts nothing and forgives nothing: what
//! is not as expected is 500. Its tokens are the user's id.

mod api;
mod data;
mod hash;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use self::data::Data;
use self::hash::Hasher;

/// The arguments of the hidden subcommand.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    redis: SocketAddr,
    /// Threads that serve, and as many that hash.
    #[arg(long)]
    workers: usize,
    /// Memory of one hash.
    #[arg(long)]
    memory_kib: u32,
    /// Passes over it.
    #[arg(long)]
    passes: u32,
}

/// What handlers use.
struct Parts {
    data: Data,
    hasher: Hasher,
}

/// Serves until it is ended; its database is a file in its folder.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.workers)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let parts = Arc::new(Parts {
            data: Data::open("parts.db", arguments.redis).await?,
            hasher: Hasher::start(arguments.workers, arguments.memory_kib, arguments.passes)?,
        });
        let listener = tokio::net::TcpListener::bind(arguments.address).await?;
        axum::serve(listener, api::router(parts)).await?;
        Ok(())
    })
}
