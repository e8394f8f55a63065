//! QUIC from outside: connection ids that anybody can read (RFC 8999), and the ClientHello in Initial packets, which
//! are protected with keys that anybody can derive (RFC 9001, 5.2; RFC 9369).

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Version};

use super::client_hello::{LONGEST_HELLO, Message, message};

/// The longest connection id of the versions that are known (RFC 9000, 17.2).
pub const LONGEST_ID: usize = 20;

/// The long header of a packet (RFC 8999, 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader<'a> {
    /// The version; 0 in a negotiation of versions.
    pub version: u32,
    /// The connection id of whoever is to get the packet.
    pub destination: &'a [u8],
    /// The connection id of whoever has sent it.
    pub source: &'a [u8],
    /// What follows, which depends on the version.
    rest: &'a [u8],
    first: u8,
}

/// Reads the long header that a datagram begins with; none when it has another or a broken one.
pub fn long_header(datagram: &[u8]) -> Option<LongHeader<'_>> {
    let mut rest = Reader(datagram);
    let first = rest.octet()?;
    if first & 0x80 == 0 {
        return None;
    }
    let version = u32::from_be_bytes(*rest.take(4)?.first_chunk()?);
    let length = rest.octet()?.into();
    let destination = rest.take(length)?;
    let length = rest.octet()?.into();
    let source = rest.take(length)?;
    Some(LongHeader {
        version,
        destination,
        source,
        rest: rest.0,
        first,
    })
}

/// The connection id in a short header (RFC 8999, 5.2), whose length only its maker knows.
pub fn short_header(datagram: &[u8], length: usize) -> Option<&[u8]> {
    let (first, rest) = datagram.split_first()?;
    rest.get(..length).filter(|_| first & 0x80 == 0)
}

impl LongHeader<'_> {
    fn known(&self) -> Option<Version> {
        match self.version {
            1 => Some(Version::V1),
            0x6B33_43CF => Some(Version::V2),
            _ => None,
        }
    }

    /// Whether its version is one whose packets are understood.
    pub fn is_known(&self) -> bool {
        self.known().is_some()
    }

    /// Whether the packet is an Initial of a version that is known.
    pub fn is_initial(&self) -> bool {
        self.is_of_kind(0b00, 0b01)
    }

    /// Whether the packet has data that a client sends before there is an answer (0-RTT), of a version that is known.
    pub fn is_early(&self) -> bool {
        self.is_of_kind(0b01, 0b10)
    }

    /// Whether the packet is of the kind that has this number in version 1, and that one in version 2.
    fn is_of_kind(&self, one: u8, two: u8) -> bool {
        let kind = self.first >> 4 & 0b11;
        match self.known() {
            Some(Version::V2) => kind == two,
            Some(_) => kind == one,
            None => false,
        }
    }
}

/// Reads the ClientHello of one connection out of its Initial packets, in whatever order and pieces they come.
pub struct InitialReader {
    keys: DirectionalKeys,
    /// The beginning of the CRYPTO stream.
    stream: Vec<u8>,
    /// Which parts of it have arrived: from, to; sorted, none touches another.
    arrived: Vec<(usize, usize)>,
    opened: bool,
}

/// The most pieces between which something is missing. Browsers cut a hello into some ten on purpose.
const MOST_PIECES: usize = 64;

impl InitialReader {
    /// A reader for the connection that begins with this packet; none when it is no Initial.
    pub fn new(header: &LongHeader<'_>) -> Option<Self> {
        let version = header.known().filter(|_| header.is_initial())?;
        let suite = TLS13_AES_128_GCM_SHA256.tls13()?.quic_suite()?;
        let keys = suite.keys(header.destination, Side::Server, version).remote;
        Some(Self {
            keys,
            stream: Vec::new(),
            arrived: Vec::new(),
            opened: false,
        })
    }

    /// Whether its keys have opened any packet. If not, the connection has not begun with that id: clients take the
    /// server's in its place, once they know it (RFC 9000, 7.2), and keep the keys (RFC 9001, 5.2).
    pub fn has_opened(&self) -> bool {
        self.opened
    }

