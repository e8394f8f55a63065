//! The program, run by the kernel on packets that are made here.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use aya::programs::TestRun;
use aya::programs::TestRunOptions;
use rand::RngExt;

use super::*;
use crate::dr::hash::endpoint_of;
use crate::dr::layout::Way;
use crate::dr::maps::{self, Maps};
use crate::dr::plan::Book;
use crate::forward::{Member, Service, Transport};

/// The interface of packets that `BPF_PROG_TEST_RUN` makes: that for loopback.
const IFINDEX: u32 = 1;
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

const PASS: u32 = 2;
const DROP: u32 = 1;
const TX: u32 = 3;

struct Bench {
    ebpf: Ebpf,
    maps: Maps,
    book: Book,
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let folder = format!("/sys/fs/bpf/tidegate-test-{}-{name}", std::process::id());
        let pins = Pins::take(folder.as_ref()).expect("a BPF file system");
        let maps = pins.maps("maps-test").expect("a folder");
        let (mut ebpf, mut maps) = maps::load(&maps, 4096).expect("the kernel takes it");
        load(&mut ebpf).expect("the kernel takes it");
        maps.set_interface(IFINDEX, OUR_MAC).expect("room");
        let book = maps.book().expect("they can be read");
        Self {
            ebpf,
            maps,
            book,
            folder: folder.into(),
        }
    }

    fn set(&mut self, services: &[Service]) {
        let members = services.iter().flat_map(|service| &service.members);
        let ways = members.map(|member| (member.address.ip(), way(member.address.ip())));
        let changes = self.book.change(services, &ways.collect());
        for change in changes.expect("room") {
            self.maps.make(change).expect("the kernel takes it");
        }
    }

    /// What becomes of a frame: the verdict, and the frame.
    fn run(&mut self, frame: &[u8]) -> (u32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = program(&mut self.ebpf).test_run(options).expect("it runs");
        out.truncate(result.data_size_out as usize);
        (result.return_value, out)
    }

    /// Which endpoint a frame is sent to, by the last byte of its address; none when it is not sent.
    fn endpoint(&mut self, frame: &[u8]) -> Option<u8> {
        let (verdict, out) = self.run(frame);
        (verdict == TX).then(|| out[5])
    }

    fn event(&self, name: &str) -> u64 {
        let at = crate::dr::layout::EVENTS
            .iter()
            .position(|event| *event == name);
        self.maps.events().expect("they can be read")[at.expect("it is counted")]
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = crate::dr::pins::flush(&self.folder);
    }
}

fn way(address: IpAddr) -> Way {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    Way {
        ifindex: IFINDEX,
        mac: [2, 9, 9, 9, 9, last],
        source_mac: [2, 8, 8, 8, 8, 8],
    }
}

fn service(address: &str, transport: Transport, members: &[(u8, u32, bool)]) -> Service {
    let address: SocketAddr = address.parse().expect("an address");
    let members = members.iter().map(|(last, share, well)| Member {
        address: SocketAddr::new([10, 0, 0, *last].into(), address.port()),
        share: *share,
        well: *well,
    });
    Service {
        name: "one".into(),
        transport,
        address,
        by_source: false,
        members: members.collect(),
    }
}

/// A frame to this machine.
#[derive(Clone)]
struct Frame {
    from: SocketAddr,
    to: SocketAddr,
    protocol: u8,
    flags: u8,
    options: usize,
    fragment: u16,
    ttl: u8,
    vlans: usize,
}

const SYN: u8 = 2;
const ACK: u8 = 16;

impl Frame {
    fn tcp(from: &str, to: &str, flags: u8) -> Self {
        Self {
            from: from.parse().expect("an address"),
            to: to.parse().expect("an address"),
            protocol: 6,
            flags,
            options: 0,
            fragment: 0,
            ttl: 64,
            vlans: 0,
        }
    }

