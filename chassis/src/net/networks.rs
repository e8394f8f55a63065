//! Sets of addresses, as they are written in lists of networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Diagnostic, Located};

/// Addresses in networks. Looking one up costs the logarithm of their number.
///
/// A network of IPv6 holds no address of IPv4: those in `::/0` are all of IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// First and last addresses, in order and apart; those of IPv4 as IPv6 has them (`::ffff:`).
    ranges: Box<[(u128, u128)]>,
}

impl Networks {
    /// Reads networks and addresses. Those that cannot be read are mistakes, and left out.
    pub fn compile(texts: &[Located<String>], mistakes: &mut Vec<Diagnostic>) -> Self {
        let mut networks = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse().or_else(|_| text.parse().map(IpAddr::into)) {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let wrong = text.wrong(format!("`{}` is not a network", **text));
                    let help = "write \"10.0.0.0/8\", \"2001:db8::/32\" or one address";
                    mistakes.push(wrong.help(help));
                }
            }
        }
        networks.into_iter().collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the address is in one of them; an IPv4 address that is written as an IPv6 one counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after > 0 && address <= self.ranges[after - 1].1
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut ranges: Vec<_> = networks.into_iter().flat_map(ranges).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let joined = *first <= before.saturating_add(1);
            if joined {
                *before = (*before).max(*last);
            }
            joined
        });
        Self {
            ranges: ranges.into(),
        }
    }
}

/// First and last addresses; of a network of IPv6 in which those of IPv4 would lie, what is before and after them.
fn ranges(network: IpNet) -> impl Iterator<Item = (u128, u128)> {
    let (first, last) = (number(network.network()), number(network.broadcast()));
    let (start, end) = IPV4;
    // With these bounds it is IPv4, be it written as IPv6.
    let is_around = first <= start && end <= last && (first, last) != IPV4;
    let parts = match is_around {
        true => [Some((first, start - 1)), Some((end + 1, last))],
        false => [Some((first, last)), None],
    };
    // What begins or ends with them has nothing there.
    parts
        .into_iter()
        .flatten()
        .filter(|(first, last)| first <= last)
}

/// The addresses of IPv4 as IPv6 has them, `::ffff:0:0/96` (RFC 4291, 2.5.5.2).
const IPV4: (u128, u128) = (0xFFFF << 32, (0xFFFF << 32) | u32::MAX as u128);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_network_is_told_and_the_rest_is_read() {
        let texts = ["10.0.0.0/8", "10.0.0.300", "192.0.2.7", "2001:db8::/32"];
        let texts = texts.map(|text| Located::nowhere(text.to_owned()));
        let mut mistakes = Vec::new();
        let networks = Networks::compile(&texts, &mut mistakes);
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].message.contains("10.0.0.300"), "{mistakes:?}");
        for (address, expected) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(networks.contains(address), expected, "{address}");
        }
    }

    #[test]
    fn networks_of_ipv6_hold_no_address_of_ipv4() {
        for (network, v4, v6) in [
            ("::/0", false, true),
            ("::/64", false, false),
            ("::fffe:0:0/95", false, false),
            ("2000::/3", false, true),
            ("0.0.0.0/0", true, false),
            // Who writes it so means IPv4.
            ("::ffff:0:0/96", true, false),
            ("::ffff:192.0.2.0/120", true, false),
        ] {
            let networks = Networks::from_iter([network.parse().unwrap()]);
            for (address, expected) in [
                ("192.0.2.7", v4),
                ("::ffff:192.0.2.7", v4),
                ("2001:db8::1", v6),
            ] {
                let address: IpAddr = address.parse().unwrap();
                assert_eq!(networks.contains(address), expected, "{network} {address}");
            }
        }
        let all = ["::/0", "0.0.0.0/0"].map(|network| network.parse().unwrap());
        let all = Networks::from_iter(all);
        assert_eq!(*all.ranges, [(0, u128::MAX)]);
    }

    fn network() -> impl Strategy<Value = IpNet> {
        // Few bits that differ, so that networks meet and hold each other.
        let v4 = (0u32..64, 20u8..=32).prop_map(|(bits, prefix)| {
            let address = Ipv4Addr::from_bits(bits << 6);
            IpNet::new(address.into(), prefix).unwrap()
        });
        let v6 = (0u128..64, prop_oneof![0u8..=128, 110u8..=128]).prop_map(|(bits, prefix)| {
            let address = Ipv6Addr::from_bits(bits << 6);
            IpNet::new(address.into(), prefix).unwrap()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn it_is_as_if_each_were_asked(
            networks in prop::collection::vec(network(), 0..12),
            bits in 0u32..1 << 13,
        ) {
            let all: Networks = networks.iter().copied().collect();
            let addresses: [IpAddr; 2] =
                [Ipv4Addr::from_bits(bits).into(), Ipv6Addr::from_bits(bits.into()).into()];
            for address in addresses {
                let expected = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(all.contains(address), expected, "{}", address);
            }
        }
    }
}
