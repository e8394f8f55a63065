//! What parts say to each other.

use std::fmt;
use std::net::IpAddr;

use cache::{Mark, Need};
use serde::{Deserialize, Serialize};
use store::Position;

use crate::accounts::{Code, Login};
use crate::client::Client;
use crate::fields::Password;

/// A login, for the accounts to judge. It holds a password.
#[derive(Serialize, Deserialize)]
pub(crate) struct Attempt {
    name: String,
    password: String,
    code: Option<String>,
    from: Option<IpAddr>,
    address: Option<String>,
    agent: Option<String>,
}

impl From<Login> for Attempt {
    fn from(login: Login) -> Self {
        Self {
            name: login.name,
            password: login.password.reveal(),
            code: login.code.map(|Code(code)| code),
            from: login.from,
            address: login.client.address,
            agent: login.client.agent,
        }
    }
}

impl From<Attempt> for Login {
    fn from(attempt: Attempt) -> Self {
        Self {
            name: attempt.name,
            password: Password::presented(attempt.password),
            code: attempt.code.map(Code),
            from: attempt.from,
            client: Client {
                address: attempt.address,
                agent: attempt.agent,
            },
        }
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempt")
    }
}

/// How new something has to be, as a parameter: nothing, `latest`, or the mark.
pub(crate) fn text_of_need(need: &Need) -> &str {
    match need {
        Need::Any => "",
        // Whatever stands in a shared server must not become another query.
        Need::After(Mark(mark)) if mark.parse::<Position>().is_ok() => mark,
        Need::After(_) => LATEST,
        Need::Latest => LATEST,
    }
}

/// The other way round.
pub(crate) fn need_of_text(text: &str) -> Need {
    match text {
        "" => Need::Any,
        LATEST => Need::Latest,
        mark => Need::After(Mark(mark.to_owned())),
    }
}

const LATEST: &str = "latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_read_back() {
        for need in [Need::Any, Need::Latest, Need::After(Mark("0.1-2-3".into()))] {
            assert_eq!(need_of_text(text_of_need(&need)), need);
        }
    }

    #[test]
    fn an_attempt_does_not_show_its_password() {
        let attempt = Attempt::from(Login {
            name: "anna".into(),
            password: Password::presented("hidden".into()),
            code: None,
            from: None,
            client: Client::default(),
        });
        assert!(!format!("{attempt:?}").contains("hidden"));
    }
}
