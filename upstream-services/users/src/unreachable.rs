//! Why a server takes no connection: the store, which tries until its time is over, does not say.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What a connection to `HOST:PORT/DATABASE` meets now. It blocks, for a second at most: for a program that is about to end.
pub(crate) fn why_unreachable(place: &str) -> String {
    let address = place.split_once('/').map_or(place, |(address, _)| address);
    let found = match address.to_socket_addrs() {
        Ok(mut found) => found.next(),
        Err(error) => return error.to_string(),
    };
    let Some(found) = found else {
        return "its name has no address".to_owned();
    };
    match TcpStream::connect_timeout(&found, LIMIT) {
        Ok(_) => "it takes one now, and says nothing, or took too long before".to_owned(),
        Err(error) => error.to_string(),
    }
}

const LIMIT: Duration = Duration::from_secs(1);
