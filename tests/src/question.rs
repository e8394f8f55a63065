//! Questions to DNS servers, and their answers in a form that can be compared.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::rdata::RecordData as _;
use domain::base::{Message, Name, ParsedRecord};
use domain::rdata::AllRecordData;

use crate::eventually::SOON;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Response code and flags, such as `NXDOMAIN qr aa`.
    pub head: String,
    /// Answer, authority and additional records, each as `name ttl type data` in lower case and sorted.
    pub sections: [Vec<String>; 3],
}

/// A query as a packet, with EDNS.
///
/// # Panics
/// When the name or type is none.
pub fn query(id: u16, name: &str, rtype: &str) -> Vec<u8> {
    let name: Name<Vec<u8>> = name.parse().expect("it is a name");
    let rtype: Rtype = rtype.parse().expect("it is a type");
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    packet.extend(name.as_slice());
    packet.extend(rtype.to_int().to_be_bytes());
    packet.extend([0, 1]);
    packet.extend([0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    packet
}

/// Asks over UDP; none when there is no answer.
///
/// # Panics
/// When there are no sockets.
pub fn ask(server: SocketAddr, name: &str, rtype: &str) -> Option<Answer> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("two seconds are a time");
    socket.connect(server).expect("loopback is there");
    socket.send(&query(4711, name, rtype)).ok()?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).ok()?;
    Some(read(&buffer[..length]))
}

/// Asks until there is an answer: a server that starts has none.
///
/// # Panics
/// When there is none in time.
pub fn ask_patiently(server: SocketAddr, name: &str, rtype: &str) -> Answer {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        if let Some(answer) = ask(server, name, rtype) {
            return answer;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{server} does not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads an answer.
///
/// # Panics
/// When it cannot be read.
pub fn read(packet: &[u8]) -> Answer {
    let message = Message::from_octets(packet).expect("an answer has a header");
    let header = message.header();
    let mut head = header.rcode().to_string();
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
    let (_, answers, authorities, additionals) = message.sections().expect("it can be read");
    let sections = [answers, authorities, additionals].map(|section| {
        let records = section.map(|record| record.expect("every record can be read"));
        let mut lines: Vec<String> = records
            .filter(|record| record.rtype() != Rtype::OPT)
            .map(|record| in_words(&record))
            .collect();
        lines.sort();
        lines
    });
    Answer { head, sections }
}

fn in_words(record: &ParsedRecord<'_, &[u8]>) -> String {
    let record = record.to_record::<AllRecordData<_, _>>();
    let record = record
        .expect("its data can be read")
        .expect("every type is read");
    let (owner, ttl) = (record.owner(), record.ttl().as_secs());
    format!("{owner} {ttl} {} {}", record.data().rtype(), record.data()).to_lowercase()
}
