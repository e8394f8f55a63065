//! [`Session`] as the client of a request.

use bytes::Bytes;
use pingora_core::{Error, Result};
use plugins::ResponseHead;

use super::session::Session;
use crate::exchange::Downstream;
use crate::serve::Connected;

impl Downstream for Session {
    fn connected(&self) -> &Connected {
        &self.connection().connected
    }

    fn asks_for_tunnel(&self) -> bool {
        Self::asks_for_tunnel(self)
    }

    fn is_bodiless(&self) -> bool {
        self.bodiless
    }

    fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        Self::read(self).await
    }

    async fn idle(&mut self) -> Box<Error> {
        Self::idle(self).await
    }

    fn keep(&mut self) {
        self.retry.enable();
    }

    fn kept(&self) -> Option<Bytes> {
        self.retry.whole()
    }

    fn leave_invitation(&mut self, leave: bool) {
        self.invited_elsewhere = leave;
    }

    fn goes_on(&self) -> bool {
        self.keep_alive
    }

    fn close_after(&mut self) {
        self.end_after();
    }

    async fn answer(&mut self, head: ResponseHead, end: bool) -> Result<()> {
        self.write_answer_head(head, end).await
    }

    async fn write(&mut self, bytes: &[u8], _: bool) -> Result<()> {
        self.write_piece(bytes).await
    }

    async fn flush(&mut self) -> Result<()> {
        self.send().await
    }

    async fn finish(&mut self) -> Result<()> {
        self.finish_answer(None).await
    }

    fn status(&self) -> u16 {
        self.answer.status
    }

    fn received(&self) -> u64 {
        self.body.pace.received
    }

    fn sent(&self) -> u64 {
        self.answer.sent as u64
    }
}