    fn udp(from: &str, to: &str) -> Self {
        Self {
            protocol: 17,
            ..Self::tcp(from, to, 0)
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut transport = Vec::new();
        transport.extend(self.from.port().to_be_bytes());
        transport.extend(self.to.port().to_be_bytes());
        if self.protocol == 6 {
            transport.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, self.flags, 1, 0, 0, 0, 0, 0]);
        } else {
            transport.extend([0, 12, 0, 0]);
        }
        transport.extend(b"data");
        framed(
            self.from.is_ipv4(),
            self.vlans,
            &self.ip(self.protocol, &transport),
        )
    }

    fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut ip = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = 20 + 4 * self.options;
                ip.extend([0x40 | (length / 4) as u8, 0]);
                ip.extend(((length + payload.len()) as u16).to_be_bytes());
                ip.extend([0, 7]);
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([self.ttl, protocol, 0, 0]);
                ip.extend(from.octets());
                ip.extend(to.octets());
                ip.resize(length, 1);
                let sum = !checksum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                ip.extend([0x60, 0, 0, 0]);
                ip.extend((payload.len() as u16).to_be_bytes());
                ip.extend([protocol, self.ttl]);
                ip.extend(from.octets());
                ip.extend(to.octets());
            }
            _ => panic!("both of one family"),
        }
        ip.extend(payload);
        ip
    }
}

fn framed(ipv4: bool, vlans: usize, packet: &[u8]) -> Vec<u8> {
    let mut frame = OUR_MAC.to_vec();
    frame.extend([2, 7, 7, 7, 7, 7]);
    for _ in 0..vlans {
        frame.extend([0x81, 0, 0, 5]);
    }
    frame.extend(if ipv4 { [8, 0] } else { [0x86, 0xDD] });
    frame.extend(packet);
    frame
}

/// The sum of the Internet's checksum, 0xFFFF for a header with a right one.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks::<2>().0.iter();
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn a_frame_for_a_service_gets_the_endpoint_s_address_and_is_a_hop_older() {
    let mut bench = Bench::new("rewrite");
    let four = service("192.0.2.1:443", Transport::Tcp, &[(7, 1, true)]);
    let six = service("[2001:db8::1]:53", Transport::Udp, &[(8, 1, true)]);
    bench.set(&[four, six]);
    for (vlans, options) in [(0, 0), (1, 0), (2, 10), (0, 1)] {
        let frame = Frame {
            vlans,
            options,
            ..Frame::tcp("198.51.100.1:5000", "192.0.2.1:443", SYN)
        };
        let before = frame.bytes();
        let (verdict, after) = bench.run(&before);
        assert_eq!(verdict, TX, "{vlans} tags, {options} words of options");
        assert_eq!(after[..12], [2, 9, 9, 9, 9, 7, 2, 8, 8, 8, 8, 8]);
        let ip = 14 + 4 * vlans;
        assert_eq!(after[ip + 8], 63);
        assert_eq!(checksum(&after[ip..ip + 20 + 4 * options]), 0xFFFF);
        let mut rest = after.clone();
        rest[ip + 8] = 64;
        rest[ip + 10..ip + 12].copy_from_slice(&before[ip + 10..ip + 12]);
        assert_eq!(rest[12..], before[12..], "nothing else changes");
    }
    let before = Frame::udp("[2001:db8::5]:5000", "[2001:db8::1]:53").bytes();
    let (verdict, after) = bench.run(&before);
    assert_eq!((verdict, after[5], after[14 + 7]), (TX, 8, 63));
    for ttl in [0, 1] {
        let frame = Frame {
            ttl,
            ..Frame::tcp("198.51.100.1:5000", "192.0.2.1:443", ACK)
        };
        assert_eq!(bench.run(&frame.bytes()).0, DROP);
    }
    assert_eq!(bench.event("expired"), 2);
}

#[test]
fn what_is_not_for_a_service_is_the_kernel_s() {
    let mut bench = Bench::new("pass");
    let one = service("192.0.2.1:443", Transport::Tcp, &[(7, 1, true)]);
    bench.set(&[one]);
    let ours = Frame::tcp("198.51.100.1:5000", "192.0.2.1:443", SYN);
    assert_eq!(bench.run(&ours.bytes()).0, TX);
    let others = [
        Frame::tcp("198.51.100.1:5000", "192.0.2.1:444", SYN),
        Frame::tcp("198.51.100.1:5000", "192.0.2.2:443", SYN),
        Frame::udp("198.51.100.1:5000", "192.0.2.1:443"),
        Frame {
            fragment: 0x2000,
            ..ours.clone()
        },
        Frame {
            fragment: 5,
            ..ours.clone()
        },
        Frame {
            vlans: 3,
            ..ours.clone()
        },
    ];
    for frame in others {
        let before = frame.bytes();
        assert_eq!(bench.run(&before), (PASS, before.clone()));
    }
    let mut elsewhere = ours.bytes();
    elsewhere[5] = 99;
    assert_eq!(bench.run(&elsewhere).0, PASS, "a frame to another machine");
}

