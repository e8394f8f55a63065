//! Which servers there are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The servers that processes share a cache on.
#[derive(Clone, Debug)]
pub struct Options {
    /// What they are.
    pub kind: Kind,
    /// Where they are. Of a cluster, or with sentinels, some to begin with; else keys are dealt out to all.
    pub nodes: Vec<Node>,
    /// Servers of the same kind that stand in while one of the others is away.
    pub gutter: Vec<Node>,
    /// How long a server may take to answer.
    pub timeout: Duration,
    /// What every key begins with.
    pub prefix: String,
    /// As whom to log in; Redis only.
    pub user: Option<String>,
    /// With which password; Redis only.
    pub password: Option<Password>,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Redis, each server by itself.
    Redis,
    /// A Redis Cluster.
    RedisCluster,
    /// Redis whose primary sentinels know by this name.
    RedisSentinel(String),
    /// Memcached 1.6, each server by itself.
    Memcached,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name or address of the machine.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A password, which is not shown.
#[derive(Clone)]
pub struct Password(pub String);

impl Options {
    /// The channel on which deletions are told.
    pub(crate) fn channel(&self) -> String {
        format!("{}:forget", self.prefix)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Node {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected HOST:PORT";
        let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let sound = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(sound),
        };
        match port.parse() {
            Ok(port) if sound && port != 0 => Ok(Self {
                host: bare.unwrap_or(host).to_owned(),
                port,
            }),
            _ => Err(WRONG),
        }
    }
}
