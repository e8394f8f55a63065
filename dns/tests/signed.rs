//! Every answer of a signed zone, checked by somebody else's reading of it: each set has a signature that holds, and what
//! is not there is denied. The crate `domain` reads and writes records in canonical form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use chassis::config::load;
use domain::base::iana::Rtype;
use domain::base::name::{Name, ToLabelIter, ToName};
use domain::base::rdata::{ComposeRecordData, RecordData as _};
use domain::base::{Message, ParsedName, ParsedRecord, Record};
use domain::rdata::AllRecordData;
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use tidegate_dns::answer::{Choice, Choose, Client, Limits, PolicyId, Snapshot, compile_signed};
use tidegate_dns::dnssec::{Algorithm, Key, Role, Signatures, Signers, Times, ZoneSigner};
use tidegate_dns::wire::QueryName;
use tidegate_dns::{Config, zone};

const ZONE: &str = r#"
$TTL 1h
@ SOA NS1 host 1 2 3 4 5
@ NS NS1
@ MX 10 Mail.W
ns1 A 192.0.2.1
a MX 10 A
a A 192.0.2.2
a A 192.0.2.1
b CNAME A
b2 CNAME b
out CNAME elsewhere.test.
gone CNAME not.here
wild CNAME x.w
*.w MX 10 x.w
*.w A 192.0.2.7
*.c CNAME a
x.y.z TXT "deep"
*.h HTTPS 1 . alpn=h2
*.h A 192.0.2.4
*.h AAAA 2001:db8::4
d NS ns.d
ns.d A 192.0.2.3
s NS ns.s
s DS 12345 13 2 1111111111111111111111111111111111111111111111111111111111111111
ns.s A 192.0.2.3
e DNAME a
"#;

/// Labels of which names are made; most names are not there.
const LABELS: [&str; 15] = [
    "a", "A", "b", "b2", "c", "d", "e", "s", "w", "x", "y", "z", "near", "out", "*",
];
const TYPES: [u16; 12] = [1, 2, 5, 6, 15, 16, 28, 39, 43, 99, 255, 65];

/// The policy `any`: three answers, one of them empty.
#[derive(Debug)]
struct Any;

impl Choose for Any {
    fn policy(&self, name: &str) -> Option<PolicyId> {
        (name == "any").then_some(PolicyId(0))
    }
    fn names(&self) -> Vec<String> {
        vec!["any".to_owned()]
    }
    fn variants(&self, _: PolicyId, _: u16) -> Vec<Vec<Vec<u8>>> {
        vec![
            vec![vec![192, 0, 2, 1]],
            vec![],
            vec![vec![192, 0, 2, 9], vec![192, 0, 2, 8]],
        ]
    }
    fn choose(&self, _: PolicyId, _: u16, client: Client) -> Choice {
        let IpAddr::V4(address) = client.address else {
            unreachable!("clients are IPv4")
        };
        Choice {
            variant: Some(u32::from(address.octets()[3]) % 3),
            scope: 32,
            site: None,
        }
    }
}

struct World {
    signed: Snapshot,
    plain: Snapshot,
    key: Vec<u8>,
    tag: u16,
    algorithm: Algorithm,
}

const NOW: u32 = 1_800_000_000;

fn world(algorithm: Algorithm) -> World {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let path = folder.path().join("dns.toml");
    let config = "[admin]\naddress = \"127.0.0.1:0\"\n[[zone]]\nname = \"example\"\nfile = \"zone\"\n\
        [[zone.record]]\nname = \"near\"\ntype = \"A\"\npolicy = \"any\"\n\
        [[zone.record]]\nname = \"*.near\"\ntype = \"A\"\npolicy = \"any\"\n";
    std::fs::write(folder.path().join("zone"), ZONE).expect("the folder is new");
    std::fs::write(&path, config).expect("the folder is new");
    let mut loaded = load::<Config>(&path).expect("it is sound");
    let zones = zone::read(&loaded.config.zone, &mut loaded.sources).zones;
    let key = |role| {
        let pkcs8 = algorithm.generate().expect("there are random numbers");
        Arc::new(Key::new(role, algorithm, &pkcs8).expect("it was just made"))
    };
    let zsk = key(Role::Zsk);
    let times = Times {
        now: NOW,
        validity: 1000,
        refresh: 100,
    };
    let made = Arc::new(Signatures::default());
    let signer = ZoneSigner::new(
        zones[0].apex.clone(),
        vec![key(Role::Ksk)],
        zsk.clone(),
        times,
        made,
    );
    let signers = Signers::new(vec![Some(Arc::new(signer))], 1_000_000);
    World {
        signed: compile_signed(&zones, &signers, Arc::new(Any)).expect("it is sound"),
        plain: compile_signed(&zones, &Signers::default(), Arc::new(Any)).expect("it is sound"),
        key: zsk.public().to_vec(),
        tag: zsk.tag(),
        algorithm,
    }
}

