//! The servers that the user services' data lives on, with `--data servers`: for each shard a primary and a replica, and
//! Redis in front of them.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use servers::{MariaDb, Redis, RedisSettings, Role, Settings, Setup};

use super::UpError;
use super::folder::Folder;

/// The servers, kept running.
pub(super) struct DataServers {
    servers: Vec<Kept>,
    password: String,
}

struct Kept {
    name: String,
    /// From which variable the configuration reads where it is.
    variable: String,
    settings: Kind,
    running: Option<Running>,
    /// When it may be started again.
    again: Instant,
}

/// What a server is, with all that it needs to start.
#[derive(Clone)]
enum Kind {
    Database(Settings),
    Cache(RedisSettings),
}

enum Running {
    Database(MariaDb),
    Cache(Redis),
}

/// Where the environment of the user services is written, in the folder.
pub(super) const ENVIRONMENT: &str = "servers/environment";
const SHARDS: u32 = 2;
/// Between two starts of a server that ends.
const PAUSE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(200);

impl DataServers {
    /// Starts all. Blocks for some seconds, the first time for longer.
    pub(super) fn start(folder: &Folder) -> Result<Self, UpError> {
        let root = folder.path("servers");
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root);
        made.map_err(|error| UpError::File(root.display().to_string(), error))?;
        let password = password(folder, &root.join("password"))?;
        println!(
            "starting {} MariaDB servers and Redis in {}",
            SHARDS * 2,
            root.display()
        );
        let mut servers = Vec::new();
        for shard in 0..SHARDS {
            let settings = |name: &str, number: u32, role| -> Result<Settings, UpError> {
                Ok(Settings {
                    dir: root.join(name),
                    template: root.join("template"),
                    port: servers::free_port()?,
                    server_id: shard * 2 + number,
                    role,
                    databases: vec!["users".to_owned()],
                    user: "tidegate".to_owned(),
                    password: password.clone(),
                })
            };
            let name = format!("shard-{shard}");
            let primary = settings(&name, 1, Role::Primary)?;
            let of = primary.port;
            let replica_name = format!("{name}-replica");
            let replica = settings(&replica_name, 2, Role::Replica { of })?;
            let variable = format!("TIDEGATE_SHARD_{shard}");
            let (primary, replica) = (Kind::Database(primary), Kind::Database(replica));
            servers.push(Kept::start(name, variable.clone(), primary)?);
            servers.push(Kept::start(replica_name, variable + "_REPLICA", replica)?);
        }
        let cache = Kind::Cache(RedisSettings {
            dir: root.join("redis"),
            port: servers::free_port()?,
            password: Some(password.clone()),
            setup: Setup::Single,
        });
        servers.push(Kept::start("redis".into(), "TIDEGATE_REDIS".into(), cache)?);
        Ok(Self { servers, password })
    }

    /// What the configuration is to know of them.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let place = |kept: &Kept| {
            let address = format!("127.0.0.1:{}", kept.settings.port());
            (kept.variable.clone(), address)
        };
        let mut all: Vec<_> = self.servers.iter().map(place).collect();
        for variable in ["TIDEGATE_DB_PASSWORD", "TIDEGATE_REDIS_PASSWORD"] {
            all.push((variable.to_owned(), self.password.clone()));
        }
        all
    }

    /// Writes what the configuration is to know for other commands: a file that a shell reads. The password stays in its own
    /// file.
    pub(super) fn write_environment(&self, folder: &Folder) -> Result<(), UpError> {
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let mut text = format!("TIDEGATE_DIR={}\n", quoted(folder.root()));
        let password = quoted(&folder.path("servers/password"));
        for (variable, value) in self.environment() {
            let value = match value == self.password {
                true => format!("\"$(cat {password})\""),
                false => value,
            };
            text += &format!("{variable}={value}\n");
        }
        folder.write_private(ENVIRONMENT, &text)
    }

    /// What runs where.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, u16, &'static str)> {
        let servers = self.servers.iter();
        servers.map(|kept| {
            let what = match kept.settings {
                Kind::Database(_) => "MariaDB",
                Kind::Cache(_) => "Redis",
            };
            (kept.name.as_str(), kept.settings.port(), what)
        })
    }

    /// Restarts whichever ends, for as long as it is polled. A start blocks for a moment: servers end with the thread
    /// that has started them.
    pub(super) async fn keep(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.servers.iter_mut().for_each(Kept::look);
        }
    }

    /// Ends all, and keeps their data.
    pub(super) fn stop(self) {
        for kept in self.servers.into_iter().rev() {
            if let Some(server) = kept.running {
                server.stop();
            }
        }
    }
}

impl Kind {
    fn port(&self) -> u16 {
        match self {
            Self::Database(settings) => settings.port,
            Self::Cache(settings) => settings.port,
        }
    }

    fn start(&self) -> Result<Running, servers::Error> {
        Ok(match self.clone() {
            Self::Database(settings) => Running::Database(MariaDb::start(settings)?),
            Self::Cache(settings) => Running::Cache(Redis::start(settings)?),
        })
    }
}

impl Running {
    fn has_ended(&mut self) -> bool {
        match self {
            Self::Database(server) => server.has_ended(),
            Self::Cache(server) => server.has_ended(),
        }
    }

    fn stop(self) {
        match self {
            Self::Database(server) => server.stop(),
            Self::Cache(server) => server.stop(),
        }
    }
}

impl Kept {
    fn start(name: String, variable: String, settings: Kind) -> Result<Self, UpError> {
        Ok(Self {
            name,
            variable,
            running: Some(settings.start()?),
            settings,
            again: Instant::now(),
        })
    }

    fn look(&mut self) {
        if self
            .running
            .as_mut()
            .is_some_and(|server| !server.has_ended())
        {
            return;
        }
        if self.running.take().is_some() {
            println!("{} has ended; starts again", self.name);
        }
        if Instant::now() < self.again {
            return;
        }
        self.again = Instant::now() + PAUSE;
        match self.settings.start() {
            Ok(server) => self.running = Some(server),
            Err(error) => println!("{} cannot start: {error}", self.name),
        }
    }
}

/// The password of the servers of this folder; made once.
fn password(folder: &Folder, path: &Path) -> Result<String, UpError> {
    if let Ok(password) = fs::read_to_string(path) {
        return Ok(password.trim().to_owned());
    }
    let password = format!("{:032x}", rand::random::<u128>());
    folder.write_private("servers/password", &format!("{password}\n"))?;
    Ok(password)
}
