//! `tidegate check`: judges configuration files without starting anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chassis::config::top_level_keys;
use clap::Args;
use gateway::Gateway;
use serde_json::Value;

use crate::schema::Role;

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The role that the files are for; found out from their keys when it is not given.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Configuration files. What they include is judged with them.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn main(args: &CheckArgs) -> ExitCode {
    let mut sound = true;
    for file in &args.files {
        let role = args.role.unwrap_or_else(|| role_of(file));
        let outcome = match role {
            Role::Gateway => Gateway::default().check(file),
            Role::L4 => l4::role::check(file),
            Role::Dns => dns::role::check(file),
            Role::Users => users::role::check(file).map(|()| Vec::new()),
        };
        match outcome {
            Ok(warnings) => {
                let shown = file.display();
                println!("{shown}: a sound configuration of {}", role.name());
                for warning in warnings {
                    eprintln!("{shown}: warning: {warning}");
                }
            }
            Err(report) => {
                sound = false;
                eprint!("{report}");
            }
        }
    }
    if sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The role whose configuration has the most of the file's tables and keys.
pub(crate) fn role_of(file: &Path) -> Role {
    let keys = top_level_keys(file);
    // What roles have in common at the top may tell them apart by what is in it.
    let known = |role: Role| {
        let schema = role.schema();
        let top = keys
            .iter()
            .filter(|(key, _)| schema["properties"].get(key).is_some());
        let within = top.clone().flat_map(|(key, within)| {
            let properties = properties_in(&schema, &schema["properties"][key]);
            within
                .iter()
                .filter(move |key| properties.is_some_and(|known| known.get(key).is_some()))
        });
        (top.count(), within.count())
    };
    let named = |role: Role| {
        let name = file.file_stem().map(|stem| stem.to_string_lossy());
        name.is_some_and(|name| name.contains(role.name()))
    };
    // `max_by_key` takes the last of equals: the gateway.
    let roles = Role::ALL.into_iter().rev();
    roles
        .max_by_key(|role| {
            let (top, within) = known(*role);
            (top, named(*role), within)
        })
        .unwrap_or(Role::Gateway)
}

/// The keys of the tables that a key at the top has, if it has tables with fixed keys.
fn properties_in<'a>(schema: &'a Value, key: &'a Value) -> Option<&'a Value> {
    let table = if key["items"].is_null() {
        key
    } else {
        &key["items"]
    };
    let name = table["$ref"].as_str()?.strip_prefix("#/$defs/")?;
    schema["$defs"].get(name)?.get("properties")
}
