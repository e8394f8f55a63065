//! HTTP/2 with clients: one accept loop a connection, one task a request.
//!
//! ```text
//! Stream -> Guarded (counts frames) -> h2 (framing, windows, header blocks) -> accept loop
//!   accept loop: a new request -> a task with its exchange
//!                too much       -> GOAWAY with ENHANCE_YOUR_CALM, counted by reason
//!                idle, closed   -> GOAWAY, the requests finish, the connection ends
//! ```

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;

use ::h2::Reason;
use ::h2::server::{Builder, Connection};
use bytes::Bytes;
use chassis::problem;
use http::header;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_http::ResponseHeader;
use prometheus::core::Collector;
use prometheus::{IntCounterVec, Opts};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};

use super::downstream::head;
use super::guard::{Guarded, Watch};
use super::request::{H2Request, H2Slot, judge, linger};
use crate::exchange;
use crate::proxy::{Proxies, hand_over};
use crate::refusal::Refusal;
use crate::serve::{Connected, Debt};
use crate::state::{Http2Limits, ListenerState, Timeouts};

/// What serves the requests of a connection.
pub(crate) struct Http2 {
    pub(crate) listener: Arc<ListenerState>,
    pub(crate) proxies: Arc<Proxies>,
    /// True once the listener is closed.
    pub(crate) closed: watch::Receiver<bool>,
}

/// How long a connection that is to end may take to take its leave.
const LEAVE: Duration = Duration::from_secs(1);

/// What waits to be sent on a stream, at most.
const SEND_BUFFER: usize = 32 * 1024;

/// So many requests that Pingora finds malformed end a connection.
const MALFORMED: u32 = 32;

/// The metrics of all HTTP/2 connections.
pub(crate) fn metrics() -> Vec<Box<dyn Collector>> {
    vec![Box::new(REFUSED.clone())]
}

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "tidegate_gateway_http2_refused_total",
        "HTTP/2 connections that were ended, and requests that were refused, for going beyond a limit",
    );
    IntCounterVec::new(options, &["listener", "reason"]).expect("the name and labels are valid")
});

impl Http2 {
    /// Serves a connection until it ends.
    pub(crate) async fn serve(self, stream: Stream) {
        let limits = &self.listener.http2;
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let (stream, watch) = Guarded::new(stream, limits.resets);
        let greeted = timeout(
            self.listener.timeouts.handshake,
            handshake(Box::new(stream), Some(options(limits))),
        );
        let Ok(Ok(connection)) = greeted.await else {
            return tracing::debug!(listener = &*self.listener.name, "no HTTP/2 handshake");
        };
        let Timeouts { idle, write, .. } = self.listener.timeouts;
        let mut pace = tokio::time::interval((idle.min(write) / 4).min(LEAVE));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let serving = Serving {
            watch,
            digest,
            pace,
            active: Arc::default(),
            busy: Instant::now(),
            leaving: None,
            debt: self.proxies.shared().owing.debt(),
            taken: (0, Instant::now()),
            malformed: 0,
            closed: self.closed.clone(),
            http2: self,
        };
        serving.run(connection).await;
    }

    /// Counts that a client went beyond a limit.
    fn count(&self, reason: &str) {
        let labels = [&*self.listener.name, reason];
        REFUSED.with_label_values(&labels).inc();
    }

    /// Counts and tells that a connection ends because its client went beyond a limit.
    fn refused(&self, digest: &Digest, reason: &str) {
        self.count(reason);
        let socket = digest.socket_digest.as_ref();
        let peer = socket.and_then(|socket| socket.peer_addr()?.as_inet());
        tracing::info!(
            listener = &*self.listener.name,
            peer = peer.map(tracing::field::display),
            reason,
            "HTTP/2 refused"
        );
    }
}

fn options(limits: &Http2Limits) -> Builder {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(limits.streams)
        .initial_window_size(limits.window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame)
        .max_header_list_size(limits.headers)
        .max_send_buffer_size(SEND_BUFFER)
        // Those that were reset before we saw them; the guard counts all.
        .max_pending_accept_reset_streams(limits.resets as usize);
    options
}

type H2 = Connection<Stream, Bytes>;

