//! What the running balancer knows of endpoints, asked at its admin listener.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chassis::life::{AdminClient, AdminConfig};

use crate::health::{EndpointReport, Plan, StateReport};
use crate::state::State;

/// What is known, and from where.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) from: String,
    /// None when nobody has answered.
    known: Option<StateReport>,
}

/// After this every slow start is over.
const LATER: Duration = Duration::from_secs(366 * 24 * 3600);

impl Live {
    /// Asks at this URL, or where the configuration says.
    ///
    /// # Errors
    /// When nobody answers at a URL that was given.
    pub(super) fn ask(admin: Option<&str>, config: &AdminConfig) -> Result<Self, String> {
        let client = AdminClient::new(admin, config);
        let known = client.ask(async |client| client.get("/l4/state").await)?;
        Ok(Self {
            from: client.url().to_owned(),
            known,
        })
    }

    /// Whether anybody has answered.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// What is known of an endpoint.
    pub(super) fn endpoint(&self, cluster: &str, address: SocketAddr) -> Option<&EndpointReport> {
        let clusters = &self.known.as_ref()?.clusters;
        let cluster = clusters.iter().find(|one| one.name == cluster)?;
        let mut endpoints = cluster.endpoints.iter();
        endpoints.find(|one| one.address == address)
    }

    /// Lets a state deal out as the running balancer does. Where none runs all endpoints count as well, with what the
    /// state file keeps.
    pub(super) fn teach(&self, state: &State, plan: &Plan) {
        let now = Instant::now();
        for planned in &plan.endpoints {
            let endpoint = &planned.endpoint;
            let address = endpoint.address;
            let (well, forced, weight) = match (&self.known, &plan.state) {
                (Some(_), _) => match self.endpoint(&planned.cluster, address) {
                    Some(known) => (known.well, known.state, Some(known.weight)),
                    None => (false, Default::default(), None),
                },
                (None, Some(file)) => {
                    let set = file.kept.of(&planned.cluster, address);
                    (true, set.state, set.weight)
                }
                (None, None) => (true, Default::default(), None),
            };
            endpoint.set_weight(weight, now);
            endpoint.force(forced, now);
            endpoint.set_well(well, now);
        }
        state.follow(now + LATER);
    }
}
