//! How a successor gets the sessions of datagrams, which are known only when its predecessor takes no more: it asks for
//! them by a Unix socket, whose name it was told with the sockets of listeners.
//!
//! ```text
//! predecessor --> length, with the sockets of 32 sessions at most | what they are (JSON) | ... | end
//! ```

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::datagram::{self, Bequest};

/// The name under which a successor is told where to ask.
pub(crate) const SESSIONS: &str = "l4_sessions";

/// Sessions by the names of their listeners.
pub(crate) type Sessions = BTreeMap<String, Vec<Bequest>>;

/// Where a successor asks.
pub(crate) struct Estate {
    listener: UnixListener,
    /// Of the socket, in the abstract namespace: nothing is left of it.
    pub(crate) name: String,
}

/// Sessions of one listener.
#[derive(Serialize, Deserialize)]
struct Part {
    listener: String,
    sessions: Vec<Bequest>,
}

/// So long the other side may take for anything: datagrams wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at what is to come.
const LOOK: Duration = Duration::from_millis(1);
/// Sessions in a part; each has a socket, of which the kernel takes 253 at a time.
const PART: usize = 32;
/// The longest part, in octets: names and connection ids are short.
const LONGEST: usize = 1 << 20;
const SPACE: usize = rustix::cmsg_space!(ScmRights(PART));

impl Estate {
    /// Waits for a successor.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn open() -> io::Result<Self> {
        // Whoever guesses it would learn nothing, but could be in the way.
        let drawn = RandomState::new().hash_one(std::process::id());
        let name = format!("tidegate-l4-{}-{drawn:016x}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, name })
    }

    /// Gives everything to the successor, once threads have said what they have. It blocks.
    pub(crate) fn give(self, listeners: Vec<(Arc<str>, Arc<datagram::Shared>)>) {
        if let Err(error) = self.give_all(listeners) {
            tracing::warn!(%error, "the successor does not get all sessions of datagrams");
        }
    }

    fn give_all(&self, listeners: Vec<(Arc<str>, Arc<datagram::Shared>)>) -> io::Result<()> {
        let mut stream = self.successor(is_ours)?;
        for (name, shared) in listeners {
            let mut sessions = in_time(|| Ok(shared.bequeath()))?;
            while !sessions.is_empty() {
                let rest = sessions.split_off(sessions.len().min(PART));
                let listener = name.to_string();
                send(&mut stream, &mut Part { listener, sessions })?;
                sessions = rest;
            }
        }
        Ok(())
    }

    /// Waits for whoever asks and may be told. Others are passed over: every process of this machine can read the name.
    fn successor(
        &self,
        may_ask: impl Fn(&UnixStream) -> io::Result<bool>,
    ) -> io::Result<UnixStream> {
        let begun = Instant::now();
        while begun.elapsed() <= PATIENCE {
            match self.listener.accept() {
                Ok((stream, _)) if may_ask(&stream)? => return ready(stream),
                Ok(_) => tracing::debug!("a stranger has asked for sessions"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Asks a predecessor; what has come when it failed. It blocks.
pub(crate) fn ask(name: &str) -> Sessions {
    let mut sessions = Sessions::new();
    let asked = SocketAddr::from_abstract_name(name)
        .and_then(|address| UnixStream::connect_addr(&address))
        .and_then(|stream| match is_ours(&stream)? {
            true => ready(stream),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        })
        .and_then(|mut stream| {
            while let Some(part) = receive(&mut stream)? {
                let known = sessions.entry(part.listener).or_default();
                known.extend(part.sessions);
            }
            Ok(())
        });
    if let Err(error) = asked {
        tracing::warn!(%error, "not all sessions of datagrams are known: others begin anew");
    }
    sessions
}

fn send(stream: &mut UnixStream, part: &mut Part) -> io::Result<()> {
    let sockets = part.sessions.iter_mut();
    let sockets: Vec<OwnedFd> = sockets.filter_map(|one| one.socket.take()).collect();
    let text = serde_json::to_vec(part)?;
    let length = (text.len() as u32).to_be_bytes();
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&borrowed));
    let sent = sendmsg(
        &*stream,
        &[IoSlice::new(&length)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    stream.write_all(&length[sent..])?;
    stream.write_all(&text)
}

fn receive(stream: &mut UnixStream) -> io::Result<Option<Part>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut length)];
    let received = recvmsg(&*stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if received == 0 {
        return Ok(None);
    }
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    stream.read_exact(&mut length[received..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    let mut part: Part = serde_json::from_slice(&text)?;
    for (session, socket) in part.sessions.iter_mut().zip(sockets) {
        session.socket = Some(socket);
    }
    Ok(Some(part))
}

/// Whether the other side runs for our own user, or for root.
fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    let uid = sockopt::socket_peercred(stream)?.uid;
    Ok(uid.is_root() || uid == rustix::process::geteuid())
}

/// Sets times.
fn ready(stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits for something.
fn in_time<T>(mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match look()? {
            Some(found) => return Ok(found),
            None if begun.elapsed() > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
            None => std::thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn nobody_waits_for_a_predecessor_that_is_gone() {
        let estate = Estate::open().unwrap();
        let name = estate.name.clone();
        drop(estate);
        assert!(ask(&name).is_empty());
    }

    #[test]
    fn a_stranger_who_asks_first_is_passed_over() {
        let estate = Estate::open().unwrap();
        let address = SocketAddr::from_abstract_name(&estate.name).unwrap();
        let mut streams = [(); 3].map(|()| UnixStream::connect_addr(&address).unwrap());
        let asked = std::cell::Cell::new(0);
        let third = |_: &UnixStream| Ok(asked.replace(asked.get() + 1) == 2);
        let mut stream = estate.successor(third).unwrap();
        stream.write_all(b"yours").unwrap();
        let mut told = [0; 5];
        streams[2].read_exact(&mut told).unwrap();
        assert_eq!(&told, b"yours");
        let nothing = streams[0].read(&mut told);
        assert_eq!(nothing.unwrap(), 0, "it was closed");
    }

    #[test]
    fn sockets_come_with_what_they_are_for() {
        let (mut from, mut to) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = (0..PART)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let session = |socket: &UdpSocket| Bequest {
            thread: 1,
            client: socket.local_addr().unwrap(),
            service: ([192, 0, 2, 1], 443).into(),
            endpoint: ([192, 0, 2, 2], 443).into(),
            name: Some("example.com".into()),
            ids: vec![vec![7; 20]; 32],
            answered: true,
            proved: true,
            socket: Some(socket.try_clone().unwrap().into()),
        };
        let mut part = Part {
            listener: "quic".into(),
            sessions: sockets.iter().map(session).collect(),
        };
        send(&mut from, &mut part).unwrap();
        send(&mut from, &mut part).unwrap();
        drop(from);
        let part = receive(&mut to).unwrap().unwrap();
        assert_eq!((&*part.listener, part.sessions.len()), ("quic", PART));
        for session in part.sessions {
            let socket = UdpSocket::from(session.socket.unwrap());
            assert_eq!(socket.local_addr().unwrap(), session.client);
        }
        let without = receive(&mut to).unwrap().unwrap();
        assert!(without.sessions.iter().all(|one| one.socket.is_none()));
        assert!(receive(&mut to).unwrap().is_none());
    }
}
