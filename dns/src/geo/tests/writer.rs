//! Writes databases in MaxMind's format, version 2.0: <https://maxmind.github.io/MaxMind-DB/>.

use std::collections::BTreeMap;

use serde_json::Value;

/// A database while it is made.
pub(crate) struct Writer {
    bits: u8,
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
    known: BTreeMap<String, usize>,
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Data(usize),
}

impl Writer {
    /// A database of IPv4 or IPv6.
    pub(crate) fn new(version: u8) -> Self {
        Self {
            bits: if version == 4 { 32 } else { 128 },
            nodes: vec![[Child::Nothing; 2]],
            data: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// Gives a network a record, over what it had.
    pub(crate) fn insert(&mut self, network: ipnet::IpNet, record: &Value) {
        let (first, bits) = match network {
            ipnet::IpNet::V4(net) if self.bits == 32 => {
                (u128::from(net.network().to_bits()) << 96, net.prefix_len())
            }
            ipnet::IpNet::V4(net) => (net.network().to_bits().into(), net.prefix_len() + 96),
            ipnet::IpNet::V6(net) => (net.network().to_bits(), net.prefix_len()),
        };
        let text = record.to_string();
        let offset = match self.known.get(&text) {
            Some(offset) => *offset,
            None => {
                let offset = self.data.len();
                encode(record, &mut self.data);
                self.known.insert(text, offset);
                offset
            }
        };
        *self.child(first, bits) = Child::Data(offset);
    }

    /// Lets a network of IPv6 lead to where IPv4 is.
    pub(crate) fn alias_of_ipv4(&mut self, network: ipnet::Ipv6Net) {
        // Makes the node that all of IPv4 hangs from.
        let below = self.child(1, 128);
        *below = Child::Nothing;
        let four = *self.child(0, 96);
        *self.child(network.network().to_bits(), network.prefix_len()) = four;
    }

    fn child(&mut self, first: u128, bits: u8) -> &mut Child {
        let mut node = 0;
        for depth in 0..bits - 1 {
            let side = usize::from((first >> (127 - depth)) & 1 == 1);
            node = match self.nodes[node][side] {
                Child::Node(next) => next,
                leaf => {
                    self.nodes.push([leaf, leaf]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Child::Node(next);
                    next
                }
            };
        }
        let side = usize::from((first >> (128 - bits)) & 1 == 1);
        &mut self.nodes[node][side]
    }

    /// The bytes of the file.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let mut file = Vec::new();
        for child in self.nodes.iter().flatten() {
            let record = match child {
                Child::Nothing => count,
                Child::Node(node) => *node,
                Child::Data(offset) => count + 16 + offset,
            };
            file.extend(u32::try_from(record).unwrap().to_be_bytes());
        }
        file.extend([0; 16]);
        file.extend(&self.data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        let version = if self.bits == 32 { 4 } else { 6 };
        map_of(
            &[
                ("binary_format_major_version", 2, 5),
                ("binary_format_minor_version", 0, 5),
                ("build_epoch", 1_700_000_000, 9),
                ("ip_version", version, 5),
                ("node_count", count as u64, 6),
                ("record_size", 32, 5),
            ],
            &mut file,
        );
        file
    }
}

/// The metadata: numbers of the types that the format wants, and texts.
fn map_of(numbers: &[(&str, u64, u8)], out: &mut Vec<u8>) {
    head(7, numbers.len() + 3, out);
    for (name, number, kind) in numbers {
        encode(&Value::from(*name), out);
        unsigned(*number, *kind, out);
    }
    for (name, value) in [
        ("database_type", Value::from("Tidegate-Test")),
        ("description", serde_json::json!({ "en": "made by a test" })),
        ("languages", serde_json::json!(["en"])),
    ] {
        encode(&Value::from(name), out);
        encode(&value, out);
    }
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            head(7, map.len(), out);
            for (name, value) in map {
                encode(&Value::from(name.as_str()), out);
                encode(value, out);
            }
        }
        Value::Array(list) => {
            head(11, list.len(), out);
            list.iter().for_each(|value| encode(value, out));
        }
        Value::String(text) => {
            head(2, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(number) => unsigned(number, 6, out),
            None => {
                head(3, 8, out);
                out.extend(number.as_f64().unwrap().to_be_bytes());
            }
        },
        other => panic!("{other} is not in these tests"),
    }
}

fn unsigned(number: u64, kind: u8, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let used = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    head(kind, used.len(), out);
    out.extend(used);
}

/// The control byte, and the size behind it.
fn head(kind: u8, size: usize, out: &mut Vec<u8>) {
    assert!(size < 29 + 256, "longer is not in these tests");
    let short = u8::try_from(size.min(29)).unwrap();
    match kind {
        0..=7 => out.push((kind << 5) | short),
        _ => out.extend([short, kind - 7]),
    }
    if size >= 29 {
        out.push(u8::try_from(size - 29).unwrap());
    }
}
