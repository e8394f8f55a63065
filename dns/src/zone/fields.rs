//! Types of records that the reader of zone files does not know: their data from text to wire form.

use std::str::FromStr;

use domain::base::Name as Wire;
use domain::utils::{base16, base64};

use super::location::location;
use crate::wire::rtype;

/// What stands in the data of a type, one after the other.
#[derive(Clone, Copy)]
enum Field {
    /// A number of so many octets.
    Number(usize),
    Name,
    /// One string with its length before it; the last field takes all that are left.
    Strings,
    /// One string that goes to the end of the data.
    Whole,
    /// The rest, in words that belong together.
    Base64,
    Base16,
    /// So many octets in base 16, with a mark after each group of `usize`.
    Marked(char, usize, usize),
    V4,
    /// A number, or one of these words.
    Word(&'static [(&'static str, u32)], usize),
    /// The rest: types of records, as a bitmap (RFC 4034, 4.1.2).
    Types,
    /// The rest: networks (RFC 3123).
    Networks,
    /// The rest: a place on the Earth (RFC 1876).
    Location,
}

use Field::{
    Base16, Base64, Location, Marked, Name, Networks, Number, Strings, Types, V4, Whole, Word,
};

/// RFC 4398, 2.1.
const CERTIFICATES: &[(&str, u32)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];
/// RFC 4034, appendix A.1, and what came later.
const ALGORITHMS: &[(&str, u32)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
];

/// Each type with its number and the RFC that says how its data is written.
const TYPES: &[(&str, u16, &[Field])] = &[
    ("AFSDB", 18, &[Number(2), Name]), // 1183
    ("RT", 21, &[Number(2), Name]),    // 1183
    ("LOC", 29, &[Location]),          // 1876
    ("KX", 36, &[Number(2), Name]),    // 2230
    (
        "CERT",
        37,
        &[
            Word(CERTIFICATES, 2),
            Number(2),
            Word(ALGORITHMS, 1),
            Base64,
        ],
    ), // 4398
    ("APL", 42, &[Networks]),          // 3123
    ("DHCID", 49, &[Base64]),          // 4701
    ("SMIMEA", 53, &[Number(1), Number(1), Number(1), Base16]), // 8162
    ("CSYNC", 62, &[Number(4), Number(2), Types]), // 7477
    ("SPF", 99, &[Strings]),           // 7208
    ("NID", 104, &[Number(2), Marked(':', 2, 8)]), // 6742
    ("L32", 105, &[Number(2), V4]),    // 6742
    ("L64", 106, &[Number(2), Marked(':', 2, 8)]), // 6742
    ("LP", 107, &[Number(2), Name]),   // 6742
    ("EUI48", 108, &[Marked('-', 1, 6)]), // 7043
    ("EUI64", 109, &[Marked('-', 1, 8)]), // 7043
    ("URI", 256, &[Number(2), Number(2), Whole]), // 7553
    ("ALIAS", rtype::ALIAS, &[Name]),
];

/// A type that is read here.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) number: u16,
    fields: &'static [Field],
}

/// The type of this name, if it is one that is read here.
pub(super) fn kind(name: &[u8]) -> Option<Kind> {
    let mut types = TYPES.iter();
    let (_, number, fields) =
        types.find(|(known, ..)| known.as_bytes().eq_ignore_ascii_case(name))?;
    Some(Kind {
        number: *number,
        fields,
    })
}

impl Kind {
    /// The data in wire form. `words` are as they are written, strings with their quotes; `origin` is as in a zone file.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn data(self, words: &[&[u8]], origin: &[u8]) -> Result<Vec<u8>, String> {
        let mut data = Vec::new();
        let mut left = words;
        for field in self.fields {
            left = field.write(left, origin, &mut data)?;
        }
        match left {
            [] => Ok(data),
            [more, ..] => Err(format!("`{}` is too much", String::from_utf8_lossy(more))),
        }
    }
}