    /// Reads the packets of a datagram: the ClientHello once it is whole. What cannot be decrypted is passed over, as an
    /// endpoint does.
    ///
    /// # Errors
    /// Which rule the client breaks.
    pub fn read(&mut self, datagram: &[u8]) -> Message {
        let mut rest = datagram;
        while let Some(header) = long_header(rest).filter(LongHeader::is_initial) {
            let Some((packet, number_at)) = first_packet(rest, &header) else {
                break;
            };
            if let Some(frames) = self.decrypt(packet, number_at) {
                self.opened = true;
                self.frames(&frames)?;
            }
            rest = &rest[packet.len()..];
        }
        match self.arrived.first() {
            Some(&(0, end)) => message(&self.stream[..end]),
            _ => Ok(None),
        }
    }

    /// The frames of a packet.
    fn decrypt(&self, packet: &[u8], number_at: usize) -> Option<Vec<u8>> {
        let mut packet = packet.to_vec();
        let DirectionalKeys {
            header,
            packet: key,
        } = &self.keys;
        let sample = number_at + 4;
        let sample = packet.get(sample..sample + header.sample_len())?.to_vec();
        let (first, after) = packet.split_first_mut()?;
        let number = after.get_mut(number_at - 1..number_at + 3)?;
        header.decrypt_in_place(&sample, first, number).ok()?;
        let length = usize::from(*first & 0b11) + 1;
        // The first packets of a connection: none has a number whose upper octets are left out.
        let number = number[..length]
            .iter()
            .fold(0, |number, octet| number << 8 | u64::from(*octet));
        let (header, payload) = packet.split_at_mut(number_at + length);
        let frames = key.decrypt_in_place(number, header, payload).ok()?;
        Some(frames.to_vec())
    }

    /// Takes what the frames have of the CRYPTO stream.
    fn frames(&mut self, frames: &[u8]) -> Result<(), &'static str> {
        const CUT: &str = "a frame that its packet cuts off";
        let mut frames = Reader(frames);
        while let Some(kind) = frames.octet() {
            match kind {
                // PADDING, PING
                0 | 1 => {}
                // ACK, with counts of congestion or without
                2 | 3 => {
                    frames.acknowledgement(kind == 3).ok_or(CUT)?;
                }
                6 => {
                    let at = frames.number().ok_or(CUT)?;
                    let length = frames.number().ok_or(CUT)?;
                    let data = usize::try_from(length)
                        .ok()
                        .and_then(|length| frames.take(length));
                    self.put(at, data.ok_or(CUT)?)?;
                }
                // CONNECTION_CLOSE: it was not meant.
                0x1C => return Err("a connection that ends before it begins"),
                _ => return Err("a frame that no Initial has"),
            }
        }
        Ok(())
    }

    fn put(&mut self, at: u64, data: &[u8]) -> Result<(), &'static str> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = at.saturating_add(data.len());
        if end > LONGEST_HELLO {
            return Err("a ClientHello that is too long");
        }
        if data.is_empty() {
            return Ok(());
        }
        if self.stream.len() < end {
            self.stream.resize(end, 0);
        }
        self.stream[at..end].copy_from_slice(data);
        // Everything that touches it becomes one piece.
        let (mut from, mut to) = (at, end);
        self.arrived.retain(|piece| {
            let apart = piece.1 < from || piece.0 > to;
            if !apart {
                (from, to) = (from.min(piece.0), to.max(piece.1));
            }
            apart
        });
        let place = self.arrived.partition_point(|piece| piece.0 < from);
        self.arrived.insert(place, (from, to));
        match self.arrived.len() > MOST_PIECES {
            true => Err("a ClientHello in too many pieces"),
            false => Ok(()),
        }
    }
}

/// The first packet of a datagram, which begins with this header, and where its number is.
fn first_packet<'a>(datagram: &'a [u8], header: &LongHeader<'_>) -> Option<(&'a [u8], usize)> {
    let mut rest = Reader(header.rest);
    let token = usize::try_from(rest.number()?).ok()?;
    rest.take(token)?;
    let length = usize::try_from(rest.number()?).ok()?;
    let number_at = datagram.len() - rest.0.len();
    rest.take(length)?;
    Some((&datagram[..number_at + length], number_at))
}

