//! Redis: one server, the primary that sentinels name, or a cluster.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisResult,
};
use tokio::sync::mpsc;

use super::backend::{Backend, Found, Outcome};
use super::entry::{Entry, LATEST, NONCE, is_lease, new_lease};
use super::options::{Kind, Node, Options};
use crate::RemoteError;

/// A Redis server, or a cluster.
pub(super) struct Redis {
    way: Way,
    /// Where to subscribe: any of these. Without sentinels.
    clients: Vec<Client>,
    link: Mutex<Option<Link>>,
    /// Held by who connects.
    connecting: tokio::sync::Mutex<()>,
}

/// How the server of a key is found.
enum Way {
    Single,
    Cluster(Box<ClusterClient>),
    Sentinel {
        sentinel: tokio::sync::Mutex<Box<Sentinel>>,
        primary: String,
        login: SentinelNodeConnectionInfo,
    },
}

/// A connection, which any number of requests share.
#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Replaces a value if it is still the same.
const FILL: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";

/// Removes a value if it is still the same.
const GIVE_BACK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

/// Puts a deletion there; the bytes behind its letter and nonce say how new a fill must be.
const DELETE: &str = "local there = redis.call('GET', KEYS[1]) local new = ARGV[1] local head = tonumber(ARGV[3]) \
    if there and there:sub(1, 1) == 'D' and there:sub(head + 1) ~= new:sub(head + 1) \
    then new = new:sub(1, head) .. ARGV[4] end \
    redis.call('SET', KEYS[1], new, 'PX', ARGV[2])";

/// Ranges of a cluster's slots; the servers of a cluster have ranges too.
const RANGES: u16 = 64;
const SLOTS: u16 = 16_384;

impl Redis {
    pub(super) fn new(options: &Options, nodes: &[Node]) -> Result<Self, RemoteError> {
        let login = login(options);
        let infos = nodes.iter().map(|node| info(node, &login));
        let infos = infos.collect::<RedisResult<Vec<_>>>()?;
        let mut clients = Vec::new();
        let way = match &options.kind {
            Kind::RedisCluster => {
                let builder = ClusterClient::builder(infos.clone());
                let builder = builder.connection_timeout(CONNECT).retries(1);
                Way::Cluster(Box::new(builder.build()?))
            }
            Kind::RedisSentinel(primary) => Way::Sentinel {
                // Sentinels have no users of their own here.
                sentinel: tokio::sync::Mutex::new(Box::new(Sentinel::build(
                    nodes.iter().map(address).collect(),
                )?)),
                primary: primary.clone(),
                login: SentinelNodeConnectionInfo::default().set_redis_connection_info(login),
            },
            Kind::Redis | Kind::Memcached => Way::Single,
        };
        if !matches!(way, Way::Sentinel { .. }) {
            for info in infos {
                clients.push(Client::open(info)?);
            }
        }
        Ok(Self {
            way,
            clients,
            link: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(()),
        })
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.link().await? {
            Link::One(mut link) => command.query_async(&mut link).await,
            Link::Cluster(mut link) => command.query_async(&mut link).await,
        }
    }

    /// The connection; a new one when there is none.
    async fn link(&self) -> RedisResult<Link> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let link = match &self.way {
            Way::Cluster(client) => Link::Cluster(client.get_async_connection().await?),
            _ => Link::One(connect(&self.client(0).await?).await?),
        };
        *self.slot() = Some(link.clone());
        Ok(link)
    }

    /// A server to connect to.
    async fn client(&self, turn: usize) -> RedisResult<Client> {
        match &self.way {
            Way::Sentinel {
                sentinel,
                primary,
                login,
            } => {
                let mut sentinel = sentinel.lock().await;
                sentinel.async_master_for(primary, Some(login)).await
            }
            _ => Ok(self.clients[turn % self.clients.len()].clone()),
        }
    }

    fn current(&self) -> Option<Link> {
        self.slot().clone()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(1);

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    // Whoever asks has a time-out of their own.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn address(node: &Node) -> ConnectionAddr {
    ConnectionAddr::Tcp(node.host.clone(), node.port)
}

fn info(node: &Node, login: &RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
    let info = address(node).into_connection_info()?;
    Ok(info.set_redis_settings(login.clone()))
}

