//! Redis: by itself, in a cluster, and the sentinels that watch over it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Error;
use crate::process::{Process, free_port, write_private};

/// A server that runs. It forgets everything with its process.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    settings: RedisSettings,
    /// Where the servers of a cluster speak to each other.
    bus: u16,
}

/// Where a server is and what it is to be.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Everything it keeps; made when it is not there.
    pub dir: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// By which password it is used, if by any: letters and digits alone.
    pub password: Option<String>,
    /// Its part.
    pub setup: Setup,
}

/// A server's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setup {
    /// It stands alone.
    Single,
    /// It follows the server at this port.
    Replica(u16),
    /// A part of a cluster.
    Cluster,
    /// It watches over the primary at this port, called `main`, and calls it gone after half a second.
    Sentinel(u16),
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When Redis is not installed, a file cannot be written, or the server ends.
    pub fn start(settings: RedisSettings) -> Result<Self, Error> {
        let RedisSettings { dir, port, .. } = &settings;
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let configuration = dir.join("redis.conf");
        let bus = free_port().unwrap_or_default();
        // Sentinels write their file anew.
        write_private(&configuration, &settings.configuration(bus))?;
        let program = match settings.setup {
            Setup::Sentinel(_) => "redis-sentinel",
            _ => "redis-server",
        };
        let mut process = Process::start(program, program, dir.join("log"), |command| {
            command.arg(&configuration);
        })?;
        process.wait_ready(|| {
            let answer = ask(*port, "PING").unwrap_or_default();
            answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")
        })?;
        Ok(Self {
            process,
            settings,
            bus,
        })
    }

    /// Makes one cluster of servers, each with an equal part of the slots, and waits until it serves.
    ///
    /// # Errors
    /// When a server does not take part.
    pub fn join(servers: &[Self]) -> Result<(), Error> {
        const SLOTS: usize = 16_384;
        let Some(first) = servers.first() else {
            return Ok(());
        };
        for (number, server) in servers.iter().enumerate() {
            let (from, to) = (
                SLOTS * number / servers.len(),
                SLOTS * (number + 1) / servers.len() - 1,
            );
            server.tell(&format!("CLUSTER ADDSLOTSRANGE {from} {to}"))?;
            server.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
            server.tell(&format!(
                "CLUSTER MEET 127.0.0.1 {} {}",
                first.port(),
                first.bus
            ))?;
        }
        let end = Instant::now() + PATIENCE;
        let serves = |server: &Self| {
            let info = ask(server.port(), "CLUSTER INFO").unwrap_or_default();
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_known_nodes:{}", servers.len()))
        };
        while !servers.iter().all(serves) {
            if Instant::now() > end {
                return Err(first.process.failed("is in no cluster".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.settings.port
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Sends it a command and waits for its answer, as Redis writes it.
    ///
    /// # Errors
    /// When it does not answer, or with an error.
    pub fn tell(&self, command: &str) -> Result<String, Error> {
        match ask(self.port(), command) {
            Some(answer) if !answer.starts_with('-') => Ok(answer),
            answer => Err(self
                .process
                .failed(format!("answers {answer:?} to {command}"))),
        }
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.process.stop();
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops and resumes it: it takes connections and answers nothing.
    pub fn freeze(&self, frozen: bool) {
        self.process.freeze(frozen);
    }

    /// Starts it again, empty.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.kill();
        *self = Self::start(self.settings.clone())?;
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

impl RedisSettings {
    fn configuration(&self, bus: u16) -> String {
        let (dir, port) = (self.dir.display(), self.port);
        let mut common = format!(
            "bind 127.0.0.1\nport {port}\ndir \"{dir}\"\npidfile \"{dir}/pid\"\nprotected-mode no\n"
        );
        if let Some(password) = &self.password {
            common.push_str(&format!("requirepass {password}\n"));
        }
        let memory = "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n\
             maxmemory 256mb\nmaxmemory-policy allkeys-lru\n";
        match &self.setup {
            Setup::Single => format!("{common}{memory}"),
            Setup::Replica(of) => format!("{common}{memory}replicaof 127.0.0.1 {of}\n"),
            Setup::Cluster => format!(
                "{common}{memory}cluster-enabled yes\ncluster-port {bus}\ncluster-config-file nodes.conf\n\
                 cluster-node-timeout 2000\ncluster-require-full-coverage no\n"
            ),
            Setup::Sentinel(of) => format!(
                "{common}sentinel monitor main 127.0.0.1 {of} 1\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
            ),
        }
    }
}

/// What a server answers to one command. Sentinels do not know how to quit: with them it ends in a pause.
fn ask(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let pause = Some(Duration::from_millis(200));
    stream.set_read_timeout(pause).ok()?;
    let command = format!("{command}\r\nQUIT\r\n");
    stream.write_all(command.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer).is_ok();
    (ended || !answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}