/// A connection that is being served.
struct Serving {
    http2: Http2,
    watch: Arc<Watch>,
    digest: Arc<Digest>,
    /// When to look at the clock.
    pace: Interval,
    /// Requests under way.
    active: Arc<AtomicUsize>,
    /// When a request was last seen under way.
    busy: Instant,
    /// Since when it is to end.
    leaving: Option<Instant>,
    /// Once it is to end: whether the client still takes what the kernel holds for it.
    debt: Debt,
    /// How many bytes the client has taken, and when it was seen to take the last.
    taken: (u64, Instant),
    malformed: u32,
    closed: watch::Receiver<bool>,
}

/// What happens next on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and a box would cost every request an allocation"
)]
enum Event {
    Request(HttpSession),
    /// Pingora has refused a request.
    Malformed,
    /// The connection has ended, in an error perhaps.
    Ended(Option<Box<pingora_core::Error>>),
    /// The guard has seen too much.
    Excess(&'static str),
    Closed,
    Tick,
}

impl Serving {
    async fn run(mut self, mut connection: H2) {
        loop {
            let event = self.next(&mut connection).await;
            if self.handle(event, &mut connection).is_break() {
                break;
            }
        }
        // What is left of an abrupt end is to be sent, to a client that may not listen.
        let _ = timeout(LEAVE, poll_fn(|cx| connection.poll_closed(cx))).await;
        // A client that has heard of the end early still takes what the kernel holds: a close, and anything that it sends
        // would be answered by a reset.
        if let Some(since) = self.leaving {
            while self.takes(since, Instant::now()) {
                self.pace.tick().await;
            }
        }
    }

    async fn next(&mut self, connection: &mut H2) -> Event {
        let mut accept = pin!(HttpSession::from_h2_conn(connection, self.digest.clone()));
        let accepted = poll_fn(|cx| match accept.as_mut().poll(cx) {
            Poll::Pending => match self.watch.excess() {
                Some(excess) => Poll::Ready(Event::Excess(excess.reason())),
                None => Poll::Pending,
            },
            Poll::Ready(Ok(Some(H2Accept::Session(session)))) => {
                Poll::Ready(Event::Request(session))
            }
            Poll::Ready(Ok(Some(H2Accept::Rejected))) => Poll::Ready(Event::Malformed),
            Poll::Ready(Ok(None)) => Poll::Ready(Event::Ended(None)),
            Poll::Ready(Err(error)) => Poll::Ready(Event::Ended(Some(error))),
        });
        tokio::select! {
            biased;
            event = accepted => event,
            _ = self.closed.wait_for(|closed| *closed), if self.leaving.is_none() => Event::Closed,
            _ = self.pace.tick() => Event::Tick,
        }
    }

    /// Breaks when the connection is over.
    fn handle(&mut self, event: Event, connection: &mut H2) -> ControlFlow<()> {
        match event {
            Event::Request(session) => {
                self.busy = Instant::now();
                self.begin(session);
            }
            Event::Malformed => {
                self.malformed += 1;
                if self.malformed >= MALFORMED {
                    return self.refuse("malformed", connection);
                }
            }
            Event::Ended(error) => {
                let known = self.watch.goodbye().map(str::to_owned);
                if let Some(reason) = known.or_else(|| code(error.as_ref()?)) {
                    self.http2.refused(&self.digest, &reason);
                }
                return ControlFlow::Break(());
            }
            Event::Excess(reason) => return self.refuse(reason, connection),
            Event::Closed => self.leave(connection),
            Event::Tick => return self.look(connection),
        }
        ControlFlow::Continue(())
    }

    fn begin(&self, session: HttpSession) {
        let Http2 {
            listener, closed, ..
        } = &self.http2;
        if session.req_header().headers.len() > listener.http2.header_count {
            // Not told: a client can ask for this many times a second.
            self.http2.count("header_count");
            return self.answer(session, Refusal::TooManyHeaders);
        }
        if let Err(refusal) = judge(session.req_header(), listener) {
            let connected = Connected::of(Some(&self.digest));
            let client = connected.and_then(|connected| connected.client.address);
            listener.refusals.count(refusal, client);
            return self.answer(session, refusal);
        }
        let slot = H2Slot::default();
        let request = H2Request::new(session, listener.clone(), slot.clone());
        let (guard, proxies) = (Active::new(&self.active), self.http2.proxies.clone());
        let (closed, listener) = (closed.clone(), listener.clone());
        tokio::spawn(async move {
            let _guard = guard;
            answer(request, &proxies, &closed).await;
            slot.linger(&listener).await;
        });
    }

