//! [`H2Request`] as the client of a request.

use bytes::Bytes;
use http::Version;
use pingora_core::{Error, Result};
use pingora_http::RequestHeader;
use plugins::{RequestHead, ResponseHead};

use super::request::H2Request;
use crate::exchange::Downstream;
use crate::h1::{end_here, malformed_length};
use crate::proxy::answer_to_pingora;
use crate::serve::Connected;

impl Downstream for H2Request {
    fn connected(&self) -> &Connected {
        Connected::of(self.session().digest()).expect("each connection has it")
    }

    fn asks_for_tunnel(&self) -> bool {
        false
    }

    fn is_bodiless(&self) -> bool {
        self.session().is_body_empty()
    }

    fn is_body_done(&self) -> bool {
        self.session().is_body_done()
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        Self::read(self).await
    }

    async fn idle(&mut self) -> Box<Error> {
        Self::idle(self).await
    }

    fn keep(&mut self) {
        self.keeping = true;
        self.session_mut().enable_retry_buffering();
    }

    fn kept(&self) -> Option<Bytes> {
        let whole = self.keeping && !self.session().retry_buffer_truncated();
        whole.then(|| self.session().get_retry_buffer().unwrap_or_default())
    }

    fn leave_invitation(&mut self, _: bool) {}

    fn goes_on(&self) -> bool {
        false
    }

    fn close_after(&mut self) {}

    async fn answer(&mut self, mut head: ResponseHead, end: bool) -> Result<()> {
        end_here(&mut head).map_err(|_| malformed_length())?;
        let status = head.status();
        let end = end && !status.is_informational();
        let head = Box::new(answer_to_pingora(&head)?);
        self.session_mut().write_response_header(head, end)?;
        if !status.is_informational() {
            self.status = status.as_u16();
        }
        self.answered |= end;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        self.set_patience();
        self.sent += bytes.len() as u64;
        let bytes = Bytes::copy_from_slice(bytes);
        let written = self.session_mut().write_body(bytes, last).await;
        self.answered |= last && written.is_ok();
        self.judge(written)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if !self.answered {
            self.session_mut().finish()?;
            self.answered = true;
        }
        Ok(())
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn received(&self) -> u64 {
        self.session().body_bytes_read() as u64
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

/// The head of a request in our terms.
pub(super) fn head(theirs: &RequestHeader) -> RequestHead {
    let target = theirs.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let mut head = RequestHead::new(theirs.method.clone(), Version::HTTP_2, target);
    if let Some(authority) = theirs.uri.authority() {
        head.set_authority(authority.as_str());
    }
    for (name, value) in &theirs.headers {
        head.add_header(name, value.clone());
    }
    head
}
