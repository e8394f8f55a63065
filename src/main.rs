//! The one binary `tidegate`: subcommands that hand over to the crates.

mod check;
mod handover;
mod schema;
mod up;

use std::process::ExitCode;

use chassis::life::{RoleArgs, die_with_parent, memory};
use clap::{Parser, Subcommand};
use gateway::Gateway;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the allocator give back what is free.
#[expect(unsafe_code, reason = "a function of the allocator, which is in C")]
fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// The edge of a user system that stays up.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole edge on this machine: DNS, the gateway and the user services, with their data in files or on servers that
    /// it starts.
    Up(up::UpArgs),
    /// Run the L7 gateway.
    Gateway(RoleArgs),
    /// Run the L4 balancer.
    L4(l4::role::L4Args),
    /// Run the authoritative DNS server.
    Dns(dns::role::DnsArgs),
    /// Run the user services, all in this process or one part of them.
    Users(users::role::UsersArgs),
    /// Look at the data of the user services, or fill it.
    #[command(subcommand)]
    Store(users::tools::StoreCommand),
    /// Replace the running gateway, L4 balancer or DNS server by this binary, without a refused connection or a lost query.
    ///
    /// Starts this binary as the successor of the process that runs with the same
    /// `handover.socket`. It takes over the listening sockets, and only once it can serve. The old
    /// process finishes its connections and ends. If anything goes wrong, the old process serves on.
    ///
    /// The successor has the environment, the user and the standard output of this command, and
    /// goes on when the command ends.
    Handover(handover::HandoverArgs),
    /// Judge configuration files: exit 0, or 1 with the place of every mistake.
    Check(check::CheckArgs),
    /// Print what a role's configuration may hold, as JSON Schema (for editors) or Markdown.
    Schema(schema::SchemaArgs),
}

fn main() -> ExitCode {
    die_with_parent();
    memory::gives_back_by(give_back);
    match Cli::parse().command {
        Command::Up(args) => up::main(&args),
        Command::Gateway(args) => Gateway::default().main(&args),
        Command::L4(args) => l4::role::main(&args),
        Command::Dns(args) => dns::role::main(&args),
        Command::Users(args) => users::role::main(&args),
        Command::Store(command) => users::tools::main(&command),
        Command::Handover(args) => handover::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Schema(args) => schema::main(&args),
    }
}
