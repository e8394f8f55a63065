use std::collections::HashMap;
use std::net::SocketAddr;

use super::*;
use crate::forward::Transport;

/// What the kernel would have: the changes, made.
#[derive(Default)]
struct Kernel {
    services: BTreeMap<Key, ServiceValue>,
    endpoints: BTreeMap<u32, EndpointBytes>,
    tables: BTreeMap<u32, Box<Slots>>,
    order: Vec<&'static str>,
}

impl Kernel {
    fn new() -> Self {
        Self::with_numbers(MAX_ENDPOINTS)
    }

    fn with_numbers(count: u32) -> Self {
        let nobody = (0..count).map(|number| (number, nobody(0)));
        Self {
            endpoints: nobody.collect(),
            ..Self::default()
        }
    }

    fn make(&mut self, changes: Vec<Change>) {
        self.order.clear();
        for change in changes {
            self.order.push(match change {
                Change::Endpoint { number, value, .. } => {
                    self.endpoints.insert(number, value);
                    "endpoint"
                }
                Change::Table { table, slots } => {
                    self.tables.insert(table, slots);
                    "table"
                }
                Change::Service { key, value } => {
                    self.services.insert(key, value);
                    "service"
                }
                Change::NoService { key } => {
                    self.services.remove(&key);
                    "no service"
                }
            });
        }
    }

    fn book(&self) -> Book {
        let services = self.services.iter().map(|(key, value)| (*key, *value));
        let endpoints = self.endpoints.iter().map(|(at, value)| (*at, *value));
        Book::read(services, endpoints)
    }

    fn number(&self, address: &str) -> Option<u32> {
        let address: IpAddr = address.parse().expect("an address");
        self.endpoints.iter().find_map(|(number, bytes)| {
            let value = EndpointValue::parse(bytes)?;
            (value.address == address).then_some(*number)
        })
    }

    fn value(&self, address: &str) -> EndpointValue {
        let number = self.number(address).expect("it has a number");
        EndpointValue::parse(&self.endpoints[&number]).expect("it is somebody's")
    }

    fn slots(&self, service: &Service, number: u32) -> usize {
        let table = self.services[&key_of(service)].table;
        let slots = self.tables[&table].iter();
        slots.filter(|slot| u32::from(**slot) == number).count()
    }
}

fn service(address: &str, members: &[(&str, u32, bool)]) -> Service {
    let members = members.iter().map(|(address, share, well)| Member {
        address: SocketAddr::new(address.parse().expect("an address"), 443),
        share: *share,
        well: *well,
    });
    Service {
        name: "https".into(),
        transport: Transport::Tcp,
        address: address.parse().expect("an address"),
        by_source: false,
        members: members.collect(),
    }
}

fn ways(addresses: &[&str]) -> HashMap<IpAddr, Way> {
    let way = |(at, address): (usize, &&str)| {
        let way = Way {
            ifindex: 2,
            mac: [2, 0, 0, 0, 0, at as u8],
            source_mac: [2, 0, 0, 0, 1, 0],
        };
        (address.parse().expect("an address"), way)
    };
    addresses.iter().enumerate().map(way).collect()
}

#[test]
fn endpoints_are_written_before_tables_and_go_after_them() {
    let mut kernel = Kernel::new();
    let mut book = kernel.book();
    let ways = ways(&["10.0.0.1", "10.0.0.2"]);
    let one = service(
        "192.0.2.1:443",
        &[("10.0.0.1", 1, true), ("10.0.0.2", 1, true)],
    );
    kernel.make(
        book.change(std::slice::from_ref(&one), &ways)
            .expect("room"),
    );
    assert_eq!(kernel.order, ["endpoint", "endpoint", "table", "service"]);
    assert!(
        book.change(std::slice::from_ref(&one), &ways)
            .expect("room")
            .is_empty()
    );

    let first = kernel.number("10.0.0.1").expect("it has one");
    let generation = kernel.value("10.0.0.1").generation;
    let dead = service(
        "192.0.2.1:443",
        &[("10.0.0.1", 1, false), ("10.0.0.2", 1, true)],
    );
    kernel.make(book.change(&[dead], &ways).expect("room"));
    assert_eq!(kernel.order, ["table", "endpoint"]);
    assert_eq!(kernel.slots(&one, first), 0);
    let value = kernel.value("10.0.0.1");
    assert!(
        !value.live && value.generation != generation,
        "its flows are void"
    );

    // Well again: those that were void stay so.
    let void = value.generation;
    kernel.make(
        book.change(std::slice::from_ref(&one), &ways)
            .expect("room"),
    );
    let value = kernel.value("10.0.0.1");
    assert!(value.live && value.generation == void);

    kernel.make(book.change(&[], &ways).expect("room"));
    assert_eq!(kernel.order, ["no service", "endpoint", "endpoint"]);
    assert_eq!(kernel.number("10.0.0.1"), None);
}

