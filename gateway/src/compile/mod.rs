//! `Config` to `State`: where a configuration is judged.
//!
//! Every mistake is collected, so that one run shows them all. What the
//! previous state has learned is carried over: plugins, the health of
//! endpoints with the same address and settings, the counters of routes with the same name.

mod acme;
mod clusters;
mod http;
mod http2;
mod listeners;
mod plugin_instances;
mod routes;
mod tls;
mod tls_clients;

use std::path::PathBuf;

use chassis::config::{Diagnostic, Sources};
use chassis::net::handover::Handover;
use plugins::Registration;
use tokio::runtime::Handle;

use self::listeners::limit;
use crate::config::Config;
use crate::state::State;

/// What a configuration is compiled with.
#[derive(Clone, Copy)]
pub(crate) struct Compiler<'a> {
    /// Every kind of plugin.
    pub(crate) registrations: &'a [Registration],
    /// The configuration's files.
    pub(crate) sources: &'a Sources,
    /// What serves now.
    pub(crate) previous: Option<&'a State>,
    /// Where health checks and plugins run in the background; none when only checking.
    pub(crate) runtime: Option<&'a Handle>,
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    mistakes: Vec<Diagnostic>,
    files: Vec<PathBuf>,
}

impl Findings {
    /// Keeps the value, or its mistake.
    fn keep<T>(&mut self, outcome: Result<T, Diagnostic>) -> Option<T> {
        outcome.map_err(|mistake| self.mistakes.push(mistake)).ok()
    }
}

impl Compiler<'_> {
    /// Judges a configuration.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub(crate) fn compile(&self, config: &Config) -> Result<State, Vec<Diagnostic>> {
        let mut findings = Findings::default();
        findings.keep(config.admin.validate());
        findings.keep(config.log.validate());
        if let Some(threads) = &config.threads
            && !(1..=1024).contains(&**threads)
        {
            findings
                .mistakes
                .push(threads.wrong("must be from 1 to 1024"));
        }
        let mut acme = self.acme(config, &mut findings);
        let listeners = self.listeners(config, &mut acme, &mut findings);
        let connections = findings
            .keep(limit(config.limits.connections.as_ref()))
            .flatten();
        let handover = config.handover.as_ref();
        let handover = handover.map(|config| Handover::compile(config, self.sources));
        let handover = findings.keep(handover.transpose()).flatten();
        let plugins = self.plugins(config, &mut findings);
        let clusters = self.clusters(config, &mut findings);
        let routes = self.routes(config, &plugins, &clusters, &mut findings);
        if !findings.mistakes.is_empty() {
            return Err(findings.mistakes);
        }
        Ok(State {
            listeners,
            acme,
            connections,
            handover,
            drain: *config.drain,
            table: routes.table,
            routes: routes.routes,
            unmatched: routes.unmatched,
            clusters,
            plugins,
            files: findings.files,
        })
    }
}
