//! Where a listener listens: an IP address with a port, or the path of a Unix socket.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a listener listens: `"127.0.0.1:80"`, `"[::]:80"` or `"unix:/path/to.sock"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What the kernel has room for in a Unix address, without the closing NUL (unix(7)).
const LONGEST_PATH: usize = 107;

const UNIX: &str = "unix:";

impl Address {
    /// The IP address and port, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path of the Unix socket, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether the kernel chooses the port.
    pub fn takes_any_port(&self) -> bool {
        self.tcp().is_some_and(|address| address.port() == 0)
    }

    /// Whether a socket bound to `bound` is what a listener with this address asks for.
    pub fn admits(&self, bound: &Self) -> bool {
        match (self, bound) {
            (Self::Tcp(wanted), Self::Tcp(bound)) if wanted.port() == 0 => {
                wanted.ip() == bound.ip()
            }
            _ => self == bound,
        }
    }

    /// What a socket is bound to; none when it is neither TCP nor a Unix socket with a path.
    pub(super) fn of(address: &socket2::SockAddr) -> Option<Self> {
        match address.as_socket() {
            Some(address) => Some(Self::Tcp(address)),
            None => address
                .as_pathname()
                .map(|path| Self::Unix(path.to_owned())),
        }
    }

    /// Finds a path that no socket can have.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self) -> Result<(), String> {
        match self.path() {
            Some(path) => validate_socket_path(path),
            None => Ok(()),
        }
    }
}

/// Finds a path that no Unix socket can have.
///
/// # Errors
/// What is wrong with it.
pub fn validate_socket_path(path: &Path) -> Result<(), String> {
    let length = path.as_os_str().len();
    if length == 0 {
        return Err(
            "the path of the Unix socket is missing, as in \"unix:/run/tidegate.sock\"".into(),
        );
    }
    if length > LONGEST_PATH {
        return Err(format!(
            "the path of a Unix socket has at most {LONGEST_PATH} bytes; this one has {length}: {}",
            path.display()
        ));
    }
    Ok(())
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(UNIX) {
            let address = Self::Unix(path.into());
            return address.validate().map(|()| address);
        }
        text.parse().map(Self::Tcp).map_err(|_| advice(text))
    }
}

/// What was probably meant by a text that is no address.
fn advice(text: &str) -> String {
    const EXPECTED: &str = "expected an address with a port, such as \"127.0.0.1:80\" or \"[::]:80\", or a Unix socket, such as \"unix:/run/tidegate.sock\"";
    if text.starts_with('/') {
        return format!("write a Unix socket as \"{UNIX}{text}\"");
    }
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return format!("the port is missing, as in \"{text}:80\"");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    if port.parse::<u16>().is_err() {
        return EXPECTED.into();
    }
    if matches!(host, "" | "*") {
        return format!(
            "which addresses? \"0.0.0.0:{port}\" is every IPv4 address, \"[::]:{port}\" every IPv6 address (and with `dual_stack` both)"
        );
    }
    if host.contains(':') {
        return format!("an IPv6 address stands in brackets, as in \"[::1]:{port}\"");
    }
    format!(
        "`{host}` is no IP address, and names are not looked up here: write \"127.0.0.1:{port}\" for this machine alone, or \"0.0.0.0:{port}\" for every network"
    )
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Address;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, such as \"127.0.0.1:80\" or \"unix:/run/tidegate.sock\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Address, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "address", "pattern": r"^(unix:.+|.+:[0-9]+)$" })
    }
}

/// Whether listeners at these addresses would take each other's connections: the same port, at one address or at all.
/// Each with whether it takes IPv4 clients on IPv6 too. Port 0 is always another one.
pub fn overlap(one: (SocketAddr, bool), other: (SocketAddr, bool)) -> bool {
    let covers = |(all, dual_stack): (SocketAddr, bool), one: SocketAddr| {
        let family = all.is_ipv4() == one.is_ipv4() || dual_stack && all.is_ipv6();
        all.ip().is_unspecified() && family
    };
    let same = one.0.ip() == other.0.ip() || covers(one, other.0) || covers(other, one.0);
    one.0.port() == other.0.port() && one.0.port() != 0 && same
}

/// Whether what is sent to an address comes to a listener, as far as that follows from the configuration: other addresses of
/// this machine are not known. The listener with whether it takes IPv4 clients on IPv6 too.
pub fn reaches(to: SocketAddr, listener: (SocketAddr, bool)) -> bool {
    let (at, dual_stack) = listener;
    let same_port = at.port() == to.port() && to.port() != 0;
    let (at, to) = (at.ip(), to.ip().to_canonical());
    // Who sends to no address in particular sends to this machine.
    let to = match to.is_unspecified() {
        true if to.is_ipv4() => IpAddr::from([127, 0, 0, 1]),
        true => IpAddr::from(Ipv6Addr::LOCALHOST),
        false => to,
    };
    let every = at.is_unspecified() && (at.is_ipv4() == to.is_ipv4() || dual_stack);
    same_port && (at == to || every && to.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_printed() {
        for text in [
            "127.0.0.1:80",
            "[::]:443",
            "[::1]:0",
            "unix:/run/a.sock",
            "unix:a.sock",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_mistake_is_answered_with_what_was_probably_meant() {
        for (text, expected) in [
            ("/run/a.sock", "\"unix:/run/a.sock\""),
            ("127.0.0.1", "\"127.0.0.1:80\""),
            (":80", "\"0.0.0.0:80\""),
            ("*:80", "\"[::]:80\""),
            ("80", "\"0.0.0.0:80\""),
            ("::1:80", "brackets"),
            ("localhost:80", "not looked up"),
            ("unix:", "missing"),
            ("", "expected"),
            ("1.2.3.4:70000", "expected"),
        ] {
            let told = text.parse::<Address>().unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        assert!(long.parse::<Address>().is_err());
    }

    #[test]
    fn port_0_admits_every_port_of_its_address() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert!(address("127.0.0.1:0").admits(&address("127.0.0.1:9")));
        assert!(!address("127.0.0.1:0").admits(&address("127.0.0.2:9")));
        assert!(!address("127.0.0.1:8").admits(&address("127.0.0.1:9")));
        assert!(address("unix:/a").admits(&address("unix:/a")));
        assert!(!address("127.0.0.1:0").admits(&address("unix:/a")));
    }

    #[test]
    fn addresses_that_hold_each_other_are_told() {
        let at = |text: &str| (text.parse::<SocketAddr>().unwrap(), false);
        let dual = |text: &str| (text.parse::<SocketAddr>().unwrap(), true);
        for (one, other, expected) in [
            (at("127.0.0.1:53"), at("127.0.0.1:53"), true),
            (at("127.0.0.1:53"), at("127.0.0.1:54"), false),
            (at("127.0.0.1:53"), at("127.0.0.2:53"), false),
            (at("0.0.0.0:53"), at("127.0.0.1:53"), true),
            (at("0.0.0.0:0"), at("127.0.0.1:0"), false),
            (at("0.0.0.0:53"), at("[::1]:53"), false),
            (at("[::]:53"), at("127.0.0.1:53"), false),
            (dual("[::]:53"), at("127.0.0.1:53"), true),
            (dual("[::]:53"), at("0.0.0.0:53"), true),
            (at("[::]:53"), at("[2001:db8::1]:53"), true),
        ] {
            assert_eq!(overlap(one, other), expected, "{one:?} {other:?}");
            assert_eq!(overlap(other, one), expected, "{other:?} {one:?}");
        }
    }
}
