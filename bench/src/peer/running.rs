//! Processes of a run, each in its folder, and gone when the run ends, however it ends.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::{Peer, Place, Plan, Reload, Setup};
use crate::error::Error;
use crate::machine::{Memory, Usage, owners_of_port, pin, tree};

/// How long a proxy may take to listen: ten thousand routes take a while.
const START: Duration = Duration::from_secs(60);

/// More bytes than a program writes at its start, and fewer than a log of a round has.
const MORE_THAN_GREETINGS: u64 = 4096;

/// How long a process may take to end.
const END: Duration = Duration::from_secs(3);

/// The arguments of the hidden subcommand that starts a program on some cores, and lets it
/// end with us.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Launch {
    /// Cores; any when there are none.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Launch {
    /// Becomes the program; returns only when that fails.
    pub(crate) fn exec(&self) -> std::io::Error {
        pin(&self.cpus);
        let _ = set_parent_process_death_signal(Some(Signal::TERM)); // else it has to be ended by hand
        let [program, args @ ..] = &self.command[..] else {
            return std::io::ErrorKind::InvalidInput.into();
        };
        Command::new(program).args(args).exec()
    }
}

pub(super) fn launch(cpus: &[usize], program: &Path) -> Result<Command, Error> {
    let this = std::env::current_exe().map_err(Error::machine("this program's file"))?;
    let mut command = Command::new(this);
    command.arg("launch");
    if !cpus.is_empty() {
        let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
        command.arg("--cpus").arg(cpus.join(","));
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    Ok(command)
}

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Which.
    pub(crate) peer: &'static Peer,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Process,
    program: PathBuf,
    folder: PathBuf,
    plan: Plan,
}

impl Running {
    /// Starts it on these cores and waits until it listens, alone; `None` when it cannot do what
    /// is asked.
    pub(crate) fn start(
        peer: &'static Peer,
        program: &Path,
        setup: &Setup,
        place: &Place<'_>,
        cpus: &[usize],
    ) -> Result<Option<Self>, Error> {
        let Some(plan) = (peer.plan)(setup, place) else {
            return Ok(None);
        };
        let folder = place.folder.to_owned();
        fs::create_dir_all(&folder).map_err(Error::machine("a proxy's folder"))?;
        for (name, text) in &plan.files {
            let path = folder.join(name);
            let made = path.parent().map_or(Ok(()), fs::create_dir_all);
            let written = made.and_then(|()| fs::write(path, text));
            written.map_err(Error::machine("a proxy's configuration"))?;
        }
        let output = File::create(folder.join("output.log"));
        let output = output.map_err(Error::machine("a proxy's output"))?;
        let errors = output
            .try_clone()
            .map_err(Error::machine("a proxy's output"))?;
        let mut command = launch(cpus, program)?;
        command
            .args(&plan.args)
            .envs(plan.environment.clone())
            .current_dir(&folder);
        let child = command.stdout(output).stderr(errors).spawn();
        let mut running = Self {
            peer,
            address: place.address,
            process: Process(child.map_err(Error::machine("a proxy"))?),
            program: program.to_owned(),
            folder,
            plan,
        };
        running.wait_until_it_listens()?;
        running.check_that_it_is_alone()?;
        Ok(Some(running))
    }

    /// CPU time so far, of all its processes.
    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.process.0.id())
    }

    /// Memory, of all its processes.
    pub(crate) fn memory(&self) -> Memory {
        Memory::of(self.process.0.id())
    }

    /// Tells it to read its files again; `false` when it cannot.
    pub(crate) fn reload(&self) -> Result<bool, Error> {
        match &self.plan.reload {
            None => return Ok(false),
            Some(Reload::Signal(signal)) => self.process.signal(*signal),
            Some(Reload::Command(args)) => {
                let mut command = Command::new(&self.program);
                command
                    .args(args)
                    .current_dir(&self.folder)
                    .envs(self.plan.environment.clone());
                let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
                let status = status.map_err(Error::machine("the command that reloads"))?;
                if !status.success() {
                    return Err(self.failed(&format!("its reload ends with {status}")));
                }
            }
        }
        Ok(true)
    }

    /// Whether it can be told to read its files again.
    pub(crate) fn can_reload(&self) -> bool {
        self.plan.reload.is_some()
    }

    /// That its access log, if it is to have one, is written.
    pub(crate) fn check_log(&self) -> Result<(), Error> {
        let Some(name) = self.plan.log else {
            return Ok(());
        };
        let file = fs::metadata(self.folder.join(name));
        match file.is_ok_and(|file| file.len() > MORE_THAN_GREETINGS) {
            true => Ok(()),
            false => Err(self.failed("it writes no access log")),
        }
    }

    /// That it does something wrong, with the end of what it has written.
    pub(crate) fn failed(&self, what: &str) -> Error {
        let mut what = what.to_owned();
        for name in ["output.log", "error.log"] {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let end = &text[text.len().saturating_sub(1000)..];
            what += "\n";
            what += &String::from_utf8_lossy(end);
        }
        let peer = self.peer.name;
        Error::Peer { peer, what }
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Error> {
        let end = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            let status = self.process.0.try_wait();
            if let Some(status) = status.map_err(Error::machine("a proxy's status"))? {
                return Err(self.failed(&format!("it ends with {status}")));
            }
            if Instant::now() > end {
                return Err(self.failed("it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Only its own processes may have a socket of its port.
    fn check_that_it_is_alone(&self) -> Result<(), Error> {
        let owners = owners_of_port(self.address.port());
        let own = tree(self.process.0.id());
        let stranger = owners.iter().find(|pid| !own.contains(pid));
        match stranger {
            _ if owners.is_empty() => Err(self.failed("none of its processes listens")),
            Some(pid) => Err(self.failed(&format!("process {pid} listens on its port too"))),
            None => Ok(()),
        }
    }
}

/// A process that ends with its owner, and its children with it.
#[derive(Debug)]
pub(super) struct Process(pub(super) Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.0), signal); // it may have ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let all = tree(self.0.id());
        self.signal(Signal::TERM);
        let end = Instant::now() + END;
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if matches!(self.0.try_wait(), Ok(None)) {
            for pid in all
                .into_iter()
                .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
            {
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = self.0.wait();
        }
    }
}
