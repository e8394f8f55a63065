//! Scenario files: zones, queries, and the whole answer to each.
//!
//! ```text
//! zone example.                   a zone file, indented
//!     @ 300 SOA ns1 host 1 2 3 4 5
//! toml                            more of the configuration, indented
//!     [[zone]]
//!
//! # what the following queries are about
//! ? www.example. A +edns +do      a query, as dig has it; `+require` when the server requires cookies
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
use std::sync::{Arc, LazyLock};

use chassis::config::load;
use domain::base::iana::OptRcode;
use domain::base::opt::AllOptData;
use domain::base::rdata::RecordData as _;
use domain::base::{Message, ParsedRecord};
use domain::rdata::AllRecordData;
use tidegate_dns::answer::{Choice, Choose, Client, Limits, Options, PolicyId, Snapshot, compile};
use tidegate_dns::guard::{CookieSecret, Cookies};
use tidegate_dns::wire::{QueryName, rtype};
use tidegate_dns::{Config, zone};

#[test]
fn every_query_gets_the_answer_that_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the files of a test can be read and written")
        .map(|entry| {
            entry
                .expect("the files of a test can be read and written")
                .path()
        })
        .collect();
    files.sort();
    let (mut cases, mut wrong) = (0, String::new());
    for file in files {
        let written =
            fs::read_to_string(&file).expect("the files of a test can be read and written");
        let played = play(&written, &mut cases);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &played).expect("the files of a test can be read and written");
        }
        for difference in differences(&written, &played) {
            writeln!(wrong, "{}: {difference}", file.display()).expect("text takes text");
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
            writeln!(out, "{line}").expect("text takes text");
            for answer in ask(&snapshot, line) {
                writeln!(out, "    {answer}").expect("text takes text");
            }
        } else if !in_case {
            writeln!(out, "{line}").expect("text takes text");
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
    let folder = tempfile::tempdir().expect("the files of a test can be read and written");
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
            writeln!(block, "{}", line.get(4..).unwrap_or_default()).expect("text takes text");
        }
        match name {
            Some(name) => {
                let file = format!("{zone_files}.zone");
                zone_files += 1;
                fs::write(folder.path().join(&file), block)
                    .expect("the files of a test can be read and written");
                write!(config, "[[zone]]\nname = \"{name}\"\nfile = \"{file}\"\n")
                    .expect("text takes text");
            }
            None => config += &block,
        }
    }
    let path = folder.path().join("dns.toml");
    fs::write(&path, config).expect("the files of a test can be read and written");
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
        Choice {
            variant,
            scope: 24,
            site: None,
        }
    }
}

