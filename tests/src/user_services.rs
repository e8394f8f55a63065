//! Several processes of the user services on the same servers: two shards on MariaDB, each with a replica, and Redis.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use servers::{MariaDb, Redis, RedisSettings, Role, Settings, Setup};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::api::Api;
use crate::gateway::address;
use crate::process::Process;

/// The servers. They end with the thread that has started them.
#[derive(Debug)]
pub struct Servers {
    primaries: Vec<Kept>,
    replicas: Vec<Kept>,
    /// The shared cache.
    pub redis: Redis,
    dir: TempDir,
}

/// A database server, which may be down.
#[derive(Debug)]
struct Kept {
    settings: Settings,
    server: Option<MariaDb>,
}

/// A process of the user services.
#[derive(Debug)]
pub struct UserService {
    /// The process.
    pub process: Process,
    /// Its API.
    pub api: Api,
    /// Its admin listener.
    pub admin: Admin,
    /// Its configuration.
    pub file: PathBuf,
}

const SHARDS: u32 = 2;

impl Servers {
    /// Starts all. Blocks. Data folders are copied from the template, which is made when it is not there.
    ///
    /// # Panics
    /// When one does not start.
    pub fn start(template: &Path) -> Self {
        let dir = TempDir::new().expect("temporary folders can be made");
        let mut servers = [Vec::new(), Vec::new()];
        for shard in 0..SHARDS {
            let mut of = 0;
            for (part, servers) in servers.iter_mut().enumerate() {
                let role = match part {
                    0 => Role::Primary,
                    _ => Role::Replica { of },
                };
                let number = shard * 2 + u32::try_from(part).expect("one of two") + 1;
                let settings = settings(dir.path(), template, number, role);
                of = settings.port;
                servers.push(Kept::start(settings));
            }
        }
        let redis = Redis::start(RedisSettings {
            dir: dir.path().join("redis"),
            port: servers::free_port().expect("a port is free"),
            password: Some("secret".to_owned()),
            setup: Setup::Single,
        });
        let [primaries, replicas] = servers;
        Self {
            primaries,
            replicas,
            redis: redis.expect("Redis starts"),
            dir,
        }
    }

    /// Starts a process of the services; `keys` are more of its configuration.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn service(&self, name: &str, keys: &str) -> UserService {
        let file = self.dir.path().join(format!("{name}.toml"));
        fs::write(&file, self.configuration(keys)).expect("files can be written in a new folder");
        UserService::start(file).await
    }

    fn configuration(&self, keys: &str) -> String {
        let redis = self.redis.port();
        let mut text = format!(
            r#"admin = {{ address = "127.0.0.1:0" }}
listen = {{ address = "127.0.0.1:0" }}
tokens = {{ keys = "keys" }}
hash = {{ memory = "8KiB", iterations = 1 }}
[cache.remote]
kind = "redis"
nodes = ["127.0.0.1:{redis}"]
password = "secret"
{keys}
[data]
user = "tidegate"
password = "secret"
lag_bound = "1s"
statement_timeout = "1s"
acquire_timeout = "1s"
"#
        );
        for (primary, replica) in self.primaries.iter().zip(&self.replicas) {
            let (primary, replica) = (primary.settings.port, replica.settings.port);
            text.push_str(&format!(
                "[[data.shard]]\nprimary = \"127.0.0.1:{primary}/users\"\n\
                 replicas = [\"127.0.0.1:{replica}/users\"]\n"
            ));
        }
        text
    }

    /// Ends a shard's primary as a crash does.
    pub fn end_primary(&mut self, shard: usize) {
        if let Some(server) = self.primaries[shard].server.take() {
            server.kill();
        }
    }

    /// Ends a shard's primary as a crash does, if it runs, and starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn crash_primary(&mut self, shard: usize) {
        self.primaries[shard].crash();
    }

    /// The same with its replica.
    ///
    /// # Panics
    /// When it does not start.
    pub fn crash_replica(&mut self, shard: usize) {
        self.replicas[shard].crash();
    }

    /// Ends a shard's replica for good.
    pub fn end_replica(&mut self, shard: usize) {
        if let Some(server) = self.replicas[shard].server.take() {
            server.kill();
        }
    }

    /// Stops a shard's replica from following, or lets it go on.
    ///
    /// # Panics
    /// When it does not obey.
    pub fn pause_replication(&self, shard: usize, pause: bool) {
        let statement = if pause { "STOP SLAVE" } else { "START SLAVE" };
        self.replicas[shard].tell(statement);
    }

    /// Executes statements on one shard's primary, behind the back of the services; what they select, a line a row.
    ///
    /// # Panics
    /// When they are refused.
    pub fn ask(&self, shard: usize, statements: &str) -> String {
        self.primaries[shard].tell(&format!("USE users; {statements}"))
    }

    /// Executes a statement on every primary, behind the back of the services.
    ///
    /// # Panics
    /// When it is refused.
    pub fn execute(&self, statement: &str) {
        for primary in &self.primaries {
            primary.tell(&format!("USE users; {statement}"));
        }
    }
}

impl Kept {
    fn start(settings: Settings) -> Self {
        let server = MariaDb::start(settings.clone()).expect("MariaDB starts");
        Self {
            settings,
            server: Some(server),
        }
    }

    /// Executes statements as the server's administrator; what they select.
    fn tell(&self, statements: &str) -> String {
        let server = self.server.as_ref().expect("it runs");
        server.tell(statements).expect("they are right")
    }

    fn crash(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
        *self = Self::start(self.settings.clone());
    }
}

fn settings(dir: &Path, template: &Path, number: u32, role: Role) -> Settings {
    Settings {
        dir: dir.join(number.to_string()),
        template: template.to_owned(),
        port: servers::free_port().expect("a port is free"),
        server_id: number,
        role,
        databases: vec!["users".to_owned()],
        user: "tidegate".to_owned(),
        password: "secret".to_owned(),
    }
}

impl UserService {
    async fn start(file: PathBuf) -> Self {
        let args = ["users".into(), "-c".into(), file.clone().into()];
        let mut process = Process::start(&args, &[]);
        let ready = process.ready().await;
        Self {
            process,
            api: Api::plain(address(&ready, "http")),
            admin: Admin {
                address: address(&ready, "admin"),
            },
            file,
        }
    }

    /// Ends it as a crash does, and starts it again, at another address.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn crash(&mut self) {
        self.process.signal(Signal::KILL);
        let patience = std::time::Duration::from_secs(5);
        self.process.ended(patience).await;
        *self = Self::start(self.file.clone()).await;
    }
}