#[test]
fn the_table_and_the_hash_are_as_is_said() {
    let mut bench = Bench::new("hash");
    let members = [
        (1, 1, true),
        (2, 2, true),
        (3, 3, false),
        (4, 0, true),
        (5, 5, true),
    ];
    let mut services = [
        service("192.0.2.1:443", Transport::Tcp, &members),
        service("192.0.2.2:53", Transport::Udp, &members),
        service("[2001:db8::1]:443", Transport::Tcp, &members),
        service("192.0.2.3:443", Transport::Tcp, &members),
    ];
    services[3].by_source = true;
    bench.set(&services);
    for service in &services {
        for port in 1..60u16 {
            let client: IpAddr = match service.address {
                SocketAddr::V4(_) => [198, 51, 100, (port % 7) as u8].into(),
                SocketAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 1, port % 7].into(),
            };
            let client = SocketAddr::new(client, port);
            let frame = Frame {
                from: client,
                to: service.address,
                protocol: crate::dr::layout::protocol(service.transport),
                ..Frame::tcp("0.0.0.0:0", "0.0.0.0:0", SYN)
            };
            let want = endpoint_of(service, client).expect("somebody serves");
            let last = members[want].0;
            assert_eq!(bench.endpoint(&frame.bytes()), Some(last), "{client}");
        }
    }
}

#[test]
fn flows_stay_through_changes_of_shares_and_leave_the_dead() {
    let mut bench = Bench::new("flows");
    let address = "192.0.2.1:443";
    let set = |bench: &mut Bench, members: &[(u8, u32, bool)]| {
        bench.set(&[service(address, Transport::Tcp, members)]);
    };
    set(&mut bench, &[(1, 1, true), (2, 1, true), (3, 1, true)]);
    let frame =
        |port: u16, flags| Frame::tcp(&format!("198.51.100.1:{port}"), address, flags).bytes();
    let ports = 1000..1400;
    let flows: Vec<u8> = ports
        .clone()
        .map(|port| bench.endpoint(&frame(port, SYN)).expect("it is led"))
        .collect();
    let now = |bench: &mut Bench, flags| -> Vec<Option<u8>> {
        ports
            .clone()
            .map(|port| bench.endpoint(&frame(port, flags)))
            .collect()
    };
    let as_they_were: Vec<_> = flows.iter().copied().map(Some).collect();
    for members in [
        [(1, 0, true), (2, 1, true), (3, 9, true)],
        [(1, 100, true), (2, 0, true), (3, 0, true)],
    ] {
        set(&mut bench, &members);
        assert_eq!(now(&mut bench, ACK), as_they_were, "{members:?}");
    }
    // 1 dies: its flows go to the others, and theirs stay.
    set(&mut bench, &[(1, 1, false), (2, 1, true), (3, 1, true)]);
    let after = now(&mut bench, ACK);
    for (before, after) in flows.iter().zip(&after) {
        match before {
            1 => assert!(matches!(after, Some(2 | 3)), "{after:?}"),
            stays => assert_eq!(*after, Some(*stays)),
        }
    }
    // And do not go back.
    set(&mut bench, &[(1, 1, true), (2, 1, true), (3, 1, true)]);
    assert_eq!(now(&mut bench, ACK), after);
    // Connections that begin are dealt anew, with the ports of old ones too.
    assert_eq!(now(&mut bench, SYN), as_they_were);
    // Nobody is left: who begins is refused by the kernel, the others wait.
    set(&mut bench, &[(1, 1, false), (2, 1, false), (3, 1, false)]);
    assert_eq!(bench.run(&frame(1000, SYN)).0, PASS);
    assert_eq!(bench.run(&frame(1000, ACK)).0, DROP);
    assert_eq!(bench.event("no_endpoint"), 2);
}

