//! Options of all listeners that the kernel forwards with translated addresses.

use schemars::JsonSchema;
use serde::Deserialize;

/// Listeners with `mode = "nat"`: the kernel translates addresses, and no packet comes to this process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NatConfig {
    /// The table of nftables (family `inet`) that holds all rules, and nothing else: two processes on one machine need two names.
    pub table: String,
    /// Slots that flows are hashed to, for each set of endpoints: a prime from 251 to 65537. More slots keep more flows
    /// where they are when an endpoint goes, and cost more to load.
    pub slots: u32,
    /// Whether endpoints see the balancer's address in place of the client's: for endpoints whose answers would not come
    /// back over this machine.
    pub masquerade: bool,
    /// Whether the kernel answers SYNs with cookies, and an endpoint hears of a connection once the client has answered.
    pub synproxy: bool,
    /// The MSS, in bytes, that SYN cookies promise over IPv4; over IPv6 it is 20 less.
    pub synproxy_mss: u16,
    /// The window scale that SYN cookies promise, from 0 to 14: that of the endpoints.
    pub synproxy_window_scale: u8,
    /// Whether connections to an endpoint that is not well are given up, so that clients are reset. Datagrams always go to
    /// another one.
    pub reset: bool,
    /// Whether the rules stay when the process is stopped, so that flows go on without it.
    pub keep: bool,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            table: "tidegate".to_owned(),
            slots: 16_381,
            masquerade: false,
            synproxy: false,
            synproxy_mss: 1_460,
            synproxy_window_scale: 7,
            reset: false,
            keep: false,
        }
    }
}

impl NatConfig {
    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<String> {
        let named = self
            .table
            .starts_with(|first: char| first.is_ascii_alphabetic());
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if !named || self.table.len() > 64 || !self.table.chars().all(plain) {
            return Some(format!("{:?} cannot be the name of a table", self.table));
        }
        if !(251..=65_537).contains(&self.slots) || !is_prime(self.slots) {
            return Some(format!(
                "{} slots: a prime from 251 to 65537 is needed",
                self.slots
            ));
        }
        if self.synproxy_window_scale > 14 {
            return Some("a window scale is from 0 to 14 (RFC 7323, 2.3)".to_owned());
        }
        (self.synproxy_mss < 536).then(|| "an MSS is 536 at least (RFC 9293, 3.7.1)".to_owned())
    }
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|by| by * by <= number)
            .all(|by| !number.is_multiple_of(by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(NatConfig::default().fault(), None);
    }

    #[test]
    fn names_are_names_of_nftables() {
        for name in ["", "1st", "a b", "a;b", "a\nflush ruleset", "{"] {
            let config = NatConfig {
                table: name.to_owned(),
                ..NatConfig::default()
            };
            assert!(config.fault().is_some(), "{name:?}");
        }
    }

    #[test]
    fn slots_are_prime() {
        let fault = |slots| {
            NatConfig {
                slots,
                ..NatConfig::default()
            }
            .fault()
        };
        assert_eq!(fault(65_537), None);
        assert!(fault(65_536).is_some());
        assert!(fault(241).is_some());
        assert!(fault(65_539).is_some());
    }
}
