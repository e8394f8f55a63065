//! The ClientHello of TLS (RFC 8446, 4.1.2), in one record or in many (5.1), and in the CRYPTO frames of QUIC.

use super::ServerName;

/// What the first bytes of a connection tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More has to come.
    Partial,
    /// A whole ClientHello.
    Whole(ClientHello),
    /// This is no TLS.
    NotTls,
    /// It begins as TLS, and breaks its rules.
    Broken(&'static str),
}

/// What a ClientHello says of where it wants to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The name of the server (RFC 6066, 3); with Encrypted Client Hello it is the outer one.
    pub name: Option<ServerName>,
    /// The protocols that the client speaks, the most wanted first (RFC 7301).
    pub protocols: Vec<Box<[u8]>>,
    /// Whether there is an encrypted one inside (ECH).
    pub encrypted: bool,
}

/// A handshake message that is to be a ClientHello: none while more has to come, or which of its rules it breaks.
pub(super) type Message = Result<Option<ClientHello>, &'static str>;

impl From<Message> for Hello {
    fn from(message: Message) -> Self {
        match message {
            Ok(Some(hello)) => Self::Whole(hello),
            Ok(None) => Self::Partial,
            Err(fault) => Self::Broken(fault),
        }
    }
}

/// The longest ClientHello, in octets: key shares of post-quantum groups have a few thousand.
pub const LONGEST_HELLO: usize = 32 * 1024;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// The longest record without protection (RFC 8446, 5.1).
const LONGEST_RECORD: usize = 1 << 14;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const ENCRYPTED_HELLO: u16 = 0xFE0D;

/// Reads the ClientHello that a connection begins with, as its bytes arrive. However few arrive at a time, each
/// is looked at once.
#[derive(Clone, Debug, Default)]
pub struct HelloReader {
    /// Octets that were read: whole records.
    at: usize,
    /// What was in them.
    message: Vec<u8>,
}

impl HelloReader {
    /// Reads on. `bytes` is all that has arrived since the connection's begin.
    pub fn read(&mut self, bytes: &[u8]) -> Hello {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            if rest.first().is_some_and(|kind| *kind != HANDSHAKE)
                || rest.get(1).is_some_and(|major| *major != 3)
            {
                return match self.at {
                    0 => Hello::NotTls,
                    _ => Hello::Broken("a record of another kind inside of a ClientHello"),
                };
            }
            let Some(&[_, _, _, high, low]) = rest.first_chunk() else {
                return Hello::Partial;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > LONGEST_RECORD {
                return Hello::Broken("a record of no length, or of too much");
            }
            let Some(body) = rest.get(5..5 + length) else {
                return Hello::Partial;
            };
            // Nearly always all of it is in one record.
            let outcome = match self.at {
                0 => message(body).into(),
                _ => Hello::Partial,
            };
            if outcome != Hello::Partial {
                return outcome;
            }
            self.message.extend_from_slice(body);
            self.at += 5 + length;
            match message(&self.message).into() {
                Hello::Partial => {}
                outcome => return outcome,
            }
        }
    }
}

