//! Binding a listener: what is inherited first, and anew what nobody gave us.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::inherited::{Inherited, InheritedSocket};
use super::options::set_transparent;
use super::socket_file::{self, SocketFile};
use super::{Address, ListenOptions};

/// The sockets of one listener, open for as long as it is wanted.
#[derive(Debug)]
pub struct Bound {
    address: Address,
    /// Each is a socket of its own with its own queue of waiting connections.
    sockets: Vec<Socket>,
    /// None for TCP, and for a file that somebody else made for us.
    file: Option<SocketFile>,
}

/// A worker's own handle on a listening socket; it does not block.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// Binds one listener for so many workers: a socket for each on TCP, one for all on a Unix socket.
///
/// `held` are ports that this process listens on already, be it with other options or on other
/// addresses. On any other port nobody else may listen.
///
/// A socket beside inherited ones, or beside others of this process on the same port, takes connections
/// only from [`Bound::open`] on: until then those have to serve on, and it may come to nothing.
///
/// # Errors
/// When it cannot be bound, above all because somebody else listens there.
pub fn bind(
    name: &str,
    address: &Address,
    options: &ListenOptions,
    workers: usize,
    held: &BTreeSet<u16>,
    inherited: &mut Inherited,
) -> io::Result<Bound> {
    let shared = |port| held.contains(&port) || inherited.holds(port);
    let shared = address.tcp().is_some_and(|tcp| shared(tcp.port()));
    let claimed = inherited.claim(name, address, options);
    match address {
        Address::Tcp(address) => bind_tcp(*address, options, workers, shared, claimed),
        Address::Unix(path) => bind_unix(path, options, claimed),
    }
}

impl Bound {
    /// What it is bound to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sets the options, and listens with every socket that does not yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn open(&self, options: &ListenOptions) -> io::Result<()> {
        for socket in &self.sockets {
            if let Some(address) = self.address.tcp().filter(|_| options.transparent) {
                // For sockets that somebody else has bound.
                set_transparent(&SockRef::from(socket), address.is_ipv6())?;
            }
            socket.listen(options.backlog.into())?;
            if self.address.tcp().is_some() {
                options.tcp.apply(&SockRef::from(socket))?;
            }
        }
        match (self.address.path(), options.mode, &self.file) {
            (Some(path), Some(mode), Some(_)) => socket_file::set_mode(path, mode),
            _ => Ok(()),
        }
    }

    /// A handle on every socket, each with the number of the worker that it is for.
    ///
    /// With fewer sockets than workers some workers share one. With more, some have several: no
    /// socket may be left out, because connections wait in each.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn for_workers(&self, workers: usize) -> io::Result<Vec<(usize, Listener)>> {
        let count = workers.max(self.sockets.len());
        (0..count)
            .map(|at| {
                let socket = self.sockets[at % self.sockets.len()].try_clone()?;
                let listener = match self.address {
                    Address::Tcp(_) => Listener::Tcp(socket.into()),
                    Address::Unix(_) => Listener::Unix(socket.into()),
                };
                Ok((at % workers, listener))
            })
            .collect()
    }

    /// Every socket, for a hand-over.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(Socket::as_fd)
    }

    /// Whether there is a file that goes with the listener.
    pub fn owns_file(&self) -> bool {
        self.file.is_some()
    }

    /// Removes the file of a Unix socket, unless it is somebody else's by now.
    pub fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

fn bind_tcp(
    address: SocketAddr,
    options: &ListenOptions,
    workers: usize,
    shared: bool,
    claimed: Vec<InheritedSocket>,
) -> io::Result<Bound> {
    let mut sockets: Vec<Socket> = claimed.into_iter().map(|one| one.socket).collect();
    let fresh = sockets.is_empty();
    if fresh {
        // SO_REUSEPORT would let us share the port with a stranger without a word,
        // so the first socket asks without it whether anybody is there.
        if address.port() != 0 && !shared {
            tcp_socket(address, options, false)?;
        }
        sockets.push(tcp_socket(address, options, true)?);
    }
    let bound = sockets[0].local_addr()?.as_socket().unwrap_or(address);
    while sockets.len() < workers && sockets[0].reuse_port()? {
        match tcp_socket(bound, options, true) {
            Ok(socket) => sockets.push(socket),
            Err(error) if fresh => return Err(error),
            // A port below 1024, or a socket of another user: the workers share what there is.
            Err(_) => break,
        }
    }
    if fresh && !shared {
        for socket in &sockets {
            socket.listen(options.backlog.into())?;
        }
    }
    Ok(Bound {
        address: Address::Tcp(bound),
        sockets,
        file: None,
    })
}

