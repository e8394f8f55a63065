//! Sockets that were open before this process began.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use socket2::{Protocol, Socket, Type};

use super::socket_file::SocketFile;
use super::{Address, ListenOptions, systemd};

/// Sockets that were open before this process began, until listeners claim them.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedSocket>,
    /// Of all stream sockets, claimed or not.
    ports: BTreeSet<u16>,
}

/// One of them.
#[derive(Debug)]
pub struct InheritedSocket {
    /// The listener that it was for, or what systemd calls it.
    name: String,
    address: Address,
    source: Source,
    transport: Transport,
    /// Whether its file goes when it goes.
    pub(super) removable: bool,
    pub(super) socket: Socket,
}

/// Whom a socket comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The service manager (socket activation).
    Systemd,
    /// The process whose place this one takes.
    Predecessor,
}

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Connections.
    Stream,
    /// Datagrams.
    Datagram,
}

impl InheritedSocket {
    /// A socket for the listener `name`. A Unix socket that a predecessor has made comes with its
    /// address, because its file may have been renamed.
    ///
    /// # Errors
    /// When it is neither a listening stream socket nor one for UDP.
    pub fn new(
        name: impl Into<String>,
        path: Option<Address>,
        socket: OwnedFd,
        source: Source,
        removable: bool,
    ) -> io::Result<Self> {
        let socket = Socket::from(socket);
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let transport = match socket.r#type()? {
            Type::STREAM if socket.is_listener()? => Transport::Stream,
            Type::DGRAM if socket.protocol()? == Some(Protocol::UDP) => Transport::Datagram,
            _ => {
                return Err(wrong(
                    "it is neither a listening stream socket nor one for UDP",
                ));
            }
        };
        if transport == Transport::Stream {
            socket.set_nonblocking(true)?;
        }
        let bound = Address::of(&socket.local_addr()?);
        let path = path.filter(|path| path.path().is_some());
        let address = path
            .or(bound)
            .ok_or_else(|| wrong("it is neither TCP nor a Unix socket with a path"))?;
        Ok(Self {
            name: name.into(),
            address,
            source,
            transport,
            removable,
            socket,
        })
    }

    /// A socket for both families cannot become one for IPv6 alone. One that can be joined can be
    /// replaced; of others there is only this one.
    fn fits(&self, options: &ListenOptions) -> bool {
        let is_ipv6 = self.address.tcp().is_some_and(|tcp| tcp.is_ipv6());
        let other = is_ipv6
            && self
                .socket
                .only_v6()
                .is_ok_and(|only| only == options.dual_stack);
        !other || !self.socket.reuse_port().unwrap_or(false)
    }
}

impl FromIterator<InheritedSocket> for Inherited {
    fn from_iter<I: IntoIterator<Item = InheritedSocket>>(sockets: I) -> Self {
        let sockets: Vec<_> = sockets.into_iter().collect();
        let streams = sockets
            .iter()
            .filter(|one| one.transport == Transport::Stream);
        let tcp = streams.filter_map(|one| one.address.tcp());
        Self {
            ports: tcp.map(|address| address.port()).collect(),
            sockets,
        }
    }
}

impl Inherited {
    /// What systemd has passed; nothing without socket activation. To be called once, before the
    /// process has a second thread.
    pub fn from_systemd() -> Self {
        systemd::sockets()
    }

    /// Whether any of them listened on this port.
    pub(super) fn holds(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Takes the stream sockets of an address. Where any port will do they are those of the listener's name.
    pub(super) fn claim(
        &mut self,
        name: &str,
        address: &Address,
        options: &ListenOptions,
    ) -> Vec<InheritedSocket> {
        self.claim_of(Transport::Stream, name, address, options)
    }

    /// The same for one transport.
    pub(super) fn claim_of(
        &mut self,
        transport: Transport,
        name: &str,
        address: &Address,
        options: &ListenOptions,
    ) -> Vec<InheritedSocket> {
        let mine = |one: &mut InheritedSocket| {
            let named = !address.takes_any_port() || one.name == name;
            let fits = one.transport == transport && one.fits(options);
            named && fits && address.admits(&one.address)
        };
        self.sockets.extract_if(.., mine).collect()
    }

    /// Closes what no listener has claimed, and removes the files of Unix sockets that a
    /// predecessor had made.
    pub fn close_unclaimed(self) {
        for one in self.sockets {
            let InheritedSocket { name, address, .. } = &one;
            match one.source {
                Source::Systemd => {
                    tracing::warn!(name, %address, "systemd passed a socket that no listener asks for: closed");
                }
                Source::Predecessor => tracing::info!(listener = name, %address, "closed"),
            }
            if let (true, Some(path)) = (one.removable, address.path())
                && let Ok(file) = SocketFile::at(path)
            {
                file.remove();
            }
        }
    }
}
