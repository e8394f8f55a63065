//! Messages and descriptors over a Unix stream socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::HandoverError;
use super::message::BATCH;

/// One side's end of a hand-over.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    /// Bytes that were read and belong to no message yet.
    ahead: Vec<u8>,
    /// Descriptors that came with the bytes read so far.
    descriptors: VecDeque<OwnedFd>,
    takes_descriptors: bool,
}

/// A line is at most so long: 64 sockets with long paths.
const LONGEST: usize = 256 * 1024;

const SPACE: usize = rustix::cmsg_space!(ScmRights(BATCH));

impl Wire {
    /// The side that gets descriptors.
    pub(super) fn taking(stream: UnixStream) -> Self {
        Self {
            takes_descriptors: true,
            ..Self::giving(stream)
        }
    }

    /// The side that gets none: should any come, the kernel closes them.
    pub(super) fn giving(stream: UnixStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            descriptors: VecDeque::new(),
            takes_descriptors: false,
        }
    }

    /// The process on the other side, as the kernel knows it.
    pub(super) fn peer(&self) -> Option<u32> {
        let peer = self.stream.peer_cred().ok()?;
        peer.pid().and_then(|pid| u32::try_from(pid).ok())
    }

    /// Requires that the other side runs for our own user, or for root.
    pub(super) fn judge_peer(&self) -> Result<(), HandoverError> {
        let uid = self.stream.peer_cred()?.uid();
        match uid == 0 || uid == rustix::process::geteuid().as_raw() {
            true => Ok(()),
            false => Err(HandoverError::Stranger(uid)),
        }
    }

    /// Sends a message with at most [`BATCH`] descriptors.
    pub(super) async fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<(), HandoverError> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
        line.push(b'\n');
        tokio::time::timeout(within, self.send_line(&line, descriptors))
            .await
            .map_err(|_| HandoverError::TooLate(within))?
            .map_err(HandoverError::from)
    }

    async fn send_line(&self, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut sent = 0;
        while sent < line.len() {
            // Descriptors go with the first byte.
            let descriptors = if sent == 0 { descriptors } else { &[] };
            let send = || self.send_some(&line[sent..], descriptors);
            sent += self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        Ok(())
    }

    fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let bytes = [IoSlice::new(bytes)];
        Ok(sendmsg(
            &self.stream,
            &bytes,
            &mut control,
            SendFlags::NOSIGNAL,
        )?)
    }

    /// Waits for a message.
    pub(super) async fn receive<T: DeserializeOwned>(
        &mut self,
        within: Duration,
    ) -> Result<T, HandoverError> {
        let line = tokio::time::timeout(within, self.receive_line())
            .await
            .map_err(|_| HandoverError::TooLate(within))??;
        Ok(serde_json::from_slice(&line).map_err(io::Error::from)?)
    }

    /// The descriptors of the message that was just received.
    pub(super) fn take_descriptors(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        match self.descriptors.len() >= count {
            true => Ok(self.descriptors.drain(..count).collect()),
            false => Err(invalid("fewer sockets came than were announced")),
        }
    }

    async fn receive_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let rest = self.ahead.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            if self.ahead.len() > LONGEST {
                return Err(invalid("a message is too long"));
            }
            self.stream.readable().await?;
            match self.receive_some() {
                Ok(0) => return Err(gone()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(gone()),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive_some(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); SPACE];
        let room = if self.takes_descriptors { SPACE } else { 0 };
        let mut control = RecvAncillaryBuffer::new(&mut space[..room]);
        let received = self.stream.try_io(Interest::READABLE, || {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            Ok(recvmsg(&self.stream, &mut parts, &mut control, flags)?)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if self.takes_descriptors && received.flags.contains(ReturnFlags::CTRUNC) {
            let what = "not all sockets could be received: is the limit of open files too low?";
            return Err(io::Error::other(what));
        }
        self.ahead.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the other process has gone")
}
