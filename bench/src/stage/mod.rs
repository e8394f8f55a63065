//! A stage: the peers with the same setup, what stands behind them, and rounds of load in turn.

mod rounds;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::Error;
use crate::interrupt::remove_on_interrupt;
use crate::load::{Certificate, Requests, Sample, Target, ask};
use crate::machine::{Places, free_address};
use crate::peer::{Back, Behind, Found, OURS, Peer, Place, Programs, Running, Setup};
use crate::report::{Failure, Row};

pub(crate) use self::rounds::{Measured, Round, rounds_in_turn};

/// How much is measured, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Of a round.
    pub(crate) time: Duration,
    /// How many each peer gets.
    pub(crate) rounds: usize,
    /// Workers or threads of each proxy.
    pub(crate) workers: usize,
    /// Connections of the load.
    pub(crate) connections: usize,
    /// What the names of cases must contain.
    pub(crate) case: String,
    /// Connections that `idle` holds.
    pub(crate) idle_connections: usize,
}

/// What all suites of a run share.
#[derive(Debug)]
pub(crate) struct Context {
    /// How much is measured.
    pub(crate) options: Options,
    /// The peers.
    pub(crate) programs: Programs,
    /// Which side has which cores.
    pub(crate) places: Places,
    /// Of all peers that speak TLS.
    pub(crate) certificate: Certificate,
    /// What could not be measured; the rest goes on without it.
    pub(crate) failures: RefCell<Vec<Failure>>,
    /// How many stages have been set up.
    stages: Cell<usize>,
    folder: TempDir,
}

impl Context {
    /// With a temporary folder of its own.
    pub(crate) fn new(options: Options, programs: Programs, places: Places) -> Result<Self, Error> {
        let folder = TempDir::with_prefix("tidegate-bench-");
        let folder = folder.map_err(Error::machine("a temporary folder"))?;
        remove_on_interrupt(folder.path().to_owned());
        Ok(Self {
            certificate: Certificate::make(folder.path())?,
            failures: RefCell::default(),
            stages: Cell::default(),
            options,
            programs,
            places,
            folder,
        })
    }

    /// A file of the load's own.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Error> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).map_err(Error::machine("a file for the load"))?;
        Ok(path)
    }

    /// What this case has found; nothing, and why, when it could not be finished.
    pub(crate) fn found(
        &self,
        suite: &'static str,
        case: &str,
        rows: Result<Vec<Row>, Error>,
    ) -> Vec<Row> {
        rows.unwrap_or_else(|error| {
            self.failed(Failure::of_case(suite, case, &error));
            Vec::new()
        })
    }

    /// Says that something could not be measured, and keeps it for the report.
    pub(crate) fn failed(&self, failure: Failure) {
        eprintln!("not measured: {}: {}", failure.what(), failure.why);
        self.failures.borrow_mut().push(failure);
    }
}

/// The peers and what stands behind them, running. A peer that fails is named and left out from then on; when ours
/// fails, the case has.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    context: &'a Context,
    suite: &'static str,
    case: &'a str,
    /// The peers that can do what is asked, ours first.
    pub(crate) running: Vec<Running>,
    behind: Behind,
}

impl<'a> Stage<'a> {
    /// Starts the origin and all proxies, for a case of a suite.
    pub(crate) fn start(
        context: &'a Context,
        suite: &'static str,
        case: &'a str,
        setup: &Setup,
    ) -> Result<Self, Error> {
        let (options, load) = (&context.options, &context.places.load);
        let behind = Behind::origin(options.workers, &context.certificate, load)?;
        Self::start_before(behind, &context.programs.found, context, suite, case, setup)
    }

    /// The same with peers that the suite brings along.
    pub(crate) fn start_with(
        peers: &'static [Peer],
        context: &'a Context,
        suite: &'static str,
        case: &'a str,
        setup: &Setup,
    ) -> Result<Self, Error> {
        let (options, load) = (&context.options, &context.places.load);
        let behind = Behind::origin(options.workers, &context.certificate, load)?;
        let peers = context.programs.brought(peers);
        Self::start_before(behind, &peers, context, suite, case, setup)
    }

    /// The same with Redis, and with peers that the suite brings along.
    pub(crate) fn start_before_redis(
        peers: &'static [Peer],
        context: &'a Context,
        suite: &'static str,
        case: &'a str,
        setup: &Setup,
    ) -> Result<Self, Error> {
        let stage = context.stages.get();
        let behind = Behind::redis(&context.folder.path().join(format!("{stage}-redis")))?;
        let peers = context.programs.brought(peers);
        Self::start_before(behind, &peers, context, suite, case, setup)
    }

