//! Datagrams of any protocol.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use tidegate_l4::balance::Scheduler;
use tidegate_l4::datagram::{Counter, End, Stage};

use crate::site::{Answering, Client, PATIENCE, Wanted, cluster, eventually};

/// Name and port of an answer.
fn answered_by(answer: &str) -> (String, String) {
    let mut words = answer.split(' ').map(String::from);
    let mut word = || words.next().expect("endpoints answer with several");
    (word(), word())
}

#[test]
fn each_client_has_a_session_of_its_own() {
    let endpoint = Answering::start("one");
    let site =
        Wanted::new(cluster(Scheduler::RoundRobin, &[endpoint.address])).start("127.0.0.1:0");
    let clients: Vec<_> = (0..50).map(|_| site.client()).collect();
    let mut sessions = HashSet::new();
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client
                .0
                .send(format!("{round} {number}").as_bytes())
                .unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let answer = client.receive(PATIENCE).unwrap();
            assert!(answer.ends_with(&format!(" {round} {number}")), "{answer}");
            sessions.insert(answered_by(&answer).1);
        }
    }
    assert_eq!((sessions.len(), site.shared.open()), (50, 50));
    let counted = || site.sum(Counter::Up) == 150 && site.sum(Counter::Down) == 150;
    assert!(eventually(counted));
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    let endpoint = Answering::start("one");
    let site = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address])).start("0.0.0.0:0");
    for host in ["127.0.0.1", "127.0.0.77"] {
        let client = site.client();
        // It takes answers from there alone.
        client.0.connect((host, site.address().port())).unwrap();
        client.ask("who?");
    }
}

#[test]
fn datagrams_of_any_length_arrive_as_they_were_sent() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").unwrap();
    endpoint.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = endpoint.local_addr().unwrap();
    let site = Wanted::new(cluster(Scheduler::Maglev, &[address])).start("127.0.0.1:0");
    let client = site.client();
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; 70_000];
    for length in [0, 1, 1200, 9000, 65_507] {
        let octets: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        client.0.send(&octets).unwrap();
        let (length, session) = endpoint.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], octets);
        endpoint.send_to(&octets, session).unwrap();
        let length = client.0.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], octets);
    }
}

#[test]
fn a_burst_loses_nothing_and_keeps_its_order() {
    const COUNT: u32 = 20_000;
    let endpoint = UdpSocket::bind("127.0.0.1:0").unwrap();
    endpoint.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = endpoint.local_addr().unwrap();
    let site = Wanted::new(cluster(Scheduler::Maglev, &[address])).start("127.0.0.1:0");
    let client = site.client();
    let mut next = 0;
    let mut buffer = [0; 2000];
    for number in 0..COUNT {
        let mut datagram = [7; 1000];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        client.0.send(&datagram).unwrap();
        // As many are under way as fit into the buffers of this machine.
        while next + 64 < number {
            let (length, _) = endpoint.recv_from(&mut buffer).unwrap();
            assert_eq!((length, &buffer[..4]), (1000, &next.to_be_bytes()[..]));
            next += 1;
        }
    }
}

#[test]
fn an_endpoint_that_refuses_is_left_and_passed_over() {
    let gone = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let there = Answering::start("there");
    let addresses = [gone, there.address];
    let site = Wanted::new(cluster(Scheduler::RoundRobin, &addresses)).start("127.0.0.1:0");
    // One of two goes to the endpoint that refuses: its client asks again.
    let clients: Vec<_> = (0..2).map(|_| site.client()).collect();
    for client in &clients {
        assert_eq!(answered_by(&client.ask("?")).0, "there");
    }
    assert_eq!(
        (site.sum(Counter::Refused), site.sum(Counter::Moved)),
        (1, 1)
    );
    // For a while nobody else has to find out.
    for _ in 0..10 {
        let client = site.client();
        client.0.send(b"?").unwrap();
        assert!(client.receive(PATIENCE).is_some());
    }
    assert_eq!(site.sum(Counter::Refused), 1);
}

