//! What clients of user services ask for, case by case.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::people::{People, login, registration, text};
use crate::error::Error;
use crate::load::{Closed, Dialogue, Requests, Sample, Speaker, Target};
use crate::stage::Options;

/// Drives a load for so long.
type Run = Box<dyn Fn(&Target, Duration) -> Result<Sample, Error>>;

/// The load of a case for one peer.
pub(super) struct Load {
    /// Drives it for so long.
    pub(super) run: Run,
    /// A request of its kind, to look at the answer.
    pub(super) first: Requests,
    /// The status of the answer.
    pub(super) status: u16,
    /// Where there is some text in it: a pointer into its JSON (RFC 6901).
    pub(super) tells: &'static str,
}

impl Load {
    fn closed(connections: usize, requests: Requests, tells: &'static str) -> Self {
        let first = requests.clone();
        let load = Closed::new(connections, requests);
        Self {
            run: Box::new(move |target, time| load.run(target, time)),
            first,
            status: 200,
            tells,
        }
    }

    fn dialogue<S: Speaker>(speakers: impl IntoIterator<Item = S>, first: Requests) -> Self {
        let dialogue = Dialogue::new(speakers);
        Self {
            run: Box::new(move |target, time| dialogue.run(target, time)),
            first,
            status: 200,
            tells: "",
        }
    }
}

/// Everybody looks at the own profile.
pub(super) fn own_profiles(people: &People, options: &Options) -> Load {
    let sessions = people.sessions.iter();
    let requests = sessions.map(|session| Requests::get(["/v1/me"], &bearer(&session.access)));
    Load::closed(options.connections, Requests::join(requests), "/email")
}

/// All profiles in turn, so that none is asked for again soon.
pub(super) fn profiles(people: &People, options: &Options) -> Load {
    let sessions = people.sessions.iter().cycle();
    let requests =
        people.ids.iter().zip(sessions).map(|(id, session)| {
            Requests::get([format!("/v1/users/{id}")], &bearer(&session.access))
        });
    Load::closed(options.connections, Requests::join(requests), "/username")
}

/// A hundred profiles at once.
pub(super) fn batches(people: &People, options: &Options) -> Load {
    let access = people.sessions.first().map(|session| &*session.access);
    let headers = bearer(access.unwrap_or_default());
    let requests = people.ids.windows(100).step_by(10).map(|ids| {
        Requests::json(
            "/v1/users/batch",
            &headers,
            &json!({ "ids": ids }).to_string(),
        )
    });
    Load::closed(
        options.connections,
        Requests::join(requests),
        "/users/99/username",
    )
}

/// Everybody logs in.
pub(super) fn logins(people: &People, options: &Options) -> Load {
    let requests = people.names.iter().map(|name| login(name));
    let requests = Requests::join(requests);
    Load::closed(few(options), requests, "/access_token")
}

/// Every client exchanges its refresh token, and what it gets for it, and so on. There is one session more than
/// clients, to look at the answer.
pub(super) fn refreshes(people: &People, options: &Options) -> Load {
    let tokens = people.sessions.iter().map(|session| &session.refresh);
    let mut clients = tokens
        .take(options.connections + 1)
        .cloned()
        .map(Refreshing);
    let first = clients.next().map(|mut client| client.request());
    Load {
        tells: "/refresh_token",
        ..Load::dialogue(clients, first.unwrap_or_else(|| refresh("")))
    }
}

/// New people all the time.
pub(super) fn registrations(_: &People, options: &Options) -> Load {
    let taken = Arc::new(AtomicU64::new(0));
    let clients = (0..few(options)).map(|_| Registering(taken.clone()));
    Load {
        status: 201,
        tells: "/id",
        ..Load::dialogue(clients, registration("first"))
    }
}

/// Hashes take long: more clients than keep the threads busy would only wait, and a round would go on long
/// after its end.
fn few(options: &Options) -> usize {
    options.connections.min(2 * options.workers + 2)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn refresh(token: &str) -> Requests {
    let body = json!({ "refresh_token": token });
    Requests::json("/v1/token/refresh", "", &body.to_string())
}

/// A client with the refresh token that it was given last.
struct Refreshing(String);

impl Speaker for Refreshing {
    fn request(&mut self) -> Requests {
        refresh(&self.0)
    }

    fn answered(&mut self, status: u16, body: &[u8]) -> io::Result<()> {
        expect(status, 200)?;
        self.0 = text(&serde_json::from_slice(body)?, "refresh_token")?;
        Ok(())
    }
}

/// A client that registers under names which all clients count up together.
struct Registering(Arc<AtomicU64>);

impl Speaker for Registering {
    fn request(&mut self) -> Requests {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        registration(&format!("fresh-{number}"))
    }

    fn answered(&mut self, status: u16, _: &[u8]) -> io::Result<()> {
        expect(status, 201)
    }
}

fn expect(status: u16, wanted: u16) -> io::Result<()> {
    match status == wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_goes_on_with_the_token_that_it_was_given() {
        let mut client = Refreshing("first".into());
        let answer = br#"{"access_token":"a","refresh_token":"second"}"#;
        client.answered(200, answer).expect("it is an answer");
        let sent = String::from_utf8_lossy(client.request().at(0)).into_owned();
        assert!(
            sent.ends_with("\r\n\r\n{\"refresh_token\":\"second\"}"),
            "{sent}"
        );
        assert!(client.answered(401, b"").is_err());
        assert_eq!(client.0, "second");
    }

    #[test]
    fn no_name_is_used_twice() {
        let taken = Arc::new(AtomicU64::new(0));
        let mut clients = [Registering(taken.clone()), Registering(taken)];
        let requests = clients.each_mut().map(|client| client.request());
        assert_ne!(requests[0].at(0), requests[1].at(0));
    }
}