fn ask(snapshot: &Snapshot, line: &str) -> Vec<String> {
    let (packet, limits, client) = match line.strip_prefix("hex ") {
        Some(hex) => (
            octets(hex),
            plain(),
            "192.0.2.53"
                .parse()
                .expect("scenarios are written as the top of this file says"),
        ),
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

/// The server of RFC 9018, appendix A, at the time of its first query; and one that requires cookies.
static COOKIES: LazyLock<[Cookies; 2]> = LazyLock::new(|| {
    [false, true].map(|require| {
        let secret = CookieSecret::from_hex("e5e973e5a6b2a43f48e7dc849e37bfcf");
        Cookies::shared(vec![secret.expect("it is a secret")], require)
    })
});

fn plain() -> Limits<'static> {
    Limits {
        options: Options {
            cookies: Some(&COOKIES[0]),
            now: 1_559_731_985,
            identity: b"fra1",
        },
        ..Limits::udp(1232)
    }
}

fn octets(hex: &str) -> Vec<u8> {
    let hex = hex.split('#').next().unwrap_or_default();
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| {
        u8::from_str_radix(
            std::str::from_utf8(pair).expect("scenarios are written as the top of this file says"),
            16,
        )
        .expect("scenarios are written as the top of this file says")
    };
    digits.chunks(2).map(pair).collect()
}

/// A query as its line says.
fn query(line: &str) -> (Vec<u8>, Limits<'static>, IpAddr) {
    let mut words = line[2..].split_whitespace();
    let (Some(name), Some(kind)) = (words.next(), words.next()) else {
        panic!("a query has a name and a type: {line}")
    };
    let (mut limits, mut client) = (plain(), [192, 0, 2, 53].into());
    let (mut flags, mut class, mut edns) = (0x0100_u16, 1_u16, None::<Opt>);
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || number(value);
        match word {
            "+tcp" => (limits.tcp, limits.keepalive) = (true, Some(100)),
            "+require" => limits.options.cookies = Some(&COOKIES[1]),
            "+norec" => flags &= !0x0100,
            "+cd" => flags |= 0x0010,
            "+opcode" => flags |= number() << 11,
            "+class" => class = number(),
            "+edns" if value.is_empty() => _ = edns.get_or_insert_default(),
            "+edns" => edns.get_or_insert_default().version = number() as u8,
            "+bufsize" => edns.get_or_insert_default().size = number(),
            "+do" => edns.get_or_insert_default().dnssec = true,
            "+option" => edns.get_or_insert_default().options.extend(octets(value)),
            "+subnet" => edns.get_or_insert_default().options.extend(subnet(value)),
            "+from" => client = value.parse().expect("+from is an address"),
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
    packet.extend(rtype::parse(kind).expect("it is a type").to_be_bytes());
    packet.extend(class.to_be_bytes());
    packet.extend(edns.into_iter().flat_map(Opt::record));
    (packet, limits, client)
}

fn number(text: &str) -> u16 {
    text.parse().expect("it is a number")
}

/// What a query says of its client.
struct Opt {
    size: u16,
    version: u8,
    dnssec: bool,
    options: Vec<u8>,
}

impl Default for Opt {
    fn default() -> Self {
        Self {
            size: 1232,
            version: 0,
            dnssec: false,
            options: Vec::new(),
        }
    }
}

impl Opt {
    fn record(self) -> Vec<u8> {
        let mut record = vec![0, 0, 41];
        record.extend(self.size.to_be_bytes());
        record.extend([0, self.version, if self.dnssec { 0x80 } else { 0 }, 0]);
        record.extend((self.options.len() as u16).to_be_bytes());
        record.extend(self.options);
        record
    }
}

/// EDNS Client Subnet of `192.0.2.0/24`.
fn subnet(network: &str) -> Vec<u8> {
    let (address, bits) = network
        .split_once('/')
        .expect("scenarios are written as the top of this file says");
    let bits: u8 = bits
        .parse()
        .expect("scenarios are written as the top of this file says");
    let (family, octets) = match address
        .parse()
        .expect("scenarios are written as the top of this file says")
    {
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
    let mut lines = vec![head(&message)];
    assert_eq!(answer[..2], packet[..2], "the id is the query's");
    if message.header_counts().qdcount() == 0 {
        lines.push("no question".to_owned());
    } else {
        let name = answer[12..].iter().position(|octet| *octet == 0);
        let end = 12 + name.expect("a name ends") + 5;
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
    lines.extend(message.opt().map(|_| edns(&message)));
    lines
}

/// Response code and flags.
fn head(message: &Message<&[u8]>) -> String {
    let header = message.header();
    let code = match message.opt() {
        Some(opt) => opt.rcode(header),
        None => OptRcode::from(header.rcode()),
    };
    let mut head = code.to_string();
    for (set, flag) in [
        (header.qr(), " qr"),
        (header.aa(), " aa"),
        (header.tc(), " tc"),
        (header.rd(), " rd"),
        (header.ra(), " ra"),
        (header.ad(), " ad"),
        (header.cd(), " cd"),
    ] {
        head += if set { flag } else { "" };
    }
    match header.opcode().to_int() {
        0 => head,
        opcode => format!("{head} opcode {opcode}"),
    }
}

/// The OPT record.
fn edns(message: &Message<&[u8]>) -> String {
    let opt = message.opt().expect("there is one");
    let mut line = format!("edns {}", opt.udp_payload_size());
    line += if opt.dnssec_ok() { " do" } else { "" };
    for option in opt.opt().iter::<AllOptData<_, _>>() {
        line += &match option.expect("every option can be read") {
            AllOptData::ClientSubnet(subnet) => format!(
                " subnet {}/{} scope {}",
                subnet.addr(),
                subnet.source_prefix_len(),
                subnet.scope_prefix_len()
            ),
            AllOptData::Cookie(cookie) => format!(" cookie {cookie}"),
            AllOptData::Nsid(name) => {
                format!(" nsid {}", String::from_utf8_lossy(name.as_slice()))
            }
            AllOptData::TcpKeepalive(idle) => format!(" keepalive {idle}"),
            AllOptData::ExtendedError(error) => format!(" error {error}"),
            _ => panic!("an option that nobody asked for"),
        };
    }
    line
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