#[test]
fn one_that_drains_keeps_its_flows_and_gets_no_new_ones() {
    let mut kernel = Kernel::new();
    let mut book = kernel.book();
    let ways = ways(&["10.0.0.1", "10.0.0.2"]);
    let both = service(
        "192.0.2.1:443",
        &[("10.0.0.1", 1, true), ("10.0.0.2", 3, true)],
    );
    kernel.make(book.change(&[both], &ways).expect("room"));
    let before = kernel.value("10.0.0.1");
    let drains = service(
        "192.0.2.1:443",
        &[("10.0.0.1", 0, true), ("10.0.0.2", 3, true)],
    );
    kernel.make(
        book.change(std::slice::from_ref(&drains), &ways)
            .expect("room"),
    );
    assert_eq!(kernel.value("10.0.0.1"), before);
    let number = kernel.number("10.0.0.1").expect("it has one");
    assert_eq!(kernel.slots(&drains, number), 0);
}

#[test]
fn who_is_not_to_be_reached_gets_nothing_until_it_is() {
    let mut kernel = Kernel::new();
    let mut book = kernel.book();
    let both = service(
        "192.0.2.1:443",
        &[("10.0.0.1", 1, true), ("10.0.0.2", 1, true)],
    );
    let wanted = std::slice::from_ref(&both);
    kernel.make(book.change(wanted, &ways(&["10.0.0.1"])).expect("room"));
    let (first, second) = (kernel.number("10.0.0.1"), kernel.number("10.0.0.2"));
    let all = Maglev::SLOTS as usize;
    assert_eq!(kernel.slots(&both, first.expect("it has one")), all);
    kernel.make(
        book.change(wanted, &ways(&["10.0.0.1", "10.0.0.2"]))
            .expect("room"),
    );
    assert!(kernel.slots(&both, second.expect("it has one")) > all / 3);
    // Silent for now: what was known is as good.
    assert!(
        book.change(wanted, &HashMap::new())
            .expect("room")
            .is_empty()
    );
}

#[test]
fn another_process_goes_on_with_the_same_numbers() {
    let mut kernel = Kernel::new();
    let mut book = kernel.book();
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let all: Vec<_> = addresses.map(|address| (address, 1, true)).into();
    let services = [
        service("192.0.2.1:443", &all),
        service("[2001:db8::1]:443", &all),
    ];
    kernel.make(book.change(&services, &ways(&addresses)).expect("room"));
    let before = (kernel.services.clone(), kernel.endpoints.clone());

    let mut book = kernel.book();
    // Its own view of the network has yet to come.
    let changes = book.change(&services, &HashMap::new()).expect("room");
    kernel.make(changes);
    assert_eq!(
        kernel.order,
        ["table", "table"],
        "nobody knows from what they were made"
    );
    assert_eq!(before, (kernel.services.clone(), kernel.endpoints.clone()));
}

#[test]
fn a_number_is_another_s_in_another_generation() {
    let mut kernel = Kernel::with_numbers(8);
    let mut book = kernel.book();
    let reach = ways(&["10.0.0.1", "10.0.0.2"]);
    let mut seen = HashMap::new();
    // All numbers come round; none in a generation that it had.
    for turn in 0..40 {
        let address = if turn % 2 == 0 {
            "10.0.0.1"
        } else {
            "10.0.0.2"
        };
        let one = service("192.0.2.1:443", &[(address, 1, true)]);
        kernel.make(book.change(&[one], &reach).expect("room"));
        let number = kernel.number(address).expect("it has one");
        let generation = kernel.value(address).generation;
        assert!(number > 0 && generation > 0);
        if let Some(earlier) = seen.insert(number, generation) {
            assert!(generation > earlier, "number {number}");
        }
    }
}

#[test]
fn more_than_there_is_room_for_is_refused() {
    let mut book = Kernel::new().book();
    let many: Vec<Service> = (0..=MAX_SERVICES)
        .map(|at| service(&format!("192.0.2.1:{}", at + 1), &[]))
        .collect();
    let refused = book
        .change(&many, &HashMap::new())
        .map(|changes| changes.len());
    assert_eq!(refused, Err(Full::Services));
}
