//! `tidegate schema`: what a role's configuration may hold.

use std::process::ExitCode;

use chassis::reference;
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(crate) struct SchemaArgs {
    /// The role.
    role: Role,
    /// How to print it.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

/// A role with a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The L7 gateway.
    Gateway,
    /// The L4 balancer.
    L4,
    /// The authoritative DNS server.
    Dns,
    /// The user services.
    Users,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// JSON Schema 2020-12.
    Json,
    /// The reference manual.
    Markdown,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Gateway, Self::L4, Self::Dns, Self::Users];

    /// The JSON Schema of its configuration.
    pub(crate) fn schema(self) -> serde_json::Value {
        let schema = match self {
            Self::Gateway => schemars::schema_for!(gateway::Config),
            Self::L4 => schemars::schema_for!(l4::Config),
            Self::Dns => schemars::schema_for!(dns::Config),
            Self::Users => schemars::schema_for!(users::role::RoleConfig),
        };
        schema.to_value()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::L4 => "l4",
            Self::Dns => "dns",
            Self::Users => "users",
        }
    }
}

pub(crate) fn main(args: &SchemaArgs) -> ExitCode {
    let schema = args.role.schema();
    match args.format {
        Format::Json => println!("{schema:#}"),
        Format::Markdown => print!("{}", reference::markdown(args.role.name(), &schema)),
    }
    ExitCode::SUCCESS
}