fn login(options: &Options) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = &options.user {
        login = login.set_username(user);
    }
    if let Some(password) = &options.password {
        login = login.set_password(&password.0);
    }
    login
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Backend for Redis {
    fn look<'a>(&'a self, key: &'a str, lease: Duration) -> Outcome<'a, Found> {
        Box::pin(async move {
            let found: Option<Vec<u8>> = self.query(redis::cmd("GET").arg(key)).await?;
            if let Some(bytes) = found {
                return Ok(match Entry::from_bytes(&bytes) {
                    Some(entry) => Found::Entry(entry, bytes),
                    None if is_lease(&bytes) => Found::Taken,
                    // What cannot be read is in nobody's way.
                    None => Found::Vacant(bytes),
                });
            }
            let token = new_lease();
            let mut set = redis::cmd("SET");
            set.arg(key)
                .arg(&token)
                .arg("NX")
                .arg("PX")
                .arg(millis(lease));
            Ok(match self.query::<Option<String>>(&set).await? {
                Some(_) => Found::Vacant(token),
                None => Found::Taken,
            })
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>> {
        Box::pin(async move {
            let found: Option<Vec<u8>> = self.query(redis::cmd("GET").arg(key)).await?;
            Ok(found.and_then(|bytes| Entry::from_bytes(&bytes)))
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a str,
        token: &'a [u8],
        entry: &'a Entry,
        ttl: Duration,
    ) -> Outcome<'a, bool> {
        Box::pin(async move {
            let mut eval = redis::cmd("EVAL");
            eval.arg(FILL).arg(1).arg(key).arg(token);
            eval.arg(entry.to_bytes()).arg(millis(ttl));
            Ok(self.query(&eval).await?)
        })
    }

    fn give_back<'a>(&'a self, key: &'a str, token: &'a [u8]) -> Outcome<'a, ()> {
        Box::pin(async move {
            let mut eval = redis::cmd("EVAL");
            eval.arg(GIVE_BACK).arg(1).arg(key).arg(token);
            match self.query(&eval).await.map_err(RemoteError::from) {
                // Without the right to delete it ends by itself.
                Err(error) if error.is_refusal() => Ok(()),
                outcome => outcome,
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str, deletion: &'a Entry, ttl: Duration) -> Outcome<'a, ()> {
        Box::pin(async move {
            let mut eval = redis::cmd("EVAL");
            eval.arg(DELETE).arg(1).arg(key);
            eval.arg(deletion.to_bytes()).arg(millis(ttl));
            eval.arg(1 + NONCE).arg(LATEST);
            Ok(self.query(&eval).await?)
        })
    }

    fn ping<'a>(&'a self, key: &'a str) -> Outcome<'a, ()> {
        Box::pin(async move {
            let _: bool = self.query(redis::cmd("EXISTS").arg(key)).await?;
            Ok(())
        })
    }

    fn publish<'a>(&'a self, channel: &'a str, message: &'a str) -> Outcome<'a, ()> {
        Box::pin(async move {
            let mut publish = redis::cmd("PUBLISH");
            Ok(self.query(publish.arg(channel).arg(message)).await?)
        })
    }

    fn follow<'a>(
        &'a self,
        channel: &'a str,
        heard: mpsc::Sender<String>,
    ) -> Option<Outcome<'a, ()>> {
        Some(Box::pin(async move {
            let turn: u8 = rand::random();
            let client = self.client(turn.into()).await?;
            let mut feed = client.get_async_pubsub().await?;
            feed.subscribe(channel).await?;
            let mut messages = feed.into_on_message();
            let mut message = String::new();
            while heard.send(message).await.is_ok() {
                let Some(next) = messages.next().await else {
                    break;
                };
                message = next.get_payload()?;
            }
            Ok(())
        }))
    }

    fn script<'a>(
        &'a self,
        script: &'a str,
        key: &'a str,
        arguments: &'a [i64],
    ) -> Option<Outcome<'a, i64>> {
        Some(Box::pin(async move {
            let mut eval = redis::cmd("EVAL");
            eval.arg(script).arg(1).arg(key).arg(arguments);
            Ok(self.query(&eval).await?)
        }))
    }

    fn parts(&self) -> usize {
        match self.way {
            Way::Cluster(_) => RANGES.into(),
            Way::Single | Way::Sentinel { .. } => 1,
        }
    }

    fn part(&self, key: &str) -> usize {
        match self.way {
            Way::Cluster(_) => {
                let slot = crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOTS;
                usize::from(slot / (SLOTS / RANGES))
            }
            Way::Single | Way::Sentinel { .. } => 0,
        }
    }

    fn renew(&self) {
        // A cluster's connection looks after its servers itself.
        if !matches!(self.way, Way::Cluster(_)) {
            *self.slot() = None;
        }
    }
}
