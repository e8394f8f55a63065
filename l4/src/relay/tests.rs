//! The relay between real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::thread;

use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::net::{SendFlags, send};
use tokio::net::TcpListener;

use super::*;
use crate::draining::Draining;

const PATIENT: Limits = Limits {
    idle: Duration::from_secs(20),
    half_closed: Duration::from_secs(20),
    total: None,
};

/// A relay between a client and an endpoint, and how it ended.
struct Pair {
    client: StdStream,
    endpoint: StdStream,
    relay: thread::JoinHandle<(End, u64, u64)>,
}

fn pair(limits: Limits, early: &'static [u8]) -> Pair {
    drained(limits, early, Vec::new())
}

/// The same, to be closed when one of these is.
fn drained(limits: Limits, early: &'static [u8], mut drains: Vec<Member>) -> Pair {
    let clients = StdListener::bind("127.0.0.1:0").unwrap();
    let endpoints = StdListener::bind("127.0.0.1:0").unwrap();
    let (to, at) = (
        endpoints.local_addr().unwrap(),
        clients.local_addr().unwrap(),
    );
    clients.set_nonblocking(true).unwrap();
    let relay = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clients = TcpListener::from_std(clients).unwrap();
            let (mut client, _) = clients.accept().await.unwrap();
            let mut endpoint = TcpStream::connect(to).await.unwrap();
            let moved = Moved::default();
            let end = relay(
                &mut client,
                &mut endpoint,
                early.to_vec(),
                &limits,
                &moved,
                &mut drains,
            )
            .await;
            (end, moved.up.get(), moved.down.get())
        })
    });
    let client = StdStream::connect(at).unwrap();
    let (endpoint, _) = endpoints.accept().unwrap();
    Pair {
        client,
        endpoint,
        relay,
    }
}

fn random(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Sends all of it, ends, and reads to the end meanwhile.
fn talk(mut stream: StdStream, say: Vec<u8>, slowly: bool) -> thread::JoinHandle<Vec<u8>> {
    let mut other = stream.try_clone().unwrap();
    let said = thread::spawn(move || {
        other.write_all(&say).unwrap();
        other.shutdown(Shutdown::Write).unwrap();
    });
    thread::spawn(move || {
        let mut heard = Vec::new();
        let mut chunk = vec![0; 100_000];
        loop {
            match stream.read(&mut chunk).unwrap() {
                0 => break,
                count => heard.extend_from_slice(&chunk[..count]),
            }
            if slowly {
                thread::sleep(Duration::from_millis(2));
            }
        }
        said.join().unwrap();
        heard
    })
}

#[test]
fn every_byte_arrives_both_ways_at_once() {
    for (up, down, slowly) in [
        (0, 0, false),
        (1, 100, false),
        (CHUNK_AND_MORE, 5, false),
        (40_000_000, 30_000_000, false),
        (20_000_000, 20_000_000, true),
    ] {
        let Pair {
            client,
            endpoint,
            relay,
        } = pair(PATIENT, b"");
        let (ask, tell) = (random(up, 1), random(down, 2));
        let heard = talk(client, ask.clone(), slowly);
        let asked = talk(endpoint, tell.clone(), false);
        assert!(heard.join().unwrap() == tell, "{down} octets down");
        assert!(asked.join().unwrap() == ask, "{up} octets up");
        assert_eq!(relay.join().unwrap(), (End::Done, up as u64, down as u64));
    }
}

const CHUNK_AND_MORE: usize = 64 * 1024 + 1;

#[test]
fn bytes_after_an_urgent_octet_arrive_at_once_and_before_the_end() {
    const BEFORE: usize = 30_000_000;
    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(PATIENT, b"");
    let said = thread::spawn(move || {
        client.write_all(&vec![1; BEFORE]).unwrap();
        assert_eq!(send(&client, b"!", SendFlags::OOB).unwrap(), 1);
        client.write_all(&[2; 1000]).unwrap();
        client
    });
    // So slow at first that the kernel moves the bytes.
    thread::sleep(Duration::from_millis(300));
    let patience = Some(Duration::from_secs(5));
    endpoint.set_read_timeout(patience).unwrap();
    let mut heard = vec![0; BEFORE + 1000];
    endpoint.read_exact(&mut heard).unwrap();
    assert!(heard[..BEFORE].iter().all(|octet| *octet == 1));
    assert!(heard[BEFORE..].iter().all(|octet| *octet == 2));

    let mut client = said.join().unwrap();
    let said = thread::spawn(move || {
        client.write_all(&vec![1; BEFORE]).unwrap();
        assert_eq!(send(&client, b"!", SendFlags::OOB).unwrap(), 1);
        client.write_all(&[2; 1000]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    thread::sleep(Duration::from_millis(300));
    heard.clear();
    endpoint.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), BEFORE + 1000);
    drop((endpoint, said.join().unwrap()));
    assert_eq!(relay.join().unwrap().0, End::Done);
}

#[test]
fn what_was_read_before_goes_first() {
    let Pair {
        client,
        endpoint,
        relay,
    } = pair(PATIENT, b"first ");
    let heard = talk(client, b"second".to_vec(), false);
    let asked = talk(endpoint, Vec::new(), false);
    assert_eq!(asked.join().unwrap(), b"first second");
    assert!(heard.join().unwrap().is_empty());
    assert_eq!(relay.join().unwrap(), (End::Done, 12, 0));
}

#[test]
fn an_end_of_one_side_leaves_the_other_open() {
    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(PATIENT, b"");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(endpoint.read(&mut [0; 9]).unwrap(), 0);
    for _ in 0..3 {
        endpoint.write_all(b"more").unwrap();
        let mut more = [0; 4];
        client.read_exact(&mut more).unwrap();
        assert_eq!(&more, b"more");
    }
    drop(endpoint);
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(relay.join().unwrap(), (End::Done, 0, 12));
}

#[test]
fn a_reset_is_passed_on() {
    let Pair {
        client,
        mut endpoint,
        relay,
    } = pair(PATIENT, b"");
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let error = endpoint.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(relay.join().unwrap().0, End::ClientBroke);

    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(PATIENT, b"");
    // Before the relay is connected it would be the connecting that fails.
    client.write_all(b"a").unwrap();
    endpoint.read_exact(&mut [0; 1]).unwrap();
    SockRef::from(&endpoint)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(endpoint);
    let error = client.read(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(relay.join().unwrap().0, End::EndpointBroke);
}

#[test]
fn silence_ends_it_and_bytes_keep_it_alive() {
    let limits = Limits {
        idle: Duration::from_millis(300),
        ..PATIENT
    };
    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(limits, b"");
    let begun = std::time::Instant::now();
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(100));
        client.write_all(b"a").unwrap();
        endpoint.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(850)..Duration::from_millis(2500)).contains(&took),
        "{took:?}"
    );
    assert_eq!(relay.join().unwrap(), (End::Idle, 6, 0));
}

