//! The mode while the process runs: what is wanted and what the network is like becomes what the kernel does.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::forward::Service;

use super::config::parse_mac;
use super::forwarder::{self, Forwarder};
use super::layout::Way;
use super::neighbours::{Interface, Neighbours, NoWay};
use super::{Counters, DrError, DrOptions, metrics};

/// Between two looks at the network.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks while an endpoint that is well is silent: the kernel was asked to find it.
const SOON: Duration = Duration::from_millis(50);

/// How long a service goes on as it was while nobody who is to serve it is found in the network.
const FINDING: Duration = Duration::from_secs(1);

/// How long an earlier process may take to end that was told to.
const ENDING: Duration = Duration::from_secs(3);

/// The kernel's forwarding, as long as this process is to look after it.
pub struct Dr {
    wanted: watch::Sender<Wanted>,
    shared: Arc<Shared>,
    /// None after the end.
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What is to be forwarded. The number grows with every change.
#[derive(Clone, Debug, Default)]
struct Wanted {
    number: u64,
    services: Arc<[Service]>,
}

struct Shared {
    /// None until a predecessor has let go of it, and after the end.
    forwarder: Mutex<Option<Forwarder>>,
    /// Whether nobody is to take hold of it again.
    left: AtomicBool,
    /// Why endpoints are not reached.
    silent: Mutex<HashMap<IpAddr, NoWay>>,
    /// The number of what the kernel does, once all endpoints that are well are reached.
    applied: watch::Sender<u64>,
}

/// What the kernel forwards, and what it has counted.
#[derive(Clone, Debug)]
pub struct Status {
    /// The endpoints of all services.
    pub endpoints: Vec<EndpointStatus>,
    /// What else was counted since the program is attached: `no_endpoint`, `expired`, `icmp`, `not_kept`.
    pub events: Vec<(&'static str, u64)>,
    /// The interfaces that the program is on, and whether natively.
    pub attached: Vec<(String, bool)>,
}

/// An endpoint of a service.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// The name of its listener.
    pub service: Arc<str>,
    /// Its address, with the service's port.
    pub address: SocketAddr,
    /// Its hardware address, as long as one is known.
    pub mac: Option<[u8; 6]>,
    /// Whether packets are led to it.
    pub live: bool,
    /// Why it cannot be reached, in words.
    pub trouble: Option<String>,
    /// What it got since it is listed.
    pub counters: Counters,
}

impl Dr {
    /// Loads the program, or takes over one that forwards. What the kernel does is not changed before the first
    /// [`set`](Self::set). With `taking_over`, a predecessor may have it until it lets go.
    ///
    /// # Errors
    /// When there is no such interface, the kernel does not take the program, or another process has it.
    pub async fn start(options: DrOptions, taking_over: bool) -> Result<Self, DrError> {
        let given = options.macs.iter();
        let given = given.filter_map(|(address, mac)| Some((*address, parse_mac(mac)?)));
        let neighbours = Neighbours::open(given.collect())?;
        let interfaces = neighbours.interfaces().await?;
        let missing = |name: &&String| interfaces.iter().all(|interface| interface.name != **name);
        if let Some(name) = options.interfaces.iter().find(missing) {
            return Err(DrError::Interface(name.clone()));
        }
        let options = Arc::new(options);
        let forwarder = open(&options, taking_over).await?;
        let (wanted, changes) = watch::channel(Wanted::default());
        let shared = Arc::new(Shared {
            forwarder: Mutex::new(forwarder),
            left: AtomicBool::new(false),
            silent: Mutex::default(),
            applied: watch::Sender::new(0),
        });
        let task = tokio::spawn(run(shared.clone(), options, neighbours, changes));
        Ok(Self {
            wanted,
            shared,
            task: Mutex::new(Some(task)),
        })
    }

