//! A connection with requests.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::paced::{Pace, Paced};
use super::query::{self, Refused};
use super::reply;
use crate::metrics::Transport;
use crate::serve::respond::{Answer, Asking, respond};
use crate::serve::tcp::{LEAVE, QUIET};
use crate::serve::{Shared, TcpLimits};
use crate::state::{HttpState, ListenerState};

/// What a head may measure, in octets; a query in it is seldom longer than 700.
const HEAD: u32 = 16 * 1024;
const FIELDS: usize = 64;
/// Between two looks at what a client does.
const LOOK: Duration = Duration::from_millis(500);

/// A connection whose listener was closed ends when nothing was asked for so long. HTTP/1.1 loses a request that comes
/// at that moment, so this is longer than where queries have no head: a client that is busy itself may pause.
const SILENT: Duration = Duration::from_millis(300);

/// What requests of a connection are answered with.
struct Answering {
    shared: Arc<Shared>,
    listener: Arc<ListenerState>,
    limits: TcpLimits,
    peer: SocketAddr,
    pace: Arc<Pace>,
}

/// Answers requests until the client goes, is too slow, or the listener is closed.
pub(in crate::serve) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    peer: SocketAddr,
    listener: Arc<ListenerState>,
    shared: Arc<Shared>,
    limits: TcpLimits,
    mut closed: watch::Receiver<bool>,
) {
    let Some(http) = listener.http.clone() else {
        return;
    };
    let (stream, pace) = Paced::new(stream);
    let builder = builder(&http, &limits);
    let answering = Arc::new(Answering {
        shared,
        listener,
        limits,
        peer,
        pace: pace.clone(),
    });
    let service = service_fn(move |request| {
        let (answering, path) = (answering.clone(), http.path.clone());
        async move { Ok::<_, Infallible>(answering.answer(request, &path).await) }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut end = End::Open;
    loop {
        let look = match end {
            // So that an idle connection ends when its time has passed, and not at the look after that.
            End::Open => LOOK.min(limits.idle.saturating_sub(pace.idle())),
            End::Near(_) | End::Begun(_) => QUIET,
        };
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
                return;
            }
            _ = closed.wait_for(|closing| *closing), if matches!(end, End::Open) => {
                pace.leave();
                end = End::Near(Instant::now() + LEAVE);
            }
            () = tokio::time::sleep(look) => {}
        }
        if pace.blocked() >= limits.progress {
            return;
        }
        let now = Instant::now();
        let quiet = pace.idle() >= SILENT && pace.asked() > 0;
        let ends = match end {
            End::Open => pace.idle() >= limits.idle || pace.asked() >= limits.queries,
            // A request may be on its way.
            End::Near(until) => quiet || now >= until,
            // What is under way has a deadline of its own.
            End::Begun(until) if now >= until => return,
            // Who has asked for nothing all the time, nor now that the end was told, need not take part in it.
            End::Begun(_) if pace.idle() >= limits.idle + QUIET => return,
            End::Begun(_) => false,
        };
        if ends {
            pace.leave();
            end = End::Begun(now + 2 * limits.progress);
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// How far the end of a connection is.
enum End {
    /// It has not come.
    Open,
    /// The listener was closed: it comes when nothing is asked for any more, or then.
    Near(Instant),
    /// What is under way is done, until then.
    Begun(Instant),
}

fn builder(http: &HttpState, limits: &TcpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It begins with the wait for a head.
        .header_read_timeout(limits.idle)
        .max_headers(FIELDS)
        .max_buf_size(HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(http.streams)
        .max_header_list_size(HEAD)
        .max_send_buf_size(usize::from(u16::MAX))
        .keep_alive_interval(None);
    builder
}

impl Answering {
    async fn answer(&self, request: Request<Incoming>, path: &str) -> Response<Full<Bytes>> {
        let _under_way = self.pace.begin();
        let client = self.client(request.headers());
        let head_only = request.method() == Method::HEAD;
        let http1 = request.version() < Version::HTTP_2;
        let read = query::read(request, path, self.limits.progress).await;
        let mut response = match read {
            Ok(query) => self.answer_query(&query, client),
            Err(refused) => reply::refusal(refused),
        };
        self.shared.counts.http(response.status());
        if http1 && self.pace.is_leaving() {
            // HTTP/2 has a frame for it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        match head_only {
            true => reply::head(response),
            false => response,
        }
    }

    fn answer_query(&self, query: &[u8], client: IpAddr) -> Response<Full<Bytes>> {
        let asking = Asking {
            client,
            transport: Transport::Https,
            // How long a connection is kept is said by HTTP (RFC 7828, 3.1, is about TCP).
            keepalive: None,
        };
        let differs = self.shared.state.load().chooser.is_some();
        respond(&self.shared, query, &asking, |answer| match answer {
            Answer::None | Answer::Transfer(_) => reply::refusal(Refused {
                status: StatusCode::BAD_REQUEST,
                why: "this is not a DNS query",
            }),
            Answer::One(answer) => reply::with_answer(answer, differs),
        })
    }

    /// Who asks, as far as proxies that are trusted say it.
    fn client(&self, headers: &HeaderMap) -> IpAddr {
        let peer = self.peer.ip();
        if !self.listener.trusts(peer) {
            return peer;
        }
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let hops = lines.flat_map(|line| line.rsplit(','));
        // Each proxy appends who has asked it: the last that is none of ours is the client. Beyond what cannot
        // be read nothing can be believed.
        let mut client = peer;
        for hop in hops {
            let Ok(hop) = hop.trim().parse() else {
                break;
            };
            client = hop;
            if !self.listener.trusts(hop) {
                break;
            }
        }
        client
    }
}
