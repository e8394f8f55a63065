//! The chooser, as compiled answers see it.

use std::net::IpAddr;

use super::Chooser;
use crate::answer::{Choice, Choose, Client, PolicyId};
use crate::policy::Family;
use crate::wire::rtype;

/// The IPv6 prefix in which addresses carry an IPv4 address (RFC 4291, 2.5.5.2), in bits.
const MAPPED: u8 = 96;

impl Choose for Chooser {
    fn policy(&self, name: &str) -> Option<PolicyId> {
        let number = self
            .policies
            .iter()
            .position(|policy| policy.name == name)?;
        u32::try_from(number).ok().map(PolicyId)
    }

    fn names(&self) -> Vec<String> {
        let names = self.policies.iter().map(|policy| policy.name.clone());
        names.collect()
    }

    fn variants(&self, policy: PolicyId, rtype: u16) -> Vec<Vec<Vec<u8>>> {
        let policy = self.policies.get(policy.0 as usize);
        let (Some(policy), Some(family)) = (policy, family(rtype)) else {
            return Vec::new();
        };
        let variants = policy.variants(family).into_iter();
        variants
            .map(|addresses| addresses.into_iter().map(data).collect())
            .collect()
    }

    fn choose(&self, policy: PolicyId, rtype: u16, client: Client) -> Choice {
        let Some(family) = family(rtype) else {
            return Choice {
                variant: None,
                scope: 0,
                site: None,
            };
        };
        let chosen = self.choose(policy.0 as usize, family, client.address);
        // The scope is of the address as it was told.
        let carried = client.address.is_ipv6() && client.address.to_canonical().is_ipv4();
        let scope = match carried && chosen.scope > 0 {
            true => MAPPED + chosen.scope,
            false => chosen.scope,
        };
        Choice {
            variant: chosen.variant,
            scope,
            site: chosen.site.and_then(|site| site.index().try_into().ok()),
        }
    }
}

/// The family of a type's addresses.
pub(crate) fn family(rtype: u16) -> Option<Family> {
    match rtype {
        rtype::A => Some(Family::V4),
        rtype::AAAA => Some(Family::V6),
        _ => None,
    }
}

/// The data of an address record.
fn data(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
