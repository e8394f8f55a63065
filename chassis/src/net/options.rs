//! How a listener's sockets are set up.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::units::Period;

/// How a listener's sockets are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Whether an IPv6 socket takes IPv4 clients too.
    pub dual_stack: bool,
    /// How many connections may wait to be accepted.
    pub backlog: u16,
    /// The mode of a Unix socket's file; as the umask has it when it is not set.
    pub mode: Option<FileMode>,
    /// Whether a TCP socket takes connections to any address that the kernel leads to it (`IP_TRANSPARENT`, ip(7)).
    pub transparent: bool,
    /// Options of TCP.
    pub tcp: TcpConfig,
}

/// Options of the TCP connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpConfig {
    /// Sends small packets at once, rather than wait for more to go with them.
    pub nodelay: bool,
    /// Asks a silent client for a sign of life after so long; at least 1s. Never, when it is not set.
    pub keepalive: Option<Period>,
    /// Gives up a client that has acknowledged nothing of what was sent for so long. The
    /// kernel decides, after about 15 minutes, when it is not set.
    pub user_timeout: Option<Period>,
    /// Accepts a connection only when the client's first bytes are there, or after so long.
    /// For clients that speak first only.
    pub defer_accept: Option<Period>,
}

/// The mode of a file, written in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(u32);

/// How many connections may wait to be accepted, unless it is said.
const BACKLOG: u16 = 4096;

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            dual_stack: false,
            backlog: BACKLOG,
            mode: None,
            transparent: false,
            tcp: TcpConfig::default(),
        }
    }
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            defer_accept: None,
        }
    }
}

impl TcpConfig {
    /// Finds a time that the kernel does not take.
    ///
    /// # Errors
    /// What is wrong.
    pub fn validate(&self) -> Result<(), String> {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(32_767);
        for (key, period) in [
            ("keepalive", self.keepalive),
            ("user_timeout", self.user_timeout),
            ("defer_accept", self.defer_accept),
        ] {
            if period.is_some_and(|period| !(SHORTEST..=LONGEST).contains(&*period)) {
                return Err(format!("`{key}` must be from 1s to 9h"));
            }
        }
        Ok(())
    }

    /// Sets a listening socket up.
    ///
    /// Connections inherit all of this from the socket that accepts them (Linux clones it),
    /// which saves three system calls a connection.
    pub(super) fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        match self.keepalive {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(*idle))?,
            None => socket.set_keepalive(false)?,
        }
        socket.set_tcp_user_timeout(Some(self.user_timeout.map_or(Duration::ZERO, Into::into)))?;
        set_defer_accept(socket, self.defer_accept.map_or(Duration::ZERO, Into::into))
    }

    /// Sets up a new socket that is to be connected, as far as it is not so anyway.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn apply_to_connection(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if self.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(*idle))?;
        }
        match self.user_timeout {
            Some(limit) => socket.set_tcp_user_timeout(Some(*limit)),
            None => Ok(()),
        }
    }
}

/// Has a socket use addresses that are not this machine's.
pub(super) fn set_transparent(socket: &SockRef<'_>, version6: bool) -> io::Result<()> {
    match version6 {
        true => socket.set_ip_transparent_v6(true),
        false => socket.set_ip_transparent_v4(true),
    }
}

/// Whether this process may use addresses that are not this machine's (`CAP_NET_ADMIN` or `CAP_NET_RAW`).
pub fn may_be_transparent() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    socket.is_ok_and(|socket| set_transparent(&SockRef::from(&socket), false).is_ok())
}

#[allow(
    unsafe_code,
    reason = "neither socket2 nor rustix knows TCP_DEFER_ACCEPT"
)]
fn set_defer_accept(socket: &SockRef<'_>, wait: Duration) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let seconds = libc::c_int::try_from(wait.as_secs()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads as many
    // bytes of `seconds` as it is told that there are.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl FileMode {
    /// Only the owner may connect.
    pub const OWNER: Self = Self(0o600);

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octal = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
        match u32::from_str_radix(text, 8) {
            Ok(bits) if octal && !text.starts_with('+') => Ok(Self(bits)),
            _ => Err("expected a mode of three octal digits, such as \"0660\"".into()),
        }
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = FileMode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mode in octal, as text, such as \"0660\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<FileMode, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "mode", "pattern": "^0?[0-7]{3}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!("0660".parse(), Ok(FileMode(0o660)));
        assert_eq!("600".parse(), Ok(FileMode::OWNER));
        for wrong in ["", "6", "66", "0680", "1777", "+60", "rw-", "00660"] {
            assert!(wrong.parse::<FileMode>().is_err(), "{wrong}");
        }
    }
}
