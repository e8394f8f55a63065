//! What can be said of the mode `dr`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// How the program gets its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// From the driver where it can, from the kernel's stack elsewhere.
    #[default]
    Auto,
    /// From the driver, before the kernel has made anything of them: the fastest.
    Native,
    /// From the kernel's stack: slower, with every driver.
    Generic,
}

impl Attach {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// `[dr]`: direct return, the options of all listeners with mode `dr`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrOptions {
    /// The network interfaces on which clients' packets come in. Endpoints are reached through these or others.
    pub interfaces: Vec<String>,
    /// How the program gets its packets: `auto` (default), `native`, `generic`.
    pub attach: Attach,
    /// How many flows are remembered; the one that was idle for longest is forgotten first. 262144 when not given, which
    /// takes 30 MiB. A change needs a restart and forgets them all.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub flows: u32,
    /// A folder of the BPF file system, where the kernel keeps the program. One process at a time has it.
    pub pins: PathBuf,
    /// Whether packets are forwarded on after the process was told to stop. A hand-over, a restart after a crash and
    /// `kill -9` never stop them.
    pub keep: bool,
    /// The hardware addresses of endpoints that do not answer ARP or neighbour solicitations, by their IP address.
    pub macs: BTreeMap<IpAddr, String>,
}

impl Default for DrOptions {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            attach: Attach::Auto,
            flows: 262_144,
            pins: "/sys/fs/bpf/tidegate/dr".into(),
            keep: false,
            macs: BTreeMap::new(),
        }
    }
}

impl DrOptions {
    /// What is wrong with these options, by the key.
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.interfaces.is_empty() {
            let text = "listeners with mode dr need the interfaces on which their packets come in";
            mistakes.push(("interfaces", text.into()));
        }
        if self.interfaces.len() > 64 {
            mistakes.push(("interfaces", "at most 64 interfaces".into()));
        }
        if !(1024..=16_777_216).contains(&self.flows) {
            mistakes.push(("flows", "1024 to 16777216 flows".into()));
        }
        if !self.pins.is_absolute() {
            mistakes.push(("pins", "a path that begins with /".into()));
        }
        for mac in self.macs.values().filter(|mac| parse_mac(mac).is_none()) {
            let text = format!("{mac} is no hardware address: 02:00:5e:10:00:01");
            mistakes.push(("macs", text));
        }
        mistakes
    }
}

/// Six bytes in hexadecimal with colons between them.
pub(super) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_six_bytes() {
        assert_eq!(
            parse_mac("02:00:5e:10:00:fF"),
            Some([2, 0, 0x5e, 16, 0, 255])
        );
        for wrong in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "0g:00:5e:10:00:01",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn mistakes_name_their_key() {
        let mut options = DrOptions {
            interfaces: vec!["eth0".into()],
            ..DrOptions::default()
        };
        assert_eq!(options.mistakes(), []);
        options.flows = 5;
        options.pins = "pins".into();
        options
            .macs
            .insert("10.0.0.1".parse().expect("an address"), "x".into());
        options.interfaces.clear();
        let keys: Vec<_> = options.mistakes().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["interfaces", "flows", "pins", "macs"]);
    }
}
