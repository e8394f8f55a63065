//! Messages through WebSockets, there and back.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests, Reuse};
use crate::origin::WEBSOCKET_KEY;
use crate::peer::Setup;

pub(super) const SUITE: Suite = Suite {
    name: "websocket",
    shows: "messages of 64 bytes through WebSockets, there and back; a request is a message",
    run: |context| {
        let requests = Requests::upgrade(WEBSOCKET_KEY);
        let load = Closed::new(context.options.connections, requests).reuse(Reuse::Tunnel);
        let load = Closed {
            message: message(64),
            ..load
        };
        let case = Case::new("64 B", Setup::default(), load);
        Ok(compare(context, SUITE.name, &[case]))
    },
};

/// A binary message as clients send it, masked by zeros (RFC 6455, section 5.2).
fn message(length: u8) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | length, 0, 0, 0, 0];
    frame.resize(frame.len() + usize::from(length), b'z');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_message_has_its_length_in_the_second_byte() {
        let frame = message(64);
        assert_eq!((frame[1] & 0x7f, frame.len()), (64, 6 + 64));
    }
}