#[test]
fn a_side_that_ended_and_one_that_is_silent_are_given_up_sooner() {
    let limits = Limits {
        half_closed: Duration::from_millis(200),
        ..PATIENT
    };
    let Pair {
        client,
        mut endpoint,
        relay,
    } = pair(limits, b"");
    client.shutdown(Shutdown::Write).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(endpoint.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(relay.join().unwrap().0, End::Idle);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn nothing_is_there_for_longer_than_it_may() {
    let limits = Limits {
        total: Some(Duration::from_millis(400)),
        ..PATIENT
    };
    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(limits, b"");
    let begun = std::time::Instant::now();
    while client.write_all(b"a").is_ok() && begun.elapsed() < Duration::from_secs(5) {
        match endpoint.read(&mut [0; 9]) {
            Ok(1..) => thread::sleep(Duration::from_millis(20)),
            _ => break,
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(relay.join().unwrap().0, End::Expired);
}

#[test]
fn the_time_of_a_side_that_has_ended_begins_with_its_end() {
    let limits = Limits {
        half_closed: Duration::from_millis(500),
        ..PATIENT
    };
    let Pair {
        mut client,
        mut endpoint,
        relay,
    } = pair(limits, b"");
    thread::sleep(Duration::from_millis(800));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(endpoint.read(&mut [0; 9]).unwrap(), 0);
    thread::sleep(Duration::from_millis(50));
    endpoint.write_all(b"answer").unwrap();
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 6);
    drop(endpoint);
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(relay.join().unwrap(), (End::Done, 0, 6));
}

#[test]
fn what_is_drained_is_closed_and_what_is_cut_off_is_reset() {
    let draining = Arc::new(Draining::default());
    let member = || vec![Arc::new(Draining::default()).join(), draining.join()];
    let quiet = drained(PATIENT, b"", member());
    let mut cut = drained(PATIENT, b"", member());
    fill(&mut cut.client);
    let mut busy = drained(PATIENT, b"", member());
    busy.endpoint.write_all(b"the first part").unwrap();
    busy.client.read_exact(&mut [0; 14]).unwrap();
    let begun = std::time::Instant::now();
    draining.set(Some(Duration::from_millis(500)), begun);
    assert_eq!((&quiet.client).read(&mut [0; 9]).unwrap(), 0);
    assert_eq!((&quiet.endpoint).read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(quiet.relay.join().unwrap(), (End::Drained, 0, 0));
    assert_eq!(cut.relay.join().unwrap().0, End::Drained);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(busy.relay.join().unwrap(), (End::Drained, 0, 14));
    for side in [&mut cut.endpoint, &mut busy.client, &mut busy.endpoint] {
        let broken = side.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

/// Sends until nobody takes any more of it.
fn fill(stream: &mut StdStream) {
    stream.set_nonblocking(true).unwrap();
    let mut idle = 0;
    while idle < 20 {
        idle += 1;
        while stream.write(&[7; 65_536]).is_ok_and(|count| count > 0) {
            idle = 0;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_given_up_while_it_holds_bytes_is_reset() {
    let endpoints = StdListener::bind("127.0.0.1:0").unwrap();
    let to = endpoints.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut quiet, mut cut) = runtime.block_on(async {
        let clients = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = clients.local_addr().unwrap();
        let mut sides = Vec::new();
        for is_full in [false, true] {
            let client = StdStream::connect(at).unwrap();
            let (mut stream, _) = clients.accept().await.unwrap();
            let mut endpoint = TcpStream::connect(to).await.unwrap();
            sides.push(endpoints.accept().unwrap().0);
            let filling = is_full.then(|| {
                let mut client = client.try_clone().unwrap();
                thread::spawn(move || fill(&mut client))
            });
            let moved = Moved::default();
            let relaying = relay(
                &mut stream,
                &mut endpoint,
                Vec::new(),
                &PATIENT,
                &moved,
                &mut [],
            );
            let within = Duration::from_secs(if is_full { 3 } else { 0 });
            // The thread ends with all that is on it, as at the end of a stop.
            assert!(tokio::time::timeout(within, relaying).await.is_err());
            filling.map(thread::JoinHandle::join);
        }
        (sides.remove(0), sides.remove(0))
    });
    assert_eq!(quiet.read(&mut [0; 9]).unwrap(), 0);
    let broken = cut.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
}
