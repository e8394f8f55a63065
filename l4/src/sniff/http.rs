//! The host that a request over HTTP/1 is for (RFC 9112, 3.2).

use super::ServerName;

/// What the first bytes of a connection tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// More has to come.
    Partial,
    /// A whole head, and the host in it; none when it has none that is a name.
    Whole(Option<ServerName>),
    /// HTTP/2 without TLS: its names are compressed, and each request has its own.
    Http2,
    /// This is no HTTP.
    NotHttp,
    /// It is longer than [`LONGEST_HEAD`].
    TooLong,
}

/// The longest head, in octets.
pub const LONGEST_HEAD: usize = 16 * 1024;
/// The most header fields.
const FIELDS: usize = 128;
/// HTTP/2 begins so (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the host of the request that a connection begins with. `bytes` is all that has arrived, of which `seen`
/// octets were there at the last call: a head is read again when a line has ended, which is a limited number of times.
pub fn host(bytes: &[u8], seen: usize) -> Head {
    let new = bytes.get(seen..).unwrap_or_default();
    if seen > PREFACE.len() && !new.contains(&b'\n') && bytes.len() < LONGEST_HEAD {
        return Head::Partial;
    }
    let same = bytes.iter().zip(PREFACE).take_while(|(a, b)| a == b);
    match same.count() {
        count if count == PREFACE.len() => return Head::Http2,
        count if count > 0 && count == bytes.len() => return Head::Partial,
        _ => {}
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Head::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Head::TooLong;
        }
        Err(_) => return Head::NotHttp,
    }
    let target = request.path.unwrap_or_default();
    // The target comes first where it has a host (RFC 9112, 3.2.2).
    let authority = match (request.method, target.split_once("://")) {
        (Some("CONNECT"), _) => Some(target.as_bytes()),
        (_, Some((_, rest))) if !target.starts_with('/') => rest
            .split(['/', '?', '#'])
            .next()
            .map(|authority| authority.rsplit('@').next().unwrap_or(authority).as_bytes()),
        _ => request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("host"))
            .map(|field| field.value),
    };
    Head::Whole(authority.and_then(ServerName::of_authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(bytes: &[u8]) -> Head {
        super::host(bytes, 0)
    }

    fn named(name: &str) -> Head {
        Head::Whole(ServerName::read(name.as_bytes()))
    }

    #[test]
    fn every_beginning_waits_for_the_rest() {
        let head = b"GET /a HTTP/1.1\r\nAccept: */*\r\nhOsT: Api.Example.com:8080\r\n\r\n";
        for end in 1..head.len() {
            assert_eq!(host(&head[..end]), Head::Partial, "{end}");
            assert_eq!(super::host(&head[..end], end - 1), Head::Partial, "{end}");
        }
        assert_eq!(super::host(head, head.len() - 1), named("api.example.com"));
        assert_eq!(
            host(&[head.as_slice(), b"body"].concat()),
            named("api.example.com")
        );
    }

    #[test]
    fn a_target_with_a_host_comes_before_the_field() {
        let head = |target: &str| {
            host(format!("GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n").as_bytes())
        };
        assert_eq!(head("http://example.com/a"), named("example.com"));
        assert_eq!(head("http://user@example.com:80?a"), named("example.com"));
        assert_eq!(head("/a?to=http://example.com"), named("other.example"));
        assert_eq!(
            host(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n"),
            named("example.com")
        );
    }

    #[test]
    fn what_has_no_name_goes_to_the_default() {
        assert_eq!(host(b"GET / HTTP/1.0\r\n\r\n"), Head::Whole(None));
        assert_eq!(
            host(b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
            Head::Whole(None)
        );
        assert_eq!(host(PREFACE), Head::Http2);
        for end in 1..PREFACE.len() {
            assert_eq!(host(&PREFACE[..end]), Head::Partial);
        }
        assert_eq!(
            host(b"PRIVATE / HTTP/1.1\r\nHost: a.b\r\n\r\n"),
            named("a.b")
        );
    }

    #[test]
    fn what_is_no_head_is_told() {
        assert_eq!(host(b"\x16\x03\x01"), Head::NotHttp);
        assert_eq!(host(b"SSH-2.0-OpenSSH\r\n"), Head::NotHttp);
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(LONGEST_HEAD));
        assert_eq!(host(long.as_bytes()), Head::TooLong);
        let many = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(FIELDS + 1));
        assert_eq!(host(many.as_bytes()), Head::TooLong);
    }
}