/// Reads from the front; none when there is not enough.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn octet(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    /// A number of variable length (RFC 9000, 16).
    fn number(&mut self) -> Option<u64> {
        let first = self.octet()?;
        let more = self.take((1 << (first >> 6)) - 1)?;
        let first = u64::from(first & 0x3F);
        Some(
            more.iter()
                .fold(first, |number, octet| number << 8 | u64::from(*octet)),
        )
    }

    /// Passes an ACK frame over (RFC 9000, 19.3).
    fn acknowledgement(&mut self, congestion: bool) -> Option<()> {
        self.number()?;
        self.number()?;
        let ranges = self.number()?;
        self.number()?;
        for _ in 0..ranges {
            self.number()?;
            self.number()?;
        }
        for _ in 0..if congestion { 3 } else { 0 } {
            self.number()?;
        }
        Some(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::quic::ClientConnection;
    use rustls::{ClientConfig, RootCertStore};

    use super::super::ServerName;
    use super::*;

    pub(crate) const ID: &[u8] = &[0x83, 0x94, 0xC8, 0xF0, 0x3E, 0x51, 0x57, 0x08];

    /// The ClientHello of a real client, without a record around it.
    pub(crate) fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it is known")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h3".to_vec()];
        let name = name.to_owned().try_into().expect("it is a name");
        let version = rustls::quic::Version::V1;
        let mut client = ClientConnection::new(config.into(), version, name, vec![0; 2000])
            .expect("it is sound");
        let mut bytes = Vec::new();
        client.write_hs(&mut bytes);
        bytes
    }

    fn variable(number: usize) -> [u8; 2] {
        (number as u16 | 0x4000).to_be_bytes()
    }

    /// A CRYPTO frame.
    pub(crate) fn crypto(at: usize, data: &[u8]) -> Vec<u8> {
        [&[6], variable(at).as_slice(), &variable(data.len()), data].concat()
    }

    /// A protected Initial packet.
    pub(crate) fn initial(version: u32, number: u8, frames: &[u8]) -> Vec<u8> {
        let (kind, known) = match version {
            1 => (0b00, Version::V1),
            _ => (0b01, Version::V2),
        };
        let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is one");
        let suite = suite.quic_suite().expect("it is for QUIC");
        let keys = suite.keys(ID, Side::Client, known).local;
        let mut packet = vec![0xC0 | kind << 4];
        packet.extend_from_slice(&version.to_be_bytes());
        packet.push(ID.len() as u8);
        packet.extend_from_slice(ID);
        packet.extend_from_slice(&[0, 0]);
        let mut frames = frames.to_vec();
        frames.resize(frames.len().max(32), 0);
        packet.extend_from_slice(&variable(1 + frames.len() + 16));
        let number_at = packet.len();
        packet.push(number);
        let tag = keys
            .packet
            .encrypt_in_place(number.into(), &packet, &mut frames);
        packet.extend_from_slice(&frames);
        packet.extend_from_slice(tag.expect("it is short").as_ref());
        let sample = packet[number_at + 4..number_at + 20].to_vec();
        let (first, rest) = packet.split_first_mut().expect("it has a header");
        let number = &mut rest[number_at - 1..number_at];
        keys.header
            .encrypt_in_place(&sample, first, number)
            .expect("it is long enough");
        packet
    }

    fn reader(datagram: &[u8]) -> InitialReader {
        let header = long_header(datagram).expect("it has a long header");
        assert_eq!(header.destination, ID);
        InitialReader::new(&header).expect("it is an Initial")
    }

    fn named(outcome: Message) -> String {
        match outcome {
            Ok(Some(hello)) => {
                assert_eq!(hello.protocols, [b"h3".as_slice().into()]);
                hello.name.map(|name| name.to_string()).unwrap_or_default()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_name_is_found_in_both_versions() {
        for version in [1, 0x6B33_43CF] {
            let hello = hello("quic.example.com");
            let (one, two) = hello.split_at(1000);
            let first = initial(version, 0, &crypto(0, one));
            let second = initial(version, 1, &crypto(1000, two));
            let mut reader = reader(&first);
            assert_eq!(reader.read(&first), Ok(None));
            assert_eq!(named(reader.read(&second)), "quic.example.com");
        }
    }

    #[test]
    fn pieces_come_in_any_order_in_one_datagram_or_many() {
        let hello = hello("example.com");
        let pieces: Vec<_> = hello.chunks(100).enumerate().collect();
        let frames = pieces.iter().rev().map(|(at, data)| crypto(at * 100, data));
        let packets = frames.enumerate().map(|(number, frame)| {
            let frames = [&[1, 0, 2, 0, 0, 0, 0][..], &frame, &frame].concat();
            initial(1, number as u8, &frames)
        });
        let packets: Vec<_> = packets.collect();
        let mut one_by_one = reader(&packets[0]);
        for packet in &packets[..packets.len() - 1] {
            assert_eq!(one_by_one.read(packet), Ok(None));
        }
        assert_eq!(
            named(one_by_one.read(&packets[packets.len() - 1])),
            "example.com"
        );
        let datagram = packets.concat();
        assert_eq!(named(reader(&datagram).read(&datagram)), "example.com");
    }

    /// RFC 9001, A.2 begins so; its keys are those of A.1.
    #[test]
    fn the_packet_of_the_standard_is_read() {
        let sample: &[u8] = &[
            0xC0, 0, 0, 0, 1, 8, 0x83, 0x94, 0xC8, 0xF0, 0x3E, 0x51, 0x57, 8, 0, 0,
        ];
        let header = long_header(sample).expect("it has a long header");
        assert_eq!(
            (header.version, header.destination, header.source),
            (1, ID, &[][..])
        );
        assert!(header.is_initial() && !header.is_early());
        let early = [&[0xD0], &sample[1..]].concat();
        let header = long_header(&early).expect("it has a long header");
        assert!(header.is_early() && !header.is_initial());
    }

    #[test]
    fn what_cannot_be_decrypted_is_passed_over() {
        let mut datagram = initial(1, 0, &crypto(0, &hello("example.com")[..500]));
        let mut reader = reader(&datagram);
        let last = datagram.len() - 1;
        datagram[last] ^= 1;
        assert_eq!(reader.read(&datagram), Ok(None));
        assert!(reader.arrived.is_empty());
    }

    #[test]
    fn what_breaks_the_rules_is_told() {
        let broken = |frames: &[u8]| {
            let datagram = initial(1, 0, frames);
            reader(&datagram).read(&datagram).is_err()
        };
        assert!(broken(&[0x1C; 40]));
        assert!(broken(&[8; 40]));
        assert!(broken(&[6, 0, 0x7F, 0xFF]));
        assert!(
            broken(&[6, 0x80, 1, 0, 0, 1, 1]),
            "beyond the longest hello"
        );
    }

    #[test]
    fn other_headers_are_told_apart() {
        assert_eq!(long_header(&[]), None);
        assert_eq!(long_header(&[0xC0, 0, 0, 0, 1, 9, 1, 2]), None);
        assert_eq!(short_header(&[0x40, 1, 2, 3], 2), Some(&[1, 2][..]));
        assert_eq!(short_header(&[0x40, 1], 2), None);
        assert_eq!(short_header(&[0xC0, 1, 2, 3], 2), None);
        let other = [0xC0, 0x0A, 0x0A, 0x0A, 0x0A, 0, 0, 0];
        assert!(
            !long_header(&other)
                .expect("it has a long header")
                .is_initial()
        );
    }

    #[test]
    fn names_are_only_those_that_are_sent() {
        let datagram = initial(1, 0, &crypto(0, &hello("192.0.2.1")[..900]));
        assert_eq!(reader(&datagram).read(&datagram), Ok(None));
        assert_eq!(
            ServerName::read(b"192.0.2.1").map(|name| name.to_string()),
            Some("192.0.2.1".into())
        );
    }

    proptest! {
        #[test]
        fn no_frames_make_it_panic(frames in prop::collection::vec(any::<u8>(), 0..300)) {
            let datagram = initial(1, 0, &frames);
            let _ = reader(&datagram).read(&datagram);
        }

        #[test]
        fn no_datagram_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..200) {
            let mut datagram = initial(1, 0, &[0; 200]);
            let at = at % datagram.len();
            datagram.splice(at.., bytes);
            if let Some(mut reader) = long_header(&datagram).and_then(|header| InitialReader::new(&header)) {
                let _ = reader.read(&datagram);
            }
        }

        #[test]
        fn pieces_are_put_together(pieces in prop::collection::vec((0usize..300, 1usize..50), 1..40)) {
            let mut reader = reader(&initial(1, 0, &[]));
            let whole: Vec<u8> = (0..400).map(|at| at as u8).collect();
            let mut there = vec![false; 400];
            for (at, length) in pieces {
                reader.put(at as u64, &whole[at..at + length]).expect("there are few");
                there[at..at + length].fill(true);
                let known: Vec<_> = (0..400)
                    .filter(|at| reader.arrived.iter().any(|piece| (piece.0..piece.1).contains(at)))
                    .collect();
                let want: Vec<_> = (0..400).filter(|at| there[*at]).collect();
                prop_assert_eq!(&known, &want);
                prop_assert!(reader.arrived.windows(2).all(|two| two[0].1 < two[1].0));
                prop_assert!(known.iter().all(|at| reader.stream[*at] == whole[*at]));
            }
        }
    }
}