    /// What is to be forwarded from now on: the whole list.
    pub fn set(&self, services: Vec<Service>) {
        self.wanted.send_if_modified(|wanted| {
            // The first list counts, even if it is empty.
            let news = wanted.number == 0 || *wanted.services != *services;
            if news {
                wanted.number += 1;
                wanted.services = services.into();
            }
            news
        });
    }

    /// Waits until the kernel does what was set and all endpoints that are well are reached, but not for longer than
    /// this. Whether it is so.
    pub async fn applied(&self, patience: Duration) -> bool {
        let wanted = self.wanted.borrow().number;
        let mut applied = self.shared.applied.subscribe();
        let done = applied.wait_for(|number| *number >= wanted);
        tokio::time::timeout(patience, done)
            .await
            .is_ok_and(|done| done.is_ok())
    }

    /// What the kernel does.
    ///
    /// # Errors
    /// When its maps cannot be read.
    pub fn status(&self) -> Result<Status, DrError> {
        let names = forwarder::names(&self.wanted.borrow().services);
        let silent = self
            .shared
            .silent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let forwarder = self.shared.forwarder.lock();
        let forwarder = forwarder.unwrap_or_else(PoisonError::into_inner);
        let Some(forwarder) = forwarder.as_ref() else {
            return Ok(Status::nothing());
        };
        let endpoints = forwarder.endpoints()?.into_iter().filter_map(|known| {
            Some(EndpointStatus {
                service: names.get(&known.service)?.clone(),
                address: SocketAddr::new(known.address, known.service.address.port()),
                mac: (known.way.ifindex > 0).then_some(known.way.mac),
                live: known.live,
                trouble: silent.get(&known.address).map(ToString::to_string),
                counters: known.counters,
            })
        });
        Ok(Status {
            endpoints: endpoints.collect(),
            events: forwarder.events()?,
            attached: forwarder
                .attached()
                .map(|(name, native)| (name.to_owned(), native))
                .collect(),
        })
    }

    /// What the kernel has counted, for Prometheus.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        match self.status() {
            Ok(status) => metrics::families(&status),
            Err(error) => {
                tracing::warn!(%error, "what the kernel has counted cannot be read");
                Vec::new()
            }
        }
    }

    /// Lets go of the kernel's part. With `keep` it forwards on, for a successor or without one; otherwise it is
    /// taken away.
    pub async fn leave(&self, keep: bool) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
        let mut forwarder = self
            .shared
            .forwarder
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.left.store(true, Relaxed);
        if let Some(forwarder) = forwarder.take() {
            forwarder.close(keep);
        }
    }
}

impl fmt::Debug for Dr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = &*self.wanted.borrow();
        formatter
            .debug_struct("Dr")
            .field("wanted", wanted)
            .finish_non_exhaustive()
    }
}

impl Status {
    fn nothing() -> Self {
        Self {
            endpoints: Vec::new(),
            events: Vec::new(),
            attached: Vec::new(),
        }
    }
}

