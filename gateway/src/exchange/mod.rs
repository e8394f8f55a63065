//! The life of a request, whatever carries it to us and whatever carries it on.
//!
//! ```text
//! Client (HTTP/1.1 or HTTP/2) -> begin: one State, one spelling for the path, who asks, the route
//!   -> plugins forward; a reply ends it here
//!   -> relay, our own way to HTTP/1.1 upstreams; or Pingora's proxy: WebSockets, HTTP/2 upstreams
//!   -> plugins in reverse -> finish: access log, counters
//! ```

mod attempts;
mod challenge;
mod downstream;
mod forwarded;
mod head;
mod interims;
mod reply;
mod serve;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use chassis::telemetry::Pressure;
use pingora_core::{Error, ErrorType, Result};
use plugins::{Exchange, Finished, Reply, Request, RequestHead, Response, ResponseHead};

pub(crate) use self::attempts::Attempts;
pub(crate) use self::downstream::Downstream;
pub(crate) use self::interims::Interims;
pub(crate) use self::reply::{Answer, for_error, no_endpoint};
pub(crate) use self::serve::{end, serve};
use crate::serve::{Connected, Owing};
use crate::state::{Route, State};

/// What all requests share.
pub(crate) struct Shared {
    /// Set before the first listener opens, and replaced by each reload.
    pub(crate) state: Arc<ArcSwapOption<State>>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) owing: Owing,
}

impl Shared {
    pub(crate) fn new(pressure: Arc<Pressure>) -> Self {
        Self {
            state: Arc::default(),
            pressure,
            owing: Owing::default(),
        }
    }
}

/// A request whose head was read.
pub(crate) struct Started {
    /// As it is to be forwarded.
    pub(crate) head: RequestHead,
    pub(crate) route: Arc<Route>,
    pub(crate) exchange: Exchange,
    /// It was refused for what it is: the connection ends after the answer.
    refused: bool,
    /// The state that it began with, whole until the end.
    state: Arc<State>,
    /// When the answer was complete, if that is known already.
    pub(crate) ended: Option<Instant>,
}

/// How a request ended.
pub(crate) struct Ending<'a> {
    /// The status that the client got; 0 when it got none.
    pub(crate) status: u16,
    /// Bytes of the request's body.
    pub(crate) received: u64,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    pub(crate) error: Option<&'a Error>,
}

impl Started {
    /// Judges a request and finds its route; a reply when that ends it. None when there is no state.
    fn begin(
        shared: &Shared,
        connected: &Connected,
        mut head: RequestHead,
        now: Instant,
    ) -> Option<(Box<Self>, Option<Reply>)> {
        let state = shared.state.load_full()?;
        let listener = state.listener_of(&connected.listener);
        let listener = listener.unwrap_or(&connected.listener);
        let mut client = connected.client.clone();
        if !listener.underscores {
            head::drop_underscores(&mut head);
        }
        let shown = &connected.shown;
        forwarded::tell(&mut head, &mut client, shown, |peer| listener.trusts(peer));
        let mut exchange = Exchange::new(client, now);
        let mut refused = false;
        let found = match head::normalise_head(&mut head, listener.paths) {
            Ok(()) => head::find_route(&state, &head),
            Err(refusal) => {
                refused = true;
                listener.refusals.count(refusal, exchange.client.address);
                Err(Reply::problem(refusal.problem()))
            }
        };
        let (route, reply) = match found {
            Ok(number) => (state.routes[number as usize].clone(), None),
            Err(reply) => (state.unmatched.clone(), Some(reply)),
        };
        exchange.route = route.cluster.as_ref().map(|_| route.name.clone());
        shared.pressure.begin();
        let started = Box::new(Self {
            head,
            route,
            exchange,
            refused,
            state,
            ended: None,
        });
        Some((started, reply))
    }

    /// The plugins' way in; a reply ends it.
    async fn way_in(&mut self) -> Option<Box<Reply>> {
        let mut request = Request {
            head: &mut self.head,
            exchange: &mut self.exchange,
        };
        self.route.chain.request(&mut request).await
    }

    /// The plugins' way out. False when a plugin panicked: the head must not be sent as it is.
    pub(crate) fn way_out(&mut self, head: &mut ResponseHead) -> bool {
        self.route.chain.response(&mut Response {
            request: &self.head,
            head,
            exchange: &mut self.exchange,
        })
    }

    /// Shows plugins a piece of the request's body, which they may change; none for an end without bytes.
    ///
    /// # Errors
    /// When a plugin panicked.
    pub(crate) fn request_body(&mut self, body: &mut Option<Bytes>, last: bool) -> Result<()> {
        let chain = &self.route.chain;
        let shown = chain.bodies().request;
        match !shown || chain.request_body(body, last, &mut self.exchange) {
            true => Ok(()),
            false => Err(plugin_panicked()),
        }
    }

    /// The same for a piece of the answer's body.
    ///
    /// # Errors
    /// When a plugin panicked.
    pub(crate) fn response_body(&mut self, body: &mut Option<Bytes>, last: bool) -> Result<()> {
        let chain = &self.route.chain;
        let shown = chain.bodies().response;
        match !shown || chain.response_body(body, last, &mut self.exchange) {
            true => Ok(()),
            false => Err(plugin_panicked()),
        }
    }

    /// Tells plugins and counters that it is over.
    pub(crate) fn finish(&self, shared: &Shared, ending: &Ending<'_>) {
        let error = ending.error.map(ToString::to_string);
        let ended = self.ended.unwrap_or_else(Instant::now);
        let duration = ended.saturating_duration_since(self.exchange.started);
        let Ending {
            status,
            received,
            sent,
            ..
        } = *ending;
        self.route.chain.finished(&Finished {
            request: &self.head,
            exchange: &self.exchange,
            status,
            bytes_received: received,
            bytes_sent: sent,
            duration,
            error: error.as_deref(),
        });
        shared.pressure.end(duration, status >= 500);
        self.route.counters.count(status, duration, received, sent);
    }
}

/// The error of a request that a plugin's panic ended.
pub(crate) fn plugin_panicked() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a plugin panicked").into_in()
}
