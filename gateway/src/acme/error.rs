//! Why there is no new certificate.

use std::path::PathBuf;
use std::time::Duration;

use instant_acme::Problem;

use crate::config::Challenge;

/// Why an attempt to get a certificate failed, by whose fault it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("the authority refuses: {0}")]
    Refused(Problem),
    #[error("{what} was not validated: {problem}")]
    Invalid { what: String, problem: Problem },
    #[error("the authority cannot be asked: {0}")]
    Unreachable(String),
    #[error("the authority offers no `{1}` challenge for {0}")]
    NoChallenge(String, Challenge),
    #[error("the authority takes longer than {0:?}")]
    TooSlow(Duration),
    #[error("its certificate cannot be used: {0}")]
    Unusable(String),
    #[error("{}: {error}", path.display())]
    Storage {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl OrderError {
    /// Its name in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            _ if self.is_rate_limit() => "rate_limited",
            Self::Refused(_) | Self::NoChallenge(..) => "refused",
            Self::Invalid { .. } => "invalid",
            Self::Unreachable(_) | Self::TooSlow(_) => "unreachable",
            Self::Unusable(_) => "unusable",
            Self::Storage { .. } => "storage",
        }
    }

    /// The authority wants fewer requests (RFC 8555, section 6.6).
    pub(super) fn is_rate_limit(&self) -> bool {
        self.is("rateLimited")
    }

    /// The authority may have said for how long it is not to be asked.
    pub(super) fn may_be_a_limit(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unreachable(_))
    }

    /// The authority does not know the account, or no longer (RFC 8555, section 6.7).
    pub(super) fn is_unknown_account(&self) -> bool {
        self.is("accountDoesNotExist")
    }

    fn is(&self, wanted: &str) -> bool {
        let (Self::Refused(problem) | Self::Invalid { problem, .. }) = self else {
            return false;
        };
        let kind = problem.r#type.as_deref().unwrap_or_default();
        kind.strip_prefix("urn:ietf:params:acme:error:") == Some(wanted)
    }
}

impl From<instant_acme::Error> for OrderError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Refused(problem),
            other => Self::Unreachable(with_causes(&other)),
        }
    }
}

/// An error with what it was caused by, in a line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
