//! Pingora's phases, each handing over to what decides.

use std::time::Duration;

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
use plugins::Reply;

use super::heads::Handed;
use super::{Context, Proxy, answer_to_pingora, from_pingora, grpc_web, upstream};
use crate::cluster::Count;
use crate::exchange::{Answer, Ending, Started, for_error, no_endpoint, plugin_panicked};
use crate::h2::Conversation;
use crate::serve::Connected;

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let handed = session.req_header().extensions.get::<Handed>();
        ctx.started = handed.and_then(Handed::take);
        let Some(started) = &mut ctx.started else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        if !started.route.grpc_web {
            return Ok(false);
        }
        match grpc_web::request(&mut ctx.grpc_web, session.req_header_mut()) {
            None => Ok(false),
            Some(reply) => send(session, started, &reply).await.map(|()| true),
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let started = ctx.started.as_mut().ok_or_else(no_endpoint)?;
        let cluster = started.route.cluster.as_ref().ok_or_else(no_endpoint)?;
        let endpoint = ctx.attempts.pick(cluster).ok_or_else(no_endpoint)?;
        let client = Connected::of(session.digest()).and_then(Connected::addresses);
        let peer = endpoint.peer_for(client).ok_or_else(no_endpoint)?;
        endpoint.count(Count::Requests);
        if let SocketAddr::Inet(address) = peer.address() {
            started.exchange.upstream = Some(*address);
        }
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
        if let Some(endpoint) = ctx.attempts.current() {
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
        grpc_web::upstream(&ctx.grpc_web, head)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        match &mut ctx.started {
            Some(started) => started.request_body(body, last),
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let Some(started) = &mut ctx.started else {
            return Ok(());
        };
        upstream::judge(head, session.is_upgrade_req())?;
        if head.status.is_informational() {
            ctx.interims.count()?;
        }
        ctx.grpc_web.response_header_filter(head);
        let mut ours = from_pingora(head);
        if !started.way_out(&mut ours) {
            return Err(plugin_panicked());
        }
        let version = head.version;
        *head = answer_to_pingora(&ours)?;
        head.set_version(version);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        last: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        match &mut ctx.started {
            Some(started) => started.response_body(body, last).map(|()| None),
            None => Ok(None),
        }
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        match ctx.grpc_web {
            GrpcWebCtx::Trailers => ctx.grpc_web.response_trailer_filter(trailers),
            _ => Ok(None),
        }
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let reply = for_error(error);
        let error_code = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
        if let (Some(reply), Some(started), None) =
            (reply, &mut ctx.started, session.response_written())
        {
            // The client may be gone; then there is nobody left to tell.
            let _ = send(session, started, &reply).await;
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
        let Some(started) = &ctx.started else {
            return;
        };
        let status = session
            .response_written()
            .map_or(0, |head| head.status.as_u16());
        let ending = Ending {
            status,
            received: session.body_bytes_read() as u64,
            sent: session.body_bytes_sent() as u64,
            error,
        };
        started.finish(&self.shared, &ending);
    }
}

impl Context {
    /// Gives up the endpoint in use; whether there is another to try.
    fn try_another(&mut self) -> bool {
        let route = self.started.as_ref().map(|started| &started.route);
        let cluster = route.and_then(|route| route.cluster.as_ref());
        cluster.is_some_and(|cluster| self.attempts.try_another(cluster))
    }
}

/// Sends a reply of our own.
async fn send(session: &mut Session, started: &mut Started, reply: &Reply) -> Result<()> {
    let Answer { head, body } = Answer::compose(started, reply);
    let ends = body.is_empty();
    let head = Box::new(answer_to_pingora(&head)?);
    session.write_response_header(head, ends).await?;
    if !ends {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}
