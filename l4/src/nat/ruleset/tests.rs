//! What the table holds, and the way from one to another, without a kernel.

use std::collections::BTreeMap;
use std::slice;

use super::*;
use crate::forward::Member;
use crate::nat::counters::Count;
use crate::nat::script::Place;

fn member(at: u8, share: u32, well: bool) -> Member {
    Member {
        address: SocketAddr::new([10, 0, 0, at].into(), 80),
        share,
        well,
    }
}

fn service(transport: Transport, members: Vec<Member>) -> Service {
    Service {
        name: "web".into(),
        transport,
        address: "192.0.2.1:443".parse().expect("it is one"),
        by_source: false,
        members,
    }
}

fn config() -> NatConfig {
    NatConfig {
        slots: 251,
        ..NatConfig::default()
    }
}

fn ruleset(services: &[Service]) -> Ruleset {
    Ruleset::new(&config(), services).expect("these can be forwarded")
}

fn three() -> Vec<Member> {
    vec![member(1, 1, true), member(2, 1, true), member(3, 1, true)]
}

#[test]
fn another_balancer_has_the_same_slots() {
    let one = ruleset(&[service(Transport::Tcp, three())]);
    let turned = vec![member(3, 1, true), member(1, 1, true), member(2, 1, true)];
    let other = ruleset(&[service(Transport::Tcp, turned)]);
    assert_eq!(one, other);
}

#[test]
fn an_endpoint_without_share_or_health_has_no_slot() {
    let members = vec![member(1, 1, true), member(2, 1, false), member(3, 0, true)];
    let ruleset = ruleset(&[service(Transport::Udp, members)]);
    let slots = &ruleset.slots["udp-192.0.2.1-443/slots"].endpoints;
    let first = Some(member(1, 1, true).address);
    assert!(slots.len() == 251 && slots.iter().all(|slot| *slot == first));
    // What they still have is counted.
    assert_eq!(ruleset.counters.len(), 9);
}

#[test]
fn addresses_of_one_cluster_share_their_slots() {
    let mut second = service(Transport::Tcp, three());
    second.address.set_port(80);
    let third = service(Transport::Udp, three());
    let ruleset = ruleset(&[service(Transport::Tcp, three()), second, third]);
    let names: Vec<_> = ruleset.slots.keys().collect();
    assert_eq!(
        names,
        ["tcp-192.0.2.1-443/slots", "udp-192.0.2.1-443/slots"]
    );
}

#[test]
fn an_endpoint_answers_for_one_service_or_for_none() {
    let answers = |services: &[Service]| {
        let elements = ruleset(services).elements.into_iter();
        let answers = elements.filter(|((map, _), _)| *map == "answers4");
        answers.map(|(_, service)| service).collect::<Vec<_>>()
    };
    let one = service(Transport::Tcp, three());
    assert_eq!(answers(slice::from_ref(&one)), ["192.0.2.1 . 443"; 3]);
    let mut other = service(Transport::Tcp, vec![member(1, 1, true)]);
    other.address.set_port(80);
    assert_eq!(answers(&[one, other]), ["192.0.2.1 . 443"; 2]);
}

#[test]
fn what_cannot_be_forwarded_is_told() {
    let judged = |services: &[Service]| Ruleset::new(&config(), services).expect_err("it cannot");
    let one = service(Transport::Tcp, three());
    assert!(matches!(
        judged(&[one.clone(), one.clone()]),
        Error::Twice(..)
    ));
    let mut six = one.clone();
    six.address = "[2001:db8::1]:443".parse().expect("it is one");
    assert!(matches!(judged(&[six]), Error::Family { .. }));
    let mut any = one;
    any.address = "0.0.0.0:443".parse().expect("it is one");
    assert!(matches!(judged(&[any]), Error::Unspecified(_)));
}

#[test]
fn only_what_differs_is_said() {
    let place = Place::of(&config());
    let before = ruleset(&[service(Transport::Tcp, three())]);
    assert_eq!(place.changes(&before, &before), "");
    let mut fewer = three();
    fewer[1].well = false;
    let after = ruleset(&[service(Transport::Tcp, fewer)]);
    let changes = place.changes(&before, &after);
    let commands: Vec<_> = changes
        .lines()
        .map(|line| line.split(" inet tidegate ").next().expect("there is one"))
        .collect();
    let want = [
        "delete counter",
        "add counter",
        "delete element",
        "add element",
    ];
    assert_eq!(commands, want, "{changes}");
    let touched = changes.matches(" : ").count();
    assert!((83..100).contains(&touched), "{touched} slots");
}

#[test]
fn what_is_gone_goes_after_what_led_to_it() {
    let place = Place::of(&config());
    let both = [
        service(Transport::Tcp, three()),
        service(Transport::Udp, three()),
    ];
    let changes = place.changes(&ruleset(&both), &ruleset(&both[..1]));
    let at = |what: &str| changes.find(what).expect("it is there");
    let order = [
        "delete element inet tidegate services4 { udp",
        "delete chain inet tidegate udp-192.0.2.1-443",
        "delete map inet tidegate udp-192.0.2.1-443/slots",
        "delete counter inet tidegate udp-192.0.2.1-443/10.0.0.1-80/in",
    ];
    assert!(order.map(at).is_sorted(), "{changes}");
}

#[test]
fn counters_go_on_where_they_were() {
    let next = ruleset(&[service(Transport::Tcp, three())]);
    let name = "tcp-192.0.2.1-443/10.0.0.1-80/in";
    let count = Count {
        packets: 5,
        bytes: 400,
    };
    let counts = BTreeMap::from([(name.to_owned(), count)]);
    let whole = Place::of(&config()).whole(&next, &counts, []);
    let line = format!("add counter inet tidegate {name} {{ packets 5 bytes 400; }}");
    assert!(whole.contains(&line), "{whole}");
}
