//! Scenario files: zones, queries, and the whole answer to each.
//!
//! ```text
//! zone example.                   a zone file, indented
//!     @ 300 SOA ns1 host 1 2 3 4 5
//! toml                            more of the configuration, indented
//!     [[zone]]
//!
//! # what the following queries are about
//! ? www.example. A +edns +do      a query, as dig has it
//!     NOERROR qr aa rd            response code and flags, then each section
//!     answer www.example. 300 IN A 192.0.2.1
//! hex 000080...                   a packet, octet by octet
//!     silence
//! ```
//!
//! Answers are read by the crate `domain`, which has no part in how they are made. `UPDATE_GOLDEN=1`
//! writes the answers as they are; then read the difference.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chassis::config::load;
use domain::base::iana::OptRcode;
use domain::base::opt::AllOptData;
use domain::base::rdata::RecordData as _;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;
use tidegate_dns::answer::{Choice, Choose, Client, Limits, PolicyId, Snapshot, compile};
use tidegate_dns::wire::{QueryName, rtype};
use tidegate_dns::{Config, zone};

#[test]
fn every_query_gets_the_answer_that_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut cases, mut wrong) = (0, String::new());
    for file in files {
        let written = fs::read_to_string(&file).unwrap();
        let played = play(&written, &mut cases);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &played).unwrap();
        }
        for difference in differences(&written, &played) {
            writeln!(wrong, "{}: {difference}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(cases >= 150, "only {cases} cases");
}

/// The file with the answers as they are.
fn play(written: &str, cases: &mut usize) -> String {
    let snapshot = snapshot(written);
    let mut out = String::new();
    let mut in_case = false;
    for line in written.lines() {
        let is_case = line.starts_with("? ") || line.starts_with("hex ");
        in_case = is_case || in_case && line.starts_with("    ");
        if is_case {
            *cases += 1;
            writeln!(out, "{line}").unwrap();
            for answer in ask(&snapshot, line) {
                writeln!(out, "    {answer}").unwrap();
            }
        } else if !in_case {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

fn differences(written: &str, played: &str) -> Vec<String> {
    let blocks = |text: &str| -> Vec<String> {
        let mut blocks: Vec<String> = Vec::new();
        for line in text.lines() {
            match blocks.last_mut().filter(|_| line.starts_with("    ")) {
                Some(block) => block.extend(["\n", line]),
                None => blocks.push(line.to_owned()),
            }
        }
        blocks
    };
    let pairs = blocks(written).into_iter().zip(blocks(played));
    let differ = pairs.filter(|(written, played)| written != played);
    differ
        .map(|(written, played)| format!("expected\n{written}\nfound\n{played}\n"))
        .collect()
}

/// The zones of a file.
fn snapshot(written: &str) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let mut config = String::from("[admin]\naddress = \"127.0.0.1:0\"\n");
    let mut zone_files = 0;
    let mut lines = written.lines().peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("zone ");
        if name.is_none() && line != "toml" {
            continue;
        }
        let mut block = String::new();
        while let Some(line) = lines.next_if(|line| line.starts_with("    ") || line.is_empty()) {
            writeln!(block, "{}", line.get(4..).unwrap_or_default()).unwrap();
        }
        match name {
            Some(name) => {
                let file = format!("{zone_files}.zone");
                zone_files += 1;
                fs::write(folder.path().join(&file), block).unwrap();
                write!(config, "[[zone]]\nname = \"{name}\"\nfile = \"{file}\"\n").unwrap();
            }
            None => config += &block,
        }
    }
    let path = folder.path().join("dns.toml");
    fs::write(&path, config).unwrap();
    let mut loaded = load::<Config>(&path).unwrap_or_else(|report| panic!("{report}"));
    let read = zone::read(&loaded.config.zone, &mut loaded.sources);
    assert!(read.mistakes.is_empty(), "{}", loaded.report(read.mistakes));
    compile(&read.zones, Arc::new(Halves)).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// The policy `halves`: one address for 0.0.0.0/1 and another for the rest, for 24 bits; nothing for
/// IPv6 clients; no answer at all for 240.0.0.0/4.
#[derive(Debug)]
struct Halves;

impl Choose for Halves {
    fn policy(&self, name: &str) -> Option<PolicyId> {
        (name == "halves").then_some(PolicyId(0))
    }

    fn names(&self) -> Vec<String> {
        vec!["halves".to_owned()]
    }

    fn variants(&self, _: PolicyId, rtype: u16) -> Vec<Vec<Vec<u8>>> {
        assert_eq!(rtype, rtype::A);
        let address = |last| vec![192, 0, 2, last];
        vec![vec![address(1)], vec![address(2), address(3)], vec![]]
    }

    fn choose(&self, _: PolicyId, _: u16, client: Client) -> Choice {
        let variant = match client.address {
            IpAddr::V4(v4) if v4.octets()[0] >= 240 => None,
            IpAddr::V4(v4) => Some(u32::from(v4.octets()[0] >= 128)),
            IpAddr::V6(_) => Some(2),
        };
        Choice { variant, scope: 24 }
    }
}

fn ask(snapshot: &Snapshot, line: &str) -> Vec<String> {
    let (packet, limits, client) = match line.strip_prefix("hex ") {
        Some(hex) => (octets(hex), plain(), "192.0.2.53".parse().unwrap()),
        None => query(line),
    };
    let mut out = vec![0; 65_535];
    let mut name = QueryName::default();
    let answer = snapshot.respond(&packet, client, limits, &mut name, &mut out);
    if answer.len == 0 {
        return vec!["silence".to_owned()];
    }
    let mut lines = show(&out[..answer.len], &packet);
    if lines.len() > 24 {
        let more = lines.len() - 4;
        lines.truncate(4);
        lines.push(format!("and {more} more lines, {} octets", answer.len));
    }
    lines
}

fn plain() -> Limits {
    Limits {
        largest_udp: 1232,
        tcp: false,
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let hex = hex.split('#').next().unwrap_or_default();
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// A query as its line says.
fn query(line: &str) -> (Vec<u8>, Limits, IpAddr) {
    let mut words = line[2..].split_whitespace();
    let name = words.next().unwrap();
    let kind = words.next().unwrap();
    let (mut limits, mut client) = (plain(), "192.0.2.53".parse().unwrap());
    let (mut flags, mut class, mut edns) = (0x0100_u16, 1_u16, None::<(u16, u8, bool)>);
    let mut options = Vec::new();
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let opt = edns.unwrap_or((1232, 0, false));
        match word {
            "+tcp" => limits.tcp = true,
            "+norec" => flags &= !0x0100,
            "+cd" => flags |= 0x0010,
            "+opcode" => flags |= value.parse::<u16>().unwrap() << 11,
            "+class" => class = value.parse().unwrap(),
            "+edns" => edns = Some((opt.0, value.parse().unwrap_or(0), opt.2)),
            "+bufsize" => edns = Some((value.parse().unwrap(), opt.1, opt.2)),
            "+do" => edns = Some((opt.0, opt.1, true)),
            "+option" => {
                edns = Some(opt);
                options.extend(octets(value));
            }
            "+subnet" => {
                edns = Some(opt);
                options.extend(subnet(value));
            }
            "+from" => client = value.parse().unwrap(),
            other => panic!("{other} in {line}"),
        }
    }
    let mut packet = vec![0x12, 0x34];
    packet.extend(flags.to_be_bytes());
    packet.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend(label.bytes());
    }
    packet.push(0);
    packet.extend(rtype::parse(kind).unwrap().to_be_bytes());
    packet.extend(class.to_be_bytes());
    if let Some((size, version, dnssec)) = edns {
        packet.extend([0, 0, 41]);
        packet.extend(size.to_be_bytes());
        packet.extend([0, version, if dnssec { 0x80 } else { 0 }, 0]);
        packet.extend((options.len() as u16).to_be_bytes());
        packet.extend(options);
    }
    (packet, limits, client)
}

/// EDNS Client Subnet of `192.0.2.0/24`.
fn subnet(network: &str) -> Vec<u8> {
    let (address, bits) = network.split_once('/').unwrap();
    let bits: u8 = bits.parse().unwrap();
    let (family, octets) = match address.parse().unwrap() {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let told = &octets[..usize::from(bits).div_ceil(8)];
    let head = [0, 8, 0, 4 + told.len() as u8, 0, family, bits, 0];
    [&head, told].concat()
}

/// An answer, line by line.
fn show(answer: &[u8], packet: &[u8]) -> Vec<String> {
    let message = Message::from_octets(answer).expect("an answer is a message");
    let header = message.header();
    let opt = message.opt();
    let code = match &opt {
        Some(opt) => opt.rcode(header),
        None => OptRcode::from(header.rcode()),
    };
    let mut first = code.to_string();
    for (set, flag) in [
        (header.qr(), " qr"),
        (header.aa(), " aa"),
        (header.tc(), " tc"),
        (header.rd(), " rd"),
        (header.ra(), " ra"),
        (header.ad(), " ad"),
        (header.cd(), " cd"),
    ] {
        first += if set { flag } else { "" };
    }
    if header.opcode().to_int() != 0 {
        write!(first, " opcode {}", header.opcode().to_int()).unwrap();
    }
    assert_eq!(answer[..2], packet[..2], "the id is the query's");
    let mut lines = vec![first];
    if message.header_counts().qdcount() == 0 {
        lines.push("no question".to_owned());
    } else {
        let end = 12 + answer[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
        assert_eq!(
            answer[12..end],
            packet[12..end],
            "the question is the query's, also in its case"
        );
    }
    let (_, answers, authorities, additionals) = message.sections().expect("it can be read");
    for (name, section) in [
        ("answer", answers),
        ("authority", authorities),
        ("additional", additionals),
    ] {
        for record in section {
            let record = record.expect("every record can be read");
            if record.rtype().to_int() != rtype::OPT {
                lines.push(format!("{name} {}", in_words(&record)));
            }
        }
    }
    if let Some(opt) = opt {
        let mut line = format!("edns {}", opt.udp_payload_size());
        line += if opt.dnssec_ok() { " do" } else { "" };
        for option in opt.opt().iter::<AllOptData<_, _>>() {
            match option.expect("every option can be read") {
                AllOptData::ClientSubnet(subnet) => write!(
                    line,
                    " subnet {}/{} scope {}",
                    subnet.addr(),
                    subnet.source_prefix_len(),
                    subnet.scope_prefix_len()
                )
                .unwrap(),
                other => panic!("nobody asked for {other:?}"),
            }
        }
        lines.push(line);
    }
    lines
}

fn in_words(record: &ParsedRecord<'_, &[u8]>) -> String {
    let record = record.to_record::<AllRecordData<_, _>>();
    let record = record
        .expect("its data can be read")
        .expect("every type is read");
    format!(
        "{}. {} {} {}",
        record.owner(),
        record.ttl().as_secs(),
        record.data().rtype(),
        record.data()
    )
}
