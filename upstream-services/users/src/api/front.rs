//! What surrounds every request: it has an id, is counted and timed, a panic ends it alone, and what goes wrong is told as a
//! problem. One step rather than a layer each: a layer of axum's is a clone of all within it and a box for its future.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::FutureExt;
use prometheus::{Histogram, IntCounter};
use tower::ServiceExt;

use super::problems;
use super::turned_away::TurnedAway;
use crate::metrics::Metrics;

/// The routes, and how their requests are counted.
pub(super) struct Front {
    router: Router,
    /// Finds a path's place in `counted`.
    templates: matchit::Router<usize>,
    counted: Vec<Counted>,
    unmatched: Counted,
    metrics: Metrics,
    turned_away: TurnedAway,
}

/// The requests of a route by their method: paths themselves could hold anything, and so could methods.
struct Counted {
    route: &'static str,
    methods: [OnceLock<Series>; METHODS.len()],
}

/// What nearly every request counts in, looked up once.
struct Series {
    duration: Histogram,
    ok: IntCounter,
}

impl Front {
    /// In front of a router whose routes have these templates.
    pub(super) fn new(
        router: Router,
        routes: impl IntoIterator<Item = &'static str>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let mut templates = matchit::Router::new();
        let mut counted = Vec::new();
        for route in routes {
            // A template with several methods is there several times.
            if templates.insert(route, counted.len()).is_ok() {
                counted.push(Counted::new(route));
            }
        }
        Arc::new(Self {
            router,
            templates,
            counted,
            unmatched: Counted::new("unmatched"),
            metrics,
            turned_away: TurnedAway::new(Instant::now()),
        })
    }

    fn counted(&self, path: &str) -> &Counted {
        let found = self.templates.at(path).ok();
        found.map_or(&self.unmatched, |found| &self.counted[*found.value])
    }
}

/// Answers a request, whatever happens.
pub(super) async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    let start = Instant::now();
    let counted = front.counted(request.uri().path());
    let method = place(request.method());
    let id = problems::request_id(&request);
    let handled = AssertUnwindSafe(front.router.clone().oneshot(request)).catch_unwind();
    let response = match handled.await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(panic) => problems::panicked(panic, &front.metrics.panics),
    };
    let response = problems::finish(response, id, counted.route, &front.turned_away);
    counted.count(&front.metrics, method, response.status(), start);
    response
}

impl Counted {
    fn new(route: &'static str) -> Self {
        Self {
            route,
            methods: Default::default(),
        }
    }

    fn count(&self, metrics: &Metrics, method: usize, status: StatusCode, start: Instant) {
        let name = METHODS[method];
        let requests = |status: StatusCode| {
            let labels = [self.route, name, status.as_str()];
            metrics.requests.with_label_values(&labels)
        };
        let series = self.methods[method].get_or_init(|| Series {
            duration: metrics.duration.with_label_values(&[self.route, name]),
            ok: requests(StatusCode::OK),
        });
        series.duration.observe(start.elapsed().as_secs_f64());
        match status {
            StatusCode::OK => series.ok.inc(),
            status => requests(status).inc(),
        }
    }
}

/// A method's place in [`METHODS`].
fn place(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

/// Methods with a label of their own; the last stands for all others.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];