fn query(name: &[u8], qtype: u16, edns: Option<[u8; 2]>) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    packet.extend_from_slice(name);
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some(flags) = edns {
        packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0]);
        packet.extend_from_slice(&flags);
        packet.extend_from_slice(&[0, 0]);
    }
    packet
}

fn ask(snapshot: &Snapshot, packet: &[u8], client: u8, tcp: bool) -> Vec<u8> {
    let mut out = vec![0; 65_535];
    let limits = Limits {
        tcp,
        ..Limits::udp(1232)
    };
    let client = IpAddr::from([192, 0, 2, client]);
    let answer = snapshot.respond(packet, client, limits, &mut QueryName::default(), &mut out);
    out.truncate(answer.len);
    out
}

type Data<'a> = AllRecordData<&'a [u8], ParsedName<&'a [u8]>>;

type OneRecord<'a> = Record<ParsedName<&'a [u8]>, Data<'a>>;
type Sig<'a> = domain::rdata::Rrsig<&'a [u8], ParsedName<&'a [u8]>>;

/// The sets of an answer, by owner and type, and the signatures among them.
#[derive(Default)]
struct Sets<'a> {
    sets: BTreeMap<(Vec<u8>, u16), Vec<OneRecord<'a>>>,
    /// Whether there is a SOA record where one says that something is not there.
    negative: bool,
    signatures: Vec<(Vec<u8>, Sig<'a>)>,
}

fn canonical(name: &impl ToName) -> Vec<u8> {
    name.to_vec().as_slice().to_ascii_lowercase()
}

/// Header and records, in lower case: names may be compressed in another way.
fn shown(answer: &[u8]) -> Vec<String> {
    let message = Message::from_octets(answer).expect("an answer can be read");
    let (_, answers, authorities, additionals) = message.sections().expect("an answer can be read");
    let records = answers.chain(authorities).chain(additionals);
    let records = records.map(|record| {
        let record = record
            .expect("an answer can be read")
            .to_record::<Data<'_>>()
            .expect("an answer can be read")
            .expect("an answer can be read");
        format!(
            "{} {} {}",
            record.owner(),
            record.ttl().as_secs(),
            record.data()
        )
        .to_ascii_lowercase()
    });
    let header = format!("{:?} {:?}", message.header(), message.header_counts());
    std::iter::once(header).chain(records).collect()
}

