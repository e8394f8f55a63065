//! The cookie that a client sends (RFC 7873, 4).

/// The octets of a client's part.
pub const CLIENT: usize = 8;
/// The octets of a server's part, as this server makes it (RFC 9018, 4).
pub const SERVER: usize = 16;

/// A cookie: what a client made up, and what a server gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The client's part.
    pub client: [u8; CLIENT],
    /// The server's part.
    pub server: ServerPart,
}

/// The server's part of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPart {
    /// The client has none yet.
    None,
    /// It is as long as ours are.
    Ours([u8; SERVER]),
    /// It is as long as another server may make it.
    Other,
}

impl Cookie {
    /// Reads the option's data; none when no cookie is so long (RFC 7873, 5.2.2).
    pub(super) fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        let server = match server.len() {
            0 => ServerPart::None,
            SERVER => ServerPart::Ours(server.try_into().ok()?),
            8..=32 => ServerPart::Other,
            _ => return None,
        };
        Some(Self {
            client: *client,
            server,
        })
    }
}