    /// Answers a request that is refused for its head.
    fn answer(&self, mut session: HttpSession, refusal: Refusal) {
        let guard = Active::new(&self.active);
        let listener = self.http2.listener.clone();
        session.set_write_timeout(Some(listener.timeouts.linger));
        tokio::spawn(async move {
            let _guard = guard;
            let body = refusal.problem().to_json();
            let mut head = ResponseHeader::build(refusal.status(), Some(2))?;
            head.insert_header(header::CONTENT_TYPE, problem::CONTENT_TYPE)?;
            head.insert_header(header::CONTENT_LENGTH, body.len())?;
            session.write_response_header(Box::new(head), false)?;
            session.write_body(body.into(), true).await?;
            linger(session, &listener).await;
            pingora_core::Result::<()>::Ok(())
        });
    }

    /// Looks at the clock.
    fn look(&mut self, connection: &mut H2) -> ControlFlow<()> {
        let Timeouts { idle, write, .. } = self.http2.listener.timeouts;
        if self.watch.blocked() >= write {
            return self.refuse("slow_reader", connection);
        }
        let now = Instant::now();
        if self.active.load(Relaxed) > 0 {
            self.busy = now;
        }
        let idle_since = self.leaving.map(|since| since.max(self.busy));
        let takes = idle_since.is_some_and(|since| self.takes(since, now));
        match idle_since {
            // It was told, has nothing under way, and takes nothing more.
            Some(since) if !takes && now - since >= LEAVE => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                return ControlFlow::Break(());
            }
            None if now - self.busy >= idle => self.leave(connection),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// No new requests; those under way finish.
    fn leave(&mut self, connection: &mut H2) {
        let now = Instant::now();
        self.leaving = Some(now);
        self.takes(now, now);
        connection.graceful_shutdown();
    }

    /// Whether the client is still taking what the kernel holds for it: as in HTTP/1.1, it is not to lose that by
    /// sending something.
    fn takes(&mut self, since: Instant, now: Instant) -> bool {
        let socket = self.digest.socket_digest.as_ref();
        let Some(info) = socket.and_then(|socket| socket.tcp_info()) else {
            return false;
        };
        let holds = info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0;
        if info.tcpi_bytes_acked > self.taken.0 {
            self.taken = (info.tcpi_bytes_acked, now);
        }
        let Timeouts { linger, write, .. } = self.http2.listener.timeouts;
        let takes = holds && now - self.taken.1 < linger && now - since < write.max(linger);
        self.debt.set(takes || self.active.load(Relaxed) > 0);
        takes
    }

    /// Ends the connection at once.
    fn refuse(&self, reason: &str, connection: &mut H2) -> ControlFlow<()> {
        self.http2.refused(&self.digest, reason);
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        ControlFlow::Break(())
    }
}

/// Answers a request.
async fn answer(mut request: H2Request, proxies: &Proxies, closed: &watch::Receiver<bool>) {
    let now = std::time::Instant::now();
    let head = head(request.session().req_header());
    let shared = proxies.shared();
    let mut started = exchange::serve(shared, &mut request, head, now).await;
    if started.is_none() {
        return;
    }
    match hand_over(&mut started) {
        Ok(head) => *request.session_mut().req_header_mut() = *head,
        Err(error) => {
            if let Some(started) = &mut started {
                exchange::end(shared, &mut request, started, Err(error)).await;
            }
            return;
        }
    }
    let session = ServerSession::new_custom(Box::new(request));
    proxies.proxy().process_new_http(session, closed).await;
}

/// Counts a request while it is under way.
struct Active(Arc<AtomicUsize>);

impl Active {
    fn new(active: &Arc<AtomicUsize>) -> Self {
        active.fetch_add(1, Relaxed);
        Self(active.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// With which error the crate h2 ended a connection; none when the client or the network did.
fn code(error: &pingora_core::Error) -> Option<String> {
    let cause = error.cause.as_ref()?.downcast_ref::<h2::Error>()?;
    let reason = cause.reason()?;
    let ours = cause.is_go_away() && cause.is_library();
    ours.then(|| format!("{reason:?}").to_ascii_lowercase())
}
