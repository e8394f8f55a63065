//! The client of a request, as far as the gateway tells.

/// Where a request came from, and what sent it. Both are what they are said to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// The address that the gateway saw.
    pub(crate) address: Option<String>,
    /// What the client calls itself.
    pub(crate) agent: Option<String>,
}

impl Client {
    /// `forwarded_for` are the hops of `X-Forwarded-For`: the last is from who is next to this service, the gateway, and those
    /// before may be anybody's invention.
    pub(crate) fn new(forwarded_for: Option<&str>, agent: Option<&str>) -> Self {
        let address = forwarded_for.and_then(|hops| hops.rsplit(',').next());
        Self {
            address: address.and_then(|text| cut(text, ADDRESS)),
            agent: agent.and_then(|text| cut(text, AGENT)),
        }
    }
}

/// So many characters of a text, without what a terminal would obey.
fn cut(text: &str, length: usize) -> Option<String> {
    let shown = text.trim().chars().filter(|char| !char.is_control());
    let text: String = shown.take(length).collect();
    (!text.is_empty()).then_some(text)
}

/// The longest address, an IPv6 one with its zone, has room in it.
pub(crate) const ADDRESS: usize = 64;
/// The most characters of a user agent that are kept.
pub(crate) const AGENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hop_is_the_address_that_the_gateway_saw() {
        let address = |hops| Client::new(Some(hops), None).address;
        assert_eq!(address("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(address("6.6.6.6, 192.0.2.1 ").as_deref(), Some("192.0.2.1"));
        assert_eq!(address("2001:db8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(address("6.6.6.6, "), None);
        assert_eq!(address(&"x".repeat(100)).unwrap().len(), ADDRESS);
        assert_eq!(Client::new(None, None), Client::default());
    }

    #[test]
    fn agents_are_cut_by_characters_and_cannot_move_a_cursor() {
        let agent = |text| Client::new(None, Some(text)).agent.unwrap();
        assert_eq!(agent("curl/8.5"), "curl/8.5");
        assert_eq!(agent("a\u{1b}[2Jb\tc"), "a[2Jbc");
        assert_eq!(agent(&"\u{e9}".repeat(300)), "\u{e9}".repeat(AGENT));
    }
}
