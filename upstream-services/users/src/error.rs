//! What can go wrong in the user services, named by whose fault it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error of the user services. How a client sees one is in `api::problems`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Configuration: a value does not work.
    #[error("{key} {why}")]
    Config {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong.
        why: &'static str,
    },

    /// Configuration or operation: the directory of the signing keys cannot be used.
    #[error("signing keys: {}: {why}", path.display())]
    Keys {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },

    /// Configuration or operation: the directory of messages cannot be used.
    #[error("the spool of messages: {}: {why}", path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },

    /// Client: the body is no JSON.
    #[error("the body is not valid JSON: {0}")]
    Malformed(String),

    /// Client: the body is not declared as JSON.
    #[error("the body must be sent as application/json")]
    UnsupportedMediaType,

    /// Client: the body is compressed.
    #[error("the body must be sent without a content-encoding")]
    UnsupportedEncoding,

    /// Client: the body did not come in time.
    #[error("the body took too long to arrive")]
    SlowBody,

    /// Client: the body is larger than [`crate::BODY_LIMIT`].
    #[error("the body is larger than 64 KiB")]
    TooLarge,

    /// Client: a field does not say what it should.
    #[error("`{field}`: {why}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong; never the value.
        why: String,
    },

    /// Client: no access token, or one that is not valid (any more).
    #[error("a valid access token is needed")]
    Unauthenticated {
        /// Whether a token was presented at all.
        presented: bool,
    },

    /// Client: no such account, or a wrong password. Nobody shall learn which.
    #[error("the username or the password is wrong")]
    WrongCredentials,

    /// Client: the password was right, and the account has a second factor.
    #[error("the account needs a code of its second factor as well")]
    TotpRequired,

    /// Client: a code that is wrong, out of its time, or used.
    #[error("the code is wrong or was used before")]
    WrongCode,

    /// Client: an administrator has disabled the account.
    #[error("the account is disabled")]
    AccountDisabled,

    /// Client: something that administrators may do, and this user is none.
    #[error("this is for administrators")]
    Forbidden,

    /// Client: something that is done to others only.
    #[error("administrators do not disable themselves")]
    OwnAccount,

    /// Client: there is a second factor, and no second one.
    #[error("a second factor is on already; turn it off first")]
    TotpOn,

    /// Client: nothing to confirm.
    #[error("no second factor waits to be confirmed")]
    TotpNotPending,

    /// Client: too many passwords before this one were wrong; nobody looks at one for so long.
    #[error("too many wrong passwords; try again later")]
    LockedOut(Duration),

    /// Client: a refresh token that is unknown, used, expired or revoked.
    #[error("the refresh token is not valid")]
    WrongRefreshToken,

    /// Client: a recovery token that is unknown, used, expired or followed by another.
    #[error("the recovery token is not valid")]
    WrongRecoveryToken,

    /// Configuration: nothing is there that could send a recovery token.
    #[error("this service sends no messages, so nobody can recover an account")]
    RecoveryOff,

    /// Client: the username, the e-mail or the phone belongs to another account. Which, stays unsaid.
    #[error("the username, the e-mail address or the phone number is taken")]
    Taken,

    /// Client: there is nothing with this id.
    #[error("there is no user with this id")]
    NotFound,

    /// Client: the user has no session with this id, or it has ended.
    #[error("there is no session with this id")]
    NoSession,

    /// Client: the profile changed since the client read it.
    #[error("the profile has changed; read it again")]
    PreconditionFailed,

    /// Load: the profile was changed by others each time that it was to be changed.
    #[error("others change the same profile at the same time; try again")]
    Contended,

    /// Load: the hashing pool's queue is full.
    #[error("too many logins and registrations at once")]
    Overloaded,

    /// Load or operation: the store failed.
    #[error(transparent)]
    Store(Arc<store::Error>),

    /// Load or operation: a part of the services, in another process, cannot answer.
    #[error("the service `{0}` does not answer")]
    Away(&'static str),

    /// Configuration: the servers of the shared cache cannot be used.
    #[error("cache.remote: {0}")]
    Cache(String),

    /// Internal: something that should work did not.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// Whether it may well be gone the next time, whatever the client does.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_passing(),
            Self::Away(_) | Self::Overloaded => true,
            _ => false,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// A loader's error, shared by all who waited for it.
impl From<Arc<Error>> for Error {
    fn from(error: Arc<Error>) -> Self {
        Arc::unwrap_or_clone(error)
    }
}

impl From<cache::RemoteError> for Error {
    fn from(error: cache::RemoteError) -> Self {
        Self::Cache(error.to_string())
    }
}

impl From<prometheus::Error> for Error {
    fn from(error: prometheus::Error) -> Self {
        Self::Internal(format!("metrics: {error}"))
    }
}
