//! Where the data lives: in files of this machine, or on servers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use chassis::config::Secret;
use chassis::units::Period;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Data, Files, Options, Password, Server, Servers};

use super::Mistakes;

/// Where the data lives: in files below `dir`, unless there are tables `shard`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The directory of the shards' files; made if it is missing, readable by this user only. With servers: only
    /// that of the signing keys, unless `tokens.keys` names another.
    pub dir: PathBuf,
    /// The number of shards in files, 1 to 4096. Fixed once data exists.
    #[schemars(range(min = 1, max = 4096))]
    pub shards: u16,
    /// Shards on servers of MariaDB or MySQL, in their order, which is fixed once data exists.
    #[schemars(length(max = 4096))]
    pub shard: Vec<ShardConfig>,
    /// Who connects to the servers.
    pub user: Option<String>,
    /// By which password: `"${VARIABLE}"` or `"${file:PATH}"`.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// Connections for reading, to each file or server. To a file one more writes; on servers these write too.
    #[schemars(range(min = 1))]
    pub readers: u32,
    /// How many requests may wait for a connection to one file or server; those that come then are refused with 503 at
    /// once.
    #[schemars(range(min = 1))]
    pub waiters: usize,
    /// How long a request waits for a connection before it is refused with 503.
    pub acquire_timeout: Period,
    /// How long a statement may take before its request is refused with 503.
    pub statement_timeout: Period,
    /// How long a statement waits for another process that writes to the same file.
    pub busy_timeout: Period,
    /// What an acknowledged write to a file survives.
    pub durability: Durability,
    /// How far behind a replica may be that is read.
    pub lag_bound: Period,
    /// How many reads a second a primary takes when none of its replicas is fit for them; the rest are refused
    /// with 503.
    pub spill_per_second: u32,
}

/// The servers of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardConfig {
    /// The one that takes writes: `"HOST:PORT/DATABASE"`. The database exists, and uses `utf8mb4_bin`.
    pub primary: ServerAddress,
    /// Those that follow it, and are read.
    #[serde(default)]
    pub replicas: Vec<ServerAddress>,
}

/// A database on a server: `HOST:PORT/DATABASE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct ServerAddress {
    host: String,
    port: u16,
    database: String,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The end of the process, however it ends. A power loss may take the last moments.
    #[default]
    Process,
    /// A power loss too, at the price of one fsync a write.
    Power,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/tidegate/users"),
            shards: 4,
            shard: Vec::new(),
            user: None,
            password: None,
            readers: 4,
            waiters: 512,
            acquire_timeout: Period::from_secs(2),
            statement_timeout: Period::from_secs(10),
            busy_timeout: Period::from_secs(5),
            durability: Durability::Process,
            lag_bound: Period::from_secs(5),
            spill_per_second: 1000,
        }
    }
}

impl DataConfig {
    /// What serde cannot say: values that do not work.
    pub(super) fn mistakes(&self) -> Mistakes {
        let limit = 1..=4096;
        let on_servers = !self.shard.is_empty();
        let names_someone = self.user.is_some() || self.password.is_some();
        Mistakes::default()
            .unless(
                limit.contains(&self.shards),
                "data.shards",
                "must be 1 to 4096",
            )
            .unless(
                self.shard.len() <= 4096,
                "data.shard",
                "must be at most 4096 shards",
            )
            .unless(
                !on_servers || self.user.is_some(),
                "data.user",
                "is missing: who connects to the servers?",
            )
            .unless(
                on_servers || !names_someone,
                "data.user",
                "is for servers, and there is no table `data.shard`",
            )
            .unless(self.readers > 0, "data.readers", "must be at least 1")
            .unless(self.waiters > 0, "data.waiters", "must be at least 1")
    }

    pub(crate) fn options(&self) -> Options {
        let data = match self.shard.is_empty() {
            true => Data::Files(Files {
                dir: self.dir.clone(),
                shards: self.shards,
                busy_timeout: *self.busy_timeout,
                durability: match self.durability {
                    Durability::Process => store::Durability::Process,
                    Durability::Power => store::Durability::Power,
                },
            }),
            false => Data::Servers(self.shard.iter().map(|shard| self.servers(shard)).collect()),
        };
        Options {
            data,
            readers: self.readers,
            waiters: self.waiters,
            acquire_timeout: *self.acquire_timeout,
            statement_timeout: *self.statement_timeout,
            lag_bound: *self.lag_bound,
            spill_per_second: self.spill_per_second,
        }
    }

    fn servers(&self, shard: &ShardConfig) -> Servers {
        let server = |address: &ServerAddress| Server {
            host: address.host.clone(),
            port: address.port,
            database: address.database.clone(),
            user: self.user.clone().unwrap_or_default(),
            password: self
                .password
                .as_ref()
                .map(|secret| Password(secret.expose().to_owned())),
        };
        Servers {
            primary: server(&shard.primary),
            replicas: shard.replicas.iter().map(server).collect(),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (place, database) = text.split_once('/')?;
            let (host, port) = place.rsplit_once(':')?;
            let sound = !host.is_empty() && !database.is_empty() && !database.contains('/');
            let host = host.trim_start_matches('[').trim_end_matches(']');
            sound.then_some(Self {
                host: host.to_owned(),
                port: port.parse().ok()?,
                database: database.to_owned(),
            })
        };
        parts().ok_or_else(|| format!("`{text}` is not HOST:PORT/DATABASE"))
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}/{}", self.host, self.port, self.database),
            false => write!(f, "{}:{}/{}", self.host, self.port, self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_and_others_are_refused() {
        for text in ["db-1.internal:3306/users_0", "[2001:db8::1]:3306/users"] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "db",
            "db:3306",
            "db/users",
            ":1/users",
            "db:x/users",
            "db:1/",
            "db:1/a/b",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn shards_on_servers_keep_their_order_and_the_password_stays_out_of_sight() {
        let text = "user = 'tidegate'
             password = 'hidden'
             shard = [
                 { primary = 'a:1/u0', replicas = ['b:1/u0'] },
                 { primary = 'c:1/u1' },
             ]";
        let config: DataConfig = toml::from_str(text).unwrap();
        assert_eq!(config.mistakes(), Mistakes::default());
        let options = config.options();
        let Data::Servers(servers) = &options.data else {
            panic!("{options:?}");
        };
        let primaries: Vec<String> = servers
            .iter()
            .map(|shard| shard.primary.to_string())
            .collect();
        assert_eq!(primaries, ["a:1/u0", "c:1/u1"]);
        assert_eq!(servers[0].replicas[0].to_string(), "b:1/u0");
        for shown in [format!("{options:?}"), format!("{config:?}")] {
            assert!(!shown.contains("hidden"), "{shown}");
        }
        let anonymous: DataConfig = toml::from_str("shard = [{ primary = 'a:1/u' }]").unwrap();
        let mistakes: Vec<_> = anonymous.mistakes().iter().map(|one| one.key).collect();
        assert_eq!(mistakes, ["data.user"]);
    }
}
