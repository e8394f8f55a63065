//! Who asks: what proxies before this one say about the client, and what the upstream is told.
//!
//! `Forwarded` (RFC 7239) and `X-Forwarded-*` are believed from trusted networks alone. From
//! anybody else they are dropped, so that an upstream may believe what it gets.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, header};
use plugins::{Client, RequestHead, Value};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Tells the upstream who asks, and `client` who it really is when the peer is trusted. `shown` is
/// the peer's address as text.
///
/// Set on the request itself and not on the copy for the upstream, so that plugins see it.
pub(super) fn tell(
    head: &mut RequestHead,
    client: &mut Client,
    shown: &str,
    trusts: impl Fn(Option<IpAddr>) -> bool,
) {
    let peer = client.address.map(|peer| peer.ip());
    let known = head.fields().raw().any(|(name, _)| says_who(name));
    let mut hops = String::new();
    if known && trusts(peer) {
        hops = believe(head, client, peer, &trusts);
    } else if known {
        head.fields_mut().retain(|name, _| !says_who(name));
    }
    if !known || head.header(&HOST).is_none() {
        match head.authority().map(str::to_owned) {
            Some(authority) => drop(head.fields_mut().add_text(&HOST, authority.as_bytes())),
            None => head.fields_mut().add_same(&HOST, &header::HOST),
        }
    }
    if known {
        head.remove_header(&FOR);
        head.remove_header(&PROTO);
    }
    if !hops.is_empty() && !shown.is_empty() {
        hops.push_str(", ");
    }
    let hops = match hops.is_empty() {
        true => shown,
        false => {
            hops.push_str(shown);
            &hops
        }
    };
    if !hops.is_empty() {
        head.fields_mut().add_text(&FOR, hops.as_bytes());
    }
    head.fields_mut()
        .add_text(&PROTO, scheme(client.tls).as_bytes());
}

/// Whether a header says who asks, or what for.
fn says_who(name: &[u8]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        9 => is("forwarded"),
        15 => is("x-forwarded-for"),
        16 => is("x-forwarded-host") || is("x-forwarded-port"),
        17 => is("x-forwarded-proto"),
        _ => false,
    }
}

/// Takes what a trusted peer says about the client; the proxies before it.
fn believe(
    head: &mut RequestHead,
    client: &mut Client,
    peer: Option<IpAddr>,
    trusts: &impl Fn(Option<IpAddr>) -> bool,
) -> String {
    let hops = list(head, &FOR);
    let standard = list(head, &header::FORWARDED);
    let named = match hops.is_empty() {
        true => origin(standard.split(',').map(for_of), trusts),
        false => origin(hops.split(',').map(str::trim), trusts),
    };
    client.address = named.map_or(client.address, |ip| Some(SocketAddr::new(ip, 0)));
    let tls = head
        .header(&PROTO)
        .map(|proto| proto.as_bytes() == b"https");
    client.tls = tls.unwrap_or(client.tls);
    if let Some(peer) = peer.filter(|_| !standard.is_empty()) {
        let scheme = scheme(client.tls);
        let node = match peer {
            IpAddr::V4(peer) => peer.to_string(),
            IpAddr::V6(peer) => format!("\"[{peer}]\""),
        };
        let told = format!("{standard}, for={node};proto={scheme}");
        if !head.set_header_text(&header::FORWARDED, &told) {
            head.remove_header(&header::FORWARDED);
        }
    }
    hops
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// All values of a header as one list.
fn list(head: &RequestHead, name: &HeaderName) -> String {
    let mut list = String::new();
    for value in head.header_all(name).map(Value::to_str) {
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(value.unwrap_or("unknown"));
    }
    list
}

/// Who an element of `Forwarded` is for (RFC 7239, section 4).
fn for_of(element: &str) -> &str {
    let pairs = element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    let mut fors = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    fors.next().map_or("", |(_, node)| node.trim_matches('"'))
}

/// The last address that no trusted proxy has; the first one when all are trusted.
fn origin<'a>(
    hops: impl DoubleEndedIterator<Item = &'a str>,
    trusts: &impl Fn(Option<IpAddr>) -> bool,
) -> Option<IpAddr> {
    let mut origin = None;
    for hop in hops.rev() {
        let Some(address) = address(hop) else {
            break; // what stands before a name or nonsense is hearsay
        };
        origin = Some(address);
        if !trusts(origin) {
            break;
        }
    }
    origin
}

/// An address, with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
    bare.unwrap_or(hop).parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(peer: &str, headers: &[(&'static str, &str)]) -> (String, String, Option<String>) {
        let mut head = RequestHead::new(http::Method::GET, http::Version::HTTP_11, "/");
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            head.add_header(&name, http::HeaderValue::from_str(value).unwrap());
        }
        let mut client = Client {
            address: Some(SocketAddr::new(peer.parse().unwrap(), 9)),
            listener: "l".into(),
            tls: false,
            session: None,
        };
        tell(&mut head, &mut client, peer, |address| {
            address.is_some_and(|address| address.to_string().starts_with("10."))
        });
        let text = |name: &HeaderName| {
            let value = head.header(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let address = client.address.unwrap().ip().to_string();
        (address, text(&FOR).unwrap(), text(&header::FORWARDED))
    }

    #[test]
    fn strangers_are_not_believed() {
        let headers = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        let expected = ("9.9.9.9".into(), "9.9.9.9".into(), None);
        assert_eq!(told("9.9.9.9", &headers), expected);
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_is() {
        for (hops, client) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("6.6.6.6, what, 10.0.0.2", "10.0.0.2"),
            ("[2001:db8::1]:80", "2001:db8::1"),
        ] {
            let (address, told, _) = told("10.0.0.1", &[("x-forwarded-for", hops)]);
            assert_eq!(address, client, "{hops}");
            assert_eq!(told, format!("{hops}, 10.0.0.1"));
        }
    }

    #[test]
    fn the_standard_header_is_understood_and_continued() {
        let forwarded = "for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https";
        let (address, _, standard) = told("10.0.0.1", &[("forwarded", forwarded)]);
        assert_eq!(address, "2001:db8::1");
        assert_eq!(
            standard,
            Some(format!("{forwarded}, for=10.0.0.1;proto=http"))
        );
    }
}