impl World {
    fn holds(&self, owner: &[u8], set: &[OneRecord<'_>], sig: &Sig<'_>) {
        let labels =
            set[0].owner().iter_labels().count() - 1 - usize::from(owner.starts_with(b"\x01*"));
        assert_eq!(
            usize::from(sig.labels()),
            labels,
            "it is of this name, not of a wildcard"
        );
        assert_eq!(sig.key_tag(), self.tag);
        assert!(sig.inception().into_int() < NOW && sig.expiration().into_int() > NOW + 100);
        let mut message = sig.type_covered().to_int().to_be_bytes().to_vec();
        message.extend([sig.algorithm().to_int(), sig.labels()]);
        message.extend(sig.original_ttl().as_secs().to_be_bytes());
        message.extend(sig.expiration().into_int().to_be_bytes());
        message.extend(sig.inception().into_int().to_be_bytes());
        message.extend(sig.key_tag().to_be_bytes());
        message.extend(canonical(sig.signer_name()));
        let mut data: Vec<Vec<u8>> = set
            .iter()
            .map(|record| {
                assert!(record.ttl() <= sig.original_ttl());
                let mut data = Vec::new();
                record
                    .data()
                    .compose_canonical_rdata(&mut data)
                    .expect("an answer can be read");
                data
            })
            .collect();
        data.sort();
        for data in data {
            message.extend(owner);
            message.extend(sig.type_covered().to_int().to_be_bytes());
            message.extend([0, 1]);
            message.extend(sig.original_ttl().as_secs().to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        let valid = match self.algorithm {
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.key[..]).verify(&message, sig.signature())
            }
            Algorithm::EcdsaP256 => {
                let point = [&[4], &self.key[..]].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(&message, sig.signature())
            }
        };
        assert!(valid.is_ok(), "{:?} {}", set[0].owner(), sig.type_covered());
    }

    /// Judges the answer to a query with DO.
    fn judge(&self, name: &[u8], qtype: u16, client: u8) {
        let packet = query(name, qtype, Some([0x80, 0]));
        let answer = ask(&self.signed, &packet, client, true);
        let message = Message::from_octets(&*answer).expect("an answer can be read");
        let (_, answers, authorities, _) = message.sections().expect("an answer can be read");
        let mut below = authorities;
        let is_soa = |record: Result<ParsedRecord<'_, _>, _>| {
            record.expect("an answer can be read").rtype() == Rtype::SOA
        };
        let mut found = Sets {
            negative: below.any(is_soa),
            ..Sets::default()
        };
        for record in answers.chain(authorities) {
            let record = record
                .expect("an answer can be read")
                .to_record::<Data<'_>>()
                .expect("an answer can be read")
                .expect("an answer can be read");
            let owner = canonical(record.owner());
            match record.data() {
                AllRecordData::Rrsig(sig) => found.signatures.push((owner, sig.clone())),
                data => {
                    let kind = data.rtype().to_int();
                    found.sets.entry((owner, kind)).or_default().push(record);
                }
            }
        }
        let aa = message.header().aa();
        let made_by_dname = found.sets.keys().any(|(_, kind)| *kind == 39);
        for ((owner, kind), set) in &found.sets {
            let mut signatures = found.signatures.iter();
            let sig =
                signatures.find(|(of, sig)| of == owner && sig.type_covered().to_int() == *kind);
            match sig {
                Some((_, sig)) => self.holds(owner, set, sig),
                // The parent is no authority for servers of a delegation, and a CNAME that follows from a DNAME is not signed.
                None => assert!(
                    !aa && *kind == 2 || made_by_dname && *kind == 5,
                    "{owner:?} {kind}: no signature"
                ),
            }
        }
        for (owner, sig) in &found.signatures {
            assert!(
                found
                    .sets
                    .contains_key(&(owner.clone(), sig.type_covered().to_int()))
            );
        }
        self.denies(&message, &found, qtype);
    }

    /// Where there is no answer, an NSEC record of the last name says that the type is not there.
    fn denies(&self, message: &Message<&[u8]>, found: &Sets<'_>, qtype: u16) {
        let negative = found.negative;
        let denials: Vec<_> = found
            .sets
            .iter()
            .filter(|((_, kind), _)| *kind == 47)
            .collect();
        if !message.header().aa() {
            let ds = found.sets.keys().any(|(_, kind)| *kind == 43);
            assert_eq!(
                denials.len(),
                usize::from(!ds),
                "a referral says whether there are DS records"
            );
            return;
        }
        if !negative {
            assert!(denials.is_empty() || message.header_counts().ancount() > 0);
            return;
        }
        let [((owner, _), set)] = denials[..] else {
            panic!("{} denials", denials.len())
        };
        let mut last = canonical(
            &message
                .sole_question()
                .expect("an answer can be read")
                .qname(),
        );
        while let Some(alias) = found.sets.get(&(last.clone(), 5)) {
            let AllRecordData::Cname(target) = alias[0].data() else {
                unreachable!("it is a CNAME")
            };
            last = canonical(target.cname());
        }
        assert_eq!(*owner, last);
        let AllRecordData::Nsec(nsec) = set[0].data() else {
            unreachable!("it is an NSEC")
        };
        assert!(
            !nsec.types().contains(Rtype::from_int(qtype)) && nsec.types().contains(Rtype::NSEC)
        );
        assert_eq!(canonical(nsec.next_name()), [&[1, 0], &owner[..]].concat());
    }

    /// Without DO nothing differs from a zone that is not signed, and whoever takes less octets gets them or TC.
    fn compare(&self, name: &[u8], qtype: u16, client: u8) {
        for edns in [None, Some([0, 0])] {
            let packet = query(name, qtype, edns);
            let same = ask(&self.plain, &packet, client, false);
            assert_eq!(
                shown(&ask(&self.signed, &packet, client, false)),
                shown(&same)
            );
        }
        let packet = query(name, qtype, Some([0x80, 0]));
        let short = ask(&self.signed, &packet, client, false);
        assert!(short.len() <= 1232);
    }
}

