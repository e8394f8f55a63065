//! What could not be measured.

use serde::Serialize;

use crate::error::Error;

/// A peer, a case or a suite that is not in the rows, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    /// The suite.
    pub(crate) suite: &'static str,
    /// The case; `None` for all that were left of the suite.
    pub(crate) case: Option<String>,
    /// The proxy that was left out; `None` for all.
    pub(crate) peer: Option<&'static str>,
    /// What went wrong, with the end of the proxy's output.
    pub(crate) why: String,
}

impl Failure {
    /// A suite that could not go on.
    pub(crate) fn of_suite(suite: &'static str, error: &Error) -> Self {
        Self {
            suite,
            case: None,
            peer: None,
            why: error.to_string(),
        }
    }

    /// A case that could not be finished.
    pub(crate) fn of_case(suite: &'static str, case: &str, error: &Error) -> Self {
        Self {
            case: Some(case.to_owned()),
            ..Self::of_suite(suite, error)
        }
    }

    /// A peer that was left out of a case.
    pub(crate) fn of_peer(
        suite: &'static str,
        case: &str,
        peer: &'static str,
        error: &Error,
    ) -> Self {
        Self {
            peer: Some(peer),
            ..Self::of_case(suite, case, error)
        }
    }

    /// What is missing, such as `caddy in tls, keep-alive`.
    pub(crate) fn what(&self) -> String {
        let case = self.case.as_ref();
        let place = case.map_or(self.suite.to_owned(), |case| {
            format!("{}, {case}", self.suite)
        });
        match self.peer {
            Some(peer) => format!("{peer} in {place}"),
            None => place,
        }
    }

    /// The first line of why.
    pub(crate) fn reason(&self) -> &str {
        self.why.lines().next().unwrap_or_default()
    }
}
