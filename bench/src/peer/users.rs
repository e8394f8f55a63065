//! The peers of the suite `users`: the user services under test, with or without the gateway in front, and
//! the plain cost of their parts.

use super::{OURS, Peer, Place, Plan, Program, Setup};

/// Both, the one under test first.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: OURS,
        program: Program::UnderTest,
        version: &["--version"],
        install: "cargo build --release",
        tokens: true,
        plan: services,
    },
    Peer {
        name: "parts",
        program: Program::Here,
        version: &["--version"],
        install: "it is part of tidegate-bench",
        tokens: false,
        plan: parts,
    },
];

/// How user services are set up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Users {
    /// Memory of one hash, in KiB.
    pub(crate) memory_kib: u32,
    /// Passes over it.
    pub(crate) passes: u32,
    /// What the caches are to hold.
    pub(crate) cached: Cached,
    /// Whether clients come through the gateway.
    pub(crate) gateway: bool,
}

/// What the caches are to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cached {
    /// Everything, in memory and in Redis.
    All,
    /// Next to nothing, so that a profile comes from its database.
    Nothing,
}

/// Through the gateway it is `tidegate up`, which runs both: the processes of one tree, which are counted together.
fn services(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let users = setup.users?;
    // The gateway has a setting of its own; without pinning the services would take every core.
    let threads = ("TOKIO_WORKER_THREADS", place.workers.to_string());
    let Place { address, admin, .. } = place;
    if !users.gateway {
        let text = format!(
            "listen = {{ address = \"{address}\" }}\nadmin = {{ address = \"{admin}\" }}\n{}",
            configuration(users, place)
        );
        return Some(Plan {
            files: vec![("users.toml", text)],
            args: ["users", "-c", "users.toml"].map(str::to_owned).into(),
            environment: vec![threads],
            ..Plan::default()
        });
    }
    let text = format!(
        "listen = {{ address = \"${{TIDEGATE_USERS}}\" }}\nadmin = {{ address = \"${{TIDEGATE_USERS_ADMIN}}\" }}\n{}",
        configuration(users, place)
    );
    let arguments = ["up", "--dir", ".", "--ports", "auto"];
    Some(Plan {
        files: vec![
            ("conf/users.toml", text),
            ("conf/gateway.toml", gateway(place)),
        ],
        args: arguments.map(str::to_owned).into(),
        environment: vec![threads],
        log: Some("conf/access.log"),
        ..Plan::default()
    })
}

fn configuration(users: Users, place: &Place<'_>) -> String {
    let Users {
        memory_kib, passes, ..
    } = users;
    let workers = place.workers;
    let cache = match users.cached {
        Cached::All => format!(
            "[cache.remote]\nkind = \"redis\"\nnodes = [\"{}\"]\n",
            place.origin
        ),
        Cached::Nothing => "[cache]\nprofiles = 8\n".to_owned(),
    };
    format!(
        "log = {{ level = \"warn\" }}\n[data]\ndir = \"data\"\n{cache}\
         [hash]\nthreads = {workers}\nmemory = \"{memory_kib}KiB\"\niterations = {passes}\n\
         [tokens]\naccess_ttl = \"1d\"\n"
    )
}

/// As `conf/gateway.toml` has it, without the limits that one client of many names would meet.
fn gateway(place: &Place<'_>) -> String {
    let Place {
        address, workers, ..
    } = place;
    format!(
        "threads = {workers}\nplugins = [\"request_id\", \"access_log\"]\n\
         log = {{ level = \"warn\" }}\nadmin = {{ address = \"${{TIDEGATE_GATEWAY_ADMIN}}\" }}\n\
         [[listener]]\nname = \"front\"\naddress = \"{address}\"\n\
         [cluster.users]\nendpoints = [{{ address = \"${{TIDEGATE_USERS}}\" }}]\n\
         check = {{ path = \"/healthz\", interval = \"500ms\" }}\n\
         [plugin.request_id]\n[plugin.access_log]\nfile = \"access.log\"\n\
         [plugin.token]\nkind = \"jwt\"\n\
         jwks = \"http://${{TIDEGATE_USERS}}/.well-known/jwks.json\"\n\
         issuer = \"tidegate\"\naudience = \"tidegate\"\nforward = {{ sub = \"x-user-id\" }}\n\
         [[route]]\nname = \"register\"\npath = \"/v1/register\"\ncluster = \"users\"\n\
         [[route]]\nname = \"login\"\npath = \"/v1/login\"\ncluster = \"users\"\n\
         [[route]]\nname = \"api\"\npath = \"/v1/*\"\ncluster = \"users\"\nplugins = [\"token\"]\n"
    )
}

fn parts(setup: &Setup, place: &Place<'_>) -> Option<Plan> {
    let Users {
        memory_kib, passes, ..
    } = setup.users?;
    let args = [
        ("--address", place.address.to_string()),
        ("--redis", place.origin.to_string()),
        ("--workers", place.workers.to_string()),
        ("--memory-kib", memory_kib.to_string()),
        ("--passes", passes.to_string()),
    ];
    let args = args
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value]);
    Some(Plan {
        args: ["parts".to_owned()].into_iter().chain(args).collect(),
        ..Plan::default()
    })
}
