//! What a stranger may send as the first datagrams of a QUIC connection: as they are, and as the frames of packets that
//! are protected as they have to be.

#![no_main]

use std::sync::LazyLock;

use l4::sniff::{Hello, InitialReader, LONGEST_ID, long_header, short_header};
use libfuzzer_sys::fuzz_target;
use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Version};

const ID: [u8; 8] = [0x83, 0x94, 0xC8, 0xF0, 0x3E, 0x51, 0x57, 0x08];

static KEYS: LazyLock<DirectionalKeys> = LazyLock::new(|| {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is one");
    let suite = suite.quic_suite().expect("it is for QUIC");
    suite.keys(&ID, Side::Client, Version::V1).local
});

/// A protected Initial packet with these frames.
fn initial(number: u8, frames: &[u8]) -> Vec<u8> {
    let mut header = vec![0xC0, 0, 0, 0, 1, ID.len() as u8];
    header.extend(ID);
    header.extend([0, 0]);
    // At least so much that there is a sample.
    let length = frames.len().max(4) + 1 + 16;
    header.extend((length as u32 | 0x8000_0000).to_be_bytes());
    let number_at = header.len();
    header.push(number);
    let mut payload = frames.to_vec();
    payload.resize(frames.len().max(4), 0);
    let tag = KEYS
        .packet
        .encrypt_in_place(number.into(), &header, &mut payload)
        .expect("it can be encrypted");
    let mut packet = [header.as_slice(), &payload, tag.as_ref()].concat();
    let sample = number_at + 4;
    let sample = packet[sample..sample + KEYS.header.sample_len()].to_vec();
    let (first, rest) = packet.split_at_mut(1);
    let number = &mut rest[number_at - 1..number_at];
    KEYS.header
        .encrypt_in_place(&sample, &mut first[0], number)
        .expect("it can be encrypted");
    packet
}

fuzz_target!(|input: (Vec<&[u8]>, &[u8])| {
    let (packets, datagram) = input;
    for length in 0..=LONGEST_ID {
        if let Some(id) = short_header(datagram, length) {
            assert_eq!((id.len(), datagram[0] & 0x80), (length, 0));
        }
    }
    if let Some(header) = long_header(datagram) {
        assert!(!(header.is_initial() && header.is_early()));
        assert!(header.is_known() || !header.is_initial());
        if let Some(mut reader) = InitialReader::new(&header) {
            let _ = reader.read(datagram);
        }
    }
    let mut reader: Option<InitialReader> = None;
    let protected = packets.iter().take(8).enumerate();
    let protected: Vec<_> = protected
        .map(|(number, frames)| initial(number as u8, &frames[..frames.len().min(1400)]))
        .collect();
    for packet in &protected {
        let header = long_header(packet).expect("it has a long header");
        let reader = reader.get_or_insert_with(|| InitialReader::new(&header).expect("it is an Initial"));
        if matches!(reader.read(packet), Hello::Whole(_) | Hello::Broken(_)) {
            return;
        }
    }
});