/// Reads a handshake message that is to be a ClientHello, without the records around it.
pub(super) fn message(bytes: &[u8]) -> Message {
    match bytes.first() {
        None => return Ok(None),
        Some(&CLIENT_HELLO) => {}
        Some(_) => return Err("a handshake that does not begin with a ClientHello"),
    }
    let Some(&[_, high, middle, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > LONGEST_HELLO {
        return Err("a ClientHello that is too long");
    }
    let Some(body) = bytes.get(4..4 + length) else {
        return Ok(None);
    };
    let hello = read(body).ok_or("a ClientHello whose lengths do not add up")?;
    Ok(Some(hello))
}

fn read(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    // legacy_version, random, legacy_session_id, cipher_suites, legacy_compression_methods.
    body.take(2 + 32)?;
    body.short()?;
    body.long()?;
    body.short()?;
    let mut hello = ClientHello::default();
    if body.0.is_empty() {
        // Before there were extensions.
        return Some(hello);
    }
    let mut extensions = Reader(body.long()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let data = extensions.long()?;
        match kind {
            SERVER_NAME => hello.name = server_name(data)?,
            ALPN => hello.protocols = protocols(data)?,
            ENCRYPTED_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    Some(hello)
}

/// The host name of a list of names, if it has one. The outer none is for lengths that do not add up.
fn server_name(data: &[u8]) -> Option<Option<ServerName>> {
    let mut list = Reader(Reader(data).long()?);
    let mut found = None;
    while !list.0.is_empty() {
        let kind = *list.take(1)?.first()?;
        let name = list.long()?;
        if kind == 0 && found.is_none() {
            found = ServerName::read(name);
        }
    }
    Some(found)
}

fn protocols(data: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut list = Reader(Reader(data).long()?);
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.short()?.into());
    }
    Some(protocols)
}

/// Reads from the front; none when there is not enough.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let octets = self.take(2)?;
        Some(u16::from_be_bytes([octets[0], octets[1]]))
    }

    /// Octets with their number, of one octet, in front.
    fn short(&mut self) -> Option<&'a [u8]> {
        let count = *self.take(1)?.first()?;
        self.take(count.into())
    }

    /// Octets with their number, of two octets, in front.
    fn long(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn client_hello(bytes: &[u8]) -> Hello {
        HelloReader::default().read(bytes)
    }

    /// What a real client sends first.
    fn real(name: &str, protocols: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are the default")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        let name = name.to_owned().try_into().expect("it is a name");
        let mut client = ClientConnection::new(config.into(), name).expect("it is sound");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a vector takes it");
        bytes
    }

    /// The same handshake in records of at most `most` octets.
    fn in_records_of(most: usize, bytes: &[u8]) -> Vec<u8> {
        let chunks = bytes[5..].chunks(most);
        let record = |chunk: &[u8]| {
            let length = (chunk.len() as u16).to_be_bytes();
            [&bytes[..3], &length, chunk].concat()
        };
        chunks.flat_map(record).collect()
    }

    #[test]
    fn every_beginning_of_a_hello_waits_for_the_rest() {
        let bytes = real("API.Example.com", &[b"h2", b"http/1.1"]);
        for bytes in [
            bytes.clone(),
            in_records_of(1, &bytes),
            in_records_of(7, &bytes),
            in_records_of(100, &bytes),
        ] {
            let mut reader = HelloReader::default();
            for end in 0..bytes.len() {
                assert_eq!(client_hello(&bytes[..end]), Hello::Partial, "{end}");
                assert_eq!(reader.read(&bytes[..end]), Hello::Partial, "{end}");
            }
            let Hello::Whole(hello) = client_hello(&bytes) else {
                panic!("{:?}", client_hello(&bytes));
            };
            assert_eq!(reader.read(&bytes), Hello::Whole(hello.clone()));
            assert_eq!(hello.name, ServerName::read(b"api.example.com"));
            assert_eq!(
                hello.protocols,
                [b"h2".as_slice().into(), b"http/1.1".as_slice().into()]
            );
            assert!(!hello.encrypted);
        }
    }

    #[test]
    fn what_follows_a_hello_does_not_matter() {
        let mut bytes = real("example.com", &[]);
        bytes.extend_from_slice(&[0xFF; 100]);
        assert!(matches!(client_hello(&bytes), Hello::Whole(_)));
    }

    #[test]
    fn an_address_is_no_name() {
        let Hello::Whole(hello) = client_hello(&real("192.0.2.1", &[])) else {
            panic!("it is whole");
        };
        assert_eq!(hello.name, None);
    }

    #[test]
    fn other_protocols_are_told_apart_by_their_first_octets() {
        assert_eq!(client_hello(b""), Hello::Partial);
        assert_eq!(client_hello(b"\x16"), Hello::Partial);
        assert_eq!(client_hello(b"GET / HTTP/1.1\r\n"), Hello::NotTls);
        assert_eq!(client_hello(b"\x16\x02"), Hello::NotTls);
        assert_eq!(client_hello(b"\x80\x2e\x01"), Hello::NotTls);
    }

    #[test]
    fn lengths_that_lie_are_found() {
        let broken = |bytes: &[u8]| matches!(client_hello(bytes), Hello::Broken(_));
        assert!(broken(&[22, 3, 1, 0, 0]), "an empty record");
        assert!(broken(&[22, 3, 1, 0x40, 1]), "a long record");
        assert!(broken(&[22, 3, 1, 0, 4, 1, 1, 0, 0]), "a long message");
        assert!(broken(&[22, 3, 1, 0, 4, 2, 0, 0, 0]), "another message");
        assert!(broken(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 3]), "a short message");
        let whole = real("example.com", &[]);
        let mut split = in_records_of(50, &whole);
        split[55] = 23;
        assert!(broken(&split), "data between");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = client_hello(&bytes);
            let mut tls = vec![22, 3, 1];
            tls.extend_from_slice(&bytes);
            let _ = client_hello(&tls);
        }

        #[test]
        fn no_change_makes_it_panic(at in 0usize..200, octet: u8, end in 0usize..600) {
            let mut bytes = real("example.com", &[b"h2"]);
            let at = at % bytes.len();
            bytes[at] = octet;
            bytes.truncate(end);
            let _ = client_hello(&bytes);
        }
    }
}