#[test]
fn sessions_leave_an_endpoint_that_is_found_dead() {
    let (one, two) = (Answering::start("one"), Answering::start("two"));
    let cluster = cluster(Scheduler::Maglev, &[one.address, two.address]);
    let site = Wanted::new(cluster.clone()).start("127.0.0.1:0");
    let clients: Vec<_> = (0..20).map(|_| site.client()).collect();
    let before: HashSet<_> = clients
        .iter()
        .map(|client| answered_by(&client.ask("?")).0)
        .collect();
    assert_eq!(before.len(), 2, "both have sessions");
    let now = Instant::now();
    cluster.endpoints()[0].set_well(false, now);
    cluster.follow(now);
    for client in &clients {
        assert_eq!(answered_by(&client.ask("?")).0, "two");
    }
    assert_eq!(site.shared.open(), 20);
}

#[test]
fn quiet_sessions_end_and_begin_again() {
    let endpoint = Answering::start("one");
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address]));
    wanted.idle = Duration::from_millis(800);
    let site = wanted.start("127.0.0.1:0");
    let client = site.client();
    let first = client.ask("?");
    // While there are datagrams it stays.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(client.ask("?"), first);
    }
    assert!(eventually(|| site.shared.open() == 0));
    assert_eq!(*site.ended.lock().unwrap(), [End::Idle]);
    assert_eq!(answered_by(&client.ask("?")).0, "one");
    assert_eq!(site.sum(Counter::Sessions), 2);
}

#[test]
fn sessions_without_an_answer_have_less_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[address]));
    wanted.unanswered = Duration::from_millis(300);
    let site = wanted.start("127.0.0.1:0");
    site.client().0.send(b"?").unwrap();
    assert!(eventually(|| site.shared.open() == 1));
    let begun = Instant::now();
    assert!(eventually(|| site.shared.open() == 0));
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[test]
fn whoever_was_answered_keeps_its_session_when_there_are_too_many() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = silent.local_addr().unwrap();
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[address]));
    wanted.most = 8;
    let site = wanted.start("127.0.0.1:0");
    let known = site.client();
    known.0.send(b"first").unwrap();
    let mut buffer = [0; 100];
    let (_, session) = silent.recv_from(&mut buffer).unwrap();
    silent.send_to(b"welcome", session).unwrap();
    assert_eq!(known.receive(PATIENCE).as_deref(), Some("welcome"));
    // Its address is no invention: it has got the answer.
    known.0.send(b"thanks").unwrap();
    silent.recv_from(&mut buffer).unwrap();
    // All at a time: a port that is used again has a session.
    let flood: Vec<_> = (0..200).map(|_| site.client()).collect();
    for client in &flood {
        client.0.send(b"flood").unwrap();
    }
    let counted = || {
        let begun = site.sum(Counter::Sessions);
        begun + site.sum(Counter::NotAdmitted) == 201
    };
    assert!(eventually(counted));
    assert!(site.shared.open() <= 8);
    // Whoever comes and comes again is let in, whichever thread has it.
    for _ in 0..10 {
        let late = site.client();
        let begun = site.sum(Counter::Sessions);
        let comes = || {
            late.0.send(b"late").unwrap();
            site.sum(Counter::Sessions) > begun
        };
        assert!(eventually(comes));
    }
    assert!(site.sum(Counter::Evicted) >= 10);
    silent.send_to(b"still here", session).unwrap();
    assert_eq!(known.receive(PATIENCE).as_deref(), Some("still here"));
}

#[test]
fn answers_to_invented_addresses_take_no_room_from_clients() {
    let endpoint = Answering::start("one");
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address]));
    wanted.most = 8;
    let site = wanted.start("127.0.0.1:0");
    let known = site.client();
    let session = answered_by(&known.ask("first"));
    assert_eq!(answered_by(&known.ask("again")), session);
    // Whoever has invented its address asks once: the answer goes to somebody else.
    let flood: Vec<_> = (0..50).map(|_| site.client()).collect();
    let answered = flood.iter().filter(|client| {
        client.0.send(b"flood").unwrap();
        client.receive(Duration::from_millis(100)).is_some()
    });
    assert!(answered.count() >= 7, "there is room for so many");
    for _ in 0..10 {
        site.client().ask("late");
    }
    assert_eq!(answered_by(&known.ask("last")), session);
}

