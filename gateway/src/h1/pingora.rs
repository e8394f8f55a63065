//! [`Session`] behind the trait that Pingora's proxy takes sessions of other protocols by.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, StatusCode};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::{CustomMessageWrite, server};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::forwarded::Forwarded;
use super::session::Session;
use crate::proxy::from_pingora;

/// What Pingora calls messages beside the body: there are none in HTTP/1.
type Messages = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

#[async_trait]
impl server::Session for Session {
    fn req_header(&self) -> &RequestHeader {
        &self.forwarded().head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.forwarded_mut().head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        while self.read().await?.is_some() {}
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.answer_in_pingora(head, end).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.answer_in_pingora(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write_piece(&data).await?;
        match end {
            true => self.finish_answer(None).await,
            false => self.send().await,
        }
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.finish_answer(Some(&trailers)).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut end = false;
        for task in tasks {
            end |= task.is_end();
            match task {
                HttpTask::Header(head, end) => self.answer_in_pingora(head, end).await?,
                HttpTask::Body(Some(bytes), _) | HttpTask::UpgradedBody(Some(bytes), _) => {
                    self.write_piece(&bytes).await?;
                }
                HttpTask::Trailer(Some(trailers)) => self.finish_answer(Some(&trailers)).await?,
                HttpTask::Body(None, _)
                | HttpTask::UpgradedBody(None, _)
                | HttpTask::Trailer(None)
                | HttpTask::Done => {}
                HttpTask::Failed(error) => {
                    self.send().await?;
                    return Err(error);
                }
            }
        }
        match end {
            true => self.finish_answer(None).await?,
            false => self.send().await?,
        }
        Ok(end)
    }

    // The deadlines are the listener's.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        let head = &self.forwarded().head;
        format!("{} {}", head.method, head.uri.path())
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.forwarded().answer.as_deref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {}

    fn is_body_done(&mut self) -> bool {
        self.body.is_done() && !self.is_undecided()
    }

    async fn finish(&mut self) -> Result<()> {
        self.finish_answer(None).await
    }

    fn is_body_empty(&mut self) -> bool {
        self.bodiless
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.body.is_done() {
            return Err(self.idle().await);
        }
        self.read().await
    }

    fn body_bytes_sent(&self) -> usize {
        self.answer.sent
    }

    fn body_bytes_read(&self) -> usize {
        usize::try_from(self.body.pace.received).unwrap_or(usize::MAX)
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.forwarded().digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.forwarded_mut().digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.forwarded().digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.forwarded().digest.socket_digest.as_ref()?.local_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.retry.enable();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.retry.is_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        match self.is_undecided() {
            // No bytes, and not the end.
            true => Some(Bytes::new()),
            false => self.retry.bytes(),
        }
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Messages> {
        None
    }

    fn restore_custom_message_reader(&mut self, _: Messages) -> Result<()> {
        Err(Error::new(ErrorType::InternalError))
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Err(Error::new(ErrorType::InternalError))
    }

    fn is_upgrade_req(&self) -> bool {
        Self::asks_for_tunnel(self)
    }

    fn was_upgraded(&self) -> bool {
        self.tunnelled()
    }
}

impl Session {
    fn forwarded(&self) -> &Forwarded {
        self.forwarded.as_ref().expect("it was handed over")
    }

    fn forwarded_mut(&mut self) -> &mut Forwarded {
        self.forwarded.as_mut().expect("it was handed over")
    }

    async fn answer_in_pingora(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_answer_head(from_pingora(&head), end).await?;
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            self.forwarded_mut().answer = Some(head);
        }
        Ok(())
    }
}