    /// The same with nothing behind the peers that the suite brings along.
    pub(crate) fn start_before_nothing(
        peers: &'static [Peer],
        context: &'a Context,
        suite: &'static str,
        case: &'a str,
        setup: &Setup,
    ) -> Result<Self, Error> {
        let peers = context.programs.brought(peers);
        Self::start_before(Behind::Nothing, &peers, context, suite, case, setup)
    }

    fn start_before(
        behind: Behind,
        peers: &[Found],
        context: &'a Context,
        suite: &'static str,
        case: &'a str,
        setup: &Setup,
    ) -> Result<Self, Error> {
        context.stages.update(|stages| stages + 1);
        let mut stage = Self {
            context,
            suite,
            case,
            running: Vec::new(),
            behind,
        };
        for (peer, program) in peers {
            let folder = stage.folder(peer.name);
            let free = || free_address().ok_or_else(|| Error::Load("no port is free".into()));
            let place = Place {
                address: free()?,
                admin: free()?,
                origin: stage.behind.address(setup.back),
                folder: &folder,
                workers: setup.workers.unwrap_or(context.options.workers),
                certificate: &context.certificate,
            };
            let cpus = match setup.workers {
                None => context.places.proxy.clone(),
                Some(_) => context.places.all(),
            };
            match Running::start(peer, program, setup, &place, &cpus) {
                Ok(running) => stage.running.extend(running),
                Err(error) => stage.leave_out(peer.name, error)?,
            }
        }
        Ok(stage)
    }

    fn leave_out(&self, peer: &'static str, error: Error) -> Result<(), Error> {
        if peer == OURS {
            return Err(error);
        }
        let failure = Failure::of_peer(self.suite, self.case, peer, &error);
        self.context.failed(failure);
        Ok(())
    }

    /// Does this with every peer, one after the other, and leaves out those with which it fails.
    pub(crate) fn each<T>(
        &mut self,
        act: impl Fn(&Running) -> Result<T, Error>,
    ) -> Result<Vec<(&'static str, T)>, Error> {
        self.each_beside(|_, running| act(running))
    }

    fn each_beside<T>(
        &mut self,
        act: impl Fn(&Behind, &Running) -> Result<T, Error>,
    ) -> Result<Vec<(&'static str, T)>, Error> {
        let mut results = Vec::new();
        for running in std::mem::take(&mut self.running) {
            let peer = running.peer.name;
            match act(&self.behind, &running) {
                Ok(result) => {
                    results.push((peer, result));
                    self.running.push(running);
                }
                Err(error) => self.leave_out(peer, error)?,
            }
        }
        Ok(results)
    }

    /// A folder for a peer on this stage.
    fn folder(&self, peer: &str) -> PathBuf {
        let stage = self.context.stages.get();
        self.context.folder.path().join(format!("{stage}-{peer}"))
    }

    /// Makes sure that every peer answers a request as the origin itself does.
    pub(crate) fn check_answers(
        &mut self,
        requests: &Requests,
        target: impl Fn(&Running) -> Target,
    ) -> Result<(), Error> {
        let request = requests.at(0);
        let direct = Target {
            address: self.behind.address(Back::Http),
            tls: None,
        };
        let wanted = ask(&direct, request).map_err(Error::machine("the origin"))?;
        self.each(|running| {
            let answer = ask(&target(running), request);
            let answer = answer.map_err(|error| running.failed(&format!("no answer: {error}")))?;
            if answer == wanted {
                return Ok(());
            }
            let what = format!(
                "it answers {} with {} bytes, the origin {} with {}",
                answer.0,
                answer.1.len(),
                wanted.0,
                wanted.1.len()
            );
            Err(running.failed(&what))
        })?;
        Ok(())
    }

    /// Makes sure that every peer that verifies tokens refuses this request, which has a forged one.
    pub(crate) fn check_refusal(
        &mut self,
        forged: &Requests,
        target: impl Fn(&Running) -> Target,
    ) -> Result<(), Error> {
        self.each(|running| {
            if !running.peer.tokens {
                return Ok(());
            }
            let answer = ask(&target(running), forged.at(0));
            match answer.map_err(|error| running.failed(&format!("no answer: {error}")))? {
                (401, _) => Ok(()),
                (status, _) => {
                    Err(running.failed(&format!("it answers a forged token with {status}")))
                }
            }
        })?;
        Ok(())
    }

    /// Warms each peer up, then runs rounds in turn, A B C A B C, so that what drifts drifts for all.
    pub(crate) fn rounds(
        &mut self,
        load: impl Fn(&Running, Duration) -> Result<Sample, Error>,
    ) -> Result<Vec<Measured>, Error> {
        let stage = std::slice::from_mut(self);
        let measured = rounds_in_turn(stage, |_, running, time| load(running, time))?;
        Ok(measured.into_iter().flatten().collect())
    }
}
