//! The plugins of a route, run in order on the way in and in reverse on the way out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use chassis::problem::Problem;
use futures::FutureExt;
use prometheus::{IntCounter, IntCounterVec, Opts, core::Collector};

use crate::exchange::Exchange;
use crate::plugin::{Bodies, Finished, Flow, Piece, Plugin, Reply, Request, Response};

/// An instance of a plugin under its name.
#[derive(Clone)]
pub struct Link {
    /// The name of the instance.
    pub name: Arc<str>,
    /// The instance.
    pub plugin: Arc<dyn Plugin>,
}

/// Plugins in the order in which a request meets them. Built once, when a configuration is compiled.
#[derive(Clone, Default)]
pub struct Chain {
    links: Box<[(Link, IntCounter)]>,
    bodies: Bodies,
}

static PANICS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "tidegate_plugin_panics_total",
        "Requests that a plugin's panic ended",
    );
    IntCounterVec::new(opts, &["plugin"]).expect("name and label are valid")
});

/// The metrics of every chain.
pub fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(PANICS.clone())]
}

impl Chain {
    /// A chain of these plugins.
    pub fn new(links: impl IntoIterator<Item = Link>) -> Self {
        let links: Box<[_]> = links
            .into_iter()
            .map(|link| {
                let panics = PANICS.with_label_values(&[&*link.name]);
                (link, panics)
            })
            .collect();
        let bodies = links.iter().map(|(link, _)| link.plugin.bodies());
        let bodies = bodies.fold(Bodies::default(), |all, one| Bodies {
            request: all.request | one.request,
            response: all.response | one.response,
        });
        Self { links, bodies }
    }

    /// Which bodies any of its plugins wants to see.
    pub fn bodies(&self) -> Bodies {
        self.bodies
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.links.iter().map(|(link, _)| &*link.name)
    }

    /// The way in; a reply ends it.
    pub async fn request(&self, request: &mut Request<'_>) -> Option<Box<Reply>> {
        for (link, panics) in &self.links {
            let mut flow = catch_unwind(AssertUnwindSafe(|| link.plugin.request(request)));
            if let Ok(Flow::Later) = flow {
                let later = AssertUnwindSafe(link.plugin.request_later(request));
                flow = later.catch_unwind().await;
            }
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Respond(reply)) => return Some(reply),
                Ok(Flow::Later) => return Some(internal_error()),
                Err(_) => {
                    panics.inc();
                    tracing::error!(plugin = &*link.name, "a plugin panicked");
                    return Some(internal_error());
                }
            }
        }
        None
    }

    /// The way out. False when a plugin panicked: the response must not be sent as it is.
    pub fn response(&self, response: &mut Response<'_>) -> bool {
        self.backwards(|plugin| plugin.response(response))
    }

    /// A piece of the request's body; false when a plugin panicked.
    pub fn request_body(
        &self,
        bytes: &mut Option<Bytes>,
        last: bool,
        exchange: &mut Exchange,
    ) -> bool {
        self.links.iter().all(|link| {
            guarded(link, |plugin| {
                plugin.request_body(&mut Piece {
                    bytes: &mut *bytes,
                    last,
                    exchange: &mut *exchange,
                });
            })
        })
    }

    /// A piece of the response's body; false when a plugin panicked.
    pub fn response_body(
        &self,
        bytes: &mut Option<Bytes>,
        last: bool,
        exchange: &mut Exchange,
    ) -> bool {
        self.backwards(|plugin| {
            plugin.response_body(&mut Piece {
                bytes: &mut *bytes,
                last,
                exchange: &mut *exchange,
            });
        })
    }

    /// The end of the request.
    pub fn finished(&self, finished: &Finished<'_>) {
        for link in self.links.iter().rev() {
            guarded(link, |plugin| plugin.finished(finished));
        }
    }

    fn backwards(&self, mut call: impl FnMut(&dyn Plugin)) -> bool {
        self.links.iter().rev().all(|link| guarded(link, &mut call))
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Calls one plugin; false when it panicked.
fn guarded((link, panics): &(Link, IntCounter), call: impl FnOnce(&dyn Plugin)) -> bool {
    let outcome = catch_unwind(AssertUnwindSafe(|| call(&*link.plugin)));
    if outcome.is_err() {
        panics.inc();
        tracing::error!(plugin = &*link.name, "a plugin panicked");
    }
    outcome.is_ok()
}

fn internal_error() -> Box<Reply> {
    Box::new(Reply::problem(Problem::new(
        500,
        "internal",
        "Internal error",
    )))
}
