//! Memcached.

use std::net::TcpStream;
use std::path::Path;

use crate::Error;
use crate::process::Process;

/// A server that runs.
#[derive(Debug)]
pub struct Memcached {
    process: Process,
    port: u16,
}

impl Memcached {
    /// Starts a server with 16 MiB and waits until it answers.
    ///
    /// # Errors
    /// When Memcached is not installed, or the server ends.
    pub fn start(dir: &Path, port: u16) -> Result<Self, Error> {
        let log = dir.join(format!("memcached.{port}.log"));
        let mut process = Process::start("memcached", "memcached", log, |command| {
            command.arg(format!("--port={port}"));
            command.args(["--listen=127.0.0.1", "--memory-limit=16"]);
            if rustix::process::geteuid().is_root() {
                command.arg("--user=root");
            }
        })?;
        process.wait_ready(|| TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(Self { process, port })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops and resumes it: it takes connections and answers nothing.
    pub fn freeze(&self, frozen: bool) {
        self.process.freeze(frozen);
    }
}