impl Field {
    /// Writes the field; the words that are left.
    fn write<'a, 'b>(
        self,
        words: &'b [&'a [u8]],
        origin: &[u8],
        data: &mut Vec<u8>,
    ) -> Result<&'b [&'a [u8]], String> {
        let all = || {
            words
                .iter()
                .map(|word| text(word))
                .collect::<Result<Vec<_>, _>>()
        };
        match self {
            Location => data.extend(location(&all()?)?),
            Types => data.extend(bitmap(&all()?)?),
            Networks => {
                for network in all()? {
                    data.extend(network_of(&network)?);
                }
            }
            Base64 => data.extend(decoded(base64::decode(&all()?.concat()), words)?),
            Base16 => data.extend(decoded(base16::decode(&all()?.concat()), words)?),
            Strings => {
                for word in words.iter().chain(words.is_empty().then_some(&&b""[..])) {
                    let string = string(word);
                    let length = u8::try_from(string.len()).map_err(|_| "a string is too long")?;
                    data.push(length);
                    data.extend(string);
                }
            }
            _ => {
                let (first, left) = words.split_first().ok_or("something is missing")?;
                self.write_one(first, origin, data)?;
                return Ok(left);
            }
        }
        Ok(&[])
    }

    /// Writes a field of one word.
    fn write_one(self, word: &[u8], origin: &[u8], data: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Number(octets) => number(&text(word)?, &[], octets, data)?,
            Word(words, octets) => number(&text(word)?, words, octets, data)?,
            Name => data.extend(name(word, origin)?),
            V4 => {
                let address = std::net::Ipv4Addr::from_str(&text(word)?);
                data.extend(address.map_err(|_| "not an IPv4 address")?.octets());
            }
            Marked(mark, group, octets) => data.extend(marked(&text(word)?, mark, group, octets)?),
            _ => data.extend(string(word)),
        }
        Ok(())
    }
}

fn text(word: &[u8]) -> Result<String, String> {
    String::from_utf8(word.to_vec()).map_err(|_| "not text".to_owned())
}

fn number(
    word: &str,
    words: &[(&str, u32)],
    octets: usize,
    data: &mut Vec<u8>,
) -> Result<(), String> {
    let known = words
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    let number = known.map_or_else(|| word.parse().ok(), |(_, number)| Some(*number));
    let number = number.filter(|number: &u32| *number <= u32::MAX >> (32 - 8 * octets));
    let number =
        number.ok_or_else(|| format!("`{word}` is not a number of {} bits", 8 * octets))?;
    data.extend(&number.to_be_bytes()[4 - octets..]);
    Ok(())
}

fn name(word: &[u8], origin: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || format!("`{}` is not a name", String::from_utf8_lossy(word));
    let absolute = super::tokens::absolute(word, origin);
    let absolute = std::str::from_utf8(&absolute).map_err(|_| wrong())?;
    let name = Wire::<Vec<u8>>::from_str(absolute).map_err(|_| wrong())?;
    Ok(name.into_octets())
}

fn decoded<E>(octets: Result<Vec<u8>, E>, words: &[&[u8]]) -> Result<Vec<u8>, String> {
    match octets {
        Ok(octets) if !words.is_empty() => Ok(octets),
        Ok(_) => Err("something is missing".to_owned()),
        Err(_) => Err("not data that can be decoded".to_owned()),
    }
}

