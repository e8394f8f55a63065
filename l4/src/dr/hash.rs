//! The hash by which the program leads a flow, again: so that it can be said who gets a flow, and be tested.

use std::net::{IpAddr, SocketAddr};

use crate::balance::Maglev;
use crate::forward::Service;

use super::layout::{address_bytes, protocol};

/// Which member of a service gets a client's new flow, by its place in the list; none when nobody serves. Members
/// that are not well get nothing; whether their addresses in the network are known is not looked at.
///
/// The table is that of the mode `proxy`, the hash is not: it is MurmurHash3 (32 bits) of the client's address, or of
/// all that tells a flow from others.
pub fn endpoint_of(service: &Service, client: SocketAddr) -> Option<usize> {
    let well: Vec<usize> = (0..service.members.len())
        .filter(|at| service.members[*at].well && service.members[*at].share > 0)
        .collect();
    let names: Vec<(String, u32)> = well
        .iter()
        .map(|at| &service.members[*at])
        .map(|member| (member.address.to_string(), member.share))
        .collect();
    let names: Vec<(&str, u32)> = names
        .iter()
        .map(|(name, share)| (&**name, *share))
        .collect();
    let table = Maglev::new(&names, Maglev::SLOTS);
    let slot = slot_of(hash_of(service, client));
    let at = *table.slots().get(slot)?;
    well.get(at as usize).copied()
}

/// The slot of a hash in a table of [`Maglev::SLOTS`].
fn slot_of(hash: u32) -> usize {
    ((u64::from(hash) * u64::from(Maglev::SLOTS)) >> 32) as usize
}

fn hash_of(service: &Service, client: SocketAddr) -> u32 {
    let mut hash = 0;
    let mut length = 16;
    mix_address(&mut hash, client.ip());
    if !service.by_source {
        mix_address(&mut hash, service.address.ip());
        let [a, b] = client.port().to_be_bytes();
        let [c, d] = service.address.port().to_be_bytes();
        mix(&mut hash, u32::from_ne_bytes([a, b, c, d]));
        mix(&mut hash, u32::from(protocol(service.transport)));
        length = 40;
    }
    hash ^= length;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85EB_CA6B);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

fn mix_address(hash: &mut u32, address: IpAddr) {
    for word in address_bytes(address).as_chunks::<4>().0 {
        mix(hash, u32::from_ne_bytes(*word));
    }
}

fn mix(hash: &mut u32, word: u32) {
    let word = word.wrapping_mul(0xCC9E_2D51).rotate_left(15);
    *hash ^= word.wrapping_mul(0x1B87_3593);
    *hash = hash
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xE654_6B64);
}