#[test]
fn an_error_on_the_way_to_the_client_is_told_to_the_flow_s_endpoint() {
    let mut bench = Bench::new("icmp");
    let members = [(1, 1, true), (2, 1, true), (3, 1, true)];
    let (four, six) = ("192.0.2.1:443", "[2001:db8::1]:443");
    bench.set(&[
        service(four, Transport::Tcp, &members),
        service(six, Transport::Tcp, &members),
    ]);
    for port in 1000..1050 {
        for (to, client) in [
            (four, format!("198.51.100.1:{port}")),
            (six, format!("[2001:db8::5]:{port}")),
        ] {
            let first = bench.endpoint(&Frame::tcp(&client, to, SYN).bytes());
            assert!(first.is_some());
            let back = Frame::tcp(to, &client, ACK);
            let inner = &back.bytes()[14..];
            let ipv4 = back.from.is_ipv4();
            let kind = if ipv4 { [3, 4] } else { [2, 0] };
            let icmp = [&kind[..], &[0, 0, 0, 0, 5, 100], inner].concat();
            let from = if ipv4 {
                "203.0.113.9:1"
            } else {
                "[2001:db8::9]:1"
            };
            let error = Frame::tcp(from, to, 0);
            let error = error.ip(if ipv4 { 1 } else { 58 }, &icmp);
            let error = framed(ipv4, 0, &error);
            assert_eq!(bench.endpoint(&error), first, "{client}");
            // Of as little as it must repeat: 8 bytes above IP (RFC 792).
            let head = if ipv4 {
                20 + 8 + 20 + 8
            } else {
                40 + 8 + 40 + 8
            };
            assert_eq!(bench.endpoint(&error[..14 + head]), first, "{client}");
        }
    }
    assert_eq!(bench.event("icmp"), 200);
    // A ping is answered here.
    let ping = Frame::tcp("203.0.113.9:1", four, 0).ip(1, &[8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(bench.run(&framed(true, 0, &ping)).0, PASS);
}

/// A bench with services, and a sound frame to each.
fn with_sound_frames(name: &str) -> (Bench, [Frame; 3]) {
    let mut bench = Bench::new(name);
    let members = [(1, 1, true)];
    bench.set(&[
        service("192.0.2.1:443", Transport::Tcp, &members),
        service("192.0.2.1:443", Transport::Udp, &members),
        service("[2001:db8::1]:443", Transport::Tcp, &members),
    ]);
    let frames = [
        Frame::tcp("198.51.100.1:5000", "192.0.2.1:443", SYN),
        Frame::udp("198.51.100.1:5000", "192.0.2.1:443"),
        Frame::tcp("[2001:db8::5]:5000", "[2001:db8::1]:443", SYN),
    ];
    (bench, frames)
}

#[test]
fn frames_that_end_too_early_are_left_alone() {
    let (mut bench, frames) = with_sound_frames("short");
    for frame in frames {
        for (vlans, options) in [(0, 0), (2, 0), (0, 10)] {
            let frame = Frame {
                vlans,
                options,
                ..frame.clone()
            };
            let bytes = frame.bytes();
            let ip = match frame.from {
                SocketAddr::V4(_) => 20 + 4 * options,
                SocketAddr::V6(_) => 40,
            };
            let transport = if frame.protocol == 6 { 20 } else { 4 };
            let needed = 14 + 4 * vlans + ip + transport;
            // The kernel takes no frame without a whole header of Ethernet.
            for length in 14..bytes.len() {
                let want = if length < needed { PASS } else { TX };
                let (verdict, _) = bench.run(&bytes[..length]);
                assert_eq!(verdict, want, "{length} of {needed} bytes");
            }
        }
    }
}

#[test]
fn noise_is_left_alone() {
    let (mut bench, _) = with_sound_frames("noise");
    let mut random = rand::rng();
    for turn in 0..20_000 {
        let mut bytes = vec![0; random.random_range(14..200)];
        random.fill(&mut bytes[..]);
        bytes[..6].copy_from_slice(&OUR_MAC);
        let kind: [u8; 2] = [[8, 0], [0x86, 0xDD], [0x81, 0]][turn % 3];
        bytes[12..14].copy_from_slice(&kind);
        let (verdict, after) = bench.run(&bytes);
        assert_eq!((verdict, after), (PASS, bytes.clone()));
    }
}

#[test]
fn frames_with_a_byte_that_is_another_keep_their_length_and_go_nowhere_else() {
    let (mut bench, frames) = with_sound_frames("mutant");
    let mut random = rand::rng();
    for frame in frames {
        let sound = frame.bytes();
        for at in 0..sound.len() {
            for _ in 0..30 {
                let mut bytes = sound.clone();
                bytes[at] = random.random();
                let (verdict, after) = bench.run(&bytes);
                assert_eq!(after.len(), bytes.len());
                match verdict {
                    PASS | DROP => assert_eq!(after, bytes),
                    TX => assert_eq!(after[..6], [2, 9, 9, 9, 9, 1]),
                    other => panic!("verdict {other}"),
                }
            }
        }
    }
}