fn tcp_socket(address: SocketAddr, options: &ListenOptions, share: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(!options.dual_stack)?;
    }
    if options.transparent {
        set_transparent(&SockRef::from(&socket), address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(
    path: &Path,
    options: &ListenOptions,
    claimed: Vec<InheritedSocket>,
) -> io::Result<Bound> {
    let removable = claimed.iter().all(|one| one.removable);
    let mut sockets: Vec<Socket> = claimed.into_iter().map(|one| one.socket).collect();
    if sockets.is_empty() {
        let socket = socket_file::bind(path, options.mode)?;
        socket.listen(options.backlog.into())?;
        sockets.push(socket);
    }
    Ok(Bound {
        address: Address::Unix(path.to_owned()),
        sockets,
        file: SocketFile::at(path).ok().filter(|_| removable),
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::net::{Source, TcpConfig};
    use crate::units::Period;

    fn anew(address: &str, workers: usize) -> io::Result<Bound> {
        with(address, workers, &mut Inherited::default())
    }

    fn with(address: &str, workers: usize, inherited: &mut Inherited) -> io::Result<Bound> {
        let address = address.parse().unwrap();
        let options = ListenOptions::default();
        bind(
            "http",
            &address,
            &options,
            workers,
            &BTreeSet::new(),
            inherited,
        )
    }

    fn inherit(bound: &Bound) -> Inherited {
        let sockets = bound.descriptors().map(|socket| {
            let socket = socket.try_clone_to_owned().unwrap();
            InheritedSocket::new("http", None, socket, Source::Predecessor, true).unwrap()
        });
        sockets.collect()
    }

    fn accepts_all(bound: &Bound, workers: usize, mut expected: usize) {
        let mut accepted = Vec::new();
        for (_, listener) in bound.for_workers(workers).unwrap() {
            let Listener::Tcp(listener) = listener else {
                panic!("not TCP")
            };
            while let Ok(connection) = listener.accept() {
                accepted.push(connection);
                expected -= 1;
            }
        }
        assert_eq!(expected, 0, "no connection in a queue is lost");
    }

    #[test]
    fn sockets_share_a_port_with_each_other_but_with_nobody_else() {
        let bound = anew("127.0.0.1:0", 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        let address = bound.address().to_string();
        let error = anew(&address, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(anew(&address, 1).is_ok());
    }

    #[test]
    fn fewer_workers_take_all_inherited_sockets() {
        let old = anew("127.0.0.1:0", 4).unwrap();
        let address = old.address().tcp().unwrap();
        let clients: Vec<_> = (0..32)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let mut inherited = inherit(&old);
        let new = with(&address.to_string(), 2, &mut inherited).unwrap();
        drop(old);
        let workers: Vec<_> = new.for_workers(2).unwrap();
        assert_eq!(
            workers.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [0, 1, 0, 1]
        );
        accepts_all(&new, 2, clients.len());
    }

    #[test]
    fn more_workers_bind_more_sockets_that_listen_only_once_they_are_opened() {
        let old = anew("127.0.0.1:0", 1).unwrap();
        let address = old.address().tcp().unwrap();
        let new = with(&address.to_string(), 3, &mut inherit(&old)).unwrap();
        let listening = || {
            let sockets = new.sockets.iter();
            sockets
                .filter(|socket| socket.is_listener().unwrap())
                .count()
        };
        assert_eq!(listening(), 1);
        new.open(&ListenOptions::default()).unwrap();
        assert_eq!(listening(), 3);
        let clients: Vec<_> = (0..32)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        accepts_all(&new, 3, clients.len());
    }

    #[test]
    fn beside_sockets_of_this_process_others_listen_only_once_they_are_opened() {
        let old = anew("127.0.0.1:0", 1).unwrap();
        let address = &old.address().clone();
        let held = BTreeSet::from([address.tcp().unwrap().port()]);
        let options = ListenOptions::default();
        let mut nothing = Inherited::default();
        let new = bind("http", address, &options, 2, &held, &mut nothing).unwrap();
        let connect = |count| -> Vec<_> {
            let to = address.tcp().unwrap();
            (0..count)
                .map(|_| TcpStream::connect(to).unwrap())
                .collect()
        };
        let clients = connect(32);
        // As when a reload fails.
        drop(new);
        accepts_all(&old, 1, clients.len());
        let new = bind("http", address, &options, 2, &held, &mut nothing).unwrap();
        new.open(&options).unwrap();
        drop(old);
        let clients = connect(32);
        accepts_all(&new, 2, clients.len());
    }

    #[test]
    fn one_socket_that_cannot_be_joined_is_shared() {
        let lonely = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = lonely.local_addr().unwrap().to_string();
        let given = InheritedSocket::new("x", None, lonely.into(), Source::Systemd, false);
        let mut inherited = Inherited::from_iter([given.unwrap()]);
        let bound = with(&address, 3, &mut inherited).unwrap();
        assert_eq!(bound.sockets.len(), 1);
        assert_eq!(bound.for_workers(3).unwrap().len(), 3);
    }

    #[test]
    fn any_port_is_inherited_by_the_name_of_its_listener() {
        let old = anew("127.0.0.1:0", 2).unwrap();
        let new = with("127.0.0.1:0", 2, &mut inherit(&old)).unwrap();
        assert_eq!(new.address(), old.address());
    }

    #[test]
    fn connections_have_the_options_of_their_listener() {
        let bound = anew("127.0.0.1:0", 1).unwrap();
        let tcp = TcpConfig {
            keepalive: Some(Period::from_secs(77)),
            user_timeout: Some(Period::from_secs(5)),
            defer_accept: Some(Period::from_secs(1)),
            ..TcpConfig::default()
        };
        let options = ListenOptions {
            tcp,
            ..ListenOptions::default()
        };
        let accepted = |options: &ListenOptions, talk: bool| {
            bound.open(options).unwrap();
            let mut client = TcpStream::connect(bound.address().tcp().unwrap()).unwrap();
            if talk {
                io::Write::write_all(&mut client, b"x").unwrap();
            }
            bound.sockets[0].accept().unwrap().0
        };
        let connection = accepted(&options, true);
        assert!(connection.tcp_nodelay().unwrap() && connection.keepalive().unwrap());
        assert_eq!(
            connection.tcp_keepalive_time().unwrap(),
            Duration::from_secs(77)
        );
        let given_up = connection.tcp_user_timeout().unwrap();
        assert_eq!(given_up, Some(Duration::from_secs(5)));

        let plain = TcpConfig {
            nodelay: false,
            ..TcpConfig::default()
        };
        let options = ListenOptions {
            tcp: plain,
            ..options
        };
        let connection = accepted(&options, false);
        assert!(!connection.tcp_nodelay().unwrap() && !connection.keepalive().unwrap());
    }
}