fn worlds() -> &'static [World; 2] {
    static WORLDS: OnceLock<[World; 2]> = OnceLock::new();
    WORLDS.get_or_init(|| [Algorithm::Ed25519, Algorithm::EcdsaP256].map(world))
}

fn wire(labels: &[&str]) -> Vec<u8> {
    let labels = labels.iter().filter(|label| !label.is_empty());
    let text: String = labels.map(|label| format!("{label}.")).collect();
    let name: Name<Vec<u8>> = (text + "example.").parse().expect("an answer can be read");
    name.as_slice().to_vec()
}

#[test]
fn every_name_of_the_zone_and_below_has_answers_that_hold() {
    let names = [
        "", "a", "b", "b2", "c", "d", "e", "gone", "near", "ns1", "out", "s", "w", "wild", "x.y.z",
        "y.z", "*.w", "ns.d",
    ];
    for world in worlds() {
        for name in names {
            for below in [&[][..], &["q"], &["p", "q"]] {
                let name = wire(&[below, &[name]].concat());
                for qtype in TYPES {
                    for client in 0..3 {
                        world.judge(&name, qtype, client);
                        world.compare(&name, qtype, client);
                    }
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_name_has_answers_that_hold(
        labels in proptest::collection::vec(proptest::sample::select(&LABELS[..]), 0..6),
        qtype in proptest::sample::select(&TYPES[..]),
        client in 0..3_u8,
    ) {
        let name = wire(&labels);
        for world in worlds() {
            world.judge(&name, qtype, client);
            world.compare(&name, qtype, client);
        }
    }

    #[test]
    fn names_as_long_as_can_be_are_denied(fill in 1..63_usize, last in 0..=255_u8) {
        let mut name = vec![fill as u8];
        name.extend(vec![last; fill]);
        while name.len() + 64 + 9 <= 255 {
            name.push(63);
            name.extend([b'x'; 63]);
        }
        let rest = 255 - 9 - name.len();
        if rest > 1 {
            name.push(rest as u8 - 1);
            name.extend(vec![b'y'; rest - 1]);
        }
        name.extend_from_slice(b"\x07example\0");
        for world in worlds() {
            let packet = query(&name, 1, Some([0x80, 0]));
            let answer = ask(&world.signed, &packet, 1, true);
            let message = Message::from_octets(&*answer).unwrap();
            prop_assert_eq!(message.header_counts().nscount(), 4);
        }
    }
}

/// Additional records of a wildcard are signed for the name that is asked, and may be left out.
#[test]
fn what_is_cut_from_an_answer_needs_no_signature() {
    let world = world(Algorithm::EcdsaP256);
    let mut cut = 0;
    for length in (1..=180).step_by(7) {
        let mut name = Vec::new();
        for label in vec![b'n'; length].chunks(60) {
            name.push(label.len() as u8);
            name.extend_from_slice(label);
        }
        name.extend_from_slice(b"\x01h\x07example\0");
        let packet = query(&name, 65, Some([0x80, 0]));
        for size in (512..=1232).step_by(3) {
            let mut out = vec![0; usize::from(size)];
            let client = IpAddr::from([192, 0, 2, 1]);
            let limits = Limits::udp(size);
            let mut name = QueryName::default();
            let answer = world
                .signed
                .respond(&packet, client, limits, &mut name, &mut out);
            assert!(answer.len <= usize::from(size));
            let counted =
                Message::from_octets(&out[..answer.len]).map(|message| message.header_counts());
            let counts = counted.expect("it is a message");
            // The record and its signature, or neither; of both families with theirs, one, or none.
            assert!([0, 2].contains(&counts.ancount()), "{counts:?} in {size}");
            assert!(
                [1, 3, 5].contains(&counts.arcount()),
                "{counts:?} in {size}"
            );
            cut += u32::from(counts.arcount() < 5);
        }
    }
    assert!(cut > 100, "only {cut} were cut");
}

#[test]
fn signatures_alone_are_refused_for_what_they_are() {
    for world in worlds() {
        for qtype in [46, 47] {
            let answer = ask(
                &world.signed,
                &query(&wire(&["a"]), qtype, Some([0, 0])),
                1,
                true,
            );
            let message = Message::from_octets(&*answer).expect("an answer can be read");
            assert_eq!(message.header().rcode().to_string(), "REFUSED");
            // The option stands last: it is not supported (RFC 8914, 4.22), and not somebody else's zone.
            assert!(answer.ends_with(&[0, 15, 0, 2, 0, 21]), "{answer:?}");
        }
    }
}
