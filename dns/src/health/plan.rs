//! What is checked for whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chassis::config::Diagnostic;
use chassis::health::Target;
use chassis::health::check::{Check, Checks};

use crate::geo::Sites;
use crate::policy::{Endpoint, Policy};

/// What is checked for whom.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) sites: Arc<Sites>,
    pub(super) targets: BTreeMap<Target, Check>,
    pub(super) policies: BTreeMap<String, Planned>,
}

/// A policy, and what shows the health of each of its endpoints; nothing for one without a check.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) policy: Arc<Policy>,
    pub(super) targets: Vec<Option<Target>>,
}

impl Plan {
    /// Judges which check each endpoint has.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn compile(
        sites: Arc<Sites>,
        policies: &[Arc<Policy>],
        checks: &Checks,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut plan = Self {
            sites,
            ..Self::default()
        };
        let mut mistakes = Vec::new();
        for policy in policies {
            let mut targets = Vec::new();
            for endpoint in &policy.endpoints {
                match target(endpoint, checks) {
                    Ok(None) => targets.push(None),
                    Ok(Some((target, check))) => {
                        plan.targets.insert(target.clone(), check.clone());
                        targets.push(Some(target));
                    }
                    Err(mistake) if mistakes.contains(&mistake) => {} // a pool's check, wrong for each of its endpoints
                    Err(mistake) => mistakes.push(mistake),
                }
            }
            let planned = Planned {
                policy: policy.clone(),
                targets,
            };
            plan.policies.insert(policy.name.clone(), planned);
        }
        match mistakes.is_empty() {
            true => Ok(plan),
            false => Err(mistakes),
        }
    }
}

fn target<'a>(
    endpoint: &Endpoint,
    checks: &'a Checks,
) -> Result<Option<(Target, &'a Check)>, Diagnostic> {
    let Some(name) = &endpoint.check else {
        return Ok(None);
    };
    let check = checks.named(name)?;
    let address = match &endpoint.probe {
        Some(probe) if probe.port() == 0 => return Err(probe.wrong("a port is from 1 to 65535")),
        Some(probe) => **probe,
        None => {
            let Some(port) = check.port.or(check.usual) else {
                let what = format!("the check `{}` does not say which port to ask", **name);
                return Err(name
                    .wrong(what)
                    .help("add `port = 443` to it, or `probe` here"));
            };
            SocketAddr::new(endpoint.address, port)
        }
    };
    Ok(Some(((address, name.to_string()), check)))
}
