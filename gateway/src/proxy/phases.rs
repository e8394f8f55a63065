//! Pingora's phases, each handing over to what decides.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, header};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::http::bridge::grpc_web::GrpcWebCtx;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use plugins::{
    Exchange, Finished, Reply, Request, RequestHead, RequestView, Response, ResponseHead,
};

use super::{Context, Proxy, Started, challenge, forwarded, grpc_web, reply, request, upstream};
use crate::cluster::Count;
use crate::h2::Conversation;
use crate::serve::Connected;

impl Proxy {
    /// Judges the request and finds its route; a reply when that ends it.
    fn begin(&self, session: &mut Session) -> (Option<Started>, Option<Reply>) {
        let Some(state) = self.shared.state.load_full() else {
            return (None, None);
        };
        let Some(connected) = Connected::of(session.digest()).cloned() else {
            return (None, None);
        };
        let listener = state.listener(&connected.client.listener);
        let listener = listener.unwrap_or(&connected.listener);
        let mut client = connected.client;
        let head = session.req_header_mut();
        if !listener.underscores {
            request::drop_underscores(head);
        }
        forwarded::tell(head, &mut client, |peer| listener.trusts(peer));
        let mut exchange = Exchange::new(client, Instant::now());
        let mut refused = false;
        let found = match request::normalise_head(head, listener.paths) {
            Ok(()) => request::find_route(&state, head),
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
        let started = Started {
            route,
            exchange,
            refused,
            grpc_web: GrpcWebCtx::default(),
            state,
        };
        (Some(started), reply)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let (Some(started), refusal) = self.begin(session) else {
            return Err(Error::new(ErrorType::HTTPStatus(503)));
        };
        self.shared.pressure.begin();
        let started = ctx.started.insert(started);
        // Before plugins: an authority has no token, and must not be told to come back later.
        if let Some(answer) = challenge::answer(session, started).await {
            return reply::send(session, started, answer).await.map(|()| true);
        }
        let Started {
            route, exchange, ..
        } = started;
        let mut request = Request {
            head: RequestHead::new(session.req_header_mut()),
            exchange,
        };
        let reply = route
            .chain
            .request(&mut request)
            .await
            .map(|reply| *reply)
            .or(refusal)
            .or_else(|| grpc_web::request(started, session.req_header_mut()));
        match reply {
            None => Ok(false),
            Some(reply) => reply::send(session, started, reply).await.map(|()| true),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let unavailable = || Error::new_up(ErrorType::HTTPStatus(503));
        let started = ctx.started.as_mut().ok_or_else(unavailable)?;
        let cluster = started.route.cluster.as_ref().ok_or_else(unavailable)?;
        let endpoint = cluster.pick(&ctx.tried).ok_or_else(unavailable)?;
        let client = Connected::of(session.digest()).and_then(Connected::addresses);
        let peer = endpoint.peer_for(client).ok_or_else(unavailable)?;
        endpoint.count(Count::Requests);
        if let SocketAddr::Inet(address) = peer.address() {
            started.exchange.upstream = Some(*address);
        }
        ctx.current = Some(endpoint.clone());
        if endpoint.may_speak_http2() {
            let head = session.req_header_mut();
            // Its 100 would not come through Pingora: the connection itself invites the body.
            head.remove_header(&header::EXPECT);
            if grpc_web::is_grpc(head) {
                head.extensions_mut().insert(Conversation);
            }
        }
        let mut peer = Box::new(peer);
        if session.is_upgrade_req() {
            upstream::upgrade(session, &mut peer, endpoint.speaks_http2_only());
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(endpoint) = &ctx.current {
            endpoint.count(Count::ConnectFailures);
        }
        error.set_retry(ctx.try_another());
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        // A kept connection may have been closed just when the request was sent.
        let whole = !session.as_ref().retry_buffer_truncated();
        let idempotent = session.req_header().method.is_idempotent();
        error.retry.decide_reuse(reused && whole && idempotent);
        if !error.retry() && upstream::may_repeat(session, &error) {
            error.set_retry(ctx.try_another());
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        upstream::keep_te(session.req_header(), head)?;
        match &ctx.started {
            Some(started) => grpc_web::upstream(started, head),
            None => Ok(()),
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(Started {
            route, exchange, ..
        }) = &mut ctx.started
        else {
            return Ok(());
        };
        match !route.chain.bodies().request || route.chain.request_body(body, last, exchange) {
            true => Ok(()),
            false => Err(plugin_panicked()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(Started {
            route,
            exchange,
            grpc_web,
            ..
        }) = &mut ctx.started
        else {
            return Ok(());
        };
        upstream::judge(head, session.is_upgrade_req())?;
        grpc_web.response_header_filter(head);
        let sound = route.chain.response(&mut Response {
            request: RequestView::new(session.req_header()),
            head: ResponseHead::new(head),
            exchange,
        });
        if sound {
            Ok(())
        } else {
            Err(plugin_panicked())
        }
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let Some(Started {
            route, exchange, ..
        }) = &mut ctx.started
        else {
            return Ok(None);
        };
        match !route.chain.bodies().response || route.chain.response_body(body, last, exchange) {
            true => Ok(None),
            false => Err(plugin_panicked()),
        }
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        match &mut ctx.started {
            Some(Started { grpc_web, .. }) if *grpc_web == GrpcWebCtx::Trailers => {
                grpc_web.response_trailer_filter(trailers)
            }
            _ => Ok(None),
        }
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let reply = reply::for_error(error);
        let error_code = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
        if let (Some(reply), Some(started), None) =
            (reply, &mut ctx.started, session.response_written())
        {
            // The client may be gone; then there is nobody left to tell.
            let _ = reply::send(session, started, reply).await;
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true // the access log has it
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        let Some(Started {
            route, exchange, ..
        }) = &ctx.started
        else {
            return;
        };
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        let error = error.map(ToString::to_string);
        let finished = Finished {
            request: RequestView::new(session.req_header()),
            exchange,
            status,
            bytes_received: session.body_bytes_read() as u64,
            bytes_sent: session.body_bytes_sent() as u64,
            duration: exchange.started.elapsed(),
            error: error.as_deref(),
        };
        route.chain.finished(&finished);
        self.shared.pressure.end(finished.duration, status >= 500);
        let Finished {
            duration,
            bytes_received,
            bytes_sent,
            ..
        } = finished;
        route
            .counters
            .count(status, duration, bytes_received, bytes_sent);
    }
}

fn plugin_panicked() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "a plugin panicked").into_in()
}
