//! What a datagram costs.

use std::net::IpAddr;

use super::*;
use crate::balance::{Cluster, Endpoint, Scheduler};
use crate::datagram::{Counts, Denial, Steer};
use crate::sniff::ServerName;

struct ToAll(Arc<Cluster>);

impl Steer for ToAll {
    fn admit(&self, _: IpAddr, _: bool, _: Instant) -> Result<Box<dyn Send>, Denial> {
        Ok(Box::new(()))
    }

    fn cluster(&self, _: Option<&ServerName>) -> Option<Arc<Cluster>> {
        Some(self.0.clone())
    }
}

/// All clients go to one endpoint, and have a minute.
fn plan(endpoint: SocketAddr, now: Instant) -> Plan {
    let known = Arc::new(Endpoint::new(endpoint, 1));
    known.set_well(true, now);
    let cluster = Cluster::new(Scheduler::Maglev, Duration::ZERO, vec![known], now);
    let minute = Duration::from_secs(60);
    Plan {
        steer: Box::new(ToAll(Arc::new(cluster))),
        quic: true,
        transparent: false,
        idle: minute,
        unanswered: minute,
        opening: minute,
        drain: minute,
    }
}

#[test]
fn a_batch_of_known_sessions_allocates_nothing() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = Instant::now();
    let plan = plan(endpoint.local_addr().unwrap(), now);
    let shared = Arc::new(Shared::new(plan, Arc::new(Counts::default())).unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut worker = Worker::new(0, &socket, shared.clone()).unwrap();
    let clients: Vec<_> = (0..BATCH)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    let plan = shared.plan.load_full();
    for round in 0..3u64 {
        for client in &clients {
            client
                .send_to(b"question", socket.local_addr().unwrap())
                .unwrap();
        }
        let moment = Moment {
            plan: &plan,
            stage: Stage::Open,
            now: now + Duration::from_secs(round),
        };
        let up = allocation_counter::measure(|| worker.take_up(moment));
        let mut buffer = [0; 100];
        for _ in &clients {
            let (length, session) = endpoint.recv_from(&mut buffer).unwrap();
            endpoint.send_to(&buffer[..length], session).unwrap();
        }
        let tokens: Vec<_> = (0..clients.len())
            .filter_map(|at| Some(worker.sessions.table.get(at)?.token))
            .collect();
        let down = allocation_counter::measure(|| {
            for token in &tokens {
                worker.take_down(*token, moment);
            }
            worker.answer();
        });
        for client in &clients {
            client.set_read_timeout(Some(plan.idle)).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), 8);
        }
        // The first round begins the sessions.
        assert_eq!(up.count_total == 0, round > 0, "{up:?}");
        assert!(round == 0 || down.count_total == 0, "{down:?}");
    }
    assert_eq!(shared.open(), BATCH);
}

#[test]
fn sessions_end_as_fast_as_they_come() {
    let endpoint = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let now = Instant::now();
    let plan = plan(endpoint.local_addr().unwrap(), now);
    let shared = Arc::new(Shared::new(plan, Arc::new(Counts::default())).unwrap());
    let mut worker = Worker::new(0, &socket, shared.clone()).unwrap();
    let plan = shared.plan.load_full();
    let moment = |now| Moment {
        plan: &plan,
        stage: Stage::Open,
        now,
    };
    for port in 1..=600 {
        let path = Path {
            client: ([192, 0, 2, 1], port).into(),
            service: socket.local_addr().unwrap(),
        };
        assert!(worker.sessions.begin_default(path, moment(now)).is_some());
    }
    assert_eq!(worker.patience(), LOOK);
    // The time of all is over: nothing is waited for until the last has ended.
    let late = now + plan.idle;
    let mut turns = 0;
    while worker.patience() != LOOK || turns == 0 {
        worker.sweep(moment(late));
        turns += 1;
    }
    assert_eq!((shared.open(), turns), (0, 3));
}

#[test]
fn a_thread_that_cannot_work_is_not_waited_for() {
    let now = Instant::now();
    let plan = plan(([127, 0, 0, 1], 9).into(), now);
    let shared = Arc::new(Shared::new(plan, Arc::new(Counts::default())).unwrap());
    // It has no address.
    let file = std::fs::File::open("/dev/null").unwrap();
    let none = UdpSocket::from(OwnedFd::from(file));
    assert!(start(0, none, shared.clone()).is_err());
    shared.close(Stage::Replaced);
    assert!(
        shared
            .bequeath()
            .is_some_and(|sessions| sessions.is_empty())
    );
}
