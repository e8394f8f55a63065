//! MariaDB: a primary, or a replica that follows one by GTID.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::process::{Process, write_private};

/// A server that runs.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    settings: Settings,
}

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything it keeps; made anew when it is not there.
    pub dir: PathBuf,
    /// Where a new data folder is copied from, for all servers; made when it is not there.
    pub template: PathBuf,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// A number that no other server of the same replication has.
    pub server_id: u32,
    /// Its part in a replication.
    pub role: Role,
    /// The databases that there are to be.
    pub databases: Vec<String>,
    /// Who may do all in these databases, and follow their changes, and nothing beyond.
    pub user: String,
    /// By which password: letters and digits alone.
    pub password: String,
}

/// A server's part in a replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows the server at this port.
    Replica {
        /// The primary's port.
        of: u16,
    },
}

impl MariaDb {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When MariaDB is not installed, a file cannot be written, or the server ends.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let data = settings.dir.join("data");
        if !data.join("mysql").exists() {
            install(&settings.template)?;
            // What a start that was cut off has left is of no use.
            let _ = fs::remove_dir_all(&data);
            let unfinished = settings.dir.join("data.new");
            let _ = fs::remove_dir_all(&unfinished);
            copy(&settings.template, &unfinished)
                .and_then(|()| fs::rename(&unfinished, &data))
                .map_err(Error::file(&data))?;
        }
        let init = settings.dir.join("init.sql");
        write_private(&init, &settings.init_sql())?;
        let socket = settings.socket();
        let _ = fs::remove_file(&socket);
        let (log, tmp) = (settings.dir.join("log"), settings.dir.join("tmp"));
        fs::create_dir_all(&tmp).map_err(Error::file(&tmp))?;
        let mut process = Process::start("mariadbd", PACKAGE, log, |command| {
            common(command, &data, &tmp);
            command
                .arg(format!("--init-file={}", init.display()))
                .arg(format!("--socket={}", socket.display()))
                .arg(format!("--port={}", settings.port))
                .arg(format!("--server-id={}", settings.server_id))
                .arg(format!("--pid-file={}", settings.dir.join("pid").display()))
                .args(SERVER);
            if settings.role != Role::Primary {
                command.arg("--read-only=ON");
            }
        })?;
        // The socket takes connections when the init file has run.
        process.wait_ready(|| std::os::unix::net::UnixStream::connect(&socket).is_ok())?;
        Ok(Self { process, settings })
    }

    /// What it is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Ends it, and keeps the data.
    pub fn stop(mut self) {
        self.process.stop();
    }

    /// Ends it as a crash would, and keeps the data.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Executes statements as the server's administrator, past the rights of the user; what they select, a line a row.
    ///
    /// # Errors
    /// When the client is not installed, or the server refuses.
    pub fn tell(&self, statements: &str) -> Result<String, Error> {
        let program = "mariadb";
        let mut command = Command::new(program);
        let socket = self.settings.socket();
        command.args([
            "--no-defaults",
            "--user=root",
            "--batch",
            "--skip-column-names",
        ]);
        command.arg(format!("--socket={}", socket.display()));
        command.args(["--execute", statements]);
        let output = command
            .output()
            .map_err(|source| Error::Start { program, source })?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(self.process.failed(format!(
                "refuses {statements}: {}",
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.process.freeze(frozen);
    }
}

impl Settings {
    /// Where it listens beside its port.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// What it runs at each start. None of it is replicated.
    fn init_sql(&self) -> String {
        let Self { user, password, .. } = self;
        let mut lines = vec!["SET sql_log_bin = 0".to_owned()];
        for database in &self.databases {
            lines.push(format!(
                "CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            ));
        }
        for host in ["localhost", "127.0.0.1"] {
            lines.push(format!(
                "CREATE USER IF NOT EXISTS '{user}'@'{host}' IDENTIFIED BY '{password}'"
            ));
            let account = format!("'{user}'@'{host}'");
            // What an earlier start has given: grants only add.
            lines.push(format!(
                "REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}"
            ));
            for database in &self.databases {
                lines.push(format!("GRANT ALL ON {database}.* TO {account}"));
            }
            // Of the server as a whole: to read the binlog, as replicas and the services do.
            lines.push(format!(
                "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {account}"
            ));
        }
        if let Role::Replica { of } = self.role {
            // Refused, and rightly so, when it follows already: the settings are kept.
            lines.push("STOP SLAVE".to_owned());
            lines.push(format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {of}, MASTER_USER = '{user}', \
                 MASTER_PASSWORD = '{password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, \
                 MASTER_HEARTBEAT_PERIOD = 1"
            ));
            lines.push("START SLAVE".to_owned());
        }
        lines.join(";\n") + ";\n"
    }
}

/// Makes a data folder, unless it is there.
fn install(template: &Path) -> Result<(), Error> {
    if template.exists() {
        return Ok(());
    }
    // Another process or thread may be doing the same.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let own = |name: &str| template.with_extension(format!("{process}.{count}.{name}"));
    let (fresh, log, tmp) = (own("new"), own("log"), own("tmp"));
    fs::create_dir_all(&tmp).map_err(Error::file(&tmp))?;
    let _ = fs::remove_dir_all(&fresh);
    let mut process = Process::start("mariadb-install-db", PACKAGE, log.clone(), |command| {
        common(command, &fresh, &tmp);
        command.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    })?;
    process.wait_end()?;
    let _ = fs::remove_file(log);
    let _ = fs::remove_dir_all(tmp);
    if fs::rename(&fresh, template).is_err() && template.exists() {
        let _ = fs::remove_dir_all(&fresh); // the other was faster
    }
    match template.exists() {
        true => Ok(()),
        false => Err(Error::file(template)(std::io::ErrorKind::NotFound.into())),
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), to)?),
        }
    }
    Ok(())
}

/// A server removes what others have in its `tmp` when it starts: each has its own.
fn common(command: &mut Command, data: &Path, tmp: &Path) {
    command.arg("--no-defaults"); // first, or not at all
    command.arg(format!("--datadir={}", data.display()));
    command.arg(format!("--tmpdir={}", tmp.display()));
    command.args(["--innodb-log-file-size=16M", "--innodb-undo-tablespaces=0"]);
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
}

const PACKAGE: &str = "mariadb-server";

/// Every commit is on disk and in the binlog when it is acknowledged; replicas follow in parallel.
const SERVER: [&str; 16] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--gtid-strict-mode=ON",
    "--log-slave-updates=ON",
    "--slave-parallel-threads=2",
    "--expire-logs-days=2",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=64M",
    "--max-connections=300",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--skip-slave-start=OFF",
];