#[test]
fn sessions_leave_an_endpoint_that_is_removed() {
    let (one, two) = (Answering::start("one"), Answering::start("two"));
    let cluster = cluster(Scheduler::Maglev, &[one.address, two.address]);
    let site = Wanted::new(cluster.clone()).start("127.0.0.1:0");
    let clients: Vec<_> = (0..20).map(|_| site.client()).collect();
    let ask = |client: &Client| answered_by(&client.ask("?")).0;
    let before: HashSet<_> = clients.iter().map(ask).collect();
    assert_eq!(before.len(), 2, "both have sessions");
    let drain = Duration::from_secs(1);
    let removed = Instant::now();
    cluster.endpoints()[0].leave(removed + drain);
    let to_one = clients.iter().map(ask).any(|name| name == "one");
    assert!(to_one || removed.elapsed() >= drain, "there is time left");
    std::thread::sleep(drain);
    for client in &clients {
        assert_eq!(ask(client), "two");
    }
    assert_eq!(site.shared.open(), 20);
}

#[test]
fn a_listener_whose_address_another_takes_ends_at_once() {
    let endpoint = Answering::start("one");
    let site = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address])).start("127.0.0.1:0");
    site.client().ask("?");
    let begun = Instant::now();
    site.shared.close(Stage::Ended);
    assert!(site.has_ended());
    assert!(begun.elapsed() < PATIENCE / 2);
    assert_eq!(*site.ended.lock().unwrap(), [End::Closed]);
}

#[test]
fn a_listener_that_closes_serves_the_sessions_that_it_has() {
    let endpoint = Answering::start("one");
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address]));
    wanted.idle = Duration::from_secs(1);
    let site = wanted.start("127.0.0.1:0");
    let client = site.client();
    let session = answered_by(&client.ask("before"));
    site.shared.close(Stage::Draining);
    assert_eq!(answered_by(&client.ask("after")), session);
    let late = site.client();
    late.0.send(b"?").unwrap();
    assert_eq!(late.receive(Duration::from_millis(300)), None);
    assert_eq!(answered_by(&client.ask("again")), session);
    assert!(site.has_ended());
    assert_eq!(*site.ended.lock().unwrap(), [End::Idle]);
}

#[test]
fn the_drain_has_a_limit() {
    let endpoint = Answering::start("one");
    let mut wanted = Wanted::new(cluster(Scheduler::Maglev, &[endpoint.address]));
    wanted.drain = Duration::from_millis(500);
    let site = wanted.start("127.0.0.1:0");
    site.client().ask("?");
    site.shared.close(Stage::Draining);
    assert!(site.has_ended());
    assert_eq!(*site.ended.lock().unwrap(), [End::Closed]);
}

#[test]
fn a_successor_leads_every_client_to_the_endpoint_that_it_had() {
    let endpoints = ["one", "two", "three"].map(Answering::start);
    let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
    for scheduler in [Scheduler::Maglev, Scheduler::RoundRobin] {
        let wanted = Wanted::new(cluster(scheduler, &addresses));
        let mut site = wanted.clone().start("127.0.0.1:0");
        let clients: Vec<_> = (0..30).map(|_| site.client()).collect();
        // Endpoints see the same address too.
        let ask = |client: &Client| answered_by(&client.ask("?"));
        let before: Vec<_> = clients.iter().map(ask).collect();
        for _ in 0..3 {
            // What was asked before is still answered, by whoever has asked.
            for client in &clients {
                client.0.send(b"last").unwrap();
            }
            // Some say nothing while one or the other serves.
            let new = wanted.clone().succeed(&site);
            assert!(site.has_ended(), "nothing is left to do");
            site = new;
            for client in &clients {
                let last = client.receive(PATIENCE);
                assert!(last.is_some_and(|answer| answer.ends_with("last")));
            }
            let after: Vec<_> = clients[..20].iter().map(ask).collect();
            assert_eq!(after, before[..20], "{scheduler:?}");
        }
        let after: Vec<_> = clients.iter().map(ask).collect();
        assert_eq!(after, before, "{scheduler:?}");
        assert_eq!((site.shared.open(), site.sum(Counter::Sessions)), (30, 0));
    }
}