/// None when a predecessor has it.
async fn open(options: &Arc<DrOptions>, taking_over: bool) -> Result<Option<Forwarder>, DrError> {
    let deadline = Instant::now() + ENDING;
    loop {
        match Forwarder::open(options.clone()) {
            Ok(forwarder) => return Ok(Some(forwarder)),
            Err(DrError::Taken(_)) if taking_over => return Ok(None),
            Err(DrError::Taken(_)) if Instant::now() < deadline => tokio::time::sleep(SOON).await,
            Err(error) => return Err(error),
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    options: Arc<DrOptions>,
    neighbours: Neighbours,
    mut changes: watch::Receiver<Wanted>,
) {
    // Nothing is wanted yet: what an earlier process has left goes on.
    if changes.changed().await.is_err() {
        return;
    }
    let mut told = String::new();
    let mut stranded = None;
    loop {
        let wanted = changes.borrow_and_update().clone();
        let outcome = follow(&shared, &options, &neighbours, wanted, &mut stranded).await;
        let pause = match &outcome {
            Ok(true) => LOOK,
            Ok(false) => SOON,
            Err(DrError::Taken(_)) => SOON,
            Err(_) => LOOK,
        };
        let news = outcome
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        if news != told {
            tell(&news);
            told = news;
        }
        tokio::select! {
            change = changes.changed() => if change.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn tell(trouble: &str) {
    if trouble.is_empty() {
        tracing::info!("direct return is as configured");
    } else {
        tracing::error!("direct return is not as configured: {trouble}");
    }
}

/// Makes the kernel do what is wanted. Whether all endpoints that are well are reached. Since when a service would have
/// nobody, because those that are to serve it are still looked for, is in `stranded`.
async fn follow(
    shared: &Arc<Shared>,
    options: &Arc<DrOptions>,
    neighbours: &Neighbours,
    wanted: Wanted,
    stranded: &mut Option<Instant>,
) -> Result<bool, DrError> {
    let Wanted { number, services } = wanted;
    let members = services.iter().flat_map(|service| &service.members);
    let endpoints: BTreeSet<IpAddr> = members.clone().map(|member| member.address.ip()).collect();
    let well: BTreeSet<IpAddr> = members
        .filter(|member| member.well)
        .map(|member| member.address.ip())
        .collect();
    let interfaces = neighbours.interfaces().await?;
    let (ways, silent) = sorted(neighbours.ways(&endpoints, &interfaces).await?);
    let all = !silent
        .iter()
        .any(|(address, reason)| *reason == NoWay::Silent && well.contains(address));
    let strands = services.iter().any(|service| strands(service, &silent));
    shared.report(silent, &well);
    *stranded = strands.then(|| stranded.unwrap_or_else(Instant::now));
    if stranded.is_some_and(|since| since.elapsed() < FINDING) {
        return Ok(false);
    }
    let work = {
        let (shared, options) = (shared.clone(), options.clone());
        move || shared.apply(options, &services, &interfaces, &ways)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome?,
        // It has panicked, which was told.
        Err(_) => return Ok(true),
    }
    if all {
        shared.applied.send_replace(number);
    }
    Ok(all)
}

fn sorted(
    found: HashMap<IpAddr, Result<Way, NoWay>>,
) -> (HashMap<IpAddr, Way>, HashMap<IpAddr, NoWay>) {
    let (mut ways, mut silent) = (HashMap::new(), HashMap::new());
    for (address, way) in found {
        match way {
            Ok(way) => {
                ways.insert(address, way);
            }
            Err(reason) => {
                silent.insert(address, reason);
            }
        }
    }
    (ways, silent)
}

/// Whether all that are to get a service's flows have not answered yet.
fn strands(service: &Service, silent: &HashMap<IpAddr, NoWay>) -> bool {
    let members = service.members.iter();
    let mut takers = members
        .filter(|member| member.well && member.share > 0)
        .peekable();
    takers.peek().is_some()
        && takers.all(|taker| silent.get(&taker.address.ip()) == Some(&NoWay::Silent))
}

impl Shared {
    fn apply(
        &self,
        options: Arc<DrOptions>,
        wanted: &[Service],
        interfaces: &[Interface],
        ways: &HashMap<IpAddr, Way>,
    ) -> Result<(), DrError> {
        let mut place = self
            .forwarder
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let forwarder = match &mut *place {
            Some(forwarder) => forwarder,
            None if self.left.load(Relaxed) => return Ok(()),
            none => none.insert(Forwarder::open(options)?),
        };
        forwarder.apply(wanted, interfaces, ways)
    }

    /// Tells once of each endpoint that is well, but not to be reached.
    fn report(&self, silent: HashMap<IpAddr, NoWay>, well: &BTreeSet<IpAddr>) {
        let mut before = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        for (address, reason) in &silent {
            let known = before.get(address) == Some(reason);
            if !known && *reason != NoWay::Silent && well.contains(address) {
                tracing::warn!("the endpoint {address} gets no packets: {reason}");
            }
        }
        *before = silent;
    }
}