/// A string without its quotes and backslashes (RFC 1035, 5.1).
fn string(word: &[u8]) -> Vec<u8> {
    let inner = word
        .strip_prefix(b"\"")
        .and_then(|word| word.strip_suffix(b"\""));
    let mut rest = inner.unwrap_or(word);
    let mut out = Vec::with_capacity(rest.len());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let digits = rest
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(octet) => {
                out.push(octet);
                rest = &rest[3..];
            }
            None => {
                out.extend(rest.first());
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    out
}

fn marked(word: &str, mark: char, group: usize, octets: usize) -> Result<Vec<u8>, String> {
    let wrong = || {
        let digits = "0".repeat(group * 2);
        let groups = vec![digits; octets / group];
        format!("expected something like {}", groups.join(&mark.to_string()))
    };
    let groups: Vec<&str> = word.split(mark).collect();
    if groups.len() * group != octets || groups.iter().any(|one| one.len() != group * 2) {
        return Err(wrong());
    }
    base16::decode(&groups.concat()).map_err(|_| wrong())
}

fn bitmap(words: &[String]) -> Result<Vec<u8>, String> {
    let mut windows = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    for word in words {
        let number = rtype::parse(word).ok_or_else(|| format!("`{word}` is not a type"))?;
        let [window, bit] = number.to_be_bytes();
        let bits = windows.entry(window).or_default();
        bits.resize(bits.len().max(usize::from(bit / 8) + 1), 0);
        bits[usize::from(bit / 8)] |= 0x80 >> (bit % 8);
    }
    let written = windows.into_iter().map(|(window, bits)| {
        let head = [window, bits.len() as u8];
        [&head[..], &bits].concat()
    });
    Ok(written.collect::<Vec<_>>().concat())
}

/// A network of an APL record: `[!]1:192.0.2.0/24`.
fn network_of(word: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("`{word}` is not a network like 1:192.0.2.0/24");
    let (negated, rest) = match word.strip_prefix('!') {
        Some(rest) => (0x80, rest),
        None => (0, word),
    };
    let (family, network) = rest.split_once(':').ok_or_else(wrong)?;
    let network = ipnet::IpNet::from_str(network).map_err(|_| wrong())?;
    let mut octets = match (family, network.addr()) {
        ("1", std::net::IpAddr::V4(address)) => address.octets().to_vec(),
        ("2", std::net::IpAddr::V6(address)) => address.octets().to_vec(),
        _ => return Err(wrong()),
    };
    // Zeros at the end are left out (RFC 3123, 4).
    while octets.last() == Some(&0) {
        octets.pop();
    }
    let family = if network.addr().is_ipv4() { 1 } else { 2 };
    let head = [
        0,
        family,
        network.prefix_len(),
        negated | octets.len() as u8,
    ];
    Ok([&head[..], &octets].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str, text: &str) -> Result<Vec<u8>, String> {
        let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
        kind(name.as_bytes()).unwrap().data(&words, b"example.")
    }

    #[test]
    fn data_is_as_the_standards_have_it() {
        // RFC 7043, 3.2 and 4.2; RFC 6742, 2.1.
        assert_eq!(
            data("EUI48", "00-00-5e-00-53-2a").unwrap(),
            [0, 0, 0x5e, 0, 0x53, 0x2a]
        );
        assert_eq!(
            data("NID", "10 0014:4fff:ff20:ee64").unwrap()[..4],
            [0, 10, 0, 0x14]
        );
        assert_eq!(data("KX", "10 @").unwrap(), b"\0\x0a\x07example\0");
        assert_eq!(data("kx", "1 a.b.").unwrap(), b"\0\x01\x01a\x01b\0");
        // RFC 7477, 2.1.2.2: A, NS and AAAA.
        assert_eq!(
            data("CSYNC", "66 3 A NS AAAA").unwrap(),
            [0, 0, 0, 66, 0, 3, 0, 4, 0x60, 0, 0, 8]
        );
        assert_eq!(
            data("APL", "1:192.168.32.0/21 !1:192.168.38.0/28").unwrap(),
            [0, 1, 21, 3, 192, 168, 32, 0, 1, 28, 0x83, 192, 168, 38]
        );
        assert_eq!(
            data("URI", "10 1 \"ftp://a/\\\"\\065\"").unwrap(),
            b"\0\x0a\0\x01ftp://a/\"A"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(data("KX", "10").unwrap_err(), "something is missing");
        assert_eq!(
            data("KX", "70000 a").unwrap_err(),
            "`70000` is not a number of 16 bits"
        );
        assert_eq!(data("ALIAS", "a b").unwrap_err(), "`b` is too much");
        assert!(
            data("EUI48", "00-00")
                .unwrap_err()
                .contains("00-00-00-00-00-00")
        );
        assert!(data("APL", "1:2001:db8::/32").is_err());
        assert!(data("DHCID", "!").is_err());
    }
}
