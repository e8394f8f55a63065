use chassis::net::{receive_merged, tell_asked_address};

use super::*;

fn socket(address: &str) -> UdpSocket {
    UdpSocket::bind(address).unwrap()
}

/// What a socket has, datagram by datagram.
fn received(batch: &mut Batch, socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    batch.clear();
    while let Ok(slots) = batch.receive(socket) {
        for slot in slots {
            all.extend(batch.datagrams(slot).map(<[u8]>::to_vec));
        }
        batch.clear();
    }
    all
}

fn to_connected(slot: usize) -> Outgoing {
    Outgoing { slot, to: None }
}

#[test]
fn merged_datagrams_go_on_as_they_came() {
    let (one, two, three) = (
        socket("127.0.0.1:0"),
        socket("127.0.0.1:0"),
        socket("127.0.0.1:0"),
    );
    one.connect(two.local_addr().unwrap()).unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    receive_merged(&two).unwrap();
    let mut batch = Batch::new();
    // Something to send: 20 datagrams of 1000 octets, and a short one at the end.
    let octets: Vec<u8> = (0..20_300u32).map(|at| (at / 7) as u8).collect();
    batch.octets[..octets.len()].copy_from_slice(&octets);
    batch.slots[0] = Slot {
        length: octets.len(),
        segment: 1000,
        ..Slot::default()
    };
    assert_eq!(batch.count(0), 21);
    let sent = batch.send(&one, &[to_connected(0)]);
    assert_eq!((sent.done, sent.failed, sent.refused), (1, 0, false));
    let slots = batch.receive(&two).unwrap();
    assert!(slots.len() < 21, "the kernel has merged nothing");
    assert_eq!(batch.sender(0), Some(one.local_addr().unwrap()));
    // On it goes to somebody who gets each by itself.
    let outgoing: Vec<_> = slots
        .map(|slot| Outgoing {
            slot,
            to: Some((three.local_addr().unwrap(), None)),
        })
        .collect();
    let forward = socket("127.0.0.1:0");
    assert_eq!(batch.send(&forward, &outgoing).failed, 0);
    let all = received(&mut batch, &three);
    assert_eq!(all.len(), 21);
    assert!(all[..20].iter().all(|datagram| datagram.len() == 1000));
    assert_eq!(all.concat(), octets);
}

#[test]
fn empty_and_longest_datagrams_are_datagrams() {
    let (one, two) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    one.connect(two.local_addr().unwrap()).unwrap();
    for octets in [vec![], vec![7; 65_507]] {
        one.send(&octets).unwrap();
        let mut batch = Batch::new();
        assert_eq!(received(&mut batch, &two), [octets]);
    }
}

#[test]
fn what_the_kernel_cannot_split_is_sent_one_by_one() {
    let (one, two) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    one.connect(two.local_addr().unwrap()).unwrap();
    let mut batch = Batch::new();
    // The kernel splits into no more than 128.
    batch.octets[..1280].fill(1);
    batch.slots[0] = Slot {
        length: 129,
        segment: 1,
        ..Slot::default()
    };
    let sent = batch.send(&one, &[to_connected(0)]);
    assert_eq!(sent.failed, 0);
    assert_eq!(received(&mut batch, &two).len(), 129);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for (bind, asked) in [
        ("0.0.0.0:0", "127.0.0.9"),
        ("[::]:0", "127.0.0.9"),
        ("[::]:0", "::1"),
    ] {
        let server = socket(bind);
        tell_asked_address(&server).unwrap();
        let port = server.local_addr().unwrap().port();
        let asked: IpAddr = asked.parse().unwrap();
        let client = match asked {
            IpAddr::V4(_) => socket("127.0.0.1:0"),
            IpAddr::V6(_) => socket("[::1]:0"),
        };
        // It takes answers from there alone.
        client.connect((asked, port)).unwrap();
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(5)))
            .unwrap();
        client.send(b"who?").unwrap();
        let mut batch = Batch::new();
        batch.receive(&server).unwrap();
        let to = batch.sender(0).unwrap();
        assert_eq!(batch.asked(0).unwrap().to_canonical(), asked, "{bind}");
        let outgoing = Outgoing {
            slot: 0,
            to: Some((to, batch.asked(0))),
        };
        assert_eq!(batch.send(&server, &[outgoing]).failed, 0);
        let mut answer = [0; 9];
        assert_eq!(client.recv(&mut answer).unwrap(), 4, "{bind}");
    }
}

#[test]
fn a_refusal_is_told_and_loses_nothing_else() {
    let gone = socket("127.0.0.1:0");
    let client = socket("127.0.0.1:0");
    client.connect(gone.local_addr().unwrap()).unwrap();
    drop(gone);
    let mut batch = Batch::new();
    batch.slots[0].length = 3;
    batch.slots[0].segment = 3;
    assert_eq!(batch.send(&client, &[to_connected(0)]).done, 1);
    let sent = batch.send(&client, &[to_connected(0)]);
    assert_eq!((sent.done, sent.refused), (0, true));
}
