//! The laboratory itself: what its wires and peers promise, without a balancer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;

use tidegate_tests::byte_peers::{Client, Server, ask};
use tidegate_tests::lab::{Host, Lab};

fn serve(host: &Host, name: &str) -> Server {
    Server::start(host, name, SocketAddr::new(host.address(), 80))
}

#[test]
fn routed_machines_speak_over_the_balancer() {
    let lab = Lab::routed(2);
    for (at, endpoint) in lab.endpoints().iter().enumerate() {
        let name = format!("e{at}");
        let server = serve(endpoint, &name);
        let (who, seen) = Client::connect(lab.client(), server.address)
            .and_then(Client::who)
            .unwrap();
        assert_eq!((who, seen.ip()), (name, lab.client().address()));
        let six = Server::start(endpoint, "six", SocketAddr::new(endpoint.address6(), 80));
        let (_, seen) = Client::connect(lab.client(), six.address)
            .and_then(Client::who)
            .unwrap();
        assert_eq!(seen.ip(), lab.client().address6());
    }
}

#[test]
fn peers_hold_streams_to_the_byte() {
    let lab = Lab::segment(1);
    let server = serve(&lab.endpoints()[0], "e");
    let connect = || Client::connect(lab.client(), server.address).unwrap();
    connect().both(5_000_000).unwrap();
    connect().with_slow_reader(20_000_000).unwrap();
    let mut echo = connect().stream().try_clone().unwrap();
    echo.write_all(b"echo\nall of it").unwrap();
    echo.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    echo.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all of it");
    let mut reset = connect().stream().try_clone().unwrap();
    reset.write_all(b"reset\n").unwrap();
    let error = reset.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut held = connect().stream().try_clone().unwrap();
    held.write_all(b"hold\n").unwrap();
    held.read_exact(&mut [0; 2]).unwrap();
    rustix::net::sockopt::set_socket_linger(&held, Some(Duration::ZERO)).unwrap();
    drop(held);
    while server.endings().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.endings(), ["ConnectionReset"]);
}

#[test]
fn datagrams_are_answered() {
    let lab = Lab::segment(1);
    let server = serve(&lab.endpoints()[0], "e");
    let socket = lab
        .client()
        .on(|| UdpSocket::bind("10.9.0.2:5000"))
        .unwrap();
    let (name, seen, bytes) = ask(&socket, server.address, b"a datagram, with spaces").unwrap();
    assert_eq!((&*name, &*seen.to_string()), ("e", "10.9.0.2:5000"));
    assert_eq!(bytes, b"a datagram, with spaces");
}
